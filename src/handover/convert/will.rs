//! What a successor must know.

use std::time::Duration;

use super::{
    Wrong, from_ledger, from_optional_time, from_provenance, from_time,
    history::{from_entry, from_kept, from_origin, to_entry, to_kept, to_origin},
    nanos,
    receipt::{from_receipt, to_receipt, verdict},
    there, to_ledger, to_provenance, wrong,
};
use crate::{
    config::PoolShare,
    control::{
        DrainPast, EndpointOverride, KnownHealth, ListenerOverride, OpenDrain, Override, Overrides, PoolOverride,
        Removal, SlowStart, Split, Target, Verdict, Will,
    },
    pb::handover as pb,
};

/// The word of an override of shares.
const SPLIT: &str = "split";

pub(in super::super) fn to_will(will: &Will) -> pb::Will {
    pb::Will {
        generation: will.generation,
        applied_at: Some(will.applied_at.into()),
        started_at: Some(will.started_at.into()),
        overrides: Some(pb::Overrides { each: overrides(&will.overrides) }),
        drains: will.drains.iter().map(to_drain).collect(),
        log_level: will.log_level.clone(),
        receipts: will.receipts.iter().map(to_receipt).collect(),
        upgrades: will.upgrades.iter().map(|(verdict, count)| to_count(*verdict, *count)).collect(),
        ledger: Some(to_ledger(&will.ledger)),
        origin: Some(to_origin(&will.origin)),
        history: will.history.iter().map(to_entry).collect(),
        generations: will.generations.iter().map(to_kept).collect(),
        health: will.health.iter().map(to_health).collect(),
        slow_starts: will.slow_starts.iter().map(to_start).collect(),
        removals: will
            .removals
            .iter()
            .map(|each| pb::Removal { target: to_target(&each.target), nanos_age: nanos(each.age) })
            .collect(),
    }
}

fn to_drain(OpenDrain { target, left, gradual, by, past }: &OpenDrain) -> pb::Drain {
    let count = |figure: fn(&DrainPast) -> u64| past.as_ref().map_or(0, figure);
    pb::Drain {
        target: to_target(target),
        nanos_left: left.map(nanos),
        by: to_provenance(by),
        nanos_gradual: gradual.map(nanos),
        nanos_elapsed: past.as_ref().map(|past| nanos(past.elapsed)),
        open: count(|past| past.open),
        finished: count(|past| past.finished),
        retired: count(|past| past.retired),
        cut: count(|past| past.cut),
    }
}

fn from_drain(drain: pb::Drain) -> Result<OpenDrain, Wrong> {
    let target = from_target(there(drain.target, "what is drained")?);
    let [left, gradual, elapsed] =
        [drain.nanos_left, drain.nanos_gradual, drain.nanos_elapsed].map(|time| time.map(Duration::from_nanos));
    let pb::Drain { open, finished, retired, cut, .. } = drain;
    let past = elapsed.map(|elapsed| DrainPast { elapsed, open, finished, retired, cut });
    Ok(OpenDrain { target, left, gradual, by: from_provenance(drain.by), past })
}

fn to_start(each: &SlowStart) -> pb::SlowStart {
    pb::SlowStart { pool: each.pool.clone(), address: each.address.clone(), nanos_elapsed: nanos(each.elapsed) }
}

fn from_start(each: pb::SlowStart) -> SlowStart {
    SlowStart { pool: each.pool, address: each.address, elapsed: Duration::from_nanos(each.nanos_elapsed) }
}

fn to_health(each: &KnownHealth) -> pb::KnownHealth {
    pb::KnownHealth {
        pool: each.pool.clone(),
        address: each.address.clone(),
        healthy: each.healthy,
        nanos_ejected: each.ejected.map(nanos),
        ejections: each.ejections,
        since: Some(each.since.into()),
        why: each.why.clone(),
        healthy_at: each.healthy_at.map(Into::into),
    }
}

fn from_health(each: pb::KnownHealth) -> Result<KnownHealth, Wrong> {
    Ok(KnownHealth {
        pool: each.pool,
        address: each.address,
        healthy: each.healthy,
        ejected: each.nanos_ejected.map(Duration::from_nanos),
        ejections: each.ejections,
        since: from_time(each.since, "since when an endpoint stands so")?,
        why: each.why,
        healthy_at: from_optional_time(each.healthy_at, "when an endpoint became usable")?,
    })
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
    Ok(Will {
        generation: will.generation,
        applied_at: from_time(will.applied_at, "the time of the configuration")?,
        started_at: from_time(will.started_at, "the time of the start")?,
        overrides,
        drains: will.drains.into_iter().map(from_drain).collect::<Result<_, _>>()?,
        log_level: will.log_level,
        // A verdict of a newer netd has no counter here.
        receipts: will.receipts.into_iter().filter_map(|each| from_receipt(each).ok()).collect(),
        upgrades: will.upgrades.into_iter().filter_map(from_count).collect(),
        ledger: from_ledger(will.ledger.unwrap_or_default())?,
        origin: from_origin(will.origin.unwrap_or_default()),
        history: will.history.into_iter().filter_map(|each| from_entry(each).ok()).collect(),
        generations: will.generations.into_iter().map(from_kept).collect(),
        // Without one of these the successor finds out by itself.
        health: will.health.into_iter().filter_map(|each| from_health(each).ok()).collect(),
        slow_starts: will.slow_starts.into_iter().map(from_start).collect(),
        removals: will.removals.into_iter().filter_map(from_removal).collect(),
    })
}

/// `None`: of nothing.
fn from_removal(each: pb::Removal) -> Option<Removal> {
    Some(Removal { target: from_target(each.target?), age: Duration::from_nanos(each.nanos_age) })
}

/// `None`: a worker, which does not outlive its process.
fn to_target(target: &Target) -> Option<pb::Target> {
    let mut written = pb::Target::default();
    match target {
        Target::Daemon => {}
        Target::Listener(name) => written.listener.clone_from(name),
        Target::Pool(name) => written.pool.clone_from(name),
        Target::Endpoint(pool, address) => {
            written.pool.clone_from(pool);
            written.endpoint.clone_from(address);
        }
        Target::Worker(_) => return None,
    }
    Some(written)
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
    let splits = overrides.splits.iter().map(|(name, each)| split(name, each));
    listeners.chain(pools).chain(endpoints).chain(splits).collect()
}

fn split(listener: &str, each: &Override<Split>) -> pb::Override {
    let share = |share: &PoolShare| pb::Share { pool: share.name.clone(), weight: share.weight.into() };
    let common = with(each, ());
    pb::Override {
        shares: each.value.shares().iter().map(share).collect(),
        ..written(&Target::Listener(listener.to_owned()), &common, |()| SPLIT.to_owned())
    }
}

fn shares(shares: Vec<pb::Share>) -> Result<Split, Wrong> {
    let share = |share: pb::Share| match u16::try_from(share.weight) {
        Ok(weight) => Ok(PoolShare { name: share.pool, weight }),
        Err(_) => wrong(format!("a share of {}", share.weight)),
    };
    shares.into_iter().map(share).collect()
}

fn written<V: Copy>(target: &Target, each: &Override<V>, value: impl Fn(V) -> String) -> pb::Override {
    pb::Override {
        target: to_target(target),
        value: value(each.value),
        by: to_provenance(&each.by),
        set_at: Some(each.set_at.into()),
        expires_at: each.expires_at.map(Into::into),
        shares: Vec::new(),
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
        Target::Daemon => overrides.daemon = Some(with(&common, listener_value(word)?)),
        Target::Listener(name) if word == SPLIT => {
            overrides.splits.push((name, with(&common, shares(each.shares)?)));
        }
        Target::Listener(name) => overrides.listeners.push((name, with(&common, listener_value(word)?))),
        Target::Pool(name) if word == "draining" => {
            overrides.pools.push((name, with(&common, PoolOverride::Draining)));
        }
        Target::Pool(name) => return wrong(format!("pool/{name} cannot be `{word}`")),
        Target::Endpoint(pool, address) => {
            overrides.endpoints.push(((pool, address), with(&common, endpoint_value(word)?)));
        }
        Target::Worker(index) => return wrong(format!("worker/{index} cannot be `{word}`")),
    }
    Ok(())
}

fn with<A, V>(common: &Override<A>, value: V) -> Override<V> {
    Override { value, by: common.by.clone(), set_at: common.set_at, expires_at: common.expires_at }
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
