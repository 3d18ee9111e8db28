//! Which endpoint takes the next connection. Knows no protocol and no socket.
//!
//! One [`Balancer`] a pool and worker; the choice of one worker does not depend
//! on another's.

use std::hash::Hash;

/// One endpoint as the balancer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<K> {
    /// Its identity.
    pub key: K,
    /// Its share of new connections; 0 takes none.
    pub weight: u16,
}

/// Smooth weighted round robin: over any run of picks every endpoint gets its
/// share, and heavy ones do not come in bursts. (The method of nginx's
/// upstream module.)
#[derive(Debug)]
pub struct Balancer<K> {
    shares: Vec<Share<K>>,
}

#[derive(Debug)]
struct Share<K> {
    candidate: Candidate<K>,
    /// How far it is behind its share; the highest is picked.
    credit: i64,
}

impl<K: Copy + Eq + Hash> Balancer<K> {
    /// A balancer over `candidates`. Workers pass different `offset`s, so that
    /// they do not all begin with the first endpoint.
    pub fn new(candidates: impl IntoIterator<Item = Candidate<K>>, offset: usize) -> Self {
        let shares = candidates.into_iter().map(|candidate| Share { candidate, credit: 0 }).collect();
        let mut balancer = Self { shares };
        let total: usize = balancer.shares.iter().map(|share| usize::from(share.candidate.weight)).sum();
        for _ in 0..offset % total.max(1) {
            let _ = balancer.pick(&[]);
        }
        balancer
    }

    /// The next endpoint, leaving out `tried`; `None` if no other takes
    /// connections.
    #[must_use]
    pub fn pick(&mut self, tried: &[K]) -> Option<K> {
        let mut total = 0;
        let mut best: Option<usize> = None;
        for index in 0..self.shares.len() {
            let share = &mut self.shares[index];
            if share.candidate.weight == 0 || tried.contains(&share.candidate.key) {
                continue;
            }
            share.credit += i64::from(share.candidate.weight);
            total += i64::from(share.candidate.weight);
            let credit = share.credit;
            if best.is_none_or(|best| credit > self.shares[best].credit) {
                best = Some(index);
            }
        }
        let share = &mut self.shares[best?];
        share.credit -= total;
        Some(share.candidate.key)
    }

    /// Takes on new weights and endpoints; endpoints that stay keep their
    /// place in the round.
    pub fn update(&mut self, candidates: impl IntoIterator<Item = Candidate<K>>) {
        let old = std::mem::take(&mut self.shares);
        let credit = |key: K| old.iter().find(|share| share.candidate.key == key).map_or(0, |share| share.credit);
        self.shares = candidates
            .into_iter()
            .map(|candidate| Share { candidate, credit: if candidate.weight == 0 { 0 } else { credit(candidate.key) } })
            .collect();
        // No credit is larger than a round, also if rounds are shorter now:
        // else it would be paid back in one burst.
        let round: i64 = self.shares.iter().map(|share| i64::from(share.candidate.weight)).sum();
        for share in &mut self.shares {
            share.credit = share.credit.clamp(-round, round);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(weights: &[u16]) -> Vec<Candidate<usize>> {
        weights.iter().enumerate().map(|(key, &weight)| Candidate { key, weight }).collect()
    }

    #[test]
    fn equal_weights_take_turns() {
        let mut balancer = Balancer::new(candidates(&[1, 1, 1]), 0);
        let picks: Vec<_> = (0..6).map(|_| balancer.pick(&[]).unwrap()).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn an_offset_begins_elsewhere() {
        assert_eq!(Balancer::new(candidates(&[1, 1, 1]), 4).pick(&[]), Some(1));
    }

    #[test]
    fn heavy_endpoints_do_not_come_in_bursts() {
        let mut balancer = Balancer::new(candidates(&[5, 1, 1]), 0);
        let picks: Vec<_> = (0..7).map(|_| balancer.pick(&[]).unwrap()).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn a_retry_leaves_out_what_was_tried() {
        let mut balancer = Balancer::new(candidates(&[1, 1, 0]), 0);
        let first = balancer.pick(&[]).unwrap();
        let second = balancer.pick(&[first]).unwrap();
        assert_ne!(first, second);
        assert_eq!(balancer.pick(&[first, second]), None, "weight 0 takes nothing");
    }

    #[test]
    fn weight_zero_drains_and_comes_back() {
        let mut balancer = Balancer::new(candidates(&[1, 1]), 0);
        balancer.update(candidates(&[0, 1]));
        assert!((0..10).all(|_| balancer.pick(&[]) == Some(1)));
        balancer.update(candidates(&[1, 1]));
        let picks: Vec<_> = (0..20).map(|_| balancer.pick(&[]).unwrap()).collect();
        assert_eq!(picks.iter().filter(|&&key| key == 0).count(), 10, "no debt is paid back in a burst");
    }

    #[test]
    fn lighter_weights_do_not_begin_with_a_burst() {
        let mut balancer = Balancer::new(candidates(&[1000, 1]), 0);
        for _ in 0..500 {
            let _ = balancer.pick(&[]);
        }
        balancer.update(candidates(&[1, 1]));
        let picks: Vec<_> = (0..20).map(|_| balancer.pick(&[]).unwrap()).collect();
        assert!(picks.iter().filter(|&&key| key == 1).count() <= 12, "{picks:?}");
    }

    proptest! {
        #[test]
        fn every_round_gives_everyone_its_share(weights in prop::collection::vec(0..20u16, 1..12), offset in 0..64usize) {
            let total: u16 = weights.iter().sum();
            let mut balancer = Balancer::new(candidates(&weights), offset);
            let mut counts = vec![0; weights.len()];
            for _ in 0..3 * total {
                counts[balancer.pick(&[]).unwrap()] += 1;
            }
            prop_assert_eq!(counts, weights.iter().map(|weight| 3 * weight).collect::<Vec<_>>());
            if total == 0 {
                prop_assert_eq!(balancer.pick(&[]), None);
            }
        }
    }
}
