//! What is in the way of a start, and what a reload took away.

use super::daemon;
use crate::support::{Client, Origin, eventually};

#[test]
fn a_start_while_the_daemon_is_drained_does_not_claim_to_accept() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    daemon.ask(&["stop", "echo"]);
    daemon.ask(&["drain", "--why", "kernel update"]);
    let said = daemon.ask(&["start", "echo"]).said("does not accept: the whole daemon is drained");
    assert!(!said.stdout.contains("echo accepts"), "{}", said.story());
    daemon.ask(&["undrain"]);
    daemon.connect("echo").echo(b"x");
}

#[test]
fn an_endpoint_that_a_reload_removed_has_its_name_while_it_has_connections() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let front = daemon.address("front");
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(front)).collect();
    clients.iter_mut().for_each(|client| client.echo(b"before"));
    let gone = a.address.to_string();
    let file = std::fs::read_to_string(daemon.path("netd.toml")).expect("the file");
    daemon.rewrite(&file.replace(&format!("\"{gone}\", "), ""));
    daemon.ask(&["reload"]);
    let name = format!("endpoint/back/{gone}");
    for asked in [name.as_str(), gone.as_str()] {
        let why = daemon.json(&["why", asked]);
        assert_eq!((&why["object"], &why["effective"]), (&name.as_str().into(), &"removed".into()), "{why}");
        assert!(why["explanation"].as_str().is_some_and(|text| text.contains("2 connections")), "{why}");
    }
    let mut drain =
        daemon.netctl_command(&["drain", "endpoint", "back", &gone, "--no-deadline"]).spawn().expect("netctl");
    eventually("it is drained", || {
        (daemon.metrics().sum("netd_drain_connections_left", &[("target", "endpoint")]) == 2.0).then_some(())
    });
    daemon.ask(&["close", "--pool", "back", "--endpoint", &gone]).said("Closed 2 connections");
    assert!(drain.wait().expect("netctl").success());
    let alive = clients.iter_mut().filter_map(|client| client.try_echo(b"after").ok()).count();
    assert_eq!(alive, 2, "those of the other endpoint");
    eventually("its name is gone with it", || {
        let missing = daemon.netctl(&["why", &name]);
        (missing.status.code() == Some(1)).then_some(())
    });
}
