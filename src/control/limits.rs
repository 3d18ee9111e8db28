//! Limits and how near they are, for those who look.

use std::net::IpAddr;

use super::{
    controller::Controller,
    figures,
    port::WorkerPort,
    request::{LimitUse, Refusal},
    told::{ToldListener, ToldPool},
};
use crate::{config::format_duration, limit::Refused, protocol::Cause};

/// Limits of a listener that are set.
pub(super) fn of_listener(told: &ToldListener) -> Vec<LimitUse> {
    let limits = &told.config.limits;
    let counted = |name: &str, used: u64, limit: u64| LimitUse {
        name: name.to_owned(),
        used: Some(used),
        limit: limit.to_string(),
    };
    let plain = |name: &str, limit: String| LimitUse { name: name.to_owned(), used: None, limit };
    let most = limits.max_connections.map(|most| counted("max_connections", told.gate.open(), most));
    let source = limits
        .max_connections_per_source
        .map(|most| counted("max_connections_per_source", told.gate.sources().0.into(), most.into()));
    let rate = limits.rate.map(|rate| plain("rate", rate.to_string()));
    let by_source = limits.rate_per_source.map(|rate| plain("rate_per_source", rate.to_string()));
    let allow = limits.allow.as_ref().map(|list| plain("allow", list.to_string()));
    let deny = limits.deny.as_ref().map(|list| plain("deny", list.to_string()));
    [most, source, rate, by_source, allow, deny].into_iter().flatten().collect()
}

/// Limits of a pool that are set.
pub(super) fn of_pool(told: &ToldPool) -> Vec<LimitUse> {
    let limits = &told.config.limits;
    let counted = |name: &str, used: u64, limit: String| LimitUse { name: name.to_owned(), used: Some(used), limit };
    let most = limits.max_connections.map(|most| counted("max_connections", told.gate.open(), most.to_string()));
    let queue = limits.queue.map(|queue| {
        let limit = format!("{}, each for {}", queue.size, format_duration(queue.timeout));
        counted("queue", told.gate.waiting() as u64, limit)
    });
    let budget = limits.retry_budget.map(|budget| LimitUse {
        name: "retry_budget".to_owned(),
        used: None,
        limit: format!("{}% and {}", budget.percent, budget.reserve),
    });
    [most, queue, budget].into_iter().flatten().collect()
}

/// Connections that found no place in a pool, by cause; those that occurred.
pub(super) fn refused_by_pool(told: &ToldPool) -> Vec<(&'static str, u64)> {
    let full = told.shards.iter().map(|shard| shard.full.get()).sum();
    let timeouts = figures::pool_limits(&told.shards, 0).queue_timeouts;
    let all = [(Cause::Full.as_str(), full), (Cause::QueueTimeout.as_str(), timeouts)];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

impl<P: WorkerPort> Controller<P> {
    /// Limits of the process that are set.
    pub(super) fn process_limits(&self) -> Vec<LimitUse> {
        let limits = &self.state.config().limits;
        let open = self.fleet.told().gates.open();
        let most = limits.max_connections.map(|most| LimitUse {
            name: "max_connections".to_owned(),
            used: Some(open),
            limit: most.to_string(),
        });
        most.into_iter().collect()
    }

    /// Why a connection from `source` would be refused by the listener now;
    /// `None`: it would be let in. Takes nothing.
    pub(super) fn would_refuse(&self, listener: &str, source: Option<IpAddr>) -> Result<Option<Refused>, Refusal> {
        let config = self.state.listener(listener)?;
        let told = self.fleet.told();
        let now = self.clock.now().instant.saturating_duration_since(self.started.instant);
        let gate = told.any_listener(listener).map(|told| &told.gate);
        Ok(gate.and_then(|gate| gate.would_refuse(&told.gates, &config.limits, source, now)))
    }
}
