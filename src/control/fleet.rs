//! All workers together: orders to each of them, their answers, their
//! heartbeat.

pub(super) mod hands;
pub(super) mod listening;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use super::{
    balancing,
    crew::Crew,
    gather::{Gather, workers_named},
    lane::Lane,
    port::WorkerPort,
    request::Refusal,
    sockets::Opened,
    state::State,
    told::{Delta, Told, ToldEndpoint, ToldListener, ToldPool},
    upgrade::SlowStart,
};
use crate::{
    config::{Address, Listener, PoolShare},
    listen::{Duplicate, ListenSocket},
    worker::{
        Command, EndpointSpec, Filter, Foretell, Foretold, ListenerId, ListenerSpec, Overloaded, PoolId, PoolSpec,
        ProcessGate, Query, Reply, Resting, Selection, Share,
    },
};

/// The workers and what they were told.
#[derive(Debug)]
pub(super) struct Fleet<P> {
    workers: Vec<Lane<P>>,
    hearts: Vec<Heart>,
    told: Told,
}

/// One worker's heartbeat.
#[derive(Debug)]
struct Heart {
    /// Beats sent.
    sent: u64,
    /// The latest beat that was answered.
    answered: Arc<AtomicU64>,
    /// As judged at the last beat.
    responsive: bool,
    /// Its thread has ended: it holds nothing any more and owes nothing.
    dead: bool,
}

/// Orders that are under way.
#[derive(Debug)]
pub(super) struct Commit {
    /// Everything is in force when these answers are in.
    pub(super) confirm: Gather<()>,
    /// To be forgotten then: until then connections from accept queues may
    /// need them.
    pub(super) pools_removed: Vec<PoolId>,
}

impl<P: WorkerPort> Fleet<P> {
    pub(super) fn new(workers: Vec<P>) -> Self {
        let heart = |_: &P| Heart { sent: 0, answered: Arc::default(), responsive: true, dead: false };
        let hearts = workers.iter().map(heart).collect();
        // They share one; without a worker there is nobody to share it with.
        let gates = workers.first().map_or_else(ProcessGate::new, |worker| worker.settings().gates.clone());
        let told = Told { gates, ..Told::default() };
        Self { workers: workers.into_iter().map(Lane::new).collect(), hearts, told }
    }

    /// Control's ends of the workers, in order of index.
    pub(super) fn workers(&self) -> impl ExactSizeIterator<Item = &P> {
        self.workers.iter().map(Lane::port)
    }

    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// Where netd listens now.
    pub(super) fn addresses(&self) -> Vec<Address> {
        let accepting = self.told.listeners.values().filter(|told| told.id.is_some());
        // Port 0 of the file became another one.
        accepting.flat_map(|told| [Some(told.config.address.clone()), told.bound.parse().ok()]).flatten().collect()
    }

    /// Forgets what is gone and has no connection left.
    pub(super) fn prune(&mut self) {
        self.told.prune();
    }

    /// Tells all workers what differs. `opened` has the sockets of every
    /// listener that the delta starts or binds anew.
    pub(super) fn carry_out(&mut self, state: &State, delta: Delta, mut opened: BTreeMap<String, Opened>) -> Commit {
        self.told.gates.set_limits(&state.config().limits);
        let mut confirm = Gather::new(self.workers.len());
        for pool in &delta.pools {
            self.told.pool(pool, state, self.workers.len());
            self.set_pool(&pool.name);
        }
        for listener in delta.start.iter().chain(&delta.rebind) {
            let old = self.listener(listener, state).retire_id();
            if let Some(opened) = opened.remove(&listener.name) {
                self.add_listener(listener, opened, state.crew());
            }
            if delta.rebind.contains(listener) {
                self.stop_listener(old, &mut confirm);
            }
        }
        for listener in &delta.update {
            self.listener(listener, state);
            let specs = self.listener_specs(&listener.name);
            self.send_each(specs.into_iter().map(Command::UpdateListener));
        }
        for listener in &delta.note {
            self.told.listener(listener, self.workers.len());
        }
        for listener in &delta.stop {
            let old = self.told.listener(listener, self.workers.len()).retire_id();
            self.stop_listener(old, &mut confirm);
        }
        for name in &delta.removed {
            if let Some(mut told) = self.told.listeners.remove(name) {
                let old = told.retire_id();
                self.told.retired_listeners.insert(name.clone(), told);
                self.stop_listener(old, &mut confirm);
            }
        }
        let pools_removed = delta.pools_removed.iter().filter_map(|name| self.told.remove_pool(name)).collect();
        self.send_all(&mut confirm, Command::Ping);
        Commit { confirm, pools_removed }
    }

    /// Tells all workers other weights of endpoints, for what is observed of
    /// them. Nothing depends on when they know.
    pub(super) fn reweigh(&mut self, state: &State) {
        for pool in self.told.reweigh(state, self.workers.len()) {
            self.set_pool(&pool);
        }
    }

    /// Goes on with slow starts.
    pub(super) fn go_on(&mut self, now: Instant) {
        for pool in self.told.go_on(now) {
            self.set_pool(&pool);
        }
    }

    /// Goes on with the slow starts of a predecessor.
    pub(super) fn resume_starts(&mut self, starts: &[SlowStart], now: Instant) {
        for pool in self.told.resume_starts(starts, now) {
            self.set_pool(&pool);
        }
    }

    /// Asks every worker where a connection would go that came now.
    pub(super) fn foretell(&mut self, ask: Foretell) -> Gather<Option<Foretold>> {
        let mut gather = Gather::new(self.workers.len());
        self.send_all(&mut gather, |reply| Command::Foretell(ask, reply));
        gather
    }

    /// Answered when everything that was ordered before is done.
    pub(super) fn ping(&mut self) -> Gather<()> {
        let mut confirm = Gather::new(self.workers.len());
        self.send_all(&mut confirm, Command::Ping);
        confirm
    }

    /// Forgets pools that nothing refers to any more.
    pub(super) fn forget_pools(&mut self, pools: &[PoolId]) {
        for pool in pools {
            (0..self.workers.len()).for_each(|index| self.send(index, Command::RemovePool(*pool)));
        }
    }

    /// Asks every worker for connections.
    pub(super) fn query(&mut self, query: &Query) -> Gather<Vec<crate::worker::ConnectionInfo>> {
        let mut gather = Gather::new(self.workers.len());
        self.send_all(&mut gather, |reply| Command::Query(query.clone(), reply));
        gather
    }

    /// Has connections of one worker ended.
    pub(super) fn close_on(
        &mut self,
        worker: usize,
        selection: Selection,
        reason: crate::protocol::CloseReason,
    ) -> Gather<Vec<u64>> {
        let mut gather = Gather::new(self.workers.len());
        self.send(worker, Command::Close(selection, reason, gather.reply(worker)));
        gather
    }

    /// Asks for connections that rest: of every worker, or of one.
    pub(super) fn resting(&mut self, worker: Option<usize>, filter: &Filter, limit: usize) -> Gather<Vec<Resting>> {
        let mut gather = Gather::new(self.workers.len());
        let order = |reply| Command::Resting(filter.clone(), limit, reply);
        match worker {
            Some(worker) => self.send(worker, order(gather.reply(worker))),
            None => self.send_all(&mut gather, order),
        }
        gather
    }

    /// Has connections that rest ended, by worker.
    pub(super) fn retire(
        &mut self,
        chosen: Vec<Vec<Resting>>,
        reason: crate::protocol::CloseReason,
    ) -> Gather<Vec<u64>> {
        let mut gather = Gather::new(self.workers.len());
        for (worker, list) in chosen.into_iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            self.send(worker, Command::Retire(list, reason, gather.reply(worker)));
        }
        gather
    }

    /// Has connections ended, selection by selection.
    pub(super) fn close(&mut self, selections: &[Selection], reason: crate::protocol::CloseReason) -> Gather<Vec<u64>> {
        let mut gather = Gather::new(self.workers.len());
        for selection in selections {
            self.send_all(&mut gather, |reply| Command::Close(selection.clone(), reason, reply));
        }
        gather
    }

    /// Asks every living worker for an answer.
    pub(super) fn ask_all<T: Send + 'static>(&mut self, order: impl Fn(Reply<T>) -> Command) -> Gather<T> {
        let mut gather = Gather::new(self.workers.len());
        self.send_all(&mut gather, order);
        gather
    }

    /// Tells every living worker.
    pub(super) fn tell_all(&mut self, order: impl Fn() -> Command) {
        (0..self.workers.len()).for_each(|index| self.send(index, order()));
    }

    /// Gives each worker its own of `parts`; `None`: nothing.
    pub(super) fn ask_each<A, T: Send + 'static>(
        &mut self,
        parts: impl Iterator<Item = Option<A>>,
        order: impl Fn(A, Reply<T>) -> Command,
    ) -> Gather<T> {
        let mut gather = Gather::new(self.workers.len());
        for (index, part) in parts.enumerate() {
            if let Some(part) = part.filter(|_| !self.hearts[index].dead) {
                self.send(index, order(part, gather.reply(index)));
            }
        }
        gather
    }

    /// Asks every worker for duplicates of the sockets of each listener that
    /// accepts; answers come with the listener's name.
    pub(super) fn duplicates(&mut self) -> Gather<(String, std::io::Result<Vec<Duplicate>>)> {
        let mut gather = Gather::new(self.workers.len());
        let accepting = self.told.listeners.iter().filter_map(|(name, told)| Some((name.clone(), told.id?)));
        for (name, id) in accepting.collect::<Vec<_>>() {
            self.send_all(&mut gather, |reply: Reply<(String, _)>| {
                let name = name.clone();
                Command::DuplicateListener(id, Reply::new(move |duplicates| reply.send((name, duplicates))))
            });
        }
        gather
    }

    /// All listening sockets are somebody else's now: the workers close their
    /// descriptors, and nothing else.
    pub(super) fn let_go_of_listeners(&mut self) {
        let ids: Vec<_> = self.told.listeners.values().filter_map(|told| told.id).collect();
        for id in ids {
            for index in 0..self.workers.len() {
                let reply = Reply::new(|mut sockets: Vec<ListenSocket>| {
                    sockets.iter_mut().for_each(ListenSocket::give_away);
                });
                self.send(index, Command::ReleaseListener(id, reply));
            }
        }
    }

    pub(super) fn told_mut(&mut self) -> &mut Told {
        &mut self.told
    }

    /// Ends every worker's thread.
    pub(super) fn stop(&mut self) {
        self.workers.iter_mut().for_each(Lane::stop);
    }

    /// Whether all threads have ended.
    pub(super) fn is_finished(&self) -> bool {
        self.workers().all(WorkerPort::is_finished)
    }

    /// Sends on what waits for workers.
    pub(super) fn flush(&mut self) {
        for index in 0..self.workers.len() {
            let result = self.workers[index].flush();
            report(index, result);
        }
    }

    /// Judges the last heartbeat and sends the next; a worker that owes an
    /// answer gets no more. What a dead one had open is gone: its gauges are
    /// cleared, so that drains end.
    pub(super) fn beat(&mut self) {
        for (index, (lane, heart)) in self.workers.iter_mut().zip(&mut self.hearts).enumerate() {
            if heart.dead {
                continue;
            }
            if lane.port().is_finished() {
                (heart.dead, heart.responsive) = (true, false);
                lane.stop();
                lane.port().shard().active.set(0);
                self.told.bury(index);
                tracing::error!(
                    worker = index,
                    "worker {index} has died and its connections with it; the others go on; restart netd to replace it"
                );
                continue;
            }
            let owes = heart.answered.load(Relaxed) != heart.sent;
            let responsive = !owes && heart.send(lane.port());
            if responsive == heart.responsive {
                continue;
            }
            heart.responsive = responsive;
            if responsive {
                tracing::warn!(worker = index, "worker {index} answers its heartbeat again");
            } else {
                tracing::error!(worker = index, "worker {index} does not answer its heartbeat");
            }
        }
    }

    /// Whether the worker's thread has ended.
    pub(super) fn has_ended(&self, worker: usize) -> bool {
        self.workers.get(worker).is_none_or(|lane| lane.port().is_finished())
    }

    /// Whether the worker was found dead.
    pub(super) fn is_dead(&self, worker: usize) -> bool {
        self.hearts.get(worker).is_some_and(|heart| heart.dead)
    }

    /// Whether no worker is left.
    pub(super) fn all_dead(&self) -> bool {
        self.hearts.iter().all(|heart| heart.dead)
    }

    /// Whether the worker answered its last heartbeat.
    pub(super) fn is_responsive(&self, worker: usize) -> bool {
        self.hearts.get(worker).is_some_and(|heart| heart.responsive)
    }

    /// Whether every worker did.
    pub(super) fn all_responsive(&self) -> bool {
        self.hearts.iter().all(|heart| heart.responsive)
    }

    /// A change that not every living worker can follow is not begun.
    pub(super) fn check_responsive(&self) -> Result<(), Refusal> {
        let silent = |index: &usize| !self.is_responsive(*index) && !self.hearts[*index].dead;
        let silent: Vec<usize> = (0..self.workers.len()).filter(silent).collect();
        if silent.is_empty() {
            return Ok(());
        }
        let who = workers_named(&silent);
        Err(Refusal::Timeout(format!("{who} did not answer the last heartbeat: nothing was changed")))
    }

    fn add_listener(&mut self, listener: &Arc<Listener>, opened: Opened, crew: &Crew) {
        let id = ListenerId(self.told.fresh());
        let told = self.told.listener(listener, self.workers.len());
        told.id = Some(id);
        told.bound = opened.bound.local;
        told.inherited = opened.inherited;
        self.deal(&listener.name, opened.bound.sockets, crew);
    }

    /// Tells all workers what is noted of a pool.
    fn set_pool(&mut self, name: &str) {
        let Some(told) = self.told.pools.get(name) else { return };
        let specs: Vec<PoolSpec> = (0..self.workers.len()).map(|worker| pool_spec(told, worker)).collect();
        self.send_each(specs.into_iter().map(Command::SetPool));
    }

    /// Notes a listener as the state wants it.
    fn listener(&mut self, listener: &Arc<Listener>, state: &State) -> &mut ToldListener {
        let told = self.told.listener(listener, self.workers.len());
        told.split = state.split(listener);
        told
    }

    fn stop_listener(&mut self, id: Option<ListenerId>, confirm: &mut Gather<()>) {
        if let Some(id) = id {
            self.send_all(confirm, |reply| Command::StopListener(id, reply));
        }
    }

    /// The listener as each worker shall see it; empty if it has no id.
    fn listener_specs(&self, name: &str) -> Vec<ListenerSpec> {
        (0..self.workers.len()).map_while(|worker| self.listener_spec(name, worker)).collect()
    }

    /// The same for one worker.
    fn listener_spec(&self, name: &str, worker: usize) -> Option<ListenerSpec> {
        let ToldListener { id: Some(id), config, shards, split, gate, .. } = self.told.listeners.get(name)? else {
            return None;
        };
        let share = |each: &PoolShare| {
            let told = self.told.pools.get(&each.name)?;
            Some(Share { pool: told.id, weight: each.weight })
        };
        let pools = split.iter().filter_map(share).collect();
        let counters = shards.get(worker)?.clone();
        Some(ListenerSpec { id: *id, config: config.clone(), pools, counters, gate: gate.clone() })
    }

    fn send_all<T: Send + 'static>(&mut self, gather: &mut Gather<T>, order: impl Fn(Reply<T>) -> Command) {
        for index in (0..self.workers.len()).filter(|&index| !self.hearts[index].dead).collect::<Vec<_>>() {
            self.send(index, order(gather.reply(index)));
        }
    }

    fn send_each(&mut self, orders: impl Iterator<Item = Command>) {
        orders.enumerate().for_each(|(index, order)| self.send(index, order));
    }

    /// An order that does not get through shows as an answer that is missing.
    fn send(&mut self, index: usize, order: Command) {
        if self.hearts[index].dead {
            return;
        }
        let result = self.workers[index].send(order);
        report(index, result);
    }
}

fn report(index: usize, result: Result<(), Overloaded>) {
    if let Err(overloaded) = result {
        tracing::error!(worker = index, "worker {index}: {overloaded}");
    }
}

impl Heart {
    /// Whether the worker took the beat.
    fn send(&mut self, worker: &impl WorkerPort) -> bool {
        let (cell, beat) = (self.answered.clone(), self.sent + 1);
        let taken = worker.send(Command::Ping(Reply::new(move |()| cell.store(beat, Relaxed)))).is_ok();
        self.sent += u64::from(taken);
        taken
    }
}

fn pool_spec(told: &ToldPool, worker: usize) -> PoolSpec {
    let endpoint = |(each, weight): (&ToldEndpoint, u32)| EndpointSpec {
        id: each.id,
        address: each.address.clone(),
        weight,
        backup: each.backup,
        max_connections: each.max_connections,
        load: each.load.clone(),
        counters: each.shards[worker].clone(),
    };
    PoolSpec {
        id: told.id,
        config: told.config.clone(),
        policy: balancing::policy(told.config.policy),
        tables: told.tables.clone(),
        endpoints: told.endpoints.iter().zip(told.weights()).map(endpoint).collect(),
        counters: told.shards[worker].clone(),
        gate: told.gate.clone(),
    }
}
