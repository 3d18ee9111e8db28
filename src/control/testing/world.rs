//! A Controller among fakes: workers that answer at once, sockets that nobody
//! listens on, a supervisor that writes down what it is told.

mod moves;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    config::{self, Config, LogLevel},
    control::{
        Answer, Asking, Begin, Binder, Clock, End, Handle, Hook, Now, Outcome, Pace, Prepared, Prober, Question,
        Refusal, Reply, Request, Signal, Start, SystemBinder, Usage, WorkerPort, testing::empty,
    },
    listen::{self, BindAddress, BindOptions, Bound, ListenSocket},
    metrics::{EndpointShard, WorkerShard},
    protocol::CloseReason,
    worker::{
        AccessLog, Command, ConnectionInfo, ConnectionState, EndpointId, Filter, Foretell, Foretold, ListenerId,
        ListenerSpec, Nobody, Overloaded, PoolId, PoolSpec, Resting, Selection, Settings,
    },
};

/// Everything around one Controller.
pub(in crate::control) struct World {
    pub(in crate::control) handle: Handle,
    pub(in crate::control) signals: mpsc::Sender<Signal>,
    pub(in crate::control) workers: Vec<FakeWorker>,
    /// Those and all that were started later.
    pub(in crate::control) spawned: Arc<Mutex<Vec<FakeWorker>>>,
    pub(in crate::control) source: Arc<Mutex<Result<Config, String>>>,
    /// How often the source was read.
    pub(in crate::control) reads: Arc<Mutex<u64>>,
    pub(in crate::control) hooks: Arc<Mutex<Vec<Hook>>>,
    pub(in crate::control) binder: FakeBinder,
    pub(in crate::control) prober: FakeProber,
    /// Upgrades that have begun; nobody tells their stories.
    pub(in crate::control) stories: Arc<Mutex<Vec<Begin>>>,
    run: JoinHandle<Result<End, String>>,
}

/// Short waits; heartbeats only where a test asks for them.
pub(in crate::control) fn quick() -> Pace {
    Pace {
        tick: Duration::from_millis(5),
        heartbeat: Duration::from_secs(3600),
        confirm: Duration::from_millis(100),
        stop: Duration::from_secs(5),
    }
}

impl World {
    /// A Controller that serves `config`.
    pub(in crate::control) async fn serving(config: Config) -> Self {
        let world = Self::with(config, quick(), HashMap::new(), false);
        world.until("it serves", || world.hooks().iter().any(|hook| matches!(hook, Hook::Ready(_)))).await;
        world
    }

    pub(in crate::control) fn with(
        config: Config,
        pace: Pace,
        inherited: HashMap<String, Vec<OwnedFd>>,
        mute: bool,
    ) -> Self {
        let source = Arc::new(Mutex::new(Ok(config.clone())));
        let (hooks, binder, reads) = (Arc::new(Mutex::new(Vec::new())), FakeBinder::default(), Arc::default());
        let prober = FakeProber::default();
        let start = start(config, pace, inherited, &source, &hooks, &binder, &reads, &prober);
        let stories = Arc::<Mutex<Vec<Begin>>>::default();
        let told = Arc::clone(&stories);
        let start = Start { story: Box::new(move |begin| lock(&told).push(begin)), ..start };
        let spawned: Arc<Mutex<Vec<FakeWorker>>> = Arc::default();
        let hired = Arc::clone(&spawned);
        let (controller, handle) = Prepared::new(start)
            .unwrap()
            .launch_with(move |settings| {
                let worker = FakeWorker::new(settings);
                worker.inner().mute = mute;
                lock(&hired).push(worker.clone());
                Ok(worker)
            })
            .unwrap();
        let workers = lock(&spawned).clone();
        let (signals, receiver) = mpsc::channel(8);
        let run = tokio::spawn(controller.run(receiver));
        Self { handle, signals, workers, spawned, source, reads, hooks, binder, prober, stories, run }
    }

    /// With the system's own sockets and workers.
    pub(in crate::control) fn real(config: Config) -> Self {
        let source = Arc::new(Mutex::new(Ok(config.clone())));
        let (hooks, binder, reads) = (Arc::new(Mutex::new(Vec::new())), FakeBinder::default(), Arc::default());
        let prober = FakeProber::default();
        let start = start(config, Pace::default(), HashMap::new(), &source, &hooks, &binder, &reads, &prober);
        let start = Start { binder: Box::new(SystemBinder), ..start };
        let (controller, handle) = Prepared::new(start).unwrap().launch().unwrap();
        let (signals, receiver) = mpsc::channel(8);
        let run = tokio::spawn(controller.run(receiver));
        let (spawned, stories) = (Arc::default(), Arc::default());
        Self { handle, signals, workers: Vec::new(), spawned, source, reads, hooks, binder, prober, stories, run }
    }

    pub(in crate::control) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
        tokio::time::timeout(Duration::from_secs(10), self.handle.ask(request)).await.expect("an answer")
    }

    pub(in crate::control) fn hooks(&self) -> Vec<Hook> {
        lock(&self.hooks).clone()
    }

    pub(in crate::control) fn set_source(&self, source: Result<Config, String>) {
        *lock(&self.source) = source;
    }

    /// What all workers were told since the last call; they were told the same.
    pub(in crate::control) fn told(&self) -> Vec<String> {
        let mut logs: Vec<Vec<String>> =
            self.workers.iter().map(|worker| std::mem::take(&mut worker.inner().log)).collect();
        assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "{logs:?}");
        logs.remove(0)
    }

    /// Waits until `condition` holds.
    pub(in crate::control) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    /// Waits until the Controller has returned.
    pub(in crate::control) async fn ended(self) -> Result<(), String> {
        self.end().await.map(|_| ())
    }

    /// Waits until the Controller has returned.
    pub(in crate::control) async fn end(self) -> Result<End, String> {
        tokio::time::timeout(Duration::from_secs(10), self.run).await.expect("the end").expect("no panic")
    }
}

/// Runs a test on a thread as the control thread is.
pub(in crate::control) fn on_control_thread(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
}

#[expect(clippy::too_many_arguments, reason = "one for each fake")]
fn start(
    config: Config,
    pace: Pace,
    inherited: HashMap<String, Vec<OwnedFd>>,
    source: &Arc<Mutex<Result<Config, String>>>,
    hooks: &Arc<Mutex<Vec<Hook>>>,
    binder: &FakeBinder,
    reads: &Arc<Mutex<u64>>,
    prober: &FakeProber,
) -> Start {
    let (source, hooks, reads) = (source.clone(), hooks.clone(), reads.clone());
    let level = Arc::new(Mutex::new(LogLevel::Info));
    let applied = Arc::clone(&level);
    Start {
        config: Arc::new(config),
        source: Box::new(move || {
            *lock(&reads) += 1;
            lock(&source).clone()
        }),
        parse: Box::new(|text| match text {
            "nothing" => Ok(empty()),
            text => Err(format!("cannot read {text:?}")),
        }),
        log_destination: Box::new(|| "the journal".to_owned()),
        config_path: Some("/etc/netd/netd.toml".to_owned()),
        inherited,
        owner: None,
        cpus: vec![0, 1],
        clock: prober.clock(),
        set_log_level: Box::new(move |new| std::mem::replace(&mut *lock(&level), new)),
        apply_log: Box::new(move |log| {
            *lock(&applied) = log.level;
            Ok(())
        }),
        access: AccessLog::default(),
        finish_access: Box::new(|| ()),
        apply_access: Box::new(|access| match &access.target {
            config::AccessTarget::File(path) if path.starts_with("/nonexistent") => {
                Err(format!("{}: no such directory", path.display()))
            }
            _ => Ok(()),
        }),
        usage: Box::new(|| Usage { fds_used: 10, fds_limit: 1024, memory_bytes: 1 << 20, memory_limit: 0 }),
        hooks: Box::new(move |hook| lock(&hooks).push(hook)),
        binder: Box::new(binder.clone()),
        prober: Box::new(prober.clone()),
        version: "0.0.0".to_owned(),
        first_sequence: 1,
        pace,
        story: Box::new(drop),
        inheritance: None,
        kept: HashMap::new(),
        keep: None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands out sockets on some port, whatever was asked for.
#[derive(Clone, Default)]
pub(in crate::control) struct FakeBinder {
    taken: Arc<Mutex<HashSet<String>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl FakeBinder {
    /// Somebody else listens on this address now.
    pub(in crate::control) fn take(&self, address: &str) {
        lock(&self.taken).insert(address.to_owned());
    }

    pub(in crate::control) fn free(&self, address: &str) {
        lock(&self.taken).remove(address);
    }

    /// What was asked since the last call.
    pub(in crate::control) fn log(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.log))
    }

    fn sockets(workers: usize, local: String) -> io::Result<Bound> {
        let address = BindAddress::Inet(SocketAddr::from(([127, 0, 0, 1], 0)));
        let options = BindOptions {
            address,
            backlog: 1,
            v6only: true,
            mode: 0o666,
            owner: None,
            rebind: false,
            tcp: Default::default(),
        };
        Ok(Bound { local, ..listen::bind(&options, workers)? })
    }
}

impl Binder for FakeBinder {
    fn bind(&self, options: &BindOptions, workers: usize) -> io::Result<Bound> {
        let address = match &options.address {
            BindAddress::Inet(address) => address.to_string(),
            BindAddress::Unix(path) => format!("unix:{}", path.display()),
        };
        lock(&self.log).push(format!("bind {address}{}", if options.rebind { " again" } else { "" }));
        if lock(&self.taken).contains(&address) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody else listens there"));
        }
        Self::sockets(workers, address)
    }

    fn adopt(&self, _fd: OwnedFd, workers: usize) -> io::Result<Bound> {
        lock(&self.log).push("adopt".to_owned());
        Self::sockets(workers, "127.0.0.1:80".to_owned())
    }
}

/// Answers at once what it was told to; keeps the Controller's clock, which
/// tests can set forward.
#[derive(Clone, Default)]
pub(in crate::control) struct FakeProber {
    bad: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<Mutex<BTreeMap<String, u64>>>,
    ahead: Arc<Mutex<Duration>>,
}

impl FakeProber {
    /// The endpoint answers so from now on; `None`: well.
    pub(in crate::control) fn answer(&self, address: &str, bad: Option<&str>) {
        match bad {
            Some(why) => lock(&self.bad).insert(address.to_owned(), why.to_owned()),
            None => lock(&self.bad).remove(address),
        };
    }

    /// How often the endpoint was asked.
    pub(in crate::control) fn asked(&self, address: &str) -> u64 {
        lock(&self.asked).get(address).copied().unwrap_or(0)
    }

    /// Sets the Controller's clock forward.
    pub(in crate::control) fn advance(&self, by: Duration) {
        *lock(&self.ahead) += by;
    }

    fn clock(&self) -> Clock {
        let (ahead, system) = (self.ahead.clone(), Clock::system());
        Clock::new(move || {
            let (now, ahead) = (system.now(), *lock(&ahead));
            Now { wall: now.wall + ahead, instant: now.instant + ahead }
        })
    }
}

impl Prober for FakeProber {
    fn ask(&self, question: Question) -> Asking {
        let address = question.address.to_string();
        *lock(&self.asked).entry(address.clone()).or_default() += 1;
        let outcome = lock(&self.bad).get(&address).map_or(Outcome::Good, |why| Outcome::Bad(why.clone()));
        Box::pin(async { Answer { outcome, took: Duration::from_millis(1) } })
    }
}

/// A worker that does at once what it is told, unless it is mute.
#[derive(Clone)]
pub(in crate::control) struct FakeWorker {
    settings: Settings,
    shard: Arc<WorkerShard>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
pub(in crate::control) struct Inner {
    /// Orders are kept and not carried out.
    pub(in crate::control) mute: bool,
    pub(in crate::control) log: Vec<String>,
    held: Vec<Command>,
    pub(in crate::control) listeners: BTreeMap<ListenerId, ListenerSpec>,
    sockets: Vec<(ListenerId, ListenSocket)>,
    pools: BTreeMap<PoolId, PoolSpec>,
    connections: Vec<Connection>,
    /// Counters of the worker.
    shard: Arc<WorkerShard>,
    stopped: bool,
}

/// An open connection, with the counters that it is in.
struct Connection {
    info: ConnectionInfo,
    spec: ListenerSpec,
    endpoint: Option<Arc<EndpointShard>>,
}

impl FakeWorker {
    fn new(settings: Settings) -> Self {
        let shard = Arc::<WorkerShard>::default();
        let inner = Inner { shard: shard.clone(), ..Inner::default() };
        Self { settings, shard, inner: Arc::new(Mutex::new(inner)) }
    }

    pub(in crate::control) fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Accepts a connection on the listener, to the first endpoint of its pool.
    pub(in crate::control) fn accept(&self, listener: &str, id: u64) {
        let mut inner = self.inner();
        let spec = inner.listeners.values().find(|each| each.config.name == listener).unwrap().clone();
        let endpoint = spec.pools.first().and_then(|share| inner.pools.get(&share.pool)?.endpoints.first().cloned());
        spec.counters.accepted.add(1);
        spec.counters.active.add(1);
        self.shard.accepted.add(1);
        self.shard.active.add(1);
        if let Some(endpoint) = &endpoint {
            endpoint.counters.connected.add(1);
            endpoint.counters.active.add(1);
        }
        let now = Clock::system().now().instant;
        let info = ConnectionInfo {
            via: None,
            id,
            listener: spec.id,
            source: Some("192.0.2.1:1234".parse().unwrap()),
            endpoint: endpoint.as_ref().map(|each| each.id),
            state: ConnectionState::Open,
            since: now,
            progressed_at: now,
            bytes_from_downstream: 1,
            bytes_to_downstream: 2,
        };
        let endpoint = endpoint.map(|each| each.counters);
        inner.connections.push(Connection { info, spec, endpoint });
    }

    /// The endpoint that a connection has.
    pub(in crate::control) fn endpoint_of(&self, id: u64) -> Option<EndpointId> {
        let inner = self.inner();
        inner.connections.iter().find(|each| each.info.id == id).and_then(|each| each.info.endpoint)
    }

    /// No byte has gone over any connection.
    pub(in crate::control) fn forget_bytes(&self) {
        for each in &mut self.inner().connections {
            (each.info.bytes_from_downstream, each.info.bytes_to_downstream) = (0, 0);
        }
    }

    /// The last connect to each endpoint of every pool has failed.
    pub(in crate::control) fn fail_connects(&self) {
        for endpoint in self.inner().pools.values().flat_map(|pool| &pool.endpoints) {
            endpoint.counters.last_failure.set(111);
            endpoint.counters.last_failure_at.set(u64::from(u16::MAX));
        }
    }

    /// The counters of an endpoint.
    pub(in crate::control) fn endpoint(&self, address: &str) -> Arc<EndpointShard> {
        let inner = self.inner();
        let mut endpoints = inner.pools.values().flat_map(|pool| &pool.endpoints);
        endpoints.find(|each| each.address.to_string() == address).unwrap().counters.clone()
    }

    /// Connections of the listener have ended so.
    pub(in crate::control) fn ended(&self, listener: &str, reason: CloseReason, count: u64) {
        let inner = self.inner();
        let spec = inner.listeners.values().find(|each| each.config.name == listener).unwrap();
        spec.counters.closed[reason.index()].add(count);
    }

    /// Connections that are open.
    pub(in crate::control) fn open(&self) -> Vec<u64> {
        self.inner().connections.iter().map(|each| each.info.id).collect()
    }

    /// How many sockets of each listener it has, in order of id.
    pub(in crate::control) fn sockets(&self) -> Vec<usize> {
        let inner = self.inner();
        let of = |id: &ListenerId| inner.sockets.iter().filter(|(each, _)| each == id).count();
        inner.listeners.keys().map(of).collect()
    }

    /// A connection ends by itself.
    pub(in crate::control) fn end(&self, id: u64) {
        self.inner().end(|info| info.id == id);
    }

    /// Its thread panics.
    pub(in crate::control) fn die(&self) {
        let mut inner = self.inner();
        inner.stopped = true;
        inner.held.clear();
    }

    /// Carries out what was kept.
    pub(in crate::control) fn speak(&self) {
        let held = std::mem::take(&mut self.inner().held);
        self.inner().mute = false;
        held.into_iter().for_each(|order| self.inner().obey(order));
    }
}

impl Inner {
    /// The first pool that has a share, and the first endpoint that takes
    /// connections.
    fn foretell(&self, ask: Foretell) -> Option<Foretold> {
        let share = self.listeners.get(&ask.listener)?.pools.iter().find(|share| share.weight > 0)?;
        let endpoint = self.pools.get(&share.pool)?.endpoints.iter().find(|each| each.weight > 0);
        Some(Foretold { pool: share.pool, endpoint: endpoint.map(|each| each.id).ok_or(Nobody::Taking) })
    }

    fn obey(&mut self, order: Command) {
        match order {
            Command::SetPool(spec) => {
                let weights: Vec<u32> = spec.endpoints.iter().map(|each| each.weight).collect();
                self.log.push(format!("set {} {weights:?}", spec.config.name));
                self.pools.insert(spec.id, spec);
            }
            // Workers tell each other.
            Command::TryPool(_) => {}
            Command::RemovePool(id) => {
                let name = self.pools.remove(&id).map(|spec| spec.config.name.clone());
                self.log.push(format!("forget {}", name.unwrap_or_default()));
            }
            Command::Foretell(ask, reply) => reply.send(self.foretell(ask)),
            Command::AddListener(spec, socket) => {
                self.log.push(format!("add {}", spec.config.name));
                self.sockets.push((spec.id, socket));
                self.listeners.insert(spec.id, spec);
            }
            Command::Resting(filter, limit, reply) => {
                let matching = self.connections.iter().map(|each| &each.info).filter(|info| matches(&filter, info));
                let mut found: Vec<Resting> =
                    matching.map(|info| Resting { since: info.progressed_at, id: info.id }).collect();
                found.sort_unstable();
                found.truncate(limit);
                reply.send(found);
            }
            Command::Redial(from, reply) => {
                let moved = self.redial(&from);
                self.log.push(format!("redial {moved:?}"));
                reply.send(moved);
            }
            Command::Retire(which, reason, reply) => {
                let ended = self.end(|info| which.iter().any(|each| each.id == info.id));
                self.log.push(format!("retire {ended:?} {}", reason.cause.as_str()));
                reply.send(ended);
            }
            Command::UpdateListener(spec) => {
                self.log.push(format!("update {}", spec.config.name));
                // One that has no socket of it has no use for the news.
                self.listeners.entry(spec.id).and_modify(|known| *known = spec);
            }
            Command::StopListener(id, reply) => {
                let name = self.listeners.remove(&id).map(|spec| spec.config.name.clone());
                self.sockets.retain(|(each, _)| *each != id);
                self.log.push(format!("stop {}", name.unwrap_or_default()));
                reply.send(());
            }
            order @ (Command::Export { .. } | Command::Import(..)) => moves::obey(self, order),
            order @ (Command::ReleaseListener(..)
            | Command::DuplicateListener(..)
            | Command::ShareListener(..)
            | Command::PauseListener(..)
            | Command::ResumeListener(_)) => moves::obey_of_sockets(self, order),
            Command::Query(query, reply) => {
                let above = |id: u64| query.after.is_none_or(|after| id > after);
                let mut found: Vec<ConnectionInfo> = self.connections.iter().map(|each| each.info.clone()).collect();
                found.retain(|info| above(info.id) && matches(&query.filter, info));
                found.sort_by_key(|info| info.id);
                found.truncate(query.limit);
                reply.send(found);
            }
            Command::Close(Selection::Ids(ids), _, reply) => reply.send(self.end(|info| ids.contains(&info.id))),
            Command::Close(Selection::Matching(filter), reason, reply) => {
                let ended = self.end(|info| matches(&filter, info));
                self.log.push(format!("close {} {}", ended.len(), reason.cause.as_str()));
                reply.send(ended);
            }
            Command::Ping(reply) => reply.send(()),
            Command::Stop => self.stopped = true,
        }
    }

    /// Connections of these endpoints without a byte go to none.
    fn redial(&mut self, from: &[EndpointId]) -> Vec<u64> {
        let unused = |info: &ConnectionInfo| info.bytes_from_downstream + info.bytes_to_downstream == 0;
        let is_of = |info: &ConnectionInfo| info.endpoint.is_some_and(|id| from.contains(&id));
        let due = self.connections.iter_mut().filter(|each| unused(&each.info) && is_of(&each.info));
        due.map(|each| {
            each.info.endpoint = None;
            each.endpoint.take().into_iter().for_each(|endpoint| endpoint.active.sub(1));
            each.info.id
        })
        .collect()
    }

    fn end(&mut self, which: impl Fn(&ConnectionInfo) -> bool) -> Vec<u64> {
        let (ended, rest) = std::mem::take(&mut self.connections).into_iter().partition(|each| which(&each.info));
        self.connections = rest;
        let ended: Vec<Connection> = ended;
        for Connection { spec, endpoint, .. } in &ended {
            spec.counters.active.sub(1);
            self.shard.active.sub(1);
            if let Some(endpoint) = endpoint {
                endpoint.active.sub(1);
            }
        }
        ended.into_iter().map(|each| each.info.id).collect()
    }
}

impl WorkerPort for FakeWorker {
    fn send(&self, order: Command) -> Result<(), Overloaded> {
        let mut inner = self.inner();
        if inner.stopped {
            return Err(Overloaded);
        }
        if inner.mute && !matches!(order, Command::Stop) {
            inner.held.push(order);
        } else {
            inner.obey(order);
        }
        Ok(())
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn shard(&self) -> &Arc<WorkerShard> {
        &self.shard
    }

    fn is_finished(&self) -> bool {
        self.inner().stopped
    }
}

fn matches(filter: &Filter, info: &ConnectionInfo) -> bool {
    let since = |bound: Option<Instant>, at: Instant| bound.is_none_or(|bound| at <= bound);
    filter.listeners.as_ref().is_none_or(|ids| ids.contains(&info.listener))
        && filter.endpoints.as_ref().is_none_or(|ids| info.endpoint.is_some_and(|id| ids.contains(&id)))
        && since(filter.accepted_before, info.since)
        && since(filter.idle_since, info.progressed_at)
}
