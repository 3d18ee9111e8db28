//! How a run of netctl ends.

use std::io;

/// Exit status of netctl. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Done. For a drain: nothing is left.
    Done = 0,
    /// The daemon refused, or the output could not be written.
    Refused = 1,
    /// Wrong arguments, or a candidate that cannot be read.
    Usage = 2,
    /// netd cannot be reached, or the connection to it broke.
    Unreachable = 3,
    /// A drain ended with connections left.
    ConnectionsLeft = 4,
    /// No answer in time.
    TimedOut = 5,
    /// `plan --exit-code`: something would change.
    WouldChange = 6,
    /// `check`: not every endpoint answered as it should.
    NotAllGood = 7,
    /// Ctrl-C, as shells count it (128 + SIGINT).
    Interrupted = 130,
}

impl ExitStatus {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command did not end well. The text is for a person; netctl prints it
/// behind `netctl: `.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused by the daemon, in its own words.
    Refused(String),
    /// Wrong arguments.
    Usage(String),
    /// No connection.
    Unreachable(String),
    /// The connection broke.
    Lost(String),
    /// See [`ExitStatus::ConnectionsLeft`].
    ConnectionsLeft(String),
    /// See [`ExitStatus::TimedOut`].
    TimedOut(String),
    /// Ctrl-C.
    Interrupted(String),
    /// Standard output did not take what was written.
    Output(io::Error),
}

impl Failure {
    /// The status it ends the program with.
    pub(crate) fn status(&self) -> ExitStatus {
        match self {
            Self::Refused(_) | Self::Output(_) => ExitStatus::Refused,
            Self::Usage(_) => ExitStatus::Usage,
            Self::Unreachable(_) | Self::Lost(_) => ExitStatus::Unreachable,
            Self::ConnectionsLeft(_) => ExitStatus::ConnectionsLeft,
            Self::TimedOut(_) => ExitStatus::TimedOut,
            Self::Interrupted(_) => ExitStatus::Interrupted,
        }
    }

    /// What to tell.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Refused(text)
            | Self::Usage(text)
            | Self::Unreachable(text)
            | Self::Lost(text)
            | Self::ConnectionsLeft(text)
            | Self::TimedOut(text)
            | Self::Interrupted(text) => text.clone(),
            Self::Output(error) => format!("cannot write the output: {error}"),
        }
    }
}
