//! What cannot come to anything changes nothing.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{config, serving};
use crate::support::{Daemon, Origin, eventually};

#[track_caller]
fn refuses(daemon: &Daemon, args: &[&str], why: &str) {
    let pid = daemon.status()["pid"].clone();
    let said = daemon.netctl(&[&["upgrade"], args].concat()).ended_with(1);
    let story = said.story();
    assert!(story.contains(why), "{story}");
    assert_eq!(daemon.status()["pid"], pid);
    assert_eq!(daemon.get("/readyz").status, 200);
    daemon.connect("front").echo(b"as before");
}

#[test]
fn a_binary_that_is_none_refuses() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    let mut client = daemon.connect("front");
    refuses(&daemon, &["--binary", "/nonexistent/netd"], "/nonexistent/netd");
    refuses(&daemon, &["--binary", "/bin/false"], "status 1");
    refuses(&daemon, &["--binary", "/bin/true"], "status 0");
    let text = daemon.path("text");
    fs::write(&text, "no program").expect("a file to write");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).expect("permissions");
    refuses(&daemon, &["--binary", text.to_str().expect("UTF-8")], "has ended");
    client.echo(b"through it all");
    // Afterwards all is as if nothing had been.
    daemon.upgrade(&[]);
    client.echo(b"moved");
}

#[test]
fn a_configuration_that_is_wrong_refuses_with_its_report() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    let bad = daemon.path("bad.toml");
    fs::write(&bad, "bad = 1\n").expect("a file to write");
    refuses(&daemon, &["--config", bad.to_str().expect("UTF-8")], "unknown key `bad`");
    refuses(&daemon, &["--config", "/nonexistent/netd.toml"], "/nonexistent/netd.toml");
    // One that is right, but cannot be carried out: somebody else listens there.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let more = format!(
        "[[listener]]\nname = \"more\"\naddress = \"{}\"\nprotocol = \"echo\"\n",
        taken.local_addr().expect("bound")
    );
    daemon.rewrite(&format!("{}{more}", config(&origin, "[workers]\ncount = 2\n")));
    refuses(&daemon, &[], "listener `more`");
    daemon.connect("echo").echo(b"sockets go on");
    drop(taken);
    daemon.upgrade(&[]);
    daemon.connect("more").echo(b"bound");
}

#[test]
fn one_at_a_time() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    // A successor that hangs until it is given up.
    let slow = daemon.path("slow");
    fs::write(&slow, "#!/bin/sh\nexec sleep 5\n").expect("a file to write");
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).expect("permissions");
    let first = daemon
        .netctl_command(&["upgrade", "--binary", slow.to_str().expect("UTF-8"), "--timeout", "60s"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut first = first.expect("netctl");
    eventually("it has begun", || daemon.log().contains("upgrade-started").then_some(()));
    for args in [&["upgrade"][..], &["reload"], &["stop", "echo"]] {
        let said = daemon.netctl(args).ended_with(1);
        assert!(said.stderr.contains("an upgrade is in progress"), "{}", said.story());
    }
    daemon.connect("front").echo(b"meanwhile");
    assert_eq!(first.wait().expect("netctl ends").code(), Some(1));
    daemon.upgrade(&[]);
    daemon.connect("front").echo(b"afterwards");
}
