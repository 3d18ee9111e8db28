//! Connections that rest, to be ended in good order: both peers see an ordinary
//! end. Which and how many is control's decision.

use std::collections::{BinaryHeap, HashMap};

use crate::worker::{
    command::{ConnectionState, Filter, Resting},
    conn::Conn,
    query,
    transport::Stream,
};

/// Those that rest, as far as they are known; of too many the longest idle.
#[derive(Debug)]
pub(super) struct Rests {
    filter: Filter,
    limit: usize,
    found: BinaryHeap<Resting>,
}

impl Rests {
    /// Nothing yet; at most `limit` that match.
    pub(super) fn new(filter: Filter, limit: usize) -> Self {
        Self { filter, limit, found: BinaryHeap::new() }
    }

    /// Notes a connection, if it is one of them.
    pub(super) fn note<S: Stream>(&mut self, conn: &Conn<S>) {
        if !rests(conn) || !query::matches(&self.filter, conn) {
            return;
        }
        self.found.push(Resting { since: conn.progressed_at, id: conn.id });
        if self.found.len() > self.limit {
            self.found.pop();
        }
    }

    /// The longest idle first.
    pub(super) fn into_sorted(self) -> Vec<Resting> {
        self.found.into_sorted_vec()
    }
}

/// Connections that were named, by id, with their last byte.
#[derive(Debug)]
pub(super) struct Named(HashMap<u64, Resting>);

impl Named {
    /// Those.
    pub(super) fn new(which: Vec<Resting>) -> Self {
        Self(which.into_iter().map(|each| (each.id, each)).collect())
    }

    /// Whether a connection was named and has rested since.
    pub(super) fn has<S: Stream>(&self, conn: &Conn<S>) -> bool {
        self.0.get(&conn.id).is_some_and(|each| conn.progressed_at <= each.since) && rests(conn)
    }
}

/// Whether an end would surprise nobody: a half-closed connection waits for an
/// answer, and bytes that wait in netd are owed.
fn rests<S: Stream>(conn: &Conn<S>) -> bool {
    conn.state() == ConnectionState::Open && !conn.holds_bytes()
}
