//! Changes by operators besides reload: stop, start, endpoints, drains.

use std::time::Duration;

use super::{
    bring_up,
    connections::answer,
    controller::Controller,
    drain::{Act, Drain, Measure},
    figures,
    fleet::Commit,
    gather::Gather,
    lifecycle::Input,
    names,
    port::WorkerPort,
    request::{
        Deadline, DrainOutcome, DrainProgress, DrainRequest, EndpointView, EventKind, Provenance, Refusal, Reply,
        SetEndpoint, StopRequest, Target,
    },
    sockets::Faults,
    state::State,
};
use crate::{
    config::format_duration,
    protocol::CloseReason,
    worker::{Filter, Selection},
};

/// Where the progress of a drain goes.
pub(super) type Progress = tokio::sync::mpsc::Receiver<DrainProgress>;

/// After an override's end could not be carried out (its address is taken),
/// it is tried again this much later.
const RETRY: Duration = Duration::from_secs(5);

impl<P: WorkerPort> Controller<P> {
    pub(super) fn stop_listener(&mut self, request: StopRequest, reply: Reply<()>) {
        let now = self.clock.now().wall;
        let (name, by) = (request.name.clone(), request.by.clone());
        let result = self.change(|state| state.stop(&name, request.expires_in, &by, now));
        self.conclude(result, reply, move |controller| {
            let text = format!("listener `{name}` is stopped");
            controller.journal.asked(EventKind::ListenerStopped, &names::listener(&name), &text, &by);
        });
    }

    pub(super) fn start_listener(&mut self, name: String, by: Provenance, reply: Reply<()>) {
        let result = self.change(|state| state.start(&name));
        self.conclude(result, reply, move |controller| {
            let text = format!("the stop of listener `{name}` is lifted");
            controller.journal.asked(EventKind::ListenerStarted, &names::listener(&name), &text, &by);
        });
    }

    pub(super) fn set_endpoint(&mut self, request: SetEndpoint, reply: Reply<EndpointView>) {
        let now = self.clock.now().wall;
        let SetEndpoint { pool, endpoint, setting, expires_in, by } = request;
        let result = self.change(|state| state.set_endpoint(&pool, &endpoint, setting, expires_in, &by, now));
        let commit = match result {
            Ok(commit) => commit,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let object = names::endpoint(&pool, &endpoint);
        match setting {
            Some(value) => self.journal.asked(EventKind::OverrideSet, &object, &value.to_string(), &by),
            None => self.journal.asked(EventKind::OverrideCleared, &object, "override cleared", &by),
        }
        self.settle(
            commit,
            |_| (),
            move |controller, confirmed| {
                let view = confirmed.and_then(|()| {
                    let config = controller.state.endpoint(&pool, &endpoint)?;
                    Ok(controller.endpoint_view(&pool, config))
                });
                answer(reply, view);
            },
        );
    }

    /// Begins a drain, or joins the one that runs; its deadline is the new one
    /// then.
    pub(super) fn start_drain(&mut self, request: DrainRequest, reply: Reply<Progress>) {
        let deadline = self.deadline(request.deadline);
        match self.begin_drain(&request.target, deadline, &request.by, false) {
            Ok(serial) => {
                let now = self.clock.now().instant;
                let measure = self.measure(&request.target);
                let drain = self.drains.iter_mut().find(|drain| drain.serial == serial);
                let watch = drain.map_or(Err(Refusal::ShuttingDown), |drain| drain.watch(measure, now));
                answer(reply, watch);
            }
            Err(refusal) => answer(reply, Err(refusal)),
        }
    }

    pub(super) fn begin_drain(
        &mut self,
        target: &Target,
        deadline: Option<Duration>,
        by: &Provenance,
        to_stop: bool,
    ) -> Result<u64, Refusal> {
        let now = self.clock.now();
        let leaving = self.lifecycle.is_leaving() && !to_stop;
        if let Some(drain) = self.drains.iter_mut().find(|drain| drain.target == *target) {
            // Who only looks on does not move the end of a daemon that stops.
            if !leaving {
                drain.set_deadline(deadline, now.instant);
            }
            return Ok(drain.serial);
        }
        let mut next = self.state.clone();
        next.drain(target, by, now.wall)?;
        let start = self.measure(target);
        let commit = if to_stop { self.force(next)? } else { self.transition(next)? };
        self.serial += 1;
        let serial = self.serial;
        self.drains.push(Drain::new(serial, target.clone(), deadline, start, now.instant));
        let open = names::counted(start.active, "connection");
        let text = match deadline {
            Some(after) => {
                let after = format_duration(after);
                format!("draining: {open} open, what is left after {after} is cut")
            }
            None => format!("draining: {open} open, none is cut"),
        };
        self.journal.asked(EventKind::DrainStarted, &names::target(target), &text, by);
        if *target == Target::Daemon {
            self.live(Input::DrainStarted);
        }
        let confirm = move |controller: &mut Self| {
            if let Some(drain) = controller.drains.iter_mut().find(|drain| drain.serial == serial) {
                drain.confirm();
            }
        };
        self.settle(commit, confirm, |_, _| ());
        Ok(serial)
    }

    pub(super) fn undrain(&mut self, target: Target, by: Provenance, reply: Reply<()>) {
        let running = self.drains.iter().any(|drain| drain.target == target);
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
        let text = "the drain is taken back";
        self.journal.asked(EventKind::Undrained, &names::target(&target), text, &by);
        let told = if faults.0.is_empty() { Ok(()) } else { Err(bring_up::refusal(faults)) };
        self.settle(commit, |_| (), move |_, confirmed| answer(reply, confirmed.and(told)));
    }

    /// Looks after every drain: progress, deadline, end.
    pub(super) fn look_at_drains(&mut self) {
        let now = self.clock.now().instant;
        let mut ended = Vec::new();
        for index in 0..self.drains.len() {
            let measure = self.measure(&self.drains[index].target);
            let drain = &mut self.drains[index];
            let serial = drain.serial;
            match drain.look(measure, now) {
                Act::Wait => {}
                Act::End => ended.push(serial),
                Act::Cut => self.cut(index),
            }
        }
        if !ended.is_empty() {
            self.end_drains(|drain| ended.contains(&drain.serial), DrainOutcome::Drained);
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
            let (finished, cut, remaining) = (last.finished, last.cut, last.remaining);
            let text = match outcome {
                DrainOutcome::Drained => {
                    format!("drained: {} finished, {cut} cut", names::counted(finished, "connection"))
                }
                DrainOutcome::Undrained => format!("drain taken back: {finished} finished, {remaining} open"),
                DrainOutcome::Shutdown => format!("drain ended by the stop of netd: {remaining} cut"),
            };
            self.journal.seen(EventKind::DrainEnded, &object, &text);
            if target == Target::Daemon && outcome == DrainOutcome::Drained {
                self.live(Input::Drained);
            }
        }
    }

    /// Drains whose targets take connections again are over.
    pub(super) fn end_lifted_drains(&mut self) {
        let lifted: Vec<u64> =
            self.drains.iter().filter(|drain| self.state.takes(&drain.target)).map(|drain| drain.serial).collect();
        if !lifted.is_empty() {
            self.end_drains(|drain| lifted.contains(&drain.serial), DrainOutcome::Undrained);
        }
    }

    /// Lifts overrides whose time is over.
    pub(super) fn expire(&mut self) {
        let now = self.clock.now();
        if self.busy || !self.state.has_expired(now.wall) || self.expire_after.is_some_and(|at| now.instant < at) {
            return;
        }
        let mut next = self.state.clone();
        let ended = next.expire(now.wall);
        match self.bring_up(next) {
            Ok((commit, Faults(faults))) => {
                let stays = |object: &str| faults.iter().any(|(name, _)| names::listener(name) == object);
                for each in ended.iter().filter(|each| !stays(&each.object)) {
                    let text = format!("{} override has expired", each.value);
                    self.journal.seen(EventKind::OverrideExpired, &each.object, &text);
                }
                self.expire_after = None;
                self.settle(commit, |_| (), |_, _| ());
            }
            Err(refusal) => {
                tracing::warn!("an override has expired, but what it stood for cannot be done: {refusal}");
                self.expire_after = now.instant.checked_add(RETRY);
            }
        }
    }

    /// Connections that a drain of the target is about.
    pub(super) fn measure(&self, target: &Target) -> Measure {
        let told = self.fleet.told();
        let of_endpoints = |pool: &str, address: Option<&str>| {
            let active = told.endpoints_named(pool, address).map(|each| figures::endpoint(&each.shards).active);
            Measure { active: active.sum(), opened: 0 }
        };
        match target {
            Target::Daemon => {
                let total = self.total();
                Measure { active: total.active, opened: total.total }
            }
            Target::Listener(name) => told.any_listener(name).map_or_else(Measure::default, |told| {
                let figures = figures::listener(&told.shards);
                Measure { active: figures.active, opened: figures.total }
            }),
            Target::Pool(pool) => of_endpoints(pool, None),
            Target::Endpoint(pool, address) => of_endpoints(pool, Some(address)),
        }
    }

    /// In time from now.
    pub(super) fn deadline(&self, deadline: Deadline) -> Option<Duration> {
        match deadline {
            Deadline::Configured => Some(self.state.config().drain.timeout),
            Deadline::After(after) => Some(after),
            Deadline::Never => None,
        }
    }

    /// Cuts what a drain has left.
    fn cut(&mut self, index: usize) {
        let (serial, target) = (self.drains[index].serial, &self.drains[index].target);
        let told = self.fleet.told();
        let endpoints = |pool: &str, address: Option<&str>| {
            let ids = told.endpoints_named(pool, address).map(|each| each.id).collect();
            Filter { endpoints: Some(ids), ..Filter::default() }
        };
        let filter = match target {
            Target::Daemon => Filter::default(),
            Target::Listener(name) => {
                let ids = told.any_listener(name).map(|told| told.ids().collect()).unwrap_or_default();
                Filter { listeners: Some(ids), ..Filter::default() }
            }
            Target::Pool(pool) => endpoints(pool, None),
            Target::Endpoint(pool, address) => endpoints(pool, Some(address)),
        };
        let gather = self.fleet.close(&[Selection::Matching(filter)], CloseReason::DRAIN);
        self.after(gather, move |controller, gather: Gather<Vec<u64>>| {
            let count = gather.answers.iter().map(|(_, ids)| ids.len() as u64).sum();
            if let Some(drain) = controller.drains.iter_mut().find(|drain| drain.serial == serial) {
                drain.add_cut(count);
            }
        });
    }

    /// Changes the state and tells the workers, or does neither.
    pub(super) fn change(&mut self, alter: impl FnOnce(&mut State) -> Result<(), Refusal>) -> Result<Commit, Refusal> {
        let mut next = self.state.clone();
        alter(&mut next)?;
        self.transition(next)
    }

    /// Answers when the workers have confirmed; `told` runs at once if the
    /// change was begun.
    fn conclude(&mut self, result: Result<Commit, Refusal>, reply: Reply<()>, told: impl FnOnce(&mut Self)) {
        match result {
            Ok(commit) => {
                told(self);
                self.settle(commit, |_| (), move |_, confirmed| answer(reply, confirmed));
            }
            Err(refusal) => answer(reply, Err(refusal)),
        }
    }
}

#[cfg(test)]
mod tests;
