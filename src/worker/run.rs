//! A worker: what the reactor drives.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    metrics::WorkerShard,
    protocol::CloseReason,
    reactor::{Handler, Ready, Turn},
    slots::{SlotId, Slots},
    sys::socket::Socket,
    worker::{
        accept::Listener,
        access::Tap,
        admission::ProcessGate,
        budget::FdShare,
        command::{Command, Foretell, Foretold, ListenerId, ListenerSpec},
        conn::{Conn, Stage, Want},
        handle::Settings,
        ids::Ids,
        key::{Key, Side},
        pools::{Client, Pools, hash_of},
        supplies::Supplies,
        walk::{Walk, Walks},
    },
};

/// One core's connections and all they need.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) epoch: Epoch,
    pub(super) shard: Arc<WorkerShard>,
    pub(super) ids: Ids,
    pub(super) fds: FdShare,
    pub(super) gates: Arc<ProcessGate>,
    pub(super) listeners: Slots<Listener>,
    /// Sockets of listeners that were not closed yet.
    pub(super) listener_slots: HashMap<ListenerId, Vec<SlotId>>,
    pub(super) pools: Pools,
    pub(super) conns: Slots<Conn<Socket>>,
    pub(super) walks: Walks,
    pub(super) supplies: Supplies,
    pub(super) access: Tap,
    /// A listener is, or was until lately, paused.
    pub(super) any_paused: bool,
    done: bool,
}

/// The daemon's start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch(Instant);

impl Epoch {
    /// Time since then.
    pub(super) fn since(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.0)
    }

    /// Milliseconds since then, at least 1.
    pub(super) fn millis(self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

impl Worker {
    pub(super) fn new(settings: &Settings, shard: Arc<WorkerShard>) -> Self {
        Self {
            index: settings.index,
            epoch: Epoch(settings.epoch),
            shard,
            ids: Ids::new(settings.first_sequence, settings.index),
            fds: FdShare::new(Arc::clone(&settings.fds)),
            gates: Arc::clone(&settings.gates),
            listeners: Slots::default(),
            listener_slots: HashMap::new(),
            pools: Pools::new(settings.index),
            conns: Slots::default(),
            walks: Walks::default(),
            supplies: Supplies::new(settings.buffer_size, Arc::clone(&settings.fds)),
            access: Tap::new(settings.access.clone(), settings.index),
            any_paused: false,
            done: false,
        }
    }

    /// Lets a connection do what it can, and sees to what it wants next.
    pub(super) fn drive(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let want = go(conn, slot, &mut self.supplies, turn);
        self.follow(slot, want, turn);
    }

    /// Sees to it that a timer fires no later than the connection's deadline.
    pub(super) fn rearm(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        if let Some(conn) = self.conns.get_mut(slot) {
            rearm(conn, slot, turn);
        }
    }

    fn follow(&mut self, slot: SlotId, want: Want, turn: &mut Turn<'_>) {
        match want {
            Want::Nothing | Want::Turn => {}
            Want::Identified => self.identified(slot, turn),
            Want::Dial => self.dial(slot, turn),
            Want::Close { reason, reset } => {
                if reason == CloseReason::HEADER_MALFORMED {
                    self.tell_malformed(slot);
                }
                self.close(slot, reason, reset, turn);
            }
        }
    }

    /// Ends a connection: both sockets close, its books are closed.
    pub(super) fn close(&mut self, slot: SlotId, reason: CloseReason, reset: bool, turn: &mut Turn<'_>) {
        let Some(mut conn) = self.conns.remove(slot) else { return };
        if self.access.is_on() {
            self.log_access(&conn, reason, turn.now);
        }
        conn.end(&mut self.supplies, reset);
        if let Stage::Dial(dial) = &mut conn.stage {
            self.pools.leave(dial.pool);
            self.part_with(dial.former.take(), dial.pool);
        }
        if let Some((timer, _)) = conn.timer {
            turn.cancel(timer);
        }
        if let Some(endpoint) = &conn.endpoint {
            endpoint.counters.active.sub(1);
            endpoint.counters.early_resets.add(u64::from(conn.was_cut_short(reason, turn.now)));
        }
        let counters = &conn.origin.counters;
        counters.duration.record(turn.now.saturating_duration_since(conn.since));
        if let Some(closed) = counters.closed.get(reason.index()) {
            closed.add(1);
        }
        counters.active.sub(1);
        self.shard.active.sub(1);
        tracing::trace!(
            connection = format_args!("{:x}", conn.id),
            by = reason.by.as_str(),
            phase = reason.phase.as_str(),
            cause = reason.cause.as_str(),
            "closed"
        );
        let fds = conn.fds();
        drop(conn);
        self.fds.give(fds);
        if self.any_paused {
            self.resume_paused(turn);
        }
    }

    fn on_conn_ready(&mut self, slot: SlotId, side: Side, ready: Ready, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        match (side, &mut conn.stage) {
            (Side::Downstream, Stage::Dial(_)) => {
                conn.downstream.note(ready);
                if ready.error {
                    self.close(slot, CloseReason::DOWNSTREAM_RESET_IN_DIAL, true, turn);
                }
                return;
            }
            (Side::Downstream, _) => conn.downstream.note(ready),
            (Side::Upstream, Stage::Tunnel { upstream, .. }) => upstream.note(ready),
            (Side::Upstream, _) => return self.on_attempt_ready(slot, ready, turn),
        }
        let want = go(conn, slot, &mut self.supplies, turn);
        self.follow(slot, want, turn);
    }

    fn on_conn_timer(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.timer = None;
        if let Some(reason) = conn.overdue(turn.now) {
            // Bytes that nobody took are lost: the peers must not take that
            // for the end.
            let reset = conn.holds_bytes();
            return self.close(slot, reason, reset, turn);
        }
        if let Stage::Dial(dial) = &conn.stage {
            return match &dial.attempt {
                Some(attempt) if turn.now >= attempt.deadline => self.attempt_timed_out(slot, turn),
                None if dial.waiting.is_some() => self.on_waiting_timer(slot, turn),
                _ => self.rearm(slot, turn),
            };
        }
        self.drive(slot, turn);
    }

    /// What a connection would get that came now.
    fn foretell(&self, ask: Foretell) -> Option<Foretold> {
        let listener = self.listeners.get(*self.listener_slots.get(&ask.listener)?.first()?)?;
        let pool = listener.foretell()?;
        let client = Client { hash: hash_of(&listener.spec.config, ask.source), source: ask.source };
        Some(Foretold { pool, endpoint: self.pools.foretell(pool, client) })
    }

    fn add_listener(&mut self, spec: ListenerSpec, socket: crate::listen::ListenSocket, turn: &mut Turn<'_>) {
        let id = spec.id;
        let slot = self.listeners.insert_with(|_| Listener::new(spec, socket, self.index));
        self.listener_slots.entry(id).or_default().push(slot);
        let Some(listener) = self.listeners.get(slot) else { return };
        match turn.watch_listener(&listener.socket.fd, Key::Listener(slot).token()) {
            Ok(()) => self.accept(slot, turn),
            Err(error) => {
                // Closed, the kernel gives its share to the other workers.
                tracing::error!(
                    listener = %listener.spec.config.name, worker = self.index, %error,
                    "epoll takes no further listener; this worker does not accept on it"
                );
                self.close_listener(slot, turn);
            }
        }
    }

    fn stop(&mut self, turn: &mut Turn<'_>) {
        let conns: Vec<SlotId> = self.conns.iter().map(|(slot, _)| slot).collect();
        for slot in conns {
            self.close(slot, CloseReason::SHUTDOWN, true, turn);
        }
        let listeners: Vec<SlotId> = self.listeners.iter().map(|(slot, _)| slot).collect();
        for slot in listeners {
            self.close_listener(slot, turn);
        }
        self.done = true;
    }
}

impl Handler for Worker {
    type Message = Command;

    fn on_ready(&mut self, token: usize, ready: Ready, turn: &mut Turn<'_>) {
        match Key::from_token(token) {
            Key::Listener(slot) => self.accept(slot, turn),
            Key::Conn(slot, side) => self.on_conn_ready(slot, side, ready, turn),
            Key::Walk => {}
        }
    }

    fn on_queued(&mut self, token: usize, turn: &mut Turn<'_>) {
        match Key::from_token(token) {
            Key::Listener(slot) => self.on_listener_queued(slot, turn),
            Key::Conn(slot, _) => {
                if let Some(conn) = self.conns.get_mut(slot) {
                    conn.queued = false;
                    self.drive(slot, turn);
                }
            }
            Key::Walk => self.on_walk(turn),
        }
    }

    fn on_timer(&mut self, token: usize, turn: &mut Turn<'_>) {
        match Key::from_token(token) {
            Key::Listener(slot) => self.on_listener_timer(slot, turn),
            Key::Conn(slot, _) => self.on_conn_timer(slot, turn),
            Key::Walk => {}
        }
    }

    fn on_message(&mut self, command: Command, turn: &mut Turn<'_>) {
        match command {
            Command::SetPool(spec) => self.pools.set(spec),
            Command::RemovePool(id) => self.pools.remove(id),
            Command::AddListener(spec, socket) => self.add_listener(spec, socket, turn),
            Command::UpdateListener(spec) => self.update_listener(&spec),
            Command::StopListener(id, reply) => self.stop_listener(id, reply, turn),
            Command::ReleaseListener(id, reply) => reply.send(self.release_listener(id, turn)),
            Command::DuplicateListener(id, reply) => reply.send(self.duplicate_listener(id)),
            Command::ShareListener(id, count, reply) => reply.send(self.share_listener(id, count)),
            Command::PauseListener(id, reply) => {
                self.hold_listener(id);
                reply.send(());
            }
            Command::Query(query, reply) => self.begin_walk(Walk::list(query, reply, self.ids.newest()), turn),
            Command::ResumeListener(id) => self.resume_listener(id, turn),
            Command::Export { selection, limit, reply } => reply.send(self.export(&selection, limit, turn)),
            Command::Import(arrivals, reply) => reply.send(self.import(arrivals, turn)),
            Command::Resting(filter, limit, reply) => {
                self.begin_walk(Walk::rest(filter, limit, reply, self.ids.newest()), turn);
            }
            Command::Retire(named, reason, reply) => {
                self.begin_walk(Walk::retire(named, reason, reply, self.ids.newest()), turn);
            }
            Command::Close(selection, reason, reply) => {
                self.begin_walk(Walk::close(selection, reason, reply, self.ids.newest()), turn);
            }
            Command::TryPool(slot) => self.try_pool(slot, turn),
            Command::Redial(from, reply) => {
                self.begin_walk(Walk::redial(from, reply, self.ids.newest()), turn);
            }
            Command::Foretell(ask, reply) => reply.send(self.foretell(ask)),
            Command::Ping(reply) => reply.send(()),
            Command::Stop => self.stop(turn),
        }
    }

    fn on_turn_end(&mut self, events: usize, elapsed: Duration, turn: &mut Turn<'_>) {
        self.shard.turns.add(1);
        self.shard.events.add(events as u64);
        self.shard.turn_time.record(elapsed);
        self.shard.buffers.set(self.supplies.blocks.held() as u64);
        self.shard.timers.set(turn.timers() as u64);
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

/// Lets a connection do what it can. Its timer and its place on the run queue
/// are seen to; the rest is the caller's.
fn go(conn: &mut Conn<Socket>, slot: SlotId, supplies: &mut Supplies, turn: &mut Turn<'_>) -> Want {
    let want = conn.drive(supplies, turn.now);
    match want {
        Want::Nothing => rearm(conn, slot, turn),
        Want::Turn => {
            if !std::mem::replace(&mut conn.queued, true) {
                turn.enqueue(Key::Conn(slot, Side::Downstream).token());
            }
        }
        Want::Identified | Want::Dial | Want::Close { .. } => {}
    }
    want
}

/// A timer that fires earlier than the deadline is left alone: it looks again.
fn rearm(conn: &mut Conn<Socket>, slot: SlotId, turn: &mut Turn<'_>) {
    let Some(deadline) = conn.deadline() else { return };
    if let Some((timer, armed)) = conn.timer {
        if armed <= deadline {
            return;
        }
        turn.cancel(timer);
    }
    conn.timer = Some((turn.arm(deadline, Key::Conn(slot, Side::Downstream).token()), deadline));
}

#[cfg(test)]
mod tests;
