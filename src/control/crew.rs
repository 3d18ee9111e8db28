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

    /// Who has the socket that was made for worker `home`: itself if it
    /// accepts, else who has it now (`current`) if that one accepts, else the
    /// one of `able` that has the fewest such guests. `home` if nobody can.
    pub(super) fn host(&self, home: usize, current: usize, able: &[usize], guests: impl Fn(usize) -> usize) -> usize {
        let accepts = |worker: usize| self.accepts(worker) && able.contains(&worker);
        if accepts(home) {
            return home;
        }
        if accepts(current) {
            return current;
        }
        let candidates = able.iter().copied().filter(|&worker| self.accepts(worker));
        // Of equals the next after home: two drained workers do not choose the
        // same.
        let distance = |worker: usize| (worker + self.count - home) % self.count.max(1);
        candidates.min_by_key(|&worker| (guests(worker), distance(worker))).unwrap_or(home)
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
    fn guests_are_spread() {
        let mut crew = Crew::new(4);
        crew.drain(1, drained()).unwrap();
        let able = [0, 1, 2, 3];
        assert_eq!(crew.host(0, 0, &able, |_| 0), 0);
        assert_eq!(crew.host(1, 1, &able, |_| 0), 2);
        assert_eq!(crew.host(1, 1, &able, |worker| usize::from(worker == 2)), 3);
        assert_eq!(crew.host(1, 3, &able, |_| 0), 3, "it stays where it is");
        assert_eq!(crew.host(1, 1, &[1], |_| 0), 1);
    }

    proptest! {
        /// A host accepts and is able, or there is none; a socket moves only if
        /// it has to.
        #[test]
        fn a_host_accepts(
            count in 1_usize..9,
            drains in prop::collection::vec(0_usize..9, 0..12),
            dead in prop::collection::btree_set(0_usize..9, 0..4),
            home in 0_usize..9,
            current in 0_usize..9,
        ) {
            let (home, current) = (home % count, current % count);
            let mut crew = Crew::new(count);
            for worker in drains {
                let _ = crew.drain(worker, drained());
            }
            prop_assert!((0..count).any(|worker| crew.accepts(worker)));
            let able: Vec<usize> = (0..count).filter(|worker| !dead.contains(worker)).collect();
            let host = crew.host(home, current, &able, |worker| worker % 3);
            let can = |worker: usize| crew.accepts(worker) && able.contains(&worker);
            if (0..count).any(can) {
                prop_assert!(can(host));
                prop_assert_eq!(host == home, can(home));
                if !can(home) && can(current) {
                    prop_assert_eq!(host, current);
                }
            } else {
                prop_assert_eq!(host, home);
            }
        }
    }
}
