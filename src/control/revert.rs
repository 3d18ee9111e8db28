//! Reloads on trial, the way back, and what a reload left over.

use super::{
    connections::answer,
    controller::Controller,
    figures,
    gather::Gather,
    generations::Applied,
    guard::{Recent, Tally},
    history::{ConfirmRequest, HistoryKind, Judgement, Origin, RollbackOutcome, RollbackRequest, Terms},
    names, plan,
    port::WorkerPort,
    reload::Begun,
    removed::{self, Gone},
    request::{Change, EventKind, Provenance, Refusal, Reply},
    sockets::Faults,
    state::State,
    told::Told,
    trial::{Act, Cause, Trial},
};
use crate::{
    config,
    protocol::CloseReason,
    worker::{EndpointId, ListenerId, Selection},
};

/// Who brings a configuration back without being asked.
const NETD: &str = "netd";

/// How the connections of each listener ended.
fn tally(told: &Told) -> Tally {
    told.listeners().map(|each| (each.config.name.clone(), figures::outcomes(&each.shards))).collect()
}

impl<P: WorkerPort> Controller<P> {
    /// Keeps what is on trial.
    pub(super) fn confirm(&mut self, request: &ConfirmRequest) -> Result<u64, Refusal> {
        let Some(trial) = &self.trial else {
            let number = self.state.generation();
            return Err(Refusal::Precondition(format!(
                "nothing waits for a confirmation; generation {number} is in force"
            )));
        };
        let number = trial.generation;
        if let Some(other) = request.generation.filter(|&other| other != number) {
            return Err(Refusal::Precondition(format!("generation {number} waits for its confirmation, not {other}")));
        }
        self.trial = None;
        self.returns.confirmed += 1;
        self.generations.judge(number, Judgement::Confirmed, &format!("by {}", request.by.who));
        let text = format!("generation {number} is confirmed");
        self.journal.asked(EventKind::ReloadConfirmed, "", &text, &request.by);
        Ok(number)
    }

    /// Returns to an earlier generation, whole or not at all; answers when
    /// every worker has it in force.
    pub(super) fn rollback(&mut self, request: RollbackRequest, reply: Reply<RollbackOutcome>) {
        match self.begin_rollback(&request) {
            Ok((outcome, commit)) => {
                self.settle(commit, |_| (), move |_, confirmed| answer(reply, confirmed.map(|()| outcome)))
            }
            Err(refusal) => {
                self.record_refusal(HistoryKind::Rollback, &request.by, &refusal);
                let text = format!("rollback refused: {refusal}");
                self.journal.asked(EventKind::ReloadRefused, "", &text, &request.by);
                answer(reply, Err(refusal));
            }
        }
    }

    fn begin_rollback(
        &mut self,
        request: &RollbackRequest,
    ) -> Result<(RollbackOutcome, super::fleet::Commit), Refusal> {
        self.expect(request.expected_generation)?;
        let restored = self.rollback_target(request.generation)?;
        let new = match self.generations.get(restored) {
            Some(kept) => kept.config.clone(),
            None => return Err(self.not_kept(restored)),
        };
        if config::diff(self.state.config(), &new).is_empty() {
            let number = self.state.generation();
            return Err(Refusal::Precondition(format!(
                "generation {number} says the same as {restored}: nothing to do"
            )));
        }
        let now = self.clock.now();
        // The way back from a trial also brings back the overrides that it took along.
        let former = self.trial.as_ref().map(|trial| trial.before.clone()).filter(|each| each.generation() == restored);
        let Begun { changes, dropped, commit } = self.switch(&new, |next| match &former {
            Some(former) => next.restore(former, now.wall),
            None => next.replace(new.clone(), now.wall),
        })?;
        self.tell_dropped(dropped, &request.by);
        if let Some(trial) = self.trial.take() {
            self.end_trial(&trial, &format!("rolled back by {}", request.by.who));
        }
        self.returns.rollback += 1;
        self.origin = self.origin_of(restored, &request.by.who);
        self.record(HistoryKind::Rollback, Some(restored), Some(request.by.clone()), &changes);
        let generation = self.state.generation();
        let summary = plan::summary(&changes);
        let text = format!("rolled back to generation {restored}, as generation {generation}: {summary}");
        self.journal.asked(EventKind::RolledBack, "", &text, &request.by);
        Ok((RollbackOutcome { generation, restored, changes }, commit))
    }

    fn rollback_target(&self, asked: Option<u64>) -> Result<u64, Refusal> {
        let in_force = self.state.generation();
        match (asked, &self.trial) {
            (Some(number), _) => Ok(number),
            (None, Some(trial)) => Ok(trial.before.generation()),
            (None, None) => self.generations.before(in_force).map(|each| each.number).ok_or_else(|| {
                Refusal::Precondition(format!(
                    "no generation before {in_force} is kept that says something else; `netctl history` shows what there is"
                ))
            }),
        }
    }

    fn not_kept(&self, number: u64) -> Refusal {
        let kept: Vec<String> = self.generations.numbers().map(|each| each.to_string()).collect();
        Refusal::NotFound(format!("generation {number} is not kept; there is: {}", kept.join(", ")))
    }

    /// Puts what has just come into force on trial, if the terms ask for it.
    pub(super) fn begin_trial(&mut self, before: State, terms: Terms, now: super::clock::Now) {
        let (told, recent) = (self.fleet.told(), &self.recent);
        let figures = || {
            let start = tally(told);
            (recent.sum(&start), start)
        };
        self.trial = Trial::new(self.state.generation(), before, terms, now, figures);
    }

    /// Looks whether a reload on trial has to be taken back, and measures how
    /// connections end.
    pub(super) fn look_at_trial(&mut self) {
        let now = self.clock.now();
        let told = self.fleet.told();
        if self.recent.is_due(now.instant) {
            self.recent.note(now.instant, tally(told));
        }
        let Some(trial) = &mut self.trial else { return };
        if self.lifecycle.is_leaving() {
            // A daemon on its way out does not change any more; the next start reads its own file.
            let text =
                format!("generation {} was neither confirmed nor taken back when netd stopped", trial.generation);
            tracing::warn!("{text}");
            self.generations.judge(trial.generation, Judgement::Applied, &text);
            self.trial = None;
            return;
        }
        if self.busy {
            return;
        }
        match trial.look(now.instant, || tally(told)) {
            Act::Wait => {}
            Act::Return(cause) => self.take_back(&cause),
            Act::Keep => {
                let (number, reason) = (trial.generation, "the guard saw no more failures than before");
                self.trial = None;
                self.returns.confirmed += 1;
                self.generations.judge(number, Judgement::Confirmed, reason);
                let text = format!("generation {number} is confirmed: {reason}");
                self.journal.seen(EventKind::ReloadConfirmed, "", &text);
            }
        }
    }

    /// The former configuration comes back: all of it that can.
    fn take_back(&mut self, cause: &Cause) {
        let Some(mut trial) = self.trial.take() else { return };
        let now = self.clock.now();
        let (old, new) = (self.state.config().clone(), trial.before.config().clone());
        let changes = plan::changes(&config::diff(&old, &new), &new, self.fleet.told());
        let mut next = self.state.clone();
        let dropped = next.restore(&trial.before, now.wall);
        let (commit, faults) = match self.bring_up(next) {
            Ok(done) => done,
            Err(refusal) => {
                if trial.failed(refusal.to_string(), now.instant) {
                    let former = trial.before.generation();
                    tracing::error!("generation {former} cannot come back yet, and is tried again: {refusal}");
                }
                self.trial = Some(trial);
                return;
            }
        };
        match self.apply_logs(&old, &new) {
            Ok(()) if new.log != old.log => self.log_level = new.log.level,
            Ok(()) => {}
            Err(error) => tracing::error!("the logs stay as generation {} has them: {error}", trial.generation),
        }
        self.tell_dropped(dropped, &Provenance { who: NETD.to_owned(), why: "reload taken back".to_owned() });
        self.tell_return(&trial, cause, &changes, &faults);
        self.settle(
            commit,
            |_| (),
            |_, confirmed| {
                if let Err(refusal) = confirmed {
                    tracing::warn!("a reload was taken back: {refusal}");
                }
            },
        );
    }

    fn tell_return(&mut self, trial: &Trial, cause: &Cause, changes: &[Change], Faults(faults): &Faults) {
        match cause {
            Cause::Time => self.returns.time += 1,
            Cause::Guard(_) => self.returns.guard += 1,
        }
        let (former, reason) = (trial.before.generation(), trial.verdict(cause));
        self.end_trial(trial, &reason);
        self.origin = self.origin_of(former, NETD);
        self.record(HistoryKind::Revert, Some(former), None, changes);
        let (number, generation) = (trial.generation, self.state.generation());
        let mut text = format!(
            "generation {number} is taken back ({reason}): generation {former} is in force again, as {generation}"
        );
        if !faults.is_empty() {
            let names: Vec<String> = faults.iter().map(|(name, _)| names::listener(name)).collect();
            text.push_str(&format!("; {} cannot listen yet", names.join(", ")));
        }
        self.journal.seen(EventKind::ReloadReverted, "", &text);
        self.last_reload = Some(Err(text));
    }

    /// It was taken back.
    fn end_trial(&mut self, trial: &Trial, reason: &str) {
        self.generations.judge(trial.generation, Judgement::Reverted, reason);
        let now = self.clock.now().instant;
        let Self { recent, fleet, .. } = self;
        Recent::forget_since(recent, trial.began, now, tally(fleet.told()));
    }

    fn origin_of(&self, from: u64, who: &str) -> Origin {
        if self.generations.is_own(self.state.config()) {
            return Origin::Own;
        }
        Origin::Restored { from, who: who.to_owned() }
    }

    /// Writes what has just come into force into the history.
    pub(super) fn record(
        &mut self,
        kind: HistoryKind,
        restored: Option<u64>,
        by: Option<Provenance>,
        changes: &[Change],
    ) {
        let from = restored.map(|from| format!("back to generation {from}: ")).unwrap_or_default();
        let reason = self.trial.as_ref().map(Trial::terms).unwrap_or_default();
        self.generations.applied(Applied {
            at: self.state.applied_at(),
            kind,
            number: self.state.generation(),
            config: self.state.config(),
            origin: self.origin.clone(),
            restored,
            by,
            summary: format!("{from}{}", plan::summary(changes)),
            changes,
            verdict: if self.trial.is_some() { Judgement::Pending } else { Judgement::Applied },
            reason: &reason,
        });
    }

    pub(super) fn record_refusal(&mut self, kind: HistoryKind, by: &Provenance, refusal: &Refusal) {
        let at = self.clock.now().wall;
        self.generations.refused(at, kind, by, &refusal.to_string());
    }

    /// The earlier generation that is in force again, and who brought it back.
    pub(super) fn restored(&self) -> Option<(u64, String)> {
        match &self.origin {
            Origin::Restored { from, who } => Some((*from, who.clone())),
            Origin::Own | Origin::Candidate { .. } => None,
        }
    }

    /// What who plans a reload should know besides.
    pub(super) fn notes(&self) -> Vec<String> {
        let number = self.state.generation();
        let what = match &self.origin {
            Origin::Own => return Vec::new(),
            Origin::Candidate { who } => format!("a candidate over the admin API (by {who})"),
            Origin::Restored { from, who } => format!("generation {from} again (by {who})"),
        };
        vec![format!(
            "generation {number}, which runs, is {what}, not the daemon's own file: the next reload without FILE, SIGHUP or start reads that"
        )]
    }

    /// Closes what is left of removed listeners and endpoints, when its time is
    /// over; what nobody would miss goes elsewhere.
    pub(super) fn look_at_removed(&mut self) {
        let told = self.fleet.told();
        let listeners = told.retired_listeners.values().filter(|each| figures::listener(&each.shards).active > 0);
        let endpoints = told.retired_endpoints.iter().filter(|each| figures::endpoint(&each.shards).active > 0);
        let gone = listeners.map(|each| Gone::Listener(each.config.name.clone()));
        let gone: Vec<Gone> = gone.chain(endpoints.map(|each| Gone::Endpoint(each.id))).collect();
        // On trial nothing is lost that the way back could keep.
        let after = self.state.config().reload.close_removed_after.filter(|_| self.trial.is_none());
        let due = self.removed.look(gone, after, self.clock.now().instant);
        self.look_at_unused();
        let told = self.fleet.told();
        if due.is_empty() {
            return;
        }
        let (mut of_listeners, mut of_endpoints, mut objects) =
            (Vec::<ListenerId>::new(), Vec::<EndpointId>::new(), Vec::new());
        for each in due {
            match each {
                Gone::Listener(name) => {
                    of_listeners.extend(told.retired_listeners.get(&name).into_iter().flat_map(|told| told.ids()));
                    objects.push(names::listener(&name));
                }
                Gone::Endpoint(id) => {
                    of_endpoints.push(id);
                    let found = told.retired_endpoints.iter().find(|each| each.id == id);
                    objects.extend(found.map(|each| names::endpoint(&each.pool, &each.address.to_string())));
                }
            }
        }
        let selections: Vec<Selection> =
            removed::filters(of_listeners, of_endpoints).into_iter().map(Selection::Matching).collect();
        let gather = self.fleet.close(&selections, CloseReason::DRAIN);
        self.after(gather, move |controller, gather: Gather<Vec<u64>>| {
            let count: u64 = gather.answers.iter().map(|(_, ids)| ids.len() as u64).sum();
            if count > 0 {
                let text = format!(
                    "{} closed: removed by a reload, and their time is over",
                    names::counted(count, "connection")
                );
                let object = if let [object] = &objects[..] { object.as_str() } else { "" };
                controller.journal.seen(EventKind::ConnectionsClosed, object, &text);
            }
        });
    }
}

#[cfg(test)]
mod tests;
