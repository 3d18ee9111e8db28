//! Numbers of connections: unique over the workers of a process, and, since
//! the sequence begins with the time of the start, over its successors.
//!
//! ```text
//! bits 63 .. 10  sequence     bits 9 .. 0  worker
//! ```

const WORKER_BITS: u32 = 10;

/// Most workers that ids can tell apart.
pub const MAX_WORKERS: usize = 1 << WORKER_BITS;

/// Gives out one worker's connection ids, in ascending order.
#[derive(Debug)]
pub(super) struct Ids {
    next: u64,
    worker: u64,
}

impl Ids {
    pub(super) fn new(first_sequence: u64, worker: usize) -> Self {
        Self { next: first_sequence, worker: worker as u64 & (MAX_WORKERS as u64 - 1) }
    }

    pub(super) fn next(&mut self) -> u64 {
        let id = self.next << WORKER_BITS | self.worker;
        self.next += 1;
        id
    }

    /// A connection with this id arrived: later ones have higher ids.
    pub(super) fn reach(&mut self, id: u64) {
        self.next = self.next.max((id >> WORKER_BITS) + 1);
    }

    /// The highest id given out so far; below all of them if there is none.
    pub(super) fn newest(&self) -> u64 {
        self.next.saturating_sub(1) << WORKER_BITS | self.worker
    }
}

/// The index of the worker that gave out `id`; the connection may have moved
/// since.
pub fn worker_of(id: u64) -> usize {
    (id as usize) & (MAX_WORKERS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_and_tell_their_worker() {
        let mut ids = Ids::new(1 << 44, 5);
        let (first, second) = (ids.next(), ids.next());
        assert!(first < second);
        assert_eq!(ids.newest(), second);
        assert!(Ids::new(1 << 44, 5).newest() < first);
        assert_eq!((worker_of(first), worker_of(second)), (5, 5));
        let arrived = (1 << 45) << WORKER_BITS | 9;
        ids.reach(arrived);
        assert!(ids.newest() > arrived >> WORKER_BITS << WORKER_BITS && ids.next() > arrived);
        ids.reach(first);
        assert!(ids.next() > arrived, "an older one changes nothing");
        assert_ne!(first, Ids::new(1 << 44, 6).next());
    }
}
