//! Shares of pools, and where a connection goes.

use clap::Parser;

use super::{Args, Daemon, fake::at, requests::asks};
use crate::pb;

const SPLIT: &str = "app=50 canary=50";

fn share(pool: &str, configured_weight: u32, weight: u32) -> pb::PoolShare {
    pb::PoolShare { pool: pool.to_owned(), configured_weight, weight }
}

fn above(by: Option<pb::Provenance>, expires_in: Option<prost_types::Duration>) -> pb::Override {
    let expires_at = expires_in.and_then(|duration| at(duration.seconds));
    pb::Override { value: SPLIT.to_owned(), by, set_at: at(0), expires_at }
}

pub(super) fn set_split(request: pb::SetSplitRequest) -> pb::SetSplitResponse {
    let weight =
        |pool: &str, file| request.shares.iter().find(|each| each.pool == pool).map_or(file, |each| each.weight);
    let pools = vec![share("app", 95, weight("app", 95)), share("canary", 5, weight("canary", 5))];
    let split_override = (!request.clear).then(|| above(request.by, request.expires_in));
    let listener = pb::Listener { name: request.listener, pools, split_override, ..Default::default() };
    pb::SetSplitResponse { listener: Some(listener) }
}

pub(super) fn explain(request: &pb::ExplainRequest) -> pb::ExplainResponse {
    let endpoint = |address: &str, load, out: &str| pb::EndpointChoice {
        address: address.to_owned(),
        weight: 1,
        share_percent: 100,
        backup: address.ends_with(":9"),
        load,
        max_connections: 500,
        out: out.to_owned(),
    };
    let why = "it has 433 connections and weight 1: the fewest for its weight";
    let worker = |worker| pb::WorkerChoice {
        worker,
        pool: "app".to_owned(),
        endpoint: "10.0.0.2:8443".to_owned(),
        why: why.to_owned(),
    };
    pb::ExplainResponse {
        listener: request.listener.clone(),
        hash: "source".to_owned(),
        shares: vec![share("app", 95, 95), share("canary", 5, 5)],
        split_override: None,
        workers: vec![worker(0), worker(1)],
        pools: vec![pb::PoolChoice {
            pool: "app".to_owned(),
            policy: "least-connections".to_owned(),
            endpoints: vec![
                endpoint("10.0.0.1:8443", 500, "it has 500 connections, as many as it may"),
                endpoint("10.0.0.2:8443", 433, ""),
                endpoint("10.0.0.3:8443", 434, ""),
                endpoint("10.0.0.4:9", 0, "it is a backup, and others take connections"),
            ],
            more: 0,
            open: 2,
        }],
        refused_by: Vec::new(),
        notes: Vec::new(),
        explanation: format!(
            "a connection from {} to listener `{}` would go to 10.0.0.2:8443 of pool `app` (share 95 of 100): {why}",
            request.source, request.listener
        ),
    }
}

#[tokio::test]
async fn shares_are_set_and_cleared() {
    let by = Some(pb::Provenance { who: "carl".to_owned(), why: String::new() });
    let share = |pool: &str, weight| pb::set_split_request::Share { pool: pool.to_owned(), weight };
    let request = pb::SetSplitRequest {
        listener: "web".to_owned(),
        shares: vec![share("canary", 5), share("app", 95)],
        clear: false,
        expires_in: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        by: by.clone(),
    };
    let words = ["set-split", "listener/web", "canary=5", "app=95", "--for", "10m", "--who", "carl"];
    asks(&words, request).await;
    let clear = pb::SetSplitRequest { listener: "web".to_owned(), clear: true, by, ..Default::default() };
    asks(&["set-split", "web", "--clear", "--who", "carl"], clear).await;
}

#[test]
fn shares_that_are_none_are_refused_before_anything_is_asked() {
    for words in [&["canary"][..], &["canary=x"], &["canary=1001"], &["=5"], &[], &["canary=5", "--clear"]] {
        let words = [&["netctl", "set-split", "web"], words].concat();
        assert!(Args::try_parse_from(&words).is_err(), "{words:?}");
    }
}

#[tokio::test]
async fn a_choice_is_asked_for_and_shown() {
    let request = pb::ExplainRequest { listener: "web".to_owned(), source: "10.1.2.3".to_owned() };
    asks(&["explain", "--from", "10.1.2.3", "--listener", "web"], request).await;
    let ran = Daemon::start().netctl(&["explain", "--listener", "web", "--from", "10.1.2.3"]).await;
    for part in ["would go to 10.0.0.2:8443", "Shares: app=95 canary=5", "no: it is a backup", "433 of 500", "yes"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let json = Daemon::start().netctl(&["explain", "--listener", "web", "-o", "json"]).await;
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["pools"][0]["endpoints"][0]["load"], 500);
}
