//! What passes between a netd and its successor, in netd's own words. Ids of
//! one process mean nothing in the next: objects go by name.

use std::{
    net::IpAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::super::{
    balancing::Split,
    history::{HistoryEntry, Origin, Returns},
    request::{EndpointOverride, ListenerOverride, Override, PoolOverride, Provenance, Refusal, Target},
};
use crate::{metrics::HistogramSnapshot, worker::Parcel};

/// Asks for an upgrade.
#[derive(Debug, Clone, Default)]
pub struct UpgradeRequest {
    /// The binary to start; `None`: the path that this one was started from.
    pub binary: Option<PathBuf>,
    /// The file that the successor reads; `None`: as this one.
    pub config: Option<PathBuf>,
    /// Back to the binary before this one, while it is kept.
    pub rollback: bool,
    /// Who and why.
    pub by: Provenance,
}

/// How far an upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The new binary was started.
    Spawned,
    /// It runs, and has read and checked its configuration.
    Checked,
    /// It has the listening sockets, and its workers stand.
    Ready,
    /// It accepts; this one does not any more.
    Serving,
    /// Connections move.
    Moving,
    /// It has all that could move, the counters, and answers operators.
    Handed,
}

impl Phase {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spawned => "spawned",
            Self::Checked => "checked",
            Self::Ready => "ready",
            Self::Serving => "serving",
            Self::Moving => "moving",
            Self::Handed => "handed",
        }
    }
}

/// What the asker sees while an upgrade goes on.
#[derive(Debug, Clone)]
pub enum UpgradeProgress {
    /// A phase was reached, so long after the beginning.
    Reached(Phase, Duration),
    /// So many connections have moved, of so many.
    Moved {
        /// Moved.
        moved: u64,
        /// In all, when the move began.
        of: u64,
    },
    /// It is over; nothing follows.
    Ended(Box<Receipt>),
}

/// How an upgrade ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The successor has everything; this process ends.
    Upgraded,
    /// The successor serves; what could not move is drained by this process.
    Draining,
    /// Nothing has changed: the successor failed before it was ready.
    Refused,
    /// The successor failed after it was ready; this process serves again, and
    /// what had moved is lost.
    Reverted,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::Upgraded, Self::Draining, Self::Refused, Self::Reverted];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upgraded => "upgraded",
            Self::Draining => "draining",
            Self::Refused => "refused",
            Self::Reverted => "reverted",
        }
    }
}

/// The proof of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// How it ended.
    pub verdict: Verdict,
    /// Why it failed, or what is to be known; one line, may be empty.
    pub reason: String,
    /// Who asked.
    pub by: Provenance,
    /// When it began.
    pub began_at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Version and process id before.
    pub from: (String, u32),
    /// Version and process id of the successor; empty and 0 if it did not get
    /// so far.
    pub to: (String, u32),
    /// Phases reached, with the time since the beginning.
    pub phases: Vec<(Phase, Duration)>,
    /// Listening sockets handed over.
    pub sockets: u64,
    /// Connections handed over.
    pub moved: u64,
    /// Connections that this process drains the classic way.
    pub drained: u64,
    /// Connections that were lost: 0, but for a successor that died.
    pub lost: u64,
    /// Longest time for which one connection was nobody's.
    pub longest_pause: Duration,
    /// Figures of the kernel before and after, by name (`ListenDrops`,
    /// `ListenOverflows`, `TCPMigrateReqSuccess`, `TCPMigrateReqFailure`,
    /// `OutRsts`, `AttemptFails`); those that it does not know are left out.
    pub kernel: Vec<(String, u64, u64)>,
}

/// A drain that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDrain {
    /// What drains.
    pub target: Target,
    /// Until the rest is cut; `None`: it is not.
    pub left: Option<Duration>,
    /// Over which time connections that rest end evenly.
    pub gradual: Option<Duration>,
    /// Who asked.
    pub by: Provenance,
    /// What it has come to so far; `None`: not known.
    pub past: Option<DrainPast>,
}

/// What a drain has come to before an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPast {
    /// Since it began.
    pub elapsed: Duration,
    /// Connections that were open.
    pub open: u64,
    /// Those that had ended by themselves.
    pub finished: u64,
    /// Those that had been ended while they rested.
    pub retired: u64,
    /// Those that had been cut.
    pub cut: u64,
}

/// An endpoint that takes a growing part of its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowStart {
    /// The pool.
    pub pool: String,
    /// The endpoint.
    pub address: String,
    /// For how long it has been starting.
    pub elapsed: Duration,
}

/// A listener or an endpoint that a reload removed and that has connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Which.
    pub target: Target,
    /// How long it is gone.
    pub age: Duration,
}

/// All that a successor must know before it serves.
#[derive(Debug)]
pub struct Will {
    /// Number of the configuration in force.
    pub generation: u64,
    /// When it came into force.
    pub applied_at: SystemTime,
    /// When the first process of this line was started.
    pub started_at: SystemTime,
    /// What operators have set.
    pub overrides: Overrides,
    /// Drains that have not ended; not those of workers, which end with them.
    pub drains: Vec<OpenDrain>,
    /// Log level, if it was set by hand.
    pub log_level: Option<String>,
    /// What was counted so far.
    pub ledger: Ledger,
    /// Of the latest upgrades, oldest first.
    pub receipts: Vec<Receipt>,
    /// Upgrades so far, by verdict.
    pub upgrades: Vec<(Verdict, u64)>,
    /// Where the configuration in force came from.
    pub origin: Origin,
    /// What was in force, and what was refused, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Generations that one may go back to, oldest first.
    pub generations: Vec<KeptGeneration>,
    /// What is known of endpoints, so that nobody is sent to those that are
    /// known not to serve.
    pub health: Vec<KnownHealth>,
    /// Slow starts under way.
    pub slow_starts: Vec<SlowStart>,
    /// What reloads have removed and has connections still.
    pub removals: Vec<Removal>,
}

/// What is known of the health of one endpoint of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHealth {
    /// The pool.
    pub pool: String,
    /// The endpoint.
    pub address: String,
    /// What its check came to; `None`: nothing yet, or it has none.
    pub healthy: Option<bool>,
    /// How long it is ejected still.
    pub ejected: Option<Duration>,
    /// Ejections that the next one's length counts, if it is ejected.
    pub ejections: u32,
    /// Since when it stands so.
    pub since: SystemTime,
    /// Why.
    pub why: String,
    /// When it last became usable after it was not.
    pub healthy_at: Option<SystemTime>,
}

/// A generation whose configuration is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptGeneration {
    /// Its number.
    pub number: u64,
    /// The generation whose configuration it is: itself, unless it was
    /// restored.
    pub root: u64,
    /// It was taken back.
    pub reverted: bool,
    /// The configuration as TOML.
    pub text: String,
}

/// Overrides in force, by object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Of the whole daemon.
    pub daemon: Option<Override<ListenerOverride>>,
    /// Name of the listener.
    pub listeners: Vec<(String, Override<ListenerOverride>)>,
    /// Name of the pool.
    pub pools: Vec<(String, Override<PoolOverride>)>,
    /// Name of the pool, address of the endpoint.
    pub endpoints: Vec<((String, String), Override<EndpointOverride>)>,
    /// Name of the listener; the shares of its pools.
    pub splits: Vec<(String, Override<Split>)>,
}

/// Listening sockets of one listener.
#[derive(Debug)]
pub struct ListenerSockets {
    /// Name of the listener.
    pub name: String,
    /// The address as configured.
    pub address: String,
    /// The address in fact bound.
    pub bound: String,
    /// The listener and its pool as TOML, should the successor not have it;
    /// empty: not known.
    pub settings: String,
    /// How they came to be, which decides how they end.
    pub origin: SocketOrigin,
    /// In order of the workers that served them; a Unix-domain or inherited
    /// socket may be there once for all workers.
    pub sockets: Vec<OwnedFd>,
}

/// How listening sockets came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketOrigin {
    /// netd bound them, one a worker.
    Own,
    /// netd bound them while it was root, and keeps the address for good.
    Kept,
    /// netd bound one Unix-domain socket for all workers.
    Shared,
    /// systemd made them.
    Inherited,
}

/// Counted so far, or since the last ledger. Gauges are not in it: they travel
/// with what they count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// In order of index.
    pub workers: Vec<WorkerLedger>,
    /// By name, those that are gone included.
    pub listeners: Vec<(String, ListenerLedger)>,
    /// By name.
    pub pools: Vec<(String, PoolLedger)>,
    /// By pool and address, those that are gone included.
    pub endpoints: Vec<((String, String), EndpointLedger)>,
    /// Reloads applied and refused.
    pub reloads: (u64, u64),
    /// Connections and bytes of listeners that are long gone: total, from
    /// downstream, to downstream.
    pub departed: (u64, u64, u64),
    /// What control itself counts.
    pub control: ControlLedger,
}

/// What is counted outside of the workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlLedger {
    /// By pool and address, of endpoints that are checked or watched.
    pub health: Vec<((String, String), HealthLedger)>,
    /// By pool: what its probes took.
    pub probe_times: Vec<(String, HistogramSnapshot)>,
    /// Reloads on trial, and rollbacks.
    pub returns: Returns,
    /// Drains that have ended: drained, taken back.
    pub drains: [u64; 2],
    /// Connections that ended in them: by themselves, while they rested, cut.
    pub drained: [u64; 3],
    /// Lines of the access log: written, dropped because the writer was behind,
    /// dropped because the destination did not take them.
    pub access: [u64; 3],
}

/// Of the health of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthLedger {
    /// Ejections.
    pub ejections: u64,
    /// Ejections that were not granted.
    pub ejections_refused: u64,
    /// Probes: good, bad, timed out, not asked.
    pub probes: [u64; 4],
}

/// Of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerLedger {
    /// Passes of the loop.
    pub turns: u64,
    /// Events handled.
    pub events: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Loop lag.
    pub turn_time: HistogramSnapshot,
    /// Connections from other workers.
    pub moved_in: u64,
    /// Connections to other workers.
    pub moved_out: u64,
    /// Connections that left an endpoint that was removed.
    pub redialed: u64,
}

/// Of one listener, all workers together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerLedger {
    /// Connections accepted.
    pub accepted: u64,
    /// Bytes received from clients.
    pub bytes_from_downstream: u64,
    /// Bytes sent to clients.
    pub bytes_to_downstream: u64,
    /// Failed accepts.
    pub accept_errors: u64,
    /// Pauses for want of descriptors.
    pub accept_pauses: u64,
    /// Closed connections by the words of their reason: by, phase, cause.
    pub closed: Vec<((String, String, String), u64)>,
    /// Refused connections by cause.
    pub refused: Vec<(String, u64)>,
    /// Accept to close.
    pub duration: HistogramSnapshot,
}

/// Of one pool, all workers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolLedger {
    /// Refused for want of an endpoint.
    pub no_endpoint: u64,
    /// Connects tried on another endpoint.
    pub retries: u64,
    /// Further attempts that the retry budget did not have.
    pub retries_denied: u64,
    /// Had to wait because the pool was full.
    pub queued: u64,
    /// Waited in vain.
    pub queue_timeouts: u64,
    /// Closed because the pool, and its line, were full.
    pub full: u64,
}

/// Of one endpoint, all workers together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointLedger {
    /// Connections established.
    pub connected: u64,
    /// Sent to it.
    pub bytes_to_upstream: u64,
    /// Received from it.
    pub bytes_from_upstream: u64,
    /// Failed connects.
    pub connect_failures: u64,
    /// Connections that it ended soon and without a byte.
    pub early_resets: u64,
    /// errno of the last failed connect, and when.
    pub last_failure: Option<(u64, SystemTime)>,
    /// When the last connect succeeded.
    pub last_success_at: Option<SystemTime>,
    /// Time to connect.
    pub connect_time: HistogramSnapshot,
}

/// A connection on its way to another process.
#[derive(Debug)]
pub struct Moving {
    /// Name of the listener it came in on.
    pub listener: String,
    /// Name of its pool.
    pub pool: Option<String>,
    /// Pool and address of the endpoint that it is relayed to.
    pub endpoint: Option<(String, String)>,
    /// Pool and address of endpoints that were tried before.
    pub tried: Vec<(String, String)>,
    /// The connection; ids of objects in it are of the process that fills them
    /// in, and mean nothing in the other.
    pub parcel: Parcel,
}

/// What is open in a process that accepts no more: its successor keeps places
/// for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Connections in all.
    pub connections: u64,
    /// File descriptors that they use.
    pub fds: u64,
    /// Listeners that have some.
    pub listeners: Vec<ExpectedListener>,
    /// Pools that have some.
    pub pools: Vec<ExpectedPool>,
    /// Connections by pool and address of the endpoint.
    pub endpoints: Vec<((String, String), u64)>,
}

/// Of one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedListener {
    /// Its name.
    pub name: String,
    /// Connections.
    pub open: u64,
    /// Those of each source, if they are counted, most first; a network by its
    /// first address. Bounded.
    pub sources: Vec<(IpAddr, u32)>,
    /// Until its burst of new connections is whole again.
    pub rate: Duration,
    /// The same of each source, longest first. Bounded.
    pub source_rates: Vec<(IpAddr, Duration)>,
}

/// Of one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedPool {
    /// Its name.
    pub name: String,
    /// Connections that it has or that are being opened.
    pub open: u64,
    /// Connections in its line.
    pub waiting: u64,
}

/// The predecessor as the story of an upgrade needs it.
pub trait Estate {
    /// What the successor must know. From here on no other change begins.
    fn will(&self) -> impl Future<Output = Result<Will, Refusal>>;

    /// Duplicates of all listening sockets.
    fn sockets(&self) -> impl Future<Output = Result<Vec<ListenerSockets>, Refusal>>;

    /// Accepts no more; the sockets stay open. Answers what is open.
    fn stop_accepting(&self) -> impl Future<Output = Result<Expected, Refusal>>;

    /// Takes up to `limit` connections from the workers; empty: none is left
    /// that can move.
    fn export(&self, limit: usize) -> impl Future<Output = Result<Vec<Moving>, Refusal>>;

    /// Gives connections back to the workers.
    fn take_back(&self, connections: Vec<Moving>) -> impl Future<Output = ()>;

    /// What was counted since the last will or ledger.
    fn ledger(&self) -> impl Future<Output = Result<Ledger, Refusal>>;

    /// Connections open.
    fn open(&self) -> impl Future<Output = u64>;

    /// Serves again as if nothing had happened, and tells what came of it.
    fn resume(&self, receipt: Receipt) -> impl Future<Output = ()>;

    /// Everything is handed over: drains what is left, then ends without
    /// closing what the successor has.
    fn retire(&self, receipt: Receipt) -> impl Future<Output = ()>;
}

/// The successor as the story of an upgrade needs it.
pub trait Heir {
    /// Takes connections; answers those that it cannot take.
    fn import(&self, connections: Vec<Moving>) -> impl Future<Output = Vec<Moving>>;

    /// Adds what the predecessor counted.
    fn absorb(&self, ledger: Ledger) -> impl Future<Output = ()>;

    /// The predecessor's word on how it went; from here on operators are
    /// answered here.
    fn succeed(&self, receipt: Receipt) -> impl Future<Output = ()>;
}
