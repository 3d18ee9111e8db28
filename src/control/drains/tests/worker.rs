//! A worker drains: its sockets go to the others, and its connections, if that
//! is asked for; and workers come and go meanwhile.

use super::*;
use crate::control::{Moved, RebalanceRequest, WorkerPort};

/// How many sockets of each listener a worker of the fake ones has, in order of
/// id.
fn sockets(world: &World) -> Vec<Vec<usize>> {
    world.spawned.lock().unwrap().iter().map(|worker| worker.sockets()).collect()
}

fn active(world: &World) -> Vec<u64> {
    world.spawned.lock().unwrap().iter().map(|worker| worker.shard().active.get()).collect()
}

async fn with_workers(count: u16) -> World {
    let mut config = usual();
    config.workers.count = Some(count);
    World::serving(config).await
}

async fn resize(world: &World, count: u16) -> Result<(), Refusal> {
    let mut config = usual();
    config.workers.count = Some(count);
    world.set_source(Ok(config));
    let candidate = crate::control::Candidate::Source;
    let terms = crate::control::Terms::default();
    let request = crate::control::ReloadRequest { candidate, expected_generation: None, terms, by: by("ann") };
    world.ask(|reply| Request::Reload(request, reply)).await.map(|_| ())
}

async fn vacate(world: &World, worker: usize) -> Progress {
    let course = Course { moves: true, ..Course::until(Deadline::Never) };
    let request = DrainRequest { target: Target::Worker(worker), course, by: by("ann") };
    world.ask(|reply| Request::Drain(request, reply)).await.unwrap()
}

async fn undrain(world: &World, worker: usize) -> Result<(), Refusal> {
    world.ask(|reply| Request::Undrain(Target::Worker(worker), by("ann"), reply)).await
}

#[test]
fn a_drained_workers_sockets_go_to_the_other_and_come_back() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[1].accept("echo", 1);
        each_told(&world);
        let progress = start(&world, Target::Worker(1), Deadline::Never).await;
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.workers[0].accepting, status.workers[1].accepting, status.overrides), (true, false, 1));
        assert_eq!(status.state, DaemonState::Serving);
        world.until("sockets are placed", || sockets(&world) == [vec![2, 2], vec![]]).await;
        assert_eq!(each_told(&world), [vec!["add echo", "add web"], vec!["release echo", "release web"]]);
        let refused = world.ask(|reply| Request::Drain(drain_of(Target::Worker(0), Deadline::Never), reply)).await;
        assert!(matches!(refused, Err(Refusal::Precondition(_))), "{refused:?}");
        world.workers[1].end(1);
        assert_eq!(last(progress).await.outcome, Some(DrainOutcome::Drained));

        // A stop takes all sockets, and a start brings none to it.
        let stop = StopRequest { name: "web".to_owned(), expires_in: None, by: by("ann") };
        world.ask(|reply| Request::StopListener(stop, reply)).await.unwrap();
        assert_eq!(sockets(&world), [vec![2], vec![]]);
        world.ask(|reply| Request::StartListener("web".to_owned(), by("ann"), reply)).await.unwrap();
        assert_eq!(sockets(&world), [vec![2, 2], vec![]]);

        undrain(&world, 1).await.unwrap();
        assert_eq!(sockets(&world), [vec![1, 1], vec![1, 1]]);
        let again = undrain(&world, 1).await;
        assert_eq!(again, Err(Refusal::Precondition("worker 1 is not drained".to_owned())));
    });
}

#[test]
fn a_dead_worker_neither_drains_nor_starts() {
    on_control_thread(async {
        let pace = crate::control::Pace { heartbeat: Duration::from_millis(10), ..crate::control::testing::quick() };
        let world = World::with(usual(), pace, Default::default(), false);
        world.until("it serves", || !world.hooks().is_empty()).await;
        world.workers[1].die();
        loop {
            let status = world.ask(Request::Status).await.unwrap();
            if !status.workers[1].responsive {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let refused = world.ask(|reply| Request::Drain(drain_of(Target::Worker(1), Deadline::Never), reply)).await;
        assert!(refused.unwrap_err().to_string().contains("worker 1 has died"));
    });
}

#[test]
fn its_connections_move_if_that_is_asked_for() {
    on_control_thread(async {
        let world = with_workers(3).await;
        (1..=300).for_each(|id| world.workers[1].accept("web", id));
        let mut events = world.handle.events();
        let end = last(vacate(&world, 1).await).await;
        assert_eq!((end.finished, end.moved, end.remaining), (0, 300, 0));
        assert_eq!(end.outcome, Some(DrainOutcome::Drained));
        assert_eq!(active(&world), [150, 0, 150]);
        assert_eq!(events.recv().await.unwrap().kind, EventKind::DrainStarted);
        let moved = events.recv().await.unwrap();
        assert_eq!((moved.kind, moved.object.as_str()), (EventKind::ConnectionsMoved, "worker/1"));
        assert!(moved.text.contains("150 connections from worker 1 to 0"), "{}", moved.text);
        let text = events.recv().await.unwrap().text;
        assert!(text.starts_with("drained: 0 connections finished, 300 moved to other workers"), "{text}");
    });
}

#[test]
fn a_drain_that_waits_can_be_told_to_move() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        (1..=3).for_each(|id| world.workers[1].accept("echo", id));
        let waits = start(&world, Target::Worker(1), Deadline::Never).await;
        assert_eq!(world.ask(Request::Status).await.unwrap().figures.active, 3);
        assert_eq!(last(vacate(&world, 1).await).await.moved, 3);
        assert_eq!(last(waits).await.outcome, Some(DrainOutcome::Drained));
        assert_eq!(active(&world), [3, 0]);
    });
}

#[test]
fn evening_leaves_a_drained_worker_alone() {
    on_control_thread(async {
        let world = with_workers(3).await;
        (1..=100).for_each(|id| world.workers[0].accept("web", id));
        (101..=104).for_each(|id| world.workers[1].accept("web", id));
        let progress = start(&world, Target::Worker(1), Deadline::Never).await;
        let request = RebalanceRequest { limit: None, by: by("ann") };
        let moved = world.ask(|reply| Request::Rebalance(request, reply)).await.unwrap();
        assert_eq!(moved, [Moved { from: 0, to: 2, count: 50 }]);
        assert_eq!(active(&world), [50, 4, 50]);
        undrain(&world, 1).await.unwrap();
        let end = last(progress).await;
        assert_eq!((end.finished, end.moved, end.remaining), (0, 0, 4));
    });
}

#[test]
fn more_workers_come_while_one_is_drained() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        drop(start(&world, Target::Worker(0), Deadline::Never).await);
        world.until("sockets are placed", || sockets(&world) == [vec![], vec![2, 2]]).await;
        resize(&world, 4).await.unwrap();
        world.until("new ones accept", || sockets(&world) == [vec![], vec![2, 2], vec![1, 1], vec![1, 1]]).await;
        let status = world.ask(Request::Status).await.unwrap();
        let accepting: Vec<bool> = status.workers.iter().map(|worker| worker.accepting).collect();
        assert_eq!(accepting, [false, true, true, true]);
        undrain(&world, 0).await.unwrap();
        assert_eq!(sockets(&world), vec![vec![1, 1]; 4]);
    });
}

#[test]
fn fewer_workers_stay_while_one_is_drained() {
    on_control_thread(async {
        let world = with_workers(4).await;
        (1..=10).for_each(|id| world.workers[3].accept("web", id));
        drop(start(&world, Target::Worker(0), Deadline::Never).await);
        let leaves = start(&world, Target::Worker(3), Deadline::Never).await;
        world.until("sockets are placed", || sockets(&world) == [vec![], vec![2, 2], vec![2, 2], vec![]]).await;
        let refused = resize(&world, 1).await.unwrap_err().to_string();
        assert!(refused.contains("only worker 0, which is drained"), "{refused}");
        assert_eq!(world.ask(Request::Status).await.unwrap().workers.len(), 4);

        resize(&world, 2).await.unwrap();
        let end = last(leaves).await;
        assert_eq!((end.finished, end.moved, end.outcome), (0, 10, Some(DrainOutcome::Drained)));
        assert_eq!(active(&world)[..2], [0, 10], "not to one that is drained");
        assert_eq!(sockets(&world)[..2], [vec![], vec![4, 4]]);
        assert_eq!(world.ask(Request::Status).await.unwrap().overrides, 1, "that of worker 0");

        // A new worker of the same number has no drain.
        resize(&world, 4).await.unwrap();
        let status = world.ask(Request::Status).await.unwrap();
        assert!(status.workers[3].accepting && status.workers[3].override_.is_none());
        undrain(&world, 0).await.unwrap();
        let all = |worker: &Vec<usize>| worker.iter().all(|&sockets| (1..=2).contains(&sockets)) && worker.len() == 2;
        let now = sockets(&world);
        assert!(all(&now[0]) && all(&now[1]) && now[4..].iter().all(all), "{now:?}");
    });
}

#[test]
fn whoever_comes_back_to_sockets_that_died_gets_new_ones() {
    on_control_thread(async {
        let pace = crate::control::Pace { heartbeat: Duration::from_millis(10), ..crate::control::testing::quick() };
        let mut config = usual();
        config.workers.count = Some(3);
        let world = World::with(config, pace, Default::default(), false);
        world.until("it serves", || !world.hooks().is_empty()).await;
        last(start(&world, Target::Worker(1), Deadline::Never).await).await;
        assert_eq!(sockets(&world), [vec![2, 1], vec![], vec![1, 2]]);
        world.workers[2].die();
        loop {
            if !world.ask(Request::Status).await.unwrap().workers[2].responsive {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        undrain(&world, 1).await.unwrap();
        assert_eq!(sockets(&world)[..2], [vec![1, 1], vec![1, 1]]);
    });
}
