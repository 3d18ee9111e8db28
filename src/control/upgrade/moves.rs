//! Connections between this process's ids and the names that the other one
//! understands.

use std::{collections::HashMap, sync::Arc};

use super::{
    super::told::{Told, ToldEndpoint},
    types::Moving,
};
use crate::{
    metrics::{EndpointShard, ListenerShard},
    worker::{Arrival, EndpointId, ListenerId, Parcel, ParcelStage, PoolId},
};

/// What each id of this process is called.
#[derive(Debug)]
pub(super) struct Names<'a> {
    listeners: HashMap<ListenerId, &'a str>,
    pools: HashMap<PoolId, &'a str>,
    endpoints: HashMap<EndpointId, (String, String)>,
}

impl<'a> Names<'a> {
    pub(super) fn new(told: &'a Told) -> Self {
        let listeners = told.listeners().flat_map(|each| each.ids().map(|id| (id, each.config.name.as_str())));
        Self {
            listeners: listeners.collect(),
            pools: told.pools.iter().map(|(name, each)| (each.id, name.as_str())).collect(),
            endpoints: told.endpoints(None).map(|each| (each.id, name_of(each))).collect(),
        }
    }

    /// The connection by names.
    pub(super) fn name(&self, parcel: Parcel) -> Moving {
        let tried = match &parcel.stage {
            ParcelStage::Dial { tried, .. } => tried.iter().filter_map(|id| self.endpoints.get(id).cloned()).collect(),
            _ => Vec::new(),
        };
        Moving {
            listener: self.listeners.get(&parcel.listener).copied().unwrap_or_default().to_owned(),
            pool: parcel.pool.and_then(|id| self.pools.get(&id)).map(|name| (*name).to_owned()),
            endpoint: parcel.endpoint.and_then(|id| self.endpoints.get(&id).cloned()),
            tried,
            parcel,
        }
    }
}

/// What each name is in this process.
#[derive(Debug)]
pub(super) struct Ids<'a> {
    told: &'a Told,
    endpoints: HashMap<(String, String), &'a ToldEndpoint>,
}

impl<'a> Ids<'a> {
    pub(super) fn new(told: &'a Told) -> Self {
        Self { told, endpoints: told.endpoints(None).map(|each| (name_of(each), each)).collect() }
    }

    /// The connection for one worker of this process; gives it back if its
    /// listener has no place here.
    pub(super) fn place(&self, moving: Moving, worker: usize) -> Result<Arrival, Box<Moving>> {
        let Some((id, listener)) = self.listener(&moving.listener, worker) else { return Err(Box::new(moving)) };
        let known = moving.endpoint.as_ref().and_then(|name| self.endpoints.get(name));
        let endpoint = known.and_then(|each| Some((each.id, Arc::clone(each.shards.get(worker)?))));
        if moving.endpoint.is_some() != endpoint.is_some() {
            return Err(Box::new(moving));
        }
        let (endpoint_id, endpoint): (_, Option<Arc<EndpointShard>>) = endpoint.unzip();
        let mut parcel = moving.parcel;
        parcel.listener = id;
        parcel.pool = moving.pool.and_then(|name| self.told.pools.get(&name)).map(|each| each.id);
        parcel.endpoint = endpoint_id;
        if let ParcelStage::Dial { tried, .. } = &mut parcel.stage {
            *tried = moving.tried.iter().filter_map(|name| self.endpoints.get(name)).map(|each| each.id).collect();
        }
        Ok(Arrival { parcel, listener, endpoint })
    }

    fn listener(&self, name: &str, worker: usize) -> Option<(ListenerId, Arc<ListenerShard>)> {
        let told = self.told.any_listener(name)?;
        Some((told.ids().last()?, Arc::clone(told.shards.get(worker)?)))
    }
}

fn name_of(endpoint: &ToldEndpoint) -> (String, String) {
    (endpoint.pool.clone(), endpoint.address.to_string())
}

/// Listeners and endpoints that the connections need and that this process
/// does not know get a place among the retired ones.
pub(super) fn make_room(told: &mut Told, connections: &[Moving], workers: usize) {
    for moving in connections {
        if !moving.listener.is_empty() {
            told.know_listener(&moving.listener, workers);
        }
        if let Some((pool, address)) = &moving.endpoint {
            told.know_endpoint(pool, address, workers);
        }
    }
}
