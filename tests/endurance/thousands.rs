//! Thousands of live relayed connections that move at once.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    Client, Daemon, Origin, PATIENCE, Setup,
    clock::{now, pause, within},
    proc::Process,
};

/// Connections in use while the others move.
const BUSY: usize = 16;

/// Connections that are opened, and asked, at once: a backlog of the origin's is
/// 128.
const AT_ONCE: usize = 64;

/// Connections to one address: a client has some 64,000 ports for it at most,
/// if the machine is set so.
const PORTS: usize = 25_000;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) receipt: Value,
    /// From `moving` to `handed`.
    pub(crate) moving: Duration,
    /// From the beginning to the old process's end.
    pub(crate) gone: Duration,
    /// Longest that one in use waited for an answer.
    pub(crate) answer: Duration,
    /// Bytes for each relayed pair while it was idle: netd's (PSS), and the
    /// kernel's for all four sockets of it.
    pub(crate) bytes: [u64; 2],
}

impl Move {
    pub(crate) fn row(&self, connections: usize) -> String {
        let seconds = |name: &str| self.receipt[name].as_f64().unwrap_or(f64::NAN) * 1000.0;
        format!(
            "| {connections} | {} | {} | {:.0} ms | {:.0} ms | {:.1} ms | {:.0} ms | {:.0} ms | {} | {} |\n",
            self.receipt["moved"],
            self.receipt["lost"],
            self.moving.as_secs_f64() * 1000.0,
            seconds("took_seconds"),
            seconds("longest_pause_seconds"),
            self.answer.as_secs_f64() * 1000.0,
            self.gone.as_secs_f64() * 1000.0,
            self.bytes[0],
            self.bytes[1],
        )
    }
}

pub(crate) const HEADING: &str = "| connections | moved | lost | move | whole upgrade | longest pause (receipt) | \
                                  longest answer seen by a client | asked to old process gone | \
                                  bytes of netd a pair | bytes of the kernel, all four sockets |\n\
                                  | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";

/// Opens so many, upgrades, and uses each of them afterwards.
pub(crate) fn move_at_once(connections: usize) -> Move {
    let holding = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = holding.local_addr().expect("a bound socket").port();
    let origins: Vec<SocketAddr> = (0..connections).step_by(PORTS).map(|number| on(port, number)).collect();
    let echoing = Origin::echoing();
    let mut daemon = Setup::config(&config(&origins, echoing.address)).start();
    let (held, busy) = (daemon.address("held").port(), daemon.address("busy"));
    let before = memory(daemon.process);
    let mut pairs: Vec<(Client, TcpStream)> = Vec::with_capacity(connections);
    while pairs.len() < connections {
        let first = pairs.len();
        let some = first..connections.min(first + AT_ONCE);
        pairs.extend(open(held, &holding, some));
    }
    let after = memory(daemon.process);
    let bytes = [0, 1].map(|which| after[which].saturating_sub(before[which]) / connections as u64);
    println!("{connections} connections are open");
    let (stop, clients) = in_use(busy);
    let (receipt, gone) = upgrade(&mut daemon);
    println!("the upgrade took {gone:?} to the old process's end");
    stop.store(true, Ordering::Release);
    let answer = clients.into_iter().map(|client| client.join().expect("no failure")).max().unwrap_or_default();
    for (some, pairs) in pairs.chunks_mut(AT_ONCE).enumerate() {
        let first = some * AT_ONCE;
        for (number, (client, stream)) in (first..).zip(pairs.iter_mut()) {
            client.send(&name(number));
            stream.write_all(&name(!number)).expect("room for eight bytes");
        }
        for (number, (client, stream)) in (first..).zip(pairs) {
            takes(stream, number);
            takes(&mut client.stream, !number);
        }
    }
    drop(pairs);
    daemon.becomes_idle();
    let at = |phase: &str| {
        let phases = receipt["phases"].as_array().into_iter().flatten();
        let at = phases.filter(|each| each["phase"] == phase).find_map(|each| each["at_seconds"].as_f64());
        at.unwrap_or_else(|| panic!("no {phase} in {receipt}"))
    };
    let moving = Duration::from_secs_f64(at("handed") - at("moving"));
    Move { moving, gone, answer, bytes, receipt }
}

/// Opens those of these numbers; each tells the origin its own.
fn open(held: u16, holding: &TcpListener, numbers: Range<usize>) -> Vec<(Client, TcpStream)> {
    let clients: Vec<Client> = numbers
        .clone()
        .map(|number| {
            let mut client = Client::connect(on(held, number));
            client.send(&name(number));
            client
        })
        .collect();
    let mut streams: BTreeMap<[u8; 8], TcpStream> = BTreeMap::new();
    for _ in numbers.clone() {
        let (mut stream, _) = holding.accept().expect("netd connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut told = [0; 8];
        stream.read_exact(&mut told).expect("its number");
        streams.insert(told, stream);
    }
    let stream =
        |number| streams.remove(&name(number)).unwrap_or_else(|| panic!("connection {number} has no other side"));
    numbers.map(stream).zip(clients).map(|(stream, client)| (client, stream)).collect()
}

fn config(held: &[SocketAddr], busy: SocketAddr) -> String {
    let mut text = "[workers]\ncount = 2\n".to_owned();
    for (name, address, endpoints) in [("held", "0.0.0.0:0", held), ("busy", "127.0.0.1:0", &[busy])] {
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
        text += &format!(
            "[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"tcp\"\npool = \"{name}\"\n\
             [[pool]]\nname = \"{name}\"\nendpoints = [{}]\n",
            endpoints.join(", ")
        );
    }
    text
}

/// The address of this machine that the connection of this number goes to.
fn on(port: u16, number: usize) -> SocketAddr {
    let last = 1 + u8::try_from(number / PORTS).expect("fewer connections than there are addresses");
    (Ipv4Addr::new(127, 0, 0, last), port).into()
}

/// Bytes of the process (PSS), and of the kernel for everybody.
fn memory(process: Process) -> [u64; 2] {
    let lines = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    };
    let kernel = fs::read_to_string("/proc/meminfo").expect("the machine's memory");
    [lines(&process.read("smaps_rollup"), "Pss:"), lines(&kernel, "SUnreclaim:")]
}

fn name(number: usize) -> [u8; 8] {
    (number as u64).to_le_bytes()
}

#[track_caller]
fn takes(stream: &mut TcpStream, number: usize) {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes).unwrap_or_else(|error| panic!("connection {number}: {error}"));
    assert_eq!(bytes, name(number), "bytes of another connection");
}

/// Clients that ask all the time, each with its longest wait.
fn in_use(address: SocketAddr) -> (Arc<AtomicBool>, Vec<JoinHandle<Duration>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let client = |_| {
        let (stop, mut client) = (Arc::clone(&stop), Client::connect(address));
        client.echo(b"first");
        thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Acquire) {
                let began = now();
                client.echo(b"again");
                longest = longest.max(now() - began);
                pause(Duration::from_millis(2));
            }
            longest
        })
    };
    let clients = (0..BUSY).map(client).collect();
    (stop, clients)
}

fn upgrade(daemon: &mut Daemon) -> (Value, Duration) {
    let (old, began): (_, Instant) = (daemon.process, now());
    let watching = thread::spawn(move || {
        within(PATIENCE, || (!old.is_alive()).then(|| now() - began)).expect("the old process ends")
    });
    let receipt = daemon.upgrade(&[]);
    (receipt, watching.join().expect("no panic"))
}
