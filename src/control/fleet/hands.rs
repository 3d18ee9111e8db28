//! Workers that come and go, and what passes from one to another: connections
//! and listening sockets.

use std::sync::Arc;

use super::{Fleet, Heart, pool_spec};
use crate::{
    control::{gather::Gather, lane::Lane, port::WorkerPort, rebalance::Load},
    listen::ListenSocket,
    metrics::HistogramSnapshot,
    worker::{Arrival, Command, Filter, ListenerId, ListenerSpec, Parcel, PoolSpec, Reply, Selection},
};

/// Sockets of one listener that a worker has given up.
pub(in crate::control) type Released = (ListenerId, Vec<ListenSocket>);

impl<P: WorkerPort> Fleet<P> {
    /// Number of workers, dead ones included.
    pub(in crate::control) fn count(&self) -> usize {
        self.workers.len()
    }

    /// Connections of each worker, and whether it can be counted on; how busy
    /// it is must be told.
    pub(in crate::control) fn loads(&self, busy: &[f64]) -> Vec<Load> {
        let load = |(index, lane): (usize, &Lane<P>)| Load {
            active: lane.port().shard().active.get(),
            busy: busy.get(index).copied().unwrap_or_default(),
            able: !self.hearts[index].dead && self.is_responsive(index),
        };
        self.workers.iter().enumerate().map(load).collect()
    }

    /// For how long each worker has worked since it began, in microseconds.
    pub(in crate::control) fn worked(&self) -> Vec<u64> {
        let worked = |port: &P| {
            let mut total = HistogramSnapshot::default();
            port.shard().turn_time.add_to(&mut total);
            total.sum_micros
        };
        self.workers().map(worked).collect()
    }

    /// Takes up to `limit` connections out of a worker.
    pub(in crate::control) fn export(&mut self, worker: usize, limit: usize) -> Gather<Vec<Parcel>> {
        let mut gather = Gather::new(self.workers.len());
        if !self.hearts[worker].dead {
            let reply = gather.reply(worker);
            self.send(worker, Command::Export { selection: Selection::Matching(Filter::default()), limit, reply });
        }
        gather
    }

    /// Gives connections to a worker; it answers those that it cannot take.
    pub(in crate::control) fn import(&mut self, worker: usize, parcels: Vec<Parcel>) -> Gather<Vec<Parcel>> {
        let books = self.told.books(worker);
        let arrivals = parcels.into_iter().map(|parcel| Arrival {
            listener: books.listener(parcel.listener),
            endpoint: parcel.endpoint.map(|id| books.endpoint(id)),
            parcel,
        });
        let arrivals = arrivals.collect();
        let mut gather = Gather::new(self.workers.len());
        let reply = gather.reply(worker);
        self.send(worker, Command::Import(arrivals, reply));
        gather
    }

    /// Takes on more workers and tells them the pools. They accept nothing yet.
    pub(in crate::control) fn hire(&mut self, ports: Vec<P>) {
        for port in ports {
            let index = self.workers.len();
            self.workers.push(Lane::new(port));
            self.hearts.push(Heart { sent: 0, answered: Arc::default(), responsive: true, dead: false });
            self.told.grow(self.workers.len());
            let specs: Vec<PoolSpec> = self.told.pools.values().map(|told| pool_spec(told, index)).collect();
            specs.into_iter().for_each(|spec| self.send(index, Command::SetPool(spec)));
        }
    }

    /// Has a worker accept on one more socket of a listener.
    pub(in crate::control) fn add_socket(&mut self, name: &str, worker: usize, socket: ListenSocket) {
        if let Some(spec) = self.listener_specs(name).into_iter().nth(worker) {
            self.send(worker, Command::AddListener(spec, socket));
        }
    }

    /// Further descriptors of a listener's sockets, of the first worker that
    /// can be asked.
    pub(in crate::control) fn share(&mut self, name: &str, count: usize) -> Gather<Vec<ListenSocket>> {
        let mut gather = Gather::new(self.workers.len());
        let id = self.told.listeners.get(name).and_then(|told| told.id);
        let living = (0..self.workers.len()).find(|&index| !self.hearts[index].dead);
        if let (Some(id), Some(worker)) = (id, living) {
            let reply = gather.reply(worker);
            self.send(worker, Command::ShareListener(id, count, reply));
        }
        gather
    }

    /// Takes all listening sockets from the workers from `first` on.
    pub(in crate::control) fn release(&mut self, first: usize) -> Gather<Released> {
        let mut gather = Gather::new(self.workers.len());
        let ids: Vec<ListenerId> = self.told.listeners.values().filter_map(|told| told.id).collect();
        for worker in (first..self.workers.len()).filter(|&worker| !self.hearts[worker].dead).collect::<Vec<_>>() {
            for &id in &ids {
                let reply = gather.reply(worker);
                let reply = Reply::new(move |sockets| reply.send((id, sockets)));
                self.send(worker, Command::ReleaseListener(id, reply));
            }
        }
        gather
    }

    /// Gives released sockets to the first `count` workers, in turn.
    pub(in crate::control) fn take_over(&mut self, released: Vec<Released>, count: usize) {
        let able: Vec<usize> = (0..count.min(self.workers.len())).filter(|&index| !self.hearts[index].dead).collect();
        let mut turns = able.iter().cycle();
        for (id, sockets) in released {
            let Some(name) = self.name_of(id) else { continue };
            let specs: Vec<ListenerSpec> = self.listener_specs(&name);
            for socket in sockets {
                let Some(&worker) = turns.next() else { return };
                if let Some(spec) = specs.get(worker) {
                    self.send(worker, Command::AddListener(spec.clone(), socket));
                }
            }
        }
    }

    /// Ends the workers from `count` on; they must hold nothing any more.
    pub(in crate::control) fn dismiss(&mut self, count: usize) {
        self.workers.iter_mut().skip(count).for_each(Lane::stop);
        self.workers.truncate(count);
        self.hearts.truncate(count);
    }

    fn name_of(&self, id: ListenerId) -> Option<String> {
        self.told.listeners.iter().find(|(_, told)| told.id == Some(id)).map(|(name, _)| name.clone())
    }
}
