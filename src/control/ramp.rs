//! Slow start: an endpoint that is added or comes back takes a growing part of
//! its share. Pure.

use std::time::{Duration, Instant};

/// The part, in per cent, that an endpoint begins with, and by which it grows:
/// a pool is told anew at most so often.
const STEP: u32 = 5;
/// The whole of a share, in per cent.
const WHOLE: u32 = 100;

/// How far an endpoint is with its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ramp {
    /// It takes its whole share.
    #[default]
    Done,
    /// It begins with the next look.
    Due,
    /// It began then, and takes so many per cent of its share.
    Since(Instant, u32),
}

impl Ramp {
    /// The part of its share that it takes, in per cent, 5 to 100.
    pub(super) fn percent(self) -> u32 {
        match self {
            Self::Done => WHOLE,
            Self::Due => STEP,
            Self::Since(_, percent) => percent,
        }
    }

    /// For how long it has been starting; `None`: it does not.
    pub(super) fn elapsed(self, now: Instant) -> Option<Duration> {
        match self {
            Self::Done => None,
            Self::Due => Some(Duration::ZERO),
            Self::Since(begun, _) => Some(now.saturating_duration_since(begun)),
        }
    }

    /// A start that has been going on for so long, of `whole`.
    pub(super) fn resumed(elapsed: Duration, whole: Duration, now: Instant) -> Self {
        // What no clock can tell began long ago.
        now.checked_sub(elapsed).map_or(Self::Done, |begun| Self::Since(begun, STEP).at(now, whole))
    }

    /// How far it is now; `whole`: how long a start lasts.
    pub(super) fn at(self, now: Instant, whole: Duration) -> Self {
        let begun = match self {
            Self::Done => return self,
            Self::Due => now,
            Self::Since(begun, _) => begun,
        };
        match percent(now.saturating_duration_since(begun), whole) {
            WHOLE.. => Self::Done,
            percent => Self::Since(begun, percent),
        }
    }
}

/// The part after `elapsed` of `whole`: grows evenly, in steps.
fn percent(elapsed: Duration, whole: Duration) -> u32 {
    if elapsed >= whole {
        return WHOLE;
    }
    let steps = u128::from((WHOLE - STEP) / STEP);
    let step = elapsed.as_nanos() * steps / whole.as_nanos().max(1);
    STEP + STEP * u32::try_from(step).unwrap_or(0)
}

/// The weight that the workers are told: per cent of the weight in force while
/// one of the pool starts (`any`), since a part of weight 1 is no whole number.
pub(super) fn scaled(weight: u16, ramp: Ramp, any: bool) -> u32 {
    u32::from(weight) * if any { ramp.percent() } else { 1 }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_start_begins_small_and_ends_whole() {
        let now = Instant::now();
        let begun = Ramp::Due.at(now, 10 * SECOND);
        assert_eq!((Ramp::Due.percent(), begun.percent()), (5, 5));
        assert_eq!(begun.at(now + 5 * SECOND, 10 * SECOND).percent(), 50);
        assert_eq!(begun.at(now + 10 * SECOND - Duration::from_millis(1), 10 * SECOND).percent(), 95);
        assert_eq!(begun.at(now + 10 * SECOND, 10 * SECOND), Ramp::Done);
        assert_eq!(Ramp::Done.at(now, SECOND).percent(), 100);
    }

    #[test]
    fn weights_are_told_in_per_cent_only_while_one_starts() {
        assert_eq!([scaled(1, Ramp::Due, true), scaled(1, Ramp::Done, true), scaled(0, Ramp::Due, true)], [5, 100, 0]);
        assert_eq!(scaled(1000, Ramp::Done, false), 1000);
    }

    proptest! {
        #[test]
        fn one_that_is_resumed_goes_on_where_it_was(whole in 1_u64..3_600_000, at in 0_u64..4_000_000, more in 0_u64..4_000_000) {
            let (begun, [whole, at, more]) = (Instant::now(), [whole, at, more].map(Duration::from_millis));
            let first = Ramp::Due.at(begun, whole).at(begun + at, whole);
            // Another process, with a clock of its own.
            let later = begun + 7 * SECOND;
            if let Some(elapsed) = first.elapsed(begun + at) {
                let resumed = Ramp::resumed(elapsed, whole, later);
                prop_assert_eq!(resumed.percent(), first.percent());
                prop_assert_eq!(resumed.at(later + more, whole).percent(), first.at(begun + at + more, whole).percent());
            } else {
                prop_assert_eq!(Ramp::resumed(at, whole, later), Ramp::Done);
            }
        }

        #[test]
        fn it_never_falls_and_stays_in_range(
            whole in 1_u64..3_600_000,
            mut moments in prop::collection::vec(0_u64..4_000_000, 1..50),
        ) {
            moments.sort_unstable();
            let parts: Vec<u32> = moments
                .iter()
                .map(|&at| percent(Duration::from_millis(at), Duration::from_millis(whole)))
                .collect();
            prop_assert!(parts.windows(2).all(|pair| pair[0] <= pair[1]));
            for (part, at) in parts.iter().zip(&moments) {
                prop_assert!((5..=100).contains(part) && part % 5 == 0);
                prop_assert_eq!(*part == 100, *at >= whole);
            }
        }
    }
}
