//! Clients that a PROXY header names.

use super::*;
use crate::config::{Proxy, ProxyVersions, Source};

impl Netd {
    /// A listener that takes headers from this machine.
    fn behind_proxy(&mut self, protocol: Protocol, pool: Option<&PoolSpec>) -> Front {
        let mut spec = self.spec(protocol, pool.map(|pool| pool.id), None);
        let proxy = Proxy {
            accept: ProxyVersions::Any,
            trusted: ["127.0.0.0/8".parse().unwrap()].into_iter().collect(),
            ..Proxy::default()
        };
        spec.config = Arc::new(config::Listener { proxy, ..(*spec.config).clone() });
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
