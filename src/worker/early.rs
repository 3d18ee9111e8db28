//! Connections that an endpoint took and then did not serve.

use std::time::{Duration, Instant};

use crate::{
    protocol::{By, CloseReason, Phase},
    worker::conn::{Conn, Stage},
};

/// An end within this time is a refusal; later it is rather the endpoint's own
/// idle timeout.
const SOON: Duration = Duration::from_secs(1);

impl<S> Conn<S> {
    /// Whether the endpoint ended it, by a reset or first of both, before it had
    /// sent a byte, and soon after the connect or after the last byte that the
    /// client sent.
    pub(super) fn was_cut_short(&self, reason: CloseReason, now: Instant) -> bool {
        let Stage::Tunnel { upstream, .. } = &self.stage else { return false };
        reason.by == By::Upstream
            && reason.phase == Phase::Open
            && upstream.received == 0
            && now.saturating_duration_since(self.progressed_at) < SOON
    }
}
