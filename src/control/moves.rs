//! Connections that go from worker to worker, and a change in the number of
//! workers.
//!
//! A connection on its way is nobody's: no gauge counts it, and nothing that
//! looks at gauges may take them for the truth meanwhile
//! ([`Controller::in_transit`]).

use std::{collections::VecDeque, io, ops::Range, time::Instant};

use super::{
    connections::answer,
    controller::Controller,
    drain::Drain,
    gather::Gather,
    names,
    port::WorkerPort,
    rebalance::{self, Balancer, Shift},
    request::{DrainOutcome, EventKind, Moved, Provenance, RebalanceRequest, Refusal, Reply, Target},
};
use crate::{
    config::{Config, Rebalance},
    listen::ListenSocket,
    worker::{self, ListenerId, Parcel, Settings},
};

/// Connections on their way at once.
const BATCH: u64 = 128;
/// Most that one request may move.
const LIMIT: u64 = 1_000_000;

/// Makes workers.
type Spawn<P> = Box<dyn FnMut(Settings) -> io::Result<P> + Send>;

/// Where further workers come from, and what is known of the load.
pub(super) struct Hands<P> {
    spawn: Spawn<P>,
    /// What the first worker was made with.
    settings: Settings,
    /// CPUs that the process may use.
    cpus: Vec<u32>,
    balancer: Balancer,
    /// For how long each worker had worked at the last look, and when that was.
    worked: Option<(Instant, Vec<u64>)>,
    /// Moves under way.
    transit: usize,
    /// How many workers the last configuration asked for.
    known: usize,
}

impl<P> Hands<P> {
    pub(super) fn new(spawn: Spawn<P>, settings: Settings, cpus: Vec<u32>, known: usize) -> Self {
        Self { spawn, settings, cpus, balancer: Balancer::default(), worked: None, transit: 0, known }
    }
}

/// What follows when all have moved.
type Then<P> = Box<dyn FnOnce(&mut Controller<P>, Vec<Moved>) + Send>;

/// Moves, one after the other.
struct Work<P: WorkerPort> {
    shifts: VecDeque<Shift>,
    moved: Vec<Moved>,
    then: Then<P>,
}

impl<P: WorkerPort> Controller<P> {
    /// Evens the workers by hand; answers what moved.
    pub(super) fn rebalance(&mut self, request: RebalanceRequest, reply: Reply<Vec<Moved>>) {
        if let Err(refusal) = self.fleet.check_responsive() {
            return answer(reply, Err(refusal));
        }
        let limit = request.limit.unwrap_or(LIMIT).min(LIMIT);
        let shifts = rebalance::even(&self.fleet.loads(&[], self.state.crew()), limit);
        self.busy = true;
        self.shift(shifts, move |controller, moved| {
            let text = format!("moved by hand: {}", told(&moved));
            controller.journal.asked(EventKind::ConnectionsMoved, "", &text, &request.by);
            controller.busy = false;
            answer(reply, Ok(moved));
            controller.next_change();
        });
    }

    /// Evens the workers by itself, if that is configured; about once a second.
    pub(super) fn balance(&mut self) {
        let (now, worked) = (self.clock.now().instant, self.fleet.worked());
        let before = self.hands.worked.replace((now, worked.clone()));
        if self.state.config().workers.rebalance == Rebalance::Off || self.busy || self.lifecycle.is_leaving() {
            return;
        }
        let Some((then, before)) = before else { return };
        let span = now.saturating_duration_since(then).as_micros() as f64;
        let busy = worked.iter().zip(before).map(|(now, before)| now.saturating_sub(before) as f64 / span.max(1.0));
        let busy: Vec<f64> = busy.map(|share| share.clamp(0.0, 1.0)).collect();
        let loads = self.fleet.loads(&busy, self.state.crew());
        let Some(shift) = self.hands.balancer.look(&loads, now) else { return };
        self.busy = true;
        self.shift(vec![shift], |controller, moved| {
            if !moved.is_empty() {
                controller.journal.seen(EventKind::ConnectionsMoved, "", &format!("moved: {}", told(&moved)));
            }
            controller.busy = false;
            controller.next_change();
        });
    }

    /// Connections are on their way: gauges do not count them.
    pub(super) fn in_transit(&self) -> bool {
        self.hands.transit > 0
    }

    /// How many workers a configuration asks for.
    pub(super) fn workers_of(&self, config: &Config) -> usize {
        config.workers.count.map_or(self.hands.cpus.len(), usize::from).clamp(1, worker::MAX_WORKERS)
    }

    /// Starts further workers, up to `count`, and has them accept on all
    /// listeners.
    pub(super) fn hire(&mut self, count: usize) -> Result<(), Refusal> {
        self.state.crew().check_resize(count)?;
        let before = self.fleet.count();
        let mut ports = Vec::new();
        for index in before..count {
            let pinned = self.state.config().workers.pin;
            let cpu = index.checked_rem(self.hands.cpus.len()).and_then(|place| self.hands.cpus.get(place).copied());
            let settings = Settings { index, cpu: cpu.filter(|_| pinned), ..self.hands.settings.clone() };
            match (self.hands.spawn)(settings) {
                Ok(port) => ports.push(port),
                Err(error) => {
                    for port in &ports {
                        // One that does not take even this is gone already.
                        let _ = port.send(worker::Command::Stop);
                    }
                    return Err(Refusal::Precondition(format!("cannot start worker {index}: {error}")));
                }
            }
        }
        if ports.is_empty() {
            return Ok(());
        }
        self.fleet.hire(ports);
        self.sockets.set_workers(count);
        let accepting = self.fleet.told().listeners.iter().filter(|(_, told)| told.id.is_some());
        // What workers that went have left is with the others, who give it up when
        // the state counts the new ones: only the rest is bound.
        let spare = |held: &[usize]| held.iter().sum::<usize>().saturating_sub(before);
        let wanting = accepting.map(|(name, told)| (name.clone(), (before + spare(&told.held)..count).collect()));
        let wanting: Vec<(String, Vec<usize>)> =
            wanting.filter(|(_, workers): &(String, Vec<usize>)| !workers.is_empty()).collect();
        wanting.into_iter().for_each(|(name, workers)| self.equip(&name, workers));
        Ok(())
    }

    /// Gives each of these workers a further socket of a listener.
    pub(super) fn equip(&mut self, name: &str, workers: Vec<usize>) {
        let Some(told) = self.fleet.told().listeners.get(name) else { return };
        let (listener, id) = (told.config.clone(), told.id);
        let own = if told.inherited { None } else { self.sockets.more(&listener, &told.bound, workers.len()) };
        if let Some(sockets) = own {
            return self.give_sockets(name, id, &workers, sockets);
        }
        let gather = self.fleet.share(name, workers.len());
        self.when_answered(gather, move |controller, gather: Gather<_>| {
            let sockets = gather.answers.into_iter().flat_map(|(_, sockets)| sockets).collect();
            controller.give_sockets(&listener.name, id, &workers, sockets);
        });
    }

    /// As [`hire`](Self::hire) had not been.
    pub(super) fn unhire(&mut self, before: usize) {
        if self.fleet.count() > before {
            self.dismiss(before, |controller| {
                controller.busy = false;
                controller.next_change();
            });
        }
    }

    /// At the end of every change: dismisses workers that the configuration in
    /// force does not ask for, or gives further ones what they are to have of
    /// the others' sockets, then goes on.
    pub(super) fn fit_workers(&mut self, then: impl FnOnce(&mut Self) + Send + 'static) {
        let (count, before) = (self.workers_of(self.state.config()), self.hands.known);
        self.hands.known = count;
        self.dismiss(count, move |controller| {
            if count != before {
                let text = format!("{before} -> {}", names::counted(count as u64, "worker"));
                controller.journal.seen(EventKind::WorkersChanged, "", &text);
            }
            match count > before {
                true => controller.level(then),
                false => then(controller),
            }
        });
    }

    /// Gives each of the workers a socket, unless the listener has others by
    /// now, or none.
    fn give_sockets(&mut self, name: &str, id: Option<ListenerId>, workers: &[usize], sockets: Vec<ListenSocket>) {
        if self.fleet.told().listeners.get(name).is_none_or(|told| told.id != id) {
            return;
        }
        for (&worker, socket) in workers.iter().zip(sockets) {
            self.fleet.add_socket(name, worker, socket, self.state.crew());
        }
    }

    /// Ends the workers from `count` on: their listening sockets with their
    /// queues, and their connections, go to the others first.
    pub(super) fn dismiss(&mut self, count: usize, then: impl FnOnce(&mut Self) + Send + 'static) {
        if count >= self.fleet.count() {
            return then(self);
        }
        self.busy = true;
        self.sockets.set_workers(count);
        // As the state has it, those from `count` on do not accept.
        let released = self.fleet.release(self.state.crew());
        self.when_answered(released, move |controller, released| {
            controller.fleet.take_over(released.answers, controller.state.crew());
            controller.empty(count, Box::new(then));
        });
    }

    /// Moves the connections of the workers from `count` on, until none is left.
    fn empty(&mut self, count: usize, then: Box<dyn FnOnce(&mut Self) + Send>) {
        let Some(shifts) = self.ways_out(count..self.fleet.count()) else { return then(self) };
        self.shift(shifts, move |controller, _| {
            let gone = |drain: &Drain| matches!(drain.target, Target::Worker(index) if index >= count);
            controller.end_drains(gone, DrainOutcome::Drained);
            controller.fleet.dismiss(count);
            then(controller);
        });
    }

    /// Moves the connections of a drained worker to the others, as many as can
    /// be; no other change begins meanwhile.
    pub(super) fn vacate(&mut self, worker: usize, by: Provenance) {
        let Some(shifts) = self.ways_out(worker..worker + 1) else { return };
        self.busy = true;
        self.shift(shifts, move |controller, moved| {
            let nothing = "nothing to be moved: it has no connections".to_owned();
            let text = if moved.is_empty() { nothing } else { format!("moved away: {}", told(&moved)) };
            controller.journal.asked(EventKind::ConnectionsMoved, &names::worker(worker), &text, &by);
            controller.busy = false;
            controller.next_change();
        });
    }

    /// The moves after which workers have no connections any more; `None`: no
    /// other one can take them.
    fn ways_out(&self, leaving: Range<usize>) -> Option<Vec<Shift>> {
        let mut loads = self.fleet.loads(&[], self.state.crew());
        for load in loads.iter_mut().take(leaving.end).skip(leaving.start) {
            load.able = false;
        }
        let Some(first) = loads.iter().position(|load| load.able) else {
            tracing::error!("no worker is left that could take the connections of those that leave; they stay");
            return None;
        };
        let mut shifts: Vec<Shift> = Vec::new();
        for leaving in leaving {
            let leaves = rebalance::leave(&loads, leaving);
            leaves.iter().for_each(|shift| loads[shift.to].active += shift.count);
            shifts.extend(leaves);
            // Who came meanwhile; only an empty answer says that nobody is left.
            shifts.push(Shift { from: leaving, to: first, count: u64::MAX });
        }
        Some(shifts)
    }

    /// Moves connections, shift by shift.
    fn shift(&mut self, shifts: Vec<Shift>, then: impl FnOnce(&mut Self, Vec<Moved>) + Send + 'static) {
        self.hands.transit += 1;
        self.go_on(Work { shifts: shifts.into(), moved: Vec::new(), then: Box::new(then) });
    }

    fn go_on(&mut self, mut work: Work<P>) {
        let Some(shift) = work.shifts.pop_front() else {
            self.hands.transit -= 1;
            return (work.then)(self, work.moved);
        };
        if self.fleet.has_ended(shift.to) {
            return self.go_on(work);
        }
        let batch = usize::try_from(shift.count.min(BATCH)).unwrap_or_default();
        let exported = self.fleet.export(shift.from, batch);
        self.when_answered(exported, move |controller, exported| {
            let parcels: Vec<Parcel> = exported.answers.into_iter().flat_map(|(_, parcels)| parcels).collect();
            if parcels.is_empty() {
                return controller.go_on(work);
            }
            let count = parcels.len() as u64;
            let imported = controller.fleet.import(shift.to, parcels);
            controller.when_answered(imported, move |controller, imported| {
                let refused: Vec<Parcel> = imported.answers.into_iter().flat_map(|(_, parcels)| parcels).collect();
                let taken = count - (refused.len() as u64).min(count);
                book(&mut work.moved, shift, taken);
                if refused.is_empty() {
                    if shift.count > count {
                        work.shifts.push_front(Shift { count: shift.count - count, ..shift });
                    }
                    return controller.go_on(work);
                }
                // The rest of this shift would fare no better.
                let back = controller.fleet.import(shift.from, refused);
                controller.when_answered(back, move |controller, back| {
                    let lost: usize = back.answers.iter().map(|(_, parcels)| parcels.len()).sum();
                    if lost > 0 {
                        tracing::error!(lost, "no worker can watch these connections any more; they are closed");
                    }
                    controller.go_on(work);
                });
            });
        });
    }
}

fn book(moved: &mut Vec<Moved>, shift: Shift, count: u64) {
    match moved.iter_mut().find(|each| (each.from, each.to) == (shift.from, shift.to)) {
        Some(each) => each.count += count,
        None if count > 0 => moved.push(Moved { from: shift.from, to: shift.to, count }),
        None => {}
    }
}

/// "12 connections from worker 0 to 1".
fn told(moved: &[Moved]) -> String {
    if moved.is_empty() {
        return "nothing; all workers have as many as they should".to_owned();
    }
    let each =
        |each: &Moved| format!("{} from worker {} to {}", names::counted(each.count, "connection"), each.from, each.to);
    moved.iter().map(each).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
