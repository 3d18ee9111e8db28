//! Any PROXY settings, sources and socket options, for property tests.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};

use crate::{
    config::{
        Address, Keepalive, Proxy, ProxyTlv, ProxyVersions, SendProxy, Source, Tcp, Untrusted, arbitrary::duration,
    },
    limit::Network,
};

/// What a pool says to its endpoints, and from where.
pub(super) fn pool() -> impl Strategy<Value = (SendProxy, Source, Tcp)> {
    (send_proxy(), source(), tcp(true))
}

/// Whether an endpoint can be connected to from there.
pub(super) fn reaches(source: Source, endpoint: &Address) -> bool {
    match (source, endpoint) {
        (Source::Address(from), Address::Inet(to)) => from.is_ipv4() == to.is_ipv4(),
        _ => true,
    }
}

pub(super) fn proxy() -> impl Strategy<Value = Proxy> {
    let accept = select(ProxyVersions::ALL.to_vec());
    let network = any::<(u32, u128, bool, u8)>().prop_filter_map("prefix", |(v4, v6, wide, prefix)| {
        let ip: IpAddr = if wide { Ipv6Addr::from_bits(v6).into() } else { Ipv4Addr::from_bits(v4).into() };
        Network::new(ip, if wide { prefix % 129 } else { prefix % 33 })
    });
    let untrusted = select(Untrusted::ALL.to_vec());
    (accept, vec(network, 1..5), untrusted, duration(1, 3_600_000)).prop_map(|(accept, trusted, untrusted, timeout)| {
        match accept {
            ProxyVersions::Off => Proxy::default(),
            _ => Proxy { accept, trusted: trusted.into_iter().collect(), untrusted, timeout },
        }
    })
}

pub(super) fn tcp(pool: bool) -> impl Strategy<Value = Tcp> {
    let seconds = |most: u64| option::of((1..=most).prop_map(Duration::from_secs));
    let keepalive = (seconds(32_767), seconds(32_767), option::of(1..=127_u32))
        .prop_map(|(idle, interval, count)| Keepalive { idle, interval, count });
    let timing = (option::of(keepalive), option::of(duration(1, 24 * 86_400_000)), seconds(3600));
    let size = || option::of(4096..=1_u32 << 30);
    let flags = (option::of(any::<bool>()), option::of(1..=65_535_u32), any::<bool>());
    let marks = (option::of(1..=u32::MAX), option::of(0..=63_u8));
    let word = || option::of("[!-.0-~]{1,15}");
    (timing, flags, size(), size(), marks, word(), word()).prop_map(
        move |(timing, flags, receive_buffer, send_buffer, (mark, dscp), interface, congestion)| {
            let ((keepalive, user_timeout, defer_accept), (nodelay, fast_open, mptcp)) = (timing, flags);
            Tcp {
                keepalive,
                user_timeout,
                nodelay,
                defer_accept: defer_accept.filter(|_| !pool),
                fast_open: if pool { fast_open.map(|_| 1) } else { fast_open },
                mptcp,
                receive_buffer,
                send_buffer,
                mark,
                interface,
                dscp,
                congestion,
            }
        },
    )
}

fn send_proxy() -> impl Strategy<Value = SendProxy> {
    let version = select(vec![ProxyVersions::Off, ProxyVersions::V1, ProxyVersions::V2]);
    (version, subsequence(ProxyTlv::ALL.to_vec(), 0..=5)).prop_map(|(version, tlvs)| SendProxy {
        version,
        tlvs: if version == ProxyVersions::V2 { tlvs } else { Vec::new() },
    })
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Auto),
        Just(Source::Client),
        (1..=u32::MAX).prop_map(|bits| Source::Address(Ipv4Addr::from_bits(bits).into())),
    ]
}
