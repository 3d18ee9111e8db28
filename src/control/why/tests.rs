use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    config::Config,
    control::{
        request::{EndpointOverride, Target},
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
    assert_eq!(explain(&state, "paused").decided_by, Layer::Observed);
    state.drain(&Target::Daemon, &by("bob"), T0).unwrap();
    let drained = explain(&state, "stopped");
    assert_eq!(drained.decided_by, Layer::Override);
    assert!(drained.sentence.contains("the whole daemon is drained, set by bob (test)"), "{}", drained.sentence);
    state.stop("web", Some(Duration::from_secs(1)), &by("ann"), T0).unwrap();
    let stopped = explain(&state, "stopped");
    assert!(stopped.sentence.ends_with("it is stopped, set by ann (test), until it expires"), "{}", stopped.sentence);
    assert_eq!(stopped.override_.map(|each| each.value), Some("stopped".to_owned()));
}

#[test]
fn each_layer_can_decide_about_an_endpoint() {
    let mut state = state();
    let address = "10.0.0.1:5432";
    let explain = |state: &State, observed| endpoint(state, "db", state.endpoint("db", address).unwrap(), observed);
    assert_eq!(explain(&state, "up").decided_by, Layer::Configured);
    assert_eq!(explain(&state, "failing").decided_by, Layer::Observed);
    state.set_endpoint("db", address, Some(EndpointOverride::Maintenance), None, &by("ann"), T0).unwrap();
    let own = explain(&state, "maintenance");
    assert_eq!((own.effective.as_str(), own.decided_by), ("weight 0", Layer::Override));
    assert!(own.sentence.contains("maintenance, set by ann"), "{}", own.sentence);
    let whole = pool(&state, state.pool("db").unwrap(), "up");
    assert_eq!((whole.decided_by, whole.effective.as_str()), (Layer::Override, "1 of 2 endpoints take connections"));
    state.drain(&Target::Pool("db".to_owned()), &by("bob"), T0).unwrap();
    let whole = explain(&state, "draining");
    assert!(whole.sentence.contains("its pool is draining, set by bob"), "{}", whole.sentence);
    assert_eq!(pool(&state, state.pool("db").unwrap(), "down").effective, "draining");
}
