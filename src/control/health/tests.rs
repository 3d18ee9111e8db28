//! The Controller with a fake prober and a clock that is set forward.

mod succession;

use std::{sync::Arc, time::Duration};

use super::questions::Questions;
use crate::{
    config::{CheckKind, Config, Endpoint, HealthCheck, Initial, Outlier, Pool, PoolHealth, ProxyVersions, SendProxy},
    control::{
        prober::{Question, Way},
        request::{EndpointOverride, EndpointState, Event, EventKind, Layer, PoolView, Request, SetEndpoint, Standing},
        testing::{World, by, empty, on_control_thread, pool, relay},
    },
    health::Verdict,
};

const A: &str = "10.0.0.1:5432";
const B: &str = "10.0.0.2:5432";
const C: &str = "10.0.0.3:5432";

fn check() -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Redis,
        interval: Duration::from_secs(10),
        fast_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
        jitter: 0,
        initial: Initial::Used,
    }
}

fn outlier() -> Outlier {
    Outlier { consecutive: 3, base: Duration::from_secs(30), max: Duration::from_secs(300), max_share: 50 }
}

fn health(check: HealthCheck) -> PoolHealth {
    PoolHealth { check: Some(Arc::new(check)), ..PoolHealth::default() }
}

fn db(endpoints: &[&str], health: PoolHealth) -> Arc<Pool> {
    let endpoints: Vec<(&str, u16)> = endpoints.iter().map(|&address| (address, 1)).collect();
    Arc::new(Pool { health, ..(*pool("db", &endpoints)).clone() })
}

fn config(pools: Vec<Arc<Pool>>) -> Config {
    Config { listeners: vec![relay("web", "127.0.0.1:8080", "db")], pools, ..empty() }
}

async fn view(world: &World, name: &str) -> PoolView {
    let pools = world.ask(Request::Pools).await.unwrap();
    pools.into_iter().find(|each| each.name == name).unwrap()
}

/// Weights in force and standings.
async fn state(world: &World) -> Vec<(u16, Standing)> {
    let view = view(world, "db").await;
    view.endpoints.iter().map(|each| (each.weight, each.health.as_ref().unwrap().standing)).collect()
}

/// Waits for weights and standings, setting the clock forward by `step` again
/// and again.
async fn until(world: &World, step: Duration, expected: &[(u16, Standing)]) {
    let mut last = Vec::new();
    for _ in 0..400 {
        last = state(world).await;
        if last == expected {
            return;
        }
        world.prober.advance(step);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it stays at {last:?}, expected {expected:?}");
}

/// Time for several ticks and probes.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

fn events(receiver: &mut tokio::sync::broadcast::Receiver<Event>) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        events.push(event);
    }
    events
}

const UP: (u16, Standing) = (1, Standing::Healthy);
const DOWN: (u16, Standing) = (0, Standing::Unhealthy);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_endpoint_that_fails_its_checks_rests_until_they_succeed() {
    on_control_thread(async {
        let world = World::serving(config(vec![db(&[A, B], health(check()))])).await;
        until(&world, SECOND, &[UP, UP]).await;
        let mut receiver = world.handle.events();
        world.told();
        world.prober.answer(A, Some("it answered LOADING"));
        until(&world, SECOND, &[DOWN, UP]).await;
        assert_eq!(world.told(), ["set db [0, 1]"]);
        let told = events(&mut receiver);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            (told[0].kind, told[0].object.as_str()),
            (EventKind::EndpointUnhealthy, "endpoint/db/10.0.0.1:5432")
        );
        assert_eq!(
            told[0].text,
            "10.0.0.1:5432 of pool `db` is unhealthy: 3 redis checks in a row failed, the last: it answered LOADING"
        );
        let view = view(&world, "db").await;
        let ill = view.endpoints[0].health.as_ref().unwrap();
        assert_eq!((view.endpoints[0].state, view.reachable()), (EndpointState::Unhealthy, 1));
        assert_eq!(ill.last.as_ref().unwrap().failure.as_deref(), Some("it answered LOADING"));
        let why = world.ask(|reply| Request::Why(A.to_owned(), reply)).await.unwrap();
        assert_eq!(why.decided_by, Layer::Observed);
        assert!(why.sentence.contains("3 redis checks in a row failed"), "{}", why.sentence);
        world.prober.answer(A, None);
        until(&world, SECOND, &[UP, UP]).await;
        assert_eq!(world.told(), ["set db [1, 1]"]);
        let told = events(&mut receiver);
        assert_eq!(told.iter().map(|each| each.kind).collect::<Vec<_>>(), [EventKind::EndpointHealthy]);
    });
}

#[test]
fn who_recovers_starts_slowly() {
    on_control_thread(async {
        let slow_start = Some(Duration::from_secs(3600));
        let slow = Pool { slow_start, ..(*db(&[A, B], health(check()))).clone() };
        let world = World::serving(config(vec![Arc::new(slow)])).await;
        world.prober.answer(A, Some("no"));
        until(&world, SECOND, &[DOWN, UP]).await;
        world.prober.answer(A, None);
        until(&world, SECOND, &[UP, UP]).await;
        let percents: Vec<u32> = view(&world, "db").await.endpoints.iter().map(|each| each.percent).collect();
        assert!(percents[0] < 50 && percents[1] == 100, "{percents:?}");
    });
}

#[test]
fn an_operators_weight_stands_above_what_is_observed() {
    on_control_thread(async {
        let world = World::serving(config(vec![db(&[A, B], health(check()))])).await;
        world.prober.answer(A, Some("no"));
        until(&world, SECOND, &[DOWN, UP]).await;
        let set = |setting| SetEndpoint {
            pool: "db".to_owned(),
            endpoint: A.to_owned(),
            setting,
            expires_in: None,
            by: by("ann"),
        };
        let forced = set(Some(EndpointOverride::Weight(7)));
        let view = world.ask(|reply| Request::SetEndpoint(forced, reply)).await.unwrap();
        assert_eq!((view.weight, view.state), (7, EndpointState::Unhealthy));
        let view = world.ask(|reply| Request::SetEndpoint(set(None), reply)).await.unwrap();
        assert_eq!(view.weight, 0);
    });
}

#[test]
fn a_panic_uses_all_and_ends_with_health() {
    on_control_thread(async {
        let world = World::serving(config(vec![db(&[A, B], health(check()))])).await;
        until(&world, SECOND, &[UP, UP]).await;
        let mut receiver = world.handle.events();
        world.prober.answer(A, Some("no"));
        world.prober.answer(B, Some("no"));
        let all = (1, Standing::Unhealthy);
        until(&world, SECOND, &[all, all]).await;
        assert!(view(&world, "db").await.panics);
        world.prober.answer(B, None);
        until(&world, SECOND, &[DOWN, UP]).await;
        assert!(!view(&world, "db").await.panics);
        let kinds: Vec<EventKind> = events(&mut receiver).iter().map(|each| each.kind).collect();
        assert!(kinds.contains(&EventKind::PoolPanic) && kinds.contains(&EventKind::PoolPanicEnded), "{kinds:?}");
    });
}

#[test]
fn no_panic_where_the_threshold_is_zero() {
    on_control_thread(async {
        let health = PoolHealth { panic_threshold: 0, ..health(check()) };
        let world = World::serving(config(vec![db(&[A], health)])).await;
        world.prober.answer(A, Some("no"));
        until(&world, SECOND, &[DOWN]).await;
        assert_eq!(view(&world, "db").await.state.as_str(), "down");
    });
}

#[test]
fn who_is_unused_at_first_waits_for_one_answer() {
    on_control_thread(async {
        let check = HealthCheck { initial: Initial::Unused, ..check() };
        let world = World::serving(config(vec![db(&[A], health(check))])).await;
        let first = &world.told()[0];
        assert_eq!(first, "set db [0]");
        until(&world, Duration::ZERO, &[UP]).await;
        assert_eq!(world.prober.asked(A), 1);
    });
}

#[test]
fn health_survives_a_reload_also_one_of_the_checks_themselves() {
    on_control_thread(async {
        let world = World::serving(config(vec![db(&[A, B], health(check()))])).await;
        world.prober.answer(A, Some("no"));
        until(&world, SECOND, &[DOWN, UP]).await;
        world.told();
        let reload = async |next: Config| {
            world.set_source(Ok(next));
            world.signals.send(crate::control::Signal::Reload).await.unwrap();
            settle().await;
        };
        reload(config(vec![db(&[C, A, B], health(check()))])).await;
        until(&world, Duration::ZERO, &[UP, DOWN, UP]).await;
        assert_eq!(world.told()[0], "set db [1, 0, 1]", "never used in between");
        let other = HealthCheck { interval: Duration::from_secs(7), ..check() };
        reload(config(vec![db(&[C, A, B], health(other))])).await;
        assert!(world.told().iter().all(|order| order == "set db [1, 0, 1]"));
        assert_eq!(state(&world).await, [UP, DOWN, UP]);
        reload(config(vec![db(&[A, B], PoolHealth::default())])).await;
        assert_eq!(world.told(), ["set db [1, 1]"], "nobody is asked any more");
    });
}

#[test]
fn pools_that_ask_the_same_share_the_answer() {
    on_control_thread(async {
        let twin = Arc::new(Pool { name: "twin".to_owned(), ..(*db(&[A], health(check()))).clone() });
        let world = World::serving(config(vec![db(&[A], health(check())), twin])).await;
        until(&world, Duration::ZERO, &[UP]).await;
        settle().await;
        assert_eq!(world.prober.asked(A), 1);
        world.prober.answer(A, Some("no"));
        let all = (1, Standing::Unhealthy);
        until(&world, SECOND, &[all]).await;
        let twin = view(&world, "twin").await;
        assert_eq!(twin.endpoints[0].health.as_ref().unwrap().standing, Standing::Unhealthy);
    });
}

#[test]
fn pools_that_reach_it_in_another_way_ask_for_themselves() {
    let plain = db(&[A], health(check()));
    let send_proxy = SendProxy { version: ProxyVersions::V2, tlvs: Vec::new() };
    let (twin, behind) = (plain.clone(), Pool { send_proxy, ..(*plain).clone() });
    let mut questions = Questions::new(1);
    let ids = [&*plain, &*twin, &behind].map(|pool| {
        let check = Arc::new(check());
        questions.want(Question { address: A.parse().unwrap(), check, way: Way::of(pool) }, Verdict::Unknown)
    });
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[test]
fn each_endpoint_is_asked_once_an_interval_and_evenly() {
    on_control_thread(async {
        let addresses: Vec<String> = (0..100).map(|n| format!("10.0.1.{n}:80")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let world = World::serving(config(vec![db(&addresses, health(check()))])).await;
        assert_eq!(world.workers.len(), 2);
        let asked = || addresses.iter().map(|each| world.prober.asked(each)).collect::<Vec<_>>();
        // The first answers, and one interval in which each finds its place.
        for _ in 0..12 {
            world.prober.advance(SECOND);
            settle().await;
        }
        let mut before = asked();
        let begun = before.clone();
        for _ in 0..10 {
            world.prober.advance(SECOND);
            settle().await;
            let now = asked();
            let in_this_second: u64 = now.iter().zip(&before).map(|(now, before)| now - before).sum();
            assert!((1..=30).contains(&in_this_second), "{in_this_second} of 100 in one of ten seconds");
            before = now;
        }
        let in_all: Vec<u64> = asked().iter().zip(&begun).map(|(now, before)| now - before).collect();
        assert!(in_all.iter().all(|count| (1..=2).contains(count)), "{in_all:?}");
        let sum: u64 = in_all.iter().sum();
        assert!((95..=115).contains(&sum), "{sum} probes of 100 endpoints in one interval");
    });
}

fn watched(endpoints: &[&str]) -> Config {
    config(vec![db(endpoints, PoolHealth { outlier: Some(outlier()), ..PoolHealth::default() })])
}

#[test]
fn failures_in_a_row_eject_for_longer_each_time() {
    on_control_thread(async {
        let world = World::serving(watched(&[A, B])).await;
        settle().await;
        world.told();
        let mut receiver = world.handle.events();
        let (used, out) = ((1, Standing::Unchecked), (0, Standing::Ejected));
        for expected in ["30s (ejection 1)", "1m (ejection 2)"] {
            world.workers[0].endpoint(A).connect_failures.add(2);
            world.workers[1].endpoint(A).connect_failures.add(1);
            until(&world, Duration::ZERO, &[out, used]).await;
            let told = events(&mut receiver).pop().unwrap();
            assert_eq!(told.kind, EventKind::EndpointEjected);
            assert!(told.text.contains(expected) && told.text.ends_with("3 connects in a row failed"), "{}", told.text);
            until(&world, SECOND * 10, &[used, used]).await;
            let told = events(&mut receiver).pop().unwrap();
            assert_eq!(told.kind, EventKind::EndpointReadmitted);
        }
        let health = view(&world, "db").await.endpoints.swap_remove(0).health.unwrap();
        assert_eq!(health.ejections, 2);
        assert!(health.healthy_at.is_some());
    });
}

#[test]
fn no_more_than_the_share_is_ejected() {
    on_control_thread(async {
        let world = World::serving(watched(&[A, B, C])).await;
        settle().await;
        let mut receiver = world.handle.events();
        for address in [A, B, C] {
            world.workers[0].endpoint(address).connect_failures.add(100);
        }
        settle().await;
        let ejected = state(&world).await.iter().filter(|(weight, _)| *weight == 0).count();
        assert_eq!(ejected, 1, "half of three, rounded down");
        let told = events(&mut receiver);
        let refused: Vec<_> = told.iter().filter(|each| each.kind == EventKind::EjectionsRefused).collect();
        assert_eq!(refused.len(), 1, "once, however often it is looked: {told:?}");
        assert_eq!(
            (refused[0].object.as_str(), refused[0].text.as_str()),
            (
                "pool/db",
                "pool `db` does not eject 10.0.0.2:5432 (100 connects in a row failed) and 1 more: 1 of 3 are ejected \
                 already, and `max_share` (50 %) allows no more"
            )
        );
        let spared = async |address: &str| {
            let view = view(&world, "db").await;
            let each = view.endpoints.into_iter().find(|each| each.address == address).unwrap().health.unwrap();
            (each.spared, each.ejections_refused)
        };
        let because = Some("100 connects in a row failed".to_owned());
        assert_eq!((spared(A).await, spared(B).await), ((None, 0), (because, 1)));
        for object in ["endpoint/db/10.0.0.2:5432", "pool/db"] {
            let why = world.ask(|reply| Request::Why(object.to_owned(), reply)).await.unwrap().sentence;
            assert!(why.contains("would be ejected (100 connects in a row failed), but as many"), "{why}");
        }
        // Who serves again is not spoken of any more; who does not is ejected as
        // soon as there is room.
        world.workers[0].endpoint(B).connected.add(1);
        settle().await;
        assert_eq!(spared(B).await, (None, 1));
        let (used, out) = ((1, Standing::Unchecked), (0, Standing::Ejected));
        until(&world, SECOND * 10, &[used, used, out]).await;
        assert_eq!(spared(C).await, (None, 1));
    });
}

#[test]
fn figures_are_published() {
    on_control_thread(async {
        let world = World::serving(config(vec![db(&[A, B], health(check()))])).await;
        until(&world, Duration::ZERO, &[UP, UP]).await;
        world.workers[0].endpoint(A).early_resets.add(4);
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        let pool = &snapshot.pools[0];
        assert_eq!(pool.probe_time.as_ref().unwrap().count(), 2);
        let endpoint: Vec<_> = pool.endpoints.iter().map(|each| each.health.unwrap()).collect();
        assert!(endpoint[0].healthy && endpoint[0].probes == Some([1, 0, 0, 0]), "{endpoint:?}");
        assert_eq!(pool.endpoints[0].early_resets, 4);
    });
}

#[test]
fn a_configuration_of_ten_thousand_is_followed_and_settled_quickly() {
    let pools = (0..10).map(|p| {
        let endpoint = |n: u32| Endpoint::new(format!("10.{p}.{}.{}:80", n / 250, n % 250).parse().unwrap(), 1);
        let endpoints = (0..1000).map(endpoint).collect();
        Arc::new(Pool { name: format!("p{p}"), endpoints, ..(*db(&[A], health(check()))).clone() })
    });
    let config = Arc::new(Config { pools: pools.collect(), ..empty() });
    let now = crate::control::Clock::system().now();
    let mut all = super::Health::new(1);
    all.follow(&config, now);
    assert_eq!(all.questions.len(), 10_000);
    all.questions.allow(usize::MAX);
    let late = crate::control::Now { instant: now.instant + SECOND, ..now };
    let due = std::iter::from_fn(|| all.questions.take(late)).count();
    assert_eq!(due, 10_000, "all are asked within the fast interval");
}
