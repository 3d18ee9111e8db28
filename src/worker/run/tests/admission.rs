//! Limits at the door, the line before a full pool, and times.

use super::*;
use crate::{
    config::{Budget, ConnectionRate, ListenerLimits, PoolLimits, Queue, Refusal, Refuse},
    limit::Refused,
    worker::{Arrival, Door, Parcel, Selection, Tally},
};

const SHORT: Duration = Duration::from_millis(200);

impl Netd {
    fn limited(&mut self, protocol: Protocol, pool: Option<&PoolSpec>, limits: ListenerLimits) -> Front {
        let mut spec = self.spec(protocol, pool.map(|pool| pool.id), None);
        spec.gate = ListenerGate::new(&limits, None);
        spec.config = Arc::new(config::Listener { limits, ..(*spec.config).clone() });
        self.listen(spec)
    }

    fn limited_pool(&mut self, addresses: &[SocketAddr], retries: u8, limits: PoolLimits) -> PoolSpec {
        let addresses: Vec<Address> = addresses.iter().copied().map(Address::Inet).collect();
        let mut spec = self.pool(&addresses, Duration::from_secs(5), retries);
        spec.config = Arc::new(config::Pool { limits, ..(*spec.config).clone() });
        self.order_now(Command::SetPool(spec.clone()));
        spec
    }
}

impl Front {
    fn refused(&self, cause: Refused) -> u64 {
        self.spec.counters.refused[cause.index()].get()
    }
}

fn relay_protocol() -> Protocol {
    Protocol::tcp("pool")
}

#[test]
fn who_is_one_too_many_gets_the_answer_that_is_configured() {
    let mut netd = Netd::start();
    let text: Arc<[u8]> = Arc::from(&b"busy\n"[..]);
    for (full, said) in [(Refusal::Reset, None), (Refusal::Close, Some("")), (Refusal::Text(text), Some("busy\n"))] {
        let refuse = Refuse { full, ..Refuse::default() };
        let limits = ListenerLimits { max_connections: Some(2), refuse, ..ListenerLimits::default() };
        let front = netd.limited(Protocol::Echo, None, limits);
        let mut held = [front.connect(), front.connect()];
        for client in &mut held {
            client.write_all(b"x").unwrap();
            expect(client, "x");
        }
        let mut third = front.connect();
        match said {
            None => expect_reset(&mut third),
            Some(said) => assert_eq!(hear(&mut third), said),
        }
        until("it is counted", || front.refused(Refused::Listener) == 1);
        assert_eq!(front.spec.counters.accepted.get(), 2, "a refused one is not accepted");
        drop(held);
        front.wait_until_closed(CloseReason::DONE, 2);
        let mut next = front.connect();
        next.write_all(b"y").unwrap();
        expect(&mut next, "y");
    }
}

#[test]
fn a_rate_lets_its_burst_in() {
    let mut netd = Netd::start();
    let rate = ConnectionRate::new(3, Duration::from_secs(3600), 3);
    let front = netd.limited(Protocol::Echo, None, ListenerLimits { rate, ..ListenerLimits::default() });
    let mut clients: Vec<TcpStream> = (0..3).map(|_| front.connect()).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        expect(client, "x");
    }
    expect_reset(&mut front.connect());
    until("it is counted", || front.refused(Refused::ListenerRate) == 1);
}

#[test]
fn a_full_pool_serves_in_order_and_refuses_who_finds_no_place_in_the_line() {
    let mut netd = Netd::start();
    let queue = Some(Queue { size: 2, timeout: PATIENCE });
    let limits = PoolLimits { max_connections: Some(1), queue, ..PoolLimits::default() };
    let pool = netd.limited_pool(&[echoing("served")], 0, limits);
    let front = netd.limited(relay_protocol(), Some(&pool), ListenerLimits::default());
    let mut first = front.connect();
    expect(&mut first, "served");
    let mut second = front.connect();
    until("the second waits", || pool.gate.waiting() == 1);
    let mut third = front.connect();
    until("the third waits", || pool.gate.waiting() == 2);
    expect_reset(&mut front.connect());
    front.wait_until_closed(CloseReason::POOL_FULL, 1);
    assert_eq!((pool.counters.queued.get(), pool.counters.full.get(), pool.gate.open()), (2, 1, 1));
    drop(first);
    expect(&mut second, "served");
    third.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(third.read(&mut [0]).is_err(), "it is not its turn");
    drop(second);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    expect(&mut third, "served");
    assert_eq!((pool.gate.open(), pool.gate.waiting()), (1, 0));
}

#[test]
fn who_finds_every_endpoint_full_waits_for_one_in_the_same_line() {
    let mut netd = Netd::start();
    let queue = Some(Queue { size: 2, timeout: PATIENCE });
    let mut pool = netd.limited_pool(&[echoing("served")], 0, PoolLimits { queue, ..PoolLimits::default() });
    pool.endpoints[0].max_connections = Some(1);
    netd.order_now(Command::SetPool(pool.clone()));
    let front = netd.limited(relay_protocol(), Some(&pool), ListenerLimits::default());
    let mut first = front.connect();
    expect(&mut first, "served");
    let mut second = front.connect();
    until("the second waits", || pool.gate.waiting() == 1);
    let mut third = front.connect();
    until("the third waits", || pool.gate.waiting() == 2);
    expect_reset(&mut front.connect());
    front.wait_until_closed(CloseReason::POOL_FULL, 1);
    assert_eq!((pool.counters.queued.get(), pool.counters.full.get(), pool.counters.no_endpoint.get()), (2, 1, 0));
    drop(first);
    expect(&mut second, "served");
    third.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    assert!(third.read(&mut [0]).is_err(), "it is not its turn, however often it looks");
    drop(second);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    expect(&mut third, "served");
    assert_eq!((pool.gate.waiting(), pool.endpoints[0].load.get()), (0, 1));
    assert_eq!(pool.counters.queued.get(), 2, "nobody stood in the line twice");
}

#[test]
fn who_waits_in_vain_is_told_and_who_leaves_makes_room() {
    let mut netd = Netd::start();
    let queue = Some(Queue { size: 5, timeout: SHORT });
    let limits = PoolLimits { max_connections: Some(1), queue, ..PoolLimits::default() };
    let pool = netd.limited_pool(&[echoing("served")], 0, limits);
    let full = Refusal::Text(Arc::from(&b"later\n"[..]));
    let refuse = Refuse { full, ..Refuse::default() };
    let front = netd.limited(relay_protocol(), Some(&pool), ListenerLimits { refuse, ..Default::default() });
    let mut first = front.connect();
    expect(&mut first, "served");
    assert_eq!(hear(&mut front.connect()), "later\n");
    front.wait_until_closed(CloseReason::QUEUE_TIMEOUT, 1);
    assert_eq!(pool.counters.queue_timeouts.get(), 1);
    let waiting = front.connect();
    until("it waits", || pool.gate.waiting() == 1);
    reset(waiting);
    until("it is gone", || pool.gate.waiting() == 0);
    first.write_all(b"still").unwrap();
    expect(&mut first, "still");
}

#[test]
fn a_connection_that_finds_no_endpoint_gives_its_place_back() {
    let mut netd = Netd::start();
    let limits = PoolLimits { max_connections: Some(1), ..PoolLimits::default() };
    let pool = netd.limited_pool(&[nobody()], 0, limits);
    let front = netd.limited(relay_protocol(), Some(&pool), ListenerLimits::default());
    for _ in 0..3 {
        expect_reset(&mut front.connect());
    }
    front.wait_until_closed(CloseReason::CONNECT_FAILED, 3);
    until("its place is free", || pool.gate.open() == 0);
}

#[test]
fn retries_stop_when_the_budget_is_used_up() {
    let mut netd = Netd::start();
    let retry_budget = Some(Budget { percent: 0, reserve: 2 });
    let limits = PoolLimits { retry_budget, ..PoolLimits::default() };
    let pool = netd.limited_pool(&[nobody(), nobody()], 1, limits);
    let front = netd.limited(relay_protocol(), Some(&pool), ListenerLimits::default());
    for _ in 0..5 {
        expect_reset(&mut front.connect());
    }
    front.wait_until_closed(CloseReason::CONNECT_FAILED, 5);
    assert_eq!((pool.counters.retries.get(), pool.counters.retries_denied.get()), (2, 3));
}

#[test]
fn times_end_connections_each_with_its_reason() {
    let mut netd = Netd::start();
    let none = ListenerLimits::default();
    let first_byte = ListenerLimits { first_byte_timeout: Some(SHORT), ..none.clone() };
    let front = netd.limited(Protocol::Echo, None, first_byte);
    let mut talks = front.connect();
    talks.write_all(b"x").unwrap();
    expect(&mut talks, "x");
    assert_eq!(hear(&mut front.connect()), "");
    front.wait_until_closed(CloseReason::FIRST_BYTE, 1);
    talks.write_all(b"y").unwrap();
    expect(&mut talks, "y");

    let lifetime = ListenerLimits { max_lifetime: Some(Duration::from_secs(1)), ..none.clone() };
    let pool = netd.limited_pool(&[echoing("")], 0, PoolLimits::default());
    let front = netd.limited(relay_protocol(), Some(&pool), lifetime);
    let mut client = front.connect();
    client.write_all(b"busy").unwrap();
    assert_eq!(hear(&mut client), "busy");
    front.wait_until_closed(CloseReason::LIFETIME, 1);

    let half_closed = ListenerLimits { half_closed_timeout: Some(SHORT), ..none };
    let silent = origin(|mut stream| {
        let _ = io::copy(&mut stream, &mut io::sink());
        nap(Duration::from_secs(5));
    });
    let pool = netd.limited_pool(&[silent], 0, PoolLimits::default());
    let front = netd.limited(relay_protocol(), Some(&pool), half_closed);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear(&mut client), "");
    front.wait_until_closed(CloseReason::HALF_CLOSED, 1);
}

#[test]
fn without_descriptors_a_shedding_netd_refuses_rather_than_waits() {
    let mut netd = Netd::with_fds(FdBudget::new(16, 8));
    netd.gates.set_limits(&config::Limits { overload: config::OverloadMode::Shed, ..Default::default() });
    let front = netd.serve(Protocol::Echo);
    let mut held: Vec<TcpStream> = (0..6).map(|_| front.connect()).collect();
    for client in &mut held {
        client.write_all(b"x").unwrap();
        expect(client, "x");
    }
    for _ in 0..3 {
        expect_reset(&mut front.connect());
    }
    until("they are counted", || front.refused(Refused::Overload) == 3);
    assert_eq!((front.spec.counters.paused.get(), front.spec.counters.accept_pauses.get()), (0, 0));
    held.truncate(5);
    until("one has gone", || netd.connections().len() == 5);
    let mut next = front.connect();
    next.write_all(b"y").unwrap();
    expect(&mut next, "y");
}

impl Netd {
    fn export(&self) -> Vec<Parcel> {
        let selection = Selection::Matching(Filter::default());
        self.ask(|reply| Command::Export { selection, limit: usize::MAX, reply })
    }

    /// Connections of `front` that left come back.
    fn import(&self, parcels: Vec<Parcel>, front: &Front) {
        let arrivals = parcels.into_iter().map(|parcel| Arrival {
            listener: front.spec.counters.clone(),
            door: Some(Door { gate: front.spec.gate.clone(), config: front.spec.config.clone() }),
            endpoint: parcel.endpoint.map(|_| Tally { counters: self.endpoints[0].clone(), load: Arc::default() }),
            parcel,
        });
        let arrivals = arrivals.collect();
        assert!(self.ask(|reply| Command::Import(arrivals, reply)).is_empty());
    }
}

#[test]
fn who_moves_keeps_its_places() {
    let mut netd = Netd::start();
    let queue = Some(Queue { size: 5, timeout: PATIENCE });
    let pool_limits = PoolLimits { max_connections: Some(1), queue, ..PoolLimits::default() };
    let pool = netd.limited_pool(&[echoing("served")], 0, pool_limits);
    let limits = ListenerLimits {
        max_connections: Some(2),
        max_connections_per_source: Some(2),
        max_lifetime: Some(Duration::from_secs(3600)),
        ..ListenerLimits::default()
    };
    let front = netd.limited(relay_protocol(), Some(&pool), limits);
    let mut first = front.connect();
    expect(&mut first, "served");
    let mut second = front.connect();
    until("the second waits", || pool.gate.waiting() == 1);
    let places = || (front.spec.gate.open(), front.spec.gate.sources(), pool.gate.open(), pool.gate.waiting());
    let before = places();
    assert_eq!(before, (2, (2, 1), 1, 1));
    let timers = netd.shard.timers.get();
    let parcels = netd.export();
    assert_eq!((parcels.len(), places(), netd.gates.open()), (2, before, 2));
    expect_reset(&mut front.connect());
    netd.import(parcels, &front);
    assert_eq!(places(), before);
    until("the lifetimes go on", || netd.shard.timers.get() == timers);
    expect_reset(&mut front.connect());
    assert_eq!(front.refused(Refused::Listener), 2);
    drop(first);
    expect(&mut second, "served");
    assert_eq!(pool.counters.full.get(), 0);
}

#[test]
fn a_client_that_has_spoken_is_not_asked_again_where_it_moves_to() {
    let mut netd = Netd::start();
    let limits = ListenerLimits { first_byte_timeout: Some(SHORT), ..ListenerLimits::default() };
    let front = netd.limited(Protocol::Echo, None, limits);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    expect(&mut client, "x");
    let parcels = netd.export();
    let since = parcels[0].since;
    until("the time of the first byte is up", || now() > since + SHORT);
    netd.import(parcels, &front);
    client.write_all(b"y").unwrap();
    expect(&mut client, "y");
    assert_eq!(front.closed(CloseReason::FIRST_BYTE), 0);
}

#[test]
fn who_comes_behind_a_proxy_is_admitted_by_the_address_that_the_header_names() {
    let mut netd = Netd::start();
    let network = |text: &str| text.parse().unwrap();
    let limits = ListenerLimits {
        max_connections_per_source: Some(1),
        deny: Some(config::AccessList::new(vec![network("203.0.113.9/32")], None)),
        ..ListenerLimits::default()
    };
    let mut spec = netd.spec(Protocol::Echo, None, None);
    spec.gate = ListenerGate::new(&limits, None);
    let proxy = config::Proxy {
        accept: config::ProxyVersions::V1,
        trusted: [network("127.0.0.0/8")].into_iter().collect(),
        ..config::Proxy::default()
    };
    spec.config = Arc::new(config::Listener { limits, proxy, ..(*spec.config).clone() });
    let front = netd.listen(spec);
    let named = |source: &str| {
        let mut client = front.connect();
        client.write_all(format!("PROXY TCP4 {source} 192.0.2.1 99 80\r\nx").as_bytes()).unwrap();
        client
    };
    let mut first = named("203.0.113.1");
    expect(&mut first, "x");
    // All come from one and the same proxy.
    let mut second = named("203.0.113.2");
    expect(&mut second, "x");
    expect_reset(&mut named("203.0.113.9"));
    expect_reset(&mut named("203.0.113.1"));
    front.wait_until_closed(CloseReason::HEADER_REFUSED, 2);
    assert_eq!((front.refused(Refused::Denied), front.refused(Refused::Source)), (1, 1));
    // It is counted under the client's address where it moves to, too.
    let parcels = netd.export();
    assert_eq!((parcels.len(), front.spec.gate.sources()), (2, (1, 2)));
    netd.import(parcels, &front);
    until("both are back", || front.spec.gate.sources() == (1, 2));
    expect_reset(&mut named("203.0.113.2"));
    drop(first);
    until("its place is free", || front.spec.gate.sources() == (1, 1));
    expect(&mut named("203.0.113.1"), "x");
}
