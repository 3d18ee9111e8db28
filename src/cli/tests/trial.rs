//! What the daemon of these tests says of trials, rollbacks and its history.

use tonic::{Response, Status};

use super::fake::{at, by, changes};
use crate::pb;

type Answer<T> = Result<Response<T>, Status>;

pub(super) fn pending(within: prost_types::Duration, guard: Option<pb::Guard>) -> pb::Pending {
    let guard = guard.map(|guard| pb::Guard { threshold_percent: guard.threshold_percent.max(5), ..guard });
    pb::Pending { generation: 4, former: 3, until: at(within.seconds), must_confirm: true, guard, ..Default::default() }
}

pub(super) fn confirm(request: pb::ConfirmRequest) -> Answer<pb::ConfirmResponse> {
    match request.generation {
        9 => Err(Status::failed_precondition("generation 4 waits for its confirmation, not 9")),
        _ => Ok(Response::new(pb::ConfirmResponse { generation: 4 })),
    }
}

pub(super) fn rollback(request: pb::RollbackRequest) -> Answer<pb::RollbackResponse> {
    match request.generation {
        9 => Err(Status::not_found("generation 9 is not kept; there is: 1, 2, 3, 4")),
        0 => Ok(Response::new(pb::RollbackResponse { generation: 5, restored: 2, changes: changes() })),
        restored => Ok(Response::new(pb::RollbackResponse { generation: 5, restored, changes: changes() })),
    }
}

/// The latest first.
pub(super) fn history() -> Vec<pb::HistoryEntry> {
    let text = str::to_owned;
    let entry = |kind: &str, generation, seconds, verdict: &str, summary: &str| pb::HistoryEntry {
        at: at(seconds),
        kind: text(kind),
        generation,
        by: by("anna", ""),
        summary: text(summary),
        verdict: text(verdict),
        kept: generation > 0,
        ..Default::default()
    };
    vec![
        pb::HistoryEntry {
            origin: text("generation 1"),
            by: None,
            in_force: true,
            ..entry("revert", 3, -192, "applied", "back to generation 1: 1 added, 1 changed")
        },
        pb::HistoryEntry {
            origin: text("candidate"),
            by: by("anna", "rollout 41"),
            changes: changes(),
            more_changes: 2,
            reason: text("not confirmed within 1m"),
            ..entry("reload", 2, -252, "reverted", "1 added, 1 changed, 1 removed")
        },
        pb::HistoryEntry {
            by: by("signal", "SIGHUP"),
            reason: text("the configuration is not valid: /etc/netd/netd.toml:3:1: unknown key"),
            ..entry("reload", 0, -3600, "refused", "")
        },
        pb::HistoryEntry {
            origin: text("own"),
            by: None,
            ..entry("start", 1, -273_600, "applied", "listeners: 2, pools: 1")
        },
    ]
}
