//! Nothing new, and nothing lost.

mod gone;
mod gradual;
mod lame_duck;
mod whole;
mod worker;

use crate::support::{Client, Daemon, Origin, Setup, eventually};

/// `front` relays to two endpoints, `echo` is for itself.
fn daemon(a: &Origin, b: &Origin) -> Daemon {
    daemon_with("", a, b)
}

/// The same, with more sections.
fn daemon_with(sections: &str, a: &Origin, b: &Origin) -> Daemon {
    Setup::config(&format!(
        r#"
        {sections}
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
        "#,
        a.address, b.address
    ))
    .start()
}

#[test]
fn one_listener_drains_and_the_others_go_on() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let (front, echo) = (daemon.address("front"), daemon.address("echo"));
    let mut open = Client::connect(front);
    open.echo(b"1");
    let mut drain = daemon.netctl_command(&["drain", "listener", "front"]).spawn().expect("netctl");
    eventually("the listener drains", || (daemon.listener("front")["state"] == "draining").then_some(()));
    eventually("it refuses", || Client::try_connect(front).is_err().then_some(()));
    Client::connect(echo).echo(b"as ever");
    assert_eq!(daemon.get("/readyz").status, 200, "one listener is not the daemon");
    open.echo(b"2");
    drop(open);
    assert!(drain.wait().expect("netctl").success());

    let why = daemon.json(&["why", "listener/front"]);
    assert_eq!(why["decided_by"], "override", "{why}");
    daemon.ask(&["undrain", "listener", "front"]);
    eventually("it accepts again", || (daemon.listener("front")["state"] == "accepting").then_some(()));
    daemon.connect("front").echo(b"again");
}

#[test]
fn a_drained_endpoint_takes_nothing_new() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let address = a.address.to_string();
    daemon.ask(&["drain", "endpoint", "back", &address]);
    for _ in 0..6 {
        daemon.connect("front").echo(b"x");
    }
    assert_eq!((a.accepted(), b.accepted()), (0, 6));
    assert_eq!(daemon.endpoint("back", 0)["state"], "draining");
    daemon.ask(&["undrain", "endpoint", "back", &address]);
    for _ in 0..6 {
        daemon.connect("front").echo(b"x");
    }
    assert!(a.accepted() > 0);
}

#[test]
fn a_drained_pool_takes_nothing_new_and_keeps_what_it_has() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let front = daemon.address("front");
    let mut open = Client::connect(front);
    open.echo(b"1");
    let mut drain = daemon.netctl_command(&["drain", "pool", "back", "--no-deadline"]).spawn().expect("netctl");
    eventually("the pool drains", || (daemon.json(&["pools"])["pools"][0]["state"] == "draining").then_some(()));
    eventually("it takes nothing new", || Client::what_comes(front).0.is_empty().then_some(()));
    open.echo(b"2");
    drop(open);
    assert!(drain.wait().expect("netctl").success());
    daemon.ask(&["undrain", "pool", "back"]);
    daemon.connect("front").echo(b"again");
}
