//! What was in force before, and what one may go back to.

use super::{Wrong, from_provenance, from_time, to_provenance, wrong};
use crate::{
    control::{Change, ChangeKind, HistoryEntry, HistoryKind, Judgement, KeptGeneration, Origin},
    pb::handover as pb,
};

pub(super) fn to_origin(origin: &Origin) -> pb::Origin {
    let mut written = pb::Origin::default();
    match origin {
        Origin::Own => {}
        Origin::Candidate { who } => written.candidate_by.clone_from(who),
        Origin::Restored { from, who } => (written.restored_from, written.restored_by) = (*from, who.clone()),
    }
    written
}

pub(super) fn from_origin(origin: pb::Origin) -> Origin {
    match origin {
        pb::Origin { candidate_by, restored_from: 0, .. } if candidate_by.is_empty() => Origin::Own,
        pb::Origin { candidate_by, restored_from: 0, .. } => Origin::Candidate { who: candidate_by },
        pb::Origin { restored_from, restored_by, .. } => Origin::Restored { from: restored_from, who: restored_by },
    }
}

pub(super) fn to_entry(entry: &HistoryEntry) -> pb::HistoryEntry {
    pb::HistoryEntry {
        at: Some(entry.at.into()),
        kind: entry.kind.as_str().to_owned(),
        generation: entry.generation.unwrap_or(0),
        origin: entry.origin.as_ref().map(to_origin),
        by: entry.by.as_ref().and_then(to_provenance),
        summary: entry.summary.clone(),
        changes: entry.changes.iter().map(to_change).collect(),
        more_changes: entry.more_changes,
        verdict: entry.verdict.as_str().to_owned(),
        reason: entry.reason.clone(),
    }
}

/// An entry of a kind that only a newer netd knows is left out by the caller.
pub(super) fn from_entry(entry: pb::HistoryEntry) -> Result<HistoryEntry, Wrong> {
    let kind = HistoryKind::ALL.into_iter().find(|each| each.as_str() == entry.kind);
    let verdict = Judgement::ALL.into_iter().find(|each| each.as_str() == entry.verdict);
    let (Some(kind), Some(verdict)) = (kind, verdict) else {
        return wrong(format!("no history: `{}`, `{}`", entry.kind, entry.verdict));
    };
    Ok(HistoryEntry {
        at: from_time(entry.at, "the time of a change")?,
        kind,
        generation: Some(entry.generation).filter(|&number| number > 0),
        origin: entry.origin.map(from_origin),
        by: entry.by.map(|by| from_provenance(Some(by))),
        summary: entry.summary,
        changes: entry.changes.into_iter().filter_map(from_change).collect(),
        more_changes: entry.more_changes,
        verdict,
        reason: entry.reason,
        in_force: false,
        kept: false,
    })
}

fn to_change(change: &Change) -> pb::Change {
    let kind = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Changed => "changed",
    };
    pb::Change {
        object: change.object.clone(),
        kind: kind.to_owned(),
        details: change.details.clone(),
        untouched: change.untouched,
        drained: change.drained,
        cut: change.cut,
    }
}

fn from_change(change: pb::Change) -> Option<Change> {
    let kind = match change.kind.as_str() {
        "added" => ChangeKind::Added,
        "removed" => ChangeKind::Removed,
        "changed" => ChangeKind::Changed,
        _ => return None,
    };
    let pb::Change { object, details, untouched, drained, cut, .. } = change;
    Some(Change { object, kind, details, untouched, drained, cut })
}

pub(super) fn to_kept(kept: &KeptGeneration) -> pb::KeptGeneration {
    let KeptGeneration { number, root, reverted, text } = kept.clone();
    pb::KeptGeneration { number, root, reverted, text }
}

pub(super) fn from_kept(kept: pb::KeptGeneration) -> KeptGeneration {
    let pb::KeptGeneration { number, root, reverted, text } = kept;
    KeptGeneration { number, root, reverted, text }
}
