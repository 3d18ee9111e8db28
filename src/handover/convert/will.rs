//! What a successor must know.

use std::time::Duration;

use super::{
    Wrong, from_ledger, from_optional_time, from_provenance, from_time, nanos,
    receipt::{from_receipt, to_receipt, verdict},
    there, to_ledger, to_provenance, wrong,
};
use crate::{
    control::{EndpointOverride, ListenerOverride, Override, Overrides, PoolOverride, Target, Verdict, Will},
    pb::handover as pb,
};

pub(in super::super) fn to_will(will: &Will) -> pb::Will {
    pb::Will {
        generation: will.generation,
        applied_at: Some(will.applied_at.into()),
        started_at: Some(will.started_at.into()),
        overrides: Some(pb::Overrides { each: overrides(&will.overrides) }),
        drains: will
            .drains
            .iter()
            .map(|(target, left, by)| pb::Drain {
                target: Some(to_target(target)),
                nanos_left: left.map(nanos),
                by: to_provenance(by),
            })
            .collect(),
        log_level: will.log_level.clone(),
        receipts: will.receipts.iter().map(to_receipt).collect(),
        upgrades: will.upgrades.iter().map(|(verdict, count)| to_count(*verdict, *count)).collect(),
        ledger: Some(to_ledger(&will.ledger)),
    }
}

fn to_count(verdict: Verdict, count: u64) -> pb::UpgradeCount {
    pb::UpgradeCount { verdict: verdict.as_str().to_owned(), count }
}

fn from_count(each: pb::UpgradeCount) -> Option<(Verdict, u64)> {
    Some((verdict(&each.verdict)?, each.count))
}

pub(in super::super) fn from_will(will: pb::Will) -> Result<Will, Wrong> {
    let mut overrides = Overrides::default();
    for each in will.overrides.unwrap_or_default().each {
        add_override(&mut overrides, each)?;
    }
    let mut drains = Vec::with_capacity(will.drains.len());
    for drain in will.drains {
        let target = from_target(there(drain.target, "what is drained")?);
        drains.push((target, drain.nanos_left.map(Duration::from_nanos), from_provenance(drain.by)));
    }
    Ok(Will {
        generation: will.generation,
        applied_at: from_time(will.applied_at, "the time of the configuration")?,
        started_at: from_time(will.started_at, "the time of the start")?,
        overrides,
        drains,
        log_level: will.log_level,
        // A verdict of a newer netd has no counter here.
        receipts: will.receipts.into_iter().filter_map(|each| from_receipt(each).ok()).collect(),
        upgrades: will.upgrades.into_iter().filter_map(from_count).collect(),
        ledger: from_ledger(will.ledger.unwrap_or_default())?,
    })
}

fn to_target(target: &Target) -> pb::Target {
    let mut written = pb::Target::default();
    match target {
        Target::Daemon => {}
        Target::Listener(name) => written.listener.clone_from(name),
        Target::Pool(name) => written.pool.clone_from(name),
        Target::Endpoint(pool, address) => {
            written.pool.clone_from(pool);
            written.endpoint.clone_from(address);
        }
    }
    written
}

fn from_target(target: pb::Target) -> Target {
    if !target.listener.is_empty() {
        Target::Listener(target.listener)
    } else if !target.endpoint.is_empty() {
        Target::Endpoint(target.pool, target.endpoint)
    } else if !target.pool.is_empty() {
        Target::Pool(target.pool)
    } else {
        Target::Daemon
    }
}

fn overrides(overrides: &Overrides) -> Vec<pb::Override> {
    let listener = |value: ListenerOverride| match value {
        ListenerOverride::Stopped => "stopped".to_owned(),
        ListenerOverride::Draining => "draining".to_owned(),
    };
    let pool = |PoolOverride::Draining| "draining".to_owned();
    let endpoint = |value: EndpointOverride| match value {
        EndpointOverride::Weight(weight) => format!("weight {weight}"),
        EndpointOverride::Draining => "draining".to_owned(),
        EndpointOverride::Maintenance => "maintenance".to_owned(),
    };
    let daemon = overrides.daemon.iter().map(|each| (Target::Daemon, each));
    let named = overrides.listeners.iter().map(|(name, each)| (Target::Listener(name.clone()), each));
    let listeners = daemon.chain(named).map(|(target, each)| written(&target, each, listener));
    let pools = overrides.pools.iter().map(|(name, each)| written(&Target::Pool(name.clone()), each, pool));
    let endpoints = overrides
        .endpoints
        .iter()
        .map(|((name, address), each)| written(&Target::Endpoint(name.clone(), address.clone()), each, endpoint));
    listeners.chain(pools).chain(endpoints).collect()
}

fn written<V: Copy>(target: &Target, each: &Override<V>, value: impl Fn(V) -> String) -> pb::Override {
    pb::Override {
        target: Some(to_target(target)),
        value: value(each.value),
        by: to_provenance(&each.by),
        set_at: Some(each.set_at.into()),
        expires_at: each.expires_at.map(Into::into),
    }
}

/// An override that is not understood stops the upgrade: what an operator has
/// set must not be lost.
fn add_override(overrides: &mut Overrides, each: pb::Override) -> Result<(), Wrong> {
    let common = Override {
        value: (),
        by: from_provenance(each.by),
        set_at: from_time(each.set_at, "the time of an override")?,
        expires_at: from_optional_time(each.expires_at, "the end of an override")?,
    };
    let word = each.value.as_str();
    match from_target(there(each.target, "what is overridden")?) {
        Target::Daemon => overrides.daemon = Some(with(common, listener_value(word)?)),
        Target::Listener(name) => overrides.listeners.push((name, with(common, listener_value(word)?))),
        Target::Pool(name) if word == "draining" => {
            overrides.pools.push((name, with(common, PoolOverride::Draining)));
        }
        Target::Pool(name) => return wrong(format!("pool/{name} cannot be `{word}`")),
        Target::Endpoint(pool, address) => {
            overrides.endpoints.push(((pool, address), with(common, endpoint_value(word)?)));
        }
    }
    Ok(())
}

fn with<V>(common: Override<()>, value: V) -> Override<V> {
    Override { value, by: common.by, set_at: common.set_at, expires_at: common.expires_at }
}

fn listener_value(word: &str) -> Result<ListenerOverride, Wrong> {
    match word {
        "stopped" => Ok(ListenerOverride::Stopped),
        "draining" => Ok(ListenerOverride::Draining),
        _ => wrong(format!("a listener cannot be `{word}`")),
    }
}

fn endpoint_value(word: &str) -> Result<EndpointOverride, Wrong> {
    match (word, word.strip_prefix("weight ").and_then(|weight| weight.parse().ok())) {
        (_, Some(weight)) => Ok(EndpointOverride::Weight(weight)),
        ("draining", _) => Ok(EndpointOverride::Draining),
        ("maintenance", _) => Ok(EndpointOverride::Maintenance),
        _ => wrong(format!("an endpoint cannot be `{word}`")),
    }
}
