//! A new binary that takes over from this process: started with one end of a
//! socket pair, watched, killed if need be.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::unistd::Pid;

use super::Env;
use crate::sys::{
    channel,
    process::{pidfd_open, take_inherited},
    spawn,
};

/// Names the inherited end of the socket pair in the new binary's environment.
pub const VARIABLE: &str = "NETD_UPGRADE_FD";

/// File descriptors that [`Launch::start`] needs for a moment or for good:
/// the pair, its pidfd, the pipe that tells why exec failed, and some for the
/// first messages.
pub const NEEDED: usize = 8;

/// File descriptors kept for a moment when there are none left.
#[derive(Debug)]
pub struct Reserve(Vec<OwnedFd>);

impl Reserve {
    /// Keeps `count`.
    ///
    /// # Errors
    /// EMFILE, ENFILE: so many there are not.
    pub fn new(count: usize) -> io::Result<Self> {
        let Some(further) = count.checked_sub(1) else { return Ok(Self(Vec::new())) };
        let first = OwnedFd::from(std::fs::File::open("/dev/null")?);
        let mut held = (0..further).map(|_| first.try_clone()).collect::<io::Result<Vec<_>>>()?;
        held.push(first);
        Ok(Self(held))
    }

    /// Lets them go, all at once.
    pub fn release(&mut self) {
        self.0 = Vec::new();
    }

    /// Takes them again, as many as there are up to `count`; answers whether
    /// it has all.
    pub fn refill(&mut self, count: usize) -> bool {
        self.release();
        (1..=count).rev().find_map(|count| Self::new(count).ok()).is_some_and(|held| {
            *self = held;
            self.0.len() == count
        })
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The file to execute.
    pub binary: PathBuf,
    /// Its name for itself (`argv[0]`).
    pub name: OsString,
    /// Arguments after the name.
    pub arguments: Vec<OsString>,
    /// Variables that it gets besides those of this process.
    pub environment: Vec<(OsString, OsString)>,
}

impl Launch {
    /// Starts it and answers it with this process's end of the pair. `reserve`
    /// is let go.
    ///
    /// # Errors
    /// Why it could not be started; nothing is left of the attempt.
    pub fn start(&self, reserve: &mut Reserve) -> io::Result<(Successor, OwnedFd)> {
        reserve.release();
        let (ours, theirs) = channel::pair()?;
        let mut command = Command::new(&self.binary);
        command.arg0(&self.name).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let number = spawn::hand_down(&mut command, theirs);
        command.env(VARIABLE, number.to_string()).stdin(Stdio::null());
        let child = command.spawn()?;
        drop(command); // and with it their end: from here on a dead successor is an end of stream
        let mut successor = Successor { child, pidfd: None, status: None };
        successor.watch()?;
        Ok((successor, ours))
    }
}

/// A started binary. Dropping it does not end it.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    pidfd: Option<OwnedFd>,
    status: Option<ExitStatus>,
}

impl Successor {
    fn watch(&mut self) -> io::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).map_err(io::Error::other)?);
        match pidfd_open(pid) {
            Ok(pidfd) => self.pidfd = Some(pidfd),
            Err(error) => {
                self.kill();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Readable once it has ended.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// How it ended; `None`: it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Ends it (SIGKILL) and waits until it is gone: afterwards it touches
    /// nothing any more.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        if self.exited().is_none() {
            // Fails only if it has ended by now, which the wait tells.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        self.status
    }
}

/// How a process ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with status {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended".to_owned(),
    }
}

/// The end of the pair that a predecessor passed in; `None`: there is none.
/// The caller takes [`VARIABLE`] out of the environment.
///
/// # Errors
/// If the variable is no number, or nothing that was inherited has it.
pub fn inherited(env: Env<'_>) -> io::Result<Option<OwnedFd>> {
    let Some(text) = env(VARIABLE) else { return Ok(None) };
    let number: RawFd = text.parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{VARIABLE} is `{text}`, not a file descriptor"))
    })?;
    let taken = take_inherited(number);
    taken.map(Some).map_err(|error| io::Error::new(error.kind(), format!("{VARIABLE} is {number}, but: {error}")))
}

#[cfg(test)]
mod tests;
