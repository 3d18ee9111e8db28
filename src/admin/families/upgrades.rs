//! Upgrades.

use crate::{control::Snapshot, metrics::Family};

/// By verdict over all processes of this line; and figures of the last one.
pub(super) fn families(snapshot: &Snapshot) -> Vec<Family> {
    let mut upgrades = Family::counter("netd_upgrades_total", "Upgrades of the running binary by verdict.");
    for (verdict, count) in &snapshot.upgrades {
        upgrades.count(&[("verdict", verdict.as_str())], *count);
    }
    let mut families = vec![upgrades];
    if let Some(last) = &snapshot.last_upgrade {
        families.extend([
            Family::gauge("netd_last_upgrade_connections_moved", "Connections that the last upgrade handed over.")
                .with(&[], last.moved as f64),
            Family::gauge("netd_last_upgrade_connections_lost", "Connections that the last upgrade lost.")
                .with(&[], last.lost as f64),
            Family::gauge(
                "netd_last_upgrade_longest_pause_seconds",
                "Longest time for which one connection was nobody's in the last upgrade.",
            )
            .with(&[], last.longest_pause.as_secs_f64()),
        ]);
    }
    families
}
