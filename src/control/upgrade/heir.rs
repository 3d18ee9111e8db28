//! A process that takes over.

use std::sync::Arc;

use super::{
    super::{
        connections::answer,
        controller::Controller,
        fleet::Commit,
        gather::Gather,
        port::WorkerPort,
        request::{EventKind, Reply},
        start::Hook,
        told::Delta,
    },
    adopt::Adoption,
    ledger,
    moves::{Ids, Names, make_room},
    orders::{HeirHandle, Orders},
    types::{Ledger, Moving, Receipt},
    words,
};
use crate::{
    metrics::WorkerShard,
    worker::{Arrival, Command, Parcel},
};

impl<P: WorkerPort> Controller<P> {
    /// How a predecessor's story reaches this Controller.
    pub fn heir(&mut self) -> HeirHandle {
        let (orders, receiver) = Orders::new();
        self.upgrades.orders = Some(receiver);
        orders.heir()
    }

    /// Waits until the workers of a successor stand: they know their pools and
    /// what was counted so far, and accept nothing yet.
    ///
    /// # Errors
    /// If a worker does not answer.
    pub async fn stand(&mut self) -> Result<(), String> {
        let limit = Some(self.pace.confirm);
        let mut answered = match self.first.take() {
            Some(mut first) => first.confirm.wait(limit).await,
            None => true,
        };
        if let Some(legacy) = &self.upgrades.legacy {
            self.fleet.resume_starts(&legacy.slow_starts, self.clock.now().instant);
        }
        if let Some(ledger) = self.upgrades.legacy.as_mut().and_then(|legacy| legacy.ledger.take()) {
            answered &= self.absorb(ledger).wait(limit).await;
        }
        if answered { Ok(()) } else { Err("not all workers stand in time".to_owned()) }
    }

    /// Begins to accept on what a predecessor accepted on; listeners that are
    /// gone from the configuration are then removed as a reload does.
    pub(in crate::control) fn begin_adopted(&mut self, mut adoption: Adoption) -> Commit {
        let first = adoption.first.take();
        let (mut adopted, mut opened) = (std::mem::take(&mut adoption.adopted), std::mem::take(&mut adoption.opened));
        let last = self.state.clone();
        let first = last.with(first.unwrap_or_else(|| Arc::clone(last.config())));
        let delta = self.fleet.told().delta(&first);
        for listener in &delta.start {
            if !adopted.contains_key(&listener.name)
                && let Some(each) = opened.remove(&listener.name)
            {
                adopted.insert(listener.name.clone(), each);
            }
        }
        let begun = self.carry_out(first, delta, adopted);
        let delta = self.fleet.told().delta(&last);
        if delta != Delta::default() {
            let Commit { confirm, pools_removed } = self.carry_out(last, delta, opened);
            self.whenever(confirm, move |controller, _| controller.fleet.forget_pools(&pools_removed));
        } else {
            self.state = last;
        }
        self.refusals.begin(self.fleet.told());
        self.observer.begin(self.fleet.told());
        begun
    }

    /// Gives connections to the workers, evenly; answers those that none can
    /// take.
    pub(super) fn import(&mut self, connections: Vec<Moving>, reply: Reply<Vec<Moving>>) {
        let workers = self.fleet.workers().len();
        make_room(self.fleet.told_mut(), &connections, workers);
        let mut open: Vec<u64> = self.fleet.workers().map(|port| port.shard().active.get()).collect();
        let mut arrivals: Vec<Vec<Arrival>> = (0..workers).map(|_| Vec::new()).collect();
        let mut left = Vec::new();
        let ids = Ids::new(self.fleet.told());
        for moving in connections {
            let living = (0..workers).filter(|&index| !self.fleet.has_ended(index));
            let drained = |index| self.state.crew().is_drained(index);
            let Some(worker) = living.min_by_key(|&index| (drained(index), open[index])) else {
                left.push(moving);
                continue;
            };
            match ids.place(moving, worker) {
                Ok(arrival) => {
                    open[worker] += 1;
                    arrivals[worker].push(arrival);
                }
                Err(moving) => left.push(*moving),
            }
        }
        let gather =
            self.fleet.ask_each(arrivals.into_iter().map(|each| (!each.is_empty()).then_some(each)), Command::Import);
        self.after(gather, move |controller, mut gather: Gather<Vec<Parcel>>| {
            let refused: Vec<Parcel> = gather.answers.drain(..).flat_map(|(_, parcels)| parcels).collect();
            let names = Names::new(controller.fleet.told());
            left.extend(refused.into_iter().map(|parcel| names.name(parcel)));
            answer(reply, Ok(left));
        });
    }

    /// Adds what another process counted, on the threads that write the
    /// counters.
    pub(super) fn absorb(&mut self, counted: Ledger) -> Gather<()> {
        let workers: Vec<Arc<WorkerShard>> = self.fleet.workers().map(|port| Arc::clone(port.shard())).collect();
        self.reloads.0 += counted.reloads.0;
        self.reloads.1 += counted.reloads.1;
        self.absorb_own(&counted);
        let told = self.fleet.told_mut();
        told.departed.total += counted.departed.0;
        told.departed.bytes_from_downstream += counted.departed.1;
        told.departed.bytes_to_downstream += counted.departed.2;
        for (name, _) in &counted.listeners {
            told.know_listener(name, workers.len());
        }
        for ((pool, address), _) in &counted.endpoints {
            told.know_endpoint(pool, address, workers.len());
        }
        let shares = ledger::shares(counted, self.fleet.told(), &workers, self.started.wall);
        self.fleet.ask_each(shares.into_iter().map(Some), |share, reply| {
            Command::Ping(crate::worker::Reply::new(move |()| {
                share.add();
                reply.send(());
            }))
        })
    }

    /// This process is the daemon now. `None`: its predecessor died on the
    /// way.
    pub(in crate::control) fn succeed(&mut self, receipt: Option<Receipt>) {
        let Some(legacy) = self.upgrades.legacy.take() else { return };
        self.release_places();
        self.take_on(legacy);
        let generation = self.state.generation();
        match receipt {
            Some(receipt) => {
                self.generations.upgraded(generation, Some(&receipt.by), &words::summary(&receipt));
                self.journal.asked(EventKind::Upgraded, "", &words::summary(&receipt), &receipt.by);
                self.upgrades.keep(receipt);
            }
            None => {
                let text = "the predecessor ended before it had handed over all";
                self.generations.upgraded(generation, None, text);
                self.journal.seen(EventKind::Upgraded, "", text);
            }
        }
        self.hook(Hook::Answer(true));
        // The service manager listens to the main process, which this is only now.
        let status = self.status_text();
        self.hook(Hook::Ready(status));
        self.busy = false;
        self.next_change();
    }
}
