//! Families about drains.

use crate::{control::DrainSnapshot, metrics::Family};

/// Kinds of targets, so that each is there also while nothing drains.
const KINDS: [&str; 5] = ["daemon", "listener", "pool", "endpoint", "worker"];

/// What runs, and what those that ended have done.
pub(super) fn families(drains: &DrainSnapshot) -> Vec<Family> {
    let mut running = Family::gauge("netd_drains", "Drains under way, by the kind of their target.");
    let mut left = Family::gauge("netd_drain_connections_left", "Connections that drains under way wait for.");
    for kind in KINDS {
        let of_kind = || drains.running.iter().filter(|(each, _)| *each == kind);
        running.count(&[("target", kind)], of_kind().count() as u64);
        left.count(&[("target", kind)], of_kind().map(|(_, left)| left).sum());
    }
    let mut ended = Family::counter("netd_drains_ended_total", "Drains that have ended.");
    ended.count(&[("outcome", "drained")], drains.ended.0);
    ended.count(&[("outcome", "undrained")], drains.ended.1);
    let mut connections =
        Family::counter("netd_drain_connections_total", "Connections that ended in drains that have ended.");
    let (finished, retired, cut) = drains.connections;
    for (how, count) in [("finished", finished), ("retired", retired), ("cut", cut)] {
        connections.count(&[("how", how)], count);
    }
    vec![running, left, ended, connections]
}
