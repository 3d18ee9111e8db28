//! A pool's door: how many connections it has, who waits for it, and how often
//! connects may be tried again. Shared by all workers.
//!
//! Who waits stands in one line for all workers, first come, first served: only
//! the first may try, and whoever comes while somebody waits stands behind. The
//! first is told (a message to its worker) when a connection of the pool ends
//! and when it has become the first; as no message is certain to be taken, it
//! also looks by itself once in a while.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use crate::{
    config::{Budget, Queue},
    limit::RetryBudget,
    slots::SlotId,
    worker::{
        admission::{ProcessGate, locked},
        places::Kept,
    },
};

/// Between two looks of the first in the line, if nothing wakes it: the pool's
/// settings may have changed.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks of the others: one may be the first without knowing.
const GLANCE: Duration = Duration::from_secs(2);

/// What all workers share of one pool.
#[derive(Debug)]
pub struct PoolGate {
    process: Arc<ProcessGate>,
    open: AtomicU64,
    kept: Kept,
    /// Length of the line, to be read without its lock.
    waiting: AtomicUsize,
    line: Mutex<Line>,
    budget: Mutex<Option<(Budget, RetryBudget)>>,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// By number: worker and connection.
    places: BTreeMap<u64, (usize, SlotId)>,
    /// Places for those that waited in another process and are yet to come.
    kept: usize,
}

/// A connection of the pool. Dropping it makes room for another one.
#[derive(Debug)]
pub(super) struct PoolPass(Arc<PoolGate>);

/// A place in the line. Dropping it leaves the line.
#[derive(Debug)]
pub(super) struct Waiting {
    gate: Arc<PoolGate>,
    number: u64,
    /// It is given up then.
    pub(super) deadline: Instant,
    look: Instant,
}

impl PoolGate {
    /// The gate of a pool with nothing open.
    pub fn new(process: &Arc<ProcessGate>) -> Arc<Self> {
        Arc::new(Self {
            process: Arc::clone(process),
            open: AtomicU64::new(0),
            kept: Kept::default(),
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
            budget: Mutex::default(),
        })
    }

    /// Connections open or being opened, on all workers.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// Connections that wait, on all workers.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// A place in the pool, unless `most` are taken or somebody waits.
    pub(super) fn enter(self: &Arc<Self>, most: Option<u64>) -> Option<PoolPass> {
        if self.waiting() > 0 { None } else { self.take(most) }
    }

    /// A place in the pool for a connection that had one in another process:
    /// however many are taken and whoever waits, it is there.
    pub(super) fn reenter(self: &Arc<Self>) -> PoolPass {
        if !self.kept.claim() {
            self.open.fetch_add(1, SeqCst);
        }
        PoolPass(Arc::clone(self))
    }

    /// Keeps places for connections that come from another process: in the
    /// pool, and in its line.
    pub fn keep(&self, open: u64, waiting: usize) {
        self.open.fetch_add(open, SeqCst);
        self.kept.keep(open);
        locked(&self.line).kept += waiting;
    }

    /// Gives back the places that nobody came for.
    pub fn release(&self) {
        locked(&self.line).kept = 0;
        self.open.fetch_sub(self.kept.release(), SeqCst);
        self.freed();
    }

    /// One that waited in another process is about to stand in the line.
    pub(super) fn claim_wait(&self) {
        let mut line = locked(&self.line);
        line.kept = line.kept.saturating_sub(1);
    }

    /// As [`enter`](Self::enter), for one that waits: only the first may.
    pub(super) fn enter_as(
        self: &Arc<Self>,
        waiting: &mut Waiting,
        most: Option<u64>,
        now: Instant,
    ) -> Option<PoolPass> {
        let first = locked(&self.line).places.first_key_value().map(|(number, _)| *number);
        let is_first = first == Some(waiting.number);
        waiting.look = now + if is_first { LOOK } else { GLANCE };
        if is_first { self.take(most) } else { None }
    }

    /// Stands at the end of the line, unless it is full.
    pub(super) fn queue(self: &Arc<Self>, queue: Queue, worker: usize, slot: SlotId, now: Instant) -> Option<Waiting> {
        let mut line = locked(&self.line);
        if line.places.len() + line.kept >= queue.size as usize {
            return None;
        }
        let number = line.next;
        line.next += 1;
        line.places.insert(number, (worker, slot));
        self.waiting.store(line.places.len(), SeqCst);
        Some(Waiting { gate: Arc::clone(self), number, deadline: now + queue.timeout, look: now + LOOK })
    }

    /// Somewhere in the pool there may be room: the first in the line is told.
    pub(super) fn freed(&self) {
        if self.waiting() == 0 {
            return;
        }
        let first = locked(&self.line).places.first_key_value().map(|(_, place)| *place);
        if let Some((worker, slot)) = first {
            self.process.wake(worker, slot);
        }
    }

    /// A first attempt to connect was made.
    pub(super) fn attempted(&self, budget: Option<Budget>) {
        if let Some(budget) = budget {
            self.with_budget(budget, RetryBudget::attempted);
        }
    }

    /// Whether another attempt may be made after one that failed.
    pub(super) fn may_retry(&self, budget: Option<Budget>) -> bool {
        budget.is_none_or(|budget| self.with_budget(budget, RetryBudget::retry))
    }

    fn with_budget<T>(&self, budget: Budget, act: impl FnOnce(&mut RetryBudget) -> T) -> T {
        let mut known = locked(&self.budget);
        let entry = known.take().filter(|(of, _)| *of == budget);
        let (_, account) =
            known.insert(entry.unwrap_or_else(|| (budget, RetryBudget::new(budget.percent, budget.reserve))));
        act(account)
    }

    fn take(self: &Arc<Self>, most: Option<u64>) -> Option<PoolPass> {
        let most = most.unwrap_or(u64::MAX);
        // In one order with `waiting`: who ends here sees who waits, or who
        // waits sees that it ended.
        let taken = self.open.fetch_update(SeqCst, SeqCst, |open| (open < most).then_some(open + 1));
        taken.is_ok().then(|| PoolPass(Arc::clone(self)))
    }
}

impl Drop for PoolPass {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
        self.0.freed();
    }
}

impl Waiting {
    /// The connection is another worker's now.
    pub(super) fn moved(&mut self, worker: usize, slot: SlotId) {
        if let Some(place) = locked(&self.gate.line).places.get_mut(&self.number) {
            *place = (worker, slot);
        }
    }

    /// It is the first, and there was no place for it.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.look = now + LOOK;
    }

    /// When to look again even if nothing wakes it.
    pub(super) fn wakes_at(&self) -> Instant {
        self.deadline.min(self.look)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut line = locked(&self.gate.line);
        line.places.remove(&self.number);
        self.gate.waiting.store(line.places.len(), SeqCst);
        drop(line);
        // Another one is the first now, and there may be room for it too.
        self.gate.freed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    const QUEUE: Queue = Queue { size: 3, timeout: Duration::from_secs(1) };

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn first_come_first_served_and_nobody_overtakes() {
        let gate = PoolGate::new(&ProcessGate::new());
        let mut slots = Slots::default();
        let mut stand = |gate: &Arc<PoolGate>| gate.queue(QUEUE, 0, slots.insert_with(|_| ()), now());
        let pass = gate.enter(Some(1)).unwrap();
        assert!(gate.enter(Some(1)).is_none());
        let (mut first, mut second) = (stand(&gate).unwrap(), stand(&gate).unwrap());
        assert!(gate.enter_as(&mut first, Some(1), now()).is_none());
        drop(pass);
        assert!(gate.enter(Some(1)).is_none(), "others wait");
        assert!(gate.enter_as(&mut second, Some(1), now()).is_none(), "another is the first");
        let pass = gate.enter_as(&mut first, Some(1), now()).unwrap();
        drop(first);
        assert!(gate.enter_as(&mut second, Some(1), now()).is_none());
        drop(pass);
        assert!(gate.enter_as(&mut second, Some(1), now()).is_some());
        drop(second);
        assert_eq!((gate.open(), gate.waiting()), (0, 0));
    }

    #[test]
    fn who_comes_back_has_its_place() {
        let gate = PoolGate::new(&ProcessGate::new());
        let pass = gate.enter(Some(1)).unwrap();
        let back = gate.reenter();
        assert_eq!(gate.open(), 2);
        drop(pass);
        assert!(gate.enter(Some(1)).is_none(), "full still");
        drop(back);
        assert!(gate.enter(Some(1)).is_some());
    }

    #[test]
    fn places_are_kept_for_those_that_come() {
        let gate = PoolGate::new(&ProcessGate::new());
        let mut slots = Slots::default();
        let mut stand = || gate.queue(QUEUE, 0, slots.insert_with(|_| ()), now());
        gate.keep(2, 2);
        assert_eq!((gate.open(), gate.waiting()), (2, 0));
        assert!(gate.enter(Some(2)).is_none());
        let first = stand().unwrap();
        assert!(stand().is_none(), "two of the three places are for others");
        gate.claim_wait();
        let second = stand().unwrap();
        let come = gate.reenter();
        assert_eq!(gate.open(), 2);
        gate.release();
        assert_eq!((gate.open(), gate.waiting()), (1, 2));
        drop((first, second, stand().unwrap(), come));
        assert_eq!((gate.open(), gate.waiting()), (0, 0));
    }

    #[test]
    fn the_line_is_bounded() {
        let gate = PoolGate::new(&ProcessGate::new());
        let mut slots = Slots::default();
        let mut stand = || gate.queue(QUEUE, 0, slots.insert_with(|_| ()), now());
        let standing: Vec<Waiting> = (0..5).filter_map(|_| stand()).collect();
        assert_eq!((standing.len(), gate.waiting()), (3, 3));
        drop(standing);
        assert_eq!(gate.waiting(), 0);
    }

    #[test]
    fn retries_are_paid_and_another_budget_begins_anew() {
        let gate = PoolGate::new(&ProcessGate::new());
        let budget = Some(Budget { percent: 50, reserve: 1 });
        assert!(gate.may_retry(None));
        assert!(gate.may_retry(budget));
        assert!(!gate.may_retry(budget));
        gate.attempted(budget);
        assert!(!gate.may_retry(budget));
        gate.attempted(budget);
        assert!(gate.may_retry(budget));
        assert!(gate.may_retry(Some(Budget { percent: 0, reserve: 1 })));
    }
}
