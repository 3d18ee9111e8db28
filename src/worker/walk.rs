//! Orders that are about all connections: a bounded number of them is looked
//! at, or ended, in a turn, and traffic goes on in between.
//!
//! What is open from the order to its answer is met exactly once. Of what
//! opens or closes meanwhile an order may miss what is new.

use std::{
    collections::{BinaryHeap, HashSet, VecDeque},
    ops::ControlFlow,
};

use crate::{
    protocol::CloseReason,
    reactor::Turn,
    slots::{SlotId, Slots},
    worker::{
        command::{ConnectionInfo, EndpointId, Filter, Query, Reply, Resting, Selection},
        conn::Conn,
        key::Key,
        query,
        retire::{Named, Rests},
        run::Worker,
        transport::Stream,
    },
};

/// Places of the table looked at in a turn.
const LOOKS: usize = 256;
/// Connections ended, or made to dial, in a turn: each takes several system
/// calls.
const ENDS: usize = 16;
/// Orders that wait; the answers of more are not given.
const WAITING: usize = 256;

/// Orders under way, the first one first.
#[derive(Debug, Default)]
pub(super) struct Walks {
    waiting: VecDeque<Walk>,
}

/// One order, and how far it is.
#[derive(Debug)]
pub(super) struct Walk {
    errand: Errand,
    /// The next place to look at.
    next: usize,
    /// Connections above are newer than the order.
    newest: u64,
}

#[derive(Debug)]
enum Errand {
    List { query: Query, found: BinaryHeap<Found>, reply: Reply<Vec<ConnectionInfo>> },
    Rest { rests: Rests, reply: Reply<Vec<Resting>> },
    Redial { from: HashSet<EndpointId>, begun: Vec<u64>, reply: Reply<Vec<u64>> },
    End { wanted: Wanted, reason: CloseReason, ended: Vec<u64>, reply: Reply<Vec<u64>> },
}

/// Which connections end; quick to ask.
#[derive(Debug)]
enum Wanted {
    Ids(HashSet<u64>),
    Matching(Filter),
    /// In good order, if they rest still.
    Resting(Named),
}

/// Ordered by id.
#[derive(Debug)]
struct Found(ConnectionInfo);

impl Walk {
    /// Lists connections; `newest` is the highest id given out so far.
    pub(super) fn list(query: Query, reply: Reply<Vec<ConnectionInfo>>, newest: u64) -> Self {
        Self { errand: Errand::List { query, found: BinaryHeap::new(), reply }, next: 0, newest }
    }

    /// Ends connections; `newest` is the highest id given out so far.
    pub(super) fn close(selection: Selection, reason: CloseReason, reply: Reply<Vec<u64>>, newest: u64) -> Self {
        let wanted = match selection {
            Selection::Ids(ids) => Wanted::Ids(ids.into_iter().collect()),
            Selection::Matching(filter) => Wanted::Matching(filter),
        };
        Self::end(wanted, reason, reply, newest)
    }

    /// Names connections that rest, at most `limit`, the longest idle first;
    /// `newest` is the highest id given out so far.
    pub(super) fn rest(filter: Filter, limit: usize, reply: Reply<Vec<Resting>>, newest: u64) -> Self {
        Self { errand: Errand::Rest { rests: Rests::new(filter, limit), reply }, next: 0, newest }
    }

    /// Ends in good order those of the named connections that have rested
    /// since; `newest` is the highest id given out so far.
    pub(super) fn retire(named: Vec<Resting>, reason: CloseReason, reply: Reply<Vec<u64>>, newest: u64) -> Self {
        Self::end(Wanted::Resting(Named::new(named)), reason, reply, newest)
    }

    /// Has connections of these endpoints that are unused dial others; `newest`
    /// is the highest id given out so far.
    pub(super) fn redial(from: Vec<EndpointId>, reply: Reply<Vec<u64>>, newest: u64) -> Self {
        let from = from.into_iter().collect();
        Self { errand: Errand::Redial { from, begun: Vec::new(), reply }, next: 0, newest }
    }

    fn end(wanted: Wanted, reason: CloseReason, reply: Reply<Vec<u64>>, newest: u64) -> Self {
        Self { errand: Errand::End { wanted, reason, ended: Vec::new(), reply }, next: 0, newest }
    }

    /// Looks at the next places. Breaks behind the last one. For an order to
    /// end some or to have them dial, `due` gets those whose turn it is.
    fn go<S: Stream>(&mut self, conns: &Slots<Conn<S>>, due: &mut Vec<SlotId>) -> ControlFlow<()> {
        for _ in 0..LOOKS {
            if self.next >= conns.places() {
                return ControlFlow::Break(());
            }
            self.next += 1;
            let Some((slot, conn)) = conns.at(self.next - 1) else { continue };
            if conn.id > self.newest {
                continue;
            }
            match &mut self.errand {
                Errand::List { query, found, .. } => note(query, found, conn),
                Errand::Rest { rests, .. } => rests.note(conn),
                Errand::End { wanted, ended, .. } => {
                    if wanted.has(conn) {
                        ended.push(conn.id);
                        due.push(slot);
                    }
                }
                Errand::Redial { from, .. } => {
                    let is_of = conn.endpoint.as_ref().is_some_and(|endpoint| from.contains(&endpoint.id));
                    if is_of && conn.is_unused() {
                        due.push(slot);
                    }
                }
            }
            if due.len() == ENDS {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    fn answer(self) {
        match self.errand {
            Errand::List { found, reply, .. } => {
                reply.send(found.into_sorted_vec().into_iter().map(|Found(info)| info).collect());
            }
            Errand::Rest { rests, reply } => reply.send(rests.into_sorted()),
            Errand::Redial { begun, reply, .. } => reply.send(begun),
            Errand::End { ended, reply, .. } => reply.send(ended),
        }
    }
}

/// Keeps the lowest ids, as many as were asked for.
fn note<S: Stream>(query: &Query, found: &mut BinaryHeap<Found>, conn: &Conn<S>) {
    if query.after.is_some_and(|after| conn.id <= after) {
        return;
    }
    let full = found.len() >= query.limit;
    if full && found.peek().is_none_or(|Found(highest)| conn.id > highest.id) {
        return;
    }
    if query::matches(&query.filter, conn) {
        if full {
            found.pop();
        }
        found.push(Found(query::describe(conn)));
    }
}

impl Wanted {
    fn has<S: Stream>(&self, conn: &Conn<S>) -> bool {
        match self {
            Self::Ids(ids) => ids.contains(&conn.id),
            Self::Matching(filter) => query::matches(filter, conn),
            Self::Resting(named) => named.has(conn),
        }
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Found {}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl Worker {
    /// Begins an order; it goes on by itself.
    pub(super) fn begin_walk(&mut self, walk: Walk, turn: &mut Turn<'_>) {
        if self.walks.waiting.len() >= WAITING {
            // Control sees that an answer is missing.
            tracing::error!(
                worker = self.index,
                "{WAITING} orders about connections wait already; one more is dropped"
            );
            return;
        }
        self.walks.waiting.push_back(walk);
        if self.walks.waiting.len() == 1 {
            turn.enqueue(Key::Walk.token());
        }
    }

    /// A turn's part of the first order.
    pub(super) fn on_walk(&mut self, turn: &mut Turn<'_>) {
        let Some(mut walk) = self.walks.waiting.pop_front() else { return };
        let mut due = Vec::new();
        let flow = walk.go(&self.conns, &mut due);
        match &mut walk.errand {
            Errand::List { .. } | Errand::Rest { .. } => {}
            Errand::Redial { begun, .. } => begun.extend(due.into_iter().filter_map(|slot| self.redial(slot, turn))),
            Errand::End { reason, wanted, .. } => {
                let reset = !matches!(wanted, Wanted::Resting(_));
                due.into_iter().for_each(|slot| self.close(slot, *reason, reset, turn));
            }
        }
        match flow {
            ControlFlow::Break(()) => walk.answer(),
            ControlFlow::Continue(()) => self.walks.waiting.push_front(walk),
        }
        if !self.walks.waiting.is_empty() {
            turn.enqueue(Key::Walk.token());
        }
    }
}

#[cfg(test)]
mod tests;
