//! What an operator may ask, in netd's own words. The admin API, signals and
//! tests all speak this; the Controller answers it.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::{mpsc, oneshot};

pub use super::standing::*;

use super::balancing::{ChoiceView, ExplainRequest, SetSplit, ShareView, Split};
use super::checks::{CheckRequest, CheckResults};
use super::history::{ConfirmRequest, HistoryEntry, Pending, Returns, RollbackOutcome, RollbackRequest, Terms};
use super::upgrade::{Receipt, UpgradeProgress, UpgradeRequest, Verdict};

pub use super::event::{Event, EventKind};
use crate::{
    config::{Config, Listener, LogLevel, Policy},
    metrics::HistogramSnapshot,
    protocol::CloseReason,
};

pub use super::drain_plan::{Course, DrainMode, DrainPlan};

/// Where an answer goes. A dropped receiver is no fault.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// Who asks for a change, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// A person, a tool, `signal`.
    pub who: String,
    /// Free text.
    pub why: String,
}

/// One thing an operator may ask.
#[derive(Debug)]
pub enum Request {
    /// The daemon at a glance.
    Status(Reply<Status>),
    /// All listeners, sorted by name.
    Listeners(Reply<Vec<ListenerView>>),
    /// All pools, sorted by name.
    Pools(Reply<Vec<PoolView>>),
    /// One page of live connections, ordered by id.
    Connections(ConnectionQuery, Reply<ConnectionPage>),
    /// Ends connections.
    Close(CloseRequest, Reply<CloseOutcome>),
    /// The configuration in force.
    Config(Reply<ConfigView>),
    /// What applying a candidate would do.
    Plan(Candidate, Reply<PlanView>),
    /// Applies a candidate.
    Reload(ReloadRequest, Reply<ReloadOutcome>),
    /// Keeps a reload that is on trial; answers its generation.
    Confirm(ConfirmRequest, Reply<u64>),
    /// Returns to an earlier generation.
    Rollback(RollbackRequest, Reply<RollbackOutcome>),
    /// Changes of the configuration, the latest first.
    History(Reply<Vec<HistoryEntry>>),
    /// Drains; progress comes over the channel that is the answer.
    Drain(DrainRequest, Reply<mpsc::Receiver<DrainProgress>>),
    /// Watches a drain that is under way or has ended lately.
    WatchDrain(Target, Reply<mpsc::Receiver<DrainProgress>>),
    /// Takes a drain back.
    Undrain(Target, Provenance, Reply<()>),
    /// Lifts a stop of a listener; answers whether it accepts, and why not.
    StartListener(String, Provenance, Reply<Explanation>),
    /// Stops one listener from accepting.
    StopListener(StopRequest, Reply<()>),
    /// Overrides an endpoint.
    SetEndpoint(SetEndpoint, Reply<EndpointView>),
    /// Sets the shares of a listener's pools.
    SetSplit(SetSplit, Reply<ListenerView>),
    /// Where a connection would go that came now.
    Explain(ExplainRequest, Reply<ChoiceView>),
    /// Checks endpoints now; what comes of it comes over the channel that is the
    /// answer.
    Check(CheckRequest, Reply<CheckResults>),
    /// Evens connections over the workers; answers what moved.
    Rebalance(RebalanceRequest, Reply<Vec<Moved>>),
    /// Which layer decides about an object.
    Why(String, Reply<Explanation>),
    /// Sets the log level; answers the one before.
    SetLogLevel(LogLevel, Provenance, Reply<LogLevel>),
    /// Drains and stops, or stops at once.
    /// Answers how it goes; `None`: at once.
    Shutdown(ShutdownRequest, Reply<Option<DrainPlan>>),
    /// Hands everything to a new process; progress comes over the channel that
    /// is the answer.
    Upgrade(UpgradeRequest, Reply<mpsc::Receiver<UpgradeProgress>>),
    /// Receipts of the latest upgrades, oldest first.
    Upgrades(Reply<Vec<Receipt>>),
    /// All figures for `/metrics`.
    Snapshot(Reply<Snapshot>),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request or candidate is wrong; says where and what would be right.
    #[error("{0}")]
    Invalid(String),
    /// No such object; says what there is.
    #[error("{0}")]
    NotFound(String),
    /// Cannot be done in the present state.
    #[error("{0}")]
    Precondition(String),
    /// Another change is in flight.
    #[error("{0}")]
    Busy(String),
    /// A worker did not answer in time.
    #[error("{0}")]
    Timeout(String),
    /// The daemon is going away.
    #[error("netd is shutting down")]
    ShuttingDown,
}

/// State of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonState {
    /// Not serving yet.
    Starting,
    /// Accepting.
    Serving,
    /// Accepting still, but about to drain: balancers in front shall notice.
    LameDuck,
    /// Accepting nothing new; connections are open.
    Draining,
    /// Accepting nothing new; no connection is open.
    Drained,
    /// About to exit.
    Stopping,
}

impl DaemonState {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::LameDuck => "lame-duck",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Stopping => "stopping",
        }
    }
}

/// The daemon at a glance.
#[derive(Debug, Clone)]
pub struct Status {
    /// See [`DaemonState`].
    pub state: DaemonState,
    /// Process start.
    pub started_at: SystemTime,
    /// Number of the configuration in force; starts at 1.
    pub generation: u64,
    /// When it was applied.
    pub applied_at: SystemTime,
    /// How the last reload ended: `None` before the first.
    pub last_reload: Option<Result<(), String>>,
    /// The daemon's own file.
    pub config_path: Option<String>,
    /// Who sent the configuration in force as a candidate; `None`: it is the
    /// daemon's own.
    pub candidate_by: Option<String>,
    /// The earlier generation that it is, and who brought it back; `None`: it
    /// is none, or the daemon's own file says the same.
    pub restored: Option<(u64, String)>,
    /// A reload that may still be taken back.
    pub pending: Option<Pending>,
    /// All listeners together.
    pub figures: Figures,
    /// File descriptors in use.
    pub fds_used: u64,
    /// RLIMIT_NOFILE, soft.
    pub fds_limit: u64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// In order of index.
    pub workers: Vec<WorkerView>,
    /// Number of overrides in force.
    pub overrides: usize,
    /// The level of overload and what it comes from; empty: netd does not shed
    /// load.
    pub overload: String,
    /// 0: none, 1: idle connections are closed, 2: new ones are refused.
    pub overload_level: u8,
    /// Limits of the process that are set.
    pub limits: Vec<LimitUse>,
    /// Log level in force.
    pub log_level: LogLevel,
    /// Where the log goes, in words.
    pub log_destination: String,
}

/// One worker.
#[derive(Debug, Clone)]
pub struct WorkerView {
    /// 0 to N-1.
    pub index: usize,
    /// Connections open.
    pub active: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Passes of its loop.
    pub turns: u64,
    /// It answered the last heartbeat in time.
    pub responsive: bool,
    /// CPU it is pinned to.
    pub cpu: Option<u32>,
    /// Override.
    pub override_: Option<Override<WorkerOverride>>,
    /// It takes new connections, if any listener accepts.
    pub accepting: bool,
}

/// Bytes and connections of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Open now.
    pub active: u64,
    /// Since start.
    pub total: u64,
    /// Received from clients.
    pub bytes_from_downstream: u64,
    /// Sent to clients.
    pub bytes_to_downstream: u64,
}

/// A value set by an operator that stands above the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override<V> {
    /// The value.
    pub value: V,
    /// Who and why.
    pub by: Provenance,
    /// When.
    pub set_at: SystemTime,
    /// When it ends by itself.
    pub expires_at: Option<SystemTime>,
}

/// What can be overridden on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerOverride {
    /// Not accepting, by StopListener.
    Stopped,
    /// Not accepting, by Drain.
    Draining,
}

/// What can be overridden on a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolOverride {
    /// No new connections on any endpoint.
    Draining,
}

/// What can be overridden on an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointOverride {
    /// This weight instead of the file's.
    Weight(u16),
    /// No new connections.
    Draining,
    /// No new connections; shown as under maintenance.
    Maintenance,
}

/// What can be overridden on a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerOverride {
    /// Not accepting, by Drain; the other workers have its sockets.
    Draining,
}

/// What is seen of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerState {
    /// Accepting.
    Accepting,
    /// Would accept, but at least one worker is out of file descriptors.
    Paused,
    /// Not accepting; connections are open.
    Draining,
    /// Not accepting; no connection is open.
    Stopped,
    /// Gone from the configuration; connections are open.
    Removed,
}

/// What is seen of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// Takes connections.
    Up,
    /// Takes connections, but the last connect failed.
    Failing,
    /// Its checks fail: takes none, unless an operator set its weight or the
    /// pool uses all.
    Unhealthy,
    /// Its connections fail: as above.
    Ejected,
    /// Was not asked yet, and is not used until then.
    Unknown,
    /// Takes none: weight 0, drained, or its pool is.
    Draining,
    /// Takes none: maintenance.
    Maintenance,
    /// Gone from the configuration; connections are open.
    Removed,
}

impl EndpointState {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Failing => "failing",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Unknown => "unknown",
            Self::Draining => "draining",
            Self::Maintenance => "maintenance",
            Self::Removed => "removed",
        }
    }
}

/// What is seen of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolState {
    /// An endpoint takes connections, and the last connect to it did not fail.
    Up,
    /// The last connect to every endpoint that takes connections failed.
    Failing,
    /// Drained by an operator.
    Draining,
    /// No endpoint takes connections.
    Down,
    /// Gone from the configuration; connections are open.
    Removed,
}

impl PoolState {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Failing => "failing",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Removed => "removed",
        }
    }
}

/// A listener, three layers.
#[derive(Debug, Clone)]
pub struct ListenerView {
    /// Configured.
    pub config: Arc<Listener>,
    /// Its pools, with the file's shares and those in force.
    pub shares: Vec<ShareView>,
    /// Shares that stand above the file's.
    pub split: Option<Override<Split>>,
    /// Override.
    pub override_: Option<Override<ListenerOverride>>,
    /// Observed.
    pub state: ListenerState,
    /// Observed.
    pub figures: Figures,
    /// Observed.
    pub accept_errors: u64,
    /// The address in fact bound.
    pub bound: String,
    /// The socket came from systemd.
    pub inherited: bool,
    /// Limits that are set.
    pub limits: Vec<LimitUse>,
    /// Refused connections by cause, in fixed words; causes that never
    /// happened are left out.
    pub refused: Vec<(&'static str, u64)>,
}

/// A limit that is set, and how near it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    /// The key of the configuration.
    pub name: String,
    /// In use; `None`: it is nothing to be counted.
    pub used: Option<u64>,
    /// The limit, as the configuration has it.
    pub limit: String,
}

/// Figures of a pool's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolLimitFigures {
    /// Connections that wait for the pool now.
    pub waiting: u64,
    /// Connections that had to wait.
    pub queued: u64,
    /// Connections that waited in vain.
    pub queue_timeouts: u64,
    /// Connects not tried again for want of a retry budget.
    pub retries_denied: u64,
}

/// A pool, three layers.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// How it chooses; the default for one that is gone.
    pub policy: Policy,
    /// Override.
    pub override_: Option<Override<PoolOverride>>,
    /// Observed.
    pub state: PoolState,
    /// In the order of the file; then those that are gone from it and have
    /// connections open.
    pub endpoints: Vec<EndpointView>,
    /// All endpoints together.
    pub figures: Figures,
    /// Names of the listeners that relay to it.
    pub listeners: Vec<String>,
    /// Limits that are set.
    pub limits: Vec<LimitUse>,
    /// Connections closed since start because of them, by cause; those that
    /// occurred.
    pub refused: Vec<(&'static str, u64)>,
    /// Observed: too few of its endpoints are healthy, so all are used.
    pub panics: bool,
}

impl PoolView {
    /// Endpoints that are given new connections.
    pub fn taking(&self) -> usize {
        self.endpoints.iter().filter(|each| each.weight > 0).count()
    }

    /// Endpoints that take connections and are not failing.
    pub fn reachable(&self) -> usize {
        self.endpoints.iter().filter(|each| each.state == EndpointState::Up).count()
    }
}

/// An endpoint, three layers.
#[derive(Debug, Clone)]
pub struct EndpointView {
    /// As written.
    pub address: String,
    /// Configured.
    pub configured_weight: u16,
    /// Override.
    pub override_: Option<Override<EndpointOverride>>,
    /// In force.
    pub weight: u16,
    /// The part of its share that it takes, in per cent: less than 100 in a
    /// slow start.
    pub percent: u32,
    /// Takes connections only if no other does.
    pub backup: bool,
    /// Most connections that it may have.
    pub max_connections: Option<u32>,
    /// Connections that it has, all workers together.
    pub load: u64,
    /// Observed.
    pub state: EndpointState,
    /// Observed.
    pub figures: Figures,
    /// Observed.
    pub connect_failures: u64,
    /// Why and when the last connect failed.
    pub last_failure: Option<(String, SystemTime)>,
    /// Mean time to connect.
    pub mean_connect_time: Option<Duration>,
    /// Observed; `None`: the pool neither checks nor ejects.
    pub health: Option<HealthView>,
}

/// Which connections. Every field that is set must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionFilter {
    /// Name of the listener.
    pub listener: Option<String>,
    /// Name of the pool.
    pub pool: Option<String>,
    /// Address of the endpoint, as written.
    pub endpoint: Option<String>,
    /// Client's network: address and prefix length.
    pub source: Option<(IpAddr, u8)>,
    /// At least this old.
    pub min_age: Option<Duration>,
    /// Idle at least so long.
    pub min_idle: Option<Duration>,
}

/// One page of connections.
#[derive(Debug, Clone, Default)]
pub struct ConnectionQuery {
    /// Which.
    pub filter: ConnectionFilter,
    /// Only ids above this one.
    pub after: Option<u64>,
    /// 1 to 1000.
    pub page_size: usize,
}

/// Answer to [`ConnectionQuery`].
#[derive(Debug, Clone, Default)]
pub struct ConnectionPage {
    /// Ordered by id.
    pub connections: Vec<ConnectionView>,
    /// There may be more after the last of these.
    pub more: bool,
}

/// State of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// Waiting for its PROXY header.
    Identifying,
    /// Finding an endpoint.
    Dialing,
    /// Both directions open.
    Open,
    /// One direction has ended.
    HalfClosed,
    /// Only delivering what is left.
    Closing,
}

/// A live connection.
#[derive(Debug, Clone)]
pub struct ConnectionView {
    /// Unique over cores and upgrades.
    pub id: u64,
    /// Its owner.
    pub worker: usize,
    /// Listener's name.
    pub listener: String,
    /// Client's address.
    pub source: String,
    /// The proxy that said so, if one did: its address, or `unix:`.
    pub proxy: Option<String>,
    /// Pool and endpoint.
    pub upstream: Option<(String, String)>,
    /// See [`ConnectionState`].
    pub state: ConnectionState,
    /// Accepted.
    pub since: SystemTime,
    /// No byte moved for so long.
    pub idle: Duration,
    /// From the client.
    pub bytes_from_downstream: u64,
    /// To the client.
    pub bytes_to_downstream: u64,
}

/// Which connections to end.
#[derive(Debug, Clone)]
pub struct CloseRequest {
    /// These.
    pub ids: Vec<u64>,
    /// And those that match.
    pub filter: Option<ConnectionFilter>,
    /// Who and why.
    pub by: Provenance,
}

/// Answer to [`CloseRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloseOutcome {
    /// How many were ended.
    pub closed: u64,
    /// Ids without a live connection.
    pub unknown: Vec<u64>,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct ConfigView {
    /// Without overrides.
    pub config: Arc<Config>,
    /// Its number.
    pub generation: u64,
    /// The daemon's own file.
    pub path: Option<String>,
    /// Who sent it as a candidate; `None`: it is the daemon's own.
    pub candidate_by: Option<String>,
    /// When it was applied.
    pub applied_at: SystemTime,
}

/// A candidate configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    /// The daemon's own source, read anew.
    Source,
    /// This text.
    Text(String),
}

/// Applies a candidate.
#[derive(Debug, Clone)]
pub struct ReloadRequest {
    /// What.
    pub candidate: Candidate,
    /// Refuse unless this generation is in force.
    pub expected_generation: Option<u64>,
    /// On what terms it stays in force.
    pub terms: Terms,
    /// Who and why.
    pub by: Provenance,
}

/// Answer to [`Request::Plan`].
#[derive(Debug, Clone)]
pub struct PlanView {
    /// Object by object.
    pub changes: Vec<Change>,
    /// Made against this generation.
    pub generation: u64,
    /// What a reload cannot do.
    pub obstacles: Vec<String>,
    /// What else should be known.
    pub notes: Vec<String>,
}

/// Answer to [`Request::Reload`].
#[derive(Debug, Clone)]
pub struct ReloadOutcome {
    /// In force now.
    pub generation: u64,
    /// What changed.
    pub changes: Vec<Change>,
    /// It may still be taken back.
    pub pending: Option<Pending>,
}

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// New.
    Added,
    /// Gone.
    Removed,
    /// Other settings.
    Changed,
}

/// One object's change and the live connections it touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `listener/web`, `pool/db`, `endpoint/db/10.0.0.1:5432`, `log` ...
    pub object: String,
    /// See [`ChangeKind`].
    pub kind: ChangeKind,
    /// One line a setting: `weight: 1 -> 3`.
    pub details: Vec<String>,
    /// Connections that go on as they are.
    pub untouched: u64,
    /// Connections that go on without successors.
    pub drained: u64,
    /// Connections that are cut.
    pub cut: u64,
}

/// What a drain is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Everything.
    Daemon,
    /// One listener.
    Listener(String),
    /// One pool.
    Pool(String),
    /// One endpoint of a pool.
    Endpoint(String, String),
    /// One worker, by index.
    Worker(usize),
}

/// When a drain cuts what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// After the configured `drain.timeout`.
    Configured,
    /// After this.
    After(Duration),
    /// Never.
    Never,
}

/// Stops new connections and waits.
#[derive(Debug, Clone)]
pub struct DrainRequest {
    /// What.
    pub target: Target,
    /// How.
    pub course: Course,
    /// Who and why.
    pub by: Provenance,
}

/// Progress of a drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainProgress {
    /// Still open.
    pub remaining: u64,
    /// Ended by themselves.
    pub finished: u64,
    /// Ended by a gradual drain while they rested.
    pub retired: u64,
    /// Moved to other workers.
    pub moved: u64,
    /// Cut at the deadline.
    pub cut: u64,
    /// Since the drain began.
    pub elapsed: Duration,
    /// To the deadline.
    pub left: Option<Duration>,
    /// Until nothing is left, from how fast connections have ended lately.
    pub estimate: Option<Duration>,
    /// It goes on accepting for this time; `None`: it accepts nothing new.
    pub accepting: Option<Duration>,
    /// See [`DrainMode`].
    pub mode: DrainMode,
    /// In the last message: how it ended.
    pub outcome: Option<DrainOutcome>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainOutcome {
    /// Nothing is left.
    Drained,
    /// Somebody took it back.
    Undrained,
    /// The daemon stopped.
    Shutdown,
    /// It goes on in a successor.
    HandedOver,
}

/// Stops one listener from accepting.
#[derive(Debug, Clone)]
pub struct StopRequest {
    /// Which.
    pub name: String,
    /// The stop ends by itself after this.
    pub expires_in: Option<Duration>,
    /// Who and why.
    pub by: Provenance,
}

/// Overrides an endpoint.
#[derive(Debug, Clone)]
pub struct SetEndpoint {
    /// Name of the pool.
    pub pool: String,
    /// Address, as written.
    pub endpoint: String,
    /// `None` clears.
    pub setting: Option<EndpointOverride>,
    /// Ends by itself after this.
    pub expires_in: Option<Duration>,
    /// Who and why.
    pub by: Provenance,
}

/// Which layer decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The file.
    Configured,
    /// An operator.
    Override,
    /// What is seen.
    Observed,
}

/// Answer to [`Request::Why`].
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Full name.
    pub object: String,
    /// In force.
    pub effective: String,
    /// The deciding layer.
    pub decided_by: Layer,
    /// What the file says.
    pub configured: String,
    /// The override as text, with its provenance.
    pub override_: Option<Override<String>>,
    /// What is seen.
    pub observed: String,
    /// One sentence.
    pub sentence: String,
}

/// Drains and stops, or stops at once.
#[derive(Debug, Clone)]
pub struct ShutdownRequest {
    /// Cut everything at once.
    pub now: bool,
    /// How to drain.
    pub course: Course,
    /// Who and why.
    pub by: Provenance,
}

/// Evens connections over the workers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RebalanceRequest {
    /// Most connections that move; `None`: as many as it takes.
    pub limit: Option<u64>,
    /// Who and why.
    pub by: Provenance,
}

/// Connections that went from one worker to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Index of the worker that gave them.
    pub from: usize,
    /// Index of the worker that took them.
    pub to: usize,
    /// How many.
    pub count: u64,
}

/// All figures at one moment, for the metrics page. Worker by worker where a
/// worker's own figure matters, else summed.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// As in [`Status`].
    pub status: Status,
    /// Listeners, removed ones with open connections included.
    pub listeners: Vec<ListenerSnapshot>,
    /// Pools.
    pub pools: Vec<PoolSnapshot>,
    /// Workers.
    pub workers: Vec<WorkerSnapshot>,
    /// Reloads applied and refused since start.
    pub reloads: (u64, u64),
    /// Upgrades so far, by verdict.
    pub upgrades: Vec<(Verdict, u64)>,
    /// The last one.
    pub last_upgrade: Option<Receipt>,
    /// Reloads on trial and rollbacks.
    pub returns: Returns,
    /// Lines of the access log.
    pub access: AccessFigures,
    /// Drains.
    pub drains: DrainSnapshot,
}

/// Figures of drains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainSnapshot {
    /// Under way: kind of the target, and connections that are left.
    pub running: Vec<(&'static str, u64)>,
    /// Drains that have ended, with nothing left or taken back.
    pub ended: (u64, u64),
    /// Connections that ended under drains: by themselves, while they rested,
    /// cut.
    pub connections: (u64, u64, u64),
}

/// What became of the lines of the access log since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccessFigures {
    /// Handed to the destination.
    pub written: u64,
    /// Dropped: the writer was too far behind.
    pub behind: u64,
    /// Dropped: the destination did not take them.
    pub refused: u64,
}

/// Figures of one listener.
#[derive(Debug, Clone)]
pub struct ListenerSnapshot {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: &'static str,
    /// Accepting now.
    pub accepting: bool,
    /// See [`Figures`].
    pub figures: Figures,
    /// Failed accepts.
    pub accept_errors: u64,
    /// Pauses for want of file descriptors.
    pub accept_pauses: u64,
    /// Refused connections by cause.
    pub refused: Vec<(&'static str, u64)>,
    /// Closed connections by reason; reasons that never happened included.
    pub closed: Vec<(CloseReason, u64)>,
    /// Accept to close.
    pub duration: HistogramSnapshot,
}

/// Figures of one pool.
#[derive(Debug, Clone)]
pub struct PoolSnapshot {
    /// Its name.
    pub name: String,
    /// Connections refused for want of an endpoint.
    pub no_endpoint: u64,
    /// Connections closed because the pool, or every endpoint of it, had as
    /// many as it may, and its line, if it has one, was full too.
    pub full: u64,
    /// Connects tried on another endpoint.
    pub retries: u64,
    /// See [`PoolLimitFigures`].
    pub limits: PoolLimitFigures,
    /// What its health checks took; `None`: it neither checks nor ejects.
    pub probe_time: Option<HistogramSnapshot>,
    /// It uses all endpoints because too few are healthy.
    pub panics: bool,
    /// Its endpoints.
    pub endpoints: Vec<EndpointSnapshot>,
}

/// Figures of one endpoint.
#[derive(Debug, Clone)]
pub struct EndpointSnapshot {
    /// As written.
    pub address: String,
    /// Weight in force.
    pub weight: u16,
    /// The part of its share that it takes, in per cent.
    pub percent: u32,
    /// Takes connections only if no other does.
    pub backup: bool,
    /// Most connections that it may have.
    pub max_connections: Option<u32>,
    /// Connections that it has or is about to have.
    pub load: u64,
    /// It takes new connections.
    pub accepting: bool,
    /// The last connect to it failed.
    pub failing: bool,
    /// Connections established.
    pub connected: u64,
    /// Connections open.
    pub active: u64,
    /// Sent to it.
    pub bytes_to_upstream: u64,
    /// Received from it.
    pub bytes_from_upstream: u64,
    /// Failed connects.
    pub connect_failures: u64,
    /// Connections that it ended soon and without a byte.
    pub early_resets: u64,
    /// `None`: the pool neither checks nor ejects.
    pub health: Option<HealthSnapshot>,
    /// Time to connect.
    pub connect_time: HistogramSnapshot,
}

/// Figures of one worker.
#[derive(Debug, Clone)]
pub struct WorkerSnapshot {
    /// 0 to N-1.
    pub index: usize,
    /// Passes of the loop.
    pub turns: u64,
    /// Events handled.
    pub events: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open.
    pub active: u64,
    /// Connections taken over from another worker.
    pub moved_in: u64,
    /// Connections handed over to another worker.
    pub moved_out: u64,
    /// Connections without a byte that went from a removed endpoint to another.
    pub redialed: u64,
    /// Buffers held.
    pub buffers: u64,
    /// Timers armed.
    pub timers: u64,
    /// Loop lag.
    pub turn_time: HistogramSnapshot,
}
