//! Configurations for this room's tests.

mod world;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub(super) use world::{FakeWorker, World, on_control_thread, quick};

use super::request::Provenance;
use crate::config::{
    AccessLog, Admin, AdminSocket, Config, Drain, Endpoint, Listener, Log, LogFormat, LogLevel, LogTarget, Metrics,
    Pool, PoolHealth, Process, Protocol, Rebalance, Reload, Workers,
};

/// Nothing but two workers.
pub(super) fn empty() -> Config {
    Config {
        workers: Workers { count: Some(2), pin: false, buffer_size: 65536, busy_poll: None, rebalance: Rebalance::Off },
        process: Process {
            user: None,
            group: None,
            pid_file: None,
            umask: 0,
            working_directory: PathBuf::from("/"),
            core_dumps: false,
        },
        admin: Admin { unix: AdminSocket::Off, group: None, tcp: None },
        metrics: Metrics { listen: None },
        log: Log { target: LogTarget::Auto, level: LogLevel::Info, format: LogFormat::Text },
        access_log: AccessLog::OFF,
        drain: Drain { timeout: Duration::from_secs(30), lame_duck: Duration::ZERO, gradual: None },
        upgrade: crate::config::Upgrade { rollback_window: Duration::from_secs(3600) },
        reload: Reload { close_removed_after: None },
        limits: Default::default(),
        listeners: Vec::new(),
        pools: Vec::new(),
    }
}

/// `web` relays to pool `db` (two endpoints); `echo` echoes.
pub(super) fn usual() -> Config {
    Config {
        listeners: vec![relay("web", "127.0.0.1:8080", "db"), echo("echo", "127.0.0.1:7")],
        pools: vec![pool("db", &[("10.0.0.1:5432", 1), ("10.0.0.2:5432", 2)])],
        ..empty()
    }
}

pub(super) fn relay(name: &str, address: &str, pool: &str) -> Arc<Listener> {
    listener(name, address, Protocol::tcp(pool))
}

pub(super) fn echo(name: &str, address: &str) -> Arc<Listener> {
    listener(name, address, Protocol::Echo)
}

pub(super) fn pool(name: &str, endpoints: &[(&str, u16)]) -> Arc<Pool> {
    let endpoints =
        endpoints.iter().map(|&(address, weight)| Endpoint::new(address.parse().unwrap(), weight)).collect();
    Arc::new(Pool {
        name: name.to_owned(),
        endpoints,
        policy: Default::default(),
        slow_start: None,
        endpoint_max_connections: None,
        connect_timeout: Duration::from_secs(5),
        retries: 2,
        health: PoolHealth::default(),
        limits: Default::default(),
        send_proxy: Default::default(),
        source: Default::default(),
        tcp: Default::default(),
    })
}

pub(super) fn by(who: &str) -> Provenance {
    Provenance { who: who.to_owned(), why: "test".to_owned() }
}

fn listener(name: &str, address: &str, protocol: Protocol) -> Arc<Listener> {
    Arc::new(Listener {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        protocol,
        backlog: 4096,
        v6only: true,
        idle_timeout: None,
        mode: 0o666,
        accelerate: Default::default(),
        limits: Default::default(),
        access_log: true,
        proxy: Default::default(),
        tcp: Default::default(),
    })
}
