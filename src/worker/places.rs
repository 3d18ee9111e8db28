//! The places that a connection has in the counts of limits, while no worker
//! drives it: between two workers they go along with it, so that nobody else is
//! let in meanwhile. Between two processes the successor keeps places for those
//! that are announced ([`Kept`]).

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use crate::worker::{
    admission::Admitted,
    budget::Loan,
    line::{PoolPass, Waiting},
    load::Place,
};

/// What a connection on its way counts for. Dropping it gives all up.
#[derive(Debug, Default)]
pub struct Places {
    /// At its process, listener and source.
    pub(super) admitted: Option<Admitted>,
    /// In its pool.
    pub(super) pass: Option<PoolPass>,
    /// At its endpoint.
    pub(super) endpoint: Option<Place>,
    /// In the line of its pool.
    pub(super) waiting: Option<Waiting>,
    /// Its file descriptors.
    pub(super) fds: Option<Loan>,
}

impl Places {
    /// The counts alone, for a connection whose file descriptors are closed
    /// here and which is another process's.
    #[must_use]
    pub fn without_descriptors(self) -> Self {
        Self { waiting: None, fds: None, ..self }
    }
}

/// Places that were taken for connections which are yet to come. They are in
/// the count that they belong to already.
#[derive(Debug, Default)]
pub(super) struct Kept(AtomicU64);

impl Kept {
    /// So many more were taken.
    pub(super) fn keep(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// One of those has come: its place is taken already. `false`: it is none
    /// of them.
    pub(super) fn claim(&self) -> bool {
        // Nearly always there is none.
        self.0.load(Relaxed) > 0 && self.0.fetch_update(SeqCst, Relaxed, |kept| kept.checked_sub(1)).is_ok()
    }

    /// As many of `n` as there are.
    pub(super) fn claim_up_to(&self, n: u64) -> u64 {
        match self.0.fetch_update(SeqCst, Relaxed, |kept| Some(kept.saturating_sub(n))) {
            Ok(kept) | Err(kept) => kept.min(n),
        }
    }

    /// Nobody else comes: so many places are to be given back.
    pub(super) fn release(&self) -> u64 {
        self.0.swap(0, SeqCst)
    }
}
