//! Smooth weighted round robin: over any run of picks everyone gets its share,
//! and heavy ones do not come in bursts (the method of nginx's upstream
//! module). Where all weights are equal, which is the rule, that is a plain
//! round, and a pick does not look at all candidates.

use std::hash::Hash;

use super::Candidate;

/// One tier's round.
#[derive(Debug, Clone)]
pub(super) struct RoundRobin<K> {
    shares: Vec<Share<K>>,
    /// All weights are the same.
    equal: bool,
    /// In a plain round: who is next.
    next: usize,
}

#[derive(Debug, Clone)]
struct Share<K> {
    key: K,
    weight: u32,
    /// How far it is behind its share; the highest is picked.
    credit: i64,
}

impl<K: Copy + Eq + Hash> RoundRobin<K> {
    pub(super) fn new(candidates: &[Candidate<K>], offset: usize) -> Self {
        let mut round = Self { shares: Vec::new(), equal: true, next: 0 };
        round.update(candidates);
        let total: u64 = round.shares.iter().map(|share| u64::from(share.weight)).sum();
        if round.equal {
            round.next = offset % round.shares.len().max(1);
        } else {
            for _ in 0..offset as u64 % total.max(1) {
                let _ = round.pick(|_| false);
            }
        }
        round
    }

    /// The next one that is not out.
    pub(super) fn pick(&mut self, is_out: impl Fn(K) -> bool) -> Option<K> {
        if self.equal { self.pick_in_turn(is_out) } else { self.pick_by_credit(is_out) }
    }

    fn pick_in_turn(&mut self, is_out: impl Fn(K) -> bool) -> Option<K> {
        let count = self.shares.len();
        let index = (self.next..count).chain(0..self.next).find(|&index| !is_out(self.shares[index].key))?;
        self.next = (index + 1) % count;
        Some(self.shares[index].key)
    }

    fn pick_by_credit(&mut self, is_out: impl Fn(K) -> bool) -> Option<K> {
        let mut total = 0;
        let mut best: Option<usize> = None;
        for index in 0..self.shares.len() {
            let share = &mut self.shares[index];
            if is_out(share.key) {
                continue;
            }
            share.credit += i64::from(share.weight);
            total += i64::from(share.weight);
            let credit = share.credit;
            if best.is_none_or(|best| credit > self.shares[best].credit) {
                best = Some(index);
            }
        }
        let share = &mut self.shares[best?];
        share.credit -= total;
        Some(share.key)
    }

    /// Takes on new weights and candidates; those that stay keep their place
    /// in the round.
    pub(super) fn update(&mut self, candidates: &[Candidate<K>]) {
        let old = std::mem::take(&mut self.shares);
        let next = old.get(self.next).map(|share| share.key);
        let mut known: std::collections::HashMap<K, i64> = old.iter().map(|share| (share.key, share.credit)).collect();
        let taking = candidates.iter().filter(|candidate| candidate.weight > 0);
        self.shares = taking
            .map(|each| Share { key: each.key, weight: each.weight, credit: known.remove(&each.key).unwrap_or(0) })
            .collect();
        self.equal = self.shares.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        self.next = self.shares.iter().position(|share| Some(share.key) == next).unwrap_or(0);
        // No credit is larger than a round, also if rounds are shorter now:
        // else it would be paid back in one burst.
        let round: i64 = self.shares.iter().map(|share| i64::from(share.weight)).sum();
        for share in &mut self.shares {
            share.credit = if self.equal { 0 } else { share.credit.clamp(-round, round) };
        }
    }
}
