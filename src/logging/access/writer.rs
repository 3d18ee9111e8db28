//! The thread that renders and writes.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::{
    line,
    sink::{Batch, Sink},
};
use crate::{
    logging::layer::now,
    worker::{AccessLog, AccessRecord},
};

/// Records of one worker in a batch at most; then the others have their turn.
const TURN: usize = 256;
/// Records between two looks at orders.
const STRETCH: usize = 64 * 1024;
/// Rests between looks at the queues: the first one after there was something,
/// and the longest. A queue must hold what comes meanwhile.
const REST: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(80));
/// Between two log lines about a destination that does not take lines.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Wakes the writer.
#[derive(Debug)]
pub(super) enum Order {
    /// Something waits in [`Next`].
    Wake,
    /// All that was in the queues is written.
    Flush(Sender<()>),
}

/// The destination from now on, for when the writer can look.
#[derive(Debug, Clone, Default)]
pub(super) struct Next {
    sink: Arc<Mutex<Option<Option<Sink>>>>,
    /// Nothing will follow the sink: what is left is lost.
    last: Arc<AtomicBool>,
}

impl Next {
    /// The end: what the present one has not taken is dropped, and counted.
    pub(super) fn end(&self) {
        self.last.store(true, Relaxed);
        self.set(None);
    }

    pub(super) fn set(&self, sink: Option<Sink>) {
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
    }

    fn take(&self) -> Option<Option<Sink>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_set(&self) -> bool {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

pub(super) struct Writer {
    log: AccessLog,
    orders: Receiver<Order>,
    /// Queues of workers that have just made theirs.
    made: Receiver<Receiver<AccessRecord>>,
    queues: Vec<Receiver<AccessRecord>>,
    next: Next,
    sink: Option<Sink>,
    batch: Batch,
    quiet_until: Option<Instant>,
}

/// One moment on both clocks.
#[derive(Clone, Copy)]
struct Moment {
    wall: SystemTime,
    instant: Instant,
}

impl Moment {
    #[expect(clippy::disallowed_methods, reason = "a line of the log bears the wall clock's time")]
    fn now() -> Self {
        Self { wall: now(), instant: Instant::now() }
    }

    fn wall(self, at: Instant) -> SystemTime {
        let ago = self.instant.saturating_duration_since(at);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

impl Writer {
    pub(super) fn new(
        log: AccessLog,
        orders: Receiver<Order>,
        made: Receiver<Receiver<AccessRecord>>,
        next: Next,
    ) -> Self {
        Self { log, orders, made, queues: Vec::new(), next, sink: None, batch: Batch::default(), quiet_until: None }
    }

    /// Writes until nobody can give orders any more.
    pub(super) fn run(mut self) {
        let mut rest = REST.0;
        loop {
            let records = self.drain();
            if let Some(sink) = self.next.take() {
                self.sink = sink;
                continue;
            }
            rest = if records > 0 { REST.0 } else { (rest * 2).min(REST.1) };
            let order = match self.sink {
                Some(_) => self.orders.recv_timeout(rest),
                None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(Order::Flush(done)) => {
                    self.drain();
                    let _ = done.try_send(());
                }
                Ok(Order::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes what waits; answers how much that was.
    fn drain(&mut self) -> usize {
        let mut total = 0;
        while total < STRETCH {
            self.queues.extend(self.made.try_iter());
            let (moment, batch) = (Moment::now(), &mut self.batch);
            batch.clear();
            self.queues.retain(|queue| gather(queue, batch, moment));
            if batch.ends.is_empty() {
                break;
            }
            total += batch.ends.len();
            if !self.write(moment.instant) && self.next.is_set() {
                // The rest is for the one that waits.
                break;
            }
        }
        total
    }

    /// Writes the batch; whether the destination took it.
    fn write(&mut self, now: Instant) -> bool {
        let Some(sink) = &mut self.sink else {
            // Without a destination nobody wants them, unless there was one.
            if self.next.last.load(Relaxed) {
                self.log.add_refused(self.batch.ends.len() as u64);
            }
            return true;
        };
        let (written, result) = sink.write(&self.batch, &|| self.next.is_set());
        let refused = self.batch.ends.len() - written;
        self.log.add_written(written as u64);
        self.log.add_refused(refused as u64);
        result.inspect_err(|error| self.complain(error, now)).is_ok()
    }

    fn complain(&mut self, error: &io::Error, now: Instant) {
        if self.quiet_until.is_none_or(|until| now >= until) {
            self.quiet_until = Some(now + LOG_EVERY);
            let dropped = self.log.refused();
            tracing::warn!(dropped, "lines of the access log are dropped: its destination does not take them: {error}");
        }
    }
}

/// Takes records out of a queue; false: the worker has gone, and that was all.
fn gather(queue: &Receiver<AccessRecord>, batch: &mut Batch, moment: Moment) -> bool {
    for _ in 0..TURN {
        match queue.try_recv() {
            Ok(record) => {
                line::push(&mut batch.text, &record, moment.wall(record.until));
                batch.ends.push(batch.text.len());
            }
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
