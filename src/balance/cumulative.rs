//! Lots by weight: sums of the weights, and a binary search.

use super::random::Random;

/// Draws before all that may be drawn are looked at one by one.
const DRAWS: usize = 8;

/// Sums of weights, each the sum up to and with its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums(Vec<u64>);

impl FromIterator<u32> for Sums {
    fn from_iter<I: IntoIterator<Item = u32>>(weights: I) -> Self {
        let sum = |sum: &mut u64, weight: u32| {
            *sum += u64::from(weight);
            Some(*sum)
        };
        Self(weights.into_iter().scan(0, sum).collect())
    }
}

impl Sums {
    /// An index by its weight, of those that are `open`.
    pub(super) fn draw(&self, lot: &mut Random, open: impl Fn(usize) -> bool) -> Option<usize> {
        let total = *self.0.last()?;
        for _ in 0..DRAWS {
            let ticket = lot.below(total);
            let index = self.0.partition_point(|&sum| sum <= ticket);
            if open(index) {
                return Some(index);
            }
        }
        // Few are open, or they have little weight: only among them.
        let weight = |index: usize| self.0[index] - index.checked_sub(1).map_or(0, |before| self.0[before]);
        let total: u64 = (0..self.0.len()).filter(|&index| open(index)).map(weight).sum();
        let mut ticket = lot.below(total.max(1));
        (0..self.0.len()).filter(|&index| open(index)).find(|&index| {
            let weight = weight(index);
            let hit = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            hit
        })
    }
}
