//! The will: all that a successor must know before it serves, and how it
//! becomes this process's state.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    super::{
        clock::Now,
        controller::Controller,
        drain::Drain,
        lifecycle::Input,
        names,
        port::WorkerPort,
        request::{DaemonState, EventKind, Provenance, Target},
        state::{Lifted, State},
    },
    ledger,
    types::{Ledger, Receipt, Verdict, Will},
};
use crate::{config::Config, metrics::WorkerShard};

/// What this process has of its predecessor, until it serves alone.
#[derive(Debug)]
pub(in crate::control) struct Legacy {
    /// Drains that had not ended.
    drains: Vec<(Target, Option<Duration>, Provenance)>,
    /// Overrides of objects that this configuration does not have.
    lifted: Vec<Lifted>,
    /// What was counted; to be added before anybody looks.
    pub(in crate::control) ledger: Option<Ledger>,
    /// Of earlier upgrades.
    pub(super) receipts: Vec<Receipt>,
    /// Upgrades so far.
    pub(super) upgrades: Vec<(Verdict, u64)>,
}

impl Legacy {
    /// The state that a will asks for, and the rest of it.
    pub(in crate::control) fn new(will: Will, config: Arc<Config>, now: SystemTime) -> (State, Self) {
        // The file was read anew: that is a generation of its own.
        let generation = will.generation.saturating_add(1);
        let (state, lifted) = State::inherited(config, generation, now, will.overrides);
        let Will { drains, receipts, upgrades, ledger, .. } = will;
        (state, Self { drains, lifted, ledger: Some(ledger), receipts, upgrades })
    }
}

/// The first process's start on this process's clocks: counters and status go
/// on from there.
pub(in crate::control) fn started(will: &Will, now: Now) -> Now {
    let age = now.wall.duration_since(will.started_at).unwrap_or_default();
    match now.instant.checked_sub(age) {
        Some(instant) => Now { wall: will.started_at, instant },
        None => now,
    }
}

impl<P: WorkerPort> Controller<P> {
    pub(in crate::control) fn will(&mut self) -> Will {
        let now = self.clock.now().instant;
        let read = self.read_ledger();
        self.upgrades.told = read.clone();
        let level = self.log_level;
        Will {
            generation: self.state.generation(),
            applied_at: self.state.applied_at(),
            started_at: self.started.wall,
            overrides: self.state.all_overrides(),
            drains: self.drains.iter().map(|drain| self.drain_in_progress(drain, now)).collect(),
            log_level: (level != self.state.config().log.level).then(|| level.as_str().to_owned()),
            ledger: read,
            receipts: self.upgrades.receipts(),
            upgrades: self.upgrades.counts(),
        }
    }

    /// What was counted since the last time.
    pub(in crate::control) fn ledger_since(&mut self) -> Ledger {
        let read = self.read_ledger();
        let difference = ledger::since(&read, &self.upgrades.told);
        self.upgrades.told = read;
        difference
    }

    fn read_ledger(&self) -> Ledger {
        let workers: Vec<Arc<WorkerShard>> = self.fleet.workers().map(|port| Arc::clone(port.shard())).collect();
        ledger::read(self.fleet.told(), workers.iter(), self.reloads, self.started.wall)
    }

    fn drain_in_progress(&self, drain: &Drain, now: Instant) -> (Target, Option<Duration>, Provenance) {
        let by = match &drain.target {
            Target::Daemon => self.state.daemon_override().map(|each| each.by.clone()),
            Target::Listener(name) => self.state.listener_override(name).map(|each| each.by.clone()),
            Target::Pool(name) => self.state.pool_override(name).map(|each| each.by.clone()),
            Target::Endpoint(pool, address) => self.state.endpoint_override(pool, address).map(|each| each.by.clone()),
        };
        (drain.target.clone(), drain.left(now), by.unwrap_or_default())
    }

    /// Takes on what was going on in the predecessor: its drains go on with
    /// the time that was left.
    pub(in crate::control) fn take_on(&mut self, legacy: Legacy) {
        for each in legacy.lifted {
            let text = format!("{} override dropped: the object is gone from the configuration", each.value);
            self.journal.seen(EventKind::OverrideCleared, &each.object, &text);
        }
        let now = self.clock.now().instant;
        for (target, left, by) in legacy.drains {
            if self.state.check(&target).is_err() || self.state.takes(&target) {
                // Its object is gone, and so is the drain.
                continue;
            }
            let start = self.measure(&target);
            self.serial += 1;
            let mut drain = Drain::new(self.serial, target.clone(), left, start, now);
            drain.confirm();
            self.drains.push(drain);
            let text = "draining: goes on after the upgrade";
            self.journal.asked(EventKind::DrainStarted, &names::target(&target), text, &by);
        }
        if self.state.daemon_override().is_some() && self.lifecycle.state() == DaemonState::Serving {
            self.live(Input::DrainStarted);
            if !self.drains.iter().any(|drain| drain.target == Target::Daemon) {
                self.live(Input::Drained);
            }
        }
    }
}
