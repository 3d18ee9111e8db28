//! The part that decides. [`Request`]s come in over a [`Handle`]; the
//! [`Controller`] answers them, one change in flight at a time.
//!
//! What shall be (`state`: configuration and overrides) is compared with what
//! the workers were told (`told`); what differs is carried out (`fleet`) after
//! all sockets that it needs are there (`sockets`). So reload, drain, stop,
//! start, endpoint settings and expiries are one mechanism. Decisions are pure
//! (`state`, `told`, `plan`, `drain`, `lifecycle`, `why`, `observe`, `generations`,
//! `trial`, `guard`, `removed`, `ramp`, `health`, `rebalance`); the edges are
//! async (`controller`, `gather`). Connections go from worker to worker, and workers come
//! and go, by `moves`.

mod balancing;
mod bring_up;
mod changes;
mod checks;
mod choice;
mod clock;
mod connections;
mod controller;
mod crew;
mod crew_change;
mod drain;
mod drain_plan;
mod drains;
mod estimate;
mod event;
mod figures;
mod fleet;
mod gather;
mod generations;
mod gone;
mod gradual;
mod guard;
mod handle;
mod health;
mod history;
mod journal;
mod lane;
mod lifecycle;
mod limits;
mod logs;
mod moves;
mod names;
mod observe;
mod overload;
mod plan;
mod port;
mod prober;
mod ramp;
mod rebalance;
mod redial;
mod refusals;
mod refuse;
mod reload;
mod removed;
mod request;
mod revert;
mod shelf;
mod sockets;
mod standing;
mod start;
mod state;
#[cfg(test)]
mod testing;
mod told;
mod trial;
mod upgrade;
mod upstreams;
mod views;
mod why;

pub use balancing::*;
pub use checks::{CheckRequest, CheckResults, Checked};
pub use clock::{Clock, Now};
pub use controller::{Controller, End};
pub use handle::Handle;
pub use history::*;
pub use port::WorkerPort;
pub use prober::{Answer, Asking, Outcome, Prober, Question, Way};
pub use request::*;
pub use sockets::{Binder, SystemBinder};
pub use start::{ApplyAccess, ApplyLog, FinishAccess, Hook, Keep, Pace, Parse, Prepared, Signal, Source, Start, Usage};
pub use upgrade::*;
