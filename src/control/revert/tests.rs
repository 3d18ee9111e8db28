use std::time::Duration;

use super::*;
use crate::{
    config::{Config, LogLevel},
    control::{
        Pace, Signal,
        history::{GuardRule, HistoryEntry},
        request::{
            Candidate, EndpointOverride, EndpointState, Event, PlanView, ReloadOutcome, ReloadRequest, Request,
            SetEndpoint, ShutdownRequest, Status,
        },
        testing::{World, by, echo, empty, on_control_thread, pool, quick, relay, usual},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Far away: tests set the clock forward, so a busy machine changes nothing.
const LATER: Terms = Terms { confirm_within: Some(HOUR), guard: None };

fn guarded(watch: Duration) -> Terms {
    Terms { confirm_within: None, guard: Some(GuardRule { watch, ..GuardRule::default() }) }
}

/// `usual`, with one echo listener more for each name.
fn more(names: &[&str]) -> Config {
    let mut config = usual();
    let port = |index: usize| format!("127.0.0.1:{}", 9000 + index);
    config.listeners.extend(names.iter().enumerate().map(|(index, name)| echo(name, &port(index))));
    config
}

async fn reload(world: &World, config: Config, terms: Terms) -> Result<ReloadOutcome, Refusal> {
    world.set_source(Ok(config));
    let request = ReloadRequest { candidate: Candidate::Source, expected_generation: None, terms, by: by("ann") };
    world.ask(|reply| Request::Reload(request, reply)).await
}

async fn rollback(world: &World, generation: Option<u64>) -> Result<RollbackOutcome, Refusal> {
    let request = RollbackRequest { generation, expected_generation: None, by: by("bert") };
    world.ask(|reply| Request::Rollback(request, reply)).await
}

async fn confirm(world: &World, generation: Option<u64>) -> Result<u64, Refusal> {
    world.ask(|reply| Request::Confirm(ConfirmRequest { generation, by: by("bert") }, reply)).await
}

async fn status(world: &World) -> Status {
    world.ask(Request::Status).await.unwrap()
}

async fn history(world: &World) -> Vec<HistoryEntry> {
    world.ask(Request::History).await.unwrap()
}

async fn plan(world: &World) -> PlanView {
    world.ask(|reply| Request::Plan(Candidate::Source, reply)).await.unwrap()
}

async fn generation(world: &World, wanted: u64) {
    for _ in 0..2000 {
        if status(world).await.generation == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("generation {wanted} does not come: {:?}", status(world).await);
}

async fn event(events: &mut tokio::sync::broadcast::Receiver<Event>, kind: EventKind) -> Event {
    loop {
        let event = tokio::time::timeout(10 * SECOND, events.recv()).await.expect("an event").unwrap();
        if event.kind == kind {
            return event;
        }
    }
}

fn told(entry: &HistoryEntry) -> (HistoryKind, Option<u64>, Judgement, &str) {
    (entry.kind, entry.generation, entry.verdict, entry.reason.as_str())
}

#[test]
fn what_nobody_confirms_is_taken_back_and_no_connection_is_touched() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        world.workers[1].accept("echo", 2);
        let mut events = world.handle.events();
        let mut config = more(&["more"]);
        config.listeners.retain(|each| each.name != "echo");
        config.pools = vec![pool("db", &[("10.0.0.9:1", 1)])];
        config.log.level = LogLevel::Debug;
        let outcome = reload(&world, config, LATER).await.unwrap();
        let pending = outcome.pending.unwrap();
        assert_eq!((pending.generation, pending.former, pending.must_confirm), (2, 1, true));
        assert_eq!(status(&world).await.pending, Some(pending));
        world.workers[0].accept("more", 3);
        world.workers[0].accept("web", 4);
        world.told();

        world.prober.advance(HOUR);
        generation(&world, 3).await;
        let mut orders = world.told();
        // With the next tick: who has no byte yet leaves the endpoint that is gone.
        orders.retain(|order| !order.starts_with("redial"));
        orders.sort();
        assert_eq!(orders, ["add echo", "set db [1, 2]", "stop more"]);
        let ids = [&world.workers[0], &world.workers[1]].map(|worker| worker.open());
        assert_eq!(ids, [vec![1, 3, 4], vec![2]]);

        let now = status(&world).await;
        assert_eq!((now.pending, now.log_level), (None, LogLevel::Info));
        assert_eq!(now.restored, Some((1, "netd".to_owned())), "the file still says something else");
        let text = "generation 2 is taken back (not confirmed within 1h): generation 1 is in force again, as 3";
        assert_eq!(now.last_reload, Some(Err(text.to_owned())));
        let reverted = event(&mut events, EventKind::ReloadReverted).await;
        assert_eq!((reverted.text.as_str(), reverted.by), (text, None));
        let history = history(&world).await;
        assert_eq!(told(&history[0]), (HistoryKind::Revert, Some(3), Judgement::Applied, ""));
        assert_eq!(told(&history[1]), (HistoryKind::Reload, Some(2), Judgement::Reverted, "not confirmed within 1h"));
        assert_eq!(history[1].by, Some(by("ann")));
        assert_eq!((history[0].in_force, history[1].in_force), (true, false));
        assert!(history[0].summary.starts_with("back to generation 1: "), "{}", history[0].summary);
        let plan = plan(&world).await;
        assert!(!plan.changes.is_empty() && plan.notes[0].contains("generation 1 again (by netd)"), "{:?}", plan.notes);
    });
}

#[test]
fn what_is_confirmed_stays() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let refused = confirm(&world, None).await.unwrap_err();
        assert!(refused.to_string().contains("nothing waits"), "{refused}");
        let mut events = world.handle.events();
        reload(&world, more(&["more"]), LATER).await.unwrap();
        assert!(confirm(&world, Some(7)).await.unwrap_err().to_string().contains("generation 2 waits"));
        assert_eq!(confirm(&world, Some(2)).await, Ok(2));
        assert_eq!(event(&mut events, EventKind::ReloadConfirmed).await.by, Some(by("bert")));
        world.prober.advance(2 * HOUR);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = status(&world).await;
        assert_eq!((now.generation, now.pending, now.last_reload, now.restored), (2, None, Some(Ok(())), None));
        assert_eq!(told(&history(&world).await[0]), (HistoryKind::Reload, Some(2), Judgement::Confirmed, "by bert"));
        assert_eq!(world.ask(Request::Snapshot).await.unwrap().returns.confirmed, 1);
    });
}

#[test]
fn another_reload_waits_for_the_verdict() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        reload(&world, more(&["a"]), LATER).await.unwrap();
        let refused = reload(&world, more(&["a", "b"]), Terms::default()).await.unwrap_err();
        let Refusal::Precondition(text) = &refused else { panic!("{refused:?}") };
        assert!(
            text.starts_with("generation 2 waits for its confirmation, ") && text.contains("netctl confirm"),
            "{text}"
        );
        assert_eq!(plan(&world).await.obstacles.len(), 1, "a plan says so beforehand");
        world.signals.send(Signal::Reload).await.unwrap();
        let mut refusals = history(&world).await.len();
        while refusals < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            refusals = history(&world).await.len();
        }
        assert_eq!(status(&world).await.generation, 2);
        confirm(&world, None).await.unwrap();
        reload(&world, more(&["a", "b"]), Terms::default()).await.unwrap();
    });
}

#[test]
fn a_guard_takes_back_what_makes_connections_fail() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let mut config = usual();
        config.pools = vec![pool("db", &[("10.0.0.9:1", 1)])];
        reload(&world, config, guarded(HOUR)).await.unwrap();
        world.workers[0].ended("web", CloseReason::KILL, 1000);
        world.workers[0].ended("web", CloseReason::CONNECT_FAILED, 10);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(status(&world).await.generation, 2, "10 connections are too few");
        world.workers[1].ended("web", CloseReason::CONNECT_FAILED, 10);
        generation(&world, 3).await;
        let entry = &history(&world).await[1];
        let text = "listener/web: 20 of 20 connections failed (100.0%), before the reload 0 of 0 (0.0%)";
        assert_eq!(told(entry), (HistoryKind::Reload, Some(2), Judgement::Reverted, text));
        assert_eq!(world.ask(Request::Snapshot).await.unwrap().returns.guard, 1);
    });
}

#[test]
fn a_guard_measures_by_what_was_before_and_lets_good_reloads_stay() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        for reason in [CloseReason::DONE, CloseReason::CONNECT_FAILED] {
            world.workers[0].ended("web", reason, 100);
        }
        reload(&world, more(&["more"]), guarded(HOUR)).await.unwrap();
        for reason in [CloseReason::DONE, CloseReason::CONNECT_FAILED] {
            world.workers[0].ended("web", reason, 100);
        }
        world.prober.advance(HOUR);
        while status(&world).await.pending.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let now = status(&world).await;
        assert_eq!((now.generation, now.pending), (2, None));
        let verdict = told(&history(&world).await[0]).2;
        assert_eq!(verdict, Judgement::Confirmed);
    });
}

#[test]
fn a_way_back_that_is_barred_is_gone_as_far_as_it_goes() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let mut config = usual();
        config.listeners = vec![relay("web", "127.0.0.1:8080", "db")];
        config.pools = vec![pool("db", &[("10.0.0.9:1", 1)])];
        reload(&world, config, LATER).await.unwrap();
        world.binder.take("127.0.0.1:7");
        world.prober.advance(HOUR);
        generation(&world, 3).await;
        assert_eq!(status(&world).await.pending, None);
        let text = status(&world).await.last_reload.unwrap().unwrap_err();
        assert!(text.ends_with("listener/echo cannot listen yet"), "{text}");
        let listeners = world.ask(Request::Listeners).await.unwrap();
        let override_ = listeners.iter().find(|each| each.config.name == "echo").unwrap().override_.clone();
        assert_eq!(override_.map(|each| each.by.who).as_deref(), Some("netd"), "it is tried again by itself");
        let addresses: Vec<String> =
            world.ask(Request::Pools).await.unwrap()[0].endpoints.iter().map(|each| each.address.clone()).collect();
        assert_eq!(addresses, ["10.0.0.1:5432", "10.0.0.2:5432"]);
    });
}

#[test]
fn maintenance_comes_back_with_its_endpoint() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let set = SetEndpoint {
            pool: "db".to_owned(),
            endpoint: "10.0.0.1:5432".to_owned(),
            setting: Some(EndpointOverride::Maintenance),
            expires_in: None,
            by: by("ann"),
        };
        world.ask(|reply| Request::SetEndpoint(set, reply)).await.unwrap();
        reload(&world, empty(), LATER).await.unwrap();
        world.prober.advance(HOUR);
        generation(&world, 3).await;
        let endpoint = world.ask(Request::Pools).await.unwrap()[0].endpoints[0].clone();
        assert_eq!((endpoint.state, endpoint.override_.unwrap().by), (EndpointState::Maintenance, by("ann")));
    });
}

#[test]
fn rollbacks_go_to_any_generation_that_is_kept() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        for names in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
            reload(&world, more(names), Terms::default()).await.unwrap();
        }
        world.told();
        let mut events = world.handle.events();
        let outcome = rollback(&world, Some(1)).await.unwrap();
        assert_eq!((outcome.generation, outcome.restored, outcome.changes.len()), (5, 1, 3));
        assert_eq!(world.told(), ["stop a", "stop b", "stop c"]);
        assert_eq!(event(&mut events, EventKind::RolledBack).await.by, Some(by("bert")));
        assert_eq!(status(&world).await.restored, Some((1, "bert".to_owned())));
        assert_eq!(plan(&world).await.changes.len(), 3, "the file says what it said");

        // To what the daemon's own file says: then nothing stands against it.
        rollback(&world, Some(4)).await.unwrap();
        assert_eq!((status(&world).await.restored, plan(&world).await.notes), (None, Vec::new()));
        // One step each.
        assert_eq!(rollback(&world, None).await.unwrap().restored, 3);
        assert_eq!(rollback(&world, None).await.unwrap().restored, 2);
        assert_eq!(rollback(&world, None).await.unwrap().restored, 1);
        assert!(rollback(&world, None).await.unwrap_err().to_string().contains("no generation before"));
        assert!(
            matches!(rollback(&world, Some(99)).await, Err(Refusal::NotFound(text)) if text.contains("there is: 1, 2, 3"))
        );
        let same = rollback(&world, Some(1)).await.unwrap_err();
        assert!(same.to_string().contains("nothing to do"), "{same}");
        let refusals = history(&world).await.iter().filter(|entry| entry.verdict == Judgement::Refused).count();
        assert_eq!((refusals, world.ask(Request::Snapshot).await.unwrap().returns.rollback), (3, 5));
    });
}

#[test]
fn a_rollback_ends_a_trial() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        reload(&world, more(&["a"]), Terms::default()).await.unwrap();
        reload(&world, more(&["b"]), LATER).await.unwrap();
        let outcome = rollback(&world, None).await.unwrap();
        assert_eq!((outcome.generation, outcome.restored), (4, 2));
        let history = history(&world).await;
        assert_eq!(told(&history[1]), (HistoryKind::Reload, Some(3), Judgement::Reverted, "rolled back by bert"));
        assert_eq!(status(&world).await.pending, None);
        reload(&world, more(&["c"]), LATER).await.unwrap();
        assert_eq!(rollback(&world, Some(1)).await.unwrap().restored, 1);
        assert_eq!(status(&world).await.pending, None);
    });
}

#[test]
fn a_rollback_that_cannot_be_done_whole_is_not_begun() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let mut config = usual();
        config.listeners.pop();
        reload(&world, config, LATER).await.unwrap();
        world.binder.take("127.0.0.1:7");
        assert!(
            matches!(rollback(&world, None).await, Err(Refusal::Precondition(text)) if text.contains("127.0.0.1:7"))
        );
        let now = status(&world).await;
        assert_eq!((now.generation, now.pending.map(|each| each.generation)), (2, Some(2)), "the trial goes on");
    });
}

#[test]
fn a_daemon_that_stops_takes_nothing_back() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        reload(&world, more(&["a"]), LATER).await.unwrap();
        let deadline = crate::control::Deadline::Never;
        let request = ShutdownRequest { now: false, course: crate::control::Course::until(deadline), by: by("ann") };
        world.ask(|reply| Request::Shutdown(request, reply)).await.unwrap();
        world.prober.advance(2 * HOUR);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = status(&world).await;
        assert_eq!((now.generation, now.pending), (2, None));
        let entry = history(&world).await.remove(0);
        assert_eq!((entry.verdict, entry.reason.contains("when netd stopped")), (Judgement::Applied, true));
        world.workers[0].end(1);
        assert_eq!(world.ended().await, Ok(()));
    });
}

#[test]
fn a_way_back_that_a_silent_worker_bars_is_tried_again() {
    on_control_thread(async {
        let pace = Pace { heartbeat: Duration::from_millis(20), ..quick() };
        let world = World::with(usual(), pace, std::collections::HashMap::new(), false);
        world.until("it serves", || !world.hooks().is_empty()).await;
        reload(&world, more(&["a"]), LATER).await.unwrap();
        world.workers[1].inner().mute = true;
        while status(&world).await.workers[1].responsive {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.prober.advance(HOUR);
        let trouble = loop {
            if let Some(trouble) = status(&world).await.pending.and_then(|each| each.trouble) {
                break trouble;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(trouble.contains("worker 1 did not answer"), "{trouble}");
        assert_eq!(status(&world).await.generation, 2);
        world.workers[1].speak();
        generation(&world, 3).await;
        assert_eq!(status(&world).await.pending, None);
    });
}

#[test]
fn nothing_is_closed_while_the_way_back_could_keep_it() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("echo", 1);
        let mut config = usual();
        config.reload.close_removed_after = Some(Duration::from_millis(20));
        config.listeners.pop();
        reload(&world, config.clone(), LATER).await.unwrap();
        world.prober.advance(HOUR);
        generation(&world, 3).await;
        assert_eq!(world.workers[0].open(), [1]);
        reload(&world, config, LATER).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(world.workers[0].open(), [1]);
        confirm(&world, None).await.unwrap();
        world.until("it is closed", || world.workers[0].open().is_empty()).await;
    });
}

#[test]
fn connections_without_a_byte_leave_a_removed_endpoint_unless_it_may_come_back() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        world.workers[0].forget_bytes();
        world.workers[0].accept("web", 2);
        world.workers[1].accept("web", 3);
        let mut config = usual();
        config.pools = vec![pool("db", &[("10.0.0.2:5432", 2)])];
        let mut events = world.handle.events();
        let outcome = reload(&world, config, LATER).await.unwrap();
        let gone = outcome.changes.iter().find(|each| each.object == "endpoint/db/10.0.0.1:5432").unwrap();
        assert_eq!(gone.details, ["connections without a byte so far go to another endpoint that takes them"]);
        world.told();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(world.told(), Vec::<String>::new(), "it is on trial");
        confirm(&world, None).await.unwrap();
        let moved = event(&mut events, EventKind::ConnectionsMoved).await;
        assert_eq!(moved.object, "endpoint/db/10.0.0.1:5432");
        assert!(moved.text.starts_with("1 connection without a byte"), "{}", moved.text);
        let redialed = |at: usize| world.workers[at].inner().log.clone();
        assert_eq!((redialed(0), redialed(1)), (vec!["redial [1]".to_owned()], vec!["redial []".to_owned()]));
        assert_eq!(world.workers[0].endpoint_of(1), None);
        assert!(world.workers[0].endpoint_of(2).is_some());
        // Once more, for those that were dialing, and then no more.
        for orders in [2, 2] {
            world.prober.advance(16 * SECOND);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(redialed(0).len(), orders);
        }
    });
}

#[test]
fn what_is_left_of_what_was_removed_is_closed_in_time() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        for (id, listener) in [(1, "web"), (2, "echo")] {
            world.workers[0].accept(listener, id);
        }
        let mut config = usual();
        config.reload.close_removed_after = Some(HOUR);
        config.listeners.pop();
        let outcome = reload(&world, config.clone(), Terms::default()).await.unwrap();
        let gone = outcome.changes.iter().find(|each| each.object == "listener/echo").unwrap();
        assert_eq!(gone.details, ["connections that are left after 1h are closed"]);
        assert_eq!(world.workers[0].open(), [1, 2]);
        let later = |open: &[u64]| {
            world.prober.advance(HOUR);
            world.workers[0].open() == open
        };
        world.until("the listener's connection is closed", || later(&[1])).await;
        config.pools = vec![pool("db", &[("10.0.0.2:5432", 2)])];
        let mut events = world.handle.events();
        reload(&world, config, Terms::default()).await.unwrap();
        world.until("the endpoint's, too", || later(&[])).await;
        let closed = event(&mut events, EventKind::ConnectionsClosed).await;
        assert_eq!(closed.object, "endpoint/db/10.0.0.1:5432");
    });
}
