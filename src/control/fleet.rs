//! All workers together: orders to each of them, their answers, their
//! heartbeat.

pub(super) mod hands;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    gather::{Gather, workers_named},
    lane::Lane,
    port::WorkerPort,
    request::Refusal,
    sockets::Opened,
    state::State,
    told::{Delta, Told, ToldEndpoint, ToldListener, ToldPool},
};
use crate::{
    config::{Address, Listener},
    listen::{self, Duplicate, ListenSocket},
    metrics::ListenerShard,
    worker::{Command, EndpointSpec, ListenerId, ListenerSpec, Overloaded, PoolId, PoolSpec, Query, Reply, Selection},
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
        Self { workers: workers.into_iter().map(Lane::new).collect(), hearts, told: Told::default() }
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
        let mut confirm = Gather::new(self.workers.len());
        for pool in &delta.pools {
            let told = self.told.pool(pool, state, self.workers.len());
            let specs: Vec<PoolSpec> = (0..self.workers.len()).map(|worker| pool_spec(told, worker)).collect();
            self.send_each(specs.into_iter().map(Command::SetPool));
        }
        for listener in delta.start.iter().chain(&delta.rebind) {
            let old = self.told.listener(listener, self.workers.len()).retire_id();
            if let Some(opened) = opened.remove(&listener.name) {
                self.add_listener(listener, opened);
            }
            if delta.rebind.contains(listener) {
                self.stop_listener(old, &mut confirm);
            }
        }
        for listener in &delta.update {
            self.told.listener(listener, self.workers.len());
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

    fn add_listener(&mut self, listener: &Arc<Listener>, opened: Opened) {
        let id = ListenerId(self.told.fresh());
        let told = self.told.listener(listener, self.workers.len());
        told.id = Some(id);
        told.bound = opened.bound.local;
        told.inherited = opened.inherited;
        let specs = self.listener_specs(&listener.name);
        let dealt = listen::spread(opened.bound.sockets, self.workers.len()).unwrap_or_else(|error| {
            tracing::error!(listener = %listener.name, %error, "not every worker has a socket of it");
            Vec::new()
        });
        for (index, (spec, sockets)) in specs.into_iter().zip(dealt).enumerate() {
            sockets.into_iter().for_each(|socket| self.send(index, Command::AddListener(spec.clone(), socket)));
        }
    }

    fn stop_listener(&mut self, id: Option<ListenerId>, confirm: &mut Gather<()>) {
        if let Some(id) = id {
            self.send_all(confirm, |reply| Command::StopListener(id, reply));
        }
    }

    /// The listener as each worker shall see it; empty if it has no id.
    fn listener_specs(&self, name: &str) -> Vec<ListenerSpec> {
        let Some(ToldListener { id: Some(id), config, shards, .. }) = self.told.listeners.get(name) else {
            return Vec::new();
        };
        let pool = config.protocol.pool().and_then(|pool| self.told.pools.get(pool)).map(|told| told.id);
        let spec = |counters: &Arc<ListenerShard>| ListenerSpec {
            id: *id,
            config: config.clone(),
            pool,
            counters: counters.clone(),
        };
        // Those of workers that have gone come last.
        shards.iter().take(self.workers.len()).map(spec).collect()
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
    let endpoint = |each: &ToldEndpoint| EndpointSpec {
        id: each.id,
        address: each.address.clone(),
        weight: each.weight,
        counters: each.shards[worker].clone(),
    };
    PoolSpec {
        id: told.id,
        config: told.config.clone(),
        endpoints: told.endpoints.iter().map(endpoint).collect(),
        counters: told.shards[worker].clone(),
    }
}
