//! There and back, and what is not understood.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, SystemTime},
};

use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;

use super::*;
use crate::{
    config::PoolShare,
    control::{
        Change, ChangeKind, ControlLedger, DrainPast, EndpointLedger, EndpointOverride, Expected, ExpectedListener,
        ExpectedPool, HealthLedger, HistoryEntry, HistoryKind, Judgement, KeptGeneration, KnownHealth, Ledger,
        ListenerLedger, ListenerOverride, OpenDrain, Origin, Override, Overrides, PoolLedger, PoolOverride, Removal,
        Returns, SlowStart, Split, Target, Will, WorkerLedger,
    },
    handover::{
        moment::Moments,
        tests::fakes::{connection, dial_with, header, mixed, pipe, session, tunnel},
    },
    metrics::HistogramSnapshot,
    worker::Held,
};

fn time() -> impl Strategy<Value = SystemTime> {
    (0u64..4_000_000_000_000).prop_map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
}

fn provenance() -> impl Strategy<Value = Provenance> {
    (".*", ".*").prop_map(|(who, why)| Provenance { who, why })
}

fn overriding<V: std::fmt::Debug>(value: impl Strategy<Value = V>) -> impl Strategy<Value = Override<V>> {
    (value, provenance(), time(), option::of(time())).prop_map(|(value, by, set_at, expires_at)| Override {
        value,
        by,
        set_at,
        expires_at,
    })
}

fn name() -> &'static str {
    "[a-z]{1,8}"
}

fn overrides() -> impl Strategy<Value = Overrides> {
    let listener = || overriding(prop_oneof![Just(ListenerOverride::Stopped), Just(ListenerOverride::Draining)]);
    let endpoint = overriding(prop_oneof![
        any::<u16>().prop_map(EndpointOverride::Weight),
        Just(EndpointOverride::Draining),
        Just(EndpointOverride::Maintenance)
    ]);
    let share = (name(), any::<u16>()).prop_map(|(name, weight)| PoolShare { name, weight });
    let split = vec(share, 0..3).prop_map(|shares| shares.into_iter().collect::<Split>());
    (
        option::of(listener()),
        vec((name(), listener()), 0..3),
        vec((name(), overriding(Just(PoolOverride::Draining))), 0..3),
        vec(((name(), name()), endpoint), 0..3),
        vec((name(), overriding(split)), 0..3),
    )
        .prop_map(|(daemon, listeners, pools, endpoints, splits)| Overrides {
            daemon,
            listeners,
            pools,
            endpoints,
            splits,
        })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Daemon),
        name().prop_map(Target::Listener),
        name().prop_map(Target::Pool),
        (name(), name()).prop_map(|(pool, endpoint)| Target::Endpoint(pool, endpoint)),
    ]
}

fn histogram() -> impl Strategy<Value = HistogramSnapshot> {
    (any::<prop::sample::Index>(), any::<u64>(), any::<u64>()).prop_map(|(index, count, sum_micros)| {
        let mut histogram = HistogramSnapshot { sum_micros, ..HistogramSnapshot::default() };
        let index = index.index(histogram.buckets.len());
        histogram.buckets[index] = count;
        histogram
    })
}

fn ledger() -> impl Strategy<Value = Ledger> {
    let worker = (any::<[u64; 6]>(), histogram()).prop_map(|(counted, turn_time)| {
        let [turns, events, accepted, moved_in, moved_out, redialed] = counted;
        WorkerLedger { turns, events, accepted, turn_time, moved_in, moved_out, redialed }
    });
    let counts = (vec(((name(), name(), name()), any::<u64>()), 0..3), vec((name(), any::<u64>()), 0..3));
    let listener = (any::<[u64; 5]>(), counts, histogram()).prop_map(
        |(
            [accepted, bytes_from_downstream, bytes_to_downstream, accept_errors, accept_pauses],
            (closed, refused),
            duration,
        )| {
            ListenerLedger {
                accepted,
                bytes_from_downstream,
                bytes_to_downstream,
                accept_errors,
                accept_pauses,
                closed,
                refused,
                duration,
            }
        },
    );
    let pool = any::<[u64; 6]>().prop_map(|[no_endpoint, full, retries, retries_denied, queued, queue_timeouts]| {
        PoolLedger { no_endpoint, full, retries, retries_denied, queued, queue_timeouts }
    });
    let endpoint = (any::<[u64; 5]>(), option::of((any::<u64>(), time())), option::of(time()), histogram()).prop_map(
        |([connected, to, from, connect_failures, early_resets], last_failure, last_success_at, connect_time)| {
            EndpointLedger {
                connected,
                bytes_to_upstream: to,
                bytes_from_upstream: from,
                connect_failures,
                early_resets,
                last_failure,
                last_success_at,
                connect_time,
            }
        },
    );
    (
        vec(worker, 0..3),
        vec((name(), listener), 0..3),
        vec((name(), pool), 0..3),
        vec(((name(), name()), endpoint), 0..3),
        any::<(u64, u64)>(),
        any::<(u64, u64, u64)>(),
        own_ledger(),
    )
        .prop_map(|(workers, listeners, pools, endpoints, reloads, departed, control)| Ledger {
            workers,
            listeners,
            pools,
            endpoints,
            reloads,
            departed,
            control,
        })
}

fn own_ledger() -> impl Strategy<Value = ControlLedger> {
    let each = any::<(u64, u64, [u64; 4])>().prop_map(|(ejections, ejections_refused, probes)| HealthLedger {
        ejections,
        ejections_refused,
        probes,
    });
    (
        vec(((name(), name()), each), 0..3),
        vec((name(), histogram()), 0..3),
        any::<[u64; 4]>(),
        any::<[u64; 2]>(),
        any::<[u64; 3]>(),
        any::<[u64; 3]>(),
    )
        .prop_map(|(health, probe_times, [time, guard, rollback, confirmed], drains, drained, access)| {
            ControlLedger {
                health,
                probe_times,
                returns: Returns { time, guard, rollback, confirmed },
                drains,
                drained,
                access,
            }
        })
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        Just(Origin::Own),
        name().prop_map(|who| Origin::Candidate { who }),
        (1..9u64, name()).prop_map(|(from, who)| Origin::Restored { from, who }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let kind = prop::sample::select(vec![ChangeKind::Added, ChangeKind::Removed, ChangeKind::Changed]);
    (name(), kind, vec(name(), 0..3), any::<(u64, u64, u64)>()).prop_map(|(object, kind, details, counts)| Change {
        object,
        kind,
        details,
        untouched: counts.0,
        drained: counts.1,
        cut: counts.2,
    })
}

fn entry() -> impl Strategy<Value = HistoryEntry> {
    let kind = prop::sample::select(HistoryKind::ALL.to_vec());
    let verdict = prop::sample::select(Judgement::ALL.to_vec());
    let what = (time(), kind, option::of(1..9u64), option::of(origin()), option::of(provenance()));
    (what, vec(change(), 0..3), any::<u64>(), verdict, name()).prop_map(
        |(what, changes, more_changes, verdict, text)| {
            let (at, kind, generation, origin, by) = what;
            HistoryEntry {
                at,
                kind,
                generation,
                origin,
                by,
                summary: text.clone(),
                changes,
                more_changes,
                verdict,
                reason: text,
                in_force: false,
                kept: false,
            }
        },
    )
}

fn health() -> impl Strategy<Value = KnownHealth> {
    let left = option::of(any::<u64>().prop_map(Duration::from_nanos));
    let times = (time(), option::of(time()));
    (name(), name(), option::of(any::<bool>()), left, any::<u32>(), times, ".*").prop_map(
        |(pool, address, healthy, ejected, ejections, (since, healthy_at), why)| KnownHealth {
            pool,
            address,
            healthy,
            ejected,
            ejections,
            since,
            why,
            healthy_at,
        },
    )
}

/// Origin, history, kept generations.
fn past() -> impl Strategy<Value = (Origin, Vec<HistoryEntry>, Vec<KeptGeneration>)> {
    let kept = (1..9u64, 1..9u64, any::<bool>(), name()).prop_map(|(number, root, reverted, text)| KeptGeneration {
        number,
        root,
        reverted,
        text,
    });
    (origin(), vec(entry(), 0..3), vec(kept, 0..3))
}

fn open_drain() -> impl Strategy<Value = OpenDrain> {
    let time = || option::of(any::<u64>().prop_map(Duration::from_nanos));
    let past = (any::<[u64; 5]>()).prop_map(|[elapsed, open, finished, retired, cut]| DrainPast {
        elapsed: Duration::from_nanos(elapsed),
        open,
        finished,
        retired,
        cut,
    });
    (target(), time(), time(), provenance(), option::of(past)).prop_map(|(target, left, gradual, by, past)| OpenDrain {
        target,
        left,
        gradual,
        by,
        past,
    })
}

/// Slow starts, and what was removed.
fn going_on() -> impl Strategy<Value = (Vec<SlowStart>, Vec<Removal>)> {
    let time = || any::<u64>().prop_map(Duration::from_nanos);
    let start = (name(), name(), time()).prop_map(|(pool, address, elapsed)| SlowStart { pool, address, elapsed });
    let removal = (target(), time()).prop_map(|(target, age)| Removal { target, age });
    (vec(start, 0..3), vec(removal, 0..3))
}

fn expected() -> impl Strategy<Value = Expected> {
    let source = (any::<std::net::IpAddr>(), any::<u32>());
    let span = || any::<u64>().prop_map(Duration::from_nanos);
    let rates = vec((any::<std::net::IpAddr>(), span()), 0..4);
    let listener = (name(), any::<u64>(), vec(source, 0..4), span(), rates);
    let listener = listener.prop_map(|(name, open, sources, rate, source_rates)| ExpectedListener {
        name,
        open,
        sources,
        rate,
        source_rates,
    });
    let pool = (name(), any::<u64>(), any::<u64>());
    let pool = pool.prop_map(|(name, open, waiting)| ExpectedPool { name, open, waiting });
    let endpoint = ((name(), name()), any::<u64>());
    (any::<u64>(), any::<u64>(), vec(listener, 0..3), vec(pool, 0..3), vec(endpoint, 0..3)).prop_map(
        |(connections, fds, listeners, pools, endpoints)| Expected { connections, fds, listeners, pools, endpoints },
    )
}

proptest! {
    #[test]
    fn what_is_expected_there_and_back(expected in expected()) {
        let message = to_expected(&expected).encode_to_vec();
        prop_assert_eq!(from_expected(pb::Expected::decode(&message[..]).unwrap()), Ok(expected));
    }

    #[test]
    fn a_will_there_and_back(
        generation: u64,
        times in (time(), time()),
        overrides in overrides(),
        drains in vec(open_drain(), 0..3),
        log_level in option::of(name()),
        ledger in ledger(),
        (origin, history, generations) in past(),
        health in vec(health(), 0..3),
        (slow_starts, removals) in going_on(),
    ) {
        let (applied_at, started_at) = times;
        let (receipts, upgrades) = (Vec::new(), vec![(crate::control::Verdict::Refused, generation)]);
        let will = Will {
            generation, applied_at, started_at, overrides, drains, log_level, ledger, receipts, upgrades,
            origin, history, generations, health, slow_starts, removals,
        };
        let bytes = to_will(&will).encode_to_vec();
        let back = from_will(pb::Will::decode(bytes.as_slice()).unwrap()).unwrap();
        prop_assert_eq!(format!("{will:?}"), format!("{back:?}"));
    }

    #[test]
    fn mutated_wills_and_connections_break_nothing(
        id in 0u64..4,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let moving = mixed(id);
        let mut fds = Vec::new();
        let moments = Moments::read();
        let mut bytes = to_connection(&moving, moments, &mut fds).encode_to_vec();
        for (index, byte) in &changes {
            let index = index.index(bytes.len());
            bytes[index] = *byte;
        }
        if let Ok(message) = pb::Connection::decode(bytes.as_slice()) {
            let own: Vec<OwnedFd> = fds.iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
            let _ = from_connection(message, moments, own);
        }
        let mut bytes = to_will(&crate::handover::tests::fakes::will()).encode_to_vec();
        for (index, byte) in &changes {
            let index = index.index(bytes.len());
            bytes[index] = *byte;
        }
        if let Ok(message) = pb::Will::decode(bytes.as_slice()) {
            let _ = from_will(message);
        }
    }
}

#[test]
fn a_connection_of_every_kind_there_and_back() {
    let stages = [
        tunnel(Held::Bytes(b"up".to_vec()), pipe(b"down")),
        tunnel(pipe(b""), pipe(b"x")),
        dial_with(b"early"),
        session(9),
        header(),
    ];
    for (id, stage) in (0..).zip(stages) {
        let (moving, _client) = connection(id, stage);
        let mut fds = Vec::new();
        let moments = Moments::read();
        let message = to_connection(&moving, moments, &mut fds);
        assert_eq!((message.fds as usize, fds.len()), (moving.parcel.fds(), moving.parcel.fds()));
        assert_eq!(message.hash, moving.parcel.hash);
        let own = |count: usize| fds.iter().take(count).map(|fd| fd.try_clone_to_owned().unwrap()).collect::<Vec<_>>();
        assert!(from_connection(message.clone(), moments, own(fds.len() - 1)).is_err());
        let mut many = own(fds.len());
        many.push(moving.parcel.downstream.socket.as_fd().try_clone_to_owned().unwrap());
        assert!(from_connection(message.clone(), moments, many).is_err());
        let back = from_connection(message.clone(), moments, own(fds.len())).unwrap();
        let mut again = Vec::new();
        assert_eq!(to_connection(&back, moments, &mut again), message);
    }
}

#[test]
fn an_override_that_is_not_understood_is_an_error() {
    let unknown = pb::Override {
        target: Some(pb::Target { pool: "db".to_owned(), ..Default::default() }),
        value: "upside-down".to_owned(),
        set_at: Some(SystemTime::UNIX_EPOCH.into()),
        ..Default::default()
    };
    let mut will = to_will(&crate::handover::tests::fakes::will());
    will.overrides = Some(pb::Overrides { each: vec![unknown] });
    assert_eq!(from_will(will).unwrap_err().to_string(), "pool/db cannot be `upside-down`");
}

#[test]
fn a_histogram_of_more_buckets_loses_no_count() {
    let buckets = vec![1; 100];
    let worker = pb::WorkerLedger { turn_time: Some(pb::Histogram { buckets, sum_micros: 5 }), ..Default::default() };
    let ledger = from_ledger(pb::Ledger { workers: vec![worker], ..Default::default() }).unwrap();
    assert_eq!(ledger.workers[0].turn_time.count(), 100);
}
