//! Taking connections in: bounded batches, faults by kind, and the end of a
//! listener without losing what waits in its queue.

mod sockets;

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use crate::{
    balance::Policy,
    config::Protocol,
    limit::Refused,
    listen::ListenSocket,
    protocol::{CloseReason, Discard, Echo, Relay, Session},
    reactor::Turn,
    slots::SlotId,
    sys::socket::{self, Socket},
    time::TimerId,
    worker::{
        admission::Admitted,
        clocks::Clocks,
        command::{ListenerSpec, PoolId, Reply},
        conn::{Conn, Origin},
        identify::{Beginning, beginning},
        key::{Key, Side},
        pools::hash_of,
        refuse::refuse,
        run::Worker,
        split::Split,
    },
};

/// Connections accepted from one listener in one go; then others have their
/// turn.
const BATCH: usize = 64;
/// How long accepting rests after a fault, if no descriptor is freed earlier.
const REST: Duration = Duration::from_millis(100);
/// For how long handshakes under way may complete after a listener was told to
/// begin no new ones.
const GRACE: Duration = Duration::from_millis(200);
/// How long a stopping listener waits for descriptors to accept its queue.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two log lines of one kind.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// One listener on one worker.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) spec: ListenerSpec,
    pub(super) socket: ListenSocket,
    split: Split,
    timer: Option<TimerId>,
    paused: bool,
    /// It accepts nothing until it is told to: somebody else does.
    held: bool,
    /// It waits on the run queue.
    queued: bool,
    stopping: Option<Stopping>,
    quiet_until: Option<Instant>,
}

/// A listener that accepts its last.
#[derive(Debug)]
struct Stopping {
    replies: Vec<Reply<()>>,
    /// Handshakes may complete until then.
    grace: Instant,
    /// Then it closes, whatever waits.
    patience: Instant,
}

/// How a batch of accepts ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// The queue is empty.
    Emptied,
    /// The batch is full; there may be more.
    Full,
    /// Out of descriptors or otherwise unable.
    Paused,
}

/// What an error of accept(2) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing waits.
    Empty,
    /// The connection went away while it waited, or arrived with an error;
    /// the next may be well.
    Passing,
    /// Out of descriptors or memory.
    Exhausted,
    /// The listener itself is at fault.
    Other,
}

impl Listener {
    /// `offset`: where this worker begins its rounds.
    pub(super) fn new(spec: ListenerSpec, socket: ListenSocket, offset: usize) -> Self {
        let split = Split::new(&spec.pools, offset);
        Self {
            spec,
            socket,
            split,
            timer: None,
            paused: false,
            held: false,
            queued: false,
            stopping: None,
            quiet_until: None,
        }
    }

    /// Takes on other settings, for connections that are accepted from now on.
    pub(super) fn update(&mut self, spec: ListenerSpec) {
        if self.spec.config.backlog != spec.config.backlog {
            self.socket.set_backlog(spec.config.backlog);
        }
        self.split.update(&spec.pools);
        self.spec = spec;
    }

    /// The pool of a connection that would come now.
    pub(super) fn foretell(&self) -> Option<PoolId> {
        self.split.peek()
    }

    /// It is stopping, and has been for long enough.
    fn is_overdue(&self, now: Instant) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| now >= stopping.patience)
    }

    fn set_paused(&mut self, paused: bool) {
        if std::mem::replace(&mut self.paused, paused) == paused {
            return;
        }
        // A worker may have two sockets of one listener.
        if paused {
            self.spec.counters.paused.add(1);
            self.spec.counters.accept_pauses.add(1);
        } else {
            self.spec.counters.paused.sub(1);
        }
    }
}

impl Worker {
    /// Accepts a batch and sees to what follows from how it ended.
    pub(super) fn accept(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        if self.listeners.get(slot).is_none_or(|listener| listener.held) {
            return;
        }
        let batch = self.accept_batch(slot, turn);
        let Some(listener) = self.listeners.get_mut(slot) else { return };
        if batch != Batch::Paused && listener.paused {
            listener.set_paused(false);
            tracing::info!(listener = %listener.spec.config.name, worker = self.index, "accepting again");
        }
        match batch {
            // A queue of somebody else's that is never empty, and is not lost.
            Batch::Full if listener.is_overdue(turn.now) && !listener.socket.needs_grace() => {
                self.close_listener(slot, turn);
            }
            Batch::Full => self.accept_later(slot, turn),
            Batch::Paused => self.wake_later(slot, turn.now + REST, turn),
            Batch::Emptied => self.stop_if_emptied(slot, turn),
        }
    }

    /// The turn of a listener on the run queue.
    pub(super) fn on_listener_queued(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        if let Some(listener) = self.listeners.get_mut(slot) {
            listener.queued = false;
            self.accept(slot, turn);
        }
    }

    pub(super) fn on_listener_timer(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(listener) = self.listeners.get_mut(slot) else { return };
        listener.timer = None;
        if listener.is_overdue(turn.now) {
            tracing::error!(
                listener = %listener.spec.config.name, worker = self.index,
                "no file descriptors to accept what waits in the queue of a stopping listener; it is lost"
            );
            self.close_listener(slot, turn);
        } else {
            self.accept(slot, turn);
        }
    }

    /// Some descriptors were freed: paused listeners try again.
    pub(super) fn resume_paused(&mut self, turn: &mut Turn<'_>) {
        let paused = self.listeners.iter().filter(|(_, listener)| listener.paused).map(|(slot, _)| slot);
        for slot in paused.collect::<Vec<_>>() {
            self.accept_later(slot, turn);
        }
        self.any_paused = false;
    }

    /// Closes a listener's socket; its connections go on.
    pub(super) fn close_listener(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(Listener { spec, socket, stopping, .. }) = self.forget_listener(slot, turn) else { return };
        drop(socket);
        if let Some(stopping) = stopping {
            self.stopped(spec.id, stopping.replies);
        }
    }

    fn forget_listener(&mut self, slot: SlotId, turn: &mut Turn<'_>) -> Option<Listener> {
        let mut listener = self.listeners.remove(slot)?;
        if let Some(slots) = self.listener_slots.get_mut(&listener.spec.id) {
            slots.retain(|each| *each != slot);
            if slots.is_empty() {
                self.listener_slots.remove(&listener.spec.id);
            }
        }
        if listener.paused {
            listener.set_paused(false);
        }
        if let Some(timer) = listener.timer.take() {
            turn.cancel(timer);
        }
        // Others may have a descriptor of it, and closing this one would not
        // end the watch.
        turn.unwatch(&listener.socket.fd);
        Some(listener)
    }

    fn accept_batch(&mut self, slot: SlotId, turn: &mut Turn<'_>) -> Batch {
        for _ in 0..BATCH {
            let Some(listener) = self.listeners.get(slot) else { return Batch::Emptied };
            let fds = if listener.spec.pools.is_empty() { 1 } else { 2 };
            // A client that is refused needs a descriptor for a moment only.
            let taken = if self.fds.take(fds) { fds } else { 0 };
            if taken == 0 && !self.gates.is_shedding() {
                self.pause(slot, &"all that netd may use are in use", turn);
                return Batch::Paused;
            }
            match socket::accept(listener.socket.fd.as_fd()) {
                Ok((stream, source)) => {
                    let outcome =
                        if taken == 0 { Err(Refused::Overload) } else { self.admission(listener, source, turn) };
                    let admitted = match outcome {
                        Ok(admitted) => admitted,
                        Err(refused) => {
                            refuse(listener, &stream, refused);
                            drop(stream);
                            self.fds.give(taken);
                            continue;
                        }
                    };
                    let origin = Origin {
                        listener: listener.spec.id,
                        source,
                        counters: std::sync::Arc::clone(&listener.spec.counters),
                        via: None,
                    };
                    self.admit(slot, stream, origin, (admitted, fds), turn);
                }
                Err(error) => {
                    self.fds.give(taken);
                    match classify(&error) {
                        Fault::Empty => return Batch::Emptied,
                        Fault::Passing => listener.spec.counters.accept_errors.add(1),
                        Fault::Exhausted | Fault::Other => {
                            listener.spec.counters.accept_errors.add(1);
                            self.pause(slot, &error, turn);
                            return Batch::Paused;
                        }
                    }
                }
            }
        }
        Batch::Full
    }

    fn admit(
        &mut self,
        listener: SlotId,
        stream: Socket,
        origin: Origin,
        (admitted, fds): (Admitted, usize),
        turn: &mut Turn<'_>,
    ) {
        let Some(Listener { spec, split, .. }) = self.listeners.get_mut(listener) else { return };
        let pool = split.next();
        let known = pool.and_then(|pool| self.pools.get(pool));
        let hashed = known.is_some_and(|pool| pool.policy == Policy::Maglev);
        let hash = if hashed { hash_of(&spec.config, origin.source) } else { 0 };
        let session = match &spec.config.protocol {
            Protocol::Echo => Session::Echo(Echo),
            Protocol::Discard => Session::Discard(Discard),
            Protocol::Respond { text } => Session::respond(std::sync::Arc::clone(text)),
            Protocol::Tcp { .. } => {
                let retries = known.map_or(0, |pool| pool.config.retries);
                Session::Relay(Relay::new(retries))
            }
        };
        let (session, refused) = match beginning(&spec.config.proxy, origin.source, session, turn.now) {
            Beginning::Session(session) => (session, false),
            Beginning::Refused(session) => (session, true),
        };
        let (idle_timeout, accelerate) = (spec.config.idle_timeout, spec.config.accelerate);
        let silent = !spec.config.access_log;
        origin.counters.accepted.add(1);
        origin.counters.active.add(1);
        self.shard.accepted.add(1);
        self.shard.active.add(1);
        let id = self.ids.next();
        let clocks = Clocks::new(&spec.config.limits, id, turn.now);
        let slot = self.conns.insert_with(|_| Conn::new(id, origin, stream, session, pool, idle_timeout, turn.now));
        let Some(conn) = self.conns.get_mut(slot) else { return };
        // Of two that were taken, one is not needed where no pool has a share.
        self.fds.give(fds - conn.fds());
        (conn.accelerate, conn.hash, conn.trail.silent) = (accelerate, hash, silent);
        (conn.admitted, conn.clocks) = (Some(admitted), clocks);
        if conn.origin.is_unix() {
            conn.downstream.stops_short();
        }
        if refused {
            return self.close(slot, CloseReason::HEADER_UNTRUSTED, true, turn);
        }
        match turn.watch(&conn.downstream.stream, Key::Conn(slot, Side::Downstream).token()) {
            Ok(()) => self.drive(slot, turn),
            Err(error) => {
                tracing::warn!(%error, "epoll takes no further socket");
                self.close(slot, CloseReason::RESOURCE, true, turn);
            }
        }
    }

    fn pause(&mut self, slot: SlotId, why: &dyn std::fmt::Display, turn: &Turn<'_>) {
        self.any_paused = true;
        let Some(listener) = self.listeners.get_mut(slot) else { return };
        if listener.paused {
            return;
        }
        listener.set_paused(true);
        if listener.quiet_until.is_none_or(|until| turn.now >= until) {
            listener.quiet_until = Some(turn.now + LOG_EVERY);
            tracing::warn!(
                listener = %listener.spec.config.name, worker = self.index,
                "accepting is paused until file descriptors are free: {why}"
            );
        }
    }

    fn stop_if_emptied(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(Stopping { grace, .. }) = self.listeners.get(slot).and_then(|listener| listener.stopping.as_ref())
        else {
            return;
        };
        match *grace {
            grace if turn.now >= grace => self.close_listener(slot, turn),
            grace => self.wake_later(slot, grace, turn),
        }
    }

    /// Puts a listener on the run queue, once.
    fn accept_later(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        if let Some(listener) = self.listeners.get_mut(slot)
            && !std::mem::replace(&mut listener.queued, true)
        {
            turn.enqueue(Key::Listener(slot).token());
        }
    }

    /// Looks at the listener again at `at`, unless that is planned already.
    fn wake_later(&mut self, slot: SlotId, at: Instant, turn: &mut Turn<'_>) {
        if let Some(listener) = self.listeners.get_mut(slot) {
            let timer = &mut listener.timer;
            timer.get_or_insert_with(|| turn.arm(at, Key::Listener(slot).token()));
        }
    }
}

fn classify(error: &io::Error) -> Fault {
    match error.raw_os_error().unwrap_or(0) {
        libc::EAGAIN => Fault::Empty,
        // accept(2): errors of the new connection, to be treated like EAGAIN
        // by trying again.
        libc::ECONNABORTED
        | libc::EINTR
        | libc::EPROTO
        | libc::ENETDOWN
        | libc::ENOPROTOOPT
        | libc::EHOSTDOWN
        | libc::ENONET
        | libc::EHOSTUNREACH
        | libc::EOPNOTSUPP
        | libc::ENETUNREACH
        | libc::EPERM => Fault::Passing,
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => Fault::Exhausted,
        _ => Fault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_by_kind() {
        let fault = |errno| classify(&io::Error::from_raw_os_error(errno));
        assert_eq!(fault(libc::EAGAIN), Fault::Empty);
        assert_eq!(fault(libc::ECONNABORTED), Fault::Passing);
        assert_eq!(fault(libc::EMFILE), Fault::Exhausted);
        assert_eq!(fault(libc::ENFILE), Fault::Exhausted);
        assert_eq!(fault(libc::EINVAL), Fault::Other);
    }
}
