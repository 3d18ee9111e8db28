//! Which endpoint takes the next connection. Knows no protocol and no socket.
//!
//! One [`Balancer`] a pool and worker. What it must know of the whole process
//! (how many connections an endpoint has) is asked of the caller, so that the
//! workers together decide as one would.

mod cumulative;
mod maglev;
mod random;
mod round_robin;
mod tables;

use std::{hash::Hash, sync::Arc};

pub use maglev::{Maglev, stable_hash};
use random::Random;
use round_robin::RoundRobin;
pub use tables::Tables;

/// How a pool chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Everyone its share, in turn.
    #[default]
    RoundRobin,
    /// The fewest connections for its weight.
    LeastConnections,
    /// The better of two drawn by lot: nearly as even as the above, at a cost
    /// that does not grow with the pool.
    TwoChoices,
    /// By lot.
    Random,
    /// The same key goes to the same endpoint, and hardly any key moves when
    /// endpoints come and go.
    Maglev,
    /// The first of the file that has room.
    FirstAvailable,
}

/// One endpoint as the balancer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<K> {
    /// Its identity.
    pub key: K,
    /// Its share of new connections; 0 takes none.
    pub weight: u32,
    /// Takes connections only if no other does.
    pub backup: bool,
}

/// What a choice depends on besides the candidates.
#[derive(Debug)]
pub struct Ask<'a, K, L, F> {
    /// Not these.
    pub tried: &'a [K],
    /// For [`Policy::Maglev`].
    pub hash: u64,
    /// Connections that an endpoint has, all workers together.
    pub load: L,
    /// It has no room.
    pub full: F,
}

/// Chooses among candidates. A clone goes on from the same place: what it picks
/// is what the original would have picked.
#[derive(Debug, Clone)]
pub struct Balancer<K> {
    policy: Policy,
    primary: Tier<K>,
    backup: Tier<K>,
    lot: Random,
    /// Where the next search for the least begins, so that equals take turns.
    start: usize,
}

/// Candidates of one rank that take connections. Only what the policy needs is
/// kept: a large pool changes on a worker's thread.
#[derive(Debug, Clone)]
struct Tier<K> {
    members: Vec<Member<K>>,
    /// For round robin.
    round: RoundRobin<K>,
    /// Sums of weights, for lots.
    sums: cumulative::Sums,
    /// For Maglev.
    table: Option<Arc<Maglev>>,
}

#[derive(Debug, Clone, Copy)]
struct Member<K> {
    key: K,
    weight: u32,
}

impl<K: Copy + Eq + Hash> Balancer<K> {
    /// A balancer over `candidates`; `tables` are theirs under this policy.
    /// Workers pass different `offset`s, so that they do not all begin with the
    /// same endpoint, and do not draw the same lots.
    pub fn new(policy: Policy, candidates: &[Candidate<K>], tables: &Tables, offset: usize) -> Self {
        let (primary, backup) = split(candidates);
        Self {
            policy,
            primary: Tier::new(policy, &primary, tables.primary.as_ref(), offset),
            backup: Tier::new(policy, &backup, tables.backup.as_ref(), offset),
            lot: Random::new(offset as u64),
            start: offset,
        }
    }

    /// Takes on new weights and endpoints; in a round, endpoints that stay
    /// keep their place.
    pub fn update(&mut self, policy: Policy, candidates: &[Candidate<K>], tables: &Tables) {
        let (primary, backup) = split(candidates);
        self.policy = policy;
        self.primary.update(policy, &primary, tables.primary.as_ref());
        self.backup.update(policy, &backup, tables.backup.as_ref());
    }

    /// The next endpoint; `None` if no other takes connections.
    #[must_use]
    pub fn pick<L: Fn(K) -> u64, F: Fn(K) -> bool>(&mut self, ask: &Ask<'_, K, L, F>) -> Option<K> {
        let Self { policy, primary, backup, lot, start } = self;
        primary.pick(*policy, ask, lot, start).or_else(|| backup.pick(*policy, ask, lot, start))
    }
}

impl<K: Copy + Eq + Hash> Tier<K> {
    fn new(policy: Policy, candidates: &[Candidate<K>], table: Option<&Arc<Maglev>>, offset: usize) -> Self {
        let round = if policy == Policy::RoundRobin { candidates } else { &[] };
        let mut tier = Self {
            members: Vec::new(),
            round: RoundRobin::new(round, offset),
            sums: cumulative::Sums::default(),
            table: None,
        };
        tier.arrange(policy, candidates, table);
        tier
    }

    fn update(&mut self, policy: Policy, candidates: &[Candidate<K>], table: Option<&Arc<Maglev>>) {
        self.round.update(if policy == Policy::RoundRobin { candidates } else { &[] });
        self.arrange(policy, candidates, table);
    }

    fn arrange(&mut self, policy: Policy, candidates: &[Candidate<K>], table: Option<&Arc<Maglev>>) {
        let taking = || candidates.iter().filter(|candidate| candidate.weight > 0);
        let draws = matches!(policy, Policy::Random | Policy::TwoChoices);
        self.members = taking().map(|each| Member { key: each.key, weight: each.weight }).collect();
        self.sums = taking().filter(|_| draws).map(|each| each.weight).collect();
        self.table = table.cloned();
    }

    fn pick<L: Fn(K) -> u64, F: Fn(K) -> bool>(
        &mut self,
        policy: Policy,
        ask: &Ask<'_, K, L, F>,
        lot: &mut Random,
        start: &mut usize,
    ) -> Option<K> {
        let is_out = |key: K| ask.tried.contains(&key) || (ask.full)(key);
        let members = &self.members;
        let open = |index: usize| !is_out(members[index].key);
        match policy {
            Policy::RoundRobin => self.round.pick(is_out),
            Policy::FirstAvailable => members.iter().map(|member| member.key).find(|&key| !is_out(key)),
            Policy::Random => self.sums.draw(lot, open).map(|index| members[index].key),
            Policy::TwoChoices => {
                let first = self.sums.draw(lot, open)?;
                let second = self.sums.draw(lot, |index| index != first && open(index));
                let better = second.filter(|&second| lighter(&members[second], &members[first], &ask.load));
                Some(members[better.unwrap_or(first)].key)
            }
            Policy::LeastConnections => {
                *start = start.wrapping_add(1);
                let begin = *start % members.len().max(1);
                least(members, begin, open, &ask.load).map(|index| members[index].key)
            }
            Policy::Maglev => {
                let table = self.table.as_deref()?;
                table.pick(ask.hash, members.len(), open).map(|index| members[index].key)
            }
        }
    }
}

/// The one with the fewest connections for its weight; of equals the first
/// from `begin` on. Every load is asked for once.
fn least<K: Copy>(
    members: &[Member<K>],
    begin: usize,
    open: impl Fn(usize) -> bool,
    load: &impl Fn(K) -> u64,
) -> Option<usize> {
    let mut best: Option<(usize, u64, u64)> = None;
    for index in (begin..members.len()).chain(0..begin) {
        if !open(index) {
            continue;
        }
        let member = &members[index];
        // Both have 32 bits, so that a product has 64: no process has that many
        // connections.
        let load = load(member.key).saturating_add(1).min(u64::from(u32::MAX));
        let weight = u64::from(member.weight);
        if best.is_none_or(|(_, least, of)| load * of < least * weight) {
            best = Some((index, load, weight));
        }
    }
    best.map(|(index, ..)| index)
}

/// Whether `a` would have fewer connections for its weight than `b`, with one
/// more.
fn lighter<K: Copy>(a: &Member<K>, b: &Member<K>, load: &impl Fn(K) -> u64) -> bool {
    let cost = |member: &Member<K>, other: &Member<K>| (u128::from(load(member.key)) + 1) * u128::from(other.weight);
    cost(a, b) < cost(b, a)
}

fn split<K: Copy>(candidates: &[Candidate<K>]) -> (Vec<Candidate<K>>, Vec<Candidate<K>>) {
    candidates.iter().partition(|candidate| !candidate.backup)
}

#[cfg(test)]
mod tests;
