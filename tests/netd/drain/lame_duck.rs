//! Balancers in front hear of a stop before it comes.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Client, Daemon, Setup, clock, eventually};

fn setup(lame_duck: &str) -> Setup {
    Setup::config(&format!(
        r#"
        [drain]
        lame_duck = "{lame_duck}"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#
    ))
}

/// Readiness fails, clients are still taken in; then they are refused, and what
/// is open goes on; then it ends.
fn goes_in_order(mut daemon: Daemon, stop: impl FnOnce(&Daemon)) {
    let address = daemon.address("echo");
    let mut early = Client::connect(address);
    early.echo(b"before");
    assert_eq!(daemon.get("/readyz").status, 200);
    let begun = clock::now();
    stop(&daemon);
    eventually("readyz fails", || (daemon.get("/readyz").status == 503).then_some(()));
    let mut late = Client::connect(address);
    late.echo(b"taken in although not ready");
    assert_eq!(daemon.status()["state"], "lame-duck");
    assert!(daemon.get("/readyz").body.contains("lame-duck"));
    assert_eq!(daemon.get("/healthz").status, 200);
    eventually("it refuses", || Client::try_connect(address).is_err().then_some(()));
    assert!(begun.elapsed() >= Duration::from_millis(1900), "it refused after {:?}", begun.elapsed());
    eventually("it drains", || (daemon.status()["state"] == "draining").then_some(()));
    for client in [&mut early, &mut late] {
        client.echo(b"during");
    }
    assert!(daemon.try_wait().is_none(), "it stopped with connections open");
    drop((early, late));
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_signal_goes_by_the_file() {
    goes_in_order(setup("2s").start(), |daemon| daemon.signal(Signal::SIGTERM));
}

#[test]
fn netctl_shutdown_may_say_otherwise() {
    goes_in_order(setup("0s").start(), |daemon| {
        daemon.ask(&["shutdown", "--lame-duck", "2s"]).said("goes on accepting for 2s, then drains");
    });
}

#[test]
fn a_drain_is_announced_and_can_be_taken_back() {
    let daemon = setup("0s").start();
    let mut drain = daemon.netctl_command(&["drain", "--lame-duck", "1h"]).spawn().expect("netctl");
    eventually("readyz fails", || (daemon.get("/readyz").status == 503).then_some(()));
    daemon.connect("echo").echo(b"as ever");
    daemon.ask(&["undrain"]);
    assert_eq!(drain.wait().expect("netctl").code(), Some(4));
    assert_eq!(daemon.get("/readyz").status, 200);
    daemon.connect("echo").echo(b"as ever");
}

#[test]
fn the_second_term_ends_a_lame_duck_at_once() {
    let mut daemon = setup("1h").start();
    daemon.signal(Signal::SIGTERM);
    eventually("it is a lame duck", || (daemon.get("/readyz").status == 503).then_some(()));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
}
