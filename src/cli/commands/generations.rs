//! reload, confirm, rollback, history.

use crate::{
    cli::{
        args::ReloadArgs,
        exit::Failure,
        output::{changes, history, units},
    },
    pb,
};

use super::{Session, configuration::candidate};

impl Session<'_, '_> {
    pub(super) async fn reload(&mut self, args: ReloadArgs) -> Result<(), Failure> {
        let guard = pb::Guard {
            threshold_percent: args.guard_threshold.unwrap_or_default(),
            min_connections: args.guard_min.unwrap_or_default(),
            watch: units::wire_duration(args.guard_for)?,
        };
        let request = pb::ReloadRequest {
            toml: candidate(args.file.as_deref())?,
            expected_generation: args.expect.unwrap_or_default(),
            by: self.by(),
            confirm_within: units::wire_duration(args.confirm)?,
            guard: args.guard.then_some(guard),
        };
        let on_trial = request.confirm_within.is_some() || request.guard.is_some();
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().reload(request)).await?;
        self.console.answer(&answer, |look| changes::reload(&answer, look))?;
        if on_trial && answer.pending.is_none() && !answer.changes.is_empty() {
            // An older netd does not know of trials: it has applied it for good.
            self.console.hint("This netd does not try reloads: the change is in force for good");
        }
        if args.file.is_some() {
            self.console.hint("The next reload without FILE, SIGHUP or restart reads the daemon's own file again");
        }
        Ok(())
    }

    pub(super) async fn confirm(&mut self, generation: Option<u64>) -> Result<(), Failure> {
        let request = pb::ConfirmRequest { generation: generation.unwrap_or_default(), by: self.by() };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().confirm(request)).await?;
        self.console.answer(&answer, |_| format!("Generation {} is confirmed.\n", answer.generation))
    }

    pub(super) async fn rollback(&mut self, generation: Option<u64>, expect: Option<u64>) -> Result<(), Failure> {
        let request = pb::RollbackRequest {
            generation: generation.unwrap_or_default(),
            expected_generation: expect.unwrap_or_default(),
            by: self.by(),
        };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().rollback(request)).await?;
        self.console.answer(&answer, |_| changes::rollback(&answer))?;
        self.console.hint("The next reload without FILE, SIGHUP or restart reads the daemon's own file again");
        Ok(())
    }

    pub(super) async fn history(&mut self, generation: Option<u64>) -> Result<(), Failure> {
        let client = self.connect().await?;
        let mut answer = client.answer(client.rpc().get_history(pb::GetHistoryRequest {})).await?;
        if let Some(number) = generation {
            answer.entries.retain(|entry| entry.generation == number);
            if answer.entries.is_empty() {
                return Err(Failure::Refused(format!("generation {number} is not in the history")));
            }
        }
        self.console.answer(&answer, |look| match generation {
            Some(_) => answer.entries.iter().map(|entry| history::entry(entry, look)).collect(),
            None => history::table(&answer.entries, look),
        })
    }
}
