//! The way of orders to one worker: as many at once as its queue surely holds,
//! the rest when it has carried those out. So a change may consist of more
//! orders than the queue has places.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::port::WorkerPort;
use crate::worker::{Command, Overloaded, Reply};

/// Orders under way at once: half of what a worker's queue holds.
const WINDOW: u64 = 512;
/// After so many orders a worker is asked to tell that it got there.
const MARK_EVERY: u64 = 128;
/// Orders that wait here: more than the biggest change has (1024 pools set,
/// 1024 listeners bound anew, 1024 pools forgotten).
const WAITING: usize = 8192;

/// One worker and the orders that wait for it.
#[derive(Debug)]
pub(super) struct Lane<P> {
    port: P,
    waiting: VecDeque<Command>,
    sent: u64,
    /// Up to this order all are carried out.
    done: Arc<AtomicU64>,
}

impl<P: WorkerPort> Lane<P> {
    pub(super) fn new(port: P) -> Self {
        Self { port, waiting: VecDeque::new(), sent: 0, done: Arc::default() }
    }

    pub(super) fn port(&self) -> &P {
        &self.port
    }

    /// Sends an order after all that wait.
    pub(super) fn send(&mut self, order: Command) -> Result<(), Overloaded> {
        if self.waiting.len() >= WAITING {
            return Err(Overloaded);
        }
        self.waiting.push_back(order);
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) -> Result<(), Overloaded> {
        while self.sent - self.done.load(Relaxed) < WINDOW {
            let Some(order) = self.waiting.pop_front() else { break };
            self.pass(order)?;
            if self.sent.is_multiple_of(MARK_EVERY) {
                let (done, here) = (Arc::clone(&self.done), self.sent);
                self.pass(Command::Ping(Reply::new(move |()| done.store(here, Relaxed))))?;
            }
        }
        Ok(())
    }

    /// Ends the worker, whatever waits.
    pub(super) fn stop(&mut self) {
        self.waiting.clear();
        // A worker that does not take even this is gone already.
        let _ = self.port.send(Command::Stop);
    }

    fn pass(&mut self, order: Command) -> Result<(), Overloaded> {
        self.sent += 1;
        let passed = self.port.send(order);
        if passed.is_err() {
            // Its answer will never come: nothing waits for it.
            self.done.store(self.sent, Relaxed);
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{metrics::WorkerShard, worker::Settings};

    /// A queue of 1024 places.
    #[derive(Default)]
    struct Queue(RefCell<Vec<Command>>);

    impl WorkerPort for Queue {
        fn send(&self, order: Command) -> Result<(), Overloaded> {
            let mut queue = self.0.borrow_mut();
            if queue.len() == 1024 {
                return Err(Overloaded);
            }
            queue.push(order);
            Ok(())
        }

        fn settings(&self) -> &Settings {
            unreachable!("not asked for")
        }

        fn shard(&self) -> &Arc<WorkerShard> {
            unreachable!("not asked for")
        }

        fn is_finished(&self) -> bool {
            false
        }
    }

    #[test]
    fn no_queue_overflows_and_the_order_is_kept() {
        let mut lane = Lane::new(Queue::default());
        for n in 0..5000 {
            assert_eq!(lane.send(Command::RemovePool(crate::worker::PoolId(n))), Ok(()));
        }
        let mut seen = Vec::new();
        while !lane.waiting.is_empty() || !lane.port.0.borrow().is_empty() {
            let orders = std::mem::take(&mut *lane.port.0.borrow_mut());
            assert!(!orders.is_empty() && orders.len() <= WINDOW as usize + 8);
            for order in orders {
                match order {
                    Command::RemovePool(id) => seen.push(id.0),
                    Command::Ping(reply) => reply.send(()),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(lane.flush(), Ok(()));
        }
        assert!(seen.iter().copied().eq(0..5000));
    }

    #[test]
    fn what_waits_for_a_hung_worker_is_bounded() {
        let mut lane = Lane::new(Queue::default());
        let taken = (0..20_000).filter(|&n| lane.send(Command::RemovePool(crate::worker::PoolId(n))).is_ok()).count();
        assert!(taken < WAITING + 1024, "{taken}");
    }
}
