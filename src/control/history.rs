//! What an operator may ask about changes of the configuration: to try one, to
//! confirm it, to go back, to look back.

use std::time::{Duration, SystemTime};

use super::request::{Change, Provenance};

/// On what terms a reload stays in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// The former configuration comes back unless somebody confirms within
    /// this time.
    pub confirm_within: Option<Duration>,
    /// It comes back early if connections fail more often than before.
    pub guard: Option<GuardRule>,
}

/// When a guard takes a reload back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardRule {
    /// By how many percentage points the share of failed connections may be
    /// higher than before the reload. 1 to 100.
    pub threshold: u32,
    /// Connections that must have ended before it judges; at least 1.
    pub min_connections: u64,
    /// How long it watches if nobody has to confirm; then the reload stays.
    pub watch: Duration,
}

impl Default for GuardRule {
    /// 5 percentage points, 20 connections, 60 s.
    fn default() -> Self {
        Self { threshold: 5, min_connections: 20, watch: Duration::from_secs(60) }
    }
}

/// A reload that may still be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The generation on trial.
    pub generation: u64,
    /// The one that would come back.
    pub former: u64,
    /// Until when.
    pub until: SystemTime,
    /// Somebody must confirm; else it stays if the guard does not trip.
    pub must_confirm: bool,
    /// What the guard allows.
    pub guard: Option<GuardRule>,
    /// Why the former configuration did not come back yet, though it is time.
    pub trouble: Option<String>,
}

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The daemon's own: file, flags or default.
    Own,
    /// Sent over the admin API.
    Candidate {
        /// By whom.
        who: String,
    },
    /// An earlier generation, back again.
    Restored {
        /// Its number then.
        from: u64,
        /// Who asked for it; `netd`: it came back by itself.
        who: String,
    },
}

impl Origin {
    /// Who sent it as a candidate.
    pub fn candidate_by(&self) -> Option<&str> {
        match self {
            Self::Candidate { who } => Some(who),
            Self::Own | Self::Restored { .. } => None,
        }
    }
}

/// Confirms a reload on trial.
#[derive(Debug, Clone)]
pub struct ConfirmRequest {
    /// Refuse unless it is this one.
    pub generation: Option<u64>,
    /// Who and why.
    pub by: Provenance,
}

/// Returns to an earlier generation.
#[derive(Debug, Clone)]
pub struct RollbackRequest {
    /// Which; `None`: the one before the one in force.
    pub generation: Option<u64>,
    /// Refuse unless this generation is in force.
    pub expected_generation: Option<u64>,
    /// Who and why.
    pub by: Provenance,
}

/// Answer to [`RollbackRequest`].
#[derive(Debug, Clone)]
pub struct RollbackOutcome {
    /// In force now.
    pub generation: u64,
    /// Whose configuration it has.
    pub restored: u64,
    /// What changed.
    pub changes: Vec<Change>,
}

/// What an entry of the history is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryKind {
    /// The start of the daemon.
    Start,
    /// A reload.
    Reload,
    /// A return to an earlier generation that somebody asked for.
    Rollback,
    /// A return that came by itself.
    Revert,
    /// Another process took over, and read the configuration anew.
    Upgrade,
}

impl HistoryKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Start, Self::Reload, Self::Rollback, Self::Revert, Self::Upgrade];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
            Self::Rollback => "rollback",
            Self::Revert => "revert",
            Self::Upgrade => "upgrade",
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Applied, for good.
    Applied,
    /// Applied, and may still be taken back.
    Pending,
    /// Applied on trial and confirmed.
    Confirmed,
    /// Applied on trial and taken back.
    Reverted,
    /// Not applied.
    Refused,
}

impl Judgement {
    /// Every judgement.
    pub const ALL: [Self; 5] = [Self::Applied, Self::Pending, Self::Confirmed, Self::Reverted, Self::Refused];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Reverted => "reverted",
            Self::Refused => "refused",
        }
    }
}

/// One change of the configuration, done or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// When.
    pub at: SystemTime,
    /// See [`HistoryKind`].
    pub kind: HistoryKind,
    /// The generation it made; `None`: none.
    pub generation: Option<u64>,
    /// Where that generation came from.
    pub origin: Option<Origin>,
    /// Who and why; `None`: it came by itself.
    pub by: Option<Provenance>,
    /// One line.
    pub summary: String,
    /// Object by object; of many, the first.
    pub changes: Vec<Change>,
    /// Changes that are not listed.
    pub more_changes: u64,
    /// See [`Judgement`].
    pub verdict: Judgement,
    /// What led to the verdict, in one line; empty: nothing special.
    pub reason: String,
    /// It is what runs.
    pub in_force: bool,
    /// Its configuration is kept: a rollback can return to it.
    pub kept: bool,
}

/// How often what was taken back, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Returns {
    /// Nobody confirmed in time.
    pub time: u64,
    /// The guard saw more failures than before.
    pub guard: u64,
    /// An operator asked for it.
    pub rollback: u64,
    /// Reloads on trial that stayed.
    pub confirmed: u64,
}
