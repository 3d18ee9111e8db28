//! `netd --daemon`: daemon(7)'s steps, one by one, as /proc shows them.

mod pidfile;
pub(crate) mod privileges;

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use nix::sys::signal::Signal;

use crate::support::{Client, Daemon, Finished, Setup, child, clock::within, eventually, proc::Process};

const ECHO: &str = r#"
    [[listener]]
    name = "echo"
    address = "127.0.0.1:0"
    protocol = "echo"
"#;

/// Bit of a signal in a mask of /proc/PID/status.
fn bit(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}

/// Started in the worst surroundings.
fn detached() -> Daemon {
    Setup::config(ECHO).surroundings(child::spoil).env("LD_NETD_TEST", "x").detach()
}

#[test]
fn step_1_what_was_open_is_closed() {
    let daemon = detached();
    for fd in daemon.process.fds() {
        let target = daemon.process.link(&format!("fd/{fd}"));
        let target = target.display().to_string();
        assert!(!target.contains("(deleted)"), "fd {fd} is left of the one who started it: {target}");
    }
}

#[test]
fn steps_2_and_3_signals_are_as_a_daemon_wants_them() {
    let daemon = detached();
    let ignored = [Signal::SIGPIPE, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGTSTP].map(bit).iter().sum::<u64>();
    // 32 and 33 belong to libc, which lets nobody set them.
    let settable = !(0b11 << 31);
    assert_eq!(daemon.process.signals("SigIgn") & settable, ignored, "ignored signals");
    assert_eq!(daemon.process.signals("SigBlk"), 0, "blocked signals");
    let wanted = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1].map(bit).iter().sum::<u64>();
    assert_eq!(daemon.process.signals("SigCgt") & wanted, wanted, "caught signals");
}

#[test]
fn steps_5_to_8_it_is_nobodys_child_and_leads_no_session() {
    let daemon = detached();
    let process = daemon.process;
    let own = Process(i32::try_from(std::process::id()).expect("a process id"));
    assert_ne!(process.session(), own.session(), "it is in the session of who started it");
    assert_ne!(process.session(), process.0, "it leads a session, so it can get a terminal");
    assert_eq!(process.terminal(), 0, "it has a terminal");
    assert_ne!(process.parent(), own.0);
    let parent = process.parent();
    assert!(parent == 1 || !Process(parent).link("exe").ends_with("netd"), "a netd of the start is left: {parent}");
}

#[test]
fn steps_9_to_11_streams_umask_and_directory() {
    let daemon = detached();
    for fd in 0..=2 {
        assert_eq!(daemon.process.link(&format!("fd/{fd}")).to_str(), Some("/dev/null"), "fd {fd}");
    }
    assert_eq!(daemon.process.status("Umask"), "0000");
    assert_eq!(daemon.process.link("cwd").to_str(), Some("/"));
}

#[test]
fn umask_and_directory_are_as_configured() {
    let config = format!("[process]\numask = \"0o027\"\nworking_directory = \"DIR\"\n{ECHO}");
    let daemon = Setup::config(&config).detach();
    assert_eq!(daemon.process.status("Umask"), "0027");
    assert_eq!(daemon.process.link("cwd"), daemon.path(".").canonicalize().expect("a directory"));
}

#[test]
fn core_dumps_are_off_unless_asked_for() {
    let limit = |daemon: &Daemon| {
        let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.process.0)).expect("limits");
        limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line").to_owned()
    };
    let daemon = detached();
    assert_eq!(limit(&daemon).split_whitespace().nth(4), Some("0"));
}

#[test]
fn step_12_the_pid_file_names_it() {
    let daemon = detached();
    let path = daemon.path("netd.pid");
    let text = fs::read_to_string(&path).expect("a pid file");
    assert_eq!(text.trim(), daemon.process.0.to_string());
    let mode = fs::metadata(&path).expect("a pid file").permissions().mode();
    assert_eq!(mode & 0o022, 0, "others can write the pid file: {mode:o}");
    assert_eq!(daemon.status()["pid"], daemon.process.0);
}

#[test]
fn step_14_it_serves_when_the_start_returns() {
    let reserved = crate::support::ports::free();
    let address = reserved.to_string();
    for _ in 0..5 {
        let daemon = Setup::flags(&["--listen", &address, "--protocol", "echo"]).detach();
        Client::connect(reserved).echo(b"at once");
        drop(daemon);
    }
}

/// Ends with this status, says why where it was started, and leaves nothing
/// running.
#[track_caller]
fn fails(mut setup: Setup, status: i32, reason: &str) {
    let said = Finished::run(setup.detaching()).ended_with(status);
    assert!(said.stderr.starts_with("netd: ") && said.stderr.contains(reason), "{}", said.story());
    let pid_file = setup.path("netd.pid");
    let left = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
    let gone = left.is_none_or(|pid| {
        within(std::time::Duration::from_secs(5), || (!Process(pid).is_alive()).then_some(())).is_some()
    });
    assert!(gone, "a daemon is left: {left:?}");
}

#[test]
fn step_15_a_start_that_fails_says_why_on_the_terminal() {
    fails(Setup::config("[[listener]]\nname = 7\n"), 78, "netd.toml:2");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket").to_string();
    fails(Setup::flags(&["--listen", &address, "--protocol", "echo"]), 1, &address);

    let metrics = Setup::bare(&["--listen", "127.0.0.1:0", "--protocol", "echo", "--metrics", &address]);
    let admin = format!("unix:{}", metrics.path("admin.sock").display());
    fails(metrics.args(&["--admin", &admin]), 1, &address);

    fails(Setup::config(ECHO).args(&["--user", "no-such-user"]), 78, "no-such-user");
    let directory = format!("[process]\nworking_directory = \"/nonexistent\"\n{ECHO}");
    fails(Setup::config(&directory), 1, "/nonexistent");
}

#[test]
fn it_stays_with_a_service_manager_that_waits_for_it() {
    let setup = Setup::config(ECHO);
    let pid_file = setup.path("netd.pid");
    let manager = crate::support::manager::Manager::listening_at(&setup.path("notify"));
    let notify = setup.path("notify").display().to_string();
    let daemon = setup
        .args(&["--daemon", "--log", "stderr", "--pid-file", &pid_file.display().to_string()])
        .env("NOTIFY_SOCKET", &notify)
        .start();
    assert_eq!(daemon.process.parent(), i32::try_from(std::process::id()).expect("a process id"));
    drop(manager);
}

#[test]
fn the_log_is_opened_anew_on_usr1() {
    let daemon = detached();
    let (log, rotated) = (daemon.path("netd.log"), daemon.path("netd.log.1"));
    eventually("it logs", || daemon.log().contains("serving").then_some(()));
    fs::rename(&log, &rotated).expect("a log file");
    daemon.signal(Signal::SIGUSR1);
    eventually("there is a new log", || log.exists().then_some(()));
    daemon.rewrite(&format!("[drain]\ntimeout = \"7s\"\n{ECHO}"));
    daemon.ask(&["reload"]);
    daemon.logs("generation 2");
    assert!(!fs::read_to_string(&rotated).expect("the old log").contains("generation 2"));
}

#[test]
fn it_reloads_on_hup_from_the_file_it_was_started_with() {
    let setup = Setup::config(ECHO);
    let directory = setup.config_path().parent().expect("a directory").to_owned();
    // A relative path must survive the change of directory.
    let mut relative = Setup::bare(&["--config", "netd.toml", "--metrics", &setup.metrics_address().to_string()]);
    let admin = format!("unix:{}", relative.path("admin.sock").display());
    relative = relative.args(&["--admin", &admin]);
    relative.command().current_dir(&directory);
    let daemon = relative.detach();
    let more = "[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"";
    fs::write(directory.join("netd.toml"), format!("{ECHO}{more}")).expect("a file to write");
    daemon.signal(Signal::SIGHUP);
    eventually("the file was read anew", || (daemon.status()["generation"] == 2).then_some(()));
    daemon.connect("more").echo(b"more");
}
