//! What the daemon shows of itself: three layers an object, and all figures.

use std::collections::BTreeSet;

use super::{
    controller::Controller,
    figures, gone, limits,
    port::WorkerPort,
    request::{
        ConfigView, EndpointOverride, EndpointSnapshot, EndpointState, EndpointView, Explanation, Figures,
        ListenerSnapshot, ListenerState, ListenerView, PoolSnapshot, PoolState, PoolView, Refusal, Snapshot, Standing,
        Status, WorkerSnapshot, WorkerView,
    },
    told::{ToldEndpoint, ToldListener},
    trial::Trial,
    why::{self, Object},
};
use crate::{
    config::{Endpoint, Listener, Policy, Pool},
    metrics::HistogramSnapshot,
};

impl<P: WorkerPort> Controller<P> {
    pub(super) fn status(&self) -> Status {
        let usage = (self.usage)();
        Status {
            state: self.lifecycle.state(),
            started_at: self.started.wall,
            generation: self.state.generation(),
            applied_at: self.state.applied_at(),
            last_reload: self.last_reload.clone(),
            config_path: self.config_path.clone(),
            candidate_by: self.origin.candidate_by().map(str::to_owned),
            restored: self.restored(),
            pending: self.trial.as_ref().map(Trial::view),
            figures: self.total(),
            fds_used: usage.fds_used,
            fds_limit: usage.fds_limit,
            memory_bytes: usage.memory_bytes,
            workers: self.fleet.workers().enumerate().map(|(index, worker)| self.worker_view(index, worker)).collect(),
            overrides: self.state.overrides(),
            overload: self.overload_text(),
            overload_level: self.shedding.level().number(),
            limits: self.process_limits(),
            log_level: self.log_level,
            log_destination: (self.log_destination)(),
        }
    }

    /// All listeners together.
    pub(super) fn total(&self) -> Figures {
        let told = self.fleet.told();
        let mut sum = told.departed;
        told.listeners().for_each(|each| figures::add(&mut sum, figures::listener(&each.shards)));
        sum
    }

    pub(super) fn listener_views(&self) -> Vec<ListenerView> {
        let told = self.fleet.told();
        let mut views: Vec<ListenerView> = told.listeners().map(|each| self.listener_view(each)).collect();
        views.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        views
    }

    pub(super) fn pool_views(&self) -> Vec<PoolView> {
        let mut views: Vec<PoolView> = self.state.config().pools.iter().map(|pool| self.pool_view(pool)).collect();
        let removed: BTreeSet<&str> =
            self.fleet.told().retired_endpoints.iter().map(|each| each.pool.as_str()).collect();
        let removed = removed.into_iter().filter(|name| self.state.pool(name).is_err());
        views.extend(removed.map(|name| self.removed_pool(name)).filter(|view| !view.endpoints.is_empty()));
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    pub(super) fn endpoint_view(&self, pool: &str, config: &Endpoint) -> EndpointView {
        let address = config.address.to_string();
        let known = self.fleet.told().find(pool, &config.address);
        let shards = known.map(|each| &*each.shards).unwrap_or_default();
        EndpointView {
            backup: config.backup,
            max_connections: known.and_then(|each| each.max_connections),
            load: known.map_or(0, |each| each.load.get()),
            percent: known.map_or(100, |each| each.ramp.percent()),
            configured_weight: config.weight,
            override_: self.state.endpoint_override(pool, &address).cloned(),
            weight: self.state.weight_in_force(pool, config),
            state: self.endpoint_state(pool, config, known),
            figures: figures::endpoint(shards),
            connect_failures: figures::connect_failures(shards),
            last_failure: figures::last_failure(shards, self.started.wall),
            mean_connect_time: figures::connect_time(shards).mean(),
            health: self.health.view(pool, &config.address, self.clock.now()),
            address,
        }
    }

    pub(super) fn config_view(&self) -> ConfigView {
        ConfigView {
            config: self.state.config().clone(),
            generation: self.state.generation(),
            path: self.config_path.clone(),
            candidate_by: self.origin.candidate_by().map(str::to_owned),
            applied_at: self.state.applied_at(),
        }
    }

    pub(super) fn explain(&self, name: &str) -> Result<Explanation, Refusal> {
        let object = match why::resolve(&self.state, name) {
            Err(missing @ Refusal::NotFound(_)) => {
                return gone::explain(&self.state, self.fleet.told(), name, missing);
            }
            object => object?,
        };
        Ok(match object {
            Object::Worker(index) => why::worker(&self.state, index, !self.fleet.is_dead(index)),
            Object::Listener(name) => {
                let told = self.fleet.told().any_listener(&name);
                let observed = told.map_or(ListenerState::Stopped, listener_state);
                let explanation = why::listener(&self.state, self.state.listener(&name)?, listener_word(observed));
                let now = self.would_refuse(&name, None)?;
                match told {
                    Some(told) => why::with_limits(explanation, &limits::of_listener(told), &refused(told), now),
                    None => explanation,
                }
            }
            Object::Pool(name) => {
                let view = self.pool_view(self.state.pool(&name)?);
                why::with_limits(why::pool(&view, self.clock.now().wall), &view.limits, &view.refused, None)
            }
            Object::Endpoint(pool, address) => {
                let config = self.state.endpoint(&pool, &address)?;
                let view = self.endpoint_view(&pool, config);
                why::endpoint(&pool, self.state.pool_override(&pool), &view, self.clock.now().wall)
            }
        })
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let told = self.fleet.told();
        let mut listeners: Vec<ListenerSnapshot> = told.listeners().map(listener_snapshot).collect();
        listeners.sort_by(|a, b| a.name.cmp(&b.name));
        Snapshot {
            status: self.status(),
            listeners,
            pools: self.pool_snapshots(),
            workers: self.worker_snapshots(),
            reloads: self.reloads,
            drains: self.drain_snapshot(),
            upgrades: self.upgrades.counts(),
            last_upgrade: self.upgrades.receipts().pop(),
            access: self.access_figures(),
            returns: self.returns,
        }
    }

    fn worker_view(&self, index: usize, worker: &P) -> WorkerView {
        let shard = worker.shard();
        WorkerView {
            index,
            active: shard.active.get(),
            accepted: shard.accepted.get(),
            turns: shard.turns.get(),
            responsive: self.fleet.is_responsive(index),
            cpu: worker.settings().cpu,
            override_: self.state.crew().override_of(index).cloned(),
            accepting: self.state.crew().accepts(index) && !self.fleet.is_dead(index),
        }
    }

    pub(super) fn listener_view(&self, told: &ToldListener) -> ListenerView {
        let name = &told.config.name;
        let known = self.state.listener(name).is_ok();
        ListenerView {
            shares: self.told_shares(told),
            split: self.state.split_override(name).filter(|_| known).cloned(),
            config: told.config.clone(),
            override_: self.state.listener_override(name).filter(|_| known).cloned(),
            state: if known { listener_state(told) } else { ListenerState::Removed },
            figures: figures::listener(&told.shards),
            accept_errors: told.shards.iter().map(|shard| shard.accept_errors.get()).sum(),
            bound: told.bound.clone(),
            inherited: told.inherited,
            limits: limits::of_listener(told),
            refused: refused(told).into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn pool_view(&self, config: &Pool) -> PoolView {
        let endpoints = config.endpoints.iter().map(|each| self.endpoint_view(&config.name, each));
        let endpoints: Vec<EndpointView> = endpoints.chain(self.removed_endpoints(&config.name)).collect();
        let state = match self.state.pool_override(&config.name) {
            Some(_) => PoolState::Draining,
            None if endpoints.iter().any(|each| each.state == EndpointState::Up) => PoolState::Up,
            None if endpoints.iter().any(|each| each.weight > 0) => PoolState::Failing,
            None => PoolState::Down,
        };
        let told = self.fleet.told().pools.get(&config.name);
        let relaying = self.state.config().listeners.iter();
        let relaying = relaying.filter(|each| has_pool(each, &config.name));
        PoolView {
            name: config.name.clone(),
            policy: config.policy,
            override_: self.state.pool_override(&config.name).cloned(),
            state,
            figures: sum(&endpoints),
            endpoints,
            listeners: relaying.map(|each| each.name.clone()).collect(),
            limits: told.map(limits::of_pool).unwrap_or_default(),
            refused: told.map(limits::refused_by_pool).unwrap_or_default(),
            panics: self.health.panics(&config.name),
        }
    }

    /// A pool that is gone from the configuration.
    fn removed_pool(&self, name: &str) -> PoolView {
        let endpoints: Vec<EndpointView> = self.removed_endpoints(name).collect();
        PoolView {
            name: name.to_owned(),
            policy: Policy::default(),
            override_: None,
            state: PoolState::Removed,
            figures: sum(&endpoints),
            endpoints,
            listeners: Vec::new(),
            limits: Vec::new(),
            refused: Vec::new(),
            panics: false,
        }
    }

    /// Endpoints that are gone from the configuration and have connections.
    fn removed_endpoints(&self, pool: &str) -> impl Iterator<Item = EndpointView> {
        let of_pool = self.fleet.told().retired_endpoints.iter().filter(move |each| each.pool == pool);
        let views = of_pool.map(|each| EndpointView {
            backup: each.backup,
            max_connections: None,
            load: each.load.get(),
            percent: 100,
            address: each.address.to_string(),
            configured_weight: 0,
            override_: None,
            weight: 0,
            state: EndpointState::Removed,
            figures: figures::endpoint(&each.shards),
            connect_failures: figures::connect_failures(&each.shards),
            last_failure: figures::last_failure(&each.shards, self.started.wall),
            mean_connect_time: figures::connect_time(&each.shards).mean(),
            health: None,
        });
        views.filter(|view| view.figures.active > 0)
    }

    fn endpoint_state(&self, pool: &str, config: &Endpoint, known: Option<&ToldEndpoint>) -> EndpointState {
        let own = self.state.endpoint_override(pool, &config.address.to_string());
        if own.is_some_and(|each| each.value == EndpointOverride::Maintenance) {
            return EndpointState::Maintenance;
        }
        if self.state.weight(pool, config) == 0 {
            return EndpointState::Draining;
        }
        match self.health.standing(pool, &config.address) {
            Standing::Unhealthy => return EndpointState::Unhealthy,
            Standing::Ejected => return EndpointState::Ejected,
            Standing::Unknown if self.state.rests(pool, &config.address) => return EndpointState::Unknown,
            Standing::Unknown | Standing::Healthy | Standing::Unchecked => {}
        }
        if known.is_some_and(|each| figures::is_failing(&each.shards)) {
            return EndpointState::Failing;
        }
        EndpointState::Up
    }

    /// Pools, and what is left of removed ones.
    fn pool_snapshots(&self) -> Vec<PoolSnapshot> {
        let told = self.fleet.told();
        let mut pools: Vec<PoolSnapshot> = told
            .pools
            .iter()
            .map(|(name, pool)| PoolSnapshot {
                name: name.clone(),
                no_endpoint: pool.shards.iter().map(|shard| shard.no_endpoint.get()).sum(),
                full: pool.shards.iter().map(|shard| shard.full.get()).sum(),
                retries: pool.shards.iter().map(|shard| shard.retries.get()).sum(),
                limits: figures::pool_limits(&pool.shards, pool.gate.waiting()),
                probe_time: self.health.probe_time(name),
                panics: self.health.panics(name),
                endpoints: pool
                    .endpoints
                    .iter()
                    .map(|each| EndpointSnapshot {
                        health: self.health.figures(name, &each.address),
                        ..endpoint_snapshot(each, each.weight)
                    })
                    .collect(),
            })
            .collect();
        for each in &told.retired_endpoints {
            let snapshot = endpoint_snapshot(each, 0);
            match pools.iter_mut().find(|pool| pool.name == each.pool) {
                Some(pool) => pool.endpoints.push(snapshot),
                None => pools.push(PoolSnapshot {
                    name: each.pool.clone(),
                    no_endpoint: 0,
                    full: 0,
                    retries: 0,
                    limits: Default::default(),
                    probe_time: None,
                    panics: false,
                    endpoints: vec![snapshot],
                }),
            }
        }
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        pools
    }

    fn worker_snapshots(&self) -> Vec<WorkerSnapshot> {
        let snapshot = |(index, worker): (usize, &P)| {
            let shard = worker.shard();
            let mut turn_time = HistogramSnapshot::default();
            shard.turn_time.add_to(&mut turn_time);
            WorkerSnapshot {
                index,
                turns: shard.turns.get(),
                events: shard.events.get(),
                accepted: shard.accepted.get(),
                active: shard.active.get(),
                moved_in: shard.moved_in.get(),
                moved_out: shard.moved_out.get(),
                redialed: shard.redialed.get(),
                buffers: shard.buffers.get(),
                timers: shard.timers.get(),
                turn_time,
            }
        };
        self.fleet.workers().enumerate().map(snapshot).collect()
    }
}

fn refused(told: &ToldListener) -> Vec<(&'static str, u64)> {
    figures::refused(&told.shards).into_iter().map(|(cause, count)| (cause.as_str(), count)).collect()
}

pub(super) fn listener_state(told: &ToldListener) -> ListenerState {
    if told.id.is_some() {
        return if figures::is_paused(&told.shards) { ListenerState::Paused } else { ListenerState::Accepting };
    }
    if figures::listener(&told.shards).active > 0 { ListenerState::Draining } else { ListenerState::Stopped }
}

pub(super) fn listener_word(state: ListenerState) -> &'static str {
    match state {
        ListenerState::Accepting => "accepting",
        ListenerState::Paused => "paused",
        ListenerState::Draining => "draining",
        ListenerState::Stopped => "stopped",
        ListenerState::Removed => "removed",
    }
}

fn has_pool(listener: &Listener, pool: &str) -> bool {
    listener.protocol.pools().iter().any(|share| share.name == pool)
}

fn sum(endpoints: &[EndpointView]) -> Figures {
    let mut sum = Figures::default();
    endpoints.iter().for_each(|each| figures::add(&mut sum, each.figures));
    sum
}

fn listener_snapshot(told: &ToldListener) -> ListenerSnapshot {
    ListenerSnapshot {
        name: told.config.name.clone(),
        protocol: told.config.protocol.as_str(),
        accepting: listener_state(told) == ListenerState::Accepting,
        figures: figures::listener(&told.shards),
        accept_errors: told.shards.iter().map(|shard| shard.accept_errors.get()).sum(),
        accept_pauses: told.shards.iter().map(|shard| shard.accept_pauses.get()).sum(),
        refused: refused(told),
        closed: figures::closed(&told.shards),
        duration: figures::duration(&told.shards),
    }
}

fn endpoint_snapshot(told: &ToldEndpoint, weight: u16) -> EndpointSnapshot {
    let figures = figures::endpoint(&told.shards);
    EndpointSnapshot {
        address: told.address.to_string(),
        weight,
        percent: told.ramp.percent(),
        backup: told.backup,
        max_connections: told.max_connections,
        load: told.load.get(),
        accepting: weight > 0,
        failing: figures::is_failing(&told.shards),
        connected: figures.total,
        active: figures.active,
        bytes_to_upstream: figures.bytes_from_downstream,
        bytes_from_upstream: figures.bytes_to_downstream,
        connect_failures: figures::connect_failures(&told.shards),
        early_resets: told.shards.iter().map(|shard| shard.early_resets.get()).sum(),
        health: None,
        connect_time: figures::connect_time(&told.shards),
    }
}
