//! A reload that may still be taken back. Pure.

use std::time::{Duration, Instant, SystemTime};

use super::{
    clock::Now,
    guard::{Guard, Tally},
    history::{Pending, Terms},
    request::Refusal,
    state::State,
};
use crate::config::format_duration;

/// A return that failed is tried again this much later.
const RETRY: Duration = Duration::from_secs(5);
/// The guard looks at the figures this often.
const LOOK: Duration = Duration::from_millis(250);

/// Why the former configuration comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nobody confirmed in time.
    Time,
    /// More connections fail than before.
    Guard(String),
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing yet.
    Wait,
    /// Take it back.
    Return(Cause),
    /// The guard had nothing to complain about: it stays.
    Keep,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Trial {
    /// On trial.
    pub(super) generation: u64,
    /// All that was in force before: configuration and overrides.
    pub(super) before: State,
    /// When it began.
    pub(super) began: Instant,
    terms: Terms,
    /// `None`: beyond the end of time.
    end: Option<Instant>,
    until: SystemTime,
    guard: Option<Guard>,
    look_at: Instant,
    trouble: Option<String>,
}

impl Trial {
    /// `None`: the terms ask for no trial. `tally` gives the figures before
    /// the reload and at it.
    pub(super) fn new(
        generation: u64,
        before: State,
        terms: Terms,
        now: Now,
        tally: impl FnOnce() -> (Tally, Tally),
    ) -> Option<Self> {
        let lasts = terms.confirm_within.or_else(|| terms.guard.map(|rule| rule.watch))?;
        let guard = terms.guard.map(|rule| {
            let (recent, start) = tally();
            Guard::new(rule, recent, start)
        });
        Some(Self {
            generation,
            before,
            began: now.instant,
            terms,
            end: now.instant.checked_add(lasts),
            until: now.wall.checked_add(lasts).unwrap_or(now.wall),
            guard,
            look_at: now.instant,
            trouble: None,
        })
    }

    /// Looks at the time and, through `tally`, at the figures.
    pub(super) fn look(&mut self, now: Instant, tally: impl FnOnce() -> Tally) -> Act {
        let over = self.end.is_some_and(|end| end <= now);
        if now < self.look_at && !(over && self.trouble.is_none()) {
            return Act::Wait;
        }
        self.look_at = now.checked_add(LOOK).unwrap_or(now);
        if let Some(complaint) = self.guard.as_ref().and_then(|guard| guard.judge(&tally())) {
            return Act::Return(Cause::Guard(complaint));
        }
        match (over, self.terms.confirm_within) {
            (false, _) => Act::Wait,
            (true, Some(_)) => Act::Return(Cause::Time),
            (true, None) => Act::Keep,
        }
    }

    /// The former configuration could not come back now. Whether that is news.
    pub(super) fn failed(&mut self, trouble: String, now: Instant) -> bool {
        self.look_at = now.checked_add(RETRY).unwrap_or(now);
        let news = self.trouble.as_ref() != Some(&trouble);
        self.trouble = Some(trouble);
        news
    }

    /// For those who ask.
    pub(super) fn view(&self) -> Pending {
        Pending {
            generation: self.generation,
            former: self.before.generation(),
            until: self.until,
            must_confirm: self.terms.confirm_within.is_some(),
            guard: self.terms.guard,
            trouble: self.trouble.clone(),
        }
    }

    /// Why another reload has to wait.
    pub(super) fn refusal(&self, now: Instant) -> Refusal {
        let left = self.end.map(|end| format_duration(whole_seconds(end.saturating_duration_since(now))));
        let left = left.map(|left| format!(", {left} left")).unwrap_or_default();
        let (number, former) = (self.generation, self.before.generation());
        Refusal::Precondition(match self.terms.confirm_within {
            Some(_) => format!(
                "generation {number} waits for its confirmation{left}: `netctl confirm` keeps it, `netctl rollback` brings generation {former} back; then reload"
            ),
            None => format!(
                "generation {number} is watched by its guard{left}: `netctl confirm` keeps it now, `netctl rollback` brings generation {former} back; then reload"
            ),
        })
    }

    /// On which terms it is in force, in words.
    pub(super) fn terms(&self) -> String {
        let former = self.before.generation();
        match (self.terms.confirm_within, self.terms.guard) {
            (Some(within), None) => {
                format!("generation {former} comes back unless it is confirmed within {}", format_duration(within))
            }
            (Some(within), Some(rule)) => format!(
                "generation {former} comes back unless it is confirmed within {}, or if failures rise by more than {} percentage points",
                format_duration(within),
                rule.threshold
            ),
            (None, guard) => {
                let rule = guard.unwrap_or_default();
                format!(
                    "generation {former} comes back if failures rise by more than {} percentage points within {}",
                    rule.threshold,
                    format_duration(rule.watch)
                )
            }
        }
    }

    /// What led to the end of it.
    pub(super) fn verdict(&self, cause: &Cause) -> String {
        match (cause, self.terms.confirm_within) {
            (Cause::Guard(complaint), _) => complaint.clone(),
            (Cause::Time, within) => {
                format!("not confirmed within {}", format_duration(within.unwrap_or_default()))
            }
        }
    }
}

/// Rounded up: "0s left" would be a lie.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests;
