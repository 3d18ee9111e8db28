//! Whether a loop looks for events before it sleeps: going to sleep and waking
//! up takes longer than an answer that is on its way. A look that finds nothing
//! was in vain, and each in a row makes the next come later.
//! Pure.

use std::time::Duration;

/// Looks in vain that count: after so many, one wait of 256 begins with a look.
const MOST_MISSES: u32 = 8;

/// Looks for events, at most `limit` each.
#[derive(Debug, Default)]
pub(super) struct Look {
    limit: Duration,
    /// Looks that found nothing, one after the other.
    misses: u32,
    /// Waits that are to begin without a look.
    skip: u32,
}

impl Look {
    /// None at all if `limit` is zero.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, ..Self::default() }
    }

    /// A wait begins: how long to look before it sleeps; `None`: not at all.
    pub(super) fn begin(&mut self) -> Option<Duration> {
        if self.limit.is_zero() {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some(self.limit)
    }

    /// The look found something, or was in vain.
    pub(super) fn end(&mut self, found: bool) {
        self.misses = if found { 0 } else { (self.misses + 1).min(MOST_MISSES) };
        self.skip = (1 << self.misses) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(50);

    /// Waits until the next look.
    fn skipped(look: &mut Look) -> usize {
        (0..1000).take_while(|_| look.begin().is_none()).count()
    }

    #[test]
    fn none_is_none() {
        assert_eq!(skipped(&mut Look::default()), 1000);
    }

    #[test]
    fn looks_that_pay_go_on() {
        let mut look = Look::new(LIMIT);
        for _ in 0..100 {
            assert_eq!(look.begin(), Some(LIMIT));
            look.end(true);
        }
    }

    #[test]
    fn looks_in_vain_become_rare_and_one_that_pays_brings_them_back() {
        let mut look = Look::new(LIMIT);
        let mut gaps = Vec::new();
        for _ in 0..10 {
            gaps.push(skipped(&mut look));
            look.end(false);
        }
        assert_eq!(gaps, [0, 1, 3, 7, 15, 31, 63, 127, 255, 255]);
        assert_eq!(skipped(&mut look), 255);
        look.end(true);
        assert_eq!(skipped(&mut look), 0);
    }
}
