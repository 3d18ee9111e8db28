//! The Controller's side of health: probes that are under way, and what is done
//! about what they tell.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{Id, JoinError, JoinSet},
};

use super::{Health, questions::QuestionId};
use crate::{
    control::{
        checks::REQUESTS,
        controller::Controller,
        observe::Turn,
        port::WorkerPort,
        prober::{Answer, Asking, Outcome, Prober, Question},
        state::State,
    },
    worker::FdBudget,
};

/// Probes under way that need no descriptor of the connections': the admin
/// plane's reserve has them.
const RESERVED: usize = 8;
/// Probes under way at most.
const MOST: usize = 256;
/// Probes are not begun one by one: so long after the first that is due, all
/// that are due are begun together.
const GRAIN: Duration = Duration::from_millis(5);

/// Probes that are under way.
pub(in crate::control) struct Probes {
    prober: Box<dyn Prober>,
    running: JoinSet<Answer>,
    questions: HashMap<Id, QuestionId>,
    /// Descriptors for them are taken from here.
    fds: Option<Arc<FdBudget>>,
    taken: usize,
    /// For checks that somebody asks for.
    places: Arc<Semaphore>,
}

/// A probe that has ended, well or not.
pub(in crate::control) type Ended = Result<(Id, Answer), JoinError>;

impl Probes {
    pub(in crate::control) fn new(prober: Box<dyn Prober>, fds: Option<Arc<FdBudget>>) -> Self {
        Self {
            prober,
            running: JoinSet::new(),
            questions: HashMap::new(),
            fds,
            taken: 0,
            places: Arc::new(Semaphore::new(REQUESTS)),
        }
    }

    /// The next that ends; none while none is under way.
    pub(in crate::control) async fn next(&mut self) -> Option<Ended> {
        self.running.join_next_with_id().await
    }

    /// A probe beside those of the schedule. It begins when it is first polled.
    pub(in crate::control) fn ask(&self, question: Question) -> Asking {
        self.prober.ask(question)
    }

    /// A place for a request for such probes, if one is free.
    pub(in crate::control) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// What their descriptors are taken from.
    pub(in crate::control) fn fds(&self) -> Option<Arc<FdBudget>> {
        self.fds.clone()
    }

    /// How many may be under way, for so many questions.
    fn room(&mut self, questions: usize) -> usize {
        let Some(fds) = &self.fds else { return RESERVED };
        let wanted = questions.min(MOST).saturating_sub(RESERVED);
        if wanted == 0 {
            fds.give(self.taken as u64);
            self.taken = 0;
        } else if wanted > self.taken {
            self.taken += fds.take((wanted - self.taken) as u64) as usize;
        }
        RESERVED + self.taken
    }
}

impl Health {
    /// How many questions are asked.
    fn questions(&self) -> usize {
        self.questions.len()
    }
}

impl<P: WorkerPort> Controller<P> {
    /// Until when no probe is to begin.
    pub(in crate::control) fn probe_pause(&self) -> Option<Duration> {
        let pause = self.health.questions.pause(self.clock.now())?;
        Some(pause.clamp(GRAIN, self.pace.tick.max(GRAIN)))
    }

    /// Begins the probes that are due.
    pub(in crate::control) fn begin_probes(&mut self) {
        let now = self.clock.now();
        while let Some((id, question)) = self.health.questions.take(now) {
            let probe = self.probes.running.spawn(self.probes.prober.ask(question));
            self.probes.questions.insert(probe.id(), id);
        }
    }

    /// A probe has ended.
    pub(in crate::control) fn probed(&mut self, ended: Ended) {
        let (task, answer) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!("a health check has failed in netd itself: {error}");
                let outcome = Outcome::NotAsked(error.to_string());
                (error.id(), Answer { outcome, took: Duration::ZERO })
            }
        };
        let Some(question) = self.probes.questions.remove(&task) else { return };
        let turns = self.health.answered(question, answer, self.clock.now());
        self.tell_all(turns);
    }

    /// Looks at what connections met, and lets those rest that must: all that
    /// turned since the last look together.
    pub(in crate::control) fn look_at_health(&mut self) {
        let room = self.probes.room(self.health.questions());
        self.health.questions.allow(room);
        let turns = self.health.look(self.fleet.told(), self.clock.now());
        self.tell_all(turns);
        self.settle_health();
        self.begin_probes();
    }

    /// Another state is about to come into force, and with it who rests.
    pub(in crate::control) fn follow_health(&mut self, next: &mut State) {
        self.health.follow(next.config(), self.clock.now());
        let (resting, turns) = self.health.settle(next);
        self.tell_all(turns);
        if let Some(resting) = resting {
            next.let_rest(resting);
        }
    }

    /// Tells the workers who rests. A worker that does not answer is told
    /// later.
    fn settle_health(&mut self) {
        if self.fleet.check_responsive().is_err() {
            return;
        }
        let (resting, turns) = self.health.settle(&self.state);
        self.tell_all(turns);
        if let Some(resting) = resting {
            self.state.let_rest(resting);
            self.fleet.reweigh(&self.state);
        }
    }

    fn tell_all(&self, turns: Vec<Turn>) {
        for turn in turns {
            self.journal.seen(turn.kind, &turn.object, &turn.text);
        }
    }
}
