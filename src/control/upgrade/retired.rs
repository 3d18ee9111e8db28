//! Objects that only a predecessor had: they are retired from the beginning.

use std::sync::Arc;

use super::super::{
    figures,
    told::{Told, ToldEndpoint, ToldListener},
};
use crate::{
    config::{Accelerate, Address, Listener, Protocol},
    worker::{EndpointId, ListenerId},
};

impl Told {
    /// The listener of this name has an id and counters, be it as a retired
    /// one.
    pub(in crate::control) fn know_listener(&mut self, name: &str, workers: usize) {
        let fresh = ListenerId(self.fresh());
        if let Some(told) = self.listeners.get_mut(name).or_else(|| self.retired_listeners.get_mut(name)) {
            if told.ids().next().is_none() {
                told.past.push(fresh);
            }
            return;
        }
        let config = Arc::new(unknown(name));
        let told = ToldListener {
            bound: config.address.to_string(),
            config,
            id: None,
            past: vec![fresh],
            shards: figures::listener_shards(workers),
            inherited: false,
        };
        self.retired_listeners.insert(name.to_owned(), told);
    }

    /// As [`know_listener`](Self::know_listener), for an endpoint. One whose
    /// address makes no sense stays unknown.
    pub(in crate::control) fn know_endpoint(&mut self, pool: &str, address: &str, workers: usize) {
        let Ok(address) = address.parse::<Address>() else { return };
        if self.endpoints(Some(pool)).any(|each| each.address == address) {
            return;
        }
        let told = ToldEndpoint {
            pool: pool.to_owned(),
            address,
            id: EndpointId(self.fresh()),
            weight: 0,
            shards: (0..workers).map(|_| Arc::default()).collect(),
        };
        self.retired_endpoints.push(told);
    }
}

/// A listener of which only the name is known.
fn unknown(name: &str) -> Listener {
    Listener {
        name: name.to_owned(),
        address: Address::Inet(std::net::SocketAddr::from(([0, 0, 0, 0], 0))),
        protocol: Protocol::Discard,
        backlog: 1,
        v6only: true,
        idle_timeout: None,
        mode: 0o600,
        accelerate: Accelerate::default(),
        proxy: Default::default(),
        tcp: Default::default(),
    }
}
