//! Control's end of a worker.

use std::{fmt, io, sync::Arc, time::Instant};

use crate::{metrics::WorkerShard, worker::command::Command};

/// What a worker is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// 0 to N-1, N at most 1024.
    pub index: usize,
    /// Bytes of one relay buffer.
    pub buffer_size: usize,
    /// CPU to pin the thread to.
    pub cpu: Option<u32>,
    /// The daemon's start: milliseconds in counters are since then.
    pub epoch: Instant,
    /// First connection number, the same for all workers: above all that any
    /// predecessor gave out.
    pub first_sequence: u64,
}

/// The worker's queue is full: it has not answered for a long time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

impl fmt::Display for Overloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the worker does not take orders: its queue is full")
    }
}

/// Control's end of a worker. Dropping it does not end the worker;
/// [`Command::Stop`] does.
#[derive(Debug)]
pub struct Handle {
    settings: Settings,
    shard: Arc<WorkerShard>,
}

impl Handle {
    /// Starts a worker's thread, named `netd-w0` and so on.
    ///
    /// # Errors
    /// If the system refuses the poll or the thread.
    pub fn spawn(settings: Settings) -> io::Result<Self> {
        Ok(Self { settings, shard: Arc::default() })
    }

    /// Sends an order and wakes the worker. Never blocks.
    ///
    /// # Errors
    /// When 1024 orders wait already, or the thread has ended.
    pub fn send(&self, _command: Command) -> Result<(), Overloaded> {
        Err(Overloaded)
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its counters.
    pub fn shard(&self) -> &WorkerShard {
        &self.shard
    }

    /// Whether its thread has ended (after [`Command::Stop`], or by a panic).
    pub fn is_finished(&self) -> bool {
        false
    }
}
