//! With no file descriptor left.

use std::{
    io::{ErrorKind, Read},
    time::Duration,
};

use crate::support::{Client, Daemon, Origin, Setup, child, clock::pause, eventually};

const FILES: u64 = 64;
/// More than it can hold.
const CLIENTS: usize = 150;

fn small(setup: Setup) -> Daemon {
    setup.surroundings(|command| child::limit_files(command, FILES)).start()
}

fn echo() -> Daemon {
    small(Setup::config(
        r#"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#,
    ))
}

/// Clients that have connected (the kernel did that) and sent a byte.
fn crowd(daemon: &Daemon, listener: &str) -> Vec<Client> {
    let address = daemon.address(listener);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(address)).collect();
    clients.iter_mut().for_each(|client| client.send(b"?"));
    eventually("accepting pauses", || (daemon.listener(listener)["state"] == "paused").then_some(()));
    clients
}

/// Lets each client go once it has been served, until all have been.
fn serve_all(mut waiting: Vec<Client>) {
    eventually("all are served as others leave", || {
        waiting.retain_mut(|client| {
            client.stream.set_nonblocking(true).expect("an open socket");
            match client.stream.read(&mut [0; 8]) {
                Ok(1) => false,
                Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                other => panic!("a client was not served: {other:?}"),
            }
        });
        waiting.is_empty().then_some(())
    });
}

#[test]
fn who_waits_is_served_when_others_leave() {
    let daemon = echo();
    serve_all(crowd(&daemon, "echo"));
    daemon.becomes_idle();
    eventually("accepting goes on", || (daemon.listener("echo")["state"] == "accepting").then_some(()));
    daemon.connect("echo").echo(b"as ever");
    assert!(daemon.metrics().one("netd_listener_accept_pauses_total", &[]) >= 1.0);
}

#[test]
fn a_relay_serves_all_too() {
    let origin = Origin::echoing();
    let daemon = small(Setup::config(&format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[pool]]
        name = "back"
        endpoints = ["{}"]
        "#,
        origin.address
    )));
    serve_all(crowd(&daemon, "front"));
    daemon.becomes_idle();
    assert_eq!(origin.accepted(), CLIENTS);
}

#[test]
fn it_does_not_spin() {
    let daemon = echo();
    let clients = crowd(&daemon, "echo");
    let (before, wall) = (daemon.process.cpu_time(), Duration::from_millis(1500));
    pause(wall);
    let used = daemon.process.cpu_time() - before;
    assert!(used < wall / 3, "{used:?} of processor time in {wall:?} with nothing to do");
    serve_all(clients);
}

#[test]
fn status_close_and_drain_still_work() {
    let daemon = echo();
    let clients = crowd(&daemon, "echo");
    for round in 0..3 {
        let status = daemon.status();
        assert_eq!(status["fds_limit"], FILES, "round {round}");
        assert_eq!(daemon.get("/readyz").status, 200);
    }
    daemon.ask(&["listeners"]);
    daemon.ask(&["connections"]);
    daemon.ask(&["plan"]);

    let connections = daemon.connections();
    let id = connections[0]["id"].as_str().expect("an id");
    daemon.ask(&["close", id]).said("Closed 1 connection");

    // The drain takes in all who wait, and cuts what is left at its deadline.
    daemon.ask(&["drain", "--deadline", "1s"]).said("is drained");
    assert_eq!(daemon.status()["state"], "drained");
    drop(clients);
    daemon.ask(&["undrain"]);
    daemon.connect("echo").echo(b"as ever");
}

/// The limit falls below what is open: not one descriptor can be had.
#[test]
fn with_not_a_single_descriptor_to_be_had_it_is_still_in_hand() {
    let daemon = Setup::config(
        r#"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#,
    )
    .start();
    let echo = daemon.address("echo");
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(echo)).collect();
    clients.iter_mut().for_each(|client| client.echo(b"before"));
    let open = eventually("no admin connection is open", || {
        let (before, after) = (daemon.process.fds(), daemon.process.fds());
        (before == after).then_some(after)
    });
    let lowest_free = (0..).find(|fd| !open.contains(fd)).expect("a number");
    child::limit_files_of(daemon.process, lowest_free as u64);

    for _ in 0..3 {
        daemon.ask(&["status"]);
    }
    daemon.ask(&["plan"]);
    assert_eq!(daemon.get("/metrics").status, 200);
    clients.iter_mut().for_each(|client| client.echo(b"still served"));
    let mut waiting = Client::connect(echo);
    waiting.send(b"?");
    eventually("accepting pauses", || (daemon.listener("echo")["state"] == "paused").then_some(()));
    let source = clients[0].local().to_string();
    let id = daemon.connections().iter().find(|each| each["source"] == source.as_str()).expect("it")["id"].clone();
    daemon.ask(&["close", id.as_str().expect("an id")]).said("Closed 1 connection");
    // The first to leave may leave its descriptor to the admin plane's reserve.
    clients.clear();
    assert_eq!(waiting.receive(1), b"?", "who waits is served when others leave");
    let cut = daemon.ask(&["drain", "--deadline", "300ms"]);
    assert!(cut.stdout.contains("is drained"), "{}", cut.story());
}
