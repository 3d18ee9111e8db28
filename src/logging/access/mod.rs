//! The access log: from the workers' records to lines of JSON in a file, on
//! stderr or in the journal.
//!
//! ```text
//! worker -> bounded queue of its own -> writer thread -> line -> sink
//! ```
//!
//! Nobody wakes the writer: it looks every few milliseconds, so that a worker
//! pays for no system call, and not at all while the log is off.

mod line;
mod sink;
mod writer;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use self::{
    sink::Sink,
    writer::{Next, Order, Writer},
};
use super::sink::give_file;
use crate::{
    config::{self, AccessTarget},
    worker::{self, AccessRecord},
};

/// How long the end of netd waits for a destination that does not take lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Orders that wait; more would say nothing new.
const ORDERS: usize = 4;

/// The access log as the rest of netd knows it. Every method may be called
/// from any thread.
#[derive(Debug)]
pub struct AccessLogging {
    log: worker::AccessLog,
    orders: Sender<Order>,
    next: Next,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// In force.
    config: config::AccessLog,
    /// What the writer's thread is made with, until it is.
    idle: Option<(Receiver<Order>, Receiver<Receiver<AccessRecord>>)>,
}

impl Default for AccessLogging {
    fn default() -> Self {
        Self::new()
    }
}

impl AccessLogging {
    /// One that is off.
    pub fn new() -> Self {
        let (log, queues) = worker::AccessLog::new();
        let (orders, receiver) = bounded(ORDERS);
        let state = State { config: config::AccessLog::OFF, idle: Some((receiver, queues)) };
        Self { log, orders, next: Next::default(), state: Mutex::new(state) }
    }

    /// Why the lines of a detached daemon will be seen by nobody, if that is so.
    pub fn unseen_if_detached(config: &config::AccessLog) -> Option<&'static str> {
        (config.target == AccessTarget::Stderr)
            .then_some("the access log goes nowhere: a daemon has no standard error; set access_log.target to a file")
    }

    /// What the workers are given.
    pub fn log(&self) -> worker::AccessLog {
        self.log.clone()
    }

    /// Takes on another configuration: connections that end from now on leave
    /// lines as it says, where it says. May start a thread, so it comes after
    /// the last fork.
    ///
    /// # Errors
    /// If the destination cannot be had; then nothing changes.
    pub fn apply(&self, config: &config::AccessLog) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if config.target != state.config.target {
            let sink = Sink::open(&config.target)?;
            if sink.is_some() {
                self.start(&mut state)?;
            }
            if config.target == AccessTarget::Off {
                // What ended before this is still written.
                self.log.set(config);
            }
            self.switch(sink);
        }
        self.log.set(config);
        state.config = config.clone();
        Ok(())
    }

    /// Opens the file anew, as logrotate wants it. Nothing to do for other
    /// destinations.
    ///
    /// # Errors
    /// If it cannot be opened; then the old one stays in use.
    pub fn reopen(&self) -> Result<(), String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let AccessTarget::File(_) = state.config.target {
            self.switch(Sink::open(&state.config.target)?);
        }
        Ok(())
    }

    /// Makes the file that of the user netd is about to become, so that it can
    /// open it anew. For other destinations there is nothing to do.
    ///
    /// # Errors
    /// If it is not a plain file of root or that user, or not ours to give.
    pub fn give_to(&self, uid: u32, gid: u32) -> Result<(), String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.config.target {
            AccessTarget::File(path) => give_file(path, uid, gid)
                .map_err(|error| format!("access log file {}: cannot give it to user {uid}: {error}", path.display())),
            _ => Ok(()),
        }
    }

    /// Waits until the lines of all connections that have ended are written,
    /// 2 s at most. Returns whether they are.
    pub fn flush(&self) -> bool {
        if self.state.lock().unwrap_or_else(PoisonError::into_inner).idle.is_some() {
            return true;
        }
        let (done, is_done) = bounded(1);
        self.orders.send_timeout(Order::Flush(done), LAST_LINES).is_ok() && is_done.recv_timeout(LAST_LINES).is_ok()
    }

    /// For the end of netd: waits until the lines of all connections that have
    /// ended are written, or dropped because the destination takes none, which
    /// is told and counted; a few seconds at most. Nothing is written
    /// afterwards.
    pub fn finish(&self) {
        if self.flush() {
            return;
        }
        let before = self.log.refused();
        self.next.end();
        self.flush();
        let dropped = self.log.refused().saturating_sub(before);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "lines of the access log are dropped at the end: its destination has not taken them in time"
            );
        }
    }

    fn start(&self, state: &mut State) -> Result<(), String> {
        let Some((orders, queues)) = state.idle.take() else { return Ok(()) };
        let again = (orders.clone(), queues.clone());
        let writer = Writer::new(self.log.clone(), orders, queues, self.next.clone());
        std::thread::Builder::new().name("netd-access".to_owned()).spawn(move || writer.run()).map_err(|error| {
            state.idle = Some(again);
            format!("cannot start the access log's thread: {error}")
        })?;
        Ok(())
    }

    fn switch(&self, sink: Option<Sink>) {
        self.next.set(sink);
        // With a full queue of orders the writer looks soon anyway.
        let _ = self.orders.try_send(Order::Wake);
    }
}
