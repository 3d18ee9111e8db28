//! Families of the pools and their endpoints.

use std::collections::BTreeMap;

use crate::{
    control::{EndpointSnapshot, PoolSnapshot},
    metrics::{Bounds, Family},
};

/// All of them. Entries of one name are published as one.
pub(super) fn families(snapshots: &[PoolSnapshot]) -> Vec<Family> {
    let pools = merged(snapshots);
    let mut no_endpoint = Family::counter(
        "netd_pool_no_endpoint_total",
        "Connections closed because no endpoint of the pool takes connections.",
    );
    let mut retries =
        Family::counter("netd_pool_connect_retries_total", "Connects tried on another endpoint after one failed.");
    let mut reachable = Family::gauge(
        "netd_pool_endpoints_reachable",
        "Endpoints that take new connections and whose last connect did not fail.",
    );
    for pool in &pools {
        let labels = [("pool", pool.name.as_str())];
        reachable.count(&labels, pool.endpoints.iter().filter(|each| each.accepting && !each.failing).count() as u64);
        no_endpoint.count(&labels, pool.no_endpoint);
        retries.count(&labels, pool.retries);
    }
    let mut families = vec![reachable, no_endpoint, retries];
    families.extend(endpoints(&pools));
    families.extend(super::health::families(&pools));
    families
}

fn endpoints(pools: &[PoolSnapshot]) -> Vec<Family> {
    let mut weight = Family::gauge("netd_endpoint_weight", "Weight in force: share of new connections; 0 drains.");
    let mut accepting = Family::gauge("netd_endpoint_accepting", "1 while the endpoint takes new connections.");
    let mut connections = Family::counter("netd_endpoint_connections_total", "Connections established.");
    let mut active = Family::gauge("netd_endpoint_connections_active", "Connections open or being opened.");
    let mut failures = Family::counter("netd_endpoint_connect_failures_total", "Connects that failed or timed out.");
    let mut bytes = Family::counter("netd_endpoint_bytes_total", "Bytes sent to the endpoint and received from it.");
    let mut time = Family::histogram("netd_endpoint_connect_time_seconds", "From connect to established.");
    let all = pools.iter().flat_map(|pool| pool.endpoints.iter().map(move |endpoint| (pool, endpoint)));
    for (pool, each) in all {
        let [pool, endpoint] = [("pool", pool.name.as_str()), ("endpoint", each.address.as_str())];
        let labels = [pool, endpoint];
        weight.sample(&labels, each.weight.into());
        accepting.sample(&labels, f64::from(u8::from(each.accepting)));
        connections.count(&labels, each.connected);
        active.count(&labels, each.active);
        failures.count(&labels, each.connect_failures);
        bytes.count(&[pool, endpoint, ("direction", "to_upstream")], each.bytes_to_upstream);
        bytes.count(&[pool, endpoint, ("direction", "from_upstream")], each.bytes_from_upstream);
        time.observed(&labels, &each.connect_time, Bounds::CONNECT);
    }
    vec![weight, accepting, connections, active, failures, bytes, time]
}

fn merged(snapshots: &[PoolSnapshot]) -> Vec<PoolSnapshot> {
    let mut by_name = BTreeMap::<&str, PoolSnapshot>::new();
    for each in snapshots {
        let sum = by_name.entry(&each.name).or_insert_with(|| PoolSnapshot {
            name: each.name.clone(),
            no_endpoint: 0,
            retries: 0,
            probe_time: None,
            panics: false,
            endpoints: Vec::new(),
        });
        sum.no_endpoint += each.no_endpoint;
        sum.retries += each.retries;
        sum.panics |= each.panics;
        sum.probe_time = sum.probe_time.take().or_else(|| each.probe_time.clone());
        for endpoint in &each.endpoints {
            match sum.endpoints.iter_mut().find(|known| known.address == endpoint.address) {
                Some(known) => add(known, endpoint),
                None => sum.endpoints.push(endpoint.clone()),
            }
        }
    }
    by_name.into_values().collect()
}

fn add(sum: &mut EndpointSnapshot, other: &EndpointSnapshot) {
    if other.accepting {
        sum.weight = other.weight;
        sum.failing = other.failing;
    }
    sum.accepting |= other.accepting;
    sum.connected += other.connected;
    sum.active += other.active;
    sum.bytes_to_upstream += other.bytes_to_upstream;
    sum.bytes_from_upstream += other.bytes_from_upstream;
    sum.connect_failures += other.connect_failures;
    sum.early_resets += other.early_resets;
    sum.health = sum.health.or(other.health);
    sum.connect_time.add(&other.connect_time);
}
