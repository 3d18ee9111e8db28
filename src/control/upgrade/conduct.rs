//! An upgrade as the Controller sees it: one at a time, told by a story that
//! runs beside it and asks for one thing after the other.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    super::{
        connections::answer,
        controller::Controller,
        gather::{Gather, workers_named},
        history::{HistoryKind, Judgement, Origin},
        port::WorkerPort,
        request::{DaemonState, EventKind, Provenance, Refusal, Reply},
        start::Hook,
    },
    moves::Names,
    orders::{EstateHandle, Order, Orders},
    types::{Ledger, Receipt, UpgradeProgress, UpgradeRequest, Verdict},
    will::Legacy,
};
use crate::{
    protocol::CloseReason,
    worker::{Command, Filter, Parcel, Selection},
};

/// Receipts kept.
const KEPT: usize = 16;
/// Messages kept for who asked: phases, and a line for each batch that moves.
const PROGRESS: usize = 4096;
/// What a process that has handed over has left is cut again this often, after
/// its time to drain.
const CUT_EVERY: Duration = Duration::from_millis(500);

/// An upgrade that begins: all that its story needs.
#[derive(Debug)]
pub struct Begin {
    /// What was asked for.
    pub request: UpgradeRequest,
    /// The Controller.
    pub estate: EstateHandle,
    /// Who asked.
    pub progress: mpsc::Sender<UpgradeProgress>,
    /// How long after an upgrade the binary before can be gone back to.
    pub rollback_window: Duration,
    /// Text of the configuration in force, if it is a candidate that no file
    /// holds.
    pub candidate: Option<String>,
}

/// Tells the story of an upgrade: called on the control thread, returns at
/// once.
pub type Story = Box<dyn FnMut(Begin) + Send>;

/// Upgrades, past and present.
pub(in crate::control) struct Upgrades {
    story: Story,
    pub(in crate::control) orders: Option<mpsc::Receiver<Order>>,
    /// One is under way: who asked for it.
    running: Option<Provenance>,
    /// What was counted when the successor was told last.
    pub(in crate::control) told: Ledger,
    /// This process is an heir that does not serve alone yet.
    pub(in crate::control) legacy: Option<Legacy>,
    receipts: VecDeque<Receipt>,
    /// By verdict, over all processes of this line.
    counts: [u64; Verdict::ALL.len()],
    /// Handed over: waits for what is left, then for the story's end.
    retiring: Option<Retiring>,
}

/// The last steps of a process that has handed over.
struct Retiring {
    /// Told once nothing is left.
    done: Option<Reply<()>>,
    deadline: Instant,
    cut_at: Option<Instant>,
}

impl fmt::Debug for Upgrades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrades").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Upgrades {
    pub(in crate::control) fn new(story: Story, mut legacy: Option<Legacy>) -> Self {
        let mut counts = [0; Verdict::ALL.len()];
        for (verdict, count) in legacy.iter().flat_map(|legacy| &legacy.upgrades) {
            counts[place(*verdict)] = *count;
        }
        let receipts = legacy.as_mut().map(|legacy| std::mem::take(&mut legacy.receipts)).unwrap_or_default();
        Self {
            story,
            orders: None,
            running: None,
            told: Ledger::default(),
            legacy,
            receipts: receipts.into(),
            counts,
            retiring: None,
        }
    }

    /// One is under way, on either side: drains and what is retired are left
    /// as they are.
    pub(in crate::control) fn is_moving(&self) -> bool {
        self.running.is_some() || self.legacy.is_some()
    }

    /// Everything was handed over.
    pub(in crate::control) fn has_retired(&self) -> bool {
        self.retiring.is_some()
    }

    /// Why no change may begin now.
    pub(in crate::control) fn obstacle(&self) -> Option<Refusal> {
        if self.retiring.is_some() {
            return Some(Refusal::Busy("netd has handed over to its successor; ask again".to_owned()));
        }
        if let Some(by) = &self.running {
            return Some(Refusal::Busy(format!("an upgrade is in progress (asked for by {}); try again", by.who)));
        }
        let text = "this netd takes over from its predecessor; try again";
        self.legacy.as_ref().map(|_| Refusal::Busy(text.to_owned()))
    }

    /// The latest receipts, oldest first.
    pub(in crate::control) fn receipts(&self) -> Vec<Receipt> {
        self.receipts.iter().cloned().collect()
    }

    /// Upgrades so far, by verdict.
    pub(in crate::control) fn counts(&self) -> Vec<(Verdict, u64)> {
        Verdict::ALL.into_iter().map(|verdict| (verdict, self.counts[place(verdict)])).collect()
    }

    pub(super) fn keep(&mut self, receipt: Receipt) {
        self.counts[place(receipt.verdict)] += 1;
        if self.receipts.len() == KEPT {
            self.receipts.pop_front();
        }
        self.receipts.push_back(receipt);
    }
}

fn place(verdict: Verdict) -> usize {
    Verdict::ALL.iter().position(|&each| each == verdict).unwrap_or(0)
}

impl<P: WorkerPort> Controller<P> {
    /// Begins an upgrade; it is the only change until it is over.
    pub(in crate::control) fn upgrade(
        &mut self,
        request: UpgradeRequest,
        reply: Option<Reply<mpsc::Receiver<UpgradeProgress>>>,
    ) {
        let checked = match self.lifecycle.state() {
            DaemonState::Starting => Err(Refusal::Precondition("netd is still starting; try again".to_owned())),
            DaemonState::LameDuck => {
                let text = "netd is about to drain: try again when it accepts no more, or `netctl undrain` first";
                Err(Refusal::Precondition(text.to_owned()))
            }
            _ if self.trial.is_some() => {
                let text = "a reload is on trial; `netctl confirm` or `netctl rollback` first";
                Err(Refusal::Precondition(text.to_owned()))
            }
            _ => self.fleet.check_responsive(),
        };
        if let Err(refusal) = checked {
            match reply {
                Some(reply) => answer(reply, Err(refusal)),
                None => tracing::warn!("no upgrade: {refusal}"),
            }
            return;
        }
        let text = if request.rollback { "going back to the binary before" } else { "an upgrade begins" };
        self.journal.asked(EventKind::UpgradeStarted, "", text, &request.by);
        let (orders, receiver) = Orders::new();
        let (progress, watcher) = mpsc::channel(PROGRESS);
        self.busy = true;
        self.upgrades.running = Some(request.by.clone());
        self.upgrades.orders = Some(receiver);
        let candidate = (self.origin != Origin::Own).then(|| self.state.config().to_toml());
        (self.upgrades.story)(Begin {
            request,
            estate: orders.estate(),
            progress,
            rollback_window: self.state.config().upgrade.rollback_window,
            candidate,
        });
        if let Some(reply) = reply {
            answer(reply, Ok(watcher));
        }
    }

    /// The story asks; `None`: it is over.
    pub(in crate::control) fn order(&mut self, order: Option<Order>) {
        let leaving = self.lifecycle.is_leaving();
        let Some(order) = order else { return self.story_ended() };
        match order {
            Order::Will(reply) if leaving => answer(reply, Err(Refusal::ShuttingDown)),
            Order::Will(reply) => {
                let will = self.will();
                answer(reply, Ok(will));
            }
            Order::Sockets(reply) => self.lend_sockets(reply),
            Order::StopAccepting(reply) if leaving => answer(reply, Err(Refusal::ShuttingDown)),
            Order::StopAccepting(reply) => {
                let gather = self.fleet.ask_all(|reply| Command::PauseListener(None, reply));
                self.after(gather, move |controller, gather| {
                    let silent = gather.silent();
                    let who = workers_named(&silent);
                    let outcome = match silent.is_empty() {
                        true => Ok(controller.expected()),
                        false => Err(Refusal::Timeout(format!("{who} did not stop accepting in time"))),
                    };
                    answer(reply, outcome);
                });
            }
            Order::Export(limit, reply) => self.export(limit, reply),
            Order::TakeBack(connections, reply) | Order::Import(connections, reply) => {
                self.import(connections, reply);
            }
            Order::Ledger(reply) => {
                // From here on the successor answers: what is told later could be less.
                self.hook(Hook::Answer(false));
                if self.upgrades.has_retired() {
                    // The last one: nothing is written after it.
                    (self.finish_access)();
                }
                let ledger = self.ledger_since();
                answer(reply, Ok(ledger));
            }
            Order::Open(reply) => answer(reply, Ok(self.total().active)),
            Order::Resume(receipt, reply) => self.come_back(*receipt, Some(reply)),
            Order::Retire(receipt, reply) => self.retire(*receipt, reply),
            Order::Absorb(ledger, reply) => {
                let gather = self.absorb(*ledger);
                self.after(gather, move |_, _| answer(reply, Ok(())));
            }
            Order::Succeed(receipt, reply) => {
                self.succeed(Some(*receipt));
                answer(reply, Ok(()));
            }
        }
    }

    /// Takes connections from the workers, each its part.
    fn export(&mut self, limit: usize, reply: Reply<Vec<super::types::Moving>>) {
        let part = limit.div_ceil(self.fleet.workers().len().max(1)).max(1);
        let gather = self.fleet.ask_all(|reply| Command::Export {
            selection: Selection::Matching(Filter::default()),
            limit: part,
            reply,
        });
        self.after(gather, move |controller, mut gather: Gather<Vec<Parcel>>| {
            let parcels: Vec<Parcel> = gather.answers.drain(..).flat_map(|(_, parcels)| parcels).collect();
            let names = Names::new(controller.fleet.told());
            let moving = parcels.into_iter().map(|parcel| names.name(parcel)).collect();
            answer(reply, Ok(moving));
            if !gather.silent().is_empty() {
                controller.whenever(gather, |controller, mut gather: Gather<Vec<Parcel>>| {
                    controller.return_late(gather.answers.drain(..).flat_map(|(_, parcels)| parcels).collect());
                });
            }
        });
    }

    /// A worker took so long that the story went on without its connections.
    fn return_late(&mut self, parcels: Vec<Parcel>) {
        let names = Names::new(self.fleet.told());
        let moving: Vec<_> = parcels.into_iter().map(|parcel| names.name(parcel)).collect();
        if !moving.is_empty() {
            let (reply, _) = tokio::sync::oneshot::channel();
            self.import(moving, reply);
        }
    }

    /// Nothing came of it: this process serves as before.
    fn come_back(&mut self, receipt: Receipt, reply: Option<Reply<()>>) {
        let text = format!("{}: {}", receipt.verdict.as_str(), receipt.reason);
        self.journal.asked(EventKind::UpgradeFailed, "", &text, &receipt.by);
        let judgement = if receipt.verdict == Verdict::Reverted { Judgement::Reverted } else { Judgement::Refused };
        self.generations.failed(receipt.began_at, HistoryKind::Upgrade, &receipt.by, judgement, &receipt.reason);
        self.upgrades.keep(receipt);
        self.upgrades.running = None;
        self.hook(Hook::Answer(true));
        self.fleet.tell_all(|| Command::ResumeListener(None));
        let gather = self.fleet.ask_all(Command::Ping);
        self.after(gather, move |controller, _: Gather<()>| {
            controller.busy = false;
            if let Some(reply) = reply {
                answer(reply, Ok(()));
            }
            controller.next_change();
        });
    }

    /// Everything is handed over; what is left is drained.
    fn retire(&mut self, receipt: Receipt, reply: Reply<()>) {
        let text = super::words::summary(&receipt);
        // The log has it from the successor.
        self.journal.tell(EventKind::Upgraded, "", &text, Some(receipt.by.clone()));
        self.upgrades.keep(receipt);
        self.hook(Hook::Answer(false));
        self.fleet.let_go_of_listeners();
        let now = self.clock.now().instant;
        let deadline = now.checked_add(self.state.config().drain.timeout).unwrap_or(now);
        self.upgrades.retiring = Some(Retiring { done: Some(reply), deadline, cut_at: None });
        self.look_at_retirement();
    }

    /// Whether what is left has ended.
    pub(in crate::control) fn look_at_retirement(&mut self) {
        let (active, now) = (self.total().active, self.clock.now().instant);
        let Some(retiring) = &mut self.upgrades.retiring else { return };
        if active == 0 {
            if let Some(done) = retiring.done.take() {
                answer(done, Ok(()));
            }
            return;
        }
        let again = retiring.cut_at.is_none_or(|at| now.saturating_duration_since(at) >= CUT_EVERY);
        if now >= retiring.deadline && again {
            retiring.cut_at = Some(now);
            let gather = self.fleet.close(&[Selection::Matching(Filter::default())], CloseReason::DRAIN);
            self.after(gather, |_, _| ());
        }
    }

    fn story_ended(&mut self) {
        self.upgrades.orders = None;
        if self.upgrades.has_retired() {
            self.stopped = true;
        } else if let Some(by) = self.upgrades.running.clone() {
            tracing::error!("the upgrade ended without a word");
            let now = self.clock.now().wall;
            let reason = "it ended without a word".to_owned();
            self.come_back(Receipt::failed(Verdict::Reverted, reason, by, now, &self.version), None);
        } else if self.upgrades.legacy.is_some() {
            // The predecessor died on the way: what there is is ours.
            self.succeed(None);
        }
    }
}
