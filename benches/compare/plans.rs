//! Workloads of several generators at once.

use std::{io, thread, time::Duration};

use crate::{
    generator::{Generator, Job, Load, Sample},
    peer::{Peer, Way},
    pump::Flow,
    workload::Figure,
};

/// Small requests a second beside bulk.
const RATE: u32 = 2_000;

/// Between two reloads.
const INTERVAL: Duration = Duration::from_millis(1_200);

/// Reloads need a longer time than other measurements.
const WITH_RELOADS: Duration = Duration::from_secs(12);

/// A turn of 8,000 connections takes about 0.1 s.
const MANY_WARM_UP: Duration = Duration::from_millis(500);
const MANY_WINDOW: Duration = Duration::from_secs(2);

/// The few connections that many are compared with.
const FEW: usize = 64;

/// `idle` is the job that holds the idle connections; `pace`: bytes a second of
/// the bulk, as many as there are if not given.
pub(crate) fn mix(idle: &Job, pace: Option<u64>) -> io::Result<Vec<Figure>> {
    let requests = Job { load: Load::Open { rate: RATE }, connections: 64, ..idle.clone() };
    let bulk = Job {
        load: Load::Stream { flow: Flow::Down, pace },
        connections: 4,
        // It begins first and is not to end before the requests do.
        window: idle.window + Duration::from_millis(500),
        ..idle.clone()
    };
    let mut held = Generator::start(idle)?;
    held.sample()?;
    let alone = Generator::start(&requests)?.sample()?;
    let mut bulk = Generator::start(&bulk)?;
    let beside = Generator::start(&requests)?.sample()?;
    let bulk = bulk.sample()?;
    Ok(vec![
        ("p50 us alone", latency(&alone, 0)),
        ("p50 us beside bulk", latency(&beside, 0)),
        ("p99 us alone", latency(&alone, 1)),
        ("p99 us beside bulk", latency(&beside, 1)),
        ("p99.9 us alone", latency(&alone, 2)),
        ("p99.9 us beside bulk", latency(&beside, 2)),
        ("bulk Gbit/s", bulk.bytes as f64 * 8.0 / 1e9 / bulk.seconds),
    ])
}

/// `idle` is the job that holds the idle connections.
#[expect(clippy::disallowed_methods, reason = "reloads come at their times")]
pub(crate) fn reload(idle: &Job, peer: &Peer, way: &Way) -> io::Result<Vec<Figure>> {
    // Who serves changes with a reload: its CPU time is nobody's in particular.
    let connect = Job { load: Load::Connect, connections: 64, proxy: None, window: WITH_RELOADS, ..idle.clone() };
    let mut held = Generator::start(idle)?;
    held.sample()?;
    let without = Generator::start(&connect)?.sample()?;
    let mut within = Generator::start(&connect)?;
    thread::sleep(connect.warm_up);
    let reloads = connect.window.div_duration_f64(INTERVAL) as u32;
    for _ in 0..reloads {
        way.proxy.iter().try_for_each(|proxy| peer.reload(proxy))?;
        thread::sleep(INTERVAL);
    }
    let within = within.sample()?;
    let held = held.release()?;
    Ok(vec![
        ("connections/s without", without.operations as f64 / without.seconds),
        ("connections/s with reloads", within.operations as f64 / within.seconds),
        ("p99 us without", latency(&without, 1)),
        ("p99 us with reloads", latency(&within, 1)),
        ("p99.9 us without", latency(&without, 2)),
        ("p99.9 us with reloads", latency(&within, 2)),
        ("reloads", f64::from(reloads)),
        ("failed connections", (without.failures + within.failures) as f64),
        ("held connections lost", held.failures as f64),
    ])
}

/// `many` is the job with the many connections. A turn of all of them takes so
/// long that shorter times would measure its beginning and its end.
pub(crate) fn scale(many: &Job) -> io::Result<Vec<Figure>> {
    let many = Job { warm_up: many.warm_up.max(MANY_WARM_UP), window: many.window.max(MANY_WINDOW), ..many.clone() };
    let few = Generator::start(&Job { connections: FEW, ..many.clone() })?.sample()?;
    let many = Generator::start(&many)?.sample()?;
    let rate = |sample: &Sample| sample.operations as f64 / sample.seconds;
    let cost = |sample: &Sample| Some(sample.cpu? as f64 / 1e3 / sample.operations.max(1) as f64);
    let mut figures = Vec::new();
    if let (Some(few), Some(many)) = (cost(&few), cost(&many)) {
        figures.push(("CPU us/request, few", few));
        figures.push(("CPU us/request, many", many));
        figures.push(("CPU, many to few", many / few));
    }
    figures.push(("requests/s, few", rate(&few)));
    figures.push(("requests/s, many", rate(&many)));
    figures.push(("p99 us, many", latency(&many, 1)));
    Ok(figures)
}

fn latency(sample: &Sample, which: usize) -> f64 {
    sample.latency[which] as f64 / 1e3
}
