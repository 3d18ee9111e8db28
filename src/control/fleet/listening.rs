//! Which worker accepts on which sockets of a listener. They go by the
//! listener's id wherever they are, and change hands with what waits in their
//! queues: nobody who connects meanwhile notices.

use super::Fleet;
use crate::{
    control::{crew::Crew, gather::Gather, port::WorkerPort},
    listen::{self, ListenSocket},
    worker::{Command, ListenerId, Reply},
};

/// Sockets of one listener that a worker has given up.
pub(in crate::control) type Released = (ListenerId, Vec<ListenSocket>);

impl<P: WorkerPort> Fleet<P> {
    /// Gives the sockets of a new listener to the workers: one to each, and
    /// those of workers that are drained to the others.
    pub(super) fn deal(&mut self, name: &str, sockets: Vec<ListenSocket>, crew: &Crew) {
        let dealt = listen::spread(sockets, self.workers.len()).unwrap_or_else(|error| {
            tracing::error!(listener = %name, %error, "not every worker has a socket of it");
            Vec::new()
        });
        let mut others = Vec::new();
        for (worker, sockets) in dealt.into_iter().enumerate() {
            for socket in sockets {
                match crew.accepts(worker) && !self.is_dead(worker) {
                    true => self.give(name, worker, socket),
                    false => others.push((worker, socket)),
                }
            }
        }
        self.give_to_others(name, others, crew);
    }

    /// Has a worker accept on one more socket of a listener; another one, if
    /// the worker is drained or has died or gone.
    pub(in crate::control) fn add_socket(&mut self, name: &str, worker: usize, socket: ListenSocket, crew: &Crew) {
        if crew.is_drained(worker) || self.hearts.get(worker).is_none_or(|heart| heart.dead) {
            return self.give_to_others(name, vec![(worker, socket)], crew);
        }
        self.give(name, worker, socket);
    }

    /// Further descriptors of a listener's sockets, of the first worker that
    /// has one and can be asked.
    pub(in crate::control) fn share(&mut self, name: &str, count: usize) -> Gather<Vec<ListenSocket>> {
        let mut gather = Gather::new(self.workers.len());
        let Some(told) = self.told.listeners.get(name) else { return gather };
        let holder = self.able().into_iter().find(|&worker| told.held.get(worker).is_some_and(|&held| held > 0));
        if let (Some(id), Some(worker)) = (told.id, holder) {
            let reply = gather.reply(worker);
            self.send(worker, Command::ShareListener(id, count, reply));
        }
        gather
    }

    /// Takes sockets from the workers that are to have none, or fewer: those
    /// that do not accept, and those that have others' besides their own.
    pub(in crate::control) fn release(&mut self, crew: &Crew) -> Gather<Released> {
        let mut gather = Gather::new(self.workers.len());
        let able = self.able();
        let mut orders = Vec::new();
        for told in self.told.listeners.values_mut() {
            let Some(id) = told.id else { continue };
            for worker in crew.givers(&told.held, &able) {
                told.give_up(worker);
                orders.push((worker, id));
            }
        }
        for (worker, id) in orders {
            let reply = gather.reply(worker);
            self.send(worker, Command::ReleaseListener(id, Reply::new(move |sockets| reply.send((id, sockets)))));
        }
        gather
    }

    /// Gives released sockets, each with the worker that had it, to those that
    /// accept: to whom has fewest.
    pub(in crate::control) fn take_over(&mut self, released: Vec<(usize, Released)>, crew: &Crew) {
        for (from, (id, sockets)) in released {
            match self.name_of(id) {
                Some(name) => {
                    self.give_to_others(&name, sockets.into_iter().map(|socket| (from, socket)).collect(), crew);
                }
                None if sockets.is_empty() => {}
                None => tracing::warn!(worker = from, "sockets came back too late: their listener has others now"),
            }
        }
    }

    /// The workers that accept and have no socket of a listener, by its name.
    pub(in crate::control) fn wanting(&self, crew: &Crew) -> Vec<(String, Vec<usize>)> {
        let (able, mut wanting) = (self.able(), Vec::new());
        for (name, told) in self.told.listeners.iter().filter(|(_, told)| told.id.is_some()) {
            let has = |worker: &usize| told.held.get(*worker).is_some_and(|&held| held > 0);
            let without: Vec<usize> =
                able.iter().copied().filter(|worker| crew.accepts(*worker) && !has(worker)).collect();
            if !without.is_empty() {
                wanting.push((name.clone(), without));
            }
        }
        wanting
    }

    fn give_to_others(&mut self, name: &str, sockets: Vec<(usize, ListenSocket)>, crew: &Crew) {
        let (able, mut all) = (self.able(), vec![0; self.workers.len()]);
        for told in self.told.listeners.values() {
            all.iter_mut().zip(&told.held).for_each(|(all, held)| *all += held);
        }
        for (from, socket) in sockets {
            let Some(told) = self.told.listeners.get(name) else { return };
            let Some(worker) = crew.taker(from, &told.held, &all, &able) else {
                tracing::error!(listener = %name, "no worker is left that could have its socket");
                return;
            };
            all[worker] += 1;
            self.give(name, worker, socket);
        }
    }

    fn give(&mut self, name: &str, worker: usize, socket: ListenSocket) {
        let Some(spec) = self.listener_spec(name, worker) else { return };
        if let Some(told) = self.told.listeners.get_mut(name) {
            told.hold(worker);
        }
        self.send(worker, Command::AddListener(spec, socket));
    }

    /// Workers that have not died.
    fn able(&self) -> Vec<usize> {
        (0..self.workers.len()).filter(|&worker| !self.hearts[worker].dead).collect()
    }

    fn name_of(&self, id: ListenerId) -> Option<String> {
        self.told.listeners.iter().find(|(_, told)| told.id == Some(id)).map(|(name, _)| name.clone())
    }
}
