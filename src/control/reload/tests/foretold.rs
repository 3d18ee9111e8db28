//! What a plan foretells is what happens, whatever the two configurations.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    config::{self, Config, arbitrary},
    control::request::{Change, ChangeKind, ConnectionQuery, ConnectionView},
};

/// Opens a connection on every listener, at each of the two workers.
fn open(world: &World, config: &Config) -> u64 {
    let mut id = 0;
    for (index, listener) in config.listeners.iter().enumerate() {
        for worker in &world.workers[..=index % 2] {
            id += 1;
            worker.accept(&listener.name, id);
        }
    }
    id
}

async fn connections(world: &World) -> Vec<ConnectionView> {
    let query = ConnectionQuery { page_size: 1000, ..ConnectionQuery::default() };
    world.ask(|reply| Request::Connections(query, reply)).await.unwrap().connections
}

fn counts(changes: &[Change], kind: ChangeKind) -> BTreeMap<String, (u64, u64, u64)> {
    let of_kind = changes.iter().filter(|change| change.kind == kind);
    of_kind.map(|each| (each.object.clone(), (each.untouched, each.drained, each.cut))).collect()
}

/// Whether what is seen of its health keeps connections away.
fn rests(state: EndpointState) -> bool {
    matches!(state, EndpointState::Unknown | EndpointState::Unhealthy | EndpointState::Ejected)
}

async fn resting(world: &World) -> BTreeSet<String> {
    let pools = world.ask(Request::Pools).await.unwrap();
    let endpoints = pools.iter().flat_map(|pool| pool.endpoints.iter().map(move |each| (pool, each)));
    let resting = endpoints.filter(|(_, each)| rests(each.state));
    resting.map(|(pool, each)| format!("endpoint/{}/{}", pool.name, each.address)).collect()
}

async fn check(old: Config, new: Config) {
    let old = Config { workers: config::Workers { count: Some(2), ..old.workers }, ..old };
    let new = Config { workers: old.workers.clone(), ..new };
    let world = World::serving(old.clone()).await;
    let opened = open(&world, &old);
    let before = connections(&world).await;
    assert_eq!(before.len() as u64, opened);
    world.told();
    let rested = resting(&world).await;
    world.set_source(Ok(new.clone()));

    let plan = world.ask(|reply| Request::Plan(Candidate::Source, reply)).await.unwrap();
    // Weights follow the first answers of health checks, whenever those come.
    let orders: Vec<String> = world.told().into_iter().filter(|order| !order.starts_with("set ")).collect();
    assert_eq!(orders, Vec::<String>::new(), "a plan changes nothing");
    assert_eq!(plan.obstacles, Vec::<String>::new());
    let outcome = world.ask(|reply| Request::Reload(request(), reply)).await.unwrap();
    assert_eq!(outcome.changes, plan.changes, "what was foretold is what the reload says");

    // And what it says is what was done. No connection is gone, nor has another endpoint.
    let after = connections(&world).await;
    let known = |list: &[ConnectionView]| -> Vec<String> {
        list.iter().map(|each| format!("{} {} {:?}", each.id, each.listener, each.upstream)).collect()
    };
    assert_eq!(known(&after), known(&before));
    let (removed, changed) = (counts(&plan.changes, ChangeKind::Removed), counts(&plan.changes, ChangeKind::Changed));
    let told = world.told();
    for view in world.ask(Request::Listeners).await.unwrap() {
        let (name, active) = (&view.config.name, view.figures.active);
        let object = format!("listener/{name}");
        match (removed.get(&object), changed.get(&object)) {
            (Some(counted), None) => {
                assert_eq!((view.state, *counted), (ListenerState::Removed, (0, active, 0)), "{object}");
            }
            (None, Some(counted)) => {
                assert_eq!((view.state, *counted), (ListenerState::Accepting, (active, 0, 0)), "{object}");
            }
            (None, None) => {
                let of_it = |order: &&String| order.split(' ').nth(1) == Some(name.as_str());
                let orders: Vec<&String> = told.iter().filter(of_it).collect();
                let is_new = !old.listeners.iter().any(|each| each.name == *name);
                let is_pool = old.pools.iter().chain(&new.pools).any(|pool| pool.name == *name);
                assert!(is_new || is_pool || orders.is_empty(), "{object} was touched: {orders:?}");
            }
            both => panic!("{object}: {both:?}"),
        }
    }
    for pool in world.ask(Request::Pools).await.unwrap() {
        for endpoint in &pool.endpoints {
            let object = format!("endpoint/{}/{}", pool.name, endpoint.address);
            let gone = endpoint.state == EndpointState::Removed;
            let Some((untouched, drained, cut)) = removed.get(&object).or_else(|| changed.get(&object)) else {
                assert!(!gone || removed.contains_key(&format!("pool/{}", pool.name)), "{object} is gone untold");
                continue;
            };
            assert_eq!((untouched + drained, *cut), (endpoint.figures.active, 0), "{object}");
            // What is seen of its health, whenever that is, is no change of the configuration.
            let rests = rests(endpoint.state) || rested.contains(&object);
            assert!(rests || (*untouched > 0) == (endpoint.figures.active > 0 && endpoint.weight > 0), "{object}");
        }
        let gone = removed.get(&format!("pool/{}", pool.name));
        assert_eq!(gone.is_some(), pool.state == PoolState::Removed, "pool/{}", pool.name);
        if let Some((untouched, drained, _)) = gone {
            assert_eq!((*untouched, *drained), (0, pool.figures.active), "pool/{}", pool.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_a_plan_foretells_is_what_happens((old, new) in arbitrary::pair()) {
        on_control_thread(check(old, new));
    }
}
