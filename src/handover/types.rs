//! What a caller of this room gives and gets.

use std::{os::fd::OwnedFd, time::Duration};

use crate::{
    control::{Clock, ListenerSockets, Provenance, Receipt, Will},
    process::successor::Successor,
};

/// Name of the Unix-domain admin socket among the [`Extra`]s.
pub const ADMIN_UNIX: &str = "admin-unix";
/// Name of the TCP admin socket.
pub const ADMIN_TCP: &str = "admin-tcp";
/// Name of the listening socket of `/metrics`.
pub const METRICS: &str = "metrics";
/// Name of the pid file, open and locked: the lock belongs to all who have it.
pub const PID_FILE: &str = "pid-file";
/// Name of the predecessor's executable, to go back to.
pub const EXECUTABLE: &str = "executable";

/// A file descriptor that moves by its name. A successor that does not know
/// the name drops it.
#[derive(Debug)]
pub struct Extra {
    /// [`ADMIN_UNIX`] and so on.
    pub name: String,
    /// Whatever it is.
    pub fd: OwnedFd,
}

/// How long to wait for the other side.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the start of the new binary until it is ready.
    pub ready: Duration,
    /// For each step after that, and for each that needs no work.
    pub step: Duration,
}

impl Default for Deadlines {
    /// 30 s and 5 s.
    fn default() -> Self {
        Self { ready: Duration::from_secs(30), step: Duration::from_secs(5) }
    }
}

/// What the world outside looks at to find the daemon: the pid file and
/// systemd's MAINPID. Called where it changes hands, on both sides.
pub trait Signpost {
    /// Makes it show this process. Called again with the same one it is
    /// harmless.
    ///
    /// # Errors
    /// What could not be changed, in one line. The upgrade goes on; the line
    /// stands in the receipt.
    fn point_at(&mut self, pid: u32) -> Result<(), String>;
}

/// All that [`hand_over`](super::hand_over) needs besides the estate.
#[derive(Debug)]
pub struct HandOver {
    /// This end of the socket pair.
    pub channel: OwnedFd,
    /// The started process; `None` if it cannot be watched or killed.
    pub successor: Option<Successor>,
    /// Who asked.
    pub by: Provenance,
    /// This netd's version.
    pub version: String,
    /// This process.
    pub pid: u32,
    /// Text of the configuration in force, if it is a candidate that no file
    /// holds.
    pub candidate: Option<String>,
    /// What moves besides the listeners.
    pub extras: Vec<Extra>,
    /// What of a connection may be handed over.
    pub features: Features,
    /// How long to wait.
    pub deadlines: Deadlines,
    /// The time.
    pub clock: Clock,
}

/// What of netd's state both sides can hand over. What the other one does not
/// know stays with the predecessor, which drains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features(Vec<String>);

impl Features {
    /// All that this netd knows.
    pub fn all() -> Self {
        Self::of(&["tunnel", "pipe", "session", "dial", "ledger", "header"])
    }

    /// These.
    pub fn of(words: &[impl AsRef<str>]) -> Self {
        Self(words.iter().map(|word| word.as_ref().to_owned()).collect())
    }

    /// Whether this one is among them.
    pub fn has(&self, word: &str) -> bool {
        self.0.iter().any(|each| each == word)
    }

    /// Those that are in both.
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|word| other.has(word)).cloned().collect())
    }

    /// The words.
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

/// The predecessor's first word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Lowest and highest version of the protocol that it speaks.
    pub versions: (u32, u32),
    /// What it can hand over.
    pub features: Features,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The configuration to start with, instead of the file.
    pub candidate: Option<String>,
}

/// The successor's first word, but for what the protocol itself fills in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Workers that it will run.
    pub workers: u32,
    /// What it takes.
    pub features: Features,
}

/// What a successor got before it said ready.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// `None`: the predecessor died before.
    pub will: Option<Will>,
    /// By listener.
    pub sockets: Vec<ListenerSockets>,
    /// By name.
    pub extras: Vec<Extra>,
    /// Nothing is missing.
    pub complete: bool,
    /// It died meanwhile: whoever holds this is the owner of what there is.
    pub predecessor_gone: bool,
}

/// Why a successor cannot go on with its predecessor.
#[derive(Debug, thiserror::Error)]
pub enum Setback {
    /// It has ended: this process is the owner of what it has got, and goes on.
    #[error("the predecessor has ended")]
    PredecessorGone,
    /// It calls the upgrade off: this process ends.
    #[error("the predecessor calls the upgrade off: {0}")]
    CalledOff(String),
    /// It says nothing, and may still own everything: this process ends.
    #[error("the predecessor has said nothing for {0:?}")]
    Silent(Duration),
    /// What came makes no sense: this process ends.
    #[error("{0}")]
    Garbage(String),
    /// The channel does not work: this process ends.
    #[error("the channel to the predecessor: {0}")]
    Channel(#[from] std::io::Error),
}

/// How a successor comes to serve.
#[derive(Debug)]
pub enum Outcome {
    /// The predecessor says go. To be given to
    /// [`take_over`](super::take_over), once the workers accept.
    Go(super::Succession),
    /// It has ended: this process owns all that it has got, and serves.
    PredecessorGone,
}

/// What came of [`take_over`](super::take_over).
#[derive(Debug, Default)]
pub struct TakenOver {
    /// Connections that are here now.
    pub taken: u64,
    /// Connections that went back.
    pub refused: u64,
    /// The predecessor's last word; `None`: it ended before, and what it still
    /// had is lost.
    pub receipt: Option<Receipt>,
    /// The predecessor took everything back, for this reason: end at once.
    pub called_off: Option<String>,
    /// What did not go as it should; empty if all did.
    pub troubles: Vec<String>,
}
