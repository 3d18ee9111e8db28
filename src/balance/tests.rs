use proptest::prelude::*;

use super::*;

fn candidates(weights: &[u32]) -> Vec<Candidate<usize>> {
    let each = |(key, &weight): (usize, &u32)| Candidate { key, weight, backup: false };
    weights.iter().enumerate().map(each).collect()
}

fn tables(policy: Policy, candidates: &[Candidate<usize>]) -> Tables {
    Tables::of(policy, candidates, |key| stable_hash(&key.to_be_bytes()))
}

fn made(policy: Policy, candidates: &[Candidate<usize>], offset: usize) -> Balancer<usize> {
    Balancer::new(policy, candidates, &tables(policy, candidates), offset)
}

fn update(balancer: &mut Balancer<usize>, policy: Policy, candidates: &[Candidate<usize>]) {
    balancer.update(policy, candidates, &tables(policy, candidates));
}

fn pick(balancer: &mut Balancer<usize>, tried: &[usize]) -> Option<usize> {
    balancer.pick(&Ask { tried, hash: 0, load: |_| 0, full: |_| false })
}

fn round_robin(weights: &[u32], offset: usize) -> Balancer<usize> {
    made(Policy::RoundRobin, &candidates(weights), offset)
}

fn picks(balancer: &mut Balancer<usize>, count: usize) -> Vec<usize> {
    (0..count).map(|_| pick(balancer, &[]).unwrap()).collect()
}

const ALL: [Policy; 6] = [
    Policy::RoundRobin,
    Policy::LeastConnections,
    Policy::TwoChoices,
    Policy::Random,
    Policy::Maglev,
    Policy::FirstAvailable,
];

#[test]
fn equal_weights_take_turns() {
    assert_eq!(picks(&mut round_robin(&[1, 1, 1], 0), 6), [0, 1, 2, 0, 1, 2]);
    assert_eq!(picks(&mut round_robin(&[7, 7, 7], 0), 6), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn an_offset_begins_elsewhere() {
    assert_eq!(pick(&mut round_robin(&[1, 1, 1], 4), &[]), Some(1));
}

#[test]
fn heavy_endpoints_do_not_come_in_bursts() {
    assert_eq!(picks(&mut round_robin(&[5, 1, 1], 0), 7), [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn a_retry_leaves_out_what_was_tried_under_every_policy() {
    for policy in ALL {
        let mut balancer = made(policy, &candidates(&[1, 1, 0]), 0);
        let first = pick(&mut balancer, &[]).unwrap();
        let second = pick(&mut balancer, &[first]).unwrap();
        assert_ne!(first, second, "{policy:?}");
        assert_eq!(pick(&mut balancer, &[first, second]), None, "{policy:?}: weight 0 takes nothing");
    }
}

#[test]
fn what_is_full_is_left_out_under_every_policy() {
    for policy in ALL {
        let mut balancer = made(policy, &candidates(&[3, 1, 2]), 1);
        for hash in 0..50 {
            let ask = Ask { tried: &[], hash, load: |_| 0, full: |key| key != 1 };
            assert_eq!(balancer.pick(&ask), Some(1), "{policy:?}");
        }
    }
}

#[test]
fn backups_wait_until_no_other_takes_connections() {
    for policy in ALL {
        let mut all = candidates(&[1, 1, 1, 1]);
        (all[2].backup, all[3].backup) = (true, true);
        let mut balancer = made(policy, &all, 0);
        assert!((0..20).all(|_| pick(&mut balancer, &[]).unwrap() < 2), "{policy:?}");
        let fallback = pick(&mut balancer, &[0, 1]).unwrap();
        assert!(fallback >= 2, "{policy:?}");
        (all[0].weight, all[1].weight) = (0, 0);
        update(&mut balancer, policy, &all);
        assert!((0..20).all(|_| pick(&mut balancer, &[]).unwrap() >= 2), "{policy:?}");
    }
}

#[test]
fn weight_zero_drains_and_comes_back() {
    let mut balancer = round_robin(&[1, 1], 0);
    update(&mut balancer, Policy::RoundRobin, &candidates(&[0, 1]));
    assert!((0..10).all(|_| pick(&mut balancer, &[]) == Some(1)));
    update(&mut balancer, Policy::RoundRobin, &candidates(&[1, 1]));
    let back = picks(&mut balancer, 20);
    assert_eq!(back.iter().filter(|&&key| key == 0).count(), 10, "no debt is paid back in a burst");
}

#[test]
fn lighter_weights_do_not_begin_with_a_burst() {
    let mut balancer = round_robin(&[1000, 1], 0);
    picks(&mut balancer, 500);
    update(&mut balancer, Policy::RoundRobin, &candidates(&[2, 1]));
    let after = picks(&mut balancer, 30);
    assert!(after.iter().filter(|&&key| key == 1).count() <= 13, "{after:?}");
}

#[test]
fn the_first_with_room_takes_it() {
    let mut balancer = made(Policy::FirstAvailable, &candidates(&[1, 5, 1]), 2);
    assert_eq!(pick(&mut balancer, &[]), Some(0));
    assert_eq!(pick(&mut balancer, &[0]), Some(1));
}

#[test]
fn a_key_stays_with_its_endpoint() {
    let mut balancer = made(Policy::Maglev, &candidates(&[1; 10]), 3);
    let mut other = made(Policy::Maglev, &candidates(&[1; 10]), 7);
    for hash in 0..1000 {
        let ask = Ask { tried: &[], hash, load: |_| 0, full: |_| false };
        assert_eq!(balancer.pick(&ask), other.pick(&ask), "all workers agree");
    }
}

/// Counts picks that each raise the load of who was picked.
fn loaded(policy: Policy, weights: &[u32], count: usize) -> Vec<u64> {
    let loads = std::cell::RefCell::new(vec![0u64; weights.len()]);
    // Two workers that take turns, over the loads of both.
    let mut workers = [0, 1].map(|offset| made(policy, &candidates(weights), offset));
    for turn in 0..count {
        let ask = Ask { tried: &[], hash: turn as u64, load: |key: usize| loads.borrow()[key], full: |_| false };
        let key = workers[turn % 2].pick(&ask).unwrap();
        loads.borrow_mut()[key] += 1;
    }
    loads.into_inner()
}

#[test]
fn the_least_is_exact_over_all_workers() {
    assert_eq!(loaded(Policy::LeastConnections, &[1, 1, 1], 300), [100, 100, 100]);
    assert_eq!(loaded(Policy::LeastConnections, &[3, 1, 2], 600), [300, 100, 200]);
}

#[test]
fn two_choices_are_nearly_even() {
    let loads = loaded(Policy::TwoChoices, &[1; 20], 20_000);
    assert!(loads.iter().all(|&load| (980..=1020).contains(&load)), "{loads:?}");
}

#[test]
fn two_choices_follow_weights() {
    let loads = loaded(Policy::TwoChoices, &[1, 2, 3, 4], 20_000);
    for (load, expected) in loads.iter().zip([2000.0, 4000.0, 6000.0, 8000.0]) {
        assert!((*load as f64 / expected - 1.0).abs() < 0.05, "{loads:?}");
    }
}

/// By how much 100,000 picks differ from what the weights [1, 2, 3, 4] ask for.
fn chi_squared(policy: Policy) -> f64 {
    let weights = [1, 2, 3, 4];
    let loads = loaded(policy, &weights, 100_000);
    let expected = weights.map(|weight| f64::from(weight) * 10_000.0);
    loads.iter().zip(expected).map(|(&n, e)| (n as f64 - e).powi(2) / e).sum()
}

/// With 3 degrees of freedom: above 21.1 once in 10,000 runs, and lots and keys
/// are the same in each run.
const UNLIKELY: f64 = 21.1;

#[test]
fn lots_are_by_weight() {
    let chi = chi_squared(Policy::Random);
    assert!(chi < UNLIKELY, "{chi}");
    // Not too good to be lots either: below 0.02 once in 1,000 runs.
    assert!(chi > 0.02, "{chi}");
}

#[test]
fn keys_are_by_weight_and_turns_exactly() {
    // The table's places are whole: by up to one of 102 (weight 1) off.
    let chi = chi_squared(Policy::Maglev);
    assert!(chi < UNLIKELY, "{chi}");
    assert_eq!(chi_squared(Policy::RoundRobin), 0.0);
    assert_eq!(loaded(Policy::FirstAvailable, &[1, 2, 3, 4], 1000), [1000, 0, 0, 0]);
}

#[test]
fn a_clone_foretells_and_changes_nothing() {
    for policy in ALL {
        let mut balancer = made(policy, &candidates(&[1, 2, 3]), 5);
        for hash in 0..50 {
            let ask = Ask { tried: &[], hash, load: |key| key as u64 % 2, full: |_| false };
            let foretold = balancer.clone().pick(&ask);
            assert_eq!(balancer.pick(&ask), foretold, "{policy:?}");
        }
    }
}

proptest! {
    #[test]
    fn every_round_gives_everyone_its_share(weights in prop::collection::vec(0..20u32, 1..12), offset in 0..64usize) {
        let total: u32 = weights.iter().sum();
        let mut balancer = round_robin(&weights, offset);
        let mut counts = vec![0u32; weights.len()];
        for _ in 0..3 * total {
            counts[pick(&mut balancer, &[]).unwrap()] += 1;
        }
        let largest = weights.iter().max().copied().unwrap_or(0);
        let equal = weights.iter().all(|&weight| weight == 0 || weight == largest);
        for (count, weight) in counts.iter().zip(&weights) {
            // Where all weights are equal, a round is as long as the list.
            let share = 3 * weight;
            prop_assert!(if equal { count.abs_diff(share) <= 1 } else { *count == share }, "{counts:?}");
        }
        if total == 0 {
            prop_assert_eq!(pick(&mut balancer, &[]), None);
        }
    }

    #[test]
    fn whatever_happens_only_open_ones_are_picked(
        policy in prop::sample::select(ALL.to_vec()),
        before in prop::collection::vec((0..5u32, any::<bool>()), 0..10),
        after in prop::collection::vec((0..5u32, any::<bool>()), 0..10),
        asks in prop::collection::vec((prop::collection::vec(0..10usize, 0..5), any::<u64>(), 0..10usize), 1..30),
    ) {
        let build = |list: &[(u32, bool)]| -> Vec<Candidate<usize>> {
            let mut all = candidates(&list.iter().map(|(weight, _)| *weight).collect::<Vec<_>>());
            all.iter_mut().zip(list).for_each(|(each, (_, backup))| each.backup = *backup);
            all
        };
        let mut balancer = made(policy, &build(&before), 1);
        update(&mut balancer, policy, &build(&after));
        for (tried, hash, full) in asks {
            let picked = balancer.pick(&Ask { tried: &tried, hash, load: |key| key as u64, full: |key| key == full });
            let open = |key: usize| after[key].0 > 0 && !tried.contains(&key) && key != full;
            match picked {
                Some(key) => {
                    prop_assert!(open(key));
                    let primary = (0..after.len()).any(|key| open(key) && !after[key].1);
                    prop_assert!(!(after[key].1 && primary), "a backup although others are open");
                }
                None => prop_assert!(!(0..after.len()).any(open)),
            }
        }
    }
}
