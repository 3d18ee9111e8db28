use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn active(active: u64) -> Measure {
    Measure { active, ..Measure::default() }
}

fn drain(open: u64, deadline: Option<Duration>, now: Instant) -> Drain {
    planned(DrainPlan { lame_duck: Duration::ZERO, gradual: None, deadline, moves: false }, active(open), now)
}

fn planned(plan: DrainPlan, start: Measure, now: Instant) -> Drain {
    Drain::new(1, Target::Daemon, Provenance::default(), plan, start, now)
}

#[test]
fn nothing_left_counts_only_once_confirmed() {
    let now = Instant::now();
    let mut drain = drain(0, None, now);
    assert_eq!(drain.look(active(0), now), Act::Wait);
    assert_eq!(drain.look(active(2), now), Act::Wait);
    drain.confirm();
    assert_eq!(drain.look(active(2), now), Act::Wait);
    assert_eq!(drain.look(active(0), now), Act::End);
}

#[test]
fn the_rest_is_cut_at_the_deadline_and_again_later() {
    let now = Instant::now();
    let mut drain = drain(3, Some(SECOND), now);
    drain.confirm();
    assert_eq!(drain.look(active(3), now), Act::Wait);
    assert_eq!(drain.look(active(2), now + SECOND), Act::Cut);
    assert_eq!(drain.look(active(2), now + SECOND), Act::Wait);
    drain.add_cut(1);
    assert_eq!(drain.look(active(1), now + 2 * SECOND), Act::Cut);
    assert_eq!(drain.look(active(0), now + 2 * SECOND), Act::Wait);
    drain.add_cut(1);
    assert_eq!(drain.look(active(0), now + 2 * SECOND), Act::End);
    let last = drain.end(DrainOutcome::Drained, active(0), now + 2 * SECOND);
    assert_eq!((last.remaining, last.finished, last.cut), (0, 1, 2));
    assert_eq!(last.outcome, Some(DrainOutcome::Drained));
}

#[test]
fn connections_from_the_accept_queue_count_as_finished() {
    let now = Instant::now();
    let start = Measure { active: 2, opened: 100, moved: 0 };
    let mut drain =
        planned(DrainPlan { lame_duck: Duration::ZERO, gradual: None, deadline: None, moves: false }, start, now);
    drain.confirm();
    let measure = Measure { active: 0, opened: 105, moved: 0 };
    assert_eq!(drain.look(measure, now), Act::End);
    assert_eq!(drain.end(DrainOutcome::Drained, measure, now).finished, 7);
}

#[test]
fn a_reader_that_does_not_read_still_gets_the_end() {
    let now = Instant::now();
    let mut drain = drain(100, None, now);
    let mut slow = drain.watch(active(100), now).unwrap();
    drop(drain.watch(active(100), now).unwrap());
    for open in (0..100).rev() {
        drain.look(active(open), now);
    }
    assert_eq!(drain.watchers.len(), 1);
    drain.end(DrainOutcome::Undrained, active(0), now);
    let mut received = Vec::new();
    while let Ok(progress) = slow.try_recv() {
        received.push(progress);
    }
    assert_eq!(received.len(), BACKLOG);
    assert_eq!(received.first().map(|first| first.remaining), Some(100));
    assert_eq!(received.last().and_then(|last| last.outcome), Some(DrainOutcome::Undrained));
}

#[test]
fn readers_are_bounded() {
    let now = Instant::now();
    let mut drain = drain(1, None, now);
    let readers: Vec<_> = (0..WATCHERS).map(|_| drain.watch(active(1), now).unwrap()).collect();
    assert!(matches!(drain.watch(active(1), now), Err(Refusal::Busy(_))));
    drop(readers);
    assert!(drain.watch(active(1), now).is_ok());
}

#[test]
fn an_heir_goes_on_with_what_it_has_come_to() {
    let now = Instant::now() + 100 * SECOND;
    let mut first = drain(10, Some(60 * SECOND), now);
    first.confirm();
    first.look(active(7), now + SECOND);
    first.cut = 1;
    first.retired = 1;
    let open = first.open(active(5), now + 20 * SECOND).unwrap();
    assert_eq!(open.left, Some(40 * SECOND));
    let past = open.past.unwrap();
    assert_eq!((past.open, past.finished, past.retired, past.cut), (5, 3, 1, 1));
    // One has ended on the way.
    let later = now + 50 * SECOND;
    let mut heir = drain(4, open.left, later);
    heir.confirm();
    heir.go_on(past, later);
    let progress = heir.progress(active(4), later + SECOND);
    assert_eq!((progress.remaining, progress.finished, progress.retired, progress.cut), (4, 4, 1, 1));
    assert_eq!((progress.elapsed, progress.left), (21 * SECOND, Some(39 * SECOND)));
    let again = heir.open(active(2), later + SECOND).unwrap().past.unwrap();
    assert_eq!((again.open, again.finished), (2, 6));
}
