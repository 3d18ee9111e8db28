//! What holds when nothing is written.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

use crate::config::{
    Accelerate, AccessLog, Address, Admin, AdminSocket, Config, Drain, Endpoint, Limits, Listener, Log, LogFormat,
    LogLevel, LogTarget, Metrics, Policy, Pool, PoolHealth, Process, Protocol, Proxy, Rebalance, Reload, SendProxy,
    Source, Tcp, Upgrade, Workers,
};

/// What a `respond` listener sends unless told otherwise.
pub const DEFAULT_TEXT: &str = "Hello from daemon\n";

pub(super) const MAX_LISTENERS: usize = 1024;
pub(super) const MAX_POOLS: usize = 2048;
pub(super) const MAX_ENDPOINTS: usize = 10_000;
/// Pools of one listener.
pub(super) const MAX_SHARES: usize = 64;
pub(super) const MAX_TEXT: usize = 64 * 1024;

pub(super) const BUFFER_SIZE_RANGE: RangeInclusive<u64> = 4096..=1_048_576;
pub(super) const BACKLOG_RANGE: RangeInclusive<u64> = 1..=65_535;
pub(super) const RETRIES_RANGE: RangeInclusive<u64> = 0..=16;
pub(super) const WEIGHT_RANGE: RangeInclusive<u64> = 0..=1000;
pub(super) const IDLE_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(365 * 86_400);
pub(super) const CONNECT_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
pub(super) const MAX_CONNECTIONS_RANGE: RangeInclusive<u64> = 1..=1_000_000;
pub(super) const SLOW_START_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
pub(super) const LAME_DUCK_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
pub(super) const BUSY_POLL_RANGE: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_millis(1);
pub(super) const GRADUAL_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
pub(super) const DRAIN_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 86_400);
pub(super) const CLOSE_REMOVED_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);

pub(super) const BACKLOG: u32 = 4096;
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
pub(super) const SOCKET_MODE: u32 = 0o666;
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const RETRIES: u8 = 2;
pub(super) const WEIGHT: u16 = 1;

impl Config {
    /// What netd serves with no file and no flags: a listener `web` on
    /// 127.0.0.1:8080 that balances over two built-in `respond` listeners,
    /// 127.0.0.1:8081 and 127.0.0.1:8082.
    pub fn embedded_default() -> Self {
        let hello = [loopback(8081), loopback(8082)];
        Self {
            listeners: vec![
                Arc::new(listener("web", loopback(8080), Protocol::tcp("hello"))),
                Arc::new(listener("hello-1", hello[0].clone(), respond())),
                Arc::new(listener("hello-2", hello[1].clone(), respond())),
            ],
            pools: vec![Arc::new(pool("hello", hello))],
            ..bare()
        }
    }

    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.name == name)
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| pool.name == name)
    }
}

/// Every setting at its default, nothing to serve: what an empty file means.
pub(super) fn bare() -> Config {
    Config {
        workers: Workers {
            count: None,
            pin: false,
            buffer_size: 64 * 1024,
            busy_poll: None,
            rebalance: Rebalance::Off,
        },
        process: Process {
            user: None,
            group: None,
            pid_file: None,
            umask: 0,
            working_directory: PathBuf::from("/"),
            core_dumps: false,
        },
        admin: Admin { unix: AdminSocket::Default, group: None, tcp: None },
        metrics: Metrics { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))) },
        log: Log { target: LogTarget::Auto, level: LogLevel::Info, format: LogFormat::Text },
        access_log: AccessLog::OFF,
        drain: Drain { timeout: Duration::from_secs(30), lame_duck: Duration::ZERO, gradual: None },
        upgrade: Upgrade { rollback_window: Duration::from_secs(3600) },
        reload: Reload { close_removed_after: None },
        limits: Limits::default(),
        listeners: Vec::new(),
        pools: Vec::new(),
    }
}

/// A listener with every other setting at its default.
pub(super) fn listener(name: &str, address: Address, protocol: Protocol) -> Listener {
    Listener {
        name: name.to_owned(),
        address,
        protocol,
        backlog: BACKLOG,
        v6only: true,
        idle_timeout: Some(IDLE_TIMEOUT),
        mode: SOCKET_MODE,
        accelerate: Accelerate::default(),
        limits: Default::default(),
        access_log: true,
        proxy: Proxy::default(),
        tcp: Tcp::default(),
    }
}

/// A pool with every other setting at its default.
pub(super) fn pool(name: &str, addresses: impl IntoIterator<Item = Address>) -> Pool {
    Pool {
        name: name.to_owned(),
        endpoints: addresses.into_iter().map(|address| Endpoint::new(address, WEIGHT)).collect(),
        policy: Policy::default(),
        slow_start: None,
        endpoint_max_connections: None,
        connect_timeout: CONNECT_TIMEOUT,
        retries: RETRIES,
        limits: Default::default(),
        health: PoolHealth::default(),
        send_proxy: SendProxy::default(),
        source: Source::Auto,
        tcp: Tcp::default(),
    }
}

/// The protocol `respond` with its default text.
pub(super) fn respond() -> Protocol {
    Protocol::Respond { text: Arc::from(DEFAULT_TEXT.as_bytes()) }
}

fn loopback(port: u16) -> Address {
    Address::Inet(SocketAddr::from(([127, 0, 0, 1], port)))
}
