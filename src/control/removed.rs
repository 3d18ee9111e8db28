//! What a reload took away and still has connections: when they go elsewhere,
//! and when they are closed.
//! Pure.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::worker::{EndpointId, Filter, ListenerId};

/// After the deadline, what is open still is closed again this often.
const AGAIN: Duration = Duration::from_secs(1);

/// Connections of a removed endpoint may be dialing it, or find no other at
/// first: they are told to go elsewhere once more, this much later.
const ONCE_MORE: Duration = Duration::from_secs(15);

/// Something that is gone from the configuration and has connections open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gone {
    /// A listener, by its name.
    Listener(String),
    /// An endpoint.
    Endpoint(EndpointId),
}

/// Since when each of them is gone; as many as there are.
#[derive(Debug, Default)]
pub(super) struct Removed(BTreeMap<Gone, Seen>);

#[derive(Debug)]
struct Seen {
    since: Instant,
    closed_at: Option<Instant>,
    moving: Moving,
}

/// How often connections of an endpoint were told to go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moving {
    Due,
    Once(Instant),
    Twice,
}

impl Removed {
    /// Takes in what is gone now; answers whose connections have had their
    /// time.
    pub(super) fn look(&mut self, gone: Vec<Gone>, after: Option<Duration>, now: Instant) -> Vec<Gone> {
        if gone.is_empty() {
            self.0.clear();
            return Vec::new();
        }
        let mut before = std::mem::take(&mut self.0);
        let mut due = Vec::new();
        for each in gone {
            let mut seen = before.remove(&each).unwrap_or(Seen { since: now, closed_at: None, moving: Moving::Due });
            let over = after.is_some_and(|after| now.saturating_duration_since(seen.since) >= after);
            let again = seen.closed_at.is_none_or(|at| now.saturating_duration_since(at) >= AGAIN);
            if over && again {
                seen.closed_at = Some(now);
                due.push(each.clone());
            }
            self.0.insert(each, seen);
        }
        due
    }

    /// How long each of them is gone.
    pub(super) fn ages(&self, now: Instant) -> impl Iterator<Item = (&Gone, Duration)> {
        self.0.iter().map(move |(gone, seen)| (gone, now.saturating_duration_since(seen.since)))
    }

    /// It was gone already in another process, for so long.
    pub(super) fn recall(&mut self, gone: Gone, age: Duration, now: Instant) {
        let since = now.checked_sub(age).unwrap_or(now);
        let seen = self.0.entry(gone).or_insert(Seen { since, closed_at: None, moving: Moving::Due });
        seen.since = seen.since.min(since);
    }

    /// Endpoints, of those taken in last, whose connections are to go elsewhere
    /// if nobody would notice: each is answered twice.
    pub(super) fn take_movable(&mut self, now: Instant) -> Vec<EndpointId> {
        let endpoints = self.0.iter_mut().filter_map(|(gone, seen)| match gone {
            Gone::Endpoint(id) => Some((*id, &mut seen.moving)),
            Gone::Listener(_) => None,
        });
        let mut due = Vec::new();
        for (id, moving) in endpoints {
            *moving = match *moving {
                Moving::Due => Moving::Once(now),
                Moving::Once(at) if now.saturating_duration_since(at) >= ONCE_MORE => Moving::Twice,
                Moving::Once(_) | Moving::Twice => continue,
            };
            due.push(id);
        }
        due
    }
}

/// Which connections: those of the listeners, and those of the endpoints.
pub(super) fn filters(listeners: Vec<ListenerId>, endpoints: Vec<EndpointId>) -> Vec<Filter> {
    let listeners = Some(listeners).filter(|ids| !ids.is_empty());
    let endpoints = Some(endpoints).filter(|ids| !ids.is_empty());
    let by_listener = listeners.map(|ids| Filter { listeners: Some(ids), ..Filter::default() });
    let by_endpoint = endpoints.map(|ids| Filter { endpoints: Some(ids), ..Filter::default() });
    by_listener.into_iter().chain(by_endpoint).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn web() -> Gone {
        Gone::Listener("web".to_owned())
    }

    #[test]
    fn what_is_left_at_the_deadline_is_due_and_again_later() {
        let (mut removed, now) = (Removed::default(), Instant::now());
        let db = Gone::Endpoint(EndpointId(7));
        let after = Some(10 * SECOND);
        assert_eq!(removed.look(vec![web()], after, now), []);
        assert_eq!(removed.look(vec![web(), db.clone()], after, now + 9 * SECOND), []);
        assert_eq!(removed.look(vec![web(), db.clone()], after, now + 10 * SECOND), [web()]);
        assert_eq!(removed.look(vec![web(), db.clone()], after, now + 10 * SECOND), []);
        assert_eq!(removed.look(vec![web(), db.clone()], after, now + 11 * SECOND), [web()]);
        assert_eq!(removed.look(vec![db.clone()], after, now + 19 * SECOND), [db]);
    }

    #[test]
    fn what_comes_back_has_its_time_anew_and_without_a_deadline_nothing_is_due() {
        let (mut removed, now) = (Removed::default(), Instant::now());
        removed.look(vec![web()], Some(SECOND), now);
        assert_eq!(removed.look(Vec::new(), Some(SECOND), now), []);
        assert_eq!(removed.look(vec![web()], Some(SECOND), now + SECOND), []);
        assert_eq!(removed.look(vec![web()], None, now + 1000 * SECOND), []);
        assert_eq!(removed.look(vec![web()], Some(SECOND), now + 1000 * SECOND), [web()]);
    }

    #[test]
    fn an_heir_counts_the_time_of_its_predecessor() {
        let (mut first, now) = (Removed::default(), Instant::now() + 100 * SECOND);
        let (mut heir, db) = (Removed::default(), Gone::Endpoint(EndpointId(7)));
        first.look(vec![web(), db.clone()], None, now);
        heir.look(vec![web()], None, now + 7 * SECOND);
        for (gone, age) in first.ages(now + 6 * SECOND) {
            heir.recall(gone.clone(), age, now + 8 * SECOND);
        }
        let all = || vec![web(), db.clone()];
        assert_eq!(heir.look(all(), Some(10 * SECOND), now + 11 * SECOND), []);
        assert_eq!(heir.look(all(), Some(10 * SECOND), now + 12 * SECOND), [web(), db.clone()]);
    }

    #[test]
    fn connections_are_told_twice_to_go_elsewhere() {
        let (mut removed, now) = (Removed::default(), Instant::now());
        let db = EndpointId(7);
        assert_eq!(removed.take_movable(now), []);
        let look = |removed: &mut Removed, now| removed.look(vec![web(), Gone::Endpoint(db)], None, now);
        look(&mut removed, now);
        assert_eq!((removed.take_movable(now), removed.take_movable(now)), (vec![db], vec![]));
        look(&mut removed, now + 14 * SECOND);
        assert_eq!(removed.take_movable(now + 14 * SECOND), []);
        assert_eq!(removed.take_movable(now + 15 * SECOND), [db]);
        assert_eq!(removed.take_movable(now + 1000 * SECOND), []);
        // It was there again, and is gone again.
        removed.look(vec![web()], None, now);
        look(&mut removed, now);
        assert_eq!(removed.take_movable(now), [db]);
    }

    #[test]
    fn connections_are_found_by_either() {
        assert_eq!(filters(Vec::new(), Vec::new()).len(), 0);
        let both = filters(vec![ListenerId(1)], vec![EndpointId(2)]);
        assert_eq!(both[0].listeners.as_deref(), Some(&[ListenerId(1)][..]));
        assert_eq!((both[0].endpoints.is_none(), both[1].endpoints.is_some()), (true, true));
    }
}
