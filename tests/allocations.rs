//! What a relay takes from the allocator, counted exactly: a worker in this
//! process, and an allocator that counts for each thread.

#[path = "../benches/common/echo.rs"]
mod echo;
#[path = "../benches/common/worker.rs"]
mod worker;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc,
    time::Duration,
};

use netd::worker::{Command, Reply};
use worker::Relay;

/// The system's allocator, with a count of its calls and bytes on each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one thread has taken and given back.
#[derive(Debug, Clone, Copy, Default)]
struct Ledger {
    /// Allocations and reallocations.
    calls: u64,
    /// Bytes held: taken, less given back.
    bytes: i64,
}

thread_local! {
    static LEDGER: Cell<Ledger> = const { Cell::new(Ledger { calls: 0, bytes: 0 }) };
}

/// Neither allocates nor fails; a thread that is ending is not counted.
fn note(calls: u64, bytes: i64) {
    let _ = LEDGER.try_with(|ledger| {
        let Ledger { calls: so_far, bytes: held } = ledger.get();
        ledger.set(Ledger { calls: so_far + calls, bytes: held + bytes });
    });
}

#[expect(unsafe_code, reason = "an allocator that counts has no other way in")]
// SAFETY: every call goes to the system's allocator as it came; the counting
// touches no memory but the thread's own cell, and cannot allocate or panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size as i64 - layout.size() as i64);
        // SAFETY: as for `alloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        // SAFETY: as for `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes in use that an idle relayed pair may cost. Measured: see
/// docs/performance.md.
const BYTES_A_PAIR: i64 = 456;
const PATIENCE: Duration = Duration::from_secs(30);

fn relay() -> Relay {
    let origin = echo::echo().expect("the origin needs a port and a thread");
    Relay::start(origin).expect("the worker needs a port and a thread")
}

/// A client that gives up after a while rather than wait for ever.
struct Client(TcpStream);

impl Client {
    fn connect(relay: &Relay) -> Self {
        let stream = TcpStream::connect(relay.address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(stream)
    }

    fn send(&mut self) {
        self.0.write_all(&[b'x'; 64]).expect("the request goes out");
    }

    fn receive(&mut self) {
        let mut answer = [0; 64];
        self.0.read_exact(&mut answer).expect("the answer comes back");
        assert_eq!(answer, [b'x'; 64]);
    }

    fn exchange(&mut self) {
        self.send();
        self.receive();
    }
}

/// The worker's ledger: asked on its own thread, between its turns.
fn ledger(relay: &Relay) -> Ledger {
    let (sender, receiver) = mpsc::sync_channel(1);
    let ask = move |()| sender.send(LEDGER.with(Cell::get)).expect("somebody waits");
    relay.worker.send(Command::Ping(Reply::new(ask))).expect("the worker takes orders");
    receiver.recv_timeout(PATIENCE).expect("the worker answers")
}

#[test]
fn a_relayed_request_allocates_nothing() {
    let relay = relay();
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(&relay)).collect();
    clients.iter_mut().for_each(Client::exchange);
    let before = ledger(&relay);
    for _ in 0..200 {
        clients.iter_mut().for_each(Client::exchange);
        // Several at once take several blocks, which are there from now on.
        clients.iter_mut().for_each(Client::send);
        clients.iter_mut().for_each(Client::receive);
    }
    let calls = ledger(&relay).calls - before.calls;
    // The blocks of 8 requests that come together, taken once and then kept.
    assert!(calls <= 16, "{calls} allocations for 3200 requests");
    let before = ledger(&relay);
    (0..200).for_each(|_| clients.iter_mut().for_each(Client::exchange));
    let after = ledger(&relay);
    assert_eq!(after.calls, before.calls, "1600 requests on warm connections");
}

/// What the tables of a worker hold for connections grows in steps: just
/// behind a step half of it is not in use. So it is counted where the tables
/// are full, and behind a step.
#[test]
fn an_idle_pair_costs_few_bytes() {
    const FEW: usize = 256;
    const MANY: usize = 2048;
    let relay = relay();
    let mut clients: Vec<Client> = (0..FEW).map(|_| Client::connect(&relay)).collect();
    clients.iter_mut().for_each(Client::exchange);
    let before = ledger(&relay);
    clients.extend((FEW..MANY).map(|_| Client::connect(&relay)));
    clients.iter_mut().for_each(Client::exchange);
    assert_eq!(relay.worker.shard().active.get(), MANY as u64);
    let full = ledger(&relay);
    let bytes = (full.bytes - before.bytes) / (MANY - FEW) as i64;
    println!("an idle pair costs {bytes} bytes");
    assert!(bytes <= BYTES_A_PAIR, "{bytes} bytes for each of {MANY} pairs");
    clients.push(Client::connect(&relay));
    clients.iter_mut().for_each(Client::exchange);
    let step = ledger(&relay).bytes - full.bytes;
    println!("one more than {MANY} takes {step} bytes more");
    // Closed, they leave room for the next, and hold nothing else.
    drop(clients);
}
