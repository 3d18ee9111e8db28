//! How long a drain will take, from how fast its connections have ended so
//! far. Pure.

use std::time::{Duration, Instant};

/// What happened so long ago counts for about a third.
const MEMORY: f64 = 15.0;
/// Longer than this is not told.
const LONGEST: f64 = 7.0 * 86_400.0;

/// The rate of ends, recent ones weighing more.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    began: Instant,
    looked: Instant,
    ended: u64,
    /// Ends per second, weighted; too small by `settled` while it is young.
    rate: f64,
}

impl Estimate {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, looked: now, ended: 0, rate: 0.0 }
    }

    /// `ended` have ended so far.
    pub(super) fn look(&mut self, ended: u64, now: Instant) {
        let step = now.saturating_duration_since(self.looked).as_secs_f64();
        if step <= 0.0 {
            return;
        }
        let seen = ended.saturating_sub(self.ended) as f64 / step;
        self.rate += (1.0 - (-step / MEMORY).exp()) * (seen - self.rate);
        (self.looked, self.ended) = (now, ended);
    }

    /// Until the `remaining` have ended at that rate; `None`: none has ended
    /// lately, or it would take longer than a week.
    pub(super) fn left(&self, remaining: u64) -> Option<Duration> {
        let age = self.looked.saturating_duration_since(self.began).as_secs_f64();
        let rate = self.rate / (1.0 - (-age / MEMORY).exp());
        if !rate.is_finite() || rate <= 0.0 {
            return None;
        }
        let seconds = remaining as f64 / rate;
        (seconds <= LONGEST).then(|| Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn nothing_is_known_before_the_first_end() {
        let start = Instant::now();
        let mut estimate = Estimate::new(start);
        assert_eq!(estimate.left(10), None);
        estimate.look(0, start + TICK);
        assert_eq!(estimate.left(10), None);
    }

    #[test]
    fn a_rate_that_changes_is_followed() {
        let start = Instant::now();
        let mut estimate = Estimate::new(start);
        // 10 a second for a minute, then 1 a second for two.
        for second in 1_u64..=180 {
            let ended = if second <= 60 { 10 * second } else { 600 + (second - 60) };
            estimate.look(ended, start + Duration::from_secs(second));
        }
        let left = estimate.left(100).unwrap().as_secs_f64();
        assert!((90.0..=101.0).contains(&left), "{left}");
    }

    #[test]
    fn when_the_ends_stop_it_grows_until_it_is_not_told() {
        let start = Instant::now();
        let mut estimate = Estimate::new(start);
        estimate.look(10, start + Duration::from_secs(1));
        let before = estimate.left(10).unwrap();
        estimate.look(10, start + Duration::from_secs(20));
        assert!(estimate.left(10).unwrap() > before);
        estimate.look(10, start + Duration::from_secs(3600));
        assert_eq!(estimate.left(10), None);
    }

    proptest! {
        /// A steady rate is told exactly from the first look on, however far
        /// apart the looks are.
        #[test]
        fn a_steady_rate_is_right(
            rate in 1_u64..500,
            remaining in 0_u64..100_000,
            steps in prop::collection::vec(1_u64..50, 1..50),
        ) {
            let start = Instant::now();
            let mut estimate = Estimate::new(start);
            let mut seconds = 0;
            for step in steps {
                seconds += step;
                estimate.look(rate * seconds, start + Duration::from_secs(seconds));
                let wanted = remaining as f64 / rate as f64;
                let told = estimate.left(remaining).map(|left| left.as_secs_f64());
                if wanted <= LONGEST * 0.99 {
                    prop_assert!(told.is_some_and(|told| (told - wanted).abs() <= wanted * 1e-6 + 1e-6), "{told:?} {wanted}");
                }
            }
        }

        /// No input makes it panic.
        #[test]
        fn anything_goes(looks in prop::collection::vec((any::<u64>(), 0_u64..1_000_000), 0..20), remaining: u64) {
            let start = Instant::now();
            let mut estimate = Estimate::new(start);
            for (ended, at) in looks {
                estimate.look(ended, start + Duration::from_millis(at));
                let _ = estimate.left(remaining);
            }
        }
    }
}
