//! Endpoints that would be ejected, and are not: as many are already as their
//! pool's `max_share` allows. Told once a minute and pool at most: when all
//! fails, it is true of half of them.

use std::time::{Duration, Instant};

use crate::{config::Address, health::Cause};

/// Between two events of one pool.
const QUIET: Duration = Duration::from_secs(60);

/// Whom one look has spared.
#[derive(Debug, Default)]
pub(super) struct Spared<'a> {
    first: Option<(&'a Address, Cause)>,
    count: usize,
    fresh: bool,
}

/// What was told of a pool.
#[derive(Debug, Default)]
pub(super) struct Sparing {
    /// There is something that was not told.
    news: bool,
    told_at: Option<Instant>,
}

impl<'a> Spared<'a> {
    /// One more; `fresh`: the last look did not spare it.
    pub(super) fn note(&mut self, address: &'a Address, cause: Cause, fresh: bool) {
        // The first of those that are new is worth a name.
        if self.first.is_none() || fresh && !self.fresh {
            self.first = Some((address, cause));
        }
        (self.count, self.fresh) = (self.count + 1, self.fresh | fresh);
    }
}

impl Sparing {
    /// What is to be told now: one of those spared, why it would be ejected, and
    /// how many more there are.
    pub(super) fn tell<'a>(&mut self, spared: &Spared<'a>, now: Instant) -> Option<(&'a Address, Cause, usize)> {
        self.news = spared.count > 0 && (self.news || spared.fresh);
        let quiet = self.told_at.is_some_and(|at| now.saturating_duration_since(at) < QUIET);
        let (address, cause) = spared.first.filter(|_| self.news && !quiet)?;
        (self.news, self.told_at) = (false, Some(now));
        Some((address, cause, spared.count - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Clock;

    #[test]
    fn once_a_minute_and_only_what_is_new() {
        let addresses: Vec<Address> = (1..=4).map(|n| format!("10.0.0.{n}:80").parse().unwrap()).collect();
        let (mut sparing, start) = (Sparing::default(), Clock::system().now().instant);
        let cause = Cause::ConnectFailures(5);
        let mut look = |second: u64, each: &[(usize, bool)]| {
            let mut spared = Spared::default();
            each.iter().for_each(|&(index, fresh)| spared.note(&addresses[index], cause, fresh));
            let told = sparing.tell(&spared, start + Duration::from_secs(second));
            told.map(|(address, _, more)| (address.clone(), more))
        };
        assert_eq!(look(0, &[]), None);
        assert_eq!(look(1, &[(0, true), (1, true)]), Some((addresses[0].clone(), 1)));
        assert_eq!(look(2, &[(0, false), (1, false)]), None, "told already");
        assert_eq!(look(3, &[(0, false), (2, true)]), None, "not so soon");
        assert_eq!(look(61, &[(0, false), (2, false)]), Some((addresses[0].clone(), 1)), "but later");
        assert_eq!(look(500, &[(0, false), (2, false)]), None, "nothing is new");
        assert_eq!(look(501, &[(0, false), (3, true)]), Some((addresses[3].clone(), 1)), "the new one by name");
        assert_eq!(look(502, &[(1, true)]), None);
        assert_eq!(look(503, &[]), None);
        assert_eq!(look(600, &[]), None, "over before it was told");
    }
}
