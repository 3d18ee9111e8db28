//! Ejection: an endpoint on which connection after connection fails gets none
//! for a while, and for a longer while each time.

use std::time::{Duration, Instant};

/// When an endpoint is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row; at least 1.
    pub consecutive: u16,
    /// The n-th ejection lasts n times as long.
    pub base: Duration,
    /// None lasts longer.
    pub max: Duration,
}

/// Counts of one endpoint since its start, as its connections met them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Connects that succeeded.
    pub connected: u64,
    /// Connects that failed or timed out.
    pub failed: u64,
    /// Connections that the endpoint ended soon and without a byte.
    pub early_resets: u64,
    /// Bytes that came from it.
    pub received: u64,
}

/// What ejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// So many connects in a row have failed.
    ConnectFailures(u64),
    /// So many connections in a row ended early.
    EarlyResets(u64),
}

/// What is remembered of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlier {
    seen: Seen,
    failures: u64,
    resets: u64,
    ejections: u32,
    ejected_until: Option<Instant>,
    /// In service and forgiven so far.
    forgiven_at: Option<Instant>,
}

impl Outlier {
    /// One that begins with these counts.
    pub fn new(seen: Seen) -> Self {
        Self { seen, ..Self::default() }
    }

    /// One that was ejected by somebody else, so many times by now.
    pub fn ejected(ejections: u32, until: Instant) -> Self {
        Self { ejections, ejected_until: Some(until), ..Self::default() }
    }

    /// Looks at the counts; answers what speaks for an ejection now, which the
    /// caller may grant with [`eject`](Self::eject).
    ///
    /// A look sees many connections at once and not their order: a success
    /// among them ends a row of failures. So an endpoint is never ejected that
    /// served somebody between two looks.
    pub fn look(&mut self, seen: Seen, limits: &Limits, now: Instant) -> Option<Cause> {
        let before = std::mem::replace(&mut self.seen, seen);
        let grown = |count: fn(&Seen) -> u64| count(&seen).saturating_sub(count(&before));
        let (connected, received) = (grown(|each| each.connected), grown(|each| each.received));
        self.failures = if connected > 0 { 0 } else { self.failures + grown(|each| each.failed) };
        self.resets = if received > 0 { 0 } else { self.resets + grown(|each| each.early_resets) };
        if self.ejected_until.is_some() {
            return None;
        }
        self.forgive(limits, now);
        let most = u64::from(limits.consecutive);
        if self.failures >= most {
            return Some(Cause::ConnectFailures(self.failures));
        }
        (self.resets >= most).then_some(Cause::EarlyResets(self.resets))
    }

    /// Ejects; answers for how long.
    pub fn eject(&mut self, limits: &Limits, now: Instant) -> Duration {
        self.ejections = self.ejections.saturating_add(1);
        let time = limits.base.saturating_mul(self.ejections).min(limits.max);
        (self.failures, self.resets) = (0, 0);
        self.ejected_until = Some(now.checked_add(time).unwrap_or(now));
        time
    }

    /// Whether an ejection has just ended.
    pub fn returns(&mut self, now: Instant) -> bool {
        let over = self.ejected_until.is_some_and(|until| now >= until);
        if over {
            self.readmit(now);
        }
        over
    }

    /// Ends an ejection early.
    pub fn readmit(&mut self, now: Instant) {
        self.ejected_until = None;
        (self.failures, self.resets) = (0, 0);
        self.forgiven_at = Some(now);
    }

    /// Until when it is ejected.
    pub fn ejected_until(&self) -> Option<Instant> {
        self.ejected_until
    }

    /// Ejections that the next one's length counts.
    pub fn ejections(&self) -> u32 {
        self.ejections
    }

    /// For each `base` of time in service one ejection is forgotten.
    fn forgive(&mut self, limits: &Limits, now: Instant) {
        let Some(since) = self.forgiven_at.filter(|_| !limits.base.is_zero()) else { return };
        let times = now.saturating_duration_since(since).as_nanos() / limits.base.as_nanos();
        let times = u32::try_from(times).unwrap_or(u32::MAX).min(self.ejections);
        if times > 0 {
            self.ejections -= times;
            self.forgiven_at = since.checked_add(limits.base.saturating_mul(times));
        }
        if self.ejections == 0 {
            self.forgiven_at = None;
        }
    }
}

impl Limits {
    /// How many of `total` endpoints may be ejected at once.
    pub fn allowed(total: usize, max_share: u8) -> usize {
        total.saturating_mul(usize::from(max_share.min(100))) / 100
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { consecutive: 3, base: Duration::from_secs(10), max: Duration::from_secs(25) };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn failed(n: u64) -> Seen {
        Seen { failed: n, ..Seen::default() }
    }

    #[test]
    fn failures_in_a_row_eject() {
        let (mut each, now) = (Outlier::new(failed(100)), start());
        assert_eq!(each.look(failed(102), &LIMITS, now), None, "what was before does not count");
        let success = Seen { connected: 1, ..failed(104) };
        assert_eq!(each.look(success, &LIMITS, now), None, "a success among them ends the row");
        assert_eq!(each.look(Seen { failed: 106, ..success }, &LIMITS, now), None);
        assert_eq!(each.look(Seen { failed: 108, ..success }, &LIMITS, now), Some(Cause::ConnectFailures(4)));
    }

    #[test]
    fn early_resets_in_a_row_eject_although_the_connects_succeed() {
        let (mut each, now) = (Outlier::default(), start());
        for n in 1..3 {
            let seen = Seen { connected: n, early_resets: n, ..Seen::default() };
            assert_eq!(each.look(seen, &LIMITS, now), None);
        }
        let seen = Seen { connected: 3, early_resets: 3, ..Seen::default() };
        assert_eq!(each.look(seen, &LIMITS, now), Some(Cause::EarlyResets(3)));
        let answer = Seen { received: 1, early_resets: 9, ..seen };
        assert_eq!(each.look(answer, &LIMITS, now), None, "somebody was served");
    }

    #[test]
    fn each_ejection_is_longer_up_to_the_longest_and_time_forgives() {
        let (mut each, mut now) = (Outlier::default(), start());
        for expected in [10, 20, 25, 25] {
            assert_eq!(each.eject(&LIMITS, now), seconds(expected));
            assert!(!each.returns(now + seconds(expected - 1)));
            assert_eq!(each.look(failed(1000), &LIMITS, now), None, "it is out already");
            now += seconds(expected);
            assert!(each.returns(now) && !each.returns(now));
        }
        assert_eq!(each.ejections(), 4);
        each.look(failed(1000), &LIMITS, now + seconds(29));
        assert_eq!(each.ejections(), 2);
        each.look(failed(1000), &LIMITS, now + seconds(39));
        assert_eq!(each.ejections(), 1, "the rest of a time is not lost");
        each.look(failed(1000), &LIMITS, now + seconds(3000));
        assert_eq!(each.ejections(), 0);
        assert_eq!(each.eject(&LIMITS, now), seconds(10));
    }

    #[test]
    fn the_share_is_rounded_down() {
        let allowed = |total| Limits::allowed(total, 50);
        assert_eq!([0, 1, 2, 3, 4, 1000].map(allowed), [0, 0, 1, 1, 2, 500]);
        assert_eq!([Limits::allowed(7, 0), Limits::allowed(7, 100)], [0, 7]);
    }

    proptest! {
        #[test]
        fn whoever_is_ejected_failed_often_enough(steps in proptest::collection::vec((0..4_u64, 0..3_u64, 0..4_u64, 0..2_u64, 0..20_u64), 1..80)) {
            let (mut each, mut now, mut seen) = (Outlier::default(), start(), Seen::default());
            let mut bad_since_good = 0;
            for (failures, connected, resets, received, time) in steps {
                now += seconds(time);
                let was_out = each.ejected_until().is_some();
                if each.returns(now) {
                    prop_assert!(was_out);
                    bad_since_good = 0;
                }
                seen.failed += failures;
                seen.connected += connected;
                seen.early_resets += resets;
                seen.received += received;
                bad_since_good += failures + resets;
                if let Some(cause) = each.look(seen, &LIMITS, now) {
                    let (Cause::ConnectFailures(n) | Cause::EarlyResets(n)) = cause;
                    prop_assert!(n >= u64::from(LIMITS.consecutive) && n <= bad_since_good);
                    prop_assert!(each.ejected_until().is_none());
                    let time = each.eject(&LIMITS, now);
                    prop_assert!(time >= LIMITS.base && time <= LIMITS.max);
                    prop_assert_eq!(each.ejected_until(), Some(now + time));
                    bad_since_good = 0;
                }
            }
        }
    }
}
