//! The data plane: one worker a core owns its listeners, connections, timers,
//! buffers and counters alone.
//!
//! Control holds a [`Handle`] to each worker and sends it [`Command`]s; what
//! comes back are the answers asked for and the counters.

mod command;
mod handle;

pub use command::{
    Command, ConnectionInfo, ConnectionState, EndpointId, EndpointSpec, Filter, ListenerId, ListenerSpec, PoolId,
    PoolSpec, Query, Reply, Selection,
};
pub use handle::{Handle, Overloaded, Settings};
