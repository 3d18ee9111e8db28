use std::{
    fs,
    os::fd::AsRawFd,
    process::{Command, Output},
};

use super::*;
use crate::{
    process::testing,
    sys::process::testing::{in_single_threaded_child, spoil},
};

const CHILD: &str = "process::daemonize::tests::child_becomes_a_daemon";

#[test]
fn what_is_said_is_understood() {
    let parse = Said::parse;
    assert_eq!(parse(b""), Said { pid: None, verdict: None });
    assert_eq!(parse(b"p\x01\x02"), Said { pid: None, verdict: None });
    assert_eq!(parse(b"p\x01\x02\0\0"), Said { pid: Some(0x201), verdict: None });
    assert_eq!(parse(b"p\x01\0\0\0s"), Said { pid: Some(1), verdict: Some(Verdict::Serving) });
    let failed = |message: &str, status| Some(Verdict::Failed { message: message.to_owned(), status });
    assert_eq!(parse(b"p\x01\0\0\0f\x4eno"), Said { pid: Some(1), verdict: failed("no", 78) });
    assert_eq!(parse(b"f\x01early"), Said { pid: None, verdict: failed("early", 1) });
}

/// Both ends in one process: what [`Waiter::wait`] makes of what is said.
#[expect(clippy::zombie_processes, reason = "it is the waiter that waits for it")]
fn outcome(say: impl FnOnce(Ready)) -> Outcome {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let between = Command::new("true").spawn().unwrap();
    let mut ready = Ready { pipe: File::from(writer) };
    ready.say(&[b"p", &7i32.to_le_bytes()[..]].concat());
    say(ready);
    Waiter { pipe: File::from(reader), child: Pid::from_raw(i32::try_from(between.id()).unwrap()) }.wait()
}

#[test]
fn the_outcome_is_the_daemons_word() {
    assert_eq!(outcome(Ready::serving), Outcome::Serving { pid: 7 });
    assert_eq!(
        outcome(|ready| ready.failed("port 80 is taken", 78)),
        Outcome::Failed { message: "port 80 is taken".to_owned(), status: 78 }
    );
    // A failure never looks like a success.
    assert_eq!(outcome(|ready| ready.failed("", 0)), Outcome::Failed { message: String::new(), status: FAILED });
}

#[test]
fn a_long_message_is_cut_at_a_character() {
    let Outcome::Failed { message, .. } = outcome(|ready| ready.failed(&"ä€".repeat(MAX_MESSAGE), 1)) else {
        panic!("not failed");
    };
    assert!(message.len() <= MAX_MESSAGE && message.len() > MAX_MESSAGE - 4);
    assert!(!message.contains('\u{fffd}'));
}

#[test]
fn a_threaded_process_is_refused_before_anything_is_changed() {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv());
    let options = Options { umask: 0, working_directory: "/".into(), core_dumps: false, preserve: Vec::new() };
    assert!(daemonize(&options).unwrap_err().to_string().contains("threads run already"));
    drop(stop);
    assert!(thread.join().is_ok());
}

#[test]
fn the_starter_is_told_apart() {
    use StartedBy::*;
    assert_eq!(StartedBy::judge(true, false, 1), Supervisor);
    assert_eq!(StartedBy::judge(false, true, 1), SuperServer);
    assert_eq!(StartedBy::judge(false, false, 1), Init);
    assert_eq!(StartedBy::judge(false, false, 4711), Other);
    assert_eq!([Supervisor, SuperServer, Init, Other].map(StartedBy::may_detach), [false, false, true, true]);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(is_network_socket(&listener));
    assert!(!is_network_socket(File::open("/dev/null").unwrap()));
    assert!(!is_network_socket(&std::os::unix::net::UnixStream::pair().unwrap().0));
}

#[test]
fn the_environment_loses_what_is_dangerous_and_nothing_else() {
    for name in [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "IFS",
        "BASH_ENV",
        "GLIBC_TUNABLES",
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "WATCHDOG_USEC",
        "JOURNAL_STREAM",
        "MAINPID",
        "RES_OPTIONS",
        "BASH_FUNC_ls%%",
    ] {
        assert!(is_dangerous(OsStr::new(name)), "{name}");
    }
    for name in [
        "PATH",
        "LANG",
        "LC_ALL",
        "TZ",
        "HOME",
        "NETD_ADMIN",
        "BACKEND_PORT",
        "CREDENTIALS_DIRECTORY",
        "XDG_RUNTIME_DIR",
        "RUST_BACKTRACE",
        "IFSX",
        "OLD",
        "",
    ] {
        assert!(!is_dangerous(OsStr::new(name)), "{name}");
    }
}

/// Starts [`child_becomes_a_daemon`] in the worst surroundings: signals blocked
/// and ignored, file descriptors left open, a poisoned environment.
fn start(scenario: &str, report: &Path) -> Output {
    let mut command = testing::own_process(CHILD);
    command
        .env("NETD_TEST_SCENARIO", scenario)
        .env("NETD_TEST_REPORT", report)
        .env("LD_BIND_NOW", "1")
        .env("NOTIFY_SOCKET", "/nonexistent")
        .env("KEPT", "yes");
    let extra: Vec<File> = (0..5).map(|_| File::open("/dev/zero").unwrap()).collect();
    spoil(&mut command, extra);
    command.output().unwrap()
}

#[test]
#[ignore = "run in a process of its own by other tests"]
fn child_becomes_a_daemon() {
    if testing::is_own_process() {
        assert!(matches!(in_single_threaded_child(become_a_daemon), WaitStatus::Exited(_, 0)));
    }
}

fn become_a_daemon() {
    let scenario = testing::env("NETD_TEST_SCENARIO").unwrap();
    let report = testing::env("NETD_TEST_REPORT").unwrap();
    let preserved = File::open("/dev/full").unwrap();
    let working_directory = if scenario == "no-directory" { "/nonexistent" } else { "/" };
    let options = Options {
        umask: 0o027,
        working_directory: working_directory.into(),
        core_dumps: false,
        preserve: vec![preserved.as_raw_fd()],
    };
    match daemonize(&options).unwrap() {
        Side::Original(waiter) => {
            let outcome = waiter.wait();
            fs::write(report + ".outcome", format!("{outcome:?}")).unwrap();
        }
        Side::Daemon(ready) => {
            match scenario.as_str() {
                "serving" => {
                    describe_daemon(&report);
                    ready.serving();
                }
                "failed" => ready.failed("port 80 is taken", 78),
                "killed" => {
                    nix::sys::signal::raise(Signal::SIGKILL).unwrap();
                }
                "exits" => process::exit_at_once(3),
                _ => unreachable!(),
            }
            process::exit_at_once(0);
        }
    }
}

fn describe_daemon(report: &str) {
    let mut text = fs::read_to_string("/proc/self/status").unwrap();
    text += &format!("stat={}\n", fs::read_to_string("/proc/self/stat").unwrap().trim());
    text += &format!("cwd={}\n", fs::read_link("/proc/self/cwd").unwrap().display());
    for fd in fs::read_dir("/proc/self/fd").unwrap() {
        let fd = fd.unwrap();
        // The listing's own is gone by the time it is looked at, or is /proc.
        if let Ok(target) = fs::read_link(fd.path()) {
            text += &format!("fd {} {}\n", fd.file_name().display(), target.display());
        }
    }
    for name in ["LD_BIND_NOW", "NOTIFY_SOCKET", "KEPT", "PATH"] {
        text += &format!("env {name}={:?}\n", testing::env(name));
    }
    text += &format!("core={:?}\n", nix::sys::resource::getrlimit(Resource::RLIMIT_CORE).unwrap());
    fs::write(report, text).unwrap();
}

fn outcome_of(scenario: &str) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let output = start(scenario, &report);
    let outcome = fs::read_to_string(directory.path().join("report.outcome"))
        .unwrap_or_else(|error| panic!("{error}: {} {}", output.status, String::from_utf8_lossy(&output.stderr)));
    (outcome, fs::read_to_string(report).unwrap_or_default())
}

/// A hexadecimal mask of /proc/PID/status.
fn mask(report: &str, name: &str) -> u64 {
    let line = report.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
}

#[test]
fn the_daemon_is_as_the_manual_page_says() {
    let (outcome, report) = outcome_of("serving");
    // pid (comm) state ppid pgrp session tty_nr ...
    let stat = report.lines().find_map(|line| line.strip_prefix("stat=")).unwrap();
    let pid: i32 = stat.split(' ').next().unwrap().parse().unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(outcome, format!("Serving {{ pid: {pid} }}"));

    let session: i32 = fields[3].parse().unwrap();
    assert_ne!(session, pid, "not a session leader");
    assert_ne!(session, nix::unistd::getsid(None).unwrap().as_raw(), "a session of its own");
    assert_eq!(fields[4], "0", "no terminal");
    assert_eq!(mask(&report, "SigBlk"), 0);
    let ignored =
        [Signal::SIGPIPE, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGTSTP].map(|signal| 1u64 << (signal as i32 - 1));
    // libc keeps two signals for its threads and sets them itself.
    assert_eq!(mask(&report, "SigIgn") & !(0b11 << 31), ignored.iter().sum::<u64>());
    assert_eq!(mask(&report, "SigCgt") & !(0b11 << 31), 0);
    assert!(report.contains("Umask:\t0027"), "{report}");
    assert!(report.contains("\ncwd=/\n"), "{report}");
    assert!(report.contains("env LD_BIND_NOW=None\nenv NOTIFY_SOCKET=None\nenv KEPT=Some(\"yes\")"), "{report}");
    assert!(report.contains(&format!("env PATH=Some({PATH:?})")), "{report}");
    assert!(report.contains("core=(0, 0)"), "{report}");

    let targets: Vec<&str> =
        report.lines().filter_map(|line| line.strip_prefix("fd ")?.split_once(' ')).map(|(_, target)| target).collect();
    for (fd, target) in report.lines().filter_map(|line| line.strip_prefix("fd ")?.split_once(' ')) {
        match fd {
            "0" | "1" | "2" => assert_eq!(target, "/dev/null"),
            _ => assert!(
                target == "/dev/full" || target.starts_with("pipe:") || target.starts_with("/proc/"),
                "{target}"
            ),
        }
    }
    assert_eq!(targets.iter().filter(|target| **target == "/dev/full").count(), 1, "preserved: {targets:?}");
    assert_eq!(targets.iter().filter(|target| target.starts_with("pipe:")).count(), 1, "readiness: {targets:?}");
}

#[test]
fn the_original_process_hears_why_it_failed() {
    assert_eq!(outcome_of("failed").0, r#"Failed { message: "port 80 is taken", status: 78 }"#);
    let (outcome, _) = outcome_of("no-directory");
    assert!(outcome.contains("/nonexistent") && outcome.contains("status: 1"), "{outcome}");
}

#[test]
fn a_daemon_that_dies_without_a_word_is_a_failure() {
    let (outcome, _) = outcome_of("killed");
    assert!(outcome.contains("was killed by SIGKILL before it served"), "{outcome}");
    let (outcome, _) = outcome_of("exits");
    assert!(outcome.contains("ended with status 3 before it served"), "{outcome}");
}
