use super::*;
use crate::control::{
    request::{DaemonState, EndpointOverride, EndpointState, Layer, ListenerState, Request},
    testing::{World, by, on_control_thread, usual},
};

fn drain_of(target: Target, deadline: Deadline) -> DrainRequest {
    DrainRequest { target, deadline, by: by("ann") }
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

#[test]
fn a_stop_expires_and_the_listener_accepts_again() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        let mut events = world.handle.events();
        let expires_in = Some(Duration::from_millis(10));
        let stop = StopRequest { name: "web".to_owned(), expires_in, by: by("ann") };
        world.ask(|reply| Request::StopListener(stop, reply)).await.unwrap();
        assert_eq!(events.recv().await.unwrap().kind, EventKind::ListenerStopped);
        let event = events.recv().await.unwrap();
        assert_eq!((event.kind, event.object.as_str()), (EventKind::OverrideExpired, "listener/web"));
        assert_eq!(world.told(), ["stop web", "add web"]);
    });
}

#[test]
fn one_listener_that_cannot_come_back_does_not_keep_the_others_away() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let progress = start(&world, Target::Daemon, Deadline::Never).await;
        last(progress).await;
        world.told();
        world.binder.take("127.0.0.1:7");
        let refused = world.ask(|reply| Request::Undrain(Target::Daemon, by("bob"), reply)).await.unwrap_err();
        assert!(refused.to_string().starts_with("listener `echo`: cannot listen on 127.0.0.1:7"), "{refused}");
        assert!(refused.to_string().contains("all others accept again"), "{refused}");
        let told = world.told();
        assert!(told.contains(&"add web".to_owned()) && !told.contains(&"add echo".to_owned()), "{told:?}");
        let listeners = world.ask(Request::Listeners).await.unwrap();
        let echo = listeners.iter().find(|each| each.config.name == "echo").unwrap();
        let stop = echo.override_.as_ref().unwrap();
        assert_eq!((stop.by.who.as_str(), stop.expires_at.is_some()), ("netd", true), "tried again by itself");
        assert!(stop.by.why.contains("127.0.0.1:7"), "{stop:?}");

        world.binder.free("127.0.0.1:7");
        world.ask(|reply| Request::StartListener("echo".to_owned(), by("bob"), reply)).await.unwrap();
        assert!(world.told().contains(&"add echo".to_owned()));
    });
}

#[test]
fn an_override_that_cannot_end_does_not_hold_up_others() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.binder.take("127.0.0.1:7");
        let mut events = world.handle.events();
        for name in ["echo", "web"] {
            let expires_in = Some(Duration::from_millis(10));
            let stop = StopRequest { name: name.to_owned(), expires_in, by: by("ann") };
            world.ask(|reply| Request::StopListener(stop, reply)).await.unwrap();
        }
        loop {
            let event = events.recv().await.unwrap();
            if event.kind == EventKind::OverrideExpired {
                assert_eq!(event.object, "listener/web");
                break;
            }
        }
        assert!(world.told().contains(&"add web".to_owned()));
    });
}
