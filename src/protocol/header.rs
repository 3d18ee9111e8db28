//! Waiting for the PROXY header that a connection begins with.
//!
//! What comes before it is whole belongs to nobody yet: it is gathered here, at
//! most [`MAX_LENGTH`](super::proxy_header::MAX_LENGTH) bytes of it. What
//! follows in the same read stays on the wire for the session behind it.

use std::time::Instant;

use super::{
    CloseReason, Exchange, Session, Step,
    proxy_header::{Accepts, Header, Malformed, Parsed, parse},
};
use crate::wire::Buffer;

/// A connection whose client is not known yet.
#[derive(Debug)]
pub struct Awaiting {
    accepts: Accepts,
    until: Instant,
    /// What has come of the header.
    gathered: Vec<u8>,
    outcome: Option<Result<Header, Malformed>>,
    next: Session,
}

impl Awaiting {
    /// Waits until `until`; `next` follows.
    pub fn new(accepts: Accepts, until: Instant, next: Session) -> Self {
        Self::resumed(accepts, until, Vec::new(), next)
    }

    /// One that has waited elsewhere, where so much had come.
    pub fn resumed(accepts: Accepts, until: Instant, gathered: Vec<u8>, next: Session) -> Self {
        Self { accepts, until, gathered, outcome: None, next }
    }

    /// What may come.
    pub fn accepts(&self) -> Accepts {
        self.accepts
    }

    /// When it must have come.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// What has come of it.
    pub fn gathered(&self) -> &[u8] {
        &self.gathered
    }

    /// What follows it.
    pub fn next(&self) -> &Session {
        &self.next
    }

    /// Why there will be none, if that is so.
    pub fn malformed(&self) -> Option<Malformed> {
        self.outcome.as_ref().and_then(|outcome| outcome.as_ref().err().copied())
    }

    /// The header and what follows; only behind [`Step::Identified`].
    pub fn finish(self) -> (Header, Session) {
        (self.outcome.and_then(Result::ok).unwrap_or_default(), self.next)
    }

    pub(super) fn advance(&mut self, exchange: &mut Exchange<'_>) -> Step {
        if self.outcome.is_none() {
            self.read(exchange);
        }
        match &self.outcome {
            Some(Ok(_)) => Step::Identified,
            Some(Err(_)) => Step::Close(CloseReason::HEADER_MALFORMED),
            None if exchange.downstream.incoming_ended => Step::Close(CloseReason::HEADER_INCOMPLETE),
            None if exchange.now >= self.until => Step::Close(CloseReason::HEADER_TIMEOUT),
            None => Step::Wait,
        }
    }

    fn read(&mut self, exchange: &mut Exchange<'_>) {
        let (incoming, blocks) = (&mut exchange.downstream.incoming, &mut *exchange.blocks);
        if incoming.is_empty() {
            return;
        }
        if !self.gathered.is_empty() {
            self.gathered.extend_from_slice(incoming.data());
        }
        let bytes = if self.gathered.is_empty() { incoming.data() } else { &self.gathered };
        match parse(bytes, self.accepts) {
            Ok(Parsed::Partial) if self.gathered.is_empty() => self.gathered = incoming.take(blocks),
            Ok(Parsed::Partial) => incoming.clear(blocks),
            // Mostly it comes whole, and nothing is copied.
            Ok(Parsed::Whole { length, header }) => {
                if self.gathered.is_empty() {
                    incoming.consume(blocks, length);
                } else {
                    incoming.clear(blocks);
                    *incoming = Buffer::holding(blocks, self.gathered.split_off(length));
                    self.gathered = Vec::new();
                }
                self.outcome = Some(Ok(header));
            }
            Err(malformed) => {
                incoming.clear(blocks);
                self.gathered = Vec::new();
                self.outcome = Some(Err(malformed));
            }
        }
    }
}
