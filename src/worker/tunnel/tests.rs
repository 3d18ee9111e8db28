use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::worker::{budget::FdBudget, script::Script};

mod moves;
mod sockets;

const BLOCK: usize = 8;

/// A tunnel between two scripted sockets, and what was done to them.
struct World {
    tunnel: Tunnel,
    downstream: Transport<Script>,
    upstream: Transport<Script>,
    client: Script,
    server: Script,
    supplies: Supplies,
    now: Instant,
    /// What the peers have sent.
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    /// Events tell what is still so, too.
    chatty: bool,
    outcome: Outcome,
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
fn zero() -> Instant {
    Instant::now()
}

impl World {
    fn new(client_room: usize, server_room: usize) -> Self {
        Self::of_kind(client_room, server_room, Accelerate::Off)
    }

    fn of_kind(client_room: usize, server_room: usize, accelerate: Accelerate) -> Self {
        let (client, server) = (Script::with_room(client_room), Script::with_room(server_room));
        Self {
            tunnel: Tunnel::new(accelerate),
            downstream: Transport::new(client.clone()),
            upstream: Transport::new(server.clone()),
            client,
            server,
            supplies: Supplies::new(BLOCK, FdBudget::new(20_000, 0)),
            now: zero(),
            from_client: Vec::new(),
            from_server: Vec::new(),
            chatty: false,
            outcome: Outcome::Wait,
        }
    }

    fn lent(&self) -> usize {
        self.supplies.blocks.lent() + self.supplies.pipes.lent()
    }

    fn client_sends(&mut self, bytes: &[u8]) {
        self.client.arrive(bytes, false);
        self.from_client.extend_from_slice(bytes);
    }

    fn server_sends(&mut self, bytes: &[u8]) {
        self.server.arrive(bytes, false);
        self.from_server.extend_from_slice(bytes);
    }

    /// Tells the tunnel what is new of one side, and lets it move.
    fn tell(&mut self, side: Side) {
        let (script, transport) = match side {
            Side::Client => (&self.client, &mut self.downstream),
            Side::Server => (&self.server, &mut self.upstream),
        };
        if let Some(ready) = script.news(self.chatty) {
            transport.note(ready);
            self.drive();
        }
    }

    fn drive(&mut self) {
        if self.is_over() {
            return;
        }
        let before = self.picture();
        self.outcome = self.tunnel.drive(&mut self.downstream, &mut self.upstream, &mut self.supplies, self.now);
        self.check();
        match self.outcome {
            Outcome::Wait => {
                let once = self.picture();
                let again = self.tunnel.drive(&mut self.downstream, &mut self.upstream, &mut self.supplies, self.now);
                assert_eq!((again, self.picture()), (Outcome::Wait, once), "driving again changes nothing");
            }
            Outcome::Yield => assert_ne!(before, self.picture(), "yielding without having done anything: a busy loop"),
            Outcome::Done(_) => {
                self.client.is_closed();
                self.server.is_closed();
            }
            Outcome::Reset(_) => {}
        }
    }

    /// All that a drive can change.
    fn picture(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let side = |transport: &Transport<Script>| {
            let state = transport.stream.look();
            (transport.readable, transport.writable, transport.received, state.written.clone(), state.ends)
        };
        let flow = |flow: &Flow| (flow.state, flow.hold.is_empty());
        (side(&self.downstream), side(&self.upstream), flow(&self.tunnel.up), flow(&self.tunnel.down))
    }

    /// What holds after every drive.
    fn check(&self) {
        let (up, down) = (&self.tunnel.up, &self.tunnel.down);
        let waiting = usize::from(!up.hold.is_empty()) + usize::from(!down.hold.is_empty());
        let lent = self.supplies.blocks.lent() + self.supplies.pipes.lent();
        if self.outcome == Outcome::Wait {
            assert_eq!(lent, waiting, "a block or pipe a direction, and only while bytes wait in it");
        } else {
            assert!(lent <= 2, "a block or pipe a direction");
        }
        let (client, server) = (self.client.look(), self.server.look());
        assert!(self.from_client.starts_with(&server.written), "in order, nothing invented");
        assert!(self.from_server.starts_with(&client.written), "in order, nothing invented");
        assert!(server.ends == 0 || server.written == self.from_client, "the end comes behind all bytes");
        assert!(client.ends == 0 || client.written == self.from_server, "the end comes behind all bytes");
    }

    /// Tells all news and gives all turns, until the tunnel only waits.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            match self.outcome {
                Outcome::Done(_) | Outcome::Reset(_) => return,
                Outcome::Yield => self.drive(),
                Outcome::Wait if self.client.has_news() => self.tell(Side::Client),
                Outcome::Wait if self.server.has_news() => self.tell(Side::Server),
                Outcome::Wait => return self.check_that_waiting_is_right(),
            }
        }
        panic!("does not come to rest");
    }

    /// No edge is to come, so nothing may be left that could be done.
    fn check_that_waiting_is_right(&self) {
        let (client, server) = (self.client.look(), self.server.look());
        for (name, flow, source, sink) in
            [("up", &self.tunnel.up, &client, &server), ("down", &self.tunnel.down, &server, &client)]
        {
            assert_ne!(flow.state, State::Ending, "{name}: {:?}", self.picture());
            let reads = matches!(flow.state, State::Open | State::Sinking);
            if flow.hold.is_empty() {
                assert!(!reads || !source.can_read(), "{name}: left unread: {:?}", self.picture());
            } else {
                assert!(!sink.can_write(), "{name}: left unwritten: {:?}", self.picture());
            }
        }
        assert!(!client.is_dead(), "the client's reset was passed on");
        let answering = self.tunnel.down.state == State::Open && !self.tunnel.down.hold.is_empty();
        assert!(
            !server.is_dead() || answering || self.tunnel.up.state != State::Open,
            "the server's reset was noticed, unless what it had said is still on its way"
        );
    }

    fn is_over(&self) -> bool {
        matches!(self.outcome, Outcome::Done(_) | Outcome::Reset(_))
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Client,
    Server,
}

#[derive(Debug, Clone)]
enum Op {
    Send(Side, usize, bool),
    End(Side),
    Close(Side),
    Reset(Side),
    Room(Side, usize),
    Tell(Side),
    Drive,
    Settle,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (side(), prop_oneof![Just(1), 1..4usize, 1..5 * BLOCK, Just(BLOCK)], prop::bool::weighted(0.1))
            .prop_map(|(side, n, urgent)| Op::Send(side, n, urgent)),
        1 => side().prop_map(Op::End),
        1 => side().prop_map(Op::Close),
        1 => side().prop_map(Op::Reset),
        6 => (side(), prop_oneof![Just(1), 1..3 * BLOCK]).prop_map(|(side, n)| Op::Room(side, n)),
        8 => side().prop_map(Op::Tell),
        4 => Just(Op::Drive),
        1 => Just(Op::Settle),
    ];
    prop::collection::vec(op, 0..80)
}

/// What the peers did, whether netd has seen it or not.
#[derive(Default)]
struct Peers {
    client_ended: bool,
    server_ended: bool,
    reset: bool,
}

fn apply(world: &mut World, peers: &mut Peers, op: Op, next: &mut u8) {
    match op {
        Op::Send(side, n, urgent) => {
            let bytes: Vec<u8> = (0..n)
                .map(|_| {
                    *next = next.wrapping_add(1);
                    *next
                })
                .collect();
            let (script, ended, sent) = match side {
                Side::Client => (&world.client, peers.client_ended, &mut world.from_client),
                Side::Server => (&world.server, peers.server_ended, &mut world.from_server),
            };
            if !ended && !script.look().is_dead() {
                script.arrive(&bytes, urgent);
                sent.extend(bytes);
            }
        }
        Op::End(Side::Client) => (world.client.end(), peers.client_ended = true).0,
        Op::End(Side::Server) => (world.server.end(), peers.server_ended = true).0,
        Op::Close(Side::Client) => (world.client.close(), peers.client_ended = true).0,
        Op::Close(Side::Server) => (world.server.close(), peers.server_ended = true).0,
        Op::Reset(Side::Client) => (world.client.reset(), peers.reset = true).0,
        Op::Reset(Side::Server) => (world.server.reset(), peers.reset = true).0,
        Op::Room(Side::Client, n) => world.client.give_room(n),
        Op::Room(Side::Server, n) => world.server.give_room(n),
        Op::Tell(side) => world.tell(side),
        Op::Drive => world.drive(),
        Op::Settle => world.settle(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn bytes_out_equal_bytes_in_or_it_is_a_reset(
        ops in ops(),
        rooms in (0..2 * BLOCK, 0..2 * BLOCK),
        chatty in any::<bool>(),
        accelerate in prop::sample::select(vec![Accelerate::Auto, Accelerate::Splice, Accelerate::Off]),
    ) {
        let mut world = World::of_kind(rooms.0, rooms.1, accelerate);
        world.chatty = chatty;
        let (mut peers, mut next) = (Peers::default(), 0);
        for op in ops {
            apply(&mut world, &mut peers, op, &mut next);
        }
        world.settle();
        // Both peers take all that comes.
        world.client.give_room(usize::MAX);
        world.server.give_room(usize::MAX);
        world.settle();
        peers.reset |= world.client.look().is_dead() || world.server.look().is_dead();
        if !peers.reset {
            prop_assert_eq!(&world.server.look().written, &world.from_client);
            prop_assert_eq!(&world.client.look().written, &world.from_server);
            prop_assert_eq!(world.lent(), 0, "idle, it holds nothing");
            prop_assert_eq!(world.server.look().ends, usize::from(peers.client_ended));
            prop_assert_eq!(world.client.look().ends, usize::from(peers.server_ended));
        }
        // Whoever has not ended does so now.
        world.client.end();
        world.server.end();
        world.settle();
        match world.outcome {
            Outcome::Done(reason) => {
                prop_assert_eq!(&world.client.look().written, &world.from_server, "the answer is whole");
                prop_assert!(world.client.look().ends == 1 || world.client.look().is_dead());
                if reason == CloseReason::DONE {
                    prop_assert_eq!(&world.server.look().written, &world.from_client);
                }
            }
            Outcome::Reset(CloseReason::UPSTREAM_RESET) => prop_assert!(world.server.look().is_dead()),
            Outcome::Reset(CloseReason::DOWNSTREAM_RESET) => prop_assert!(world.client.look().is_dead()),
            other => prop_assert!(false, "not over: {:?} {:?}", other, world.picture()),
        }
        world.tunnel.clear(&mut world.supplies);
        prop_assert_eq!(world.lent(), 0);
    }

    #[test]
    fn one_byte_at_a_time(text in prop::collection::vec(any::<u8>(), 0..60), take in 1..5usize) {
        let mut world = World::new(0, 0);
        for byte in &text {
            world.client_sends(&[*byte]);
            world.settle();
            world.server.give_room(1);
            world.settle();
        }
        world.client.end();
        world.settle();
        world.server_sends(&text);
        world.server.end();
        for _ in 0..text.len() {
            world.settle();
            world.client.give_room(take);
        }
        world.settle();
        prop_assert_eq!(world.outcome, Outcome::Done(CloseReason::DONE));
        prop_assert_eq!(&world.client.look().written, &text);
        prop_assert_eq!(&world.server.look().written, &text);
    }
}

#[test]
fn a_slow_reader_stops_the_sender() {
    let mut world = World::new(usize::MAX, 3);
    world.client_sends(&[7; 100 * BLOCK]);
    world.settle();
    assert_eq!(world.downstream.received, BLOCK as u64, "one block is taken, the rest waits in the kernel");
    assert_eq!(world.lent(), 1);
    assert!(world.tunnel.holds_bytes());
    world.server.give_room(BLOCK - 3);
    world.settle();
    assert_eq!(world.downstream.received, 2 * BLOCK as u64);
}

#[test]
fn a_sender_without_end_gives_others_their_turn() {
    let mut world = World::new(usize::MAX, usize::MAX);
    world.client_sends(&[7; 100 * BLOCK]);
    world.tell(Side::Client);
    assert_eq!(world.outcome, Outcome::Yield);
    assert_eq!(world.downstream.received, (READS * BLOCK) as u64);
    world.settle();
    assert_eq!(world.server.look().written.len(), 100 * BLOCK);
}

#[test]
fn urgent_data_stops_a_read_short_of_what_is_there() {
    let mut world = World::new(usize::MAX, usize::MAX);
    world.client.arrive(b"abc", false);
    world.client.arrive(b"!de", true);
    world.from_client.extend(b"abc!de");
    world.settle();
    assert_eq!(world.server.look().written, b"abc!de");
}

#[test]
fn half_close_both_ways() {
    let mut world = World::new(usize::MAX, usize::MAX);
    world.client_sends(b"question");
    world.client.end();
    world.settle();
    assert!(world.tunnel.is_half_closed() && !world.tunnel.is_closing());
    assert_eq!(world.server.look().ends, 1);
    world.server_sends(b"answer, and a long one");
    world.settle();
    assert_eq!(world.outcome, Outcome::Wait);
    world.server.end();
    world.settle();
    assert_eq!(world.outcome, Outcome::Done(CloseReason::DONE));

    let mut world = World::new(usize::MAX, usize::MAX);
    world.server_sends(b"goodbye");
    world.server.end();
    world.settle();
    world.client_sends(b"one more thing");
    world.client.end();
    world.settle();
    assert_eq!(world.server.look().written, b"one more thing");
    assert_eq!(world.outcome, Outcome::Done(CloseReason::DONE_BY_UPSTREAM));
}

/// The server answers, ends, closes, and resets since the client still sends.
#[test]
fn an_answer_that_a_reset_follows_arrives_whole() {
    let mut world = World::new(usize::MAX, usize::MAX);
    world.client_sends(b"a long upl");
    world.settle();
    world.server_sends(b"413 too large, and why that is so");
    world.server.close();
    // The client's next bytes are written before the answer was announced.
    world.client_sends(b"oad that n");
    world.client_sends(b"obody want");
    world.tell(Side::Client);
    world.settle();
    assert_eq!(world.client.look().written, world.from_server);
    assert_eq!(world.client.look().ends, 1);
    assert_eq!(world.outcome, Outcome::Wait, "the client is heard out");
    world.client_sends(b"s any more");
    world.settle();
    world.client.end();
    world.settle();
    assert_eq!(world.outcome, Outcome::Done(CloseReason::DONE_BY_UPSTREAM));
}

#[test]
fn such_an_answer_arrives_whole_at_a_slow_client_too() {
    let mut world = World::new(2, usize::MAX);
    world.client_sends(b"upload");
    world.settle();
    world.server_sends(&[7; 10 * BLOCK]);
    world.server.close();
    world.client_sends(b"more");
    world.settle();
    assert!(world.server.look().is_dead());
    assert_eq!(world.outcome, Outcome::Wait);
    world.now += 10 * LINGER;
    world.drive();
    assert_eq!(world.outcome, Outcome::Wait, "delivering is not lingering");
    world.client.give_room(usize::MAX);
    world.settle();
    assert_eq!(world.client.look().written.len(), 10 * BLOCK);
    assert_eq!(world.tunnel.deadline(), Some(world.now + LINGER));
    // A client that does not stop sending does not keep the connection.
    world.now += LINGER;
    world.client_sends(&[1; 100 * BLOCK]);
    world.tell(Side::Client);
    assert_eq!(world.outcome, Outcome::Done(CloseReason::DONE_BY_UPSTREAM));
}

#[test]
fn a_reset_in_the_middle_of_an_answer_is_no_end() {
    let mut world = World::new(usize::MAX, usize::MAX);
    world.client_sends(b"question");
    world.settle();
    world.server_sends(b"half an ans");
    world.settle();
    world.server.reset();
    // A write meets the reset before a read does.
    world.client_sends(b"more");
    world.tell(Side::Client);
    assert_eq!(world.outcome, Outcome::Reset(CloseReason::UPSTREAM_RESET));
    assert_eq!(world.client.look().ends, 0);
}

#[test]
fn a_client_that_resets_after_its_end_is_noticed() {
    let mut world = World::new(usize::MAX, usize::MAX);
    world.client_sends(b"a query that takes hours");
    world.client.end();
    world.settle();
    world.client.reset();
    world.settle();
    assert_eq!(world.outcome, Outcome::Reset(CloseReason::DOWNSTREAM_RESET));
}

#[test]
fn a_client_that_resets_while_the_server_takes_nothing_is_noticed() {
    let mut world = World::new(usize::MAX, 0);
    world.client_sends(&[7; 3 * BLOCK]);
    world.settle();
    world.client.reset();
    world.settle();
    assert_eq!(world.outcome, Outcome::Reset(CloseReason::DOWNSTREAM_RESET));
}

#[test]
fn a_server_that_resets_after_its_end_does_not_keep_a_silent_client() {
    let mut world = World::new(usize::MAX, usize::MAX);
    world.server_sends(b"goodbye");
    world.server.end();
    world.settle();
    world.server.reset();
    world.settle();
    assert_eq!(world.outcome, Outcome::Wait);
    let deadline = world.tunnel.deadline().unwrap();
    assert!(deadline <= world.now + LINGER + Duration::from_secs(1));
    world.now = deadline;
    world.drive();
    assert_eq!(world.outcome, Outcome::Done(CloseReason::DONE_BY_UPSTREAM));
}

#[test]
fn a_server_that_goes_while_the_client_s_end_waits_ends_it() {
    let mut world = World::new(usize::MAX, 1);
    world.client_sends(b"question");
    world.client.end();
    world.settle();
    world.server_sends(b"no");
    world.server.end();
    world.settle();
    world.server.reset();
    world.settle();
    assert_eq!(world.outcome, Outcome::Done(CloseReason::DONE_BY_UPSTREAM));
    assert_eq!(world.client.look().written, b"no");
}

#[test]
fn what_proves_bulky_is_spliced_and_what_does_not_any_more_is_copied() {
    let mut world = World::of_kind(usize::MAX, usize::MAX, Accelerate::Auto);
    world.client_sends(&[7; 20 * BLOCK]);
    world.settle();
    let spliced = world.client.look().spliced;
    assert_eq!(spliced, 16 * BLOCK, "after four full blocks");
    assert_eq!(world.lent(), 0, "idle, it holds no pipe");
    for _ in 0..100 {
        world.client_sends(b"abc");
        world.settle();
    }
    let more = world.client.look().spliced - spliced;
    assert!(more < 100, "small pieces are copied in the end, not {more} bytes spliced");
    assert_eq!(world.server.look().written, world.from_client);
}

#[test]
fn urgent_data_is_not_spliced() {
    let mut world = World::of_kind(usize::MAX, usize::MAX, Accelerate::Auto);
    world.client_sends(&[7; 20 * BLOCK]);
    world.settle();
    world.client.arrive(b"!and more", true);
    world.from_client.extend(b"!and more");
    world.client.end();
    world.settle();
    assert_eq!(world.server.look().written, world.from_client);
    assert_eq!(world.server.look().ends, 1);
}

#[test]
fn a_pipe_with_bytes_in_it_is_not_used_again() {
    let mut world = World::of_kind(usize::MAX, 5 * BLOCK, Accelerate::Auto);
    world.client_sends(&[7; 20 * BLOCK]);
    world.settle();
    assert!(world.tunnel.holds_bytes());
    assert_eq!(world.supplies.pipes.lent(), 1);
    world.tunnel.clear(&mut world.supplies);
    assert_eq!(world.lent(), 0);
    let mut next = World::of_kind(usize::MAX, usize::MAX, Accelerate::Auto);
    std::mem::swap(&mut next.supplies, &mut world.supplies);
    next.client_sends(&[8; 20 * BLOCK]);
    next.settle();
    assert_eq!(next.server.look().written, next.from_client);
}
