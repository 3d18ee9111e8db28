//! One function a command: request, answer, output.

mod balancing;
mod change;
mod check;
mod configuration;
mod drain;
mod generations;
mod look;
mod rebalance;
mod upgrade;

use crate::{config::Address, pb};

use super::{
    args::{Command, Globals},
    client::Client,
    exit::{ExitStatus, Failure},
    output::Console,
    surroundings::Surroundings,
    target,
};

/// One run of netctl.
pub(crate) struct Session<'a, 'c> {
    pub(crate) globals: Globals,
    pub(crate) around: &'a Surroundings,
    pub(crate) console: &'a mut Console<'c>,
}

impl Session<'_, '_> {
    /// Carries out one command.
    pub(crate) async fn run(&mut self, command: Command) -> Result<ExitStatus, Failure> {
        match command {
            Command::Status => self.status().await,
            Command::Listeners { name } => self.listeners(name).await,
            Command::Pools { name } => self.pools(name).await,
            Command::Connections(args) => self.connections(args).await,
            Command::Why { object } => self.why(object).await,
            Command::Events { kinds } => self.events(kinds).await,
            Command::Config => self.config().await,
            Command::Plan { file, exit_code } => return self.plan(file.as_deref(), exit_code).await,
            Command::Reload(args) => self.reload(args).await,
            Command::Confirm { generation } => self.confirm(generation).await,
            Command::Rollback { generation, expect } => self.rollback(generation, expect).await,
            Command::History { generation } => self.history(generation).await,
            Command::Drain(args) => self.drain(args).await,
            Command::Undrain(target) => self.undrain(&target).await,
            Command::Close(args) => self.close(args).await,
            Command::Start { words } => self.start(&words).await,
            Command::Stop { listener, expires_in } => self.stop(&listener, expires_in).await,
            Command::Set(args) => self.set(args).await,
            Command::SetSplit(args) => self.set_split(args).await,
            Command::Explain { from, listener } => self.explain(from, &listener).await,
            Command::Check { object } => return self.check(&object).await,
            Command::Rebalance { limit } => self.rebalance(limit).await,
            Command::LogLevel { level: None } => self.log_level().await,
            Command::LogLevel { level: Some(level) } => self.set_log_level(level).await,
            Command::Upgrade(args) => self.upgrade(args).await,
            Command::Shutdown(args) => self.shutdown(args).await,
        }
        .map(|()| ExitStatus::Done)
    }

    /// Connects to the daemon. A command builds its request first: what is
    /// wrong with it needs no daemon to be told.
    async fn connect(&self) -> Result<Client, Failure> {
        connect(&self.globals, self.around).await
    }

    /// Who asks, and why.
    fn by(&self) -> Option<pb::Provenance> {
        let who = self.globals.who.as_ref().unwrap_or(&self.around.user).clone();
        Some(pb::Provenance { who, why: self.globals.why.clone() })
    }
}

/// Connects to the daemon that these arguments and surroundings name.
async fn connect(globals: &Globals, around: &Surroundings) -> Result<Client, Failure> {
    let address = target::find(globals.admin.as_ref(), around)?;
    let system = &around.system_socket;
    let elsewhere = match &address {
        Address::Unix(path) if globals.admin.is_none() && around.admin.is_none() && path != system => {
            format!("There is no {} either; another address is named with --admin or NETD_ADMIN", system.display())
        }
        _ => "Another address is named with --admin or NETD_ADMIN".to_owned(),
    };
    Client::connect(address, globals.timeout, &around.user, &elsewhere).await
}
