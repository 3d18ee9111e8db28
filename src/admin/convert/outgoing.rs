//! Answers, in the words of the API.

pub(in crate::admin) mod balancing;
pub(in crate::admin) mod generations;
pub(in crate::admin) mod health;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use tonic::Status;

use crate::{
    control::{
        self, ChangeKind, ConnectionState, DrainOutcome, EndpointOverride, Layer, ListenerOverride, ListenerState,
        PoolOverride, Refusal, WorkerOverride,
    },
    pb,
};

/// Kind of the event that tells a slow reader how many it missed.
pub(in crate::admin) const MISSED: &str = "missed";

/// The gRPC code that belongs to a refusal, with its message.
pub(in crate::admin) fn refused(refusal: Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::Invalid(_) => Status::invalid_argument(message),
        Refusal::NotFound(_) => Status::not_found(message),
        Refusal::Precondition(_) => Status::failed_precondition(message),
        Refusal::Busy(_) => Status::aborted(message),
        Refusal::Timeout(_) => Status::deadline_exceeded(message),
        Refusal::ShuttingDown => Status::unavailable(message),
    }
}

/// What moved between workers.
pub(in crate::admin) fn rebalanced(moved: Vec<control::Moved>) -> pb::RebalanceResponse {
    let index = |worker: usize| u32::try_from(worker).unwrap_or(u32::MAX);
    let moved =
        moved.into_iter().map(|each| pb::Moved { from: index(each.from), to: index(each.to), connections: each.count });
    pb::RebalanceResponse { moved: moved.collect() }
}

/// Keeps only the object called `name`, if one is asked for.
///
/// # Errors
/// NOT_FOUND with the names that there are.
pub(in crate::admin) fn only<T>(
    kind: &str,
    name: &str,
    objects: Vec<T>,
    name_of: impl Fn(&T) -> &str,
) -> Result<Vec<T>, Status> {
    if name.is_empty() {
        return Ok(objects);
    }
    let names: BTreeSet<_> = objects.iter().map(&name_of).collect();
    if !names.contains(name) {
        let there_are =
            if names.is_empty() { "none".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") };
        return Err(Status::not_found(format!("there is no {kind} `{name}`; there are: {there_are}")));
    }
    Ok(objects.into_iter().filter(|object| name_of(object) == name).collect())
}

/// The daemon at a glance.
pub(in crate::admin) fn status(status: control::Status) -> pb::GetStatusResponse {
    let (restored_from, restored_by) = status.restored.unwrap_or_default();
    pb::GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        state: status.state.as_str().to_owned(),
        started_at: at(status.started_at),
        generation: status.generation,
        applied_at: at(status.applied_at),
        last_reload: match status.last_reload {
            None => String::new(),
            Some(Ok(())) => "ok".to_owned(),
            Some(Err(reason)) => reason,
        },
        config_path: status.config_path.unwrap_or_default(),
        figures: Some(figures(status.figures)),
        fds_used: status.fds_used,
        fds_limit: status.fds_limit,
        workers: status.workers.into_iter().map(worker).collect(),
        overrides: u32::try_from(status.overrides).unwrap_or(u32::MAX),
        log_level: status.log_level.as_str().to_owned(),
        memory_bytes: status.memory_bytes,
        log_destination: status.log_destination,
        candidate_by: status.candidate_by.unwrap_or_default(),
        restored_from,
        restored_by,
        pending: status.pending.map(generations::pending),
        overload: status.overload,
        limits: status.limits.into_iter().map(limit).collect(),
    }
}

fn limit(limit: control::LimitUse) -> pb::LimitUse {
    pb::LimitUse { name: limit.name, used: limit.used, limit: limit.limit }
}

fn worker(worker: control::WorkerView) -> pb::Worker {
    pb::Worker {
        index: index(worker.index),
        active: worker.active,
        accepted: worker.accepted,
        turns: worker.turns,
        responsive: worker.responsive,
        cpu: worker.cpu,
        r#override: worker.override_.map(|over| override_(over, |WorkerOverride::Draining| "draining".to_owned())),
        accepting: worker.accepting,
    }
}

/// A listener.
pub(in crate::admin) fn listener(view: control::ListenerView) -> pb::Listener {
    pb::Listener {
        name: view.config.name.clone(),
        address: view.config.address.to_string(),
        protocol: view.config.protocol.as_str().to_owned(),
        pool: match view.shares.as_slice() {
            [only] => only.pool.clone(),
            _ => String::new(),
        },
        pools: balancing::shares(view.shares),
        split_override: balancing::split(view.split),
        r#override: view.override_.map(|over| {
            override_(over, |value| match value {
                ListenerOverride::Stopped => "stopped".to_owned(),
                ListenerOverride::Draining => "draining".to_owned(),
            })
        }),
        state: match view.state {
            ListenerState::Accepting => "accepting",
            ListenerState::Paused => "paused",
            ListenerState::Draining => "draining",
            ListenerState::Stopped => "stopped",
            ListenerState::Removed => "removed",
        }
        .to_owned(),
        figures: Some(figures(view.figures)),
        accept_errors: view.accept_errors,
        bound: view.bound,
        origin: if view.inherited { "systemd" } else { "bound" }.to_owned(),
        limits: view.limits.into_iter().map(limit).collect(),
        refused: by_cause(view.refused),
    }
}

fn by_cause(refused: Vec<(&'static str, u64)>) -> Vec<pb::Refused> {
    refused.into_iter().map(|(cause, count)| pb::Refused { cause: cause.to_owned(), count }).collect()
}

/// A pool.
pub(in crate::admin) fn pool(view: control::PoolView) -> pb::Pool {
    pb::Pool {
        state: view.state.as_str().to_owned(),
        reachable: index(view.reachable()),
        policy: view.policy.as_str().to_owned(),
        name: view.name,
        r#override: view.override_.map(|over| override_(over, |PoolOverride::Draining| "draining".to_owned())),
        endpoints: view.endpoints.into_iter().map(endpoint).collect(),
        figures: Some(figures(view.figures)),
        listeners: view.listeners,
        panic: view.panics,
        limits: view.limits.into_iter().map(limit).collect(),
        refused: by_cause(view.refused),
    }
}

/// An endpoint.
pub(in crate::admin) fn endpoint(view: control::EndpointView) -> pb::Endpoint {
    let (last_failure, last_failure_at) = view.last_failure.unzip();
    pb::Endpoint {
        address: view.address,
        configured_weight: view.configured_weight.into(),
        r#override: view.override_.map(|over| {
            override_(over, |value| match value {
                EndpointOverride::Weight(weight) => format!("weight {weight}"),
                EndpointOverride::Draining => "draining".to_owned(),
                EndpointOverride::Maintenance => "maintenance".to_owned(),
            })
        }),
        weight: view.weight.into(),
        state: view.state.as_str().to_owned(),
        figures: Some(figures(view.figures)),
        connect_failures: view.connect_failures,
        last_failure: last_failure.unwrap_or_default(),
        last_failure_at: last_failure_at.and_then(at),
        mean_connect_time: view.mean_connect_time.and_then(lasting),
        health: view.health.map(health::of_endpoint),
        backup: view.backup,
        max_connections: view.max_connections.unwrap_or_default(),
        load: view.load,
        share_percent: view.percent,
    }
}

/// A live connection.
pub(in crate::admin) fn connection(view: control::ConnectionView) -> pb::Connection {
    let (pool, endpoint) = view.upstream.unwrap_or_default();
    pb::Connection {
        id: id(view.id),
        worker: index(view.worker),
        listener: view.listener,
        source: view.source,
        pool,
        endpoint,
        state: match view.state {
            ConnectionState::Identifying => "identifying",
            ConnectionState::Dialing => "dialing",
            ConnectionState::Open => "open",
            ConnectionState::HalfClosed => "half-closed",
            ConnectionState::Closing => "closing",
        }
        .to_owned(),
        since: at(view.since),
        idle: lasting(view.idle),
        bytes_from_downstream: view.bytes_from_downstream,
        bytes_to_downstream: view.bytes_to_downstream,
        proxy: view.proxy.unwrap_or_default(),
    }
}

/// How many connections were ended.
pub(in crate::admin) fn closed(outcome: control::CloseOutcome) -> pb::CloseConnectionResponse {
    let unknown_ids = outcome.unknown.into_iter().map(id).collect();
    pb::CloseConnectionResponse { closed: outcome.closed, unknown_ids }
}

/// A plan.
pub(in crate::admin) fn plan(plan: control::PlanView) -> pb::PlanResponse {
    let changes = plan.changes.into_iter().map(change).collect();
    pb::PlanResponse { changes, generation: plan.generation, obstacles: plan.obstacles, notes: plan.notes }
}

/// A reload.
pub(in crate::admin) fn reloaded(outcome: control::ReloadOutcome) -> pb::ReloadResponse {
    let changes = outcome.changes.into_iter().map(change).collect();
    let pending = outcome.pending.map(generations::pending);
    pb::ReloadResponse { generation: outcome.generation, changes, pending }
}

fn change(change: control::Change) -> pb::Change {
    pb::Change {
        object: change.object,
        kind: match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        }
        .to_owned(),
        details: change.details,
        untouched: change.untouched,
        drained: change.drained,
        cut: change.cut,
    }
}

/// A shutdown; `None`: what is open is not waited for.
pub(in crate::admin) fn shutdown(plan: Option<control::DrainPlan>) -> pb::ShutdownResponse {
    let Some(plan) = plan else { return pb::ShutdownResponse::default() };
    let lame_duck = Some(plan.lame_duck).filter(|time| !time.is_zero()).and_then(lasting);
    let gradual = plan.gradual.and_then(lasting);
    pb::ShutdownResponse { deadline: plan.deadline.and_then(lasting), lame_duck, gradual }
}

/// A listener that was started.
pub(in crate::admin) fn started(explanation: control::Explanation) -> pb::StartListenerResponse {
    pb::StartListenerResponse { state: explanation.effective, explanation: explanation.sentence }
}

/// Progress of a drain.
pub(in crate::admin) fn progress(progress: control::DrainProgress) -> pb::DrainProgress {
    let outcome = progress.outcome.map(|outcome| match outcome {
        DrainOutcome::Drained => "drained",
        DrainOutcome::Undrained => "undrained",
        DrainOutcome::Shutdown => "shutdown",
        DrainOutcome::HandedOver => "handed-over",
    });
    pb::DrainProgress {
        remaining: progress.remaining,
        finished: progress.finished,
        cut: progress.cut,
        elapsed: lasting(progress.elapsed),
        left: progress.left.and_then(lasting),
        done: outcome.is_some(),
        outcome: outcome.unwrap_or_default().to_owned(),
        retired: progress.retired,
        estimate: progress.estimate.and_then(lasting),
        accepting: progress.accepting.and_then(lasting),
        mode: progress.mode.as_str().to_owned(),
        moved: progress.moved,
    }
}

/// Which layer decides.
pub(in crate::admin) fn explanation(explanation: control::Explanation) -> pb::WhyResponse {
    pb::WhyResponse {
        object: explanation.object,
        effective: explanation.effective,
        decided_by: match explanation.decided_by {
            Layer::Configured => "configured",
            Layer::Override => "override",
            Layer::Observed => "observed",
        }
        .to_owned(),
        configured: explanation.configured,
        r#override: explanation.override_.map(|over| override_(over, |value| value)),
        observed: explanation.observed,
        explanation: explanation.sentence,
    }
}

/// Something that happened.
pub(in crate::admin) fn event(event: control::Event) -> pb::Event {
    pb::Event {
        at: at(event.at),
        kind: event.kind.as_str().to_owned(),
        object: event.object,
        text: event.text,
        by: event.by.map(by),
    }
}

/// A notice to a reader that was too slow.
pub(in crate::admin) fn missed(count: u64, now: SystemTime) -> pb::Event {
    let text = format!("{count} events were missed: this reader was too slow");
    pb::Event { at: at(now), kind: MISSED.to_owned(), text, ..Default::default() }
}

/// A connection's id.
pub(in crate::admin) fn id(id: u64) -> String {
    format!("{id:x}")
}

/// A point in time.
pub(in crate::admin) fn at(time: SystemTime) -> Option<prost_types::Timestamp> {
    Some(time.into())
}

pub(in crate::admin) fn lasting(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

fn override_<V>(over: control::Override<V>, text: impl FnOnce(V) -> String) -> pb::Override {
    pb::Override {
        value: text(over.value),
        by: Some(by(over.by)),
        set_at: at(over.set_at),
        expires_at: over.expires_at.and_then(at),
    }
}

fn by(by: control::Provenance) -> pb::Provenance {
    pb::Provenance { who: by.who, why: by.why }
}

fn figures(figures: control::Figures) -> pb::Figures {
    pb::Figures {
        active: figures.active,
        total: figures.total,
        bytes_from_downstream: figures.bytes_from_downstream,
        bytes_to_downstream: figures.bytes_to_downstream,
    }
}

fn index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
