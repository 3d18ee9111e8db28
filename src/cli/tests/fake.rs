//! A daemon that has its answers ready and keeps what it was asked.

use std::{
    fmt::Debug,
    pin::Pin,
    sync::{Arc, Mutex},
};

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, async_trait};

use crate::pb::{self, target::Of};

/// 2026-03-01 12:00:00 UTC, in seconds since the epoch.
pub(super) const NOW: u64 = 1_772_366_400;

/// Keeps requests as text.
#[derive(Clone, Default)]
pub(super) struct Fake {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// The last request.
    pub(super) fn last(&self) -> String {
        self.seen.lock().unwrap().last().cloned().unwrap_or_default()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn see<T: Debug>(&self, request: Request<T>) -> T {
        let request = request.into_inner();
        self.seen.lock().unwrap().push(format!("{request:?}"));
        request
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn answers<T: Send + 'static>(items: Vec<T>) -> Answers<T> {
    Box::pin(tokio_stream::iter(items.into_iter().map(Ok)))
}

#[async_trait]
impl pb::admin_server::Admin for Fake {
    async fn get_status(&self, request: Request<pb::GetStatusRequest>) -> Answer<pb::GetStatusResponse> {
        self.see(request);
        Ok(Response::new(status()))
    }

    async fn list_listeners(&self, request: Request<pb::ListListenersRequest>) -> Answer<pb::ListListenersResponse> {
        let name = self.see(request).name;
        known_listener(&name)?;
        let listeners = listeners().into_iter().filter(|listener| name.is_empty() || listener.name == name).collect();
        Ok(Response::new(pb::ListListenersResponse { listeners }))
    }

    async fn list_pools(&self, request: Request<pb::ListPoolsRequest>) -> Answer<pb::ListPoolsResponse> {
        let pools = if self.see(request).name == "none" { vec![] } else { vec![pool()] };
        Ok(Response::new(pb::ListPoolsResponse { pools }))
    }

    type ListConnectionsStream = Answers<pb::ListConnectionsResponse>;

    async fn list_connections(
        &self,
        request: Request<pb::ListConnectionsRequest>,
    ) -> Answer<Self::ListConnectionsStream> {
        let request = self.see(request);
        let [first, second, third] = connections();
        let next = if request.limit == 0 { "" } else { "000100000000002c" };
        Ok(Response::new(match request.filter.unwrap_or_default().listener.as_str() {
            "quiet" => answers(vec![pb::ListConnectionsResponse::default()]),
            "broken" => Box::pin(
                answers(vec![connection_page(vec![first], "x")])
                    .chain(tokio_stream::once(Err(Status::deadline_exceeded("worker 1 did not answer in time")))),
            ),
            _ => answers(vec![connection_page(vec![first, second], "x"), connection_page(vec![third], next)]),
        }))
    }

    async fn close_connection(
        &self,
        request: Request<pb::CloseConnectionRequest>,
    ) -> Answer<pb::CloseConnectionResponse> {
        let ids = self.see(request).ids;
        let unknown_ids: Vec<String> = ids.iter().filter(|id| id.starts_with('f')).cloned().collect();
        let closed = if ids.is_empty() { 2 } else { (ids.len() - unknown_ids.len()) as u64 };
        Ok(Response::new(pb::CloseConnectionResponse { closed, unknown_ids }))
    }

    async fn get_config(&self, request: Request<pb::GetConfigRequest>) -> Answer<pb::GetConfigResponse> {
        self.see(request);
        Ok(Response::new(pb::GetConfigResponse {
            toml: "[[listener]]\nname = \"web\"\naddress = \"0.0.0.0:443\"\nprotocol = \"tcp\"\npool = \"app\"\n"
                .to_owned(),
            generation: 3,
            path: "/etc/netd/netd.toml".to_owned(),
            applied_at: at(-192),
            candidate_by: String::new(),
        }))
    }

    async fn plan(&self, request: Request<pb::PlanRequest>) -> Answer<pb::PlanResponse> {
        let toml = self.see(request).toml;
        let obstacle = "workers.count: 2 -> 4; the number of workers changes with a restart only";
        Ok(Response::new(pb::PlanResponse {
            changes: if toml.contains("same") { vec![] } else { changes() },
            generation: 3,
            obstacles: if toml.contains("count = 4") { vec![obstacle.to_owned()] } else { vec![] },
            notes: vec![],
        }))
    }

    async fn reload(&self, request: Request<pb::ReloadRequest>) -> Answer<pb::ReloadResponse> {
        let request = self.see(request);
        if request.toml.contains("bad") {
            return Err(Status::invalid_argument(
                "the candidate has 1 error:\nerror: unknown key `bad`\n --> candidate:1:1\n  |\n1 | bad = 1\n  | ^^^",
            ));
        }
        if request.expected_generation == 2 {
            return Err(Status::failed_precondition("generation 3 is in force, not 2: plan again"));
        }
        let same = request.toml.contains("same");
        Ok(Response::new(pb::ReloadResponse {
            generation: if same { 3 } else { 4 },
            changes: if same { vec![] } else { changes() },
            pending: request
                .confirm_within
                .filter(|_| !same)
                .map(|within| super::trial::pending(within, request.guard)),
        }))
    }

    async fn confirm(&self, request: Request<pb::ConfirmRequest>) -> Answer<pb::ConfirmResponse> {
        super::trial::confirm(self.see(request))
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> Answer<pb::RollbackResponse> {
        super::trial::rollback(self.see(request))
    }

    async fn get_history(&self, request: Request<pb::GetHistoryRequest>) -> Answer<pb::GetHistoryResponse> {
        self.see(request);
        Ok(Response::new(pb::GetHistoryResponse { entries: super::trial::history() }))
    }

    type DrainStream = Answers<pb::DrainProgress>;

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Answer<Self::DrainStream> {
        let request = self.see(request);
        let step = progress;
        let end = |outcome: &str, progress| pb::DrainProgress { done: true, outcome: outcome.to_owned(), ..progress };
        Ok(Response::new(match request.target.and_then(|target| target.of) {
            Some(Of::Listener(name)) if name == "taken" => {
                answers(vec![step(3, 0, 0, 0), end("undrained", step(3, 0, 0, 2))])
            }
            Some(Of::Listener(name)) if name == "endless" => {
                Box::pin(answers(vec![step(3, 0, 0, 0)]).chain(tokio_stream::pending()))
            }
            Some(Of::Listener(name)) if name == "lost" => answers(vec![step(3, 0, 0, 0)]),
            Some(Of::Listener(name)) if name == "upgraded" => {
                answers(vec![step(3, 0, 0, 0), end("handed-over", step(3, 0, 0, 3))])
            }
            Some(Of::Listener(name)) if name == "absent" => {
                return Err(Status::not_found("no listener `absent`; there are web and health"));
            }
            Some(Of::Worker(_)) if request.r#move => {
                let moved = |moved, progress| pb::DrainProgress { moved, ..progress };
                answers(vec![step(300, 0, 0, 0), end("drained", moved(298, step(0, 2, 0, 1)))])
            }
            Some(Of::Worker(_)) => {
                let retired = |retired, left, progress| pb::DrainProgress {
                    retired,
                    estimate: span(left, 0),
                    mode: "gradual".to_owned(),
                    ..progress
                };
                answers(vec![
                    pb::DrainProgress { mode: "gradual".to_owned(), ..step(300, 0, 0, 0) },
                    retired(90, 20, step(200, 10, 0, 10)),
                    end("drained", retired(280, 0, step(0, 20, 0, 30))),
                ])
            }
            _ if request.lame_duck.is_some() => {
                let lame = |left, progress| pb::DrainProgress { accepting: span(left, 0), left: None, ..progress };
                answers(vec![lame(10, step(3, 0, 0, 0)), step(2, 0, 0, 10), end("drained", step(0, 2, 0, 14))])
            }
            Some(Of::Pool(_)) => answers(vec![step(2, 0, 0, 0), step(1, 1, 0, 3), end("drained", step(0, 1, 1, 30))]),
            _ => answers(vec![step(3, 0, 0, 0), step(3, 0, 0, 1), step(1, 2, 0, 4), end("drained", step(0, 3, 0, 7))]),
        }))
    }

    type WatchDrainStream = Answers<pb::DrainProgress>;

    async fn watch_drain(&self, request: Request<pb::WatchDrainRequest>) -> Answer<Self::WatchDrainStream> {
        let request = self.see(request);
        let end = |progress| pb::DrainProgress { done: true, outcome: "drained".to_owned(), ..progress };
        match request.target.and_then(|target| target.of) {
            Some(Of::Listener(name)) if name == "upgraded" => {
                Ok(Response::new(answers(vec![progress(1, 2, 0, 5), end(progress(0, 3, 0, 7))])))
            }
            _ => Err(Status::not_found("no drain of it is under way, and none has ended lately")),
        }
    }

    async fn undrain(&self, request: Request<pb::UndrainRequest>) -> Answer<pb::UndrainResponse> {
        self.see(request);
        Ok(Response::new(pb::UndrainResponse {}))
    }

    async fn start_listener(&self, request: Request<pb::StartListenerRequest>) -> Answer<pb::StartListenerResponse> {
        let name = self.see(request).name;
        known_listener(&name)?;
        let answer = |state: &str, explanation: &str| pb::StartListenerResponse {
            state: state.to_owned(),
            explanation: explanation.to_owned(),
        };
        Ok(Response::new(match name.as_str() {
            "health" => answer(
                "stopped",
                "listener `health` does not accept: the whole daemon is drained, set by anna (kernel update)",
            ),
            _ => answer("accepting", ""),
        }))
    }

    async fn stop_listener(&self, request: Request<pb::StopListenerRequest>) -> Answer<pb::StopListenerResponse> {
        known_listener(&self.see(request).name)?;
        Ok(Response::new(pb::StopListenerResponse {}))
    }

    async fn set_endpoint(&self, request: Request<pb::SetEndpointRequest>) -> Answer<pb::SetEndpointResponse> {
        use pb::set_endpoint_request::Setting;
        let request = self.see(request);
        let (value, weight, state) = match request.setting {
            Some(Setting::Weight(weight)) => (format!("weight {weight}"), weight, "up"),
            Some(Setting::Drain(_)) => ("draining".to_owned(), 2, "draining"),
            Some(Setting::Maintenance(_)) => ("maintenance".to_owned(), 2, "maintenance"),
            Some(Setting::Clear(_)) | None => (String::new(), 2, "up"),
        };
        let expires_at = request.expires_in.and_then(|duration| at(duration.seconds));
        let above = pb::Override { value, by: request.by, set_at: at(0), expires_at };
        let mut endpoint = pool().endpoints.swap_remove(0);
        endpoint.weight = weight;
        endpoint.state = state.to_owned();
        endpoint.r#override = Some(above).filter(|above| !above.value.is_empty());
        Ok(Response::new(pb::SetEndpointResponse { endpoint: Some(endpoint) }))
    }

    async fn set_split(&self, request: Request<pb::SetSplitRequest>) -> Answer<pb::SetSplitResponse> {
        Ok(Response::new(super::balancing::set_split(self.see(request))))
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Answer<pb::ExplainResponse> {
        Ok(Response::new(super::balancing::explain(&self.see(request))))
    }

    async fn why(&self, request: Request<pb::WhyRequest>) -> Answer<pb::WhyResponse> {
        match self.see(request).object.as_str() {
            "slow" => std::future::pending().await,
            "late" => Err(Status::deadline_exceeded("worker 1 did not answer in time")),
            "busy" => Err(Status::aborted("a reload is in flight; try again when it is done")),
            "hostile" => Err(Status::invalid_argument("\x1b[2Jgone")),
            "unknown" => Err(Status::unimplemented("")),
            "pool/app" => Ok(Response::new(why_pool())),
            _ => Ok(Response::new(why())),
        }
    }

    async fn rebalance(&self, request: Request<pb::RebalanceRequest>) -> Answer<pb::RebalanceResponse> {
        self.see(request);
        let moved = |to, connections| pb::Moved { from: 0, to, connections };
        Ok(Response::new(pb::RebalanceResponse { moved: vec![moved(1, 50), moved(2, 1)] }))
    }

    async fn set_log_level(&self, request: Request<pb::SetLogLevelRequest>) -> Answer<pb::SetLogLevelResponse> {
        self.see(request);
        Ok(Response::new(pb::SetLogLevelResponse { previous: "info".to_owned() }))
    }

    type WatchEventsStream = Answers<pb::Event>;

    async fn watch_events(&self, request: Request<pb::WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        self.see(request);
        Ok(Response::new(answers(events())))
    }

    type CheckStream = Answers<pb::CheckResult>;

    async fn check(&self, request: Request<pb::CheckRequest>) -> Answer<Self::CheckStream> {
        Ok(Response::new(answers(super::checks::results(&self.see(request)))))
    }

    type UpgradeStream = Answers<pb::UpgradeProgress>;

    async fn upgrade(&self, request: Request<pb::UpgradeRequest>) -> Answer<Self::UpgradeStream> {
        use pb::upgrade_progress::Of;
        let request = self.see(request);
        let millis = |millis: i32| Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 });
        let phase = |phase: &str, at| Of::Reached(pb::UpgradePhase { phase: phase.to_owned(), at: millis(at) });
        let refused = request.binary == "/bin/false";
        let receipt = pb::UpgradeReceipt {
            verdict: if refused { "refused" } else { "upgraded" }.to_owned(),
            reason: if refused { "the new binary ended: it exited with status 1" } else { "" }.to_owned(),
            from_version: "1.0.0".to_owned(),
            from_pid: 41,
            to_version: if refused { "" } else { "1.1.0" }.to_owned(),
            to_pid: if refused { 0 } else { 42 },
            took: millis(20),
            moved: 3,
            ..Default::default()
        };
        let steps = vec![phase("spawned", 1), phase("ready", 9), Of::Ended(Box::new(receipt))];
        Ok(Response::new(answers(steps.into_iter().map(|of| pb::UpgradeProgress { of: Some(of) }).collect())))
    }

    async fn shutdown(&self, request: Request<pb::ShutdownRequest>) -> Answer<pb::ShutdownResponse> {
        let pb::ShutdownRequest { deadline, gradual, lame_duck, .. } = self.see(request);
        let deadline = deadline.or_else(|| span(30, 0));
        Ok(Response::new(pb::ShutdownResponse { deadline, lame_duck, gradual }))
    }
}

fn known_listener(name: &str) -> Result<(), Status> {
    match name {
        "absent" => Err(Status::not_found("no listener `absent`; there are web and health")),
        _ => Ok(()),
    }
}

pub(super) fn at(seconds_from_now: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: NOW as i64 + seconds_from_now, nanos: 0 })
}

pub(super) fn span(seconds: i64, milliseconds: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: milliseconds * 1_000_000 })
}

pub(super) fn by(who: &str, why: &str) -> Option<pb::Provenance> {
    Some(pb::Provenance { who: who.to_owned(), why: why.to_owned() })
}

pub(super) fn figures(active: u64, total: u64, bytes_in: u64, bytes_out: u64) -> Option<pb::Figures> {
    Some(pb::Figures { active, total, bytes_from_downstream: bytes_in, bytes_to_downstream: bytes_out })
}

fn status() -> pb::GetStatusResponse {
    let worker = |index: u32, active, accepted, turns, responsive| pb::Worker {
        index,
        active,
        accepted,
        turns,
        responsive,
        cpu: (index == 0).then_some(2),
        r#override: None,
        accepting: true,
    };
    pb::GetStatusResponse {
        version: "0.1.0".to_owned(),
        pid: 4711,
        state: "serving".to_owned(),
        started_at: at(-273_600),
        generation: 3,
        applied_at: at(-192),
        last_reload: "ok".to_owned(),
        config_path: "/etc/netd/netd.toml".to_owned(),
        figures: figures(1234, 5_678_901, 1_288_490_189, 3_650_722_202),
        fds_used: 2507,
        fds_limit: 65_536,
        workers: vec![worker(0, 617, 2_839_450, 91_827_364, true), worker(1, 617, 2_839_451, 90_817_263, false)],
        overrides: 2,
        log_level: "info".to_owned(),
        memory_bytes: 24_536_678,
        log_destination: "the journal".to_owned(),
        candidate_by: String::new(),
        ..Default::default()
    }
}

fn listeners() -> Vec<pb::Listener> {
    let listener = |name: &str, address: &str, protocol: &str, pool: &str| pb::Listener {
        name: name.to_owned(),
        address: address.to_owned(),
        bound: address.to_owned(),
        protocol: protocol.to_owned(),
        pool: pool.to_owned(),
        state: "accepting".to_owned(),
        origin: "bound".to_owned(),
        ..pb::Listener::default()
    };
    vec![
        pb::Listener {
            r#override: Some(pb::Override {
                value: "stopped".to_owned(),
                by: by("bert", "noisy probes"),
                set_at: at(-192),
                expires_at: at(408),
            }),
            state: "stopped".to_owned(),
            bound: String::new(),
            figures: figures(0, 12_345, 0, 222_210),
            ..listener("health", "127.0.0.1:0", "respond", "")
        },
        pb::Listener {
            figures: figures(1234, 5_666_556, 1_288_490_189, 3_650_499_992),
            accept_errors: 3,
            limits: vec![
                pb::LimitUse { name: "max_connections".to_owned(), used: Some(1234), limit: "5000".to_owned() },
                pb::LimitUse { name: "rate".to_owned(), used: None, limit: "1000/s".to_owned() },
            ],
            refused: vec![pb::Refused { cause: "listener-rate".to_owned(), count: 12 }],
            ..listener("web", "0.0.0.0:443", "tcp", "app")
        },
    ]
}

fn pool() -> pb::Pool {
    pb::Pool {
        name: "app".to_owned(),
        endpoints: vec![
            pb::Endpoint {
                address: "10.0.0.1:8443".to_owned(),
                configured_weight: 2,
                r#override: Some(pb::Override {
                    value: "weight 1".to_owned(),
                    by: by("anna", ""),
                    set_at: at(-3600),
                    expires_at: None,
                }),
                weight: 1,
                state: "up".to_owned(),
                figures: figures(800, 3_777_704, 858_993_459, 2_433_814_801),
                mean_connect_time: span(0, 1),
                health: Some(pb::EndpointHealth {
                    standing: "healthy".to_owned(),
                    why: "2 http checks in a row succeeded".to_owned(),
                    since: at(-3600),
                    healthy_at: at(-3600),
                    check: "http".to_owned(),
                    last: Some(pb::Probe { at: at(-2), took: span(0, 1), failure: String::new() }),
                    ejections: 1,
                    not_ejected: String::new(),
                    ejections_refused: 0,
                    ejected_until: None,
                }),
                ..pb::Endpoint::default()
            },
            pb::Endpoint {
                address: "10.0.0.2:8443".to_owned(),
                configured_weight: 1,
                weight: 1,
                state: "failing".to_owned(),
                figures: figures(434, 1_888_852, 429_496_730, 1_216_685_191),
                connect_failures: 17,
                last_failure: "connection refused".to_owned(),
                last_failure_at: at(-12),
                mean_connect_time: span(0, 3),
                ..pb::Endpoint::default()
            },
        ],
        r#override: None,
        policy: "least-connections".to_owned(),
        state: "up".to_owned(),
        reachable: 1,
        figures: figures(1234, 5_666_556, 1_288_490_189, 3_650_499_992),
        limits: vec![pb::LimitUse { name: "max_connections".to_owned(), used: Some(1600), limit: "2000".to_owned() }],
        refused: vec![pb::Refused { cause: "full".to_owned(), count: 3 }],
        listeners: vec!["web".to_owned()],
        panic: false,
    }
}

fn connection_page(connections: Vec<pb::Connection>, next_page_token: &str) -> pb::ListConnectionsResponse {
    pb::ListConnectionsResponse { connections, next_page_token: next_page_token.to_owned() }
}

fn connections() -> [pb::Connection; 3] {
    let connection = |id: u64, source: &str, age: i64, idle| pb::Connection {
        proxy: String::new(),
        id: format!("{id:016x}"),
        worker: (id % 2) as u32,
        listener: "web".to_owned(),
        source: source.to_owned(),
        pool: "app".to_owned(),
        endpoint: "10.0.0.1:8443".to_owned(),
        state: "open".to_owned(),
        since: at(-age),
        idle,
        bytes_from_downstream: 12_345,
        bytes_to_downstream: 6_789_012,
    };
    [
        connection(0x0001_0000_0000_002a, "203.0.113.7:51512", 192, span(0, 340)),
        connection(0x0001_0000_0000_002b, "203.0.113.7:51514", 15_120, span(12, 0)),
        pb::Connection {
            endpoint: String::new(),
            state: "dialing".to_owned(),
            bytes_from_downstream: 0,
            bytes_to_downstream: 0,
            ..connection(0x0001_0000_0000_002c, "[2001:db8::7]:40404", 0, span(0, 0))
        },
    ]
}

pub(super) fn changes() -> Vec<pb::Change> {
    let change = |object: &str, kind: &str, details: &[&str]| pb::Change {
        object: object.to_owned(),
        kind: kind.to_owned(),
        details: details.iter().map(|detail| (*detail).to_owned()).collect(),
        ..pb::Change::default()
    };
    vec![
        change("listener/api", "added", &["address: 0.0.0.0:8080", "protocol: tcp to app"]),
        pb::Change { drained: 12, ..change("listener/health", "removed", &[]) },
        pb::Change {
            untouched: 800,
            drained: 434,
            ..change("pool/app", "changed", &["endpoint 10.0.0.2:8443: weight 1 -> 0"])
        },
    ]
}

fn progress(remaining: u64, finished: u64, cut: u64, seconds: i64) -> pb::DrainProgress {
    pb::DrainProgress {
        remaining,
        finished,
        cut,
        elapsed: span(seconds, 0),
        left: span(30 - seconds, 0),
        mode: "deadline".to_owned(),
        ..Default::default()
    }
}

fn why() -> pb::WhyResponse {
    pb::WhyResponse {
        object: "listener/health".to_owned(),
        effective: "stopped".to_owned(),
        decided_by: "override".to_owned(),
        configured: "accepts on 127.0.0.1:0".to_owned(),
        r#override: listeners().swap_remove(0).r#override,
        observed: "no socket is bound".to_owned(),
        explanation: "Stopped by an override, whatever the file says, until it expires or is cleared.".to_owned(),
    }
}

fn why_pool() -> pb::WhyResponse {
    let effective = "2 of 2 endpoints take connections, of which 1 can be reached".to_owned();
    pb::WhyResponse {
        object: "pool/app".to_owned(),
        explanation: format!(
            "pool `app`: {effective}; `10.0.0.1:8443` has weight 1, set by anna; the last connect to `10.0.0.2:8443` failed \
             12s ago: connection refused"
        ),
        effective,
        decided_by: "override".to_owned(),
        configured: "2 endpoints".to_owned(),
        r#override: None,
        observed: "up".to_owned(),
    }
}

fn events() -> Vec<pb::Event> {
    let event = |seconds, kind: &str, object: &str, text: &str, by| pb::Event {
        at: at(seconds),
        kind: kind.to_owned(),
        object: object.to_owned(),
        text: text.to_owned(),
        by,
    };
    vec![
        event(0, "listener-stopped", "listener/health", "stopped for 10m", by("bert", "noisy probes")),
        event(3, "endpoint-failing", "endpoint/app/10.0.0.2:8443", "connection refused", None),
        event(9, "shutdown", "", "draining, 30s to the deadline", by("anna", "")),
    ]
}
