//! Messages as datagrams: versioned, numbered, the file descriptors counted.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use prost::Message as _;

pub(super) use crate::pb::handover::body::Kind;
use crate::{
    pb::handover::{Body, Envelope, NotUnderstood, envelope::Carrier},
    sys::channel::{self, MAX_FDS},
};

/// The versions of the protocol that this netd speaks.
pub(super) const VERSIONS: (u32, u32) = (1, 1);

/// A body above this size travels in a memfd.
const INLINE: usize = 64 * 1024;
/// The largest body: far above what 252 descriptors' worth of connections can
/// hold in their buffers.
const LARGEST: usize = 256 * 1024 * 1024;
/// Room for an inline body and its frame.
const DATAGRAM: usize = INLINE + 1024;

/// File descriptors of one message: one is kept for a memfd.
pub(super) const FDS: usize = MAX_FDS - 1;

/// What came.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, on its way to who asked")]
pub(super) enum Incoming {
    /// A message.
    Message(Message),
    /// A message that named file descriptors which could not be received: this
    /// process has too few.
    Curtailed { kind: u32, sequence: u64 },
    /// The other end is closed.
    End,
}

/// A message and what came with it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) sequence: u64,
    pub(super) fds: Vec<OwnedFd>,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// `WouldBlock`, or the channel does not work.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It makes no sense.
    #[error("{0}")]
    Garbage(String),
}

impl Fault {
    pub(super) fn would_block(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn garbage(text: impl Into<String>) -> Fault {
    Fault::Garbage(text.into())
}

/// One side's count and version.
#[derive(Debug)]
pub(super) struct Codec {
    /// 0 until one is chosen.
    pub(super) version: u32,
    sent: u64,
    received: u64,
    buffer: Vec<u8>,
}

/// A message ready to be sent.
#[derive(Debug)]
pub(super) struct Parcelled {
    bytes: Vec<u8>,
    memfd: Option<OwnedFd>,
    pub(super) sequence: u64,
}

impl Codec {
    pub(super) fn new() -> Self {
        Self { version: 0, sent: 0, received: 0, buffer: vec![0; DATAGRAM] }
    }

    /// Frames a message; it counts as sent.
    pub(super) fn frame(&mut self, kind: Kind, fds: usize) -> io::Result<Parcelled> {
        if fds > FDS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many file descriptors for one message"));
        }
        let number = number(&kind);
        let body = Body { kind: Some(kind) }.encode_to_vec();
        let (carrier, memfd) = if body.len() > INLINE {
            (Carrier::Spilled(body.len() as u64), Some(channel::sealed(&body)?))
        } else {
            (Carrier::Body(body), None)
        };
        let sequence = self.sent + 1;
        let envelope = Envelope {
            version: self.version,
            sequence,
            kind: number,
            fds: u32::try_from(fds).unwrap_or(u32::MAX),
            ignorable: false,
            carrier: Some(carrier),
        };
        self.sent = sequence;
        Ok(Parcelled { bytes: envelope.encode_to_vec(), memfd, sequence })
    }

    /// Receives what is there.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<Incoming, Fault> {
        loop {
            let datagram = match channel::receive(socket, &mut self.buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(garbage(error.to_string())),
                Err(error) => return Err(error.into()),
            };
            if datagram.length == 0 {
                return Ok(Incoming::End);
            }
            let envelope = Envelope::decode(&self.buffer[..datagram.length])
                .map_err(|error| garbage(format!("no message of netd ({error})")))?;
            let fds = (!datagram.fds_lost).then_some(datagram.fds);
            match self.open(envelope, fds)? {
                Opened::Incoming(incoming) => return Ok(incoming),
                Opened::Ignored => {}
                // The one who sent it fails by the answer; nobody waits for more.
                Opened::Unknown(answer) => {
                    let _ = self.frame(Kind::NotUnderstood(answer), 0).and_then(|framed| framed.send(socket, &[]));
                }
            }
        }
    }

    /// `fds` are `None` if they were lost.
    fn open(&mut self, envelope: Envelope, fds: Option<Vec<OwnedFd>>) -> Result<Opened, Fault> {
        // A first message may come before a version is chosen on the other side.
        if envelope.version != self.version && envelope.version != 0 && self.version != 0 {
            return Err(garbage(format!(
                "version {} of the protocol, {} was agreed on",
                envelope.version, self.version
            )));
        }
        if envelope.sequence != self.received + 1 {
            return Err(garbage(format!("message {} came after message {}", envelope.sequence, self.received)));
        }
        let (kind, sequence) = (envelope.kind, envelope.sequence);
        self.received = sequence;
        let Some(mut fds) = fds else { return Ok(Opened::Incoming(Incoming::Curtailed { kind, sequence })) };
        let spilled = matches!(envelope.carrier, Some(Carrier::Spilled(_)));
        let promised = envelope.fds as usize + usize::from(spilled);
        if fds.len() != promised {
            return Err(garbage(format!("{} file descriptors came with a message that names {promised}", fds.len())));
        }
        let body = match envelope.carrier {
            Some(Carrier::Body(body)) => body,
            Some(Carrier::Spilled(length)) => unspill(fds.remove(0), length)?,
            None => return Err(garbage("a message without a body")),
        };
        let body =
            Body::decode(body.as_slice()).map_err(|error| garbage(format!("message of kind {kind}: {error}")))?;
        Ok(match body.kind {
            Some(body) if number(&body) == kind => {
                Opened::Incoming(Incoming::Message(Message { kind: body, sequence, fds }))
            }
            Some(_) => return Err(garbage(format!("the body of a message is not of its kind {kind}"))),
            None if envelope.ignorable => Opened::Ignored,
            None => Opened::Unknown(NotUnderstood { sequence, kind }),
        })
    }
}

#[expect(clippy::large_enum_variant, reason = "one lives at a time, on its way to who asked")]
enum Opened {
    Incoming(Incoming),
    Ignored,
    Unknown(NotUnderstood),
}

impl Parcelled {
    /// Sends it, or tells `WouldBlock`; it can be tried again.
    pub(super) fn send(&self, socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        match &self.memfd {
            None => channel::send(socket, &self.bytes, fds),
            Some(memfd) => {
                let all: Vec<BorrowedFd<'_>> = std::iter::once(memfd.as_fd()).chain(fds.iter().copied()).collect();
                channel::send(socket, &self.bytes, &all)
            }
        }
    }
}

fn unspill(memfd: OwnedFd, length: u64) -> Result<Vec<u8>, Fault> {
    let bytes = channel::unsealed(memfd, LARGEST).map_err(|error| garbage(error.to_string()))?;
    if bytes.len() as u64 != length {
        return Err(garbage(format!("a memfd of {} bytes, {length} were promised", bytes.len())));
    }
    Ok(bytes)
}

/// Number of the kind's field in `Body`.
pub(super) fn number(kind: &Kind) -> u32 {
    match kind {
        Kind::Offer(_) => 1,
        Kind::Hello(_) => 2,
        Kind::Failed(_) => 3,
        Kind::Will(_) => 4,
        Kind::Sockets(_) => 5,
        Kind::Extras(_) => 6,
        Kind::Complete(_) => 7,
        Kind::Ready(_) => 8,
        Kind::Go(_) => 9,
        Kind::Serving(_) => 10,
        Kind::TakeOver(_) => 11,
        Kind::Owner(_) => 12,
        Kind::Move(_) => MOVE,
        Kind::Moved(_) => 14,
        Kind::Settle(_) => 15,
        Kind::Done(_) => 16,
        Kind::Bye(_) => 17,
        Kind::CalledOff(_) => 18,
        Kind::Got(_) => 19,
        Kind::NotUnderstood(_) => 20,
    }
}

/// Number of `Move`.
pub(super) const MOVE: u32 = 13;

/// The word for it in errors.
pub(super) fn word(kind: &Kind) -> &'static str {
    const WORDS: [&str; 21] = [
        "nothing",
        "Offer",
        "Hello",
        "Failed",
        "Will",
        "Sockets",
        "Extras",
        "Complete",
        "Ready",
        "Go",
        "Serving",
        "TakeOver",
        "Owner",
        "Move",
        "Moved",
        "Settle",
        "Done",
        "Bye",
        "CalledOff",
        "Got",
        "NotUnderstood",
    ];
    WORDS.get(number(kind) as usize).copied().unwrap_or("a message")
}

#[cfg(test)]
mod tests;
