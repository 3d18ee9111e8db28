#![expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn outcomes(ended: u64, failed: u64) -> Outcomes {
    Outcomes { ended, failed }
}

fn tally(list: &[(&str, u64, u64)]) -> Tally {
    list.iter().map(|&(name, ended, failed)| (name.to_owned(), outcomes(ended, failed))).collect()
}

fn rule() -> GuardRule {
    GuardRule::default()
}

#[test]
fn what_failed_is_what_the_upstream_side_did_not_give() {
    let failures: Vec<_> = CloseReason::ALL.into_iter().filter(|reason| is_failure(*reason) == Some(true)).collect();
    let expected = [
        CloseReason::UPSTREAM_RESET,
        CloseReason::DOWNSTREAM_RESET_IN_DIAL,
        CloseReason::CONNECT_TIMEOUT,
        CloseReason::CONNECT_FAILED,
        CloseReason::NO_ENDPOINT,
        CloseReason::RESOURCE,
        CloseReason::POOL_FULL,
        CloseReason::QUEUE_TIMEOUT,
        CloseReason::SOURCE_UNUSABLE,
    ];
    assert_eq!(failures, expected);
    for operator in [CloseReason::DRAIN, CloseReason::KILL, CloseReason::SHUTDOWN] {
        assert_eq!(is_failure(operator), None);
    }
    let mut sum = Outcomes::default();
    sum.count(CloseReason::DONE, 3);
    sum.count(CloseReason::CONNECT_FAILED, 2);
    sum.count(CloseReason::KILL, 100);
    assert_eq!(sum, outcomes(5, 2));
}

#[test]
fn a_guard_trips_above_what_was_before_and_the_threshold() {
    let before = outcomes(1000, 100);
    assert!(!too_many(rule(), before, outcomes(19, 19)), "too few to judge");
    assert!(!too_many(rule(), before, outcomes(100, 15)), "10% before and 5 points more are allowed");
    assert!(too_many(rule(), before, outcomes(100, 16)));
    assert!(too_many(rule(), outcomes(19, 19), outcomes(100, 6)), "19 connections are no measure");
}

#[test]
fn a_quiet_listener_is_not_hidden_by_a_busy_one() {
    let start = tally(&[("busy", 1_000_000, 0), ("quiet", 10, 0)]);
    let guard = Guard::new(rule(), Tally::new(), start.clone());
    assert_eq!(guard.judge(&start), None);
    let now = tally(&[("busy", 2_000_000, 0), ("quiet", 30, 20)]);
    let complaint = guard.judge(&now).unwrap();
    assert_eq!(complaint, "listener/quiet: 20 of 20 connections failed (100.0%), before the reload 0 of 0 (0.0%)");
}

#[test]
fn listeners_too_quiet_to_judge_are_judged_together() {
    let guard = Guard::new(rule(), Tally::new(), Tally::new());
    assert_eq!(guard.judge(&tally(&[("a", 10, 10), ("b", 9, 9)])), None);
    let complaint = guard.judge(&tally(&[("a", 10, 10), ("b", 10, 10)])).unwrap();
    assert!(complaint.starts_with("all listeners: 20 of 20"), "{complaint}");
}

#[test]
fn before_is_the_last_minute() {
    let (mut recent, t0) = (Recent::default(), Instant::now());
    for span in 0..100 {
        let now = t0 + span * SPAN;
        assert!(recent.is_due(now));
        recent.note(now, tally(&[("web", u64::from(span) * 10, u64::from(span))]));
        assert!(!recent.is_due(now + SPAN - SECOND));
    }
    let sum = recent.sum(&tally(&[("web", 995, 99), ("new", 2, 1)]));
    // 12 full spans and the half one.
    assert_eq!(sum, tally(&[("new", 2, 1), ("web", 125, 12)]));
}

#[test]
fn what_came_under_a_configuration_that_was_taken_back_does_not_count() {
    let (mut recent, t0) = (Recent::default(), Instant::now());
    recent.note(t0, tally(&[("web", 0, 0)]));
    recent.note(t0 + SPAN, tally(&[("web", 100, 1)]));
    let trial = t0 + SPAN;
    recent.note(t0 + 2 * SPAN, tally(&[("web", 200, 101)]));
    recent.forget_since(trial, t0 + 3 * SPAN, tally(&[("web", 300, 201)]));
    assert_eq!(recent.sum(&tally(&[("web", 310, 201)])), tally(&[("web", 110, 1)]));
}

fn some() -> impl Strategy<Value = Outcomes> {
    (0..=u64::MAX, 0..=u64::MAX).prop_map(|(a, b)| outcomes(a.max(b), a.min(b)))
}

fn any_rule() -> impl Strategy<Value = GuardRule> {
    (1..=100_u32, 0..1000_u64).prop_map(|(threshold, min_connections)| GuardRule {
        threshold,
        min_connections,
        ..GuardRule::default()
    })
}

proptest! {
    #[test]
    fn too_few_or_no_worse_than_before_never_trips(rule in any_rule(), before in some(), after in some()) {
        if after.ended < rule.min_connections.max(1) || after.failed == 0 {
            prop_assert!(!too_many(rule, before, after));
        }
        if before.ended >= rule.min_connections {
            prop_assert!(!too_many(rule, before, before));
        }
    }

    #[test]
    fn more_failures_never_make_it_better(
        rule in any_rule(), before in some(), ended in 1..10_000_u64, a in 0..10_000_u64, b in 0..10_000_u64,
    ) {
        let (fewer, more) = (a.min(b).min(ended), a.max(b).min(ended));
        if too_many(rule, before, outcomes(ended, fewer)) {
            prop_assert!(too_many(rule, before, outcomes(ended, more)));
        }
    }

    #[test]
    fn a_lower_threshold_never_forgives_more(rule in any_rule(), lower in 1..=100_u32, before in some(), after in some()) {
        let strict = GuardRule { threshold: lower.min(rule.threshold), ..rule };
        if too_many(rule, before, after) {
            prop_assert!(too_many(strict, before, after));
        }
    }

    #[test]
    fn a_measure_is_bounded_and_never_more_than_what_was_counted(
        steps in proptest::collection::vec((0..1000_u64, 0..1000_u64), 1..60),
    ) {
        let (mut recent, t0) = (Recent::default(), Instant::now());
        let (mut ended, mut failed) = (0, 0);
        for (index, (more, bad)) in steps.into_iter().enumerate() {
            ended += more;
            failed += bad.min(more);
            recent.note(t0 + SPAN * index as u32, tally(&[("web", ended, failed)]));
            prop_assert!(recent.spans.len() <= SPANS);
            let sum = recent.sum(&tally(&[("web", ended, failed)]))["web"];
            prop_assert!(sum.ended <= ended && sum.failed <= failed && sum.failed <= sum.ended);
        }
    }
}
