//! What control may tell a worker. Owned values only; nothing is shared but
//! immutable snapshots and single-writer counters.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use crate::{
    balance::{Policy, Tables},
    config::{self, Address},
    listen::{Duplicate, ListenSocket},
    metrics::{EndpointShard, ListenerShard, PoolShard},
    protocol::CloseReason,
    slots::SlotId,
    worker::{
        admission::ListenerGate,
        identify::Via,
        line::PoolGate,
        load::Load,
        parcel::{Arrival, Parcel},
    },
};

/// Names a listener among all that this process ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// Names a pool among all that this process ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u32);

/// Names an endpoint among all that this process ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

/// A listener as one worker sees it.
#[derive(Debug, Clone)]
pub struct ListenerSpec {
    /// Its identity.
    pub id: ListenerId,
    /// Its settings.
    pub config: Arc<config::Listener>,
    /// The pools it relays to; some exactly if the protocol is `tcp`.
    pub pools: Vec<Share>,
    /// This worker's counters for it.
    pub counters: Arc<ListenerShard>,
    /// What all workers share of it.
    pub gate: Arc<ListenerGate>,
}

/// A pool of a listener, overrides applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which.
    pub pool: PoolId,
    /// Its share of the listener's connections.
    pub weight: u16,
}

/// A pool as one worker sees it, overrides applied.
#[derive(Debug, Clone)]
pub struct PoolSpec {
    /// Its identity.
    pub id: PoolId,
    /// Its settings.
    pub config: Arc<config::Pool>,
    /// How it chooses.
    pub policy: Policy,
    /// What the policy needs for these endpoints; all workers share it.
    pub tables: Tables,
    /// In the order of the file.
    pub endpoints: Vec<EndpointSpec>,
    /// This worker's counters for it.
    pub counters: Arc<PoolShard>,
    /// What all workers share of it.
    pub gate: Arc<PoolGate>,
}

/// An endpoint as one worker sees it, overrides applied.
#[derive(Debug, Clone)]
pub struct EndpointSpec {
    /// Its identity.
    pub id: EndpointId,
    /// Where it is.
    pub address: Address,
    /// Share of new connections, compared with the others' of the pool; 0
    /// takes none.
    pub weight: u32,
    /// Takes connections only if no other does.
    pub backup: bool,
    /// Most connections that it may have; `None`: no limit.
    pub max_connections: Option<u32>,
    /// Its connections, all workers together.
    pub load: Arc<Load>,
    /// This worker's counters for it.
    pub counters: Arc<EndpointShard>,
}

/// An order to one worker. Orders are begun in the order they were sent;
/// [`Query`](Self::Query) and [`Close`](Self::Close) go on a piece a turn, one
/// behind the other, while traffic and other orders have their turns.
#[derive(Debug)]
pub enum Command {
    /// Adds a pool, or replaces what is known of it. Connections that are open
    /// keep their endpoint.
    SetPool(PoolSpec),
    /// Forgets a pool; no listener refers to it any more. Connections that are
    /// open keep their endpoint.
    RemovePool(PoolId),
    /// Begins to accept. A worker may be given several sockets of one listener;
    /// they go by its id, all together.
    AddListener(ListenerSpec, ListenSocket),
    /// Other settings for connections accepted from now on.
    UpdateListener(ListenerSpec),
    /// Accepts what waits in the queue, then closes the socket, then replies.
    /// Open connections go on.
    StopListener(ListenerId, Reply<()>),
    /// Gives a listener's sockets away, their accept queues with them; none, if
    /// there is no such listener or it is stopping. Open connections go on.
    ReleaseListener(ListenerId, Reply<Vec<ListenSocket>>),
    /// Duplicates of a listener's sockets, which it goes on with; an error if
    /// file descriptors run out.
    DuplicateListener(ListenerId, Reply<io::Result<Vec<Duplicate>>>),
    /// Further descriptors of a listener's first socket, as many as asked for or
    /// as can be had: for other workers of this process, which then accept from
    /// the same queue.
    ShareListener(ListenerId, usize, Reply<Vec<ListenSocket>>),
    /// Accepts no more of a listener (`None`: of all that there are), but keeps
    /// the sockets and their queues.
    PauseListener(Option<ListenerId>, Reply<()>),
    /// Accepts again.
    ResumeListener(Option<ListenerId>),
    /// Takes connections out of the worker, at most `limit` and at most 256 of
    /// those selected; answers them. They are nobody's until they are imported,
    /// and close when they are dropped. Empty: there is none.
    Export {
        /// Which.
        selection: Selection,
        /// How many.
        limit: usize,
        /// The answer.
        reply: Reply<Vec<Parcel>>,
    },
    /// Takes connections on; answers those that it cannot. The counters must be
    /// this worker's, and pools must have been told before.
    Import(Vec<Arrival>, Reply<Vec<Parcel>>),
    /// Names at most so many of the connections that rest, the longest idle
    /// first; see [`Resting`].
    Resting(Filter, usize, Reply<Vec<Resting>>),
    /// Ends connections in good order, if no byte has moved since; replies with
    /// the ids that were ended.
    Retire(Vec<Resting>, CloseReason, Reply<Vec<u64>>),
    /// Lists connections, ordered by id: those that are open from now to the
    /// answer, and some of those that close meanwhile.
    Query(Query, Reply<Vec<ConnectionInfo>>),
    /// Resets connections that are open now; replies with the ids that were
    /// ended.
    Close(Selection, CloseReason, Reply<Vec<u64>>),
    /// A connection that waits for its pool may be the first of the line now;
    /// workers tell each other.
    TryPool(SlotId),
    /// Has connections of these endpoints over which no byte has gone yet dial
    /// another endpoint of their pool, if it has one that takes connections;
    /// replies with the ids of those that do. They keep what they have until
    /// another endpoint has taken them, and go on with it if none does.
    Redial(Vec<EndpointId>, Reply<Vec<u64>>),
    /// Tells which pool and endpoint a connection would get that came now, and
    /// changes nothing; `None`: no such listener, or it relays to no pool.
    Foretell(Foretell, Reply<Option<Foretold>>),
    /// Answers at once: the heartbeat.
    Ping(Reply<()>),
    /// Resets every connection, closes every listener and ends the thread.
    Stop,
}

/// Where a worker's answer goes; called on the worker's thread, must not block.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    /// An answer that is handed to `send`.
    pub fn new(send: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(send))
    }

    /// Gives the answer.
    pub fn send(self, answer: T) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// A connection that might come.
#[derive(Debug, Clone, Copy)]
pub struct Foretell {
    /// To this listener.
    pub listener: ListenerId,
    /// From there; `None`: over a Unix socket.
    pub source: Option<SocketAddr>,
}

/// What it would get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foretold {
    /// The pool.
    pub pool: PoolId,
    /// The endpoint, or why there is none.
    pub endpoint: Result<EndpointId, Nobody>,
}

/// Why a pool has no endpoint for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nobody {
    /// None takes connections, or all that do were tried.
    Taking,
    /// Those that would take it have as many connections as they may.
    Full,
    /// It is to be connected to from the client's address, which cannot be used
    /// towards any that would take the connection.
    Suited,
}

/// Which connections, on this worker.
#[derive(Debug, Clone)]
pub enum Selection {
    /// These ids.
    Ids(Vec<u64>),
    /// Those that match.
    Matching(Filter),
}

/// Every field that is set must match.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Came in on one of these.
    pub listeners: Option<Vec<ListenerId>>,
    /// Relayed to one of these.
    pub endpoints: Option<Vec<EndpointId>>,
    /// Client's network: address and prefix length.
    pub source: Option<(IpAddr, u8)>,
    /// Accepted at this time or earlier.
    pub accepted_before: Option<Instant>,
    /// No byte moved since this time or earlier.
    pub idle_since: Option<Instant>,
}

/// A connection that nobody is waiting for: both directions are open, and netd
/// holds no byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resting {
    /// The last byte moved.
    pub since: Instant,
    /// Its number.
    pub id: u64,
}

/// One page of connections.
#[derive(Debug, Clone)]
pub struct Query {
    /// Which.
    pub filter: Filter,
    /// Only ids above this.
    pub after: Option<u64>,
    /// At most so many, those with the lowest ids.
    pub limit: usize,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// Waiting for its PROXY header.
    Identifying,
    /// Finding an endpoint.
    Dialing,
    /// Both directions open.
    Open,
    /// One direction has ended.
    HalfClosed,
    /// Only delivering what is left.
    Closing,
}

/// A live connection as its worker sees it.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Unique over cores and upgrades.
    pub id: u64,
    /// Came in on.
    pub listener: ListenerId,
    /// Client's address; `None` for Unix sockets.
    pub source: Option<SocketAddr>,
    /// What a PROXY header has told.
    pub via: Option<Box<Via>>,
    /// Relayed to.
    pub endpoint: Option<EndpointId>,
    /// See [`ConnectionState`].
    pub state: ConnectionState,
    /// Accepted.
    pub since: Instant,
    /// The last byte moved.
    pub progressed_at: Instant,
    /// From the client.
    pub bytes_from_downstream: u64,
    /// To the client.
    pub bytes_to_downstream: u64,
}
