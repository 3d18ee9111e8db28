use proptest::prelude::*;

use super::*;

const BLOCK: usize = 8;

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
fn zero() -> Instant {
    Instant::now()
}

/// A session and the two ends of its wire.
struct World {
    session: Session,
    wire: Wire,
    blocks: BlockPool,
    now: Instant,
    said: Vec<u8>,
}

impl World {
    fn new(session: Session) -> Self {
        Self { session, wire: Wire::default(), blocks: BlockPool::new(BLOCK), now: zero(), said: Vec::new() }
    }

    /// Advances twice: the second time must change nothing.
    fn advance(&mut self) -> Step {
        let step = self.advance_once();
        let before = self.picture();
        assert_eq!((self.advance_once(), self.picture()), (step, before));
        step
    }

    fn advance_once(&mut self) -> Step {
        let mut exchange = Exchange { downstream: &mut self.wire, blocks: &mut self.blocks, now: self.now };
        self.session.advance(&mut exchange)
    }

    fn picture(&self) -> (Vec<u8>, Vec<u8>, bool, Option<Instant>) {
        let Wire { incoming, outgoing, outgoing_ended, .. } = &self.wire;
        (incoming.data().to_vec(), outgoing.data().to_vec(), *outgoing_ended, self.session.deadline())
    }

    /// Lets the session hear `bytes` as fast as it takes them, while at most
    /// `pace` bytes at a time are taken from it.
    fn hear(&mut self, mut bytes: &[u8], pace: usize) {
        while !bytes.is_empty() {
            if self.wire.incoming.is_empty() {
                let n = self.wire.incoming.append(&mut self.blocks, bytes);
                bytes = &bytes[n..];
            }
            assert_eq!(self.advance(), Step::Wait);
            self.take(pace);
        }
    }

    fn take(&mut self, pace: usize) -> usize {
        let n = self.wire.outgoing.len().min(pace);
        self.said.extend_from_slice(&self.wire.outgoing.data()[..n]);
        self.wire.outgoing.consume(&mut self.blocks, n);
        n
    }

    /// The client ends and takes what comes; how did it close?
    fn finish(&mut self) -> CloseReason {
        self.wire.incoming_ended = true;
        for _ in 0..1000 {
            match self.advance() {
                Step::Close(reason) => {
                    assert!(self.wire.outgoing.is_empty() && self.wire.incoming.is_empty());
                    return reason;
                }
                Step::Wait => assert!(self.take(1) > 0, "waits for nothing"),
                step => panic!("{step:?}"),
            }
        }
        panic!("does not end");
    }
}

proptest! {
    #[test]
    fn chunks_make_no_difference(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3 * BLOCK), 0..10),
        text in prop::collection::vec(any::<u8>(), 0..4 * BLOCK),
        pace in 1..2 * BLOCK,
    ) {
        let heard = chunks.concat();
        let sessions = [
            (Session::Echo(Echo), &heard, CloseReason::DONE),
            (Session::Discard(Discard), &Vec::new(), CloseReason::DONE),
            (Session::respond(text.as_slice().into()), &text, CloseReason::DONE_BY_NETD),
        ];
        for (session, said, reason) in sessions {
            let mut world = World::new(session);
            for chunk in &chunks {
                world.hear(chunk, pace);
            }
            prop_assert_eq!(world.finish(), reason);
            prop_assert_eq!(&world.said, said);
            prop_assert_eq!(world.blocks.lent(), 0);
        }
    }
}

#[test]
fn echo_leaves_unread_what_the_client_does_not_take_back() {
    let mut world = World::new(Session::Echo(Echo));
    for _ in 0..2 {
        world.wire.incoming.append(&mut world.blocks, b"01234567");
        assert_eq!(world.advance(), Step::Wait);
    }
    assert_eq!(world.wire.incoming.len(), BLOCK);
}

#[test]
fn echo_passes_the_end_on_behind_the_last_byte() {
    let mut world = World::new(Session::Echo(Echo));
    world.wire.incoming.append(&mut world.blocks, b"last");
    world.wire.incoming_ended = true;
    assert_eq!(world.advance(), Step::Wait);
    assert!(world.wire.outgoing_ended);
    world.take(BLOCK);
    assert_eq!(world.advance(), Step::Close(CloseReason::DONE));
}

#[test]
fn respond_lingers_from_its_last_word_until_the_deadline() {
    let mut world = World::new(Session::respond(b"longer than a block"[..].into()));
    while !world.wire.outgoing_ended {
        assert_eq!(world.advance(), Step::Wait);
        assert_eq!(world.session.deadline(), None);
        world.take(3);
    }
    while world.take(3) > 0 {}
    assert_eq!(world.advance(), Step::Wait);
    let deadline = world.now + LINGER;
    assert_eq!(world.session.deadline(), Some(deadline));
    world.now = deadline;
    assert_eq!(world.advance(), Step::Close(CloseReason::DONE_BY_NETD));
    assert_eq!(world.said, b"longer than a block");
}
