//! The protocol between a running netd (the predecessor) and the new binary
//! (the successor), over a socket pair; `docs/upgrade-protocol.md` tells the
//! whole story, `proto/netd/handover/v1/handover.proto` every message.
//!
//! Predecessor: start the binary ([`process::successor`](crate::process::successor)),
//! then [`hand_over`]. Successor: [`Arrival`], blocking, before its runtime
//! exists; then [`take_over`].

mod codec;
mod convert;
mod line;
mod moment;
mod predecessor;
mod successor;
mod types;

pub use predecessor::hand_over;
pub use successor::{Arrival, Succession, take_over};
pub use types::*;

#[cfg(test)]
mod tests;
