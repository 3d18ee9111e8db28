//! Connections leave this worker, or arrive from another.

use std::io;

use crate::{
    config::ListenerLimits,
    protocol::Session,
    reactor::Turn,
    slots::SlotId,
    sys::socket::Socket,
    worker::{
        admission::ListenerGate,
        clocks::Clocks,
        command::Selection,
        conn::{Conn, Endpoint, Origin, Stage},
        key::{Key, Side},
        parcel::{Arrival, Door, Parcel, Tally},
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

    /// A connection leaves: nothing here knows of it any more, and its places in
    /// the counts of the limits are free.
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
        let Arrival { mut parcel, listener: counters, door, endpoint } = arrival;
        let origin = Origin { listener: parcel.listener, source: parcel.source, counters, via: parcel.via.take() };
        // It is there already, whatever the endpoint's limit: nothing is asked.
        let at =
            |(id, Tally { counters, load }): (_, Tally)| Some(Endpoint { id, _place: load.enter(None)?, counters });
        let endpoint = parcel.endpoint.zip(endpoint).and_then(at);
        let mut conn: Conn<Socket> = Conn::thaw(parcel, origin, endpoint, &mut self.supplies);
        self.readmit(&mut conn, door, turn);
        // It exists: what is over the budget is made up for by those that end.
        self.fds.take_anyway(conn.fds());
        // Orders about all connections tell those that are newer by the number.
        self.ids.reach(conn.id);
        conn.origin.counters.active.add(1);
        self.shard.active.add(1);
        if let Some(endpoint) = &conn.endpoint {
            endpoint.counters.active.add(1);
        }
        if conn.origin.is_unix() {
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

    /// Takes its places again, which it gave up when it left; there is no limit
    /// for a connection that exists. One that waited for its pool has none
    /// there, and joins the line again.
    fn readmit(&self, conn: &mut Conn<Socket>, door: Option<Door>, turn: &Turn<'_>) {
        // The source of one that is yet to say who its client is is not known.
        let unnamed = matches!(&conn.stage, Stage::Session { session: Session::Header(_), .. });
        let source = conn.origin.source.filter(|_| !unnamed).map(|source| source.ip());
        conn.admitted = Some(match &door {
            Some(Door { gate, config }) => gate.readmit(&self.gates, &config.limits, source),
            None => ListenerGate::default().readmit(&self.gates, &ListenerLimits::default(), source),
        });
        conn.clocks = door.and_then(|door| Clocks::new(&door.config.limits, conn.id, conn.since));
        conn.note_times(turn.now);
        let has_place = match &conn.stage {
            Stage::Session { .. } => false,
            Stage::Dial(dial) => dial.attempt.is_some(),
            Stage::Tunnel { .. } => true,
        };
        if let Some(pool) = conn.pool.filter(|_| has_place).and_then(|pool| self.pools.get(pool)) {
            conn.pass = Some(pool.gate.reenter());
        }
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
