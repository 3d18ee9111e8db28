//! Which of a listener's pools takes the next connection.

use crate::{
    balance::{Ask, Balancer, Candidate, Policy, Tables},
    worker::command::{PoolId, Share},
};

/// The turns of a listener's pools on one worker. Several take smooth turns by
/// weight, so that shares are exact over every round and not only on average.
#[derive(Debug)]
pub(super) struct Split {
    /// All take turns, or none does: what most listeners have is cheap.
    only: Option<PoolId>,
    several: Option<Balancer<PoolId>>,
    /// Where this worker begins its rounds.
    offset: usize,
}

impl Split {
    pub(super) fn new(shares: &[Share], offset: usize) -> Self {
        let mut split = Self { only: None, several: None, offset };
        split.update(shares);
        split
    }

    /// Takes on other shares; pools that stay keep their place in the round.
    pub(super) fn update(&mut self, shares: &[Share]) {
        self.only = None;
        if let [only] = shares {
            (self.only, self.several) = (Some(only.pool), None);
            return;
        }
        let candidates: Vec<_> = shares.iter().map(|each| candidate(*each)).collect();
        let tables = Tables::default();
        match &mut self.several {
            Some(balancer) => balancer.update(Policy::RoundRobin, &candidates, &tables),
            None => {
                let balancer = || Balancer::new(Policy::RoundRobin, &candidates, &tables, self.offset);
                self.several = (!candidates.is_empty()).then(balancer);
            }
        }
    }

    /// The pool of the next connection.
    pub(super) fn next(&mut self) -> Option<PoolId> {
        match self.only {
            Some(only) => Some(only),
            None => self.several.as_mut().and_then(pick),
        }
    }

    /// What [`next`](Self::next) would answer.
    pub(super) fn peek(&self) -> Option<PoolId> {
        self.only.or_else(|| pick(&mut self.several.clone()?))
    }
}

fn pick(balancer: &mut Balancer<PoolId>) -> Option<PoolId> {
    balancer.pick(&Ask { tried: &[], hash: 0, load: |_| 0, full: |_| false })
}

fn candidate(share: Share) -> Candidate<PoolId> {
    Candidate { key: share.pool, weight: u32::from(share.weight), backup: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: PoolId = PoolId(1);
    const CANARY: PoolId = PoolId(2);

    fn shares(app: u16, canary: u16) -> Vec<Share> {
        vec![Share { pool: APP, weight: app }, Share { pool: CANARY, weight: canary }]
    }

    fn canaries(split: &mut Split, count: usize) -> usize {
        (0..count).filter(|_| split.next() == Some(CANARY)).count()
    }

    #[test]
    fn shares_are_exact_over_many_draws_and_change_live() {
        for offset in 0..4 {
            let mut split = Split::new(&shares(95, 5), offset);
            assert_eq!(canaries(&mut split, 10_000), 500);
            split.update(&shares(50, 50));
            assert!((499..=501).contains(&canaries(&mut split, 1000)));
            split.update(&shares(0, 1));
            assert_eq!(canaries(&mut split, 100), 100);
        }
    }

    #[test]
    fn a_canary_does_not_come_in_bursts() {
        let mut split = Split::new(&shares(95, 5), 0);
        for _ in 0..50 {
            assert_eq!(canaries(&mut split, 20), 1);
        }
    }

    #[test]
    fn one_pool_takes_all_and_none_takes_none() {
        let mut one = Split::new(&shares(1, 1)[..1], 3);
        assert_eq!((one.peek(), one.next(), one.next()), (Some(APP), Some(APP), Some(APP)));
        one.update(&shares(1, 1));
        let foretold = one.peek();
        assert_eq!(one.next(), foretold);
        assert_eq!(Split::new(&[], 0).next(), None);
    }
}
