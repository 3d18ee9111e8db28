//! Workers that come and go, and connections that pass from one to another.

use std::sync::Arc;

use super::{Fleet, Heart, pool_spec};
use crate::{
    control::{crew::Crew, gather::Gather, lane::Lane, port::WorkerPort, rebalance::Load},
    metrics::HistogramSnapshot,
    worker::{Arrival, Command, Filter, Parcel, PoolSpec, Selection},
};

impl<P: WorkerPort> Fleet<P> {
    /// Number of workers, dead ones included.
    pub(in crate::control) fn count(&self) -> usize {
        self.workers.len()
    }

    /// Connections of each worker, and whether it can be counted on, which one
    /// that is drained cannot; how busy it is must be told.
    pub(in crate::control) fn loads(&self, busy: &[f64], crew: &Crew) -> Vec<Load> {
        let load = |(index, lane): (usize, &Lane<P>)| Load {
            active: lane.port().shard().active.get(),
            busy: busy.get(index).copied().unwrap_or_default(),
            able: !self.hearts[index].dead && self.is_responsive(index) && !crew.is_drained(index),
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

    /// Ends the workers from `count` on; they must hold nothing any more.
    pub(in crate::control) fn dismiss(&mut self, count: usize) {
        self.workers.iter_mut().skip(count).for_each(Lane::stop);
        self.workers.truncate(count);
        self.hearts.truncate(count);
    }
}
