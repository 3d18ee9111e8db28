//! What control itself counts, besides the workers: probes, ejections, trials,
//! drains.

use super::super::types::{ControlLedger, HealthLedger, Ledger};
use super::each_since;
use crate::control::{controller::Controller, history::Returns, port::WorkerPort, told::Told};

/// Two counters; what the second has more than the first.
fn more<const N: usize>(now: [u64; N], before: [u64; N]) -> [u64; N] {
    std::array::from_fn(|at| now[at].saturating_sub(before[at]))
}

/// What was counted since `earlier`.
pub(super) fn since(now: &ControlLedger, earlier: &ControlLedger) -> ControlLedger {
    ControlLedger {
        health: each_since(&now.health, &earlier.health, |now, before| HealthLedger {
            ejections: now.ejections.saturating_sub(before.ejections),
            ejections_refused: now.ejections_refused.saturating_sub(before.ejections_refused),
            probes: more(now.probes, before.probes),
        }),
        probe_times: each_since(&now.probe_times, &earlier.probe_times, |now, before| now.since(before)),
        returns: returns(more(counts(now.returns), counts(earlier.returns))),
        drains: more(now.drains, earlier.drains),
        drained: more(now.drained, earlier.drained),
        access: more(now.access, earlier.access),
    }
}

fn counts(Returns { time, guard, rollback, confirmed }: Returns) -> [u64; 4] {
    [time, guard, rollback, confirmed]
}

fn returns([time, guard, rollback, confirmed]: [u64; 4]) -> Returns {
    Returns { time, guard, rollback, confirmed }
}

impl<P: WorkerPort> Controller<P> {
    /// All that control has counted so far.
    pub(in crate::control::upgrade) fn own_ledger(&self) -> ControlLedger {
        let told: &Told = self.fleet.told();
        let known = told.pools.iter().flat_map(|(name, pool)| pool.endpoints.iter().map(move |each| (name, each)));
        let health = known.filter_map(|(pool, each)| {
            let figures = self.health.figures(pool, &each.address)?;
            let counted = HealthLedger {
                ejections: figures.ejections,
                ejections_refused: figures.ejections_refused,
                probes: figures.probes.unwrap_or_default(),
            };
            Some(((pool.clone(), each.address.to_string()), counted))
        });
        let times = told.pools.keys().filter_map(|name| Some((name.clone(), self.health.probe_time(name)?)));
        let (ended, connections) = (self.drained.ended, self.drained.connections);
        ControlLedger {
            health: health.collect(),
            probe_times: times.collect(),
            returns: self.returns,
            drains: [ended.0, ended.1],
            drained: [connections.0, connections.1, connections.2],
            access: [self.access.written(), self.access.behind(), self.access.refused()],
        }
    }

    /// Adds what another process counted. Of pools and endpoints that this one
    /// neither checks nor watches nothing is kept.
    pub(in crate::control::upgrade) fn absorb_own(&mut self, counted: &Ledger) {
        let ControlLedger { health, probe_times, returns: more, drains, drained, access } = &counted.control;
        let [written, behind, refused] = *access;
        self.access.add_written(written);
        self.access.add_behind(behind);
        self.access.add_refused(refused);
        self.health.absorb(health, probe_times);
        let sums = [0, 1, 2, 3].map(|at: usize| counts(self.returns)[at].saturating_add(counts(*more)[at]));
        self.returns = returns(sums);
        let own = &mut self.drained;
        for (own, more) in [&mut own.ended.0, &mut own.ended.1].into_iter().zip(drains) {
            *own = own.saturating_add(*more);
        }
        let connections = &mut own.connections;
        for (own, more) in [&mut connections.0, &mut connections.1, &mut connections.2].into_iter().zip(drained) {
            *own = own.saturating_add(*more);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Counters of so many endpoints and pools, each of them any number.
    fn counted() -> impl Strategy<Value = ControlLedger> {
        let health = vec(any::<(u32, u32, [u32; 4])>(), 3);
        let others = (any::<[u32; 4]>(), any::<[u32; 2]>(), any::<[u32; 3]>(), any::<[u32; 3]>());
        (health, vec(any::<(u32, u32)>(), 2), others).prop_map(|(health, times, (trials, drains, drained, access))| {
            ControlLedger {
                health: (0..)
                    .zip(health)
                    .map(|(at, (ejections, refused, probes))| {
                        let (ejections, ejections_refused) = (ejections.into(), refused.into());
                        let each = HealthLedger { ejections, ejections_refused, probes: probes.map(u64::from) };
                        (("db".to_owned(), format!("10.0.0.{at}:1")), each)
                    })
                    .collect(),
                probe_times: (0..)
                    .zip(times)
                    .map(|(at, (count, sum_micros))| {
                        let mut time = crate::metrics::HistogramSnapshot::default();
                        (time.buckets[at], time.sum_micros) = (count.into(), sum_micros.into());
                        (format!("pool{at}"), time)
                    })
                    .collect(),
                returns: returns(trials.map(u64::from)),
                drains: drains.map(u64::from),
                drained: drained.map(u64::from),
                access: access.map(u64::from),
            }
        })
    }

    fn sum(one: &ControlLedger, other: &ControlLedger) -> ControlLedger {
        let added = |(one, other): (u64, u64)| one + other;
        let mut sum = one.clone();
        for ((_, own), (_, more)) in sum.health.iter_mut().zip(&other.health) {
            own.ejections += more.ejections;
            own.ejections_refused += more.ejections_refused;
            own.probes = std::array::from_fn(|at| added((own.probes[at], more.probes[at])));
        }
        sum.probe_times.iter_mut().zip(&other.probe_times).for_each(|((_, own), (_, more))| own.add(more));
        let (a, b) = (counts(one.returns), counts(other.returns));
        sum.returns = returns(std::array::from_fn(|at| added((a[at], b[at]))));
        sum.drains = std::array::from_fn(|at| added((one.drains[at], other.drains[at])));
        sum.drained = std::array::from_fn(|at| added((one.drained[at], other.drained[at])));
        sum.access = std::array::from_fn(|at| added((one.access[at], other.access[at])));
        sum
    }

    proptest! {
        #[test]
        fn what_was_told_and_what_came_since_is_the_whole(before in counted(), more in counted()) {
            let now = sum(&before, &more);
            prop_assert_eq!(since(&now, &before), more.clone());
            prop_assert_eq!(since(&now, &ControlLedger::default()), now.clone());
            prop_assert_eq!(sum(&before, &since(&now, &before)), now);
        }
    }
}
