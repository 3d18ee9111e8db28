//! Sums of the workers' counters.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    guard::Outcomes,
    request::{Figures, PoolLimitFigures},
};
use crate::{
    config::Address,
    limit::Refused,
    metrics::{EndpointShard, HistogramSnapshot, ListenerShard, PoolShard},
    protocol::CloseReason,
};

/// New counters of a listener, one a worker.
pub(super) fn listener_shards(name: &str, workers: usize) -> Vec<Arc<ListenerShard>> {
    let name: Arc<str> = Arc::from(name);
    (0..workers).map(|_| Arc::new(ListenerShard::named(Arc::clone(&name), CloseReason::ALL.len()))).collect()
}

/// New counters of a pool, one a worker.
pub(super) fn pool_shards(name: &str, workers: usize) -> Vec<Arc<PoolShard>> {
    let name: Arc<str> = Arc::from(name);
    (0..workers).map(|_| Arc::new(PoolShard { name: Arc::clone(&name), ..PoolShard::default() })).collect()
}

/// New counters of an endpoint, one a worker.
pub(super) fn endpoint_shards(pool: &str, address: &Address, workers: usize) -> Vec<Arc<EndpointShard>> {
    let (pool, address): (Arc<str>, Arc<str>) = (Arc::from(pool), Arc::from(address.to_string()));
    let shard = || EndpointShard { pool: Arc::clone(&pool), address: Arc::clone(&address), ..EndpointShard::default() };
    (0..workers).map(|_| Arc::new(shard())).collect()
}

/// Adds `more` to `total`.
pub(super) fn add(total: &mut Figures, more: Figures) {
    total.active += more.active;
    total.total += more.total;
    total.bytes_from_downstream += more.bytes_from_downstream;
    total.bytes_to_downstream += more.bytes_to_downstream;
}

/// A listener's figures.
pub(super) fn listener(shards: &[Arc<ListenerShard>]) -> Figures {
    let mut sum = Figures::default();
    for shard in shards {
        let more = Figures {
            active: shard.active.get(),
            total: shard.accepted.get(),
            bytes_from_downstream: shard.bytes_from_downstream.get(),
            bytes_to_downstream: shard.bytes_to_downstream.get(),
        };
        add(&mut sum, more);
    }
    sum
}

/// An endpoint's figures: what was received from clients is what was sent to
/// it.
pub(super) fn endpoint(shards: &[Arc<EndpointShard>]) -> Figures {
    let mut sum = Figures::default();
    for shard in shards {
        let more = Figures {
            active: shard.active.get(),
            total: shard.connected.get(),
            bytes_from_downstream: shard.bytes_to_upstream.get(),
            bytes_to_downstream: shard.bytes_from_upstream.get(),
        };
        add(&mut sum, more);
    }
    sum
}

/// How a listener's connections ended.
pub(super) fn outcomes(shards: &[Arc<ListenerShard>]) -> Outcomes {
    let mut sum = Outcomes::default();
    for shard in shards {
        for (reason, counter) in CloseReason::ALL.into_iter().zip(&shard.closed) {
            sum.count(reason, counter.get());
        }
    }
    sum
}

/// Closed connections by reason.
pub(super) fn closed(shards: &[Arc<ListenerShard>]) -> Vec<(CloseReason, u64)> {
    let count = |reason: CloseReason| {
        shards.iter().filter_map(|shard| shard.closed.get(reason.index())).map(|counter| counter.get()).sum()
    };
    CloseReason::ALL.into_iter().map(|reason| (reason, count(reason))).collect()
}

/// Refused connections by cause.
pub(super) fn refused(shards: &[Arc<ListenerShard>]) -> [(Refused, u64); Refused::ALL.len()] {
    Refused::ALL.map(|cause| {
        let count = shards.iter().filter_map(|shard| shard.refused.get(cause.index()));
        (cause, count.map(crate::metrics::Counter::get).sum())
    })
}

/// Figures of a pool's limits.
pub(super) fn pool_limits(shards: &[Arc<PoolShard>], waiting: usize) -> PoolLimitFigures {
    let sum = |count: fn(&PoolShard) -> u64| shards.iter().map(|shard| count(shard)).sum();
    PoolLimitFigures {
        waiting: waiting as u64,
        queued: sum(|shard| shard.queued.get()),
        queue_timeouts: sum(|shard| shard.queue_timeouts.get()),
        retries_denied: sum(|shard| shard.retries_denied.get()),
    }
}

/// From accept to close.
pub(super) fn duration(shards: &[Arc<ListenerShard>]) -> HistogramSnapshot {
    let mut sum = HistogramSnapshot::default();
    shards.iter().for_each(|shard| shard.duration.add_to(&mut sum));
    sum
}

/// From connect to established.
pub(super) fn connect_time(shards: &[Arc<EndpointShard>]) -> HistogramSnapshot {
    let mut sum = HistogramSnapshot::default();
    shards.iter().for_each(|shard| shard.connect_time.add_to(&mut sum));
    sum
}

/// Failed connects.
pub(super) fn connect_failures(shards: &[Arc<EndpointShard>]) -> u64 {
    shards.iter().map(|shard| shard.connect_failures.get()).sum()
}

/// Whether a worker has paused accepting.
pub(super) fn is_paused(shards: &[Arc<ListenerShard>]) -> bool {
    shards.iter().any(|shard| shard.paused.get() > 0)
}

/// Whether the last connect failed.
pub(super) fn is_failing(shards: &[Arc<EndpointShard>]) -> bool {
    let success = shards.iter().map(|shard| shard.last_success_at.get()).max();
    last_failed(shards).is_some_and(|shard| Some(shard.last_failure_at.get()) > success)
}

/// Why and when the last failed connect failed; counters count from `epoch`.
pub(super) fn last_failure(shards: &[Arc<EndpointShard>], epoch: SystemTime) -> Option<(String, SystemTime)> {
    let shard = last_failed(shards)?;
    let errno = i32::try_from(shard.last_failure.get()).unwrap_or(0);
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
    let at = epoch.checked_add(Duration::from_millis(shard.last_failure_at.get())).unwrap_or(epoch);
    Some((text, at))
}

fn last_failed(shards: &[Arc<EndpointShard>]) -> Option<&Arc<EndpointShard>> {
    shards.iter().filter(|shard| shard.last_failure.get() > 0).max_by_key(|shard| shard.last_failure_at.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_over_all_workers() {
        let shards = listener_shards("web", 3);
        for (shard, n) in shards.iter().zip(1..) {
            shard.active.set(n);
            shard.accepted.set(10 * n);
            shard.bytes_to_downstream.set(100 * n);
            shard.closed[CloseReason::KILL.index()].set(n);
        }
        let sum = listener(&shards);
        assert_eq!((sum.active, sum.total, sum.bytes_to_downstream), (6, 60, 600));
        let closed = closed(&shards);
        assert_eq!(closed.len(), CloseReason::ALL.len());
        assert_eq!(closed.iter().find(|(reason, _)| *reason == CloseReason::KILL), Some(&(CloseReason::KILL, 6)));
    }

    #[test]
    fn the_latest_connect_decides_over_all_workers() {
        let shards: Vec<Arc<EndpointShard>> = (0..2).map(|_| Arc::default()).collect();
        assert!(!is_failing(&shards));
        shards[0].last_failure.set(111);
        shards[0].last_failure_at.set(500);
        assert!(is_failing(&shards));
        let (text, at) = last_failure(&shards, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(text, "Connection refused");
        assert_eq!(at, SystemTime::UNIX_EPOCH + Duration::from_millis(500));
        shards[1].last_success_at.set(600);
        assert!(!is_failing(&shards));
        assert!(last_failure(&shards, SystemTime::UNIX_EPOCH).is_some());
    }
}
