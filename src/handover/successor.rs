//! The successor's story: blocking until it may accept.

mod inheriting;
mod taking;

use std::{io, os::fd::OwnedFd, time::Duration};

pub use taking::take_over;

use super::{
    Deadlines, Features, Hello, Inheritance, Offer, Outcome, Setback,
    codec::{self, Fault, Incoming, Kind, Message, VERSIONS},
    convert,
    line::{Line, Missed},
};
use crate::{
    control::{Clock, Expected},
    pb::handover as pb,
    process::{Env, successor},
};

/// The successor before its runtime exists. Every method blocks.
///
/// In order: [`offer`](Self::offer), read the configuration,
/// [`hello`](Self::hello), [`inherit`](Self::inherit), make the workers,
/// [`ready`](Self::ready); [`decline`](Self::decline) at any time before.
#[derive(Debug)]
pub struct Arrival {
    line: Line,
    deadlines: Deadlines,
    /// What of [`inherit`](Self::inherit) has to be told: sockets, extras.
    counted: (u32, u32),
    version: u32,
    pid: u32,
}

impl Arrival {
    /// `None`: this process was not started by a predecessor. The caller takes
    /// [`successor::VARIABLE`] out of the environment.
    ///
    /// # Errors
    /// If the variable names no inherited socket.
    pub fn from_env(env: Env<'_>, clock: Clock, deadlines: Deadlines) -> io::Result<Option<Self>> {
        successor::inherited(env)?.map(|channel| Self::new(channel, clock, deadlines)).transpose()
    }

    /// Speaks over this end of a socket pair.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn new(channel: OwnedFd, clock: Clock, deadlines: Deadlines) -> io::Result<Self> {
        let line = Line::new(channel, clock)?;
        Ok(Self { line, deadlines, counted: (0, 0), version: 0, pid: 0 })
    }

    /// The predecessor's first word.
    ///
    /// # Errors
    /// [`Setback`]; also if the two speak no common version.
    pub fn offer(&mut self) -> Result<Offer, Setback> {
        let offer = match self.next(self.deadlines.step)?.kind {
            Kind::Offer(offer) => offer,
            other => return Err(unexpected(&other, "Offer")),
        };
        let version = offer.version_max.min(VERSIONS.1);
        if version < offer.version_min.max(VERSIONS.0) {
            return Err(Setback::Garbage(format!(
                "the running netd ({}) speaks versions {} to {} of the upgrade protocol, this one ({}) {} to {}",
                offer.netd_version,
                offer.version_min,
                offer.version_max,
                env!("CARGO_PKG_VERSION"),
                VERSIONS.0,
                VERSIONS.1
            )));
        }
        self.version = version;
        Ok(Offer {
            versions: (offer.version_min, offer.version_max),
            features: Features::of(&offer.features),
            version: offer.netd_version,
            pid: offer.pid,
            candidate: offer.candidate,
        })
    }

    /// Tells that this process cannot start, and why; it is to end with
    /// `status`.
    pub fn decline(mut self, reason: &str, status: u8) {
        let failed = pb::Failed { reason: reason.to_owned(), exit_status: u32::from(status) };
        // If it cannot be told, the exit status tells enough.
        let _ = self.line.send(Kind::Failed(failed), self.deadlines.step);
    }

    /// Says that the configuration is read and good.
    ///
    /// # Errors
    /// [`Setback`].
    pub fn hello(&mut self, me: &Hello) -> Result<(), Setback> {
        self.pid = me.pid;
        self.say(Kind::Hello(pb::Hello {
            version: self.version,
            features: me.features.words().to_vec(),
            netd_version: me.version.clone(),
            pid: me.pid,
            workers: me.workers,
        }))?;
        self.line.codec.version = self.version;
        Ok(())
    }

    /// All that is needed before the workers can be made. If the predecessor
    /// ends meanwhile, what had come.
    ///
    /// # Errors
    /// [`Setback`], but for [`Setback::PredecessorGone`].
    pub fn inherit(&mut self) -> Result<Inheritance, Setback> {
        let (inheritance, counted) = inheriting::inherit(self)?;
        self.counted = counted;
        Ok(inheritance)
    }

    /// Says that the workers stand and hold the sockets, and waits for the
    /// word to accept. What was inherited and is not used must be closed by
    /// now.
    ///
    /// # Errors
    /// [`Setback`], but for [`Setback::PredecessorGone`].
    pub fn ready(mut self) -> Result<Outcome, Setback> {
        let (sockets, extras) = self.counted;
        let result = self.say(Kind::Ready(pb::Ready { sockets, extras })).and_then(|()| self.next(self.deadlines.step));
        match result {
            Ok(Message { kind: Kind::Go(go), .. }) => {
                let expected = convert::from_expected(go.expected.unwrap_or_default());
                let expected = expected.map_err(|wrong| Setback::Garbage(wrong.to_string()))?;
                Ok(Outcome::Go(Succession { line: self.line, deadlines: self.deadlines, pid: self.pid, expected }))
            }
            Ok(other) => Err(unexpected(&other.kind, "Go")),
            Err(Setback::PredecessorGone) => Ok(Outcome::PredecessorGone),
            Err(setback) => Err(setback),
        }
    }

    fn say(&mut self, kind: Kind) -> Result<(), Setback> {
        match self.line.send(kind, self.deadlines.step) {
            Ok(()) => Ok(()),
            Err(missed) => {
                let setback = setback(missed);
                // It may have called off before it closed.
                match self.line.receive(Duration::ZERO) {
                    Ok(Incoming::Message(Message { kind: Kind::CalledOff(off), .. })) => {
                        Err(Setback::CalledOff(off.reason))
                    }
                    _ => Err(setback),
                }
            }
        }
    }

    fn next(&mut self, limit: Duration) -> Result<Message, Setback> {
        match self.line.receive(limit).map_err(setback)? {
            Incoming::Message(message) => match message.kind {
                Kind::CalledOff(off) => Err(Setback::CalledOff(off.reason)),
                Kind::NotUnderstood(answer) => Err(Setback::Garbage(format!(
                    "the predecessor does not understand messages of kind {}",
                    answer.kind
                ))),
                _ => Ok(message),
            },
            Incoming::Curtailed { .. } => Err(Setback::Garbage(
                "too few file descriptors are free here for what the predecessor hands over (LimitNOFILE=)".to_owned(),
            )),
            Incoming::End => Err(Setback::PredecessorGone),
        }
    }
}

fn setback(missed: Missed) -> Setback {
    match missed {
        Missed::Late(limit) => Setback::Silent(limit),
        Missed::Fault(Fault::Garbage(text)) => Setback::Garbage(text),
        Missed::Fault(Fault::Io(error)) if is_end(&error) => Setback::PredecessorGone,
        Missed::Fault(Fault::Io(error)) => Setback::Channel(error),
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

fn unexpected(kind: &Kind, wanted: &str) -> Setback {
    Setback::Garbage(format!("the predecessor sent {} where {wanted} was due", codec::word(kind)))
}

/// The successor once it may accept.
#[derive(Debug)]
pub struct Succession {
    line: Line,
    deadlines: Deadlines,
    pid: u32,
    expected: Expected,
}

impl Succession {
    /// What the predecessor has open, for which places are to be kept before
    /// anybody accepts; empty if it does not say.
    pub fn expected(&self) -> &Expected {
        &self.expected
    }
}
