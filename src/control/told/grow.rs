//! More workers, and whose counters are whose.

use std::{collections::HashMap, sync::Arc};

use super::{Told, ToldListener};
use crate::{
    control::figures,
    metrics::ListenerShard,
    worker::{Door, EndpointId, ListenerId, Tally},
};

/// Counters of one worker by id, also under ids of the past.
#[derive(Debug)]
pub(in crate::control) struct Books<'a> {
    listeners: HashMap<ListenerId, (&'a ToldListener, &'a Arc<ListenerShard>)>,
    endpoints: HashMap<EndpointId, Tally>,
}

impl Told {
    /// There are so many workers now. What those before them counted stays.
    pub(in crate::control) fn grow(&mut self, workers: usize) {
        for told in self.listeners.values_mut().chain(self.retired_listeners.values_mut()) {
            let missing = workers.saturating_sub(told.shards.len());
            told.shards.extend(figures::listener_shards(&told.config.name, missing));
        }
        for told in self.pools.values_mut() {
            let missing = workers.saturating_sub(told.shards.len());
            told.shards.extend(figures::pool_shards(&told.config.name, missing));
        }
        let known = self.pools.values_mut().flat_map(|told| &mut told.endpoints);
        for told in known.chain(&mut self.retired_endpoints) {
            let missing = workers.saturating_sub(told.shards.len());
            told.shards.extend(figures::endpoint_shards(&told.pool, &told.address, missing));
        }
    }

    /// The counters of a worker.
    pub(in crate::control) fn books(&self, worker: usize) -> Books<'_> {
        let listeners = self.listeners().filter_map(|told| Some((told, told.shards.get(worker)?)));
        let endpoints = self.endpoints(None).filter_map(|told| Some((told.id, told.tally(worker)?)));
        Books {
            listeners: listeners.flat_map(|(told, shard)| told.ids().map(move |id| (id, (told, shard)))).collect(),
            endpoints: endpoints.collect(),
        }
    }
}

impl Books<'_> {
    /// Of a listener; of one that nobody remembers, new ones.
    pub(in crate::control) fn listener(&self, id: ListenerId) -> Arc<ListenerShard> {
        let unknown = || figures::listener_shards("", 1).remove(0);
        self.listeners.get(&id).map_or_else(unknown, |(_, shard)| Arc::clone(shard))
    }

    /// What limits the connections of a listener; `None` if nobody remembers it.
    pub(in crate::control) fn door(&self, id: ListenerId) -> Option<Door> {
        self.listeners.get(&id).map(|(told, _)| told.door())
    }

    /// Of an endpoint; of one that nobody remembers, new ones.
    pub(in crate::control) fn endpoint(&self, id: EndpointId) -> Tally {
        self.endpoints.get(&id).cloned().unwrap_or_default()
    }
}
