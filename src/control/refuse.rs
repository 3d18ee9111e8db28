//! Changes that are not begun.

use super::{
    connections::answer,
    request::{Refusal, Request},
};

/// Answers a change that is not begun.
pub(super) fn refuse(change: Request, refusal: Refusal) {
    match change {
        Request::Reload(_, reply) => answer(reply, Err(refusal)),
        Request::Rollback(_, reply) => answer(reply, Err(refusal)),
        Request::Drain(_, reply) => answer(reply, Err(refusal)),
        Request::Undrain(_, _, reply) | Request::StopListener(_, reply) => answer(reply, Err(refusal)),
        Request::StartListener(_, _, reply) => answer(reply, Err(refusal)),
        Request::SetEndpoint(_, reply) => answer(reply, Err(refusal)),
        Request::SetSplit(_, reply) => answer(reply, Err(refusal)),
        Request::Upgrade(_, reply) => answer(reply, Err(refusal)),
        Request::Rebalance(_, reply) => answer(reply, Err(refusal)),
        // No other request changes anything; its asker sees a dropped answer.
        _ => {}
    }
}
