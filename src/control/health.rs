//! Whether endpoints can be used: what probes and connections told of them,
//! and which of them rest for it. Pure but for `watch`, the Controller's side.
//!
//! One question is asked once, however many pools want to know (`questions`).
//! What connections met comes from the workers' counters (`passive`). Both make
//! a [`Standing`]; a pool's standings and its panic threshold make the set of
//! endpoints that rest, which is the observed layer of a weight. What is known
//! goes along to an heir (`succession`).

mod passive;
mod questions;
mod sparing;
mod succession;
#[cfg(test)]
mod tests;
mod view;
mod watch;
mod words;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

pub(super) use self::watch::Probes;
use self::{
    questions::{QuestionId, Questions},
    sparing::Sparing,
};
use super::{
    clock::Now,
    names,
    observe::Turn,
    prober::{Answer, Question, Way},
    request::{EventKind, Standing},
    state::State,
};
use crate::{
    config::{Address, Config, Initial, Pool},
    health::{Cause, Outlier, Verdict, panics},
    metrics::Histogram,
};

/// Endpoints that get no new connections for what is observed of them, by pool.
pub(super) type Resting = HashMap<String, Arc<HashSet<Address>>>;

/// All that is known of the health of endpoints.
#[derive(Debug)]
pub(super) struct Health {
    /// Those that are checked or watched.
    pools: BTreeMap<String, Watched>,
    questions: Questions,
    followed: Option<Arc<Config>>,
    resting: Resting,
}

/// One pool.
#[derive(Debug)]
struct Watched {
    config: Arc<Pool>,
    endpoints: HashMap<Address, Known>,
    panics: bool,
    probe_time: Histogram,
    /// Something turned that its resting endpoints may depend on.
    turned: bool,
    sparing: Sparing,
}

/// One endpoint of one pool.
#[derive(Debug)]
struct Known {
    question: Option<QuestionId>,
    /// Since the first look at its counters, if the pool ejects.
    outlier: Option<Outlier>,
    ejected: u64,
    /// Probes of earlier processes: good, bad, timed out, not asked.
    probed: [u64; 4],
    /// What speaks for an ejection that is not granted.
    spared: Option<Cause>,
    /// How often it came to that.
    refused: u64,
    /// Its check's.
    verdict: Verdict,
    standing: Standing,
    /// Of the standing.
    since: SystemTime,
    why: String,
    /// When it last became usable after it was not.
    healthy_at: Option<SystemTime>,
}

impl Known {
    fn new(now: Now) -> Self {
        Self {
            question: None,
            outlier: None,
            ejected: 0,
            probed: [0; 4],
            spared: None,
            refused: 0,
            verdict: Verdict::Unknown,
            standing: Standing::Unchecked,
            since: now.wall,
            why: String::new(),
            healthy_at: None,
        }
    }

    /// What verdict and ejection come to.
    fn judged(&self, checked: bool) -> Standing {
        let ejected = self.outlier.as_ref().is_some_and(|each| each.ejected_until().is_some());
        match (self.verdict, ejected) {
            (Verdict::Unhealthy, _) => Standing::Unhealthy,
            (_, true) => Standing::Ejected,
            (Verdict::Unknown, false) if checked => Standing::Unknown,
            (Verdict::Unknown, false) => Standing::Unchecked,
            (Verdict::Healthy, false) => Standing::Healthy,
        }
    }

    /// Takes on another standing, for a reason.
    fn turn(&mut self, standing: Standing, why: String, now: Now) {
        if standing.is_good() && !self.standing.is_good() {
            self.healthy_at = Some(now.wall);
        }
        (self.standing, self.since, self.why) = (standing, now.wall, why);
    }
}

impl Health {
    /// Nothing is known yet; `seed` decides about jitter.
    pub(super) fn new(seed: u64) -> Self {
        Self { pools: BTreeMap::new(), questions: Questions::new(seed), followed: None, resting: Resting::new() }
    }

    /// Takes on a configuration. What is known of endpoints that stay is kept,
    /// also if they are asked in another way from now on.
    pub(super) fn follow(&mut self, config: &Arc<Config>, now: Now) {
        if self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, config)) {
            self.pools.values_mut().for_each(|pool| pool.turned = true);
            return;
        }
        self.followed = Some(config.clone());
        let mut before = std::mem::take(&mut self.pools);
        self.questions.begin();
        for pool in config.pools.iter().filter(|pool| pool.health.check.is_some() || pool.health.outlier.is_some()) {
            let mut watched = before.remove(&pool.name).unwrap_or_else(|| Watched::new(pool));
            let (mut known, way) = (std::mem::take(&mut watched.endpoints), Way::of(pool));
            for endpoint in &pool.endpoints {
                let address = &endpoint.address;
                let mut each = known.remove(address).unwrap_or_else(|| Known::new(now));
                let check = pool.health.check.as_ref();
                each.question = check.map(|check| {
                    let question = Question { address: address.clone(), check: check.clone(), way: way.clone() };
                    let question = self.questions.want(question, each.verdict);
                    self.questions.subscribe(question, &pool.name);
                    question
                });
                each.verdict = each.question.map_or(Verdict::Unknown, |question| self.questions.verdict(question));
                if pool.health.outlier.is_none() {
                    (each.outlier, each.spared) = (None, None);
                }
                let standing = each.judged(check.is_some());
                if standing != each.standing {
                    each.turn(standing, words::reloaded(standing).to_owned(), now);
                }
                watched.endpoints.insert(address.clone(), each);
            }
            (watched.config, watched.turned) = (pool.clone(), true);
            self.pools.insert(pool.name.clone(), watched);
        }
        self.questions.end(now);
        self.resting.retain(|name, _| self.pools.contains_key(name));
    }

    /// A probe has ended.
    pub(super) fn answered(&mut self, id: QuestionId, answer: Answer, now: Now) -> Vec<Turn> {
        let took = answer.took;
        let Some(heard) = self.questions.answered(id, answer, now) else { return Vec::new() };
        let mut turns = Vec::new();
        for name in heard.subscribers {
            let Some(pool) = self.pools.get_mut(&name) else { continue };
            if heard.counts {
                pool.probe_time.record(took);
            }
            let Some(why) = &heard.turned else { continue };
            let Some(known) = pool.endpoints.get_mut(&heard.address) else { continue };
            (known.verdict, pool.turned) = (heard.verdict, true);
            let standing = known.judged(true);
            if standing == known.standing {
                continue;
            }
            known.turn(standing, why.clone(), now);
            let kind = match heard.verdict {
                Verdict::Healthy => EventKind::EndpointHealthy,
                Verdict::Unhealthy | Verdict::Unknown => EventKind::EndpointUnhealthy,
            };
            let text = words::turned(&heard.address, &name, heard.verdict, why);
            turns.push(Turn { kind, object: names::endpoint(&name, &heard.address.to_string()), text });
        }
        turns
    }

    /// Looks again at pools where something turned; answers who rests now, if
    /// that is another set than before, and what is to be told of it.
    pub(super) fn settle(&mut self, state: &State) -> (Option<Resting>, Vec<Turn>) {
        let (mut changed, mut turns) = (false, Vec::new());
        for (name, pool) in self.pools.iter_mut().filter(|(_, pool)| pool.turned) {
            pool.turned = false;
            let (resting, turn) = pool.resting(state);
            turns.extend(turn);
            let before = self.resting.get(name);
            if before.map_or(resting.is_empty(), |before| **before == resting) {
                continue;
            }
            changed = true;
            self.resting.insert(name.clone(), Arc::new(resting));
        }
        let changed = changed || state.resting().keys().any(|name| !self.resting.contains_key(name));
        (changed.then(|| self.resting.clone()), turns)
    }
}

impl Watched {
    fn new(config: &Arc<Pool>) -> Self {
        Self {
            config: config.clone(),
            endpoints: HashMap::new(),
            panics: false,
            probe_time: Histogram::default(),
            turned: true,
            sparing: Sparing::default(),
        }
    }

    /// Who rests; none in a panic. Endpoints that an operator took out do not
    /// count, nor do those of which nothing is known yet.
    fn resting(&mut self, state: &State) -> (HashSet<Address>, Option<Turn>) {
        let initial = self.config.health.check.as_ref().map_or(Initial::Used, |check| check.initial);
        let (mut healthy, mut total, mut resting) = (0, 0, HashSet::new());
        for endpoint in &self.config.endpoints {
            let Some(known) = self.endpoints.get(&endpoint.address) else { continue };
            let rests = match known.standing {
                Standing::Unhealthy | Standing::Ejected => true,
                Standing::Unknown => initial == Initial::Unused,
                Standing::Healthy | Standing::Unchecked => false,
            };
            if known.standing != Standing::Unknown && state.weight(&self.config.name, endpoint) > 0 {
                total += 1;
                healthy += usize::from(!rests);
            }
            if rests {
                resting.insert(endpoint.address.clone());
            }
        }
        let threshold = self.config.health.panic_threshold;
        let panics = panics(healthy, total, threshold);
        let turned = std::mem::replace(&mut self.panics, panics) != panics;
        let turn = turned.then(|| {
            let kind = if panics { EventKind::PoolPanic } else { EventKind::PoolPanicEnded };
            let text = words::panic(&self.config.name, panics, healthy, total, threshold);
            Turn { kind, object: names::pool(&self.config.name), text }
        });
        if panics {
            resting.clear();
        }
        (resting, turn)
    }
}
