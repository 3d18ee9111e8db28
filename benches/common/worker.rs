//! One worker of netd in this process, which relays to one origin.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use netd::{
    balance::{Policy, Tables},
    config::{self, Accelerate, Address, Protocol},
    listen::{self, BindAddress, BindOptions},
    metrics::{EndpointShard, ListenerShard, PoolShard},
    protocol::CloseReason,
    worker::{
        AccessLog, Command, EndpointId, EndpointSpec, FdBudget, Handle, ListenerGate, ListenerId, ListenerSpec,
        PoolGate, PoolId, PoolSpec, ProcessGate, Settings, Share,
    },
};

const POOL: PoolId = PoolId(1);
/// File descriptors that it may use.
const FDS: u64 = 20_000;

/// A worker's thread. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) worker: Handle,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Relay {
    /// Starts one that relays to `origin`.
    pub(crate) fn start(origin: SocketAddr) -> io::Result<Self> {
        let fds = FdBudget::new(FDS, 0);
        let settings = Settings {
            index: 0,
            buffer_size: 64 << 10,
            busy_poll: None,
            cpu: None,
            epoch: now(),
            first_sequence: 1,
            fds,
            gates: ProcessGate::new(),
            access: AccessLog::default(),
        };
        let worker = Handle::spawn(settings)?;
        let mut bound = listen::bind(
            &BindOptions {
                address: BindAddress::Inet((Ipv4Addr::LOCALHOST, 0).into()),
                backlog: 4096,
                v6only: true,
                mode: 0o666,
                owner: None,
                rebind: false,
                tcp: Default::default(),
            },
            1,
        )
        .map_err(io::Error::other)?;
        let address = bound.local.parse().map_err(io::Error::other)?;
        let relay = Self { worker, address };
        relay.order(Command::SetPool(pool(origin)));
        relay.order(Command::AddListener(listener(address), bound.sockets.remove(0)));
        Ok(relay)
    }

    fn order(&self, command: Command) {
        self.worker.send(command).expect("the worker takes orders");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A worker that has ended needs no order to.
        let _ = self.worker.send(Command::Stop);
    }
}

fn pool(origin: SocketAddr) -> PoolSpec {
    let address = Address::Inet(origin);
    let config = config::Pool {
        name: "pool".to_owned(),
        endpoints: Vec::new(),
        policy: config::Policy::default(),
        slow_start: None,
        endpoint_max_connections: None,
        connect_timeout: Duration::from_secs(5),
        retries: 0,
        limits: Default::default(),
        health: config::PoolHealth::default(),
        send_proxy: Default::default(),
        source: Default::default(),
        tcp: Default::default(),
    };
    let endpoint = EndpointSpec {
        id: EndpointId(1),
        address,
        weight: 1,
        backup: false,
        max_connections: None,
        load: Arc::default(),
        counters: Arc::<EndpointShard>::default(),
    };
    PoolSpec {
        id: POOL,
        config: Arc::new(config),
        policy: Policy::RoundRobin,
        tables: Tables::default(),
        endpoints: vec![endpoint],
        counters: Arc::<PoolShard>::default(),
        gate: PoolGate::new(&ProcessGate::new()),
    }
}

fn listener(address: SocketAddr) -> ListenerSpec {
    let config = config::Listener {
        name: "front".to_owned(),
        address: Address::Inet(address),
        protocol: Protocol::tcp("pool"),
        backlog: 4096,
        v6only: true,
        idle_timeout: Some(Duration::from_secs(3600)),
        mode: 0o666,
        accelerate: Accelerate::Auto,
        limits: Default::default(),
        access_log: true,
        proxy: Default::default(),
        tcp: Default::default(),
    };
    let counters = Arc::new(ListenerShard::new(CloseReason::ALL.len()));
    ListenerSpec {
        id: ListenerId(1),
        config: Arc::new(config),
        pools: vec![Share { pool: POOL, weight: 1 }],
        counters,
        gate: ListenerGate::new(&Default::default(), None),
    }
}

#[expect(clippy::disallowed_methods, reason = "the worker runs in real time")]
fn now() -> Instant {
    Instant::now()
}
