//! Connections over which no byte has gone leave an endpoint that is no longer
//! of their pool: they dial another, and neither peer has seen anything of
//! theirs that would be missed.
//!
//! What a connection has, it keeps until another endpoint has taken it: if none
//! does, it goes on as before.

use crate::{
    protocol::{CloseReason, Relay},
    reactor::Turn,
    slots::SlotId,
    sys::socket::Socket,
    worker::{
        command::PoolId,
        conn::{Conn, Dial, Endpoint, Stage},
        key::{Key, Side},
        run::Worker,
        transport::Transport,
        tunnel::Tunnel,
    },
};

/// The endpoint that a connection has while it looks for another. Its socket is
/// not watched meanwhile, and takes one descriptor more than the connection
/// has.
#[derive(Debug)]
pub(super) struct Former<S> {
    upstream: Transport<S>,
    endpoint: Endpoint,
}

impl<S> Conn<S> {
    /// Whether it is connected and nothing has gone over it as far as netd
    /// knows: no byte and no end, from or to either side.
    pub(super) fn is_unused(&self) -> bool {
        let Stage::Tunnel { upstream, tunnel } = &self.stage else { return false };
        let moved = [&self.downstream, upstream].map(|side| side.received | side.sent);
        moved == [0, 0]
            && !tunnel.is_half_closed()
            && !tunnel.holds_bytes()
            && !self.downstream.failed
            && !upstream.failed
    }
}

impl Worker {
    /// Has a connection that [is unused](Conn::is_unused) dial another endpoint
    /// of its pool; answers its id, if it does.
    pub(super) fn redial(&mut self, slot: SlotId, turn: &mut Turn<'_>) -> Option<u64> {
        let conn = self.conns.get_mut(slot)?;
        let (pool, from) = (conn.pool?, conn.endpoint.as_ref()?.id);
        let Stage::Tunnel { upstream, .. } = &conn.stage else { return None };
        // What the server has said or ended already is the client's.
        let may_go = self.pools.has_other(pool, from) && upstream.stream.is_silent();
        if !may_go || !self.fds.take(1) {
            return None;
        }
        let retries = self.pools.get(pool).map_or(0, |pool| pool.config.retries);
        let dial = Dial::new(Relay::new(retries), pool, Vec::new());
        let before = std::mem::replace(&mut conn.stage, Stage::Dial(Box::new(dial)));
        if let (Stage::Dial(dial), Stage::Tunnel { upstream, mut tunnel }, Some(endpoint)) =
            (&mut conn.stage, before, conn.endpoint.take())
        {
            tunnel.clear(&mut self.supplies);
            turn.unwatch(&upstream.stream);
            dial.former = Some(Box::new(Former { upstream, endpoint }));
        }
        let id = conn.id;
        self.pools.enter(pool);
        self.attempt_until_pending(slot, turn);
        Some(id)
    }

    /// No endpoint took the connection: it ends, unless it has one still.
    pub(super) fn give_up(&mut self, slot: SlotId, reason: CloseReason, turn: &mut Turn<'_>) {
        if !self.stay(slot) {
            return self.close(slot, reason, true, turn);
        }
        let Some(Conn { stage: Stage::Tunnel { upstream, .. }, .. }) = self.conns.get(slot) else { return };
        match turn.watch(&upstream.stream, Key::Conn(slot, Side::Upstream).token()) {
            Ok(()) => self.drive(slot, turn),
            Err(error) => {
                tracing::warn!(%error, "epoll takes no further socket");
                self.close(slot, CloseReason::RESOURCE, true, turn);
            }
        }
    }

    /// A connection that looks for another endpoint goes back to the one it
    /// has, which is to be watched again; whether it has one.
    pub(super) fn stay(&mut self, slot: SlotId) -> bool {
        let Some(conn) = self.conns.get_mut(slot) else { return false };
        let Stage::Dial(dial) = &mut conn.stage else { return false };
        let Some(former) = dial.former.take() else { return false };
        let (pool, Former { upstream, endpoint }) = (dial.pool, *former);
        conn.stage = Stage::Tunnel { upstream, tunnel: Tunnel::new(conn.accelerate) };
        if let Some(attempted) = conn.endpoint.replace(endpoint) {
            attempted.counters.active.sub(1);
        }
        self.pools.freed(pool);
        self.pools.leave(pool);
        self.fds.give(1);
        true
    }

    /// Another endpoint has the connection, if it had one before.
    pub(super) fn moved_on(&mut self, former: Option<Box<Former<Socket>>>, pool: PoolId) {
        if former.is_some() {
            self.shard.redialed.add(1);
            self.part_with(former, pool);
        }
    }

    /// The connection has no use for its former endpoint any more.
    pub(super) fn part_with(&mut self, former: Option<Box<Former<Socket>>>, pool: PoolId) {
        if let Some(former) = former {
            former.endpoint.counters.active.sub(1);
            drop(former);
            self.pools.freed(pool);
            self.fds.give(1);
        }
    }
}
