//! Clients that a PROXY header names.

use super::*;
use crate::config::{ListenerLimits, Proxy, ProxyVersions, Source};

const SHORT: Duration = Duration::from_millis(300);
const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.2 1234 443\r\n";

impl Netd {
    /// A listener that takes headers from this machine.
    fn behind_proxy(&mut self, protocol: Protocol, pool: Option<&PoolSpec>) -> Front {
        self.behind_proxy_with(protocol, pool, Duration::from_secs(60), ListenerLimits::default())
    }

    fn behind_proxy_with(
        &mut self,
        protocol: Protocol,
        pool: Option<&PoolSpec>,
        timeout: Duration,
        limits: ListenerLimits,
    ) -> Front {
        let mut spec = self.spec(protocol, pool.map(|pool| pool.id), None);
        let proxy = Proxy {
            accept: ProxyVersions::Any,
            trusted: ["127.0.0.0/8".parse().unwrap()].into_iter().collect(),
            timeout,
            ..Proxy::default()
        };
        spec.config = Arc::new(config::Listener { proxy, limits, ..(*spec.config).clone() });
        self.listen(spec)
    }
}

#[test]
fn a_client_whose_address_cannot_be_used_is_not_held_against_any_endpoint() {
    let mut netd = Netd::start();
    let mut pool = netd.pool(&[echoing("a"), echoing("b")].map(Address::Inet), Duration::from_secs(5), 3);
    pool.config = Arc::new(config::Pool { source: Source::Client, ..(*pool.config).clone() });
    netd.order_now(Command::SetPool(pool.clone()));
    let front = netd.behind_proxy(Protocol::tcp("pool"), Some(&pool));
    for _ in 0..4 {
        let mut client = front.connect();
        client.write_all(b"PROXY TCP6 2001:db8::1 ::1 1234 443\r\n").unwrap();
        expect_reset(&mut client);
    }
    front.wait_until_closed(CloseReason::SOURCE_UNUSABLE, 4);
    for endpoint in &pool.endpoints {
        let counters = &endpoint.counters;
        assert_eq!((counters.connect_failures.get(), counters.last_failure.get()), (0, 0));
        assert_eq!(counters.last_failure_at.get(), 0);
    }
    assert_eq!((pool.counters.retries.get(), pool.counters.no_endpoint.get()), (0, 0));
}

#[test]
fn the_time_of_the_first_byte_begins_behind_the_header() {
    let mut netd = Netd::start();
    let pool = netd.pool(&[Address::Inet(echoing(""))], Duration::from_secs(5), 0);
    for protocol in [Protocol::Echo, Protocol::tcp("pool")] {
        let limits = ListenerLimits { first_byte_timeout: Some(SHORT), ..ListenerLimits::default() };
        let pool = matches!(protocol, Protocol::Tcp { .. }).then_some(&pool);
        let front = netd.behind_proxy_with(protocol, pool, PATIENCE, limits);
        let mut talking = front.connect();
        talking.write_all(&[HEADER, b"x"].concat()).unwrap();
        expect(&mut talking, "x");
        let mut silent = front.connect();
        silent.write_all(HEADER).unwrap();
        let mut waiting = front.connect();
        assert_eq!(hear(&mut silent), "");
        front.wait_until_closed(CloseReason::FIRST_BYTE, 1);
        // Its time has not even begun.
        nap(2 * SHORT);
        waiting.write_all(HEADER).unwrap();
        waiting.write_all(b"y").unwrap();
        expect(&mut waiting, "y");
        talking.write_all(b"z").unwrap();
        expect(&mut talking, "z");
        assert_eq!(front.closed(CloseReason::FIRST_BYTE), 1);
    }
}

#[test]
fn while_a_header_is_awaited_only_its_own_time_counts() {
    let mut netd = Netd::start();
    let limits = ListenerLimits {
        first_byte_timeout: Some(Duration::from_millis(1)),
        max_lifetime: Some(Duration::from_millis(1)),
        ..ListenerLimits::default()
    };
    let front = netd.behind_proxy_with(Protocol::Echo, None, SHORT, limits);
    let mut client = front.connect();
    client.write_all(&HEADER[..9]).unwrap();
    assert_eq!(hear(&mut client), "");
    front.wait_until_closed(CloseReason::HEADER_TIMEOUT, 1);
}

#[test]
fn a_header_is_none_of_the_clients_bytes() {
    let mut netd = Netd::start();
    let front = netd.behind_proxy(Protocol::Echo, None);
    let mut client = front.connect();
    client.write_all(&HEADER[..20]).unwrap();
    nap(SHORT / 10);
    client.write_all(&[&HEADER[20..], b"four"].concat()).unwrap();
    expect(&mut client, "four");
    assert_eq!(netd.connections()[0].bytes_from_downstream, 4);
    assert_eq!(front.spec.counters.bytes_from_downstream.get(), HEADER.len() as u64 + 4);
}

#[test]
fn a_reset_while_a_header_is_awaited_is_told_as_such() {
    let mut netd = Netd::start();
    let front = netd.behind_proxy(Protocol::Echo, None);
    let mut client = front.connect();
    client.write_all(&HEADER[..9]).unwrap();
    until("it is known", || netd.connections().len() == 1);
    reset(client);
    front.wait_until_closed(CloseReason::DOWNSTREAM_RESET_IN_HEADER, 1);
}
