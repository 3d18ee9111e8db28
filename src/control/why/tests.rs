use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    config::Config,
    control::{
        request::{HealthView, LastProbe, Standing, Target},
        testing::{by, pool as pool_of, relay, usual},
    },
};

const T0: SystemTime = SystemTime::UNIX_EPOCH;

fn state() -> State {
    State::new(Arc::new(usual()), T0)
}

#[test]
fn names_are_found_in_full_or_plain_if_unique() {
    let config = Config {
        listeners: vec![relay("db", "127.0.0.1:1", "db")],
        pools: vec![pool_of("db", &[("unix:/run/a", 1)]), pool_of("other", &[("unix:/run/a", 1), ("10.0.0.1:1", 1)])],
        ..usual()
    };
    let state = State::new(Arc::new(config), T0);
    assert_eq!(resolve(&state, "listener/db"), Ok(Object::Listener("db".to_owned())));
    assert_eq!(resolve(&state, "pool/db"), Ok(Object::Pool("db".to_owned())));
    assert_eq!(resolve(&state, "other"), Ok(Object::Pool("other".to_owned())));
    let endpoint = Object::Endpoint("db".to_owned(), "unix:/run/a".to_owned());
    assert_eq!(resolve(&state, "endpoint/db/unix:/run/a"), Ok(endpoint));
    assert_eq!(resolve(&state, "10.0.0.1:1"), Ok(Object::Endpoint("other".to_owned(), "10.0.0.1:1".to_owned())));
    let twice = resolve(&state, "db").unwrap_err();
    assert_eq!(twice, Refusal::Invalid("`db` is not unique: say `listener/db` or `pool/db`".to_owned()));
    assert!(matches!(resolve(&state, "unix:/run/a"), Err(Refusal::Invalid(_))));
    assert!(matches!(resolve(&state, "othr"), Err(Refusal::NotFound(text)) if text.contains("did you mean `other`?")));
}

#[test]
fn each_layer_can_decide_about_a_listener() {
    let mut state = state();
    let explain = |state: &State, observed| listener(state, state.listener("web").unwrap(), observed);
    let plain = explain(&state, "accepting");
    assert_eq!(plain.decided_by, Layer::Configured);
    assert_eq!(plain.configured, "accepting tcp on 127.0.0.1:8080 to pool `db`");
    let paused = explain(&state, "paused");
    assert_eq!((paused.decided_by, paused.effective.as_str()), (Layer::Observed, "paused"));
    assert!(paused.sentence.contains("out of file descriptors"), "{}", paused.sentence);
    state.drain(&Target::Daemon, &by("bob"), T0).unwrap();
    let drained = explain(&state, "stopped");
    assert_eq!(drained.decided_by, Layer::Override);
    assert!(drained.sentence.contains("the whole daemon is drained, set by bob (test)"), "{}", drained.sentence);
    state.stop("web", Some(Duration::from_secs(1)), &by("ann"), T0).unwrap();
    let stopped = explain(&state, "stopped");
    assert!(stopped.sentence.ends_with("it is stopped, set by ann (test), until it expires"), "{}", stopped.sentence);
    assert_eq!(stopped.override_.map(|each| each.value), Some("stopped".to_owned()));
}

fn over<V>(value: V) -> Option<Override<V>> {
    Some(Override { value, by: by("ann"), set_at: T0, expires_at: None })
}

fn view(address: &str, state: EndpointState) -> EndpointView {
    EndpointView {
        address: address.to_owned(),
        configured_weight: 1,
        override_: None,
        weight: u16::from(matches!(state, EndpointState::Up | EndpointState::Failing)),
        percent: 100,
        backup: false,
        max_connections: None,
        load: 0,
        state,
        figures: Default::default(),
        connect_failures: 0,
        last_failure: None,
        mean_connect_time: None,
        health: None,
    }
}

fn failing(address: &str) -> EndpointView {
    EndpointView { last_failure: Some(("Connection refused".to_owned(), T0)), ..view(address, EndpointState::Failing) }
}

#[test]
fn each_layer_can_decide_about_an_endpoint() {
    let now = T0 + Duration::from_millis(12_900);
    let explain = |view: &EndpointView| endpoint("db", None, view, now);
    assert_eq!(explain(&view("10.0.0.1:1", EndpointState::Up)).decided_by, Layer::Configured);
    let failed = explain(&failing("10.0.0.1:1"));
    assert_eq!((failed.decided_by, failed.effective.as_str()), (Layer::Observed, "weight 1"));
    assert_eq!(failed.observed, "failing: the last connect failed 12s ago: Connection refused");
    assert!(
        failed.sentence.ends_with("as the file says, but the last connect to it failed 12s ago: Connection refused"),
        "{}",
        failed.sentence
    );
    let own = EndpointView {
        override_: over(EndpointOverride::Maintenance),
        ..view("10.0.0.1:1", EndpointState::Maintenance)
    };
    let own = explain(&own);
    assert_eq!((own.effective.as_str(), own.decided_by), ("weight 0", Layer::Override));
    assert!(own.sentence.contains("maintenance, set by ann"), "{}", own.sentence);
    let own = EndpointView { override_: over(EndpointOverride::Weight(3)), weight: 3, ..failing("10.0.0.1:1") };
    let own = explain(&own);
    assert_eq!(own.decided_by, Layer::Override);
    assert!(
        own.sentence.contains("weight 3, set by ann (test), but the last connect to it failed"),
        "{}",
        own.sentence
    );
    let whole = over(PoolOverride::Draining);
    let whole = endpoint("db", whole.as_ref(), &view("10.0.0.1:1", EndpointState::Draining), now);
    assert!(whole.sentence.contains("its pool is draining, set by ann"), "{}", whole.sentence);
}

fn whole(state: PoolState, endpoints: Vec<EndpointView>) -> PoolView {
    PoolView {
        name: "db".to_owned(),
        policy: Default::default(),
        override_: None,
        state,
        endpoints,
        figures: Default::default(),
        listeners: Vec::new(),
        limits: Vec::new(),
        refused: Vec::new(),
        panics: false,
    }
}

#[test]
fn a_pool_is_explained_by_its_endpoints() {
    let now = T0 + Duration::from_secs(12);
    let up = |address| view(address, EndpointState::Up);
    let plain = pool(&whole(PoolState::Up, vec![up("a"), up("b"), view("c", EndpointState::Removed)]), now);
    assert_eq!((plain.decided_by, plain.effective.as_str()), (Layer::Configured, "2 of 2 endpoints take connections"));
    assert!(plain.sentence.ends_with("; as the file says"), "{}", plain.sentence);

    let maintenance = |address| EndpointView {
        override_: over(EndpointOverride::Maintenance),
        ..view(address, EndpointState::Maintenance)
    };
    let down = pool(&whole(PoolState::Down, vec![maintenance("a"), maintenance("b")]), now);
    assert_eq!((down.decided_by, down.observed.as_str()), (Layer::Override, "down"));
    assert_eq!(
        down.sentence,
        "pool `db`: 0 of 2 endpoints take connections; `a` is under maintenance, set by ann (test); `b` is under \
         maintenance, set by ann (test)"
    );

    let dead = pool(&whole(PoolState::Failing, vec![failing("a"), view("b", EndpointState::Draining)]), now);
    assert_eq!((dead.decided_by, dead.observed.as_str()), (Layer::Observed, "failing"));
    assert_eq!(dead.effective, "1 of 2 endpoints takes connections, of which 0 can be reached");
    assert!(
        dead.sentence
            .ends_with("the last connect to `a` failed 12s ago: Connection refused; `b` has weight 0 in the file"),
        "{}",
        dead.sentence
    );

    let many = pool(&whole(PoolState::Failing, (0..30).map(|n| failing(&format!("e{n}"))).collect()), now);
    assert!(many.sentence.ends_with("; and 20 more like these"), "{}", many.sentence);

    let drained = PoolView { override_: over(PoolOverride::Draining), ..whole(PoolState::Draining, vec![up("a")]) };
    assert_eq!(pool(&drained, now).effective, "draining");
}

fn ill(address: &str, state: EndpointState, standing: Standing) -> EndpointView {
    let health = HealthView {
        standing,
        why: "3 http checks in a row failed".to_owned(),
        since: T0,
        healthy_at: None,
        check: Some("http"),
        last: Some(LastProbe {
            at: T0 + Duration::from_secs(10),
            took: Duration::ZERO,
            failure: Some("it answered status 503".to_owned()),
        }),
        ejections: 0,
        ejected_until: Some(T0 + Duration::from_secs(30)).filter(|_| standing == Standing::Ejected),
        spared: None,
        ejections_refused: 0,
    };
    EndpointView { health: Some(health), ..view(address, state) }
}

#[test]
fn what_is_observed_decides_unless_an_operator_has_spoken() {
    let now = T0 + Duration::from_secs(12);
    let unhealthy = ill("a:1", EndpointState::Unhealthy, Standing::Unhealthy);
    let plain = endpoint("db", None, &unhealthy, now);
    assert_eq!((plain.decided_by, plain.effective.as_str()), (Layer::Observed, "weight 0"));
    assert_eq!(
        plain.sentence,
        "endpoint `a:1` of pool `db` takes no new connections: it is unhealthy for 12s: 3 http checks in a row failed; \
         the last http check, 2s ago, failed: it answered status 503"
    );
    let panics = endpoint("db", None, &EndpointView { weight: 1, ..unhealthy.clone() }, now);
    assert_eq!((panics.decided_by, panics.effective.as_str()), (Layer::Observed, "weight 1"));
    assert!(panics.sentence.contains("although it is unhealthy for 12s"), "{}", panics.sentence);
    assert!(panics.sentence.contains("so few endpoints of its pool are healthy"), "{}", panics.sentence);
    let forced = EndpointView { weight: 3, override_: over(EndpointOverride::Weight(3)), ..unhealthy.clone() };
    let forced = endpoint("db", None, &forced, now);
    assert_eq!(forced.decided_by, Layer::Override);
    assert!(forced.sentence.contains("set by ann (test), although it is unhealthy for 12s"), "{}", forced.sentence);
    let ejected = endpoint("db", None, &ill("a:1", EndpointState::Ejected, Standing::Ejected), now);
    assert!(ejected.sentence.contains("it is ejected for another 18s: "), "{}", ejected.sentence);

    let whole = PoolView { panics: true, ..whole(PoolState::Up, vec![view("b:1", EndpointState::Up), unhealthy]) };
    let told = pool(&whole, now);
    assert_eq!(told.decided_by, Layer::Observed);
    assert!(told.sentence.contains("`a:1` is unhealthy for 12s"), "{}", told.sentence);
    assert!(told.sentence.contains("so few are healthy that all are used"), "{}", told.sentence);
}
