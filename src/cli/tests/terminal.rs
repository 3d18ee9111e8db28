//! What differs between a terminal and a pipe, and the corners of listings
//! that the book does not show.

use serde_json::Value;

use super::Daemon;

#[tokio::test]
async fn colour_only_where_it_is_wanted() {
    let daemon = Daemon::start();
    for words in [&["status"][..], &["listeners"], &["pools"], &["connections"]] {
        assert!(!daemon.netctl_on_terminal(words, 200, false).await.out.contains('\x1b'), "{words:?}");
        assert!(daemon.netctl_on_terminal(words, 200, true).await.out.contains('\x1b'), "{words:?}");
    }
}

#[tokio::test]
async fn tables_fit_the_terminal() {
    let daemon = Daemon::start();
    for words in [&["status"][..], &["listeners"], &["pools"]] {
        let ran = daemon.netctl_on_terminal(words, 80, false).await;
        let table = ran.out.split("\n\nOverrides").next().unwrap();
        let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{words:?}: {widest}\n{}", ran.out);
    }
}

#[tokio::test]
async fn a_narrow_terminal_does_without_columns_and_says_so() {
    let ran = Daemon::start().netctl_on_terminal(&["connections"], 80, false).await;
    let first = "000100000000002a  203.0.113.7:51512  app/10.0.0.1:8443  open   3m 12s  340ms\n";
    assert!(ran.out.contains(first), "{}", ran.out);
    assert_eq!(
        ran.err,
        "Too narrow for WORKER, LISTENER, BYTES IN, BYTES OUT: a wider terminal, a pipe or -o json shows all\n"
    );
}

#[tokio::test]
async fn a_pipe_has_one_line_a_connection() {
    let ran = Daemon::start().netctl(&["connections"]).await;
    assert_eq!(ran.out.lines().count(), 4, "{}", ran.out);
    assert_eq!(ran.err, "");
}

#[tokio::test]
async fn pages_share_their_columns() {
    let ran = Daemon::start().netctl(&["connections"]).await;
    let starts: Vec<usize> =
        ran.out.lines().filter_map(|line| line.find("web").or_else(|| line.find("LISTENER"))).collect();
    assert_eq!(starts, [starts[0]; 4], "{}", ran.out);
}

#[tokio::test]
async fn empty_lists_say_so() {
    let daemon = Daemon::start();
    assert_eq!(daemon.netctl(&["listeners", "none"]).await.out, "No listener is configured.\n");
    assert_eq!(daemon.netctl(&["pools", "none"]).await.out, "No pool is configured.\n");
    assert_eq!(daemon.netctl(&["connections", "--listener", "quiet"]).await.out, "No connection matches.\n");
    let ran = daemon.netctl(&["connections", "--listener", "quiet", "-o", "json"]).await;
    assert_eq!((ran.out.as_str(), ran.status), ("", 0));
}

#[tokio::test]
async fn a_limited_listing_says_how_to_go_on() {
    let daemon = Daemon::start();
    let ran = daemon.netctl(&["connections", "--limit", "3"]).await;
    assert_eq!(ran.err, "There are more: the same command with --page-token 000100000000002c\n");
    let ran = daemon.netctl(&["connections", "--limit", "3", "-o", "json"]).await;
    assert_eq!(ran.out.lines().last(), Some(r#"{"next_page_token":"000100000000002c"}"#));
}

#[tokio::test]
async fn json_is_json_with_the_names_of_the_api() {
    let daemon = Daemon::start();
    for words in [
        &["status"][..],
        &["listeners"],
        &["pools"],
        &["close", "2a"],
        &["config"],
        &["plan"],
        &["reload"],
        &["undrain"],
        &["start", "web"],
        &["stop", "web"],
        &["set", "app", "10.0.0.1:8443", "--drain"],
        &["why", "web"],
        &["log-level"],
        &["log-level", "debug"],
        &["shutdown"],
    ] {
        let ran = daemon.netctl(&[words, &["-o", "json"]].concat()).await;
        let value: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert!(value.is_object(), "{words:?}");
        assert_eq!(ran.err, "", "{words:?}");
    }
    let ran = daemon.netctl(&["pools", "-o", "json"]).await;
    let pools: Value = serde_json::from_str(&ran.out).unwrap();
    let endpoint = &pools["pools"][0]["endpoints"][0];
    assert_eq!(endpoint["mean_connect_time_seconds"], 0.001);
    assert_eq!(endpoint["override"]["set_at"], "2026-03-01T11:00:00.000Z");
    assert_eq!(endpoint["override"]["expires_at"], Value::Null);
    assert_eq!(endpoint["figures"]["total"], 3_777_704);
}

#[tokio::test]
async fn json_streams_have_one_object_a_line() {
    let daemon = Daemon::start();
    for (words, lines) in [(&["connections"][..], 3), (&["events"], 3)] {
        let ran = daemon.netctl(&[words, &["-o", "json"]].concat()).await;
        let values: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values.len(), lines, "{words:?}");
    }
}

#[tokio::test]
async fn a_plan_ends_by_what_it_found() {
    let daemon = Daemon::start();
    let candidate = |text: &str| {
        let file = tempfile::NamedTempFile::new_in(daemon.directory.path()).unwrap();
        std::fs::write(&file, text).unwrap();
        file
    };
    for (text, flags, status) in [
        ("same", &[][..], 0),
        ("same", &["--exit-code"], 0),
        ("other", &[], 0),
        ("other", &["--exit-code"], 6),
        ("count = 4", &[], 1),
        ("count = 4", &["--exit-code"], 1),
    ] {
        let file = candidate(text);
        let ran = daemon.netctl(&[&["plan", file.path().to_str().unwrap()], flags].concat()).await;
        assert_eq!(ran.status, status, "{text} {flags:?}: {}", ran.out);
        assert_eq!(ran.out.contains("A reload cannot apply this:"), text == "count = 4");
    }
}
