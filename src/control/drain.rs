//! One drain: what is left, what ended, when the rest is cut, and who watches.
//! Pure but for the channels of those who watch.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{
    drain_plan::DrainPlan,
    estimate::Estimate,
    gradual::Gradual,
    request::{DrainOutcome, DrainProgress, Provenance, Refusal, Target},
    upgrade::{DrainPast, OpenDrain},
};

/// Messages kept for a slow reader; when they are full, progress is left out,
/// never the end.
const BACKLOG: usize = 16;
/// Readers of one drain.
const WATCHERS: usize = 16;
/// After the deadline, what is open still is cut again this often.
const CUT_EVERY: Duration = Duration::from_millis(100);
/// How old a message may get when only the estimate changes.
const REFRESH: Duration = Duration::from_secs(1);

/// Connections of a target at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Measure {
    /// Open.
    pub(super) active: u64,
    /// Taken in since the start of the daemon; 0 if it is not known.
    pub(super) opened: u64,
    /// Moved to other workers since then, for a worker alone.
    pub(super) moved: u64,
}

/// A drain that has not ended.
#[derive(Debug)]
pub(super) struct Drain {
    /// Tells it from an earlier one of the same target.
    pub(super) serial: u64,
    /// What is drained.
    pub(super) target: Target,
    /// Who asked for it.
    pub(super) by: Provenance,
    plan: DrainPlan,
    began: Instant,
    stage: Stage,
    deadline: Option<Instant>,
    gradual: Option<Gradual>,
    estimate: Estimate,
    start: Measure,
    cut: u64,
    retired: u64,
    cut_at: Option<Instant>,
    /// Workers end connections: how many is not known yet.
    ending: bool,
    watchers: Vec<mpsc::Sender<DrainProgress>>,
    last: Option<(DrainProgress, Instant)>,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Readiness fails; it accepts until then.
    LameDuck(Instant),
    /// It is told to stop accepting.
    Stopping,
    /// All workers have stopped taking connections for it: only then is 0
    /// really nothing.
    Confirmed,
}

/// What a look at the figures asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// To wait.
    Wait,
    /// To stop accepting: the lame-duck time is over.
    Stop,
    /// To end so many of those that rest.
    Retire(u64),
    /// To cut what is left.
    Cut,
    /// To end it: nothing is left.
    End,
}

impl Drain {
    /// A drain that begins now: with the lame-duck time, if the plan has one.
    pub(super) fn new(
        serial: u64,
        target: Target,
        by: Provenance,
        plan: DrainPlan,
        start: Measure,
        now: Instant,
    ) -> Self {
        let until = if plan.lame_duck.is_zero() { None } else { now.checked_add(plan.lame_duck) };
        let mut drain = Self {
            serial,
            target,
            by,
            plan,
            began: now,
            stage: until.map_or(Stage::Stopping, Stage::LameDuck),
            deadline: None,
            gradual: None,
            estimate: Estimate::new(now),
            start,
            cut: 0,
            retired: 0,
            cut_at: None,
            ending: false,
            watchers: Vec::new(),
            last: None,
        };
        if !drain.is_lame_duck() {
            drain.set_times(now);
        }
        drain
    }

    /// Whether it goes on accepting still.
    pub(super) fn is_lame_duck(&self) -> bool {
        matches!(self.stage, Stage::LameDuck(_))
    }

    pub(super) fn plan(&self) -> DrainPlan {
        self.plan
    }

    /// One more reader, who learns the figures at once.
    pub(super) fn watch(&mut self, measure: Measure, now: Instant) -> Result<mpsc::Receiver<DrainProgress>, Refusal> {
        self.watchers.retain(|watcher| !watcher.is_closed());
        if self.watchers.len() == WATCHERS {
            return Err(Refusal::Busy(format!("{WATCHERS} readers follow this drain already")));
        }
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let progress = self.progress(measure, now);
        if self.watchers.is_empty() {
            self.last = Some((progress.clone(), now));
        }
        // The channel is new: it has room.
        let _ = sender.try_send(progress);
        self.watchers.push(sender);
        Ok(receiver)
    }

    /// Another plan, its times counted from now. A lame-duck time that is over
    /// does not come back.
    pub(super) fn set_plan(&mut self, plan: DrainPlan, now: Instant) {
        self.plan = plan;
        self.cut_at = None;
        match (&mut self.stage, now.checked_add(plan.lame_duck)) {
            (Stage::LameDuck(until), Some(at)) => *until = at,
            _ => self.set_times(now),
        }
    }

    /// It is told to stop accepting; counts what is open then.
    pub(super) fn stop_accepting(&mut self, start: Measure, now: Instant) {
        self.stage = Stage::Stopping;
        self.start = start;
        self.estimate = Estimate::new(now);
        self.set_times(now);
    }

    /// What another process must know to go on with it, unless it ends with
    /// this process's workers.
    pub(super) fn open(&self, measure: Measure, now: Instant) -> Option<OpenDrain> {
        let left = self.deadline.map(|at| at.saturating_duration_since(now));
        let gradual = self.gradual.as_ref().map(|gradual| gradual.left(now)).filter(|left| !left.is_zero());
        let (target, by) = (self.target.clone(), self.by.clone());
        let DrainProgress { elapsed, remaining: open, finished, retired, cut, .. } = self.progress(measure, now);
        let past = Some(DrainPast { elapsed, open, finished, retired, cut });
        (!matches!(target, Target::Worker(_))).then_some(OpenDrain { target, left, gradual, by, past })
    }

    /// It began in another process, and goes on from there.
    pub(super) fn go_on(&mut self, past: DrainPast, now: Instant) {
        let DrainPast { elapsed, open, finished, retired, cut } = past;
        self.began = now.checked_sub(elapsed).unwrap_or(now);
        (self.retired, self.cut) = (retired, cut);
        let ended = finished.saturating_add(retired).saturating_add(cut);
        self.start.active = open.saturating_add(ended);
    }

    pub(super) fn confirm(&mut self) {
        self.stage = Stage::Confirmed;
    }

    /// A cut is done and ended so many.
    pub(super) fn add_cut(&mut self, count: u64) {
        self.cut += count;
        self.ending = false;
    }

    /// So many that rested have been ended.
    pub(super) fn add_retired(&mut self, count: u64) {
        self.retired += count;
        self.ending = false;
    }

    /// Connections without a byte since then are idle.
    pub(super) fn idle_since(&self, now: Instant) -> Option<Instant> {
        self.gradual.as_ref().and_then(|gradual| gradual.idle_since(now))
    }

    /// Looks at the figures; readers learn what changed.
    pub(super) fn look(&mut self, measure: Measure, now: Instant) -> Act {
        if self.stage == Stage::Confirmed && measure.active == 0 && !self.ending {
            return Act::End;
        }
        if let Stage::LameDuck(until) = self.stage {
            self.tell(measure, now);
            return if until <= now { Act::Stop } else { Act::Wait };
        }
        // While workers end some, nobody knows which ended by themselves.
        if self.ending {
            return Act::Wait;
        }
        self.estimate.look(self.ended(measure), now);
        self.tell(measure, now);
        let due = self.deadline.is_some_and(|at| at <= now);
        let again = self.cut_at.is_none_or(|at| now.saturating_duration_since(at) >= CUT_EVERY);
        if due && again && measure.active > 0 {
            self.cut_at = Some(now);
            self.ending = true;
            return Act::Cut;
        }
        let due = match &mut self.gradual {
            Some(gradual) if !due && self.stage == Stage::Confirmed => gradual.due(measure.active, now),
            _ => 0,
        };
        if due == 0 {
            return Act::Wait;
        }
        self.ending = true;
        Act::Retire(due)
    }

    /// The last message to all readers.
    pub(super) fn end(self, outcome: DrainOutcome, measure: Measure, now: Instant) -> DrainProgress {
        let progress = DrainProgress { outcome: Some(outcome), ..self.progress(measure, now) };
        for watcher in &self.watchers {
            let _ = watcher.try_send(progress.clone());
        }
        progress
    }

    fn set_times(&mut self, now: Instant) {
        self.deadline = self.plan.deadline.and_then(|after| now.checked_add(after));
        self.gradual = self.plan.gradual.map(|window| Gradual::new(window, now));
    }

    fn tell(&mut self, measure: Measure, now: Instant) {
        let progress = self.progress(measure, now);
        let known = self.last.as_ref().is_some_and(|(last, at)| {
            let same = (last.remaining, last.finished, last.retired, last.moved, last.cut, last.accepting.is_some())
                == (
                    progress.remaining,
                    progress.finished,
                    progress.retired,
                    progress.moved,
                    progress.cut,
                    progress.accepting.is_some(),
                );
            let fresh = now.saturating_duration_since(*at) < REFRESH;
            same && (fresh || progress.estimate == last.estimate)
        });
        if known {
            return;
        }
        // The last place is kept for the last message.
        self.watchers.retain(|watcher| {
            if watcher.capacity() > 1 {
                let _ = watcher.try_send(progress.clone());
            }
            !watcher.is_closed()
        });
        self.last = Some((progress, now));
    }

    /// Connections that have ended since the drain began, however.
    fn ended(&self, measure: Measure) -> u64 {
        let came = self.start.active + measure.opened.saturating_sub(self.start.opened);
        came.saturating_sub(measure.active).saturating_sub(self.moved(measure))
    }

    /// Connections that have gone to other workers since then.
    fn moved(&self, measure: Measure) -> u64 {
        measure.moved.saturating_sub(self.start.moved)
    }

    fn progress(&self, measure: Measure, now: Instant) -> DrainProgress {
        let left = |at: Instant| at.saturating_duration_since(now);
        let deadline = self.deadline.map(left);
        let estimate =
            self.estimate.left(measure.active).map(|estimate| deadline.map_or(estimate, |at| at.min(estimate)));
        let accepting = match self.stage {
            Stage::LameDuck(until) => Some(left(until)),
            Stage::Stopping | Stage::Confirmed => None,
        };
        DrainProgress {
            remaining: measure.active,
            finished: self.ended(measure).saturating_sub(self.cut).saturating_sub(self.retired),
            retired: self.retired,
            moved: self.moved(measure),
            cut: self.cut,
            elapsed: now.saturating_duration_since(self.began),
            left: deadline,
            estimate: estimate.filter(|_| accepting.is_none() && measure.active > 0),
            accepting,
            mode: self.plan.mode(),
            outcome: None,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests;
