//! Where a connection would go that came now, and why.

mod door;
mod reasons;

use std::collections::BTreeMap;

use self::door::Room;
use super::{
    balancing::{ChoiceView, ExplainRequest, PoolChoice, SetSplit, ShareView, WorkerChoice},
    connections::answer,
    controller::Controller,
    names,
    port::WorkerPort,
    request::{EventKind, ListenerState, ListenerView, Refusal, Reply},
    told::{ToldListener, ToldPool},
    why,
};
use crate::{
    config::{Address, Listener, PoolShare},
    worker::{Foretell, Foretold},
};

impl<P: WorkerPort> Controller<P> {
    /// Asks every worker and tells what they would do.
    pub(super) fn foretell(&mut self, request: ExplainRequest, reply: Reply<ChoiceView>) {
        if let Err(refusal) = self.check_room() {
            return answer(reply, Err(refusal));
        }
        let listener = match self.relaying(&request.listener) {
            Ok(id) => id,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let gather = self.fleet.foretell(Foretell { listener, source: request.source });
        self.after(gather, move |controller, gather| {
            let mut answers = gather.answers;
            answers.sort_by_key(|(worker, _)| *worker);
            answer(reply, controller.choice(&request, answers));
        });
    }

    /// Sets the shares of a listener's pools.
    pub(super) fn set_split(&mut self, request: SetSplit, reply: Reply<ListenerView>) {
        let now = self.clock.now().wall;
        let SetSplit { listener, shares, expires_in, by } = request;
        let result = self.change(|state| state.set_split(&listener, shares.as_deref(), expires_in, &by, now));
        let commit = match result {
            Ok(commit) => commit,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let object = names::listener(&listener);
        match self.state.split_override(&listener) {
            Some(each) => self.journal.asked(EventKind::OverrideSet, &object, &each.value.to_string(), &by),
            None => self.journal.asked(EventKind::OverrideCleared, &object, "shares are the file's again", &by),
        }
        self.settle(
            commit,
            |_| (),
            move |controller, confirmed| {
                let told = controller.fleet.told().any_listener(&listener);
                let view = told.map(|told| controller.listener_view(told));
                let missing = || Refusal::NotFound(format!("listener `{listener}` is gone"));
                answer(reply, confirmed.and_then(|()| view.ok_or_else(missing)));
            },
        );
    }

    /// The id of a listener that accepts and relays, or why it does not.
    fn relaying(&self, name: &str) -> Result<crate::worker::ListenerId, Refusal> {
        let config = self.state.listener(name)?;
        if config.protocol.pools().is_empty() {
            let what = config.protocol.as_str();
            return Err(Refusal::Precondition(format!("listener `{name}` relays to no pool: its protocol is {what}")));
        }
        let told = self.fleet.told().listeners.get(name);
        told.and_then(|told| told.id).ok_or_else(|| {
            let observed = told.map_or(ListenerState::Stopped, super::views::listener_state);
            Refusal::Precondition(why::listener(&self.state, config, super::views::listener_word(observed)).sentence)
        })
    }

    fn choice(&self, request: &ExplainRequest, answers: Vec<(usize, Option<Foretold>)>) -> Result<ChoiceView, Refusal> {
        let name = &request.listener;
        let config = self.state.listener(name)?;
        let told = self.fleet.told();
        let shares = self.shares(config);
        let (mut workers, mut rooms) = (Vec::new(), BTreeMap::new());
        for (worker, foretold) in answers {
            let Some(foretold) = foretold else { continue };
            let Some(pool) = told.pools.values().find(|pool| pool.id == foretold.pool) else { continue };
            let room = door::room(pool, foretold.endpoint.err());
            // Workers ask one after the other: the latest knows best.
            rooms.insert(pool.config.name.clone(), room);
            workers.push(self.worker_choice(worker, config, request, pool, &foretold));
        }
        if workers.is_empty() {
            let text = format!("no worker has told where a connection to listener `{name}` would go; try again");
            return Err(Refusal::Timeout(text));
        }
        let who = door::who(config, request.source);
        let refused = self.would_refuse(name, who.counted)?;
        let mut refused_by: Vec<String> =
            refused.iter().map(|refused| format!("{} ({})", refused.explain(), refused.as_str())).collect();
        let mut notes = Vec::from_iter(who.note);
        for room in rooms.values() {
            match room {
                Room::Free => {}
                Room::Waits(text) => notes.push(text.clone()),
                Room::Refuses(text) => refused_by.push(text.clone()),
            }
        }
        let some = shares.iter().filter(|share| share.weight > 0);
        let pools = some.filter_map(|share| told.pools.get(&share.pool)).map(|pool| self.pool_choice(pool, &workers));
        Ok(ChoiceView {
            listener: name.clone(),
            hash: config.protocol.hash(),
            pools: pools.collect(),
            split: self.state.split_override(name).cloned(),
            sentence: reasons::sentence(name, request.source, &shares, &workers, (refused.is_some(), &rooms)),
            refused_by,
            notes,
            shares,
            workers,
        })
    }

    fn worker_choice(
        &self,
        worker: usize,
        listener: &Listener,
        request: &ExplainRequest,
        pool: &ToldPool,
        foretold: &Foretold,
    ) -> WorkerChoice {
        let chosen = foretold.endpoint.map(|id| pool.endpoints.iter().find(|each| each.id == id));
        let why = match chosen {
            Ok(Some(endpoint)) => reasons::chosen(pool, endpoint, listener.protocol.hash(), request.source),
            Ok(None) => "its pool has changed meanwhile".to_owned(),
            Err(nobody) => reasons::none(pool, nobody),
        };
        let endpoint = chosen.ok().flatten().map(|endpoint| endpoint.address.to_string());
        WorkerChoice { worker, pool: pool.config.name.clone(), endpoint, why }
    }

    fn pool_choice(&self, pool: &ToldPool, workers: &[WorkerChoice]) -> PoolChoice {
        let whole = self.state.pool_override(&pool.config.name);
        let own = |address: &str| self.state.endpoint_override(&pool.config.name, address);
        let (state, health, name) = (&self.state, &self.health, pool.config.name.as_str());
        let rests = |address: &Address| state.rests(name, address).then(|| health.standing(name, address));
        reasons::pool(pool, whole, own, rests, workers)
    }

    /// The listener's pools with both shares.
    pub(super) fn shares(&self, listener: &Listener) -> Vec<ShareView> {
        let in_force = self.state.split(listener);
        let view = |(file, force): (&PoolShare, &PoolShare)| ShareView {
            pool: file.name.clone(),
            configured_weight: file.weight,
            weight: force.weight,
        };
        listener.protocol.pools().iter().zip(&in_force).map(view).collect()
    }

    /// The shares of a listener that the workers know or knew.
    pub(super) fn told_shares(&self, told: &ToldListener) -> Vec<ShareView> {
        self.shares(&told.config)
    }
}

#[cfg(test)]
mod tests;
