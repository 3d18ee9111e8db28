//! Root is given up for good, once what needs it is open.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use nix::sys::signal::Signal;

use crate::support::{Client, Daemon, Setup, eventually, is_root};

/// A port that only root may bind, another one each time: tests run at once.
pub(crate) fn low_port() -> Option<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(600);
    let ports = std::iter::repeat_with(|| NEXT.fetch_add(1, Relaxed)).take_while(|port| *port < 1000);
    ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).find(|address| TcpListener::bind(address).is_ok())
}

fn config(address: SocketAddr, more: &str) -> String {
    format!(
        r#"
        [process]
        user = "nobody"
        [[listener]]
        name = "low"
        address = "{address}"
        protocol = "echo"
        {more}
        "#
    )
}

#[track_caller]
fn is_nobody(daemon: &Daemon) {
    let ids = |name: &str| daemon.process.status(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(ids("Uid"), ["65534"; 4]);
    assert_eq!(ids("Gid"), ["65534"; 4]);
    assert_eq!(ids("Groups"), ["65534"], "supplementary groups of root are left");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(daemon.process.signals(set), 0, "{set}");
    }
    assert_eq!(daemon.process.status("NoNewPrivs"), "1");
}

#[test]
fn a_low_port_is_bound_and_root_is_gone() {
    if !is_root("giving up root") {
        return;
    }
    let address = low_port().expect("a free low port");
    for daemon in
        [Setup::config(&config(address, "")).detach(), Setup::config(&config(low_port().expect("another"), "")).start()]
    {
        is_nobody(&daemon);
        let threads = fs::read_dir(format!("/proc/{}/task", daemon.process.0)).expect("threads");
        for thread in threads {
            let status = fs::read_to_string(thread.expect("a thread").path().join("status")).expect("a status");
            assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "a thread is root still:\n{status}");
        }
        daemon.connect("low").echo(b"low");
    }
}

#[test]
fn it_goes_on_working_as_nobody() {
    if !is_root("giving up root") {
        return;
    }
    let address = low_port().expect("a free low port");
    let daemon = Setup::config(&config(address, "")).detach();
    let extra = "[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"";
    daemon.rewrite(&config(address, extra));
    daemon.signal(Signal::SIGHUP);
    eventually("it reloads", || (daemon.status()["generation"] == 2).then_some(()));
    daemon.connect("more").echo(b"x");
    // What does not change is not bound anew: that would need root.
    Client::connect(address).echo(b"y");

    daemon.signal(Signal::SIGTERM);
    eventually("it ends", || (!daemon.process.is_alive()).then_some(()));
    let left = fs::read_to_string(daemon.path("netd.pid")).unwrap_or_default();
    assert_eq!(left, "", "the pid file names a daemon that has ended");
}

/// What took root to bind can be stopped, drained and taken back without it.
#[test]
fn a_low_port_comes_back_without_root() {
    if !is_root("giving up root") {
        return;
    }
    let address = low_port().expect("a free low port");
    let daemon = Setup::config(&config(address, "")).start();
    let refused = || eventually("it refuses", || TcpStream::connect(address).is_err().then_some(()));
    for _ in 0..2 {
        daemon.ask(&["drain"]);
        refused();
        daemon.ask(&["undrain"]);
        Client::connect(address).echo(b"after the drain");
        daemon.ask(&["stop", "low"]);
        refused();
        daemon.ask(&["start", "low"]);
        Client::connect(address).echo(b"after the stop");
    }
    daemon.rewrite(&config(address, "backlog = 77"));
    daemon.ask(&["reload"]);
    Client::connect(address).echo(b"with another backlog");
}

/// Sockets that were made as root do not stand in the way of later ones.
#[test]
fn a_listener_can_be_renamed_after_root_is_gone() {
    if !is_root("giving up root") {
        return;
    }
    let named = |name: &str, address: &str| {
        format!(
            "[process]\nuser = \"nobody\"\n[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"echo\"\n"
        )
    };
    let daemon = Setup::config(&named("old", "127.0.0.1:0")).start();
    let mut before = daemon.connect("old");
    let address = daemon.address("old");
    // Port 0 stays as it is: a name for the port that it got.
    daemon.rewrite(&named("new", &address.to_string()));
    daemon.ask(&["reload"]);
    before.echo(b"still there");
    Client::connect(address).echo(b"under its new name");
}

/// Workers that come later cannot bind it: they share what is there.
#[test]
fn a_low_port_is_served_by_workers_that_came_later() {
    if !is_root("giving up root") {
        return;
    }
    let address = low_port().expect("a free low port");
    let workers = |count: usize| config(address, &format!("[workers]\ncount = {count}"));
    let daemon = Setup::config(&workers(1)).start();
    let mut held = Client::connect(address);
    for count in [3, 1, 2, 4] {
        daemon.rewrite(&workers(count));
        daemon.ask(&["reload"]);
        for _ in 0..20 {
            Client::connect(address).echo(b"new");
        }
        held.echo(b"held");
        daemon.ask(&["stop", "low"]);
        daemon.ask(&["start", "low"]);
        Client::connect(address).echo(b"after the stop");
    }
}

#[test]
fn an_upgrade_keeps_a_low_port_without_root() {
    if !is_root("giving up root") {
        return;
    }
    let address = low_port().expect("a free low port");
    // Its place in the tree may not be open to everybody.
    let setup = Setup::config(&config(address, ""));
    let binary = setup.path("netd");
    fs::copy(env!("CARGO_BIN_EXE_netd"), &binary).expect("a copy");
    let mut daemon = setup.detach();
    let mut client = Client::connect(address);
    client.echo(b"before");
    let binary = binary.to_str().expect("UTF-8").to_owned();
    for args in [&["--binary", &binary][..], &[]] {
        daemon.upgrade(args);
        is_nobody(&daemon);
        client.echo(b"after");
        Client::connect(address).echo(b"new");
    }
    // The address is kept for good, also by the successor.
    daemon.ask(&["stop", "low"]);
    daemon.upgrade(&[]);
    daemon.ask(&["start", "low"]);
    Client::connect(address).echo(b"again");
    daemon.ask(&["drain", "--deadline", "10ms"]);
    daemon.ask(&["undrain"]);
    Client::connect(address).echo(b"and again");
}
