//! Load on the running daemon: what netd costs beside a direct connection, and
//! beside other proxies where they are installed.
//!
//! Client and origin live in this process, every proxy is a child with a single
//! thread for its connections. All of them share one CPU, so that a figure is
//! the work of the whole path and not the scheduler's choice of CPUs.
//! docs/benchmarks.md tells how to read the figures.

mod client;
#[path = "../cpu_time.rs"]
mod cpu_time;
#[path = "../common/echo.rs"]
mod echo;
mod origin;
mod proxy;
#[path = "../common/proxy.rs"]
mod proxy_process;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use client::{Client, MESSAGE};
use cpu_time::CpuTime;
use proxy::Proxy;

/// Connections open at once in the group `concurrent`.
const CONCURRENT: usize = 64;

fn main() {
    pin();
    let echo = echo::echo().expect("the echo origin needs a port and a thread");
    let source = origin::source().expect("the source needs a port and a thread");
    let mut left_out = BTreeMap::new();
    let mut to_source = ways_to(source, &mut left_out);
    to_source.push(Way::through("netd_copy", Proxy::netd_relay(source, "off")));
    let mut to_echo = ways_to(echo, &mut left_out);
    left_out.iter().for_each(|(name, why)| eprintln!("{name} is left out: {why}"));
    let relays = to_echo.len();
    to_echo.push(Way::through("netd_echo", Proxy::netd_echo()));

    let proxies = to_source.iter().chain(&to_echo).filter_map(|way| way.proxy.as_ref());
    let mut criterion = Criterion::default()
        .with_measurement(CpuTime::with(proxies.map(Proxy::id)))
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    round_trip(&mut criterion, &mut to_echo);
    concurrent(&mut criterion, &mut to_echo);
    // netd's own echo server never ends first.
    setup(&mut criterion, &mut to_echo[..relays]);
    bulk(&mut criterion, &mut to_source);
    criterion.final_summary();
}

/// Keeps this process, and with it every child to come, on the last CPU that it
/// may use: the first one has most interrupts to serve.
fn pin() {
    let this = Pid::from_raw(0);
    let usable = sched_getaffinity(this).expect("a process may ask where it runs");
    let last = (0..CpuSet::count()).rev().find(|&cpu| usable.is_set(cpu).unwrap_or(false)).expect("it runs somewhere");
    let mut one = CpuSet::new();
    one.set(last).and_then(|()| sched_setaffinity(this, &one)).expect("a process may choose among its CPUs");
}

/// A way to an origin.
struct Way {
    name: &'static str,
    address: SocketAddr,
    /// Lives as long as the way; none stands in a direct one.
    proxy: Option<Proxy>,
}

impl Way {
    fn direct(address: SocketAddr) -> Self {
        Self { name: "direct", address, proxy: None }
    }

    fn through(name: &'static str, proxy: Proxy) -> Self {
        Self { name, address: proxy.address(), proxy: Some(proxy) }
    }

    fn connect(&mut self) -> Client {
        Client::connect(self.address).unwrap_or_else(|error| {
            let report = self.proxy.as_mut().map(Proxy::report).unwrap_or_default();
            panic!("cannot connect by way of {} ({}): {error}\n{report}", self.name, self.address)
        })
    }
}

/// Every way there is on this machine; others are named, with the reason.
fn ways_to(origin: SocketAddr, left_out: &mut BTreeMap<&'static str, String>) -> Vec<Way> {
    let mut ways = vec![Way::direct(origin), Way::through("netd", Proxy::netd_relay(origin, "auto"))];
    for (name, peer) in [("haproxy", Proxy::haproxy(origin)), ("nginx", Proxy::nginx(origin))] {
        match peer {
            Ok(proxy) => ways.push(Way::through(name, proxy)),
            Err(why) => drop(left_out.insert(name, why)),
        }
    }
    ways
}

/// Connect, one exchange, end. The origin ends first: a client that did would
/// soon have more ports in TIME-WAIT than free ones, and measure the search.
fn setup(criterion: &mut Criterion<CpuTime>, ways: &mut [Way]) {
    let mut group = group(criterion, "setup", 1);
    for way in ways {
        group.bench_function(way.name, |bencher| {
            bencher.iter(|| {
                way.connect().exchange_and_end();
            });
        });
    }
    group.finish();
}

/// One request of 64 B and its answer, over and over on one connection.
fn round_trip(criterion: &mut Criterion<CpuTime>, ways: &mut [Way]) {
    let mut group = group(criterion, "round_trip", 1);
    for way in ways {
        let mut client = way.connect();
        group.bench_function(way.name, |bencher| bencher.iter(|| client.exchange()));
    }
    group.finish();
}

/// A request on each of 64 connections, then the answer of each.
fn concurrent(criterion: &mut Criterion<CpuTime>, ways: &mut [Way]) {
    let mut group = group(criterion, "concurrent", CONCURRENT as u64);
    group.sampling_mode(SamplingMode::Flat);
    for way in ways {
        let mut clients: Vec<_> = (0..CONCURRENT).map(|_| way.connect()).collect();
        group.bench_function(way.name, |bencher| {
            bencher.iter(|| {
                clients.iter_mut().for_each(Client::send);
                clients.iter_mut().for_each(Client::receive);
            });
        });
    }
    group.finish();
}

/// 64 MiB from the origin to the client on one connection.
fn bulk(criterion: &mut Criterion<CpuTime>, ways: &mut [Way]) {
    let mut group = criterion.benchmark_group("bulk");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes(origin::BULK as u64));
    for way in ways {
        let mut client = way.connect();
        group.bench_function(way.name, |bencher| bencher.iter(|| client.download(origin::BULK)));
    }
    group.finish();
}

fn group<'a>(criterion: &'a mut Criterion<CpuTime>, what: &str, exchanges: u64) -> BenchmarkGroup<'a, CpuTime> {
    let mut group = criterion.benchmark_group(format!("{what}_{MESSAGE}B"));
    group.throughput(Throughput::Elements(exchanges));
    group
}
