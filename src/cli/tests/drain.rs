//! `netctl drain`, and how it ends.

use super::{Daemon, around};
use crate::cli::{Command, ExitStatus, commands::Session, output::Console};

#[tokio::test]
async fn a_line_a_change_where_there_is_no_terminal() {
    let ran = Daemon::start().netctl(&["drain", "listener", "web"]).await;
    assert_eq!(ran.status, 0);
    assert_eq!(
        ran.out,
        "draining listener/web: 3 connections left, 0 finished; 0s so far, 30s to the deadline\n\
         draining listener/web: 1 connection left, 2 finished; 4s so far, 26s to the deadline\n\
         listener/web is drained after 7s: 3 connections finished, none cut\n"
    );
    assert_eq!(ran.err, "`netctl undrain listener web` takes new connections again\n");
}

#[tokio::test]
async fn a_stop_that_was_there_before_is_what_has_to_be_lifted() {
    let ran = Daemon::start().netctl(&["drain", "listener", "health"]).await;
    assert_eq!(ran.status, 0);
    assert_eq!(ran.err, "listener/health was stopped before and stays so; `netctl start health` lifts that\n");
}

#[tokio::test]
async fn cut_connections_are_told_and_nothing_is_left() {
    let ran = Daemon::start().netctl(&["drain", "pool", "app"]).await;
    assert_eq!(ran.status, 0);
    let end = "pool/app is drained after 30s: 1 connection finished, 1 cut at the deadline\n";
    assert!(ran.out.ends_with(end), "{}", ran.out);
}

#[tokio::test]
async fn connections_left_end_with_4() {
    let ran = Daemon::start().netctl(&["drain", "listener", "taken"]).await;
    assert_eq!(ran.status, 4);
    assert_eq!(ran.err, "netctl: the drain of listener/taken ended with 3 connections left: it was taken back\n");
}

#[tokio::test]
async fn a_stream_that_ends_early_says_nothing_about_the_drain() {
    let ran = Daemon::start().netctl(&["drain", "listener", "lost"]).await;
    assert_eq!(ran.status, 3);
    assert_eq!(
        ran.err,
        "netctl: netd ended the stream before the drain of listener/lost was done; look with `netctl status`. It cannot \
         be watched on: no drain of it is under way, and none has ended lately\n"
    );
}

#[tokio::test]
async fn a_drain_is_watched_to_its_end_over_an_upgrade() {
    let ran = Daemon::start().netctl(&["drain", "listener", "upgraded"]).await;
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert_eq!(
        ran.out,
        "draining listener/upgraded: 3 connections left, 0 finished; 0s so far, 30s to the deadline\n\
         draining listener/upgraded: 1 connection left, 2 finished; 5s so far, 25s to the deadline\n\
         listener/upgraded is drained after 7s: 3 connections finished, none cut\n"
    );
    assert!(
        ran.err.starts_with("netd was upgraded or started anew meanwhile; the drain is watched on\n"),
        "{}",
        ran.err
    );
    let json = Daemon::start().netctl(&["drain", "listener", "upgraded", "-o", "json"]).await;
    assert_eq!((json.status, json.err.as_str(), json.out.lines().count()), (0, "", 3));
    assert!(json.out.lines().last().is_some_and(|last| last.contains(r#""outcome":"drained""#)), "{}", json.out);
}

#[tokio::test]
async fn a_refused_drain_ends_with_1() {
    let ran = Daemon::start().netctl(&["drain", "listener", "absent"]).await;
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
}

#[tokio::test]
async fn a_terminal_sees_one_line_rewritten() {
    let ran = Daemon::start().netctl_on_terminal(&["drain"], 60, false).await;
    assert_eq!(ran.status, 0);
    let (live, end) = ran.out.rsplit_once("\r\x1b[K").unwrap();
    assert_eq!(end, "netd is drained after 7s: 3 connections finished, none cut\n");
    assert!(!live.contains('\n'));
    let lines: Vec<&str> = live.split("\r\x1b[K").filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[0], "draining netd: 3 connections left, 0 finished; 0s so far, 3");
    assert!(lines.iter().all(|line| line.len() < 60), "{lines:?}");
    assert_eq!(ran.err, "`netctl undrain` takes new connections again; `netctl shutdown` stops netd\n");
}

#[tokio::test]
async fn json_has_every_message() {
    let ran = Daemon::start().netctl(&["drain", "-o", "json"]).await;
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[3],
        concat!(
            r#"{"accepting_seconds":null,"cut":0,"done":true,"elapsed_seconds":7.0,"estimate_seconds":null,"finished":3,"#,
            r#""left_seconds":23.0,"mode":"deadline","moved":0,"outcome":"drained","remaining":0,"retired":0}"#
        )
    );
}

#[tokio::test]
async fn ctrl_c_leaves_the_drain_to_the_daemon() {
    let daemon = Daemon::start();
    let args = daemon.args(&["drain", "listener", "endless"]);
    let Command::Drain(drain) = args.command else { unreachable!("the command is drain") };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let around = around();
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        json: false,
        width: None,
        colour: false,
        clock: around.clock,
        reader_gone: false,
    };
    let mut session = Session { globals: args.globals, around: &around, console: &mut console };
    let seen = async {
        while daemon.fake.last().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let failure = session.drain_until(drain, seen).await.unwrap_err();
    assert_eq!(failure.status(), ExitStatus::Interrupted);
    assert_eq!(
        failure.message(),
        "interrupted; the drain of listener/endless goes on in the daemon. `netctl undrain listener endless` takes it back"
    );
}
