//! The data plane: one worker a core owns its listeners, connections, timers,
//! buffers and counters alone.
//!
//! Control holds a [`Handle`] to each worker and sends it [`Command`]s; what
//! comes back are the answers asked for and the counters.
//!
//! The way of a byte: `run` (the reactor's handler) -> `accept` -> `conn`
//! (drives a session of `protocol`, or, once `dial` has found an endpoint, a
//! `tunnel`) -> `transport` -> kernel. Down go method calls; up come values.
//!
//! A connection may leave for another worker (`export`): each of these rooms
//! has a `freeze` that takes it apart into a [`Parcel`] and puts it together.

mod accept;
mod access;
mod admission;
mod budget;
mod by_id;
mod clocks;
mod command;
mod conn;
mod dial;
mod early;
mod export;
mod handle;
mod hold;
mod identify;
mod ids;
mod key;
mod line;
mod load;
mod outgoing;
mod parcel;
mod places;
mod pools;
mod query;
mod redial;
mod refuse;
mod retire;
mod run;
mod split;
mod supplies;
mod transport;
mod tunnel;
mod walk;

pub use access::{AccessLog, AccessRecord, Span, Trail};
pub use admission::{ListenerGate, ProcessGate};
pub use budget::FdBudget;
pub use command::{
    Command, ConnectionInfo, ConnectionState, EndpointId, EndpointSpec, Filter, Foretell, Foretold, ListenerId,
    ListenerSpec, Nobody, PoolId, PoolSpec, Query, Reply, Resting, Selection, Share,
};
pub use handle::{Handle, Overloaded, Settings};
pub use identify::Via;
pub use ids::{MAX_WORKERS, worker_of};
pub use line::PoolGate;
pub use load::Load;
pub use outgoing::{own_options, own_preface, refused_upstream, socket_options};
pub use parcel::{
    Arrival, Door, FlowState, Held, Parcel, ParcelAttempt, ParcelFlow, ParcelSession, ParcelSide, ParcelStage, Tally,
};
pub use places::Places;

#[cfg(test)]
mod script;
