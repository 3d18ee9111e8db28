use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::control::{clock::Clock, guard::Outcomes, history::GuardRule, testing::usual};

const SECOND: Duration = Duration::from_secs(1);

fn state() -> State {
    State::new(Arc::new(usual()), SystemTime::UNIX_EPOCH)
}

fn now() -> Now {
    Clock::system().now()
}

fn trial(terms: Terms, now: Now) -> Option<Trial> {
    Trial::new(2, state(), terms, now, || (Tally::new(), Tally::new()))
}

fn failing() -> Tally {
    Tally::from([("web".to_owned(), Outcomes { ended: 20, failed: 20 })])
}

fn within(time: Duration) -> Terms {
    Terms { confirm_within: Some(time), guard: None }
}

fn guarded(confirm_within: Option<Duration>) -> Terms {
    Terms { confirm_within, guard: Some(GuardRule { watch: 10 * SECOND, ..GuardRule::default() }) }
}

#[test]
fn without_terms_there_is_no_trial() {
    assert!(trial(Terms::default(), now()).is_none());
}

#[test]
fn what_nobody_confirms_is_taken_back_in_time() {
    let now = now();
    let mut trial = trial(within(10 * SECOND), now).unwrap();
    assert_eq!(trial.look(now.instant, failing), Act::Wait, "no guard was asked for");
    assert_eq!(trial.look(now.instant + 9 * SECOND, failing), Act::Wait);
    assert_eq!(trial.look(now.instant + 10 * SECOND, failing), Act::Return(Cause::Time));
    assert_eq!(trial.verdict(&Cause::Time), "not confirmed within 10s");
    let view = trial.view();
    assert_eq!((view.generation, view.former, view.until), (2, 1, now.wall + 10 * SECOND));
    let refusal = trial.refusal(now.instant + SECOND / 2).to_string();
    assert!(refusal.starts_with("generation 2 waits for its confirmation, 10s left"), "{refusal}");
}

#[test]
fn a_guard_takes_it_back_early_or_lets_it_stay() {
    let now = now();
    let mut guarded_only = trial(guarded(None), now).unwrap();
    assert_eq!(guarded_only.look(now.instant + 9 * SECOND, Tally::new), Act::Wait);
    assert_eq!(guarded_only.look(now.instant + 10 * SECOND, Tally::new), Act::Keep);
    let act = guarded_only.look(now.instant + 11 * SECOND, failing);
    assert!(matches!(act, Act::Return(Cause::Guard(_))), "{act:?}");

    let mut both = trial(guarded(Some(60 * SECOND)), now).unwrap();
    assert_eq!(both.look(now.instant + 59 * SECOND, Tally::new), Act::Wait);
    assert_eq!(both.look(now.instant + 60 * SECOND, Tally::new), Act::Return(Cause::Time));
}

#[test]
fn a_return_that_failed_is_tried_again_and_told_once() {
    let now = now();
    let mut trial = trial(within(SECOND), now).unwrap();
    assert_eq!(trial.look(now.instant + SECOND, Tally::new), Act::Return(Cause::Time));
    assert!(trial.failed("worker 1 is silent".to_owned(), now.instant + SECOND));
    assert_eq!(trial.look(now.instant + 2 * SECOND, Tally::new), Act::Wait);
    assert_eq!(trial.look(now.instant + SECOND + RETRY, Tally::new), Act::Return(Cause::Time));
    assert!(!trial.failed("worker 1 is silent".to_owned(), now.instant + SECOND + RETRY));
    assert_eq!(trial.view().trouble.as_deref(), Some("worker 1 is silent"));
}

proptest! {
    /// Whatever happens, it is decided once the time is over, and never
    /// earlier without a guard.
    #[test]
    fn every_trial_ends(seconds in 1..1000_u64, looks in proptest::collection::vec(0..2000_u64, 1..50), confirm in any::<bool>()) {
        let now = now();
        let time = Duration::from_secs(seconds);
        let terms = if confirm {
            within(time)
        } else {
            Terms { confirm_within: None, guard: Some(GuardRule { watch: time, ..GuardRule::default() }) }
        };
        let mut trial = trial(terms, now).unwrap();
        let mut looks = looks;
        looks.sort_unstable();
        for at in looks {
            let act = trial.look(now.instant + Duration::from_secs(at), Tally::new);
            let expected = match (at >= seconds, confirm) {
                (false, _) => Act::Wait,
                (true, true) => Act::Return(Cause::Time),
                (true, false) => Act::Keep,
            };
            prop_assert_eq!(act, expected);
        }
    }
}
