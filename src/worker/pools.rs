//! The pools of one worker: what is known of each, and who is next.

use std::sync::Arc;

use crate::{
    balance::{Ask, Balancer, Candidate, Policy, stable_hash},
    metrics::PoolShard,
    worker::{
        by_id::ById,
        command::{EndpointId, EndpointSpec, PoolId, PoolSpec},
    },
};

/// All pools of one worker.
#[derive(Debug)]
pub(super) struct Pools {
    entries: ById<PoolId, Entry>,
    /// Where this worker begins its rounds.
    offset: usize,
}

#[derive(Debug)]
struct Entry {
    spec: PoolSpec,
    balancer: Balancer<EndpointId>,
    /// Connections that look for an endpoint of it. They keep it alive after
    /// it was removed.
    dialing: usize,
    removed: bool,
}

impl Pools {
    pub(super) fn new(offset: usize) -> Self {
        Self { entries: ById::default(), offset }
    }

    pub(super) fn set(&mut self, spec: PoolSpec) {
        let candidates: Vec<_> = spec.endpoints.iter().map(candidate).collect();
        match self.entries.get_mut(&spec.id) {
            Some(entry) => {
                entry.balancer.update(Policy::RoundRobin, &candidates);
                entry.removed = false;
                entry.spec = spec;
            }
            None => {
                let balancer = Balancer::new(Policy::RoundRobin, &candidates, self.offset);
                self.entries.insert(spec.id, Entry { spec, balancer, dialing: 0, removed: false });
            }
        }
    }

    pub(super) fn remove(&mut self, id: PoolId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.removed = true;
        }
        self.forget_unused(id);
    }

    /// The settings of a pool.
    pub(super) fn get(&self, id: PoolId) -> Option<&PoolSpec> {
        self.entries.get(&id).map(|entry| &entry.spec)
    }

    /// The endpoint for the next connect that is none of `tried`.
    pub(super) fn pick(&mut self, id: PoolId, tried: &[EndpointId]) -> Option<EndpointSpec> {
        let entry = self.entries.get_mut(&id)?;
        let key = entry.balancer.pick(&Ask { tried, hash: 0, load: |_| 0, full: |_| false })?;
        entry.spec.endpoints.iter().find(|endpoint| endpoint.id == key).cloned()
    }

    /// The counters of a pool.
    pub(super) fn counters(&self, id: PoolId) -> Option<&Arc<PoolShard>> {
        self.entries.get(&id).map(|entry| &entry.spec.counters)
    }

    /// A connection begins to look for an endpoint.
    pub(super) fn enter(&mut self, id: PoolId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.dialing += 1;
        }
    }

    /// A connection has found one, or has given up.
    pub(super) fn leave(&mut self, id: PoolId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.dialing = entry.dialing.saturating_sub(1);
        }
        self.forget_unused(id);
    }

    fn forget_unused(&mut self, id: PoolId) {
        if self.entries.get(&id).is_some_and(|entry| entry.removed && entry.dialing == 0) {
            self.entries.remove(&id);
        }
    }
}

fn candidate(endpoint: &EndpointSpec) -> Candidate<EndpointId> {
    Candidate {
        key: endpoint.id,
        name: stable_hash(endpoint.address.to_string().as_bytes()),
        weight: u32::from(endpoint.weight),
        backup: false,
    }
}
