//! What netctl asks the daemon for: every field of every request.

use std::fmt::Debug;

use crate::pb::{self, set_endpoint_request::Setting, target::Of};

use super::Daemon;

pub(super) async fn asks(words: &[&str], request: impl Debug) {
    let daemon = Daemon::start();
    let ran = daemon.netctl(words).await;
    assert_eq!(ran.status, 0, "{words:?}: {}", ran.err);
    assert_eq!(daemon.fake.last(), format!("{request:?}"), "{words:?}");
}

/// As above, with another request behind it.
async fn asked(words: &[&str], request: impl Debug) {
    let daemon = Daemon::start();
    let ran = daemon.netctl(words).await;
    assert_eq!(ran.status, 0, "{words:?}: {}", ran.err);
    assert!(daemon.fake.all().contains(&format!("{request:?}")), "{words:?}: {:?}", daemon.fake.all());
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn span(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn by_anna(why: &str) -> Option<pb::Provenance> {
    Some(pb::Provenance { who: text("anna"), why: text(why) })
}

#[tokio::test]
async fn listings_ask_for_one_or_all() {
    asks(&["status"], pb::GetStatusRequest {}).await;
    asks(&["log-level"], pb::GetStatusRequest {}).await;
    asks(&["config"], pb::GetConfigRequest {}).await;
    asks(&["listeners"], pb::ListListenersRequest { name: text("") }).await;
    asks(&["listeners", "web"], pb::ListListenersRequest { name: text("web") }).await;
    asks(&["listeners", "listener/web"], pb::ListListenersRequest { name: text("web") }).await;
    asks(&["pools", "app"], pb::ListPoolsRequest { name: text("app") }).await;
    asks(&["why", "pool/app"], pb::WhyRequest { object: text("pool/app") }).await;
    let kinds = vec![text("reloaded"), text("shutdown")];
    asks(&["events", "--kind", "reloaded", "--kind", "shutdown"], pb::WatchEventsRequest { kinds }).await;
}

#[tokio::test]
async fn connections_are_filtered_and_paged() {
    let words = "connections --listener web --pool app --endpoint 10.0.0.1:8443 --source 203.0.113.0/24 --min-age 1h \
                 --min-idle 90s --limit 3 --page-size 2 --page-token 2a";
    let request = pb::ListConnectionsRequest { filter: Some(filter()), page_size: 2, page_token: text("2a"), limit: 3 };
    asks(&words.split_whitespace().collect::<Vec<_>>(), request).await;
    let everything = pb::ListConnectionsRequest { filter: Some(pb::ConnectionFilter::default()), ..Default::default() };
    asks(&["connections"], everything).await;
}

#[tokio::test]
async fn close_takes_ids_or_a_filter_or_all() {
    let request = pb::CloseConnectionRequest { by: by_anna("abuse"), ..Default::default() };
    let ids = pb::CloseConnectionRequest { ids: vec![text("2a"), text("2b")], ..request.clone() };
    asks(&["close", "2a", "2b", "--why", "abuse"], ids).await;
    let filtered = pb::CloseConnectionRequest { filter: Some(filter()), ..request.clone() };
    let words = "--why abuse close --listener web --pool app --endpoint 10.0.0.1:8443 --source 203.0.113.0/24 --min-age 1h \
                 --min-idle 90s";
    asks(&words.split_whitespace().collect::<Vec<_>>(), filtered).await;
    let all = pb::CloseConnectionRequest { filter: Some(pb::ConnectionFilter::default()), all: true, ..request };
    asks(&["close", "--all", "--why", "abuse"], all).await;
}

#[tokio::test]
async fn candidates_are_sent_whole() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "same = true\n").unwrap();
    let path = file.path().to_str().unwrap();
    asks(&["plan", path], pb::PlanRequest { toml: text("same = true\n") }).await;
    asks(&["plan"], pb::PlanRequest { toml: text("") }).await;
    let request = pb::ReloadRequest {
        toml: text("same = true\n"),
        expected_generation: 3,
        by: by_anna(""),
        ..Default::default()
    };
    asks(&["reload", path, "--expect", "3"], request).await;
    let own = pb::ReloadRequest { by: by_anna("rollout"), ..Default::default() };
    asks(&["reload", "--why", "rollout"], own).await;
}

#[tokio::test]
async fn trials_are_confirmed_or_rolled_back() {
    let request = pb::ReloadRequest { by: by_anna(""), confirm_within: span(60), ..Default::default() };
    asks(&["reload", "--confirm", "60s"], request.clone()).await;
    let guard = pb::Guard { threshold_percent: 2, min_connections: 50, watch: None };
    let words = ["reload", "--confirm", "1m", "--guard", "--guard-threshold", "2", "--guard-min", "50"];
    asks(&words, pb::ReloadRequest { guard: Some(guard), ..request.clone() }).await;
    let guard = pb::Guard { watch: span(30), ..Default::default() };
    let guarded = pb::ReloadRequest { confirm_within: None, guard: Some(guard), ..request };
    asks(&["reload", "--guard", "--guard-for", "30s"], guarded).await;
    asks(&["confirm"], pb::ConfirmRequest { generation: 0, by: by_anna("") }).await;
    asks(&["confirm", "4"], pb::ConfirmRequest { generation: 4, by: by_anna("") }).await;
    asks(&["rollback"], pb::RollbackRequest { by: by_anna(""), ..Default::default() }).await;
    let rollback = pb::RollbackRequest { generation: 2, expected_generation: 3, by: by_anna("broken") };
    asks(&["rollback", "2", "--expect", "3", "--why", "broken"], rollback).await;
    asks(&["history"], pb::GetHistoryRequest {}).await;
}

#[tokio::test]
async fn drains_name_their_target_and_deadline() {
    let request = |of, deadline, wait_forever| pb::DrainRequest {
        target: Some(pb::Target { of: Some(of) }),
        deadline,
        wait_forever,
        by: by_anna(""),
        ..Default::default()
    };
    asks(&["drain"], request(Of::Daemon(true), None, false)).await;
    asks(&["drain", "--no-deadline"], request(Of::Daemon(true), None, true)).await;
    asks(&["drain", "--deadline", "0s"], request(Of::Daemon(true), span(0), false)).await;
    let listener = request(Of::Listener(text("web")), span(90), false);
    asked(&["drain", "listener", "web", "--deadline", "1m 30s"], listener).await;
    asks(&["drain", "pool/app"], request(Of::Pool(text("app")), None, false)).await;
    let endpoint = pb::EndpointName { pool: text("app"), address: text("unix:/run/app.sock") };
    asked(&["drain", "endpoint", "app", "unix:/run/app.sock"], request(Of::Endpoint(endpoint.clone()), None, false))
        .await;
    let worker = pb::DrainRequest { gradual: span(60), ..request(Of::Worker(1), None, false) };
    asked(&["drain", "worker", "1", "--gradual", "1m"], worker).await;
    let moved = pb::DrainRequest { r#move: true, ..request(Of::Worker(1), None, false) };
    asked(&["drain", "worker", "1", "--move"], moved).await;
    let lame = pb::DrainRequest { lame_duck: span(10), gradual: span(0), ..request(Of::Daemon(true), None, false) };
    asks(&["drain", "--lame-duck", "10s", "--gradual", "0s"], lame).await;
    let undrain = |of| pb::UndrainRequest { target: Some(pb::Target { of: Some(of) }), by: by_anna("") };
    asks(&["start", "worker", "1"], undrain(Of::Worker(1))).await;
    let undrain = undrain(Of::Endpoint(endpoint));
    asks(&["undrain", "endpoint/app/unix:/run/app.sock"], undrain).await;
}

#[tokio::test]
async fn listeners_start_and_stop() {
    asks(&["start", "web"], pb::StartListenerRequest { name: text("web"), by: by_anna("") }).await;
    let stop = pb::StopListenerRequest { name: text("web"), expires_in: span(600), by: by_anna("") };
    asks(&["stop", "web", "--for", "10m"], stop.clone()).await;
    asks(&["stop", "web"], pb::StopListenerRequest { expires_in: None, ..stop }).await;
}

#[tokio::test]
async fn endpoints_are_set() {
    let request = |setting, expires_in| pb::SetEndpointRequest {
        endpoint: Some(pb::EndpointName { pool: text("app"), address: text("10.0.0.1:8443") }),
        expires_in,
        by: Some(pb::Provenance { who: text("carl"), why: text("") }),
        setting: Some(setting),
    };
    for (flags, expected) in [
        (&["--weight", "0", "--for", "1h"][..], request(Setting::Weight(0), span(3600))),
        (&["--drain"], request(Setting::Drain(true), None)),
        (&["--maintenance"], request(Setting::Maintenance(true), None)),
        (&["--clear"], request(Setting::Clear(true), None)),
    ] {
        asks(&[&["set", "app", "10.0.0.1:8443", "--who", "carl"], flags].concat(), expected).await;
    }
}

#[tokio::test]
async fn the_log_level_and_the_end() {
    asks(&["log-level", "debug"], pb::SetLogLevelRequest { level: text("debug"), by: by_anna("") }).await;
    let own = pb::ShutdownRequest { by: by_anna(""), ..Default::default() };
    asks(&["shutdown"], own.clone()).await;
    asks(&["shutdown", "--now"], pb::ShutdownRequest { now: true, ..own.clone() }).await;
    asks(&["shutdown", "--deadline", "5s"], pb::ShutdownRequest { deadline: span(5), ..own.clone() }).await;
    let lame = pb::ShutdownRequest { lame_duck: span(10), gradual: span(20), ..own };
    asks(&["shutdown", "--lame-duck", "10s", "--gradual", "20s"], lame).await;
}

fn filter() -> pb::ConnectionFilter {
    pb::ConnectionFilter {
        listener: text("web"),
        pool: text("app"),
        endpoint: text("10.0.0.1:8443"),
        source: text("203.0.113.0/24"),
        min_age: span(3600),
        min_idle: span(90),
    }
}
