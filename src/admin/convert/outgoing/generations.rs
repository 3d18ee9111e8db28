//! Trials, rollbacks and the history.

use super::{at, by, change, lasting};
use crate::{
    control::{self, Origin},
    pb,
};

/// A reload that may still be taken back.
pub(super) fn pending(pending: control::Pending) -> pb::Pending {
    pb::Pending {
        generation: pending.generation,
        former: pending.former,
        until: at(pending.until),
        must_confirm: pending.must_confirm,
        guard: pending.guard.map(|rule| pb::Guard {
            threshold_percent: rule.threshold,
            min_connections: rule.min_connections,
            watch: lasting(rule.watch),
        }),
        trouble: pending.trouble.unwrap_or_default(),
    }
}

/// A rollback.
pub(in crate::admin) fn rolled_back(outcome: control::RollbackOutcome) -> pb::RollbackResponse {
    pb::RollbackResponse {
        generation: outcome.generation,
        restored: outcome.restored,
        changes: outcome.changes.into_iter().map(change).collect(),
    }
}

/// One change of the configuration.
pub(in crate::admin) fn entry(entry: control::HistoryEntry) -> pb::HistoryEntry {
    pb::HistoryEntry {
        at: at(entry.at),
        kind: entry.kind.as_str().to_owned(),
        generation: entry.generation.unwrap_or_default(),
        origin: match entry.origin {
            None => String::new(),
            Some(Origin::Own) => "own".to_owned(),
            Some(Origin::Candidate { .. }) => "candidate".to_owned(),
            Some(Origin::Restored { from, .. }) => format!("generation {from}"),
        },
        by: entry.by.map(by),
        summary: entry.summary,
        changes: entry.changes.into_iter().map(change).collect(),
        more_changes: entry.more_changes,
        verdict: entry.verdict.as_str().to_owned(),
        reason: entry.reason,
        in_force: entry.in_force,
        kept: entry.kept,
    }
}
