//! Families of the pools and their endpoints.

use std::collections::{BTreeMap, HashMap};

use crate::{
    control::{EndpointSnapshot, PoolLimitFigures, PoolSnapshot},
    metrics::{Bounds, Family},
};

/// All of them. Entries of one name are published as one.
pub(super) fn families(snapshots: &[PoolSnapshot]) -> Vec<Family> {
    let pools = merged(snapshots);
    let mut no_endpoint = Family::counter(
        "netd_pool_no_endpoint_total",
        "Connections closed because no endpoint of the pool takes connections.",
    );
    let mut full = Family::counter(
        "netd_pool_full_total",
        "Connections closed because the pool, or each of its endpoints, had as many as it may, and its queue was full.",
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
        full.count(&labels, pool.full);
        retries.count(&labels, pool.retries);
    }
    let mut families = vec![reachable, no_endpoint, full, retries];
    families.extend(limits(&pools));
    families.extend(endpoints(&pools));
    families.extend(super::health::families(&pools));
    families
}

fn limits(pools: &[PoolSnapshot]) -> Vec<Family> {
    let mut waiting = Family::gauge("netd_pool_waiting", "Connections that wait for the pool, which is full.");
    let mut queued = Family::counter("netd_pool_queued_total", "Connections that had to wait for the pool.");
    let mut timeouts = Family::counter(
        "netd_pool_queue_timeouts_total",
        "Connections that waited for the pool in vain, and were closed.",
    );
    let mut denied = Family::counter(
        "netd_pool_retries_denied_total",
        "Connects not tried on another endpoint because the retry budget was used up.",
    );
    for pool in pools {
        let labels = [("pool", pool.name.as_str())];
        waiting.count(&labels, pool.limits.waiting);
        queued.count(&labels, pool.limits.queued);
        timeouts.count(&labels, pool.limits.queue_timeouts);
        denied.count(&labels, pool.limits.retries_denied);
    }
    vec![waiting, queued, timeouts, denied]
}

fn endpoints(pools: &[PoolSnapshot]) -> Vec<Family> {
    let mut weight = Family::gauge("netd_endpoint_weight", "Weight in force: share of new connections; 0 drains.");
    let mut percent = Family::gauge(
        "netd_endpoint_share_percent",
        "Part of its share that the endpoint takes: less than 100 in a slow start.",
    );
    let mut backup =
        Family::gauge("netd_endpoint_backup", "1 for an endpoint that takes connections only if no other does.");
    let mut most = Family::gauge(
        "netd_endpoint_connections_max",
        "Most connections that the endpoint may have; absent without a limit.",
    );
    let mut load = Family::gauge(
        "netd_endpoint_load",
        "Connections that the endpoint has, as balancing and limits count them: all workers together.",
    );
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
        percent.count(&labels, each.percent.into());
        backup.count(&labels, u64::from(each.backup));
        if let Some(limit) = each.max_connections {
            most.count(&labels, limit.into());
        }
        load.count(&labels, each.load);
        accepting.sample(&labels, f64::from(u8::from(each.accepting)));
        connections.count(&labels, each.connected);
        active.count(&labels, each.active);
        failures.count(&labels, each.connect_failures);
        bytes.count(&[pool, endpoint, ("direction", "to_upstream")], each.bytes_to_upstream);
        bytes.count(&[pool, endpoint, ("direction", "from_upstream")], each.bytes_from_upstream);
        time.observed(&labels, &each.connect_time, Bounds::CONNECT);
    }
    vec![weight, percent, backup, most, load, accepting, connections, active, failures, bytes, time]
}

fn merged(snapshots: &[PoolSnapshot]) -> Vec<PoolSnapshot> {
    let mut by_name = BTreeMap::<&str, PoolSnapshot>::new();
    for each in snapshots {
        let sum = by_name.entry(&each.name).or_insert_with(|| PoolSnapshot {
            name: each.name.clone(),
            no_endpoint: 0,
            full: 0,
            retries: 0,
            limits: PoolLimitFigures::default(),
            probe_time: None,
            panics: false,
            endpoints: Vec::new(),
        });
        sum.no_endpoint += each.no_endpoint;
        sum.full += each.full;
        sum.retries += each.retries;
        sum.limits.waiting += each.limits.waiting;
        sum.limits.queued += each.limits.queued;
        sum.limits.queue_timeouts += each.limits.queue_timeouts;
        sum.limits.retries_denied += each.limits.retries_denied;
        sum.panics |= each.panics;
        sum.probe_time = sum.probe_time.take().or_else(|| each.probe_time.clone());
        sum.endpoints.extend(each.endpoints.iter().cloned());
    }
    let mut pools: Vec<PoolSnapshot> = by_name.into_values().collect();
    for pool in &mut pools {
        let mut places = HashMap::<String, usize>::new();
        let mut endpoints: Vec<EndpointSnapshot> = Vec::new();
        for endpoint in pool.endpoints.drain(..) {
            match places.get(&endpoint.address) {
                Some(&place) => add(&mut endpoints[place], &endpoint),
                None => {
                    places.insert(endpoint.address.clone(), endpoints.len());
                    endpoints.push(endpoint);
                }
            }
        }
        pool.endpoints = endpoints;
    }
    pools
}

fn add(sum: &mut EndpointSnapshot, other: &EndpointSnapshot) {
    if other.accepting {
        (sum.weight, sum.percent, sum.backup) = (other.weight, other.percent, other.backup);
        sum.max_connections = other.max_connections;
        sum.failing = other.failing;
    }
    sum.accepting |= other.accepting;
    sum.connected += other.connected;
    sum.active += other.active;
    sum.load += other.load;
    sum.bytes_to_upstream += other.bytes_to_upstream;
    sum.bytes_from_upstream += other.bytes_from_upstream;
    sum.connect_failures += other.connect_failures;
    sum.early_resets += other.early_resets;
    sum.health = sum.health.or(other.health);
    sum.connect_time.add(&other.connect_time);
}
