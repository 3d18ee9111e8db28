//! A connection between two workers: of one process, or of a process and its
//! successor. Owned values only; whoever holds the parcel owns the connection.

use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::{self, Accelerate},
    metrics::{EndpointShard, ListenerShard},
    protocol::{DialFailure, proxy_header::Accepts},
    worker::{
        access::Trail,
        admission::ListenerGate,
        command::{EndpointId, ListenerId, PoolId},
        identify::Via,
        load::Load,
        places::Places,
    },
};

/// A connection that no worker drives. Dropping it closes its sockets.
#[derive(Debug)]
pub struct Parcel<F = OwnedFd> {
    /// Unique over cores and upgrades; it keeps it.
    pub id: u64,
    /// Came in on.
    pub listener: ListenerId,
    /// Client's address; `None` for Unix sockets.
    pub source: Option<SocketAddr>,
    /// What a PROXY header has told; the source is out of it too.
    pub via: Option<Box<Via>>,
    /// Accepted.
    pub since: Instant,
    /// The last byte moved.
    pub progressed_at: Instant,
    /// Closed when no byte has moved for so long.
    pub idle_timeout: Option<Duration>,
    /// How bulk is moved.
    pub accelerate: Accelerate,
    /// The pool it is to be relayed to.
    pub pool: Option<PoolId>,
    /// What its line in the access log will tell; a default one tells less.
    pub trail: Trail,
    /// The endpoint it is, or is being, relayed to.
    pub endpoint: Option<EndpointId>,
    /// What consistent hashing knows the client by, the same in every process;
    /// 0 where nothing asks for it.
    pub hash: u64,
    /// The client's side.
    pub downstream: ParcelSide<F>,
    /// What it was doing.
    pub stage: ParcelStage<F>,
    /// What it counts for; nothing, if it comes from another process. Given up
    /// last, when its sockets are closed.
    pub places: Places,
}

/// One socket and its ledger. What the kernel tells again to a new watcher
/// (readiness, the end) does not travel.
#[derive(Debug)]
pub struct ParcelSide<F = OwnedFd> {
    /// The socket: non-blocking, connected or connecting.
    pub socket: F,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// It still gathers small pieces (no TCP_NODELAY yet).
    pub gathers: bool,
    /// Urgent data was announced: nothing is spliced any more.
    pub urgent: bool,
    /// An error was announced.
    pub failed: bool,
}

/// A connection that comes to a worker, and who counts it there.
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub parcel: Parcel,
    /// This worker's counters for its listener.
    pub listener: Arc<ListenerShard>,
    /// Its listener's door, whose limits count it again; `None`: nobody
    /// remembers the listener.
    pub door: Option<Door>,
    /// Who counts it at its endpoint, if it has one.
    pub endpoint: Option<Tally>,
}

/// Where the connections of an endpoint are counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// This worker's counters for it.
    pub counters: Arc<EndpointShard>,
    /// Its connections, all workers together.
    pub load: Arc<Load>,
}

/// What limits the connections of a listener.
#[derive(Debug, Clone)]
pub struct Door {
    /// Counts them over all workers.
    pub gate: Arc<ListenerGate>,
    /// The listener's settings.
    pub config: Arc<config::Listener>,
}

/// What a connection was doing.
#[derive(Debug)]
pub enum ParcelStage<F = OwnedFd> {
    /// netd itself spoke with the client.
    Session {
        /// Which rules.
        session: ParcelSession,
        /// Came in, not consumed yet; at most one block.
        incoming: Vec<u8>,
        /// The client has ended.
        incoming_ended: bool,
        /// To go out; at most one block.
        outgoing: Vec<u8>,
        /// Nothing follows `outgoing`.
        outgoing_ended: bool,
        /// The end was passed on.
        end_sent: bool,
    },
    /// Finding an endpoint.
    Dial {
        /// What the client sent already, behind a header that was read.
        early: Vec<u8>,
        /// Further endpoints that may be tried.
        retries_left: u8,
        /// How the last attempt failed.
        failed: Option<DialFailure>,
        /// Endpoints that failed.
        tried: Vec<EndpointId>,
        /// The connect under way.
        attempt: Option<ParcelAttempt<F>>,
    },
    /// Moving bytes.
    Tunnel {
        /// The endpoint's side.
        upstream: ParcelSide<F>,
        /// Downstream to upstream.
        up: ParcelFlow,
        /// Upstream to downstream.
        down: ParcelFlow,
        /// The upstream ended first.
        upstream_ended_first: bool,
        /// The upstream went before it had taken all.
        upstream_gone: bool,
        /// When sinking what nobody wants any more ends.
        sink_until: Option<Instant>,
    },
}

/// Rules of a session that netd itself speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParcelSession {
    /// RFC 862.
    Echo,
    /// RFC 863.
    Discard,
    /// A fixed text.
    Respond {
        /// What was not handed to the wire yet.
        rest: Vec<u8>,
        /// The end of lingering, once all was said.
        until: Option<Instant>,
    },
    /// Waiting for a PROXY header.
    Header {
        /// Which versions.
        accepts: Accepts,
        /// When it must be whole.
        until: Instant,
        /// What has come of it; at most
        /// [`MAX_LENGTH`](crate::protocol::proxy_header::MAX_LENGTH).
        gathered: Vec<u8>,
        /// The rules that follow.
        next: Box<Self>,
    },
    /// To be relayed; no endpoint was looked for yet.
    Relay {
        /// Further endpoints that may be tried.
        retries: u8,
    },
}

/// A connect under way.
#[derive(Debug)]
pub struct ParcelAttempt<F = OwnedFd> {
    /// The endpoint's side.
    pub upstream: ParcelSide<F>,
    /// When it began.
    pub begun: Instant,
    /// When it is given up.
    pub deadline: Instant,
}

/// One direction of a relay.
#[derive(Debug)]
pub struct ParcelFlow {
    /// How far it is.
    pub state: FlowState,
    /// Read and not written yet.
    pub held: Held,
}

/// How far a direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlowState {
    /// Bytes may come.
    #[default]
    Open,
    /// The end was read; the rest is to be written, then the end.
    Ending,
    /// Nothing more.
    Ended,
    /// What comes is thrown away: the receiver is gone.
    Sinking,
}

/// Bytes that were read and not written yet.
#[derive(Debug)]
pub enum Held {
    /// In memory; at most one block of the worker that held them.
    Bytes(Vec<u8>),
    /// In a pipe.
    Pipe {
        /// Where they come out.
        read: OwnedFd,
        /// Where they went in.
        write: OwnedFd,
        /// How many.
        held: usize,
    },
}

impl<F> ParcelSide<F> {
    /// The socket, and all but the socket.
    pub(super) fn split(self) -> (F, ParcelSide<()>) {
        let Self { socket, received, sent, gathers, urgent, failed } = self;
        (socket, ParcelSide { socket: (), received, sent, gathers, urgent, failed })
    }
}

impl<F> Parcel<F> {
    /// Its file descriptors.
    pub fn fds(&self) -> usize {
        let pipe = |flow: &ParcelFlow| match flow.held {
            Held::Bytes(_) => 0,
            Held::Pipe { .. } => 2,
        };
        1 + match &self.stage {
            ParcelStage::Session { .. } => 0,
            ParcelStage::Dial { attempt, .. } => usize::from(attempt.is_some()),
            ParcelStage::Tunnel { up, down, .. } => 1 + pipe(up) + pipe(down),
        }
    }
}
