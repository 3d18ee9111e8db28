//! What control needs of whoever asks endpoints how they are.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::config::{Address, HealthCheck};

/// One question to one endpoint. Pools that ask the same share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who is asked.
    pub address: Address,
    /// What.
    pub check: Arc<HealthCheck>,
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
    /// This machine could not ask (out of file descriptors, of ports); says
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
