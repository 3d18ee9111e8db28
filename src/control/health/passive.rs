//! What connections met: looked up in the workers' counters.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use super::{Health, Known, Watched, sparing::Spared, words};
use crate::{
    config::{self, Address},
    control::{
        clock::Now,
        names,
        observe::Turn,
        request::EventKind,
        told::{Told, ToldEndpoint},
    },
    health::{Limits, Outlier, Seen},
    metrics::EndpointShard,
};

impl Health {
    /// Looks at the counters, ejects and readmits; tells what turned.
    pub(in crate::control) fn look(&mut self, told: &Told, now: Now) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (name, pool) in &mut self.pools {
            let Some(settings) = pool.config.health.outlier.clone() else { continue };
            let Some(told) = told.pools.get(name) else { continue };
            pool.look(&told.endpoints, &settings, now, &mut turns);
        }
        turns
    }
}

impl Watched {
    fn look(&mut self, endpoints: &[ToldEndpoint], settings: &config::Outlier, now: Now, turns: &mut Vec<Turn>) {
        let limits = Limits { consecutive: settings.consecutive, base: settings.base, max: settings.max };
        let checked = self.config.health.check.is_some();
        let allowed = Limits::allowed(self.endpoints.len(), settings.max_share);
        let mut ejected = ejected(&self.endpoints);
        let mut spared = Spared::default();
        for endpoint in endpoints {
            let Some(known) = self.endpoints.get_mut(&endpoint.address) else { continue };
            let (pool, address) = (&endpoint.pool, &endpoint.address);
            let object = || names::endpoint(pool, &address.to_string());
            let seen = seen(&endpoint.shards);
            let outlier = known.outlier.get_or_insert_with(|| Outlier::new(seen));
            if outlier.returns(now.instant) {
                (ejected, self.turned) = (ejected.saturating_sub(1), true);
                known.rejudge(checked, "its ejection is over", now);
                let text = words::readmitted(address, pool);
                turns.push(Turn { kind: EventKind::EndpointReadmitted, object: object(), text });
                continue;
            }
            let cause = outlier.look(seen, &limits, now.instant);
            let before = std::mem::replace(&mut known.spared, cause.filter(|_| ejected >= allowed));
            let Some(cause) = cause else { continue };
            if ejected >= allowed {
                known.refused += u64::from(before.is_none());
                spared.note(address, cause, before.is_none());
                continue;
            }
            let time = outlier.eject(&limits, now.instant);
            let (why, number) = (words::cause(cause), outlier.ejections());
            (ejected, self.turned) = (ejected + 1, true);
            known.ejected += 1;
            known.rejudge(checked, &why, now);
            let text = words::ejected(address, pool, &why, time, number);
            turns.push(Turn { kind: EventKind::EndpointEjected, object: object(), text });
        }
        if let Some((first, cause, more)) = self.sparing.tell(&spared, now.instant) {
            let name = &self.config.name;
            let share = (ejected, self.endpoints.len(), settings.max_share);
            let text = words::spared(name, first, &words::cause(cause), more, share);
            turns.push(Turn { kind: EventKind::EjectionsRefused, object: names::pool(name), text });
        }
    }
}

impl Known {
    fn rejudge(&mut self, checked: bool, why: &str, now: Now) {
        let standing = self.judged(checked);
        if standing != self.standing {
            self.turn(standing, why.to_owned(), now);
        }
    }

    /// Until when it is ejected.
    pub(super) fn ejected_until(&self, now: Now) -> Option<SystemTime> {
        let until = self.outlier.as_ref()?.ejected_until()?;
        now.wall.checked_add(until.saturating_duration_since(now.instant))
    }
}

fn ejected(endpoints: &HashMap<Address, Known>) -> usize {
    let out = |known: &&Known| known.outlier.as_ref().is_some_and(|each| each.ejected_until().is_some());
    endpoints.values().filter(out).count()
}

fn seen(shards: &[Arc<EndpointShard>]) -> Seen {
    let mut seen = Seen::default();
    for shard in shards {
        seen.connected += shard.connected.get();
        seen.failed += shard.connect_failures.get();
        seen.early_resets += shard.early_resets.get();
        seen.received += shard.bytes_from_upstream.get();
    }
    seen
}
