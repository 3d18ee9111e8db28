//! What the workers were told: which listeners, pools and endpoints they have,
//! under which ids, with which counters; and what differs from what shall be.

pub(super) mod grow;
mod starts;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use super::{
    balancing, figures,
    ramp::{self, Ramp},
    request::Figures,
    state::State,
};
use crate::{
    balance::{Candidate, Tables, stable_hash},
    config::{Address, Endpoint, Listener, Pool, PoolShare},
    metrics::{EndpointShard, ListenerShard, PoolShard},
    worker::{Door, EndpointId, ListenerGate, ListenerId, Load, PoolGate, PoolId, ProcessGate, Tally},
};

/// Ids of its past that one listener remembers; connections on older ones
/// count, but are not found by the listener's name.
const PAST: usize = 1024;

/// A listener that the workers know or knew.
#[derive(Debug)]
pub(super) struct ToldListener {
    /// Settings.
    pub(super) config: Arc<Listener>,
    /// Its id while the workers accept on it.
    pub(super) id: Option<ListenerId>,
    /// Ids under which connections may be open still.
    pub(super) past: Vec<ListenerId>,
    /// How many of its sockets each worker has; workers without any may be left
    /// out at the end.
    pub(super) held: Vec<usize>,
    /// One a worker; they stay with the name, whatever the id.
    pub(super) shards: Vec<Arc<ListenerShard>>,
    /// What all workers share of it; counts stay with the name.
    pub(super) gate: Arc<ListenerGate>,
    /// The address in fact bound, now or last.
    pub(super) bound: String,
    /// The socket came from systemd.
    pub(super) inherited: bool,
    /// Its pools with the shares in force.
    pub(super) split: Vec<PoolShare>,
}

/// A pool that the workers know.
#[derive(Debug)]
pub(super) struct ToldPool {
    /// Settings.
    pub(super) config: Arc<Pool>,
    /// Its id.
    pub(super) id: PoolId,
    /// One a worker.
    pub(super) shards: Vec<Arc<PoolShard>>,
    /// What all workers share of it.
    pub(super) gate: Arc<PoolGate>,
    /// In the order of the file.
    pub(super) endpoints: Vec<ToldEndpoint>,
    /// What its policy needs for them.
    pub(super) tables: Tables,
    /// Where each endpoint stands.
    places: HashMap<Address, usize>,
}

/// An endpoint that the workers know or knew.
#[derive(Debug, Clone)]
pub(super) struct ToldEndpoint {
    /// Its pool.
    pub(super) pool: String,
    /// Where.
    pub(super) address: Address,
    /// Its id; stays with pool and address.
    pub(super) id: EndpointId,
    /// In force.
    pub(super) weight: u16,
    /// How far it is with a slow start.
    pub(super) ramp: Ramp,
    /// Takes connections only if no other does.
    pub(super) backup: bool,
    /// Most connections that it may have.
    pub(super) max_connections: Option<u32>,
    /// Connections that it has, all workers together; stays with its id.
    pub(super) load: Arc<Load>,
    /// One a worker.
    pub(super) shards: Vec<Arc<EndpointShard>>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By name.
    pub(super) listeners: BTreeMap<String, ToldListener>,
    /// By name.
    pub(super) pools: BTreeMap<String, ToldPool>,
    /// Gone from the configuration, but connections are open: that bounds them.
    pub(super) retired_listeners: BTreeMap<String, ToldListener>,
    /// As above.
    pub(super) retired_endpoints: Vec<ToldEndpoint>,
    /// Figures of retired listeners that were forgotten.
    pub(super) departed: Figures,
    /// What all workers share.
    pub(super) gates: Arc<ProcessGate>,
    pub(super) next: u32,
}

/// What has to be told for the state to come into force.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// New, or with other settings or weights.
    pub(super) pools: Vec<Arc<Pool>>,
    /// Gone.
    pub(super) pools_removed: Vec<String>,
    /// Accept now and did not; need sockets.
    pub(super) start: Vec<Arc<Listener>>,
    /// Accept on other sockets.
    pub(super) rebind: Vec<Arc<Listener>>,
    /// Accept with other settings.
    pub(super) update: Vec<Arc<Listener>>,
    /// Do not accept, and did not; settings are noted.
    pub(super) note: Vec<Arc<Listener>>,
    /// Do not accept any more.
    pub(super) stop: Vec<Arc<Listener>>,
    /// Gone.
    pub(super) removed: Vec<String>,
}

impl Told {
    /// What differs.
    pub(super) fn delta(&self, state: &State) -> Delta {
        let config = state.config();
        let mut delta = Delta::default();
        for pool in &config.pools {
            if !self.pools.get(&pool.name).is_some_and(|told| is_in_force(told, pool, state)) {
                delta.pools.push(pool.clone());
            }
        }
        for listener in &config.listeners {
            let told = self.listeners.get(&listener.name);
            let accepting = told.filter(|told| told.id.is_some());
            let list = match (accepting, state.accepts(&listener.name)) {
                (None, true) => &mut delta.start,
                (None, false) if told.is_some_and(|told| told.config == *listener) => continue,
                (None, false) => &mut delta.note,
                (Some(_), false) => &mut delta.stop,
                (Some(told), true) if told.config == *listener && told.split == state.split(listener) => continue,
                (Some(told), true) if needs_sockets(&told.config, listener) => &mut delta.rebind,
                (Some(_), true) => &mut delta.update,
            };
            list.push(listener.clone());
        }
        delta.removed = self.listeners.keys().filter(|name| state.listener(name).is_err()).cloned().collect();
        delta.pools_removed = self.pools.keys().filter(|name| state.pool(name).is_err()).cloned().collect();
        delta
    }

    /// An id that was never given out.
    pub(super) fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// The listener, which is made if it is new; what is left of one of that
    /// name goes on with it.
    pub(super) fn listener(&mut self, config: &Arc<Listener>, workers: usize) -> &mut ToldListener {
        let retired = self.retired_listeners.remove(&config.name);
        let told = self.listeners.entry(config.name.clone()).or_insert_with(|| {
            retired.unwrap_or_else(|| ToldListener {
                config: config.clone(),
                id: None,
                past: Vec::new(),
                held: Vec::new(),
                shards: figures::listener_shards(&config.name, workers),
                gate: ListenerGate::new(&config.limits, None),
                bound: config.address.to_string(),
                inherited: false,
                split: Vec::new(),
            })
        });
        if told.config.limits != config.limits {
            told.gate = ListenerGate::new(&config.limits, Some(&told.gate));
        }
        told.config = config.clone();
        told.split = config.protocol.pools().to_vec();
        told
    }

    /// Notes the pool as the state wants it; endpoints keep their ids and
    /// counters, those that are gone are retired.
    pub(super) fn pool(&mut self, config: &Arc<Pool>, state: &State, workers: usize) -> &ToldPool {
        let name = &config.name;
        let before = self.pools.remove(name);
        // All endpoints of a pool that is new begin together: none is slow.
        let slow = before.is_some() && config.slow_start.is_some();
        let (id, shards, gate, known) = match before {
            Some(told) => (told.id, told.shards, told.gate, told.endpoints),
            None => {
                let shards = figures::pool_shards(name, workers);
                (PoolId(self.fresh()), shards, PoolGate::new(&self.gates), Vec::new())
            }
        };
        let mut known: HashMap<Address, ToldEndpoint> =
            known.into_iter().map(|each| (each.address.clone(), each)).collect();
        let mut back = self.take_retired(name);
        let endpoints = config.endpoints.iter().map(|each| {
            let before = known.remove(&each.address);
            let begins = before.as_ref().is_none_or(|before| before.weight == 0);
            let ramp = match &before {
                _ if !slow => Ramp::Done,
                _ if begins => Ramp::Due,
                Some(before) => before.ramp,
                None => Ramp::Done,
            };
            let before = before.or_else(|| back.remove(&each.address));
            let told = self.endpoint(config, each, state, before, workers);
            ToldEndpoint { ramp: if told.weight == 0 { Ramp::Done } else { ramp }, ..told }
        });
        let endpoints: Vec<ToldEndpoint> = endpoints.collect();
        self.retired_endpoints.extend(known.into_values().chain(back.into_values()));
        let places = endpoints.iter().enumerate().map(|(at, each)| (each.address.clone(), at)).collect();
        let tables = tables(config, &endpoints);
        let told = ToldPool { config: config.clone(), id, shards, gate, endpoints, tables, places };
        self.pools.entry(name.clone()).or_insert(told)
    }

    /// Notes other weights of endpoints, for what is observed of them; answers
    /// the pools that have some.
    pub(super) fn reweigh(&mut self, state: &State, workers: usize) -> Vec<String> {
        let pools = state.resting().keys().filter_map(|name| self.pools.get(name));
        let others = pools.filter(|told| !is_in_force(told, &told.config, state));
        let others: Vec<Arc<Pool>> = others.map(|told| told.config.clone()).collect();
        others.into_iter().map(|pool| self.pool(&pool, state, workers).config.name.clone()).collect()
    }

    /// Goes on with slow starts; answers the pools whose weights are others
    /// now.
    pub(super) fn go_on(&mut self, now: Instant) -> Vec<String> {
        let slow = self.pools.values_mut().filter_map(|told| Some((told.config.slow_start?, told)));
        slow.filter_map(|(whole, told)| {
            let mut turned = false;
            for each in &mut told.endpoints {
                let next = each.ramp.at(now, whole);
                turned |= next.percent() != each.ramp.percent();
                each.ramp = next;
            }
            turned.then(|| told.config.name.clone())
        })
        .collect()
    }

    /// The endpoint of this address, if the workers know or knew it.
    pub(super) fn find(&self, pool: &str, address: &Address) -> Option<&ToldEndpoint> {
        let known = self.pools.get(pool).and_then(|told| told.endpoints.get(*told.places.get(address)?));
        known.or_else(|| self.retired_endpoints.iter().find(|each| each.pool == pool && each.address == *address))
    }

    /// Forgets a pool; its endpoints are retired.
    pub(super) fn remove_pool(&mut self, name: &str) -> Option<PoolId> {
        let told = self.pools.remove(name)?;
        self.retired_endpoints.extend(told.endpoints);
        Some(told.id)
    }

    /// Forgets what is retired and has no open connection, and past ids of
    /// listeners without any.
    pub(super) fn prune(&mut self) {
        let departed = &mut self.departed;
        self.retired_listeners.retain(|_, told| {
            let figures = figures::listener(&told.shards);
            if figures.active == 0 {
                figures::add(departed, figures);
            }
            figures.active > 0
        });
        self.retired_endpoints.retain(|told| figures::endpoint(&told.shards).active > 0);
        for told in self.listeners.values_mut() {
            if !told.past.is_empty() && figures::listener(&told.shards).active == 0 {
                told.past.clear();
            }
        }
    }

    /// Clears the gauges of a worker whose thread has ended: nobody else writes
    /// them any more, and nothing that they count is open.
    pub(super) fn bury(&mut self, worker: usize) {
        for told in self.listeners.values_mut() {
            told.give_up(worker);
        }
        for shard in self.listeners().filter_map(|told| told.shards.get(worker)) {
            shard.active.set(0);
            shard.paused.set(0);
        }
        for shard in self.endpoints(None).filter_map(|told| told.shards.get(worker)) {
            shard.active.set(0);
        }
    }

    /// All endpoints that the workers know or knew, of this pool or of all.
    pub(super) fn endpoints<'a>(&'a self, pool: Option<&'a str>) -> impl Iterator<Item = &'a ToldEndpoint> {
        let known = self.pools.values().flat_map(|told| &told.endpoints);
        known.chain(&self.retired_endpoints).filter(move |each| pool.is_none_or(|pool| each.pool == pool))
    }

    /// Those of them with this address, or all.
    pub(super) fn endpoints_named<'a>(
        &'a self,
        pool: &'a str,
        address: Option<&'a str>,
    ) -> impl Iterator<Item = &'a ToldEndpoint> {
        self.endpoints(Some(pool)).filter(move |each| address.is_none_or(|wanted| each.address.to_string() == wanted))
    }

    /// All listeners that the workers know or knew.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &ToldListener> {
        self.listeners.values().chain(self.retired_listeners.values())
    }

    /// The listener of this name, retired ones included.
    pub(super) fn any_listener(&self, name: &str) -> Option<&ToldListener> {
        self.listeners.get(name).or_else(|| self.retired_listeners.get(name))
    }

    /// As above, to be changed.
    pub(super) fn any_listener_mut(&mut self, name: &str) -> Option<&mut ToldListener> {
        self.listeners.get_mut(name).or_else(|| self.retired_listeners.get_mut(name))
    }

    /// Takes what is retired of a pool out of the list, by address.
    fn take_retired(&mut self, pool: &str) -> HashMap<Address, ToldEndpoint> {
        let all = std::mem::take(&mut self.retired_endpoints);
        let (of_pool, others) = all.into_iter().partition(|each| each.pool == pool);
        self.retired_endpoints = others;
        let of_pool: Vec<ToldEndpoint> = of_pool;
        of_pool.into_iter().map(|each| (each.address.clone(), each)).collect()
    }

    fn endpoint(
        &mut self,
        pool: &Pool,
        config: &Endpoint,
        state: &State,
        before: Option<ToldEndpoint>,
        workers: usize,
    ) -> ToldEndpoint {
        let told = before.unwrap_or_else(|| ToldEndpoint {
            pool: pool.name.clone(),
            address: config.address.clone(),
            id: EndpointId(self.fresh()),
            weight: 0,
            ramp: Ramp::Done,
            backup: false,
            max_connections: None,
            load: Arc::default(),
            shards: figures::endpoint_shards(&pool.name, &config.address, workers),
        });
        ToldEndpoint {
            weight: state.weight_in_force(&pool.name, config),
            backup: config.backup,
            max_connections: config.max_connections.or(pool.endpoint_max_connections),
            ..told
        }
    }
}

impl ToldEndpoint {
    /// Where a worker counts its connections.
    pub(super) fn tally(&self, worker: usize) -> Option<Tally> {
        Some(Tally { counters: Arc::clone(self.shards.get(worker)?), load: Arc::clone(&self.load) })
    }
}

impl ToldPool {
    /// Weights as the workers see them, in the order of the endpoints.
    pub(super) fn weights(&self) -> impl Iterator<Item = u32> {
        let any = self.endpoints.iter().any(|each| each.ramp != Ramp::Done);
        self.endpoints.iter().map(move |each| ramp::scaled(each.weight, each.ramp, any))
    }
}

/// What the pool's policy needs: here and not on the workers' threads, since it
/// takes long for thousands of endpoints.
fn tables(config: &Pool, endpoints: &[ToldEndpoint]) -> Tables {
    let candidate =
        |(at, each): (usize, &ToldEndpoint)| Candidate { key: at, weight: u32::from(each.weight), backup: each.backup };
    let candidates: Vec<_> = endpoints.iter().enumerate().map(candidate).collect();
    let name = |at: &usize| stable_hash(endpoints[*at].address.to_string().as_bytes());
    Tables::of(balancing::policy(config.policy), &candidates, name)
}

impl ToldListener {
    /// What limits its connections.
    pub(super) fn door(&self) -> Door {
        Door { gate: Arc::clone(&self.gate), config: Arc::clone(&self.config) }
    }

    /// Ids under which it has or may have connections.
    pub(super) fn ids(&self) -> impl Iterator<Item = ListenerId> {
        self.past.iter().copied().chain(self.id)
    }

    /// It accepts no more under its id.
    pub(super) fn retire_id(&mut self) -> Option<ListenerId> {
        let id = self.id.take()?;
        self.held.clear();
        if self.past.len() == PAST {
            self.past.remove(0);
        }
        self.past.push(id);
        Some(id)
    }

    /// A worker has one more of its sockets.
    pub(super) fn hold(&mut self, worker: usize) {
        if self.held.len() <= worker {
            self.held.resize(worker + 1, 0);
        }
        self.held[worker] += 1;
    }

    /// A worker has none of its sockets any more.
    pub(super) fn give_up(&mut self, worker: usize) {
        if let Some(held) = self.held.get_mut(worker) {
            *held = 0;
        }
    }
}

fn is_in_force(told: &ToldPool, pool: &Arc<Pool>, state: &State) -> bool {
    told.config == *pool
        && told
            .endpoints
            .iter()
            .zip(&pool.endpoints)
            .all(|(told, each)| told.weight == state.weight_in_force(&pool.name, each))
}

/// Whether the change needs other sockets.
fn needs_sockets(old: &Listener, new: &Listener) -> bool {
    old.address != new.address || old.v6only != new.v6only || old.mode != new.mode || new.tcp.needs_sockets(&old.tcp)
}

#[cfg(test)]
mod tests;
