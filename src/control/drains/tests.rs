use super::*;
use std::time::Duration;

use crate::control::{
    request::{
        Course, DaemonState, Deadline, EndpointOverride, EndpointState, Layer, ListenerState, Request, SetEndpoint,
        StopRequest,
    },
    testing::{World, by, on_control_thread, usual},
};

fn drain_of(target: Target, deadline: Deadline) -> DrainRequest {
    DrainRequest { target, course: Course::until(deadline), by: by("ann") }
}

fn listener(name: &str) -> Target {
    Target::Listener(name.to_owned())
}

async fn start(world: &World, target: Target, deadline: Deadline) -> Progress {
    world.ask(|reply| Request::Drain(drain_of(target, deadline), reply)).await.unwrap()
}

async fn last(mut progress: Progress) -> DrainProgress {
    let mut last = None;
    while let Some(each) = progress.recv().await {
        last = Some(each);
    }
    last.unwrap()
}

#[test]
fn a_drain_ends_when_the_last_connection_does() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        world.workers[0].accept("echo", 1);
        world.workers[1].accept("echo", 2);
        world.workers[1].accept("web", 3);
        let mut progress = start(&world, listener("echo"), Deadline::Configured).await;
        let first = progress.recv().await.unwrap();
        assert_eq!((first.remaining, first.finished, first.outcome), (2, 0, None));
        assert!(first.left.is_some());
        world.workers[0].end(1);
        world.workers[1].end(2);
        let end = last(progress).await;
        assert_eq!((end.remaining, end.finished, end.cut), (0, 2, 0));
        assert_eq!(end.outcome, Some(DrainOutcome::Drained));
        assert_eq!(world.told(), ["stop echo"]);
        let views = world.ask(Request::Listeners).await.unwrap();
        assert_eq!((views[0].state, views[1].state), (ListenerState::Stopped, ListenerState::Accepting));
    });
}

#[test]
fn the_deadline_cuts_the_rest_of_the_target_alone() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("echo", 1);
        world.workers[1].accept("web", 2);
        world.told();
        let progress = start(&world, listener("echo"), Deadline::After(Duration::from_millis(10))).await;
        let end = last(progress).await;
        assert_eq!((end.remaining, end.finished, end.cut), (0, 0, 1));
        assert_eq!(world.workers[0].inner().log, ["stop echo", "close 1 drain"]);
        assert_eq!(world.ask(Request::Status).await.unwrap().figures.active, 1);
    });
}

#[test]
fn who_comes_later_sees_the_drain_or_its_end_and_changes_nothing() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("echo", 1);
        let watch = async |target| world.ask(|reply| Request::WatchDrain(target, reply)).await;
        let none = watch(listener("echo")).await;
        assert!(matches!(none, Err(Refusal::NotFound(_))), "{none:?}");
        let first = start(&world, listener("echo"), Deadline::After(Duration::from_secs(600))).await;
        world.told();
        let mut later = watch(listener("echo")).await.unwrap();
        let progress = later.recv().await.unwrap();
        assert_eq!((progress.remaining, progress.outcome), (1, None));
        assert!(progress.left.is_some_and(|left| left > Duration::from_secs(500)), "{progress:?}");
        assert!(watch(listener("web")).await.is_err());
        world.workers[0].end(1);
        let ends = [last(first).await, last(later).await];
        assert_eq!(ends.map(|end| (end.finished, end.outcome)), [(1, Some(DrainOutcome::Drained)); 2]);
        let end = last(watch(listener("echo")).await.unwrap()).await;
        assert_eq!((end.finished, end.outcome), (1, Some(DrainOutcome::Drained)));
        assert_eq!(world.told(), Vec::<String>::new());
    });
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_drain() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("echo", 1);
        drop(start(&world, listener("echo"), Deadline::Never).await);
        let again = start(&world, listener("echo"), Deadline::After(Duration::from_millis(10))).await;
        let end = last(again).await;
        assert_eq!((end.cut, end.outcome), (1, Some(DrainOutcome::Drained)));
    });
}

#[test]
fn undrain_accepts_again_and_ends_the_stream() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("echo", 1);
        world.told();
        let progress = start(&world, listener("echo"), Deadline::Never).await;
        world.binder.take("127.0.0.1:7");
        let refused = world.ask(|reply| Request::Undrain(listener("echo"), by("bob"), reply)).await;
        assert!(matches!(refused, Err(Refusal::Precondition(_))), "{refused:?}");
        world.binder.free("127.0.0.1:7");
        world.ask(|reply| Request::Undrain(listener("echo"), by("bob"), reply)).await.unwrap();
        let end = last(progress).await;
        assert_eq!((end.remaining, end.outcome), (1, Some(DrainOutcome::Undrained)));
        assert_eq!(world.told(), ["stop echo", "add echo"]);
        let again = world.ask(|reply| Request::Undrain(listener("echo"), by("bob"), reply)).await;
        assert_eq!(again, Err(Refusal::Precondition("listener `echo` is not drained".to_owned())));
    });
}

#[test]
fn the_whole_daemon_drains_and_comes_back() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        let stop = StopRequest { name: "echo".to_owned(), expires_in: None, by: by("ann") };
        world.ask(|reply| Request::StopListener(stop, reply)).await.unwrap();
        let progress = start(&world, Target::Daemon, Deadline::Never).await;
        assert_eq!(world.ask(Request::Status).await.unwrap().state, DaemonState::Draining);
        world.workers[0].end(1);
        assert_eq!(last(progress).await.outcome, Some(DrainOutcome::Drained));
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.state, status.overrides), (DaemonState::Drained, 2));
        world.ask(|reply| Request::Undrain(Target::Daemon, by("ann"), reply)).await.unwrap();
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.state, status.overrides), (DaemonState::Serving, 1));
        let views = world.ask(Request::Listeners).await.unwrap();
        assert_eq!((views[0].state, views[1].state), (ListenerState::Stopped, ListenerState::Accepting));
    });
}

#[test]
fn nothing_left_is_believed_only_when_every_worker_has_stopped() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[1].inner().mute = true;
        let mut progress = start(&world, listener("echo"), Deadline::Never).await;
        assert_eq!(progress.recv().await.unwrap().remaining, 0);
        // The worker takes one more from its queue before it stops.
        world.workers[1].accept("echo", 5);
        let next = progress.recv().await.unwrap();
        assert_eq!((next.remaining, next.outcome), (1, None));
        world.workers[1].speak();
        world.workers[1].end(5);
        let end = last(progress).await;
        assert_eq!((end.finished, end.outcome), (1, Some(DrainOutcome::Drained)));
    });
}

#[test]
fn an_endpoint_drains_by_weight_zero() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        world.told();
        let target = Target::Endpoint("db".to_owned(), "10.0.0.1:5432".to_owned());
        let mut progress = start(&world, target.clone(), Deadline::Never).await;
        assert_eq!(progress.recv().await.unwrap().remaining, 1);
        let pools = world.ask(Request::Pools).await.unwrap();
        assert_eq!((pools[0].endpoints[0].state, pools[0].endpoints[0].weight), (EndpointState::Draining, 0));
        world.workers[0].end(1);
        assert_eq!(last(progress).await.outcome, Some(DrainOutcome::Drained));
        world.ask(|reply| Request::Undrain(target, by("ann"), reply)).await.unwrap();
        assert_eq!(world.told(), ["set db [0, 2]", "set db [1, 2]"]);
    });
}

#[test]
fn a_weight_set_by_hand_ends_the_drain_of_an_endpoint() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        let target = Target::Endpoint("db".to_owned(), "10.0.0.1:5432".to_owned());
        let progress = start(&world, target, Deadline::Never).await;
        let set = SetEndpoint {
            pool: "db".to_owned(),
            endpoint: "10.0.0.1:5432".to_owned(),
            setting: Some(EndpointOverride::Weight(9)),
            expires_in: None,
            by: by("bob"),
        };
        let view = world.ask(|reply| Request::SetEndpoint(set, reply)).await.unwrap();
        assert_eq!((view.weight, view.configured_weight, view.state), (9, 1, EndpointState::Up));
        assert_eq!(last(progress).await.outcome, Some(DrainOutcome::Undrained));
        let why = world.ask(|reply| Request::Why("10.0.0.1:5432".to_owned(), reply)).await.unwrap();
        assert_eq!((why.object.as_str(), why.decided_by), ("endpoint/db/10.0.0.1:5432", Layer::Override));
        assert!(why.sentence.ends_with("has weight 9 and not 1: weight 9, set by bob (test)"), "{}", why.sentence);
    });
}

#[test]
fn a_drain_goes_on_when_its_listener_leaves_the_configuration() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("echo", 1);
        let progress = start(&world, listener("echo"), Deadline::Never).await;
        let mut config = usual();
        config.listeners.remove(1);
        world.set_source(Ok(config));
        let reload = crate::control::ReloadRequest {
            candidate: crate::control::Candidate::Source,
            expected_generation: None,
            terms: crate::control::Terms::default(),
            by: by("ann"),
        };
        world.ask(|reply| Request::Reload(reload, reply)).await.unwrap();
        assert_eq!(world.ask(Request::Status).await.unwrap().overrides, 0);
        world.workers[0].end(1);
        assert_eq!(last(progress).await.outcome, Some(DrainOutcome::Drained));
    });
}

fn relay_to(addresses: &[(&str, u16)]) -> crate::config::Config {
    crate::config::Config { pools: vec![crate::control::testing::pool("db", addresses)], ..usual() }
}

async fn reload(world: &World, config: crate::config::Config) {
    world.set_source(Ok(config));
    let candidate = crate::control::Candidate::Source;
    let terms = crate::control::Terms::default();
    let request = crate::control::ReloadRequest { candidate, expected_generation: None, terms, by: by("ann") };
    world.ask(|reply| Request::Reload(request, reply)).await.unwrap();
}

/// What each worker was told since the last call.
fn each_told(world: &World) -> Vec<Vec<String>> {
    world.workers.iter().map(|worker| std::mem::take(&mut worker.inner().log)).collect()
}

#[test]
fn a_gradual_drain_ends_what_rests_over_its_window() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        for id in 0..40 {
            world.workers[id as usize % 2].accept("echo", id);
        }
        tokio::time::sleep(Duration::from_millis(120)).await;
        each_told(&world);
        let course = Course { gradual: Some(Duration::from_millis(400)), ..Course::until(Deadline::Never) };
        let request = DrainRequest { target: listener("echo"), course, by: by("ann") };
        let progress = world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        let end = last(progress).await;
        assert_eq!((end.finished, end.retired, end.cut), (0, 40, 0));
        assert!(end.elapsed >= Duration::from_millis(300), "{:?}", end.elapsed);
        let told = each_told(&world).concat();
        let orders = told.iter().filter(|order| order.starts_with("retire [")).count();
        assert!(orders > 10, "in small portions: {told:?}");
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        assert_eq!((snapshot.drains.ended, snapshot.drains.connections), ((1, 0), (0, 40, 0)));
        assert_eq!(snapshot.drains.running, []);
    });
}

#[test]
fn a_lame_duck_accepts_until_its_time_is_over() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        let mut events = world.handle.events();
        let course = Course { lame_duck: Some(Duration::from_millis(200)), ..Course::until(Deadline::Never) };
        let request = DrainRequest { target: Target::Daemon, course, by: by("ann") };
        let mut progress = world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        assert!(progress.recv().await.unwrap().accepting.is_some());
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.state, status.overrides), (DaemonState::LameDuck, 0));
        assert_eq!(world.told(), Vec::<String>::new(), "it accepts still");
        assert_eq!(events.recv().await.unwrap().kind, EventKind::LameDuck);
        let end = last(progress).await;
        assert_eq!((end.outcome, end.accepting), (Some(DrainOutcome::Drained), None));
        assert!(end.elapsed >= Duration::from_millis(190), "{:?}", end.elapsed);
        assert_eq!(world.told(), ["stop web", "stop echo"]);
        assert_eq!(events.recv().await.unwrap().kind, EventKind::DrainStarted);
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.state, status.overrides), (DaemonState::Drained, 1));
    });
}

#[test]
fn a_lame_duck_taken_back_has_changed_nothing() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        let course = Course { lame_duck: Some(Duration::from_secs(60)), ..Course::until(Deadline::Never) };
        let request = DrainRequest { target: Target::Daemon, course, by: by("ann") };
        let progress = world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        // A change in the meantime does not end it.
        let stop = StopRequest { name: "echo".to_owned(), expires_in: None, by: by("ann") };
        world.ask(|reply| Request::StopListener(stop, reply)).await.unwrap();
        assert_eq!(world.ask(Request::Status).await.unwrap().state, DaemonState::LameDuck);
        world.ask(|reply| Request::Undrain(Target::Daemon, by("ann"), reply)).await.unwrap();
        assert_eq!(last(progress).await.outcome, Some(DrainOutcome::Undrained));
        assert_eq!(world.ask(Request::Status).await.unwrap().state, DaemonState::Serving);
        assert_eq!(world.told(), ["stop echo"]);
    });
}

#[test]
fn a_shutdown_goes_through_all_its_steps() {
    on_control_thread(async {
        let mut config = usual();
        config.drain.lame_duck = Duration::from_millis(100);
        let world = World::serving(config).await;
        world.workers[0].accept("echo", 1);
        let course = Course::until(Deadline::After(Duration::from_millis(50)));
        let request = crate::control::ShutdownRequest { now: false, course, by: by("ann") };
        let plan = world.ask(|reply| Request::Shutdown(request, reply)).await.unwrap().unwrap();
        assert_eq!(plan.lame_duck, Duration::from_millis(100));
        assert_eq!(world.ask(Request::Status).await.unwrap().state, DaemonState::LameDuck);
        assert_eq!(world.workers[0].inner().listeners.len(), 2);
        let workers = world.workers.clone();
        let hooks = world.hooks.clone();
        world.ended().await.unwrap();
        assert!(workers[0].inner().log.ends_with(&["stop web", "stop echo", "close 1 drain"].map(str::to_owned)));
        let hooks = hooks.lock().unwrap();
        assert_eq!(hooks.iter().filter(|hook| **hook == crate::control::Hook::Stopping).count(), 1);
    });
}

#[test]
fn what_a_reload_removed_is_drained_by_its_name() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        world.workers[1].accept("web", 2);
        reload(&world, relay_to(&[("10.0.0.2:5432", 2)])).await;
        let gone = Target::Endpoint("db".to_owned(), "10.0.0.1:5432".to_owned());
        for name in ["endpoint/db/10.0.0.1:5432", "10.0.0.1:5432"] {
            let why = world.ask(|reply| Request::Why(name.to_owned(), reply)).await.unwrap();
            assert_eq!((why.object.as_str(), why.effective.as_str()), ("endpoint/db/10.0.0.1:5432", "removed"));
            assert!(why.sentence.contains("2 connections of it are open"), "{}", why.sentence);
        }
        let undrain = world.ask(|reply| Request::Undrain(gone.clone(), by("ann"), reply)).await;
        assert!(undrain.unwrap_err().to_string().contains("only a reload"));
        let mut progress = start(&world, gone.clone(), Deadline::Never).await;
        assert_eq!(progress.recv().await.unwrap().remaining, 2);
        assert_eq!(world.ask(Request::Status).await.unwrap().overrides, 0);
        world.workers[0].end(1);
        // It comes back: then it takes connections again.
        reload(&world, usual()).await;
        let end = last(progress).await;
        assert_eq!((end.remaining, end.outcome), (1, Some(DrainOutcome::Undrained)));
    });
}

#[test]
fn a_removed_listener_and_pool_have_their_names_too() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        reload(&world, crate::control::testing::empty()).await;
        for name in ["web", "listener/web", "db", "pool/db"] {
            let why = world.ask(|reply| Request::Why(name.to_owned(), reply)).await.unwrap();
            assert!(why.sentence.contains("1 connection of it is open"), "{}", why.sentence);
        }
        for target in [listener("web"), Target::Pool("db".to_owned())] {
            let progress = start(&world, target.clone(), Deadline::Never).await;
            world.ask(|reply| Request::Undrain(target, by("ann"), reply)).await.unwrap();
            assert_eq!(last(progress).await.outcome, Some(DrainOutcome::Undrained));
        }
        let progress = start(&world, listener("web"), Deadline::After(Duration::from_millis(10))).await;
        assert_eq!(last(progress).await.cut, 1);
        let missing = world.ask(|reply| Request::Why("listener/web".to_owned(), reply)).await;
        assert!(matches!(missing, Err(Refusal::NotFound(_))), "{missing:?}");
    });
}

#[test]
fn a_start_says_whether_the_listener_accepts() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let stop = StopRequest { name: "echo".to_owned(), expires_in: None, by: by("ann") };
        world.ask(|reply| Request::StopListener(stop.clone(), reply)).await.unwrap();
        last(start(&world, Target::Daemon, Deadline::Never).await).await;
        let start_echo = |reply| Request::StartListener("echo".to_owned(), by("bob"), reply);
        let told = world.ask(start_echo).await.unwrap();
        assert_eq!(told.effective, "stopped");
        assert!(told.sentence.contains("does not accept: the whole daemon is drained"), "{}", told.sentence);
        world.ask(|reply| Request::Undrain(Target::Daemon, by("ann"), reply)).await.unwrap();
        world.ask(|reply| Request::StopListener(stop, reply)).await.unwrap();
        assert_eq!(world.ask(start_echo).await.unwrap().effective, "accepting");
    });
}

mod worker;
