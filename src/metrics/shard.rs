//! What one worker counts.

use std::sync::Arc;

use super::counter::{Counter, Histogram};

/// Figures of one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerShard {
    /// Passes of the loop.
    pub turns: Counter,
    /// Time from the return of one poll to the next call of it: how long an
    /// event that came in meanwhile had to wait.
    pub turn_time: Histogram,
    /// Readiness events handled.
    pub events: Counter,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections open (gauge).
    pub active: Counter,
    /// Open connections taken over from another worker.
    pub moved_in: Counter,
    /// Open connections handed over to another worker.
    pub moved_out: Counter,
    /// Connections without a byte that went from an endpoint that is gone to
    /// another of its pool.
    pub redialed: Counter,
    /// Relay buffers in use or kept for use (gauge).
    pub buffers: Counter,
    /// Timers armed (gauge).
    pub timers: Counter,
}

/// Room for causes of a refusal.
pub const REFUSALS: usize = 8;

/// Figures of one listener on one worker.
#[derive(Debug)]
#[repr(align(128))]
pub struct ListenerShard {
    /// Whose figures these are; empty if nobody knows.
    pub name: Arc<str>,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections open (gauge).
    pub active: Counter,
    /// Bytes received from clients.
    pub bytes_from_downstream: Counter,
    /// Bytes sent to clients.
    pub bytes_to_downstream: Counter,
    /// Failed accepts, out of file descriptors included.
    pub accept_errors: Counter,
    /// Times accepting was paused for want of file descriptors.
    pub accept_pauses: Counter,
    /// 1 while accepting is paused (gauge).
    pub paused: Counter,
    /// Connections refused, one counter a cause (by its index).
    pub refused: [Counter; REFUSALS],
    /// Connections closed, one counter a close reason (by its index).
    pub closed: Box<[Counter]>,
    /// From accept to close.
    pub duration: Histogram,
}

impl ListenerShard {
    /// A shard that tells `reasons` close reasons apart; nobody knows whose.
    pub fn new(reasons: usize) -> Self {
        Self::named(Arc::default(), reasons)
    }

    /// The shard of the listener `name` that tells `reasons` close reasons
    /// apart.
    pub fn named(name: Arc<str>, reasons: usize) -> Self {
        Self {
            name,
            accepted: Counter::default(),
            active: Counter::default(),
            bytes_from_downstream: Counter::default(),
            bytes_to_downstream: Counter::default(),
            accept_errors: Counter::default(),
            accept_pauses: Counter::default(),
            paused: Counter::default(),
            refused: Default::default(),
            closed: (0..reasons).map(|_| Counter::default()).collect(),
            duration: Histogram::default(),
        }
    }
}

/// Figures of one pool on one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PoolShard {
    /// Whose figures these are; empty if nobody knows.
    pub name: Arc<str>,
    /// Connections closed because no endpoint could be picked.
    pub no_endpoint: Counter,
    /// Connects tried on another endpoint after one failed.
    pub retries: Counter,
    /// Further attempts that the retry budget did not have.
    pub retries_denied: Counter,
    /// Connections that had to wait because the pool was full.
    pub queued: Counter,
    /// Connections that waited in vain.
    pub queue_timeouts: Counter,
    /// Connections closed because the pool, or every endpoint of it, had as
    /// many as it may, and its line, if it has one, was full too.
    pub full: Counter,
}

/// Figures of one endpoint on one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointShard {
    /// The pool that it is in; empty if nobody knows.
    pub pool: Arc<str>,
    /// Its address as configured; empty if nobody knows.
    pub address: Arc<str>,
    /// Connections established to it.
    pub connected: Counter,
    /// Connections open or being opened to it (gauge).
    pub active: Counter,
    /// Bytes sent to it.
    pub bytes_to_upstream: Counter,
    /// Bytes received from it.
    pub bytes_from_upstream: Counter,
    /// Connects that failed or timed out.
    pub connect_failures: Counter,
    /// errno of the last failed connect; ETIMEDOUT for the connect timeout; 0:
    /// none failed.
    pub last_failure: Counter,
    /// When that was: milliseconds since the daemon's start.
    pub last_failure_at: Counter,
    /// When the last connect succeeded: milliseconds since the daemon's start;
    /// 0: none did.
    pub last_success_at: Counter,
    /// Connections that it ended soon and without having sent a byte.
    pub early_resets: Counter,
    /// From connect to established.
    pub connect_time: Histogram,
}
