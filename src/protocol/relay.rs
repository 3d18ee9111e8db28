//! TCP relay: find an endpoint, then move bytes both ways.

use super::{CloseReason, Step};

/// Why an endpoint could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialFailure {
    /// It refused, or there is no way to it.
    Refused,
    /// The client's address, which the connect was to come from, cannot be used
    /// for it.
    Source,
    /// It did not answer in time.
    TimedOut,
    /// netd's own machine is out of something; another endpoint would not help.
    Resource,
    /// No endpoint is left that takes connections and was not tried.
    NoEndpoint,
}

/// The rules of a relay until it is a tunnel: "try another endpoint?".
#[derive(Debug)]
pub struct Relay {
    retries_left: u8,
    failed: Option<DialFailure>,
}

impl Relay {
    /// A relay that tries at most `retries` further endpoints.
    pub fn new(retries: u8) -> Self {
        Self { retries_left: retries, failed: None }
    }

    /// A relay that has failed before, elsewhere.
    pub fn resumed(retries_left: u8, failed: Option<DialFailure>) -> Self {
        Self { retries_left, failed }
    }

    /// Further endpoints that may be tried.
    pub fn retries_left(&self) -> u8 {
        self.retries_left
    }

    /// How the last attempt failed.
    pub fn last_failure(&self) -> Option<DialFailure> {
        self.failed
    }

    pub(super) fn begin(&self) -> Step {
        Step::Dial
    }

    /// An endpoint was reached.
    pub fn connected(&self) -> Step {
        Step::Tunnel
    }

    /// An endpoint was not reached. Nothing has been sent to the client yet,
    /// so another one may be tried.
    pub fn failed(&mut self, failure: DialFailure) -> Step {
        match failure {
            DialFailure::Resource => Step::Close(CloseReason::RESOURCE),
            DialFailure::NoEndpoint => Step::Close(match self.failed {
                None => CloseReason::NO_ENDPOINT,
                Some(failed) => reason(failed),
            }),
            DialFailure::Refused | DialFailure::Source | DialFailure::TimedOut => {
                self.failed = Some(failure);
                match self.retries_left.checked_sub(1) {
                    Some(left) => {
                        self.retries_left = left;
                        Step::Dial
                    }
                    None => Step::Close(reason(failure)),
                }
            }
        }
    }
}

/// How a connection ends whose last attempt failed so.
fn reason(failed: DialFailure) -> CloseReason {
    match failed {
        DialFailure::TimedOut => CloseReason::CONNECT_TIMEOUT,
        DialFailure::Source => CloseReason::SOURCE_UNUSABLE,
        DialFailure::Refused | DialFailure::Resource | DialFailure::NoEndpoint => CloseReason::CONNECT_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_as_many_endpoints_as_it_may() {
        let mut relay = Relay::new(2);
        assert_eq!(relay.failed(DialFailure::Refused), Step::Dial);
        assert_eq!(relay.failed(DialFailure::TimedOut), Step::Dial);
        assert_eq!(relay.failed(DialFailure::Refused), Step::Close(CloseReason::CONNECT_FAILED));
    }

    #[test]
    fn running_out_of_endpoints_tells_how_the_last_one_failed() {
        let mut relay = Relay::new(2);
        assert_eq!(relay.failed(DialFailure::NoEndpoint), Step::Close(CloseReason::NO_ENDPOINT));
        let _ = relay.failed(DialFailure::TimedOut);
        assert_eq!(relay.failed(DialFailure::NoEndpoint), Step::Close(CloseReason::CONNECT_TIMEOUT));
        let _ = relay.failed(DialFailure::Source);
        assert_eq!(relay.failed(DialFailure::NoEndpoint), Step::Close(CloseReason::SOURCE_UNUSABLE));
    }

    #[test]
    fn a_fault_of_our_own_is_not_tried_elsewhere() {
        assert_eq!(Relay::new(9).failed(DialFailure::Resource), Step::Close(CloseReason::RESOURCE));
    }
}
