//! Balancing, in the words of requests and answers.

use std::{fmt, net::SocketAddr, time::Duration};

use super::request::{Override, Provenance};
use crate::{
    balance,
    config::{HashKey, Listener, Policy, PoolShare, format_shares},
};

/// Shares that stand above the file's. Pools that are not named keep the
/// file's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split(Vec<PoolShare>);

impl Split {
    /// The pools that do not have the file's share, each once.
    pub fn shares(&self) -> &[PoolShare] {
        &self.0
    }

    /// Sets one pool's share.
    pub(super) fn set(&mut self, share: &PoolShare) {
        match self.0.iter_mut().find(|each| each.name == share.name) {
            Some(each) => each.weight = share.weight,
            None => self.0.push(share.clone()),
        }
    }

    /// The listener's pools with these shares above the file's.
    pub(super) fn over(&self, listener: &Listener) -> Vec<PoolShare> {
        let own = |name: &str| self.0.iter().find(|each| each.name == name);
        let pools = listener.protocol.pools().iter();
        pools.map(|share| own(&share.name).unwrap_or(share).clone()).collect()
    }

    /// The listener relays to all pools that are named, and to at least one.
    pub(super) fn fits(&self, listener: Option<&std::sync::Arc<Listener>>) -> bool {
        let Some(listener) = listener else { return false };
        let is_known = |share: &PoolShare| listener.protocol.pools().iter().any(|each| each.name == share.name);
        self.0.iter().all(is_known) && self.over(listener).iter().any(|share| share.weight > 0)
    }
}

impl FromIterator<PoolShare> for Split {
    fn from_iter<I: IntoIterator<Item = PoolShare>>(shares: I) -> Self {
        let mut split = Self::default();
        shares.into_iter().for_each(|share| split.set(&share));
        split
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_shares(&self.0))
    }
}

/// Sets the shares of a listener's pools.
#[derive(Debug, Clone)]
pub struct SetSplit {
    /// Name of the listener.
    pub listener: String,
    /// Those to set; `None`: back to the file's.
    pub shares: Option<Vec<PoolShare>>,
    /// Ends by itself after this.
    pub expires_in: Option<Duration>,
    /// Who and why.
    pub by: Provenance,
}

/// A listener's pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareView {
    /// Name of the pool.
    pub pool: String,
    /// Configured.
    pub configured_weight: u16,
    /// In force.
    pub weight: u16,
}

/// A connection that might come.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    /// Name of the listener.
    pub listener: String,
    /// Client's address; `None`: over a Unix socket.
    pub source: Option<SocketAddr>,
}

/// Where it would go, and why.
#[derive(Debug, Clone)]
pub struct ChoiceView {
    /// Name of the listener.
    pub listener: String,
    /// What its pools know a client by under consistent hashing.
    pub hash: HashKey,
    /// Its pools with their shares.
    pub shares: Vec<ShareView>,
    /// What stands above the file's shares.
    pub split: Option<Override<Split>>,
    /// Worker by worker: the kernel chooses the worker, and each takes turns
    /// and draws lots by itself.
    pub workers: Vec<WorkerChoice>,
    /// The pools that it may go to.
    pub pools: Vec<PoolChoice>,
    /// Limits that would refuse it, in words; empty: none would. Of those at the
    /// listener's door the first.
    pub refused_by: Vec<String>,
    /// What else is to be known: that it would wait, that its address is a
    /// proxy's.
    pub notes: Vec<String>,
    /// All that in one sentence.
    pub sentence: String,
}

/// What one worker would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerChoice {
    /// 0 to N-1.
    pub worker: usize,
    /// Name of the pool.
    pub pool: String,
    /// Address of the endpoint; `None`: it would be refused.
    pub endpoint: Option<String>,
    /// Why this one, or why none.
    pub why: String,
}

/// A pool as a new connection finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolChoice {
    /// Its name.
    pub name: String,
    /// How it chooses.
    pub policy: Policy,
    /// At most 100: those that were chosen, then those that are out, then
    /// others.
    pub endpoints: Vec<EndpointChoice>,
    /// How many more there are.
    pub more: usize,
    /// How many of all could take it.
    pub open: usize,
}

/// An endpoint as a new connection finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointChoice {
    /// As written.
    pub address: String,
    /// In force.
    pub weight: u16,
    /// The part of its share that it takes, in per cent: less than 100 in a
    /// slow start.
    pub percent: u32,
    /// Takes connections only if no other does.
    pub backup: bool,
    /// Connections, all workers together.
    pub load: u64,
    /// Most that it may have.
    pub max_connections: Option<u32>,
    /// Why it would not take the connection; `None`: it could.
    pub out: Option<String>,
}

/// The policy of a file's word.
pub(super) fn policy(word: Policy) -> balance::Policy {
    match word {
        Policy::RoundRobin => balance::Policy::RoundRobin,
        Policy::LeastConnections => balance::Policy::LeastConnections,
        Policy::PowerOfTwoChoices => balance::Policy::TwoChoices,
        Policy::Random => balance::Policy::Random,
        Policy::Maglev => balance::Policy::Maglev,
        Policy::FirstAvailable => balance::Policy::FirstAvailable,
    }
}
