//! Which layer decides about an object, and why. Pure.

use std::fmt::Display;

use super::{
    names,
    request::{Explanation, Layer, Override, Provenance, Refusal},
    state::State,
};
use crate::config::{Listener, Pool};

/// An object that can be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    /// A listener by name.
    Listener(String),
    /// A pool by name.
    Pool(String),
    /// Pool and address.
    Endpoint(String, String),
}

/// Finds the object of a full name, or of a plain one that is unique.
pub(super) fn resolve(state: &State, name: &str) -> Result<Object, Refusal> {
    if let Some(listener) = name.strip_prefix("listener/") {
        return state.listener(listener).map(|each| Object::Listener(each.name.clone()));
    }
    if let Some(pool) = name.strip_prefix("pool/") {
        return state.pool(pool).map(|each| Object::Pool(each.name.clone()));
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
    let pool = config.protocol.pool().map(|pool| format!(" to pool `{pool}`")).unwrap_or_default();
    let configured = format!("accepting {} on {}{pool}", config.protocol.as_str(), config.address);
    let subject = format!("listener `{}`", config.name);
    let (decided_by, sentence) = match standing {
        Some(each) => {
            let what = if daemon { "the whole daemon is drained" } else { &*format!("it is {}", each.value) };
            (Layer::Override, format!("{subject} does not accept: {what}, {}", provenance(each)))
        }
        None if observed != "accepting" => (
            Layer::Observed,
            format!("{subject} is {observed}, although the file says `{configured}` and no override stands above it"),
        ),
        None => {
            (Layer::Configured, format!("{subject} is {configured}, as the file says; no override stands above it"))
        }
    };
    Explanation {
        object: names::listener(&config.name),
        effective: observed.to_owned(),
        decided_by,
        configured,
        override_: standing.map(as_text),
        observed: observed.to_owned(),
        sentence,
    }
}

/// Explains a pool; `observed` as above, `up` if all is well.
pub(super) fn pool(state: &State, config: &Pool, observed: &str) -> Explanation {
    let standing = state.pool_override(&config.name);
    let configured = format!("{} endpoints", config.endpoints.len());
    let subject = format!("pool `{}`", config.name);
    let taking = config.endpoints.iter().filter(|each| state.weight(&config.name, each) > 0).count();
    let (decided_by, effective, sentence) = match standing {
        Some(each) => (
            Layer::Override,
            each.value.to_string(),
            format!("{subject} takes no new connections: it is {}, {}", each.value, provenance(each)),
        ),
        None => {
            let own = config
                .endpoints
                .iter()
                .any(|each| state.endpoint_override(&config.name, &each.address.to_string()).is_some());
            let layer = if own { Layer::Override } else { Layer::Configured };
            let by = if own { "overrides of endpoints count in" } else { "as the file says" };
            let text = format!("{taking} of {} endpoints take connections", config.endpoints.len());
            (layer, text.clone(), format!("{subject}: {text}; {by}"))
        }
    };
    Explanation {
        object: names::pool(&config.name),
        effective,
        decided_by,
        configured,
        override_: standing.map(as_text),
        observed: observed.to_owned(),
        sentence,
    }
}

/// Explains an endpoint; `observed` as above, `up` if all is well.
pub(super) fn endpoint(state: &State, pool: &str, config: &crate::config::Endpoint, observed: &str) -> Explanation {
    let address = config.address.to_string();
    let weight = state.weight(pool, config);
    let configured = format!("weight {}", config.weight);
    let subject = format!("endpoint `{address}` of pool `{pool}`");
    let own = state.endpoint_override(pool, &address);
    let whole = state.pool_override(pool);
    let (decided_by, sentence) = match (whole, own) {
        (Some(each), _) => (
            Layer::Override,
            format!("{subject} takes no new connections: its pool is {}, {}", each.value, provenance(each)),
        ),
        (None, Some(each)) => (
            Layer::Override,
            format!("{subject} has weight {weight} and not {}: {}, {}", config.weight, each.value, provenance(each)),
        ),
        (None, None) if observed == "failing" => (
            Layer::Observed,
            format!("{subject} has weight {weight}, as the file says, but the last connect to it failed"),
        ),
        (None, None) if weight == 0 => {
            (Layer::Configured, format!("{subject} takes no new connections: its weight in the file is 0"))
        }
        (None, None) => {
            (Layer::Configured, format!("{subject} has weight {weight}, as the file says; no override stands above it"))
        }
    };
    Explanation {
        object: names::endpoint(pool, &address),
        effective: format!("weight {weight}"),
        decided_by,
        configured,
        override_: whole.map(as_text).or_else(|| own.map(as_text)),
        observed: observed.to_owned(),
        sentence,
    }
}

fn as_text<V: Display>(each: &Override<V>) -> Override<String> {
    Override { value: each.value.to_string(), by: each.by.clone(), set_at: each.set_at, expires_at: each.expires_at }
}

fn provenance<V>(each: &Override<V>) -> String {
    let Provenance { who, why } = &each.by;
    let who = if who.is_empty() { "somebody" } else { who };
    let end = if each.expires_at.is_some() { ", until it expires" } else { "" };
    if why.is_empty() { format!("set by {who}{end}") } else { format!("set by {who} ({why}){end}") }
}

#[cfg(test)]
mod tests;
