//! How refused clients are answered, and how connections wait for a full pool.

use crate::{
    config::Refusal,
    limit::{Refused, RefusedKind},
    protocol::CloseReason,
    reactor::Turn,
    slots::SlotId,
    sys::socket::Socket,
    worker::{
        accept::Listener,
        conn::{Conn, Stage},
        identify::names_another,
        pools::hash_of,
        run::Worker,
    },
};

/// Bytes of a refused client that are read, so that closing is not a reset.
const SIP: usize = 4096;

impl Worker {
    /// Lets a connection in or sends it away; `source` is what accept(2) told.
    pub(super) fn admission(
        &self,
        listener: &Listener,
        source: Option<std::net::SocketAddr>,
        turn: &Turn<'_>,
    ) -> Result<super::admission::Admitted, Refused> {
        let now = self.epoch.since(turn.now);
        // Of a proxy's connection the source is known later, see `admit_named`.
        let names = names_another(&listener.spec.config.proxy, source);
        let source = source.filter(|_| !names).map(|source| source.ip());
        listener.spec.gate.admit(&self.gates, &listener.spec.config.limits, source, now)
    }

    /// Asks by source, for a client that a PROXY header has named; `false`: it
    /// was sent away.
    pub(super) fn admit_named(&mut self, slot: SlotId, turn: &mut Turn<'_>) -> bool {
        let now = self.epoch.since(turn.now);
        let Some(conn) = self.conns.get_mut(slot) else { return false };
        let slots = self.listener_slots.get(&conn.origin.listener);
        // One that is gone has no limits any more.
        let Some(listener) = slots.and_then(|slots| self.listeners.get(*slots.first()?)) else { return true };
        let config = &listener.spec.config;
        if conn.hash != 0 {
            conn.hash = hash_of(config, conn.origin.source);
        }
        let (Some(admitted), Some(source)) = (&mut conn.admitted, conn.origin.source) else { return true };
        let Err(refused) = listener.spec.gate.admit_source(admitted, &config.limits, source.ip(), now) else {
            return true;
        };
        refuse(listener, &conn.downstream.stream, refused);
        let reset = *config.limits.refuse.by(refused.kind()) == Refusal::Reset;
        self.close(slot, CloseReason::HEADER_REFUSED, reset, turn);
        false
    }

    /// Whether a connection that is to be relayed has a place in its pool. If
    /// not, it waits for one from now on, or was sent away.
    pub(super) fn enter_pool(&mut self, slot: SlotId, turn: &mut Turn<'_>) -> bool {
        let Some(conn) = self.conns.get_mut(slot) else { return false };
        let Stage::Dial(dial) = &mut conn.stage else { return false };
        // Of a pool that is gone no endpoint will be picked.
        let Some(spec) = self.pools.get(dial.pool).filter(|_| conn.pass.is_none()) else { return true };
        let (gate, limits) = (spec.gate.clone(), spec.config.limits);
        conn.pass = match &mut dial.waiting {
            None => gate.enter(limits.max_connections),
            Some(waiting) => gate.enter_as(waiting, limits.max_connections, turn.now),
        };
        if conn.pass.is_some() {
            return true;
        }
        self.wait_in_line(slot, turn) && self.enter_pool(slot, turn)
    }

    /// A connection has no place in its pool, or at no endpoint of it (all have
    /// as many as they may): it stands in the pool's line, or is sent away.
    /// `true`: it stands there since this moment and shall look once more, as a
    /// place that was freed before woke nobody.
    pub(super) fn wait_in_line(&mut self, slot: SlotId, turn: &mut Turn<'_>) -> bool {
        let Some(conn) = self.conns.get_mut(slot) else { return false };
        let Stage::Dial(dial) = &mut conn.stage else { return false };
        if let Some(waiting) = &mut dial.waiting {
            if conn.pass.is_some() {
                waiting.look_again(turn.now);
            }
            self.rearm(slot, turn);
            return false;
        }
        let Some(spec) = self.pools.get(dial.pool) else { return true };
        let queue = spec.config.limits.queue;
        let Some(waiting) = queue.and_then(|queue| spec.gate.queue(queue, self.index, slot, turn.now)) else {
            spec.counters.full.add(1);
            self.send_away(slot, CloseReason::POOL_FULL, turn);
            return false;
        };
        spec.counters.queued.add(1);
        dial.waiting = Some(waiting);
        true
    }

    /// A connection that waits for its pool may be the first now.
    pub(super) fn try_pool(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let waits = |conn: &Conn<Socket>| matches!(&conn.stage, Stage::Dial(dial) if dial.waiting.is_some());
        if self.conns.get(slot).is_some_and(waits) && self.enter_pool(slot, turn) {
            self.attempt_until_pending(slot, turn);
        }
    }

    /// The timer of a connection that waits for its pool.
    pub(super) fn on_waiting_timer(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(Conn { stage: Stage::Dial(dial), .. }) = self.conns.get(slot) else { return };
        let Some(waiting) = &dial.waiting else { return };
        if turn.now < waiting.deadline {
            return self.try_pool(slot, turn);
        }
        if let Some(counters) = self.pools.counters(dial.pool) {
            counters.queue_timeouts.add(1);
        }
        self.send_away(slot, CloseReason::QUEUE_TIMEOUT, turn);
    }

    /// Closes a connection that its pool has no room for, with the answer
    /// that its listener has for full ones.
    fn send_away(&mut self, slot: SlotId, reason: CloseReason, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(slot) else { return };
        let listener =
            self.listener_slots.get(&conn.origin.listener).and_then(|slots| self.listeners.get(*slots.first()?));
        let refusal = listener.map_or(&Refusal::Reset, |each| each.spec.config.limits.refuse.by(RefusedKind::Full));
        answer(&conn.downstream.stream, refusal);
        let reset = *refusal == Refusal::Reset;
        self.close(slot, reason, reset, turn);
    }
}

/// Sends an accepted connection away.
pub(super) fn refuse(listener: &Listener, stream: &Socket, refused: Refused) {
    if let Some(counter) = listener.spec.counters.refused.get(refused.index()) {
        counter.add(1);
    }
    answer(stream, listener.spec.config.limits.refuse.by(refused.kind()));
}

/// Says the last word. The socket is closed when it is dropped.
///
/// As nothing was read from the client, the kernel would turn the close into a
/// reset if it had sent something; what has come is taken first. A client that
/// goes on sending may still see one, behind the text.
fn answer(stream: &Socket, refusal: &Refusal) {
    match refusal {
        Refusal::Reset => return stream.reset_on_close(),
        Refusal::Close => {}
        // A fresh socket's buffer takes so little at once; a client that is
        // gone needs no text.
        Refusal::Text(text) => drop(stream.write(text)),
    }
    let _ = stream.shutdown_write();
    let _ = stream.read(&mut [0; SIP]);
}
