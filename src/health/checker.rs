//! Rise and fall: how many answers it takes to change one's mind.

use std::time::Duration;

/// What is thought of an endpoint that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    /// It has not answered yet.
    #[default]
    Unknown,
    /// It can be used.
    Healthy,
    /// It cannot.
    Unhealthy,
}

/// How answers are weighed and how often is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// From one probe to the next.
    pub interval: Duration,
    /// As above, in doubt.
    pub fast_interval: Duration,
    /// An interval is longer or shorter by up to so many percent; at most 100.
    pub jitter: u8,
    /// Good answers, one behind the other, that make it healthy; at least 1.
    pub rise: u8,
    /// Bad answers, one behind the other, that make it unhealthy; at least 1.
    pub fall: u8,
}

/// A verdict, and what speaks against it.
///
/// The first answer decides alone: before it nothing is known that could be
/// doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checker {
    verdict: Verdict,
    /// Answers in a row that contradict the verdict.
    against: u8,
    /// Answers so far, counted up to 2.
    answers: u8,
}

impl Checker {
    /// A checker that begins with the verdict of another, which had other
    /// terms.
    pub fn with(verdict: Verdict) -> Self {
        Self { verdict, ..Self::default() }
    }

    /// What is thought now.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the last answers contradict the verdict, or none came yet.
    pub fn is_in_doubt(&self) -> bool {
        self.verdict == Verdict::Unknown || self.against > 0
    }

    /// An answer has come. True if the verdict is another now.
    pub fn answered(&mut self, good: bool, terms: &Terms) -> bool {
        self.answers = (self.answers + 1).min(2);
        let (to, needed) = match (self.verdict, good) {
            (Verdict::Healthy, true) | (Verdict::Unhealthy, false) => {
                self.against = 0;
                return false;
            }
            (Verdict::Unknown, true) => (Verdict::Healthy, 1),
            (Verdict::Unknown, false) => (Verdict::Unhealthy, 1),
            (Verdict::Unhealthy, true) => (Verdict::Healthy, terms.rise),
            (Verdict::Healthy, false) => (Verdict::Unhealthy, terms.fall),
        };
        self.against += 1;
        let turns = self.against >= needed;
        if turns {
            (self.verdict, self.against) = (to, 0);
        }
        turns
    }

    /// From the begin of a probe that was answered to the next; `lot` is any
    /// number. After its first answer an endpoint waits for any part of an
    /// interval: so those that were asked at the same time are not from then on.
    pub fn pause(&self, terms: &Terms, lot: u64) -> Duration {
        let lot = f64::from((lot >> 32) as u32) / f64::from(u32::MAX);
        if self.is_in_doubt() {
            return terms.fast_interval.mul_f64(swing(terms.jitter, lot));
        }
        if self.answers < 2 {
            return terms.interval.mul_f64(lot);
        }
        terms.interval.mul_f64(swing(terms.jitter, lot))
    }
}

/// From 1 - jitter to 1 + jitter.
fn swing(jitter: u8, lot: f64) -> f64 {
    let most = f64::from(jitter.min(100)) / 100.0;
    1.0 + most * (2.0 * lot - 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(rise: u8, fall: u8, jitter: u8) -> Terms {
        let (interval, fast_interval) = (Duration::from_secs(10), Duration::from_secs(1));
        Terms { interval, fast_interval, jitter, rise, fall }
    }

    #[test]
    fn the_first_answer_decides() {
        for (good, verdict) in [(true, Verdict::Healthy), (false, Verdict::Unhealthy)] {
            let mut checker = Checker::default();
            assert!(checker.is_in_doubt());
            assert!(checker.answered(good, &terms(9, 9, 0)));
            assert_eq!((checker.verdict(), checker.is_in_doubt()), (verdict, false));
        }
    }

    #[test]
    fn rise_and_fall() {
        let terms = terms(2, 3, 0);
        let mut checker = Checker::with(Verdict::Healthy);
        let turned: Vec<bool> =
            [false, false, true, false, false, false].map(|good| checker.answered(good, &terms)).to_vec();
        assert_eq!(turned, [false, false, false, false, false, true], "the good one in between counts");
        assert_eq!(checker.verdict(), Verdict::Unhealthy);
        let turned = [true, false, true, true].map(|good| checker.answered(good, &terms));
        assert_eq!(turned, [false, false, false, true]);
    }

    #[test]
    fn it_asks_faster_in_doubt() {
        let terms = terms(2, 3, 0);
        let mut checker = Checker::default();
        assert_eq!(checker.pause(&terms, u64::MAX), terms.fast_interval);
        checker.answered(true, &terms);
        assert_eq!(checker.pause(&terms, u64::MAX / 2).as_secs(), 4, "spread: about half of an interval");
        checker.answered(true, &terms);
        assert_eq!(checker.pause(&terms, u64::MAX / 2), terms.interval);
        checker.answered(false, &terms);
        assert_eq!(checker.pause(&terms, 7), terms.fast_interval);
    }

    proptest! {
        /// The verdict is what a plain reading of the last answers gives.
        #[test]
        fn as_told_in_one_sentence(answers in proptest::collection::vec(any::<bool>(), 1..60), rise in 1..5_u8, fall in 1..5_u8) {
            let terms = terms(rise, fall, 10);
            let mut checker = Checker::default();
            let mut expected = answers[0];
            for (index, &good) in answers.iter().enumerate() {
                let before = checker.verdict();
                let turned = checker.answered(good, &terms);
                prop_assert_eq!(turned, before != checker.verdict());
                let needed = usize::from(if expected { fall } else { rise });
                let row = answers[..=index].iter().rev().take_while(|&&each| each != expected).count();
                if row >= needed {
                    expected = good;
                }
                prop_assert_eq!(checker.verdict() == Verdict::Healthy, expected);
            }
        }

        #[test]
        fn pauses_stay_within_their_jitter(lot in any::<u64>(), jitter in 0..=50_u8) {
            let terms = terms(1, 1, jitter);
            let mut checker = Checker::default();
            checker.answered(true, &terms);
            checker.answered(true, &terms);
            let pause = checker.pause(&terms, lot).as_secs_f64() / terms.interval.as_secs_f64();
            let most = f64::from(jitter) / 100.0 + 1e-6;
            prop_assert!((1.0 - most..=1.0 + most).contains(&pause), "{}", pause);
        }
    }
}
