//! How netctl fails: with the right status, and a message that helps.

use std::{
    io::{self, Write},
    os::unix::net::UnixListener,
    time::Duration,
};

use clap::Parser;

use super::{Args, Daemon, around, netctl, run};

/// Fails every write with one error.
struct Full(io::ErrorKind);

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    Args::try_parse_from([&["netctl"], words].concat())
}

#[tokio::test]
async fn a_refusal_is_told_in_the_daemons_words() {
    let daemon = Daemon::start();
    let ran = daemon.netctl(&["start", "absent"]).await;
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "netctl: no listener `absent`; there are web and health\n");
    let ran = daemon.netctl(&["why", "busy"]).await;
    assert_eq!((ran.status, ran.err.as_str()), (1, "netctl: a reload is in flight; try again when it is done\n"));
    let ran = daemon.netctl(&["reload", "--expect", "2"]).await;
    assert_eq!((ran.status, ran.err.as_str()), (1, "netctl: generation 3 is in force, not 2: plan again\n"));
}

#[tokio::test]
async fn a_report_of_many_lines_keeps_its_lines() {
    let daemon = Daemon::start();
    let file = daemon.directory.path().join("bad.toml");
    std::fs::write(&file, "bad = 1\n").unwrap();
    let ran = daemon.netctl(&["reload", file.to_str().unwrap()]).await;
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.err,
        "netctl: the candidate has 1 error:\nerror: unknown key `bad`\n --> candidate:1:1\n  |\n1 | bad = 1\n  | ^^^\n"
    );
}

#[tokio::test]
async fn nothing_the_daemon_says_steers_the_terminal() {
    let ran = Daemon::start().netctl(&["why", "hostile"]).await;
    assert_eq!(ran.err, "netctl: \u{fffd}[2Jgone\n");
}

#[tokio::test]
async fn an_older_daemon_is_named_as_such() {
    let ran = Daemon::start().netctl(&["why", "unknown"]).await;
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("does not know this request; netctl is version "), "{}", ran.err);
}

#[tokio::test]
async fn no_answer_in_time_ends_with_5() {
    let daemon = Daemon::start();
    let ran = daemon.netctl(&["why", "slow", "--timeout", "20ms"]).await;
    assert_eq!(ran.status, 5);
    assert!(ran.err.contains("did not answer within 20ms"), "{}", ran.err);
    let ran = daemon.netctl(&["why", "late"]).await;
    assert_eq!((ran.status, ran.err.as_str()), (5, "netctl: worker 1 did not answer in time\n"));
    let ran = daemon.netctl(&["connections", "--listener", "broken"]).await;
    assert_eq!((ran.status, ran.err.as_str()), (5, "netctl: worker 1 did not answer in time\n"));
    assert!(ran.out.contains("000100000000002a"), "what came before the failure is shown: {}", ran.out);
}

#[tokio::test]
async fn an_absent_socket_is_told_from_a_dead_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let admin = format!("unix:{}", path.display());
    let args = parse(&["--admin", &admin, "status"]).unwrap();

    let ran = netctl(args.clone(), &around()).await;
    assert_eq!((ran.status, ran.out.as_str()), (3, ""));
    assert_eq!(
        ran.err,
        format!(
            "netctl: cannot reach netd at {admin}: there is no such socket. Is netd running? Another address is named \
             with --admin or NETD_ADMIN\n"
        )
    );

    drop(UnixListener::bind(&path).unwrap());
    let ran = netctl(args, &around()).await;
    assert_eq!(ran.status, 3);
    assert!(ran.err.contains("nobody listens: netd has ended"), "{}", ran.err);
}

#[tokio::test]
async fn all_places_that_were_tried_are_named() {
    let ran = netctl(parse(&["status"]).unwrap(), &around()).await;
    assert_eq!(ran.status, 3);
    assert_eq!(
        ran.err,
        "netctl: cannot reach netd at unix:/nonexistent/netd/admin.sock: there is no such socket. Is netd running? There \
         is no /absent/netd/admin.sock either; another address is named with --admin or NETD_ADMIN\n"
    );
}

#[tokio::test]
async fn a_stranger_on_the_socket_is_not_taken_for_netd() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        io::copy(&mut stream, &mut io::sink()).ok();
    });
    let admin = format!("unix:{}", path.display());
    let ran = netctl(parse(&["--admin", &admin, "status"]).unwrap(), &around()).await;
    assert_eq!(ran.status, 3, "{ran:?}");
    assert!(ran.err.contains("broke: "), "{}", ran.err);
    stranger.join().unwrap();
}

#[tokio::test]
async fn a_daemon_that_goes_at_once_has_done_what_shutdown_now_asks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let admin = format!("unix:{}", path.display());
    for (words, status) in [(&["shutdown", "--now"][..], 0), (&["shutdown"], 3)] {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        // It goes when it has heard the request.
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap_err();
        });
        let args = parse(&[&["--admin", &admin], words].concat()).unwrap();
        let ran = netctl(args, &around()).await;
        assert_eq!(ran.status, status, "{ran:?}");
        daemon.join().unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let daemon = Daemon::start();
    for words in [&["connections"][..], &["status"], &["events", "-o", "json"], &["drain", "-o", "json"]] {
        let mut err = Vec::new();
        let status = run(daemon.args(words), &around(), &mut Full(io::ErrorKind::BrokenPipe), &mut err).await;
        assert_eq!((status.code(), err.len()), (0, 0), "{words:?}");
    }
}

#[tokio::test]
async fn a_status_that_means_something_needs_no_reader() {
    let daemon = Daemon::start();
    for (words, expected) in [(&["drain", "listener", "taken"][..], 4), (&["plan", "--exit-code"], 6)] {
        let status = run(daemon.args(words), &around(), &mut Full(io::ErrorKind::BrokenPipe), &mut io::sink()).await;
        assert_eq!(status.code(), expected, "{words:?}");
    }
}

#[tokio::test]
async fn a_full_disk_is_a_failure() {
    let daemon = Daemon::start();
    let mut err = Vec::new();
    let status = run(daemon.args(&["config"]), &around(), &mut Full(io::ErrorKind::StorageFull), &mut err).await;
    assert_eq!(status.code(), 1);
    assert_eq!(String::from_utf8(err).unwrap(), "netctl: cannot write the output: no storage space\n");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_needs_no_daemon() {
    for words in [&["drain", "web"][..], &["undrain", "pool"], &["plan", "/nonexistent.toml"]] {
        let args = parse(&[&["--admin", "unix:/nonexistent"], words].concat()).unwrap();
        assert_eq!(netctl(args, &around()).await.status, 2, "{words:?}");
    }
}

#[test]
fn wrong_arguments_are_refused_with_2() {
    for words in [
        &[][..],
        &["frobnicate"],
        &["close"],
        &["close", "--all", "--listener", "web"],
        &["close", "1", "--listener", "web"],
        &["close", "1", "--all"],
        &["set", "app", "10.0.0.1:1"],
        &["set", "app", "10.0.0.1:1", "--drain", "--weight", "1"],
        &["set", "app", "10.0.0.1:1", "--weight", "1001"],
        &["set", "app", "10.0.0.1:1", "--clear", "--for", "1m"],
        &["drain", "--deadline", "1m", "--no-deadline"],
        &["drain", "--deadline", "30"],
        &["stop", "web", "--for", "0s"],
        &["shutdown", "--now", "--deadline", "1m"],
        &["log-level", "loud"],
        &["events", "--kind", "party"],
        &["connections", "--page-size", "1001"],
        &["--timeout", "0s", "status"],
        &["--admin", "/run/netd/admin.sock", "status"],
    ] {
        let error = parse(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words:?}: {error}");
    }
}

#[test]
fn a_wrong_argument_is_answered_with_what_would_be_right() {
    let said = |words: &[&str]| parse(words).unwrap_err().to_string();
    assert!(said(&["log-level", "loud"]).contains("use error, warn, info, debug or trace"));
    assert!(said(&["drain", "--deadline", "30"]).contains("as in `30s`"));
    assert!(said(&["--admin", "/x", "status"]).contains("write `unix:/x`"));
    assert!(said(&["events", "--kind", "party"]).contains("drain-started"));
}

#[test]
fn the_command_line_is_consistent() {
    <Args as clap::CommandFactory>::command().debug_assert();
    let help = <Args as clap::CommandFactory>::command().render_long_help().to_string();
    for status in ["0  done", "1  refused", "2  wrong", "3  netd", "4  the drain", "5  no answer", "6  `plan", "130  "]
    {
        assert!(help.contains(status), "{status}");
    }
}
