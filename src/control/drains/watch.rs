//! Who comes later and wants to know how a drain goes on, or how it ended.

use std::collections::VecDeque;

use super::Progress;
use crate::control::{
    connections::answer,
    controller::Controller,
    names,
    port::WorkerPort,
    request::{DrainProgress, DrainRequest, Refusal, Reply, Target},
};

/// Ends that are remembered.
const KEPT: usize = 16;

/// How the latest drains have ended, the last one last.
#[derive(Debug, Default)]
pub(in crate::control) struct Ends(VecDeque<(Target, DrainProgress)>);

impl Ends {
    /// One more.
    pub(super) fn note(&mut self, target: Target, last: DrainProgress) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((target, last));
    }

    fn latest(&self, target: &Target) -> Option<&DrainProgress> {
        self.0.iter().rev().find(|(each, _)| each == target).map(|(_, last)| last)
    }
}

impl<P: WorkerPort> Controller<P> {
    /// On the way out only the last drain can be watched.
    pub(in crate::control) fn join_last_drain(&mut self, request: DrainRequest, reply: Reply<Progress>) {
        if request.target == Target::Daemon && self.drains.iter().any(|drain| drain.target == Target::Daemon) {
            self.start_drain(request, reply);
        } else {
            answer(reply, Err(Refusal::ShuttingDown));
        }
    }

    /// The progress of a drain that is under way, or the last message of one
    /// that has ended lately. Begins and changes nothing.
    pub(in crate::control) fn watch_drain(&mut self, target: &Target) -> Result<Progress, Refusal> {
        let (now, measure) = (self.clock.now().instant, self.measure(target));
        if let Some(drain) = self.drains.iter_mut().find(|drain| drain.target == *target) {
            return drain.watch(measure, now);
        }
        let Some(last) = self.ends.latest(target) else {
            let name = names::target(target);
            return Err(Refusal::NotFound(format!("no drain of {name} is under way, and none has ended lately")));
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        // The channel is new: it has room.
        let _ = sender.try_send(last.clone());
        Ok(receiver)
    }
}
