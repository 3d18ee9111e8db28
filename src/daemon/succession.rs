//! Being started by a predecessor: what it hands over before this process
//! serves.

use std::path::PathBuf;

use crate::{
    admin::AdminSockets,
    config::Config,
    control::{Clock, ListenerSockets, Will},
    daemon::{
        args::Args,
        environment::{Environment, FORMER_CONFIG},
        failure::Failure,
        loader::Loader,
        upgrade::Starter,
    },
    handover::{ADMIN_TCP, ADMIN_UNIX, Arrival, Deadlines, EXECUTABLE, Features, Hello, METRICS, PID_FILE},
    process::{daemonize::StartedBy, limits, pidfile::PidFile},
};

/// What a predecessor has handed over.
#[derive(Debug, Default)]
pub(super) struct Heritage {
    pub(super) will: Option<(Will, Vec<ListenerSockets>)>,
    pub(super) admin: AdminSockets,
    pub(super) metrics: Option<std::os::fd::OwnedFd>,
    pub(super) pid_file: Option<PidFile>,
    executable: Option<std::os::fd::OwnedFd>,
    former_config: Option<PathBuf>,
}

/// The predecessor that started this process, if one did.
pub(super) fn arrival(environment: &Environment) -> Result<Option<Arrival>, Failure> {
    let env = |name: &str| environment.get(name);
    Arrival::from_env(&env, Clock::system(), Deadlines::default()).map_err(Failure::new)
}

/// Whether this process goes on detached, as its predecessor did.
pub(super) fn is_detached(args: &Args, environment: &Environment) -> bool {
    args.daemon && StartedBy::detect(&|name: &str| environment.get(name)).may_detach()
}

/// Reads the configuration and says so; answers what is handed over.
pub(super) fn inherit(
    arrival: &mut Arrival,
    environment: &Environment,
    loader: &mut Loader,
) -> Result<(Config, Heritage), Failure> {
    let offer = arrival.offer().map_err(Failure::new)?;
    let config = match &offer.candidate {
        Some(text) => loader.parse(text)?,
        None => loader.load()?,
    };
    let workers = config.workers.count.map_or_else(|| limits::usable_cpus().len(), usize::from);
    let me = Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        workers: u32::try_from(workers).unwrap_or(u32::MAX),
        features: Features::all(),
    };
    arrival.hello(&me).map_err(Failure::new)?;
    let given = arrival.inherit().map_err(Failure::new)?;
    let will = given.will.ok_or_else(|| Failure::new("the predecessor ended before it had handed over anything"))?;
    let former_config = environment.get(FORMER_CONFIG).map(PathBuf::from);
    let mut heritage = Heritage { will: Some((will, given.sockets)), former_config, ..Heritage::default() };
    for extra in given.extras {
        match extra.name.as_str() {
            ADMIN_UNIX => heritage.admin.unix = Some(extra.fd),
            ADMIN_TCP => heritage.admin.tcp = Some(extra.fd),
            METRICS => heritage.metrics = Some(extra.fd),
            PID_FILE => heritage.pid_file = PidFile::resume(extra.fd).map_err(Failure::new)?,
            EXECUTABLE => heritage.executable = Some(extra.fd),
            // Of a newer netd: not known here.
            _ => {}
        }
    }
    Ok((config, heritage))
}

impl Heritage {
    /// The way back.
    pub(super) fn keep_former(&mut self, starter: &mut Starter) {
        if let Some(executable) = self.executable.take() {
            starter.keep_former(executable, self.former_config.take());
        }
    }
}
