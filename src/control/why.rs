//! Which layer decides about an object, and why. Pure.

mod health;

use std::{
    fmt::Display,
    time::{Duration, SystemTime},
};

use super::{
    names,
    request::{
        EndpointOverride, EndpointState, EndpointView, Explanation, Layer, LimitUse, Override, PoolOverride, PoolState,
        PoolView, Provenance, Refusal,
    },
    state::State,
};
use crate::{
    config::{Listener, PoolShare, format_duration, format_shares},
    limit::Refused,
};

/// Endpoints of a pool that one explanation tells about.
const LISTED: usize = 10;
/// What `paused` means.
const PAUSED: &str = "paused: out of file descriptors, until one is free";

/// An object that can be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    /// A listener by name.
    Listener(String),
    /// A pool by name.
    Pool(String),
    /// Pool and address.
    Endpoint(String, String),
    /// A worker by index.
    Worker(usize),
}

/// Finds the object of a full name, or of a plain one that is unique.
pub(super) fn resolve(state: &State, name: &str) -> Result<Object, Refusal> {
    if let Some(listener) = name.strip_prefix("listener/") {
        return state.listener(listener).map(|each| Object::Listener(each.name.clone()));
    }
    if let Some(pool) = name.strip_prefix("pool/") {
        return state.pool(pool).map(|each| Object::Pool(each.name.clone()));
    }
    if let Some(index) = name.strip_prefix("worker/") {
        let index = index.parse().map_err(|_| Refusal::Invalid(format!("`{index}` is no number of a worker")))?;
        return state.crew().check(index).map(|()| Object::Worker(index));
    }
    if let Some((pool, address)) = name.strip_prefix("endpoint/").and_then(|rest| rest.split_once('/')) {
        return state.endpoint(pool, address).map(|_| Object::Endpoint(pool.to_owned(), address.to_owned()));
    }
    let mut found = Vec::new();
    if let Ok(listener) = state.listener(name) {
        found.push((Object::Listener(listener.name.clone()), names::listener(name)));
    }
    if let Ok(pool) = state.pool(name) {
        found.push((Object::Pool(pool.name.clone()), names::pool(name)));
    }
    for pool in &state.config().pools {
        if state.endpoint(&pool.name, name).is_ok() {
            let full = names::endpoint(&pool.name, name);
            found.push((Object::Endpoint(pool.name.clone(), name.to_owned()), full));
        }
    }
    if found.len() > 1 {
        let full: Vec<String> = found.into_iter().map(|(_, full)| format!("`{full}`")).collect();
        return Err(Refusal::Invalid(format!("`{name}` is not unique: say {}", full.join(" or "))));
    }
    found.pop().map(|(object, _)| object).ok_or_else(|| {
        let config = state.config();
        let listeners = config.listeners.iter().map(|each| each.name.as_str());
        let pools = config.pools.iter().map(|each| each.name.as_str());
        names::missing("object", name, listeners.chain(pools))
    })
}

/// Explains a listener; `observed`: its state in one word, `accepting` if all
/// is well.
pub(super) fn listener(state: &State, config: &Listener, observed: &str) -> Explanation {
    let standing = state.listener_override(&config.name);
    let daemon = standing.is_some_and(|each| Some(each) == state.daemon_override());
    let configured =
        format!("accepting {} on {}{}", config.protocol.as_str(), config.address, goal(config.protocol.pools()));
    let split = state.split_override(&config.name);
    let subject = format!("listener `{}`", config.name);
    let (decided_by, sentence) = match standing {
        Some(each) => {
            let what = if daemon { "the whole daemon is drained" } else { &*format!("it is {}", each.value) };
            (Layer::Override, format!("{subject} does not accept: {what}, {}", provenance(each)))
        }
        None if observed != "accepting" => (
            Layer::Observed,
            format!(
                "{subject} is {}, although the file says `{configured}` and no override stands above it",
                if observed == "paused" { PAUSED } else { observed }
            ),
        ),
        None if split.is_some() => {
            let goal = goal(&state.split(config));
            let by = split.map(provenance).unwrap_or_default();
            let (protocol, address) = (config.protocol.as_str(), &config.address);
            (Layer::Override, format!("{subject} is accepting {protocol} on {address}{goal}: shares {by}"))
        }
        None => {
            (Layer::Configured, format!("{subject} is {configured}, as the file says; no override stands above it"))
        }
    };
    Explanation {
        object: names::listener(&config.name),
        effective: observed.to_owned(),
        decided_by,
        configured,
        override_: standing.map(as_text).or_else(|| split.map(as_text)),
        observed: if observed == "paused" { PAUSED } else { observed }.to_owned(),
        sentence,
    }
}

/// Adds the limits that are set and how near they are, and who was refused.
pub(super) fn with_limits(
    explanation: Explanation,
    limits: &[LimitUse],
    refused: &[(&'static str, u64)],
    now: Option<Refused>,
) -> Explanation {
    let limits: Vec<String> = limits.iter().map(limit).collect();
    let refused: Vec<String> =
        refused.iter().filter(|(_, count)| *count > 0).map(|(cause, count)| format!("{count} {cause}")).collect();
    let mut more = String::new();
    if let Some(cause) = now {
        more.push_str(&format!("; new connections are refused now: {}", cause.explain()));
    }
    if !limits.is_empty() {
        more.push_str(&format!("; limits: {}", limits.join(", ")));
    }
    if !refused.is_empty() {
        more.push_str(&format!("; refused since start: {}", refused.join(", ")));
    }
    Explanation { observed: explanation.observed + &more, sentence: explanation.sentence + &more, ..explanation }
}

/// `max_connections 37 of 100`.
fn limit(each: &LimitUse) -> String {
    match each.used {
        Some(used) => format!("{} {used} of {}", each.name, each.limit),
        None => format!("{} {}", each.name, each.limit),
    }
}

/// ` to pool `db``, ` to pools db=95 new=5`.
fn goal(pools: &[PoolShare]) -> String {
    match pools {
        [] => String::new(),
        [only] => format!(" to pool `{}`", only.name),
        pools => format!(" to pools {}", format_shares(pools)),
    }
}

/// Explains a worker; `alive`: its thread runs.
pub(super) fn worker(state: &State, index: usize, alive: bool) -> Explanation {
    let own = state.crew().override_of(index);
    let (decided_by, effective, sentence) = match own {
        _ if !alive => {
            (Layer::Observed, "dead", format!("worker {index} has died; only a restart of netd replaces it"))
        }
        Some(each) => (
            Layer::Override,
            "draining",
            format!(
                "worker {index} does not accept: it is {}, {}; others have its sockets",
                each.value,
                provenance(each)
            ),
        ),
        None => (Layer::Configured, "accepting", format!("worker {index} accepts; no override stands above that")),
    };
    Explanation {
        object: names::worker(index),
        effective: effective.to_owned(),
        decided_by,
        configured: "accepting".to_owned(),
        override_: own.map(as_text),
        observed: effective.to_owned(),
        sentence,
    }
}

/// Explains a pool.
pub(super) fn pool(view: &PoolView, now: SystemTime) -> Explanation {
    let configured: Vec<&EndpointView> =
        view.endpoints.iter().filter(|each| each.state != EndpointState::Removed).collect();
    let (taking, reachable) = (view.taking(), view.reachable());
    let subject = format!("pool `{}`", view.name);
    let verb = if taking == 1 { "takes" } else { "take" };
    let mut text = format!("{taking} of {} {verb} connections", names::counted(configured.len() as u64, "endpoint"));
    if reachable < taking {
        text.push_str(&format!(", of which {reachable} can be reached"));
    }
    if view.panics {
        text.push_str("; so few are healthy that all are used");
    }
    let own = configured.iter().any(|each| each.override_.is_some());
    let (decided_by, effective, sentence) = match &view.override_ {
        Some(each) => (
            Layer::Override,
            each.value.to_string(),
            format!("{subject} takes no new connections: it is {}, {}", each.value, provenance(each)),
        ),
        None => {
            let layer = match view.state {
                PoolState::Failing => Layer::Observed,
                _ if configured.iter().any(|each| health::trouble(each, now).is_some()) => Layer::Observed,
                _ if own => Layer::Override,
                _ => Layer::Configured,
            };
            let remarks = listed(configured.iter().filter_map(|each| remark(each, now)));
            let remarks = if remarks.is_empty() { "as the file says".to_owned() } else { remarks };
            (layer, text.clone(), format!("{subject}: {text}; {remarks}"))
        }
    };
    Explanation {
        object: names::pool(&view.name),
        effective,
        decided_by,
        configured: names::counted(configured.len() as u64, "endpoint"),
        override_: view.override_.as_ref().map(as_text),
        observed: view.state.as_str().to_owned(),
        sentence,
    }
}

/// Explains an endpoint; `whole`: the override of its pool.
pub(super) fn endpoint(
    pool: &str,
    whole: Option<&Override<PoolOverride>>,
    view: &EndpointView,
    now: SystemTime,
) -> Explanation {
    let EndpointView { address, weight, configured_weight, .. } = view;
    let configured = format!("weight {configured_weight}");
    let subject = format!("endpoint `{address}` of pool `{pool}`");
    let own = view.override_.as_ref();
    let failed = failure(view, now).filter(|_| view.state == EndpointState::Failing);
    let trouble = health::trouble(view, now);
    let (decided_by, mut sentence) = match (whole, own) {
        (Some(each), _) => (
            Layer::Override,
            format!("{subject} takes no new connections: its pool is {}, {}", each.value, provenance(each)),
        ),
        (None, Some(each)) => (
            Layer::Override,
            format!("{subject} has weight {weight} and not {configured_weight}: {}, {}", each.value, provenance(each)),
        ),
        (None, None) if failed.is_some() => {
            (Layer::Observed, format!("{subject} has weight {weight}, as the file says"))
        }
        (None, None) if *configured_weight > 0 && trouble.is_some() => {
            let trouble = trouble.as_deref().unwrap_or_default();
            (Layer::Observed, health::sentence(&subject, *weight, trouble))
        }
        (None, None) if *weight == 0 => {
            (Layer::Configured, format!("{subject} takes no new connections: its weight in the file is 0"))
        }
        (None, None) => {
            (Layer::Configured, format!("{subject} has weight {weight}, as the file says; no override stands above it"))
        }
    };
    let mut observed = view.state.as_str().to_owned();
    if own.is_some()
        && *weight > 0
        && let Some(trouble) = &trouble
    {
        sentence.push_str(&format!(", although it is {trouble}"));
    }
    if let Some(spared) = health::spared(view) {
        sentence.push_str(&format!("; it {spared}"));
        observed.push_str(&format!("; {spared}"));
    }
    if let Some(last) = health::last(view, now) {
        sentence.push_str(&format!("; {last}"));
        observed.push_str(&format!("; {last}"));
    }
    if let Some(failed) = failed {
        sentence.push_str(&format!(", but the last connect to it failed {failed}"));
        observed.push_str(&format!(": the last connect failed {failed}"));
    }
    Explanation {
        object: names::endpoint(pool, address),
        effective: format!("weight {weight}"),
        decided_by,
        configured,
        override_: whole.map(as_text).or_else(|| own.map(as_text)),
        observed,
        sentence,
    }
}

/// Why an endpoint does not take connections as the file says it should.
fn remark(view: &EndpointView, now: SystemTime) -> Option<String> {
    let address = &view.address;
    if let Some(trouble) = health::trouble(view, now) {
        return Some(format!("`{address}` is {trouble}"));
    }
    if let Some(spared) = health::spared(view) {
        return Some(format!("`{address}` {spared}"));
    }
    let over = view.override_.as_ref().map(|each| {
        let what = match each.value {
            EndpointOverride::Weight(weight) => format!("has weight {weight}"),
            EndpointOverride::Draining => "is drained".to_owned(),
            EndpointOverride::Maintenance => "is under maintenance".to_owned(),
        };
        format!("`{address}` {what}, {}", provenance(each))
    });
    match view.state {
        EndpointState::Failing => {
            Some(format!("the last connect to `{address}` failed {}", failure(view, now).unwrap_or_default()))
        }
        EndpointState::Draining => over.or_else(|| Some(format!("`{address}` has weight 0 in the file"))),
        _ => over,
    }
}

/// `12s ago: Connection refused`.
fn failure(view: &EndpointView, now: SystemTime) -> Option<String> {
    let (why, at) = view.last_failure.as_ref()?;
    let ago = Duration::from_secs(now.duration_since(*at).unwrap_or_default().as_secs());
    Some(format!("{} ago: {why}", format_duration(ago)))
}

/// The first of them, and how many more there are.
fn listed(mut texts: impl Iterator<Item = String>) -> String {
    let mut text = texts.by_ref().take(LISTED).collect::<Vec<_>>().join("; ");
    match texts.count() {
        0 => {}
        more => text.push_str(&format!("; and {more} more like these")),
    }
    text
}

fn as_text<V: Display>(each: &Override<V>) -> Override<String> {
    Override { value: each.value.to_string(), by: each.by.clone(), set_at: each.set_at, expires_at: each.expires_at }
}

/// `set by ann (ticket 4711), until it expires`.
pub(super) fn provenance<V>(each: &Override<V>) -> String {
    let Provenance { who, why } = &each.by;
    let who = if who.is_empty() { "somebody" } else { who };
    let end = if each.expires_at.is_some() { ", until it expires" } else { "" };
    if why.is_empty() { format!("set by {who}{end}") } else { format!("set by {who} ({why}){end}") }
}

#[cfg(test)]
mod tests;
