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
        history::{HistoryEntry, Origin},
        lifecycle::Input,
        names,
        port::WorkerPort,
        removed::Gone,
        request::{DaemonState, DrainPlan, EventKind, Target},
        state::{Lifted, State},
        told::ToldEndpoint,
    },
    ledger,
    types::{KeptGeneration, KnownHealth, Ledger, OpenDrain, Receipt, Removal, SlowStart, Verdict, Will},
};
use crate::{config::Config, metrics::WorkerShard};

/// What this process has of its predecessor, until it serves alone.
#[derive(Debug)]
pub(in crate::control) struct Legacy {
    /// Drains that had not ended.
    drains: Vec<OpenDrain>,
    /// Overrides of objects that this configuration does not have.
    lifted: Vec<Lifted>,
    /// What was counted; to be added before anybody looks.
    pub(in crate::control) ledger: Option<Ledger>,
    /// Of earlier upgrades.
    pub(super) receipts: Vec<Receipt>,
    /// Upgrades so far.
    pub(super) upgrades: Vec<(Verdict, u64)>,
    /// Where the predecessor's configuration came from.
    pub(in crate::control) origin: Origin,
    pub(in crate::control) history: Vec<HistoryEntry>,
    pub(in crate::control) generations: Vec<KeptGeneration>,
    pub(in crate::control) health: Vec<KnownHealth>,
    /// Slow starts under way.
    pub(in crate::control) slow_starts: Vec<SlowStart>,
    removals: Vec<Removal>,
}

impl Legacy {
    /// The state that a will asks for, and the rest of it.
    pub(in crate::control) fn new(will: Will, config: Arc<Config>, now: SystemTime) -> (State, Self) {
        // The file was read anew: that is a generation of its own.
        let generation = will.generation.saturating_add(1);
        let (state, lifted) = State::inherited(config, generation, now, will.overrides);
        let Will { drains, receipts, upgrades, ledger, origin, history, generations, .. } = will;
        let Will { health, slow_starts, removals, .. } = will;
        let ledger = Some(ledger);
        let legacy = Self {
            drains,
            lifted,
            ledger,
            receipts,
            upgrades,
            origin,
            history,
            generations,
            health,
            slow_starts,
            removals,
        };
        (state, legacy)
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
        let looked = self.clock.now();
        let now = looked.instant;
        let read = self.read_ledger();
        self.upgrades.told = read.clone();
        let level = self.log_level;
        Will {
            generation: self.state.generation(),
            applied_at: self.state.applied_at(),
            started_at: self.started.wall,
            overrides: self.state.all_overrides(),
            drains: self.drains.iter().filter_map(|drain| drain.open(self.measure(&drain.target), now)).collect(),
            log_level: (level != self.state.config().log.level).then(|| level.as_str().to_owned()),
            ledger: read,
            receipts: self.upgrades.receipts(),
            upgrades: self.upgrades.counts(),
            origin: self.origin.clone(),
            history: self.generations.entries().cloned().collect(),
            generations: self.generations.keepsakes(),
            health: self.health.keepsakes(looked),
            slow_starts: self.fleet.told().starts(now),
            removals: self.removals(now),
        }
    }

    /// How long what has connections still is gone, by name.
    fn removals(&self, now: Instant) -> Vec<Removal> {
        let told = self.fleet.told();
        let named = |gone: &Gone| match gone {
            Gone::Listener(name) => Some(Target::Listener(name.clone())),
            Gone::Endpoint(id) => {
                let each = told.retired_endpoints.iter().find(|each| each.id == *id)?;
                Some(Target::Endpoint(each.pool.clone(), each.address.to_string()))
            }
        };
        self.removed.ages(now).filter_map(|(gone, age)| Some(Removal { target: named(gone)?, age })).collect()
    }

    /// Takes on how long something is gone, if it is gone here, too.
    fn recall(&mut self, removals: Vec<Removal>) {
        let (told, now) = (self.fleet.told(), self.clock.now().instant);
        for Removal { target, age } in removals {
            let gone = match target {
                Target::Listener(name) if told.retired_listeners.contains_key(&name) => Gone::Listener(name),
                Target::Endpoint(pool, address) => {
                    let is_it = |each: &&ToldEndpoint| each.pool == pool && each.address.to_string() == address;
                    let Some(found) = told.retired_endpoints.iter().find(is_it) else { continue };
                    Gone::Endpoint(found.id)
                }
                _ => continue,
            };
            self.removed.recall(gone, age, now);
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
        let read = ledger::read(self.fleet.told(), workers.iter(), self.reloads, self.started.wall);
        Ledger { control: self.own_ledger(), ..read }
    }

    /// Takes on what was going on in the predecessor: its drains go on with
    /// the time that was left, and what is gone has been for as long.
    pub(in crate::control) fn take_on(&mut self, legacy: Legacy) {
        for each in legacy.lifted {
            let text = format!("{} override dropped: the object is gone from the configuration", each.value);
            self.journal.seen(EventKind::OverrideCleared, &each.object, &text);
        }
        self.recall(legacy.removals);
        let now = self.clock.now().instant;
        for OpenDrain { target, left, gradual, by, past } in legacy.drains {
            if self.state.check(&target).is_err() || self.state.takes(&target) {
                // Its object is gone, and so is the drain.
                continue;
            }
            let start = self.measure(&target);
            self.serial += 1;
            let plan = DrainPlan { lame_duck: Duration::ZERO, gradual, deadline: left, moves: false };
            let mut drain = Drain::new(self.serial, target.clone(), by.clone(), plan, start, now);
            drain.confirm();
            if let Some(past) = past {
                drain.go_on(past, now);
            }
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
