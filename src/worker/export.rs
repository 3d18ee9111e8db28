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
        line::Waiting,
        parcel::{Arrival, Door, Parcel, Tally},
        places::Places,
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

    /// A connection leaves: nothing here knows of it any more. Its places in the
    /// counts of the limits go along.
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
        let fds = self.fds.lend(conn.fds());
        let mut parcel = conn.freeze(&mut self.supplies);
        parcel.places.fds = Some(fds);
        Some(parcel)
    }

    /// A connection arrives; it comes back if it cannot be watched.
    fn unpack(&mut self, arrival: Arrival, turn: &mut Turn<'_>) -> Option<Parcel> {
        let Arrival { mut parcel, listener: counters, door, endpoint } = arrival;
        let origin = Origin { listener: parcel.listener, source: parcel.source, counters, via: parcel.via.take() };
        let mut places = std::mem::take(&mut parcel.places);
        let place = places.endpoint.take();
        // It is there already, whatever the endpoint's limit: nothing is asked.
        let at = |(id, Tally { counters, load }): (_, Tally)| {
            let place = place.filter(|place| place.is_of(&load)).unwrap_or_else(|| load.arrive());
            Endpoint { id, place, counters }
        };
        let endpoint = parcel.endpoint.zip(endpoint).map(at);
        let mut conn: Conn<Socket> = Conn::thaw(parcel, origin, endpoint, &mut self.supplies);
        // It exists: what is over the budget is made up for by those that end.
        if !places.fds.take().is_some_and(|loan| self.fds.take_on(loan)) {
            self.fds.take_kept(conn.fds());
        }
        let waiting = places.waiting.take();
        self.readmit(&mut conn, places, door, turn);
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
        self.stand_again(slot, waiting);
        if let Err(error) = self.watch(slot, turn) {
            tracing::warn!(worker = self.index, %error, "epoll takes no further socket; a connection stays where it was");
            return self.pack(slot, turn);
        }
        self.shard.moved_in.add(1);
        self.begin(slot, turn);
        None
    }

    /// Gives it its places back, or takes others if it comes from another
    /// process: there is no limit for a connection that exists. One that waited
    /// for its pool there has none, and joins the line here.
    fn readmit(&self, conn: &mut Conn<Socket>, places: Places, door: Option<Door>, turn: &Turn<'_>) {
        // The source of one that is yet to say who its client is is not known.
        let unnamed = matches!(&conn.stage, Stage::Session { session: Session::Header(_), .. });
        let source = conn.origin.source.filter(|_| !unnamed).map(|source| source.ip());
        conn.admitted = Some(match (places.admitted, &door) {
            (Some(admitted), _) => admitted,
            (None, Some(Door { gate, config })) => gate.readmit(&self.gates, &config.limits, source),
            (None, None) => ListenerGate::default().readmit(&self.gates, &ListenerLimits::default(), source),
        });
        conn.clocks = door.and_then(|door| Clocks::new(&door.config.limits, conn.id, conn.since));
        conn.note_times(turn.now);
        let has_place = match &conn.stage {
            Stage::Session { .. } => false,
            Stage::Dial(dial) => dial.attempt.is_some(),
            Stage::Tunnel { .. } => true,
        };
        conn.pass = places.pass;
        if conn.pass.is_none()
            && let Some(pool) = conn.pool.filter(|_| has_place).and_then(|pool| self.pools.get(pool))
        {
            conn.pass = Some(pool.gate.reenter());
        }
    }

    /// One that looks for an endpoint has its place in the line again, if it
    /// had one in this process; else it is about to join the line.
    fn stand_again(&mut self, slot: SlotId, waiting: Option<Waiting>) {
        let Some(Conn { stage: Stage::Dial(dial), .. }) = self.conns.get_mut(slot) else { return };
        match (waiting, self.pools.get(dial.pool)) {
            (Some(mut waiting), _) => {
                waiting.moved(self.index, slot);
                dial.waiting = Some(waiting);
            }
            (None, Some(pool)) if dial.attempt.is_none() => pool.gate.claim_wait(),
            (None, _) => {}
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
