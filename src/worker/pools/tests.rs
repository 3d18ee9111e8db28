use super::*;
use crate::{
    balance::{Policy, Tables},
    config::{Address, Endpoint, Listener, Policy as Word, Pool, PoolShare, Protocol},
    metrics::EndpointShard,
    worker::{ProcessGate, line::PoolGate, load::Load},
};

const ID: PoolId = PoolId(1);

fn endpoint(number: u32, most: Option<u32>, load: &Arc<Load>) -> EndpointSpec {
    EndpointSpec {
        id: EndpointId(number),
        address: Address::Inet(SocketAddr::from(([10, 0, 0, 1], number as u16))),
        weight: 1,
        backup: false,
        max_connections: most,
        load: Arc::clone(load),
        counters: Arc::<EndpointShard>::default(),
    }
}

fn spec(policy: Policy, endpoints: Vec<EndpointSpec>) -> PoolSpec {
    let config = Pool {
        name: "pool".to_owned(),
        endpoints: Vec::<Endpoint>::new(),
        policy: Word::default(),
        slow_start: None,
        endpoint_max_connections: None,
        connect_timeout: std::time::Duration::from_secs(1),
        retries: 0,
        limits: Default::default(),
        send_proxy: Default::default(),
        source: Default::default(),
        tcp: Default::default(),
        health: Default::default(),
    };
    PoolSpec {
        id: ID,
        config: Arc::new(config),
        policy,
        tables: Tables::default(),
        endpoints,
        counters: Arc::default(),
        gate: PoolGate::new(&ProcessGate::new()),
    }
}

/// Two workers with the same endpoints.
fn workers(policy: Policy, limits: &[Option<u32>]) -> [Pools; 2] {
    let loads: Vec<_> = limits.iter().map(|_| Arc::new(Load::default())).collect();
    [0, 1].map(|offset| {
        let each = |(number, most): (usize, &Option<u32>)| endpoint(number as u32, *most, &loads[number]);
        let mut pools = Pools::new(offset);
        pools.set(spec(policy, limits.iter().enumerate().map(each).collect()));
        pools
    })
}

#[test]
fn the_least_is_exact_over_workers_with_held_places() {
    let mut workers = workers(Policy::LeastConnections, &[None; 5]);
    let mut held = Vec::new();
    let mut counts = [0; 5];
    for turn in 0..500 {
        // Uneven turns: one worker takes most of the connections.
        let (endpoint, place) = workers[usize::from(turn % 7 == 0)].pick(ID, &[], Client::default()).unwrap();
        counts[endpoint.id.0 as usize] += 1;
        held.push(place);
    }
    assert_eq!(counts, [100; 5]);
}

#[test]
fn limits_hold_over_workers_and_a_full_pool_says_so() {
    for policy in [Policy::RoundRobin, Policy::LeastConnections, Policy::TwoChoices, Policy::FirstAvailable] {
        let mut workers = workers(policy, &[Some(2), Some(3)]);
        let mut held: Vec<_> = (0..5)
            .map(|turn| workers[turn % 2].pick(ID, &[], Client::default()).map(|(_, place)| place).unwrap())
            .collect();
        let full = |pools: &mut Pools| pools.pick(ID, &[], Client::default()).map(|(endpoint, _)| endpoint.id);
        assert_eq!(full(&mut workers[0]), Err(Nobody::Full), "{policy:?}");
        assert_eq!(workers[1].foretell(ID, Client::default()), Err(Nobody::Full));
        held.pop();
        assert!(workers[0].pick(ID, &[], Client::default()).is_ok(), "{policy:?}: a place was given back");
        let all = [EndpointId(0), EndpointId(1)];
        assert_eq!(workers[0].pick(ID, &all, Client::default()).map(|_| ()), Err(Nobody::Taking), "all were tried");
    }
    assert_eq!(Pools::new(0).pick(ID, &[], Client::default()).map(|_| ()), Err(Nobody::Taking));
}

#[test]
fn what_is_foretold_is_picked() {
    let [mut worker, _] = workers(Policy::RoundRobin, &[None; 3]);
    for _ in 0..10 {
        let foretold = worker.foretell(ID, Client::default());
        assert_eq!(worker.foretell(ID, Client::default()), foretold, "it changes nothing");
        assert_eq!(worker.pick(ID, &[], Client::default()).map(|(endpoint, _)| endpoint.id), foretold);
    }
}

#[test]
fn endpoints_that_move_in_the_list_are_found() {
    let [mut worker, _] = workers(Policy::RoundRobin, &[None; 3]);
    let load = Arc::default();
    worker.set(spec(Policy::RoundRobin, vec![endpoint(2, None, &load), endpoint(0, None, &load)]));
    let mut picked: Vec<_> = (0..2).map(|_| worker.pick(ID, &[], Client::default()).unwrap().0.id.0).collect();
    picked.sort_unstable();
    assert_eq!(picked, [0, 2]);
}

#[test]
fn clients_are_known_by_what_the_listener_says() {
    let listener = |hash| Listener {
        name: "web".to_owned(),
        address: Address::Inet(SocketAddr::from(([0, 0, 0, 0], 80))),
        protocol: Protocol::Tcp { pools: vec![PoolShare { name: "pool".to_owned(), weight: 1 }], hash },
        backlog: 1,
        v6only: true,
        idle_timeout: None,
        mode: 0,
        accelerate: config::Accelerate::Off,
        limits: Default::default(),
        access_log: true,
        proxy: Default::default(),
        tcp: Default::default(),
    };
    let hash = |key, source: &str| hash_of(&listener(key), Some(source.parse().unwrap()));
    assert_eq!(hash(HashKey::Source, "10.0.0.1:1"), hash(HashKey::Source, "10.0.0.1:2"));
    assert_eq!(hash(HashKey::Source, "10.0.0.1:1"), hash(HashKey::Source, "[::ffff:10.0.0.1]:1"));
    assert_ne!(hash(HashKey::Source, "10.0.0.1:1"), hash(HashKey::Source, "10.0.0.2:1"));
    assert_ne!(hash(HashKey::SourcePort, "10.0.0.1:1"), hash(HashKey::SourcePort, "10.0.0.1:2"));
    assert_eq!(hash(HashKey::Listener, "10.0.0.1:1"), hash(HashKey::Listener, "[::1]:2"));
}

#[test]
fn who_connects_as_its_client_finds_no_endpoint_of_another_family() {
    let load = Arc::default();
    let six = EndpointSpec { address: Address::Inet("[2001:db8::9]:1".parse().unwrap()), ..endpoint(2, None, &load) };
    let unix = EndpointSpec { address: Address::Unix("/run/x".into()), ..endpoint(3, None, &load) };
    let picked = |source: Source, client: Option<&str>, endpoints: Vec<EndpointSpec>| {
        let mut pools = Pools::new(0);
        let mut spec = spec(Policy::RoundRobin, endpoints);
        spec.config = Arc::new(Pool { source, ..(*spec.config).clone() });
        pools.set(spec);
        let client = Client { hash: 0, source: client.map(|client| client.parse().unwrap()) };
        let foretold = pools.foretell(ID, client);
        let mut ids = Vec::new();
        loop {
            match pools.pick(ID, &ids, client).map(|(endpoint, _)| endpoint.id) {
                Ok(id) => ids.push(id),
                Err(nobody) => break (foretold.map(|id| ids.contains(&id)), ids.len(), nobody),
            }
        }
    };
    let four = || endpoint(1, None, &load);
    let all = || vec![four(), six.clone(), unix.clone()];
    let other = Some("[2001:db8::1]:7");
    assert_eq!(picked(Source::Auto, other, all()), (Ok(true), 3, Nobody::Taking));
    assert_eq!(picked(Source::Client, None, all()), (Ok(true), 3, Nobody::Taking));
    assert_eq!(picked(Source::Client, other, all()), (Ok(true), 2, Nobody::Suited));
    assert_eq!(picked(Source::Client, Some("192.0.2.1:7"), all()), (Ok(true), 2, Nobody::Suited));
    assert_eq!(picked(Source::Client, other, vec![four()]), (Err(Nobody::Suited), 0, Nobody::Suited));
    let full = EndpointSpec { max_connections: Some(0), ..six.clone() };
    assert_eq!(picked(Source::Client, other, vec![four(), full]), (Err(Nobody::Full), 0, Nobody::Full));
}
