//! Who may use the admin API.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::{Daemon, Finished, Setup, child, is_root};

/// `nobody` and its group.
const NOBODY: u32 = 65534;

const ECHO: &str = r#"
    [[listener]]
    name = "echo"
    address = "127.0.0.1:0"
    protocol = "echo"
"#;

fn as_nobody(daemon: &Daemon, args: &[&str]) -> Finished {
    let mut command = daemon.netctl_command(args);
    child::become_user(&mut command, NOBODY);
    Finished::run(&mut command)
}

#[test]
fn the_socket_is_for_its_owner_and_group() {
    let daemon = Setup::config(ECHO).start();
    let mode = fs::metadata(daemon.admin()).expect("a socket file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
}

#[test]
fn others_are_refused_with_the_reason() {
    if !is_root("another user") {
        return;
    }
    let daemon = Setup::config(ECHO).start();
    as_nobody(&daemon, &["status"]).ended_with(3).complained("may not use the socket");

    // Even where the file lets everybody in, the kernel's word on the peer counts.
    fs::set_permissions(daemon.admin(), fs::Permissions::from_mode(0o666)).expect("root may");
    as_nobody(&daemon, &["status"]).ended_with(1).complained("uid 65534").complained("admin.group");
    as_nobody(&daemon, &["shutdown", "--now"]).ended_with(1).complained("uid 65534");
    daemon.logs("the admin API was refused");
    daemon.logs("/netd.admin.v1.Admin/GetStatus");
    daemon.ask(&["status"]).said("serving");
}

#[test]
fn members_of_the_configured_group_may() {
    if !is_root("another user") {
        return;
    }
    let daemon = Setup::config(&format!("[admin]\ngroup = {NOBODY}\n{ECHO}")).start();
    as_nobody(&daemon, &["status"]).ended_with(0).said("serving");
}
