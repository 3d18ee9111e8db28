//! How many connections of a gradual drain end at one look, and which: evenly
//! over a window, those that rest longest first. Pure.

use std::time::{Duration, Instant};

use crate::worker::Resting;

/// The most that end at one look, so that no worker is held up.
pub(super) const AT_ONCE: u64 = 512;
/// A connection on which no byte has moved for so long is idle, or for a
/// quarter of a window that is shorter than four times that.
const IDLE: Duration = Duration::from_secs(1);

/// A window over which connections end evenly.
#[derive(Debug, Clone)]
pub(super) struct Gradual {
    ends: Instant,
    idle: Duration,
    looked: Instant,
    /// What earlier looks owe: a share of one connection, in parts of 2^32.
    owed: u64,
}

impl Gradual {
    pub(super) fn new(window: Duration, now: Instant) -> Self {
        let ends = now.checked_add(window).unwrap_or(now);
        Self { ends, idle: IDLE.min(window / 4), looked: now, owed: 0 }
    }

    /// How many of the `remaining` are due: their number by the time that is
    /// left, times the time since the last look. After the window all are due,
    /// but never more than [`AT_ONCE`].
    pub(super) fn due(&mut self, remaining: u64, now: Instant) -> u64 {
        let step = now.saturating_duration_since(self.looked).as_nanos();
        let left = self.ends.saturating_duration_since(now).as_nanos();
        self.looked = self.looked.max(now);
        if left == 0 {
            return remaining.min(AT_ONCE);
        }
        let parts = (u128::from(remaining) << 32).saturating_mul(step) / (left + step);
        let parts = parts.saturating_add(u128::from(self.owed));
        let due = u64::try_from(parts >> 32).unwrap_or(u64::MAX);
        self.owed = (parts & u128::from(u32::MAX)) as u64;
        due.min(remaining).min(AT_ONCE)
    }

    /// Time to the end of the window.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.ends.saturating_duration_since(now)
    }

    /// Connections without a byte since then are idle.
    pub(super) fn idle_since(&self, now: Instant) -> Option<Instant> {
        now.checked_sub(self.idle)
    }
}

/// The `count` that rest longest of what the workers named, by worker.
pub(super) fn choose(named: Vec<(usize, Vec<Resting>)>, count: u64, workers: usize) -> Vec<Vec<Resting>> {
    let mut all: Vec<(Resting, usize)> =
        named.into_iter().flat_map(|(worker, list)| list.into_iter().map(move |each| (each, worker))).collect();
    all.sort_unstable();
    all.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    let mut chosen = vec![Vec::new(); workers];
    for (each, worker) in all {
        if let Some(list) = chosen.get_mut(worker) {
            list.push(each);
        }
    }
    chosen
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn two_hundred_over_three_seconds_are_seven_or_so_a_look() {
        let start = Instant::now();
        let mut gradual = Gradual::new(Duration::from_secs(3), start);
        let mut remaining = 200;
        for look in 1..=30 {
            let due = gradual.due(remaining, start + TICK * look);
            assert!((6..=8).contains(&due), "{due} at look {look}");
            remaining -= due;
        }
        assert_eq!(remaining, 0);
    }

    #[test]
    fn who_rests_longest_goes_first_whichever_worker_has_it() {
        let start = Instant::now();
        let rests = |id, since| Resting { since: start + millis(since), id };
        let named = vec![(1, vec![rests(1, 30), rests(2, 50)]), (0, vec![rests(3, 10), rests(4, 40)])];
        assert_eq!(choose(named, 3, 2), [vec![rests(3, 10), rests(4, 40)], vec![rests(1, 30)]]);
    }

    #[test]
    fn a_short_window_has_a_short_idle_time() {
        let start = Instant::now();
        let now = start + Duration::from_secs(10);
        let idle = |window| now.duration_since(Gradual::new(window, start).idle_since(now).unwrap());
        assert_eq!(idle(Duration::from_secs(60)), IDLE);
        assert_eq!(idle(millis(400)), millis(100));
    }

    proptest! {
        /// At any moment within the window what has ended is within one
        /// connection (and one look's worth) of the straight line, whatever
        /// the looks' distances; at the end nothing is left.
        #[test]
        fn it_is_even_and_ends_with_the_window(
            count in 0_u64..5000,
            window in 2_000_u64..60_000,
            steps in prop::collection::vec(20_u64..180, 1..200),
        ) {
            let start = Instant::now();
            let mut gradual = Gradual::new(millis(window), start);
            let (mut at, mut ended, mut looks) = (0, 0, steps.iter().cycle());
            while at < window {
                at = (at + looks.next().unwrap()).min(window);
                ended += gradual.due(count - ended, start + millis(at));
                let line = count as f64 * at as f64 / window as f64;
                prop_assert!((ended as f64 - line).abs() <= 1.01, "{ended} and not {line} after {at} of {window}");
            }
            prop_assert_eq!(ended, count);
        }

        /// Never more than remain, never more than a worker can end in a turn,
        /// and after the window everything, as fast as that allows.
        #[test]
        fn no_look_ends_too_many(
            mut remaining in 0_u64..20_000,
            window in 0_u64..5_000,
            steps in prop::collection::vec(0_u64..3_000, 1..100),
        ) {
            let start = Instant::now();
            let mut gradual = Gradual::new(millis(window), start);
            let mut at = 0;
            for step in steps {
                at += step;
                let due = gradual.due(remaining, start + millis(at));
                prop_assert!(due <= remaining.min(AT_ONCE));
                if at >= window {
                    prop_assert_eq!(due, remaining.min(AT_ONCE));
                }
                remaining -= due;
            }
        }

        /// Connections that come to rest, end by themselves or refuse to rest
        /// do not make a burst of the rest: one look's share is bounded by the
        /// number that remains and the time that is left.
        #[test]
        fn what_changes_meanwhile_makes_no_burst(
            counts in prop::collection::vec(0_u64..3000, 5..60),
        ) {
            let start = Instant::now();
            let window = TICK * 100;
            let mut gradual = Gradual::new(window, start);
            for (look, &remaining) in (1_u32..).zip(&counts) {
                let due = gradual.due(remaining, start + TICK * look);
                prop_assert!(due <= remaining / u64::from(100 - look + 1) + 1);
            }
        }
    }
}
