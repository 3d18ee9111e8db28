//! Changes by operators besides reload and drains: stop, start, endpoints.

use std::time::Duration;

use super::{
    connections::answer,
    controller::Controller,
    fleet::Commit,
    names,
    port::WorkerPort,
    request::{EndpointView, EventKind, Explanation, Provenance, Refusal, Reply, SetEndpoint, StopRequest},
    sockets::Faults,
    state::State,
};

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

    pub(super) fn start_listener(&mut self, name: &str, by: &Provenance, reply: Reply<Explanation>) {
        let commit = match self.change(|state| state.start(name)) {
            Ok(commit) => commit,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let object = names::listener(name);
        let text = format!("the stop of listener `{name}` is lifted");
        self.journal.asked(EventKind::ListenerStarted, &object, &text, by);
        // The whole daemon may be drained: then it does not accept.
        let told = move |controller: &mut Self, confirmed: Result<(), Refusal>| {
            answer(reply, confirmed.and_then(|()| controller.explain(&object)));
        };
        self.settle(commit, |_| (), told);
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
