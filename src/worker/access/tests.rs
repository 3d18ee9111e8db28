use super::*;
use crate::config::Sample;

fn config(millionths: u32, only: AccessOnly) -> config::AccessLog {
    config::AccessLog { target: AccessTarget::Stderr, sample: Sample::from_millionths(millionths).unwrap(), only }
}

fn rule(millionths: u32, only: AccessOnly) -> Rule {
    Rule::new(&config(millionths, only))
}

#[test]
fn whole_off_and_failures() {
    let off = Rule::new(&config::AccessLog::OFF);
    let (whole, failures) = (rule(1_000_000, AccessOnly::All), rule(1_000_000, AccessOnly::Failures));
    for id in [0, 1, u64::MAX, 1 << 54 | 3] {
        for reason in CloseReason::ALL {
            assert!(whole.wants(id, reason) && !off.wants(id, reason));
            assert_eq!(failures.wants(id, reason), reason.cause != Cause::End);
        }
    }
}

/// Ids as workers give them out: in a row, the worker in the lowest bits. The
/// bounds are five standard deviations of a fair draw.
#[test]
fn a_sample_is_that_share_of_each_workers_connections() {
    const DRAWS: u64 = 200_000;
    for (millionths, only) in [(10_000, AccessOnly::All), (500_000, AccessOnly::All), (50_000, AccessOnly::Failures)] {
        let rule = rule(millionths, only);
        for worker in 0..4 {
            let first = (1_u64 << 44) + 7;
            let ids = (first..first + DRAWS).map(|sequence| sequence << 10 | worker);
            let hits = ids.filter(|&id| rule.wants(id, CloseReason::DOWNSTREAM_RESET)).count() as f64;
            let share = f64::from(millionths) / 1e6;
            let (mean, deviation) = (DRAWS as f64 * share, (DRAWS as f64 * share * (1.0 - share)).sqrt());
            assert!((hits - mean).abs() < 5.0 * deviation, "{hits} of {DRAWS} at {share}");
        }
    }
}

#[test]
fn a_smaller_sample_is_part_of_a_larger_one() {
    let (small, large) = (rule(10_000, AccessOnly::All), rule(200_000, AccessOnly::All));
    let chosen: Vec<u64> = (0..100_000).filter(|&id| small.wants(id, CloseReason::DONE)).collect();
    assert!(!chosen.is_empty() && chosen.iter().all(|&id| large.wants(id, CloseReason::DONE)));
}

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn record(id: u64) -> AccessRecord {
    let now = Instant::now();
    AccessRecord {
        id,
        listener: Arc::new(ListenerShard::new(0)),
        source: None,
        proxy: None,
        destination: None,
        pool: None,
        endpoint: None,
        since: now,
        until: now,
        connect_time: None,
        retries: 0,
        bytes_from_downstream: 0,
        bytes_to_downstream: 0,
        bytes_to_upstream: 0,
        bytes_from_upstream: 0,
        reason: CloseReason::DONE,
        worker: 0,
    }
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let (log, queues) = AccessLog::new();
    let mut tap = Tap::new(log.clone(), 0);
    assert!(!tap.is_on());
    log.set(&config(1_000_000, AccessOnly::All));
    assert!(tap.is_on() && queues.is_empty(), "there is no queue before the first record");
    (0..QUEUE as u64 + 10).for_each(|id| tap.send(record(id)));
    assert_eq!(log.behind(), 10);
    let queue = queues.try_recv().expect("the queue was told");
    assert!(queue.try_iter().map(|record| record.id).eq(0..QUEUE as u64));
    tap.send(record(7));
    assert_eq!((queue.try_recv().map(|record| record.id), log.behind()), (Ok(7), 10));
    assert!(queues.is_empty(), "a worker makes one queue");
}
