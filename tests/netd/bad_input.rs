//! Peers that do what they should not. Nothing leaks, nobody else notices.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use crate::support::{
    Client, Daemon, Origin, Setup,
    clock::{eventually, pause},
    pattern::Pattern,
};

/// A daemon with the bad habit's target, and a connection that must not notice.
struct Witness<'a> {
    daemon: &'a Daemon,
    other: Client,
    fds: usize,
    resident: u64,
}

/// Memory that a process may have gained for other reasons.
const SLACK: u64 = 6 << 20;

impl<'a> Witness<'a> {
    /// To be made when the daemon has been warmed up.
    fn of(daemon: &'a Daemon) -> Self {
        let mut other = daemon.connect("witness");
        other.echo(b"before");
        settle(daemon);
        Self { daemon, other, fds: daemon.fds(), resident: daemon.process.resident() }
    }

    #[track_caller]
    fn has_seen_nothing(mut self) {
        self.other.echo(b"after");
        settle(self.daemon);
        eventually("file descriptors are given back", || (self.daemon.fds() <= self.fds).then_some(()));
        let grown = self.daemon.process.resident().saturating_sub(self.resident);
        assert!(grown < SLACK, "netd has grown by {grown} bytes");
        self.other.echo(b"still here");
        self.daemon.connect("witness").echo(b"a new one");
    }
}

/// Waits until only the witness's connection is open.
#[track_caller]
fn settle(daemon: &Daemon) {
    eventually("only the witness is left", || {
        (daemon.metrics().sum("netd_listener_connections_active", &[]) <= 1.0).then_some(())
    });
}

const WITNESS: &str = r#"
        [[listener]]
        name = "witness"
        address = "127.0.0.1:0"
        protocol = "echo"
"#;

/// Ways for a client to behave badly; each ends the connection.
const HABITS: [fn(&mut TcpStream, &[u8]); 8] = [
    // Says nothing and goes.
    |_, _| (),
    // Says nothing and resets.
    |stream, _| abort(stream),
    // Garbage, then an end.
    |stream, garbage| drop(stream.write_all(garbage)),
    // Garbage, then a reset.
    |stream, garbage| {
        let _ = stream.write_all(garbage);
        abort(stream);
    },
    // Half of it, an end of one direction, and does not read.
    |stream, garbage| {
        let _ = stream.write_all(&garbage[..garbage.len() / 2]);
        let _ = stream.shutdown(Shutdown::Write);
    },
    // Does not want to hear anything.
    |stream, garbage| {
        let _ = stream.shutdown(Shutdown::Read);
        let _ = stream.write_all(garbage);
    },
    // Ends both directions and stays a moment.
    |stream, _| {
        let _ = stream.shutdown(Shutdown::Both);
        pause(Duration::from_micros(300));
    },
    // A byte, a moment, a reset.
    |stream, _| {
        let _ = stream.write_all(b"?");
        pause(Duration::from_micros(300));
        abort(stream);
    },
];

fn abort(stream: &TcpStream) {
    crate::support::client::reset(stream);
}

fn misbehave(daemon: &Daemon, listeners: &[&str], rounds: usize) {
    let garbage = Pattern::new(42).bytes(5000);
    let addresses: Vec<_> = listeners.iter().map(|name| daemon.address(name)).collect();
    for _ in 0..rounds {
        for address in &addresses {
            for habit in HABITS {
                let Ok(mut client) = Client::try_connect(*address) else { continue };
                client.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
                habit(&mut client.stream, &garbage);
            }
        }
    }
}

#[test]
fn thousands_of_bad_clients() {
    let origin = Origin::echoing();
    let daemon = Setup::config(&format!(
        r#"{WITNESS}
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        [[listener]]
        name = "discard"
        address = "127.0.0.1:0"
        protocol = "discard"
        [[listener]]
        name = "respond"
        address = "127.0.0.1:0"
        protocol = "respond"
        [[listener]]
        name = "relay"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[pool]]
        name = "back"
        endpoints = ["{}"]
        "#,
        origin.address
    ))
    .start();
    let listeners = ["echo", "discard", "respond", "relay"];
    misbehave(&daemon, &listeners, 10);
    let witness = Witness::of(&daemon);
    misbehave(&daemon, &listeners, 80);
    witness.has_seen_nothing();
}

#[test]
fn upstreams_that_refuse_reset_and_never_answer() {
    let origins =
        [Origin::refusing(), Origin::resetting(), Origin::resetting_at_once(), Origin::hanging(), Origin::saying("")];
    let names = ["refusing", "resetting", "resetting-at-once", "hanging", "ending"];
    let mut config = WITNESS.to_owned();
    for (name, origin) in names.iter().zip(&origins) {
        config += &format!(
            r#"
            [[listener]]
            name = "{name}"
            address = "127.0.0.1:0"
            protocol = "tcp"
            pool = "{name}"
            [[pool]]
            name = "{name}"
            endpoints = ["{}"]
            "#,
            origin.address
        );
    }
    let daemon = Setup::config(&config).start();
    misbehave(&daemon, &names, 8);
    let witness = Witness::of(&daemon);
    misbehave(&daemon, &names, 40);
    witness.has_seen_nothing();
}

#[test]
fn upstreams_that_do_not_even_accept() {
    let mute = Origin::not_accepting();
    let daemon = Setup::config(&format!(
        r#"{WITNESS}
        [[listener]]
        name = "mute"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "mute"
        [[pool]]
        name = "mute"
        endpoints = ["{}"]
        connect_timeout = "150ms"
        retries = 0
        "#,
        mute.address
    ))
    .start();
    let address = daemon.address("mute");
    let crowd = || {
        let clients: Vec<Client> = (0..200).filter_map(|_| Client::try_connect(address).ok()).collect();
        for mut client in clients {
            assert_eq!(client.rest().0, b"");
        }
    };
    crowd();
    let witness = Witness::of(&daemon);
    crowd();
    crowd();
    witness.has_seen_nothing();
    let labels = [("by", "upstream"), ("phase", "dial"), ("cause", "timeout")];
    assert!(daemon.metrics().sum("netd_listener_connections_closed_total", &labels) >= 590.0);
}

#[test]
fn garbage_for_the_admin_and_metrics_sockets() {
    let setup = Setup::config(WITNESS);
    let metrics = setup.metrics_address();
    let daemon = setup.start();
    let garbage = |seed: usize| Pattern::new(seed as u64).bytes(1 + seed * 37);
    let disturb = |count: usize| {
        for seed in 0..count {
            if let Ok(mut stream) = UnixStream::connect(daemon.admin()) {
                let _ = stream.write_all(if seed % 3 == 0 { b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" } else { &[0xff; 24] });
                let _ = stream.write_all(&garbage(seed));
            }
            if let Ok(mut stream) = TcpStream::connect(metrics) {
                let _ = stream.write_all(if seed % 3 == 0 { b"GET /metrics HTTP/1.1\r\n" } else { b"\x16\x03\x01" });
                let _ = stream.write_all(&garbage(seed));
            }
        }
    };
    disturb(40);
    daemon.ask(&["status"]);
    let witness = Witness::of(&daemon);
    disturb(150);
    daemon.ask(&["status"]);
    assert_eq!(daemon.get("/healthz").status, 200);
    witness.has_seen_nothing();
}

/// Many bad clients at the same time do not slow a good one down to nothing.
#[test]
fn a_storm_beside_a_good_client() {
    let origin = Origin::echoing();
    let daemon = Setup::config(&format!(
        r#"{WITNESS}
        [[listener]]
        name = "relay"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[pool]]
        name = "back"
        endpoints = ["{}"]
        "#,
        origin.address
    ))
    .start();
    misbehave(&daemon, &["relay"], 10);
    let mut witness = Witness::of(&daemon);
    thread::scope(|scope| {
        let storm: Vec<_> = (0..4).map(|_| scope.spawn(|| misbehave(&daemon, &["relay"], 40))).collect();
        while storm.iter().any(|thread| !thread.is_finished()) {
            witness.other.echo(b"in the storm");
        }
    });
    witness.has_seen_nothing();
}
