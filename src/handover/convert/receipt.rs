//! The proof of an upgrade.

use std::time::Duration;

use super::{Wrong, from_provenance, from_time, nanos, to_provenance, wrong};
use crate::{
    control::{Phase, Receipt, Verdict},
    pb::handover as pb,
};

const PHASES: [Phase; 6] = [Phase::Spawned, Phase::Checked, Phase::Ready, Phase::Serving, Phase::Moving, Phase::Handed];
const VERDICTS: [Verdict; 4] = [Verdict::Upgraded, Verdict::Draining, Verdict::Refused, Verdict::Reverted];

pub(in super::super) fn to_receipt(receipt: &Receipt) -> pb::Receipt {
    let phases = receipt.phases.iter();
    let kernel = receipt.kernel.iter();
    pb::Receipt {
        verdict: receipt.verdict.as_str().to_owned(),
        reason: receipt.reason.clone(),
        by: to_provenance(&receipt.by),
        began_at: Some(receipt.began_at.into()),
        took_nanos: nanos(receipt.took),
        from_version: receipt.from.0.clone(),
        from_pid: receipt.from.1,
        to_version: receipt.to.0.clone(),
        to_pid: receipt.to.1,
        phases: phases
            .map(|(phase, after)| pb::Reached { phase: phase.as_str().to_owned(), nanos: nanos(*after) })
            .collect(),
        sockets: receipt.sockets,
        moved: receipt.moved,
        drained: receipt.drained,
        lost: receipt.lost,
        longest_pause_nanos: nanos(receipt.longest_pause),
        kernel: kernel
            .map(|(name, before, after)| pb::KernelFigure { name: name.clone(), before: *before, after: *after })
            .collect(),
    }
}

pub(super) fn verdict(word: &str) -> Option<Verdict> {
    VERDICTS.into_iter().find(|each| each.as_str() == word)
}

pub(in super::super) fn from_receipt(receipt: pb::Receipt) -> Result<Receipt, Wrong> {
    let Some(verdict) = verdict(&receipt.verdict) else {
        return wrong(format!("no verdict: `{}`", receipt.verdict));
    };
    // A phase that a newer netd has more is left out.
    let phases = receipt.phases.into_iter().filter_map(|reached| {
        let phase = PHASES.iter().find(|each| each.as_str() == reached.phase)?;
        Some((*phase, Duration::from_nanos(reached.nanos)))
    });
    Ok(Receipt {
        verdict,
        reason: receipt.reason,
        by: from_provenance(receipt.by),
        began_at: from_time(receipt.began_at, "the time of the beginning")?,
        took: Duration::from_nanos(receipt.took_nanos),
        from: (receipt.from_version, receipt.from_pid),
        to: (receipt.to_version, receipt.to_pid),
        phases: phases.collect(),
        sockets: receipt.sockets,
        moved: receipt.moved,
        drained: receipt.drained,
        lost: receipt.lost,
        longest_pause: Duration::from_nanos(receipt.longest_pause_nanos),
        kernel: receipt.kernel.into_iter().map(|each| (each.name, each.before, each.after)).collect(),
    })
}
