use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
fn zero() -> Instant {
    Instant::now()
}

fn idle(active: &[u64]) -> Vec<Load> {
    active.iter().map(|&active| Load { active, busy: 0.0, able: true }).collect()
}

fn apply(loads: &mut [Load], shift: Shift) {
    assert!(shift.count > 0 && shift.from != shift.to);
    loads[shift.from].active -= shift.count;
    loads[shift.to].active += shift.count;
}

fn spread(loads: &[Load]) -> u64 {
    let able = || loads.iter().filter(|load| load.able).map(|load| load.active);
    able().max().unwrap_or(0) - able().min().unwrap_or(0)
}

#[test]
fn by_hand_all_have_as_many() {
    let mut loads = idle(&[200, 0, 0, 0]);
    let shifts = even(&loads, u64::MAX);
    assert_eq!(shifts.len(), 3);
    shifts.into_iter().for_each(|shift| apply(&mut loads, shift));
    assert_eq!(loads, idle(&[50, 50, 50, 50]));
    assert!(even(&loads, u64::MAX).is_empty());
    assert!(even(&idle(&[3, 2, 2]), u64::MAX).is_empty(), "one more cannot be evened");
    assert!(even(&idle(&[7]), u64::MAX).is_empty() && even(&[], 1).is_empty());
    assert_eq!(even(&idle(&[100, 0]), 10), [Shift { from: 0, to: 1, count: 10 }]);
}

#[test]
fn a_single_connection_that_is_all_the_work_stays() {
    let now = zero();
    let loads = [Load { active: 1, busy: 1.0, able: true }, Load { active: 0, busy: 0.0, able: true }];
    let mut balancer = Balancer::default();
    assert!((0..100).all(|n| balancer.look(&loads, now + Duration::from_secs(n)).is_none()));
}

#[test]
fn a_difference_must_last() {
    let now = zero();
    let mut balancer = Balancer::default();
    let (uneven, even) = (idle(&[100, 0]), idle(&[50, 50]));
    assert_eq!(balancer.look(&uneven, now), None);
    assert_eq!(balancer.look(&uneven, now), None);
    assert_eq!(balancer.look(&even, now), None);
    assert_eq!(balancer.look(&uneven, now), None);
    assert_eq!(balancer.look(&uneven, now), None);
    assert_eq!(balancer.look(&uneven, now), Some(Shift { from: 0, to: 1, count: 50 }));
}

#[test]
fn nothing_goes_to_a_worker_that_works_more() {
    let now = zero();
    let loads = [Load { active: 100, busy: 0.1, able: true }, Load { active: 0, busy: 0.5, able: true }];
    let mut balancer = Balancer::default();
    assert!((0..100).all(|n| balancer.look(&loads, now + Duration::from_secs(n)).is_none()));
}

/// One connection is the whole load, and wherever it goes, the other worker is
/// the idle one.
#[test]
fn what_does_not_help_is_done_more_and_more_seldom() {
    let (now, mut balancer) = (zero(), Balancer::default());
    let mut heavy = 0;
    let mut moves = 0;
    for second in 0..3600 {
        let load = |worker: usize| Load { active: 2, busy: if worker == heavy { 1.0 } else { 0.0 }, able: true };
        if let Some(shift) = balancer.look(&[load(0), load(1)], now + Duration::from_secs(second)) {
            assert_eq!((shift.from, shift.count), (heavy, 1));
            heavy = shift.to;
            moves += 1;
        }
    }
    // Nine until the pauses are at their longest, 512 s, then five.
    assert!((9..18).contains(&moves), "{moves} moves in an hour");
}

fn loads() -> impl Strategy<Value = Vec<Load>> {
    let load = (prop_oneof![0..20u64, 0..5000u64], prop::bool::weighted(0.9));
    prop::collection::vec(load.prop_map(|(active, able)| Load { active, busy: 0.0, able }), 0..9)
}

proptest! {
    #[test]
    fn by_hand_none_is_lost_and_few_move(mut loads in loads(), limit in prop_oneof![Just(u64::MAX), 0..100u64]) {
        let before = loads.clone();
        let shifts = even(&loads, limit);
        let moved: u64 = shifts.iter().map(|shift| shift.count).sum();
        prop_assert!(moved <= limit);
        for shift in shifts {
            prop_assert!(loads[shift.from].able && loads[shift.to].able);
            apply(&mut loads, shift);
        }
        let total = |loads: &[Load]| loads.iter().map(|load| load.active).sum::<u64>();
        prop_assert_eq!(total(&loads), total(&before));
        prop_assert!(limit < u64::MAX || spread(&loads) <= 1);
        // No worker both gives and takes.
        let share = before.iter().zip(&loads).map(|(before, after)| before.active.abs_diff(after.active)).sum::<u64>();
        prop_assert_eq!(share, 2 * moved);
    }

    #[test]
    fn whoever_leaves_leaves_nothing(loads in loads(), leaving in 0..9usize) {
        let others = loads.iter().enumerate().any(|(worker, load)| load.able && worker != leaving);
        let shifts = leave(&loads, leaving);
        let moved: u64 = shifts.iter().map(|shift| shift.count).sum();
        let has = loads.get(leaving).map_or(0, |load| load.active);
        prop_assert_eq!(moved, if others { has } else { 0 });
        prop_assert!(shifts.iter().all(|shift| shift.from == leaving && shift.to != leaving && loads[shift.to].able));
    }

    /// With connections that stay, it comes to rest: never to and fro, never
    /// more at once than is allowed, every move makes the difference less.
    #[test]
    fn it_converges_and_never_oscillates(mut loads in loads()) {
        let (start, mut balancer) = (zero(), Balancer::default());
        let total: u64 = loads.iter().filter(|load| load.able).map(|load| load.active).sum();
        let squares = |loads: &[Load]| loads.iter().map(|load| load.active.pow(2)).sum::<u64>();
        let (mut last, mut at_rest) = (None, 0);
        for second in 0..20_000 {
            let now = start + Duration::from_secs(second);
            let Some(shift) = balancer.look(&loads, now) else {
                at_rest += 1;
                if at_rest > 10 { break }
                continue;
            };
            at_rest = 0;
            prop_assert!(shift.count <= MOST);
            prop_assert!(last.is_none_or(|at| now.saturating_duration_since(at) >= PAUSE));
            last = Some(now);
            let before = squares(&loads);
            apply(&mut loads, shift);
            prop_assert!(squares(&loads) < before, "every move evens");
        }
        prop_assert!(at_rest > 10, "it comes to rest");
        let workers = loads.iter().filter(|load| load.able).count().max(1) as u64;
        prop_assert!(spread(&loads) < SLACK.max(total / workers / 4 + 1));
    }

    /// Whatever it is told, it does not move more than so many in an hour, and
    /// nothing that is not there.
    #[test]
    fn it_is_bounded_whatever_it_is_told(
        looks in prop::collection::vec(prop::collection::vec((0..200u64, 0.0..1.0f64, any::<bool>()), 2..5), 1..200),
    ) {
        let (start, mut balancer) = (zero(), Balancer::default());
        let mut moved = 0;
        for (second, loads) in looks.iter().enumerate() {
            let loads: Vec<Load> =
                loads.iter().map(|&(active, busy, able)| Load { active, busy, able }).collect();
            if let Some(shift) = balancer.look(&loads, start + Duration::from_secs(second as u64)) {
                prop_assert!(loads[shift.from].able && loads[shift.to].able && shift.from != shift.to);
                prop_assert!((1..=loads[shift.from].active).contains(&shift.count));
                moved += shift.count;
            }
        }
        prop_assert!(moved <= MOST * (1 + looks.len() as u64 / u64::from(STEADY)));
    }
}
