//! One drain: what is left, what ended, when the rest is cut, and who watches.
//! Pure but for the channels of those who watch.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::request::{DrainOutcome, DrainProgress, Refusal, Target};

/// Messages kept for a slow reader; when they are full, progress is left out,
/// never the end.
const BACKLOG: usize = 16;
/// Readers of one drain.
const WATCHERS: usize = 16;
/// After the deadline, what is open still is cut again this often.
const CUT_EVERY: Duration = Duration::from_millis(100);

/// Connections of a target at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Measure {
    /// Open.
    pub(super) active: u64,
    /// Taken in since the start of the daemon; 0 if it is not known.
    pub(super) opened: u64,
}

/// A drain that has not ended.
#[derive(Debug)]
pub(super) struct Drain {
    /// Tells it from an earlier one of the same target.
    pub(super) serial: u64,
    /// What is drained.
    pub(super) target: Target,
    began: Instant,
    deadline: Option<Instant>,
    start: Measure,
    cut: u64,
    cut_at: Option<Instant>,
    /// A cut is under way: how many it ended is not known yet.
    cutting: bool,
    /// All workers have stopped taking connections for it: only then is 0
    /// really nothing.
    confirmed: bool,
    watchers: Vec<mpsc::Sender<DrainProgress>>,
    last: Option<DrainProgress>,
}

/// What a look at the figures asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// To wait.
    Wait,
    /// To cut what is left.
    Cut,
    /// To end it: nothing is left.
    End,
}

impl Drain {
    pub(super) fn new(serial: u64, target: Target, deadline: Option<Duration>, start: Measure, now: Instant) -> Self {
        Self {
            serial,
            target,
            began: now,
            deadline: deadline.and_then(|after| now.checked_add(after)),
            start,
            cut: 0,
            cut_at: None,
            cutting: false,
            confirmed: false,
            watchers: Vec::new(),
            last: None,
        }
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
            self.last = Some(progress.clone());
        }
        // The channel is new: it has room.
        let _ = sender.try_send(progress);
        self.watchers.push(sender);
        Ok(receiver)
    }

    /// Another deadline, counted from now.
    pub(super) fn set_deadline(&mut self, deadline: Option<Duration>, now: Instant) {
        self.deadline = deadline.and_then(|after| now.checked_add(after));
        self.cut_at = None;
    }

    /// Time to the deadline.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.deadline.map(|at| at.saturating_duration_since(now))
    }

    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// A cut is done and ended so many.
    pub(super) fn add_cut(&mut self, count: u64) {
        self.cut += count;
        self.cutting = false;
    }

    /// Looks at the figures; readers learn what changed.
    pub(super) fn look(&mut self, measure: Measure, now: Instant) -> Act {
        if self.confirmed && measure.active == 0 && !self.cutting {
            return Act::End;
        }
        let progress = self.progress(measure, now);
        let same = |last: &DrainProgress| {
            (last.remaining, last.finished, last.cut) == (progress.remaining, progress.finished, progress.cut)
        };
        if !self.last.as_ref().is_some_and(same) {
            // The last place is kept for the last message.
            self.watchers.retain(|watcher| {
                if watcher.capacity() > 1 {
                    let _ = watcher.try_send(progress.clone());
                }
                !watcher.is_closed()
            });
            self.last = Some(progress);
        }
        let due = self.deadline.is_some_and(|at| at <= now);
        let again = self.cut_at.is_none_or(|at| now.saturating_duration_since(at) >= CUT_EVERY);
        if due && again && measure.active > 0 && !self.cutting {
            self.cut_at = Some(now);
            self.cutting = true;
            return Act::Cut;
        }
        Act::Wait
    }

    /// The last message to all readers.
    pub(super) fn end(self, outcome: DrainOutcome, measure: Measure, now: Instant) -> DrainProgress {
        let progress = DrainProgress { outcome: Some(outcome), ..self.progress(measure, now) };
        for watcher in &self.watchers {
            let _ = watcher.try_send(progress.clone());
        }
        progress
    }

    fn progress(&self, measure: Measure, now: Instant) -> DrainProgress {
        let came = self.start.active + measure.opened.saturating_sub(self.start.opened);
        DrainProgress {
            remaining: measure.active,
            finished: came.saturating_sub(measure.active).saturating_sub(self.cut),
            cut: self.cut,
            elapsed: now.saturating_duration_since(self.began),
            left: self.deadline.map(|at| at.saturating_duration_since(now)),
            outcome: None,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn active(active: u64) -> Measure {
        Measure { active, opened: 0 }
    }

    fn drain(open: u64, deadline: Option<Duration>, now: Instant) -> Drain {
        Drain::new(1, Target::Listener("web".to_owned()), deadline, active(open), now)
    }

    #[test]
    fn nothing_left_counts_only_once_confirmed() {
        let now = Instant::now();
        let mut drain = drain(0, None, now);
        assert_eq!(drain.look(active(0), now), Act::Wait);
        assert_eq!(drain.look(active(2), now), Act::Wait);
        drain.confirm();
        assert_eq!(drain.look(active(2), now), Act::Wait);
        assert_eq!(drain.look(active(0), now), Act::End);
    }

    #[test]
    fn the_rest_is_cut_at_the_deadline_and_again_later() {
        let now = Instant::now();
        let mut drain = drain(3, Some(SECOND), now);
        drain.confirm();
        assert_eq!(drain.look(active(3), now), Act::Wait);
        assert_eq!(drain.look(active(2), now + SECOND), Act::Cut);
        assert_eq!(drain.look(active(2), now + SECOND), Act::Wait);
        drain.add_cut(1);
        assert_eq!(drain.look(active(1), now + 2 * SECOND), Act::Cut);
        assert_eq!(drain.look(active(0), now + 2 * SECOND), Act::Wait);
        drain.add_cut(1);
        assert_eq!(drain.look(active(0), now + 2 * SECOND), Act::End);
        let last = drain.end(DrainOutcome::Drained, active(0), now + 2 * SECOND);
        assert_eq!((last.remaining, last.finished, last.cut), (0, 1, 2));
        assert_eq!(last.outcome, Some(DrainOutcome::Drained));
    }

    #[test]
    fn connections_from_the_accept_queue_count_as_finished() {
        let now = Instant::now();
        let start = Measure { active: 2, opened: 100 };
        let mut drain = Drain::new(1, Target::Daemon, None, start, now);
        drain.confirm();
        let measure = Measure { active: 0, opened: 105 };
        assert_eq!(drain.look(measure, now), Act::End);
        assert_eq!(drain.end(DrainOutcome::Drained, measure, now).finished, 7);
    }

    #[test]
    fn a_reader_that_does_not_read_still_gets_the_end() {
        let now = Instant::now();
        let mut drain = drain(100, None, now);
        let mut slow = drain.watch(active(100), now).unwrap();
        drop(drain.watch(active(100), now).unwrap());
        for open in (0..100).rev() {
            drain.look(active(open), now);
        }
        assert_eq!(drain.watchers.len(), 1);
        drain.end(DrainOutcome::Undrained, active(0), now);
        let mut received = Vec::new();
        while let Ok(progress) = slow.try_recv() {
            received.push(progress);
        }
        assert_eq!(received.len(), BACKLOG);
        assert_eq!(received.first().map(|first| first.remaining), Some(100));
        assert_eq!(received.last().and_then(|last| last.outcome), Some(DrainOutcome::Undrained));
    }

    #[test]
    fn readers_are_bounded() {
        let now = Instant::now();
        let mut drain = drain(1, None, now);
        let readers: Vec<_> = (0..WATCHERS).map(|_| drain.watch(active(1), now).unwrap()).collect();
        assert!(matches!(drain.watch(active(1), now), Err(Refusal::Busy(_))));
        drop(readers);
        assert!(drain.watch(active(1), now).is_ok());
    }
}
