//! A scripted Controller and a server around it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use tokio::{
    net::UnixStream,
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    admin::{Access, AdminListeners, AdminOptions, serve_admin},
    config::{self, LogLevel},
    control::*,
    metrics::HistogramSnapshot,
    pb::admin_client::AdminClient,
    protocol::CloseReason,
};

pub(in crate::admin) fn epoch(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// What the script does besides answering.
#[derive(Debug, Default)]
pub(in crate::admin) struct Script {
    /// Requests seen, as debug text.
    pub(super) seen: Vec<String>,
    /// Refuse everything with this.
    pub(super) refusal: Option<Refusal>,
    /// State to report; `None`: serving.
    pub(super) state: Option<DaemonState>,
    /// The senders of drains that were begun.
    pub(super) drains: Vec<mpsc::Sender<DrainProgress>>,
    /// How many connections there are.
    pub(super) connections: u64,
}

/// The Controller's side of a handle.
pub(super) struct Fake {
    pub(super) handle: Handle,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) script: Arc<Mutex<Script>>,
}

impl Fake {
    pub(super) fn start() -> Self {
        let (handle, mut requests, events) = Handle::new();
        let script = Arc::new(Mutex::new(Script { connections: 5, ..Default::default() }));
        let answering = Arc::clone(&script);
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let mut script = answering.lock().expect("no panic before");
                script.seen.push(format!("{request:?}"));
                script.answer(request);
            }
        });
        Self { handle, events, script }
    }

    pub(super) fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().expect("no panic before"))
    }
}

const PLAN: DrainPlan = DrainPlan {
    lame_duck: Duration::from_secs(5),
    gradual: Some(Duration::from_secs(20)),
    deadline: Some(Duration::from_secs(30)),
    moves: false,
};

/// The phases and the receipt of an upgrade.
fn upgrade(request: UpgradeRequest) -> [UpgradeProgress; 3] {
    let at = Duration::from_millis(12);
    let mut receipt = Receipt::failed(Verdict::Upgraded, String::new(), request.by, epoch(9), "1.0.0");
    (receipt.to, receipt.moved, receipt.phases) = (("1.1.0".into(), 42), 3, vec![(Phase::Ready, at)]);
    receipt.kernel = vec![("ListenDrops".into(), 5, 5)];
    let moved = UpgradeProgress::Moved { moved: 1, of: 3 };
    [UpgradeProgress::Reached(Phase::Ready, at), moved, UpgradeProgress::Ended(Box::new(receipt))]
}

impl Script {
    fn answer(&mut self, request: Request) {
        let refusal = self.refusal.clone();
        macro_rules! reply {
            ($reply:expr, $answer:expr) => {{
                let answer = match refusal {
                    Some(refusal) => Err(refusal),
                    None => Ok($answer),
                };
                let _ = $reply.send(answer);
            }};
        }
        match request {
            Request::Status(reply) => reply!(reply, self.status()),
            Request::Listeners(reply) => reply!(reply, vec![listener("db"), listener("web")]),
            Request::Pools(reply) => reply!(reply, vec![pool()]),
            Request::Connections(query, reply) => reply!(reply, self.page(&query)),
            Request::Close(request, reply) => {
                reply!(reply, CloseOutcome { closed: 2, unknown: request.ids })
            }
            Request::Config(reply) => reply!(
                reply,
                ConfigView {
                    config: config(),
                    generation: 3,
                    path: Some("/etc/netd/netd.toml".into()),
                    candidate_by: Some("anna".into()),
                    applied_at: epoch(7)
                }
            ),
            Request::Plan(_, reply) => {
                reply!(
                    reply,
                    PlanView {
                        changes: vec![change()],
                        generation: 3,
                        obstacles: vec!["workers".into()],
                        notes: vec!["a note".into()]
                    }
                )
            }
            Request::Reload(_, reply) => {
                reply!(reply, ReloadOutcome { generation: 4, changes: vec![change()], pending: Some(pending()) })
            }
            Request::Confirm(_, reply) => reply!(reply, 4),
            Request::Rollback(request, reply) => reply!(
                reply,
                RollbackOutcome { generation: 5, restored: request.generation.unwrap_or(3), changes: vec![change()] }
            ),
            Request::History(reply) => reply!(reply, vec![entry()]),
            Request::Drain(_, reply) | Request::WatchDrain(_, reply) => {
                let (sender, receiver) = mpsc::channel(4);
                self.drains.push(sender);
                reply!(reply, receiver);
            }
            Request::Undrain(_, _, reply) => reply!(reply, ()),
            Request::StartListener(name, _, reply) => reply!(reply, explanation(name)),
            Request::StopListener(_, reply) => reply!(reply, ()),
            Request::SetEndpoint(_, reply) => reply!(reply, endpoint()),
            Request::SetSplit(_, reply) => reply!(reply, listener("web")),
            Request::Explain(request, reply) => reply!(reply, choice(request)),
            Request::Check(request, reply) => reply!(reply, checked(&request)),
            Request::Rebalance(request, reply) => {
                let count = request.limit.unwrap_or(50);
                reply!(reply, vec![Moved { from: 0, to: 1, count }])
            }
            Request::Why(object, reply) => reply!(reply, explanation(object)),
            Request::SetLogLevel(_, _, reply) => reply!(reply, LogLevel::Info),
            Request::Shutdown(_, reply) => reply!(reply, Some(PLAN)),
            Request::Snapshot(reply) => reply!(reply, self.snapshot()),
            Request::Upgrade(request, reply) => {
                let (sender, receiver) = mpsc::channel(4);
                for each in upgrade(request) {
                    let _ = sender.try_send(each);
                }
                reply!(reply, receiver);
            }
            Request::Upgrades(reply) => reply!(reply, Vec::new()),
        }
    }

    pub(in crate::admin) fn status(&self) -> Status {
        Status {
            state: self.state.unwrap_or(DaemonState::Serving),
            started_at: epoch(5),
            generation: 3,
            applied_at: epoch(7),
            last_reload: Some(Err("bad file".into())),
            config_path: None,
            candidate_by: None,
            restored: Some((2, "anna".into())),
            pending: Some(pending()),
            figures: Figures { active: 1, total: 2, bytes_from_downstream: 3, bytes_to_downstream: 4 },
            fds_used: 10,
            fds_limit: 1024,
            memory_bytes: 4096,
            workers: vec![WorkerView {
                index: 0,
                active: 1,
                accepted: 2,
                turns: 3,
                responsive: true,
                cpu: Some(1),
                override_: over(WorkerOverride::Draining),
                accepting: false,
            }],
            overrides: 1,
            overload: "normal: file descriptors 1%".into(),
            overload_level: 1,
            limits: vec![limit()],
            log_level: LogLevel::Info,
            log_destination: "the journal".into(),
        }
    }

    /// Ids are 16, 32, 48 ...
    fn page(&self, query: &ConnectionQuery) -> ConnectionPage {
        let first = query.after.map_or(1, |after| after / 16 + 1);
        let last = self.connections.min(first - 1 + query.page_size as u64);
        let connection = |n: u64| ConnectionView {
            proxy: None,
            id: n * 16,
            worker: 0,
            listener: "web".into(),
            source: "192.0.2.7:40000".into(),
            upstream: Some(("db".into(), "10.0.0.1:5432".into())),
            state: ConnectionState::HalfClosed,
            since: epoch(n),
            idle: Duration::from_millis(1500),
            bytes_from_downstream: n,
            bytes_to_downstream: 2 * n,
        };
        ConnectionPage { connections: (first..=last).map(connection).collect(), more: last < self.connections }
    }

    fn snapshot(&self) -> Snapshot {
        snapshot(self.status())
    }
}

/// A snapshot in which everything has happened once.
pub(in crate::admin) fn snapshot(status: Status) -> Snapshot {
    let mut times = HistogramSnapshot { sum_micros: 1_500_000, ..Default::default() };
    times.buckets[21] = 1;
    let listener = |name: &str| ListenerSnapshot {
        name: name.into(),
        protocol: "tcp",
        accepting: true,
        figures: status.figures,
        accept_errors: 1,
        accept_pauses: 1,
        refused: vec![("denied", 1), ("listener-rate", 2)],
        closed: CloseReason::ALL.map(|reason| (reason, 1)).to_vec(),
        duration: times.clone(),
    };
    Snapshot {
        listeners: vec![listener("db"), listener("web")],
        pools: vec![PoolSnapshot {
            name: "db".into(),
            no_endpoint: 1,
            full: 1,
            retries: 2,
            limits: PoolLimitFigures { waiting: 1, queued: 2, queue_timeouts: 3, retries_denied: 5 },
            probe_time: Some(times.clone()),
            panics: true,
            endpoints: vec![EndpointSnapshot {
                address: "10.0.0.1:5432".into(),
                weight: 3,
                percent: 50,
                backup: false,
                max_connections: Some(9),
                load: 5,
                accepting: true,
                failing: false,
                connected: 4,
                active: 5,
                bytes_to_upstream: 6,
                bytes_from_upstream: 7,
                connect_failures: 8,
                early_resets: 9,
                health: Some(HealthSnapshot {
                    healthy: true,
                    ejections: 10,
                    ejections_refused: 15,
                    probes: Some([11, 12, 13, 14]),
                }),
                connect_time: times.clone(),
            }],
        }],
        workers: vec![WorkerSnapshot {
            index: 0,
            turns: 1,
            events: 2,
            accepted: 3,
            active: 4,
            moved_in: 7,
            moved_out: 8,
            redialed: 4,
            buffers: 5,
            timers: 6,
            turn_time: times.clone(),
        }],
        reloads: (1, 2),
        drains: DrainSnapshot { running: vec![("worker", 7)], ended: (1, 2), connections: (3, 4, 5) },
        upgrades: vec![(Verdict::Upgraded, 3), (Verdict::Refused, 1)],
        last_upgrade: None,
        access: AccessFigures { written: 5, behind: 6, refused: 7 },
        returns: Returns { time: 1, guard: 2, rollback: 3, confirmed: 4 },
        status,
    }
}

fn over<V>(value: V) -> Option<Override<V>> {
    let by = Provenance { who: "alice".into(), why: "ticket 7".into() };
    Some(Override { value, by, set_at: epoch(8), expires_at: Some(epoch(9)) })
}

fn listener(name: &str) -> ListenerView {
    ListenerView {
        config: Arc::new(config::Listener {
            name: name.into(),
            address: config::Address::Inet(([127, 0, 0, 1], 0).into()),
            protocol: config::Protocol::tcp("db"),
            backlog: 1,
            v6only: true,
            idle_timeout: None,
            mode: 0,
            accelerate: config::Accelerate::Auto,
            limits: Default::default(),
            access_log: true,
            proxy: Default::default(),
            tcp: Default::default(),
        }),
        shares: vec![ShareView { pool: "db".into(), configured_weight: 1, weight: 2 }],
        split: over(Split::default()),
        override_: over(ListenerOverride::Stopped),
        state: ListenerState::Draining,
        figures: Figures::default(),
        accept_errors: 1,
        bound: "127.0.0.1:4711".into(),
        inherited: true,
        limits: vec![limit()],
        refused: vec![("denied", 3)],
    }
}

fn limit() -> LimitUse {
    LimitUse { name: "max_connections".into(), used: Some(3), limit: "10".into() }
}

fn pool() -> PoolView {
    PoolView {
        name: "db".into(),
        policy: config::Policy::Maglev,
        state: PoolState::Failing,
        override_: None,
        endpoints: vec![endpoint()],
        figures: Figures::default(),
        listeners: vec!["web".into()],
        limits: vec![limit()],
        refused: vec![("full", 5)],
        panics: true,
    }
}

fn endpoint() -> EndpointView {
    EndpointView {
        address: "10.0.0.1:5432".into(),
        configured_weight: 1,
        override_: over(EndpointOverride::Weight(3)),
        weight: 3,
        percent: 50,
        backup: true,
        max_connections: Some(9),
        load: 4,
        state: EndpointState::Failing,
        figures: Figures::default(),
        connect_failures: 1,
        last_failure: Some(("connection refused".into(), epoch(6))),
        mean_connect_time: Some(Duration::from_micros(250)),
        health: Some(HealthView {
            standing: Standing::Unhealthy,
            why: "3 http checks in a row failed".into(),
            since: epoch(5),
            healthy_at: Some(epoch(4)),
            check: Some("http"),
            last: Some(LastProbe {
                at: epoch(6),
                took: Duration::from_millis(2),
                failure: Some("it answered status 503".into()),
            }),
            ejections: 1,
            ejected_until: Some(epoch(7)),
            spared: Some("5 connects in a row failed".to_owned()),
            ejections_refused: 2,
        }),
    }
}

fn choice(request: ExplainRequest) -> ChoiceView {
    let endpoint = EndpointChoice {
        address: "10.0.0.1:5432".into(),
        weight: 1,
        percent: 100,
        backup: false,
        load: 2,
        max_connections: None,
        out: None,
    };
    ChoiceView {
        listener: request.listener,
        hash: config::HashKey::Source,
        shares: vec![ShareView { pool: "db".into(), configured_weight: 1, weight: 1 }],
        split: None,
        workers: vec![WorkerChoice {
            worker: 0,
            pool: "db".into(),
            endpoint: Some("10.0.0.1:5432".into()),
            why: "it is its turn".into(),
        }],
        pools: vec![PoolChoice {
            name: "db".into(),
            policy: config::Policy::RoundRobin,
            endpoints: vec![endpoint],
            more: 0,
            open: 1,
        }],
        refused_by: Vec::new(),
        notes: Vec::new(),
        sentence: request.source.map(|source| source.to_string()).unwrap_or_default(),
    }
}

fn change() -> Change {
    Change {
        object: "listener/web".into(),
        kind: ChangeKind::Changed,
        details: vec!["backlog: 1 -> 2".into()],
        untouched: 1,
        drained: 2,
        cut: 3,
    }
}

fn explanation(object: String) -> Explanation {
    Explanation {
        object,
        effective: "stopped".into(),
        decided_by: Layer::Override,
        configured: "accepting".into(),
        override_: over("stopped".into()),
        observed: "no connection".into(),
        sentence: "Stopped by alice.".into(),
    }
}

fn pending() -> Pending {
    Pending {
        generation: 4,
        former: 3,
        until: epoch(60),
        must_confirm: true,
        guard: Some(GuardRule::default()),
        trouble: None,
    }
}

fn entry() -> HistoryEntry {
    HistoryEntry {
        at: epoch(7),
        kind: HistoryKind::Rollback,
        generation: Some(4),
        origin: Some(Origin::Restored { from: 2, who: "anna".into() }),
        by: Some(Provenance { who: "anna".into(), why: "ticket 7".into() }),
        summary: "1 changed".into(),
        changes: vec![change()],
        more_changes: 3,
        verdict: Judgement::Pending,
        reason: "on trial".into(),
        in_force: true,
        kept: true,
    }
}

fn config() -> Arc<config::Config> {
    Arc::new(config::Config {
        workers: config::Workers {
            count: None,
            pin: false,
            buffer_size: 65536,
            busy_poll: None,
            rebalance: config::Rebalance::Off,
        },
        process: config::Process {
            user: None,
            group: None,
            pid_file: None,
            umask: 0,
            working_directory: "/".into(),
            core_dumps: false,
        },
        admin: config::Admin { unix: config::AdminSocket::Default, group: None, tcp: None },
        metrics: config::Metrics { listen: None },
        log: config::Log { target: config::LogTarget::Auto, level: LogLevel::Info, format: config::LogFormat::Text },
        access_log: config::AccessLog::OFF,
        drain: config::Drain { timeout: Duration::from_secs(30), lame_duck: Duration::ZERO, gradual: None },
        upgrade: config::Upgrade { rollback_window: Duration::from_secs(3600) },
        reload: config::Reload { close_removed_after: None },
        limits: Default::default(),
        listeners: vec![],
        pools: vec![],
    })
}

/// A server on a Unix socket and on TCP.
pub(super) struct Server {
    pub(super) fake: Fake,
    pub(super) path: PathBuf,
    pub(super) tcp: String,
    pub(super) serving: JoinHandle<std::io::Result<()>>,
    stop: Option<oneshot::Sender<()>>,
    _directory: TempDir,
}

impl Server {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        let tcp = Some(([127, 0, 0, 1], 0).into());
        let listeners =
            AdminListeners::bind(&AdminOptions { unix: Some(path.clone()), tcp, ..Default::default() }).expect("binds");
        let tcp = listeners.addresses().pop().expect("two addresses");
        let fake = Fake::start();
        let (stop, stopped) = oneshot::channel();
        let render = |config: &config::Config| format!("buffer_size = {}\n", config.workers.buffer_size);
        let shutdown = async { drop(stopped.await) };
        let serving = tokio::spawn(serve_admin(listeners, fake.handle.clone(), Access::new(None), render, shutdown));
        Self { fake, path, tcp, serving, stop: Some(stop), _directory: directory }
    }

    pub(super) async fn channel(&self) -> Channel {
        let path = self.path.clone();
        let connect = move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        };
        let endpoint = Endpoint::from_static("http://localhost");
        endpoint.connect_with_connector(tower::service_fn(connect)).await.expect("connects")
    }

    pub(super) async fn client(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel().await)
    }

    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }
}

/// Runs a test on a runtime like the control thread's.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("no test waits so long");
    });
}

fn checked(request: &CheckRequest) -> CheckResults {
    let (sender, receiver) = mpsc::channel(4);
    let took = Duration::from_micros(1500);
    let outcomes = [Outcome::Good, Outcome::Bad("refused".to_owned()), Outcome::TimedOut("no answer".to_owned())];
    for outcome in outcomes {
        let _ = sender.try_send(Checked {
            pool: request.pool.clone(),
            endpoint: request.endpoint.clone().unwrap_or_else(|| "10.0.0.1:80".to_owned()),
            check: "redis",
            configured: true,
            answer: Answer { outcome, took },
        });
    }
    receiver
}
