//! What must come of each fault, as `docs/upgrade-protocol.md` promises.

use std::fmt;

pub(super) use crate::support::intermediary::Side;

/// What befalls a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Kill,
    Stop,
    Hang,
    Exit,
    WrongVersion,
    Garbage,
    NoDescriptors,
    FullDisk,
}

/// When it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// The successor has said Hello.
    BeforeSockets,
    /// It has all sockets, and has not said Ready.
    BeforeReady,
    /// It is ready; Go is on its way.
    AtReady,
    /// The first batch is the successor's.
    Moving,
    /// All that can move has; the rest is drained by the predecessor.
    Draining,
}

pub(super) const FAULTS: [Fault; 8] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Hang,
    Fault::Exit,
    Fault::WrongVersion,
    Fault::Garbage,
    Fault::NoDescriptors,
    Fault::FullDisk,
];

pub(super) const POINTS: [Point; 5] =
    [Point::BeforeSockets, Point::BeforeReady, Point::AtReady, Point::Moving, Point::Draining];

/// One cell of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) side: Side,
    pub(super) point: Point,
    pub(super) fault: Fault,
}

/// Who serves in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    Old,
    New,
    Nobody,
}

/// What new connections meet meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newcomers {
    /// All are served.
    Served,
    /// None is refused; those that the killed process held are lost.
    NotRefused,
    /// None is refused, though one for which there are no descriptors is turned
    /// away.
    Starved,
    /// Nobody has the sockets for a while, or any more.
    MayBeRefused,
}

/// What must come of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) serves: Serves,
    /// The receipt's; `None`: who could have written it is dead.
    pub(super) verdict: Option<&'static str>,
    /// The receipt's reason has one of these words; empty: no matter which.
    pub(super) reason: &'static [&'static str],
    /// Whether relayed connections go on, which can move.
    pub(super) relayed: bool,
    /// Whether sessions go on, which the successor is told not to know.
    pub(super) sessions: bool,
    pub(super) newcomers: Newcomers,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Old => "old",
            Side::New => "new",
        };
        let point = match self.point {
            Point::BeforeSockets => "before the fds",
            Point::BeforeReady => "fds, not ready",
            Point::AtReady => "at ready",
            Point::Moving => "during the move",
            Point::Draining => "during the drain",
        };
        let fault = match self.fault {
            Fault::Kill => "kill -9",
            Fault::Stop => "SIGSTOP",
            Fault::Hang => "hang",
            Fault::Exit => "exit 3",
            Fault::WrongVersion => "wrong version",
            Fault::Garbage => "garbage",
            Fault::NoDescriptors => "EMFILE",
            Fault::FullDisk => "full disk",
        };
        write!(f, "{side}  {point:<16}  {fault:<13}")
    }
}

const REFUSED: Outcome = Outcome {
    serves: Serves::Old,
    verdict: Some("refused"),
    reason: &[],
    relayed: true,
    sessions: true,
    newcomers: Newcomers::Served,
};
const REVERTED: Outcome = Outcome { verdict: Some("reverted"), ..REFUSED };
/// It comes to its end, but for what could not move.
const UPGRADED: Outcome = Outcome { serves: Serves::New, verdict: Some("draining"), ..REFUSED };

/// The successor's own words are still on their way through the test when its
/// end is seen; between two netds they come first.
const LAST_WORD_LATE: &str = "exited with status 1";

/// As above, by a process with hardly a descriptor to spare.
const STARVED: Outcome = Outcome { newcomers: Newcomers::Starved, ..UPGRADED };

/// What must come of it; `Err`: why there is no such case.
pub(super) fn expected(cell: Cell) -> Result<Outcome, &'static str> {
    if cell.fault == Fault::Exit && !cfg!(target_arch = "x86_64") {
        return Err("not on this kind of machine: nothing can make it exit at this point");
    }
    match cell.side {
        Side::New => expected_of_new(cell.point, cell.fault),
        Side::Old => expected_of_old(cell.point, cell.fault),
    }
}

fn expected_of_new(point: Point, fault: Fault) -> Result<Outcome, &'static str> {
    let early = point == Point::BeforeSockets || point == Point::BeforeReady;
    let reason: &'static [&'static str] = match fault {
        Fault::Kill => &["signal 9"],
        Fault::Exit => &["status 3"],
        Fault::Stop | Fault::Hang => &["hangs"],
        Fault::WrongVersion => &["version"],
        Fault::Garbage => &["the channel to the successor"],
        Fault::NoDescriptors => &["file descriptors", "Too many open files", LAST_WORD_LATE],
        Fault::FullDisk => &[],
    };
    Ok(match (point, fault) {
        (_, Fault::FullDisk) => UPGRADED,
        (_, Fault::NoDescriptors) if !early => STARVED,
        _ if early => Outcome { reason, ..REFUSED },
        // What it had accepted by itself goes with it.
        (Point::AtReady, Fault::WrongVersion | Fault::Garbage) => {
            Outcome { reason, newcomers: Newcomers::NotRefused, ..REVERTED }
        }
        (Point::AtReady, _) => Outcome { reason, ..REVERTED },
        (Point::Moving, _) => Outcome { reason, relayed: false, newcomers: Newcomers::NotRefused, ..REVERTED },
        // It is the daemon by now: the same as killing any netd.
        (_, Fault::Kill | Fault::Exit) => {
            Outcome { serves: Serves::Nobody, relayed: false, newcomers: Newcomers::MayBeRefused, ..UPGRADED }
        }
        (_, Fault::WrongVersion) => return Err("it has nothing more to say"),
        (_, Fault::NoDescriptors) => STARVED,
        (_, Fault::Stop | Fault::Hang | Fault::Garbage) => UPGRADED,
    })
}

fn expected_of_old(point: Point, fault: Fault) -> Result<Outcome, &'static str> {
    let early = point == Point::BeforeSockets || point == Point::BeforeReady;
    let dies = Outcome { verdict: None, relayed: false, sessions: false, ..UPGRADED };
    Ok(match (point, fault) {
        (_, Fault::FullDisk) => return Err("there is one disk: see new"),
        // Nobody has the sockets until the successor has bound them.
        (Point::BeforeSockets, Fault::Kill | Fault::Exit) => Outcome { newcomers: Newcomers::MayBeRefused, ..dies },
        (Point::BeforeReady | Point::AtReady, Fault::Kill | Fault::Exit) => {
            Outcome { newcomers: Newcomers::NotRefused, ..dies }
        }
        (Point::Moving, Fault::Kill | Fault::Exit) => {
            Outcome { relayed: true, newcomers: Newcomers::NotRefused, ..dies }
        }
        (Point::Draining, Fault::Kill | Fault::Exit) => Outcome { sessions: false, ..UPGRADED },
        // The successor gives up first, as the predecessor may wake up.
        (_, Fault::Stop | Fault::Hang) if early => Outcome { reason: &["status 1", "said nothing"], ..REFUSED },
        (_, Fault::Stop | Fault::Hang) => UPGRADED,
        (_, Fault::WrongVersion) if early => Outcome { reason: &["version", LAST_WORD_LATE], ..REFUSED },
        (_, Fault::Garbage) if early => REFUSED,
        (Point::AtReady, Fault::WrongVersion | Fault::Garbage) => REVERTED,
        (Point::Moving, Fault::WrongVersion | Fault::Garbage) => {
            Outcome { relayed: false, newcomers: Newcomers::NotRefused, ..REVERTED }
        }
        (Point::BeforeSockets, Fault::NoDescriptors) => {
            Outcome { reason: &["Too many open files"], newcomers: Newcomers::Starved, ..REFUSED }
        }
        (_, Fault::NoDescriptors) => STARVED,
        (_, Fault::WrongVersion | Fault::Garbage) => UPGRADED,
    })
}
