//! Connections leave this worker, or arrive from another.

use std::io;

use crate::{
    reactor::Turn,
    slots::SlotId,
    sys::socket::Socket,
    worker::{
        command::Selection,
        conn::{Conn, Endpoint, Origin, Stage},
        key::{Key, Side},
        parcel::{Arrival, Parcel, Tally},
        query,
        run::Worker,
    },
};

/// Connections that leave by one order at most.
pub(super) const AT_ONCE: usize = 256;

impl Worker {
    /// Takes up to `limit` connections out of this worker, at most
    /// [`AT_ONCE`].
    pub(super) fn export(&mut self, selection: &Selection, limit: usize, turn: &mut Turn<'_>) -> Vec<Parcel> {
        let slots = query::some(&self.conns, selection, limit.min(AT_ONCE));
        let parcels: Vec<Parcel> = slots.into_iter().filter_map(|slot| self.pack(slot, turn)).collect();
        self.shard.moved_out.add(parcels.len() as u64);
        if self.any_paused && !parcels.is_empty() {
            self.resume_paused(turn);
        }
        parcels
    }

    /// Takes connections on; answers those that it cannot.
    pub(super) fn import(&mut self, arrivals: Vec<Arrival>, turn: &mut Turn<'_>) -> Vec<Parcel> {
        arrivals.into_iter().filter_map(|arrival| self.unpack(arrival, turn)).collect()
    }

    /// A connection leaves: nothing here knows of it any more.
    fn pack(&mut self, slot: SlotId, turn: &mut Turn<'_>) -> Option<Parcel> {
        // An attempt to find another endpoint is not worth a move.
        self.stay(slot);
        let conn = self.conns.remove(slot)?;
        turn.unwatch(&conn.downstream.stream);
        match &conn.stage {
            Stage::Session { .. } => {}
            Stage::Dial(dial) => {
                self.pools.leave(dial.pool);
                if let Some(attempt) = &dial.attempt {
                    turn.unwatch(&attempt.upstream.stream);
                }
            }
            Stage::Tunnel { upstream, .. } => turn.unwatch(&upstream.stream),
        }
        if let Some((timer, _)) = conn.timer {
            turn.cancel(timer);
        }
        if let Some(endpoint) = &conn.endpoint {
            endpoint.counters.active.sub(1);
        }
        conn.origin.counters.active.sub(1);
        self.shard.active.sub(1);
        self.fds.give(conn.fds());
        Some(conn.freeze(&mut self.supplies))
    }

    /// A connection arrives; it comes back if it cannot be watched.
    fn unpack(&mut self, arrival: Arrival, turn: &mut Turn<'_>) -> Option<Parcel> {
        let Arrival { parcel, listener: counters, endpoint } = arrival;
        let origin = Origin { listener: parcel.listener, source: parcel.source, counters };
        // It is there already, whatever the endpoint's limit: nothing is asked.
        let at =
            |(id, Tally { counters, load }): (_, Tally)| Some(Endpoint { id, _place: load.enter(None)?, counters });
        let endpoint = parcel.endpoint.zip(endpoint).and_then(at);
        let mut conn: Conn<Socket> = Conn::thaw(parcel, origin, endpoint, &mut self.supplies);
        // It exists: what is over the budget is made up for by those that end.
        self.fds.take_anyway(conn.fds());
        // Orders about all connections tell those that are newer by the number.
        self.ids.reach(conn.id);
        conn.origin.counters.active.add(1);
        self.shard.active.add(1);
        if let Some(endpoint) = &conn.endpoint {
            endpoint.counters.active.add(1);
        }
        if conn.origin.source.is_none() {
            conn.downstream.stops_short();
        }
        match &mut conn.stage {
            Stage::Session { .. } => {}
            Stage::Dial(dial) => {
                self.pools.enter(dial.pool);
                if let Some(attempt) = dial.attempt.as_mut().filter(|attempt| attempt.upstream.stream.is_unix()) {
                    attempt.upstream.stops_short();
                }
            }
            Stage::Tunnel { upstream, .. } if upstream.stream.is_unix() => upstream.stops_short(),
            Stage::Tunnel { .. } => {}
        }
        let slot = self.conns.insert_with(|_| conn);
        if let Err(error) = self.watch(slot, turn) {
            tracing::warn!(worker = self.index, %error, "epoll takes no further socket; a connection stays where it was");
            return self.pack(slot, turn);
        }
        self.shard.moved_in.add(1);
        self.begin(slot, turn);
        None
    }

    fn watch(&self, slot: SlotId, turn: &mut Turn<'_>) -> io::Result<()> {
        let Some(conn) = self.conns.get(slot) else { return Ok(()) };
        let upstream = match &conn.stage {
            Stage::Session { .. } => None,
            Stage::Dial(dial) => dial.attempt.as_ref().map(|attempt| &attempt.upstream),
            Stage::Tunnel { upstream, .. } => Some(upstream),
        };
        turn.watch(&conn.downstream.stream, Key::Conn(slot, Side::Downstream).token())?;
        upstream.map_or(Ok(()), |upstream| turn.watch(&upstream.stream, Key::Conn(slot, Side::Upstream).token()))
    }

    /// The kernel tells what there is to be done for the sockets; the rest has
    /// its turn now.
    fn begin(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if matches!(&conn.stage, Stage::Dial(dial) if dial.attempt.is_none()) {
            return self.dial(slot, turn);
        }
        conn.queued = true;
        turn.enqueue(Key::Conn(slot, Side::Downstream).token());
        self.rearm(slot, turn);
    }
}
