//! The process: its pid file, its ways to be found, the way back.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use nix::sys::signal::Signal;

use super::{config, serving};
use crate::support::{Finished, Origin, Setup, eventually};

#[test]
fn a_detached_daemon_is_found_by_its_pid_file_afterwards() {
    let origin = Origin::echoing();
    let mut daemon = Setup::config(&config(&origin, "")).detach();
    let pid_file = daemon.path("netd.pid");
    let before = fs::read_to_string(&pid_file).expect("a pid file");
    let mut client = daemon.connect("front");
    client.echo(b"before");
    daemon.upgrade(&[]);
    let after = fs::read_to_string(&pid_file).expect("a pid file");
    assert_ne!(before, after);
    assert_eq!(after.trim(), daemon.process.0.to_string());
    client.echo(b"after");
    drop(client);
    let netd =
        |mode: &str| Finished::run(Command::new(env!("CARGO_BIN_EXE_netd")).arg(mode).arg("--pid-file").arg(&pid_file));
    assert!(netd("--status").ended_with(0).stdout.contains(after.trim()));
    netd("--stop").ended_with(0);
    assert!(!pid_file.exists() && !daemon.admin().exists());
}

#[test]
fn sigusr2_upgrades() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    let mut client = daemon.connect("front");
    client.echo(b"before");
    let old = daemon.status()["pid"].as_i64();
    daemon.signal(Signal::SIGUSR2);
    let new = eventually("another process answers", || {
        let status = daemon.netctl(&["status", "-o", "json"]);
        let pid = (status.code() == Some(0)).then(|| status.json()["pid"].as_i64()).flatten();
        pid.filter(|pid| Some(*pid) != old)
    });
    daemon.succeeded(new);
    client.echo(b"after");
}

#[test]
fn the_binary_before_can_be_gone_back_to() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    let said = daemon.netctl(&["upgrade", "--rollback"]).ended_with(1);
    assert!(said.stderr.contains("no binary to go back to"), "{}", said.story());
    let mut client = daemon.connect("front");
    let newer = daemon.path("newer-netd");
    fs::copy(env!("CARGO_BIN_EXE_netd"), &newer).expect("a copy");
    fs::set_permissions(&newer, fs::Permissions::from_mode(0o755)).expect("permissions");
    let exe = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).expect("a running process");
    let original = exe(daemon.process.0);
    daemon.upgrade(&["--binary", newer.to_str().expect("UTF-8")]);
    assert_eq!(exe(daemon.process.0), newer);
    client.echo(b"newer");
    daemon.upgrade(&["--rollback"]);
    assert_eq!(exe(daemon.process.0), original);
    client.echo(b"back");
    // And on again, without a name: from where it runs.
    daemon.upgrade(&[]);
    client.echo(b"on");
}
