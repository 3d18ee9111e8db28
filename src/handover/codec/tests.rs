//! Whatever comes, it is told; nothing breaks, nothing stays open.

use std::fs::File;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::pb::handover as pb;

fn pair() -> (OwnedFd, OwnedFd) {
    channel::pair().unwrap()
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

/// What a fresh receiver makes of a datagram.
fn receive(bytes: &[u8], fds: &[OwnedFd]) -> Result<Incoming, Fault> {
    let (a, b) = pair();
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    channel::send(a.as_fd(), bytes, &fds).unwrap();
    Codec::new().receive(b.as_fd())
}

fn offer() -> Kind {
    Kind::Offer(pb::Offer { version_min: 1, features: vec!["tunnel".to_owned(); 3], pid: 1, ..Default::default() })
}

fn envelope(kind: Kind) -> Envelope {
    Envelope {
        version: 1,
        sequence: 1,
        kind: number(&kind),
        fds: 0,
        ignorable: false,
        carrier: Some(Carrier::Body(Body { kind: Some(kind) }.encode_to_vec())),
    }
}

#[track_caller]
fn is_garbage(envelope: &Envelope, fds: &[OwnedFd], text: &str) {
    match receive(&envelope.encode_to_vec(), fds) {
        Err(Fault::Garbage(told)) => assert!(told.contains(text), "{told}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn numbers_are_those_of_the_fields() {
    let kinds = [offer(), Kind::Move(pb::Move::default()), Kind::NotUnderstood(NotUnderstood::default())];
    for kind in kinds {
        let wanted = number(&kind);
        let first = Body { kind: Some(kind) }.encode_to_vec();
        let tag = prost::encoding::decode_varint(&mut first.as_slice()).unwrap() >> 3;
        assert_eq!(u64::from(wanted), tag);
    }
}

#[test]
fn frames_that_do_not_add_up() {
    is_garbage(&Envelope { sequence: 2, ..envelope(offer()) }, &[], "message 2 came after message 0");
    is_garbage(&Envelope { fds: 1, ..envelope(offer()) }, &[], "0 file descriptors came with a message that names 1");
    is_garbage(&envelope(offer()), &[null()], "1 file descriptors came with a message that names 0");
    is_garbage(&Envelope { kind: 2, ..envelope(offer()) }, &[], "not of its kind");
    is_garbage(&Envelope { carrier: None, ..envelope(offer()) }, &[], "without a body");
    let spilled = Envelope { carrier: Some(Carrier::Spilled(5)), ..envelope(offer()) };
    is_garbage(&spilled, &[], "0 file descriptors");
    is_garbage(&spilled, &[null()], "not a memfd");
    is_garbage(&spilled, &[channel::sealed(b"four").unwrap()], "a memfd of 4 bytes, 5 were promised");
    let broken = Envelope { carrier: Some(Carrier::Body(vec![0xff; 9])), ..envelope(offer()) };
    is_garbage(&broken, &[], "message of kind 1");
}

#[test]
fn another_version_than_the_chosen_one_is_garbage() {
    let (a, b) = pair();
    let mut codec = Codec { version: 2, ..Codec::new() };
    channel::send(a.as_fd(), &envelope(offer()).encode_to_vec(), &[]).unwrap();
    assert!(matches!(codec.receive(b.as_fd()), Err(Fault::Garbage(text)) if text.contains("version 1")));
}

#[test]
fn an_unknown_kind_is_answered_or_passed_over() {
    let unknown = |sequence: u64, ignorable: bool| Envelope {
        sequence,
        kind: 99,
        ignorable,
        carrier: Some(Carrier::Body(vec![0x9a, 0x06, 0x00])), // field 99, empty
        ..envelope(offer())
    };
    let (a, b) = pair();
    let (mut here, mut there) = (Codec::new(), Codec::new());
    for message in [unknown(1, true), unknown(2, false), Envelope { sequence: 3, ..envelope(offer()) }] {
        channel::send(a.as_fd(), &message.encode_to_vec(), &[]).unwrap();
    }
    let Ok(Incoming::Message(message)) = here.receive(b.as_fd()) else { panic!("the third is known") };
    assert_eq!((message.sequence, message.kind), (3, offer()));
    let Ok(Incoming::Message(answer)) = there.receive(a.as_fd()) else { panic!("the second is answered") };
    assert_eq!(answer.kind, Kind::NotUnderstood(NotUnderstood { sequence: 2, kind: 99 }));
    assert!(there.receive(a.as_fd()).unwrap_err().would_block());
}

#[test]
fn unknown_fields_are_passed_over() {
    let mut bytes = envelope(offer()).encode_to_vec();
    bytes.extend([0x9a, 0x06, 0x02, b'h', b'i']);
    assert!(matches!(receive(&bytes, &[]), Ok(Incoming::Message(Message { kind, .. })) if kind == offer()));
}

#[test]
fn a_large_body_goes_through_a_memfd_with_its_descriptors_after_it() {
    let (a, b) = pair();
    let kind = Kind::Failed(pb::Failed { reason: "x".repeat(10 * INLINE), exit_status: 1 });
    let framed = Codec::new().frame(kind.clone(), 1).unwrap();
    framed.send(a.as_fd(), &[null().as_fd()]).unwrap();
    let Ok(Incoming::Message(message)) = Codec::new().receive(b.as_fd()) else { panic!("no message") };
    assert_eq!((message.kind == kind, message.fds.len()), (true, 1));
    assert!(Codec::new().frame(kind, FDS + 1).is_err());
}

proptest! {
    #[test]
    fn random_bytes_break_nothing(bytes in vec(any::<u8>(), 1..300), fds in 0usize..3) {
        let fds: Vec<OwnedFd> = (0..fds).map(|_| null()).collect();
        let _ = receive(&bytes, &fds);
    }

    #[test]
    fn mutated_messages_break_nothing(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut: prop::sample::Index) {
        let mut bytes = envelope(offer()).encode_to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = receive(&bytes, &[]);
    }
}
