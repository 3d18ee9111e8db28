//! Drains: how they begin, go on and end.

mod watch;

use super::{
    bring_up,
    connections::answer,
    controller::Controller,
    drain::{Act, Drain, Measure},
    figures,
    fleet::Commit,
    gather::Gather,
    gone, gradual,
    lifecycle::Input,
    names,
    port::WorkerPort,
    request::{
        DrainOutcome, DrainPlan, DrainProgress, DrainRequest, DrainSnapshot, EventKind, Provenance, Refusal, Reply,
        Target,
    },
    sockets::Faults,
};
use crate::{
    config::format_duration,
    protocol::CloseReason,
    worker::{Filter, Resting, Selection},
};

pub(super) use self::watch::Ends;

/// Where the progress of a drain goes.
pub(super) type Progress = tokio::sync::mpsc::Receiver<DrainProgress>;

impl<P: WorkerPort> Controller<P> {
    /// Begins a drain, or joins the one that runs; its plan is the new one
    /// then.
    pub(super) fn start_drain(&mut self, request: DrainRequest, reply: Reply<Progress>) {
        let begun = DrainPlan::of(request.course, &request.target, &self.state.config().drain)
            .and_then(|plan| self.begin_drain(&request.target, plan, &request.by, false));
        let watch = begun.and_then(|serial| {
            let now = self.clock.now().instant;
            let measure = self.measure(&request.target);
            let drain = self.drains.iter_mut().find(|drain| drain.serial == serial);
            drain.map_or(Err(Refusal::ShuttingDown), |drain| drain.watch(measure, now))
        });
        answer(reply, watch);
    }

    pub(super) fn begin_drain(
        &mut self,
        target: &Target,
        plan: DrainPlan,
        by: &Provenance,
        to_stop: bool,
    ) -> Result<u64, Refusal> {
        let now = self.clock.now();
        let leaving = self.lifecycle.is_leaving() && !to_stop;
        if let Some(drain) = self.drains.iter_mut().find(|drain| drain.target == *target) {
            // Who only looks on does not move the end of a daemon that stops.
            if !leaving {
                drain.set_plan(plan, now.instant);
            }
            let serial = drain.serial;
            if let (Target::Worker(index), true) = (target, plan.moves) {
                self.vacate(*index, by.clone());
            }
            return Ok(serial);
        }
        let serial = self.serial + 1;
        let start = self.measure(target);
        let drain = |plan| Drain::new(serial, target.clone(), by.clone(), plan, start, now.instant);
        if !plan.lame_duck.is_zero() && self.state.takes(target) {
            self.serial = serial;
            self.drains.push(drain(plan));
            let text = format!("not ready any more; accepting for another {}", format_duration(plan.lame_duck));
            self.journal.asked(EventKind::LameDuck, &names::target(target), &text, by);
            self.live(Input::LameDuck);
            return Ok(serial);
        }
        let drain = drain(DrainPlan { lame_duck: std::time::Duration::ZERO, ..plan });
        let begun = self.no_more(target, by, to_stop)?;
        self.serial = serial;
        self.drains.push(drain);
        self.draining(serial, begun);
        Ok(serial)
    }

    /// The lame-duck time of a drain is over.
    pub(super) fn stop_accepting(&mut self, serial: u64) {
        let Some(drain) = self.drains.iter().find(|drain| drain.serial == serial && drain.is_lame_duck()) else {
            return;
        };
        let (target, by) = (drain.target.clone(), drain.by.clone());
        match self.no_more(&target, &by, true) {
            Ok(begun) => {
                let (start, now) = (self.measure(&target), self.clock.now().instant);
                if let Some(drain) = self.drain_mut(serial) {
                    drain.stop_accepting(start, now);
                }
                self.draining(serial, begun);
            }
            // Looked at again at the next tick.
            Err(refusal) => tracing::error!("accepting does not end: {refusal}"),
        }
    }

    pub(super) fn undrain(&mut self, target: Target, by: Provenance, reply: Reply<()>) {
        if let Target::Worker(index) = target {
            return self.start_worker(index, &by, reply);
        }
        let running = self.drains.iter().any(|drain| drain.target == target);
        if self.state.check(&target).is_err() && gone::connections(self.fleet.told(), &target).is_some() {
            return self.undrain_removed(&target, running, &by, reply);
        }
        let mut next = self.state.clone();
        let result = next.undrain(&target, running).and_then(|()| match target {
            // One listener of many does not keep the others away.
            Target::Daemon => self.bring_up(next),
            _ => Ok((self.transition(next)?, Faults(Vec::new()))),
        });
        let (commit, faults) = match result {
            Ok(done) => done,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        self.end_drains(|drain| drain.target == target, DrainOutcome::Undrained);
        if target == Target::Daemon {
            self.live(Input::Undrained);
        }
        self.journal.asked(EventKind::Undrained, &names::target(&target), "the drain is taken back", &by);
        let told = if faults.0.is_empty() { Ok(()) } else { Err(bring_up::refusal(faults)) };
        self.settle(commit, |_| (), move |_, confirmed| answer(reply, confirmed.and(told)));
    }

    /// Looks after every drain: progress, window, deadline, end.
    pub(super) fn look_at_drains(&mut self) {
        let now = self.clock.now().instant;
        let measures: Vec<Measure> = self.drains.iter().map(|drain| self.measure(&drain.target)).collect();
        let looked = self.drains.iter_mut().zip(measures);
        let acts: Vec<(u64, Act)> = looked.map(|(drain, measure)| (drain.serial, drain.look(measure, now))).collect();
        for &(serial, act) in &acts {
            match act {
                Act::Wait | Act::End => {}
                Act::Stop => self.stop_accepting_soon(serial),
                Act::Retire(due) => self.retire_some(serial, due),
                Act::Cut => self.cut(serial),
            }
        }
        let ended = |drain: &Drain| acts.contains(&(drain.serial, Act::End));
        if self.drains.iter().any(ended) {
            self.end_drains(ended, DrainOutcome::Drained);
        }
    }

    /// Ends drains and tells those who watch.
    pub(super) fn end_drains(&mut self, which: impl Fn(&Drain) -> bool, outcome: DrainOutcome) {
        let (ended, rest) = std::mem::take(&mut self.drains).into_iter().partition(|drain| which(drain));
        self.drains = rest;
        let ended: Vec<Drain> = ended;
        let now = self.clock.now().instant;
        for drain in ended {
            let (object, target) = (names::target(&drain.target), drain.target.clone());
            let last = drain.end(outcome, self.measure(&target), now);
            if outcome == DrainOutcome::HandedOver {
                continue;
            }
            self.count_drain(&last);
            self.ends.note(target.clone(), last.clone());
            self.journal.seen(EventKind::DrainEnded, &object, &described(&last, outcome));
            if target == Target::Daemon && outcome == DrainOutcome::Drained {
                self.live(Input::Drained);
            }
        }
    }

    /// Drains whose targets take connections again are over.
    pub(super) fn end_lifted_drains(&mut self) {
        let lifted = |drain: &&Drain| !drain.is_lame_duck() && self.state.takes(&drain.target);
        let lifted: Vec<u64> = self.drains.iter().filter(lifted).map(|drain| drain.serial).collect();
        if !lifted.is_empty() {
            self.end_drains(|drain| lifted.contains(&drain.serial), DrainOutcome::Undrained);
        }
    }

    /// Connections that a drain of the target is about.
    pub(super) fn measure(&self, target: &Target) -> Measure {
        let told = self.fleet.told();
        let of_endpoints = |pool: &str, address: Option<&str>| {
            let active = told.endpoints_named(pool, address).map(|each| figures::endpoint(&each.shards).active);
            Measure { active: active.sum(), ..Measure::default() }
        };
        match target {
            Target::Daemon => {
                let total = self.total();
                Measure { active: total.active, opened: total.total, moved: 0 }
            }
            Target::Listener(name) => told.any_listener(name).map_or_else(Measure::default, |told| {
                let figures = figures::listener(&told.shards);
                Measure { active: figures.active, opened: figures.total, moved: 0 }
            }),
            Target::Pool(pool) => of_endpoints(pool, None),
            Target::Endpoint(pool, address) => of_endpoints(pool, Some(address)),
            Target::Worker(index) => self.fleet.workers().nth(*index).map_or_else(Measure::default, |worker| {
                let shard = worker.shard();
                let opened = shard.accepted.get() + shard.moved_in.get();
                Measure { active: shard.active.get(), opened, moved: shard.moved_out.get() }
            }),
        }
    }

    /// Figures of all drains.
    pub(super) fn drain_snapshot(&self) -> DrainSnapshot {
        let running = |drain: &Drain| (names::kind(&drain.target), self.measure(&drain.target).active);
        DrainSnapshot { running: self.drains.iter().map(running).collect(), ..self.drained.clone() }
    }

    /// Begins the end of accepting for a target. What is gone from the
    /// configuration has none.
    fn no_more(&mut self, target: &Target, by: &Provenance, to_stop: bool) -> Result<NoMore, Refusal> {
        let mut next = self.state.clone();
        if let Err(refusal) = next.drain(target, by, self.clock.now().wall) {
            let removed = next.check(target).is_err() && gone::connections(self.fleet.told(), target).is_some();
            return if removed { Ok(NoMore::Already) } else { Err(refusal) };
        }
        if let Target::Worker(index) = *target {
            self.check_alive(index)?;
            self.fleet.check_responsive()?;
            return Ok(NoMore::Relocate(Box::new(next)));
        }
        Ok(NoMore::Committed(if to_stop { self.force(next)? } else { self.transition(next)? }))
    }

    /// A drain has stopped accepting: says so, and waits until that is so.
    fn draining(&mut self, serial: u64, begun: NoMore) {
        let Some(drain) = self.drain_mut(serial) else { return };
        let (target, by, plan) = (drain.target.clone(), drain.by.clone(), drain.plan());
        let open = names::counted(self.measure(&target).active, "connection");
        let text = format!("draining: {open} open, {}", plan.described());
        self.journal.asked(EventKind::DrainStarted, &names::target(&target), &text, &by);
        if target == Target::Daemon {
            self.live(Input::DrainStarted);
        }
        let confirm = move |controller: &mut Self| {
            if let Some(drain) = controller.drain_mut(serial) {
                drain.confirm();
            }
        };
        match begun {
            NoMore::Committed(commit) => self.settle(commit, confirm, |_, _| ()),
            NoMore::Relocate(next) => self.relocate(*next, confirm, move |controller, _| {
                if let (Target::Worker(index), true) = (target, plan.moves) {
                    controller.vacate(index, by);
                }
            }),
            NoMore::Already => confirm(self),
        }
    }

    fn undrain_removed(&mut self, target: &Target, running: bool, by: &Provenance, reply: Reply<()>) {
        if !running {
            let name = names::target(target);
            let text = format!("{name} is gone from the configuration: only a reload that has it brings it back");
            return answer(reply, Err(Refusal::Precondition(text)));
        }
        self.end_drains(|drain| drain.target == *target, DrainOutcome::Undrained);
        self.journal.asked(EventKind::Undrained, &names::target(target), "the drain is taken back", by);
        answer(reply, Ok(()));
    }

    /// Ends `due` of those that rest, the longest idle first.
    fn retire_some(&mut self, serial: u64, due: u64) {
        let now = self.clock.now().instant;
        let Some(drain) = self.drains.iter().find(|drain| drain.serial == serial) else { return };
        let (worker, filter) = self.scope(&drain.target);
        let filter = Filter { idle_since: drain.idle_since(now), ..filter };
        let limit = usize::try_from(due).unwrap_or(usize::MAX);
        // Without a past there is nothing that has rested in it.
        let gather = match filter.idle_since {
            Some(_) => self.fleet.resting(worker, &filter, limit),
            None => Gather::new(0),
        };
        self.after(gather, move |controller, gather: Gather<Vec<Resting>>| {
            // It may have been taken back meanwhile.
            if controller.drain_mut(serial).is_none() {
                return;
            }
            let workers = controller.fleet.workers().len();
            let chosen = gradual::choose(gather.answers, due, workers);
            let gather = controller.fleet.retire(chosen, CloseReason::RETIRED);
            controller.after(gather, move |controller, gather| {
                if let Some(drain) = controller.drain_mut(serial) {
                    drain.add_retired(ended(&gather));
                }
            });
        });
    }

    /// Cuts what a drain has left.
    fn cut(&mut self, serial: u64) {
        let Some(drain) = self.drains.iter().find(|drain| drain.serial == serial) else { return };
        let (worker, filter) = self.scope(&drain.target);
        let selection = Selection::Matching(filter);
        let gather = match worker {
            Some(worker) => self.fleet.close_on(worker, selection, CloseReason::DRAIN),
            None => self.fleet.close(&[selection], CloseReason::DRAIN),
        };
        self.after(gather, move |controller, gather| {
            if let Some(drain) = controller.drain_mut(serial) {
                drain.add_cut(ended(&gather));
            }
        });
    }

    /// Which connections a target has: of one worker or all, and which of
    /// theirs.
    fn scope(&self, target: &Target) -> (Option<usize>, Filter) {
        let told = self.fleet.told();
        let endpoints = |pool: &str, address: Option<&str>| {
            let ids = told.endpoints_named(pool, address).map(|each| each.id).collect();
            Filter { endpoints: Some(ids), ..Filter::default() }
        };
        match target {
            Target::Daemon => (None, Filter::default()),
            Target::Listener(name) => {
                let ids = told.any_listener(name).map(|told| told.ids().collect()).unwrap_or_default();
                (None, Filter { listeners: Some(ids), ..Filter::default() })
            }
            Target::Pool(pool) => (None, endpoints(pool, None)),
            Target::Endpoint(pool, address) => (None, endpoints(pool, Some(address))),
            Target::Worker(index) => (Some(*index), Filter::default()),
        }
    }

    fn drain_mut(&mut self, serial: u64) -> Option<&mut Drain> {
        self.drains.iter_mut().find(|drain| drain.serial == serial)
    }

    fn count_drain(&mut self, last: &DrainProgress) {
        let DrainSnapshot { ended, connections, .. } = &mut self.drained;
        match last.outcome {
            Some(DrainOutcome::Drained) => ended.0 += 1,
            _ => ended.1 += 1,
        }
        connections.0 += last.finished;
        connections.1 += last.retired;
        connections.2 += last.cut;
    }
}

/// How the end of accepting has begun.
enum NoMore {
    /// The workers are told.
    Committed(Commit),
    /// A worker's sockets are to go elsewhere.
    Relocate(Box<super::state::State>),
    /// It does not accept anyway.
    Already,
}

fn ended(gather: &Gather<Vec<u64>>) -> u64 {
    gather.answers.iter().map(|(_, ids)| ids.len() as u64).sum()
}

/// How a drain ended, in a line.
fn described(last: &DrainProgress, outcome: DrainOutcome) -> String {
    let DrainProgress { finished, retired, moved, cut, remaining, .. } = last;
    let rested = if *retired > 0 { format!(", {retired} ended while they rested") } else { String::new() };
    let rested = if *moved > 0 { format!("{rested}, {moved} moved to other workers") } else { rested };
    match outcome {
        DrainOutcome::Drained => {
            format!("drained: {} finished{rested}, {cut} cut", names::counted(*finished, "connection"))
        }
        DrainOutcome::Undrained => format!("drain taken back: {finished} finished{rested}, {remaining} open"),
        DrainOutcome::Shutdown => format!("drain ended by the stop of netd: {remaining} cut"),
        DrainOutcome::HandedOver => "the drain goes on in the successor".to_owned(),
    }
}

#[cfg(test)]
mod tests;
