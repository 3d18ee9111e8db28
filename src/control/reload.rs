//! Plan and reload: a candidate is checked whole, then applied whole or not at
//! all.

use std::sync::Arc;

use super::{
    connections::answer,
    controller::Controller,
    figures,
    fleet::Commit,
    history::{HistoryKind, Origin},
    names,
    plan::{self, Live},
    port::WorkerPort,
    request::{Candidate, Change, EventKind, PlanView, Provenance, Refusal, ReloadOutcome, ReloadRequest, Reply},
    start::Hook,
    state::{Lifted, State},
    told::Told,
    trial::Trial,
    upstreams,
};
use crate::config::{self, Address, Config, Difference, ListenerChange};

impl Live for Told {
    fn listener(&self, name: &str) -> u64 {
        self.any_listener(name).map_or(0, |told| figures::listener(&told.shards).active)
    }

    fn endpoint(&self, pool: &str, address: &Address) -> u64 {
        self.find(pool, address).map_or(0, |each| figures::endpoint(&each.shards).active)
    }
}

/// Another configuration that is about to come into force.
pub(super) struct Begun {
    pub(super) changes: Vec<Change>,
    pub(super) dropped: Vec<Lifted>,
    pub(super) commit: Commit,
}

impl<P: WorkerPort> Controller<P> {
    /// What a reload would do.
    pub(super) fn plan(&mut self, candidate: &Candidate) -> Result<PlanView, Refusal> {
        let new = self.read(candidate)?;
        let difference = config::diff(self.state.config(), &new);
        let mut obstacles = self.obstacles(&difference, &new);
        obstacles.extend(self.trial.as_ref().map(|trial| trial.refusal(self.clock.now().instant).to_string()));
        Ok(PlanView {
            changes: plan::changes(&difference, &new, self.fleet.told()),
            generation: self.state.generation(),
            obstacles,
            notes: self.notes(),
        })
    }

    /// What a reload cannot do, as far as that is known without trying.
    fn obstacles(&self, difference: &Difference, new: &Config) -> Vec<String> {
        let ours = self.fleet.addresses();
        let wanted = difference.listeners.iter().filter_map(|change| match change {
            ListenerChange::Added(new) | ListenerChange::Changed { new, rebind: true, .. } => Some(new),
            ListenerChange::Removed(_) | ListenerChange::Changed { .. } => None,
        });
        let sockets = wanted.filter_map(|listener| {
            let obstacle = self.sockets.obstacle(listener, &ours)?;
            Some(format!("{}: {obstacle}", names::listener(&listener.name)))
        });
        let workers = self.state.crew().check_resize(self.workers_of(new)).err().map(|refusal| refusal.to_string());
        let upstreams = upstreams::refused_of(difference);
        plan::obstacles(difference).into_iter().chain(sockets).chain(upstreams).chain(workers).collect()
    }

    /// Applies a candidate; answers when every worker has it in force.
    pub(super) fn reload(&mut self, request: ReloadRequest, reply: Option<Reply<ReloadOutcome>>) {
        self.hook(Hook::Reloading);
        match self.begin_reload(&request) {
            Ok((outcome, None)) => self.reload_ended(true, Ok(outcome), &request, reply),
            Ok((outcome, Some(commit))) => self.settle(
                commit,
                |_| (),
                move |controller, confirmed| {
                    controller.reload_ended(true, confirmed.map(|()| outcome), &request, reply);
                },
            ),
            Err(refusal) => self.reload_ended(false, Err(refusal), &request, reply),
        }
    }

    /// No commit: there is nothing to tell the workers.
    fn begin_reload(&mut self, request: &ReloadRequest) -> Result<(ReloadOutcome, Option<Commit>), Refusal> {
        self.expect(request.expected_generation)?;
        if let Some(trial) = &self.trial {
            return Err(trial.refusal(self.clock.now().instant));
        }
        let new = self.read(&request.candidate)?;
        let origin = match request.candidate {
            Candidate::Source => Origin::Own,
            Candidate::Text(_) => Origin::Candidate { who: request.by.who.clone() },
        };
        let generation = self.state.generation();
        if config::diff(self.state.config(), &new).is_empty() {
            // A candidate that equals what runs does not replace it; the daemon's own file confirms it.
            if origin == Origin::Own {
                self.origin = origin;
            }
            return Ok((ReloadOutcome { generation, changes: Vec::new(), pending: None }, None));
        }
        let (before, now) = (self.state.clone(), self.clock.now());
        let Begun { changes, dropped, commit } = self.switch(&new, |next| next.replace(new.clone(), now.wall))?;
        self.tell_dropped(dropped, &request.by);
        self.origin = origin;
        self.begin_trial(before, request.terms, now);
        self.record(HistoryKind::Reload, None, Some(request.by.clone()), &changes);
        let pending = self.trial.as_ref().map(Trial::view);
        Ok((ReloadOutcome { generation: self.state.generation(), changes, pending }, Some(commit)))
    }

    /// Refuses unless this generation is in force.
    pub(super) fn expect(&self, generation: Option<u64>) -> Result<(), Refusal> {
        let in_force = self.state.generation();
        match generation.filter(|&expected| expected != in_force) {
            None => Ok(()),
            Some(expected) => Err(Refusal::Precondition(format!(
                "generation {in_force} is in force, not {expected}: somebody else changed the configuration"
            ))),
        }
    }

    /// Puts another configuration in force, whole or not at all; `become_new`
    /// makes it the state's.
    pub(super) fn switch(
        &mut self,
        new: &Arc<Config>,
        become_new: impl FnOnce(&mut State) -> Vec<Lifted>,
    ) -> Result<Begun, Refusal> {
        let old = self.state.config().clone();
        let difference = config::diff(&old, new);
        let obstacles = self.obstacles(&difference, new);
        if !obstacles.is_empty() {
            return Err(Refusal::Precondition(obstacles.join("\n")));
        }
        let changes = plan::changes(&difference, new, self.fleet.told());
        self.apply_logs(&old, new).map_err(Refusal::Precondition)?;
        let mut next = self.state.clone();
        let dropped = become_new(&mut next);
        let commit = match self.transition(next) {
            Ok(commit) => commit,
            Err(refusal) => {
                self.return_logs(&old, new);
                return Err(refusal);
            }
        };
        if new.log != old.log {
            self.log_level = new.log.level;
        }
        Ok(Begun { changes, dropped, commit })
    }

    /// Overrides that ended with their objects.
    pub(super) fn tell_dropped(&self, dropped: Vec<Lifted>, by: &Provenance) {
        for each in dropped {
            let text = format!("{} override dropped: the object is gone from the configuration", each.value);
            self.journal.asked(EventKind::OverrideCleared, &each.object, &text, by);
        }
    }

    /// `in_force`: it was begun, though perhaps not every worker confirmed it.
    fn reload_ended(
        &mut self,
        in_force: bool,
        result: Result<ReloadOutcome, Refusal>,
        request: &ReloadRequest,
        reply: Option<Reply<ReloadOutcome>>,
    ) {
        match &result {
            Ok(outcome) => {
                self.reloads.0 += 1;
                self.last_reload = Some(Ok(()));
                let summary = plan::summary(&outcome.changes);
                let mut text = format!("generation {} is in force: {summary}", outcome.generation);
                if let (Some(trial), Some(_)) = (&self.trial, &outcome.pending) {
                    text.push_str(&format!("; {}", trial.terms()));
                }
                self.journal.asked(EventKind::Reloaded, "", &text, &request.by);
            }
            Err(refusal) if in_force => {
                self.reloads.0 += 1;
                self.last_reload = Some(Err(refusal.to_string()));
                self.journal.asked(EventKind::Reloaded, "", &refusal.to_string(), &request.by);
            }
            Err(refusal) => {
                self.reloads.1 += 1;
                self.last_reload = Some(Err(refusal.to_string()));
                self.record_refusal(HistoryKind::Reload, &request.by, refusal);
                let text = format!("reload refused: {refusal}");
                self.journal.asked(EventKind::ReloadRefused, "", &text, &request.by);
            }
        }
        let status = self.status_text();
        self.hook(Hook::Ready(status));
        if let Some(reply) = reply {
            answer(reply, result);
        }
    }

    fn read(&mut self, candidate: &Candidate) -> Result<Arc<Config>, Refusal> {
        let read = match candidate {
            Candidate::Source => (self.source)(),
            Candidate::Text(text) => (self.parse)(text),
        };
        let config = Arc::new(read.map_err(Refusal::Invalid)?);
        if *candidate == Candidate::Source {
            self.generations.read_own(&config);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
