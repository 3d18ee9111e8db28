//! Everything before serving: detaching, and all that needs root or a file
//! descriptor. Nothing is accepted yet.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use nix::{
    sys::signal::Signal,
    unistd::{AccessFlags, access},
};
use tokio::sync::mpsc;

use crate::{
    admin::{AdminListeners, AdminOptions, AdminSockets, Group, MetricsListener},
    config::{Address, AdminSocket, Config},
    control::{self, Begin, Clock, Pace, Start, SystemBinder},
    daemon::{
        args::Args,
        banner,
        environment::{self, Environment},
        failure::Failure,
        loader::Loader,
        places,
        succession::Heritage,
        supervisor::Supervisor,
        upgrade::{Belongings, Signs, Starter},
    },
    handover::Signpost,
    logging::{AccessLogging, Logging},
    probe::SystemProber,
    process::{
        activation::{self, Activation},
        daemonize::{self, Ready, Side, StartedBy, Waiter},
        fdstore::FdStore,
        limits,
        notify::Notify,
        pidfile::PidFile,
        privileges::{Identity, drop_privileges},
    },
    sys::process::ignore_signals,
};

/// Connection numbers begin with the microseconds since 2026-01-01, which is
/// above all that any earlier netd gave out.
const SEQUENCE_EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Which process goes on.
pub(super) enum Detached {
    /// The one that was started; the daemon serves, or not, elsewhere.
    Original(Waiter),
    /// This one serves.
    Here(Arrival),
}

/// What this process brings along, and who waits for it to serve.
pub(super) struct Arrival {
    ready: Option<Ready>,
    activation: Activation,
    /// `--daemon` was asked for under somebody who waits for this very
    /// process.
    stayed: Option<StartedBy>,
    /// It is in the background, though nobody waits for it.
    detached: bool,
}

impl Arrival {
    /// A process that a predecessor started, and that goes on as that did.
    pub(super) fn of_successor(detached: bool) -> Self {
        Self { ready: None, activation: Activation::default(), stayed: None, detached }
    }

    pub(super) fn is_detached(&self) -> bool {
        self.detached
    }

    pub(super) fn take_ready(&mut self) -> Option<Ready> {
        self.ready.take()
    }

    /// Tells whoever waits that nothing comes of it.
    pub(super) fn failed(mut self, failure: Failure) -> Result<u8, Failure> {
        match self.ready.take() {
            Some(ready) => {
                let status = failure.status;
                tracing::error!("{failure}");
                ready.failed(&failure.message, status);
                Ok(status)
            }
            None => Err(failure),
        }
    }
}

/// All that serving needs.
pub(super) struct Prepared {
    pub(super) control: control::Prepared,
    pub(super) admin: AdminListeners,
    pub(super) admin_group: Option<Group>,
    pub(super) metrics: Option<MetricsListener>,
    pub(super) logging: Arc<Logging>,
    pub(super) access: Arc<AccessLogging>,
    pub(super) banner: Option<Banner>,
    /// What moves in an upgrade, besides listeners and connections; the pid
    /// file, which is held until the end, among it.
    pub(super) belongings: Belongings,
    /// A pid file of the predecessor's that this process does not go on with.
    pub(super) former_pid_file: Option<PidFile>,
    pub(super) starter: Starter,
    pub(super) upgrades: mpsc::UnboundedReceiver<Begin>,
}

impl Prepared {
    /// This process is the daemon, though the service manager started another.
    pub(super) fn claim(&mut self) {
        if let Err(trouble) = self.belongings.signs.point_at(std::process::id()) {
            tracing::warn!("{trouble}");
        }
    }
}

/// What the start says on the terminal.
pub(super) struct Banner {
    pub(super) config: Arc<Config>,
    pub(super) admin: Vec<String>,
    pub(super) metrics: Option<String>,
}

/// Takes over what systemd passed in, and detaches if asked.
pub(super) fn detach_if_asked(args: &Args, environment: &Environment, config: &Config) -> Result<Detached, Failure> {
    let env = |name: &str| environment.get(name);
    let activation = activation::inherited(&env, std::process::id())
        .map_err(|error| Failure::new(format!("socket activation: {error}")))?;
    let started_by = StartedBy::detect(&env);
    if !args.daemon || !started_by.may_detach() {
        environment::forget_supervisor().map_err(Failure::new)?;
        let stayed = args.daemon.then_some(started_by);
        return Ok(Detached::Here(Arrival { ready: None, activation, stayed, detached: false }));
    }
    let options = daemonize::Options {
        umask: config.process.umask,
        working_directory: config.process.working_directory.clone(),
        core_dumps: config.process.core_dumps,
        preserve: activation.sockets.iter().map(|socket| socket.fd.as_raw_fd()).collect(),
    };
    match daemonize::daemonize(&options).map_err(|error| Failure::new(format!("cannot detach: {error}")))? {
        Side::Original(waiter) => {
            // The daemon has its own duplicates.
            drop(activation);
            Ok(Detached::Original(waiter))
        }
        Side::Daemon(ready) => {
            Ok(Detached::Here(Arrival { ready: Some(ready), activation, stayed: None, detached: true }))
        }
    }
}

/// Opens the log, the pid file and every socket, then gives up privileges.
pub(super) fn prepare(
    args: &Args,
    environment: &Environment,
    mut loader: Loader,
    config: Config,
    arrival: &mut Arrival,
    mut heritage: Heritage,
) -> Result<Prepared, Failure> {
    shield().map_err(Failure::new)?;
    let env = |name: &str| environment.get(name);
    let (logging, access) = logs(&config, arrival, env("JOURNAL_STREAM").as_deref())?;
    report_arrival(arrival);
    if let Some(warning) = banner::idle(&config) {
        tracing::warn!("{warning}");
    }
    let identity = identity(&config)?;
    if let Err(error) = limits::raise_fd_limit() {
        tracing::warn!(%error, "the limit on file descriptors stays as it is");
    }
    let owner = identity.as_ref().map(|identity| (identity.uid, identity.gid));
    let (pid_file, former_pid_file) = pid_file(args, environment, &config, owner, heritage.pid_file.take())?;
    let admin_group = config.admin.group.as_deref().map(Group::find).transpose().map_err(Failure::new)?;
    let given = std::mem::take(&mut heritage.admin);
    let mut admin = bind_admin(environment, &config, admin_group.clone(), owner, given)?;
    let given = heritage.metrics.take();
    let metrics = config.metrics.listen.map(|address| MetricsListener::adopt(address, given));
    let mut metrics = metrics.transpose().map_err(Failure::new)?;

    let config = Arc::new(config);
    let banner = loader.is_embedded_default().then(|| Banner {
        config: Arc::clone(&config),
        admin: admin.addresses(),
        metrics: metrics.as_ref().and_then(|metrics| metrics.local_address().ok()).map(|address| address.to_string()),
    });
    let notify = Notify::from_env(&env, std::process::id());
    let is_heir = heritage.will.is_some();
    let supervisor = Supervisor::new(notify, FdStore::from_env(&env), !is_heir);
    admin.answer_while(supervisor.answering());
    if let Some(metrics) = &mut metrics {
        metrics.answer_while(supervisor.answering());
    }
    let mut starter = Starter::new(args, loader.path(), environment).map_err(Failure::new)?;
    heritage.keep_former(&mut starter);
    let belongings = Belongings {
        admin: admin.duplicates().map_err(Failure::new)?,
        admin_file: admin.file_guard(),
        metrics: metrics.as_ref().map(MetricsListener::duplicate).transpose().map_err(Failure::new)?,
        signs: Signs::new(pid_file, supervisor.clone()),
        clock: Clock::system(),
    };
    let (story, upgrades) = mpsc::unbounded_channel();
    let (inherited, kept) = match_inherited(std::mem::take(&mut arrival.activation), &config, &supervisor);
    loader.keep_spare();
    let start =
        start(Arc::clone(&config), loader, inherited, owner, &supervisor, (&logging, &access)).map_err(Failure::new)?;
    let start = Start {
        // The Controller begins one at a time; one that nobody tells any more is over at once.
        story: Box::new(move |begin| drop(story.send(begin))),
        inheritance: heritage.will.take(),
        kept,
        ..start
    };
    let control = control::Prepared::new(start).map_err(Failure::new)?;
    if let Some(identity) = &identity {
        become_user(identity, &config, &logging, &access)?;
    }
    Ok(Prepared {
        control,
        admin,
        admin_group,
        metrics,
        logging,
        access,
        banner,
        belongings,
        former_pid_file,
        starter,
        upgrades,
    })
}

/// The log and the access log.
fn logs(
    config: &Config,
    arrival: &Arrival,
    journal: Option<&str>,
) -> Result<(Arc<Logging>, Arc<AccessLogging>), Failure> {
    let logging = Logging::start(&config.log, arrival.is_detached(), journal).map_err(Failure::new)?;
    let access = Arc::new(AccessLogging::new());
    access.apply(&config.access_log).map_err(Failure::new)?;
    Ok((Arc::new(logging), access))
}

fn become_user(identity: &Identity, config: &Config, logging: &Logging, access: &AccessLogging) -> Result<(), Failure> {
    logging.give_to(identity.uid, identity.gid).map_err(Failure::new)?;
    access.give_to(identity.uid, identity.gid).map_err(Failure::new)?;
    drop_privileges(identity, config.process.core_dumps)
        .map_err(|error| Failure::new(format!("cannot become user {}: {error}", identity.user)))?;
    warn_of_closed_directories(config, identity);
    Ok(())
}

/// Unix sockets that were bound as root, where only root can bind them again.
fn warn_of_closed_directories(config: &Config, identity: &Identity) {
    for listener in &config.listeners {
        let Address::Unix(path) = &listener.address else { continue };
        let Some(directory) = path.parent() else { continue };
        if access(directory, AccessFlags::W_OK).is_err() {
            tracing::warn!(
                listener = %listener.name,
                "user {} may not write to {}: the listener cannot accept again after a drain or a stop",
                identity.user,
                directory.display()
            );
        }
    }
}

/// A reload, a rotated log or an upgrade must not kill a netd that still starts: it has
/// just read the one and opened the other. The handlers take over later.
fn shield() -> io::Result<()> {
    ignore_signals(&[Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2])
}

fn report_arrival(arrival: &Arrival) {
    for refused in &arrival.activation.refused {
        tracing::warn!(fd = refused.fd, name = refused.name, "inherited descriptor left out: {}", refused.reason);
    }
    if let Some(started_by) = arrival.stayed {
        tracing::warn!(?started_by, "--daemon is ignored: whoever started netd waits for this very process");
    }
}

fn identity(config: &Config) -> Result<Option<Identity>, Failure> {
    let identity =
        Identity::resolve(config.process.user.as_deref(), config.process.group.as_deref()).map_err(Failure::config)?;
    if let Some(identity) = &identity {
        identity.check().map_err(Failure::new)?;
    }
    Ok(identity)
}

/// The pid file that is asked for; a detached daemon always has one. The
/// predecessor's is gone on with, unless it is to be another; it comes second
/// then.
fn pid_file(
    args: &Args,
    environment: &Environment,
    config: &Config,
    owner: Option<(u32, u32)>,
    given: Option<PidFile>,
) -> Result<(Option<PidFile>, Option<PidFile>), Failure> {
    let path = match (&config.process.pid_file, args.daemon) {
        (Some(path), _) => path.clone(),
        // Its place may be one that only root has by default.
        (None, true) if given.is_some() => return Ok((given, None)),
        (None, true) => {
            let directory = runtime_dir(environment, owner)?;
            directory.join("netd.pid")
        }
        (None, false) => return Ok((None, given)),
    };
    if given.as_ref().is_some_and(|given| given.path() == path) {
        return Ok((given, None));
    }
    let file = PidFile::acquire(&path).map_err(Failure::new)?;
    if let Some(pid) = file.taken_over() {
        tracing::info!(pid, path = %path.display(), "the pid file of a process that is gone was taken over");
    }
    Ok((Some(file), given))
}

fn bind_admin(
    environment: &Environment,
    config: &Config,
    group: Option<Group>,
    owner: Option<(u32, u32)>,
    given: AdminSockets,
) -> Result<AdminListeners, Failure> {
    let unix = match &config.admin.unix {
        AdminSocket::Default => Some(match given.unix_path() {
            // Its place may be one that only root has by default.
            Some(path) => path,
            None => runtime_dir(environment, owner)?.join("admin.sock"),
        }),
        AdminSocket::Path(path) => Some(path.clone()),
        AdminSocket::Off => None,
    };
    let owner = owner.map(|(uid, _)| uid);
    let options = AdminOptions { unix, mode: 0o660, owner, group, tcp: config.admin.tcp };
    AdminListeners::adopt(&options, given).map_err(Failure::new)
}

fn runtime_dir(environment: &Environment, owner: Option<(u32, u32)>) -> Result<PathBuf, Failure> {
    let directory = places::runtime_dir(environment);
    places::ensure(&directory, owner).map_err(|error| {
        Failure::new(format!(
            "runtime directory {}: {error}; name other places with --admin and --pid-file",
            directory.display()
        ))
    })?;
    Ok(directory)
}

type ByListener = HashMap<String, Vec<OwnedFd>>;

/// The sockets of systemd by the listener they are for, and those that it has
/// kept for an earlier netd; the others are closed.
fn match_inherited(activation: Activation, config: &Config, supervisor: &Supervisor) -> (ByListener, ByListener) {
    let listeners: Vec<_> =
        config.listeners.iter().map(|listener| (listener.name.as_str(), &listener.address)).collect();
    let left = supervisor.left(activation.sockets, &listeners);
    let matched = activation::match_listeners(left.others, &listeners);
    for socket in matched.unmatched {
        tracing::warn!(
            name = socket.name, address = %socket.local,
            "systemd passed a socket that no listener has the name or address of; it is closed"
        );
    }
    let fds = |sockets: Vec<activation::Inherited>| sockets.into_iter().map(|socket| socket.fd).collect();
    let inherited = matched.listeners.into_iter().map(|(name, sockets)| (name, fds(sockets))).collect();
    (inherited, left.listeners.into_iter().collect())
}

fn start(
    config: Arc<Config>,
    loader: Loader,
    inherited: HashMap<String, Vec<OwnedFd>>,
    owner: Option<(u32, u32)>,
    supervisor: &Supervisor,
    (logging, access): (&Arc<Logging>, &Arc<AccessLogging>),
) -> io::Result<Start> {
    let config_path = loader.path().map(|path| path.display().to_string());
    let loader = Arc::new(std::sync::Mutex::new(loader));
    let source = Arc::clone(&loader);
    let clock = Clock::system();
    let since_epoch = clock.now().wall.duration_since(UNIX_EPOCH + SEQUENCE_EPOCH).unwrap_or_default();
    let usage = limits::Usage::open()?;
    let [set_level, apply_log, destination] = std::array::from_fn(|_| Arc::clone(logging));
    let memory_limit = limits::group_memory_limit().unwrap_or(0);
    let (apply_access, finish_access) = (Arc::clone(access), Arc::clone(access));
    Ok(Start {
        config,
        source: Box::new(move || {
            let mut loader = source.lock().map_err(|_| "the configuration's reader has failed".to_owned())?;
            loader.load().map_err(|failure| failure.to_string())
        }),
        parse: Box::new(move |text| {
            let mut loader = loader.lock().map_err(|_| "the configuration's reader has failed".to_owned())?;
            loader.parse(text).map_err(|failure| failure.to_string())
        }),
        config_path,
        inherited,
        owner,
        cpus: limits::usable_cpus(),
        clock,
        set_log_level: Box::new(move |level| set_level.set_level(level)),
        apply_log: Box::new(move |log| apply_log.apply(log)),
        access: access.log(),
        apply_access: Box::new(move |config| apply_access.apply(config)),
        finish_access: Box::new(move || finish_access.finish()),
        log_destination: Box::new(move || destination.destination()),
        usage: Box::new(move || control::Usage {
            fds_used: usage.open_fds().unwrap_or(0),
            fds_limit: limits::fd_limit().unwrap_or(0),
            memory_bytes: usage.resident_memory().unwrap_or(0),
            memory_limit,
        }),
        hooks: supervisor.hooks(),
        binder: Box::new(SystemBinder),
        prober: Box::new(SystemProber),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        first_sequence: u64::try_from(since_epoch.as_micros()).unwrap_or(0),
        story: Box::new(drop),
        inheritance: None,
        kept: HashMap::new(),
        keep: supervisor.keep(),
        pace: Pace { heartbeat: supervisor.heartbeat(), ..Pace::default() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hangups_and_rotations_do_not_kill_a_start() {
        shield().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
            assert_ne!(ignored & 1 << (signal as i32 - 1), 0, "{signal}");
        }
    }
}
