//! Refused connections, told as events: one a listener and cause at most once
//! in a while, however many there are. Pure over the workers' counters.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{figures, names, observe::Turn, request::EventKind, told::Told};
use crate::limit::Refused;

/// Between two events of one listener and cause.
const QUIET: Duration = Duration::from_secs(60);

/// Remembers what was told.
#[derive(Debug, Default)]
pub(super) struct RefusalWatch {
    known: BTreeMap<String, [Seen; Refused::ALL.len()]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Refusals that were told.
    told: u64,
    at: Option<Instant>,
}

impl RefusalWatch {
    /// What was counted so far was another process's to tell.
    pub(super) fn begin(&mut self, told: &Told) {
        for (name, listener) in &told.listeners {
            let known = self.known.entry(name.clone()).or_default();
            for ((_, count), seen) in figures::refused(&listener.shards).into_iter().zip(known) {
                seen.told = count;
            }
        }
    }

    /// Looks, and answers what is to be told.
    pub(super) fn look(&mut self, told: &Told, now: Instant) -> Vec<Turn> {
        self.known.retain(|name, _| told.listeners.contains_key(name));
        let mut turns = Vec::new();
        for (name, listener) in &told.listeners {
            let counts = figures::refused(&listener.shards);
            if counts.iter().all(|(_, count)| *count == 0) {
                continue;
            }
            let known = self.known.entry(name.clone()).or_default();
            for ((cause, count), seen) in counts.into_iter().zip(known) {
                let quiet = seen.at.is_some_and(|at| now.saturating_duration_since(at) < QUIET);
                if count == seen.told || quiet {
                    continue;
                }
                let more = names::counted(count.saturating_sub(seen.told), "connection");
                let text = format!("listener `{name}` has refused {more} ({}): {}", cause.as_str(), cause.explain());
                turns.push(Turn { kind: EventKind::ConnectionsRefused, object: names::listener(name), text });
                *seen = Seen { told: count, at: Some(now) };
            }
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::usual;

    #[test]
    fn what_another_process_has_counted_is_not_told_again() {
        let mut told = Told::default();
        let shard = told.listener(&usual().listeners[0], 2).shards[1].clone();
        let (mut watch, now) = (RefusalWatch::default(), crate::control::Clock::system().now().instant);
        shard.refused[Refused::Denied.index()].add(4);
        watch.begin(&told);
        assert_eq!(watch.look(&told, now), []);
        shard.refused[Refused::Denied.index()].add(2);
        let turns = watch.look(&told, now);
        assert!(turns[0].text.contains("refused 2 connections (denied)"), "{turns:?}");
    }

    #[test]
    fn a_flood_is_one_event_a_minute_and_cause() {
        let mut told = Told::default();
        let shard = told.listener(&usual().listeners[0], 2).shards[1].clone();
        let (mut watch, start) = (RefusalWatch::default(), crate::control::Clock::system().now().instant);
        assert_eq!(watch.look(&told, start), []);
        let mut texts = Vec::new();
        for second in 0..=120 {
            shard.refused[Refused::SourceRate.index()].add(10);
            let turns = watch.look(&told, start + Duration::from_secs(second));
            assert!(turns.iter().all(|turn| turn.object == "listener/web"));
            texts.extend(turns.into_iter().map(|turn| turn.text));
        }
        let said: Vec<&str> = texts.iter().map(|text| text.split(" (").next().unwrap()).collect();
        assert_eq!(
            said,
            [
                "listener `web` has refused 10 connections",
                "listener `web` has refused 600 connections",
                "listener `web` has refused 600 connections"
            ]
        );
        shard.refused[Refused::Denied.index()].add(1);
        let turns = watch.look(&told, start + Duration::from_secs(121));
        assert_eq!(turns.len(), 1);
        assert!(turns[0].text.contains("1 connection (denied)"), "{}", turns[0].text);
    }
}
