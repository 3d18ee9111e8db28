//! The successor once it accepts.

use std::{collections::HashMap, os::fd::OwnedFd};

use super::Succession;
use crate::{
    control::{Heir, Moving},
    handover::{
        Deadlines, Signpost, TakenOver,
        codec::{self, Fault, Incoming, Kind, MOVE, Message},
        convert,
        line::{AsyncLine, Missed},
        moment::Moments,
    },
    pb::handover as pb,
};

/// Takes over what moves while both serve. To be called once the workers
/// accept; ends when the predecessor does (which may drain for long), so run
/// it beside everything else.
///
/// If the predecessor ends early, what has come is kept and the answer has no
/// receipt. If it calls off ([`TakenOver::called_off`]), this process is to end
/// at once: everything is the predecessor's.
pub async fn take_over(heir: &impl Heir, succession: Succession, signpost: &mut impl Signpost) -> TakenOver {
    let Succession { line, deadlines, pid, .. } = succession;
    let mut taken = TakenOver::default();
    let line = match line.into_async() {
        Ok(line) => line,
        Err(error) => {
            taken.troubles.push(format!("the channel to the predecessor: {error}"));
            point(signpost, pid, &mut taken);
            return taken;
        }
    };
    let mut story = Story { heir, line, deadlines, pid, taken, ahead: None };
    let pointed = story.tell(signpost).await;
    if !pointed && story.taken.called_off.is_none() {
        point(signpost, pid, &mut story.taken);
    }
    story.taken
}

fn point(signpost: &mut impl Signpost, pid: u32, taken: &mut TakenOver) -> String {
    match signpost.point_at(pid) {
        Ok(()) => String::new(),
        Err(trouble) => {
            taken.troubles.push(trouble.clone());
            trouble
        }
    }
}

struct Story<'a, H> {
    heir: &'a H,
    line: AsyncLine,
    deadlines: Deadlines,
    pid: u32,
    taken: TakenOver,
    /// Came before it was due.
    ahead: Option<Result<Incoming, Fault>>,
}

/// Whether the story goes on.
enum Next {
    On,
    Over,
}

impl<H: Heir> Story<'_, H> {
    /// Answers whether the signpost was turned.
    async fn tell(&mut self, signpost: &mut impl Signpost) -> bool {
        let mut pointed = false;
        if let Next::Over = self.say(Kind::Serving(pb::Serving {})).await {
            return pointed;
        }
        loop {
            let incoming = match self.ahead.take() {
                Some(incoming) => incoming.map_err(Missed::Fault),
                None => self.line.next().await,
            };
            let next = match incoming {
                Ok(Incoming::Message(Message { kind: Kind::TakeOver(_), .. })) => {
                    pointed = true;
                    let trouble = point(signpost, self.pid, &mut self.taken);
                    self.say(Kind::Owner(pb::Owner { trouble })).await
                }
                Ok(Incoming::Message(message)) => self.on(message).await,
                Ok(Incoming::Curtailed { kind: MOVE, sequence }) => self.refuse_all(sequence).await,
                Ok(Incoming::Curtailed { .. }) => self.trouble("the predecessor sent too many file descriptors"),
                Ok(Incoming::End) => Next::Over,
                Err(Missed::Fault(Fault::Io(error))) if super::is_end(&error) => Next::Over,
                Err(Missed::Fault(fault)) => self.trouble(&format!("the channel to the predecessor: {fault}")),
                Err(Missed::Late(_)) => Next::Over,
            };
            if let Next::Over = next {
                return pointed;
            }
        }
    }

    async fn on(&mut self, message: Message) -> Next {
        match message.kind {
            Kind::Move(batch) => self.take(message.sequence, batch, message.fds).await,
            Kind::Settle(settle) => self.settle(settle).await,
            Kind::Bye(_) if self.taken.receipt.is_some() => Next::Over,
            Kind::CalledOff(off) => {
                self.taken.called_off = Some(off.reason);
                Next::Over
            }
            other => {
                self.trouble(&format!("the predecessor sent {} when nothing like it was due", codec::word(&other)))
            }
        }
    }

    /// Ends the story: this side keeps what it has. The channel closes, which
    /// tells the predecessor.
    fn trouble(&mut self, text: &str) -> Next {
        self.taken.troubles.push(text.to_owned());
        Next::Over
    }

    async fn say(&mut self, kind: Kind) -> Next {
        match self.line.send(kind, &[], self.deadlines.step).await {
            Ok(_) => Next::On,
            // What it had sent before it ended is still to be read.
            Err(Missed::Fault(Fault::Io(error))) if super::is_end(&error) => Next::On,
            Err(Missed::Fault(fault)) => self.trouble(&format!("the channel to the predecessor: {fault}")),
            Err(Missed::Late(limit)) => self.trouble(&format!("the predecessor has taken no answer for {limit:?}")),
        }
    }

    async fn refuse_all(&mut self, sequence: u64) -> Next {
        let none = "too few file descriptors are free".to_owned();
        let trouble = format!("connections could not be taken: {none}");
        if !self.taken.troubles.contains(&trouble) {
            self.taken.troubles.push(trouble);
        }
        self.say(Kind::Moved(pb::Moved { sequence, taken: 0, refused: Vec::new(), none: Some(none) })).await
    }

    /// Got goes out before anything is touched: from then on they are not the
    /// predecessor's.
    async fn take(&mut self, sequence: u64, batch: pb::Move, fds: Vec<OwnedFd>) -> Next {
        let (arrived, mut refused) = match unpack(batch, fds) {
            Ok(unpacked) => unpacked,
            Err(text) => return self.trouble(&text),
        };
        if let Next::Over = self.say(Kind::Got(pb::Got { sequence })).await {
            return Next::Over;
        }
        // If the predecessor has called off by now, they are not to be touched.
        match self.line.look() {
            Ok(Incoming::Message(Message { kind: Kind::CalledOff(off), .. })) => {
                self.taken.called_off = Some(off.reason);
                return Next::Over;
            }
            Err(fault) if fault.would_block() => {}
            other => self.ahead = Some(other),
        }
        let came = arrived.len();
        let returned = if arrived.is_empty() { arrived } else { self.heir.import(arrived).await };
        let taken = came.saturating_sub(returned.len());
        refused.extend(returned.iter().map(|moving| (moving.parcel.id, "the workers do not take it".to_owned())));
        // Closed here before the predecessor drives them again.
        drop(returned);
        self.taken.taken += taken as u64;
        self.taken.refused += refused.len() as u64;
        let refused = refused.into_iter().map(|(id, reason)| pb::Refused { id, reason }).collect();
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        self.say(Kind::Moved(pb::Moved { sequence, taken, refused, none: None })).await
    }

    async fn settle(&mut self, settle: pb::Settle) -> Next {
        match settle.ledger.map(convert::from_ledger).transpose() {
            Ok(Some(ledger)) => self.heir.absorb(ledger).await,
            Ok(None) => {}
            Err(wrong) => return self.trouble(&format!("the predecessor's figures: {wrong}")),
        }
        let Some(receipt) = settle.receipt else { return Next::On };
        match convert::from_receipt(receipt) {
            Ok(receipt) => {
                self.heir.succeed(receipt.clone()).await;
                self.taken.receipt = Some(receipt);
                self.say(Kind::Done(pb::Done {})).await
            }
            Err(wrong) => self.trouble(&format!("the predecessor's receipt: {wrong}")),
        }
    }
}

type Unpacked = (Vec<Moving>, HashMap<u64, String>);

/// The connections, and those that are not understood; whether the file
/// descriptors add up is the whole message's matter.
fn unpack(batch: pb::Move, fds: Vec<OwnedFd>) -> Result<Unpacked, String> {
    let promised: u64 = batch.connections.iter().map(|each| u64::from(each.fds)).sum();
    if promised != fds.len() as u64 {
        return Err(format!("{} file descriptors came with connections of {promised}", fds.len()));
    }
    let (moments, mut fds) = (Moments::read(), fds.into_iter());
    let (mut arrived, mut refused) = (Vec::new(), HashMap::new());
    for connection in batch.connections {
        let own = fds.by_ref().take(connection.fds as usize).collect();
        let id = connection.id;
        match convert::from_connection(connection, moments, own) {
            Ok(moving) => arrived.push(moving),
            Err(wrong) => {
                refused.insert(id, wrong.to_string());
            }
        }
    }
    Ok((arrived, refused))
}
