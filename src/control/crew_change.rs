//! A worker stops accepting and comes back: its listening sockets change hands.

use super::{
    connections::answer,
    controller::Controller,
    fleet::{Commit, listening::Released},
    gather::Gather,
    names,
    port::WorkerPort,
    request::{EventKind, Provenance, Refusal, Reply, Target},
    state::State,
};

impl<P: WorkerPort> Controller<P> {
    /// Makes `next`, which differs in its crew alone, the state: sockets go
    /// where they belong. `confirmed` and `ended` as in [`settle`](Self::settle).
    pub(super) fn relocate(
        &mut self,
        next: State,
        confirmed: impl FnOnce(&mut Self) + Send + 'static,
        ended: impl FnOnce(&mut Self, Result<(), Refusal>) + Send + 'static,
    ) {
        self.state = next;
        self.busy = true;
        self.level(move |controller| {
            let commit = Commit { confirm: controller.fleet.ping(), pools_removed: Vec::new() };
            controller.settle(commit, confirmed, ended);
        });
        self.end_lifted_drains();
    }

    /// Every worker that accepts gets its share of the listening sockets: of
    /// those that have more, or do not accept, and else further ones.
    pub(super) fn level(&mut self, then: impl FnOnce(&mut Self) + Send + 'static) {
        let gather = self.fleet.release(self.state.crew());
        self.after(gather, move |controller, mut gather: Gather<Released>| {
            controller.placed(std::mem::take(&mut gather.answers));
            // What a slow worker still owes is placed when it comes.
            if !gather.silent().is_empty() {
                controller.when_answered(gather, |controller, gather| controller.placed(gather.answers));
            }
            for (name, workers) in controller.fleet.wanting(controller.state.crew()) {
                controller.equip(&name, workers);
            }
            then(controller);
        });
    }

    fn placed(&mut self, released: Vec<(usize, Released)>) {
        self.fleet.take_over(released, self.state.crew());
    }

    /// A worker accepts again.
    pub(super) fn start_worker(&mut self, index: usize, by: &Provenance, reply: Reply<()>) {
        let target = Target::Worker(index);
        let mut next = self.state.clone();
        let undrained = next
            .undrain(&target, false)
            .and_then(|()| self.check_alive(index))
            .and_then(|()| self.fleet.check_responsive());
        if let Err(refusal) = undrained {
            return answer(reply, Err(refusal));
        }
        self.journal.asked(EventKind::Undrained, &names::target(&target), "the drain is taken back", by);
        self.relocate(next, |_| (), move |_, confirmed| answer(reply, confirmed));
    }

    /// Refuses a worker whose thread has ended.
    pub(super) fn check_alive(&self, worker: usize) -> Result<(), Refusal> {
        if !self.fleet.is_dead(worker) {
            return Ok(());
        }
        let text = format!("worker {worker} has died and its connections with it: restart netd to replace it");
        Err(Refusal::Precondition(text))
    }
}
