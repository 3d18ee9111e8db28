//! One daemon for a pid file; `--stop` and `--status`.

use std::{fs, path::Path, process::Command, thread};

use nix::sys::signal::Signal;

use super::ECHO;
use crate::support::{Client, Finished, Setup, eventually, proc::Process};

fn netd(args: &[&str], pid_file: &Path) -> Finished {
    Finished::run(Command::new(env!("CARGO_BIN_EXE_netd")).args(args).arg("--pid-file").arg(pid_file))
}

#[test]
fn a_second_instance_says_who_holds_the_pid_file() {
    let daemon = Setup::config(ECHO).detach();
    let pid_file = daemon.path("netd.pid");
    let mut second = Setup::config(ECHO).args(&["--pid-file", pid_file.to_str().expect("UTF-8")]);
    let pid = daemon.process.0.to_string();
    // Detached and in the foreground alike.
    let said = Finished::run(second_command(&mut second)).ended_with(1);
    assert!(said.stderr.contains(&pid) && said.stderr.contains("netd.pid"), "{}", said.story());
    let said = second.run().ended_with(1);
    assert!(said.stderr.contains(&pid), "{}", said.story());
    assert_eq!(fs::read_to_string(&pid_file).expect("a pid file").trim(), pid);
    daemon.connect("echo").echo(b"not disturbed");
}

fn second_command(setup: &mut Setup) -> &mut Command {
    setup.command().args(["--daemon", "--log", "stderr"])
}

#[test]
fn of_twenty_starts_at_once_one_wins() {
    let setup = Setup::config(ECHO);
    let pid_file = setup.path("netd.pid");
    let starts: Vec<_> = (0..20)
        .map(|_| {
            let mut each = Setup::config(ECHO).args(&["--pid-file", pid_file.to_str().expect("UTF-8")]);
            thread::spawn(move || {
                let finished = Finished::run(second_command(&mut each));
                (each, finished)
            })
        })
        .collect();
    let ended: Vec<(Setup, Finished)> = starts.into_iter().map(|start| start.join().expect("no panic")).collect();
    let winners = ended.iter().filter(|(_, finished)| finished.code() == Some(0)).count();
    let pid: i32 = fs::read_to_string(&pid_file).expect("a pid file").trim().parse().expect("a process id");
    let stopped = netd(&["--stop"], &pid_file);
    assert_eq!(winners, 1, "{:#?}", ended.iter().map(|(_, finished)| finished.story()).collect::<Vec<_>>());
    for (_, loser) in ended.iter().filter(|(_, finished)| finished.code() != Some(0)) {
        assert!(loser.stderr.contains("netd.pid"), "{}", loser.story());
    }
    stopped.ended_with(0);
    assert!(!Process(pid).is_alive());
}

#[test]
fn a_stale_pid_file_is_taken_over() {
    let mut setup = Setup::config(ECHO);
    let pid_file = setup.path("netd.pid");
    let log = format!("file:{}", setup.path("first.log").display());
    let file = pid_file.to_str().expect("UTF-8").to_owned();
    let mut first = Setup::config(ECHO).args(&["--pid-file", &file, "--log", &log]);
    Finished::run(first.command().arg("--daemon")).ended_with(0);
    let pid: i32 = fs::read_to_string(&pid_file).expect("a pid file").trim().parse().expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    eventually("it is gone", || (!Process(pid).is_alive()).then_some(()));
    // Its other threads let go of the lock a moment later.
    eventually("nobody holds the file", || (netd(&["--status"], &pid_file).code() == Some(1)).then_some(()));
    netd(&["--status"], &pid_file).ended_with(1).said(&pid.to_string());
    netd(&["--stop"], &pid_file).ended_with(3);

    // The number may belong to somebody else by now: only the lock counts.
    fs::write(&pid_file, "1\n").expect("a file to write");
    Finished::run(setup.detaching()).ended_with(0);
    let new: i32 = fs::read_to_string(&pid_file).expect("a pid file").trim().parse().expect("a process id");
    assert!(new != pid && new != 1);
    netd(&["--stop"], &pid_file).ended_with(0);
}

#[test]
fn stop_and_status_end_as_the_lsb_wants() {
    let daemon = Setup::config(ECHO).detach();
    let pid_file = daemon.path("netd.pid");
    let pid = daemon.process.0.to_string();
    netd(&["--status"], &pid_file).ended_with(0).said(&pid);
    netd(&["--stop"], &pid_file).ended_with(0).said(&pid);
    assert!(!daemon.process.is_alive(), "--stop returned too early");
    assert!(!pid_file.exists(), "the pid file is left behind");
    netd(&["--status"], &pid_file).ended_with(3);
    netd(&["--stop"], &pid_file).ended_with(3).complained("does not run");
}

#[test]
fn stop_waits_for_the_drain_and_not_for_ever() {
    let daemon = Setup::config(ECHO).detach();
    let pid_file = daemon.path("netd.pid");
    let mut client = Client::connect(daemon.address("echo"));
    client.echo(b"before");
    netd(&["--stop", "--timeout", "300ms"], &pid_file).ended_with(1).complained("drains");
    client.echo(b"still here");
    drop(client);
    eventually("it ends", || (!daemon.process.is_alive()).then_some(()));
}

#[test]
fn an_empty_pid_file_is_not_said_to_be_missing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("netd.pid");
    let said = netd(&["--status"], &path).ended_with(3);
    assert!(said.stdout.contains("does not exist"), "{}", said.story());
    fs::write(&path, "").expect("a file to write");
    let said = netd(&["--status"], &path).ended_with(3);
    assert!(said.stdout.contains("empty") && !said.stdout.contains("does not exist"), "{}", said.story());
}
