//! What was counted, by name: read from the workers' counters, told as the
//! difference to the last time, and added to the counters of other workers.

mod own;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::super::{
    figures,
    told::{Told, ToldEndpoint, ToldListener},
};
use super::types::{ControlLedger, EndpointLedger, Ledger, ListenerLedger, PoolLedger, WorkerLedger};
use crate::{
    limit::Refused,
    metrics::{Counter, EndpointShard, HistogramSnapshot, ListenerShard, PoolShard, WorkerShard},
    protocol::CloseReason,
};

/// All that the workers have counted now. `epoch`: times in counters are since then.
pub(in crate::control) fn read<'a>(
    told: &Told,
    workers: impl Iterator<Item = &'a Arc<WorkerShard>>,
    reloads: (u64, u64),
    epoch: SystemTime,
) -> Ledger {
    let departed = told.departed;
    Ledger {
        workers: workers.map(|shard| worker(shard)).collect(),
        listeners: told.listeners().map(|each| (each.config.name.clone(), listener(each))).collect(),
        pools: told.pools.iter().map(|(name, each)| (name.clone(), pool(&each.shards))).collect(),
        endpoints: told
            .endpoints(None)
            .map(|each| ((each.pool.clone(), each.address.to_string()), endpoint(each, epoch)))
            .collect(),
        reloads,
        departed: (departed.total, departed.bytes_from_downstream, departed.bytes_to_downstream),
        control: ControlLedger::default(),
    }
}

fn worker(shard: &WorkerShard) -> WorkerLedger {
    let mut turn_time = HistogramSnapshot::default();
    shard.turn_time.add_to(&mut turn_time);
    WorkerLedger {
        turns: shard.turns.get(),
        events: shard.events.get(),
        accepted: shard.accepted.get(),
        turn_time,
        moved_in: shard.moved_in.get(),
        moved_out: shard.moved_out.get(),
        redialed: shard.redialed.get(),
    }
}

fn listener(told: &ToldListener) -> ListenerLedger {
    let figures = figures::listener(&told.shards);
    let closed = figures::closed(&told.shards).into_iter().filter(|(_, count)| *count > 0);
    ListenerLedger {
        accepted: figures.total,
        bytes_from_downstream: figures.bytes_from_downstream,
        bytes_to_downstream: figures.bytes_to_downstream,
        accept_errors: told.shards.iter().map(|shard| shard.accept_errors.get()).sum(),
        accept_pauses: told.shards.iter().map(|shard| shard.accept_pauses.get()).sum(),
        closed: closed.map(|(reason, count)| (words(reason), count)).collect(),
        refused: refused(&told.shards),
        duration: figures::duration(&told.shards),
    }
}

fn refused(shards: &[Arc<ListenerShard>]) -> Vec<(String, u64)> {
    let count = |cause: Refused| {
        let counters = shards.iter().filter_map(|shard| shard.refused.get(cause.index()));
        (cause.as_str().to_owned(), counters.map(Counter::get).sum())
    };
    Refused::ALL.into_iter().map(count).filter(|(_, count)| *count > 0).collect()
}

fn pool(shards: &[Arc<PoolShard>]) -> PoolLedger {
    let sum = |counter: fn(&PoolShard) -> &Counter| shards.iter().map(|shard| counter(shard).get()).sum();
    PoolLedger {
        no_endpoint: sum(|shard| &shard.no_endpoint),
        retries: sum(|shard| &shard.retries),
        retries_denied: sum(|shard| &shard.retries_denied),
        queued: sum(|shard| &shard.queued),
        queue_timeouts: sum(|shard| &shard.queue_timeouts),
        full: sum(|shard| &shard.full),
    }
}

fn endpoint(told: &ToldEndpoint, epoch: SystemTime) -> EndpointLedger {
    let figures = figures::endpoint(&told.shards);
    let at = |millis: u64| epoch.checked_add(Duration::from_millis(millis)).unwrap_or(epoch);
    let failed = told.shards.iter().filter(|shard| shard.last_failure.get() > 0);
    let failed = failed.max_by_key(|shard| shard.last_failure_at.get());
    let succeeded = told.shards.iter().map(|shard| shard.last_success_at.get()).max().filter(|&millis| millis > 0);
    EndpointLedger {
        connected: figures.total,
        bytes_to_upstream: figures.bytes_from_downstream,
        bytes_from_upstream: figures.bytes_to_downstream,
        connect_failures: figures::connect_failures(&told.shards),
        early_resets: told.shards.iter().map(|shard| shard.early_resets.get()).sum(),
        last_failure: failed.map(|shard| (shard.last_failure.get(), at(shard.last_failure_at.get()))),
        last_success_at: succeeded.map(at),
        connect_time: figures::connect_time(&told.shards),
    }
}

fn words(reason: CloseReason) -> (String, String, String) {
    (reason.by.as_str().to_owned(), reason.phase.as_str().to_owned(), reason.cause.as_str().to_owned())
}

/// What was counted since `earlier`, an older look at the same.
pub(in crate::control) fn since(now: &Ledger, earlier: &Ledger) -> Ledger {
    let none = WorkerLedger::default();
    let workers = now.workers.iter().enumerate();
    Ledger {
        workers: workers.map(|(at, each)| worker_since(each, earlier.workers.get(at).unwrap_or(&none))).collect(),
        listeners: each_since(&now.listeners, &earlier.listeners, listener_since),
        pools: each_since(&now.pools, &earlier.pools, |now, before| PoolLedger {
            no_endpoint: now.no_endpoint.saturating_sub(before.no_endpoint),
            full: now.full.saturating_sub(before.full),
            retries: now.retries.saturating_sub(before.retries),
            retries_denied: now.retries_denied.saturating_sub(before.retries_denied),
            queued: now.queued.saturating_sub(before.queued),
            queue_timeouts: now.queue_timeouts.saturating_sub(before.queue_timeouts),
        }),
        endpoints: each_since(&now.endpoints, &earlier.endpoints, endpoint_since),
        reloads: (now.reloads.0.saturating_sub(earlier.reloads.0), now.reloads.1.saturating_sub(earlier.reloads.1)),
        departed: (
            now.departed.0.saturating_sub(earlier.departed.0),
            now.departed.1.saturating_sub(earlier.departed.1),
            now.departed.2.saturating_sub(earlier.departed.2),
        ),
        control: own::since(&now.control, &earlier.control),
    }
}

fn each_since<K: Clone + Eq + std::hash::Hash, V: Clone + Default>(
    now: &[(K, V)],
    earlier: &[(K, V)],
    since: impl Fn(&V, &V) -> V,
) -> Vec<(K, V)> {
    let before: HashMap<&K, &V> = earlier.iter().map(|(name, each)| (name, each)).collect();
    let none = V::default();
    now.iter().map(|(name, each)| (name.clone(), since(each, before.get(name).copied().unwrap_or(&none)))).collect()
}

fn worker_since(now: &WorkerLedger, before: &WorkerLedger) -> WorkerLedger {
    WorkerLedger {
        turns: now.turns.saturating_sub(before.turns),
        events: now.events.saturating_sub(before.events),
        accepted: now.accepted.saturating_sub(before.accepted),
        turn_time: now.turn_time.since(&before.turn_time),
        // Between two looks connections leave for another process, not for
        // another worker.
        moved_in: 0,
        moved_out: 0,
        redialed: now.redialed.saturating_sub(before.redialed),
    }
}

fn listener_since(now: &ListenerLedger, before: &ListenerLedger) -> ListenerLedger {
    ListenerLedger {
        accepted: now.accepted.saturating_sub(before.accepted),
        bytes_from_downstream: now.bytes_from_downstream.saturating_sub(before.bytes_from_downstream),
        bytes_to_downstream: now.bytes_to_downstream.saturating_sub(before.bytes_to_downstream),
        accept_errors: now.accept_errors.saturating_sub(before.accept_errors),
        accept_pauses: now.accept_pauses.saturating_sub(before.accept_pauses),
        closed: each_since(&now.closed, &before.closed, |now, before| now.saturating_sub(*before)),
        refused: each_since(&now.refused, &before.refused, |now, before| now.saturating_sub(*before)),
        duration: now.duration.since(&before.duration),
    }
}

fn endpoint_since(now: &EndpointLedger, before: &EndpointLedger) -> EndpointLedger {
    EndpointLedger {
        connected: now.connected.saturating_sub(before.connected),
        bytes_to_upstream: now.bytes_to_upstream.saturating_sub(before.bytes_to_upstream),
        bytes_from_upstream: now.bytes_from_upstream.saturating_sub(before.bytes_from_upstream),
        connect_failures: now.connect_failures.saturating_sub(before.connect_failures),
        early_resets: now.early_resets.saturating_sub(before.early_resets),
        last_failure: now.last_failure,
        last_success_at: now.last_success_at,
        connect_time: now.connect_time.since(&before.connect_time),
    }
}

/// What one worker adds to its own counters.
#[derive(Debug, Default)]
pub(in crate::control) struct Share {
    workers: Vec<(Arc<WorkerShard>, WorkerLedger)>,
    listeners: Vec<(Arc<ListenerShard>, ListenerLedger)>,
    pools: Vec<(Arc<PoolShard>, PoolLedger)>,
    endpoints: Vec<(Arc<EndpointShard>, EndpointLedger)>,
    epoch: Option<SystemTime>,
}

/// Deals a ledger out: each worker's own line to the worker of its place, all
/// else to the first. Objects that are unknown must have been made before.
pub(in crate::control) fn shares(
    ledger: Ledger,
    told: &Told,
    workers: &[Arc<WorkerShard>],
    epoch: SystemTime,
) -> Vec<Share> {
    let mut shares: Vec<Share> = workers.iter().map(|_| Share { epoch: Some(epoch), ..Share::default() }).collect();
    for (at, each) in ledger.workers.into_iter().enumerate() {
        let index = at % workers.len().max(1);
        if let (Some(share), Some(shard)) = (shares.get_mut(index), workers.get(index)) {
            share.workers.push((Arc::clone(shard), each));
        }
    }
    let Some(first) = shares.first_mut() else { return shares };
    for (name, each) in ledger.listeners {
        if let Some(shard) = told.any_listener(&name).and_then(|told| told.shards.first()) {
            first.listeners.push((Arc::clone(shard), each));
        }
    }
    for (name, each) in ledger.pools {
        if let Some(shard) = told.pools.get(&name).and_then(|told| told.shards.first()) {
            first.pools.push((Arc::clone(shard), each));
        }
    }
    let known: HashMap<(&str, String), &ToldEndpoint> =
        told.endpoints(None).map(|each| ((each.pool.as_str(), each.address.to_string()), each)).collect();
    for ((pool, address), each) in ledger.endpoints {
        let told = known.get(&(pool.as_str(), address));
        if let Some(shard) = told.and_then(|told| told.shards.first()) {
            first.endpoints.push((Arc::clone(shard), each));
        }
    }
    shares
}

impl Share {
    /// To be called on the thread that writes these counters.
    pub(in crate::control) fn add(self) {
        for (shard, each) in &self.workers {
            shard.turns.add(each.turns);
            shard.events.add(each.events);
            shard.accepted.add(each.accepted);
            shard.turn_time.absorb(&each.turn_time);
            shard.moved_in.add(each.moved_in);
            shard.moved_out.add(each.moved_out);
            shard.redialed.add(each.redialed);
        }
        for (shard, each) in &self.listeners {
            add_listener(shard, each);
        }
        for (shard, each) in &self.pools {
            shard.no_endpoint.add(each.no_endpoint);
            shard.full.add(each.full);
            shard.retries.add(each.retries);
            shard.retries_denied.add(each.retries_denied);
            shard.queued.add(each.queued);
            shard.queue_timeouts.add(each.queue_timeouts);
        }
        let epoch = self.epoch.unwrap_or(SystemTime::UNIX_EPOCH);
        for (shard, each) in &self.endpoints {
            add_endpoint(shard, each, epoch);
        }
    }
}

fn add_listener(shard: &ListenerShard, each: &ListenerLedger) {
    shard.accepted.add(each.accepted);
    shard.bytes_from_downstream.add(each.bytes_from_downstream);
    shard.bytes_to_downstream.add(each.bytes_to_downstream);
    shard.accept_errors.add(each.accept_errors);
    shard.accept_pauses.add(each.accept_pauses);
    shard.duration.absorb(&each.duration);
    for (reason, count) in &each.closed {
        // A word that this version does not know has no counter.
        let known = CloseReason::ALL.into_iter().find(|each| words(*each) == *reason);
        if let Some(counter) = known.and_then(|reason| shard.closed.get(reason.index())) {
            counter.add(*count);
        }
    }
    for (cause, count) in &each.refused {
        let known = Refused::ALL.into_iter().find(|each| each.as_str() == cause);
        if let Some(counter) = known.and_then(|cause| shard.refused.get(cause.index())) {
            counter.add(*count);
        }
    }
}

fn add_endpoint(shard: &EndpointShard, each: &EndpointLedger, epoch: SystemTime) {
    let millis = |at: SystemTime| {
        let since = at.duration_since(epoch).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1)
    };
    shard.connected.add(each.connected);
    shard.bytes_to_upstream.add(each.bytes_to_upstream);
    shard.bytes_from_upstream.add(each.bytes_from_upstream);
    shard.connect_failures.add(each.connect_failures);
    shard.early_resets.add(each.early_resets);
    shard.connect_time.absorb(&each.connect_time);
    if let Some((errno, at)) = each.last_failure
        && millis(at) > shard.last_failure_at.get()
    {
        shard.last_failure.set(errno);
        shard.last_failure_at.set(millis(at));
    }
    if let Some(at) = each.last_success_at {
        shard.last_success_at.set(shard.last_success_at.get().max(millis(at)));
    }
}

#[cfg(test)]
mod tests;
