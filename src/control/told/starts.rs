//! Slow starts that go on in another process.

use std::time::Instant;

use super::Told;
use crate::control::{ramp::Ramp, upgrade::SlowStart};

impl Told {
    /// Those under way.
    pub(in crate::control) fn starts(&self, now: Instant) -> Vec<SlowStart> {
        let all = self.pools.values().flat_map(|pool| &pool.endpoints);
        all.filter_map(|each| {
            let elapsed = each.ramp.elapsed(now)?;
            Some(SlowStart { pool: each.pool.clone(), address: each.address.to_string(), elapsed })
        })
        .collect()
    }

    /// Goes on with those of a predecessor, where endpoints start slowly still;
    /// answers the pools that have some.
    pub(in crate::control) fn resume_starts(&mut self, starts: &[SlowStart], now: Instant) -> Vec<String> {
        let mut pools = Vec::new();
        for start in starts {
            let Some(pool) = self.pools.get_mut(&start.pool) else { continue };
            let Some(whole) = pool.config.slow_start else { continue };
            let mut endpoints = pool.endpoints.iter_mut();
            let known = endpoints.find(|each| each.weight > 0 && each.address.to_string() == start.address);
            let Some(endpoint) = known else { continue };
            endpoint.ramp = Ramp::resumed(start.elapsed, whole, now);
            if !pools.contains(&start.pool) {
                pools.push(start.pool.clone());
            }
        }
        pools
    }
}
