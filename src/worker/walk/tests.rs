use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc},
    time::Instant,
};

use proptest::prelude::*;

use super::*;
use crate::{
    metrics::ListenerShard,
    protocol::{Echo, Session},
    worker::{
        command::{Filter, ListenerId},
        conn::Origin,
        script::Script,
    },
};

/// A table of connections whose ids ascend; those of odd ids come in on
/// listener 1, the others on listener 0.
struct Table {
    conns: Slots<Conn<Script>>,
    newest: u64,
    counters: Arc<ListenerShard>,
    now: Instant,
}

impl Table {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
    fn new(size: usize) -> Self {
        let mut table =
            Self { conns: Slots::default(), newest: 0, counters: Arc::new(ListenerShard::new(0)), now: Instant::now() };
        for _ in 0..size {
            table.open();
        }
        table
    }

    fn open(&mut self) -> SlotId {
        self.newest += 1;
        let (id, counters, now) = (self.newest, Arc::clone(&self.counters), self.now);
        let origin = Origin { listener: ListenerId((id % 2) as u32), source: None, counters, via: None };
        self.conns.insert_with(|_| Conn::new(id, origin, Script::with_room(0), Session::Echo(Echo), None, None, now))
    }

    /// Closes one of the open ones.
    fn close_any(&mut self, which: prop::sample::Index) {
        let open: Vec<SlotId> = self.conns.iter().map(|(slot, _)| slot).collect();
        if !open.is_empty() {
            self.conns.remove(open[which.index(open.len())]);
        }
    }

    fn ids(&self) -> BTreeSet<u64> {
        self.conns.iter().map(|(_, conn)| conn.id).collect()
    }

    fn list(&self, query: Query) -> (Walk, mpsc::Receiver<Vec<ConnectionInfo>>) {
        let (sender, receiver) = mpsc::channel();
        (Walk::list(query, Reply::new(move |answer| sender.send(answer).unwrap()), self.newest), receiver)
    }

    fn close(&self, selection: Selection) -> (Walk, mpsc::Receiver<Vec<u64>>) {
        let (sender, receiver) = mpsc::channel();
        let reply = Reply::new(move |answer| sender.send(answer).unwrap());
        (Walk::close(selection, CloseReason::KILL, reply, self.newest), receiver)
    }

    /// Goes to the end; `between` changes the table after each turn. Answers
    /// how many turns it took.
    fn go(&mut self, walk: &mut Walk, mut between: impl FnMut(&mut Self)) -> usize {
        for turns in 1.. {
            let (before, mut due) = (walk.next, Vec::new());
            let flow = walk.go(&self.conns, &mut due);
            assert!(walk.next - before <= 256 && due.len() <= 16, "a turn's work is bounded");
            due.into_iter().for_each(|slot| drop(self.conns.remove(slot).expect("open")));
            if flow.is_break() {
                return turns;
            }
            between(self);
        }
        unreachable!("the loop above has no other end")
    }
}

fn odd() -> Filter {
    Filter { listeners: Some(vec![ListenerId(1)]), ..Filter::default() }
}

#[test]
fn a_page_of_many_takes_a_bounded_part_of_each_turn() {
    let mut table = Table::new(8000);
    let (mut walk, answer) = table.list(Query { filter: odd(), after: Some(1000), limit: 100 });
    assert_eq!(table.go(&mut walk, |_| {}), 8000_usize.div_ceil(LOOKS));
    walk.answer();
    let ids: Vec<u64> = answer.recv().unwrap().iter().map(|info| info.id).collect();
    assert_eq!(ids, (1001..1200).step_by(2).collect::<Vec<_>>());
}

#[test]
fn closing_many_takes_a_bounded_part_of_each_turn() {
    let mut table = Table::new(8000);
    let (mut walk, answer) = table.close(Selection::Matching(Filter::default()));
    assert_eq!(table.go(&mut walk, |_| {}), 8000 / ENDS + 1);
    walk.answer();
    assert_eq!(answer.recv().unwrap().len(), 8000);
    assert!(table.conns.is_empty());
}

#[test]
fn those_that_rest_are_named_and_ended_in_parts_too() {
    let mut table = Table::new(2000);
    let (sender, named) = mpsc::channel();
    let reply = Reply::new(move |answer: Vec<Resting>| sender.send(answer).unwrap());
    let mut walk = Walk::rest(odd(), 100, reply, table.newest);
    assert_eq!(table.go(&mut walk, |_| {}), 2000_usize.div_ceil(LOOKS));
    walk.answer();
    let named = named.recv().unwrap();
    let ids: Vec<u64> = named.iter().map(|each| each.id).collect();
    assert_eq!(ids, (1..200).step_by(2).collect::<Vec<_>>(), "all have rested as long: the oldest");
    // One of them moves a byte before its turn has come.
    let slot = table.conns.iter().find(|(_, conn)| conn.id == 7).map(|(slot, _)| slot).unwrap();
    table.conns.get_mut(slot).unwrap().progressed_at += std::time::Duration::from_millis(1);
    let (sender, ended) = mpsc::channel();
    let reply = Reply::new(move |answer: Vec<u64>| sender.send(answer).unwrap());
    let mut walk = Walk::retire(named, CloseReason::RETIRED, reply, table.newest);
    assert!(table.go(&mut walk, |_| {}) > 99 / ENDS);
    walk.answer();
    let ended = ended.recv().unwrap();
    assert!(ended.len() == 99 && !ended.contains(&7));
    assert_eq!(table.conns.iter().count(), 1901);
}

#[derive(Debug, Clone)]
enum Change {
    Open,
    Close(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![Just(Change::Open), any::<prop::sample::Index>().prop_map(Change::Close)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever opens and closes while an order goes on: what is open all the
    /// time is met once, what is newer than the order never.
    #[test]
    fn nothing_is_missed_and_nothing_is_met_twice(
        size in 1..1500_usize,
        changes in prop::collection::vec(prop::collection::vec(change(), 0..40), 0..6),
        limit in 1..2000_usize,
        after in 0..1500_u64,
        closing: bool,
    ) {
        let mut table = Table::new(size);
        let (before, newest) = (table.ids(), table.newest);
        let mut rest = changes.into_iter();
        let mut throughout = before.clone();
        let mut apply = |table: &mut Table| {
            for change in rest.next().unwrap_or_default() {
                match change {
                    Change::Open => {
                        table.open();
                    }
                    Change::Close(which) => table.close_any(which),
                }
            }
            let now = table.ids();
            throughout.retain(|id| now.contains(id));
        };
        if closing {
            let (mut walk, answer) = table.close(Selection::Matching(odd()));
            table.go(&mut walk, |table| apply(table));
            walk.answer();
            let ended = answer.recv().unwrap();
            let once: BTreeSet<u64> = ended.iter().copied().collect();
            prop_assert_eq!(once.len(), ended.len(), "none twice");
            prop_assert!(once.iter().all(|id| before.contains(id) && id % 2 == 1));
            prop_assert!(table.ids().iter().all(|&id| id % 2 == 0 || id > newest), "none is left");
        } else {
            let (mut walk, answer) = table.list(Query { filter: odd(), after: Some(after), limit });
            table.go(&mut walk, |table| apply(table));
            walk.answer();
            let ids: Vec<u64> = answer.recv().unwrap().iter().map(|info| info.id).collect();
            prop_assert!(ids.len() <= limit && ids.is_sorted_by(|one, other| one < other));
            prop_assert!(ids.iter().all(|id| before.contains(id) && id % 2 == 1 && *id > after));
            let end = if ids.len() == limit { ids[limit - 1] } else { u64::MAX };
            let due = throughout.iter().filter(|&&id| id % 2 == 1 && id > after && id <= end);
            prop_assert!(due.into_iter().all(|id| ids.binary_search(id).is_ok()), "none is missed");
        }
    }
}
