//! The whole daemon: by netctl, by signal.

use std::{
    io::{BufRead, BufReader, ErrorKind},
    net::SocketAddr,
    process::Stdio,
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::daemon;
use crate::support::{Client, End, Origin, Setup, eventually};

fn echo() -> Setup {
    Setup::config(
        r#"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#,
    )
}

#[test]
fn netctl_drain_ends_with_zero_only_when_nothing_is_left() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let front = daemon.address("front");
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(front)).collect();
    clients.iter_mut().for_each(|client| client.echo(b"before"));

    let mut command = daemon.netctl_command(&["drain", "-o", "json"]);
    let mut drain = command.stdout(Stdio::piped()).spawn().expect("netctl");
    let stdout = BufReader::new(drain.stdout.take().expect("a pipe"));
    let mut lines = stdout.lines().map(|line| {
        let line = line.expect("a line of progress");
        serde_json::from_str::<serde_json::Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let mut until = |remaining: u64| loop {
        let progress = lines.next().expect("more progress");
        if progress["remaining"] == remaining {
            return progress;
        }
        assert_eq!(progress["done"], false, "{progress}");
    };
    until(3);
    eventually("readyz says so", || (daemon.get("/readyz").status == 503).then_some(()));
    assert_eq!(daemon.get("/healthz").status, 200);
    assert_eq!(daemon.status()["state"], "draining");
    eventually("it refuses", || Client::try_connect(front).is_err().then_some(()));

    clients.iter_mut().for_each(|client| client.echo(b"during"));
    clients.pop();
    until(2);
    assert!(drain.try_wait().expect("netctl").is_none(), "it has ended with connections left");
    clients.clear();
    let mut last = until(0);
    while last["done"] == false {
        last = until(0);
    }
    assert_eq!((&last["outcome"], &last["cut"]), (&"drained".into(), &0.into()));
    // Those that asked whether it refuses may have come in time.
    assert!(last["finished"].as_u64() >= Some(3), "{last}");
    assert!(drain.wait().expect("netctl").success());
    assert_eq!(daemon.status()["state"], "drained");

    daemon.ask(&["undrain"]);
    eventually("it is ready again", || (daemon.get("/readyz").status == 200).then_some(()));
    assert_eq!(daemon.status()["state"], "serving");
    daemon.connect("front").echo(b"after");
}

#[test]
fn the_deadline_cuts_what_is_left() {
    let daemon = echo().start();
    let mut client = daemon.connect("echo");
    client.echo(b"x");
    let said = daemon.ask(&["drain", "--deadline", "200ms"]).said("1 cut");
    assert_eq!(client.rest(), (Vec::new(), End::Reset), "{}", said.story());
    let labels = [("by", "operator"), ("cause", "drain")];
    assert_eq!(daemon.metrics().sum("netd_listener_connections_closed_total", &labels), 1.0);
}

#[test]
fn a_drain_that_is_taken_back_does_not_end_with_zero() {
    let daemon = echo().start();
    let mut client = daemon.connect("echo");
    client.echo(b"x");
    let mut drain = daemon.netctl_command(&["drain"]).stderr(Stdio::null()).spawn().expect("netctl");
    eventually("it drains", || (daemon.status()["state"] == "draining").then_some(()));
    daemon.ask(&["undrain"]);
    assert_eq!(drain.wait().expect("netctl").code(), Some(4));
    client.echo(b"untouched");
}

/// Clients connect as fast as they can while the drain begins: who got a
/// connection gets an answer.
#[test]
fn nobody_who_got_in_is_left_without_an_answer() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let front = daemon.address("front");
    let clients: Vec<_> = (0..6).map(|_| thread::spawn(move || exchange_until_refused(front))).collect();
    eventually("traffic is there", || (a.accepted() + b.accepted() > 50).then_some(()));
    daemon.ask(&["drain"]);
    let served: usize = clients.into_iter().map(|client| client.join().expect("no loss")).sum();
    assert!(served > 50, "{served}");
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("netd_listener_connections_closed_total", &[("cause", "drain")]), 0.0);
    assert_eq!(metrics.one("netd_listener_connections_accepted_total", &[("listener", "front")]), served as f64);
}

fn exchange_until_refused(address: SocketAddr) -> usize {
    let mut served = 0;
    loop {
        match Client::try_connect(address) {
            Ok(mut client) => client.try_echo(b"served").unwrap_or_else(|error| panic!("lost after {served}: {error}")),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return served,
            Err(error) => panic!("after {served}: {error}"),
        }
        served += 1;
    }
}

/// The kernel has completed their handshakes, netd has not seen them yet.
#[test]
fn who_waits_in_the_accept_queue_is_served() {
    for how in ["netctl", "signal"] {
        let (a, b) = (Origin::echoing(), Origin::echoing());
        let mut daemon = daemon(&a, &b);
        let front = daemon.address("front");
        daemon.signal(Signal::SIGSTOP);
        let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(front)).collect();
        clients.iter_mut().for_each(|client| client.send(b"queued"));
        let mut drain = match how {
            "netctl" => Some(daemon.netctl_command(&["drain"]).stdout(Stdio::null()).spawn().expect("netctl")),
            _ => {
                daemon.signal(Signal::SIGTERM);
                None
            }
        };
        daemon.signal(Signal::SIGCONT);
        for client in &mut clients {
            assert_eq!(client.receive(6), b"queued", "{how}");
        }
        drop(clients);
        match &mut drain {
            Some(drain) => assert!(drain.wait().expect("netctl").success()),
            None => assert!(daemon.wait().success()),
        }
    }
}

#[test]
fn term_int_and_quit_drain_and_then_stop() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut daemon = echo().start();
        let address = daemon.address("echo");
        let mut client = Client::connect(address);
        client.echo(b"before");
        daemon.signal(signal);
        eventually("it refuses", || Client::try_connect(address).is_err().then_some(()));
        client.echo(b"during");
        assert_eq!(daemon.get("/readyz").status, 503);
        assert!(daemon.try_wait().is_none(), "it stopped with a connection open");
        client.finish();
        assert_eq!(client.rest(), (Vec::new(), End::Eof));
        assert_eq!(daemon.wait().code(), Some(0), "{signal}");
        assert!(!daemon.admin().exists(), "the admin socket is left behind");
    }
}

#[test]
fn the_second_term_stops_at_once() {
    let mut daemon = echo().start();
    let mut client = daemon.connect("echo");
    client.echo(b"x");
    daemon.signal(Signal::SIGTERM);
    eventually("it drains", || (daemon.get("/readyz").status == 503).then_some(()));
    assert!(daemon.try_wait().is_none());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn the_configured_deadline_holds_for_signals() {
    let mut daemon = Setup::config(
        r#"
        [drain]
        timeout = "300ms"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#,
    )
    .start();
    let mut client = daemon.connect("echo");
    client.echo(b"x");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
    assert_eq!(daemon.wait().code(), Some(0));
}

/// netctl that goes away does not end the drain.
#[test]
fn the_drain_outlives_who_asked_for_it() {
    let daemon = echo().start();
    let mut client = daemon.connect("echo");
    client.echo(b"x");
    let mut drain = daemon.netctl_command(&["drain"]).stdout(Stdio::null()).spawn().expect("netctl");
    eventually("it drains", || (daemon.status()["state"] == "draining").then_some(()));
    drain.kill().and_then(|()| drain.wait()).expect("netctl");
    crate::support::clock::pause(Duration::from_millis(50));
    assert_eq!(daemon.status()["state"], "draining");
    client.echo(b"y");
    drop(client);
    eventually("it is drained", || (daemon.status()["state"] == "drained").then_some(()));
}
