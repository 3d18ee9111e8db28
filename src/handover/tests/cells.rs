//! Every way to fail, at every step, on either side. Each cell is checked for
//! what must never happen: a connection in two hands or in none, an owner that
//! does not serve, a signpost that shows the wrong way.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::fakes::*;
use crate::{
    control::{Clock, Verdict},
    handover::{
        Deadlines, Features, Setback,
        codec::{Codec, Incoming, Kind, Message},
        convert,
    },
    pb::handover as pb,
    sys::channel::{self, Interest},
};

/// What a side does instead of its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Close,
    Hang,
    Garbage,
    Wrong,
    NotUnderstood,
}

const FAULTS: [Fault; 5] = [Fault::Close, Fault::Hang, Fault::Garbage, Fault::Wrong, Fault::NotUnderstood];

/// A side that keeps to the protocol up to a point.
pub(super) struct Puppet {
    pub(super) socket: OwnedFd,
    pub(super) codec: Codec,
}

impl Puppet {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, codec: Codec::new() }
    }

    pub(super) fn say(&mut self, kind: Kind) {
        self.say_with(kind, &[]);
    }

    fn say_with(&mut self, kind: Kind, fds: &[OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let framed = self.codec.frame(kind, fds.len()).unwrap();
        // The other side may be gone.
        let _ = framed.send(self.socket.as_fd(), &fds);
    }

    pub(super) fn next(&mut self) -> Option<Message> {
        loop {
            match self.codec.receive(self.socket.as_fd()) {
                Ok(Incoming::Message(message)) => return Some(message),
                Ok(_) => return None,
                Err(fault) if fault.would_block() => {
                    channel::wait(self.socket.as_fd(), Interest::Read, Duration::from_secs(60)).unwrap();
                }
                Err(_) => return None,
            }
        }
    }

    /// `sequence`: of what is to be answered.
    fn misbehave(mut self, fault: Fault, sequence: u64) {
        match fault {
            Fault::Close => return,
            Fault::Hang => {}
            Fault::Garbage => channel::send(self.socket.as_fd(), b"\xff\xff\xffgarbage", &[]).unwrap(),
            Fault::Wrong => self.say(Kind::Bye(pb::Bye {})),
            Fault::NotUnderstood => self.say(Kind::NotUnderstood(pb::NotUnderstood { sequence, kind: 99 })),
        }
        // Until the other side gives up.
        while self.next().is_some() {}
    }
}

/// Where a successor fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Offer,
    Will,
    Extras,
    Sockets,
    Complete,
    Go,
    TakeOver,
    Move,
    AfterGot,
    SecondMove,
    Settle,
}

const STEPS: [At; 11] = [
    At::Offer,
    At::Will,
    At::Extras,
    At::Sockets,
    At::Complete,
    At::Go,
    At::TakeOver,
    At::Move,
    At::AfterGot,
    At::SecondMove,
    At::Settle,
];

type Ids = Arc<Mutex<BTreeSet<u64>>>;

/// A successor that fails there; answers nothing more. `touched` are the
/// connections that it may have read from.
fn failing_successor(socket: OwnedFd, at: At, fault: Fault, touched: &Ids) {
    let mut puppet = Puppet::new(socket);
    let mut moves = 0;
    while let Some(Message { kind, sequence, fds: _ }) = puppet.next() {
        let (step, answer) = match kind {
            Kind::Offer(_) => (
                At::Offer,
                Kind::Hello(pb::Hello {
                    version: 1,
                    features: Features::all().words().to_vec(),
                    netd_version: "0.2.0".to_owned(),
                    pid: NEW,
                    workers: 1,
                }),
            ),
            Kind::Will(_) => (At::Will, Kind::Got(pb::Got { sequence })),
            Kind::Extras(_) => (At::Extras, Kind::Got(pb::Got { sequence })),
            Kind::Sockets(_) => (At::Sockets, Kind::Got(pb::Got { sequence })),
            Kind::Complete(pb::Complete { sockets, extras }) => {
                (At::Complete, Kind::Ready(pb::Ready { sockets, extras }))
            }
            Kind::Go(_) => (At::Go, Kind::Serving(pb::Serving {})),
            Kind::TakeOver(_) => (At::TakeOver, Kind::Owner(pb::Owner::default())),
            Kind::Move(batch) => {
                moves += 1;
                let step = if moves == 1 { At::Move } else { At::SecondMove };
                if step == at {
                    return puppet.misbehave(fault, sequence);
                }
                touched.lock().unwrap().extend(batch.connections.iter().map(|each| each.id));
                puppet.say(Kind::Got(pb::Got { sequence }));
                let taken = u32::try_from(batch.connections.len()).unwrap();
                (At::AfterGot, Kind::Moved(pb::Moved { sequence, taken, ..pb::Moved::default() }))
            }
            Kind::Settle(_) => (At::Settle, Kind::Done(pb::Done {})),
            _ => return,
        };
        if step == at {
            return puppet.misbehave(fault, sequence);
        }
        puppet.codec.version = 1;
        if matches!(answer, Kind::Hello(_)) {
            puppet.codec.version = 0;
            puppet.say(answer);
            puppet.codec.version = 1;
        } else {
            puppet.say(answer);
        }
    }
}

/// Short only where the other side hangs, and not before it does: a busy
/// machine is slow enough to look like that.
fn deadlines(at: At, fault: Fault) -> Deadlines {
    match fault {
        Fault::Hang if at < At::Go => SHORT,
        Fault::Hang => Deadlines { step: Duration::from_secs(1), ..PATIENT },
        _ => PATIENT,
    }
}

#[test]
fn a_successor_that_fails_at_any_step_leaves_the_predecessor_in_charge() {
    for at in STEPS {
        for fault in FAULTS {
            let cell = format!("{at:?} x {fault:?}");
            let all: BTreeSet<u64> = (0..150).collect();
            let old = Old::with(all.iter().map(|id| plain(*id)));
            let (ours, theirs) = channel::pair().unwrap();
            let touched = Ids::default();
            let seen = Arc::clone(&touched);
            let failing = thread::spawn(move || failing_successor(theirs, at, fault, &seen));
            let handed = predecessor(&old, task(ours, Features::all(), deadlines(at, fault)));
            failing.join().unwrap();

            let receipt = handed.receipt;
            let expected = if at < At::Go { Verdict::Refused } else { Verdict::Reverted };
            assert_eq!(receipt.verdict, expected, "{cell}: {}", receipt.reason);
            assert!(!receipt.reason.is_empty(), "{cell}");
            assert!(*old.accepting.borrow() && old.retired.borrow().is_none(), "{cell}");
            assert_eq!(old.resumed.borrow().as_ref().map(|receipt| receipt.verdict), Some(expected), "{cell}");
            let pointed = if at < At::TakeOver { None } else { Some(OLD) };
            assert_eq!(handed.post.last(), pointed, "{cell}");
            // Each is here or was in the other's hand, and none is both.
            let touched = touched.lock().unwrap();
            assert_eq!(receipt.lost, touched.len() as u64, "{cell}");
            assert!(old.ids().is_disjoint(&touched), "{cell}");
            assert_eq!(old.ids().union(&touched).copied().collect::<BTreeSet<_>>(), all, "{cell}");
        }
    }
}

#[test]
fn an_answer_that_came_while_this_process_stood_still_counts() {
    // Go and Moved are there before the predecessor looks, with no time left.
    let old = Old::with((0..10).map(plain));
    let (ours, theirs) = channel::pair().unwrap();
    let answered = thread::spawn(move || {
        let mut puppet = Puppet::new(theirs);
        puppet.say(Kind::Hello(pb::Hello {
            version: 1,
            netd_version: "0.2.0".to_owned(),
            pid: NEW,
            ..Default::default()
        }));
        puppet.codec.version = 1;
        for sequence in 2..=4 {
            puppet.say(Kind::Got(pb::Got { sequence }));
        }
        puppet.say(Kind::Ready(pb::Ready { sockets: 4, extras: 1 }));
        puppet.say(Kind::Serving(pb::Serving {}));
        puppet.say(Kind::Owner(pb::Owner::default()));
        puppet.say(Kind::Done(pb::Done {}));
        puppet
    });
    let mut puppet = answered.join().unwrap();
    let none = Deadlines { ready: Duration::ZERO, step: Duration::ZERO };
    let handed = predecessor(&old, task(ours, Features::all(), none));
    // It said that it knows no kind of connection, so all are drained.
    assert_eq!((handed.receipt.verdict, handed.receipt.drained), (Verdict::Draining, 10), "{}", handed.receipt.reason);
    while let Some(message) = puppet.next() {
        assert!(!matches!(message.kind, Kind::CalledOff(_)));
    }
}

#[test]
fn a_successor_of_another_version_is_refused() {
    let old = Old::with([plain(1)]);
    let (ours, theirs) = channel::pair().unwrap();
    let other = thread::spawn(move || {
        let mut puppet = Puppet::new(theirs);
        puppet.next();
        puppet.say(Kind::Hello(pb::Hello { version: 9, ..Default::default() }));
        while puppet.next().is_some() {}
    });
    let handed = predecessor(&old, task(ours, Features::all(), SHORT));
    other.join().unwrap();
    assert_eq!(handed.receipt.verdict, Verdict::Refused);
    assert!(handed.receipt.reason.contains("version 9"), "{}", handed.receipt.reason);
}

#[test]
fn a_predecessor_of_another_version_is_refused_with_both_versions() {
    let (ours, theirs) = channel::pair().unwrap();
    Puppet::new(ours.try_clone().unwrap()).say(Kind::Offer(pb::Offer {
        version_min: 7,
        version_max: 8,
        netd_version: "9.0.0".to_owned(),
        ..Default::default()
    }));
    let Err(Setback::Garbage(text)) = successor(theirs, Features::all(), SHORT, New::default()) else { panic!() };
    assert!(text.contains("7 to 8") && text.contains("9.0.0"), "{text}");
}

/// What a predecessor says, up to and including Go.
fn prologue() -> Vec<(Kind, Vec<OwnedFd>)> {
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let offer = pb::Offer {
        version_min: 1,
        version_max: 1,
        features: Features::all().words().to_vec(),
        netd_version: "0.1.0".to_owned(),
        pid: OLD,
        candidate: None,
    };
    let listener =
        pb::ListenerSockets { name: "web".to_owned(), origin: "own".to_owned(), count: 1, ..Default::default() };
    vec![
        (Kind::Offer(offer), Vec::new()),
        (Kind::Will(convert::to_will(&will())), Vec::new()),
        (Kind::Sockets(pb::Sockets { listeners: vec![listener] }), vec![null()]),
        (Kind::Extras(pb::Extras { names: vec!["pid-file".to_owned()] }), vec![null()]),
        (Kind::Complete(pb::Complete { sockets: 1, extras: 1 }), Vec::new()),
        (Kind::Go(pb::Go::default()), Vec::new()),
    ]
}

#[test]
fn a_predecessor_that_fails_before_go() {
    for steps in 0..=5 {
        for fault in FAULTS {
            let cell = format!("after {steps} messages x {fault:?}");
            let (ours, theirs) = channel::pair().unwrap();
            let failing = thread::spawn(move || {
                let mut puppet = Puppet::new(ours);
                for (index, (kind, fds)) in prologue().into_iter().take(steps).enumerate() {
                    puppet.say_with(kind, &fds);
                    if puppet.next().is_none() {
                        return;
                    }
                    puppet.codec.version = u32::from(index == 0 || puppet.codec.version == 1);
                }
                puppet.misbehave(fault, 1);
            });
            let result = successor(theirs, Features::all(), SHORT, New::default());
            failing.join().unwrap();
            match (fault, result) {
                (Fault::Close, Err(Setback::PredecessorGone)) => assert_eq!(steps, 0, "{cell}"),
                (Fault::Close, Ok(taken)) => {
                    assert!(taken.over.is_none(), "{cell}");
                    let has = taken.inheritance;
                    assert_eq!((has.complete, has.predecessor_gone), (steps == 5, steps < 5), "{cell}");
                    assert_eq!(has.will.is_some(), steps >= 2, "{cell}");
                    assert_eq!(
                        (has.sockets.len(), has.extras.len()),
                        (usize::from(steps >= 3), usize::from(steps >= 4))
                    );
                }
                (Fault::Hang, Err(Setback::Silent(_))) => {}
                (Fault::Garbage | Fault::Wrong | Fault::NotUnderstood, Err(Setback::Garbage(_))) => {}
                (_, result) => panic!("{cell}: {:?}", result.err()),
            }
        }
    }
}

#[test]
fn a_predecessor_that_fails_after_go() {
    for steps in 0..=3 {
        for fault in [Fault::Close, Fault::Garbage, Fault::Wrong, Fault::NotUnderstood] {
            let cell = format!("{steps} messages after Go x {fault:?}");
            let (ours, theirs) = channel::pair().unwrap();
            let failing = thread::spawn(move || {
                let mut puppet = Puppet::new(ours);
                for (index, (kind, fds)) in prologue().into_iter().enumerate() {
                    puppet.say_with(kind, &fds);
                    puppet.next();
                    puppet.codec.version = u32::from(index == 0 || puppet.codec.version == 1);
                }
                let moving = plain(5);
                let mut fds = Vec::new();
                let message = convert::to_connection(&moving, super::super::moment::Moments::read(), &mut fds);
                let fds: Vec<OwnedFd> = fds.iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
                let parts = [
                    (Kind::TakeOver(pb::TakeOver {}), Vec::new()),
                    (Kind::Move(pb::Move { connections: vec![message] }), fds),
                    (Kind::Settle(pb::Settle::default()), Vec::new()),
                ];
                for (kind, fds) in parts.into_iter().take(steps) {
                    puppet.say_with(kind, &fds);
                }
                if fault != Fault::Close || steps < 2 {
                    puppet.misbehave(fault, 1);
                }
                // As a process that is killed: what it had sent is still read.
            });
            let taken = successor(theirs, Features::all(), SHORT, New::default()).unwrap();
            failing.join().unwrap();
            let over = taken.over.unwrap();
            assert!(over.receipt.is_none(), "{cell}");
            assert!(over.called_off.is_none(), "{cell}");
            assert_eq!(over.troubles.is_empty(), fault == Fault::Close, "{cell}: {:?}", over.troubles);
            assert_eq!(over.taken, u64::from(steps >= 2), "{cell}");
            assert_eq!(taken.heir.ids().len() as u64, over.taken, "{cell}");
            assert_eq!(taken.post.last(), Some(NEW), "{cell}");
        }
    }
}

#[test]
fn a_predecessor_that_calls_off_ends_the_successor() {
    let (ours, theirs) = channel::pair().unwrap();
    let calling = thread::spawn(move || {
        let mut puppet = Puppet::new(ours);
        for (index, (kind, fds)) in prologue().into_iter().enumerate() {
            puppet.say_with(kind, &fds);
            puppet.next();
            puppet.codec.version = u32::from(index == 0 || puppet.codec.version == 1);
        }
        puppet.say(Kind::CalledOff(pb::CalledOff { reason: "it hangs".to_owned() }));
    });
    let taken = successor(theirs, Features::all(), PATIENT, New::default()).unwrap();
    calling.join().unwrap();
    assert_eq!(taken.over.unwrap().called_off.as_deref(), Some("it hangs"));
    assert_eq!(taken.post.last(), None);
}

#[test]
fn connections_that_make_no_sense_are_refused_one_by_one() {
    let moving = [plain(1), plain(2), plain(3)];
    let mut fds = Vec::new();
    let moments = super::super::moment::Moments::read();
    let mut messages: Vec<pb::Connection> =
        moving.iter().map(|moving| convert::to_connection(moving, moments, &mut fds)).collect();
    messages[0].accelerate = "teleport".to_owned();
    messages[2].stage = None;
    let (ours, theirs) = channel::pair().unwrap();
    let fds: Vec<OwnedFd> = fds.iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
    let sending = thread::spawn(move || {
        let mut puppet = Puppet::new(ours);
        for (index, (kind, fds)) in prologue().into_iter().enumerate() {
            puppet.say_with(kind, &fds);
            puppet.next();
            puppet.codec.version = u32::from(index == 0 || puppet.codec.version == 1);
        }
        puppet.say_with(Kind::Move(pb::Move { connections: messages }), &fds);
        assert!(matches!(puppet.next().unwrap().kind, Kind::Got(_)));
        let Kind::Moved(moved) = puppet.next().unwrap().kind else { panic!("not Moved") };
        puppet.say(Kind::Bye(pb::Bye {}));
        moved
    });
    let taken = successor(theirs, Features::all(), PATIENT, New::default()).unwrap();
    let moved = sending.join().unwrap();
    assert_eq!(moved.taken, 1);
    assert_eq!(moved.refused.iter().map(|refused| refused.id).collect::<BTreeSet<_>>(), [1, 3].into());
    assert_eq!(taken.heir.ids(), [2].into());
    assert!(Clock::system().now().instant >= moving[0].parcel.since);
}
