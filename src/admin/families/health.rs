//! Families of the health of endpoints.

use crate::{
    control::PoolSnapshot,
    metrics::{Bounds, Family},
};

/// The labels of a probe's result, as they are counted.
const RESULTS: [&str; 4] = ["good", "bad", "timeout", "not-asked"];

/// All of them.
pub(super) fn families(pools: &[PoolSnapshot]) -> Vec<Family> {
    let mut panic =
        Family::gauge("netd_pool_panic", "1 while the pool uses all endpoints because too few of them are healthy.");
    let mut time = Family::histogram("netd_pool_probe_seconds", "What the health checks of the pool's endpoints took.");
    let mut healthy = Family::gauge(
        "netd_endpoint_healthy",
        "1 while checks and connections say that the endpoint can be used, 0 while they do not, or do not say yet.",
    );
    let mut ejections = Family::counter("netd_endpoint_ejections_total", "Ejections for connections that failed.");
    let mut refused = Family::counter(
        "netd_endpoint_ejections_refused_total",
        "Ejections that were not made because as many endpoints of the pool were ejected as may be.",
    );
    let mut probes = Family::counter("netd_endpoint_probes_total", "Health checks by result.");
    let mut resets = Family::counter(
        "netd_endpoint_early_resets_total",
        "Connections that the endpoint ended soon and without having sent a byte.",
    );
    for pool in pools {
        let name = ("pool", pool.name.as_str());
        if let Some(probe_time) = &pool.probe_time {
            panic.sample(&[name], f64::from(u8::from(pool.panics)));
            time.observed(&[name], probe_time, Bounds::CONNECT);
        }
        for each in &pool.endpoints {
            let endpoint = ("endpoint", each.address.as_str());
            resets.count(&[name, endpoint], each.early_resets);
            let Some(health) = each.health else { continue };
            healthy.sample(&[name, endpoint], f64::from(u8::from(health.healthy)));
            ejections.count(&[name, endpoint], health.ejections);
            refused.count(&[name, endpoint], health.ejections_refused);
            for (result, count) in RESULTS.into_iter().zip(health.probes.into_iter().flatten()) {
                probes.count(&[name, endpoint, ("result", result)], count);
            }
        }
    }
    vec![panic, time, healthy, ejections, refused, probes, resets]
}
