//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// Longest wait for anything: far more than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The clock of the tests.
#[expect(clippy::disallowed_methods, reason = "tests wait with a deadline")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A pause between two looks, or a peer's slowness.
#[expect(clippy::disallowed_methods, reason = "between two looks at a condition; slow peers")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, probe).unwrap_or_else(|| panic!("{what}: not within {PATIENCE:?}"))
}

/// Asks until there is an answer or the time is over.
pub(crate) fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + limit;
    let mut wait = Duration::from_millis(1);
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if now() > end {
            return None;
        }
        pause(wait);
        wait = (wait * 2).min(Duration::from_millis(50));
    }
}
