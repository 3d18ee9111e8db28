//! Which connections go from which worker to which, so that all have their
//! share. Pure: figures and time in, moves out.
//!
//! By hand ([`even`]) connections are dealt out until all workers have as many.
//! By itself ([`Balancer`]) a few are moved at a time, only when the difference
//! is large and lasts, and more and more seldom when moving does not help: one
//! connection may be the whole load of a worker, and no place is better for it
//! than another.

use std::time::{Duration, Instant};

/// What is known of a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// Connections open.
    pub(super) active: u64,
    /// Share of the time that its thread worked, since the last look; 0 to 1.
    pub(super) busy: f64,
    /// It answers, and may take connections and give them away.
    pub(super) able: bool,
}

/// So many connections go from one worker to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shift {
    /// Index of the worker that has too many.
    pub(super) from: usize,
    /// Index of the worker that has too few.
    pub(super) to: usize,
    /// How many connections; at least 1.
    pub(super) count: u64,
}

/// The moves after which able workers have as many connections each, or one
/// more; at most `limit` connections in all.
pub(super) fn even(loads: &[Load], limit: u64) -> Vec<Shift> {
    let mut able: Vec<(usize, u64)> =
        loads.iter().enumerate().filter(|(_, load)| load.able).map(|(worker, load)| (worker, load.active)).collect();
    let Some(workers) = u64::try_from(able.len()).ok().filter(|&workers| workers > 1) else { return Vec::new() };
    let total: u64 = able.iter().map(|(_, active)| active).sum();
    let (share, mut more) = (total / workers, total % workers);
    // Who has most keeps one more than the share: fewer move.
    able.sort_by_key(|&(worker, active)| (std::cmp::Reverse(active), worker));
    let mut rich = Vec::new();
    let mut poor = Vec::new();
    for (worker, active) in able {
        let target = share + u64::from(more > 0);
        more = more.saturating_sub(1);
        match active.checked_sub(target) {
            Some(0) => {}
            Some(surplus) => rich.push((worker, surplus)),
            None => poor.push((worker, target - active)),
        }
    }
    deal(rich, poor, limit)
}

/// All connections of `leaving` workers, spread so that the others have as many
/// each as can be.
pub(super) fn leave(loads: &[Load], leaving: usize) -> Vec<Shift> {
    let mut stay: Vec<(usize, u64)> = loads
        .iter()
        .enumerate()
        .filter(|&(worker, load)| load.able && worker != leaving)
        .map(|(worker, load)| (worker, load.active))
        .collect();
    let mut given = vec![0; loads.len()];
    for _ in 0..loads.get(leaving).map_or(0, |load| load.active) {
        let Some(least) = stay.iter_mut().min_by_key(|(worker, active)| (*active, *worker)) else { break };
        least.1 += 1;
        given[least.0] += 1;
    }
    let shifts = given.into_iter().enumerate().filter(|(_, count)| *count > 0);
    shifts.map(|(to, count)| Shift { from: leaving, to, count }).collect()
}

fn deal(rich: Vec<(usize, u64)>, poor: Vec<(usize, u64)>, limit: u64) -> Vec<Shift> {
    let (mut shifts, mut left) = (Vec::new(), limit);
    let mut poor = poor.into_iter();
    let mut next = poor.next();
    for (from, mut surplus) in rich {
        while surplus > 0 && left > 0 {
            let Some((to, wants)) = next else { return shifts };
            let count = surplus.min(wants).min(left);
            shifts.push(Shift { from, to, count });
            (surplus, left) = (surplus - count, left - count);
            next = if wants > count { Some((to, wants - count)) } else { poor.next() };
        }
    }
    shifts
}

/// Looks in a row that must ask for the same before anything moves.
const STEADY: u32 = 3;
/// Connections moved at once, at most.
const MOST: u64 = 64;
/// A difference in connections that is left alone, whatever the share of it.
const SLACK: u64 = 16;
/// A worker that works less than this is not in need of help, and connections
/// alone count.
const PRESSED: f64 = 0.6;
/// A difference in work that is left alone.
const GAP: f64 = 0.25;
/// When moves turn out to be for nothing, the time between them doubles up to
/// this factor.
const CALM: u32 = 256;
/// Between two moves.
const PAUSE: Duration = Duration::from_secs(2);
/// Without a move for so long, all is forgotten.
const FORGET: Duration = Duration::from_secs(1800);

/// Evens the load by itself.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    /// The workers that the last looks wanted to relieve and to burden, and how
    /// many looks in a row.
    streak: Option<(usize, usize)>,
    looks: u32,
    last: Option<Last>,
}

/// The last move.
#[derive(Debug, Clone, Copy)]
struct Last {
    shift: Shift,
    at: Instant,
    /// How many pauses pass before the next.
    patience: u32,
}

impl Balancer {
    /// Looks at all workers, in order of index; to be called about once a
    /// second. Answers what is to be moved now.
    pub(super) fn look(&mut self, loads: &[Load], now: Instant) -> Option<Shift> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last.at) >= FORGET) {
            self.last = None;
        }
        let Some(shift) = judge(loads) else {
            (self.streak, self.looks) = (None, 0);
            return None;
        };
        let ends = (shift.from, shift.to);
        self.looks = if self.streak.map(|(from, _)| from) == Some(shift.from) { self.looks + 1 } else { 1 };
        self.streak = Some(ends);
        if self.looks < STEADY {
            return None;
        }
        let patience = match self.last {
            None => 1,
            Some(last) if now.saturating_duration_since(last.at) < PAUSE * last.patience => return None,
            // Back to where it came from: it did not help.
            Some(last) if last.shift.to == shift.from => (last.patience * 2).min(CALM),
            Some(last) => last.patience,
        };
        self.last = Some(Last { shift, at: now, patience });
        (self.streak, self.looks) = (None, 0);
        Some(shift)
    }
}

/// What would even the load most, if it is uneven enough to be worth it.
fn judge(loads: &[Load]) -> Option<Shift> {
    let able = || loads.iter().enumerate().filter(|(_, load)| load.able);
    let (hot, cool) = (
        able().max_by(|(_, a), (_, b)| a.busy.total_cmp(&b.busy))?,
        able().min_by(|(_, a), (_, b)| a.busy.total_cmp(&b.busy))?,
    );
    if hot.1.busy >= PRESSED {
        let gap = hot.1.busy - cool.1.busy;
        // As if all connections of a worker did the same work.
        let wanted = hot.1.active as f64 * gap / 2.0 / hot.1.busy;
        let count = (wanted as u64).min(MOST).min(hot.1.active.saturating_sub(1));
        return (gap >= GAP && count > 0).then_some(Shift { from: hot.0, to: cool.0, count });
    }
    let most = able().max_by_key(|(worker, load)| (load.active, std::cmp::Reverse(*worker)))?;
    let least = able().min_by_key(|(worker, load)| (load.active, *worker))?;
    let mean = able().map(|(_, load)| load.active).sum::<u64>() / able().count().max(1) as u64;
    let difference = most.1.active - least.1.active;
    if difference < SLACK.max(mean / 4) || least.1.busy > most.1.busy + GAP {
        return None;
    }
    Some(Shift { from: most.0, to: least.0, count: (difference / 2).min(MOST) })
}

#[cfg(test)]
mod tests;
