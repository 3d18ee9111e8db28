use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::control::testing::{by, usual};

const T0: SystemTime = SystemTime::UNIX_EPOCH;

/// Configurations that differ by one setting.
fn config(seconds: u64) -> Arc<Config> {
    let mut config = usual();
    config.drain.timeout = Duration::from_secs(seconds);
    Arc::new(config)
}

fn all() -> Generations {
    Generations::new(1, &config(0), T0)
}

fn apply(all: &mut Generations, number: u64, config: &Arc<Config>, restored: Option<u64>) {
    let origin = restored.map_or(Origin::Own, |from| Origin::Restored { from, who: "ann".to_owned() });
    all.applied(Applied {
        at: T0,
        kind: HistoryKind::Reload,
        number,
        config,
        origin,
        restored,
        by: Some(by("ann")),
        summary: "1 changed".to_owned(),
        changes: &[],
        verdict: Judgement::Applied,
        reason: "",
    });
}

fn before(all: &Generations, number: u64) -> Option<u64> {
    all.before(number).map(|each| each.number)
}

#[test]
fn steps_back_do_not_go_in_a_circle() {
    let mut all = all();
    for number in 2..=4 {
        apply(&mut all, number, &config(number), None);
    }
    assert_eq!(before(&all, 4), Some(3));
    apply(&mut all, 5, &config(3), Some(3));
    assert_eq!(before(&all, 5), Some(2));
    apply(&mut all, 6, &config(2), Some(2));
    assert_eq!(before(&all, 6), Some(1));
    apply(&mut all, 7, &config(0), Some(1));
    assert_eq!(before(&all, 7), None);
}

#[test]
fn what_was_taken_back_or_says_the_same_is_stepped_over() {
    let mut all = all();
    apply(&mut all, 2, &config(2), None);
    all.judge(2, Judgement::Reverted, "not confirmed");
    apply(&mut all, 3, &config(0), Some(1));
    apply(&mut all, 4, &config(4), None);
    assert_eq!(before(&all, 4), Some(3));
    assert_eq!(before(&all, 3), None);
    apply(&mut all, 5, &config(2), Some(2));
    assert_eq!(before(&all, 5), Some(1), "it can be returned to by its number");
}

#[test]
fn refusals_do_not_push_out_what_can_be_returned_to() {
    let mut all = all();
    for _ in 0..1000 {
        all.refused(T0, HistoryKind::Reload, &by("ann"), "line 3: no\nmore");
    }
    let view = all.view(1);
    assert_eq!(view.len(), ENTRIES);
    assert_eq!((view[0].verdict, view[0].reason.as_str(), view[0].kept), (Judgement::Refused, "line 3: no", false));
    let start = view.last().unwrap();
    assert_eq!((start.kind, start.generation, start.in_force, start.kept), (HistoryKind::Start, Some(1), true, true));
}

#[test]
fn texts_are_clipped() {
    assert_eq!(line(&"é".repeat(1000)).len(), LINE);
    assert_eq!(line("a\nb"), "a");
}

proptest! {
    #[test]
    fn the_last_ones_are_kept_and_all_is_bounded(steps in proptest::collection::vec((0..4_u64, any::<bool>()), 0..200)) {
        let mut all = all();
        let mut number = 1;
        for (which, refused) in steps {
            if refused {
                all.refused(T0, HistoryKind::Reload, &by("ann"), "no");
                continue;
            }
            number += 1;
            apply(&mut all, number, &config(which), None);
        }
        let kept: Vec<u64> = all.numbers().collect();
        let first = number.saturating_sub(KEPT as u64 - 1).max(1);
        prop_assert_eq!(&kept, &(first..=number).collect::<Vec<_>>());
        let view = all.view(number);
        prop_assert!(view.len() <= ENTRIES);
        for number in kept {
            prop_assert!(view.iter().any(|entry| entry.generation == Some(number) && entry.kept));
        }
        prop_assert_eq!(view.iter().filter(|entry| entry.in_force).count(), 1);
        if let Some(before) = all.before(number) {
            prop_assert!(before.number < number && before.config != all.get(number).unwrap().config);
        }
    }
}

#[test]
fn a_successor_can_go_back_where_its_predecessor_could() {
    let mut old = all();
    for number in 2..=20 {
        apply(&mut old, number, &config(number), None);
    }
    old.judge(20, Judgement::Reverted, "not confirmed");
    old.failed(T0, HistoryKind::Upgrade, &by("ann"), Judgement::Refused, "bad binary");
    let mut keepsakes = old.keepsakes();
    assert_eq!(keepsakes.len(), KEPT);
    keepsakes[3].text = "of a future version".to_owned();
    let lost = keepsakes[3].number;

    let mut new = Generations::new(21, &config(20), T0);
    let parse = |text: &str| crate::config::parse("kept", text, &|_| None).ok();
    new.inherit(old.entries().cloned().collect(), keepsakes, parse);
    new.upgraded(21, Some(&by("bert")), "netd 1 -> 2");
    let numbers: Vec<u64> = new.numbers().collect();
    assert!(!numbers.contains(&lost) && numbers.len() <= KEPT && numbers.last() == Some(&21), "{numbers:?}");
    assert_eq!(before(&new, 21), Some(19), "20 says the same and was taken back");
    assert_eq!(*new.get(19).unwrap().config, *config(19));
    let view = new.view(21);
    assert_eq!((view[0].kind, view[0].summary.as_str(), view[0].in_force), (HistoryKind::Upgrade, "netd 1 -> 2", true));
    assert_eq!((view[1].verdict, view[1].reason.as_str()), (Judgement::Refused, "bad binary"));
    assert!(view.len() <= ENTRIES);
}
