//! RFC 862: sends back what it gets, until the client ends.

use super::{CloseReason, Exchange, Step};

/// An echo session.
#[derive(Debug, Default)]
pub struct Echo;

impl Echo {
    pub(super) fn advance(&mut self, exchange: &mut Exchange<'_>) -> Step {
        let wire = &mut *exchange.downstream;
        if wire.outgoing.is_empty() {
            std::mem::swap(&mut wire.incoming, &mut wire.outgoing);
        }
        if wire.incoming_ended && wire.incoming.is_empty() {
            if wire.outgoing.is_empty() {
                return Step::Close(CloseReason::DONE);
            }
            wire.outgoing_ended = true;
        }
        Step::Wait
    }
}
