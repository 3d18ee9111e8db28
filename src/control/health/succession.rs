//! What is known outlives the process: an heir neither sends anybody to endpoints
//! that are known not to serve, nor does without those that are known to.

use std::collections::BTreeMap;

use super::{Health, Known, Watched};
use crate::{
    config::{Address, Config},
    control::{HealthLedger, KnownHealth, clock::Now},
    health::{Outlier, Verdict},
    metrics::HistogramSnapshot,
};

impl Health {
    /// All that is known, for an heir.
    pub(in crate::control) fn keepsakes(&self, now: Now) -> Vec<KnownHealth> {
        let all = self.pools.iter().flat_map(|(name, pool)| pool.endpoints.iter().map(move |each| (name, each)));
        all.filter_map(|(pool, (address, known))| known.keepsake(pool, address, now)).collect()
    }

    /// Takes on what a predecessor knew; to be called before the first
    /// configuration is followed, which drops what it does not have.
    pub(in crate::control) fn inherit(&mut self, config: &Config, kept: Vec<KnownHealth>, now: Now) {
        let pools: BTreeMap<&str, _> = config.pools.iter().map(|pool| (pool.name.as_str(), pool)).collect();
        for each in kept {
            let (Some(pool), Ok(address)) = (pools.get(each.pool.as_str()), each.address.parse()) else { continue };
            let watched = self.pools.entry(each.pool.clone()).or_insert_with(|| Watched::new(pool));
            watched.endpoints.insert(address, Known::inherited(each, now));
        }
    }

    /// Adds what another process has counted; what nobody checks or watches
    /// here has no counters.
    pub(in crate::control) fn absorb(
        &mut self,
        counted: &[((String, String), HealthLedger)],
        times: &[(String, HistogramSnapshot)],
    ) {
        for (name, time) in times {
            if let Some(pool) = self.pools.get(name) {
                pool.probe_time.absorb(time);
            }
        }
        for ((name, address), more) in counted {
            let (Some(pool), Ok(address)) = (self.pools.get_mut(name), address.parse::<Address>()) else { continue };
            let Some(known) = pool.endpoints.get_mut(&address) else { continue };
            known.ejected = known.ejected.saturating_add(more.ejections);
            known.refused = known.refused.saturating_add(more.ejections_refused);
            for (own, more) in known.probed.iter_mut().zip(more.probes) {
                *own = own.saturating_add(more);
            }
        }
    }
}

impl Known {
    fn keepsake(&self, pool: &str, address: &Address, now: Now) -> Option<KnownHealth> {
        let until = self.outlier.as_ref().and_then(Outlier::ejected_until);
        let healthy = match self.verdict {
            Verdict::Unknown => None,
            verdict => Some(verdict == Verdict::Healthy),
        };
        (healthy.is_some() || until.is_some()).then(|| KnownHealth {
            pool: pool.to_owned(),
            address: address.to_string(),
            healthy,
            ejected: until.map(|until| until.saturating_duration_since(now.instant)),
            ejections: self.outlier.as_ref().map_or(0, Outlier::ejections),
            since: self.since,
            why: self.why.clone(),
            healthy_at: self.healthy_at,
        })
    }

    fn inherited(kept: KnownHealth, now: Now) -> Self {
        let verdict = match kept.healthy {
            None => Verdict::Unknown,
            Some(true) => Verdict::Healthy,
            Some(false) => Verdict::Unhealthy,
        };
        // An end that no clock can tell is none.
        let until = kept.ejected.and_then(|left| now.instant.checked_add(left));
        let outlier = until.map(|until| Outlier::ejected(kept.ejections, until));
        let mut known = Self { verdict, outlier, ..Self::new(now) };
        known.standing = known.judged(kept.healthy.is_some());
        (known.since, known.why, known.healthy_at) = (kept.since, kept.why, kept.healthy_at);
        known
    }
}
