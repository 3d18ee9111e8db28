//! What control needs of whoever asks endpoints how they are.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    config::{Address, HealthCheck, Pool},
    listen::SocketOptions,
    worker,
};

/// One question to one endpoint. Pools that ask the same in the same way share
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who is asked.
    pub address: Address,
    /// What.
    pub check: Arc<HealthCheck>,
    /// How it is reached.
    pub way: Way,
}

/// How a pool's endpoints are reached: as its connections reach them, or an
/// answer would say nothing of those. There is no client, so no client's address
/// is connected from or named.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Way {
    /// The PROXY header that goes first: one of a connection of netd's own, as
    /// the specification wants it for health checks. Mostly nothing.
    pub preface: Arc<[u8]>,
    /// Options of the socket, for IP addresses; `None`: none.
    pub options: Option<Arc<SocketOptions>>,
}

impl Way {
    /// To the endpoints of this pool.
    pub fn of(pool: &Pool) -> Self {
        Self { preface: worker::own_preface(pool).into(), options: worker::own_options(pool).map(Arc::new) }
    }
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It can be used.
    Good,
    /// It cannot; why, in one line.
    Bad(String),
    /// No answer in time; to what, in one line.
    TimedOut(String),
    /// This machine could not ask (out of file descriptors, of ports, an option
    /// of the socket refused); says
    /// nothing of the endpoint.
    NotAsked(String),
}

/// A probe that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// An answer that is still to come; dropping it ends the probe.
pub type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Asks endpoints; tests put their own in its place.
pub trait Prober: Send {
    /// Asks, within the check's timeout. Uses one file descriptor.
    fn ask(&self, question: Question) -> Asking;
}
