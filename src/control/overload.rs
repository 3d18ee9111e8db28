//! Shedding load near the limit of file descriptors or memory. What is done is
//! decided in `limit::Overload`; this looks, orders and tells.

use std::{iter, time::Duration, time::Instant};

use super::{controller::Controller, gather::Gather, port::WorkerPort, request::EventKind};
use crate::{
    config::{MemoryLimit, OverloadMode, format_size},
    limit::{Level, Load, Overload},
    protocol::CloseReason,
    worker::{Filter, Selection},
};

/// Between two rounds of closing idle connections.
const ROUND: Duration = Duration::from_secs(1);

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Shedding {
    overload: Overload,
    loads: Loads,
    last_round: Option<Instant>,
    /// A round is under way.
    closing: bool,
}

/// How much is in use.
#[derive(Debug, Clone, Copy, Default)]
struct Loads {
    fds: Load,
    memory: Load,
}

impl Shedding {
    /// The level in force.
    pub(super) fn level(&self) -> Level {
        self.overload.level()
    }

    /// `file descriptors 96% (34 of 36), memory 12% (...)`.
    pub(super) fn describe(&self) -> String {
        let Loads { fds, memory } = self.loads;
        let mut text = format!("file descriptors {}% ({} of {})", fds.percent(), fds.used, fds.limit);
        if memory.limit > 0 {
            let (used, limit) = (format_size(memory.used), format_size(memory.limit));
            text.push_str(&format!(", memory {}% ({used} of {limit})", memory.percent()));
        }
        text
    }
}

impl<P: WorkerPort> Controller<P> {
    /// Tells of clients that were refused.
    pub(super) fn look_at_refusals(&mut self) {
        for turn in self.refusals.look(self.fleet.told(), self.beat_at.instant) {
            self.journal.seen(turn.kind, &turn.object, &turn.text);
        }
    }

    /// Looks at what is in use, and does what the level asks for.
    pub(super) fn look_at_overload(&mut self) {
        self.shedding.loads = self.loads();
        let Loads { fds, memory } = self.shedding.loads;
        if let Some(level) = self.shedding.overload.look(&[fds, memory]) {
            self.fleet.told().gates.set_refusing(level == Level::Refuse);
            let what = match level {
                Level::Normal => "no overload any more",
                Level::Idle => "overload: closing idle connections, the longest idle first",
                Level::Refuse => "overload: refusing new connections, and closing idle ones",
            };
            let text = format!("{what}: {}", self.shedding.describe());
            self.journal.seen(EventKind::Overload, "", &text);
        }
        let now = self.clock.now().instant;
        let rested = self.shedding.last_round.is_none_or(|last| now.saturating_duration_since(last) >= ROUND);
        if self.shedding.closing || !rested {
            return;
        }
        if let Some(idle_since) = self.shedding.overload.round().and_then(|idle| now.checked_sub(idle)) {
            self.shedding.last_round = Some(now);
            self.shedding.closing = true;
            let filter = Filter { idle_since: Some(idle_since), ..Filter::default() };
            let gather = self.fleet.close(&[Selection::Matching(filter)], CloseReason::OVERLOAD);
            self.after(gather, |controller, gather: Gather<Vec<u64>>| {
                controller.shedding.closing = false;
                let closed: usize = gather.answers.iter().map(|(_, ids)| ids.len()).sum();
                if closed > 0 {
                    tracing::info!(closed, "idle connections were closed because of an overload");
                }
            });
        }
    }

    /// Nothing, unless the configuration asks for it.
    fn loads(&self) -> Loads {
        let limits = &self.state.config().limits;
        if limits.overload != OverloadMode::Shed {
            return Loads::default();
        }
        let usage = (self.usage)();
        let (used, limit) = self.fleet.workers().next().map_or((0, 0), |worker| worker.settings().fds.usage());
        let memory = match limits.memory {
            MemoryLimit::Auto => usage.memory_limit,
            MemoryLimit::Bytes(bytes) => bytes,
            MemoryLimit::Off => 0,
        };
        Loads { fds: Load { used, limit }, memory: Load { used: usage.memory_bytes, limit: memory } }
    }

    /// The level in words for the status; empty if netd does not shed.
    pub(super) fn overload_text(&self) -> String {
        if self.state.config().limits.overload != OverloadMode::Shed {
            return String::new();
        }
        iter::once(self.shedding.level().as_str().to_owned())
            .chain([self.shedding.describe()])
            .collect::<Vec<_>>()
            .join(": ")
    }
}
