//! How many connections an endpoint has, all workers together: what
//! least-connections goes by and what a limit is held against. Besides the
//! figures, which each worker writes alone.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::worker::places::Kept;

/// Connections that one endpoint has or is about to have, counted by all
/// workers. On a cache line of its own: it is written with every connection.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Load(AtomicU64, Kept);

impl Load {
    /// Connections now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Keeps places for `n` connections that come from another process.
    pub fn keep(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
        self.1.keep(n);
    }

    /// Gives back the places that nobody came for.
    pub fn release(&self) {
        self.0.fetch_sub(self.1.release(), Relaxed);
    }

    /// A place for one that comes from another process: one that was kept, or
    /// one more, whatever the limit.
    pub(super) fn arrive(self: &Arc<Self>) -> Place {
        if !self.1.claim() {
            self.0.fetch_add(1, Relaxed);
        }
        Place(Arc::clone(self))
    }

    /// A place for one more, if fewer than `most` are taken. Exact, however
    /// many workers ask at once.
    pub(super) fn enter(self: &Arc<Self>, most: Option<u32>) -> Option<Place> {
        match most {
            None => {
                self.0.fetch_add(1, Relaxed);
            }
            Some(most) => {
                let more = |load| (load < u64::from(most)).then_some(load + 1);
                self.0.fetch_update(Relaxed, Relaxed, more).ok()?;
            }
        }
        Some(Place(Arc::clone(self)))
    }
}

/// One connection's place at an endpoint; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Load>);

impl Place {
    /// Whether it is counted there.
    pub(super) fn is_of(&self, load: &Arc<Load>) -> bool {
        Arc::ptr_eq(&self.0, load)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_none_is_given_twice() {
        let load = Arc::new(Load::default());
        let places: Vec<_> = (0..2).filter_map(|_| load.enter(Some(2))).collect();
        assert_eq!((places.len(), load.get()), (2, 2));
        assert!(load.enter(Some(2)).is_none());
        let third = load.enter(None);
        assert_eq!(load.get(), 3);
        drop((places, third));
        assert_eq!(load.get(), 0);
    }

    #[test]
    fn places_are_kept_for_those_that_come() {
        let load = Arc::new(Load::default());
        load.keep(2);
        assert!(load.enter(Some(2)).is_none());
        let come = load.arrive();
        assert_eq!(load.get(), 2);
        load.release();
        assert_eq!(load.get(), 1);
        let further = load.arrive();
        assert_eq!(load.get(), 2);
        drop((come, further));
        assert_eq!(load.get(), 0);
    }

    #[test]
    fn the_limit_holds_over_threads() {
        let load = Arc::new(Load::default());
        let most_seen = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let place = load.enter(Some(3));
                        most_seen.fetch_max(load.get(), Relaxed);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(load.get(), 0);
        assert!((1..=3).contains(&most_seen.into_inner()));
    }
}
