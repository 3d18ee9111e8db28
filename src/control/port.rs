//! What control needs of a worker.

use std::sync::Arc;

use crate::{
    metrics::WorkerShard,
    worker::{self, Command, Overloaded, Settings},
};

/// Control's end of a worker; tests put their own in its place.
pub trait WorkerPort: 'static {
    /// Sends an order and wakes the worker. Never blocks.
    ///
    /// # Errors
    /// When the worker's queue is full, or its thread has ended.
    fn send(&self, command: Command) -> Result<(), Overloaded>;

    /// What it was made with.
    fn settings(&self) -> &Settings;

    /// Its counters.
    fn shard(&self) -> &Arc<WorkerShard>;

    /// Whether its thread has ended.
    fn is_finished(&self) -> bool;
}

impl WorkerPort for worker::Handle {
    fn send(&self, command: Command) -> Result<(), Overloaded> {
        Self::send(self, command)
    }

    fn settings(&self) -> &Settings {
        Self::settings(self)
    }

    fn shard(&self) -> &Arc<WorkerShard> {
        Self::shard(self)
    }

    fn is_finished(&self) -> bool {
        Self::is_finished(self)
    }
}
