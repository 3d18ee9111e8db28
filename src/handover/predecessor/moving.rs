//! Connections on their way, a batch at a time.
//!
//! A connection is in one hand: the successor says Got before it touches any of
//! a batch, so a batch without Got can be taken back, and one with Got is the
//! successor's.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
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
/// Why connections stay that need no fewer descriptors than one that did not
/// fit; the words of the successor for that one.
const NO_ROOM: &str = "too few file descriptors are free";
/// Reasons that the receipt tells.
const REASONS: usize = 4;
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
    /// Those that stay, by why.
    stay: BTreeMap<String, u64>,
    /// A connection with so many descriptors found no room for them.
    no_room: Option<usize>,
}

impl Tally {
    fn stays(&mut self, why: &str) {
        if let Some(count) = self.stay.get_mut(why) {
            *count += 1;
        } else if self.stay.len() < REASONS {
            self.stay.insert(why.to_owned(), 1);
        }
    }

    /// Why some stay, in words.
    pub(super) fn reasons(&self) -> impl Iterator<Item = String> {
        self.stay.iter().map(|(why, count)| format!("{count} not moved: {why}"))
    }
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
    /// At most so many go at once; 0: as many as fit.
    most: usize,
}

impl<E: Estate, S: Signpost> Story<'_, E, S> {
    /// Moves all that can be moved.
    pub(super) async fn move_all(&mut self) -> Result<(), Failure> {
        let of = self.estate.open().await;
        let mut stay = HashSet::new();
        let mut limit = MOST / 2;
        loop {
            let began = self.account.clock.now().instant;
            let exported = self.estate.export(limit).await?;
            let (go, back) = self.sort(exported, &stay);
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
    fn sort(&mut self, connections: Vec<Moving>, stay: &HashSet<u64>) -> (Vec<Moving>, Vec<Moving>) {
        let tally = &mut self.account.tally;
        connections.into_iter().partition(|moving| {
            if stay.contains(&moving.parcel.id) {
                return false;
            }
            let (feature, further) = convert::feature(moving);
            let known = self.common.has(feature) && further.is_none_or(|further| self.common.has(further));
            let fds = moving.parcel.fds();
            let fits = fds <= FDS && tally.no_room.is_none_or(|most| fds < most);
            if !known {
                tally.stays("the successor does not know connections of this kind");
            } else if !fits {
                tally.stays(NO_ROOM);
            }
            known && fits
        })
    }

    /// Moves as many of the queue as fit one message; answers those that come
    /// back. `None`: the queue was empty.
    async fn move_batch(&mut self, began: Instant) -> Result<Option<Vec<Moving>>, Failure> {
        let Some(pending) = self.pending.as_mut().filter(|pending| !pending.queue.is_empty()) else {
            return Ok(None);
        };
        pending.sent = first_that_fit(&mut pending.queue, if pending.most == 0 { MOST } else { pending.most });
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
        if let (Some(why), false) = (&moved.none, pending.got) {
            return Ok(self.without_room(why));
        }
        if !pending.got {
            return Err(Failure("the successor moved connections without a word before".to_owned()));
        }
        let reasons: HashMap<u64, String> =
            moved.refused.into_iter().map(|refused| (refused.id, refused.reason)).collect();
        let (back, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut pending.sent).into_iter().partition(|moving| reasons.contains_key(&moving.parcel.id));
        self.account.tally.moved += gone.len() as u64;
        back.iter().filter_map(|moving| reasons.get(&moving.parcel.id)).for_each(|why| self.account.tally.stays(why));
        // Their places stay taken here: who waits for one is let in there.
        self.places.extend(gone.into_iter().map(|moving| moving.parcel.places.without_descriptors()));
        Ok(back)
    }

    /// The successor has too few descriptors for the batch: fewer at once may
    /// fit. One that does not fit alone stays, and so do those that need as
    /// many; answers it.
    fn without_room(&mut self, why: &str) -> Vec<Moving> {
        let Some(pending) = &mut self.pending else { return Vec::new() };
        if let [alone] = &pending.sent[..] {
            let tally = &mut self.account.tally;
            let most = tally.no_room.unwrap_or(FDS).min(alone.parcel.fds());
            tally.no_room = Some(most);
            let queue = std::mem::take(&mut pending.queue).into_iter();
            let (large, small): (Vec<Moving>, Vec<Moving>) = queue.partition(|each| each.parcel.fds() >= most);
            pending.queue = small.into();
            let mut back = std::mem::take(&mut pending.sent);
            back.extend(large);
            back.iter().for_each(|_| tally.stays(why));
            return back;
        }
        pending.most = pending.sent.len().div_ceil(2);
        for moving in std::mem::take(&mut pending.sent).into_iter().rev() {
            pending.queue.push_front(moving);
        }
        Vec::new()
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

fn first_that_fit(queue: &mut VecDeque<Moving>, most: usize) -> Vec<Moving> {
    let mut fds = 0;
    let mut batch = Vec::new();
    while batch.len() < most
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
