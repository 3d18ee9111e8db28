//! How many file descriptors the data plane may use.
//!
//! The process's limit, less what netd keeps for itself (admin connections,
//! config files, logs), is shared by all workers. A worker takes descriptors in
//! lots, so that the shared number is touched once in many connections. When
//! it runs out, what lies idle in the other workers is called in: none starves
//! while there is one free descriptor.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::worker::places::Kept;

/// Descriptors that a worker takes from the shared number at once.
const LOT: u64 = 64;

/// The descriptors that all workers together may use.
#[derive(Debug)]
pub struct FdBudget {
    free: AtomicU64,
    total: u64,
    lot: u64,
    /// What every worker has in store, to be called in.
    spares: Mutex<Vec<Weak<AtomicU64>>>,
    /// For connections that come from another process.
    kept: Kept,
}

impl FdBudget {
    /// A budget for a process that may have `limit` descriptors open and has
    /// `used` open now, all workers and listeners included. An eighth of the
    /// limit, but at most 64, is kept for the admin plane.
    pub fn new(limit: u64, used: u64) -> Arc<Self> {
        let free = limit.saturating_sub(used).saturating_sub((limit / 8).min(64));
        // With little to share, lots that lie idle in a worker would matter.
        let lot = if free < 1024 { 2 } else { LOT };
        Arc::new(Self { free: AtomicU64::new(free), total: free, lot, spares: Mutex::default(), kept: Kept::default() })
    }

    /// Descriptors in use for connections, and how many there are for them.
    pub fn usage(&self) -> (u64, u64) {
        let spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        let idle: u64 = spares.iter().filter_map(Weak::upgrade).map(|spare| spare.load(Relaxed)).sum();
        drop(spares);
        (self.total.saturating_sub(self.free.load(Relaxed)).saturating_sub(idle), self.total)
    }

    /// Takes `n`, or as many as there are; answers how many. To be given back.
    pub fn take(&self, n: u64) -> u64 {
        match self.free.fetch_update(Relaxed, Relaxed, |free| Some(free.saturating_sub(n))) {
            Ok(free) | Err(free) => free.min(n),
        }
    }

    /// Gives `n` back.
    pub fn give(&self, n: u64) {
        self.free.fetch_add(n, Relaxed);
    }

    /// Keeps `n`, or as many as there are, for connections that come from
    /// another process; nobody else has them until [`release`](Self::release).
    pub fn keep(&self, n: u64) {
        let mut kept = self.take(n);
        if kept < n {
            self.call_in();
            kept += self.take(n - kept);
        }
        self.kept.keep(kept);
    }

    /// Gives back what was kept and not used.
    pub fn release(&self) {
        self.give(self.kept.release());
    }

    /// Calls in what lies idle in the workers.
    fn call_in(&self) {
        let spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        for spare in spares.iter().filter_map(Weak::upgrade) {
            self.give(spare.swap(0, Relaxed));
        }
    }
}

/// One worker's share.
#[derive(Debug)]
pub(super) struct FdShare {
    budget: Arc<FdBudget>,
    /// Others only ever set it to 0.
    spare: Arc<AtomicU64>,
    /// Taken although there were none; paid back first.
    owed: u64,
}

impl FdShare {
    pub(super) fn new(budget: Arc<FdBudget>) -> Self {
        let spare = Arc::<AtomicU64>::default();
        let mut spares = budget.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares.retain(|each| each.strong_count() > 0);
        spares.push(Arc::downgrade(&spare));
        drop(spares);
        Self { budget, spare, owed: 0 }
    }

    /// Takes `n` descriptors; false if there are not so many.
    pub(super) fn take(&mut self, n: usize) -> bool {
        let n = n as u64;
        let mut have = self.spare.swap(0, Relaxed);
        if have < n {
            have += self.budget.take(self.budget.lot.max(n - have));
        }
        if have < n {
            self.budget.call_in();
            have += self.budget.take(n - have);
        }
        let taken = if have < n { 0 } else { n };
        self.store(have - taken);
        taken == n
    }

    /// Takes `n` descriptors that are open already, whether there are so many
    /// or not.
    pub(super) fn take_anyway(&mut self, n: usize) {
        if !self.take(n) {
            let n = n as u64;
            let spare = self.spare.swap(0, Relaxed);
            self.owed += n - spare - self.budget.take(n - spare);
        }
    }

    /// As [`take_anyway`](Self::take_anyway), for a connection that comes from
    /// another process.
    pub(super) fn take_kept(&mut self, n: usize) {
        let kept = self.budget.kept.claim_up_to(n as u64) as usize;
        if kept < n {
            self.take_anyway(n - kept);
        }
    }

    /// `n` descriptors go to another worker, with their connection.
    pub(super) fn lend(&mut self, n: usize) -> Loan {
        let owed = self.owed.min(n as u64);
        self.owed -= owed;
        Loan { budget: Arc::clone(&self.budget), taken: n as u64 - owed, owed }
    }

    /// Takes on what another worker has lent; `false`: of another budget.
    pub(super) fn take_on(&mut self, mut loan: Loan) -> bool {
        if !Arc::ptr_eq(&loan.budget, &self.budget) {
            return false;
        }
        loan.taken = 0;
        self.owed += loan.owed;
        true
    }

    /// Gives `n` descriptors back.
    pub(super) fn give(&mut self, n: usize) {
        let paid = self.owed.min(n as u64);
        self.owed -= paid;
        let have = self.spare.swap(0, Relaxed) + (n as u64 - paid);
        self.store(have);
    }

    fn store(&mut self, spare: u64) {
        let lot = self.budget.lot;
        let keep = if spare > 2 * lot { lot } else { spare };
        if spare > keep {
            self.budget.give(spare - keep);
        }
        self.spare.fetch_add(keep, Relaxed);
    }
}

/// Descriptors of a connection between two workers. Dropping it gives them
/// back.
#[derive(Debug)]
pub(super) struct Loan {
    budget: Arc<FdBudget>,
    /// Of the shared number.
    taken: u64,
    /// Open although there were none.
    owed: u64,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.budget.give(self.taken);
    }
}

impl Drop for FdShare {
    fn drop(&mut self) {
        self.budget.give(self.spare.swap(0, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_the_limit_less_a_reserve() {
        let budget = FdBudget::new(64, 20);
        let (mut one, mut other) = (FdShare::new(Arc::clone(&budget)), FdShare::new(Arc::clone(&budget)));
        let mut taken = 0;
        while one.take(2) || other.take(2) {
            taken += 2;
        }
        assert_eq!(taken, 64 - 20 - 8);
        assert_eq!(budget.usage(), (36, 36));
        one.give(2);
        assert!(one.take(2));
        for _ in 0..5 {
            one.give(2);
        }
        assert!(other.take(2), "what one gives back, another can have");
    }

    #[test]
    fn nothing_is_lost() {
        let budget = FdBudget::new(20_000, 100);
        let before = budget.free.load(Relaxed);
        let mut share = FdShare::new(Arc::clone(&budget));
        let taken = (0..1000).filter(|_| share.take(2)).count();
        assert_eq!(taken, 1000);
        share.give(2000);
        drop(share);
        assert_eq!(budget.free.load(Relaxed), before);
    }

    #[test]
    fn what_is_open_already_is_taken_on_credit() {
        let budget = FdBudget::new(16, 6);
        let (mut one, mut other) = (FdShare::new(Arc::clone(&budget)), FdShare::new(Arc::clone(&budget)));
        assert!(other.take(3));
        one.take_anyway(9);
        assert!(!one.take(1) && !other.take(1));
        one.give(4);
        assert!(!one.take(1), "the credit comes first");
        one.give(1);
        assert!(one.take(1), "5 are left of 9, and 3 are the other's");
        one.give(5);
        other.give(3);
        drop((one, other));
        assert_eq!(budget.free.load(Relaxed), 8);
    }

    #[test]
    fn what_is_lent_is_nobodys_until_it_has_come() {
        let budget = FdBudget::new(16, 6);
        let (mut one, mut other) = (FdShare::new(Arc::clone(&budget)), FdShare::new(Arc::clone(&budget)));
        one.take_anyway(10);
        let loans = [one.lend(4), one.lend(4)];
        assert_eq!(budget.usage(), (8, 8));
        assert!(!one.take(1) && !other.take(1));
        let [first, second] = loans;
        assert!(other.take_on(first));
        drop(second);
        assert!(one.take(4), "those that were dropped are free");
        other.give(4);
        one.give(6);
        drop((one, other));
        assert_eq!(budget.free.load(Relaxed), 8);
    }

    #[test]
    fn what_is_kept_is_for_those_that_come() {
        let budget = FdBudget::new(16, 6);
        let (mut one, mut other) = (FdShare::new(Arc::clone(&budget)), FdShare::new(Arc::clone(&budget)));
        assert!(other.take(1));
        other.give(1);
        budget.keep(7);
        assert!(one.take(1) && !one.take(1), "one is for everybody");
        one.take_kept(2);
        one.take_kept(4);
        other.take_kept(2);
        assert!(!one.take(1) && !other.take(1));
        budget.release();
        assert!(!one.take(1));
        other.give(2);
        assert!(one.take(1), "the last was on credit");
        one.give(8);
        drop((one, other));
        assert_eq!(budget.free.load(Relaxed), 8);
        budget.keep(20);
        budget.release();
        assert_eq!(budget.free.load(Relaxed), 8, "no more than there are");
    }

    #[test]
    fn nobody_starves_while_others_have_some_in_store() {
        let budget = FdBudget::new(16, 6);
        let mut one = FdShare::new(Arc::clone(&budget));
        let mut others: Vec<_> = (0..3).map(|_| FdShare::new(Arc::clone(&budget))).collect();
        for other in &mut others {
            assert!(other.take(1));
        }
        for other in &mut others {
            other.give(1);
        }
        assert!((0..8).all(|_| one.take(1)), "all of it, to the last");
        assert!(!one.take(1) && !others[0].take(1));
        one.give(1);
        assert!(others[2].take(1));
    }
}
