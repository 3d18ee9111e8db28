//! Checks on demand.

use super::{Daemon, requests::asks};
use crate::{cli::exit::ExitStatus, pb};

pub(super) fn results(request: &pb::CheckRequest) -> Vec<pb::CheckResult> {
    let result = |endpoint: &str, outcome: &str, micros: i32, why: &str| pb::CheckResult {
        pool: request.pool.clone(),
        endpoint: endpoint.to_owned(),
        check: "http".to_owned(),
        configured: request.pool != "plain",
        outcome: outcome.to_owned(),
        why: why.to_owned(),
        took: Some(prost_types::Duration { seconds: 0, nanos: micros * 1000 }),
    };
    if !request.endpoint.is_empty() {
        return vec![result(&request.endpoint, "good", 700, "")];
    }
    vec![
        result("10.0.0.1:8443", "good", 1000, ""),
        result("10.0.0.3:8443", "bad", 900, "connecting: Connection refused"),
        result("10.0.0.2:8443", "timeout", 500_000, "no answer within 500ms"),
    ]
}

#[tokio::test]
async fn pools_and_endpoints_in_every_spelling() {
    let request = |endpoint: &str| pb::CheckRequest { pool: "app".to_owned(), endpoint: endpoint.to_owned() };
    for (word, endpoint) in [
        ("app/10.0.0.1:8443", "10.0.0.1:8443"),
        ("endpoint/app/10.0.0.1:8443", "10.0.0.1:8443"),
        ("app/unix:/run/app.sock", "unix:/run/app.sock"),
    ] {
        asks(&["check", word], request(endpoint)).await;
    }
    for word in ["app", "pool/app"] {
        let daemon = Daemon::start();
        daemon.netctl(&["check", word]).await;
        assert_eq!(daemon.fake.last(), format!("{:?}", request("")), "{word}");
    }
}

#[tokio::test]
async fn the_exit_status_tells_whether_all_are_good() {
    let daemon = Daemon::start();
    let ran = daemon.netctl(&["check", "app"]).await;
    assert_eq!(ran.status, ExitStatus::NotAllGood.code());
    for part in ["good           1ms  endpoint/app/10.0.0.1:8443  http\n", "Connection refused", "no answer within"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(ran.err.contains("1 of 3 endpoints good"), "{}", ran.err);
    let one = daemon.netctl(&["check", "plain/10.0.0.1:80"]).await;
    assert_eq!(one.status, ExitStatus::Done.code());
    assert!(one.out.contains("connect\n"), "a plain connect is told as one: {}", one.out);
}

#[tokio::test]
async fn json_is_a_line_an_endpoint() {
    let ran = Daemon::start().netctl(&["check", "app", "-o", "json"]).await;
    let lines: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[1]["outcome"], &lines[1]["took_seconds"]), (&"bad".into(), &0.0009.into()));
    assert_eq!(ran.err, "");
}
