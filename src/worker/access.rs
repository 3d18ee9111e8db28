//! What the access log is told of a connection that has ended: a plain record
//! in a bounded queue of the worker's own. Rendering and writing are somebody
//! else's; a worker never waits for them, and drops what does not fit.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    config::{self, AccessOnly, AccessTarget},
    metrics::{EndpointShard, ListenerShard, PoolShard},
    protocol::{Cause, CloseReason},
    sys::socket::Socket,
    worker::{
        MAX_WORKERS,
        conn::{Conn, Stage},
        run::Worker,
    },
};

/// Records of one worker that wait for the writer at most.
const QUEUE: usize = 4096;
/// Between two log lines about dropped records.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// A connection that has ended. Names come with the counters, which know whose
/// they are.
#[derive(Debug)]
pub struct AccessRecord {
    /// Unique over cores and upgrades.
    pub id: u64,
    /// The listener that it came in on.
    pub listener: Arc<ListenerShard>,
    /// Client's address; `None` for Unix sockets.
    pub source: Option<SocketAddr>,
    /// The proxy whose header named the client; `None`: none did, or it came over
    /// a Unix socket.
    pub proxy: Option<SocketAddr>,
    /// Where the client connected to, as that header says.
    pub destination: Option<SocketAddr>,
    /// The pool, if it was to be relayed and the pool was still there.
    pub pool: Option<Arc<PoolShard>>,
    /// The endpoint that it was relayed to, or that was tried last.
    pub endpoint: Option<Arc<EndpointShard>>,
    /// Accepted.
    pub since: Instant,
    /// Ended.
    pub until: Instant,
    /// From the wish for an endpoint to the connect that succeeded, those that
    /// failed before included.
    pub connect_time: Option<Duration>,
    /// Connects after the first one.
    pub retries: u16,
    /// Bytes received from the client.
    pub bytes_from_downstream: u64,
    /// Bytes sent to the client.
    pub bytes_to_downstream: u64,
    /// Bytes sent to the endpoint.
    pub bytes_to_upstream: u64,
    /// Bytes received from the endpoint.
    pub bytes_from_upstream: u64,
    /// Why it ended.
    pub reason: CloseReason,
    /// The worker on which it ended.
    pub worker: u16,
}

/// What only the access log wants to know of a connection. It travels with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trail {
    /// It leaves no line: its listener is configured so.
    pub silent: bool,
    /// Connects that were begun.
    pub attempts: u16,
    /// From its beginning to when it wanted an endpoint.
    pub dialing_after: Span,
    /// From then to the connect that succeeded.
    pub connect_time: Span,
}

/// A time in microseconds, or none; above 71 minutes it stays there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span(Option<NonZeroU32>);

impl Span {
    /// So long, rounded down.
    pub fn of(time: Duration) -> Self {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(micros.saturating_add(1)))
    }

    /// How long; `None`: there is none.
    pub fn get(self) -> Option<Duration> {
        self.0.map(|micros| Duration::from_micros(u64::from(micros.get() - 1)))
    }
}

impl Trail {
    /// A connection that began at `since` has its endpoint.
    pub(super) fn connected(&mut self, since: Instant, now: Instant) {
        let age = now.saturating_duration_since(since);
        self.connect_time =
            self.dialing_after.get().map_or_else(Span::default, |after| Span::of(age.saturating_sub(after)));
    }
}

/// The access log as the data plane knows it: a switch for all workers, and
/// the way to the writer. The default one has no writer and is off.
#[derive(Debug, Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
    queues: Sender<Receiver<AccessRecord>>,
}

#[derive(Debug, Default)]
struct Shared {
    rule: Switch,
    written: AtomicU64,
    behind: AtomicU64,
    refused: AtomicU64,
}

/// A [`Rule`], read by every worker for every connection: on a cache line that
/// is not written to otherwise.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Switch(AtomicU64);

impl Default for AccessLog {
    fn default() -> Self {
        Self::new().0
    }
}

impl AccessLog {
    /// One that is off, and where the writer finds the workers' queues: a
    /// worker makes its own when it has the first record.
    pub fn new() -> (Self, Receiver<Receiver<AccessRecord>>) {
        let (queues, made) = bounded(MAX_WORKERS);
        (Self { shared: Arc::default(), queues }, made)
    }

    /// From now on workers tell of these connections.
    pub fn set(&self, config: &config::AccessLog) {
        self.shared.rule.0.store(Rule::new(config).0, Relaxed);
    }

    /// Lines that were written.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Relaxed)
    }

    /// Lines that were dropped because the writer was behind.
    pub fn behind(&self) -> u64 {
        self.shared.behind.load(Relaxed)
    }

    /// Lines that the destination did not take.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }

    /// Counts lines that were written.
    pub fn add_written(&self, lines: u64) {
        self.shared.written.fetch_add(lines, Relaxed);
    }

    /// Counts lines that were dropped because the writer was behind.
    pub fn add_behind(&self, lines: u64) {
        self.shared.behind.fetch_add(lines, Relaxed);
    }

    /// Counts lines that the destination did not take.
    pub fn add_refused(&self, lines: u64) {
        self.shared.refused.fetch_add(lines, Relaxed);
    }
}

/// Which connections leave a line, in one word; 0: none.
///
/// ```text
/// bit 63  on     bit 62  failures only     bits 32 .. 0  sample * 2^32
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule(u64);

impl Rule {
    const ON: u64 = 1 << 63;
    const FAILURES: u64 = 1 << 62;

    fn new(config: &config::AccessLog) -> Self {
        if config.target == AccessTarget::Off {
            return Self(0);
        }
        let failures = if config.only == AccessOnly::Failures { Self::FAILURES } else { 0 };
        let share = (u64::from(config.sample.millionths()) << 32) / 1_000_000;
        Self(Self::ON | failures | share)
    }

    /// The same answer for a connection whoever asks, and for a share of all.
    fn wants(self, id: u64, reason: CloseReason) -> bool {
        let share = self.0 & !(Self::ON | Self::FAILURES);
        self.0 != 0
            && (self.0 & Self::FAILURES == 0 || reason.cause != Cause::End)
            && (share == 1 << 32 || mix(id) >> 32 < share)
    }
}

/// Any two ids have nothing to do with each other any more (the finalizer of
/// SplitMix64).
fn mix(id: u64) -> u64 {
    let mut mixed = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One worker's end.
#[derive(Debug)]
pub(super) struct Tap {
    log: AccessLog,
    worker: u16,
    /// Made for the first record; kept from then on.
    queue: Option<Sender<AccessRecord>>,
    quiet_until: Option<Instant>,
}

impl Tap {
    pub(super) fn new(log: AccessLog, worker: usize) -> Self {
        Self { log, worker: u16::try_from(worker).unwrap_or(u16::MAX), queue: None, quiet_until: None }
    }

    /// Somebody may want to know of a connection's end.
    pub(super) fn is_on(&self) -> bool {
        self.log.shared.rule.0.load(Relaxed) != 0
    }

    fn wants(&self, id: u64, reason: CloseReason) -> bool {
        Rule(self.log.shared.rule.0.load(Relaxed)).wants(id, reason)
    }

    /// Hands a record to the writer, or drops it.
    fn send(&mut self, record: AccessRecord) {
        let now = record.until;
        let queue = self.queue.get_or_insert_with(|| {
            let (sender, receiver) = bounded(QUEUE);
            // Without a writer the queue is a dead end, as it should be.
            let _ = self.log.queues.try_send(receiver);
            sender
        });
        if queue.try_send(record).is_ok() {
            return;
        }
        let dropped = self.log.shared.behind.fetch_add(1, Relaxed) + 1;
        if self.quiet_until.is_none_or(|until| now >= until) {
            self.quiet_until = Some(now + LOG_EVERY);
            tracing::warn!(
                worker = self.worker,
                dropped,
                "lines of the access log are dropped: its destination does not keep up"
            );
        }
    }
}

impl Worker {
    /// Tells of a connection that ends, if that is wanted.
    #[cold]
    pub(super) fn log_access(&mut self, conn: &Conn<Socket>, reason: CloseReason, now: Instant) {
        if conn.trail.silent || !self.access.wants(conn.id, reason) {
            return;
        }
        let (mut to_upstream, mut from_upstream) = (0, 0);
        let mut endpoint = conn.endpoint.as_ref().map(|endpoint| Arc::clone(&endpoint.counters));
        match &conn.stage {
            Stage::Session { .. } => {}
            Stage::Dial(dial) => {
                // Of one that failed, the pool knows more than the connection.
                let pool = self.pools.get(dial.pool);
                let known = pool.zip(dial.tried.last()).and_then(|(pool, last)| {
                    let found = pool.endpoints.iter().find(|each| each.id == *last)?;
                    Some(Arc::clone(&found.counters))
                });
                endpoint = endpoint.or(known);
            }
            Stage::Tunnel { upstream, .. } => (to_upstream, from_upstream) = (upstream.sent, upstream.received),
        }
        let record = AccessRecord {
            id: conn.id,
            listener: Arc::clone(&conn.origin.counters),
            source: conn.origin.source,
            proxy: conn.origin.via.as_ref().and_then(|via| via.peer),
            destination: conn.origin.via.as_ref().map(|via| via.destination),
            pool: conn.pool.and_then(|pool| self.pools.counters(pool)).map(Arc::clone),
            endpoint,
            since: conn.since,
            until: now,
            connect_time: conn.trail.connect_time.get(),
            retries: conn.trail.attempts.saturating_sub(1),
            bytes_from_downstream: conn.downstream.received,
            bytes_to_downstream: conn.downstream.sent,
            bytes_to_upstream: to_upstream,
            bytes_from_upstream: from_upstream,
            reason,
            worker: self.access.worker,
        };
        self.access.send(record);
    }
}

#[cfg(test)]
mod tests;
