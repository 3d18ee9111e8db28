//! What is measured: cases, and the figures that come of one.

use std::{io, time::Duration};

use crate::{
    generator::{Generator, Job, Load, Sample},
    origin::Addresses,
    peer::{Peer, Tuning, Way},
    plans,
    proxy_process::Proxy,
    pump::Flow,
    table::FAILURES,
};

/// Requests a second in an open loop: well below what any of the proxies can do
/// on a slow CPU.
const RATE: u32 = 5_000;

/// The workloads, in the order in which they are measured.
pub(crate) const WORKLOADS: &[&str] = &[
    "rr",
    "rr_open",
    "crr",
    "echo",
    "stream",
    "stream_both",
    "scale",
    "many",
    "many_crr",
    "workers",
    "idle",
    "reload",
    "mix",
    "mix_paced",
];

/// Bytes a second of bulk that leave the load's CPU time to spare.
const PACE: u64 = 250_000_000;

/// Rounds of what takes long or hardly varies, unless told otherwise.
const FEW_ROUNDS: usize = 5;

/// A workload with a number of connections.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) workload: &'static str,
    pub(crate) connections: usize,
    pub(crate) tuning: Tuning,
    plan: Plan,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    One(Load),
    /// Small requests, first alone, then beside bulk, and idle connections all
    /// the time; so many bytes of bulk a second at most.
    Mix(Option<u64>),
    /// Small requests on few connections, then on many.
    Scale,
    /// Short connections, first without, then with reloads in the middle, and
    /// idle connections all the time.
    Reload,
}

/// How long a measurement takes.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// A number that came of a measurement: its name with the unit.
pub(crate) type Figure = (&'static str, f64);

/// The cases of the named workloads.
pub(crate) fn cases(named: &[String], is_quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |workload: &'static str, tuning, plan, connections: &[usize]| {
        if named.is_empty() || named.iter().any(|name| name == workload) {
            cases.extend(connections.iter().map(|&connections| Case { workload, connections, tuning, plan }));
        }
    };
    add("rr", Tuning::Small, Plan::One(Load::Closed), &[1, 64, 512]);
    add("rr_open", Tuning::Small, Plan::One(Load::Open { rate: RATE }), &[64]);
    add("crr", Tuning::Small, Plan::One(Load::Connect), &[64]);
    add("echo", Tuning::Echo, Plan::One(Load::Closed), &[1, 64, 512]);
    add("stream", Tuning::Bulk, Plan::One(Load::Stream { flow: Flow::Down, pace: None }), &[1, 16]);
    add("stream_both", Tuning::Bulk, Plan::One(Load::Stream { flow: Flow::Both, pace: None }), &[1, 16]);
    add("scale", Tuning::Small, Plan::Scale, &[8_000]);
    add("many", Tuning::Many, Plan::One(Load::Closed), &[64]);
    add("many_crr", Tuning::Many, Plan::One(Load::Connect), &[64]);
    add("workers", Tuning::Workers, Plan::One(Load::Closed), &[64, 512]);
    add("idle", Tuning::Small, Plan::One(Load::Idle), if is_quick { &[1_000] } else { &[1_000, 9_000] });
    add("reload", Tuning::Reload, Plan::Reload, &[100]);
    let idle: &[usize] = if is_quick { &[1_000] } else { &[5_000] };
    add("mix", Tuning::Mixed, Plan::Mix(None), idle);
    add("mix_paced", Tuning::Mixed, Plan::Mix(Some(PACE)), idle);
    cases
}

impl Case {
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.workload, self.connections)
    }

    /// How often it is measured of the rounds that are usual.
    pub(crate) fn rounds(&self, usual: usize) -> usize {
        match self.plan {
            Plan::One(Load::Idle) | Plan::Mix(_) | Plan::Reload => usual.min(FEW_ROUNDS),
            Plan::One(_) | Plan::Scale => usual,
        }
    }

    /// The one that the proxy has to stand in front of.
    pub(crate) fn origin(&self, at: Addresses) -> std::net::SocketAddr {
        match self.tuning {
            Tuning::Bulk | Tuning::Mixed => at.bulk,
            Tuning::Small | Tuning::Reload | Tuning::Echo | Tuning::Many | Tuning::Workers => at.echo,
        }
    }

    /// Measures it once.
    ///
    /// # Errors
    /// The load could not be generated, or a connection that was to stay ended.
    pub(crate) fn measure(&self, peer: &Peer, way: &Way, times: Times) -> io::Result<Vec<Figure>> {
        let job = Job {
            load: Load::Idle,
            connections: self.connections,
            to: way.address,
            proxy: way.proxy.as_ref().map(Proxy::id),
            warm_up: times.warm_up,
            window: times.window,
        };
        let load = match self.plan {
            Plan::One(load) => load,
            Plan::Mix(pace) => return plans::mix(&job, pace),
            Plan::Scale => return plans::scale(&Job { load: Load::Closed, ..job }),
            Plan::Reload => return plans::reload(&job, peer, way),
        };
        let sample = Generator::start(&Job { load, ..job })?.sample()?;
        Ok(match load {
            Load::Closed | Load::Open { .. } => exchanges(&sample, ["requests/s", "CPU us/request"]),
            Load::Connect => exchanges(&sample, ["connections/s", "CPU us/connection"]),
            Load::Stream { .. } => bytes(&sample),
            Load::Idle => memory(&sample),
        })
    }
}

fn exchanges(sample: &Sample, [rate, cost]: [&'static str; 2]) -> Vec<Figure> {
    let operations = sample.operations.max(1) as f64;
    let mut figures = vec![(rate, sample.operations as f64 / sample.seconds)];
    if let Some(cpu) = sample.cpu {
        figures.push((cost, cpu as f64 / 1e3 / operations));
        figures.push(("CPU busy %", cpu as f64 / 1e7 / sample.seconds));
        figures.push(("of it system %", 100.0 * sample.system));
    }
    let latency = ["p50 us", "p99 us", "p99.9 us", "longest us"].into_iter().zip(sample.latency);
    figures.extend(latency.map(|(name, nanoseconds)| (name, nanoseconds as f64 / 1e3)));
    figures.push((FAILURES, sample.failures as f64));
    figures
}

fn bytes(sample: &Sample) -> Vec<Figure> {
    let mut figures = vec![("Gbit/s", sample.bytes as f64 * 8.0 / 1e9 / sample.seconds)];
    if let Some(cpu) = sample.cpu {
        figures.push(("CPU s/GB", cpu as f64 / sample.bytes.max(1) as f64));
        figures.push(("CPU busy %", cpu as f64 / 1e7 / sample.seconds));
    }
    figures.push(("retransmitted segments/s", sample.retransmits as f64 / sample.seconds));
    figures
}

fn memory(sample: &Sample) -> Vec<Figure> {
    let pairs = sample.operations.max(1) as f64;
    let mut figures = Vec::new();
    if let Some([grown, whole]) = sample.memory {
        figures.push(("PSS B/pair", grown as f64 / pairs));
        figures.push(("PSS MB in all", whole as f64 / 1e6));
    }
    figures.push(("kernel B/pair (everybody's)", sample.kernel as f64 / pairs));
    figures
}
