//! Objects that only a predecessor had: they are retired from the beginning.

use std::sync::Arc;

use super::super::{
    figures,
    ramp::Ramp,
    told::{Told, ToldEndpoint, ToldListener},
};
use crate::{
    config::{Accelerate, Address, Listener, ListenerLimits, Protocol},
    worker::{EndpointId, ListenerGate, ListenerId},
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
            held: Vec::new(),
            shards: figures::listener_shards(name, workers),
            gate: ListenerGate::new(&ListenerLimits::default(), None),
            inherited: false,
            split: Vec::new(),
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
            id: EndpointId(self.fresh()),
            weight: 0,
            ramp: Ramp::Done,
            backup: false,
            max_connections: None,
            load: Arc::default(),
            shards: figures::endpoint_shards(pool, &address, workers),
            address,
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
        limits: ListenerLimits::default(),
        access_log: true,
        proxy: Default::default(),
        tcp: Default::default(),
    }
}
