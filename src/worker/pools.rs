//! The pools of one worker: what is known of each, and who is next.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    balance::{Ask, Balancer, Candidate, stable_hash},
    config::{self, Address, HashKey, Source},
    metrics::PoolShard,
    worker::{
        by_id::ById,
        command::{EndpointId, EndpointSpec, Nobody, PoolId, PoolSpec},
        load::Place,
    },
};

/// Picks before a pool counts as full: between a pick and the taking of a
/// place, other workers may take the last one.
const RACES: usize = 8;

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
    balancer: Balancer<Slot>,
    /// Connections that look for an endpoint of it. They keep it alive after
    /// it was removed.
    dialing: usize,
    removed: bool,
}

/// An endpoint and where it stands in its pool: found without a search.
#[derive(Debug, Clone, Copy)]
struct Slot {
    id: EndpointId,
    at: usize,
}

/// What a choice depends on besides the pool.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Client {
    /// What consistent hashing knows it by.
    pub(super) hash: u64,
    /// Its address, if it has one.
    pub(super) source: Option<SocketAddr>,
}

impl Client {
    /// The address that endpoints of a pool are to be connected to from, if it
    /// is the client's.
    fn from(self, spec: &PoolSpec) -> Option<IpAddr> {
        self.source.filter(|_| spec.config.source == Source::Client).map(|source| source.ip())
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Slot {}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Pools {
    pub(super) fn new(offset: usize) -> Self {
        Self { entries: ById::default(), offset }
    }

    pub(super) fn set(&mut self, spec: PoolSpec) {
        let candidates: Vec<_> = spec.endpoints.iter().enumerate().map(candidate).collect();
        match self.entries.get_mut(&spec.id) {
            Some(entry) => {
                entry.balancer.update(spec.policy, &candidates, &spec.tables);
                entry.removed = false;
                entry.spec = spec;
            }
            None => {
                let balancer = Balancer::new(spec.policy, &candidates, &spec.tables, self.offset);
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

    /// The endpoint for the next connect that is none of `tried` and that the
    /// client's address can be used towards, if it is to be; with a place at
    /// it.
    pub(super) fn pick(
        &mut self,
        id: PoolId,
        tried: &[EndpointId],
        client: Client,
    ) -> Result<(&EndpointSpec, Place), Nobody> {
        let Entry { spec, balancer, .. } = self.entries.get_mut(&id).ok_or(Nobody::Taking)?;
        for _ in 0..RACES {
            let Some(slot) = next(balancer, spec, tried, client) else { break };
            let endpoint = &spec.endpoints[slot.at];
            if let Some(place) = endpoint.load.enter(endpoint.max_connections) {
                return Ok((endpoint, place));
            }
        }
        Err(nobody(spec, tried, client))
    }

    /// What [`pick`](Self::pick) would answer to a connection that comes now.
    pub(super) fn foretell(&self, id: PoolId, client: Client) -> Result<EndpointId, Nobody> {
        let Entry { spec, balancer, .. } = self.entries.get(&id).ok_or(Nobody::Taking)?;
        let slot = next(&mut balancer.clone(), spec, &[], client);
        slot.map(|slot| slot.id).ok_or_else(|| nobody(spec, &[], client))
    }

    /// Whether the retry budget of a pool has another attempt, which is taken
    /// from it.
    pub(super) fn may_retry(&self, id: PoolId) -> bool {
        let Some(PoolSpec { gate, config, counters, .. }) = self.get(id) else { return true };
        let may = gate.may_retry(config.limits.retry_budget);
        if !may {
            counters.retries_denied.add(1);
        }
        may
    }

    /// An endpoint of the pool is being tried, after another one that failed or
    /// as the first.
    pub(super) fn note_attempt(&self, id: PoolId, again: bool) {
        let Some(PoolSpec { gate, config, counters, .. }) = self.get(id) else { return };
        if again {
            counters.retries.add(1);
        } else {
            gate.attempted(config.limits.retry_budget);
        }
    }

    /// An endpoint of the pool has a place again.
    pub(super) fn freed(&self, id: PoolId) {
        if let Some(spec) = self.get(id) {
            spec.gate.freed();
        }
    }

    /// Whether the pool is known, does not have this endpoint, and has others
    /// that take a connection.
    pub(super) fn has_other(&self, id: PoolId, than: EndpointId) -> bool {
        let endpoints = || self.entries.get(&id).into_iter().flat_map(|entry| &entry.spec.endpoints);
        endpoints().any(|each| each.weight > 0 && !is_full(each)) && endpoints().all(|each| each.id != than)
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

/// What consistent hashing knows a client by, as a number that is the same in
/// every process and on every machine.
pub(super) fn hash_of(listener: &config::Listener, source: Option<SocketAddr>) -> u64 {
    let key = listener.protocol.hash();
    let Some(source) = source.filter(|_| key != HashKey::Listener) else {
        return stable_hash(listener.name.as_bytes());
    };
    // 16 bytes of an address, an IPv4 one also as IPv6 (RFC 4291, 2.5.5.2); 2
    // of a port.
    let mut bytes = [0; 18];
    let address = match source {
        SocketAddr::V4(source) => source.ip().to_ipv6_mapped(),
        SocketAddr::V6(source) => *source.ip(),
    };
    bytes[..16].copy_from_slice(&address.octets());
    if key == HashKey::SourcePort {
        bytes[16..].copy_from_slice(&source.port().to_be_bytes());
    }
    stable_hash(&bytes)
}

fn next(balancer: &mut Balancer<Slot>, spec: &PoolSpec, tried: &[EndpointId], client: Client) -> Option<Slot> {
    let endpoints = &spec.endpoints;
    let from = client.from(spec);
    balancer.pick(&Ask {
        tried: &[],
        hash: client.hash,
        load: |slot: Slot| endpoints[slot.at].load.get(),
        full: |slot: Slot| {
            let endpoint = &endpoints[slot.at];
            is_full(endpoint) || tried.contains(&slot.id) || !suits(endpoint, from)
        },
    })
}

/// Whether an endpoint can be connected to from this address.
fn suits(endpoint: &EndpointSpec, from: Option<IpAddr>) -> bool {
    match (&endpoint.address, from) {
        (Address::Inet(address), Some(from)) => address.is_ipv4() == from.is_ipv4(),
        _ => true,
    }
}

fn is_full(endpoint: &EndpointSpec) -> bool {
    endpoint.max_connections.is_some_and(|most| endpoint.load.get() >= u64::from(most))
}

/// Why nobody was picked.
fn nobody(spec: &PoolSpec, tried: &[EndpointId], client: Client) -> Nobody {
    let untried = || spec.endpoints.iter().filter(|each| each.weight > 0 && !tried.contains(&each.id));
    let from = client.from(spec);
    let mut suited = untried().filter(|each| suits(each, from));
    if suited.any(|each| each.max_connections.is_some()) {
        Nobody::Full
    } else if untried().any(|each| !suits(each, from)) {
        Nobody::Suited
    } else {
        Nobody::Taking
    }
}

fn candidate((at, endpoint): (usize, &EndpointSpec)) -> Candidate<Slot> {
    Candidate { key: Slot { id: endpoint.id, at }, weight: endpoint.weight, backup: endpoint.backup }
}

#[cfg(test)]
mod tests;
