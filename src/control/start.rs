//! How the Controller comes to life: sockets first, while the process may
//! still bind them; then the workers.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use super::{
    clock::{Clock, Now},
    controller::Controller,
    fleet::Fleet,
    handle::Handle,
    health::Health,
    moves::Hands,
    port::WorkerPort,
    prober::Prober,
    request::Refusal,
    sockets::{Binder, Opened, Sockets},
    state::State,
    told::Delta,
    upgrade::{self, Adoption, Legacy, ListenerSockets, Story, Will},
    upstreams,
};
use crate::{
    config::{self, Config, LogLevel},
    listen::Shelved,
    worker::{self, AccessLog, Command, FdBudget, ProcessGate, Settings},
};

/// File descriptors that a worker's poll loop takes, rounded up.
const FDS_OF_A_WORKER: u64 = 4;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Drain, then stop; a second one: stop at once. With its name.
    Term(&'static str),
    /// Read the configuration anew.
    Reload,
    /// Hand over to a new process.
    Upgrade,
}

/// What the service supervisor should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// The daemon serves, first or again after [`Hook::Reloading`]; with a
    /// status line.
    Ready(String),
    /// A reload begins.
    Reloading,
    /// The daemon is on its way out.
    Stopping,
    /// Another status line.
    Status(String),
    /// Every worker answered its last heartbeat.
    Watchdog,
    /// The stop takes up to so much longer.
    ExtendTimeout(Duration),
    /// Whether operators are answered by this process: before an upgrade is
    /// complete by the predecessor alone, afterwards by the successor alone.
    Answer(bool),
}

/// What the process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// File descriptors in use.
    pub fds_used: u64,
    /// RLIMIT_NOFILE, soft.
    pub fds_limit: u64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// What the control group may have in bytes; 0: no limit.
    pub memory_limit: u64,
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between looks at drains, expiries and counters.
    pub tick: Duration,
    /// Between heartbeats of the workers, each with [`Hook::Watchdog`] if all
    /// is well: at most half of the supervisor's watchdog time.
    pub heartbeat: Duration,
    /// A worker's time to answer.
    pub confirm: Duration,
    /// The workers' time to end.
    pub stop: Duration,
}

impl Default for Pace {
    /// 100 ms, 1 s, 5 s, 5 s.
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(100),
            heartbeat: Duration::from_secs(1),
            confirm: Duration::from_secs(5),
            stop: Duration::from_secs(5),
        }
    }
}

/// Reads the daemon's own configuration anew; the error is the whole report.
pub type Source = Box<dyn FnMut() -> Result<Config, String> + Send>;

/// Reads a candidate's text; the error is the whole report.
pub type Parse = Box<dyn FnMut(&str) -> Result<Config, String> + Send>;

/// Takes on another configuration of the log.
pub type ApplyLog = Box<dyn FnMut(&config::Log) -> Result<(), String> + Send>;

/// Takes on another configuration of the access log.
pub type ApplyAccess = Box<dyn FnMut(&config::AccessLog) -> Result<(), String> + Send>;

/// Has what waits for the access log's destination written, and counts what it
/// does not take soon as dropped. May take some seconds.
pub type FinishAccess = Box<dyn FnMut() + Send>;

/// Told all listening sockets that netd has bound, whenever they have changed;
/// answers whether it could keep them all.
pub type Keep = Box<dyn FnMut(Vec<Shelved>) -> bool + Send>;

/// All that the Controller needs of the world.
pub struct Start {
    /// The first configuration.
    pub config: Arc<Config>,
    /// For reloads and plans of what the daemon was started with.
    pub source: Source,
    /// For reloads and plans of candidates that came over the API.
    pub parse: Parse,
    /// Where the log goes, in words.
    pub log_destination: Box<dyn Fn() -> String + Send>,
    /// File that the configuration came from.
    pub config_path: Option<String>,
    /// Sockets that systemd made, by the name of the listener they belong to.
    pub inherited: HashMap<String, Vec<OwnedFd>>,
    /// The user and group that netd becomes before [`Prepared::launch`].
    pub owner: Option<(u32, u32)>,
    /// CPUs that the process may use.
    pub cpus: Vec<u32>,
    /// Tells the time.
    pub clock: Clock,
    /// Sets the log level; answers the one before.
    pub set_log_level: Box<dyn FnMut(LogLevel) -> LogLevel + Send>,
    /// Takes on another configuration of the log, or says why it cannot.
    pub apply_log: ApplyLog,
    /// Where workers tell of connections that have ended.
    pub access: AccessLog,
    /// Takes on another configuration of the access log, or says why it cannot.
    pub apply_access: ApplyAccess,
    /// Called once a process that has handed over has nothing left.
    pub finish_access: FinishAccess,
    /// Looks up what the process uses; also decides how many descriptors the
    /// connections may have.
    pub usage: Box<dyn Fn() -> Usage + Send>,
    /// Told what the service supervisor should know.
    pub hooks: Box<dyn FnMut(Hook) + Send>,
    /// Makes sockets; [`SystemBinder`](super::SystemBinder) but for tests.
    pub binder: Box<dyn Binder>,
    /// Asks endpoints how they are.
    pub prober: Box<dyn Prober>,
    /// The daemon's version.
    pub version: String,
    /// First connection number: above all that any predecessor gave out.
    pub first_sequence: u64,
    /// How often and how long.
    pub pace: Pace,
    /// Tells the story of an upgrade when one is asked for.
    pub story: Story,
    /// What a predecessor has handed over.
    pub inheritance: Option<(Will, Vec<ListenerSockets>)>,
    /// Listening sockets that outlived an earlier netd, by listener: bound to
    /// its address, with what waits in their queues.
    pub kept: HashMap<String, Vec<OwnedFd>>,
    /// Has somebody keep listening sockets beyond the end of this process.
    pub keep: Option<Keep>,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("config", &self.config).finish_non_exhaustive()
    }
}

/// All sockets are bound; nothing runs yet. The place to drop privileges.
#[derive(Debug)]
pub struct Prepared {
    pub(super) start: Start,
    pub(super) started: Now,
    pub(super) sockets: Sockets,
    pub(super) adoption: Option<Adoption>,
    pub(super) legacy: Option<Legacy>,
    pub(super) log_level: LogLevel,
    pub(super) health: Health,
    state: State,
    opened: BTreeMap<String, Opened>,
}

impl Prepared {
    /// Binds or adopts the sockets of all listeners.
    ///
    /// # Errors
    /// One line for each listener that cannot have its socket.
    pub fn new(mut start: Start) -> Result<Self, String> {
        let now = start.clock.now();
        let without = upstreams::refused_at_start(&start.config, start.owner.map(|(uid, _)| uid));
        if !without.is_empty() {
            return Err(without.join("\n"));
        }
        let inheritance = start.inheritance.take();
        let inherited = std::mem::take(&mut start.inherited);
        let binder = std::mem::replace(&mut start.binder, Box::new(super::SystemBinder));
        let workers = worker_count(&start);
        let mut sockets = Sockets::new(binder, inherited, &start.config.listeners, workers, start.owner);
        sockets.outlived = std::mem::take(&mut start.kept);
        let config = Arc::clone(&start.config);
        let health = Health::new(start.first_sequence);
        let refused = |faults| Refusal::from(faults).to_string();
        let Some((will, given)) = inheritance else {
            let opened = sockets.open(config.listeners.iter(), &[]).map_err(refused)?;
            sockets.outlived.clear();
            let log_level = config.log.level;
            let state = State::new(config, now.wall);
            let (adoption, legacy) = (None, None);
            return Ok(Self { start, started: now, sockets, adoption, legacy, log_level, health, state, opened });
        };
        let started = upgrade::started(&will, now);
        let by_hand = will.log_level.as_deref().and_then(|word| word.parse().ok());
        if let Some(level) = by_hand {
            (start.set_log_level)(level);
        }
        let log_level = by_hand.unwrap_or(config.log.level);
        let (state, legacy) = Legacy::new(will, Arc::clone(&config), now.wall);
        let adoption = sockets.take_over(given, &config, |name| state.accepts(name)).map_err(refused)?;
        let (adoption, legacy) = (Some(adoption), Some(legacy));
        Ok(Self { start, started, sockets, adoption, legacy, log_level, health, state, opened: BTreeMap::new() })
    }

    /// Starts the workers and gives them the first configuration. They serve
    /// once [`Controller::run`] has told [`Hook::Ready`].
    ///
    /// # Errors
    /// If the system refuses a thread or its poll.
    pub fn launch(self) -> Result<(Controller, Handle), String> {
        self.launch_with(worker::Handle::spawn)
    }

    /// As [`launch`](Self::launch), with other workers.
    ///
    /// # Errors
    /// What `spawn` says.
    pub fn launch_with<P: WorkerPort>(
        mut self,
        mut spawn: impl FnMut(Settings) -> io::Result<P> + Send + 'static,
    ) -> Result<(Controller<P>, Handle), String> {
        let mut workers: Vec<P> = Vec::new();
        let all = settings(&self.start, self.started);
        let Some(first) = all.first().cloned() else { return Err("no worker is to be started".to_owned()) };
        for settings in all {
            let index = settings.index;
            match spawn(settings) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    for worker in &workers {
                        // A worker that does not take even this is gone already.
                        let _ = worker.send(Command::Stop);
                    }
                    return Err(format!("cannot start worker {index}: {error}"));
                }
            }
        }
        let mut fleet = Fleet::new(workers);
        let mut state = self.state.clone().with_workers(fleet.workers().len());
        let now = self.start.clock.now();
        if let Some(legacy) = &mut self.legacy {
            self.health.inherit(state.config(), std::mem::take(&mut legacy.health), now);
        }
        self.health.follow(state.config(), now);
        // Of most nothing is known yet: those rest that are unused until it is.
        if let (Some(resting), _) = self.health.settle(&state) {
            state.let_rest(resting);
        }
        let mut delta = fleet.told().delta(&state);
        if self.adoption.is_some() {
            // Pools only; listeners when this process may accept.
            delta = Delta { pools: delta.pools, ..Delta::default() };
        }
        let cpus = std::mem::take(&mut self.start.cpus);
        let hands = Hands::new(Box::new(spawn), first, cpus, fleet.count());
        let first = fleet.carry_out(&state, delta, std::mem::take(&mut self.opened));
        let (handle, requests, events) = Handle::new();
        Ok((Controller::new(self, state, fleet, hands, first, requests, events), handle))
    }
}

fn worker_count(start: &Start) -> usize {
    let wanted = start.config.workers.count;
    wanted.map_or(start.cpus.len(), usize::from).clamp(1, worker::MAX_WORKERS)
}

/// One entry a worker; to be called when all sockets are open.
fn settings(start: &Start, started: Now) -> Vec<Settings> {
    let wanted = &start.config.workers;
    let count = worker_count(start);
    let usage = (start.usage)();
    // Limit 0: nobody knows it, the kernel will tell.
    let limit = if usage.fds_limit == 0 { u64::MAX } else { usage.fds_limit };
    let fds = FdBudget::new(limit, usage.fds_used + FDS_OF_A_WORKER * count as u64);
    let gates = ProcessGate::new();
    gates.set_limits(&start.config.limits);
    let cpu = |index: usize| match start.cpus.len() {
        0 => None,
        cpus => Some(start.cpus[index % cpus]),
    };
    (0..count)
        .map(|index| Settings {
            index,
            buffer_size: wanted.buffer_size,
            busy_poll: wanted.busy_poll,
            cpu: if wanted.pin { cpu(index) } else { None },
            epoch: started.instant,
            first_sequence: start.first_sequence,
            fds: Arc::clone(&fds),
            gates: Arc::clone(&gates),
            access: start.access.clone(),
        })
        .collect()
}
