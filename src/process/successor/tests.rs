//! Real processes: shells in the place of the new binary.

use std::{fs::File, time::Duration};

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::resource::{Resource, setrlimit},
};

use super::*;
use crate::{process::testing, sys::channel::Interest};

const LONG: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Launch {
    Launch {
        binary: "/bin/sh".into(),
        name: "netd".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: vec![("NETD_TEST_WORD".into(), "word".into())],
    }
}

/// Reads until the other end is closed by all who have it.
fn wait_for_end(ours: &OwnedFd) {
    let mut buffer = [0; 16];
    while channel::receive(ours.as_fd(), &mut buffer).is_err() {
        assert!(channel::wait(ours.as_fd(), Interest::Read, LONG).unwrap(), "nobody closed the channel");
    }
}

#[test]
fn it_gets_its_end_and_no_other_descriptor_and_its_surroundings() {
    let script = r#"test -e /proc/self/fd/$NETD_UPGRADE_FD || exit 1
        test "$NETD_TEST_WORD" = word || exit 2
        test "$0" = netd || exit 3
        test -e /proc/$$/fd/$NETD_TEST_FD && exit 4
        grep -q '^SigBlk:.0*$' /proc/self/status || exit 5
        grep -qE '^SigIgn:.0{7}[01][08]0{7}$' /proc/self/status || exit 6 # but for 32 and 33, libc's own
        exit 42"#;
    let mut launch = shell(script);
    launch.arguments.push("netd".into());
    // A number far from those that the shell itself takes.
    let own = fcntl(File::open("/dev/null").unwrap(), FcntlArg::F_DUPFD_CLOEXEC(500)).unwrap();
    launch.environment.push(("NETD_TEST_FD".into(), own.to_string().into()));
    let mut reserve = Reserve::new(NEEDED).unwrap();
    let (mut successor, ours) = launch.start(&mut reserve).unwrap();
    wait_for_end(&ours);
    assert!(channel::wait(successor.pidfd().unwrap(), Interest::Read, LONG).unwrap());
    let status = successor.child.wait().unwrap();
    assert_eq!(describe(status), "it exited with status 42");
}

#[test]
fn what_cannot_be_executed_is_told_at_once() {
    let launch = Launch { binary: "/nonexistent/netd".into(), ..shell("") };
    let error = launch.start(&mut Reserve::new(NEEDED).unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let launch = Launch { binary: "/dev/null".into(), ..shell("") };
    assert_eq!(launch.start(&mut Reserve::new(0).unwrap()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_stopped_one_can_be_killed_and_is_gone_afterwards() {
    let (mut successor, ours) = shell("kill -STOP $$").start(&mut Reserve::new(1).unwrap()).unwrap();
    assert!(successor.exited().is_none());
    let status = successor.kill().unwrap();
    assert_eq!(describe(status), "signal 9 ended it");
    assert_eq!(successor.kill(), Some(status));
    wait_for_end(&ours);
    assert!(channel::wait(successor.pidfd().unwrap(), Interest::Read, Duration::ZERO).unwrap());
}

#[test]
fn a_variable_that_names_nothing_is_an_error() {
    assert!(inherited(&|_| None).unwrap().is_none());
    for value in ["", "x", "-1", "1", "1000000"] {
        let error = inherited(&|name| (name == VARIABLE).then(|| value.to_owned())).unwrap_err();
        assert!(error.to_string().contains(VARIABLE), "{error}");
    }
}

#[test]
fn the_limits_of_descriptors() {
    testing::in_own_process("process::successor::tests::child_starts_with_no_descriptor_free");
    testing::in_own_process("process::successor::tests::child_receives_with_too_few_descriptors");
}

fn use_up_all() -> Vec<File> {
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn child_starts_with_no_descriptor_free() {
    if !testing::is_own_process() {
        return;
    }
    let mut reserve = Reserve::new(NEEDED).unwrap();
    let held = use_up_all();
    assert!(shell("exit 0").start(&mut Reserve::new(0).unwrap()).is_err());
    let (mut successor, ours) = shell("exit 7").start(&mut reserve).unwrap();
    wait_for_end(&ours);
    assert_eq!(describe(successor.child.wait().unwrap()), "it exited with status 7");
    // The pair's end and the pidfd are still held.
    assert!(!reserve.refill(NEEDED));
    drop((successor, ours));
    assert!(reserve.refill(NEEDED));
    drop(held);
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn child_receives_with_too_few_descriptors() {
    if !testing::is_own_process() {
        return;
    }
    let (a, b) = channel::pair().unwrap();
    let (kept, sent) = channel::pair().unwrap();
    channel::send(a.as_fd(), b"five", &[sent.as_fd(); 5]).unwrap();
    drop(sent);
    let mut held = use_up_all();
    held.truncate(held.len() - 2);
    let mut buffer = [0; 16];
    let datagram = channel::receive(b.as_fd(), &mut buffer).unwrap();
    assert_eq!((&buffer[..datagram.length], datagram.fds.len(), datagram.fds_lost), (b"five".as_slice(), 0, true));
    // Those that arrived are closed again.
    assert_eq!(channel::receive(kept.as_fd(), &mut buffer).unwrap().length, 0);
}
