//! Connections that go from worker to worker, and workers that come and go,
//! while clients are served.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::support::{Client, Daemon, Origin, PATIENCE, Setup, eventually, pattern::Pattern, traffic::Traffic};

fn front(origin: &Origin, workers: &str) -> String {
    format!(
        r#"
        [workers]
        {workers}
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[listener]]
        name = "local"
        address = "unix:DIR/front.sock"
        protocol = "echo"
        [[pool]]
        name = "back"
        endpoints = ["{}"]
        "#,
        origin.address
    )
}

/// Open connections of each worker.
fn open(daemon: &Daemon) -> Vec<u64> {
    let status = daemon.status();
    let workers = status["workers"].as_array().expect("a list");
    workers.iter().map(|worker| number(&worker["active"])).collect()
}

/// JSON of protobuf writes 64-bit numbers as text.
fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("no number: {value}"))
}

/// A stream through an echo, every byte checked, until it is told to end.
struct Stream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<u64>,
}

impl Stream {
    fn over(daemon: &Daemon, seed: u64) -> Self {
        let stream = daemon.connect("front").stream;
        let (mut reader, mut writer) = (stream.try_clone().expect("a descriptor"), stream);
        let (stop, pattern) = (Arc::<AtomicBool>::default(), Pattern::new(seed));
        let told = Arc::clone(&stop);
        let sender = thread::spawn(move || {
            let (mut sent, mut buffer) = (0, vec![0; 48_000]);
            while !told.load(Ordering::Acquire) {
                pattern.fill(sent, &mut buffer);
                writer.write_all(&buffer).unwrap_or_else(|error| panic!("stream {seed}, after {sent} bytes: {error}"));
                sent += buffer.len() as u64;
            }
            writer.shutdown(Shutdown::Write).expect("a connection to finish");
            sent
        });
        let receiver = thread::spawn(move || {
            let (mut received, mut buffer, mut expected) = (0, vec![0; 64_000], Vec::new());
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return received,
                    Ok(length) => pattern.verify(received, &buffer[..length], &mut expected),
                    Err(error) => panic!("stream {seed}, after {received} bytes: {error}"),
                }
                received += expected.len() as u64;
            }
        });
        Self { stop, sender, receiver }
    }

    /// Ends it; all that went in came out.
    #[track_caller]
    fn ends_whole(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        let (sent, received) = (self.sender.join().expect("no failure"), self.receiver.join().expect("no failure"));
        assert_eq!(sent, received);
        received
    }
}

/// Sockets that listen on a port of IPv4 (state 0A, LISTEN).
fn listening(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let listens = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&format!(":{port:04X}")));
        local && fields.nth(1) == Some("0A")
    };
    table.lines().filter(listens).count()
}

#[test]
fn the_number_of_workers_changes_under_load_and_nobody_notices() {
    let origin = Origin::echoing();
    let daemon = Setup::config(&front(&origin, "count = 1")).start();
    let address = daemon.address("front");
    let traffic = Traffic::over(address, 4);
    let streams: Vec<Stream> = (1..=3).map(|seed| Stream::over(&daemon, seed)).collect();
    let mut held: Vec<Client> = (0..40).map(|_| Client::connect(address)).collect();
    let mut local = UnixStream::connect(daemon.path("front.sock")).expect("a connection");
    local.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    for (round, count) in [4, 2, 3, 1, 4, 2].into_iter().enumerate() {
        daemon.rewrite(&front(&origin, &format!("count = {count}")));
        let changed = daemon.json(&["reload"]);
        assert!(changed["changes"].to_string().contains("count"), "{changed}");
        assert_eq!(open(&daemon).len(), count);
        if round % 2 == 0 {
            daemon.ask(&["rebalance"]);
        }
        traffic.goes_on(40);
        for (number, client) in held.iter_mut().enumerate() {
            client.echo(format!("round {round}, client {number}").as_bytes());
        }
        // The file is still there, and every worker serves it.
        for _ in 0..8 {
            let mut late = UnixStream::connect(daemon.path("front.sock")).expect("a connection");
            late.set_read_timeout(Some(PATIENCE)).expect("an open socket");
            for stream in [&mut late, &mut local] {
                stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0])).expect("an echo");
            }
        }
    }
    assert_eq!(daemon.address("front"), address, "it was bound anew");
    // As many as there ever were workers: those of workers that went are used again.
    assert_eq!(listening(address.port()), 4);
    let done = traffic.ends_without_a_failure();
    assert!(done >= 200, "{done} exchanges");
    let bytes: u64 = streams.into_iter().map(Stream::ends_whole).sum();
    assert!(bytes > 1 << 20, "{bytes} bytes");
    drop((held, local));
    daemon.becomes_idle();
    // Whoever accepted them, and whoever closed them: all are counted, once.
    let metrics = daemon.metrics();
    let front = [("listener", "front")];
    let accepted = metrics.sum("netd_listener_connections_accepted_total", &front);
    assert_eq!(accepted, metrics.sum("netd_listener_connections_closed_total", &front));
    assert_eq!(accepted, done as f64 + 43.0);
    let read = metrics.one("netd_listener_bytes_total", &[("listener", "front"), ("direction", "to_downstream")]);
    assert!(read > bytes as f64);
}

#[test]
fn two_hundred_connections_of_one_worker_are_evened_by_hand() {
    let origin = Origin::echoing();
    let daemon = Setup::config(&front(&origin, "count = 1")).start();
    let address = daemon.address("front");
    let mut held: Vec<Client> = (0..200).map(|_| Client::connect(address)).collect();
    held.iter_mut().for_each(|client| client.echo(b"before"));
    daemon.rewrite(&front(&origin, "count = 4"));
    daemon.ask(&["reload"]);
    assert_eq!(open(&daemon), [200, 0, 0, 0]);
    let ids =
        |daemon: &Daemon| -> Vec<String> { daemon.connections().iter().map(|each| each["id"].to_string()).collect() };
    let before = ids(&daemon);
    daemon
        .ask(&["rebalance", "--limit", "20", "--why", "a trial"])
        .said("20 connections moved from worker 0 to worker 1");
    let moved = daemon.json(&["rebalance"]);
    let count: u64 = moved["moved"].as_array().expect("a list").iter().map(|each| number(&each["connections"])).sum();
    assert_eq!(count, 130);
    assert_eq!(open(&daemon), [50, 50, 50, 50]);
    daemon.ask(&["rebalance"]).said("Nothing moved");
    assert_eq!(ids(&daemon), before, "they keep their numbers");
    held.iter_mut().for_each(|client| client.echo(b"after"));
    let metrics = daemon.metrics();
    let moved = |worker, direction| {
        metrics.one("netd_worker_connections_moved_total", &[("worker", worker), ("direction", direction)])
    };
    assert_eq!((moved("0", "out"), moved("0", "in"), moved("3", "in")), (150.0, 0.0, 50.0));
    assert_eq!(metrics.one("netd_listener_connections_active", &[("listener", "front")]), 200.0);
    // One is found and closed wherever it is.
    let id = daemon.connections()[77]["id"].as_str().expect("text").to_owned();
    daemon.ask(&["close", &id]);
    eventually("one is closed", || (open(&daemon).iter().sum::<u64>() == 199).then_some(()));
}

#[test]
fn connections_are_evened_by_themselves_where_that_is_configured() {
    let origin = Origin::echoing();
    let daemon = Setup::config(&front(&origin, "count = 1")).start();
    let address = daemon.address("front");
    let mut held: Vec<Client> = (0..100).map(|_| Client::connect(address)).collect();
    held.iter_mut().for_each(|client| client.echo(b"before"));
    daemon.rewrite(&front(&origin, "count = 2\nrebalance = \"auto\""));
    daemon.ask(&["reload"]);
    eventually("they are even", || (open(&daemon) == [50, 50]).then_some(()));
    held.iter_mut().for_each(|client| client.echo(b"after"));
    daemon.logs("50 connections from worker 0 to 1");
}
