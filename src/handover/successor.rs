//! The successor's story.

use std::{io, os::fd::OwnedFd};

use super::{Deadlines, Hello, Inheritance, Offer, Outcome, Setback, Signpost, TakenOver};
use crate::{
    control::{Clock, Heir},
    process::{Env, successor},
};

/// The successor before its runtime exists. Every method blocks.
#[derive(Debug)]
pub struct Arrival {
    _channel: OwnedFd,
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
    pub fn new(channel: OwnedFd, _clock: Clock, _deadlines: Deadlines) -> io::Result<Self> {
        Ok(Self { _channel: channel })
    }

    /// The predecessor's first word.
    ///
    /// # Errors
    /// [`Setback`].
    pub fn offer(&mut self) -> Result<Offer, Setback> {
        Err(Setback::PredecessorGone)
    }

    /// Tells that this process cannot start, and why; it is to end with
    /// `status`.
    pub fn decline(self, _reason: &str, _status: u8) {}

    /// Says that the configuration is read and good.
    ///
    /// # Errors
    /// [`Setback`].
    pub fn hello(&mut self, _me: &Hello) -> Result<(), Setback> {
        Err(Setback::PredecessorGone)
    }

    /// All that is needed before the workers can be made. If the predecessor
    /// ends meanwhile, what had come.
    ///
    /// # Errors
    /// [`Setback`], but for [`Setback::PredecessorGone`].
    pub fn inherit(&mut self) -> Result<Inheritance, Setback> {
        Ok(Inheritance::default())
    }

    /// Says that the workers stand and hold the sockets, and waits for the
    /// word to accept.
    ///
    /// # Errors
    /// [`Setback`], but for [`Setback::PredecessorGone`].
    pub fn ready(self) -> Result<Outcome, Setback> {
        Ok(Outcome::PredecessorGone)
    }
}

/// The successor once it may accept.
#[derive(Debug)]
pub struct Succession {
    _channel: OwnedFd,
}

/// Takes over what moves while both serve. To be called once the workers
/// accept; ends when the predecessor does (which may drain for long), so run
/// it beside everything else.
pub async fn take_over(_heir: &impl Heir, _succession: Succession, _signpost: &mut impl Signpost) -> TakenOver {
    TakenOver::default()
}
