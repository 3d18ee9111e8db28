//! Connections on their way, a batch at a time.
//!
//! A connection is in one hand: the successor says Got before it touches any of
//! a batch, so a batch without Got can be taken back, and one with Got is the
//! successor's.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use super::{Failure, Stage, Story, unexpected};
use crate::{
    control::{Estate, Moving, UpgradeProgress},
    handover::{
        Signpost,
        codec::{FDS, Incoming, Kind},
        convert,
        moment::Moments,
    },
    pb::handover as pb,
};

/// Most connections of a batch: what one message carries of plain relayed
/// ones.
const MOST: usize = FDS / 2;
/// Fewest, however long they take.
const FEWEST: usize = 8;
/// A batch that takes longer is followed by a smaller one, one that takes less
/// than a quarter of it by a larger one.
const PAUSE: Duration = Duration::from_millis(40);

/// What came of the move.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) moved: u64,
    pub(super) lost: u64,
    pub(super) longest_pause: Duration,
}

/// Connections that no worker drives.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The batch that was sent.
    sent: Vec<Moving>,
    /// Number of its message.
    sequence: u64,
    /// The successor has it, and may have touched it.
    got: bool,
    /// To be sent.
    queue: VecDeque<Moving>,
}

impl<E: Estate, S: Signpost> Story<'_, E, S> {
    /// Moves all that can be moved.
    pub(super) async fn move_all(&mut self) -> Result<(), Failure> {
        let of = self.estate.open().await;
        let mut stay = HashSet::new();
        let mut limit = MOST / 2;
        loop {
            let began = self.account.clock.now().instant;
            let (go, back) = self.sort(self.estate.export(limit).await?, &stay);
            if go.is_empty() && back.iter().all(|moving| stay.contains(&moving.parcel.id)) {
                self.estate.take_back(back).await;
                return Ok(());
            }
            stay.extend(back.iter().map(|moving| moving.parcel.id));
            if !back.is_empty() {
                self.estate.take_back(back).await;
            }
            self.pending = Some(Pending { queue: go.into(), ..Pending::default() });
            while let Some(refused) = self.move_batch(began).await? {
                stay.extend(refused.iter().map(|moving| moving.parcel.id));
                if !refused.is_empty() {
                    self.estate.take_back(refused).await;
                }
            }
            self.pending = None;
            let moved = self.account.tally.moved;
            let _ = self.account.progress.try_send(UpgradeProgress::Moved { moved, of });
            let pause = self.account.clock.now().instant.saturating_duration_since(began);
            limit = next_limit(limit, pause);
        }
    }

    /// What the successor understands and has not refused, and the rest.
    fn sort(&self, connections: Vec<Moving>, stay: &HashSet<u64>) -> (Vec<Moving>, Vec<Moving>) {
        connections.into_iter().partition(|moving| {
            let (feature, further) = convert::feature(moving);
            let known = self.common.has(feature) && further.is_none_or(|further| self.common.has(further));
            known && moving.parcel.fds() <= FDS && !stay.contains(&moving.parcel.id)
        })
    }

    /// Moves as many of the queue as fit one message; answers those that come
    /// back. `None`: the queue was empty.
    async fn move_batch(&mut self, began: Instant) -> Result<Option<Vec<Moving>>, Failure> {
        let Some(pending) = self.pending.as_mut().filter(|pending| !pending.queue.is_empty()) else {
            return Ok(None);
        };
        pending.sent = first_that_fit(&mut pending.queue);
        pending.got = false;
        let (batch, moments) = (std::mem::take(&mut pending.sent), Moments::read());
        let result = {
            let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
            let connections = batch.iter().map(|moving| convert::to_connection(moving, moments, &mut fds)).collect();
            self.send_with(Kind::Move(pb::Move { connections }), &fds).await
        };
        if let Some(pending) = &mut self.pending {
            pending.sent = batch;
            pending.sequence = *result.as_ref().unwrap_or(&0);
        }
        let sequence = result?;
        loop {
            match self.answer(self.deadlines.step).await?.kind {
                Kind::Got(got) if got.sequence == sequence => self.mark_got(),
                Kind::Moved(moved) if moved.sequence == sequence => {
                    let pause = self.account.clock.now().instant.saturating_duration_since(began);
                    self.account.tally.longest_pause = self.account.tally.longest_pause.max(pause);
                    return self.settle_batch(moved).map(Some);
                }
                other => return Err(unexpected(&other, "Moved")),
            }
        }
    }

    fn mark_got(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.got = true;
        }
    }

    /// Gives what was taken out of this hand, and answers the rest.
    fn settle_batch(&mut self, moved: pb::Moved) -> Result<Vec<Moving>, Failure> {
        let Some(pending) = &mut self.pending else { return Ok(Vec::new()) };
        if moved.none.is_some() && !pending.got {
            return Ok(std::mem::take(&mut pending.sent));
        }
        if !pending.got {
            return Err(Failure("the successor moved connections without a word before".to_owned()));
        }
        let reasons: HashMap<u64, String> =
            moved.refused.into_iter().map(|refused| (refused.id, refused.reason)).collect();
        let (back, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut pending.sent).into_iter().partition(|moving| reasons.contains_key(&moving.parcel.id));
        self.account.tally.moved += gone.len() as u64;
        Ok(back)
    }

    /// After the successor is gone: what is still this process's goes back to
    /// the workers, what is not is lost.
    pub(super) async fn recover(&mut self) {
        if self.stage == Stage::Preparing {
            return;
        }
        // It may have answered before it ended.
        while let Ok(Incoming::Message(message)) = self.line.look() {
            let sequence = self.pending.as_ref().map(|pending| pending.sequence);
            match message.kind {
                Kind::Got(got) if Some(got.sequence) == sequence => self.mark_got(),
                _ => {}
            }
        }
        self.account.tally.lost = self.account.tally.moved;
        let Some(mut pending) = self.pending.take() else { return };
        if pending.got {
            // Their bytes may be gone with the successor: closed, not damaged.
            self.account.tally.lost += pending.sent.len() as u64;
            pending.sent.clear();
        }
        pending.sent.extend(pending.queue);
        if !pending.sent.is_empty() {
            self.estate.take_back(pending.sent).await;
        }
    }
}

fn first_that_fit(queue: &mut VecDeque<Moving>) -> Vec<Moving> {
    let mut fds = 0;
    let mut batch = Vec::new();
    while batch.len() < MOST
        && let Some(next) = queue.front()
        && fds + next.parcel.fds() <= FDS
    {
        fds += next.parcel.fds();
        batch.extend(queue.pop_front());
    }
    batch
}

fn next_limit(limit: usize, pause: Duration) -> usize {
    if pause > PAUSE {
        (limit / 2).max(FEWEST)
    } else if pause < PAUSE / 4 {
        (limit * 2).min(MOST)
    } else {
        limit
    }
}
