//! Much at once: bytes, and connections.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{relay, relay_with};
use crate::support::{
    Client, Origin, PATIENCE, Setup,
    clock::{now, pause},
    pattern::Pattern,
};

const MIB: u64 = 1 << 20;

/// How a peer moves its bytes.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Bytes of one call.
    chunk: usize,
    /// It rests after so many bytes.
    burst: u64,
    rest: Duration,
}

/// As fast as it can.
const STEADY: Pace = Pace { chunk: 64 * 1024, burst: u64::MAX, rest: Duration::ZERO };
/// Much, then nothing for a while.
const BURSTY: Pace = Pace { chunk: 200_000, burst: 5 * MIB, rest: Duration::from_millis(20) };
/// Little at a time, with rests.
const SLOW: Pace = Pace { chunk: 9_000, burst: MIB / 2, rest: Duration::from_millis(2) };

fn send(mut stream: &TcpStream, pattern: Pattern, total: u64, pace: Pace) {
    let mut buffer = vec![0; pace.chunk];
    let (mut sent, mut burst) = (0, 0);
    while sent < total {
        let length = (total - sent).min(pace.chunk as u64) as usize;
        pattern.fill(sent, &mut buffer[..length]);
        stream.write_all(&buffer[..length]).unwrap_or_else(|error| panic!("after {sent} bytes: {error}"));
        sent += length as u64;
        burst += length as u64;
        if burst >= pace.burst {
            burst = 0;
            pause(pace.rest);
        }
    }
    stream.shutdown(Shutdown::Write).expect("a connection to finish");
}

fn receive(mut stream: &TcpStream, pattern: Pattern, total: u64, pace: Pace) {
    let (mut buffer, mut expected) = (vec![0; pace.chunk], Vec::new());
    let (mut received, mut burst) = (0, 0);
    loop {
        let length = stream.read(&mut buffer).unwrap_or_else(|error| panic!("after {received} bytes: {error}"));
        if length == 0 {
            break;
        }
        pattern.verify(received, &buffer[..length], &mut expected);
        received += length as u64;
        burst += length as u64;
        if burst >= pace.burst {
            burst = 0;
            pause(pace.rest);
        }
    }
    assert_eq!(received, total, "it ended early");
}

/// Both directions at the same time, each byte checked.
fn both_ways(accelerate: &str, total: u64, [client_sends, client_reads, origin_sends, origin_reads]: [Pace; 4]) {
    let (there, back) = (Pattern::new(1), Pattern::new(2));
    let (done, is_done) = mpsc::channel();
    let origin = Origin::serving(move |stream| {
        thread::scope(|scope| {
            scope.spawn(|| send(&stream, back, total, origin_sends));
            receive(&stream, there, total, origin_reads);
        });
        done.send(()).expect("a test that listens");
    });
    let daemon = relay_with(&[&origin], &format!("accelerate = \"{accelerate}\""));
    let client = daemon.connect("front");
    thread::scope(|scope| {
        scope.spawn(|| send(&client.stream, there, total, client_sends));
        receive(&client.stream, back, total, client_reads);
    });
    is_done.recv_timeout(PATIENCE).expect("the origin got everything");
    daemon.becomes_idle();
    let metrics = daemon.metrics();
    for direction in ["from_downstream", "to_downstream"] {
        let bytes = metrics.one("netd_listener_bytes_total", &[("listener", "front"), ("direction", direction)]);
        assert_eq!(bytes, total as f64, "{direction}");
    }
}

const HASTY_AND_SLOW: [Pace; 4] = [BURSTY, SLOW, STEADY, BURSTY];
const ODD: Pace = Pace { chunk: 1_237, burst: 100_003, rest: Duration::from_millis(1) };

#[test]
fn a_hundred_mebibytes_each_way_copied() {
    both_ways("off", 100 * MIB, HASTY_AND_SLOW);
}

#[test]
fn a_hundred_mebibytes_each_way_spliced() {
    both_ways("splice", 100 * MIB, HASTY_AND_SLOW);
}

/// The slow direction goes to and fro between copying and splicing.
#[test]
fn a_hundred_mebibytes_each_way_as_it_comes() {
    both_ways("auto", 100 * MIB, HASTY_AND_SLOW);
}

#[test]
fn a_slow_upstream_and_odd_sizes() {
    for accelerate in ["off", "splice", "auto"] {
        both_ways(accelerate, 4 * MIB + 13, [STEADY, ODD, ODD, SLOW]);
    }
}

/// A peer that does not read makes netd stop reading, not buffer.
#[test]
fn netd_does_not_buffer_for_a_peer_that_does_not_read() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let origin = Origin::serving(move |_stream| {
        let _ = released.lock().expect("no poison").recv_timeout(PATIENCE);
    });
    let daemon = relay(&[&origin]);
    let mut clients: Vec<Client> = (0..8).map(|_| daemon.connect("front")).collect();
    let before = daemon.process.resident();
    let block = vec![1; 64 * 1024];
    for client in &mut clients {
        client.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let mut sent = 0;
        while sent < 64 * MIB && client.stream.write_all(&block).is_ok() {
            sent += block.len() as u64;
        }
        assert!(sent < 64 * MIB, "everything was taken");
    }
    let grown = daemon.process.resident().saturating_sub(before);
    assert!(grown < 4 * MIB, "netd has grown by {grown} bytes for 8 connections that are stuck");
    drop(release);
}

/// Every one of them is served, and none gets another one's bytes. The daemon
/// relays to itself, so each takes three of its file descriptors.
#[test]
fn two_thousand_connections_at_once() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the hard limit is allowed");
    let count = usize::try_from((hard.saturating_sub(500)) / 4).expect("a number").min(2000);
    if count < 2000 {
        eprintln!("only {count} connections: the hard limit on open files is {hard}");
    }
    let daemon = Setup::config(
        r#"
        [[listener]]
        name = "front"
        address = "unix:DIR/unused.sock"
        protocol = "discard"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#,
    )
    .start();
    let front = format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "echo"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        [[pool]]
        name = "echo"
        endpoints = ["{}"]
        "#,
        daemon.address("echo")
    );
    daemon.rewrite(&front);
    daemon.ask(&["reload"]);

    let address = daemon.address("front");
    let began = now();
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(address)).collect();
    let text = |number: usize| format!("connection {number} of {count}");
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(text(number + round).as_bytes());
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let expected = text(number + round);
            assert_eq!(client.receive(expected.len()), expected.as_bytes());
        }
    }
    assert_eq!(daemon.metrics().one("netd_listener_connections_active", &[("listener", "front")]), count as f64);
    eprintln!("{count} connections, 3 rounds: {:?}", began.elapsed());
    drop(clients);
    daemon.becomes_idle();
}
