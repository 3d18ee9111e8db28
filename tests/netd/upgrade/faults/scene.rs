//! One cell, played with the real programs.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use netd::pb::handover::{Body, Envelope, body::Kind, envelope::Carrier};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use prost::Message;
use serde_json::Value;

use super::table::{Cell, Fault, Newcomers, Outcome, Point, Serves, Side};
use crate::support::{
    Client, Daemon, Finished, Origin, PATIENCE, Setup,
    child::limit_files_of,
    clock::pause,
    eventually,
    intermediary::{Intermediary, Look, Wire},
    manager::{Listening, Manager},
    proc::Process,
    tracer::{self, Hanging},
};

const HELLO: u32 = 2;
const COMPLETE: u32 = 7;
const GO: u32 = 9;
const MOVED: u32 = 14;
const OFFER: u32 = 1;

/// Connections that are open when it happens.
const RELAYED: usize = 8;
const SESSIONS: usize = 2;
/// Descriptors left to a process that has too few: enough to relay the few
/// connections that are new, too few for what an upgrade needs.
const SPARE: u64 = 5;
/// And to one that has its listening sockets still to duplicate: 16.
const SPARE_BEFORE: u64 = 2;

/// What has been done to a process, and may be undone.
#[derive(Debug, Default)]
struct Done {
    happened: bool,
    stopped: Option<Process>,
    hanging: Option<Hanging>,
}

impl Done {
    fn undo(&mut self) {
        self.hanging = None;
        if let Some(process) = self.stopped.take() {
            // It may have been killed meanwhile.
            let _ = kill(Pid::from_raw(process.0), Signal::SIGCONT);
        }
    }
}

pub(super) fn play(cell: Cell, outcome: Outcome) -> String {
    let origin = Origin::echoing();
    let (mut daemon, manager) = start(cell, &origin);
    let manager = manager.listen();
    let old = daemon.process;
    let mut relayed: Vec<Client> = (0..RELAYED).map(|_| daemon.connect("front")).collect();
    let mut sessions: Vec<Client> = (0..SESSIONS).map(|_| daemon.connect("echo")).collect();
    relayed.iter_mut().chain(&mut sessions).for_each(|client| client.echo(b"before"));
    let newcomers = Load::start(daemon.address("front"));

    let done = Arc::new(Mutex::new(Done::default()));
    let intermediary = Intermediary::at(&daemon.path(""), "upgrade::faults::the_new_binary");
    let mut asked = daemon.netctl_command(&["upgrade", "-o", "json", "--timeout", "100s", "--binary"]);
    asked.arg(intermediary.binary());
    let asked = thread::spawn(move || Finished::run(&mut asked));
    let wire = intermediary.pass_on(look(cell, old, disk(&daemon, old), Arc::clone(&done)));
    let new = wire.successor;
    let guard = Guard { wire: Arc::clone(&wire), new };
    if cell.point != Point::Draining {
        eventually("it happens", || done.lock().expect("no panic").happened.then_some(()));
        outlast(cell, &asked, new, &done);
    }
    let receipt = receipt(&asked.join().expect("netctl ends"));
    if cell.point == Point::Draining {
        befall(cell, &wire, old, &disk(&daemon, old), &mut done.lock().expect("no panic"));
        outlast_drain(cell, &done);
    }
    let told = judge_receipt(cell, outcome, receipt.as_ref());
    settle(&mut daemon, outcome, old, new);
    let (served, refused, broken) = newcomers.stop(outcome);
    judge_held(&mut relayed, outcome.relayed, "relayed");
    judge_held(&mut sessions, outcome.sessions, "sessions");
    judge_owner(&daemon, &manager, outcome, old, new);
    drop((relayed, sessions));
    if outcome.serves == Serves::New && outcome.verdict.is_some() {
        eventually("the old process ends", || (!old.is_alive()).then_some(()));
    }
    drop(guard);
    format!("{told}; {:?} serves; newcomers: {served} served, {broken} lost, {refused} refused", outcome.serves)
}

/// Ends what a scene leaves.
struct Guard {
    wire: Arc<Wire>,
    new: Process,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.wire.end_it();
        if thread::panicking() && self.new.is_alive() {
            let _ = kill(Pid::from_raw(self.new.0), Signal::SIGKILL);
        }
    }
}

fn start(cell: Cell, origin: &Origin) -> (Daemon, Manager) {
    let disk = if cell.fault == Fault::FullDisk { "DIR/disk/" } else { "DIR/" };
    // Each worker has sockets of its own: more than can be duplicated then.
    let workers = if cell.fault == Fault::NoDescriptors && cell.point == Point::BeforeSockets { 8 } else { 2 };
    let text = super::super::config(
        origin,
        &format!(
            "[workers]\ncount = {workers}\n[process]\npid_file = \"{disk}netd.pid\"\n[drain]\ntimeout = \"60s\"\n"
        ),
    );
    let setup = Setup::config(&text);
    let notify = setup.path("notify");
    let manager = Manager::listening_at(&notify);
    let mut setup = setup.env("NOTIFY_SOCKET", notify.to_str().expect("UTF-8"));
    if cell.fault == Fault::FullDisk {
        let directory = setup.path("disk");
        fs::create_dir(&directory).expect("a directory");
        let mount = format!("mount -t tmpfs -o size=64k none '{}' && exec \"$@\"", directory.display());
        setup = setup.through("unshare", &["--mount", "sh", "-c", &mount, "sh"]);
    }
    (setup.start(), manager)
}

/// Where the pid file is, as the test can reach it.
fn disk(daemon: &Daemon, owner: Process) -> PathBuf {
    let directory = daemon.path("disk");
    if !directory.exists() {
        return daemon.path("");
    }
    PathBuf::from(format!("/proc/{}/root{}", owner.0, directory.display()))
}

/// Waits for the point, and lets it happen there. Sessions are made unknown to
/// the successor, so that something is left to drain.
fn look(cell: Cell, old: Process, disk: PathBuf, done: Arc<Mutex<Done>>) -> Look {
    let wrong = cell.fault == Fault::WrongVersion;
    let trigger = match cell.point {
        Point::BeforeSockets if wrong && cell.side == Side::Old => Some(OFFER),
        Point::BeforeSockets => Some(HELLO),
        Point::BeforeReady => Some(COMPLETE),
        Point::AtReady => Some(GO),
        Point::Moving => Some(MOVED),
        Point::Draining => None,
    };
    let mut due = false;
    Box::new(move |wire, from, envelope| {
        alter(envelope, |kind| {
            if let Kind::Hello(hello) = kind {
                hello.features.retain(|word| word != "session");
            }
        });
        let mut done = done.lock().expect("no panic");
        if !done.happened && Some(envelope.kind) == trigger {
            if wrong {
                due = true;
            } else {
                befall(cell, wire, old, &disk, &mut done);
            }
            done.happened = true;
        }
        if due && from == cell.side {
            due = false;
            speak_another_version(envelope);
        }
    })
}

fn alter(envelope: &mut Envelope, change: impl FnOnce(&mut Kind)) {
    let Some(Carrier::Body(bytes)) = &mut envelope.carrier else { return };
    let mut body = Body::decode(bytes.as_slice()).expect("a body of the protocol");
    if let Some(kind) = &mut body.kind {
        change(kind);
    }
    *bytes = body.encode_to_vec();
}

fn speak_another_version(envelope: &mut Envelope) {
    if envelope.version != 0 {
        envelope.version = 99;
    }
    alter(envelope, |kind| match kind {
        Kind::Hello(hello) => hello.version = 99,
        Kind::Offer(offer) => (offer.version_min, offer.version_max) = (98, 99),
        _ => {}
    });
}

fn befall(cell: Cell, wire: &Wire, old: Process, disk: &Path, done: &mut Done) {
    let process = if cell.side == Side::Old { old } else { wire.successor };
    match cell.fault {
        Fault::Kill => {
            kill(Pid::from_raw(process.0), Signal::SIGKILL).expect("a process to kill");
            eventually("it is gone", || (!process.is_alive()).then_some(()));
        }
        Fault::Stop => {
            kill(Pid::from_raw(process.0), Signal::SIGSTOP).expect("a process to stop");
            done.stopped = Some(process);
        }
        Fault::Hang => done.hanging = Some(Hanging::from_now(process)),
        #[cfg(target_arch = "x86_64")]
        Fault::Exit => {
            tracer::exit_with_3(process);
            eventually("it is gone", || (!process.is_alive()).then_some(()));
        }
        #[cfg(not(target_arch = "x86_64"))]
        Fault::Exit => unreachable!("no such cell"),
        Fault::WrongVersion => {
            let envelope = Envelope { version: 99, sequence: 99, kind: 16, ..Envelope::default() };
            wire.forge(cell.side, &envelope.encode_to_vec());
        }
        Fault::Garbage => wire.forge(cell.side, b"\xff\xff\xff garbage"),
        Fault::NoDescriptors => {
            let before = cell.side == Side::Old && cell.point == Point::BeforeSockets;
            let spare = if before { SPARE_BEFORE } else { SPARE };
            limit_files_of(process, limit_with(&process.fds(), spare));
        }
        Fault::FullDisk => fill(disk),
    }
    done.happened = true;
}

/// The limit below which so many numbers are free.
fn limit_with(fds: &[i32], spare: u64) -> u64 {
    let free = (0..).filter(|number| !fds.contains(number));
    let last = free.into_iter().nth(usize::try_from(spare).expect("few")).expect("there are more numbers than files");
    u64::try_from(last).expect("no negative number")
}

fn fill(disk: &Path) {
    let mut file = File::create(disk.join("full")).expect("a disk with room");
    let error = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
}

/// Waits until the others have made up their minds, then lets go of what was
/// held.
fn outlast(cell: Cell, asked: &JoinHandle<Finished>, new: Process, done: &Mutex<Done>) {
    if !matches!(cell.fault, Fault::Stop | Fault::Hang) {
        return;
    }
    let early = matches!(cell.point, Point::BeforeSockets | Point::BeforeReady);
    match cell.side {
        Side::New => eventually("the old one has decided", || asked.is_finished().then_some(())),
        Side::Old if early => eventually("the successor gives up", || (!new.is_alive()).then_some(())),
        // Longer than any deadline of a step: the successor serves and waits.
        Side::Old => pause(Duration::from_secs(7)),
    }
    done.lock().expect("no panic").undo();
}

fn outlast_drain(cell: Cell, done: &Mutex<Done>) {
    if matches!(cell.fault, Fault::Stop | Fault::Hang) {
        pause(Duration::from_secs(7));
    }
    done.lock().expect("no panic").undo();
}

/// The last line of netctl; `None`: it was cut off.
fn receipt(asked: &Finished) -> Option<Value> {
    let last = asked.stdout.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok())?;
    let ended = last["ended"].clone();
    (!ended.is_null()).then_some(ended)
}

fn judge_receipt(cell: Cell, outcome: Outcome, receipt: Option<&Value>) -> String {
    let verdict = receipt.and_then(|receipt| receipt["verdict"].as_str());
    assert_eq!(verdict, outcome.verdict, "the verdict: {receipt:?}");
    let Some(receipt) = receipt else { return "no receipt".to_owned() };
    let reason = receipt["reason"].as_str().unwrap_or_default();
    let fits = outcome.reason.is_empty() || outcome.reason.iter().any(|word| reason.contains(word));
    assert!(fits, "`{reason}` has none of {:?}", outcome.reason);
    let failed = matches!(outcome.verdict, Some("refused" | "reverted"));
    assert_eq!(failed, !reason.is_empty() && failed, "the operator is told why");
    let lost = receipt["lost"].as_u64().unwrap_or_default();
    let least = if cell.point == Point::Moving && failed && !outcome.relayed { RELAYED as u64 } else { 0 };
    assert!(lost >= least && (least > 0 || lost == 0), "{lost} are lost, and it must be at least {least}");
    format!("{} ({reason}), lost {lost}", outcome.verdict.unwrap_or_default())
}

/// From here on the daemon is who it should be.
fn settle(daemon: &mut Daemon, outcome: Outcome, old: Process, new: Process) {
    match outcome.serves {
        Serves::Old => {
            eventually("the successor is gone", || (!new.is_alive()).then_some(()));
            assert!(old.is_alive(), "the old process lives");
        }
        Serves::New | Serves::Nobody => daemon.replaced_by(new),
    }
    let serving = if outcome.serves == Serves::Old { old } else { new };
    if outcome.serves != Serves::Nobody && outcome.newcomers != Newcomers::Starved {
        eventually("the one that should answers operators", || {
            let status = daemon.netctl(&["status", "-o", "json"]);
            (status.code() == Some(0) && status.json()["pid"] == serving.0).then_some(())
        });
    }
}

/// Connections that were open are, or are not.
fn judge_held(clients: &mut [Client], live: bool, what: &str) {
    for client in clients {
        if live {
            client.try_echo(b"after").unwrap_or_else(|error| panic!("{what}: {error}"));
        } else {
            let ended = eventually("it is closed", || match client.try_echo(b"after") {
                Ok(()) => Some(None),
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(error) => Some(Some(error.kind())),
            });
            assert!(ended.is_some(), "{what}: they should be lost");
        }
    }
}

/// One process owns the pid file and the main pid.
fn judge_owner(daemon: &Daemon, manager: &Listening, outcome: Outcome, old: Process, new: Process) {
    let owner = match outcome.serves {
        Serves::Old => old,
        Serves::New => new,
        Serves::Nobody => return,
    };
    let file = disk(daemon, owner).join("netd.pid");
    let written = eventually("the pid file names it", || {
        let text = fs::read_to_string(&file).ok()?;
        (text.trim() == owner.0.to_string()).then_some(text)
    });
    assert_eq!(written.trim(), owner.0.to_string());
    let named = eventually("the service manager knows it", || {
        // It knows the first by itself.
        let last = manager.last("MAINPID").unwrap_or_else(|| old.0.to_string());
        (last == owner.0.to_string()).then_some(last)
    });
    assert_eq!(named, owner.0.to_string());
}

/// Somebody who connects all the time.
struct Load {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64, Vec<String>)>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        let (one, once) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (mut served, mut refused, mut broken) = (0, 0, Vec::new());
            while !stop.load(Ordering::Acquire) {
                match come_and_go(address, &stop) {
                    Ok(()) => {
                        served += 1;
                        // Nobody waits for more than the first.
                        let _ = one.send(());
                    }
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
                    Err(_) if stop.load(Ordering::Acquire) => {}
                    Err(error) => broken.push(error.to_string()),
                }
                pause(Duration::from_millis(2));
            }
            (served, refused, broken)
        });
        once.recv_timeout(PATIENCE).expect("the first is served");
        Self { enough, thread }
    }

    /// Answers how many were served, refused, lost; and judges them.
    fn stop(self, outcome: Outcome) -> (u64, u64, usize) {
        self.enough.store(true, Ordering::Release);
        let (served, refused, broken) = self.thread.join().expect("no panic");
        match outcome.newcomers {
            Newcomers::Served => {
                assert!(refused == 0 && broken.is_empty(), "{refused} refused, {broken:?}")
            }
            Newcomers::NotRefused | Newcomers::Starved => assert_eq!(refused, 0, "refused"),
            Newcomers::MayBeRefused => {}
        }
        (served, refused, broken.len())
    }
}

fn come_and_go(address: SocketAddr, stop: &AtomicBool) -> std::io::Result<()> {
    let mut client = Client::try_connect(address)?;
    client.stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    client.stream.write_all(b"x")?;
    loop {
        match std::io::Read::read(&mut client.stream, &mut [0; 8]) {
            Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof)),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !stop.load(Ordering::Acquire) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
