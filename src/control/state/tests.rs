use proptest::prelude::*;

use super::*;
use crate::control::testing::{by, echo, empty, pool, relay, usual};

const T0: SystemTime = SystemTime::UNIX_EPOCH;

fn state() -> State {
    State::new(Arc::new(usual()), T0)
}

fn web() -> Target {
    Target::Listener("web".to_owned())
}

fn after(seconds: u64) -> SystemTime {
    T0 + Duration::from_secs(seconds)
}

#[test]
fn a_stop_ends_by_itself() {
    let mut state = state();
    state.stop("web", Some(Duration::from_secs(10)), &by("ann"), T0).unwrap();
    assert!(!state.accepts("web"));
    assert!(!state.has_expired(after(9)));
    assert!(state.has_expired(after(10)));
    let lifted = state.expire(after(10));
    assert_eq!(lifted, [Lifted { object: "listener/web".to_owned(), value: "stopped".to_owned() }]);
    assert!(state.accepts("web"));
}

#[test]
fn start_lifts_stops_only_and_says_what_else_is_in_the_way() {
    let mut state = state();
    assert_eq!(state.start("web").unwrap_err().to_string(), "listener `web` is not stopped");
    state.drain(&web(), &by("ann"), T0).unwrap();
    assert!(state.start("web").unwrap_err().to_string().contains("undrain it"));
    state.undrain(&web(), false).unwrap();
    state.drain(&Target::Daemon, &by("ann"), T0).unwrap();
    assert!(state.start("web").unwrap_err().to_string().contains("whole daemon"));
    assert!(matches!(state.start("nope"), Err(Refusal::NotFound(_))));
}

#[test]
fn the_end_of_a_daemon_drain_leaves_a_stopped_listener_stopped() {
    let mut state = state();
    state.stop("web", None, &by("ann"), T0).unwrap();
    state.drain(&Target::Daemon, &by("bob"), T0).unwrap();
    assert!(!state.accepts("web") && !state.accepts("echo"));
    assert_eq!(state.listener_override("echo").unwrap().by.who, "bob");
    state.undrain(&Target::Daemon, false).unwrap();
    assert!(!state.accepts("web") && state.accepts("echo"));
    assert!(state.undrain(&Target::Daemon, false).is_err());
}

#[test]
fn a_drain_keeps_what_stops_more() {
    let mut state = state();
    state.stop("web", None, &by("ann"), T0).unwrap();
    state.drain(&web(), &by("bob"), T0).unwrap();
    assert_eq!(state.listener_override("web").unwrap().value, ListenerOverride::Stopped);
    state.undrain(&web(), true).unwrap();
    assert!(!state.accepts("web"));
    assert!(state.undrain(&web(), false).unwrap_err().to_string().contains("start it"));
}

#[test]
fn weights_come_from_the_pool_then_the_endpoint_then_the_file() {
    let mut state = state();
    let address = "10.0.0.2:5432";
    let weight = |state: &State| state.weight("db", state.endpoint("db", address).unwrap());
    assert_eq!(weight(&state), 2);
    let set = |state: &mut State, value| state.set_endpoint("db", address, value, None, &by("ann"), T0);
    set(&mut state, Some(EndpointOverride::Weight(7))).unwrap();
    assert_eq!(weight(&state), 7);
    state.drain(&Target::Pool("db".to_owned()), &by("ann"), T0).unwrap();
    assert_eq!(weight(&state), 0);
    state.undrain(&Target::Pool("db".to_owned()), false).unwrap();
    set(&mut state, Some(EndpointOverride::Maintenance)).unwrap();
    assert_eq!(weight(&state), 0);
    set(&mut state, None).unwrap();
    assert_eq!(weight(&state), 2);
    assert!(matches!(set(&mut state, Some(EndpointOverride::Weight(1001))), Err(Refusal::Invalid(_))));
}

#[test]
fn overrides_survive_a_reload_unless_their_object_is_gone() {
    let mut state = state();
    state.stop("web", None, &by("ann"), T0).unwrap();
    state.stop("echo", None, &by("ann"), T0).unwrap();
    state.set_endpoint("db", "10.0.0.1:5432", Some(EndpointOverride::Weight(0)), None, &by("ann"), T0).unwrap();
    let mut config = usual();
    config.listeners.retain(|each| each.name != "echo");
    config.pools = vec![pool("db", &[("10.0.0.2:5432", 1)])];
    let dropped = state.replace(Arc::new(config), after(1));
    let objects: Vec<&str> = dropped.iter().map(|each| each.object.as_str()).collect();
    assert_eq!(objects, ["listener/echo", "endpoint/db/10.0.0.1:5432"]);
    assert_eq!((state.generation(), state.applied_at(), state.overrides()), (2, after(1), 1));
    assert!(!state.accepts("web"));
    assert!(!state.accepts("echo"), "it is gone");
}

#[test]
fn provenance_is_kept_within_bounds() {
    let mut state = state();
    let long = Provenance { who: "é".repeat(100), why: "w".repeat(1000) };
    state.stop("web", None, &long, T0).unwrap();
    let kept = &state.listener_override("web").unwrap().by;
    assert_eq!((kept.who.len(), kept.why.len()), (128, 512));
}

#[test]
fn an_end_beyond_time_is_refused() {
    assert!(matches!(state().stop("web", Some(Duration::MAX), &by("ann"), T0), Err(Refusal::Invalid(_))));
}

#[derive(Debug, Clone)]
enum Step {
    Stop(usize, Option<u64>),
    Start(usize),
    Drain(usize),
    Undrain(usize),
    Set(usize, Option<u16>, Option<u64>),
    Expire(u64),
    Reload(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3usize, proptest::option::of(0..50u64)).prop_map(|(n, end)| Step::Stop(n, end)),
        (0..3usize).prop_map(Step::Start),
        (0..7usize).prop_map(Step::Drain),
        (0..7usize).prop_map(Step::Undrain),
        (0..3usize, proptest::option::of(0..5u16), proptest::option::of(0..50u64))
            .prop_map(|(n, weight, end)| Step::Set(n, weight, end)),
        (0..50u64).prop_map(Step::Expire),
        (0..4usize).prop_map(Step::Reload),
    ]
}

fn candidate(n: usize) -> Config {
    match n {
        0 => usual(),
        1 => empty(),
        2 => Config { listeners: vec![echo("web", "127.0.0.1:1")], ..empty() },
        _ => Config {
            listeners: vec![relay("web", "127.0.0.1:8080", "db")],
            pools: vec![pool("db", &[("10.0.0.2:5432", 0)]), pool("x", &[("10.0.0.3:1", 1)])],
            ..empty()
        },
    }
}

fn target(n: usize) -> Target {
    match n {
        0 => Target::Daemon,
        1 => Target::Listener("web".to_owned()),
        2 => Target::Listener("echo".to_owned()),
        3 => Target::Pool("db".to_owned()),
        4 => Target::Pool("x".to_owned()),
        5 => Target::Endpoint("db".to_owned(), "10.0.0.1:5432".to_owned()),
        _ => Target::Endpoint("db".to_owned(), "10.0.0.2:5432".to_owned()),
    }
}

fn apply(state: &mut State, step: &Step, now: SystemTime) {
    const LISTENERS: [&str; 3] = ["web", "echo", "none"];
    const ENDPOINTS: [&str; 3] = ["10.0.0.1:5432", "10.0.0.2:5432", "10.0.0.9:1"];
    let end = |seconds: Option<u64>| seconds.map(Duration::from_secs);
    let generation = state.generation();
    // Refusals are part of the game.
    match step {
        Step::Stop(n, seconds) => drop(state.stop(LISTENERS[*n], end(*seconds), &by("p"), now)),
        Step::Start(n) => drop(state.start(LISTENERS[*n])),
        Step::Drain(n) => drop(state.drain(&target(*n), &by("p"), now)),
        Step::Undrain(n) => drop(state.undrain(&target(*n), false)),
        Step::Set(n, weight, seconds) => {
            let setting = weight.map(EndpointOverride::Weight);
            drop(state.set_endpoint("db", ENDPOINTS[*n], setting, end(*seconds), &by("p"), now));
        }
        Step::Expire(_) => drop(state.expire(now)),
        Step::Reload(n) => {
            state.replace(Arc::new(candidate(*n)), now);
            assert_eq!(state.generation(), generation + 1);
        }
    }
}

fn check(state: &State) {
    let config = state.config().clone();
    assert!(state.listeners.keys().all(|name| state.listener(name).is_ok()));
    assert!(state.pools.keys().all(|name| state.pool(name).is_ok()));
    assert!(state.endpoints.keys().all(|(pool, address)| state.endpoint(pool, address).is_ok()));
    let endpoints: usize = config.pools.iter().map(|each| each.endpoints.len()).sum();
    assert!(state.overrides() <= 1 + config.listeners.len() + config.pools.len() + endpoints);
    for listener in &config.listeners {
        assert_eq!(state.accepts(&listener.name), state.listener_override(&listener.name).is_none());
    }
    for pool in &config.pools {
        for endpoint in &pool.endpoints {
            let weight = state.weight(&pool.name, endpoint);
            assert!(weight <= 1000);
            if state.pool_override(&pool.name).is_some() {
                assert_eq!(weight, 0);
            } else if state.endpoint_override(&pool.name, &endpoint.address.to_string()).is_none() {
                assert_eq!(weight, endpoint.weight);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_keeps_overrides_within_the_configuration(steps in proptest::collection::vec(step(), 0..40)) {
        let mut state = state();
        let mut now = T0;
        for step in &steps {
            if let Step::Expire(seconds) = step {
                now += Duration::from_secs(*seconds);
            }
            apply(&mut state, step, now);
            check(&state);
        }
        state.expire(now + Duration::from_secs(1000));
        prop_assert!(state.listeners.values().all(|each| each.expires_at.is_none()));
        prop_assert!(state.endpoints.values().all(|each| each.expires_at.is_none()));
    }
}
