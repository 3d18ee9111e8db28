//! The loop that decides: requests, signals, answers of workers and time in;
//! changes, one at a time, out.

mod ending;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    clock::{Clock, Now},
    connections::answer,
    drain::Drain,
    drains::Ends,
    fleet::{Commit, Fleet},
    gather::{Gather, workers_named},
    generations::Generations,
    guard::Recent,
    health::{Health, Probes},
    history::{Origin, Returns, Terms},
    journal::Journal,
    lifecycle::{Effect, Input, Lifecycle},
    moves::Hands,
    names,
    observe::Observer,
    overload::Shedding,
    port::WorkerPort,
    refusals::RefusalWatch,
    refuse::refuse,
    removed::Removed,
    request::{
        Candidate, DaemonState, DrainPlan, DrainSnapshot, Event, EventKind, Provenance, Refusal, ReloadRequest,
        Request, Target,
    },
    shelf::Shelf,
    sockets::{Opened, Sockets},
    start::{ApplyAccess, ApplyLog, FinishAccess, Hook, Pace, Parse, Prepared, Signal, Source, Usage},
    state::State,
    told::Delta,
    trial::Trial,
    upgrade::{Adoption, Order, UpgradeRequest, Upgrades},
};

use crate::{
    config::LogLevel,
    worker::{self, AccessLog},
};

/// Changes that wait for the one in flight; more are refused.
const WAITING: usize = 16;
/// Waits for answers of workers at the same time; more are refused.
const WAITS: usize = 64;

/// A worker that panics closes its connections, then its thread ends.
const LAST_STEPS: Duration = Duration::from_secs(1);

/// What happens when workers have answered.
type Resume<P> = Box<dyn FnOnce(&mut Controller<P>) + Send>;

/// The part that decides. Owns the workers; runs on the control thread.
pub struct Controller<P: WorkerPort = worker::Handle> {
    pub(super) state: State,
    pub(super) fleet: Fleet<P>,
    pub(super) sockets: Sockets,
    pub(super) lifecycle: Lifecycle,
    pub(super) drains: Vec<Drain>,
    /// Numbers drains.
    pub(super) serial: u64,
    /// What ended drains have done.
    pub(super) drained: DrainSnapshot,
    /// How the latest of them ended.
    pub(super) ends: Ends,
    pub(super) journal: Journal,
    pub(super) clock: Clock,
    pub(super) started: Now,
    pub(super) pace: Pace,
    /// A change is in flight.
    pub(super) busy: bool,
    /// An expiry that failed is not tried again before.
    pub(super) expire_after: Option<std::time::Instant>,
    pub(super) config_path: Option<String>,
    /// Where the configuration in force came from.
    pub(super) origin: Origin,
    pub(super) generations: Generations,
    /// A reload that may still be taken back.
    pub(super) trial: Option<Trial>,
    pub(super) recent: Recent,
    pub(super) removed: Removed,
    pub(super) shedding: Shedding,
    pub(super) refusals: RefusalWatch,
    pub(super) returns: Returns,
    pub(super) health: Health,
    pub(super) probes: Probes,
    pub(super) log_level: LogLevel,
    pub(super) last_reload: Option<Result<(), String>>,
    pub(super) upgrades: Upgrades,
    /// Applied and refused.
    pub(super) reloads: (u64, u64),
    pub(super) source: Source,
    pub(super) parse: Parse,
    pub(super) set_log_level: Box<dyn FnMut(LogLevel) -> LogLevel + Send>,
    pub(super) apply_log: ApplyLog,
    pub(super) access: AccessLog,
    pub(super) apply_access: ApplyAccess,
    pub(super) finish_access: FinishAccess,
    pub(super) log_destination: Box<dyn Fn() -> String + Send>,
    pub(super) usage: Box<dyn Fn() -> Usage + Send>,
    pub(super) hands: Hands<P>,
    hooks: Box<dyn FnMut(Hook) + Send>,
    pub(super) shelf: Shelf,
    pub(super) version: String,
    requests: mpsc::Receiver<Request>,
    waiting: VecDeque<Pending>,
    tasks: JoinSet<Resume<P>>,
    pub(super) observer: Observer,
    /// The first configuration, until it is in force.
    pub(super) first: Option<Commit>,
    /// Listeners of a predecessor, until this process may accept.
    adoption: Option<Adoption>,
    /// Who ends the daemon.
    leaving_by: Provenance,
    pub(super) beat_at: Now,
    status: String,
    pub(super) stopped: bool,
    fault: Option<String>,
}

/// A change that waits its turn.
#[derive(Debug)]
enum Pending {
    Asked(Request),
    ReloadBySignal,
    DrainToStop(DrainPlan),
    /// The lame-duck time of this drain is over.
    StopAccepting(u64),
    UpgradeBySignal,
}

/// How a Controller came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The daemon has stopped.
    Stopped,
    /// A successor has everything: nothing of it may be removed.
    Succeeded {
        /// It was told to stop meanwhile: so is the successor to be.
        stop: bool,
    },
}

impl<P: WorkerPort> Controller<P> {
    pub(super) fn new(
        prepared: Prepared,
        state: State,
        fleet: Fleet<P>,
        hands: Hands<P>,
        first: Commit,
        requests: mpsc::Receiver<Request>,
        events: broadcast::Sender<Event>,
    ) -> Self {
        let fds = fleet.workers().next().map(|worker| worker.settings().fds.clone());
        let Prepared { start, started, sockets, adoption, legacy, log_level, health, .. } = prepared;
        let (mut legacy, mut parse) = (legacy, start.parse);
        let mut generations = Generations::new(state.generation(), state.config(), state.applied_at());
        let mut origin = Origin::Own;
        if let Some(legacy) = &mut legacy {
            let (history, kept) = (std::mem::take(&mut legacy.history), std::mem::take(&mut legacy.generations));
            generations.inherit(history, kept, |text| parse(text).ok());
            origin.clone_from(&legacy.origin);
        }
        let upgrades = Upgrades::new(start.story, legacy);
        let probes = Probes::new(start.prober, fds);
        Self {
            busy: upgrades.is_moving(),
            upgrades,
            adoption,
            log_level,
            generations,
            state,
            fleet,
            sockets,
            lifecycle: Lifecycle::new(),
            drains: Vec::new(),
            serial: 0,
            drained: DrainSnapshot::default(),
            ends: Ends::default(),
            journal: Journal::new(events, start.clock.clone()),
            clock: start.clock,
            started,
            pace: start.pace,
            expire_after: None,
            config_path: start.config_path,
            origin,
            trial: None,
            recent: Recent::default(),
            removed: Removed::default(),
            shedding: Shedding::default(),
            refusals: RefusalWatch::default(),
            returns: Returns::default(),
            health,
            probes,
            log_destination: start.log_destination,
            last_reload: None,
            reloads: (0, 0),
            source: start.source,
            parse,
            set_log_level: start.set_log_level,
            apply_log: start.apply_log,
            access: start.access,
            apply_access: start.apply_access,
            finish_access: start.finish_access,
            usage: start.usage,
            hands,
            hooks: start.hooks,
            shelf: Shelf::new(start.keep),
            version: start.version,
            requests,
            waiting: VecDeque::new(),
            tasks: JoinSet::new(),
            observer: Observer::default(),
            first: Some(first),
            leaving_by: Provenance::default(),
            beat_at: started,
            status: String::new(),
            stopped: false,
            fault: None,
        }
    }

    /// Answers requests until the daemon has stopped: by a signal, by
    /// [`Request::Shutdown`], or because a worker did not come up.
    ///
    /// # Errors
    /// Why the daemon could not start.
    pub async fn run(mut self, mut signals: mpsc::Receiver<Signal>) -> Result<End, String> {
        self.begin_first();
        let mut tick = interval(self.pace.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stopped {
            let pause = self.probe_pause();
            tokio::select! {
                biased;
                Some(signal) = signals.recv() => self.signal(signal),
                Some(resume) = self.tasks.join_next() => match resume {
                    Ok(resume) => resume(&mut self),
                    Err(error) => tracing::error!("a wait for workers failed: {error}"),
                },
                order = next(&mut self.upgrades.orders) => self.order(order),
                _ = tick.tick() => self.tick(),
                Some(ended) = self.probes.next() => self.probed(ended),
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => self.begin_probes(),
                Some(request) = self.requests.recv() => self.request(request),
            }
        }
        self.finish().await
    }

    /// Goes on with `then` when the workers have answered or had their time.
    pub(super) fn after<T: Send + 'static>(
        &mut self,
        gather: Gather<T>,
        then: impl FnOnce(&mut Self, Gather<T>) + Send + 'static,
    ) {
        let limit = self.pace.confirm;
        self.wait(gather, Some(limit), then);
    }

    /// Goes on with `then` when the workers have answered, however late.
    pub(super) fn whenever<T: Send + 'static>(
        &mut self,
        gather: Gather<T>,
        then: impl FnOnce(&mut Self, Gather<T>) + Send + 'static,
    ) {
        self.wait(gather, None, then);
    }

    fn wait<T: Send + 'static>(
        &mut self,
        mut gather: Gather<T>,
        limit: Option<Duration>,
        then: impl FnOnce(&mut Self, Gather<T>) + Send + 'static,
    ) {
        self.tasks.spawn(async move {
            gather.wait(limit).await;
            let resume: Resume<P> = Box::new(move |controller| then(controller, gather));
            resume
        });
    }

    /// Work that nothing follows; room for it is bounded by whoever begins it.
    pub(super) fn beside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            work.await;
            let resume: Resume<P> = Box::new(|_| ());
            resume
        });
    }

    /// As [`after`](Self::after), but waits until all have answered or cannot
    /// any more: what they answer must not get lost.
    pub(super) fn when_answered<T: Send + 'static>(
        &mut self,
        mut gather: Gather<T>,
        then: impl FnOnce(&mut Self, Gather<T>) + Send + 'static,
    ) {
        self.tasks.spawn(async move {
            gather.wait(None).await;
            let resume: Resume<P> = Box::new(move |controller| then(controller, gather));
            resume
        });
    }

    /// Waits for a change to be in force at every worker; until `ended` no
    /// other change begins. `confirmed` comes also if it is later than that.
    pub(super) fn settle(
        &mut self,
        commit: Commit,
        confirmed: impl FnOnce(&mut Self) + Send + 'static,
        ended: impl FnOnce(&mut Self, Result<(), Refusal>) + Send + 'static,
    ) {
        self.busy = true;
        let Commit { confirm, pools_removed } = commit;
        let confirmed = move |controller: &mut Self| {
            controller.fleet.forget_pools(&pools_removed);
            confirmed(controller);
        };
        self.after(confirm, move |controller, gather| {
            let silent = gather.silent();
            let result = if silent.is_empty() {
                confirmed(controller);
                Ok(())
            } else {
                controller.eventually(gather, confirmed);
                let (who, limit) = (workers_named(&silent), controller.pace.confirm);
                Err(Refusal::Timeout(format!("the change is made, but {who} did not confirm it within {limit:?}")))
            };
            controller.fit_workers(move |controller| {
                controller.busy = false;
                ended(controller, result);
                controller.next_change();
            });
        });
    }

    /// Makes `next` the state and tells the workers, or refuses and changes
    /// nothing.
    pub(super) fn transition(&mut self, next: State) -> Result<Commit, Refusal> {
        self.fleet.check_responsive()?;
        self.force(next)
    }

    /// As [`transition`](Self::transition), even if a worker does not answer.
    pub(super) fn force(&mut self, next: State) -> Result<Commit, Refusal> {
        let before = self.fleet.count();
        self.hire(self.workers_of(next.config()))?;
        let delta = self.fleet.told().delta(&next);
        match self.sockets.open(delta.start.iter().chain(&delta.rebind), &self.fleet.addresses()) {
            Ok(opened) => Ok(self.carry_out(next, delta, opened)),
            Err(faults) => {
                self.unhire(before);
                Err(faults.into())
            }
        }
    }

    /// Makes `next` the state; `opened` has the sockets that it needs.
    pub(super) fn carry_out(&mut self, mut next: State, delta: Delta, opened: BTreeMap<String, Opened>) -> Commit {
        self.follow_health(&mut next);
        let lifted = next.set_workers(self.workers_of(next.config()));
        self.state = next;
        for each in lifted {
            let text = format!("{} override dropped: the worker is gone", each.value);
            self.journal.seen(EventKind::OverrideCleared, &each.object, &text);
        }
        let commit = self.fleet.carry_out(&self.state, delta, opened);
        // Who rests may be others now in pools that are otherwise as they were.
        self.fleet.reweigh(&self.state);
        self.end_lifted_drains();
        commit
    }

    /// Tells the lifecycle, and does what follows.
    pub(super) fn live(&mut self, input: Input) {
        for effect in self.lifecycle.on(input, self.clock.now().instant) {
            match effect {
                Effect::Ready => {
                    let status = self.status_text();
                    let text = format!("netd {} is {status}", self.version);
                    self.journal.seen(EventKind::Started, "", &text);
                    if self.upgrades.legacy.is_none() {
                        self.hook(Hook::Ready(status));
                    }
                }
                Effect::Stopping => {
                    // It has a status of its own; the figures come back with the next heartbeat.
                    self.status.clear();
                    self.hook(Hook::Stopping);
                }
                Effect::Drain(plan) => {
                    // The latest plan counts, however often somebody asks.
                    self.waiting.retain(|each| !matches!(each, Pending::DrainToStop(_)));
                    self.waiting.push_front(Pending::DrainToStop(plan));
                    self.next_change();
                }
                Effect::ExtendTimeout(time) => self.hook(Hook::ExtendTimeout(time)),
                Effect::Stop => self.stopped = true,
            }
        }
    }

    pub(super) fn hook(&mut self, hook: Hook) {
        (self.hooks)(hook);
    }

    /// "serving: 12 connections, 3 listeners".
    pub(super) fn status_text(&self) -> String {
        let listeners = self.fleet.told().listeners.values().filter(|told| told.id.is_some()).count();
        let state = self.lifecycle.state().as_str();
        format!(
            "{state}: {}, {}",
            names::counted(self.total().active, "connection"),
            names::counted(listeners as u64, "listener")
        )
    }

    /// Refuses when too many waits for workers are under way.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        if self.tasks.len() < WAITS {
            return Ok(());
        }
        Err(Refusal::Busy(format!("{WAITS} requests wait for workers already; try again")))
    }

    fn begin_first(&mut self) {
        let commit = match (self.adoption.take(), self.first.take()) {
            (Some(adoption), _) => self.begin_adopted(adoption),
            (None, Some(first)) => first,
            (None, None) => return,
        };
        let taking_over = self.upgrades.is_moving();
        self.settle(
            commit,
            |_| (),
            move |controller, confirmed| match confirmed {
                Ok(()) => {
                    controller.busy = taking_over && controller.upgrades.is_moving();
                    controller.live(Input::Started);
                }
                Err(refusal) => {
                    controller.fault = Some(format!("netd does not start: {refusal}"));
                    controller.live(Input::ShutdownNow);
                }
            },
        );
    }

    fn eventually(&mut self, mut gather: Gather<()>, confirmed: impl FnOnce(&mut Self) + Send + 'static) {
        self.tasks.spawn(async move {
            let complete = gather.wait(None).await;
            if !complete {
                // Its answer is lost; its thread may still be about to end.
                sleep(LAST_STEPS).await;
            }
            let resume: Resume<P> = Box::new(move |controller| {
                if complete || gather.silent().into_iter().all(|worker| controller.fleet.has_ended(worker)) {
                    confirmed(controller);
                }
            });
            resume
        });
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Term(name) => {
                let again = self.lifecycle.is_signalled();
                let text = if again { "stopping at once" } else { "draining, then stopping" };
                self.leaving_by = by_signal(name);
                self.journal.asked(EventKind::Shutdown, "", text, &self.leaving_by);
                let plan = DrainPlan::configured(&self.state.config().drain);
                self.live(Input::Term(plan));
            }
            Signal::Upgrade => {
                if let Some(refusal) = self.upgrades.obstacle() {
                    tracing::warn!("no upgrade: {refusal}");
                } else if !self.waiting.iter().any(|each| matches!(each, Pending::UpgradeBySignal)) {
                    self.waiting.push_back(Pending::UpgradeBySignal);
                    self.next_change();
                }
            }
            Signal::Reload => {
                // One that waits will read what there is then: it stands for all.
                if !self.waiting.iter().any(|each| matches!(each, Pending::ReloadBySignal)) {
                    self.waiting.push_back(Pending::ReloadBySignal);
                    self.next_change();
                }
            }
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Status(reply) => answer(reply, Ok(self.status())),
            Request::Listeners(reply) => answer(reply, Ok(self.listener_views())),
            Request::Pools(reply) => answer(reply, Ok(self.pool_views())),
            Request::Connections(query, reply) => self.connections(query, reply),
            Request::Close(request, reply) => self.close(request, reply),
            Request::Config(reply) => answer(reply, Ok(self.config_view())),
            Request::Plan(candidate, reply) => answer(reply, self.plan(&candidate)),
            Request::Confirm(request, reply) => answer(reply, self.confirm(&request)),
            Request::History(reply) => answer(reply, Ok(self.generations.view(self.state.generation()))),
            Request::Explain(request, reply) => self.foretell(request, reply),
            Request::Check(request, reply) => self.check_now(&request, reply),
            Request::Why(object, reply) => answer(reply, self.explain(&object)),
            Request::SetLogLevel(level, by, reply) => answer(reply, Ok(self.change_log_level(level, &by))),
            Request::Shutdown(request, reply) => {
                let plan = self.shutdown(request);
                answer(reply, plan);
            }
            Request::Snapshot(reply) => answer(reply, Ok(self.snapshot())),
            Request::WatchDrain(target, reply) => answer(reply, self.watch_drain(&target)),
            Request::Upgrades(reply) => answer(reply, Ok(self.upgrades.receipts())),
            change if self.upgrades.obstacle().is_some() => {
                let refusal = self.upgrades.obstacle().unwrap_or(Refusal::ShuttingDown);
                refuse(change, refusal);
            }
            change if self.waiting.len() >= WAITING => {
                refuse(change, Refusal::Busy(format!("{WAITING} changes are waiting already; try again")));
            }
            change => {
                self.waiting.push_back(Pending::Asked(change));
                self.next_change();
            }
        }
    }

    pub(super) fn next_change(&mut self) {
        while !self.busy && !self.stopped {
            match self.waiting.pop_front() {
                Some(pending) => self.begin(pending),
                None => return,
            }
        }
    }

    fn begin(&mut self, pending: Pending) {
        let leaving = self.lifecycle.is_leaving();
        match pending {
            Pending::StopAccepting(serial) => self.stop_accepting(serial),
            Pending::DrainToStop(plan) => {
                let by = self.leaving_by.clone();
                if let Err(refusal) = self.begin_drain(&Target::Daemon, plan, &by, true) {
                    tracing::error!("the drain before the stop does not begin: {refusal}");
                    self.live(Input::ShutdownNow);
                }
            }
            Pending::UpgradeBySignal if leaving => tracing::warn!("no upgrade: netd is shutting down"),
            Pending::UpgradeBySignal => {
                let by = by_signal("SIGUSR2");
                self.upgrade(UpgradeRequest { by, ..UpgradeRequest::default() }, None);
            }
            Pending::ReloadBySignal if leaving => tracing::warn!("no reload: netd is shutting down"),
            Pending::ReloadBySignal => {
                let by = by_signal("SIGHUP");
                let (candidate, terms) = (Candidate::Source, Terms::default());
                self.reload(ReloadRequest { candidate, expected_generation: None, terms, by }, None);
            }
            Pending::Asked(Request::Drain(request, reply)) if leaving => self.join_last_drain(request, reply),
            Pending::Asked(change) if leaving => refuse(change, Refusal::ShuttingDown),
            Pending::Asked(change) => self.begin_asked(change),
        }
    }

    fn begin_asked(&mut self, change: Request) {
        match change {
            Request::Reload(request, reply) => self.reload(request, Some(reply)),
            Request::Rollback(request, reply) => self.rollback(request, reply),
            Request::Drain(request, reply) => self.start_drain(request, reply),
            Request::Undrain(target, by, reply) => self.undrain(target, by, reply),
            Request::StartListener(name, by, reply) => self.start_listener(&name, &by, reply),
            Request::StopListener(request, reply) => self.stop_listener(request, reply),
            Request::SetEndpoint(request, reply) => self.set_endpoint(request, reply),
            Request::SetSplit(request, reply) => self.set_split(request, reply),
            Request::Upgrade(request, reply) => self.upgrade(request, Some(reply)),
            Request::Rebalance(request, reply) => self.rebalance(request, reply),
            // No other request waits for its turn.
            other => self.request(other),
        }
    }

    /// The lame-duck time of a drain is over: its end of accepting comes before
    /// all that waits.
    pub(super) fn stop_accepting_soon(&mut self, serial: u64) {
        let waits = |each: &Pending| matches!(each, Pending::StopAccepting(waiting) if *waiting == serial);
        if !self.waiting.iter().any(waits) {
            self.waiting.push_front(Pending::StopAccepting(serial));
            self.next_change();
        }
    }

    fn tick(&mut self) {
        self.fleet.flush();
        self.fleet.go_on(self.clock.now().instant);
        if !self.upgrades.is_moving() && !self.in_transit() {
            self.look_at_drains();
        }
        self.look_at_retirement();
        self.look_at_shelf();
        self.live(Input::Tick);
        self.expire();
        self.look_at_trial();
        self.look_at_removed();
        self.look_at_overload();
        self.look_at_health();
        for turn in self.observer.look(self.fleet.told()) {
            self.journal.seen(turn.kind, &turn.object, &turn.text);
        }
        let now = self.clock.now();
        if now.instant.saturating_duration_since(self.beat_at.instant) >= self.pace.heartbeat {
            self.beat_at = now;
            self.beat();
        }
    }

    fn beat(&mut self) {
        self.fleet.beat();
        if !self.upgrades.is_moving() && !self.in_transit() {
            self.fleet.prune();
        }
        self.look_at_refusals();
        self.balance();
        if self.fleet.all_dead() && !self.stopped {
            self.fault = Some("all workers have died; the log has their panics".to_owned());
            self.live(Input::ShutdownNow);
        }
        let status = self.status_text();
        if status != self.status && self.lifecycle.state() != DaemonState::Starting {
            self.status.clone_from(&status);
            self.hook(Hook::Status(status));
        }
        if self.fleet.all_responsive() {
            self.hook(Hook::Watchdog);
        }
    }
}

/// What the story of an upgrade asks next.
async fn next(orders: &mut Option<mpsc::Receiver<Order>>) -> Option<Order> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}

impl<P: WorkerPort> std::fmt::Debug for Controller<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("state", &self.state).finish_non_exhaustive()
    }
}

fn by_signal(signal: &str) -> Provenance {
    Provenance { who: "signal".to_owned(), why: signal.to_owned() }
}

#[cfg(test)]
mod tests;
