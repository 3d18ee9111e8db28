//! Which endpoint.

use std::collections::BTreeMap;

use super::relay;
use crate::support::{Client, Daemon, End, Origin, Setup};

/// How many of `count` connections got each text.
fn spread(daemon: &Daemon, count: usize) -> BTreeMap<String, usize> {
    let address = daemon.address("front");
    let mut spread = BTreeMap::new();
    for _ in 0..count {
        let (text, end) = Client::connect(address).rest();
        assert_eq!(end, End::Eof);
        *spread.entry(String::from_utf8(text).expect("a name")).or_insert(0) += 1;
    }
    spread
}

fn weighted(workers: u16, endpoints: &[(&Origin, u16)]) -> Daemon {
    let endpoint =
        |&(origin, weight): &(&Origin, u16)| format!("{{ address = \"{}\", weight = {weight} }}", origin.address);
    let endpoints: Vec<String> = endpoints.iter().map(endpoint).collect();
    let endpoints = endpoints.join(", ");
    Setup::config(&format!(
        r#"
        [workers]
        count = {workers}
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[pool]]
        name = "back"
        endpoints = [{endpoints}]
        "#
    ))
    .start()
}

fn counts(spread: &BTreeMap<String, usize>) -> Vec<(&str, usize)> {
    spread.iter().map(|(name, &count)| (name.as_str(), count)).collect()
}

#[test]
fn endpoints_take_turns() {
    let [a, b, c] = ["a", "b", "c"].map(Origin::saying);
    let daemon = weighted(1, &[(&a, 1), (&b, 1), (&c, 1)]);
    assert_eq!(counts(&spread(&daemon, 30)), [("a", 10), ("b", 10), ("c", 10)]);
    assert_eq!([a.accepted(), b.accepted(), c.accepted()], [10, 10, 10]);
}

#[test]
fn a_weight_is_a_share_and_zero_takes_none() {
    let [a, b, c] = ["a", "b", "c"].map(Origin::saying);
    let daemon = weighted(1, &[(&a, 3), (&b, 1), (&c, 0)]);
    assert_eq!(counts(&spread(&daemon, 40)), [("a", 30), ("b", 10)]);
    assert_eq!(daemon.endpoint("back", 2)["state"], "draining");
}

/// Each worker takes turns by itself: the sum is even but for a few.
#[test]
fn several_workers_share_out_evenly_too() {
    let [a, b] = ["a", "b"].map(Origin::saying);
    let daemon = weighted(3, &[(&a, 1), (&b, 1)]);
    let spread = spread(&daemon, 60);
    assert_eq!(spread.values().sum::<usize>(), 60);
    assert!(spread.len() == 2 && spread.values().all(|&count| (27..=33).contains(&count)), "{spread:?}");
}

#[test]
fn a_refused_connect_is_tried_on_the_next_endpoint() {
    let (down, up) = (Origin::refusing(), Origin::saying("up"));
    let daemon = relay(&[&down, &up]);
    assert_eq!(counts(&spread(&daemon, 20)), [("up", 20)]);
    let metrics = daemon.metrics();
    let retries = metrics.one("netd_pool_connect_retries_total", &[("pool", "back")]);
    assert!(retries >= 5.0, "{retries} retries");
    let endpoint = down.address.to_string();
    let failures = metrics.one("netd_endpoint_connect_failures_total", &[("endpoint", &endpoint)]);
    assert_eq!(failures, retries, "every failure was retried once");
    let view = daemon.endpoint("back", 0);
    assert_eq!(view["state"], "failing", "{view}");
    assert!(view["last_failure"].as_str().is_some_and(|text| text.contains("refused")), "{view}");
}

#[test]
fn an_endpoint_that_does_not_answer_is_given_up_after_the_connect_timeout() {
    let (mute, up) = (Origin::not_accepting(), Origin::saying("up"));
    let daemon = relay(&[&mute, &up]);
    assert_eq!(counts(&spread(&daemon, 4)), [("up", 4)]);
    let endpoint = mute.address.to_string();
    assert!(daemon.metrics().one("netd_endpoint_connect_failures_total", &[("endpoint", &endpoint)]) >= 1.0);
}

#[test]
fn with_all_endpoints_down_the_client_is_reset() {
    let downs = [Origin::refusing(), Origin::refusing()];
    let daemon = relay(&[&downs[0], &downs[1]]);
    let address = daemon.address("front");
    for _ in 0..10 {
        assert_eq!(Client::what_comes(address), (Vec::new(), End::Reset));
    }
    daemon.becomes_idle();
    let labels = [("by", "upstream"), ("phase", "dial"), ("cause", "refused")];
    assert_eq!(daemon.metrics().sum("netd_listener_connections_closed_total", &labels), 10.0);
}

#[test]
fn with_no_endpoint_that_takes_connections_the_client_is_reset() {
    let up = Origin::saying("up");
    let daemon = weighted(2, &[(&up, 0)]);
    assert_eq!(Client::what_comes(daemon.address("front")), (Vec::new(), End::Reset));
    daemon.becomes_idle();
    assert_eq!(daemon.metrics().one("netd_pool_no_endpoint_total", &[("pool", "back")]), 1.0);
    assert_eq!(daemon.json(&["pools"])["pools"][0]["state"], "down");
}
