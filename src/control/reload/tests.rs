mod foretold;

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::*;
use crate::{
    config::{Listener, LogFormat, LogLevel},
    control::{
        Pace, Signal,
        history::Terms,
        request::{EndpointState, ListenerState, PoolState, Request},
        testing::{World, by, echo, empty, on_control_thread, pool, quick, relay, usual},
    },
};

fn request() -> ReloadRequest {
    ReloadRequest { candidate: Candidate::Source, expected_generation: None, terms: Terms::default(), by: by("ann") }
}

#[test]
fn what_did_not_change_is_not_touched() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        world.workers[0].accept("web", 1);
        world.workers[1].accept("echo", 2);
        let mut config = usual();
        config.listeners.retain(|each| each.name != "echo");
        config.listeners.push(echo("more", "127.0.0.1:9"));
        world.set_source(Ok(config));

        let plan = world.ask(|reply| Request::Plan(Candidate::Source, reply)).await.unwrap();
        assert_eq!((plan.generation, plan.obstacles.len()), (1, 0));
        assert_eq!(world.told(), Vec::<String>::new(), "a plan changes nothing");

        let outcome = world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        assert_eq!((outcome.generation, &outcome.changes), (2, &plan.changes));
        assert_eq!(world.told(), ["add more", "stop echo"]);
        let gone = outcome.changes.iter().find(|each| each.object == "listener/echo").unwrap();
        assert_eq!((gone.drained, gone.cut), (1, 0));

        let listeners = world.ask(Request::Listeners).await.unwrap();
        let states: Vec<_> = listeners.iter().map(|each| (each.config.name.as_str(), each.state)).collect();
        let (accepting, removed) = (ListenerState::Accepting, ListenerState::Removed);
        assert_eq!(states, [("echo", removed), ("more", accepting), ("web", accepting)]);
        assert_eq!(listeners[0].figures.active, 1);
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.last_reload, status.figures.active), (Some(Ok(())), 2));
    });
}

#[test]
fn a_candidate_is_told_from_the_daemons_own_file() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let candidate = || ReloadRequest { candidate: Candidate::Text("nothing".to_owned()), ..request() };
        let by = async || world.ask(Request::Status).await.unwrap().candidate_by;
        world.ask(|reply| Request::Reload(candidate(), reply)).await.unwrap();
        assert_eq!(by().await.as_deref(), Some("ann"));
        assert_eq!(world.ask(Request::Config).await.unwrap().candidate_by.as_deref(), Some("ann"));
        world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        assert_eq!(by().await, None);

        world.set_source(Ok(empty()));
        world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        world.ask(|reply| Request::Reload(candidate(), reply)).await.unwrap();
        assert_eq!(by().await, None, "nothing of the candidate is in force that was not before");
    });
}

#[test]
fn a_long_report_is_one_line_for_watchers_and_whole_for_the_status() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let report = "not valid: netd.toml:1:1: unknown key\n\nerror: unknown key\n --> netd.toml:1:1";
        world.set_source(Err(report.to_owned()));
        let mut events = world.handle.events();
        let refused = world.ask(|reply| Request::Reload(request(), reply)).await.unwrap_err();
        assert_eq!(refused.to_string(), report);
        let told = events.recv().await.unwrap();
        assert_eq!(told.text, "reload refused: not valid: netd.toml:1:1: unknown key (3 more lines)");
        assert_eq!(world.ask(Request::Status).await.unwrap().last_reload, Some(Err(report.to_owned())));
    });
}

#[test]
fn endpoints_and_pools_that_are_gone_are_shown_while_connections_are_open() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        let mut config = usual();
        config.pools = vec![pool("db", &[("10.0.0.2:5432", 2)])];
        world.set_source(Ok(config));
        world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        let db = world.ask(Request::Pools).await.unwrap().remove(0);
        let shown: Vec<_> = db.endpoints.iter().map(|each| (each.address.as_str(), each.state)).collect();
        assert_eq!(shown, [("10.0.0.2:5432", EndpointState::Up), ("10.0.0.1:5432", EndpointState::Removed)]);
        assert_eq!((db.state, db.figures.active, db.reachable()), (PoolState::Up, 1, 1));

        world.set_source(Ok(empty()));
        world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        let pools = world.ask(Request::Pools).await.unwrap();
        assert_eq!((pools.len(), pools[0].name.as_str(), pools[0].state), (1, "db", PoolState::Removed));
        assert_eq!((pools[0].endpoints.len(), pools[0].figures.active), (1, 1));
    });
}

#[test]
fn a_pool_is_forgotten_after_its_listeners_have_stopped() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        let mut config = usual();
        config.listeners[0] = relay("web", "127.0.0.1:8080", "new");
        config.listeners[1] = Arc::new(Listener { mode: 0o600, ..(*config.listeners[1]).clone() });
        config.pools = vec![pool("new", &[("10.0.0.9:1", 1)])];
        world.set_source(Ok(config));
        world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        assert_eq!(world.told(), ["set new [1]", "add echo", "stop echo", "update web", "forget db"]);
        assert_eq!(world.binder.log().last().unwrap(), "bind 127.0.0.1:7 again");
    });
}

#[test]
fn counters_go_on_over_a_rebind() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        let mut config = usual();
        config.listeners[0] = relay("web", "127.0.0.1:8081", "db");
        world.set_source(Ok(config));
        world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        world.workers[0].accept("web", 2);
        let listeners = world.ask(Request::Listeners).await.unwrap();
        let web = listeners.iter().find(|each| each.config.name == "web").unwrap();
        assert_eq!((web.figures.active, web.figures.total, web.bound.as_str()), (2, 2, "127.0.0.1:8081"));
        assert_eq!(world.binder.log().last().unwrap(), "bind 127.0.0.1:8081");
    });
}

#[test]
fn a_reload_that_cannot_be_done_whole_is_not_begun() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        let mut config = usual();
        config.listeners.remove(1);
        config.listeners.push(echo("good", "127.0.0.1:9"));
        config.listeners.push(echo("bad", "127.0.0.1:10"));
        world.binder.take("127.0.0.1:10");
        world.set_source(Ok(config));
        let refused = world.ask(|reply| Request::Reload(request(), reply)).await.unwrap_err();
        let text = "listener `bad`: cannot listen on 127.0.0.1:10: somebody else listens there";
        assert_eq!(refused, Refusal::Precondition(text.to_owned()));
        assert_eq!(world.told(), Vec::<String>::new());
        let status = world.ask(Request::Status).await.unwrap();
        assert_eq!((status.generation, status.last_reload), (1, Some(Err(text.to_owned()))));
        let ready = world.hooks().iter().filter(|hook| matches!(hook, Hook::Ready(_))).count();
        assert_eq!(ready, 2, "the supervisor is told that the reload is over");
    });
}

#[test]
fn bad_files_other_generations_and_obstacles_are_refused() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.set_source(Err("line 3: no".to_owned()));
        let refused = world.ask(|reply| Request::Reload(request(), reply)).await.unwrap_err();
        assert_eq!(refused, Refusal::Invalid("line 3: no".to_owned()));
        let text = ReloadRequest { candidate: Candidate::Text("x".to_owned()), ..request() };
        let refused = world.ask(|reply| Request::Reload(text, reply)).await.unwrap_err();
        assert_eq!(refused, Refusal::Invalid("cannot read \"x\"".to_owned()));

        let mut config = usual();
        config.workers.pin = true;
        world.set_source(Ok(config));
        let refused = world.ask(|reply| Request::Reload(request(), reply)).await.unwrap_err();
        assert!(matches!(refused, Refusal::Precondition(text) if text.contains("restart")));
        let stale = ReloadRequest { expected_generation: Some(7), ..request() };
        let refused = world.ask(|reply| Request::Reload(stale, reply)).await.unwrap_err();
        assert!(matches!(refused, Refusal::Precondition(text) if text.contains("generation 1 is in force")));
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        assert_eq!(snapshot.reloads, (0, 4));
    });
}

#[test]
fn the_same_file_is_no_new_generation() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let outcome = world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        assert_eq!((outcome.generation, outcome.changes.len()), (1, 0));
        assert_eq!(world.ask(Request::Snapshot).await.unwrap().reloads, (1, 0));
    });
}

#[test]
fn reload_signals_that_come_during_a_change_are_one() {
    on_control_thread(async {
        let pace = Pace { confirm: Duration::from_secs(60), ..quick() };
        let world = World::with(usual(), pace, HashMap::new(), false);
        world.until("it serves", || !world.hooks().is_empty()).await;
        let mut config = usual();
        config.listeners.push(echo("more", "127.0.0.1:9"));
        world.set_source(Ok(config));
        world.workers[0].inner().mute = true;
        world.signals.send(Signal::Reload).await.unwrap();
        world.until("the first is begun", || *world.reads.lock().unwrap() == 1).await;
        for _ in 0..5 {
            world.signals.send(Signal::Reload).await.unwrap();
        }
        world.ask(Request::Status).await.unwrap();
        world.workers[0].speak();
        world.until("the second is done", || *world.reads.lock().unwrap() == 2).await;
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        assert_eq!((snapshot.reloads, snapshot.status.generation), ((2, 0), 2));
        assert_eq!(*world.reads.lock().unwrap(), 2);
    });
}

#[test]
fn a_reload_that_is_in_force_but_not_confirmed_says_so() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let mut config = usual();
        config.listeners.push(echo("more", "127.0.0.1:9"));
        world.set_source(Ok(config));
        world.workers[1].inner().mute = true;
        let refused = world.ask(|reply| Request::Reload(request(), reply)).await.unwrap_err();
        assert!(matches!(&refused, Refusal::Timeout(text) if text.contains("the change is made, but worker 1")));
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        assert_eq!((snapshot.reloads, snapshot.status.generation), ((1, 0), 2));
        assert_eq!(snapshot.status.last_reload, Some(Err(refused.to_string())));
    });
}

#[test]
fn a_log_level_of_the_file_comes_into_force() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        let mut config = usual();
        config.log.level = LogLevel::Trace;
        config.drain.timeout = Duration::from_secs(1);
        world.set_source(Ok(config));
        let outcome = world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        let objects: Vec<&str> = outcome.changes.iter().map(|each| each.object.as_str()).collect();
        assert_eq!(objects, ["log", "drain"]);
        assert_eq!(world.ask(Request::Status).await.unwrap().log_level, LogLevel::Trace);
        assert_eq!(world.told(), Vec::<String>::new());
    });
}

#[test]
fn a_level_set_by_hand_ends_with_a_reload_of_the_log_and_the_status_says_so() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.ask(|reply| Request::SetLogLevel(LogLevel::Debug, by("ann"), reply)).await.unwrap();
        let mut config = usual();
        config.log.format = LogFormat::Json;
        config.listeners.push(echo("bad", "127.0.0.1:10"));
        world.binder.take("127.0.0.1:10");
        world.set_source(Ok(config.clone()));
        assert!(world.ask(|reply| Request::Reload(request(), reply)).await.is_err());
        let in_force = world.ask(|reply| Request::SetLogLevel(LogLevel::Debug, by("ann"), reply)).await.unwrap();
        assert_eq!(in_force, LogLevel::Debug, "a refused reload changes nothing");
        config.listeners.pop();
        world.set_source(Ok(config));
        world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        assert_eq!(world.ask(Request::Status).await.unwrap().log_level, LogLevel::Info);
    });
}

#[test]
fn a_change_may_have_more_orders_than_a_queue_has_places() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        let mut config = usual();
        for n in 0..1500 {
            config.pools.push(pool(&format!("p{n}"), &[("10.0.0.9:1", 1)]));
        }
        world.set_source(Ok(config));
        world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
        assert_eq!(world.told().len(), 1500);
    });
}
