//! Sends a fixed text and closes.
//!
//! ```text
//! Saying --all handed over, end passed on--> Lingering --client ends, or deadline--> closed
//! ```
//!
//! What the client sends is read and thrown away: closing a socket with unread
//! bytes makes the kernel reset it, and a reset may overtake the text
//! (RFC 9112 9.6 tells the same story of HTTP).

use std::{sync::Arc, time::Instant};

use super::{CloseReason, Exchange, LINGER, Step};

/// A session that says a text.
#[derive(Debug)]
pub struct Respond {
    text: Arc<[u8]>,
    said: usize,
    until: Option<Instant>,
}

impl Respond {
    pub(super) fn new(text: Arc<[u8]>) -> Self {
        Self { text, said: 0, until: None }
    }

    /// What is left to be said by one that was begun elsewhere; `until`: the
    /// end of lingering, if all was said.
    pub fn resumed(rest: Arc<[u8]>, until: Option<Instant>) -> Self {
        Self { text: rest, said: 0, until }
    }

    /// What was not handed over yet.
    pub fn rest(&self) -> &[u8] {
        &self.text[self.said..]
    }

    /// The end of lingering, once all was said.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn advance(&mut self, exchange: &mut Exchange<'_>) -> Step {
        let wire = &mut *exchange.downstream;
        wire.incoming.clear(exchange.blocks);
        self.said += wire.outgoing.append(exchange.blocks, &self.text[self.said..]);
        if self.said < self.text.len() {
            return Step::Wait;
        }
        wire.outgoing_ended = true;
        if !wire.outgoing.is_empty() {
            return Step::Wait;
        }
        let until = *self.until.get_or_insert(exchange.now + LINGER);
        if wire.incoming_ended || exchange.now >= until { Step::Close(CloseReason::DONE_BY_NETD) } else { Step::Wait }
    }
}
