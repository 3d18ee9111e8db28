use std::{net::Ipv4Addr, thread};

use proptest::prelude::*;

use super::*;
use crate::config::{AccessList, ConnectionRate, SourceTable};

fn address(n: u32) -> Option<IpAddr> {
    Some(Ipv4Addr::from(n).into())
}

fn rate(count: u32) -> Option<ConnectionRate> {
    ConnectionRate::new(count, Duration::from_secs(1), count)
}

const NOW: Duration = Duration::from_secs(100);

#[test]
fn limits_are_exact_over_many_threads() {
    let process = ProcessGate::new();
    process.set_limits(&Limits { max_connections: Some(300), ..Limits::default() });
    let limits = ListenerLimits {
        max_connections: Some(200),
        max_connections_per_source: Some(30),
        ..ListenerLimits::default()
    };
    let gates = [ListenerGate::new(&limits, None), ListenerGate::new(&limits, None)];
    let held: Vec<Admitted> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    for n in 0..4000u32 {
                        let gate = &gates[n as usize % 2];
                        held.extend(gate.admit(&process, &limits, address(n % 9), NOW));
                        if n % 7 == 0 {
                            held.pop();
                        }
                    }
                    held
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!((held.len() as u64, process.open()), (300, 300));
    assert_eq!(gates[0].open() + gates[1].open(), 300);
    for gate in &gates {
        assert!(gate.open() <= 200 && gate.sources().0 <= 30);
        assert_eq!(gate.admit(&process, &limits, address(99), NOW).unwrap_err(), Refused::Process);
    }
    drop(held);
    assert_eq!((process.open(), gates[0].open(), gates[1].open()), (0, 0, 0));
    assert_eq!(gates[0].sources(), (0, 0), "no source is remembered that has nothing open");
}

#[test]
fn each_limit_refuses_with_its_own_cause() {
    let process = ProcessGate::new();
    let list = |text: &str| Some(AccessList::new(vec![text.parse().unwrap()], None));
    let limits = ListenerLimits {
        max_connections: Some(4),
        max_connections_per_source: Some(2),
        rate: rate(5),
        rate_per_source: rate(3),
        deny: list("10.0.0.0/8"),
        ..ListenerLimits::default()
    };
    let gate = ListenerGate::new(&limits, None);
    let ask = |source: u32| {
        let foretold = gate.would_refuse(&process, &limits, address(source), NOW);
        let outcome = gate.admit(&process, &limits, address(source), NOW);
        assert_eq!(outcome.as_ref().err().copied(), foretold);
        outcome
    };
    assert_eq!(ask(0x0a00_0001).unwrap_err(), Refused::Denied);
    let held = [ask(1).unwrap(), ask(1).unwrap()];
    assert_eq!(ask(1).unwrap_err(), Refused::Source);
    drop(held);
    let _third = ask(1).unwrap();
    assert_eq!(ask(1).unwrap_err(), Refused::SourceRate);
    let _others = [ask(2).unwrap(), ask(3).unwrap()];
    assert_eq!(ask(4).unwrap_err(), Refused::ListenerRate);
    assert_eq!(gate.open(), 3, "who was refused is not counted");
    process.set_limits(&Limits { max_connections: Some(3), ..Limits::default() });
    assert_eq!(ask(5).unwrap_err(), Refused::Process);
    process.set_limits(&Limits::default());
    let _beyond = gate.readmit(&process, &limits, address(1));
    assert_eq!(ask(5).unwrap_err(), Refused::Listener);
    process.set_refusing(true);
    assert_eq!(ask(5).unwrap_err(), Refused::Overload);
    assert_eq!(gate.would_refuse(&process, &ListenerLimits::default(), None, NOW), Some(Refused::Overload));
}

#[test]
fn a_flood_uses_up_its_own_rate_and_not_the_listeners() {
    let process = ProcessGate::new();
    let limits = ListenerLimits { rate: rate(50), rate_per_source: rate(10), ..ListenerLimits::default() };
    let gate = ListenerGate::new(&limits, None);
    let admitted = (0..10_000).filter(|_| gate.admit(&process, &limits, address(1), NOW).is_ok()).count();
    assert_eq!(admitted, 10);
    for n in 2..=5 {
        assert_eq!((0..10).filter(|_| gate.admit(&process, &limits, address(n), NOW).is_ok()).count(), 10, "{n}");
    }
}

#[test]
fn a_million_sources_take_a_bounded_table() {
    let process = ProcessGate::new();
    let limits = ListenerLimits {
        rate_per_source: rate(5),
        max_connections_per_source: Some(100),
        source_table: SourceTable(65_536),
        ..ListenerLimits::default()
    };
    let gate = ListenerGate::new(&limits, None);
    let bytes = gate.table_bytes();
    assert!(bytes <= 65_536 * 48, "{bytes}");
    let flooder = 0x0a00_0001;
    let mut admitted = 0;
    for n in 0..1_000_000u32 {
        let now = Duration::from_micros(u64::from(n));
        assert!(gate.admit(&process, &limits, address(0x1000_0000 + n), now).is_ok());
        if n % 10 == 0 {
            admitted += usize::from(gate.admit(&process, &limits, address(flooder), now).is_ok());
        }
    }
    assert_eq!(gate.table_bytes(), bytes);
    // In one second a burst of 5, and 5 that were earned.
    assert!((9..=10).contains(&admitted), "{admitted}");
    let sources = gate.counts.by_source();
    assert!(sources.shards.iter().all(|shard| locked(shard).is_empty() && locked(shard).capacity() <= 2 * ROOM));
}

#[test]
fn a_reload_keeps_what_is_open_and_what_was_used() {
    let process = ProcessGate::new();
    let before = ListenerLimits { rate_per_source: rate(2), ..ListenerLimits::default() };
    let first = ListenerGate::new(&before, None);
    let held: Vec<_> = (0..2).map(|_| first.admit(&process, &before, address(1), NOW).unwrap()).collect();
    let after = ListenerLimits { max_connections: Some(2), ..before.clone() };
    let second = ListenerGate::new(&after, Some(&first));
    assert_eq!(second.admit(&process, &after, address(2), NOW).unwrap_err(), Refused::Listener);
    let rates = ListenerLimits { max_connections: None, ..after.clone() };
    assert_eq!(second.admit(&process, &rates, address(1), NOW).unwrap_err(), Refused::SourceRate);
    drop(held);
    assert_eq!((second.open(), process.open()), (0, 0));
    let wider = ListenerLimits { source: SourcePrefix { v4: 24, v6: 64 }, ..before };
    let third = ListenerGate::new(&wider, Some(&second));
    assert!(third.admit(&process, &wider, address(1), NOW).is_ok(), "other sources, another table");
}

proptest! {
    #[test]
    fn would_refuse_says_what_admit_does(
        asks in prop::collection::vec((0..4u32, 0..400u64, any::<bool>()), 1..120),
        most in 1..6u64,
        per_source in 1..4u32,
        rates in (1..8u32, 1..8u32),
    ) {
        let process = ProcessGate::new();
        process.set_limits(&Limits { max_connections: Some(5), ..Limits::default() });
        let limits = ListenerLimits {
            max_connections: Some(most),
            max_connections_per_source: Some(per_source),
            rate: rate(rates.0),
            rate_per_source: rate(rates.1),
            ..ListenerLimits::default()
        };
        let gate = ListenerGate::new(&limits, None);
        let (mut held, mut now) = (Vec::new(), Duration::from_secs(1));
        for (source, millis, release) in asks {
            now += Duration::from_millis(millis);
            if release {
                held.pop();
            }
            let foretold = gate.would_refuse(&process, &limits, address(source), now);
            let outcome = gate.admit(&process, &limits, address(source), now);
            prop_assert_eq!(outcome.as_ref().err().copied(), foretold);
            held.extend(outcome);
            prop_assert_eq!(gate.open(), held.len() as u64);
            prop_assert!(held.len() as u64 <= most.min(5) && gate.sources().0 <= per_source);
        }
    }
}

#[test]
fn places_are_kept_for_those_that_come() {
    let (process, gate) = (ProcessGate::new(), ListenerGate::new(&ListenerLimits::default(), None));
    let limits =
        ListenerLimits { max_connections: Some(4), max_connections_per_source: Some(2), ..ListenerLimits::default() };
    let [one, other, third]: [IpAddr; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|text| text.parse().unwrap());
    let admit =
        |source| gate.admit(&process, &limits, Some(source), Duration::ZERO).map_err(|refused| refused.as_str());
    process.keep(3);
    gate.keep(3, &[(one, 2), (other, 1)], &limits);
    assert_eq!((process.open(), gate.open(), gate.sources()), (3, 3, (2, 2)));
    assert_eq!(gate.open_by_source(1), [(one, 2)]);
    assert_eq!(admit(one).unwrap_err(), Refused::Source.as_str());
    let new = admit(third).unwrap();
    assert_eq!(admit(third).unwrap_err(), Refused::Listener.as_str());
    // One that was announced, and one more of the same source.
    let come = [gate.readmit(&process, &limits, Some(other)), gate.readmit(&process, &limits, Some(other))];
    assert_eq!((process.open(), gate.open(), gate.sources()), (4, 4, (2, 3)));
    process.release();
    gate.release();
    assert_eq!((process.open(), gate.open(), gate.sources()), (3, 3, (2, 2)), "nobody came of the first source");
    drop((new, come));
    assert_eq!((process.open(), gate.open(), gate.sources()), (0, 0, (0, 0)));
}
