//! The rules of one connection: bytes, marks and time in; steps out.
//!
//! A session is level-style: [`Session::advance`] may be called again at any
//! moment, and does nothing if there is nothing to do. Half-close is a mark in
//! and a mark out; back-pressure is a full buffer left unread.
//!
//! To add a protocol: a file beside these, a variant here, and a variant of
//! `config::Protocol`.

mod close;
mod discard;
mod echo;
mod header;
pub mod proxy_header;
mod relay;
mod respond;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use close::{By, Cause, CloseReason, Phase};
pub use discard::Discard;
pub use echo::Echo;
pub use header::Awaiting;
pub use relay::{DialFailure, Relay};
pub use respond::Respond;

use crate::wire::{BlockPool, Wire};

/// How long netd goes on reading after the last word was said, so that a reset
/// does not overtake it.
pub const LINGER: Duration = Duration::from_secs(5);

/// What a session sees and changes when it advances.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The client's side.
    pub downstream: &'a mut Wire,
    /// Where buffers come from and go to.
    pub blocks: &'a mut BlockPool,
    /// The time of this turn.
    pub now: Instant,
}

/// What a session wants to happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Nothing until bytes have moved or the deadline has come.
    Wait,
    /// The client is known now: take the header, see whether it may come in,
    /// and go on with the session behind it.
    Identified,
    /// Connect to an endpoint that was not tried yet.
    Dial,
    /// Relay between both sides until both are done.
    Tunnel,
    /// The connection is over.
    Close(CloseReason),
}

/// The rules of one connection. The set of protocols is closed; a worker mixes
/// them.
#[derive(Debug)]
pub enum Session {
    /// RFC 862.
    Echo(Echo),
    /// RFC 863.
    Discard(Discard),
    /// A fixed text.
    Respond(Respond),
    /// TCP relay to a pool.
    Relay(Relay),
    /// One of the others, once a PROXY header has said who the client is.
    Header(Box<Awaiting>),
}

impl Session {
    /// A session that says `text` and closes.
    pub fn respond(text: Arc<[u8]>) -> Self {
        Self::Respond(Respond::new(text))
    }

    /// Does what can be done with the bytes at hand.
    pub fn advance(&mut self, exchange: &mut Exchange<'_>) -> Step {
        match self {
            Self::Echo(echo) => echo.advance(exchange),
            Self::Discard(discard) => discard.advance(exchange),
            Self::Respond(respond) => respond.advance(exchange),
            Self::Relay(relay) => relay.begin(),
            Self::Header(awaiting) => awaiting.advance(exchange),
        }
    }

    /// When the session must advance even if nothing moves, and then closes.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Respond(respond) => respond.until(),
            Self::Header(awaiting) => Some(awaiting.until()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
