//! Who is to be asked when, and how many at once.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::Hash,
    time::{Duration, Instant},
};

/// Times of keys, the earliest first; at most `most` keys are out at once.
#[derive(Debug)]
pub struct Schedule<K> {
    /// With times that were changed meanwhile: those count only if `times`
    /// says the same.
    heap: BinaryHeap<Reverse<(Instant, K)>>,
    times: HashMap<K, Option<Instant>>,
    out: usize,
    most: usize,
}

impl<K: Copy + Ord + Hash> Schedule<K> {
    /// Nobody yet.
    pub fn new(most: usize) -> Self {
        Self { heap: BinaryHeap::new(), times: HashMap::new(), out: 0, most }
    }

    /// At most so many are out from now on.
    pub fn allow(&mut self, most: usize) {
        self.most = most;
    }

    /// Sets the time of a key, which may be new or out.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(None) = self.times.insert(key, Some(at)) {
            self.out -= 1;
        }
        self.heap.push(Reverse((at, key)));
        self.tidy();
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: K) {
        if let Some(None) = self.times.remove(&key) {
            self.out -= 1;
        }
        self.tidy();
    }

    /// A key whose time has come, if there is room; it is out from now until
    /// its time is set again.
    pub fn take(&mut self, now: Instant) -> Option<K> {
        while self.out < self.most {
            let &Reverse((at, key)) = self.heap.peek()?;
            let counts = self.times.get(&key) == Some(&Some(at));
            if counts && at > now {
                return None;
            }
            self.heap.pop();
            if counts {
                self.times.insert(key, None);
                self.out += 1;
                return Some(key);
            }
        }
        None
    }

    /// How long nobody's time comes; `None` while there is nobody, or no room.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let Reverse((at, _)) = self.heap.peek().filter(|_| self.out < self.most)?;
        Some(at.saturating_duration_since(now))
    }

    /// Keys that are out.
    pub fn out(&self) -> usize {
        self.out
    }

    /// What no longer counts must not pile up.
    fn tidy(&mut self) {
        if self.heap.len() > 2 * self.times.len() + 16 {
            self.heap = self.times.iter().filter_map(|(key, at)| at.map(|at| Reverse((at, *key)))).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn in_order_and_no_more_than_there_is_room() {
        let (now, second) = (start(), Duration::from_secs(1));
        let mut schedule = Schedule::new(2);
        for (key, at) in [(1, 3), (2, 1), (3, 2), (4, 9)] {
            schedule.set(key, now + second * at);
        }
        assert_eq!((schedule.take(now), schedule.pause(now)), (None, Some(second)));
        let late = now + second * 5;
        assert_eq!((schedule.take(late), schedule.take(late)), (Some(2), Some(3)));
        assert_eq!((schedule.take(late), schedule.pause(late)), (None, None), "no room");
        schedule.set(2, late + second);
        assert_eq!(schedule.take(late), Some(1), "who waited is next");
        schedule.remove(3);
        assert_eq!((schedule.take(late), schedule.pause(late)), (None, Some(second)));
        assert_eq!(schedule.out(), 1);
    }

    proptest! {
        /// As a plain list would do it.
        #[test]
        fn as_a_list(steps in proptest::collection::vec((0..3_u8, 0..6_u8, 0..20_u64), 1..200), most in 1..4_usize) {
            let start = start();
            let mut schedule = Schedule::new(most);
            let mut list = BTreeMap::<u8, Option<u64>>::new();
            for (step, key, time) in steps {
                match step {
                    0 => {
                        schedule.set(key, start + Duration::from_secs(time));
                        list.insert(key, Some(time));
                    }
                    1 => {
                        schedule.remove(key);
                        list.remove(&key);
                    }
                    _ => {
                        let out = list.values().filter(|at| at.is_none()).count();
                        let due = list.iter().filter_map(|(key, at)| at.filter(|&at| at <= time).map(|at| (at, *key)));
                        let next = due.min().filter(|_| out < most).map(|(_, key)| key);
                        prop_assert_eq!(schedule.take(start + Duration::from_secs(time)), next);
                        if let Some(key) = next {
                            list.insert(key, None);
                        }
                    }
                }
                prop_assert_eq!(schedule.out(), list.values().filter(|at| at.is_none()).count());
            }
        }
    }
}
