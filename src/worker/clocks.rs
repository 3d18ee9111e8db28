//! What ends a connection because of its time, besides the idle timeout. Most
//! connections have none of it.

use std::time::{Duration, Instant};

use crate::{config::ListenerLimits, limit::spread, protocol::CloseReason};

/// The times of one connection.
#[derive(Debug)]
pub(super) struct Clocks {
    first_byte_timeout: Option<Duration>,
    /// The client must have sent something by then.
    first_byte: Option<Instant>,
    half_closed: Option<Duration>,
    /// One side has ended since then.
    half_closed_at: Option<Instant>,
    /// Its life ends then.
    end: Option<Instant>,
}

impl Clocks {
    /// The times of the connection `id`, accepted at `since`; `None` if
    /// nothing limits it. The same for the same id: it keeps its end wherever
    /// it goes.
    pub(super) fn new(limits: &ListenerLimits, id: u64, since: Instant) -> Option<Box<Self>> {
        let ListenerLimits { first_byte_timeout, half_closed_timeout, max_lifetime, .. } = limits;
        first_byte_timeout.or(*half_closed_timeout).or(*max_lifetime)?;
        Some(Box::new(Self {
            first_byte_timeout: *first_byte_timeout,
            first_byte: first_byte_timeout.and_then(|timeout| since.checked_add(timeout)),
            half_closed: *half_closed_timeout,
            half_closed_at: None,
            end: max_lifetime.and_then(|life| since.checked_add(spread(life, limits.lifetime_jitter.0, id))),
        }))
    }

    /// The client may speak for itself only from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.first_byte = self.first_byte_timeout.and_then(|timeout| now.checked_add(timeout));
    }

    /// What was seen of it: whether the client has said anything (or that it
    /// has nothing to say), and whether one side has ended.
    pub(super) fn note(&mut self, heard: bool, half_closed: bool, now: Instant) {
        if heard || half_closed {
            self.first_byte = None;
        }
        if half_closed && self.half_closed.is_some() {
            self.half_closed_at.get_or_insert(now);
        }
    }

    /// When its life ends.
    pub(super) fn end(&self) -> Option<Instant> {
        self.end
    }

    /// When the first of its times is up; the last byte moved at
    /// `progressed_at`.
    pub(super) fn deadline(&self, progressed_at: Instant) -> Option<Instant> {
        [self.end, self.first_byte, self.half_closed_deadline(progressed_at)].into_iter().flatten().min()
    }

    /// Why it ends now, if it does.
    pub(super) fn overdue(&self, progressed_at: Instant, now: Instant) -> Option<CloseReason> {
        let up = |deadline: Option<Instant>| deadline.is_some_and(|deadline| now >= deadline);
        if up(self.end) {
            Some(CloseReason::LIFETIME)
        } else if up(self.first_byte) {
            Some(CloseReason::FIRST_BYTE)
        } else if up(self.half_closed_deadline(progressed_at)) {
            Some(CloseReason::HALF_CLOSED)
        } else {
            None
        }
    }

    fn half_closed_deadline(&self, progressed_at: Instant) -> Option<Instant> {
        self.half_closed_at?.max(progressed_at).checked_add(self.half_closed?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn no_limit_takes_no_memory() {
        assert!(Clocks::new(&ListenerLimits::default(), 1, start()).is_none());
    }

    #[test]
    fn each_time_has_its_own_reason() {
        let limits = ListenerLimits {
            first_byte_timeout: Some(seconds(5)),
            half_closed_timeout: Some(seconds(10)),
            max_lifetime: Some(seconds(100)),
            lifetime_jitter: crate::config::Jitter(0),
            ..ListenerLimits::default()
        };
        let now = start();
        let mut clocks = Clocks::new(&limits, 1, now).unwrap();
        assert_eq!(clocks.deadline(now), Some(now + seconds(5)));
        assert_eq!(clocks.overdue(now, now + seconds(4)), None);
        assert_eq!(clocks.overdue(now, now + seconds(5)), Some(CloseReason::FIRST_BYTE));
        clocks.note(true, false, now);
        assert_eq!(clocks.overdue(now, now + seconds(50)), None);
        clocks.note(true, true, now + seconds(20));
        assert_eq!(clocks.deadline(now), Some(now + seconds(30)));
        assert_eq!(clocks.overdue(now, now + seconds(30)), Some(CloseReason::HALF_CLOSED));
        let progress = now + seconds(29);
        clocks.note(true, true, progress);
        assert_eq!(clocks.overdue(progress, now + seconds(38)), None, "bytes move");
        assert_eq!(clocks.overdue(progress, now + seconds(39)), Some(CloseReason::HALF_CLOSED));
        assert_eq!(clocks.overdue(now + seconds(99), now + seconds(100)), Some(CloseReason::LIFETIME));
    }

    #[test]
    fn lives_that_began_together_end_apart() {
        let limits = ListenerLimits { max_lifetime: Some(seconds(1000)), ..ListenerLimits::default() };
        let now = start();
        let ends: Vec<Instant> = (0..100).filter_map(|id| Clocks::new(&limits, id, now)?.end()).collect();
        assert!(ends.iter().all(|end| *end <= now + seconds(1000) && *end >= now + seconds(900)));
        let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
        assert!(*last - *first > seconds(80));
    }
}
