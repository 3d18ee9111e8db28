use std::collections::BTreeSet;

use super::*;
use crate::{admin::tests::fake, metrics::Format};

fn snapshot() -> Snapshot {
    fake::snapshot(fake::Script::default().status())
}

fn page(snapshot: &Snapshot) -> String {
    Format::Text.encode(&families(snapshot, Duration::from_millis(1500)))
}

#[test]
fn families_carry_the_figures() {
    let page = page(&snapshot());
    for line in [
        concat!("netd_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "netd_state{state=\"serving\"} 1",
        "netd_state{state=\"draining\"} 0",
        "netd_config_reloads_total{outcome=\"refused\"} 2",
        "netd_config_last_reload_successful 0",
        "process_cpu_seconds_total 1.5",
        "process_start_time_seconds 5",
        "netd_listener_connections_accepted_total{listener=\"web\",protocol=\"tcp\"} 2",
        "netd_listener_connections_closed_total{listener=\"web\",by=\"netd\",phase=\"dial\",cause=\"no-endpoint\"} 1",
        "netd_listener_bytes_total{listener=\"web\",direction=\"to_downstream\"} 4",
        "netd_listener_connection_duration_seconds_sum{listener=\"web\"} 1.5",
        "netd_pool_endpoints_reachable{pool=\"db\"} 1",
        "netd_pool_connect_retries_total{pool=\"db\"} 2",
        "netd_endpoint_bytes_total{pool=\"db\",endpoint=\"10.0.0.1:5432\",direction=\"from_upstream\"} 7",
        "netd_endpoint_connect_time_seconds_bucket{pool=\"db\",endpoint=\"10.0.0.1:5432\",le=\"4.194304\"} 1",
        "netd_drains{target=\"worker\"} 1",
        "netd_drains{target=\"daemon\"} 0",
        "netd_drain_connections_left{target=\"worker\"} 7",
        "netd_drains_ended_total{outcome=\"undrained\"} 2",
        "netd_drain_connections_total{how=\"retired\"} 4",
        "netd_worker_accepting{worker=\"0\"} 0",
        "netd_worker_turn_seconds_count{worker=\"0\"} 1",
    ] {
        assert!(page.lines().any(|each| each == line), "{line} is missing in\n{page}");
    }
}

#[test]
fn no_sample_comes_twice_even_if_a_listener_does() {
    let mut snapshot = snapshot();
    snapshot.listeners.extend(snapshot.listeners.clone());
    snapshot.pools.extend(snapshot.pools.clone());
    let page = page(&snapshot);
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.rsplit_once(' ').expect("has a value").0;
        assert!(seen.insert(sample), "{sample} comes twice");
    }
    assert!(page.contains("netd_listener_connections_active{listener=\"web\"} 2\n"));
    assert!(page.contains("netd_endpoint_connections_total{pool=\"db\",endpoint=\"10.0.0.1:5432\"} 8\n"));
}

#[test]
fn names_and_kinds_keep_the_conventions() {
    for family in families(&snapshot(), Duration::ZERO) {
        let (name, kind) = (family.name(), family.get_field_type());
        let is_counter = kind == prometheus::proto::MetricType::COUNTER;
        assert_eq!(is_counter, name.ends_with("_total"), "{name}");
        if kind == prometheus::proto::MetricType::HISTOGRAM {
            assert!(name.ends_with("_seconds"), "{name}");
        }
        assert!(family.help().ends_with('.'), "{name}: {}", family.help());
    }
}

#[test]
fn every_family_is_in_the_book() {
    let book = include_str!("../../../docs/metrics.md");
    for family in families(&snapshot(), Duration::ZERO) {
        assert!(book.contains(&format!("`{}`", family.name())), "{} is not in docs/metrics.md", family.name());
    }
}
