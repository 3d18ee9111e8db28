//! The end of connections that rest, in good order: both peers see an ordinary
//! end. Which and how many is control's decision.

use std::collections::HashMap;

use crate::{
    protocol::CloseReason,
    reactor::Turn,
    slots::{SlotId, Slots},
    worker::{
        command::{ConnectionState, Filter, Resting},
        conn::Conn,
        query,
        run::Worker,
        transport::Stream,
    },
};

/// At most `limit` of the connections that rest and match, the longest idle
/// first.
pub(super) fn resting<S: Stream>(conns: &Slots<Conn<S>>, filter: &Filter, limit: usize) -> Vec<Resting> {
    let rests = |conn: &&Conn<S>| rests(conn) && query::matches(filter, conn);
    let all = conns.iter().map(|(_, conn)| conn).filter(rests);
    let mut found: Vec<Resting> = all.map(|conn| Resting { since: conn.progressed_at, id: conn.id }).collect();
    if found.len() > limit {
        // Sorting all of them for a few would hold up the traffic.
        found.select_nth_unstable(limit);
        found.truncate(limit);
    }
    found.sort_unstable();
    found
}

/// Whether an end would surprise nobody: a half-closed connection waits for an
/// answer, and bytes that wait in netd are owed.
fn rests<S: Stream>(conn: &Conn<S>) -> bool {
    conn.state() == ConnectionState::Open && !conn.holds_bytes()
}

impl Worker {
    /// Ends those that have not moved a byte since they were named.
    pub(super) fn retire(&mut self, which: &[Resting], reason: CloseReason, turn: &mut Turn<'_>) -> Vec<u64> {
        let named: HashMap<u64, &Resting> = which.iter().map(|each| (each.id, each)).collect();
        let still = |conn: &Conn<_>| named.get(&conn.id).is_some_and(|each| conn.progressed_at <= each.since);
        let ended: Vec<(SlotId, u64)> = self
            .conns
            .iter()
            .filter(|(_, conn)| still(conn) && rests(conn))
            .map(|(slot, conn)| (slot, conn.id))
            .collect();
        for &(slot, _) in &ended {
            self.close(slot, reason, false, turn);
        }
        ended.into_iter().map(|(_, id)| id).collect()
    }
}
