//! A connection leaves its worker, or arrives at another.

use super::{Attempt, Conn, Dial, Endpoint, Origin, Stage};
use crate::{
    config::Accelerate,
    protocol::{Awaiting, Discard, Echo, Relay, Respond, Session},
    wire::{Buffer, Wire},
    worker::{
        command::PoolId,
        parcel::{Parcel, ParcelAttempt, ParcelSession, ParcelStage},
        places::Places,
        supplies::Supplies,
        transport::{Stream, Transport},
        tunnel::{Tunnel, freeze::Frozen},
    },
};

/// A relay whose pool is unknown: no endpoint will be found.
const NO_POOL: PoolId = PoolId(0);

impl<S: Stream> Conn<S> {
    /// All of it but its place in this worker: buffers are given back, pipes
    /// with bytes in them go along.
    pub(in crate::worker) fn freeze<F: From<S>>(mut self, supplies: &mut Supplies) -> Parcel<F> {
        let waiting = match &mut self.stage {
            Stage::Dial(dial) => dial.waiting.take(),
            Stage::Session { .. } | Stage::Tunnel { .. } => None,
        };
        let (endpoint, place) = self.endpoint.map(|endpoint| (endpoint.id, endpoint.place)).unzip();
        Parcel {
            id: self.id,
            listener: self.origin.listener,
            source: self.origin.source,
            via: self.origin.via,
            since: self.since,
            progressed_at: self.progressed_at,
            idle_timeout: self.idle_timeout,
            accelerate: self.accelerate,
            pool: self.pool,
            trail: self.trail,
            endpoint,
            hash: self.hash,
            downstream: self.downstream.freeze(),
            stage: self.stage.freeze(supplies),
            places: Places { admitted: self.admitted, pass: self.pass, endpoint: place, waiting, fds: None },
        }
    }

    /// The connection of a parcel, with this worker's counters. It is neither
    /// watched nor timed yet.
    pub(in crate::worker) fn thaw<F: Into<S>>(
        parcel: Parcel<F>,
        origin: Origin,
        endpoint: Option<Endpoint>,
        supplies: &mut Supplies,
    ) -> Self {
        let Parcel { id, since, progressed_at, idle_timeout, accelerate, pool, hash, trail, downstream, stage, .. } =
            parcel;
        let (socket, ledger) = downstream.split();
        let stage = Stage::thaw(stage, pool, accelerate, supplies);
        let mut conn = Self::new(id, origin, socket.into(), Session::Discard(Discard), pool, idle_timeout, since);
        conn.downstream.resume(&ledger);
        (conn.stage, conn.endpoint) = (stage, endpoint);
        (conn.progressed_at, conn.accelerate, conn.hash) = (progressed_at, accelerate, hash);
        conn.trail = trail;
        conn
    }
}

impl<S: Stream> Stage<S> {
    fn freeze<F: From<S>>(self, supplies: &mut Supplies) -> ParcelStage<F> {
        match self {
            Self::Session { session, mut wire } => ParcelStage::Session {
                session: rules(&session),
                incoming: wire.incoming.take(&mut supplies.blocks),
                incoming_ended: wire.incoming_ended,
                outgoing: wire.outgoing.take(&mut supplies.blocks),
                outgoing_ended: wire.outgoing_ended,
                end_sent: wire.end_sent,
            },
            Self::Dial(dial) => ParcelStage::Dial {
                early: dial.early,
                retries_left: dial.relay.retries_left(),
                failed: dial.relay.last_failure(),
                tried: dial.tried,
                attempt: dial.attempt.map(|attempt| ParcelAttempt {
                    upstream: attempt.upstream.freeze(),
                    begun: attempt.begun,
                    deadline: attempt.deadline,
                }),
            },
            Self::Tunnel { upstream, tunnel } => {
                let Frozen { up, down, upstream_ended_first, upstream_gone, sink_until } = tunnel.freeze(supplies);
                let upstream = upstream.freeze();
                ParcelStage::Tunnel { upstream, up, down, upstream_ended_first, upstream_gone, sink_until }
            }
        }
    }

    fn thaw<F: Into<S>>(
        stage: ParcelStage<F>,
        pool: Option<PoolId>,
        accelerate: Accelerate,
        supplies: &mut Supplies,
    ) -> Self {
        match stage {
            ParcelStage::Session { session, incoming, incoming_ended, outgoing, outgoing_ended, end_sent } => {
                let incoming = Buffer::holding(&mut supplies.blocks, incoming);
                let outgoing = Buffer::holding(&mut supplies.blocks, outgoing);
                let wire = Wire { incoming, incoming_ended, outgoing, outgoing_ended, end_sent };
                Self::Session { session: resumed(session), wire }
            }
            ParcelStage::Dial { early, retries_left, failed, tried, attempt } => {
                let attempt = attempt.map(|ParcelAttempt { upstream, begun, deadline }| Attempt {
                    upstream: Transport::thaw(upstream),
                    begun,
                    deadline,
                });
                let (relay, pool) = (Relay::resumed(retries_left, failed), pool.unwrap_or(NO_POOL));
                Self::Dial(Box::new(Dial { relay, pool, early, tried, attempt, waiting: None, former: None }))
            }
            ParcelStage::Tunnel { upstream, up, down, upstream_ended_first, upstream_gone, sink_until } => {
                let frozen = Frozen { up, down, upstream_ended_first, upstream_gone, sink_until };
                let tunnel = Tunnel::thaw(frozen, accelerate, supplies);
                Self::Tunnel { upstream: Transport::thaw(upstream), tunnel }
            }
        }
    }
}

fn rules(session: &Session) -> ParcelSession {
    match session {
        Session::Echo(_) => ParcelSession::Echo,
        Session::Discard(_) => ParcelSession::Discard,
        Session::Respond(respond) => ParcelSession::Respond { rest: respond.rest().to_vec(), until: respond.until() },
        Session::Header(awaiting) => ParcelSession::Header {
            accepts: awaiting.accepts(),
            until: awaiting.until(),
            gathered: awaiting.gathered().to_vec(),
            next: Box::new(rules(awaiting.next())),
        },
        Session::Relay(relay) => ParcelSession::Relay { retries: relay.retries_left() },
    }
}

fn resumed(session: ParcelSession) -> Session {
    match session {
        ParcelSession::Echo => Session::Echo(Echo),
        ParcelSession::Discard => Session::Discard(Discard),
        ParcelSession::Respond { rest, until } => Session::Respond(Respond::resumed(rest.into(), until)),
        ParcelSession::Header { accepts, until, gathered, next } => {
            Session::Header(Box::new(Awaiting::resumed(accepts, until, gathered, resumed(*next))))
        }
        ParcelSession::Relay { retries } => Session::Relay(Relay::new(retries)),
    }
}
