//! netctl against the real daemon.

mod access;
mod objects;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{Client, Daemon, End, Finished, Origin, PATIENCE, Setup, clock::within, eventually, ports};

/// `front` relays to two endpoints, `echo` is for itself.
fn daemon(a: &Origin, b: &Origin) -> Daemon {
    Setup::config(&config(a, b, "")).start()
}

fn config(a: &Origin, b: &Origin, more: &str) -> String {
    format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        [[pool]]
        name = "back"
        endpoints = ["{}", "{}"]
        {more}
        "#,
        a.address, b.address
    )
}

#[test]
fn status_listeners_and_pools_tell_what_is() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let mut client = daemon.connect("front");
    client.echo(b"12345");
    let status = daemon.status();
    assert_eq!(status["state"], "serving");
    assert_eq!(status["pid"], daemon.process.0);
    assert_eq!(status["figures"]["active"], 1);
    assert_eq!(status["fds_used"].as_u64().map(|fds| fds.abs_diff(daemon.fds() as u64) < 6), Some(true), "{status}");
    assert!(status["config_path"].as_str().is_some_and(|path| path.ends_with("netd.toml")), "{status}");
    assert!(
        status["workers"].as_array().expect("a list").iter().all(|worker| worker["responsive"] == true),
        "{status}"
    );
    assert_eq!(status["log_destination"], "standard error", "{status}");
    daemon.ask(&["status"]).said("serving").said("1 open").said("to standard error");
    // An empty variable names no daemon.
    Finished::run(daemon.netctl_command(&["status"]).env("NETD_ADMIN", "")).ended_with(0);

    let front = daemon.listener("front");
    assert_eq!(front["state"], "accepting");
    assert_eq!(front["origin"], "bound");
    assert_eq!((&front["protocol"], &front["pool"]), (&"tcp".into(), &"back".into()));
    daemon.ask(&["listeners"]).said("front").said("tcp to back");
    daemon.netctl(&["listeners", "frnt"]).ended_with(1).complained("front");

    let pool = daemon.json(&["pools", "back"])["pools"][0].clone();
    assert_eq!((&pool["state"], &pool["listeners"]), (&"up".into(), &serde_json::json!(["front"])));
    assert_eq!(pool["figures"]["active"], 1);
    daemon.ask(&["pools"]).said(&a.address.to_string()).said(&b.address.to_string());

    let figures = &daemon.listener("front")["figures"];
    assert_eq!((&figures["bytes_from_downstream"], &figures["bytes_to_downstream"]), (&5.into(), &5.into()));
}

#[test]
fn the_configuration_in_force_is_a_valid_file() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let path = daemon.path("effective.toml");
    std::fs::write(&path, daemon.ask(&["config"]).stdout).expect("a file to write");
    let path = path.to_str().expect("UTF-8");
    Finished::run(Command::new(env!("CARGO_BIN_EXE_netd")).args(["--check", "--config", path])).ended_with(0);
    daemon.ask(&["plan", path, "--exit-code"]);
}

#[test]
fn events_tell_what_happens_in_order() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let object = format!("endpoint/back/{}", a.address);
    let mut command = daemon.netctl_command(&["events", "-o", "json"]);
    let mut events = command.stdout(Stdio::piped()).spawn().expect("netctl");
    let lines = BufReader::new(events.stdout.take().expect("a pipe")).lines();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let read =
        |line: String| -> Value { serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")) };

    // Asked again until the stream is open.
    let first = eventually("an event", || {
        let address = a.address.to_string();
        daemon.ask(&["set", "back", &address, "--weight", "3", "--who", "anna", "--why", "ticket 4711"]);
        receiver.recv_timeout(Duration::from_millis(100)).ok().map(read)
    });
    assert_eq!((&first["kind"], &first["object"]), (&"override-set".into(), &object.into()));
    assert_eq!((&first["by"]["who"], &first["by"]["why"]), (&"anna".into(), &"ticket 4711".into()));
    let next = |kind: &str| loop {
        let event = read(receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {kind}")));
        if event["kind"] == kind {
            return event;
        }
    };

    daemon.ask(&["stop", "echo"]);
    assert_eq!(next("listener-stopped")["object"], "listener/echo");
    daemon.ask(&["start", "echo"]);
    assert_eq!(next("listener-started")["object"], "listener/echo");
    daemon.ask(&["reload"]);
    next("reloaded");
    daemon.ask(&["drain"]);
    next("drain-started");
    next("drain-ended");
    daemon.ask(&["shutdown"]);
    next("shutdown");
    eventually("the stream ends with the daemon", || events.try_wait().expect("netctl"));
}

#[test]
fn the_log_level_changes_and_is_told() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    daemon.ask(&["log-level"]).said("info");
    daemon.ask(&["log-level", "debug"]).said("debug").said("info");
    assert_eq!(daemon.status()["log_level"], "debug");
    daemon.netctl(&["log-level", "loud"]).ended_with(2);
}

#[test]
fn shutdown_drains_and_stops_and_at_once_when_asked() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let mut gentle = daemon(&a, &b);
    let mut client = gentle.connect("front");
    client.echo(b"x");
    gentle.ask(&["shutdown"]);
    eventually("it drains", || (gentle.get("/readyz").status == 503).then_some(()));
    client.echo(b"y");
    assert!(gentle.try_wait().is_none());
    drop(client);
    assert_eq!(gentle.wait().code(), Some(0));

    let mut harsh = daemon(&a, &b);
    let mut client = harsh.connect("front");
    client.echo(b"x");
    harsh.ask(&["shutdown", "--now"]);
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
    assert_eq!(harsh.wait().code(), Some(0));
}

#[test]
fn netctl_finds_the_daemon_by_variable_and_over_tcp() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let tcp = ports::free();
    let daemon = Setup::config(&format!("[admin]\ntcp = \"{tcp}\"\n{}", config(&a, &b, ""))).start();
    let netctl = || Command::new(env!("CARGO_BIN_EXE_netctl"));
    let unix = format!("unix:{}", daemon.admin().display());
    Finished::run(netctl().arg("status").env("NETD_ADMIN", unix)).ended_with(0).said("serving");
    Finished::run(netctl().args(["--admin", &tcp.to_string(), "status"])).ended_with(0).said("serving");
}

#[test]
fn without_a_daemon_netctl_says_so() {
    let said =
        Finished::run(Command::new(env!("CARGO_BIN_EXE_netctl")).args(["--admin", "unix:/nonexistent/s", "status"]));
    said.ended_with(3).complained("/nonexistent/s");
    let nobody = ports::free().to_string();
    Finished::run(Command::new(env!("CARGO_BIN_EXE_netctl")).args(["--admin", &nobody, "status"])).ended_with(3);
}

/// A client of the admin API may go at any moment.
#[test]
fn admin_clients_that_vanish_leave_nothing_behind() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let mut client = Client::connect(daemon.address("echo"));
    let vanish = || {
        let mut command = daemon.netctl_command(&["events"]);
        let mut events = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("netctl");
        let before = daemon.fds();
        within(Duration::from_millis(500), || (daemon.fds() > before).then_some(()));
        events.kill().and_then(|()| events.wait()).expect("netctl");
    };
    vanish();
    let idle = eventually("the admin connection is gone", || {
        let (before, _, after) = (daemon.fds(), daemon.status(), daemon.fds());
        (before == after).then_some(after)
    });
    for _ in 0..10 {
        vanish();
    }
    eventually("all admin connections are gone", || (daemon.fds() <= idle).then_some(()));
    client.echo(b"did not notice");
    daemon.ask(&["status"]);
}
