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
    /// What stands so far was another process's to tell.
    pub(super) fn begin(&mut self, told: &Told) {
        let _ = self.look(told);
    }

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
        // One that was stopped meanwhile has not resumed.
        let accepts = |name: &&String| told.listeners.get(*name).is_some_and(|each| each.id.is_some());
        for name in self.paused.difference(&paused).filter(accepts) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        control::{state::State, testing::usual},
        worker::ListenerId,
    };

    #[test]
    fn a_paused_listener_resumes_only_if_it_accepts_again() {
        let mut told = Told::default();
        let mut observer = Observer::default();
        for (stopped, turns) in [(false, vec![EventKind::ListenerResumed]), (true, vec![])] {
            let web = told.listener(&usual().listeners[0], 1);
            web.id = Some(ListenerId(1));
            let shard = web.shards[0].clone();
            shard.paused.set(1);
            assert_eq!(observer.look(&told)[0].kind, EventKind::ListenerPaused);
            shard.paused.set(0);
            if stopped {
                told.listener(&usual().listeners[0], 1).retire_id();
            }
            assert_eq!(observer.look(&told).iter().map(|turn| turn.kind).collect::<Vec<_>>(), turns);
        }
    }

    #[test]
    fn what_another_process_has_seen_is_not_told_again() {
        let state = State::new(Arc::new(usual()), SystemTime::UNIX_EPOCH);
        let (mut told, mut observer) = (Told::default(), Observer::default());
        told.pool(&usual().pools[0], &state, 2);
        let shard = told.pools["db"].endpoints[1].shards[0].clone();
        shard.last_failure.set(111);
        shard.last_failure_at.set(10);
        observer.begin(&told);
        assert_eq!(observer.look(&told), []);
        shard.last_success_at.set(11);
        assert_eq!(observer.look(&told)[0].kind, EventKind::EndpointRecovered);
    }

    #[test]
    fn an_endpoint_turns_once_each_way() {
        let state = State::new(Arc::new(usual()), SystemTime::UNIX_EPOCH);
        let mut told = Told::default();
        told.pool(&usual().pools[0], &state, 2);
        let mut observer = Observer::default();
        assert_eq!(observer.look(&told), []);
        let shard = told.pools["db"].endpoints[1].shards[0].clone();
        shard.last_failure.set(111);
        shard.last_failure_at.set(10);
        let turns = observer.look(&told);
        assert_eq!(turns.len(), 1);
        assert_eq!(
            (turns[0].kind, turns[0].object.as_str()),
            (EventKind::EndpointFailing, "endpoint/db/10.0.0.2:5432")
        );
        assert!(turns[0].text.ends_with("failed: Connection refused"), "{}", turns[0].text);
        assert_eq!(observer.look(&told), []);
        shard.last_success_at.set(11);
        assert_eq!(observer.look(&told)[0].kind, EventKind::EndpointRecovered);
        assert_eq!(observer.look(&told), []);
    }
}
