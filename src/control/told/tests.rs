use std::time::SystemTime;

use super::*;
use crate::{
    config::Config,
    control::{
        request::{EndpointOverride, Target},
        testing::{by, echo, empty, pool, usual},
    },
};

const T0: SystemTime = SystemTime::UNIX_EPOCH;

fn state(config: Config) -> State {
    State::new(Arc::new(config), T0)
}

/// As the fleet does, without workers.
fn tell(told: &mut Told, state: &State) {
    let delta = told.delta(state);
    for config in &delta.pools {
        told.pool(config, state, 2);
    }
    for config in delta.start.iter().chain(&delta.rebind) {
        let id = ListenerId(told.fresh());
        let listener = told.listener(config, 2);
        listener.retire_id();
        listener.id = Some(id);
    }
    for config in delta.update.iter().chain(&delta.note).chain(&delta.stop) {
        told.listener(config, 2);
    }
    for config in &delta.stop {
        told.listener(config, 2).retire_id();
    }
    for name in &delta.removed {
        if let Some(mut listener) = told.listeners.remove(name) {
            listener.retire_id();
            told.retired_listeners.insert(name.clone(), listener);
        }
    }
    for name in &delta.pools_removed {
        told.remove_pool(name);
    }
}

#[test]
fn what_was_told_does_not_differ() {
    let (mut told, state) = (Told::default(), state(usual()));
    let first = told.delta(&state);
    assert_eq!((first.start.len(), first.pools.len()), (2, 1));
    tell(&mut told, &state);
    assert_eq!(told.delta(&state), Delta::default());
}

#[test]
fn each_kind_of_change_has_its_own_way() {
    let mut told = Told::default();
    tell(&mut told, &state(usual()));
    let mut config = usual();
    config.listeners[0] = Arc::new(Listener { mode: 0o600, ..(*config.listeners[0]).clone() });
    config.listeners[1] =
        Arc::new(Listener { idle_timeout: Some(Default::default()), ..(*config.listeners[1]).clone() });
    config.listeners.push(echo("more", "127.0.0.1:9"));
    let delta = told.delta(&state(config.clone()));
    let names = |list: &[Arc<Listener>]| list.iter().map(|each| each.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&delta.rebind), ["web"]);
    assert_eq!(names(&delta.update), ["echo"]);
    assert_eq!(names(&delta.start), ["more"]);
    assert!(delta.pools.is_empty());

    let mut drained = state(config);
    drained.drain(&Target::Daemon, &by("ann"), T0).unwrap();
    let delta = told.delta(&drained);
    assert_eq!(names(&delta.stop), ["web", "echo"]);
    assert_eq!(names(&delta.note), ["more"]);

    let delta = told.delta(&state(empty()));
    assert_eq!(delta.removed, ["echo", "web"]);
    assert_eq!(delta.pools_removed, ["db"]);
}

#[test]
fn an_override_of_a_weight_is_told() {
    let (mut told, mut state) = (Told::default(), state(usual()));
    tell(&mut told, &state);
    state.set_endpoint("db", "10.0.0.1:5432", Some(EndpointOverride::Maintenance), None, &by("ann"), T0).unwrap();
    assert_eq!(told.delta(&state).pools.len(), 1);
    tell(&mut told, &state);
    assert_eq!(told.pools["db"].endpoints[0].weight, 0);
    assert_eq!(told.delta(&state), Delta::default());
}

#[test]
fn what_comes_back_keeps_its_counters_and_what_is_idle_is_forgotten() {
    let mut told = Told::default();
    tell(&mut told, &state(usual()));
    let (listener, endpoint) = (told.listeners["web"].shards.clone(), told.pools["db"].endpoints[0].clone());
    listener[1].active.set(1);
    listener[1].accepted.set(5);
    endpoint.shards[0].active.set(1);
    tell(&mut told, &state(empty()));
    told.prune();
    assert_eq!(told.retired_listeners.keys().collect::<Vec<_>>(), ["web"], "echo had no connection");
    assert_eq!(told.retired_endpoints.len(), 1);

    tell(&mut told, &state(usual()));
    assert!(Arc::ptr_eq(&told.listeners["web"].shards[1], &listener[1]));
    assert_eq!(told.pools["db"].endpoints[0].id, endpoint.id);
    assert!(told.retired_listeners.is_empty() && told.retired_endpoints.is_empty());
    assert_eq!(told.listeners["web"].ids().count(), 2);

    tell(&mut told, &state(empty()));
    listener[1].active.set(0);
    endpoint.shards[0].active.set(0);
    told.prune();
    assert!(told.retired_listeners.is_empty() && told.retired_endpoints.is_empty());
    assert_eq!(told.departed.total, 5);
}

#[test]
fn a_removed_endpoint_of_a_pool_that_stays_is_retired() {
    let mut told = Told::default();
    tell(&mut told, &state(usual()));
    told.pools["db"].endpoints[0].shards[0].active.set(1);
    let mut config = usual();
    config.pools = vec![pool("db", &[("10.0.0.2:5432", 2), ("10.0.0.3:5432", 1)])];
    tell(&mut told, &state(config));
    assert_eq!(told.pools["db"].endpoints.len(), 2);
    assert_eq!(told.endpoints(Some("db")).count(), 3);
}

#[test]
fn past_ids_are_bounded() {
    let mut told = Told::default();
    tell(&mut told, &state(usual()));
    let listener = told.listeners.get_mut("web").unwrap();
    for n in 0..3000 {
        listener.id = Some(ListenerId(n));
        listener.retire_id();
    }
    assert_eq!(listener.past.len(), PAST);
    assert_eq!(listener.past.last(), Some(&ListenerId(2999)));
}

/// `db` starts its endpoints slowly.
fn slow(endpoints: &[(&str, u16)]) -> Config {
    let mut db = (*pool("db", endpoints)).clone();
    db.slow_start = Some(std::time::Duration::from_secs(10));
    Config { pools: vec![Arc::new(db)], ..empty() }
}

fn weights(told: &Told) -> Vec<u32> {
    told.pools["db"].weights().collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
fn an_endpoint_that_is_added_or_comes_back_starts_slowly() {
    let (mut told, now) = (Told::default(), Instant::now());
    let second = std::time::Duration::from_secs(1);
    tell(&mut told, &state(slow(&[("10.0.0.1:1", 1)])));
    assert_eq!(weights(&told), [1], "a pool that is new begins whole");
    tell(&mut told, &state(slow(&[("10.0.0.1:1", 1), ("10.0.0.2:1", 4)])));
    assert_eq!(weights(&told), [100, 20]);
    assert_eq!(told.go_on(now), Vec::<String>::new(), "it has the first step already");
    assert_eq!(told.go_on(now + 5 * second), ["db"]);
    assert_eq!(weights(&told), [100, 200]);
    // Another change of the pool does not begin it anew.
    tell(&mut told, &state(slow(&[("10.0.0.1:1", 3), ("10.0.0.2:1", 4)])));
    assert_eq!(weights(&told), [300, 200]);
    assert_eq!(told.go_on(now + 10 * second), ["db"]);
    assert_eq!(weights(&told), [3, 4]);
    assert_eq!(told.go_on(now + 11 * second), Vec::<String>::new());
    tell(&mut told, &state(slow(&[("10.0.0.1:1", 0), ("10.0.0.2:1", 4)])));
    assert_eq!(weights(&told), [0, 4]);
    tell(&mut told, &state(slow(&[("10.0.0.1:1", 3), ("10.0.0.2:1", 4)])));
    assert_eq!(weights(&told), [15, 400], "it comes back");
}

#[test]
fn an_endpoint_keeps_its_load_and_is_found_by_its_address() {
    let mut told = Told::default();
    tell(&mut told, &state(usual()));
    let first = told.pools["db"].endpoints[0].clone();
    assert!(told.find("db", &first.address).is_some_and(|found| found.id == first.id));
    assert!(told.find("web", &first.address).is_none());
    let mut config = usual();
    config.pools = vec![pool("db", &[("10.0.0.2:5432", 2)])];
    tell(&mut told, &state(config));
    assert!(told.find("db", &first.address).is_some_and(|found| found.id == first.id), "it is retired");
    tell(&mut told, &state(usual()));
    let again = told.find("db", &first.address).unwrap();
    assert!(again.id == first.id && Arc::ptr_eq(&again.load, &first.load));
}
