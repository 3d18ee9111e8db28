//! Any valid configuration, for property tests.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::config::{
    Accelerate, AccessLog, AccessOnly, AccessTarget, Address, Admin, AdminSocket, CheckKind, Config, Drain, Endpoint,
    HashKey, HealthCheck, Initial, Listener, Log, LogFormat, LogLevel, LogTarget, Metrics, Outlier, Policy, Pool,
    PoolHealth, PoolLimits, PoolShare, Process, Protocol, Proxy, Rebalance, Reload, Sample, Source, Tcp, Trusted,
    Untrusted, Upgrade, Workers, arbitrary_limits, arbitrary_real,
};

/// Any valid configuration. Names and addresses are made unique by number.
pub(super) fn config() -> impl Strategy<Value = Config> {
    let settings = (
        workers(),
        process(),
        admin(),
        metrics(),
        (log(), access_log()),
        drain(),
        reload(),
        arbitrary_limits::limits(),
    );
    (settings.boxed(), vec(pool().boxed(), 0..4), vec((listener().boxed(), any::<prop::sample::Index>()), 0..5))
        .prop_map(
            |((workers, process, admin, metrics, (log, access_log), drain, reload, limits), mut pools, listeners)| {
                for (number, pool) in pools.iter_mut().enumerate() {
                    pool.name = format!("{}.{number}", &pool.name[..pool.name.len().min(60)]);
                    for (number, endpoint) in pool.endpoints.iter_mut().enumerate() {
                        renumber(&mut endpoint.address, 20_000 + number as u16);
                    }
                }
                let listeners = listeners.into_iter().enumerate().map(|(number, (mut listener, index))| {
                    listener.name = format!("{}.{number}", &listener.name[..listener.name.len().min(60)]);
                    renumber(&mut listener.address, 10_000 + number as u16);
                    let is_unix = matches!(listener.address, Address::Unix(_));
                    arbitrary_limits::meaningful(&mut listener.limits, is_unix && listener.proxy == Proxy::default());
                    if let Protocol::Tcp { pools: shares, .. } = &mut listener.protocol {
                        shares.truncate(pools.len());
                        for (number, share) in shares.iter_mut().enumerate() {
                            share.name = pools[(index.index(pools.len()) + number) % pools.len()].name.clone();
                        }
                        if shares.is_empty() {
                            (listener.protocol, listener.accelerate) = (Protocol::Echo, Accelerate::Auto);
                        }
                    }
                    make_hash_meaningful(&mut listener.protocol, &pools);
                    Arc::new(listener)
                });
                Config {
                    workers,
                    process,
                    admin,
                    metrics,
                    log,
                    access_log,
                    upgrade: Upgrade { rollback_window: drain.timeout / 2 },
                    drain,
                    reload,
                    limits,
                    listeners: listeners.collect(),
                    pools: pools.into_iter().map(Arc::new).collect(),
                }
            },
        )
}

/// Only some policies look at it.
fn make_hash_meaningful(protocol: &mut Protocol, pools: &[Pool]) {
    if let Protocol::Tcp { pools: shares, hash } = protocol {
        let looks = |pool: &Pool| pool.policy == Policy::Maglev && shares.iter().any(|share| share.name == pool.name);
        if !pools.iter().any(looks) {
            *hash = HashKey::default();
        }
    }
}

fn drain() -> impl Strategy<Value = Drain> {
    (duration(0, 7 * 86_400_000), duration(0, 3_600_000), option::of(duration(1000, 7 * 86_400_000)))
        .prop_map(|(timeout, lame_duck, gradual)| Drain { timeout, lame_duck, gradual })
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
        let is_known = |share: &PoolShare| pools.iter().any(|pool| pool.name == share.name);
        let known = |listener: &Listener| listener.protocol.pools().iter().all(is_known);
        let mut listeners: Vec<Arc<Listener>> = mixed(&old.listeners, &other.listeners, &listeners, |old, other| {
            Listener { name: old.name.clone(), ..other.clone() }
        });
        listeners.retain(|listener| known(listener));
        let new = Config {
            log: other.log,
            access_log: other.access_log,
            drain: other.drain,
            reload: other.reload,
            limits: other.limits,
            listeners,
            pools,
            ..old.clone()
        };
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
        (Some(old), Some(other), Fate::Changed) => Some(Endpoint { address: old.address.clone(), ..other.clone() }),
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
    let busy_poll = option::of((1..=1000_u64).prop_map(Duration::from_micros));
    (option::of(1..=256_u16), any::<bool>(), 4096..=1_048_576_usize, busy_poll, select(Rebalance::ALL.to_vec()))
        .prop_map(|(count, pin, buffer_size, busy_poll, rebalance)| Workers {
            count,
            pin,
            buffer_size,
            busy_poll,
            rebalance,
        })
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

fn access_log() -> impl Strategy<Value = AccessLog> {
    let target = prop_oneof![
        select(vec![AccessTarget::Off, AccessTarget::Stderr, AccessTarget::Journal]),
        path().prop_map(AccessTarget::File)
    ];
    let sample = (1..=1_000_000_u32).prop_filter_map("a share", Sample::from_millionths);
    (target, sample, select(AccessOnly::ALL.to_vec())).prop_map(|(target, sample, only)| AccessLog {
        target,
        sample,
        only,
    })
}

fn reload() -> impl Strategy<Value = Reload> {
    option::of(duration(1000, 7 * 86_400_000)).prop_map(|close_removed_after| Reload { close_removed_after })
}

fn listener() -> impl Strategy<Value = Listener> {
    let protocol = prop_oneof![
        (vec(1..=1000_u16, 1..4), 0..=1000_u16, select(HashKey::ALL.to_vec())).prop_map(|(weights, last, hash)| {
            let share = |weight| PoolShare { name: String::new(), weight };
            let pools = weights.into_iter().chain([last]).map(share).collect();
            Protocol::Tcp { pools, hash }
        }),
        Just(Protocol::Echo),
        Just(Protocol::Discard),
        "(?s).{0,40}|[$\\{}\"\\\\\n]{0,20}".prop_map(|text| Protocol::Respond { text: Arc::from(text.as_bytes()) }),
    ];
    let idle_timeout = option::of(duration(1, 365 * 86_400_000));
    let accelerate = select(vec![Accelerate::Auto, Accelerate::Splice, Accelerate::Off]);
    let flags = (any::<bool>(), any::<bool>());
    (
        name(),
        address(),
        protocol,
        1..=65_535_u32,
        flags,
        idle_timeout,
        0..=0o777_u32,
        accelerate,
        (arbitrary_limits::listener().boxed(), arbitrary_real::proxy().boxed(), arbitrary_real::tcp(false).boxed()),
    )
        .prop_map(
            |(
                name,
                address,
                protocol,
                backlog,
                (v6only, access_log),
                idle_timeout,
                mode,
                accelerate,
                (limits, proxy, tcp),
            )| {
                let relays = matches!(protocol, Protocol::Tcp { .. });
                let ipv6 = matches!(address, Address::Inet(address) if address.is_ipv6());
                let unix = matches!(address, Address::Unix(_));
                let talks_first = matches!(protocol, Protocol::Respond { .. });
                let tcp = Tcp { defer_accept: tcp.defer_accept.filter(|_| !talks_first), ..tcp };
                Listener {
                    name,
                    address,
                    protocol,
                    backlog,
                    v6only: v6only || !ipv6,
                    idle_timeout,
                    mode: if unix { mode } else { 0o666 },
                    accelerate: if relays { accelerate } else { Accelerate::Auto },
                    limits,
                    access_log,
                    proxy: if unix {
                        Proxy { trusted: Trusted::default(), untrusted: Untrusted::Refuse, ..proxy }
                    } else {
                        proxy
                    },
                    tcp: if unix { Tcp::default() } else { tcp },
                }
            },
        )
}

fn pool() -> impl Strategy<Value = Pool> {
    let most = || option::of(1..=1_000_000_u32);
    let endpoint = (address(), 0..=1000_u16, any::<bool>(), most())
        .prop_map(|(address, weight, backup, max_connections)| Endpoint { address, weight, backup, max_connections });
    let balancing = (select(Policy::ALL.to_vec()), option::of(duration(1000, 3_600_000)), most());
    (
        name(),
        vec(endpoint, 1..6),
        balancing,
        duration(1, 3_600_000),
        0..=16_u8,
        health(),
        (arbitrary_limits::pool(), arbitrary_real::pool().boxed()),
    )
        .prop_map(
            |(
                name,
                endpoints,
                (policy, slow_start, endpoint_max_connections),
                connect_timeout,
                retries,
                health,
                (limits, (send_proxy, source, tcp)),
            )| Pool {
                source: if endpoints.iter().all(|each| arbitrary_real::reaches(source, &each.address)) {
                    source
                } else {
                    Source::Auto
                },
                limits: PoolLimits {
                    queue: limits.queue.filter(|_| {
                        limits.max_connections.is_some()
                            || endpoint_max_connections.is_some()
                            || endpoints.iter().any(|each| each.max_connections.is_some())
                    }),
                    retry_budget: limits.retry_budget.filter(|_| retries > 0),
                    ..limits
                },
                name,
                endpoints,
                policy,
                slow_start: slow_start.filter(|_| policy.can_start_slowly()),
                endpoint_max_connections,
                connect_timeout,
                retries,
                health,
                send_proxy,
                tcp,
            },
        )
}

fn health() -> impl Strategy<Value = PoolHealth> {
    let outlier = (1..=1000_u16, duration(1000, 3_600_000), 0..=82_800_000_u64, 0..=100_u8).prop_map(
        |(consecutive, base, more, max_share)| Outlier {
            consecutive,
            base,
            max: base + Duration::from_millis(more),
            max_share,
        },
    );
    (option::of(check().prop_map(Arc::new)), option::of(outlier), 0..=100_u8)
        .prop_map(|(check, outlier, panic_threshold)| PoolHealth { check, outlier, panic_threshold })
}

fn check() -> impl Strategy<Value = HealthCheck> {
    let text = |pattern: &'static str| pattern.prop_map(|text| Arc::<str>::from(text.as_str()));
    let kind = prop_oneof![
        (text("(?s).{0,20}"), text("(?s).{0,20}")).prop_map(|(send, expect)| CheckKind::Tcp { send, expect }),
        (text("/[!-~]{0,20}"), text("[!-~]{0,20}"), select(vec!["200", "200-299,404", "100-599"]))
            .prop_map(|(path, host, status)| CheckKind::Http { path, host, status: status.parse().expect("statuses") }),
        text("[!-~]{0,20}").prop_map(|service| CheckKind::Grpc { service }),
        Just(CheckKind::Redis),
        (text("[a-z$\"]{1,20}"), text("[a-zé ]{1,20}"))
            .prop_map(|(user, database)| CheckKind::Postgres { user, database }),
    ];
    let times = (duration(100, 60_000), 0..3_000_000_u64, duration(1, 60_000));
    let counts = (1..=100_u8, 1..=100_u8, 0..=50_u8, any::<bool>());
    (kind, times, counts).prop_map(|(kind, (fast_interval, more, timeout), (rise, fall, jitter, used))| HealthCheck {
        kind,
        interval: fast_interval + Duration::from_millis(more),
        fast_interval,
        timeout,
        rise,
        fall,
        jitter,
        initial: if used { Initial::Used } else { Initial::Unused },
    })
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._-]{1,64}"
}

pub(super) fn path() -> impl Strategy<Value = PathBuf> {
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

pub(super) fn duration(from_millis: u64, to_millis: u64) -> impl Strategy<Value = Duration> {
    (from_millis..=to_millis).prop_map(Duration::from_millis)
}
