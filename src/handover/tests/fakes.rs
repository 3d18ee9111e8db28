//! Both sides' worlds: connections in lists, a signpost that remembers.

use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
    fs::File,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

use crate::{
    config::Accelerate,
    control::{
        Clock, Estate, Expected, Heir, Ledger, ListenerSockets, Moving, Overrides, Provenance, Receipt, Refusal,
        SocketOrigin, UpgradeProgress, Will, WorkerLedger,
    },
    handover::{
        Arrival, Deadlines, Extra, Features, HandOver, Hello, Inheritance, Outcome, PID_FILE, Setback, Signpost,
        TakenOver, hand_over, take_over,
    },
    protocol::{
        DialFailure,
        proxy_header::{Accepts, Tlvs},
    },
    sys::{channel, pipe::Pipe},
    worker::{
        EndpointId, FlowState, Held, ListenerId, Parcel, ParcelAttempt, ParcelFlow, ParcelSession, ParcelSide,
        ParcelStage, Places, PoolId, Span, Trail, Via,
    },
};

pub(super) const OLD: u32 = 100;
pub(super) const NEW: u32 = 200;

/// Long enough for a busy machine.
pub(super) const PATIENT: Deadlines = Deadlines { ready: Duration::from_secs(60), step: Duration::from_secs(60) };
/// For the sides that wait for one that hangs.
pub(super) const SHORT: Deadlines = Deadlines { ready: Duration::from_millis(300), step: Duration::from_millis(300) };

pub(super) fn now() -> Instant {
    Clock::system().now().instant
}

fn side() -> (ParcelSide, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let side = ParcelSide { socket: ours.into(), received: 3, sent: 4, gathers: true, urgent: false, failed: false };
    (side, theirs)
}

/// A connection in one of the stages, and its client's end.
pub(in crate::handover) fn connection(id: u64, stage: ParcelStage) -> (Moving, UnixStream) {
    let (downstream, client) = side();
    let endpoint = matches!(stage, ParcelStage::Tunnel { .. }).then(|| ("db".to_owned(), "10.0.0.1:1".to_owned()));
    let parcel = Parcel {
        via: (id % 2 == 1).then(|| {
            let tlvs =
                Tlvs { authority: Some("example.org".into()), unique_id: Some(b"1"[..].into()), ..Tlvs::default() };
            let peer = Some("10.0.0.1:1".parse().unwrap());
            Box::new(Via { peer, destination: "192.0.2.9:443".parse().unwrap(), tlvs })
        }),
        id,
        listener: ListenerId(1),
        source: "192.0.2.1:99".parse().ok(),
        since: now(),
        progressed_at: now(),
        idle_timeout: Some(Duration::from_secs(9)),
        accelerate: Accelerate::Auto,
        pool: Some(PoolId(1)),
        trail: Trail {
            silent: true,
            attempts: 2,
            dialing_after: Span::of(Duration::from_micros(3)),
            connect_time: Span::of(Duration::from_millis(7)),
        },
        endpoint: endpoint.is_some().then_some(EndpointId(1)),
        hash: 77,
        downstream,
        stage,
        places: Places::default(),
    };
    let tried = vec![("db".to_owned(), "10.0.0.2:1".to_owned())];
    (Moving { listener: "web".to_owned(), pool: Some("db".to_owned()), endpoint, tried, parcel }, client)
}

pub(in crate::handover) fn tunnel(up: Held, down: Held) -> ParcelStage {
    ParcelStage::Tunnel {
        upstream: side().0,
        up: ParcelFlow { state: FlowState::Open, held: up },
        down: ParcelFlow { state: FlowState::Ending, held: down },
        upstream_ended_first: true,
        upstream_gone: false,
        sink_until: Some(now()),
    }
}

pub(in crate::handover) fn pipe(bytes: &[u8]) -> Held {
    let pipe = Pipe::new(4096).unwrap();
    let (read, write) = (pipe.read_end().try_clone().unwrap(), pipe.write_end().try_clone().unwrap());
    nix::unistd::write(&write, bytes).unwrap();
    Held::Pipe { read, write, held: bytes.len() }
}

pub(in crate::handover) fn dial() -> ParcelStage {
    dial_with(b"")
}

/// With what the client sent already.
pub(in crate::handover) fn dial_with(early: &[u8]) -> ParcelStage {
    let attempt = ParcelAttempt { upstream: side().0, begun: now(), deadline: now() };
    ParcelStage::Dial {
        early: early.to_vec(),
        retries_left: 2,
        failed: Some(DialFailure::TimedOut),
        tried: vec![EndpointId(2)],
        attempt: Some(attempt),
    }
}

pub(in crate::handover) fn session(incoming: usize) -> ParcelStage {
    ParcelStage::Session {
        session: ParcelSession::Respond { rest: b"rest".to_vec(), until: Some(now()) },
        incoming: vec![7; incoming],
        incoming_ended: true,
        outgoing: b"out".to_vec(),
        outgoing_ended: false,
        end_sent: false,
    }
}

/// One that waits for its PROXY header.
pub(in crate::handover) fn header() -> ParcelStage {
    let next = Box::new(ParcelSession::Relay { retries: 2 });
    let gathered = b"PROXY TCP4".to_vec();
    ParcelStage::Session {
        session: ParcelSession::Header { accepts: Accepts::Any, until: now(), gathered, next },
        incoming: Vec::new(),
        incoming_ended: false,
        outgoing: Vec::new(),
        outgoing_ended: false,
        end_sent: false,
    }
}

/// A connection of each kind in turn.
pub(in crate::handover) fn mixed(id: u64) -> Moving {
    let stage = match id % 4 {
        0 => tunnel(Held::Bytes(b"up".to_vec()), Held::Bytes(Vec::new())),
        1 => tunnel(pipe(b"piped"), Held::Bytes(b"down".to_vec())),
        2 => dial(),
        _ => session(100),
    };
    connection(id, stage).0
}

pub(super) fn plain(id: u64) -> Moving {
    connection(id, tunnel(Held::Bytes(Vec::new()), Held::Bytes(Vec::new()))).0
}

pub(super) fn ledger(turns: u64) -> Ledger {
    Ledger { workers: vec![WorkerLedger { turns, ..WorkerLedger::default() }], ..Ledger::default() }
}

pub(in crate::handover) fn will() -> Will {
    Will {
        generation: 7,
        applied_at: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
        started_at: SystemTime::UNIX_EPOCH,
        overrides: Overrides::default(),
        drains: Vec::new(),
        log_level: Some("debug".to_owned()),
        receipts: Vec::new(),
        upgrades: vec![(crate::control::Verdict::Refused, 2)],
        ledger: ledger(10),
        origin: crate::control::Origin::Candidate { who: "ann".to_owned() },
        history: Vec::new(),
        generations: Vec::new(),
        health: Vec::new(),
        slow_starts: Vec::new(),
        removals: Vec::new(),
    }
}

/// The predecessor's world.
#[derive(Default)]
pub(super) struct Old {
    pub(super) open: RefCell<VecDeque<Moving>>,
    pub(super) back: RefCell<Vec<Moving>>,
    /// Taken back ones are offered again.
    pub(super) stubborn: bool,
    pub(super) listeners: usize,
    pub(super) sockets_each: usize,
    pub(super) refuses_will: bool,
    pub(super) accepting: RefCell<bool>,
    pub(super) exports: RefCell<usize>,
    pub(super) resumed: RefCell<Option<Receipt>>,
    pub(super) retired: RefCell<Option<Receipt>>,
}

impl Old {
    pub(super) fn with(connections: impl IntoIterator<Item = Moving>) -> Self {
        Self {
            open: RefCell::new(connections.into_iter().collect()),
            listeners: 2,
            sockets_each: 2,
            accepting: RefCell::new(true),
            ..Self::default()
        }
    }

    /// Ids of the connections that it has.
    pub(super) fn ids(&self) -> BTreeSet<u64> {
        let (open, back) = (self.open.borrow(), self.back.borrow());
        open.iter().chain(back.iter()).map(|moving| moving.parcel.id).collect()
    }
}

impl Estate for Old {
    async fn will(&self) -> Result<Will, Refusal> {
        if self.refuses_will { Err(Refusal::Busy("a reload is in flight".to_owned())) } else { Ok(will()) }
    }

    async fn sockets(&self) -> Result<Vec<ListenerSockets>, Refusal> {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = socket.local_addr().unwrap().to_string();
        let listener = |index: usize| ListenerSockets {
            name: format!("listener-{index}"),
            address: "127.0.0.1:0".to_owned(),
            settings: String::new(),
            bound: bound.clone(),
            origin: SocketOrigin::Own,
            sockets: (0..self.sockets_each).map(|_| socket.try_clone().unwrap().into()).collect(),
        };
        Ok((0..self.listeners).map(listener).collect())
    }

    async fn stop_accepting(&self) -> Result<Expected, Refusal> {
        *self.accepting.borrow_mut() = false;
        let connections = self.open.borrow().len() as u64;
        Ok(Expected { connections, ..Expected::default() })
    }

    async fn export(&self, limit: usize) -> Result<Vec<Moving>, Refusal> {
        *self.exports.borrow_mut() += 1;
        let mut open = self.open.borrow_mut();
        let count = limit.min(open.len());
        Ok(open.drain(..count).collect())
    }

    async fn take_back(&self, connections: Vec<Moving>) {
        if self.stubborn {
            self.open.borrow_mut().extend(connections);
        } else {
            self.back.borrow_mut().extend(connections);
        }
    }

    async fn ledger(&self) -> Result<Ledger, Refusal> {
        Ok(ledger(1))
    }

    async fn open(&self) -> u64 {
        (self.open.borrow().len() + self.back.borrow().len()) as u64
    }

    async fn resume(&self, receipt: Receipt) {
        *self.accepting.borrow_mut() = true;
        *self.resumed.borrow_mut() = Some(receipt);
    }

    async fn retire(&self, receipt: Receipt) {
        *self.retired.borrow_mut() = Some(receipt);
    }
}

/// The successor's world.
#[derive(Default)]
pub(super) struct New {
    pub(super) taken: RefCell<Vec<Moving>>,
    pub(super) refuses: BTreeSet<u64>,
    pub(super) absorbed: RefCell<Vec<Ledger>>,
    pub(super) receipt: RefCell<Option<Receipt>>,
}

impl New {
    pub(super) fn ids(&self) -> BTreeSet<u64> {
        self.taken.borrow().iter().map(|moving| moving.parcel.id).collect()
    }
}

impl Heir for New {
    async fn import(&self, connections: Vec<Moving>) -> Vec<Moving> {
        let (back, kept) = connections.into_iter().partition(|moving| self.refuses.contains(&moving.parcel.id));
        self.taken.borrow_mut().extend::<Vec<_>>(kept);
        back
    }

    async fn absorb(&self, ledger: Ledger) {
        self.absorbed.borrow_mut().push(ledger);
    }

    async fn succeed(&self, receipt: Receipt) {
        *self.receipt.borrow_mut() = Some(receipt);
    }
}

/// Remembers whom it was pointed at.
#[derive(Debug, Clone, Default)]
pub(super) struct Post(Arc<Mutex<Vec<u32>>>);

impl Post {
    pub(super) fn last(&self) -> Option<u32> {
        self.0.lock().unwrap().last().copied()
    }
}

impl Signpost for Post {
    fn point_at(&mut self, pid: u32) -> Result<(), String> {
        self.0.lock().unwrap().push(pid);
        Ok(())
    }
}

pub(super) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(super) fn task(channel: OwnedFd, features: Features, deadlines: Deadlines) -> HandOver {
    HandOver {
        channel,
        successor: None,
        by: Provenance { who: "test".to_owned(), why: "because".to_owned() },
        version: "0.1.0".to_owned(),
        pid: OLD,
        candidate: Some("[log]".to_owned()),
        extras: vec![Extra { name: PID_FILE.to_owned(), fd: File::open("/dev/null").unwrap().into() }],
        features,
        deadlines,
        clock: Clock::system(),
    }
}

/// What the predecessor's side of a run shows.
pub(super) struct Handed {
    pub(super) receipt: Receipt,
    pub(super) progress: Vec<UpgradeProgress>,
    pub(super) post: Post,
}

/// Runs the predecessor's story here.
pub(super) fn predecessor(old: &Old, task: HandOver) -> Handed {
    let (progress, mut seen) = mpsc::channel(1000);
    let mut post = Post::default();
    let receipt = runtime().block_on(hand_over(old, task, &mut post, progress));
    let mut all = Vec::new();
    while let Ok(each) = seen.try_recv() {
        all.push(each);
    }
    Handed { receipt, progress: all, post }
}

pub(super) fn hello(features: Features) -> Hello {
    Hello { version: "0.2.0".to_owned(), pid: NEW, workers: 2, features }
}

/// What the successor's side shows.
pub(super) struct Taken {
    pub(super) inheritance: Inheritance,
    pub(super) over: Option<TakenOver>,
    pub(super) heir: New,
    pub(super) post: Post,
}

/// The successor's story as its main program tells it.
pub(super) fn successor(
    channel: OwnedFd,
    features: Features,
    deadlines: Deadlines,
    heir: New,
) -> Result<Taken, Setback> {
    let mut arrival = Arrival::new(channel, Clock::system(), deadlines)?;
    arrival.offer()?;
    arrival.hello(&hello(features))?;
    let inheritance = arrival.inherit()?;
    let mut post = Post::default();
    if inheritance.predecessor_gone {
        return Ok(Taken { inheritance, over: None, heir, post });
    }
    let over = match arrival.ready()? {
        Outcome::Go(succession) => Some(runtime().block_on(take_over(&heir, succession, &mut post))),
        Outcome::PredecessorGone => None,
    };
    Ok(Taken { inheritance, over, heir, post })
}

pub(super) type Running = JoinHandle<Result<Taken, Setback>>;

/// The predecessor's end of the channel, and a successor that runs.
pub(super) fn with_successor(features: Features, refuses: BTreeSet<u64>) -> (OwnedFd, Running) {
    let (ours, theirs) = channel::pair().unwrap();
    let run = move || successor(theirs, features, PATIENT, New { refuses, ..New::default() });
    (ours, thread::spawn(run))
}
