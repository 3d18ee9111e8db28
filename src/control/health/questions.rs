//! The questions that are asked: each once, however many pools want to know.

use std::{collections::HashMap, time::Duration};

use super::words;
use crate::{
    config::{Address, HealthCheck},
    control::{
        clock::Now,
        prober::{Answer, Outcome, Question},
        request::LastProbe,
    },
    health::{Checker, Schedule, Terms, Verdict},
};

/// Names a question among all that were ever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::control) struct QuestionId(u64);

/// All of them.
#[derive(Debug)]
pub(super) struct Questions {
    known: HashMap<Question, QuestionId>,
    asked: HashMap<QuestionId, Asked>,
    schedule: Schedule<QuestionId>,
    /// New since [`begin`](Self::begin).
    fresh: Vec<QuestionId>,
    next: u64,
    lot: u64,
}

/// One question and what came of it.
#[derive(Debug)]
struct Asked {
    question: Question,
    terms: Terms,
    checker: Checker,
    /// Pools that want to know.
    subscribers: Vec<String>,
    begun: Option<Now>,
    last: Option<LastProbe>,
    /// Good, bad, timed out, not asked.
    counts: [u64; 4],
    /// Answers in a row that were like the last one.
    row: u64,
}

/// What an answer comes to.
pub(super) struct Heard {
    pub(super) address: Address,
    pub(super) subscribers: Vec<String>,
    pub(super) verdict: Verdict,
    /// Why, if the verdict is another now.
    pub(super) turned: Option<String>,
    /// The endpoint was asked.
    pub(super) counts: bool,
}

impl Questions {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            known: HashMap::new(),
            asked: HashMap::new(),
            schedule: Schedule::new(0),
            fresh: Vec::new(),
            next: 0,
            lot: seed,
        }
    }

    /// A configuration is about to say who wants to know what.
    pub(super) fn begin(&mut self) {
        self.asked.values_mut().for_each(|asked| asked.subscribers.clear());
        self.fresh.clear();
    }

    /// The question; a new one begins with the verdict that the endpoint has.
    pub(super) fn want(&mut self, question: Question, verdict: Verdict) -> QuestionId {
        if let Some(id) = self.known.get(&question) {
            return *id;
        }
        self.next += 1;
        let id = QuestionId(self.next);
        let HealthCheck { interval, fast_interval, jitter, rise, fall, .. } = *question.check;
        let asked = Asked {
            question: question.clone(),
            terms: Terms { interval, fast_interval, jitter, rise, fall },
            checker: Checker::with(verdict),
            subscribers: Vec::new(),
            begun: None,
            last: None,
            counts: [0; 4],
            row: 0,
        };
        self.known.insert(question, id);
        self.asked.insert(id, asked);
        self.fresh.push(id);
        id
    }

    /// A pool wants to know.
    pub(super) fn subscribe(&mut self, id: QuestionId, pool: &str) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.subscribers.push(pool.to_owned());
        }
    }

    /// All have said what they want: the rest is forgotten, and what is new is
    /// asked in the course of its fast interval.
    pub(super) fn end(&mut self, now: Now) {
        let gone: Vec<QuestionId> =
            self.asked.iter().filter(|(_, asked)| asked.subscribers.is_empty()).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(asked) = self.asked.remove(&id) {
                self.known.remove(&asked.question);
            }
            self.schedule.remove(id);
        }
        let count = u32::try_from(self.fresh.len()).unwrap_or(u32::MAX).max(1);
        for (id, place) in std::mem::take(&mut self.fresh).into_iter().zip(0..) {
            let Some(asked) = self.asked.get(&id) else { continue };
            let wait = asked.terms.fast_interval / count * place;
            self.schedule.set(id, now.instant + wait);
        }
    }

    /// At most so many may be asked at once.
    pub(super) fn allow(&mut self, most: usize) {
        self.schedule.allow(most);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }

    /// The next that is to be asked now.
    pub(super) fn take(&mut self, now: Now) -> Option<(QuestionId, Question)> {
        let id = self.schedule.take(now.instant)?;
        let asked = self.asked.get_mut(&id)?;
        asked.begun = Some(now);
        Some((id, asked.question.clone()))
    }

    /// How long nobody is to be asked; `None`: until an answer comes.
    pub(super) fn pause(&self, now: Now) -> Option<Duration> {
        self.schedule.pause(now.instant)
    }

    /// What is thought of whom it is about.
    pub(super) fn verdict(&self, id: QuestionId) -> Verdict {
        self.asked.get(&id).map_or(Verdict::Unknown, |asked| asked.checker.verdict())
    }

    /// The last answer, and how many were good, bad, too late, and not asked.
    pub(super) fn told(&self, id: QuestionId) -> Option<(&HealthCheck, Option<&LastProbe>, [u64; 4])> {
        self.asked.get(&id).map(|asked| (&*asked.question.check, asked.last.as_ref(), asked.counts))
    }

    /// An answer has come; `None` if nobody wants to know any more.
    pub(super) fn answered(&mut self, id: QuestionId, answer: Answer, now: Now) -> Option<Heard> {
        let lot = draw(&mut self.lot);
        let asked = self.asked.get_mut(&id)?;
        let begun = asked.begun.take().unwrap_or(now);
        let (place, good, why) = match answer.outcome {
            Outcome::Good => (0, Some(true), None),
            Outcome::Bad(why) => (1, Some(false), Some(why)),
            Outcome::TimedOut(why) => (2, Some(false), Some(why)),
            Outcome::NotAsked(why) => (3, None, Some(why)),
        };
        asked.counts[place] += 1;
        let mut turned = None;
        if let Some(good) = good {
            let same = asked.last.as_ref().is_some_and(|last| last.failure.is_none() == good);
            asked.row = if same { asked.row + 1 } else { 1 };
            if asked.checker.answered(good, &asked.terms) {
                turned = Some(words::answers(&asked.question.check.kind, asked.row, why.as_deref()));
            }
            asked.last = Some(LastProbe { at: now.wall, took: answer.took, failure: why });
        } else {
            tracing::debug!(endpoint = %asked.question.address, why, "a health check was not made");
        }
        let next = begun.instant + asked.checker.pause(&asked.terms, lot);
        self.schedule.set(id, next.max(now.instant));
        Some(Heard {
            address: asked.question.address.clone(),
            subscribers: asked.subscribers.clone(),
            verdict: asked.checker.verdict(),
            turned,
            counts: good.is_some(),
        })
    }
}

/// SplitMix64; enough to keep probes apart.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
