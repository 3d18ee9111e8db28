//! The pieces.

use std::{
    collections::VecDeque,
    convert::Infallible,
    hint::black_box,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use netd::{
    balance::{Ask, Balancer, Candidate, Policy, Tables},
    metrics::{Bounds, Counter, Family, Format, Histogram, HistogramSnapshot},
    protocol::{DialFailure, Echo, Exchange, Relay, Session},
    slots::Slots,
    time::{TICK, Wheel},
    wire::{BlockPool, Buffer, Wire},
};

use crate::{
    echo::{LAST, echo},
    worker,
};

const BLOCK: usize = 64 * 1024;
const MESSAGE: [u8; 64] = [b'x'; 64];
/// The thread that runs a piece.
const MAIN: u32 = 1;
/// The third thread that is started: the origin's comes before it.
const WORKER: u32 = 3;

/// One thing to count.
pub(crate) struct Piece {
    pub(crate) name: &'static str,
    /// Repetitions that are counted.
    pub(crate) times: u64,
    /// The thread that does it, in the order in which they are started.
    pub(crate) thread: u32,
    pub(crate) run: fn(u64),
}

pub(crate) const PIECES: &[Piece] = &[
    Piece { name: "pick/10", times: 10_000, thread: MAIN, run: |times| pick(10, times) },
    Piece { name: "pick/100", times: 10_000, thread: MAIN, run: |times| pick(100, times) },
    Piece { name: "wheel/arm_and_cancel", times: 10_000, thread: MAIN, run: arm_and_cancel },
    Piece { name: "wheel/pass_a_tick", times: 10_000, thread: MAIN, run: pass_a_tick },
    Piece { name: "slots/get", times: 10_000, thread: MAIN, run: slots_get },
    Piece { name: "slots/insert_and_remove", times: 10_000, thread: MAIN, run: slots_insert_and_remove },
    Piece { name: "buffer/fill_and_consume", times: 10_000, thread: MAIN, run: fill_and_consume },
    Piece { name: "buffer/append_and_consume", times: 10_000, thread: MAIN, run: append_and_consume },
    Piece { name: "figures/counter_add", times: 10_000, thread: MAIN, run: counter_add },
    Piece { name: "figures/histogram_record", times: 10_000, thread: MAIN, run: histogram_record },
    Piece { name: "session/echo", times: 10_000, thread: MAIN, run: session_echo },
    Piece { name: "session/relay", times: 10_000, thread: MAIN, run: session_relay },
    Piece { name: "exposition/build", times: 10, thread: MAIN, run: exposition_build },
    Piece { name: "exposition/text", times: 10, thread: MAIN, run: |times| exposition(Format::Text, times) },
    Piece {
        name: "exposition/open_metrics",
        times: 10,
        thread: MAIN,
        run: |times| exposition(Format::OpenMetrics, times),
    },
    Piece { name: "worker/relayed_request", times: 1_000, thread: WORKER, run: relayed_request },
    Piece { name: "worker/relayed_connection", times: 1_000, thread: WORKER, run: relayed_connection },
];

fn pick(endpoints: u32, times: u64) {
    let candidate = |key| Candidate { key, weight: 1 + key % 3, backup: false };
    let candidates: Vec<_> = (0..endpoints).map(candidate).collect();
    let mut balancer = Balancer::new(Policy::RoundRobin, &candidates, &Tables::default(), 0);
    for _ in 0..times {
        let ask = Ask { tried: black_box(&[][..]), hash: 0, load: |_| 0, full: |_| false };
        black_box(balancer.pick(&ask));
    }
}

/// The oldest of 100 timers out, another in.
fn arm_and_cancel(times: u64) {
    let start = zero();
    let mut wheel = Wheel::new(start);
    let mut armed: VecDeque<_> = (0..100).map(|token| wheel.arm(start + after(token), token)).collect();
    for token in 0..times as usize {
        armed.push_back(wheel.arm(black_box(start + after(token)), token));
        armed.pop_front().into_iter().for_each(|timer| wheel.cancel(timer));
    }
}

/// What a turn of the loop does: what is due fires and is armed anew.
fn pass_a_tick(times: u64) {
    let mut now = zero();
    let (mut wheel, mut fired) = (Wheel::new(now), Vec::new());
    for token in 0..1000 {
        wheel.arm(now + after(token), token);
    }
    for _ in 0..times {
        now += TICK;
        wheel.fire(now, |token| fired.push(token));
        for token in fired.drain(..) {
            wheel.arm(now + after(token), token);
        }
        black_box(wheel.next_deadline());
    }
}

/// Spread over 10 s.
fn after(token: usize) -> Duration {
    Duration::from_micros((token as u64 * 7_919) % 10_000 * 1_000)
}

fn slots_get(times: u64) {
    let mut slots = Slots::default();
    let ids: Vec<_> = (0..1000_u64).map(|value| slots.insert_with(|_| value)).collect();
    for n in 0..times {
        black_box(slots.get(ids[n as usize % 1000]).copied());
    }
}

fn slots_insert_and_remove(times: u64) {
    let mut slots = Slots::default();
    for value in 0..1000_u64 {
        slots.insert_with(|_| value);
    }
    for value in 0..times {
        let id = slots.insert_with(|_| black_box(value));
        black_box(slots.remove(id));
    }
}

/// The block is borrowed and given back each time; the kernel's copy is not
/// part of it.
fn fill_and_consume(times: u64) {
    let (mut pool, mut buffer) = (BlockPool::new(BLOCK), Buffer::default());
    for _ in 0..times {
        let filled = buffer.fill(&mut pool, |room| Ok::<_, Infallible>(room.len().min(black_box(64))));
        let _ = black_box(filled);
        buffer.consume(&mut pool, 64);
    }
}

fn append_and_consume(times: u64) {
    let (mut pool, mut buffer) = (BlockPool::new(BLOCK), Buffer::default());
    for _ in 0..times {
        let copied = buffer.append(&mut pool, black_box(&MESSAGE));
        buffer.consume(&mut pool, copied);
    }
}

fn counter_add(times: u64) {
    let counter = Counter::default();
    (0..times).for_each(|n| black_box(&counter).add(n));
}

fn histogram_record(times: u64) {
    let histogram = Histogram::default();
    (0..times).for_each(|n| black_box(&histogram).record(Duration::from_micros(n)));
}

/// A message comes in, the session turns it round, it goes out.
fn session_echo(times: u64) {
    let (mut session, mut wire, mut blocks) = (Session::Echo(Echo), Wire::default(), BlockPool::new(BLOCK));
    let now = zero();
    for _ in 0..times {
        wire.incoming.append(&mut blocks, black_box(&MESSAGE));
        let step = session.advance(&mut Exchange { downstream: &mut wire, blocks: &mut blocks, now });
        let _ = black_box(step);
        let answered = wire.outgoing.len();
        wire.outgoing.consume(&mut blocks, answered);
    }
}

/// A relay that begins, fails once and is connected.
fn session_relay(times: u64) {
    let (mut wire, mut blocks) = (Wire::default(), BlockPool::new(BLOCK));
    let now = zero();
    for _ in 0..times {
        let mut session = Session::Relay(Relay::new(black_box(2)));
        let _ = black_box(session.advance(&mut Exchange { downstream: &mut wire, blocks: &mut blocks, now }));
        if let Session::Relay(relay) = &mut session {
            let _ = black_box(relay.failed(black_box(DialFailure::Refused)));
            let _ = black_box(relay.connected());
        }
    }
}

fn exposition_build(times: u64) {
    let names = names();
    (0..times).for_each(|_| drop(black_box(page(&names).into_iter().filter_map(Family::build).collect::<Vec<_>>())));
}

fn exposition(format: Format, times: u64) {
    let families: Vec<_> = page(&names()).into_iter().filter_map(Family::build).collect();
    (0..times).for_each(|_| drop(black_box(format.encode(black_box(&families)))));
}

/// 10 pools of 10 endpoints.
fn names() -> Vec<(String, String)> {
    (0..100).map(|n| (format!("pool-{}", n / 10), format!("10.0.{}.{}:8080", n / 10, n % 10))).collect()
}

fn page(names: &[(String, String)]) -> Vec<Family> {
    let mut connected = Family::counter("bench_connected_total", "Connections established.");
    let mut active = Family::gauge("bench_active", "Connections open.");
    let mut time = Family::histogram("bench_connect_seconds", "From connect to established.");
    let (histogram, mut snapshot) = (Histogram::default(), HistogramSnapshot::default());
    (0..24).for_each(|exponent| histogram.record(Duration::from_micros(1 << exponent)));
    histogram.add_to(&mut snapshot);
    for (n, (pool, endpoint)) in (0..).zip(names) {
        let labels = [("pool", pool.as_str()), ("endpoint", endpoint.as_str())];
        connected.count(&labels, n * 1_000);
        active.count(&labels, n);
        time.observed(&labels, &snapshot, Bounds::CONNECT);
    }
    vec![connected, active, time]
}

/// A request of 64 B and its answer through a whole worker.
fn relayed_request(times: u64) {
    let relay = relay();
    let mut client = TcpStream::connect(relay.address).expect("it accepts");
    (0..times).for_each(|_| exchange(&mut client, MESSAGE));
}

/// Connect, one exchange, end; the origin ends first.
fn relayed_connection(times: u64) {
    let relay = relay();
    for _ in 0..times {
        let mut client = TcpStream::connect(relay.address).expect("it accepts");
        exchange(&mut client, [LAST; 64]);
        assert_eq!(client.read(&mut [0]).expect("an end"), 0);
    }
}

fn exchange(client: &mut TcpStream, message: [u8; 64]) {
    let mut answer = [0; 64];
    client.write_all(&message).and_then(|()| client.read_exact(&mut answer)).expect("an answer");
    assert_eq!(answer, message);
}

fn relay() -> worker::Relay {
    let origin = echo().expect("the origin needs a port and a thread");
    worker::Relay::start(origin).expect("the worker needs a port and a thread")
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero")]
fn zero() -> Instant {
    Instant::now()
}
