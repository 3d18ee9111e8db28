//! How many file descriptors the data plane may use.
//!
//! The process's limit, less what netd keeps for itself (admin connections,
//! config files, logs), is shared by all workers. A worker takes descriptors in
//! lots, so that the shared number is touched once in many connections.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Descriptors that a worker takes from the shared number at once.
const LOT: usize = 64;

/// The descriptors that all workers together may use.
#[derive(Debug)]
pub struct FdBudget {
    free: AtomicU64,
    lot: usize,
}

impl FdBudget {
    /// A budget for a process that may have `limit` descriptors open and has
    /// `used` open now, all workers and listeners included. An eighth of the
    /// limit, but at most 64, is kept for the admin plane.
    pub fn new(limit: u64, used: u64) -> Arc<Self> {
        let free = limit.saturating_sub(used).saturating_sub((limit / 8).min(64));
        // With little to share, lots that lie idle in a worker would matter.
        let lot = if free < 1024 { 2 } else { LOT };
        Arc::new(Self { free: AtomicU64::new(free), lot })
    }

    fn take(&self, n: usize) -> bool {
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(n as u64)).is_ok()
    }

    fn give(&self, n: usize) {
        self.free.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// One worker's share.
#[derive(Debug)]
pub(super) struct FdShare {
    budget: Arc<FdBudget>,
    spare: usize,
}

impl FdShare {
    pub(super) fn new(budget: Arc<FdBudget>) -> Self {
        Self { budget, spare: 0 }
    }

    /// Takes `n` descriptors; false if there are not so many.
    pub(super) fn take(&mut self, n: usize) -> bool {
        if self.spare < n {
            if self.budget.take(self.budget.lot) {
                self.spare += self.budget.lot;
            } else if self.budget.take(n) {
                self.spare += n;
            }
        }
        match self.spare.checked_sub(n) {
            Some(spare) => {
                self.spare = spare;
                true
            }
            None => false,
        }
    }

    /// Gives `n` descriptors back.
    pub(super) fn give(&mut self, n: usize) {
        self.spare += n;
        let lot = self.budget.lot;
        if self.spare > 2 * lot {
            self.budget.give(self.spare - lot);
            self.spare = lot;
        }
    }
}

impl Drop for FdShare {
    fn drop(&mut self) {
        self.budget.give(self.spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_the_limit_less_a_reserve() {
        let budget = FdBudget::new(64, 20);
        let (mut one, mut other) = (FdShare::new(Arc::clone(&budget)), FdShare::new(budget));
        let mut taken = 0;
        while one.take(2) || other.take(2) {
            taken += 2;
        }
        assert_eq!(taken, 64 - 20 - 8);
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
        let before = budget.free.load(Ordering::Relaxed);
        let mut share = FdShare::new(Arc::clone(&budget));
        let taken = (0..1000).filter(|_| share.take(2)).count();
        assert_eq!(taken, 1000);
        share.give(2000);
        drop(share);
        assert_eq!(budget.free.load(Ordering::Relaxed), before);
    }
}
