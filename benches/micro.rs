//! The pure pieces that the data plane calls for every event, and the large
//! texts of the control plane. docs/benchmarks.md tells how to read the figures.

mod cpu_time;

use std::{convert::Infallible, fmt::Write, hint::black_box, time::Duration, time::Instant};

use criterion::{BatchSize, Criterion, Throughput};
use netd::{
    balance::{Ask, Balancer, Candidate, Policy, Tables},
    config,
    metrics::{Bounds, Counter, Family, Format, Histogram, HistogramSnapshot},
    protocol::{Echo, Exchange, Session},
    slots::Slots,
    time::{TICK, TimerId, Wheel},
    wire::{BlockPool, Buffer, Wire},
};

use cpu_time::CpuTime;

const TIMERS: usize = 10_000;
const BLOCK: usize = 64 * 1024;
const MESSAGE: [u8; 64] = [b'x'; 64];

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(CpuTime::with([]))
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    wheel(&mut criterion);
    pick(&mut criterion);
    slots(&mut criterion);
    buffer(&mut criterion);
    figures(&mut criterion);
    echo(&mut criterion);
    parse(&mut criterion);
    exposition(&mut criterion);
    criterion.final_summary();
}

/// With 10 000 timers armed.
fn wheel(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("wheel_10000");
    let start = zero();
    let spread = |numbers: &mut Numbers| Duration::from_micros(numbers.below(10_000_000));
    let full = || {
        let (mut wheel, mut numbers) = (Wheel::new(start), Numbers::default());
        let armed: Vec<_> = (0..TIMERS).map(|token| wheel.arm(start + spread(&mut numbers), token)).collect();
        (wheel, armed, numbers)
    };

    let (mut wheel, mut armed, mut numbers) = full();
    group.bench_function("cancel_and_arm", |bencher| {
        bencher.iter(|| {
            let token = numbers.below(TIMERS as u64) as usize;
            let earlier: TimerId = std::mem::replace(&mut armed[token], wheel.arm(start + spread(&mut numbers), token));
            wheel.cancel(earlier);
        });
    });

    // What a turn of the loop does: the timers of a tick fire and are armed anew.
    let (mut wheel, _, mut numbers) = full();
    let (mut now, mut fired) = (start, Vec::new());
    group.bench_function("pass_a_tick", |bencher| {
        bencher.iter(|| {
            now += TICK;
            wheel.fire(now, |token| fired.push(token));
            for token in fired.drain(..) {
                wheel.arm(now + spread(&mut numbers), token);
            }
            wheel.next_deadline()
        });
    });

    group.throughput(Throughput::Elements(TIMERS as u64));
    group.bench_function("fire_all", |bencher| {
        bencher.iter_batched(
            full,
            |(mut wheel, armed, numbers)| {
                let mut fired = 0;
                wheel.fire(start + Duration::from_secs(11), |_| fired += 1);
                assert_eq!(fired, TIMERS);
                (wheel, armed, numbers)
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn pick(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("pick");
    for endpoints in [1_u32, 10, 100] {
        let candidate = |key| Candidate { key, weight: 1 + key % 3, backup: false };
        let candidates: Vec<_> = (0..endpoints).map(candidate).collect();
        let mut balancer = Balancer::new(Policy::RoundRobin, &candidates, &Tables::default(), 0);
        let ask = || Ask { tried: black_box(&[][..]), hash: 0, load: |_| 0, full: |_| false };
        group.bench_function(endpoints.to_string(), |bencher| bencher.iter(|| balancer.pick(&ask())));
    }
    group.finish();
}

/// Among 10 000 values.
fn slots(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("slots_10000");
    let mut slots = Slots::default();
    let ids: Vec<_> = (0..10_000_u64).map(|value| slots.insert_with(|_| value)).collect();
    let mut numbers = Numbers::default();
    group.bench_function("get", |bencher| {
        bencher.iter(|| slots.get(ids[numbers.below(10_000) as usize]).copied());
    });
    group.bench_function("insert_and_remove", |bencher| {
        bencher.iter(|| {
            let id = slots.insert_with(|_| black_box(1));
            slots.remove(id)
        });
    });
    group.finish();
}

fn buffer(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("buffer");
    let (mut pool, mut buffer) = (BlockPool::new(BLOCK), Buffer::default());
    // The block is borrowed and given back each time; the kernel's copy is not
    // part of it.
    group.bench_function("fill_and_consume", |bencher| {
        bencher.iter(|| {
            let filled = buffer.fill(&mut pool, |room| Ok::<_, Infallible>(room.len().min(64)));
            buffer.consume(&mut pool, 64);
            filled
        });
    });
    group.bench_function("append_64B_and_consume", |bencher| {
        bencher.iter(|| {
            let copied = buffer.append(&mut pool, black_box(&MESSAGE));
            buffer.consume(&mut pool, copied);
        });
    });
    group.finish();
}

fn figures(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("figures");
    let (counter, histogram, mut numbers) = (Counter::default(), Histogram::default(), Numbers::default());
    group.bench_function("counter_add", |bencher| bencher.iter(|| black_box(&counter).add(black_box(64))));
    group.bench_function("histogram_record", |bencher| {
        bencher.iter(|| histogram.record(Duration::from_micros(numbers.below(1 << 20))));
    });
    group.finish();
}

/// A message comes in, the session turns it round, it goes out.
fn echo(criterion: &mut Criterion<CpuTime>) {
    let (mut session, mut wire, mut blocks) = (Session::Echo(Echo), Wire::default(), BlockPool::new(BLOCK));
    let now = zero();
    criterion.bench_function("session/echo_64B", |bencher| {
        bencher.iter(|| {
            wire.incoming.append(&mut blocks, black_box(&MESSAGE));
            let step = session.advance(&mut Exchange { downstream: &mut wire, blocks: &mut blocks, now });
            let answered = wire.outgoing.len();
            wire.outgoing.consume(&mut blocks, answered);
            step
        });
    });
}

/// 500 listeners and 500 pools of 8 endpoints.
fn parse(criterion: &mut Criterion<CpuTime>) {
    let text = large_configuration();
    let mut group = criterion.benchmark_group("config");
    group.sample_size(20).throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse_1000_objects", |bencher| {
        bencher.iter(|| config::parse("large.toml", &text, &|_| None).expect("the configuration is valid"));
    });
    group.finish();
}

/// 1000 endpoints with 3 figures and a histogram each.
fn exposition(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("exposition_1000_endpoints");
    group.sample_size(20);
    let names: Vec<_> =
        (0..1000).map(|n| (format!("pool-{}", n / 10), format!("10.0.{}.{}:8080", n / 10, n % 10))).collect();
    let build = || large_page(&names).into_iter().filter_map(Family::build).collect::<Vec<_>>();
    let families = build();
    group.bench_function("build", |bencher| bencher.iter(build));
    for (name, format) in [("text", Format::Text), ("open_metrics", Format::OpenMetrics)] {
        group.throughput(Throughput::Bytes(format.encode(&families).len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| format.encode(&families)));
    }
    group.finish();
}

fn large_page(names: &[(String, String)]) -> Vec<Family> {
    let mut connected = Family::counter("bench_connected_total", "Connections established.");
    let mut sent = Family::counter("bench_sent_bytes_total", "Bytes sent.");
    let mut active = Family::gauge("bench_active", "Connections open.");
    let mut time = Family::histogram("bench_connect_seconds", "From connect to established.");
    let (histogram, mut snapshot) = (Histogram::default(), HistogramSnapshot::default());
    (0..24).for_each(|exponent| histogram.record(Duration::from_micros(1 << exponent)));
    histogram.add_to(&mut snapshot);
    for (n, (pool, endpoint)) in (0..).zip(names) {
        let labels = [("pool", pool.as_str()), ("endpoint", endpoint.as_str())];
        connected.count(&labels, n * 1_000);
        sent.count(&labels, n * 1_000_000);
        active.count(&labels, n);
        time.observed(&labels, &snapshot, Bounds::CONNECT);
    }
    vec![connected, sent, active, time]
}

fn large_configuration() -> String {
    let mut text = String::new();
    for n in 0..500 {
        let endpoints: Vec<_> = (1..=8).map(|host| format!("\"10.1.{}.{host}:{}\"", n % 250, 9000 + n)).collect();
        write!(
            text,
            "[[listener]]\nname = \"listener-{n}\"\naddress = \"127.0.0.1:{}\"\nprotocol = \"tcp\"\npool = \"pool-{n}\"\n\
             idle_timeout = \"10m\"\n\n[[pool]]\nname = \"pool-{n}\"\nconnect_timeout = \"2s\"\nendpoints = [{}]\n\n",
            10_000 + n,
            endpoints.join(", "),
        )
        .expect("a String takes what is written");
    }
    text
}

/// Numbers that look random and are the same in every run (an LCG with Knuth's
/// constants).
#[derive(Default)]
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of the benchmarks")]
fn zero() -> Instant {
    Instant::now()
}
