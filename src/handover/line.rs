//! The channel with a clock: blocking for a successor without a runtime, async
//! for everybody else.
//!
//! A deadline is only judged after a look whether the answer is there, and
//! never by a process that was itself stopped meanwhile: such a wait begins
//! anew.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use super::codec::{Codec, Fault, Incoming, Kind, Parcelled};
use crate::{
    control::Clock,
    sys::{
        channel::{self, Interest},
        watch::Watched,
    },
};
use nix::errno::Errno;

/// A wait that ends so much later than asked for was none: this process, or
/// the machine, stood still.
const STOOD_STILL: Duration = Duration::from_millis(500);
/// Before trying again when the kernel has no room for what is to be sent.
const PAUSE: Duration = Duration::from_millis(2);

/// Why a wait brought nothing.
#[derive(Debug)]
pub(super) enum Missed {
    /// Nothing came in time.
    Late(Duration),
    /// The channel.
    Fault(Fault),
}

impl From<Fault> for Missed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Missed {
    fn from(error: io::Error) -> Self {
        Self::Fault(Fault::Io(error))
    }
}

/// Whether a send that failed so may work a moment later.
fn passes(error: &io::Error) -> bool {
    let passing = [Errno::EAGAIN, Errno::ENOBUFS, Errno::ETOOMANYREFS, Errno::ENOMEM].map(|errno| errno as i32);
    error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
}

/// The blocking form.
#[derive(Debug)]
pub(super) struct Line {
    socket: OwnedFd,
    pub(super) codec: Codec,
    clock: Clock,
}

impl Line {
    pub(super) fn new(socket: OwnedFd, clock: Clock) -> io::Result<Self> {
        socket2::SockRef::from(&socket).set_nonblocking(true)?;
        Ok(Self { socket, codec: Codec::new(), clock })
    }

    pub(super) fn send(&mut self, kind: Kind, limit: Duration) -> Result<(), Missed> {
        let framed = self.codec.frame(kind, 0)?;
        let began = self.clock.now().instant;
        loop {
            match framed.send(self.socket.as_fd(), &[]) {
                Ok(()) => return Ok(()),
                Err(error) if passes(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if self.clock.now().instant.saturating_duration_since(began) > limit {
                return Err(Missed::Late(limit));
            }
            channel::wait(self.socket.as_fd(), Interest::Write, PAUSE)?;
        }
    }

    pub(super) fn receive(&mut self, limit: Duration) -> Result<Incoming, Missed> {
        let mut began = self.clock.now().instant;
        loop {
            match self.codec.receive(self.socket.as_fd()) {
                Err(fault) if fault.would_block() => {}
                result => return Ok(result?),
            }
            let waited = self.clock.now().instant.saturating_duration_since(began);
            match limit.checked_sub(waited).filter(|left| !left.is_zero()) {
                Some(left) => {
                    channel::wait(self.socket.as_fd(), Interest::Read, left)?;
                }
                None if waited > limit + STOOD_STILL => began = self.clock.now().instant,
                None => return Err(Missed::Late(limit)),
            }
        }
    }

    /// Goes on within a runtime.
    pub(super) fn into_async(self) -> io::Result<AsyncLine> {
        Ok(AsyncLine { socket: Watched::new(self.socket)?, ended: None, codec: self.codec, clock: self.clock })
    }
}

/// The form for a runtime.
#[derive(Debug)]
pub(super) struct AsyncLine {
    socket: Watched,
    /// Readable once the other process has ended, even if a child of it holds
    /// its end open.
    ended: Option<Watched>,
    pub(super) codec: Codec,
    clock: Clock,
}

impl AsyncLine {
    pub(super) fn new(socket: OwnedFd, clock: Clock) -> io::Result<Self> {
        Line::new(socket, clock)?.into_async()
    }

    /// Watches a process too. Without it, its end is seen as the channel's.
    pub(super) fn watch(&mut self, pidfd: BorrowedFd<'_>) {
        let watched = pidfd.try_clone_to_owned();
        self.ended = watched.and_then(Watched::new).ok();
    }

    /// Frames a message and sends it; answers its number.
    pub(super) async fn send(&mut self, kind: Kind, fds: &[BorrowedFd<'_>], limit: Duration) -> Result<u64, Missed> {
        let framed = self.codec.frame(kind, fds.len())?;
        let began = self.clock.now().instant;
        while !self.try_send(&framed, fds)? {
            if self.clock.now().instant.saturating_duration_since(began) > limit {
                return Err(Missed::Late(limit));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(framed.sequence)
    }

    fn try_send(&self, framed: &Parcelled, fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        match framed.send(self.socket.as_fd(), fds) {
            Ok(()) => Ok(true),
            Err(error) if passes(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next message, however long it takes.
    pub(super) async fn next(&mut self) -> Result<Incoming, Missed> {
        let Self { socket, ended, codec, .. } = self;
        let mut receive = |socket: BorrowedFd<'_>| match codec.receive(socket) {
            Err(Fault::Io(error)) => Err(error),
            result => Ok(result),
        };
        let over = tokio::select! {
            biased;
            result = socket.read(&mut receive) => result?,
            () = process_end(ended.as_ref()) => match receive(socket.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Incoming::End),
                result => result?,
            },
        };
        Ok(over?)
    }

    /// The next message, if it comes within `limit`.
    pub(super) async fn receive(&mut self, limit: Duration) -> Result<Incoming, Missed> {
        loop {
            let began = self.clock.now().instant;
            if let Ok(result) = tokio::time::timeout(limit, self.next()).await {
                return result;
            }
            match self.look() {
                Err(fault) if fault.would_block() => {}
                result => return Ok(result?),
            }
            if self.clock.now().instant.saturating_duration_since(began) <= limit + STOOD_STILL {
                return Err(Missed::Late(limit));
            }
        }
    }

    /// What is there now; `WouldBlock`: nothing.
    pub(super) fn look(&mut self) -> Result<Incoming, Fault> {
        self.codec.receive(self.socket.as_fd())
    }
}

/// Never, if there is no process to watch.
async fn process_end(pidfd: Option<&Watched>) {
    match pidfd {
        Some(pidfd) if pidfd.read(|_| Ok(())).await.is_ok() => {}
        _ => std::future::pending().await,
    }
}
