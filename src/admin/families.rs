//! What `/metrics` publishes: a snapshot as Prometheus families.
//!
//! Labels take their values from the configuration and from fixed lists, so
//! their number is bounded. docs/metrics.md describes every family.

mod drains;
mod generations;
mod health;
mod listeners;
mod pools;
mod upgrades;

use std::time::{Duration, SystemTime};

use prometheus::proto::MetricFamily;

use crate::{
    control::{AccessFigures, DaemonState, Snapshot, WorkerSnapshot, WorkerView},
    metrics::{Bounds, Family},
};

const STATES: [DaemonState; 6] = [
    DaemonState::Starting,
    DaemonState::Serving,
    DaemonState::LameDuck,
    DaemonState::Draining,
    DaemonState::Drained,
    DaemonState::Stopping,
];

/// All families, in a fixed order. `cpu_time` is what the process has used in
/// user and system mode.
pub(super) fn families(snapshot: &Snapshot, cpu_time: Duration) -> Vec<MetricFamily> {
    let mut families = daemon(snapshot);
    families.extend(upgrades::families(snapshot));
    families.extend(generations::families(snapshot));
    families.extend(access(snapshot.access));
    families.extend(process(snapshot, cpu_time));
    families.extend(listeners::families(&snapshot.listeners));
    families.extend(pools::families(&snapshot.pools));
    families.extend(drains::families(&snapshot.drains));
    families.extend(states(&snapshot.status.workers));
    families.extend(workers(&snapshot.workers));
    families.into_iter().filter_map(Family::build).collect()
}

fn daemon(snapshot: &Snapshot) -> Vec<Family> {
    let status = &snapshot.status;
    let mut state = Family::gauge("netd_state", "State of the daemon: 1 for the one it is in, 0 for the others.");
    for each in STATES {
        state.sample(&[("state", each.as_str())], f64::from(u8::from(each == status.state)));
    }
    let (applied, refused) = snapshot.reloads;
    let mut reloads = Family::counter("netd_config_reloads_total", "Reloads by outcome.");
    reloads.count(&[("outcome", "applied")], applied);
    reloads.count(&[("outcome", "refused")], refused);
    let last_is_good = !matches!(status.last_reload, Some(Err(_)));
    vec![
        Family::info(
            "netd_build_info",
            "The running version as label; always 1.",
            &[("version", env!("CARGO_PKG_VERSION"))],
        ),
        state,
        Family::gauge("netd_config_generation", "Number of the configuration in force; 1 is the one of the start.")
            .with(&[], status.generation as f64),
        reloads,
        Family::gauge("netd_config_last_reload_successful", "1 unless the last reload was refused or taken back.")
            .with(&[], f64::from(u8::from(last_is_good))),
        Family::gauge(
            "netd_config_applied_timestamp_seconds",
            "When the configuration in force was applied, Unix time.",
        )
        .with(&[], unix_time(status.applied_at)),
        Family::gauge(
            "netd_overload_level",
            "0: no overload; 1: idle connections are closed; 2: new connections are refused as well.",
        )
        .with(&[], status.overload_level.into()),
        Family::gauge("netd_overrides", "Overrides in force: values set by an operator that stand above the file.")
            .with(&[], status.overrides as f64),
    ]
}

fn access(figures: AccessFigures) -> [Family; 2] {
    let mut dropped = Family::counter(
        "netd_access_log_dropped_total",
        "Lines of the access log that were dropped: the writer was behind, or the destination refused them.",
    );
    dropped.count(&[("cause", "behind")], figures.behind);
    dropped.count(&[("cause", "refused")], figures.refused);
    let mut lines = Family::counter("netd_access_log_lines_total", "Lines of the access log that were written.");
    lines.count(&[], figures.written);
    [lines, dropped]
}

/// The names every Prometheus client library uses.
fn process(snapshot: &Snapshot, cpu_time: Duration) -> Vec<Family> {
    let status = &snapshot.status;
    vec![
        Family::counter("process_cpu_seconds_total", "CPU time used by the process, user and system, in seconds.")
            .with(&[], cpu_time.as_secs_f64()),
        Family::gauge("process_open_fds", "File descriptors in use.").with(&[], status.fds_used as f64),
        Family::gauge("process_max_fds", "Limit on file descriptors (RLIMIT_NOFILE, soft).")
            .with(&[], status.fds_limit as f64),
        Family::gauge("process_resident_memory_bytes", "Resident memory in bytes.")
            .with(&[], status.memory_bytes as f64),
        Family::gauge("process_start_time_seconds", "When the process started, Unix time in seconds.")
            .with(&[], unix_time(status.started_at)),
    ]
}

fn states(workers: &[WorkerView]) -> [Family; 2] {
    let mut responsive = Family::gauge("netd_worker_responsive", "1 while the worker answers its heartbeat in time.");
    let mut accepting = Family::gauge("netd_worker_accepting", "1 while the worker takes new connections; 0: drained.");
    for worker in workers {
        let index = worker.index.to_string();
        let labels = [("worker", index.as_str())];
        responsive.sample(&labels, f64::from(u8::from(worker.responsive)));
        accepting.sample(&labels, f64::from(u8::from(worker.accepting)));
    }
    [responsive, accepting]
}

fn workers(workers: &[WorkerSnapshot]) -> Vec<Family> {
    let mut turns = Family::counter("netd_worker_turns_total", "Passes of the worker's loop.");
    let mut events = Family::counter("netd_worker_events_total", "Readiness events handled.");
    let mut accepted = Family::counter("netd_worker_connections_accepted_total", "Connections accepted by the worker.");
    let mut active = Family::gauge("netd_worker_connections_active", "Connections open on the worker.");
    let mut moved = Family::counter(
        "netd_worker_connections_moved_total",
        "Open connections taken over from (in) or handed over to (out) another worker; an upgrade's count as in.",
    );
    let mut redialed = Family::counter(
        "netd_worker_connections_redialed_total",
        "Connections without a byte that went from a removed endpoint to another of the pool.",
    );
    let mut buffers = Family::gauge("netd_worker_buffers", "Relay buffers held, in use or kept for use.");
    let mut timers = Family::gauge("netd_worker_timers", "Timers armed.");
    let mut lag = Family::histogram(
        "netd_worker_turn_seconds",
        "How long one pass of the loop took: what an event that came in meanwhile had to wait.",
    );
    for worker in workers {
        let index = worker.index.to_string();
        let labels = [("worker", index.as_str())];
        turns.count(&labels, worker.turns);
        events.count(&labels, worker.events);
        accepted.count(&labels, worker.accepted);
        active.count(&labels, worker.active);
        moved.count(&[("worker", index.as_str()), ("direction", "in")], worker.moved_in);
        moved.count(&[("worker", index.as_str()), ("direction", "out")], worker.moved_out);
        redialed.count(&labels, worker.redialed);
        buffers.count(&labels, worker.buffers);
        timers.count(&labels, worker.timers);
        lag.observed(&labels, &worker.turn_time, Bounds::TURN);
    }
    vec![turns, events, accepted, active, moved, redialed, buffers, timers, lag]
}

fn unix_time(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
