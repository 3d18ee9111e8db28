//! The one place of this room that reads a clock.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For people: what is shown and when overrides end.
    pub wall: SystemTime,
    /// For deadlines: never set back.
    pub instant: Instant,
}

impl Now {
    /// The wall clock's time of another instant.
    pub fn wall_of(self, instant: Instant) -> SystemTime {
        let past = self.instant.saturating_duration_since(instant);
        self.wall.checked_sub(past).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Tells the time; tests hand in their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    /// The system's clocks.
    pub fn system() -> Self {
        Self::new(read)
    }

    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> Now {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[expect(clippy::disallowed_methods, reason = "control's edge reads both clocks, here alone")]
fn read() -> Now {
    Now { wall: SystemTime::now(), instant: Instant::now() }
}
