use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::{
    super::request::{DrainOutcome, ShutdownRequest},
    *,
};
use crate::{
    config::{Config, LogLevel},
    control::{
        request::{ConnectionQuery, Course, Deadline, DrainRequest, Layer, ListenerState, PoolState, StopRequest},
        testing::{FakeWorker, World, by, echo, empty, on_control_thread, quick, usual},
    },
};

fn stop(name: &str) -> StopRequest {
    StopRequest { name: name.to_owned(), expires_in: None, by: by("ann") }
}

#[test]
fn it_serves_when_every_worker_has_the_first_configuration() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        assert_eq!(world.told(), ["set db [1, 2]", "add web", "add echo"]);
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.state, status.generation, status.workers.len()), (DaemonState::Serving, 1, 2));
        assert!(status.last_reload.is_none());
        assert_eq!(world.hooks(), [Hook::Ready("serving: 0 connections, 2 listeners".to_owned())]);
    });
}

#[test]
fn a_worker_that_does_not_come_up_ends_the_start() {
    on_control_thread(async {
        let world = World::with(usual(), quick(), HashMap::new(), true);
        let error = world.ended().await.unwrap_err();
        assert!(error.starts_with("netd does not start: ") && error.contains("workers 0, 1"), "{error}");
    });
}

#[test]
fn sockets_from_systemd_are_used_and_kept() {
    on_control_thread(async {
        let fd = File::open("/dev/null").unwrap().into();
        let inherited = HashMap::from([("web".to_owned(), vec![fd])]);
        let world = World::with(usual(), quick(), inherited, false);
        world.ask(|reply| Request::StopListener(stop("web"), reply)).await.unwrap();
        world.ask(|reply| Request::StartListener("web".to_owned(), by("ann"), reply)).await.unwrap();
        assert_eq!(world.binder.log(), ["adopt", "bind 127.0.0.1:7", "adopt"]);
        let listeners = world.ask(Request::Listeners).await.unwrap();
        let web = listeners.iter().find(|each| each.config.name == "web").unwrap();
        assert_eq!((web.inherited, web.state), (true, ListenerState::Accepting));
    });
}

#[test]
fn term_drains_and_stops() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("echo", 1);
        let mut events = world.handle.events();
        world.signals.send(Signal::Term("SIGINT")).await.unwrap();
        world.until("it drains", || world.workers[0].inner().listeners.is_empty()).await;
        let told = events.recv().await.unwrap();
        let by = Provenance { who: "signal".to_owned(), why: "SIGINT".to_owned() };
        assert_eq!((told.kind, told.by), (EventKind::Shutdown, Some(by)));
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.state, status.figures.active), (DaemonState::Draining, 1));
        assert_eq!(world.ask(|reply| Request::StopListener(stop("web"), reply)).await, Err(Refusal::ShuttingDown));
        world.workers[0].end(1);
        let hooks = world.hooks.clone();
        world.ended().await.unwrap();
        let hooks = hooks.lock().unwrap();
        assert!(hooks.contains(&Hook::Stopping));
        assert!(hooks.iter().any(|hook| matches!(hook, Hook::ExtendTimeout(_))));
    });
}

#[test]
fn a_second_term_stops_at_once_and_drains_end() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[1].accept("echo", 1);
        world.signals.send(Signal::Term("SIGTERM")).await.unwrap();
        world.until("it drains", || world.workers[0].inner().listeners.is_empty()).await;
        let request = DrainRequest { target: Target::Daemon, course: Course::until(Deadline::Never), by: by("ann") };
        let mut progress = world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        world.signals.send(Signal::Term("SIGTERM")).await.unwrap();
        let mut last = None;
        while let Some(each) = progress.recv().await {
            last = Some(each);
        }
        assert_eq!(last.unwrap().outcome, Some(DrainOutcome::Shutdown));
        let handle = world.handle.clone();
        world.ended().await.unwrap();
        assert_eq!(handle.ask(Request::Status).await.unwrap_err(), Refusal::ShuttingDown);
    });
}

#[test]
fn a_pool_that_cannot_be_reached_is_failing() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let pool = async || world.ask(Request::Pools).await.unwrap().remove(0);
        assert_eq!((pool().await.state, pool().await.reachable()), (PoolState::Up, 2));
        world.workers[0].fail_connects();
        assert_eq!((pool().await.state, pool().await.reachable(), pool().await.taking()), (PoolState::Failing, 0, 2));
        let why = world.ask(|reply| Request::Why("pool/db".to_owned(), reply)).await.unwrap();
        assert_eq!((why.observed.as_str(), why.decided_by), ("failing", Layer::Observed));
        assert!(why.sentence.contains("Connection refused"), "{}", why.sentence);
        let why = world.ask(|reply| Request::Why("10.0.0.1:5432".to_owned(), reply)).await.unwrap();
        assert!(why.sentence.contains("ago: Connection refused"), "{}", why.sentence);
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        assert!(snapshot.pools[0].endpoints.iter().all(|each| each.failing && each.accepting));
    });
}

#[test]
fn shutdown_cuts_at_its_deadline() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[1].accept("echo", 1);
        let deadline = Deadline::After(Duration::from_millis(20));
        let request = ShutdownRequest { now: false, course: Course::until(deadline), by: by("ann") };
        let answer = world.ask(|reply| Request::Shutdown(request, reply)).await.unwrap();
        assert_eq!(answer.unwrap().deadline, Some(Duration::from_millis(20)));
        let worker = world.workers[1].clone();
        world.ended().await.unwrap();
        assert!(worker.inner().log.contains(&"close 1 drain".to_owned()));
    });
}

#[test]
fn a_worker_that_does_not_confirm_is_named_and_others_are_answered() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[1].inner().mute = true;
        let change = world.ask(|reply| Request::StopListener(stop("web"), reply));
        let read = world.ask(Request::Status);
        let (change, read) = tokio::join!(change, read);
        assert!(read.is_ok());
        let Err(Refusal::Timeout(text)) = change else { panic!("{change:?}") };
        assert!(text.contains("worker 1 did not confirm it"), "{text}");
        world.workers[1].speak();
        assert!(world.ask(|reply| Request::StopListener(stop("echo"), reply)).await.is_ok());
    });
}

#[test]
fn changes_wait_for_each_other_within_bounds() {
    on_control_thread(async {
        let mut pace = quick();
        pace.confirm = Duration::from_secs(60);
        let world = World::with(usual(), pace, HashMap::new(), false);
        world.until("it serves", || !world.hooks().is_empty()).await;
        world.workers[1].inner().mute = true;
        let mut asked = Vec::new();
        for _ in 0..=WAITING {
            let handle = world.handle.clone();
            asked
                .push(tokio::spawn(async move { handle.ask(|reply| Request::StopListener(stop("web"), reply)).await }));
        }
        tokio::task::yield_now().await;
        world.ask(Request::Status).await.unwrap();
        let refused = world.ask(|reply| Request::StopListener(stop("web"), reply)).await;
        assert!(matches!(refused, Err(Refusal::Busy(_))), "{refused:?}");
        world.workers[1].speak();
        for each in asked {
            assert_eq!(each.await.unwrap(), Ok(()));
        }
    });
}

#[test]
fn the_watchdog_is_fed_only_while_every_worker_answers() {
    on_control_thread(async {
        let mut pace = quick();
        pace.heartbeat = Duration::from_millis(5);
        let world = World::with(usual(), pace, HashMap::new(), false);
        world.until("it is fed", || world.hooks().contains(&Hook::Watchdog)).await;
        world.workers[1].inner().mute = true;
        let mut status = world.ask(Request::Status).await.unwrap();
        while status.workers[1].responsive {
            sleep(Duration::from_millis(2)).await;
            status = world.ask(Request::Status).await.unwrap();
        }
        let fed = |world: &World| world.hooks().iter().filter(|hook| **hook == Hook::Watchdog).count();
        let before = fed(&world);
        let refused = world.ask(|reply| Request::StopListener(stop("web"), reply)).await;
        assert!(matches!(refused, Err(Refusal::Timeout(_))), "{refused:?}");
        sleep(Duration::from_millis(30)).await;
        assert_eq!(fed(&world), before);
        world.workers[1].speak();
        world.until("it is fed again", || fed(&world) > before).await;
    });
}

#[test]
fn the_log_level_is_set_and_the_one_before_answered() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let before = world.ask(|reply| Request::SetLogLevel(LogLevel::Debug, by("ann"), reply)).await.unwrap();
        assert_eq!(before, LogLevel::Info);
        assert_eq!(world.ask(Request::Status).await.unwrap().log_level, LogLevel::Debug);
    });
}

#[test]
fn what_is_seen_of_listeners_and_endpoints_becomes_events() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let mut events = world.handle.events();
        let web = world.workers[0].inner().listeners.values().next().unwrap().counters.clone();
        web.paused.set(1);
        assert_eq!(events.recv().await.unwrap().kind, EventKind::ListenerPaused);
        web.paused.set(0);
        let event = events.recv().await.unwrap();
        assert_eq!((event.kind, event.object.as_str()), (EventKind::ListenerResumed, "listener/web"));
    });
}

/// Sends a byte and gets it back, off the control thread.
async fn talk(mut stream: TcpStream) -> TcpStream {
    let talked = tokio::task::spawn_blocking(move || {
        let mut answer = [0];
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"x");
        stream
    });
    talked.await.unwrap()
}

async fn connect(world: &World) -> TcpStream {
    let views = world.ask(Request::Listeners).await.unwrap();
    let bound = views[0].bound.parse::<SocketAddr>().unwrap();
    talk(tokio::task::spawn_blocking(move || TcpStream::connect(bound).unwrap()).await.unwrap()).await
}

/// With real workers and sockets: what the fakes stand for.
#[test]
fn real_workers_serve_drain_and_come_back() {
    on_control_thread(async {
        let world = World::real(Config { listeners: vec![echo("echo", "127.0.0.1:0")], ..empty() });
        let stream = connect(&world).await;
        let query = ConnectionQuery { page_size: 10, ..Default::default() };
        let page = world.ask(|reply| Request::Connections(query, reply)).await.unwrap();
        assert_eq!(page.connections[0].listener, "echo");

        let target = Target::Listener("echo".to_owned());
        let request = DrainRequest { target: target.clone(), course: Course::until(Deadline::Never), by: by("ann") };
        let mut progress = world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        assert_eq!(progress.recv().await.unwrap().remaining, 1);
        drop(talk(stream).await);
        let mut last = None;
        while let Some(each) = progress.recv().await {
            last = Some(each);
        }
        let last = last.unwrap();
        assert_eq!((last.finished, last.outcome), (1, Some(DrainOutcome::Drained)));

        world.ask(|reply| Request::Undrain(target, by("ann"), reply)).await.unwrap();
        let mut stream = connect(&world).await;
        let request = ShutdownRequest { now: true, course: Course::until(Deadline::Never), by: by("ann") };
        world.ask(|reply| Request::Shutdown(request, reply)).await.unwrap();
        world.ended().await.unwrap();
        assert!(stream.read_exact(&mut [0]).is_err(), "the connection was reset");
    });
}

/// Heartbeats as fast as ticks.
fn beating() -> Pace {
    Pace { heartbeat: Duration::from_millis(5), ..quick() }
}

#[test]
fn a_dead_worker_starves_the_watchdog_and_the_others_go_on() {
    on_control_thread(async {
        let world = World::with(usual(), beating(), HashMap::new(), false);
        world.until("it serves", || world.hooks().contains(&Hook::Watchdog)).await;
        world.workers[0].accept("echo", 1);
        world.workers[1].accept("web", 2);
        world.workers[1].die();
        while world.ask(Request::Status).await.unwrap().workers[1].responsive {
            tokio::task::yield_now().await;
        }
        let fed = || world.hooks().iter().filter(|hook| **hook == Hook::Watchdog).count();
        let before = fed();
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.figures.active, status.workers[1].active), (1, 0), "what it had open is gone");

        world.ask(|reply| Request::StopListener(stop("web"), reply)).await.unwrap();
        let request = DrainRequest { target: Target::Daemon, course: Course::until(Deadline::Never), by: by("ann") };
        let mut progress = world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        world.workers[0].end(1);
        let mut last = None;
        while let Some(each) = progress.recv().await {
            last = Some(each);
        }
        assert_eq!(last.unwrap().outcome, Some(DrainOutcome::Drained));
        assert_eq!(fed(), before);
    });
}

#[test]
fn a_drain_ends_although_a_worker_dies_before_it_confirms() {
    on_control_thread(async {
        let world = World::with(usual(), beating(), HashMap::new(), false);
        world.until("it serves", || world.hooks().contains(&Hook::Watchdog)).await;
        world.workers[1].accept("echo", 1);
        world.workers[1].inner().mute = true;
        let request = DrainRequest { target: Target::Daemon, course: Course::until(Deadline::Never), by: by("ann") };
        let mut progress = world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        world.workers[1].die();
        let mut last = None;
        while let Some(each) = progress.recv().await {
            last = Some(each);
        }
        assert_eq!(last.unwrap().outcome, Some(DrainOutcome::Drained));
    });
}

#[test]
fn without_any_worker_the_daemon_ends_with_a_fault() {
    on_control_thread(async {
        let world = World::with(usual(), beating(), HashMap::new(), false);
        world.until("it serves", || world.hooks().contains(&Hook::Watchdog)).await;
        world.workers.iter().for_each(FakeWorker::die);
        let error = world.ended().await.unwrap_err();
        assert!(error.contains("all workers have died"), "{error}");
    });
}

#[test]
fn the_supervisor_sees_the_figures_of_a_drain_that_was_under_way_before_the_stop() {
    on_control_thread(async {
        let world = World::with(usual(), beating(), HashMap::new(), false);
        world.until("it serves", || world.hooks().contains(&Hook::Watchdog)).await;
        world.workers[0].accept("echo", 1);
        let request = DrainRequest { target: Target::Daemon, course: Course::until(Deadline::Never), by: by("ann") };
        world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        let figures = Hook::Status("draining: 1 connection, 0 listeners".to_owned());
        world.until("the drain is told", || world.hooks().contains(&figures)).await;
        world.signals.send(Signal::Term("SIGTERM")).await.unwrap();
        world
            .until("they are told after the stop", || {
                let hooks = world.hooks();
                let stopping = hooks.iter().position(|hook| *hook == Hook::Stopping);
                stopping.is_some_and(|at| hooks[at..].contains(&figures))
            })
            .await;
    });
}

#[test]
fn the_first_term_after_an_operators_shutdown_drains_still() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("echo", 1);
        let request = ShutdownRequest { now: false, course: Course::until(Deadline::Never), by: by("ann") };
        world.ask(|reply| Request::Shutdown(request, reply)).await.unwrap();
        world.signals.send(Signal::Term("SIGTERM")).await.unwrap();
        let extended = || world.hooks().iter().filter(|hook| matches!(hook, Hook::ExtendTimeout(_))).count();
        world.until("the signal is heard", || extended() == 2).await;
        assert_eq!(world.ask(Request::Status).await.unwrap().state, DaemonState::Draining);
        world.signals.send(Signal::Term("SIGTERM")).await.unwrap();
        world.ended().await.unwrap();
    });
}
