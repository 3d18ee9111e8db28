//! A budget for second attempts: so many for each first one. When everything
//! fails, retries must not multiply the load on what is failing.

/// Parts of one retry, the unit of the account.
const UNIT: u64 = 1000;

/// How many retries the first attempts have earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Earned by one first attempt, in thousandths of a retry.
    earned: u64,
    /// Most that can be saved up, in thousandths.
    most: u64,
    saved: u64,
}

impl RetryBudget {
    /// A budget of `percent` retries for 100 first attempts, with `reserve` of
    /// them saved up at the start and at most.
    pub fn new(percent: u32, reserve: u32) -> Self {
        let most = u64::from(reserve) * UNIT;
        Self { earned: u64::from(percent) * UNIT / 100, most, saved: most }
    }

    /// A first attempt was made.
    pub fn attempted(&mut self) {
        self.saved = (self.saved + self.earned).min(self.most);
    }

    /// Whether a retry may be made; if so, it is paid.
    #[must_use]
    pub fn retry(&mut self) -> bool {
        let affordable = self.saved >= UNIT;
        if affordable {
            self.saved -= UNIT;
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reserve_and_then_a_share() {
        let mut budget = RetryBudget::new(20, 10);
        assert_eq!((0..100).filter(|_| budget.retry()).count(), 10);
        for _ in 0..5 {
            assert!(!budget.retry());
            budget.attempted();
        }
        assert!(budget.retry());
        assert!(!budget.retry());
    }

    proptest! {
        #[test]
        fn retries_never_exceed_reserve_and_share(
            percent in 0..200u32,
            reserve in 0..50u32,
            attempts in prop::collection::vec(any::<bool>(), 0..2000),
        ) {
            let mut budget = RetryBudget::new(percent, reserve);
            let (mut first, mut retries) = (0u64, 0u64);
            for fails in attempts {
                first += 1;
                budget.attempted();
                retries += u64::from(fails && budget.retry());
                prop_assert!(retries * 100 <= u64::from(reserve) * 100 + first * u64::from(percent));
            }
        }
    }
}
