//! Checks on demand.

use super::Session;
use crate::cli::{
    exit::{ExitStatus, Failure},
    object,
    output::{ToJson, checks, units},
};

impl Session<'_, '_> {
    /// Each result as it comes, and at the end how many were good.
    pub(super) async fn check(&mut self, object: &str) -> Result<ExitStatus, Failure> {
        let request = object::checked(object);
        let client = self.connect().await?;
        let mut results = client.answer(client.rpc().check(request)).await?;
        let (mut good, mut all) = (0, 0);
        while let Some(result) = results.message().await.map_err(|status| client.failure(&status))? {
            (good, all) = (good + u64::from(result.outcome == "good"), all + 1);
            if self.console.json {
                self.console.json_line(&result.to_json())?;
            } else {
                self.console.line(&checks::line(&result))?;
            }
        }
        self.console.hint(&format!("{good} of {} good", units::counted(all, "endpoint", "endpoints")));
        Ok(if good == all { ExitStatus::Done } else { ExitStatus::NotAllGood })
    }
}
