//! Moments on their way to another process of the same machine and boot:
//! nanoseconds of CLOCK_MONOTONIC, which is what an `Instant` is made of.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::control::Clock;

/// The same moment in both forms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    instant: Instant,
    nanos: i64,
}

impl Moments {
    /// Reads both clocks; off by the time between the two reads.
    pub(super) fn read() -> Self {
        let instant = Clock::system().now().instant;
        let nanos = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Self { instant, nanos: i64::try_from(nanos.as_nanos()).unwrap_or(i64::MAX) }
    }

    pub(super) fn to_nanos(self, moment: Instant) -> i64 {
        let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        match moment.checked_duration_since(self.instant) {
            Some(ahead) => self.nanos.saturating_add(nanos(ahead)),
            None => self.nanos.saturating_sub(nanos(self.instant.saturating_duration_since(moment))),
        }
    }

    /// `None`: no `Instant` is so far away.
    pub(super) fn to_instant(self, nanos: i64) -> Option<Instant> {
        let span = Duration::from_nanos(nanos.abs_diff(self.nanos));
        if nanos >= self.nanos { self.instant.checked_add(span) } else { self.instant.checked_sub(span) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_and_back(offset in 0u64..1 << 40, past: bool) {
            let moments = Moments::read();
            let span = Duration::from_nanos(offset);
            let moment = if past { moments.instant.checked_sub(span) } else { moments.instant.checked_add(span) };
            if let Some(moment) = moment {
                prop_assert_eq!(moments.to_instant(moments.to_nanos(moment)), Some(moment));
            }
        }

        #[test]
        fn nothing_breaks_it(nanos: i64) {
            let _ = Moments::read().to_instant(nanos);
        }
    }

    #[test]
    fn two_readings_agree_on_a_moment() {
        let (first, second) = (Moments::read(), Moments::read());
        let there = second.to_instant(first.to_nanos(first.instant)).unwrap();
        let off = there.saturating_duration_since(first.instant) + first.instant.saturating_duration_since(there);
        assert!(off < Duration::from_secs(1), "{off:?}");
    }
}
