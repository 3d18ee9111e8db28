//! Whether connections fail more often than before. Pure: figures and times
//! in, a judgement out.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{history::GuardRule, names};
use crate::protocol::{By, Cause, CloseReason, Phase};

/// A span of the past that is measured as one.
const SPAN: Duration = Duration::from_secs(5);
/// Spans kept: with the one that runs, what "before" means is the last minute.
const SPANS: usize = 12;

/// How connections of one listener ended, those ended by an operator left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Outcomes {
    /// All.
    pub(super) ended: u64,
    /// Those that failed.
    pub(super) failed: u64,
}

/// Outcomes by listener.
pub(super) type Tally = BTreeMap<String, Outcomes>;

/// Whether a connection that ended so has failed. What an operator ended is
/// neither good nor bad.
pub(super) fn is_failure(reason: CloseReason) -> Option<bool> {
    match reason.by {
        By::Operator => None,
        By::Upstream if reason.cause == Cause::Reset => Some(true),
        By::Downstream | By::Upstream | By::Netd => Some(reason.phase == Phase::Dial),
    }
}

impl Outcomes {
    /// Counts connections that ended for this reason.
    pub(super) fn count(&mut self, reason: CloseReason, count: u64) {
        if let Some(failed) = is_failure(reason) {
            self.ended = self.ended.saturating_add(count);
            self.failed = self.failed.saturating_add(if failed { count } else { 0 });
        }
    }

    fn add(&mut self, more: Self) {
        self.ended = self.ended.saturating_add(more.ended);
        self.failed = self.failed.saturating_add(more.failed);
    }

    fn since(self, before: Self) -> Self {
        Self { ended: self.ended.saturating_sub(before.ended), failed: self.failed.saturating_sub(before.failed) }
    }

    /// In percent; of nothing, none.
    fn share(self) -> f64 {
        if self.ended == 0 { 0.0 } else { self.failed as f64 * 100.0 / self.ended as f64 }
    }
}

/// What was added to `before`.
fn since(now: &Tally, before: &Tally) -> Tally {
    let added = |(name, outcomes): (&String, &Outcomes)| {
        (name.clone(), outcomes.since(before.get(name).copied().unwrap_or_default()))
    };
    now.iter().map(added).collect()
}

/// How connections ended of late.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Since when the running span is measured, and the figures then.
    running: Option<(Instant, Tally)>,
    /// When each full span began, and what came in it.
    spans: VecDeque<(Instant, Tally)>,
}

impl Recent {
    /// Whether it is time to look at the figures.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.running.as_ref().is_none_or(|(began, _)| now.saturating_duration_since(*began) >= SPAN)
    }

    /// Takes the figures in.
    pub(super) fn note(&mut self, now: Instant, tally: Tally) {
        if let Some((began, before)) = self.running.take() {
            self.spans.push_back((began, since(&tally, &before)));
            if self.spans.len() > SPANS {
                self.spans.pop_front();
            }
        }
        self.running = Some((now, tally));
    }

    /// How connections ended lately, up to the figures `now`.
    pub(super) fn sum(&self, now: &Tally) -> Tally {
        let mut sum = self.running.as_ref().map(|(_, before)| since(now, before)).unwrap_or_default();
        for (name, outcomes) in self.spans.iter().flat_map(|(_, span)| span) {
            sum.entry(name.clone()).or_default().add(*outcomes);
        }
        sum
    }

    /// What came after `when` under a configuration that was taken back is no
    /// measure of what comes next.
    pub(super) fn forget_since(&mut self, when: Instant, now: Instant, tally: Tally) {
        self.spans.retain(|(began, _)| began.checked_add(SPAN).is_some_and(|end| end <= when));
        self.running = Some((now, tally));
    }
}

/// Watches over one reload.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) rule: GuardRule,
    /// How connections ended before the reload.
    before: Tally,
    /// The figures at the reload.
    start: Tally,
}

impl Guard {
    pub(super) fn new(rule: GuardRule, before: Tally, start: Tally) -> Self {
        Self { rule, before, start }
    }

    /// Why the reload must be taken back, if it must: by a listener, or by all
    /// together.
    pub(super) fn judge(&self, now: &Tally) -> Option<String> {
        let after = since(now, &self.start);
        let mut total = (Outcomes::default(), Outcomes::default());
        for (name, outcomes) in &after {
            let before = self.before.get(name).copied().unwrap_or_default();
            if too_many(self.rule, before, *outcomes) {
                return Some(format!("{}: {}", names::listener(name), told(before, *outcomes)));
            }
            total.0.add(before);
            total.1.add(*outcomes);
        }
        too_many(self.rule, total.0, total.1).then(|| format!("all listeners: {}", told(total.0, total.1)))
    }
}

/// Whether connections fail too often now. What was before counts only if
/// there was enough of it; else nothing failed.
pub(super) fn too_many(rule: GuardRule, before: Outcomes, after: Outcomes) -> bool {
    if after.ended < rule.min_connections.max(1) {
        return false;
    }
    let before = if before.ended < rule.min_connections { 0.0 } else { before.share() };
    after.share() > before + f64::from(rule.threshold)
}

fn told(before: Outcomes, after: Outcomes) -> String {
    format!(
        "{} of {} failed ({:.1}%), before the reload {} of {} ({:.1}%)",
        after.failed,
        names::counted(after.ended, "connection"),
        after.share(),
        before.failed,
        before.ended,
        before.share()
    )
}

#[cfg(test)]
mod tests;
