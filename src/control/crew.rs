//! Which workers an operator has drained, and who has their listening sockets
//! meanwhile. Pure.

use std::collections::BTreeMap;

use super::request::{Override, Refusal, WorkerOverride};

/// The workers' overrides.
#[derive(Debug, Clone, Default)]
pub(super) struct Crew {
    count: usize,
    drained: BTreeMap<usize, Override<WorkerOverride>>,
}

impl Crew {
    /// So many workers, all accepting.
    pub(super) fn new(count: usize) -> Self {
        Self { count, drained: BTreeMap::new() }
    }

    /// Refuses a number that is no worker's.
    pub(super) fn check(&self, worker: usize) -> Result<(), Refusal> {
        if worker < self.count {
            return Ok(());
        }
        let last = self.count.saturating_sub(1);
        Err(Refusal::NotFound(format!("there is no worker {worker}; there are workers 0 to {last}")))
    }

    /// Whether the worker shall accept.
    pub(super) fn accepts(&self, worker: usize) -> bool {
        worker < self.count && !self.drained.contains_key(&worker)
    }

    /// Whether it is one of those that are drained.
    pub(super) fn is_drained(&self, worker: usize) -> bool {
        self.drained.contains_key(&worker)
    }

    pub(super) fn override_of(&self, worker: usize) -> Option<&Override<WorkerOverride>> {
        self.drained.get(&worker)
    }

    /// Overrides in force.
    pub(super) fn overrides(&self) -> usize {
        self.drained.len()
    }

    /// Drains a worker; one must be left that accepts.
    pub(super) fn drain(&mut self, worker: usize, value: Override<WorkerOverride>) -> Result<(), Refusal> {
        self.check(worker)?;
        if (0..self.count).all(|each| each == worker || !self.accepts(each)) {
            return Err(Refusal::Precondition(format!(
                "worker {worker} is the last that accepts: drain the whole daemon, or start another worker first"
            )));
        }
        self.drained.insert(worker, value);
        Ok(())
    }

    /// Takes that back; whether it was drained.
    pub(super) fn undrain(&mut self, worker: usize) -> bool {
        self.drained.remove(&worker).is_some()
    }

    /// There are so many workers now; answers which of those that have gone
    /// were drained.
    pub(super) fn resize(&mut self, count: usize) -> Vec<(usize, Override<WorkerOverride>)> {
        self.count = count;
        self.drained.split_off(&count).into_iter().collect()
    }

    /// Refuses a number of workers that would leave none that accepts.
    pub(super) fn check_resize(&self, count: usize) -> Result<(), Refusal> {
        if count > self.count || (0..count).any(|worker| self.accepts(worker)) {
            return Ok(());
        }
        let left = if count == 1 { "worker 0, which is" } else { "workers that are" };
        Err(Refusal::Precondition(format!(
            "workers.count = {count} would leave only {left} drained: take that drain back first"
        )))
    }

    /// Which of the `able` workers, which have so many sockets of one listener
    /// each (`held`), give them all up: those that do not accept; and if some
    /// that accept have too few, those that have more than their share.
    pub(super) fn givers(&self, held: &[usize], able: &[usize]) -> Vec<usize> {
        let of = |worker: usize| held.get(worker).copied().unwrap_or(0);
        let takers: Vec<usize> = able.iter().copied().filter(|&worker| self.accepts(worker)).collect();
        if takers.is_empty() {
            return Vec::new();
        }
        let all: usize = able.iter().map(|&worker| of(worker)).sum();
        let share = all / takers.len();
        let uneven = takers.iter().any(|&worker| of(worker) < share || of(worker) > share + 1);
        // What comes from those that do not accept goes to those with least, and
        // may be enough for them.
        let missing: usize = takers.iter().map(|&worker| share.saturating_sub(of(worker))).sum();
        let coming: usize = able.iter().filter(|&&worker| !self.accepts(worker)).map(|&worker| of(worker)).sum();
        let rich = |worker: usize| uneven && (missing > coming || of(worker) > share + 1) && of(worker) > share;
        let gives = |worker: usize| if self.accepts(worker) { rich(worker) } else { of(worker) > 0 };
        able.iter().copied().filter(|&worker| gives(worker)).collect()
    }

    /// Who takes a socket that worker `from` had or was to have: of the `able`
    /// that accept the one that has fewest of the listener (`held`), then fewest
    /// of `all` listeners. If none accepts, one of the able ones; `None`: there
    /// is none.
    pub(super) fn taker(&self, from: usize, held: &[usize], all: &[usize], able: &[usize]) -> Option<usize> {
        let of = |list: &[usize], worker: usize| list.get(worker).copied().unwrap_or(0);
        // Of equals the next after it: two drained workers do not choose the same.
        let round = self.count.max(from + 1);
        let distance = |worker: usize| (worker + round - from) % round;
        let rank = |worker: usize| (!self.accepts(worker), of(held, worker), of(all, worker), distance(worker));
        able.iter().copied().min_by_key(|&worker| rank(worker))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::control::testing::by;

    fn drained() -> Override<WorkerOverride> {
        let value = WorkerOverride::Draining;
        Override { value, by: by("ann"), set_at: SystemTime::UNIX_EPOCH, expires_at: None }
    }

    #[test]
    fn the_last_worker_that_accepts_stays() {
        let mut crew = Crew::new(2);
        crew.drain(1, drained()).unwrap();
        crew.drain(1, drained()).unwrap();
        assert!(matches!(crew.drain(0, drained()), Err(Refusal::Precondition(_))));
        assert!(crew.undrain(1) && !crew.undrain(1));
        crew.drain(0, drained()).unwrap();
        let text = crew.drain(2, drained()).unwrap_err().to_string();
        assert_eq!(text, "there is no worker 2; there are workers 0 to 1");
    }

    #[test]
    fn sockets_of_drained_workers_are_spread() {
        let mut crew = Crew::new(4);
        crew.drain(1, drained()).unwrap();
        let able = [0, 1, 2, 3];
        assert_eq!(crew.givers(&[1, 1, 1, 1], &able), [1]);
        assert_eq!(crew.taker(1, &[1, 0, 1, 1], &[1, 0, 1, 1], &able), Some(2));
        assert_eq!(crew.taker(1, &[1, 0, 1, 1], &[5, 0, 6, 5], &able), Some(3), "of all listeners that has fewest");
        assert_eq!(crew.givers(&[1, 0, 2, 1], &able), [0; 0], "they stay where they are");
        crew.undrain(1);
        assert_eq!(crew.givers(&[1, 0, 2, 1], &able), [2]);
        assert_eq!(crew.taker(2, &[1, 0, 0, 1], &[4, 0, 3, 4], &able), Some(1));
        assert_eq!(Crew::new(1).taker(0, &[], &[], &[]), None);
    }

    #[test]
    fn a_drain_goes_with_its_worker_and_the_last_that_accepts_stays() {
        let mut crew = Crew::new(3);
        crew.drain(0, drained()).unwrap();
        crew.drain(2, drained()).unwrap();
        let text = crew.check_resize(1).unwrap_err().to_string();
        assert_eq!(text, "workers.count = 1 would leave only worker 0, which is drained: take that drain back first");
        crew.check_resize(2).unwrap();
        crew.check_resize(9).unwrap();
        assert_eq!(crew.resize(2).len(), 1);
        crew.resize(3);
        assert!(crew.accepts(2) && !crew.accepts(0));
    }

    proptest! {
        /// Whatever was drained, taken back, hired, dismissed and has died: after
        /// each change the sockets are with workers that accept, none is lost,
        /// and none has two more than another.
        #[test]
        fn sockets_are_with_those_that_accept(
            count in 1_usize..9,
            changes in prop::collection::vec((0_u8..4, 0_usize..9), 0..20),
        ) {
            let mut crew = Crew::new(count);
            let mut able: Vec<usize> = (0..count).collect();
            let mut held = vec![1; count];
            for (change, which) in changes {
                match change {
                    0 => drop(crew.drain(which, drained())),
                    1 => drop(crew.undrain(which)),
                    2 if which > 0 && crew.check_resize(which).is_ok() => {
                        able.extend(held.len()..which);
                        held.resize(which.max(held.len()), 1);
                        crew.resize(which);
                    }
                    _ if able.len() > 1 => {
                        able.retain(|&worker| worker != which);
                        held.iter_mut().skip(which).take(1).for_each(|held| *held = 0);
                    }
                    _ => {}
                }
                let before: usize = held.iter().sum();
                let taken: Vec<(usize, usize)> =
                    crew.givers(&held, &able).into_iter().map(|from| (from, std::mem::take(&mut held[from]))).collect();
                for (from, sockets) in taken {
                    for _ in 0..sockets {
                        let to = crew.taker(from, &held, &held, &able).unwrap();
                        held[to] += 1;
                    }
                }
                prop_assert_eq!(held.iter().sum::<usize>(), before);
                let takers: Vec<usize> = able.iter().copied().filter(|&worker| crew.accepts(worker)).collect();
                if !takers.is_empty() {
                    prop_assert!((0..held.len()).all(|worker| held[worker] == 0 || takers.contains(&worker)));
                    let of_takers = || takers.iter().map(|&worker| held[worker]);
                    prop_assert!(of_takers().max() <= of_takers().min().map(|least| least + 1), "{:?}", held);
                }
                // Those beyond the number have gone.
                able.retain(|&worker| worker < crew.count || takers.is_empty());
                held.truncate(crew.count.max(able.last().map_or(0, |last| last + 1)));
            }
        }
    }
}
