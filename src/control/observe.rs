//! What is seen of listeners and endpoints, and when it turns. Pure over the
//! workers' counters.

use std::{collections::BTreeSet, time::SystemTime};

use super::{figures, names, request::EventKind, told::Told};
use crate::worker::EndpointId;

/// Remembers what was seen last.
#[derive(Debug, Default)]
pub(super) struct Observer {
    paused: BTreeSet<String>,
    failing: BTreeSet<EndpointId>,
}

/// Something that turned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) kind: EventKind,
    pub(super) object: String,
    pub(super) text: String,
}

impl Observer {
    /// Looks, and tells what turned since the last look.
    pub(super) fn look(&mut self, told: &Told) -> Vec<Turn> {
        let mut turns = Vec::new();
        let accepting = told.listeners.iter().filter(|(_, each)| each.id.is_some());
        let paused: BTreeSet<String> =
            accepting.filter(|(_, each)| figures::is_paused(&each.shards)).map(|(name, _)| name.clone()).collect();
        for name in paused.difference(&self.paused) {
            let text = format!("listener `{name}` has paused: out of file descriptors");
            turns.push(Turn { kind: EventKind::ListenerPaused, object: names::listener(name), text });
        }
        for name in self.paused.difference(&paused).filter(|name| told.listeners.contains_key(*name)) {
            let text = format!("listener `{name}` accepts again");
            turns.push(Turn { kind: EventKind::ListenerResumed, object: names::listener(name), text });
        }
        self.paused = paused;
        let mut failing = BTreeSet::new();
        for endpoint in told.pools.values().flat_map(|pool| &pool.endpoints) {
            let fails = figures::is_failing(&endpoint.shards);
            let failed = self.failing.contains(&endpoint.id);
            if fails {
                failing.insert(endpoint.id);
            }
            if fails == failed {
                continue;
            }
            let (pool, address) = (&endpoint.pool, endpoint.address.to_string());
            let (kind, text) = if fails {
                let why = figures::last_failure(&endpoint.shards, SystemTime::UNIX_EPOCH);
                let why = why.map(|(why, _)| why).unwrap_or_default();
                (EventKind::EndpointFailing, format!("connecting to {address} of pool `{pool}` failed: {why}"))
            } else {
                (EventKind::EndpointRecovered, format!("{address} of pool `{pool}` takes connections again"))
            };
            turns.push(Turn { kind, object: names::endpoint(pool, &address), text });
        }
        self.failing = failing;
        turns
    }
}
