//! A whole worker: its own thread, real sockets, real time. Tests wait for
//! conditions, never for a time to pass; how long they wait at most is
//! generous.

mod access;
mod admission;
mod early;
mod handover;
mod limits;
mod moves;
mod named;
mod orders;
mod redial;
mod relay;
mod stop;

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use super::*;
use crate::{
    balance::{Policy, Tables},
    config::{self, Address, Protocol},
    listen::{self, BindAddress, BindOptions, ListenSocket},
    metrics::{EndpointShard, ListenerShard, PoolShard},
    reactor::{Reactor, Sender},
    worker::{
        AccessLog, EndpointId, EndpointSpec, FdBudget, ListenerGate, PoolGate, PoolId, PoolSpec, ProcessGate, Share,
        command::{ConnectionInfo, Filter, Query, Reply},
    },
};

/// The most that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);
const BLOCK: usize = 16 * 1024;

/// A worker's thread, and what control knows of it. Dropping it stops the
/// worker and looks whether its books are closed.
struct Netd {
    orders: Sender<Command>,
    thread: Option<JoinHandle<Worker>>,
    shard: Arc<WorkerShard>,
    gates: Arc<ProcessGate>,
    fronts: Vec<Arc<ListenerShard>>,
    endpoints: Vec<Arc<EndpointShard>>,
    next_id: u32,
    /// Connections came from, or went to, other workers.
    books_of_others: bool,
}

/// A listener.
struct Front {
    spec: ListenerSpec,
    address: SocketAddr,
}

impl Netd {
    fn start() -> Self {
        Self::with_fds(FdBudget::new(20_000, 0))
    }

    fn with_fds(fds: Arc<FdBudget>) -> Self {
        Self::with(fds, AccessLog::default())
    }

    fn with(fds: Arc<FdBudget>, access: AccessLog) -> Self {
        let settings = Settings {
            index: 3,
            buffer_size: BLOCK,
            busy_poll: None,
            cpu: None,
            epoch: now(),
            first_sequence: 1,
            fds,
            access,
            gates: ProcessGate::new(),
        };
        let shard = Arc::<WorkerShard>::default();
        let (mut reactor, orders) = Reactor::new(64).unwrap();
        let mut worker = Worker::new(&settings, Arc::clone(&shard));
        settings.gates.register(settings.index, orders.clone());
        let thread = thread::spawn(move || {
            reactor.run(&mut worker).unwrap();
            worker
        });
        let gates = settings.gates;
        Self {
            orders,
            thread: Some(thread),
            shard,
            fronts: Vec::new(),
            endpoints: Vec::new(),
            next_id: 1,
            gates,
            books_of_others: false,
        }
    }

    fn fresh_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn order(&self, command: Command) {
        self.orders.send(command).unwrap();
    }

    /// Gives an order and waits until it is carried out.
    fn order_now(&self, command: Command) {
        self.order(command);
        self.ask(Command::Ping);
    }

    /// Gives an order; the answer comes by the channel.
    fn begin<T: Send + 'static>(&self, order: impl FnOnce(Reply<T>) -> Command) -> mpsc::Receiver<T> {
        let (sender, receiver) = mpsc::channel();
        self.order(order(Reply::new(move |answer| drop(sender.send(answer)))));
        receiver
    }

    /// Gives an order and waits for the answer.
    fn ask<T: Send + 'static>(&self, order: impl FnOnce(Reply<T>) -> Command) -> T {
        self.begin(order).recv_timeout(PATIENCE).expect("an answer in time")
    }

    /// Holds the worker's thread until what is answered is dropped.
    fn hold(&self) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel::<()>();
        let (begun, beginning) = mpsc::channel();
        self.order(Command::Ping(Reply::new(move |()| {
            begun.send(()).unwrap();
            let _ = held.recv_timeout(PATIENCE);
        })));
        beginning.recv_timeout(PATIENCE).unwrap();
        release
    }

    fn pool(&mut self, addresses: &[Address], connect_timeout: Duration, retries: u8) -> PoolSpec {
        let endpoints = addresses.iter().map(|address| self.endpoint(address)).collect();
        let config = Arc::new(config::Pool {
            name: "pool".to_owned(),
            endpoints: Vec::new(),
            policy: config::Policy::default(),
            slow_start: None,
            endpoint_max_connections: None,
            connect_timeout,
            retries,
            limits: Default::default(),
            health: Default::default(),
            send_proxy: Default::default(),
            source: Default::default(),
            tcp: Default::default(),
        });
        let spec = PoolSpec {
            id: PoolId(self.fresh_id()),
            config,
            policy: Policy::RoundRobin,
            tables: Tables::default(),
            endpoints,
            counters: Arc::<PoolShard>::default(),
            gate: PoolGate::new(&self.gates),
        };
        self.order(Command::SetPool(spec.clone()));
        spec
    }

    fn endpoint(&mut self, address: &Address) -> EndpointSpec {
        let counters = Arc::<EndpointShard>::default();
        self.endpoints.push(Arc::clone(&counters));
        EndpointSpec {
            id: EndpointId(self.fresh_id()),
            address: address.clone(),
            weight: 1,
            backup: false,
            max_connections: None,
            load: Arc::default(),
            counters,
        }
    }

    fn spec(&mut self, protocol: Protocol, pool: Option<PoolId>, idle_timeout: Option<Duration>) -> ListenerSpec {
        let address = Address::Inet(([127, 0, 0, 1], 0).into());
        let name = "front".to_owned();
        let config = config::Listener {
            name,
            address,
            protocol,
            backlog: 512,
            v6only: true,
            idle_timeout,
            mode: 0o666,
            accelerate: config::Accelerate::Auto,
            limits: Default::default(),
            access_log: true,
            proxy: Default::default(),
            tcp: Default::default(),
        };
        let counters = Arc::new(ListenerShard::new(CloseReason::ALL.len()));
        self.fronts.push(Arc::clone(&counters));
        let pools = pool.into_iter().map(|pool| Share { pool, weight: 1 }).collect();
        ListenerSpec {
            id: ListenerId(self.fresh_id()),
            config: Arc::new(config),
            pools,
            counters,
            gate: ListenerGate::new(&Default::default(), None),
        }
    }

    fn listen(&mut self, spec: ListenerSpec) -> Front {
        self.listen_on(spec, BindAddress::Inet(([127, 0, 0, 1], 0).into()))
    }

    fn listen_on(&mut self, spec: ListenerSpec, address: BindAddress) -> Front {
        let mut bound = bind(address, 1);
        let address = bound.local.parse().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
        self.order(Command::AddListener(spec.clone(), bound.sockets.remove(0)));
        Front { spec, address }
    }

    /// A listener for `protocol` on loopback.
    fn serve(&mut self, protocol: Protocol) -> Front {
        let spec = self.spec(protocol, None, None);
        self.listen(spec)
    }

    /// A listener that relays to `pool`.
    fn relay(&mut self, pool: &PoolSpec) -> Front {
        let spec = self.spec(Protocol::tcp("pool"), Some(pool.id), None);
        self.listen(spec)
    }

    /// A listener that relays to one origin.
    fn relay_to(&mut self, address: SocketAddr) -> Front {
        let pool = self.pool(&[Address::Inet(address)], Duration::from_secs(5), 0);
        self.relay(&pool)
    }

    fn connections(&self) -> Vec<ConnectionInfo> {
        self.ask(|reply| Command::Query(Query { filter: Filter::default(), after: None, limit: usize::MAX }, reply))
    }

    /// Waits until every connection is closed.
    fn wait_until_idle(&self) {
        until("no connection is open", || self.connections().is_empty());
    }
}

impl Drop for Netd {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.orders.send(Command::Stop);
            return;
        }
        self.order(Command::Stop);
        let worker = self.thread.take().unwrap().join().unwrap();
        assert_eq!(worker.supplies.blocks.lent() + worker.supplies.pipes.lent(), 0, "every block came back");
        assert!(worker.conns.is_empty() && worker.listeners.is_empty() && worker.listener_slots.is_empty());
        assert_eq!((self.shard.timers.get(), self.shard.active.get()), (0, 0));
        assert_eq!(self.gates.open(), 0, "every place came back");
        if !self.books_of_others {
            for front in &self.fronts {
                let closed: u64 = front.closed.iter().map(crate::metrics::Counter::get).sum();
                assert_eq!((front.accepted.get(), front.active.get()), (closed, 0), "accepted, active");
                assert_eq!(front.paused.get(), 0);
            }
            assert_eq!(self.shard.accepted.get(), self.fronts.iter().map(|front| front.accepted.get()).sum::<u64>());
        }
        assert!(self.endpoints.iter().all(|endpoint| endpoint.active.get() == 0));
    }
}

impl Front {
    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.address).unwrap())
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.spec.counters.closed[reason.index()].get()
    }

    /// Waits until that many connections were closed, all for that reason.
    fn wait_until_closed(&self, reason: CloseReason, count: u64) {
        until(&format!("{count} closed for {reason:?}"), || self.closed(reason) == count);
    }
}

fn bind(address: BindAddress, workers: usize) -> listen::Bound {
    listen::bind(
        &BindOptions {
            address,
            backlog: 512,
            v6only: true,
            mode: 0o666,
            owner: None,
            rebind: false,
            tcp: Default::default(),
        },
        workers,
    )
    .unwrap()
}

fn unix(path: &Path) -> BindAddress {
    BindAddress::Unix(path.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "the worker under test runs in real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "nothing can be waited on for what another thread's counters say")]
fn nap(duration: Duration) {
    thread::sleep(duration);
}

/// Waits for a condition.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    while !condition() {
        assert!(now() < deadline, "not in time: {what}");
        nap(Duration::from_millis(2));
    }
}

/// No read or write of it waits for ever.
fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// An origin; every connection has its own thread.
fn origin(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    accept_for(listener, serve);
    address
}

fn accept_for(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let serve = Arc::new(serve);
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(patient(stream)));
        }
    });
}

/// An origin that says its name, then what it hears.
fn echoing(name: &'static str) -> SocketAddr {
    origin(move |mut stream| {
        let _ = stream.write_all(name.as_bytes()).and_then(|()| io::copy(&mut stream.try_clone()?, &mut stream));
    })
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A listener whose queue is full, so that connects to it get no answer.
struct BlackHole {
    listener: socket2::Socket,
    _queued: Vec<TcpStream>,
    address: SocketAddr,
}

impl BlackHole {
    fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(150)) {
            queued.push(stream);
        }
        Self { listener, _queued: queued, address }
    }

    /// Makes room: a repeated SYN is answered.
    fn open(self, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
        self.listener.listen(64).unwrap();
        accept_for(self.listener.into(), serve);
    }
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// What the stream says to its end.
fn hear(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("a clean end");
    text
}

/// Reads `text` and no more.
fn expect(stream: &mut impl Read, text: &str) {
    let mut buffer = vec![0; text.len()];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer), text);
}

/// Reads to the end, which must be a reset.
fn expect_reset(stream: &mut TcpStream) {
    let error = io::copy(stream, &mut io::sink()).expect_err("a reset, not an end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
