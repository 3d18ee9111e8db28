//! What control may tell a worker. Owned values only; nothing is shared but
//! immutable snapshots and single-writer counters.

use std::{fmt, io, net::IpAddr, sync::Arc, time::Instant};

use crate::{
    config::{self, Address},
    listen::{Duplicate, ListenSocket},
    metrics::{EndpointShard, ListenerShard, PoolShard},
    protocol::CloseReason,
    worker::{
        identify::Via,
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
    /// The pool it relays to; set exactly if the protocol is `tcp`.
    pub pool: Option<PoolId>,
    /// This worker's counters for it.
    pub counters: Arc<ListenerShard>,
}

/// A pool as one worker sees it, overrides applied.
#[derive(Debug, Clone)]
pub struct PoolSpec {
    /// Its identity.
    pub id: PoolId,
    /// Its settings.
    pub config: Arc<config::Pool>,
    /// In the order of the file.
    pub endpoints: Vec<EndpointSpec>,
    /// This worker's counters for it.
    pub counters: Arc<PoolShard>,
}

/// An endpoint as one worker sees it, overrides applied.
#[derive(Debug, Clone)]
pub struct EndpointSpec {
    /// Its identity.
    pub id: EndpointId,
    /// Where it is.
    pub address: Address,
    /// Share of new connections; 0 takes none.
    pub weight: u16,
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
    /// Lists connections, ordered by id: those that are open from now to the
    /// answer, and some of those that close meanwhile.
    Query(Query, Reply<Vec<ConnectionInfo>>),
    /// Resets connections that are open now; replies with the ids that were
    /// ended.
    Close(Selection, CloseReason, Reply<Vec<u64>>),
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
    pub source: Option<std::net::SocketAddr>,
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
