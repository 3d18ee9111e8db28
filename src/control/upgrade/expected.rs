//! What is open when a process accepts no more: its successor keeps places for
//! it, so that no limit is exceeded and nobody who comes takes the place of
//! somebody who is there.

use std::time::Duration;

use super::{
    super::{controller::Controller, port::WorkerPort},
    types::{Expected, ExpectedListener, ExpectedPool},
};
use crate::{config::ListenerLimits, worker::ListenerGate};

/// Sources of a listener that are told, those with most connections.
const SOURCES: usize = 16_384;

impl<P: WorkerPort> Controller<P> {
    /// What is open. To be asked when no worker accepts.
    pub(super) fn expected(&self) -> Expected {
        let told = self.fleet.told();
        let now = self.since_start();
        let listeners = told.listeners().map(|each| {
            let (rate, source_rates) = each.gate.rates(now, SOURCES);
            ExpectedListener {
                name: each.config.name.clone(),
                open: each.gate.open(),
                sources: each.gate.open_by_source(SOURCES),
                rate,
                source_rates,
            }
        });
        let pools = told.pools.iter().map(|(name, each)| ExpectedPool {
            name: name.clone(),
            open: each.gate.open(),
            waiting: each.gate.waiting() as u64,
        });
        let endpoints =
            told.endpoints(None).map(|each| ((each.pool.clone(), each.address.to_string()), each.load.get()));
        Expected {
            connections: told.gates.open(),
            fds: self.fleet.workers().next().map_or(0, |worker| worker.settings().fds.usage().0),
            listeners: listeners
                .filter(|each| each.open > 0 || !each.rate.is_zero() || !each.source_rates.is_empty())
                .collect(),
            pools: pools.filter(|each| each.open > 0 || each.waiting > 0).collect(),
            endpoints: endpoints.filter(|(_, open)| *open > 0).collect(),
        }
    }

    /// Keeps places for what a predecessor is about to move here, until its
    /// story ends. To be told before anybody accepts.
    pub fn keep_places(&mut self, expected: &Expected) {
        if self.upgrades.legacy.is_none() {
            return;
        }
        let (workers, now) = (self.fleet.workers().len(), self.since_start());
        let config = self.state.config();
        let told = self.fleet.told_mut();
        told.gates.keep(expected.connections);
        for each in &expected.listeners {
            told.know_listener(&each.name, workers);
            let listener = config.listeners.iter().find(|listener| listener.name == each.name);
            let unlimited = ListenerLimits::default();
            let limits = listener.map_or(&unlimited, |listener| &listener.limits);
            let Some(told) = told.any_listener_mut(&each.name) else { continue };
            told.gate = ListenerGate::new(limits, Some(&told.gate));
            told.gate.keep(each.open, &each.sources, limits);
            told.gate.resume_rates(each.rate, &each.source_rates, now);
        }
        for each in &expected.pools {
            if let Some(told) = told.pools.get(&each.name) {
                told.gate.keep(each.open, usize::try_from(each.waiting).unwrap_or(usize::MAX));
            }
        }
        for ((pool, address), open) in &expected.endpoints {
            told.know_endpoint(pool, address, workers);
            if let Some(told) = address.parse().ok().and_then(|address| told.find(pool, &address)) {
                told.load.keep(*open);
            }
        }
        if let Some(worker) = self.fleet.workers().next() {
            worker.settings().fds.keep(expected.fds);
        }
    }

    /// The time as the workers' gates have it.
    fn since_start(&self) -> Duration {
        self.clock.now().instant.saturating_duration_since(self.started.instant)
    }

    /// Nobody else comes.
    pub(super) fn release_places(&self) {
        let told = self.fleet.told();
        told.gates.release();
        told.listeners().for_each(|each| each.gate.release());
        told.endpoints(None).for_each(|each| each.load.release());
        if let Some(worker) = self.fleet.workers().next() {
            worker.settings().fds.release();
        }
        // Last: who waits for a pool may go on now.
        told.pools.values().for_each(|each| each.gate.release());
    }
}
