//! What was counted.

use super::{
    Wrong, from_optional_time,
    own::{from_own, to_own},
    there,
};
use crate::{
    control::{EndpointLedger, Ledger, ListenerLedger, PoolLedger, WorkerLedger},
    metrics::HistogramSnapshot,
    pb::handover as pb,
};

pub(in super::super) fn to_ledger(ledger: &Ledger) -> pb::Ledger {
    pb::Ledger {
        workers: ledger.workers.iter().map(worker).collect(),
        listeners: ledger.listeners.iter().map(|(name, each)| listener(name, each)).collect(),
        pools: ledger
            .pools
            .iter()
            .map(|(name, each)| pb::PoolLedger {
                name: name.clone(),
                no_endpoint: each.no_endpoint,
                full: each.full,
                retries: each.retries,
                retries_denied: each.retries_denied,
                queued: each.queued,
                queue_timeouts: each.queue_timeouts,
            })
            .collect(),
        endpoints: ledger.endpoints.iter().map(|(name, each)| endpoint(name, each)).collect(),
        reloads_applied: ledger.reloads.0,
        reloads_refused: ledger.reloads.1,
        departed_total: ledger.departed.0,
        departed_bytes_from_downstream: ledger.departed.1,
        departed_bytes_to_downstream: ledger.departed.2,
        control: Some(to_own(&ledger.control)),
    }
}

pub(in super::super) fn from_ledger(ledger: pb::Ledger) -> Result<Ledger, Wrong> {
    Ok(Ledger {
        workers: ledger.workers.into_iter().map(from_worker).collect(),
        listeners: ledger.listeners.into_iter().map(from_listener).collect(),
        pools: ledger.pools.into_iter().map(from_pool).collect(),
        endpoints: ledger.endpoints.into_iter().map(from_endpoint).collect::<Result<_, _>>()?,
        reloads: (ledger.reloads_applied, ledger.reloads_refused),
        departed: (ledger.departed_total, ledger.departed_bytes_from_downstream, ledger.departed_bytes_to_downstream),
        control: from_own(ledger.control.unwrap_or_default()),
    })
}

fn from_pool(each: pb::PoolLedger) -> (String, PoolLedger) {
    let ledger = PoolLedger {
        no_endpoint: each.no_endpoint,
        retries: each.retries,
        retries_denied: each.retries_denied,
        queued: each.queued,
        queue_timeouts: each.queue_timeouts,
        full: each.full,
    };
    (each.name, ledger)
}

fn worker(each: &WorkerLedger) -> pb::WorkerLedger {
    pb::WorkerLedger {
        turns: each.turns,
        events: each.events,
        accepted: each.accepted,
        turn_time: Some(histogram(&each.turn_time)),
        moved_in: each.moved_in,
        moved_out: each.moved_out,
        redialed: each.redialed,
    }
}

fn from_worker(each: pb::WorkerLedger) -> WorkerLedger {
    WorkerLedger {
        turns: each.turns,
        events: each.events,
        accepted: each.accepted,
        turn_time: from_histogram(each.turn_time),
        moved_in: each.moved_in,
        moved_out: each.moved_out,
        redialed: each.redialed,
    }
}

fn listener(name: &str, each: &ListenerLedger) -> pb::ListenerLedger {
    let closed = each.closed.iter().map(|((by, phase, cause), count)| pb::Closed {
        by: by.clone(),
        phase: phase.clone(),
        cause: cause.clone(),
        count: *count,
    });
    let refused = each.refused.iter().map(|(cause, count)| pb::RefusedLedger { cause: cause.clone(), count: *count });
    pb::ListenerLedger {
        name: name.to_owned(),
        accepted: each.accepted,
        bytes_from_downstream: each.bytes_from_downstream,
        bytes_to_downstream: each.bytes_to_downstream,
        accept_errors: each.accept_errors,
        accept_pauses: each.accept_pauses,
        closed: closed.collect(),
        duration: Some(histogram(&each.duration)),
        refused: refused.collect(),
    }
}

fn from_listener(each: pb::ListenerLedger) -> (String, ListenerLedger) {
    let closed = each.closed.into_iter().map(|closed| ((closed.by, closed.phase, closed.cause), closed.count));
    let ledger = ListenerLedger {
        accepted: each.accepted,
        bytes_from_downstream: each.bytes_from_downstream,
        bytes_to_downstream: each.bytes_to_downstream,
        accept_errors: each.accept_errors,
        accept_pauses: each.accept_pauses,
        closed: closed.collect(),
        refused: each.refused.into_iter().map(|refused| (refused.cause, refused.count)).collect(),
        duration: from_histogram(each.duration),
    };
    (each.name, ledger)
}

fn endpoint((pool, address): &(String, String), each: &EndpointLedger) -> pb::EndpointLedger {
    pb::EndpointLedger {
        name: Some(pb::EndpointName { pool: pool.clone(), address: address.clone() }),
        connected: each.connected,
        bytes_to_upstream: each.bytes_to_upstream,
        bytes_from_upstream: each.bytes_from_upstream,
        connect_failures: each.connect_failures,
        early_resets: each.early_resets,
        last_failure: each.last_failure.map_or(0, |(errno, _)| errno),
        last_failure_at: each.last_failure.map(|(_, at)| at.into()),
        last_success_at: each.last_success_at.map(Into::into),
        connect_time: Some(histogram(&each.connect_time)),
    }
}

fn from_endpoint(each: pb::EndpointLedger) -> Result<((String, String), EndpointLedger), Wrong> {
    let name = there(each.name, "the name of an endpoint")?;
    let failed_at = from_optional_time(each.last_failure_at, "the time of a failure")?;
    let ledger = EndpointLedger {
        connected: each.connected,
        bytes_to_upstream: each.bytes_to_upstream,
        bytes_from_upstream: each.bytes_from_upstream,
        connect_failures: each.connect_failures,
        early_resets: each.early_resets,
        last_failure: failed_at.map(|at| (each.last_failure, at)),
        last_success_at: from_optional_time(each.last_success_at, "the time of a success")?,
        connect_time: from_histogram(each.connect_time),
    };
    Ok(((name.pool, name.address), ledger))
}

pub(super) fn histogram(each: &HistogramSnapshot) -> pb::Histogram {
    pb::Histogram { buckets: each.buckets.to_vec(), sum_micros: each.sum_micros }
}

pub(super) fn from_histogram(histogram: Option<pb::Histogram>) -> HistogramSnapshot {
    let mut snapshot = HistogramSnapshot::default();
    let Some(histogram) = histogram else { return snapshot };
    let last = snapshot.buckets.len() - 1;
    for (index, count) in histogram.buckets.into_iter().enumerate() {
        let bucket = &mut snapshot.buckets[index.min(last)];
        *bucket = bucket.saturating_add(count);
    }
    snapshot.sum_micros = histogram.sum_micros;
    snapshot
}
