//! tcp: from the client to an endpoint and back.

mod bulk;
mod choice;
mod cost;
mod families;

use std::{sync::mpsc, time::Duration};

use crate::support::{Client, Daemon, End, Origin, PATIENCE, Setup};

/// A listener `front` that relays to these endpoints.
fn relay(origins: &[&Origin]) -> Daemon {
    relay_with(origins, "")
}

/// With further lines of the listener.
fn relay_with(origins: &[&Origin], listener: &str) -> Daemon {
    let endpoints: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    let endpoints = endpoints.join(", ");
    Setup::config(&format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        {listener}
        [[pool]]
        name = "back"
        endpoints = [{endpoints}]
        connect_timeout = "1s"
        "#
    ))
    .start()
}

#[test]
fn a_client_that_has_finished_still_gets_the_whole_answer() {
    let origin = Origin::counting();
    let daemon = relay(&[&origin]);
    for size in [0, 1, 100_000, 3_000_000] {
        let mut client = daemon.connect("front");
        client.send(&vec![7; size]);
        client.finish();
        assert_eq!(client.rest(), (size.to_string().into_bytes(), End::Eof));
    }
}

#[test]
fn an_upstream_that_has_finished_still_hears_the_client() {
    let (heard, hears) = mpsc::channel();
    let origin = Origin::finishing_first("that is all", heard);
    let daemon = relay(&[&origin]);
    let mut client = daemon.connect("front");
    assert_eq!(client.rest(), (b"that is all".to_vec(), End::Eof));
    client.send(b"but I ");
    client.send(b"go on");
    client.finish();
    assert_eq!(hears.recv_timeout(PATIENCE).expect("the client's words"), b"but I go on");
    daemon.becomes_idle();
}

#[test]
fn a_reset_of_the_client_is_a_reset_for_the_upstream() {
    let (told, ends) = mpsc::channel();
    let origin = Origin::telling_ends(told);
    let daemon = relay(&[&origin]);
    let mut client = daemon.connect("front");
    client.echo(b"x");
    client.reset();
    assert!(ends.recv_timeout(PATIENCE).expect("an end"), "the upstream sees FIN, not RST");

    // And an orderly end is none.
    let mut client = daemon.connect("front");
    client.echo(b"x");
    drop(client);
    assert!(!ends.recv_timeout(PATIENCE).expect("an end"), "the upstream sees RST, not FIN");
    daemon.becomes_idle();
    let closed = |by, cause| {
        let labels = [("listener", "front"), ("by", by), ("phase", "open"), ("cause", cause)];
        daemon.metrics().sum("netd_listener_connections_closed_total", &labels)
    };
    assert_eq!(closed("downstream", "reset"), 1.0);
    assert_eq!(closed("downstream", "end"), 1.0);
}

/// Also one that comes while netd is still connecting: the upstream may have
/// accepted already.
#[test]
fn a_reset_that_comes_early_is_a_reset_too() {
    let (told, ends) = mpsc::channel();
    let origin = Origin::telling_ends(told);
    let daemon = relay(&[&origin]);
    let address = daemon.address("front");
    for _ in 0..50 {
        Client::connect(address).reset();
    }
    daemon.becomes_idle();
    let ends: Vec<bool> = ends.try_iter().collect();
    let orderly = ends.iter().filter(|&&reset| !reset).count();
    assert_eq!(orderly, 0, "of {} resets so many came as FIN", ends.len());
}

#[test]
fn a_reset_of_the_upstream_is_a_reset_for_the_client() {
    let origin = Origin::resetting();
    let daemon = relay(&[&origin]);
    for _ in 0..10 {
        let mut client = daemon.connect("front");
        client.send(b"x");
        assert_eq!(client.rest(), (Vec::new(), End::Reset));
    }
    daemon.becomes_idle();
    let labels = [("by", "upstream"), ("phase", "open"), ("cause", "reset")];
    assert_eq!(daemon.metrics().sum("netd_listener_connections_closed_total", &labels), 10.0);
}

#[test]
fn an_idle_connection_ends_after_the_idle_timeout_and_a_busy_one_does_not() {
    let origin = Origin::echoing();
    let daemon = relay_with(&[&origin], "idle_timeout = \"700ms\"");
    let mut idle = daemon.connect("front");
    let mut busy = daemon.connect("front");
    idle.echo(b"once");
    idle.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let mut ended = false;
    for _ in 0..1200 {
        busy.echo(b"again");
        if !matches!(std::io::Read::read(&mut idle.stream, &mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
        {
            ended = true;
            break;
        }
    }
    assert!(ended, "the idle connection is open still");
    busy.echo(b"still here");
    let labels = [("by", "netd"), ("cause", "timeout")];
    assert_eq!(daemon.metrics().sum("netd_listener_connections_closed_total", &labels), 1.0);
}

/// The client's bytes before the upstream is there are not lost.
#[test]
fn what_is_sent_early_arrives() {
    let origin = Origin::echoing();
    let daemon = relay(&[&origin]);
    let address = daemon.address("front");
    for _ in 0..50 {
        let mut client = Client::connect(address);
        client.send(b"early");
        client.finish();
        assert_eq!(client.rest(), (b"early".to_vec(), End::Eof));
    }
}
