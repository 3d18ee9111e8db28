use proptest::prelude::*;

use super::*;
use crate::{
    protocol::{Discard, Echo, LINGER},
    worker::{budget::FdBudget, script::Script},
};

const BLOCK: usize = 8;

/// A connection that netd itself answers, its client, and what was sent.
struct World {
    conn: Conn<Script>,
    client: Script,
    supplies: Supplies,
    now: Instant,
    sent: Vec<u8>,
    chatty: bool,
    want: Want,
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
fn zero() -> Instant {
    Instant::now()
}

impl World {
    fn new(session: Session, room: usize) -> Self {
        let (client, now) = (Script::with_room(room), zero());
        let counters = Arc::new(ListenerShard::new(CloseReason::ALL.len()));
        let origin = Origin { listener: ListenerId(1), source: None, counters, via: None };
        let conn = Conn::new(1, origin, client.clone(), session, None, Some(Duration::from_secs(60)), now);
        let supplies = Supplies::new(BLOCK, FdBudget::new(20_000, 0));
        let mut world = Self { conn, client, supplies, now, sent: Vec::new(), chatty: false, want: Want::Nothing };
        world.drive();
        world
    }

    fn respond(text: &[u8], room: usize) -> Self {
        Self::new(Session::respond(Arc::from(text)), room)
    }

    fn sends(&mut self, bytes: &[u8]) {
        if !self.client.look().is_dead() {
            self.client.arrive(bytes, false);
            self.sent.extend_from_slice(bytes);
        }
    }

    fn tell(&mut self) {
        if let Some(ready) = self.client.news(self.chatty) {
            self.conn.downstream.note(ready);
            self.drive();
        }
    }

    fn drive(&mut self) {
        if self.is_over() {
            return;
        }
        let before = self.picture();
        self.want = self.conn.drive(&mut self.supplies, self.now);
        assert!(self.supplies.blocks.lent() <= 2, "a block a direction");
        match self.want {
            Want::Nothing => {
                let once = self.picture();
                let again = self.conn.drive(&mut self.supplies, self.now);
                assert_eq!((again, self.picture()), (Want::Nothing, once), "driving again changes nothing");
            }
            Want::Turn => assert_ne!(before, self.picture(), "a turn for nothing: a busy loop"),
            Want::Dial | Want::Identified => panic!("nowhere to dial to"),
            Want::Close { .. } => {}
        }
    }

    fn picture(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let Stage::Session { wire, .. } = &self.conn.stage else { panic!("no session") };
        let transport = &self.conn.downstream;
        (
            (transport.readable, transport.writable, transport.received, transport.sent),
            (wire.incoming.data().to_vec(), wire.outgoing.data().to_vec()),
            (wire.incoming_ended, wire.outgoing_ended, wire.end_sent, self.conn.deadline()),
        )
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            match self.want {
                Want::Turn => self.drive(),
                Want::Nothing if self.client.has_news() => self.tell(),
                Want::Nothing => return self.check_that_waiting_is_right(),
                Want::Close { .. } | Want::Dial | Want::Identified => return,
            }
        }
        panic!("does not come to rest");
    }

    /// No edge is to come, so nothing may be left that could be done.
    fn check_that_waiting_is_right(&self) {
        let Stage::Session { wire, .. } = &self.conn.stage else { panic!("no session") };
        let client = self.client.look();
        // The end may be known without a read.
        if wire.incoming.is_empty() && !wire.incoming_ended {
            assert!(!client.can_read(), "left unread: {:?}", self.picture());
        }
        if wire.outgoing.is_empty() {
            assert!(wire.incoming.is_empty(), "left unsaid: {:?}", self.picture());
        } else {
            assert!(!client.can_write(), "left unwritten: {:?}", self.picture());
        }
        assert_eq!(self.conn.origin.counters.bytes_from_downstream.get(), self.conn.downstream.received);
        assert_eq!(self.conn.origin.counters.bytes_to_downstream.get(), client.written.len() as u64);
    }

    /// To another worker.
    fn go_to(&mut self, block: usize) {
        if self.is_over() {
            return;
        }
        let counters = Arc::clone(&self.conn.origin.counters);
        let origin = || Origin { listener: ListenerId(1), source: None, counters: Arc::clone(&counters), via: None };
        let gone = Conn::new(0, origin(), Script::default(), Session::Discard(Discard), None, None, self.now);
        let deadline = self.conn.deadline();
        let parcel = std::mem::replace(&mut self.conn, gone).freeze::<Script>(&mut self.supplies);
        assert_eq!(self.supplies.blocks.lent(), 0, "nothing of the old worker's goes along");
        self.supplies = Supplies::new(block, FdBudget::new(20_000, 0));
        self.conn = Conn::thaw(parcel, origin(), None, &mut self.supplies);
        assert_eq!(self.conn.deadline(), deadline);
        // Of the old one's news none is left.
        let _ = self.client.news(false);
        self.client.watched_anew();
        self.drive();
    }

    fn is_over(&self) -> bool {
        matches!(self.want, Want::Close { .. })
    }

    /// Ends it as a worker does.
    fn end(&mut self) {
        self.conn.end(&mut self.supplies, matches!(self.want, Want::Close { reset: true, .. }));
        assert_eq!(self.supplies.blocks.lent(), 0, "every block came back");
    }
}

#[derive(Debug, Clone)]
enum Op {
    Send(usize),
    Room(usize),
    Tell,
    Drive,
    Settle,
    /// To a worker with blocks of this size.
    Go(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => prop_oneof![1..4usize, 1..40usize, Just(BLOCK)].prop_map(Op::Send),
        3 => prop_oneof![Just(1), 1..30usize].prop_map(Op::Room),
        4 => Just(Op::Tell),
        1 => Just(Op::Drive),
        1 => Just(Op::Settle),
        1 => prop_oneof![Just(BLOCK), Just(3), Just(40)].prop_map(Op::Go),
    ];
    prop::collection::vec(op, 0..60)
}

#[derive(Debug, Clone)]
enum Last {
    End,
    Close,
    Reset,
}

fn last() -> impl Strategy<Value = Last> {
    prop_oneof![3 => Just(Last::End), 1 => Just(Last::Close), 1 => Just(Last::Reset)]
}

/// Lets the client do all that; then it takes everything and goes.
fn play(world: &mut World, ops: Vec<Op>, last: &Last) {
    for (n, op) in ops.into_iter().enumerate() {
        match op {
            Op::Send(length) => world.sends(&vec![n as u8; length]),
            Op::Room(length) => world.client.give_room(length),
            Op::Tell => world.tell(),
            Op::Drive => world.drive(),
            Op::Settle => world.settle(),
            Op::Go(block) => world.go_to(block),
        }
    }
    match last {
        Last::End => world.client.end(),
        Last::Close => world.client.close(),
        Last::Reset => world.client.reset(),
    }
    world.settle();
    world.client.give_room(usize::MAX);
    world.settle();
}

const RESET: Want = Want::Close { reason: CloseReason::DOWNSTREAM_RESET, reset: true };

fn done(reason: CloseReason) -> Want {
    Want::Close { reason, reset: false }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn echo_says_what_it_hears(ops in ops(), last in last(), room in 0..20usize, chatty in any::<bool>()) {
        let mut world = World::new(Session::Echo(Echo), room);
        world.chatty = chatty;
        play(&mut world, ops, &last);
        prop_assert!(world.sent.starts_with(&world.client.look().written));
        if world.client.look().is_dead() {
            prop_assert!(world.is_over());
        } else {
            prop_assert_eq!(world.want, done(CloseReason::DONE));
            prop_assert_eq!(&world.client.look().written, &world.sent);
        }
        world.end();
    }

    #[test]
    fn discard_says_nothing(ops in ops(), last in last(), chatty in any::<bool>()) {
        let mut world = World::new(Session::Discard(Discard), 0);
        world.chatty = chatty;
        play(&mut world, ops, &last);
        let expected = if matches!(last, Last::Reset) { RESET } else { done(CloseReason::DONE) };
        prop_assert_eq!(world.want, expected);
        prop_assert_eq!(world.client.look().written.len(), 0);
        if expected != RESET {
            prop_assert_eq!(world.conn.downstream.received, world.sent.len() as u64);
        }
        world.end();
    }

    #[test]
    fn respond_says_its_text_whatever_it_hears(
        text in prop::collection::vec(any::<u8>(), 0..5 * BLOCK),
        ops in ops(),
        last in last(),
        room in 0..20usize,
        chatty in any::<bool>(),
    ) {
        let mut world = World::respond(&text, room);
        world.chatty = chatty;
        play(&mut world, ops, &last);
        prop_assert!(text.starts_with(&world.client.look().written));
        if world.client.look().is_dead() {
            prop_assert!(world.is_over());
        } else {
            prop_assert_eq!(world.want, done(CloseReason::DONE_BY_NETD));
            prop_assert_eq!(&world.client.look().written, &text);
        }
        world.end();
    }
}

#[test]
fn respond_hears_the_client_out_but_not_for_ever() {
    let mut world = World::respond(b"a text longer than a block", usize::MAX);
    world.settle();
    assert_eq!(world.client.look().written, b"a text longer than a block");
    assert_eq!(world.client.look().ends, 1, "the client need not wait for the close");
    assert_eq!(world.want, Want::Nothing);
    assert_eq!(world.conn.state(), ConnectionState::Closing);
    let deadline = world.now + LINGER;
    assert_eq!(world.conn.deadline(), Some(deadline), "earlier than idle");
    world.now += LINGER / 2;
    world.sends(&[7; 10 * BLOCK]);
    world.settle();
    assert_eq!(world.conn.deadline(), Some(deadline), "what is sent does not put it off");
    world.now = deadline;
    world.drive();
    assert_eq!(world.want, done(CloseReason::DONE_BY_NETD));
}

#[test]
fn respond_with_nothing_to_say_ends_at_once() {
    let mut world = World::respond(b"", 0);
    world.settle();
    assert_eq!(world.client.look().ends, 1);
    assert_eq!(world.want, Want::Nothing);
    world.client.end();
    world.settle();
    assert_eq!(world.want, done(CloseReason::DONE_BY_NETD));
}

#[test]
fn a_client_that_takes_nothing_stops_echo_and_goes_idle() {
    let mut world = World::new(Session::Echo(Echo), 3);
    world.sends(&[7; 100 * BLOCK]);
    world.settle();
    assert_eq!(world.conn.downstream.received, 2 * BLOCK as u64);
    assert_eq!(world.supplies.blocks.lent(), 2);
    assert!(world.conn.holds_bytes());
    assert!(!world.conn.is_idle(world.now));
    world.now += Duration::from_secs(60);
    assert!(world.conn.is_idle(world.now));
    world.end();
}

#[test]
fn every_byte_puts_idleness_off() {
    let mut world = World::new(Session::Discard(Discard), 0);
    for _ in 0..3 {
        world.now += Duration::from_secs(59);
        assert!(!world.conn.is_idle(world.now));
        world.sends(b"x");
        world.settle();
    }
    assert_eq!(world.conn.deadline(), Some(world.now + Duration::from_secs(60)));
}

#[test]
fn only_a_reset_is_made_one() {
    for reset in [false, true] {
        let mut world = World::new(Session::Echo(Echo), 0);
        world.sends(b"abc");
        world.settle();
        world.conn.end(&mut world.supplies, reset);
        assert_eq!(world.client.look().reset_on_close, reset);
        assert_eq!(world.supplies.blocks.lent(), 0);
    }
}

/// What an idle relayed pair costs netd: its place in the slab. It holds no
/// buffer and no pipe, and its timer takes 32 bytes.
#[test]
fn a_connection_is_small() {
    let size = size_of::<Conn<crate::sys::socket::Socket>>();
    assert!(size <= 424, "{size} bytes");
}
