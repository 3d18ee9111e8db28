//! What the workers were told: which listeners, pools and endpoints they have,
//! under which ids, with which counters; and what differs from what shall be.

pub(super) mod grow;

use std::{collections::BTreeMap, sync::Arc};

use super::{figures, request::Figures, state::State};
use crate::{
    config::{Address, Endpoint, Listener, Pool},
    metrics::{EndpointShard, ListenerShard, PoolShard},
    worker::{EndpointId, ListenerId, PoolId},
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
    /// One a worker; they stay with the name, whatever the id.
    pub(super) shards: Vec<Arc<ListenerShard>>,
    /// The address in fact bound, now or last.
    pub(super) bound: String,
    /// The socket came from systemd.
    pub(super) inherited: bool,
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
    /// In the order of the file.
    pub(super) endpoints: Vec<ToldEndpoint>,
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
    next: u32,
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
                (Some(told), true) if told.config == *listener => continue,
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
                shards: figures::listener_shards(workers),
                bound: config.address.to_string(),
                inherited: false,
            })
        });
        told.config = config.clone();
        told
    }

    /// Notes the pool as the state wants it; endpoints keep their ids and
    /// counters, those that are gone are retired.
    pub(super) fn pool(&mut self, config: &Arc<Pool>, state: &State, workers: usize) -> &ToldPool {
        let name = &config.name;
        let before = self.pools.remove(name);
        let (id, shards, mut known) = match before {
            Some(told) => (told.id, told.shards, told.endpoints),
            None => (PoolId(self.fresh()), (0..workers).map(|_| Arc::default()).collect(), Vec::new()),
        };
        let endpoints = config.endpoints.iter().map(|each| self.endpoint(name, each, state, &mut known, workers));
        let endpoints = endpoints.collect();
        self.retired_endpoints.append(&mut known);
        let told = ToldPool { config: config.clone(), id, shards, endpoints };
        self.pools.entry(name.clone()).or_insert(told)
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
    pub(super) fn bury(&self, worker: usize) {
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

    fn endpoint(
        &mut self,
        pool: &str,
        config: &Endpoint,
        state: &State,
        known: &mut Vec<ToldEndpoint>,
        workers: usize,
    ) -> ToldEndpoint {
        let weight = state.weight(pool, config);
        let before = take(known, |each| each.address == config.address)
            .or_else(|| take(&mut self.retired_endpoints, |each| each.pool == pool && each.address == config.address));
        before.map(|told| ToldEndpoint { weight, ..told }).unwrap_or_else(|| ToldEndpoint {
            pool: pool.to_owned(),
            address: config.address.clone(),
            id: EndpointId(self.fresh()),
            weight,
            shards: (0..workers).map(|_| Arc::default()).collect(),
        })
    }
}

impl ToldListener {
    /// Ids under which it has or may have connections.
    pub(super) fn ids(&self) -> impl Iterator<Item = ListenerId> {
        self.past.iter().copied().chain(self.id)
    }

    /// It accepts no more under its id.
    pub(super) fn retire_id(&mut self) -> Option<ListenerId> {
        let id = self.id.take()?;
        if self.past.len() == PAST {
            self.past.remove(0);
        }
        self.past.push(id);
        Some(id)
    }
}

fn is_in_force(told: &ToldPool, pool: &Arc<Pool>, state: &State) -> bool {
    told.config == *pool
        && told.endpoints.iter().zip(&pool.endpoints).all(|(told, each)| told.weight == state.weight(&pool.name, each))
}

/// Whether the change needs other sockets.
fn needs_sockets(old: &Listener, new: &Listener) -> bool {
    old.address != new.address || old.v6only != new.v6only || old.mode != new.mode || new.tcp.needs_sockets(&old.tcp)
}

fn take<T>(list: &mut Vec<T>, matches: impl Fn(&T) -> bool) -> Option<T> {
    list.iter().position(matches).map(|at| list.remove(at))
}

#[cfg(test)]
mod tests;
