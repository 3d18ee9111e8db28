//! Why a connection ended, as data.

/// Who ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The client.
    Downstream,
    /// The endpoint.
    Upstream,
    /// netd itself: a rule, a timeout, a fault.
    Netd,
    /// Somebody who asked for it over the admin API or by signal.
    Operator,
}

/// What the connection was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the PROXY header that says who the client is.
    Header,
    /// Finding an endpoint.
    Dial,
    /// Moving bytes.
    Open,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// All was said and delivered.
    End,
    /// TCP reset or another socket error.
    Reset,
    /// The client said nothing for the first byte timeout.
    FirstByte,
    /// The pool, and the line before it, were full.
    Full,
    /// One side had ended, and no byte moved for the half-closed timeout.
    HalfClosed,
    /// The connection was open for its whole lifetime.
    Lifetime,
    /// It was closed because netd was near a limit of its machine.
    Overload,
    /// It waited for a full pool for as long as it may.
    QueueTimeout,
    /// No byte for the idle timeout, or no endpoint answered in time.
    Timeout,
    /// No endpoint took the connection.
    Refused,
    /// The client's address cannot be connected from.
    Source,
    /// The pool had no endpoint that takes connections.
    NoEndpoint,
    /// The deadline of a drain.
    Drain,
    /// A close by id or filter.
    Kill,
    /// The daemon stopped at once.
    Shutdown,
    /// The system was out of something (file descriptors, memory).
    Resource,
    /// What came is not what the protocol asks for.
    Malformed,
    /// Who it came from may not.
    Untrusted,
}

/// Who ended a connection, in which phase, and how: one value that is log
/// field, metric label and test assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseReason {
    /// Who.
    pub by: By,
    /// In which phase.
    pub phase: Phase,
    /// What.
    pub cause: Cause,
}

const fn reason(by: By, phase: Phase, cause: Cause) -> CloseReason {
    CloseReason { by, phase, cause }
}

impl CloseReason {
    /// Both sides are done.
    pub const DONE: Self = reason(By::Downstream, Phase::Open, Cause::End);
    /// The endpoint (or, for protocols without one, netd) ended it first.
    pub const DONE_BY_UPSTREAM: Self = reason(By::Upstream, Phase::Open, Cause::End);
    /// netd has said all it had to say.
    pub const DONE_BY_NETD: Self = reason(By::Netd, Phase::Open, Cause::End);
    /// The client reset.
    pub const DOWNSTREAM_RESET: Self = reason(By::Downstream, Phase::Open, Cause::Reset);
    /// The endpoint reset.
    pub const UPSTREAM_RESET: Self = reason(By::Upstream, Phase::Open, Cause::Reset);
    /// The client reset before an endpoint answered.
    pub const DOWNSTREAM_RESET_IN_DIAL: Self = reason(By::Downstream, Phase::Dial, Cause::Reset);
    /// No byte for the idle timeout.
    pub const IDLE: Self = reason(By::Netd, Phase::Open, Cause::Timeout);
    /// The last endpoint tried did not answer in time.
    pub const CONNECT_TIMEOUT: Self = reason(By::Upstream, Phase::Dial, Cause::Timeout);
    /// The last endpoint tried refused, or could not be reached.
    pub const CONNECT_FAILED: Self = reason(By::Upstream, Phase::Dial, Cause::Refused);
    /// Connects are to come from the client's address, and none can.
    pub const SOURCE_UNUSABLE: Self = reason(By::Netd, Phase::Dial, Cause::Source);
    /// No endpoint takes connections.
    pub const NO_ENDPOINT: Self = reason(By::Netd, Phase::Dial, Cause::NoEndpoint);
    /// Out of file descriptors or memory while dialing.
    pub const RESOURCE: Self = reason(By::Netd, Phase::Dial, Cause::Resource);
    /// Ended while it rested, by a gradual drain.
    pub const RETIRED: Self = reason(By::Operator, Phase::Open, Cause::End);
    /// Cut at a drain's deadline.
    pub const DRAIN: Self = reason(By::Operator, Phase::Open, Cause::Drain);
    /// Closed over the admin API.
    pub const KILL: Self = reason(By::Operator, Phase::Open, Cause::Kill);
    /// The daemon stopped at once.
    pub const SHUTDOWN: Self = reason(By::Operator, Phase::Open, Cause::Shutdown);

    /// The client said nothing for the first byte timeout.
    pub const FIRST_BYTE: Self = reason(By::Netd, Phase::Open, Cause::FirstByte);
    /// One side had ended, and no byte moved for the half-closed timeout.
    pub const HALF_CLOSED: Self = reason(By::Netd, Phase::Open, Cause::HalfClosed);
    /// Open for its whole lifetime.
    pub const LIFETIME: Self = reason(By::Netd, Phase::Open, Cause::Lifetime);
    /// Idle, and netd was near a limit of its machine.
    pub const OVERLOAD: Self = reason(By::Netd, Phase::Open, Cause::Overload);
    /// The pool, and the line before it, were full.
    pub const POOL_FULL: Self = reason(By::Netd, Phase::Dial, Cause::Full);
    /// It waited for a full pool for as long as it may.
    pub const QUEUE_TIMEOUT: Self = reason(By::Netd, Phase::Dial, Cause::QueueTimeout);

    /// The client reset before its PROXY header was whole.
    pub const DOWNSTREAM_RESET_IN_HEADER: Self = reason(By::Downstream, Phase::Header, Cause::Reset);
    /// The client ended before its PROXY header was whole.
    pub const HEADER_INCOMPLETE: Self = reason(By::Downstream, Phase::Header, Cause::End);
    /// The PROXY header was not whole in time.
    pub const HEADER_TIMEOUT: Self = reason(By::Netd, Phase::Header, Cause::Timeout);
    /// What came is no PROXY header.
    pub const HEADER_MALFORMED: Self = reason(By::Netd, Phase::Header, Cause::Malformed);
    /// Who connected is not trusted to send a PROXY header.
    pub const HEADER_UNTRUSTED: Self = reason(By::Netd, Phase::Header, Cause::Untrusted);

    /// The client that the PROXY header names was refused.
    pub const HEADER_REFUSED: Self = reason(By::Netd, Phase::Header, Cause::Refused);

    /// Every reason there is; the order gives [`index`](Self::index).
    pub const ALL: [Self; 28] = [
        Self::DONE,
        Self::DONE_BY_UPSTREAM,
        Self::DONE_BY_NETD,
        Self::DOWNSTREAM_RESET,
        Self::UPSTREAM_RESET,
        Self::DOWNSTREAM_RESET_IN_DIAL,
        Self::IDLE,
        Self::CONNECT_TIMEOUT,
        Self::CONNECT_FAILED,
        Self::NO_ENDPOINT,
        Self::RESOURCE,
        Self::DRAIN,
        Self::KILL,
        Self::SHUTDOWN,
        Self::RETIRED,
        Self::FIRST_BYTE,
        Self::HALF_CLOSED,
        Self::LIFETIME,
        Self::OVERLOAD,
        Self::POOL_FULL,
        Self::QUEUE_TIMEOUT,
        Self::HEADER_INCOMPLETE,
        Self::HEADER_TIMEOUT,
        Self::HEADER_MALFORMED,
        Self::HEADER_UNTRUSTED,
        Self::HEADER_REFUSED,
        Self::SOURCE_UNUSABLE,
        Self::DOWNSTREAM_RESET_IN_HEADER,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|&each| each == self).unwrap_or(0)
    }
}

impl By {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Netd => "netd",
            Self::Operator => "operator",
        }
    }
}

impl Phase {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Dial => "dial",
            Self::Open => "open",
        }
    }
}

impl Cause {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Source => "source",
            Self::NoEndpoint => "no-endpoint",
            Self::Drain => "drain",
            Self::Kill => "kill",
            Self::Shutdown => "shutdown",
            Self::Resource => "resource",
            Self::FirstByte => "first-byte",
            Self::Full => "full",
            Self::HalfClosed => "half-closed",
            Self::Lifetime => "lifetime",
            Self::Overload => "overload",
            Self::QueueTimeout => "queue-timeout",
            Self::Malformed => "malformed",
            Self::Untrusted => "untrusted",
        }
    }
}
