//! RFC 863: reads and throws away, until the client ends.

use super::{CloseReason, Exchange, Step};

/// A discard session.
#[derive(Debug, Default)]
pub struct Discard;

impl Discard {
    pub(super) fn advance(&mut self, exchange: &mut Exchange<'_>) -> Step {
        let wire = &mut *exchange.downstream;
        wire.incoming.clear(exchange.blocks);
        if wire.incoming_ended { Step::Close(CloseReason::DONE) } else { Step::Wait }
    }
}
