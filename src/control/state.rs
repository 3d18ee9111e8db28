//! What shall be: the configuration and the overrides above it. Pure.

mod restore;
mod split;

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    balancing::Split,
    crew::Crew,
    health::Resting,
    names,
    request::{
        EndpointOverride, ListenerOverride, Override, PoolOverride, Provenance, Refusal, Target, WorkerOverride,
    },
    upgrade::Overrides,
};
use crate::config::{Address, Config, Endpoint, Listener, Pool};

/// Longest `who` kept, in bytes.
const WHO: usize = 128;
/// Longest `why` kept, in bytes.
const WHY: usize = 512;

/// Configuration and overrides: at most one override an object, so their
/// number is bounded by the configuration's.
#[derive(Debug, Clone)]
pub(super) struct State {
    config: Arc<Config>,
    generation: u64,
    applied_at: SystemTime,
    daemon: Option<Override<ListenerOverride>>,
    listeners: BTreeMap<String, Override<ListenerOverride>>,
    pools: BTreeMap<String, Override<PoolOverride>>,
    endpoints: BTreeMap<(String, String), Override<EndpointOverride>>,
    /// What is observed; no operator sets it.
    resting: Resting,
    /// Shares of pools, by listener.
    splits: BTreeMap<String, Override<Split>>,
    crew: Crew,
}

/// An override that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lifted {
    /// Full name of its object; empty: the daemon.
    pub(super) object: String,
    /// What it was.
    pub(super) value: String,
}

impl State {
    /// The first generation, without overrides.
    pub(super) fn new(config: Arc<Config>, now: SystemTime) -> Self {
        Self {
            config,
            generation: 1,
            applied_at: now,
            daemon: None,
            listeners: BTreeMap::new(),
            pools: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            resting: Resting::new(),
            splits: BTreeMap::new(),
            crew: Crew::default(),
        }
    }

    /// The same, with so many workers, all accepting.
    pub(super) fn with_workers(self, count: usize) -> Self {
        Self { crew: Crew::new(count), ..self }
    }

    /// There are so many workers now. Drains of those that have gone end with
    /// them and are told; workers of that number that come later are others.
    pub(super) fn set_workers(&mut self, count: usize) -> Vec<Lifted> {
        let gone = self.crew.resize(count).into_iter();
        gone.map(|(worker, each)| Lifted { object: names::worker(worker), value: each.value.to_string() }).collect()
    }

    /// The workers' overrides.
    pub(super) fn crew(&self) -> &Crew {
        &self.crew
    }

    /// What a predecessor had in force, with this configuration. Overrides of
    /// objects that are gone are dropped and told.
    pub(super) fn inherited(
        config: Arc<Config>,
        generation: u64,
        now: SystemTime,
        overrides: Overrides,
    ) -> (Self, Vec<Lifted>) {
        let Overrides { daemon, listeners, pools, endpoints, splits } = overrides;
        let mut state = Self {
            generation: generation.saturating_sub(1),
            daemon,
            listeners: listeners.into_iter().collect(),
            pools: pools.into_iter().collect(),
            endpoints: endpoints.into_iter().collect(),
            splits: splits.into_iter().collect(),
            ..Self::new(config.clone(), now)
        };
        let lifted = state.replace(config, now);
        (state, lifted)
    }

    /// The same with another configuration, for a moment.
    pub(super) fn with(&self, config: Arc<Config>) -> Self {
        Self { config, ..self.clone() }
    }

    /// Every override in force.
    pub(super) fn all_overrides(&self) -> Overrides {
        fn list<K: Clone, V: Clone>(map: &BTreeMap<K, V>) -> Vec<(K, V)> {
            map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
        }
        Overrides {
            daemon: self.daemon.clone(),
            listeners: list(&self.listeners),
            pools: list(&self.pools),
            endpoints: list(&self.endpoints),
            splits: list(&self.splits),
        }
    }

    pub(super) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn applied_at(&self) -> SystemTime {
        self.applied_at
    }

    /// The listener of this name.
    pub(super) fn listener(&self, name: &str) -> Result<&Arc<Listener>, Refusal> {
        let all = &self.config.listeners;
        all.iter()
            .find(|each| each.name == name)
            .ok_or_else(|| names::missing("listener", name, all.iter().map(|each| each.name.as_str())))
    }

    /// The pool of this name.
    pub(super) fn pool(&self, name: &str) -> Result<&Arc<Pool>, Refusal> {
        let all = &self.config.pools;
        all.iter()
            .find(|each| each.name == name)
            .ok_or_else(|| names::missing("pool", name, all.iter().map(|each| each.name.as_str())))
    }

    /// The endpoint of this pool with this address.
    pub(super) fn endpoint(&self, pool: &str, address: &str) -> Result<&Endpoint, Refusal> {
        let all = &self.pool(pool)?.endpoints;
        all.iter().find(|each| each.address.to_string() == address).ok_or_else(|| {
            let known: Vec<String> = all.iter().map(|each| each.address.to_string()).collect();
            names::missing_of(&format!("in pool `{pool}`"), "endpoint", address, known.iter().map(String::as_str))
        })
    }

    /// Whether the target exists.
    pub(super) fn check(&self, target: &Target) -> Result<(), Refusal> {
        match target {
            Target::Daemon => Ok(()),
            Target::Listener(name) => self.listener(name).map(|_| ()),
            Target::Pool(name) => self.pool(name).map(|_| ()),
            Target::Endpoint(pool, address) => self.endpoint(pool, address).map(|_| ()),
            Target::Worker(index) => self.crew.check(*index),
        }
    }

    /// Whether the listener shall accept.
    pub(super) fn accepts(&self, listener: &str) -> bool {
        self.listener_override(listener).is_none() && self.listener(listener).is_ok()
    }

    /// The endpoint's weight in force: an endpoint that rests has none, unless
    /// an operator has set its weight.
    pub(super) fn weight_in_force(&self, pool: &str, endpoint: &Endpoint) -> u16 {
        match self.weight(pool, endpoint) {
            0 => 0,
            _ if self.rests(pool, &endpoint.address) && self.own(pool, endpoint).is_none() => 0,
            weight => weight,
        }
    }

    /// Whether it is observed that the endpoint had better get no connections.
    pub(super) fn rests(&self, pool: &str, address: &Address) -> bool {
        self.resting.get(pool).is_some_and(|resting| resting.contains(address))
    }

    /// All that rest.
    pub(super) fn resting(&self) -> &Resting {
        &self.resting
    }

    /// Others rest from now on.
    pub(super) fn let_rest(&mut self, resting: Resting) {
        self.resting = resting;
    }

    /// The endpoint's weight as far as file and operators are concerned.
    pub(super) fn weight(&self, pool: &str, endpoint: &Endpoint) -> u16 {
        if self.pools.contains_key(pool) {
            return 0;
        }
        match self.own(pool, endpoint).map(|each| each.value) {
            Some(EndpointOverride::Weight(weight)) => weight,
            Some(EndpointOverride::Draining | EndpointOverride::Maintenance) => 0,
            None => endpoint.weight,
        }
    }

    /// Whether the target takes new connections as far as operators are
    /// concerned; false once it is gone from the configuration.
    pub(super) fn takes(&self, target: &Target) -> bool {
        match target {
            Target::Daemon => self.daemon.is_none(),
            Target::Listener(name) => self.accepts(name),
            Target::Pool(name) => self.pool(name).is_ok() && !self.pools.contains_key(name),
            Target::Endpoint(pool, address) => {
                self.endpoint(pool, address).is_ok_and(|endpoint| self.weight(pool, endpoint) > 0)
            }
            Target::Worker(index) => self.crew.accepts(*index),
        }
    }

    /// The drain of the whole daemon.
    pub(super) fn daemon_override(&self) -> Option<&Override<ListenerOverride>> {
        self.daemon.as_ref()
    }

    /// What stands above the file: the listener's own override, else the
    /// daemon's drain.
    pub(super) fn listener_override(&self, name: &str) -> Option<&Override<ListenerOverride>> {
        self.listeners.get(name).or(self.daemon.as_ref())
    }

    pub(super) fn pool_override(&self, name: &str) -> Option<&Override<PoolOverride>> {
        self.pools.get(name)
    }

    pub(super) fn endpoint_override(&self, pool: &str, address: &str) -> Option<&Override<EndpointOverride>> {
        self.endpoints.get(&(pool.to_owned(), address.to_owned()))
    }

    fn own(&self, pool: &str, endpoint: &Endpoint) -> Option<&Override<EndpointOverride>> {
        // Without any there is nothing to look up, for thousands of endpoints.
        if self.endpoints.is_empty() { None } else { self.endpoint_override(pool, &endpoint.address.to_string()) }
    }

    /// Overrides in force.
    pub(super) fn overrides(&self) -> usize {
        let objects = self.listeners.len() + self.pools.len() + self.endpoints.len() + self.splits.len();
        usize::from(self.daemon.is_some()) + objects + self.crew.overrides()
    }

    /// Takes another configuration. Overrides of objects that are gone are
    /// dropped and told.
    pub(super) fn replace(&mut self, config: Arc<Config>, now: SystemTime) -> Vec<Lifted> {
        self.config = config;
        self.generation += 1;
        self.applied_at = now;
        let before = self.clone();
        self.lift(
            |listener| before.listener(listener).is_err(),
            |pool| before.pool(pool).is_err(),
            |pool, address| before.endpoint(pool, address).is_err(),
            |listener, split| !split.fits(before.listener(listener).ok()),
        )
    }

    /// Sets the target to draining. What stops it more (a stop, a maintenance)
    /// stays as it is.
    pub(super) fn drain(&mut self, target: &Target, by: &Provenance, now: SystemTime) -> Result<(), Refusal> {
        self.check(target)?;
        match target {
            Target::Daemon => {
                self.daemon = Some(override_of(ListenerOverride::Draining, by, now, None)?);
            }
            Target::Listener(name) => {
                if !self.listeners.contains_key(name) {
                    let value = override_of(ListenerOverride::Draining, by, now, None)?;
                    self.listeners.insert(name.clone(), value);
                }
            }
            Target::Pool(name) => {
                self.pools.insert(name.clone(), override_of(PoolOverride::Draining, by, now, None)?);
            }
            Target::Endpoint(pool, address) => {
                let key = (pool.clone(), address.clone());
                if self.endpoints.get(&key).is_none_or(|each| each.value != EndpointOverride::Maintenance) {
                    self.endpoints.insert(key, override_of(EndpointOverride::Draining, by, now, None)?);
                }
            }
            Target::Worker(index) => {
                self.crew.drain(*index, override_of(WorkerOverride::Draining, by, now, None)?)?;
            }
        }
        Ok(())
    }

    /// Takes a drain back. `running`: it has not ended yet; then a stop or a
    /// maintenance may stand in its place, and stays.
    pub(super) fn undrain(&mut self, target: &Target, running: bool) -> Result<(), Refusal> {
        self.check(target)?;
        let drained = match target {
            Target::Daemon => self.daemon.take().is_some(),
            Target::Listener(name) => {
                remove_if(&mut self.listeners, name, |value| *value == ListenerOverride::Draining)
            }
            Target::Pool(name) => self.pools.remove(name).is_some(),
            Target::Endpoint(pool, address) => {
                let key = (pool.clone(), address.clone());
                remove_if(&mut self.endpoints, &key, |value| *value == EndpointOverride::Draining)
            }
            Target::Worker(index) => self.crew.undrain(*index),
        };
        if drained || running { Ok(()) } else { Err(Refusal::Precondition(self.not_drained(target))) }
    }

    /// Stops a listener from accepting.
    pub(super) fn stop(
        &mut self,
        name: &str,
        expires_in: Option<Duration>,
        by: &Provenance,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        self.listener(name)?;
        let value = override_of(ListenerOverride::Stopped, by, now, expires_in)?;
        self.listeners.insert(name.to_owned(), value);
        Ok(())
    }

    /// Lifts a stop.
    pub(super) fn start(&mut self, name: &str) -> Result<(), Refusal> {
        self.listener(name)?;
        if remove_if(&mut self.listeners, name, |value| *value == ListenerOverride::Stopped) {
            return Ok(());
        }
        Err(Refusal::Precondition(match self.listener_override(name) {
            Some(_) if self.listeners.contains_key(name) => {
                format!("listener `{name}` is not stopped but drained: undrain it")
            }
            Some(_) => format!("listener `{name}` is not stopped; the whole daemon is drained: undrain that"),
            None => format!("listener `{name}` is not stopped"),
        }))
    }

    /// Sets or clears an endpoint's override.
    pub(super) fn set_endpoint(
        &mut self,
        pool: &str,
        address: &str,
        setting: Option<EndpointOverride>,
        expires_in: Option<Duration>,
        by: &Provenance,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        self.endpoint(pool, address)?;
        let key = (pool.to_owned(), address.to_owned());
        match setting {
            None => {
                self.endpoints.remove(&key);
            }
            Some(EndpointOverride::Weight(weight)) if weight > 1000 => {
                return Err(Refusal::Invalid(format!("weight {weight} is out of range: 0 to 1000")));
            }
            Some(value) => {
                self.endpoints.insert(key, override_of(value, by, now, expires_in)?);
            }
        }
        Ok(())
    }

    /// Whether an override's time is over.
    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        self.listeners.values().any(|each| over(each, now))
            || self.endpoints.values().any(|each| over(each, now))
            || self.splits.values().any(|each| over(each, now))
    }

    /// Lifts the overrides whose time is over.
    pub(super) fn expire(&mut self, now: SystemTime) -> Vec<Lifted> {
        let before = self.clone();
        self.lift(
            |listener| before.listeners.get(listener).is_some_and(|each| over(each, now)),
            |_| false,
            |pool, address| before.endpoint_override(pool, address).is_some_and(|each| over(each, now)),
            |listener, _| before.splits.get(listener).is_some_and(|each| over(each, now)),
        )
    }

    fn lift(
        &mut self,
        listener: impl Fn(&str) -> bool,
        pool: impl Fn(&str) -> bool,
        endpoint: impl Fn(&str, &str) -> bool,
        split: impl Fn(&str, &Split) -> bool,
    ) -> Vec<Lifted> {
        let gone = self.splits.iter().filter(|(name, each)| split(name, &each.value));
        let gone: BTreeSet<String> = gone.map(|(name, _)| name.clone()).collect();
        let splits = take_if(&mut self.splits, |name| gone.contains(name))
            .into_iter()
            .map(|(name, value)| Lifted { object: names::listener(&name), value: value.to_string() });
        let listeners = take_if(&mut self.listeners, |name| listener(name))
            .into_iter()
            .map(|(name, value)| Lifted { object: names::listener(&name), value: value.to_string() });
        let pools = take_if(&mut self.pools, |name| pool(name))
            .into_iter()
            .map(|(name, value)| Lifted { object: names::pool(&name), value: value.to_string() });
        let endpoints = take_if(&mut self.endpoints, |(pool, address)| endpoint(pool, address)).into_iter().map(
            |((pool, address), value)| Lifted { object: names::endpoint(&pool, &address), value: value.to_string() },
        );
        listeners.chain(pools).chain(endpoints).chain(splits).collect()
    }

    fn not_drained(&self, target: &Target) -> String {
        match target {
            Target::Daemon => "netd is not drained".to_owned(),
            Target::Listener(name) => match self.listeners.get(name) {
                Some(_) => format!("listener `{name}` is not drained but stopped: start it"),
                None if self.daemon.is_some() => {
                    format!("listener `{name}` itself is not drained; the whole daemon is: undrain that")
                }
                None => format!("listener `{name}` is not drained"),
            },
            Target::Pool(name) => format!("pool `{name}` is not drained"),
            Target::Worker(index) => format!("worker {index} is not drained"),
            Target::Endpoint(pool, address) => match self.endpoint_override(pool, address) {
                Some(each) => format!(
                    "endpoint `{address}` of pool `{pool}` is not drained; its override is {}: clear that",
                    each.value
                ),
                None => format!("endpoint `{address}` of pool `{pool}` is not drained"),
            },
        }
    }
}

fn over<V>(each: &Override<V>, now: SystemTime) -> bool {
    each.expires_at.is_some_and(|end| end <= now)
}

fn remove_if<K, Q, V>(map: &mut BTreeMap<K, Override<V>>, key: &Q, matches: impl Fn(&V) -> bool) -> bool
where
    K: Borrow<Q> + Ord,
    Q: Ord + ?Sized,
{
    map.get(key).is_some_and(|each| matches(&each.value)) && map.remove(key).is_some()
}

fn take_if<K: Ord + Clone, V>(map: &mut BTreeMap<K, Override<V>>, matches: impl Fn(&K) -> bool) -> Vec<(K, V)> {
    let keys: Vec<K> = map.keys().filter(|key| matches(key)).cloned().collect();
    keys.into_iter().filter_map(|key| map.remove(&key).map(|each| (key, each.value))).collect()
}

fn override_of<V>(
    value: V,
    by: &Provenance,
    now: SystemTime,
    expires_in: Option<Duration>,
) -> Result<Override<V>, Refusal> {
    let expires_at = match expires_in {
        Some(after) => Some(
            now.checked_add(after)
                .ok_or_else(|| Refusal::Invalid("the override would end beyond the end of time".to_owned()))?,
        ),
        None => None,
    };
    let by = Provenance { who: clipped(&by.who, WHO), why: clipped(&by.why, WHY) };
    Ok(Override { value, by, set_at: now, expires_at })
}

fn clipped(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests;
