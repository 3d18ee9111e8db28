//! What is shown of an endpoint's health.

use std::time::{Duration, SystemTime};

/// What checks and connections say of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing speaks against it, but nobody asks it.
    Unchecked,
    /// It was not asked yet.
    Unknown,
    /// Its checks succeed.
    Healthy,
    /// Its checks fail.
    Unhealthy,
    /// Its connections failed: it gets none for a while.
    Ejected,
}

impl Standing {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }

    /// Whether it can be used, as far as is known.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Unchecked | Self::Healthy)
    }
}

/// An endpoint's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthView {
    /// See [`Standing`].
    pub standing: Standing,
    /// Why, in one line; empty: nothing turned yet.
    pub why: String,
    /// Since when.
    pub since: SystemTime,
    /// When it last became usable after it was not.
    pub healthy_at: Option<SystemTime>,
    /// Kind of its check; `None`: it is not asked.
    pub check: Option<&'static str>,
    /// The last probe that was made.
    pub last: Option<LastProbe>,
    /// Ejections since start.
    pub ejections: u64,
    /// Until when it is ejected.
    pub ejected_until: Option<SystemTime>,
    /// Why it would be ejected if not as many were already as may be.
    pub spared: Option<String>,
    /// How often that was so since start.
    pub ejections_refused: u64,
}

/// A probe that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastProbe {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What was wrong, in one line; `None`: nothing.
    pub failure: Option<String>,
}

/// Figures of an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSnapshot {
    /// It can be used, as far as is known.
    pub healthy: bool,
    /// Ejections since start.
    pub ejections: u64,
    /// Times it was not ejected because as many were already as may be.
    pub ejections_refused: u64,
    /// Probes with a good answer, a bad one, none in time, and those that this
    /// machine could not make; `None`: it is not asked.
    pub probes: Option<[u64; 4]>,
}
