//! One connection: its sides, its rules, its ledger. Generic over the stream,
//! so that everything but the socket calls runs in tests without a socket.

mod freeze;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::Accelerate,
    metrics::{EndpointShard, ListenerShard},
    protocol::{CloseReason, Exchange, Relay, Session, Step},
    time::TimerId,
    wire::{BlockPool, Wire},
    worker::{
        access::Trail,
        admission::Admitted,
        clocks::Clocks,
        command::{ConnectionState, EndpointId, ListenerId, PoolId},
        identify::Via,
        line::{PoolPass, Waiting},
        load::Place,
        redial::Former,
        supplies::Supplies,
        transport::{Read, Stream, Transport},
        tunnel::{Outcome, Tunnel},
    },
};

/// Passes of a session in one go; then others have their turn.
const PASSES: usize = 8;

/// A live connection.
#[derive(Debug)]
pub(super) struct Conn<S> {
    /// Unique over cores and upgrades.
    pub(super) id: u64,
    pub(super) origin: Origin,
    pub(super) downstream: Transport<S>,
    pub(super) stage: Stage<S>,
    /// The pool it is to be relayed to.
    pub(super) pool: Option<PoolId>,
    /// The endpoint it is, or is being, relayed to.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) since: Instant,
    pub(super) progressed_at: Instant,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) accelerate: Accelerate,
    /// What consistent hashing knows the client by.
    pub(super) hash: u64,
    pub(super) timer: Option<(TimerId, Instant)>,
    /// It waits on the run queue.
    pub(super) queued: bool,
    /// Its place in the counts of process, listener and source.
    pub(super) admitted: Option<Admitted>,
    /// Its place in the count of its pool.
    pub(super) pass: Option<PoolPass>,
    /// What ends it because of its time.
    pub(super) clocks: Option<Box<Clocks>>,
    /// What only the access log wants to know.
    pub(super) trail: Trail,
}

/// Where a connection came from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) listener: ListenerId,
    pub(super) source: Option<SocketAddr>,
    pub(super) counters: Arc<ListenerShard>,
    /// What a PROXY header has told; the source is out of it too.
    pub(super) via: Option<Box<Via>>,
}

/// Where a connection goes.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) id: EndpointId,
    /// Kept, so that the endpoint's load has this connection in it.
    pub(super) place: Place,
    pub(super) counters: Arc<EndpointShard>,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) enum Stage<S> {
    /// netd itself speaks with the client.
    Session { session: Session, wire: Wire },
    /// Finding an endpoint.
    Dial(Box<Dial<S>>),
    /// Moving bytes.
    Tunnel { upstream: Transport<S>, tunnel: Tunnel },
}

/// A search for an endpoint.
#[derive(Debug)]
pub(super) struct Dial<S> {
    pub(super) relay: Relay,
    pub(super) pool: PoolId,
    /// What the client sent already, behind a header that was read.
    pub(super) early: Vec<u8>,
    /// Endpoints that failed.
    pub(super) tried: Vec<EndpointId>,
    /// The attempt under way.
    pub(super) attempt: Option<Attempt<S>>,
    /// Its place in the line of its pool, which is full.
    pub(super) waiting: Option<Waiting>,
    /// The endpoint that it has until another one takes it.
    pub(super) former: Option<Box<Former<S>>>,
}

impl<S> Dial<S> {
    /// One that has tried nothing yet.
    pub(super) fn new(relay: Relay, pool: PoolId, early: Vec<u8>) -> Self {
        Self { relay, pool, early, tried: Vec::new(), attempt: None, waiting: None, former: None }
    }
}

/// One connect.
#[derive(Debug)]
pub(super) struct Attempt<S> {
    pub(super) upstream: Transport<S>,
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
}

/// Bytes that both sides have moved so far.
#[derive(Debug, Clone, Copy)]
struct Ledger {
    from_downstream: u64,
    to_downstream: u64,
    to_upstream: u64,
    from_upstream: u64,
}

/// What a connection wants after it was driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Want {
    /// To be left alone until something happens.
    Nothing,
    /// Another go, after the others.
    Turn,
    /// To go on, its client being known now.
    Identified,
    /// An endpoint.
    Dial,
    /// To be closed; `reset`: the peers are to see that it was not the end.
    Close { reason: CloseReason, reset: bool },
}

impl<S: Stream> Conn<S> {
    pub(super) fn new(
        id: u64,
        origin: Origin,
        stream: S,
        session: Session,
        pool: Option<PoolId>,
        idle_timeout: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            id,
            origin,
            downstream: Transport::new(stream),
            stage: Stage::Session { session, wire: Wire::default() },
            pool,
            endpoint: None,
            since: now,
            progressed_at: now,
            idle_timeout,
            accelerate: Accelerate::Off,
            hash: 0,
            timer: None,
            queued: false,
            admitted: None,
            pass: None,
            clocks: None,
            trail: Trail::default(),
        }
    }

    /// Moves what can be moved.
    pub(super) fn drive(&mut self, supplies: &mut Supplies, now: Instant) -> Want {
        let before = self.ledger();
        supplies.pipes.serve(self.is_bulky(), now);
        let want = match &mut self.stage {
            Stage::Session { session, wire } => {
                drive_session(session, wire, &mut self.downstream, &mut Resources { blocks: &mut supplies.blocks, now })
            }
            Stage::Dial(_) => Want::Nothing,
            Stage::Tunnel { upstream, tunnel } => match tunnel.drive(&mut self.downstream, upstream, supplies, now) {
                Outcome::Wait => Want::Nothing,
                Outcome::Yield => Want::Turn,
                Outcome::Done(reason) => Want::Close { reason, reset: false },
                Outcome::Reset(reason) => Want::Close { reason, reset: true },
            },
        };
        self.book(&before, now);
        self.note_times(now);
        want
    }

    /// File descriptors that it may use, of the worker's budget.
    pub(super) fn fds(&self) -> usize {
        if self.pool.is_some() { 2 } else { 1 }
    }

    /// When something must happen even if no byte moves.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let idle = self.idle_deadline();
        let own = match &self.stage {
            // A header has its own time, which is bounded; the others count
            // from when it is there.
            Stage::Session { session: session @ Session::Header(_), .. } => return session.deadline(),
            Stage::Session { session, .. } => session.deadline(),
            Stage::Dial(dial) => {
                let attempt = dial.attempt.as_ref().map(|attempt| attempt.deadline);
                let waiting = dial.waiting.as_ref().map(Waiting::wakes_at);
                let end = self.clocks.as_ref().and_then(|clocks| clocks.end());
                return [attempt, waiting, end].into_iter().flatten().min();
            }
            Stage::Tunnel { tunnel, .. } => tunnel.deadline(),
        };
        let times = self.clocks.as_ref().and_then(|clocks| clocks.deadline(self.progressed_at));
        [idle, own, times].into_iter().flatten().min()
    }

    /// No byte has moved for the idle timeout.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        !matches!(self.stage, Stage::Dial(_))
            && !self.awaits_header()
            && self.idle_deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Why its time is up, if it is.
    pub(super) fn overdue(&self, now: Instant) -> Option<CloseReason> {
        if self.awaits_header() {
            return None;
        }
        let clocks = self.clocks.as_ref();
        if matches!(self.stage, Stage::Dial(_)) {
            return clocks.and_then(|clocks| clocks.end()).filter(|&end| now >= end).map(|_| CloseReason::LIFETIME);
        }
        clocks
            .and_then(|clocks| clocks.overdue(self.progressed_at, now))
            .or_else(|| self.is_idle(now).then_some(CloseReason::IDLE))
    }

    /// Tells its clocks what they have to know.
    pub(super) fn note_times(&mut self, now: Instant) {
        if self.clocks.is_none() || self.awaits_header() {
            return;
        }
        let half_closed = matches!(self.state(), ConnectionState::HalfClosed | ConnectionState::Closing);
        let heard = self.downstream.received > 0;
        if let Some(clocks) = &mut self.clocks {
            clocks.note(heard, half_closed, now);
        }
    }

    pub(super) fn state(&self) -> ConnectionState {
        match &self.stage {
            Stage::Session { session: Session::Header(_), .. } => ConnectionState::Identifying,
            Stage::Session { session: Session::Relay(_), .. } | Stage::Dial(_) => ConnectionState::Dialing,
            Stage::Session { wire, .. } if wire.outgoing_ended => ConnectionState::Closing,
            Stage::Session { wire, .. } if wire.incoming_ended => ConnectionState::HalfClosed,
            Stage::Tunnel { tunnel, .. } if tunnel.is_closing() => ConnectionState::Closing,
            Stage::Tunnel { tunnel, .. } if tunnel.is_half_closed() => ConnectionState::HalfClosed,
            Stage::Session { .. } | Stage::Tunnel { .. } => ConnectionState::Open,
        }
    }

    /// Its PROXY header is whole: what it is known by from now on came behind
    /// that, and its times begin.
    pub(super) fn is_named(&mut self, now: Instant) {
        if let Stage::Session { wire, .. } = &self.stage {
            self.downstream.received = wire.incoming.len() as u64;
        }
        self.progressed_at = now;
        if let Some(clocks) = &mut self.clocks {
            clocks.begin(now);
        }
        self.note_times(now);
    }

    fn awaits_header(&self) -> bool {
        matches!(self.stage, Stage::Session { session: Session::Header(_), .. })
    }

    /// Bytes wait in netd that the receiver did not take yet.
    pub(super) fn holds_bytes(&self) -> bool {
        match &self.stage {
            Stage::Session { wire, .. } => !wire.outgoing.is_empty(),
            Stage::Dial(dial) => !dial.early.is_empty(),
            Stage::Tunnel { tunnel, .. } => tunnel.holds_bytes(),
        }
    }

    /// Gives buffers back and, for a reset, makes both sides see one. The
    /// sockets close when the connection is dropped.
    pub(super) fn end(&mut self, supplies: &mut Supplies, reset: bool) {
        if reset {
            self.downstream.stream.reset_on_close();
        }
        match &mut self.stage {
            Stage::Session { wire, .. } => {
                wire.incoming.clear(&mut supplies.blocks);
                wire.outgoing.clear(&mut supplies.blocks);
            }
            // The kernel may have connected it already.
            Stage::Dial(dial) => {
                if let (true, Some(attempt)) = (reset, &dial.attempt) {
                    attempt.upstream.stream.reset_on_close();
                }
            }
            Stage::Tunnel { upstream, tunnel } => {
                tunnel.clear(supplies);
                if reset {
                    upstream.stream.reset_on_close();
                }
            }
        }
    }

    fn idle_deadline(&self) -> Option<Instant> {
        self.idle_timeout.and_then(|timeout| self.progressed_at.checked_add(timeout))
    }

    fn is_bulky(&self) -> bool {
        matches!(&self.stage, Stage::Tunnel { tunnel, .. } if tunnel.is_bulky())
    }

    fn ledger(&self) -> Ledger {
        let (to_upstream, from_upstream) = match &self.stage {
            Stage::Tunnel { upstream, .. } => (upstream.sent, upstream.received),
            Stage::Session { .. } | Stage::Dial(_) => (0, 0),
        };
        let (from_downstream, to_downstream) = (self.downstream.received, self.downstream.sent);
        Ledger { from_downstream, to_downstream, to_upstream, from_upstream }
    }

    /// Tells the counters what has moved since then.
    fn book(&mut self, before: &Ledger, now: Instant) {
        let after = self.ledger();
        let (from, to) = (after.from_downstream - before.from_downstream, after.to_downstream - before.to_downstream);
        let mut moved = from | to;
        if from > 0 {
            self.origin.counters.bytes_from_downstream.add(from);
        }
        if to > 0 {
            self.origin.counters.bytes_to_downstream.add(to);
        }
        if let Some(endpoint) = &self.endpoint {
            let (to, from) = (after.to_upstream - before.to_upstream, after.from_upstream - before.from_upstream);
            if to > 0 {
                endpoint.counters.bytes_to_upstream.add(to);
            }
            if from > 0 {
                endpoint.counters.bytes_from_upstream.add(from);
            }
            moved |= to | from;
        }
        if moved > 0 {
            self.progressed_at = now;
        }
    }
}

struct Resources<'a> {
    blocks: &'a mut BlockPool,
    now: Instant,
}

/// Lets a session speak with the client until neither has anything to say.
fn drive_session<S: Stream>(
    session: &mut Session,
    wire: &mut Wire,
    transport: &mut Transport<S>,
    resources: &mut Resources<'_>,
) -> Want {
    let reason = match session {
        Session::Header(_) => CloseReason::DOWNSTREAM_RESET_IN_HEADER,
        _ => CloseReason::DOWNSTREAM_RESET,
    };
    let reset = Want::Close { reason, reset: true };
    for _ in 0..PASSES {
        let mut moved = false;
        if may_read(wire, transport) {
            match transport.fill(&mut wire.incoming, resources.blocks) {
                Ok((Read::End, _)) => (wire.incoming_ended, moved) = (true, true),
                Ok((Read::Bytes, _)) => moved = true,
                Ok((Read::Nothing, _)) => {}
                Err(_) => return reset,
            }
        }
        let mut exchange = Exchange { downstream: wire, blocks: resources.blocks, now: resources.now };
        match session.advance(&mut exchange) {
            Step::Wait => {}
            Step::Identified => return Want::Identified,
            Step::Dial | Step::Tunnel => return Want::Dial,
            Step::Close(reason) => return Want::Close { reason, reset: false },
        }
        if !wire.outgoing.is_empty() && transport.writable {
            match transport.flush(&mut wire.outgoing, false, resources.blocks) {
                Ok(n) => moved |= n > 0,
                Err(_) => return reset,
            }
        }
        if wire.outgoing_ended && wire.outgoing.is_empty() && !wire.end_sent {
            if transport.stream.shutdown_write().is_err() {
                return reset;
            }
            (wire.end_sent, moved) = (true, true);
        }
        if !moved && !may_read(wire, transport) {
            return Want::Nothing;
        }
    }
    Want::Turn
}

fn may_read<S>(wire: &Wire, transport: &Transport<S>) -> bool {
    wire.incoming.is_empty() && !wire.incoming_ended && transport.readable
}

#[cfg(test)]
mod tests;
