//! Any valid configuration, for property tests.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};

use crate::config::{
    Accelerate, Address, Admin, AdminSocket, Config, Drain, Endpoint, Keepalive, Listener, Log, LogFormat, LogLevel,
    LogTarget, Metrics, Pool, Process, Protocol, Proxy, ProxyTlv, ProxyVersions, Rebalance, Reload, SendProxy, Source,
    Tcp, Trusted, Untrusted, Upgrade, Workers,
};
use crate::limit::Network;

/// Any valid configuration. Names and addresses are made unique by number.
pub(super) fn config() -> impl Strategy<Value = Config> {
    let settings = (workers(), process(), admin(), metrics(), log(), duration(0, 7 * 86_400_000), reload());
    (settings, vec(pool(), 0..4), vec((listener(), any::<prop::sample::Index>()), 0..5)).prop_map(
        |((workers, process, admin, metrics, log, timeout, reload), mut pools, listeners)| {
            for (number, pool) in pools.iter_mut().enumerate() {
                pool.name = format!("{}.{number}", &pool.name[..pool.name.len().min(60)]);
                for (number, endpoint) in pool.endpoints.iter_mut().enumerate() {
                    renumber(&mut endpoint.address, 20_000 + number as u16);
                }
            }
            let listeners = listeners.into_iter().enumerate().map(|(number, (mut listener, index))| {
                listener.name = format!("{}.{number}", &listener.name[..listener.name.len().min(60)]);
                renumber(&mut listener.address, 10_000 + number as u16);
                if let Protocol::Tcp { pool } = &mut listener.protocol {
                    match pools.is_empty() {
                        true => (listener.protocol, listener.accelerate) = (Protocol::Echo, Accelerate::Auto),
                        false => *pool = pools[index.index(pools.len())].name.clone(),
                    }
                }
                Arc::new(listener)
            });
            Config {
                workers,
                process,
                admin,
                metrics,
                log,
                drain: Drain { timeout },
                upgrade: Upgrade { rollback_window: timeout / 2 },
                reload,
                listeners: listeners.collect(),
                pools: pools.into_iter().map(Arc::new).collect(),
            }
        },
    )
}

/// Two configurations that a reload can go between: of what the first has, the
/// second keeps some, changes some, lacks some, and has some of its own.
pub(crate) fn pair() -> impl Strategy<Value = (Config, Config)> {
    let fates = || vec(select(vec![Fate::Kept, Fate::Changed, Fate::Gone]), 6);
    // Whether the system takes the options of sockets is not a file's to say.
    let config = || {
        config().prop_map(|config| Config { pools: config.pools.into_iter().map(without_options).collect(), ..config })
    };
    (config(), config(), fates(), fates(), fates()).prop_map(|(old, other, listeners, pools, endpoints)| {
        let pools: Vec<Arc<Pool>> = mixed(&old.pools, &other.pools, &pools, |old, other| Pool {
            endpoints: mixed_endpoints(&old.endpoints, &other.endpoints, &endpoints),
            name: old.name.clone(),
            ..other.clone()
        });
        let known = |listener: &Listener| match listener.protocol.pool() {
            Some(name) => pools.iter().any(|pool| pool.name == name),
            None => true,
        };
        let mut listeners: Vec<Arc<Listener>> = mixed(&old.listeners, &other.listeners, &listeners, |old, other| {
            Listener { name: old.name.clone(), ..other.clone() }
        });
        listeners.retain(|listener| known(listener));
        let new = Config { log: other.log, drain: other.drain, reload: other.reload, listeners, pools, ..old.clone() };
        (old, new)
    })
}

fn without_options(pool: Arc<Pool>) -> Arc<Pool> {
    Arc::new(Pool { source: Source::Auto, tcp: Tcp::default(), ..(*pool).clone() })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Changed,
    Gone,
}

fn mixed<T>(old: &[Arc<T>], other: &[Arc<T>], fates: &[Fate], change: impl Fn(&T, &T) -> T) -> Vec<Arc<T>> {
    let places = 0..old.len().max(other.len());
    let place = |place: usize| match (old.get(place), other.get(place), fates[place % fates.len()]) {
        (Some(old), _, Fate::Kept) => Some(Arc::clone(old)),
        (Some(old), Some(other), Fate::Changed) => Some(Arc::new(change(old, other))),
        (_, other, _) => other.map(Arc::clone),
    };
    places.filter_map(place).collect()
}

fn mixed_endpoints(old: &[Endpoint], other: &[Endpoint], fates: &[Fate]) -> Vec<Endpoint> {
    let places = 0..old.len().max(other.len());
    let place = |place: usize| match (old.get(place), other.get(place), fates[place % fates.len()]) {
        (Some(old), _, Fate::Kept) => Some(old.clone()),
        (Some(old), Some(other), Fate::Changed) => Some(Endpoint { weight: other.weight, ..old.clone() }),
        (_, other, _) => other.cloned(),
    };
    let endpoints: Vec<Endpoint> = places.filter_map(place).collect();
    // A pool has at least one.
    if endpoints.is_empty() { other.to_vec() } else { endpoints }
}

fn renumber(address: &mut Address, number: u16) {
    match address {
        Address::Inet(address) => address.set_port(number),
        Address::Unix(path) => path.as_mut_os_string().push(number.to_string()),
    }
}

fn workers() -> impl Strategy<Value = Workers> {
    (option::of(1..=256_u16), any::<bool>(), 4096..=1_048_576_usize, select(Rebalance::ALL.to_vec()))
        .prop_map(|(count, pin, buffer_size, rebalance)| Workers { count, pin, buffer_size, rebalance })
}

fn process() -> impl Strategy<Value = Process> {
    let account = || option::of("[a-z_][a-z0-9_.$-]{0,20}|[0-9]{1,6}");
    (account(), account(), option::of(path()), 0..=0o777_u32, path(), any::<bool>()).prop_map(
        |(user, group, pid_file, umask, working_directory, core_dumps)| Process {
            user,
            group,
            pid_file,
            umask,
            working_directory,
            core_dumps,
        },
    )
}

fn admin() -> impl Strategy<Value = Admin> {
    let socket = prop_oneof![Just(AdminSocket::Default), Just(AdminSocket::Off), path().prop_map(AdminSocket::Path)];
    let loopback = prop_oneof![Just([127, 0, 0, 1].into()), Just(Ipv6Addr::LOCALHOST.into())];
    (socket, option::of("[a-z]{1,8}"), option::of(loopback)).prop_map(|(unix, group, ip)| Admin {
        unix,
        group,
        tcp: ip.map(|ip| SocketAddr::new(ip, 30_000)),
    })
}

fn metrics() -> impl Strategy<Value = Metrics> {
    option::of(any::<Ipv4Addr>()).prop_map(|ip| Metrics { listen: ip.map(|ip| SocketAddr::from((ip, 30_001))) })
}

fn log() -> impl Strategy<Value = Log> {
    let target = prop_oneof![
        select(vec![LogTarget::Auto, LogTarget::Stderr, LogTarget::Journal, LogTarget::Syslog]),
        path().prop_map(LogTarget::File)
    ];
    (target, select(LogLevel::ALL.to_vec()), select(vec![LogFormat::Text, LogFormat::Json]))
        .prop_map(|(target, level, format)| Log { target, level, format })
}

fn reload() -> impl Strategy<Value = Reload> {
    option::of(duration(1000, 7 * 86_400_000)).prop_map(|close_removed_after| Reload { close_removed_after })
}

fn listener() -> impl Strategy<Value = Listener> {
    let protocol = prop_oneof![
        Just(Protocol::Tcp { pool: String::new() }),
        Just(Protocol::Echo),
        Just(Protocol::Discard),
        "(?s).{0,40}|[$\\{}\"\\\\\n]{0,20}".prop_map(|text| Protocol::Respond { text: Arc::from(text.as_bytes()) }),
    ];
    let idle_timeout = option::of(duration(1, 365 * 86_400_000));
    let accelerate = select(vec![Accelerate::Auto, Accelerate::Splice, Accelerate::Off]);
    let real = (proxy(), tcp(false));
    (name(), address(), protocol, 1..=65_535_u32, any::<bool>(), idle_timeout, 0..=0o777_u32, accelerate, real)
        .prop_map(|(name, address, protocol, backlog, v6only, idle_timeout, mode, accelerate, (proxy, tcp))| {
            let relays = matches!(protocol, Protocol::Tcp { .. });
            let ipv6 = matches!(address, Address::Inet(address) if address.is_ipv6());
            let unix = matches!(address, Address::Unix(_));
            Listener {
                name,
                address,
                protocol,
                backlog,
                v6only: v6only || !ipv6,
                idle_timeout,
                mode: if unix { mode } else { 0o666 },
                accelerate: if relays { accelerate } else { Accelerate::Auto },
                proxy: if unix {
                    Proxy { trusted: Trusted::default(), untrusted: Untrusted::Refuse, ..proxy }
                } else {
                    proxy
                },
                tcp: if unix { Tcp::default() } else { tcp },
            }
        })
}

fn pool() -> impl Strategy<Value = Pool> {
    let endpoint = (address(), 0..=1000_u16).prop_map(|(address, weight)| Endpoint { address, weight });
    let real = (send_proxy(), source(), tcp(true));
    (name(), vec(endpoint, 1..6), duration(1, 3_600_000), 0..=16_u8, real).prop_map(
        |(name, endpoints, connect_timeout, retries, (send_proxy, source, tcp))| Pool {
            name,
            endpoints,
            connect_timeout,
            retries,
            send_proxy,
            source,
            tcp,
        },
    )
}

fn proxy() -> impl Strategy<Value = Proxy> {
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

fn tcp(pool: bool) -> impl Strategy<Value = Tcp> {
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

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._-]{1,64}"
}

fn path() -> impl Strategy<Value = PathBuf> {
    "/[ -~é日]{0,30}".prop_map(PathBuf::from)
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(|ip| Address::Inet(SocketAddr::from((ip, 1)))),
        any::<Ipv6Addr>()
            .prop_filter("mapped addresses are refused", |ip| ip.to_ipv4_mapped().is_none())
            .prop_map(|ip| Address::Inet(SocketAddr::from((ip, 1)))),
        path().prop_map(Address::Unix),
    ]
}

fn duration(from_millis: u64, to_millis: u64) -> impl Strategy<Value = Duration> {
    (from_millis..=to_millis).prop_map(Duration::from_millis)
}
