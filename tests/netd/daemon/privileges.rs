//! Root is given up for good, once what needs it is open.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
};

use nix::sys::signal::Signal;

use crate::support::{Client, Daemon, Setup, eventually, is_root};

/// A port that only root may bind.
fn low_port() -> Option<SocketAddr> {
    (600..1000).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).find(|address| TcpListener::bind(address).is_ok())
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
