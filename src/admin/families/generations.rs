//! Families of reloads on trial and of rollbacks.

use super::unix_time;
use crate::{control::Snapshot, metrics::Family};

/// All of them.
pub(super) fn families(snapshot: &Snapshot) -> Vec<Family> {
    let returns = snapshot.returns;
    let mut trials =
        Family::counter("netd_config_trials_total", "Reloads on trial that have ended, but for those rolled back.");
    trials.count(&[("outcome", "confirmed")], returns.confirmed);
    trials.count(&[("outcome", "reverted-time")], returns.time);
    trials.count(&[("outcome", "reverted-guard")], returns.guard);
    let pending = snapshot.status.pending.as_ref();
    vec![
        trials,
        Family::counter("netd_config_rollbacks_total", "Rollbacks that an operator asked for.")
            .with(&[], returns.rollback as f64),
        Family::gauge("netd_config_trial_pending", "1 while a reload may still be taken back.")
            .with(&[], f64::from(u8::from(pending.is_some()))),
        Family::gauge(
            "netd_config_trial_end_timestamp_seconds",
            "When the reload on trial is taken back, or stays if only a guard watches it, Unix time; 0: none is.",
        )
        .with(&[], pending.map_or(0.0, |pending| unix_time(pending.until))),
    ]
}
