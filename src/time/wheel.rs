//! A hierarchical timer wheel: arming, cancelling and firing cost the same
//! however many timers there are.
//!
//! Four levels of 64 slots; a tick is 8 ms, so the wheel spans 37 hours.
//! A timer further away waits in the last slot and is sorted in anew when its
//! turn comes. (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels".)

use std::time::{Duration, Instant};

/// Resolution of the wheel: a timer fires at most this late.
pub const TICK: Duration = Duration::from_millis(8);
/// They fit a second without a rest, which spares dividing by 128 bits.
const TICKS_A_SECOND: u64 = 125;
const _: () = assert!(TICK.as_nanos() as u64 * TICKS_A_SECOND == 1_000_000_000);

const LEVELS: usize = 4;
const SLOTS: u64 = 64;
const BITS: u32 = 6;
const SPAN: u64 = 1 << (BITS * LEVELS as u32);
const NONE: u32 = u32::MAX;

/// Names an armed timer. Use it at most once, and not after the timer fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerId(u32);

/// Timers, each with a token that is handed out when it fires.
#[derive(Debug)]
pub struct Wheel {
    start: Instant,
    /// Every tick up to this one has been fired.
    current: u64,
    /// Before then there is no tick to fire.
    next_tick_at: Instant,
    heads: [[u32; SLOTS as usize]; LEVELS],
    /// Which slots of a level are not empty.
    occupied: [u64; LEVELS],
    timers: Vec<Timer>,
    free: u32,
    armed: usize,
    /// No timer is due before; `None` when none is armed.
    soonest: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Timer {
    token: usize,
    tick: u64,
    next: u32,
    previous: u32,
    level: u8,
    slot: u8,
}

impl Wheel {
    /// A wheel that stands at `start`.
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            current: 0,
            next_tick_at: start,
            heads: [[NONE; SLOTS as usize]; LEVELS],
            occupied: [0; LEVELS],
            timers: Vec::new(),
            free: NONE,
            armed: 0,
            soonest: None,
        }
    }

    /// Timers armed.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Arms a timer that fires at `deadline` or up to a tick later; for a
    /// deadline in the past with the next tick.
    pub fn arm(&mut self, deadline: Instant, token: usize) -> TimerId {
        let since = deadline.saturating_duration_since(self.start);
        let tick = ticks(since.as_secs(), since.subsec_nanos().div_ceil(TICK.subsec_nanos())).max(self.current + 1);
        let timer = Timer { token, tick, next: NONE, previous: NONE, level: 0, slot: 0 };
        let index = match self.free {
            NONE => {
                self.timers.push(timer);
                (self.timers.len() - 1) as u32
            }
            index => {
                self.free = self.timers[index as usize].next;
                self.timers[index as usize] = timer;
                index
            }
        };
        self.armed += 1;
        self.link(index);
        if self.soonest.is_none_or(|soonest| deadline < soonest) {
            self.soonest = self.time_of(tick);
        }
        TimerId(index)
    }

    /// Disarms a timer that has not fired.
    pub fn cancel(&mut self, TimerId(index): TimerId) {
        self.unlink(index);
        self.release(index);
        if self.armed == 0 {
            self.soonest = None;
        }
    }

    /// When [`fire`](Self::fire) has something to do, at the latest; `None`
    /// when no timer is armed. It may be too early: for a timer that was
    /// cancelled, or one so far away that it is sorted in anew.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.soonest
    }

    fn time_of(&self, tick: u64) -> Option<Instant> {
        // In milliseconds: ticks of a year and more do not fit Duration's u32.
        self.start.checked_add(Duration::from_millis(tick.saturating_mul(TICK.as_millis() as u64)))
    }

    /// Calls `fired` with the token of every timer whose deadline is not after
    /// `now`; they are disarmed.
    pub fn fire(&mut self, now: Instant, mut fired: impl FnMut(usize)) {
        if now < self.next_tick_at {
            return;
        }
        let since = now.saturating_duration_since(self.start);
        let now = ticks(since.as_secs(), since.subsec_nanos() / TICK.subsec_nanos());
        while let Some(tick) = self.next_tick().filter(|&tick| tick <= now) {
            self.current = tick;
            for level in (1..LEVELS).rev() {
                if tick % (1 << (BITS * level as u32)) == 0 {
                    self.cascade(level, slot_of(tick, level));
                }
            }
            let mut index = self.take_slot(0, slot_of(tick, 0));
            while index != NONE {
                let Timer { token, next, .. } = self.timers[index as usize];
                self.release(index);
                fired(token);
                index = next;
            }
        }
        self.current = self.current.max(now);
        self.next_tick_at = self.time_of(self.current + 1).unwrap_or(self.start);
        self.soonest = self.next_tick().and_then(|tick| self.time_of(tick));
    }

    /// The first tick at which a slot has to be looked at.
    fn next_tick(&self) -> Option<u64> {
        (0..LEVELS)
            .filter(|&level| self.occupied[level] != 0)
            .map(|level| {
                let position = self.current >> (BITS * level as u32);
                let ahead = self.occupied[level].rotate_right((position as u32 + 1) % SLOTS as u32);
                (position + 1 + u64::from(ahead.trailing_zeros())) << (BITS * level as u32)
            })
            .min()
    }

    /// Sorts the timers of a slot in anew, now that they are near.
    fn cascade(&mut self, level: usize, slot: usize) {
        let mut index = self.take_slot(level, slot);
        while index != NONE {
            let next = self.timers[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    fn take_slot(&mut self, level: usize, slot: usize) -> u32 {
        self.occupied[level] &= !(1 << slot);
        std::mem::replace(&mut self.heads[level][slot], NONE)
    }

    fn link(&mut self, index: u32) {
        // While a tick is being fired, what is due at it goes to the very slot
        // that is looked at next.
        let tick = self.timers[index as usize].tick.clamp(self.current, self.current + SPAN - 1);
        let ahead = tick - self.current;
        let level = (0..LEVELS - 1).find(|&level| ahead < 1 << (BITS * (level as u32 + 1))).unwrap_or(LEVELS - 1);
        let slot = slot_of(tick, level);
        let head = std::mem::replace(&mut self.heads[level][slot], index);
        if head != NONE {
            self.timers[head as usize].previous = index;
        }
        self.occupied[level] |= 1 << slot;
        let timer = &mut self.timers[index as usize];
        (timer.next, timer.previous, timer.level, timer.slot) = (head, NONE, level as u8, slot as u8);
    }

    fn unlink(&mut self, index: u32) {
        let Timer { next, previous, level, slot, .. } = self.timers[index as usize];
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        if previous != NONE {
            self.timers[previous as usize].next = next;
        } else {
            let (level, slot) = (level as usize, slot as usize);
            self.heads[level][slot] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << slot);
            }
        }
    }

    fn release(&mut self, index: u32) {
        self.timers[index as usize].next = self.free;
        self.free = index;
        self.armed -= 1;
    }
}

fn ticks(seconds: u64, rest: u32) -> u64 {
    seconds.saturating_mul(TICKS_A_SECOND).saturating_add(rest.into())
}

fn slot_of(tick: u64, level: usize) -> usize {
    ((tick >> (BITS * level as u32)) % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Arm(u64),
        Cancel(prop::sample::Index),
        Pass(u64),
    }

    fn millis() -> impl Strategy<Value = u64> {
        prop_oneof![0..50u64, 0..10_000u64, 0..10_000_000u64, 0..400_000_000u64]
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            3 => millis().prop_map(Op::Arm),
            1 => any::<prop::sample::Index>().prop_map(Op::Cancel),
            2 => millis().prop_map(Op::Pass),
        ];
        prop::collection::vec(op, 1..120)
    }

    #[test]
    fn does_not_run_hot_after_years() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of the test")]
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let now = start + Duration::from_secs(3 * 365 * 24 * 3600);
        wheel.fire(now, |_| unreachable!("nothing is armed"));
        wheel.arm(now + Duration::from_secs(10), 1);
        let next = wheel.next_deadline().unwrap();
        assert!(next > now && next <= now + Duration::from_secs(11));
    }

    proptest! {
        #[test]
        fn fires_exactly_what_is_due(ops in ops()) {
            #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of the test")]
            let start = Instant::now();
            let mut wheel = Wheel::new(start);
            let mut now = start;
            let mut model: BTreeMap<usize, (TimerId, Instant)> = BTreeMap::new();
            for (token, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Arm(ms) => {
                        let deadline = now + Duration::from_millis(ms);
                        model.insert(token, (wheel.arm(deadline, token), deadline));
                    }
                    Op::Cancel(which) if !model.is_empty() => {
                        let token = *model.keys().nth(which.index(model.len())).unwrap();
                        let (id, _) = model.remove(&token).unwrap();
                        wheel.cancel(id);
                    }
                    Op::Cancel(_) => {}
                    Op::Pass(ms) => {
                        now += Duration::from_millis(ms);
                        let mut fired = Vec::new();
                        wheel.fire(now, |token| fired.push(token));
                        for token in fired {
                            let (_, deadline) = model.remove(&token).expect("fired once, and only if armed");
                            prop_assert!(deadline <= now, "not early");
                        }
                        for (_, deadline) in model.values() {
                            prop_assert!(*deadline + TICK > now, "not later than a tick");
                        }
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                prop_assert_eq!(wheel.next_deadline().is_some(), !model.is_empty());
                if let (Some(next), Some(first)) = (wheel.next_deadline(), model.values().map(|(_, d)| *d).min()) {
                    prop_assert!(next <= first.max(now) + 2 * TICK, "never sleeps over a deadline");
                }
            }
        }
    }
}
