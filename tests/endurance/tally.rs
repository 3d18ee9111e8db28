//! What became of the connections, by kind.

use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::support::clock::now;

/// Longer than this is a stall.
pub(crate) const STALL: Duration = Duration::from_secs(1);

/// How a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Short,
    Requests,
    Bulk,
    Idle,
    HalfClosed,
    SlowReader,
    /// Requests past the proxy: what the machine itself makes clients wait.
    Direct,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Short, Self::Requests, Self::Bulk, Self::Idle, Self::HalfClosed, Self::SlowReader, Self::Direct];

    fn words(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Requests => "requests and answers",
            Self::Bulk => "bulk both ways",
            Self::Idle => "idle",
            Self::HalfClosed => "half-closed",
            Self::SlowReader => "slow readers",
            Self::Direct => "past the proxy",
        }
    }
}

/// Why a connection is not what it should be.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It did not come about.
    Failed(String),
    /// Reset, ended early, or silent for good.
    Cut(String),
    /// Other bytes than those that were sent.
    Corrupted(String),
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    /// Received and compared.
    pub(crate) bytes: u64,
    pub(crate) failed: u64,
    pub(crate) cut: u64,
    pub(crate) corrupted: u64,
    /// Waits longer than [`STALL`].
    pub(crate) stalled: u64,
    /// Longest wait for a connect, for an answer, between two pieces.
    pub(crate) longest: Duration,
}

impl Tally {
    pub(crate) fn troubles(&self) -> u64 {
        self.failed + self.cut + self.corrupted + self.stalled
    }
}

/// What all loads write in, and what stops them.
#[derive(Debug)]
pub(crate) struct Book {
    began: Instant,
    stop: AtomicBool,
    rows: [Mutex<Tally>; Kind::ALL.len()],
    /// What went wrong, and when.
    stories: Mutex<Vec<String>>,
}

impl Book {
    pub(crate) fn new() -> Self {
        let (began, stop) = (now(), AtomicBool::new(false));
        Self { began, stop, rows: Default::default(), stories: Mutex::default() }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn row(&self, kind: Kind) -> Tally {
        self.with(kind, |row| row.clone())
    }

    fn with<T>(&self, kind: Kind, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.rows[kind as usize].lock().expect("no poison"))
    }

    pub(crate) fn opened(&self, kind: Kind) {
        self.with(kind, |row| row.connections += 1);
    }

    pub(crate) fn received(&self, kind: Kind, bytes: usize) {
        self.with(kind, |row| row.bytes += bytes as u64);
    }

    /// Something has come after so long.
    pub(crate) fn waited(&self, kind: Kind, waited: Duration, what: &str) {
        self.with(kind, |row| {
            row.longest = row.longest.max(waited);
            row.stalled += u64::from(waited > STALL);
        });
        if waited > STALL {
            self.tell(kind, &format!("{what} took {waited:.1?}"));
        }
    }

    pub(crate) fn trouble(&self, kind: Kind, trouble: Trouble) {
        let why = self.with(kind, |row| {
            let (count, why) = match trouble {
                Trouble::Failed(why) => (&mut row.failed, why),
                Trouble::Cut(why) => (&mut row.cut, why),
                Trouble::Corrupted(why) => (&mut row.corrupted, why),
            };
            *count += 1;
            why
        });
        self.tell(kind, &why);
    }

    fn tell(&self, kind: Kind, what: &str) {
        let at = now() - self.began;
        self.stories.lock().expect("no poison").push(format!("{at:9.3?} {}: {what}", kind.words()));
    }

    /// What went wrong, in lines: the first ones.
    pub(crate) fn stories(&self) -> String {
        let stories = self.stories.lock().expect("no poison");
        let first: Vec<&str> = stories.iter().take(40).map(String::as_str).collect();
        format!("{} troubles; the first:\n{}", stories.len(), first.join("\n"))
    }

    /// Of all kinds that went through the proxy.
    pub(crate) fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        for row in Kind::ALL.iter().filter(|&&kind| kind != Kind::Direct).map(|&kind| self.row(kind)) {
            sum.connections += row.connections;
            sum.bytes += row.bytes;
            sum.failed += row.failed;
            sum.cut += row.cut;
            sum.corrupted += row.corrupted;
            sum.stalled += row.stalled;
            sum.longest = sum.longest.max(row.longest);
        }
        sum
    }

    /// As a table of Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = "| kind | connections | MiB compared | failed to connect | cut | corrupted | stalled > 1 s | \
                         longest wait |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
        for kind in Kind::ALL {
            let row = self.row(kind);
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {} | {} | {} | {} ms |",
                kind.words(),
                row.connections,
                row.bytes >> 20,
                row.failed,
                row.cut,
                row.corrupted,
                row.stalled,
                row.longest.as_millis()
            );
        }
        table
    }
}
