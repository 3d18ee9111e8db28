//! A relay that goes from worker to worker while bytes are on their way.

use super::*;
use crate::worker::parcel::Held;

/// Workers with blocks of different sizes.
const BLOCKS: [usize; 3] = [BLOCK, 3, 5 * BLOCK];

impl World {
    /// To another worker.
    fn go_to(&mut self, worker: usize, accelerate: Accelerate) {
        if self.is_over() {
            return;
        }
        let gone = Tunnel::new(accelerate);
        let frozen = std::mem::replace(&mut self.tunnel, gone).freeze(&mut self.supplies);
        assert_eq!(self.lent(), 0, "nothing of the old worker's goes along");
        self.supplies = Supplies::new(BLOCKS[worker % BLOCKS.len()], FdBudget::new(20_000, 0));
        self.tunnel = Tunnel::thaw(frozen, accelerate, &mut self.supplies);
        for (transport, script) in [(&mut self.downstream, &self.client), (&mut self.upstream, &self.server)] {
            let old = std::mem::replace(transport, Transport::new(script.clone()));
            *transport = Transport::thaw(old.freeze::<Script>());
            // Of the old one's news none is left.
            let _ = script.news(false);
            script.watched_anew();
        }
        // As the worker does.
        self.outcome = Outcome::Yield;
        let outcome = self.tunnel.drive(&mut self.downstream, &mut self.upstream, &mut self.supplies, self.now);
        self.outcome = outcome;
        if let Outcome::Done(_) = self.outcome {
            self.client.is_closed();
            self.server.is_closed();
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Do(Op),
    Go(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let go = prop::collection::vec((any::<bool>(), 0..BLOCKS.len()), 0..80);
    (ops(), go).prop_map(|(ops, go)| {
        let go = go.into_iter().chain(std::iter::repeat((false, 0)));
        ops.into_iter()
            .zip(go)
            .flat_map(|(op, (goes, worker))| [Some(Step::Do(op)), goes.then_some(Step::Go(worker))])
            .flatten()
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// As for a relay that stays: whatever it does, and wherever it goes.
    #[test]
    fn moving_loses_doubles_and_reorders_nothing(
        steps in steps(),
        rooms in (0..2 * BLOCK, 0..2 * BLOCK),
        chatty in any::<bool>(),
        accelerate in prop::sample::select(vec![Accelerate::Auto, Accelerate::Splice, Accelerate::Off]),
    ) {
        let mut world = World::of_kind(rooms.0, rooms.1, accelerate);
        world.chatty = chatty;
        let (mut peers, mut next) = (Peers::default(), 0);
        for step in steps {
            match step {
                Step::Do(op) => apply(&mut world, &mut peers, op, &mut next),
                Step::Go(worker) => world.go_to(worker, accelerate),
            }
        }
        world.settle();
        world.go_to(1, accelerate);
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
        world.client.end();
        world.go_to(0, accelerate);
        world.server.end();
        world.settle();
        match world.outcome {
            Outcome::Done(reason) => {
                prop_assert_eq!(&world.client.look().written, &world.from_server, "the answer is whole");
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
}

#[test]
fn a_block_larger_than_this_worker_s_is_written_out_first() {
    let mut world = World::new(usize::MAX, 0);
    world.supplies = Supplies::new(40, FdBudget::new(20_000, 0));
    world.client_sends(&[7; 40]);
    world.client_sends(&[8; 40]);
    world.settle();
    world.go_to(1, Accelerate::Off);
    assert_eq!((world.lent(), world.supplies.blocks.block_size()), (1, 3));
    world.server.give_room(10);
    world.settle();
    assert_eq!((world.server.look().written.len(), world.lent()), (10, 1));
    world.server.give_room(usize::MAX);
    world.settle();
    assert_eq!(world.server.look().written, world.from_client);
    assert_eq!(world.lent(), 0);
}

#[test]
fn a_pipe_goes_along_with_what_is_in_it_and_is_used_on() {
    let mut world = World::of_kind(usize::MAX, 5 * BLOCK, Accelerate::Auto);
    world.client_sends(&[7; 20 * BLOCK]);
    world.settle();
    let pipe = world.supplies.pipes.lent();
    assert_eq!(pipe, 1);
    let spliced = world.client.look().spliced;
    world.go_to(0, Accelerate::Auto);
    assert_eq!((world.supplies.pipes.lent(), world.supplies.blocks.lent()), (1, 0));
    world.server.give_room(usize::MAX);
    world.settle();
    assert_eq!(world.server.look().written, world.from_client);
    assert!(world.client.look().spliced > spliced, "the direction is still bulky");
    assert_eq!(world.lent(), 0);
}

#[test]
fn an_empty_place_does_not_go_along() {
    let mut supplies = Supplies::new(BLOCK, FdBudget::new(20_000, 0));
    let frozen = Tunnel::new(Accelerate::Splice).freeze(&mut supplies);
    assert!(
        matches!((frozen.up.held, frozen.down.held), (Held::Bytes(up), Held::Bytes(down)) if up.len() + down.len() == 0)
    );
}
