//! Plan and reload: a candidate is checked whole, then applied whole or not at
//! all.

use std::sync::Arc;

use super::{
    connections::answer,
    controller::Controller,
    figures,
    fleet::Commit,
    names,
    plan::{self, Live},
    port::WorkerPort,
    request::{Candidate, EventKind, PlanView, Refusal, ReloadOutcome, ReloadRequest, Reply},
    start::Hook,
    state::Lifted,
    told::Told,
};
use crate::config::{self, Config, Difference, ListenerChange};

impl Live for Told {
    fn listener(&self, name: &str) -> u64 {
        self.any_listener(name).map_or(0, |told| figures::listener(&told.shards).active)
    }

    fn endpoint(&self, pool: &str, address: &str) -> u64 {
        self.endpoints_named(pool, Some(address)).map(|each| figures::endpoint(&each.shards).active).sum()
    }
}

/// A reload that is under way.
struct Begun {
    outcome: ReloadOutcome,
    dropped: Vec<Lifted>,
    /// `None`: there is nothing to tell the workers.
    commit: Option<Commit>,
}

impl<P: WorkerPort> Controller<P> {
    /// What a reload would do.
    pub(super) fn plan(&mut self, candidate: &Candidate) -> Result<PlanView, Refusal> {
        let new = self.read(candidate)?;
        let old = self.state.config();
        let difference = config::diff(old, &new);
        Ok(PlanView {
            changes: plan::changes(&difference, self.fleet.told()),
            generation: self.state.generation(),
            obstacles: self.obstacles(&difference),
        })
    }

    /// What a reload cannot do, as far as that is known without trying.
    fn obstacles(&self, difference: &Difference) -> Vec<String> {
        let ours = self.fleet.addresses();
        let wanted = difference.listeners.iter().filter_map(|change| match change {
            ListenerChange::Added(new) | ListenerChange::Changed { new, rebind: true, .. } => Some(new),
            ListenerChange::Removed(_) | ListenerChange::Changed { .. } => None,
        });
        let sockets = wanted.filter_map(|listener| {
            let obstacle = self.sockets.obstacle(listener, &ours)?;
            Some(format!("{}: {obstacle}", names::listener(&listener.name)))
        });
        plan::obstacles(difference).into_iter().chain(sockets).collect()
    }

    /// Applies a candidate; answers when every worker has it in force.
    pub(super) fn reload(&mut self, request: ReloadRequest, reply: Option<Reply<ReloadOutcome>>) {
        self.hook(Hook::Reloading);
        match self.begin_reload(&request) {
            Ok(Begun { outcome, dropped, commit }) => {
                for each in dropped {
                    let text = format!("{} override dropped: the object is gone from the configuration", each.value);
                    self.journal.asked(EventKind::OverrideCleared, &each.object, &text, &request.by);
                }
                let Some(commit) = commit else { return self.reload_ended(true, Ok(outcome), &request, reply) };
                self.settle(
                    commit,
                    |_| (),
                    move |controller, confirmed| {
                        controller.reload_ended(true, confirmed.map(|()| outcome), &request, reply);
                    },
                );
            }
            Err(refusal) => self.reload_ended(false, Err(refusal), &request, reply),
        }
    }

    fn begin_reload(&mut self, request: &ReloadRequest) -> Result<Begun, Refusal> {
        let generation = self.state.generation();
        if let Some(expected) = request.expected_generation.filter(|&expected| expected != generation) {
            return Err(Refusal::Precondition(format!(
                "generation {generation} is in force, not {expected}: somebody else changed the configuration"
            )));
        }
        let new = self.read(&request.candidate)?;
        let old = self.state.config().clone();
        let difference = config::diff(&old, &new);
        let obstacles = self.obstacles(&difference);
        if !obstacles.is_empty() {
            return Err(Refusal::Precondition(obstacles.join("\n")));
        }
        let changes = plan::changes(&difference, self.fleet.told());
        let candidate_by = match request.candidate {
            Candidate::Source => None,
            Candidate::Text(_) => Some(request.by.who.clone()),
        };
        if difference.is_empty() {
            // A candidate that equals what runs does not replace it; the daemon's own file confirms it.
            self.candidate_by = self.candidate_by.take().filter(|_| candidate_by.is_some());
            return Ok(Begun { outcome: ReloadOutcome { generation, changes }, dropped: Vec::new(), commit: None });
        }
        let log = new.log.clone();
        if log != old.log {
            (self.apply_log)(&log).map_err(Refusal::Precondition)?;
        }
        let mut next = self.state.clone();
        let dropped = next.replace(Arc::new(new), self.clock.now().wall);
        let commit = match self.transition(next) {
            Ok(commit) => commit,
            Err(refusal) => {
                if log != old.log
                    && let Err(error) = (self.apply_log)(&old.log)
                {
                    tracing::error!("the log stays as the refused configuration has it: {error}");
                }
                if log != old.log {
                    // A level set by hand goes on.
                    (self.set_log_level)(self.log_level);
                }
                return Err(refusal);
            }
        };
        if log != old.log {
            self.log_level = log.level;
        }
        self.candidate_by = candidate_by;
        let outcome = ReloadOutcome { generation: self.state.generation(), changes };
        Ok(Begun { outcome, dropped, commit: Some(commit) })
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
                let text = format!("generation {} is in force: {summary}", outcome.generation);
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

    fn read(&mut self, candidate: &Candidate) -> Result<Config, Refusal> {
        let read = match candidate {
            Candidate::Source => (self.source)(),
            Candidate::Text(text) => (self.parse)(text),
        };
        read.map_err(Refusal::Invalid)
    }
}

#[cfg(test)]
mod tests;
