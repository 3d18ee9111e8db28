use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::control::{state::State, testing::usual};

const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

/// The usual objects on so many workers.
fn told(workers: usize) -> Told {
    let state = State::new(Arc::new(usual()), EPOCH);
    let mut told = Told::default();
    for pool in &usual().pools {
        told.pool(pool, &state, workers);
    }
    for listener in &usual().listeners {
        told.listener(listener, workers);
    }
    told
}

/// Counts something everywhere on one worker.
fn count(told: &Told, worker: usize, n: u64) {
    for listener in told.listeners() {
        let shard = &listener.shards[worker];
        shard.accepted.add(n);
        shard.bytes_to_downstream.add(3 * n);
        shard.closed[CloseReason::KILL.index()].add(n);
        shard.duration.record(Duration::from_millis(n));
    }
    for endpoint in told.endpoints(None) {
        let shard = &endpoint.shards[worker];
        shard.connected.add(n);
        shard.connect_time.record(Duration::from_micros(n));
        shard.last_failure.set(111);
        shard.last_failure_at.set(shard.last_failure_at.get().max(n));
    }
    told.pools["db"].shards[worker].retries.add(n);
}

fn workers(count: usize) -> Vec<Arc<WorkerShard>> {
    (0..count).map(|_| Arc::default()).collect()
}

/// As one process told it, and the other one after it has added it.
fn sums(ledger: &Ledger) -> (u64, u64, Ledger) {
    let turns = ledger.workers.iter().map(|each| each.turns).sum();
    let lags = ledger.workers.iter().map(|each| each.turn_time.count()).sum();
    (turns, lags, Ledger { workers: Vec::new(), ..ledger.clone() })
}

proptest! {
    #[test]
    fn what_is_added_in_two_parts_is_the_whole(
        (from, to) in (1..5usize, 1..5usize),
        before in prop::collection::vec((0..8usize, 1..1000u64), 0..8),
        after in prop::collection::vec((0..8usize, 1..1000u64), 0..8),
    ) {
        let (old, new) = (told(from), told(to));
        let (old_workers, new_workers) = (workers(from), workers(to));
        let add = |ledger: Ledger| shares(ledger, &new, &new_workers, EPOCH).into_iter().for_each(Share::add);
        let work = |jobs: &[(usize, u64)]| {
            for &(worker, n) in jobs {
                count(&old, worker % from, n);
                old_workers[worker % from].turns.add(n);
                old_workers[worker % from].turn_time.record(Duration::from_nanos(n));
            }
        };
        work(&before);
        let will = read(&old, old_workers.iter(), (2, 1), EPOCH);
        add(will.clone());
        work(&after);
        let last = read(&old, old_workers.iter(), (3, 1), EPOCH);
        let difference = since(&last, &will);
        prop_assert_eq!(difference.reloads, (1, 0));
        add(difference);
        let told = read(&new, new_workers.iter(), (3, 1), EPOCH);
        prop_assert_eq!(sums(&told), sums(&last));
    }
}

#[test]
fn a_success_of_its_own_is_not_overwritten_by_an_older_one() {
    let told = told(1);
    let shard = Arc::clone(&told.endpoints(None).next().unwrap().shards[0]);
    shard.last_success_at.set(5000);
    shard.last_failure.set(1);
    shard.last_failure_at.set(4000);
    let older = EndpointLedger {
        last_success_at: Some(EPOCH + Duration::from_secs(1)),
        last_failure: Some((111, EPOCH + Duration::from_secs(2))),
        ..EndpointLedger::default()
    };
    add_endpoint(&shard, &older, EPOCH);
    assert_eq!((shard.last_success_at.get(), shard.last_failure.get()), (5000, 1));
}
