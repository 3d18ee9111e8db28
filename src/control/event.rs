//! What happened, as data.

use std::time::SystemTime;

use super::request::Provenance;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// See [`EventKind`].
    pub kind: EventKind,
    /// `listener/web` ...; empty: the daemon.
    pub object: String,
    /// One line.
    pub text: String,
    /// Who asked for it.
    pub by: Option<Provenance>,
}

/// Kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the API, see WatchEvents in the proto file")]
pub enum EventKind {
    Started,
    Reloaded,
    ReloadRefused,
    LameDuck,
    ReloadConfirmed,
    ReloadReverted,
    RolledBack,
    DrainStarted,
    DrainEnded,
    Undrained,
    ListenerStarted,
    ListenerStopped,
    ListenerPaused,
    ListenerResumed,
    OverrideSet,
    OverrideCleared,
    OverrideExpired,
    EndpointFailing,
    EndpointRecovered,
    EndpointHealthy,
    EndpointUnhealthy,
    EndpointEjected,
    EndpointReadmitted,
    EjectionsRefused,
    PoolPanic,
    PoolPanicEnded,
    ConnectionsClosed,
    ConnectionsRefused,
    ConnectionsMoved,
    WorkersChanged,
    LogLevel,
    Overload,
    Shutdown,
    UpgradeStarted,
    Upgraded,
    UpgradeFailed,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 36] = [
        Self::Started,
        Self::Reloaded,
        Self::ReloadRefused,
        Self::LameDuck,
        Self::ReloadConfirmed,
        Self::ReloadReverted,
        Self::RolledBack,
        Self::DrainStarted,
        Self::DrainEnded,
        Self::Undrained,
        Self::ListenerStarted,
        Self::ListenerStopped,
        Self::ListenerPaused,
        Self::ListenerResumed,
        Self::OverrideSet,
        Self::OverrideCleared,
        Self::OverrideExpired,
        Self::EndpointFailing,
        Self::EndpointRecovered,
        Self::EndpointHealthy,
        Self::EndpointUnhealthy,
        Self::EndpointEjected,
        Self::EndpointReadmitted,
        Self::EjectionsRefused,
        Self::PoolPanic,
        Self::PoolPanicEnded,
        Self::ConnectionsClosed,
        Self::ConnectionsRefused,
        Self::ConnectionsMoved,
        Self::WorkersChanged,
        Self::LogLevel,
        Self::Overload,
        Self::Shutdown,
        Self::UpgradeStarted,
        Self::Upgraded,
        Self::UpgradeFailed,
    ];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Reloaded => "reloaded",
            Self::ReloadRefused => "reload-refused",
            Self::LameDuck => "lame-duck",
            Self::ReloadConfirmed => "reload-confirmed",
            Self::ReloadReverted => "reload-reverted",
            Self::RolledBack => "rolled-back",
            Self::DrainStarted => "drain-started",
            Self::DrainEnded => "drain-ended",
            Self::Undrained => "undrained",
            Self::ListenerStarted => "listener-started",
            Self::ListenerStopped => "listener-stopped",
            Self::ListenerPaused => "listener-paused",
            Self::ListenerResumed => "listener-resumed",
            Self::OverrideSet => "override-set",
            Self::OverrideCleared => "override-cleared",
            Self::OverrideExpired => "override-expired",
            Self::EndpointFailing => "endpoint-failing",
            Self::EndpointRecovered => "endpoint-recovered",
            Self::EndpointHealthy => "endpoint-healthy",
            Self::EndpointUnhealthy => "endpoint-unhealthy",
            Self::EndpointEjected => "endpoint-ejected",
            Self::EndpointReadmitted => "endpoint-readmitted",
            Self::EjectionsRefused => "ejections-refused",
            Self::PoolPanic => "pool-panic",
            Self::PoolPanicEnded => "pool-panic-ended",
            Self::ConnectionsClosed => "connections-closed",
            Self::ConnectionsRefused => "connections-refused",
            Self::Overload => "overload",
            Self::ConnectionsMoved => "connections-moved",
            Self::WorkersChanged => "workers-changed",
            Self::LogLevel => "log-level",
            Self::Shutdown => "shutdown",
            Self::UpgradeStarted => "upgrade-started",
            Self::Upgraded => "upgraded",
            Self::UpgradeFailed => "upgrade-failed",
        }
    }
}
