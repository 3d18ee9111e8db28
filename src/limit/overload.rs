//! Near the end of file descriptors or memory: when to shed load, and how
//! much of it. Pure.
//!
//! Two steps. From [`IDLE`] percent of a limit on, connections that have been
//! idle are closed, the longest idle first: round by round a shorter time is
//! enough, until the use falls. From [`REFUSE`] percent on new connections are
//! refused as well. Each step ends some percent below where it began, so that
//! a load at the border does not flap.

use std::time::Duration;

/// Percent of a limit from which idle connections are closed, and below which
/// they are not any more.
pub const IDLE: (u64, u64) = (85, 75);
/// Percent of a limit from which new connections are refused, and below which
/// they are let in again.
pub const REFUSE: (u64, u64) = (95, 90);

/// The first round closes what has been idle for so long.
const LONGEST: Duration = Duration::from_secs(300);
/// No round closes what has been idle for less.
const SHORTEST: Duration = Duration::from_secs(1);

/// What is done about the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Nothing: there is enough.
    #[default]
    Normal,
    /// Idle connections are closed.
    Idle,
    /// New connections are refused as well.
    Refuse,
}

impl Level {
    /// The word of API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Idle => "closing-idle",
            Self::Refuse => "refusing",
        }
    }

    /// 0, 1 or 2: the value of the metric.
    pub fn number(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Idle => 1,
            Self::Refuse => 2,
        }
    }
}

/// How much of something is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// In use.
    pub used: u64,
    /// What there is; 0: nobody knows, or there is no limit.
    pub limit: u64,
}

impl Load {
    /// In percent, rounded down; 0 without a limit.
    pub fn percent(self) -> u64 {
        if self.limit == 0 { 0 } else { (u128::from(self.used) * 100 / u128::from(self.limit)) as u64 }
    }
}

/// Decides the level from look to look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overload {
    level: Level,
    /// Rounds of closing since the level is not normal.
    rounds: u32,
}

impl Overload {
    /// The level as of the last look.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Looks at the loads; the worst counts. Answers the level if it is
    /// another than before.
    pub fn look(&mut self, loads: &[Load]) -> Option<Level> {
        let percent = loads.iter().map(|load| load.percent()).max().unwrap_or(0);
        let level = match self.level {
            _ if percent >= REFUSE.0 => Level::Refuse,
            Level::Refuse if percent >= REFUSE.1 => Level::Refuse,
            _ if percent >= IDLE.0 => Level::Idle,
            Level::Idle | Level::Refuse if percent >= IDLE.1 => Level::Idle,
            _ => Level::Normal,
        };
        let turned = level != self.level;
        self.level = level;
        if level == Level::Normal {
            self.rounds = 0;
        }
        turned.then_some(level)
    }

    /// A round of closing: how long a connection must have been idle to be
    /// closed in it. `None` while the level is normal.
    pub fn round(&mut self) -> Option<Duration> {
        if self.level == Level::Normal {
            return None;
        }
        let idle = LONGEST / 2u32.saturating_pow(self.rounds.min(16));
        self.rounds = self.rounds.saturating_add(1);
        Some(idle.max(SHORTEST))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(percent: u64) -> [Load; 1] {
        [Load { used: percent, limit: 100 }]
    }

    #[test]
    fn two_steps_up_and_two_down_with_room_between() {
        let mut overload = Overload::default();
        assert_eq!(overload.look(&of(84)), None);
        assert_eq!(overload.round(), None);
        assert_eq!(overload.look(&of(85)), Some(Level::Idle));
        for percent in [94, 75, 84] {
            assert_eq!(overload.look(&of(percent)), None, "{percent}");
        }
        assert_eq!(overload.look(&of(95)), Some(Level::Refuse));
        assert_eq!(overload.look(&of(90)), None);
        assert_eq!(overload.look(&of(89)), Some(Level::Idle));
        assert_eq!(overload.look(&of(74)), Some(Level::Normal));
        assert_eq!(overload.look(&of(100)), Some(Level::Refuse), "both at once");
        assert_eq!(overload.look(&of(0)), Some(Level::Normal));
    }

    #[test]
    fn the_worst_load_counts_and_no_limit_is_no_load() {
        let mut overload = Overload::default();
        let unlimited = Load { used: u64::MAX, limit: 0 };
        assert_eq!(overload.look(&[unlimited]), None);
        let most = Load { used: u64::MAX - 1, limit: u64::MAX };
        assert_eq!(overload.look(&[Load { used: 1, limit: 100 }, unlimited, most]), Some(Level::Refuse));
    }

    #[test]
    fn the_longest_idle_go_first() {
        let mut overload = Overload::default();
        let _ = overload.look(&of(90));
        let rounds: Vec<u64> = (0..40).filter_map(|_| overload.round()).map(|idle| idle.as_secs()).collect();
        assert_eq!(rounds[..4], [300, 150, 75, 37]);
        assert_eq!(rounds[39], 1);
        let _ = overload.look(&of(1));
        let _ = overload.look(&of(90));
        assert_eq!(overload.round(), Some(Duration::from_secs(300)), "it begins anew");
    }

    proptest! {
        #[test]
        fn the_level_follows_the_load(percents in prop::collection::vec(0..120u64, 1..50)) {
            let mut overload = Overload::default();
            for percent in percents {
                let before = overload.level();
                let turned = overload.look(&of(percent));
                let level = overload.level();
                prop_assert_eq!(turned, (level != before).then_some(level));
                if percent >= REFUSE.0 { prop_assert_eq!(level, Level::Refuse); }
                if percent >= IDLE.0 { prop_assert!(level >= Level::Idle); }
                if percent < IDLE.1 { prop_assert_eq!(level, Level::Normal); }
                if percent < REFUSE.1 { prop_assert!(level <= Level::Idle); }
            }
        }
    }
}
