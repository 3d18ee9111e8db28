//! The predecessor's story.

mod moving;
mod outcome;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant, SystemTime},
};

use moving::Tally;
use tokio::sync::mpsc;

use super::{
    Deadlines, Extra, Features, HandOver, Signpost,
    codec::{self, Fault, Incoming, Kind, Message, VERSIONS},
    convert,
    line::{AsyncLine, Missed},
};
use crate::{
    control::{Clock, Estate, Ledger, Phase, Provenance, Receipt, Refusal, UpgradeProgress, Verdict},
    pb::handover as pb,
    process::{kernel, successor::Successor},
    worker::Places,
};

/// Names of one Extras message: fewer than file descriptors fit.
const EXTRAS: usize = 64;
/// A stuck reader of the progress does not hold up an upgrade for longer.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Hands everything over to the successor, or takes everything back.
///
/// Ends with `estate.retire` (verdicts `Upgraded`, `Draining`) or
/// `estate.resume` (`Refused`, `Reverted`), which get the same receipt as the
/// last word of `progress` and the caller. What was counted until `retire`
/// returns follows as a last ledger, so it may take as long as the drain.
///
/// A connection that was taken back is to be offered by no further
/// `estate.export` of this upgrade; a batch of nothing else ends the move.
///
/// To be run where tokio's I/O and time drivers are. Dropping the future in
/// between leaves the successor as it is: let it run to its end.
pub async fn hand_over(
    estate: &impl Estate,
    task: HandOver,
    signpost: &mut impl Signpost,
    progress: mpsc::Sender<UpgradeProgress>,
) -> Receipt {
    let now = task.clock.now();
    let mut account = Account {
        progress,
        clock: task.clock.clone(),
        began: now.instant,
        began_at: now.wall,
        by: task.by,
        from: (task.version, task.pid),
        to: (String::new(), task.successor.as_ref().map_or(0, Successor::pid)),
        phases: Vec::new(),
        sockets: 0,
        tally: Tally::default(),
        troubles: Vec::new(),
        kernel: kernel::counters(),
    };
    account.reached(Phase::Spawned);
    let line = match AsyncLine::new(task.channel, task.clock) {
        Ok(line) => line,
        Err(error) => {
            if let Some(mut successor) = task.successor {
                successor.kill();
            }
            let receipt = account.receipt(Verdict::Refused, format!("the channel to the new binary: {error}"), 0);
            estate.resume(receipt.clone()).await;
            return account.end(receipt).await;
        }
    };
    let mut story = Story {
        estate,
        signpost,
        line,
        successor: task.successor,
        common: task.features,
        extras: task.extras,
        candidate: task.candidate,
        deadlines: task.deadlines,
        account,
        stage: Stage::Preparing,
        pending: None,
        places: Vec::new(),
    };
    story.tell().await
}

/// How far it went, as far as taking it back is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing has changed.
    Preparing,
    /// The successor may accept.
    Going,
    /// Pid file and main pid are the successor's.
    Pointed,
}

/// Why it cannot go on, in one line.
#[derive(Debug)]
struct Failure(String);

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.to_string())
    }
}

/// What stands in the receipt.
struct Account {
    progress: mpsc::Sender<UpgradeProgress>,
    clock: Clock,
    began: Instant,
    began_at: SystemTime,
    by: Provenance,
    from: (String, u32),
    to: (String, u32),
    phases: Vec<(Phase, Duration)>,
    sockets: u64,
    tally: Tally,
    troubles: Vec<String>,
    kernel: Vec<(String, u64)>,
}

impl Account {
    fn elapsed(&self) -> Duration {
        self.clock.now().instant.saturating_duration_since(self.began)
    }

    fn reached(&mut self, phase: Phase) {
        let elapsed = self.elapsed();
        self.phases.push((phase, elapsed));
        // A reader that does not keep up misses steps, not the end.
        let _ = self.progress.try_send(UpgradeProgress::Reached(phase, elapsed));
    }

    fn receipt(&self, verdict: Verdict, reason: String, drained: u64) -> Receipt {
        let after = kernel::counters();
        let both = self.kernel.iter().filter_map(|(name, before)| {
            let (_, after) = after.iter().find(|(other, _)| other == name)?;
            Some((name.clone(), *before, *after))
        });
        let reasons = std::iter::once(reason).chain(self.troubles.iter().cloned()).filter(|each| !each.is_empty());
        let reasons: Vec<String> = reasons.chain(self.tally.reasons()).collect();
        Receipt {
            verdict,
            reason: reasons.join("; "),
            by: self.by.clone(),
            began_at: self.began_at,
            took: self.elapsed(),
            from: self.from.clone(),
            to: self.to.clone(),
            phases: self.phases.clone(),
            sockets: self.sockets,
            moved: self.tally.moved,
            drained,
            lost: self.tally.lost,
            longest_pause: self.tally.longest_pause,
            kernel: both.collect(),
        }
    }

    async fn end(&self, receipt: Receipt) -> Receipt {
        let last = self.progress.send(UpgradeProgress::Ended(Box::new(receipt.clone())));
        // Nobody listens, or not any more.
        let _ = tokio::time::timeout(LAST_WORD, last).await;
        receipt
    }
}

struct Story<'a, E, S> {
    estate: &'a E,
    signpost: &'a mut S,
    line: AsyncLine,
    successor: Option<Successor>,
    /// What both sides know.
    common: Features,
    extras: Vec<Extra>,
    candidate: Option<String>,
    deadlines: Deadlines,
    account: Account,
    stage: Stage,
    /// Connections in this hand that no worker drives.
    pending: Option<moving::Pending>,
    /// What those that have moved count for here, until the story ends.
    places: Vec<Places>,
}

impl<E: Estate, S: Signpost> Story<'_, E, S> {
    async fn tell(&mut self) -> Receipt {
        let result = match self.prepare().await {
            Ok(()) => self.pass_on().await,
            Err(failure) => Err(failure),
        };
        match result {
            Ok(receipt) => self.retire(receipt).await,
            Err(failure) => self.undo(failure).await,
        }
    }

    /// Until the successor is ready. Nothing changes.
    async fn prepare(&mut self) -> Result<(), Failure> {
        if let Some(pidfd) = self.successor.as_ref().and_then(Successor::pidfd) {
            self.line.watch(pidfd);
        }
        let offer = Kind::Offer(pb::Offer {
            version_min: VERSIONS.0,
            version_max: VERSIONS.1,
            features: self.common.words().to_vec(),
            netd_version: self.account.from.0.clone(),
            pid: self.account.from.1,
            candidate: self.candidate.take(),
        });
        self.send(offer).await?;
        match self.answer(self.left()).await?.kind {
            Kind::Hello(hello) => self.greet(hello)?,
            other => return Err(unexpected(&other, "Hello")),
        }
        self.account.reached(Phase::Checked);
        let will = self.estate.will().await?;
        self.send_acknowledged(Kind::Will(convert::to_will(&will)), &[]).await?;
        let extras = self.send_extras().await?;
        let sockets = self.send_sockets().await?;
        self.send(Kind::Complete(pb::Complete { sockets, extras })).await?;
        match self.answer(self.left()).await?.kind {
            Kind::Ready(ready) if (ready.sockets, ready.extras) == (sockets, extras) => {}
            Kind::Ready(ready) => {
                return Err(Failure(format!(
                    "the successor has {} listening sockets and {} others of {sockets} and {extras}",
                    ready.sockets, ready.extras
                )));
            }
            other => return Err(unexpected(&other, "Ready")),
        }
        self.account.sockets = u64::from(sockets);
        self.account.reached(Phase::Ready);
        Ok(())
    }

    fn greet(&mut self, hello: pb::Hello) -> Result<(), Failure> {
        if !(VERSIONS.0..=VERSIONS.1).contains(&hello.version) {
            return Err(Failure(format!(
                "the successor chose version {} of the protocol; this netd speaks {} to {}",
                hello.version, VERSIONS.0, VERSIONS.1
            )));
        }
        self.line.codec.version = hello.version;
        self.common = self.common.and(&Features::of(&hello.features));
        self.account.to = (hello.netd_version, hello.pid);
        Ok(())
    }

    async fn send_extras(&mut self) -> Result<u32, Failure> {
        let extras = std::mem::take(&mut self.extras);
        for chunk in extras.chunks(EXTRAS) {
            let names = chunk.iter().map(|extra| extra.name.clone()).collect();
            let fds: Vec<_> = chunk.iter().map(|extra| extra.fd.as_fd()).collect();
            self.send_acknowledged(Kind::Extras(pb::Extras { names }), &fds).await?;
        }
        Ok(count(extras.len()))
    }

    async fn send_sockets(&mut self) -> Result<u32, Failure> {
        let sockets = self.estate.sockets().await?;
        for (message, fds) in convert::chunks(&sockets) {
            self.send_acknowledged(Kind::Sockets(message), &fds).await?;
        }
        Ok(count(sockets.iter().map(|listener| listener.sockets.len()).sum()))
    }

    /// From the word to accept to the end.
    async fn pass_on(&mut self) -> Result<Receipt, Failure> {
        // Both sides accepting would let in more than the limits have room for.
        let expected = self.estate.stop_accepting().await?;
        self.send(Kind::Go(pb::Go { expected: Some(convert::to_expected(&expected)) })).await?;
        self.stage = Stage::Going;
        self.expect(&Kind::Serving(pb::Serving {})).await?;
        self.account.reached(Phase::Serving);
        self.stage = Stage::Pointed;
        if let Err(trouble) = self.signpost.point_at(self.account.to.1) {
            self.account.troubles.push(trouble);
        }
        self.send(Kind::TakeOver(pb::TakeOver {})).await?;
        match self.answer(self.deadlines.step).await?.kind {
            Kind::Owner(owner) if owner.trouble.is_empty() => {}
            Kind::Owner(owner) => self.account.troubles.push(owner.trouble),
            other => return Err(unexpected(&other, "Owner")),
        }
        self.account.reached(Phase::Moving);
        self.move_all().await?;
        let ledger = self.ledger().await?;
        let drained = self.estate.open().await;
        let verdict = if drained == 0 { Verdict::Upgraded } else { Verdict::Draining };
        let mut receipt = self.account.receipt(verdict, String::new(), drained);
        // Who reads this has it all: true where it is read.
        receipt.phases.push((Phase::Handed, receipt.took));
        let settle = pb::Settle { ledger, receipt: Some(convert::to_receipt(&receipt)) };
        self.send(Kind::Settle(settle)).await?;
        self.expect(&Kind::Done(pb::Done {})).await?;
        self.account.reached(Phase::Handed);
        Ok(receipt)
    }

    async fn ledger(&self) -> Result<Option<pb::Ledger>, Failure> {
        if !self.common.has("ledger") {
            return Ok(None);
        }
        let ledger: Ledger = self.estate.ledger().await?;
        Ok(Some(convert::to_ledger(&ledger)))
    }

    /// What is left until the successor must be ready.
    fn left(&self) -> Duration {
        self.deadlines.ready.saturating_sub(self.account.elapsed())
    }

    async fn send(&mut self, kind: Kind) -> Result<(), Failure> {
        self.send_with(kind, &[]).await.map(|_| ())
    }

    async fn send_with(&mut self, kind: Kind, fds: &[BorrowedFd<'_>]) -> Result<u64, Failure> {
        let word = codec::word(&kind);
        match self.line.send(kind, fds, self.deadlines.step).await {
            Ok(sequence) => Ok(sequence),
            Err(missed) => {
                // What it said before it ended is the better reason.
                while let Ok(Incoming::Message(message)) = self.line.look() {
                    self.usual(message)?;
                }
                Err(match missed {
                    Missed::Fault(Fault::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                        Failure(self.end_of_successor().await)
                    }
                    missed => failure(missed, word),
                })
            }
        }
    }

    async fn send_acknowledged(&mut self, kind: Kind, fds: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        let sequence = self.send_with(kind, fds).await?;
        match self.answer(self.left().max(self.deadlines.step)).await?.kind {
            Kind::Got(got) if got.sequence == sequence => Ok(()),
            other => Err(unexpected(&other, "Got")),
        }
    }

    async fn expect(&mut self, wanted: &Kind) -> Result<(), Failure> {
        let message = self.answer(self.deadlines.step).await?;
        if codec::number(&message.kind) == codec::number(wanted) {
            Ok(())
        } else {
            Err(unexpected(&message.kind, codec::word(wanted)))
        }
    }

    /// The next message that is an answer.
    async fn answer(&mut self, limit: Duration) -> Result<Message, Failure> {
        match self.line.receive(limit).await {
            Ok(Incoming::Message(message)) => self.usual(message),
            Ok(Incoming::Curtailed { .. }) => {
                Err(Failure("the successor sent file descriptors, which nobody asked for".to_owned()))
            }
            Ok(Incoming::End) => Err(Failure(self.end_of_successor().await)),
            Err(missed) => Err(failure(missed, "an answer")),
        }
    }

    /// Sorts out what ends the story at any step.
    fn usual(&self, message: Message) -> Result<Message, Failure> {
        match message.kind {
            Kind::Failed(failed) => Err(Failure(format!(
                "the successor cannot start (exit status {}): {}",
                failed.exit_status, failed.reason
            ))),
            Kind::NotUnderstood(answer) => {
                Err(Failure(format!("the successor does not understand messages of kind {}", answer.kind)))
            }
            _ => Ok(message),
        }
    }
}

fn failure(missed: Missed, what: &str) -> Failure {
    match missed {
        Missed::Late(limit) => Failure(format!("the successor hangs: waited {limit:?} for {what}")),
        Missed::Fault(fault) => Failure(format!("the channel to the successor ({what}): {fault}")),
    }
}

fn unexpected(kind: &Kind, wanted: &str) -> Failure {
    Failure(format!("the successor sent {} where {wanted} was due", codec::word(kind)))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
