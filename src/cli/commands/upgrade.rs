//! The upgrade of the running binary.

use std::path::{Path, PathBuf};

use crate::{
    cli::{
        args::UpgradeArgs,
        exit::Failure,
        output::{ToJson, receipt},
    },
    pb::{self, upgrade_progress::Of},
};

use super::Session;

impl Session<'_, '_> {
    pub(super) async fn upgrade(&mut self, args: UpgradeArgs) -> Result<(), Failure> {
        let request = pb::UpgradeRequest {
            binary: absolute(args.binary.as_deref())?,
            config: absolute(args.config.as_deref())?,
            rollback: args.rollback,
            by: self.by(),
        };
        let client = self.connect().await?;
        let mut stream = client.answer(client.rpc().upgrade(request)).await?;
        let live = !self.console.json && self.console.width.is_some();
        let mut rewritten = false;
        while let Some(progress) = stream.message().await.map_err(|status| client.failure(&status))? {
            if self.console.json {
                self.console.json_line(&progress.to_json())?;
            }
            if std::mem::take(&mut rewritten) && !matches!(progress.of, Some(Of::Moved(_))) {
                self.console.rewrite("")?;
            }
            match progress.of {
                Some(Of::Reached(phase)) if !self.console.json => self.console.line(&receipt::phase(&phase))?,
                Some(Of::Moved(moved)) if live => {
                    rewritten = true;
                    self.console.rewrite(&receipt::moved(&moved))?;
                }
                Some(Of::Ended(ended)) => return self.ended(&ended),
                _ => {}
            }
        }
        let text = "netd ended the stream before the upgrade was over; look with `netctl status`";
        Err(Failure::Lost(text.to_owned()))
    }

    fn ended(&mut self, ended: &pb::UpgradeReceipt) -> Result<(), Failure> {
        if !self.console.json {
            self.console.text(&receipt::receipt(ended))?;
        }
        match ended.verdict.as_str() {
            "upgraded" | "draining" => Ok(()),
            verdict => Err(Failure::Refused(format!("{verdict}: {}", ended.reason))),
        }
    }
}

/// The daemon has a working directory of its own.
fn absolute(path: Option<&Path>) -> Result<String, Failure> {
    let Some(path) = path else { return Ok(String::new()) };
    let named = |error| Failure::Usage(format!("{}: {error}", path.display()));
    let path: PathBuf = std::path::absolute(path).map_err(named)?;
    path.into_os_string().into_string().map_err(|path| Failure::Usage(format!("{path:?} is not UTF-8")))
}
