//! Answers as JSON. Names are those of the proto file; a duration is a number
//! of seconds under a name that ends in `_seconds`; a time is an RFC 3339 text;
//! what is absent is null.

use serde_json::{Value, json};

use crate::pb;

use super::units;

/// What can be written as JSON.
pub(crate) trait ToJson {
    /// The value; its field names are stable.
    fn to_json(&self) -> Value;
}

/// Objects whose fields all convert under their own names.
macro_rules! fields {
    ($type:ty: $($field:ident),*) => {
        impl ToJson for $type {
            fn to_json(&self) -> Value {
                json!({ $(name(stringify!($field)): self.$field.to_json()),* })
            }
        }
    };
}

fields!(pb::Provenance: who, why);
fields!(pb::Override: value, by, set_at, expires_at);
fields!(pb::Figures: active, total, bytes_from_downstream, bytes_to_downstream);
fields!(pb::GetStatusResponse: version, pid, state, started_at, generation, applied_at, last_reload, config_path,
    candidate_by, figures, fds_used, fds_limit, workers, overrides, log_level, log_destination, memory_bytes, restored_from,
    restored_by, pending, overload, limits);
fields!(pb::LimitUse: name, used, limit);
fields!(pb::Refused: cause, count);
fields!(pb::Worker: index, active, accepted, turns, responsive, cpu, r#override, accepting);
fields!(pb::ListListenersResponse: listeners);
fields!(pb::Listener: name, address, protocol, pool, pools, r#override, split_override, state, figures, accept_errors,
    bound, origin, limits, refused);
fields!(pb::PoolShare: pool, configured_weight, weight);
fields!(pb::SetSplitResponse: listener);
fields!(pb::ExplainResponse: listener, hash, shares, split_override, workers, pools, refused_by, notes,
    explanation);
fields!(pb::WorkerChoice: worker, pool, endpoint, why);
fields!(pb::PoolChoice: pool, policy, endpoints, more, open);
fields!(pb::EndpointChoice: address, weight, share_percent, backup, load, max_connections, out);
fields!(pb::ListPoolsResponse: pools);
fields!(pb::Pool: name, policy, endpoints, r#override, state, reachable, figures, listeners, panic, limits, refused);
fields!(pb::EndpointHealth: standing, why, since, healthy_at, check, last, ejections, ejected_until,
    not_ejected, ejections_refused);
fields!(pb::CloseConnectionResponse: closed, unknown_ids);
fields!(pb::GetConfigResponse: toml, generation, path, candidate_by, applied_at);
fields!(pb::PlanResponse: changes, generation, obstacles, notes);
fields!(pb::Change: object, kind, details, untouched, drained, cut);
fields!(pb::ReloadResponse: generation, changes, pending);
fields!(pb::Pending: generation, former, until, must_confirm, guard, trouble);
fields!(pb::ConfirmResponse: generation);
fields!(pb::RollbackResponse: generation, restored, changes);
fields!(pb::GetHistoryResponse: entries);
fields!(pb::HistoryEntry: at, kind, generation, origin, by, summary, changes, more_changes, verdict, reason, in_force,
    kept);
fields!(pb::SetEndpointResponse: endpoint);
fields!(pb::WhyResponse: object, effective, decided_by, configured, r#override, observed, explanation);
fields!(pb::SetLogLevelResponse: previous);
fields!(pb::RebalanceResponse: moved);
fields!(pb::Moved: from, to, connections);
fields!(pb::Event: at, kind, object, text, by);
fields!(pb::KernelFigure: name, before, after);
fields!(pb::UndrainResponse:);
fields!(pb::StartListenerResponse: state, explanation);
fields!(pb::StopListenerResponse:);

impl ToJson for pb::UpgradeProgress {
    fn to_json(&self) -> Value {
        use pb::upgrade_progress::Of;
        match &self.of {
            Some(Of::Reached(phase)) => json!({ "reached": phase.to_json() }),
            Some(Of::Moved(moved)) => json!({ "moved": { "moved": moved.moved, "of": moved.of } }),
            Some(Of::Ended(receipt)) => json!({ "ended": receipt.to_json() }),
            None => json!({}),
        }
    }
}

impl ToJson for pb::UpgradePhase {
    fn to_json(&self) -> Value {
        json!({ "phase": self.phase, "at_seconds": self.at.to_json() })
    }
}

impl ToJson for pb::CheckResult {
    fn to_json(&self) -> Value {
        json!({
            "pool": self.pool,
            "endpoint": self.endpoint,
            "check": self.check,
            "configured": self.configured,
            "outcome": self.outcome,
            "why": self.why,
            "took_seconds": self.took.to_json(),
        })
    }
}

impl ToJson for pb::UpgradeReceipt {
    fn to_json(&self) -> Value {
        json!({
            "verdict": self.verdict,
            "reason": self.reason,
            "by": self.by.to_json(),
            "began_at": self.began_at.to_json(),
            "took_seconds": self.took.to_json(),
            "from_version": self.from_version,
            "from_pid": self.from_pid,
            "to_version": self.to_version,
            "to_pid": self.to_pid,
            "phases": self.phases.to_json(),
            "sockets": self.sockets,
            "moved": self.moved,
            "drained": self.drained,
            "lost": self.lost,
            "longest_pause_seconds": self.longest_pause.to_json(),
            "kernel": self.kernel.to_json(),
        })
    }
}

impl ToJson for pb::ShutdownResponse {
    fn to_json(&self) -> Value {
        json!({
            "deadline_seconds": self.deadline.to_json(),
            "lame_duck_seconds": self.lame_duck.to_json(),
            "gradual_seconds": self.gradual.to_json(),
        })
    }
}

impl ToJson for pb::Guard {
    fn to_json(&self) -> Value {
        json!({
            "threshold_percent": self.threshold_percent,
            "min_connections": self.min_connections,
            "watch_seconds": self.watch.to_json(),
        })
    }
}

impl ToJson for pb::Endpoint {
    fn to_json(&self) -> Value {
        json!({
            "address": self.address,
            "configured_weight": self.configured_weight,
            "override": self.r#override.to_json(),
            "weight": self.weight,
            "share_percent": self.share_percent,
            "backup": self.backup,
            "max_connections": self.max_connections,
            "load": self.load,
            "state": self.state,
            "figures": self.figures.to_json(),
            "connect_failures": self.connect_failures,
            "last_failure": self.last_failure,
            "last_failure_at": self.last_failure_at.to_json(),
            "mean_connect_time_seconds": self.mean_connect_time.to_json(),
            "health": self.health.to_json(),
        })
    }
}

impl ToJson for pb::Probe {
    fn to_json(&self) -> Value {
        json!({ "at": self.at.to_json(), "took_seconds": self.took.to_json(), "failure": self.failure })
    }
}

impl ToJson for pb::Connection {
    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "worker": self.worker,
            "listener": self.listener,
            "source": self.source,
            "proxy": self.proxy,
            "pool": self.pool,
            "endpoint": self.endpoint,
            "state": self.state,
            "since": self.since.to_json(),
            "idle_seconds": self.idle.to_json(),
            "bytes_from_downstream": self.bytes_from_downstream,
            "bytes_to_downstream": self.bytes_to_downstream,
        })
    }
}

impl ToJson for pb::DrainProgress {
    fn to_json(&self) -> Value {
        json!({
            "remaining": self.remaining,
            "finished": self.finished,
            "cut": self.cut,
            "elapsed_seconds": self.elapsed.to_json(),
            "left_seconds": self.left.to_json(),
            "done": self.done,
            "outcome": self.outcome,
            "retired": self.retired,
            "estimate_seconds": self.estimate.to_json(),
            "accepting_seconds": self.accepting.to_json(),
            "mode": self.mode,
            "moved": self.moved,
        })
    }
}

impl ToJson for prost_types::Timestamp {
    fn to_json(&self) -> Value {
        units::time(Some(self)).map(|time| humantime::format_rfc3339_millis(time).to_string()).into()
    }
}

impl ToJson for prost_types::Duration {
    fn to_json(&self) -> Value {
        units::span(Some(self)).map(|span| span.as_secs_f64()).into()
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn to_json(&self) -> Value {
        self.iter().map(T::to_json).collect()
    }
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl ToJson for $type {
            fn to_json(&self) -> Value {
                json!(self)
            }
        })*
    };
}

plain!(String, bool, u32, u64);

/// A field's name without Rust's mark for keywords.
fn name(field: &str) -> &str {
    field.strip_prefix("r#").unwrap_or(field)
}
