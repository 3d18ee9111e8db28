//! Under a service manager.

mod activation;

use std::time::{Duration, Instant};

use nix::{
    sys::signal::Signal,
    time::{ClockId, clock_gettime},
};

use crate::support::{Client, Daemon, PATIENCE, Setup, clock::now, eventually, manager::Manager};

const ECHO: &str = r#"
    [[listener]]
    name = "echo"
    address = "127.0.0.1:0"
    protocol = "echo"
"#;

/// A daemon and the manager that it tells.
fn service(variables: &[(&str, &str)]) -> (Daemon, Manager) {
    let mut setup = Setup::config(ECHO);
    let path = setup.path("notify");
    let manager = Manager::listening_at(&path);
    setup = setup.env("NOTIFY_SOCKET", path.to_str().expect("UTF-8"));
    for (name, value) in variables {
        setup = setup.env(name, value);
    }
    (setup.spawn(), manager)
}

#[test]
fn ready_comes_when_it_serves() {
    let (daemon, mut manager) = service(&[]);
    let ready = manager.hears("READY");
    assert_eq!(ready["READY"], "1");
    assert!(ready["STATUS"].contains("1 listener"), "{ready:?}");
    daemon.connect("echo").echo(b"at once");
    assert_eq!(daemon.get("/readyz").status, 200);
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end() {
    let (daemon, mut manager) = service(&[]);
    manager.hears("READY");
    let microseconds =
        || clock_gettime(ClockId::CLOCK_MONOTONIC).map(|time| time.tv_sec() * 1_000_000 + time.tv_nsec() / 1000);
    let before = microseconds().expect("a clock");
    daemon.signal(Signal::SIGHUP);
    let reloading = manager.hears("RELOADING");
    assert_eq!(reloading["RELOADING"], "1");
    let told: i64 = reloading["MONOTONIC_USEC"].parse().expect("microseconds");
    assert!((before..=microseconds().expect("a clock")).contains(&told), "{told} is not after {before}");
    assert_eq!(manager.hears("READY")["READY"], "1");

    // READY also ends a reload that was refused: the old configuration serves.
    daemon.rewrite("colour = \"red\"");
    daemon.signal(Signal::SIGHUP);
    manager.hears("RELOADING");
    manager.hears("READY");
    daemon.connect("echo").echo(b"as ever");
}

#[test]
fn the_status_is_live() {
    let (daemon, mut manager) = service(&[]);
    manager.hears("READY");
    let clients: Vec<Client> = (0..3).map(|_| daemon.connect("echo")).collect();
    let mut told = |text: &str| {
        eventually("the status tells it", || {
            manager.next().filter(|each| each.get("STATUS").is_some_and(|s| s.contains(text)))
        });
    };
    told("3 connections");
    drop(clients);
    told("0 connections");
}

#[test]
fn stopping_and_more_time_while_it_drains() {
    let (mut daemon, mut manager) = service(&[]);
    manager.hears("READY");
    let mut client = daemon.connect("echo");
    client.echo(b"x");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(manager.hears("STOPPING")["STOPPING"], "1");
    let more: u64 = manager.hears("EXTEND_TIMEOUT_USEC")["EXTEND_TIMEOUT_USEC"].parse().expect("microseconds");
    assert!(more >= 1_000_000, "{more}");
    client.echo(b"y");
    drop(client);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!manager.heard.iter().any(|message| message.contains_key("WATCHDOG")), "nobody asked for a watchdog");
}

#[test]
fn the_watchdog_is_fed_often_enough() {
    let (_daemon, mut manager) = service(&[("WATCHDOG_USEC", "1500000")]);
    manager.hears("READY");
    let mut fed: Vec<Instant> = Vec::new();
    let end = now() + PATIENCE;
    while fed.len() < 6 && now() < end {
        if manager.next().is_some_and(|message| message.contains_key("WATCHDOG")) {
            fed.push(now());
        }
    }
    assert_eq!(fed.len(), 6, "{:?}", manager.heard);
    let longest = fed.windows(2).map(|pair| pair[1] - pair[0]).min();
    assert!(longest.is_some_and(|gap| gap < Duration::from_millis(1500)), "{longest:?}");
}

#[test]
fn a_process_that_is_stopped_does_not_feed_it() {
    let (daemon, mut manager) = service(&[("WATCHDOG_USEC", "300000")]);
    manager.hears("WATCHDOG");
    daemon.signal(Signal::SIGSTOP);
    eventually("what was sent before is read", || manager.next().is_none().then_some(()));
    assert!(manager.next().is_none(), "somebody else feeds the watchdog: {:?}", manager.heard.last());
    daemon.signal(Signal::SIGCONT);
    manager.hears("WATCHDOG");
}

#[test]
fn an_upgrade_names_the_new_main_process_and_stops_nothing() {
    let (mut daemon, mut manager) = service(&[("WATCHDOG_USEC", "3000000")]);
    manager.hears("READY");
    daemon.connect("echo").echo(b"before");
    let old = daemon.process.0;
    daemon.upgrade(&[]);
    let named = manager.hears("MAINPID");
    assert_eq!(named["MAINPID"], daemon.process.0.to_string());
    assert_eq!(manager.hears("READY")["READY"], "1");
    manager.hears("WATCHDOG");
    assert!(!manager.heard.iter().any(|message| message.contains_key("STOPPING")), "{:?}", manager.heard);
    assert!(!manager.heard.iter().any(|message| message.contains_key("RELOADING")), "{:?}", manager.heard);
    assert_ne!(old, daemon.process.0);
    daemon.connect("echo").echo(b"after");
}
