//! What is shown of health.

use super::{Health, words};
use crate::{
    config::Address,
    control::{
        clock::Now,
        request::{HealthSnapshot, HealthView, Standing},
    },
    metrics::HistogramSnapshot,
};

impl Health {
    /// One endpoint's; `None` if it is neither checked nor watched.
    pub(in crate::control) fn view(&self, pool: &str, address: &Address, now: Now) -> Option<HealthView> {
        let known = self.pools.get(pool)?.endpoints.get(address)?;
        let told = known.question.and_then(|question| self.questions.told(question));
        Some(HealthView {
            standing: known.standing,
            why: known.why.clone(),
            since: known.since,
            healthy_at: known.healthy_at,
            check: told.map(|(check, _, _)| check.kind.as_str()),
            last: told.and_then(|(_, last, _)| last.cloned()),
            ejections: known.ejected,
            ejected_until: known.ejected_until(now),
            spared: known.spared.map(words::cause),
            ejections_refused: known.refused,
        })
    }

    /// What is thought of an endpoint.
    pub(in crate::control) fn standing(&self, pool: &str, address: &Address) -> Standing {
        let known = self.pools.get(pool).and_then(|pool| pool.endpoints.get(address));
        known.map_or(Standing::Unchecked, |known| known.standing)
    }

    /// Whether the pool uses all its endpoints because too few are healthy.
    pub(in crate::control) fn panics(&self, pool: &str) -> bool {
        self.pools.get(pool).is_some_and(|pool| pool.panics)
    }

    /// One endpoint's figures.
    pub(in crate::control) fn figures(&self, pool: &str, address: &Address) -> Option<HealthSnapshot> {
        let known = self.pools.get(pool)?.endpoints.get(address)?;
        let counts = known.question.and_then(|question| self.questions.told(question)).map(|(_, _, counts)| counts);
        let probes = counts.map(|counts| std::array::from_fn(|at| counts[at].saturating_add(known.probed[at])));
        Some(HealthSnapshot {
            healthy: known.standing.is_good(),
            ejections: known.ejected,
            ejections_refused: known.refused,
            probes,
        })
    }

    /// How long the probes of a pool took; `None`: it is neither checked nor
    /// watched.
    pub(in crate::control) fn probe_time(&self, pool: &str) -> Option<HistogramSnapshot> {
        let mut time = HistogramSnapshot::default();
        self.pools.get(pool)?.probe_time.add_to(&mut time);
        Some(time)
    }
}
