//! Control's end of a worker.

use std::{
    fmt, io,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    metrics::WorkerShard,
    reactor::{Reactor, Sender},
    sys,
    worker::{access::AccessLog, admission::ProcessGate, budget::FdBudget, command::Command, run::Worker},
};

/// Orders that may wait for a worker.
const QUEUE: usize = 1024;

/// What a worker is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// 0 to N-1, N at most [`MAX_WORKERS`](super::MAX_WORKERS).
    pub index: usize,
    /// Bytes of one relay buffer.
    pub buffer_size: usize,
    /// How long it looks for events before it sleeps, while such looks find
    /// some.
    pub busy_poll: Option<Duration>,
    /// CPU to pin the thread to.
    pub cpu: Option<u32>,
    /// The daemon's start: milliseconds in counters are since then.
    pub epoch: Instant,
    /// First connection number, the same for all workers: above all that any
    /// predecessor gave out.
    pub first_sequence: u64,
    /// File descriptors for connections, shared by all workers.
    pub fds: Arc<FdBudget>,
    /// Who is let in, shared by all workers.
    pub gates: Arc<ProcessGate>,
    /// Where it tells of connections that have ended.
    pub access: AccessLog,
}

/// The worker does not take orders: its queue is full, or its thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

impl fmt::Display for Overloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the worker does not take orders: its queue is full, or its thread ended")
    }
}

/// Control's end of a worker. Dropping it does not end the worker;
/// [`Command::Stop`] does.
#[derive(Debug)]
pub struct Handle {
    settings: Settings,
    shard: Arc<WorkerShard>,
    orders: Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    /// Starts a worker's thread, named `netd-w0` and so on.
    ///
    /// # Errors
    /// If the system refuses the poll or the thread.
    pub fn spawn(settings: Settings) -> io::Result<Self> {
        let shard = Arc::<WorkerShard>::default();
        let (mut reactor, orders) = Reactor::new(QUEUE)?;
        reactor.look_before_sleep(settings.busy_poll.unwrap_or_default());
        let mut worker = Worker::new(&settings, Arc::clone(&shard));
        settings.gates.register(settings.index, orders.clone());
        let (index, cpu) = (settings.index, settings.cpu);
        let thread = thread::Builder::new().name(format!("netd-w{index}")).spawn(move || {
            if let Some(Err(error)) = cpu.map(sys::thread::pin_to_cpu) {
                tracing::warn!(worker = index, cpu, %error, "cannot pin the worker to its CPU; it runs unpinned");
            }
            if let Err(error) = reactor.run(&mut worker) {
                tracing::error!(worker = index, %error, "the worker's poll failed; it has ended");
            }
        })?;
        Ok(Self { settings, shard, orders, thread: Mutex::new(Some(thread)) })
    }

    /// Sends an order and wakes the worker. Never blocks.
    ///
    /// # Errors
    /// When 1024 orders wait already, or the thread has ended.
    pub fn send(&self, command: Command) -> Result<(), Overloaded> {
        self.orders.send(command).map_err(|_| Overloaded)
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its counters.
    pub fn shard(&self) -> &Arc<WorkerShard> {
        &self.shard
    }

    /// Whether its thread has ended (after [`Command::Stop`], or by a panic).
    pub fn is_finished(&self) -> bool {
        self.thread.lock().map_or(true, |thread| thread.as_ref().is_none_or(JoinHandle::is_finished))
    }
}
