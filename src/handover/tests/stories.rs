//! The stories that end well, or nearly.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    os::fd::AsFd,
    time::Duration,
};

use super::fakes::*;
use crate::{
    control::{Phase, UpgradeProgress, Verdict},
    handover::{Features, PID_FILE, Setback},
    worker::{Held, ParcelStage},
};

fn all() -> (std::os::fd::OwnedFd, Running) {
    with_successor(Features::all(), BTreeSet::new())
}

#[test]
fn everything_is_handed_over() {
    let old = Old::with((0..40).map(mixed));
    let (channel, running) = all();
    let handed = predecessor(&old, task(channel, Features::all(), PATIENT));
    let taken = running.join().unwrap().unwrap();

    let receipt = handed.receipt;
    assert_eq!((receipt.verdict, receipt.reason.as_str()), (Verdict::Upgraded, ""));
    assert_eq!((receipt.sockets, receipt.moved, receipt.drained, receipt.lost), (4, 40, 0, 0));
    assert_eq!(receipt.from, ("0.1.0".to_owned(), OLD));
    assert_eq!(receipt.to, ("0.2.0".to_owned(), NEW));
    assert!(receipt.longest_pause > Duration::ZERO && receipt.longest_pause < receipt.took);
    let phases = [Phase::Spawned, Phase::Checked, Phase::Ready, Phase::Serving, Phase::Moving, Phase::Handed];
    assert_eq!(receipt.phases.iter().map(|(phase, _)| *phase).collect::<Vec<_>>(), phases);
    assert!(receipt.phases.is_sorted_by_key(|(_, after)| *after));
    assert!(receipt.kernel.iter().any(|(name, before, after)| name == "ListenDrops" && before <= after));
    assert_eq!(old.retired.borrow().as_ref().map(|receipt| receipt.moved), Some(40));
    assert!(old.resumed.borrow().is_none() && !*old.accepting.borrow());
    assert!(matches!(handed.progress.last(), Some(UpgradeProgress::Ended(ended)) if ended.moved == 40));
    assert!(handed.progress.iter().any(|each| matches!(each, UpgradeProgress::Moved { moved: 40, of: 40 })));
    assert_eq!((handed.post.last(), taken.post.last()), (Some(NEW), Some(NEW)));

    let inheritance = taken.inheritance;
    assert!(inheritance.complete && !inheritance.predecessor_gone);
    let will = inheritance.will.unwrap();
    assert_eq!((will.generation, will.log_level.as_deref(), will.ledger), (7, Some("debug"), ledger(10)));
    assert_eq!(inheritance.extras.iter().map(|extra| extra.name.as_str()).collect::<Vec<_>>(), [PID_FILE]);
    let names: Vec<(&str, usize)> =
        inheritance.sockets.iter().map(|each| (each.name.as_str(), each.sockets.len())).collect();
    assert_eq!(names, [("listener-0", 2), ("listener-1", 2)]);

    let over = taken.over.unwrap();
    assert_eq!((over.taken, over.refused, over.troubles.len()), (40, 0, 0));
    assert_eq!(over.receipt.unwrap().moved, 40);
    // The receipt's, and what was counted while the predecessor drained.
    assert_eq!(*taken.heir.absorbed.borrow(), [ledger(1), ledger(1)]);
    assert!(taken.heir.receipt.borrow().is_some());
    assert_eq!(taken.heir.ids(), (0..40).collect());
}

#[test]
fn the_bytes_in_sockets_and_pipes_go_along() {
    let (moving, mut client) = connection(1, tunnel(pipe(b"in the pipe"), Held::Bytes(b"in memory".to_vec())));
    client.write_all(b"in the socket").unwrap();
    let since = moving.parcel.since;
    let old = Old::with([moving]);
    let (channel, running) = all();
    predecessor(&old, task(channel, Features::all(), PATIENT));
    let taken = running.join().unwrap().unwrap();
    let moving = taken.heir.taken.take().pop().unwrap();

    assert_eq!((moving.listener.as_str(), moving.pool.as_deref()), ("web", Some("db")));
    assert_eq!(moving.endpoint, Some(("db".to_owned(), "10.0.0.1:1".to_owned())));
    assert_eq!(moving.parcel.source, "192.0.2.1:99".parse().ok());
    let off =
        moving.parcel.since.saturating_duration_since(since) + since.saturating_duration_since(moving.parcel.since);
    assert!(off < Duration::from_secs(1), "{off:?}");
    let mut stream = std::os::unix::net::UnixStream::from(moving.parcel.downstream.socket);
    let mut buffer = [0; 13];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"in the socket");
    let ParcelStage::Tunnel { up, down, .. } = moving.parcel.stage else { panic!("no tunnel") };
    let Held::Pipe { read, held, .. } = up.held else { panic!("no pipe") };
    let mut buffer = [0; 100];
    let count = nix::unistd::read(read.as_fd(), &mut buffer).unwrap();
    assert_eq!((held, &buffer[..count]), (11, b"in the pipe".as_slice()));
    assert!(matches!(down.held, Held::Bytes(bytes) if bytes == b"in memory"));
}

#[test]
fn a_thousand_connections_with_pipes_move_in_batches() {
    let total = 1000;
    let old = Old::with((0..total).map(|id| connection(id, tunnel(pipe(b"x"), Held::Bytes(Vec::new()))).0));
    let (channel, running) = all();
    let handed = predecessor(&old, task(channel, Features::all(), PATIENT));
    let taken = running.join().unwrap().unwrap();
    assert_eq!((handed.receipt.verdict, handed.receipt.moved), (Verdict::Upgraded, total));
    assert_eq!(taken.heir.ids(), (0..total).collect());
    assert!(*old.exports.borrow() >= 1000 / 126);
}

#[test]
fn buffers_larger_than_a_datagram_travel_in_a_memfd() {
    let old = Old::with((0..50).map(|id| connection(id, session(60_000)).0));
    let (channel, running) = all();
    let handed = predecessor(&old, task(channel, Features::all(), PATIENT));
    let taken = running.join().unwrap().unwrap();
    assert_eq!(handed.receipt.moved, 50);
    for moving in taken.heir.taken.take() {
        assert!(matches!(moving.parcel.stage, ParcelStage::Session { incoming, .. } if incoming == vec![7; 60_000]));
    }
}

#[test]
fn many_listening_sockets_arrive_in_order_and_none_is_missing() {
    let old = Old { listeners: 3, sockets_each: 300, ..Old::with([]) };
    let (channel, running) = all();
    let handed = predecessor(&old, task(channel, Features::all(), PATIENT));
    assert_eq!((handed.receipt.verdict, handed.receipt.sockets), (Verdict::Upgraded, 900), "{}", handed.receipt.reason);
    let sockets = running.join().unwrap().unwrap().inheritance.sockets;
    assert_eq!(sockets.iter().map(|each| each.sockets.len()).collect::<Vec<_>>(), [300, 300, 300]);
}

#[test]
fn refused_connections_go_back_and_are_drained() {
    for stubborn in [false, true] {
        let old = Old { stubborn, ..Old::with((0..300).map(plain)) };
        let refuses: BTreeSet<u64> = [3, 77, 299].into();
        let (channel, running) = with_successor(Features::all(), refuses.clone());
        let handed = predecessor(&old, task(channel, Features::all(), PATIENT));
        let taken = running.join().unwrap().unwrap();
        assert_eq!(handed.receipt.verdict, Verdict::Draining, "{}", handed.receipt.reason);
        assert_eq!((handed.receipt.moved, handed.receipt.drained, handed.receipt.lost), (297, 3, 0));
        assert_eq!(old.ids(), refuses);
        assert_eq!(taken.over.unwrap().refused, 3);
        assert_eq!(taken.heir.ids().len(), 297);
    }
}

#[test]
fn what_the_other_side_does_not_know_is_drained_not_sent() {
    for (features, expected) in [
        (Features::of(&["tunnel", "ledger"]), 10),
        (Features::of(&["tunnel", "pipe", "dial", "news"]), 30),
        (Features::of(&[""; 0]), 0),
    ] {
        for old_knows_less in [false, true] {
            let old = Old::with((0..40).map(mixed));
            let (ours, theirs) =
                if old_knows_less { (features.clone(), Features::all()) } else { (Features::all(), features.clone()) };
            let (channel, running) = with_successor(theirs, BTreeSet::new());
            let handed = predecessor(&old, task(channel, ours, PATIENT));
            let taken = running.join().unwrap().unwrap();
            assert_eq!(handed.receipt.moved, expected);
            assert_eq!(handed.receipt.drained, 40 - expected);
            assert_eq!(old.ids().len() as u64, 40 - expected);
            assert_eq!(taken.heir.absorbed.borrow().is_empty(), !features.has("ledger"));
        }
    }
}

#[test]
fn a_refusal_of_the_estate_ends_it_before_anything_changed() {
    let old = Old { refuses_will: true, ..Old::with([plain(1)]) };
    let (channel, running) = all();
    let handed = predecessor(&old, task(channel, Features::all(), PATIENT));
    assert_eq!(handed.receipt.verdict, Verdict::Refused);
    assert_eq!(handed.receipt.reason, "a reload is in flight");
    assert!(matches!(running.join().unwrap(), Err(Setback::CalledOff(reason)) if reason == "a reload is in flight"));
    assert!(old.resumed.borrow().is_some() && *old.accepting.borrow());
    assert_eq!(handed.post.last(), None);
}

#[test]
fn a_successor_that_cannot_start_says_why() {
    let (channel, theirs) = crate::sys::channel::pair().unwrap();
    let failing = std::thread::spawn(move || {
        let mut arrival = crate::handover::Arrival::new(theirs, crate::control::Clock::system(), PATIENT).unwrap();
        let offer = arrival.offer().unwrap();
        arrival.decline("netd.toml:3: no such key", 78);
        offer
    });
    let old = Old::with([plain(1)]);
    let handed = predecessor(&old, task(channel, Features::all(), PATIENT));
    let offer = failing.join().unwrap();
    assert_eq!((offer.candidate.as_deref(), offer.pid), (Some("[log]"), OLD));
    assert_eq!(handed.receipt.verdict, Verdict::Refused);
    assert!(handed.receipt.reason.contains("exit status 78"), "{}", handed.receipt.reason);
    assert!(handed.receipt.reason.contains("no such key"), "{}", handed.receipt.reason);
}
