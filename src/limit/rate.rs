//! A token bucket in sixteen bytes.
//!
//! The generic cell rate algorithm (ITU-T I.371; the "leaky bucket as a meter"):
//! instead of tokens and when they were counted, it keeps the time at which the
//! bucket would be full again. That is never refilled by a timer, and a bucket
//! that nobody drew from looks as one that was never made.

use std::time::Duration;

/// How many in how long: `rate` a second in the long run, `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that one of them costs.
    interval: u64,
    /// Nanoseconds that a full bucket is worth.
    capacity: u64,
}

impl Rate {
    /// `count` every `period`, at most `burst` at once (at least 1).
    ///
    /// `None` if `count` or `period` is 0, or the numbers are out of range: one
    /// takes at least a nanosecond and at most a day, and a burst at most 100
    /// days.
    pub fn new(count: u32, period: Duration, burst: u32) -> Option<Self> {
        let interval = u64::try_from(period.as_nanos()).ok()?.checked_div(u64::from(count))?;
        let day = 86_400_000_000_000;
        let capacity = interval.checked_mul(u64::from(burst.max(1)))?;
        (1..=day).contains(&interval).then_some(())?;
        (capacity <= 100 * day).then_some(Self { interval, capacity })
    }

    /// How long one of them takes in the long run.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }
}

/// What has come in so far. Time is a duration since any fixed moment. It may
/// be told by several clocks that are read at different moments: it never goes
/// back, else what came in first by one clock would be ahead of what comes next
/// by another, and a burst that is within the rate would not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrivals {
    /// When the bucket is full again, in nanoseconds.
    full_at: u64,
    /// The latest time that anything came in or was refused.
    latest: u64,
}

impl Arrivals {
    /// Whether one more is within `rate` at `now`; if so, it is counted.
    #[must_use]
    pub fn admit(&mut self, rate: Rate, now: Duration) -> bool {
        let now = nanos(now).max(self.latest);
        self.latest = now;
        let full_at = self.full_at.max(now).saturating_add(rate.interval);
        let within = full_at - now <= rate.capacity;
        if within {
            self.full_at = full_at;
        }
        within
    }

    /// After what time one more will be within `rate`; zero: at once.
    pub fn wait(&self, rate: Rate, now: Duration) -> Duration {
        let now = nanos(now).max(self.latest);
        let full_at = self.full_at.max(now).saturating_add(rate.interval);
        Duration::from_nanos(full_at.saturating_sub(rate.capacity).saturating_sub(now))
    }

    /// After what time it looks as if nothing had ever come in.
    pub fn left(&self, now: Duration) -> Duration {
        Duration::from_nanos(self.full_at.saturating_sub(nanos(now)))
    }

    /// One that looks so after `left`, unless it does later already: what came
    /// in was counted by another process.
    pub fn resume(&mut self, left: Duration, now: Duration) {
        self.full_at = self.full_at.max(nanos(now).saturating_add(nanos(left)));
    }

    /// Whether it looks as if nothing had ever come in.
    pub fn is_forgotten(&self, now: Duration) -> bool {
        self.full_at <= nanos(now)
    }

    /// When that will be, in nanoseconds.
    pub(super) fn full_at(&self) -> u64 {
        self.full_at
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(10, Duration::from_secs(1), 3).unwrap();
        let mut arrivals = Arrivals::default();
        let admitted = |arrivals: &mut Arrivals, now| (0..10).filter(|_| arrivals.admit(rate, at(now))).count();
        assert_eq!(admitted(&mut arrivals, 1000), 3);
        assert_eq!(arrivals.wait(rate, at(1000)), at(100));
        assert_eq!(admitted(&mut arrivals, 1099), 0);
        assert_eq!(admitted(&mut arrivals, 1100), 1);
        assert_eq!(admitted(&mut arrivals, 1350), 2);
        assert!(!arrivals.is_forgotten(at(1400)));
        assert!(arrivals.is_forgotten(at(1700)));
        assert_eq!(admitted(&mut arrivals, 9000), 3, "a rest earns one burst, not more");
    }

    #[test]
    fn it_goes_on_in_another_process() {
        let rate = Rate::new(10, Duration::from_secs(1), 3).unwrap();
        let (mut before, mut after) = (Arrivals::default(), Arrivals::default());
        assert!(before.admit(rate, at(1000)) && before.admit(rate, at(1000)));
        assert_eq!(before.left(at(1050)), at(150));
        // Its clock began later.
        after.resume(before.left(at(1050)), at(7));
        assert!(after.admit(rate, at(7)) && !after.admit(rate, at(7)));
        assert_eq!((before.left(at(1200)), after.left(at(7))), (at(0), at(250)));
        after.resume(at(10), at(7));
        assert_eq!(after.left(at(7)), at(250), "never less");
    }

    #[test]
    fn a_burst_over_several_clocks_is_whole() {
        let rate = Rate::new(2, Duration::from_secs(3600), 2).unwrap();
        let mut arrivals = Arrivals::default();
        assert!(arrivals.admit(rate, at(1000)));
        assert!(arrivals.admit(rate, at(999)), "its worker's turn had begun before");
        assert!(!arrivals.admit(rate, at(1001)));
        assert!(!arrivals.wait(rate, at(998)).is_zero());
    }

    #[test]
    fn rates_that_make_no_sense() {
        assert_eq!(Rate::new(0, Duration::from_secs(1), 1), None);
        assert_eq!(Rate::new(1, Duration::ZERO, 1), None);
        assert_eq!(Rate::new(2, Duration::from_nanos(1), 1), None);
        assert_eq!(Rate::new(1, Duration::from_secs(2 * 86_400), 1), None);
        assert!(Rate::new(1, Duration::from_secs(86_400), 101).is_none());
        assert!(Rate::new(u32::MAX, Duration::from_secs(5), u32::MAX).is_some());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_allow(
            count in 1..1000u32,
            burst in 1..50u32,
            steps in prop::collection::vec(0..50_000_000u64, 1..300),
        ) {
            let rate = Rate::new(count, Duration::from_secs(1), burst).unwrap();
            let (mut arrivals, mut now, mut times) = (Arrivals::default(), 1_000_000_000u64, Vec::new());
            for step in steps {
                now += step;
                let wait = arrivals.wait(rate, Duration::from_nanos(now));
                let admitted = arrivals.admit(rate, Duration::from_nanos(now));
                prop_assert_eq!(admitted, wait.is_zero());
                if admitted {
                    times.push(now);
                }
            }
            // In any window there are at most a burst and what the window earned.
            for (first, start) in times.iter().enumerate() {
                for (last, end) in times.iter().enumerate().skip(first) {
                    let earned = (end - start) / rate.interval;
                    prop_assert!((last - first + 1) as u64 <= u64::from(burst) + earned);
                }
            }
        }
    }
}
