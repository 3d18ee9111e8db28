//! Objects that a reload took out of the configuration and that have
//! connections still: they can be asked about, drained and their connections
//! closed, by the name they had. Pure.

use super::{
    figures, names,
    request::{Explanation, Layer, Refusal, Target},
    state::State,
    told::Told,
};

/// Connections of a target that is gone from the configuration; `None`: it has
/// none, or the target is not gone.
pub(super) fn connections(told: &Told, target: &Target) -> Option<u64> {
    let retired = |pool: &str, address: Option<&str>| -> u64 {
        let of_pool = told.retired_endpoints.iter().filter(|each| each.pool == pool);
        let named = of_pool.filter(|each| address.is_none_or(|address| each.address.to_string() == address));
        named.map(|each| figures::endpoint(&each.shards).active).sum()
    };
    let active = match target {
        Target::Daemon | Target::Worker(_) => 0,
        Target::Listener(name) => {
            told.retired_listeners.get(name).map_or(0, |each| figures::listener(&each.shards).active)
        }
        Target::Pool(name) if told.pools.contains_key(name) => 0,
        Target::Pool(name) => retired(name, None),
        Target::Endpoint(pool, address) => retired(pool, Some(address)),
    };
    Some(active).filter(|&active| active > 0)
}

/// Explains an object that is gone, if `missing` is because of that.
pub(super) fn explain(state: &State, told: &Told, name: &str, missing: Refusal) -> Result<Explanation, Refusal> {
    let mut found: Vec<(Target, u64)> =
        candidates(told, name).into_iter().filter_map(|each| Some((each.clone(), connections(told, &each)?))).collect();
    if found.len() > 1 {
        let full: Vec<String> = found.iter().map(|(each, _)| format!("`{}`", names::target(each))).collect();
        return Err(Refusal::Invalid(format!("`{name}` is not unique: say {}", full.join(" or "))));
    }
    let Some((target, active)) = found.pop() else { return Err(missing) };
    let object = names::target(&target);
    let open = names::counted(active, "connection");
    let sentence = format!(
        "{object} takes no new connections: it is gone from the configuration (generation {}); {open} of it {} open",
        state.generation(),
        if active == 1 { "is" } else { "are" }
    );
    Ok(Explanation {
        object,
        effective: "removed".to_owned(),
        decided_by: Layer::Configured,
        configured: "not there".to_owned(),
        override_: None,
        observed: format!("removed, {open} open"),
        sentence,
    })
}

/// What the name may mean: a full name, or a plain one.
fn candidates(told: &Told, name: &str) -> Vec<Target> {
    if let Some(listener) = name.strip_prefix("listener/") {
        return vec![Target::Listener(listener.to_owned())];
    }
    if let Some(pool) = name.strip_prefix("pool/") {
        return vec![Target::Pool(pool.to_owned())];
    }
    if let Some((pool, address)) = name.strip_prefix("endpoint/").and_then(|rest| rest.split_once('/')) {
        return vec![Target::Endpoint(pool.to_owned(), address.to_owned())];
    }
    let endpoints = told.retired_endpoints.iter().filter(|each| each.address.to_string() == name);
    let endpoints = endpoints.map(|each| Target::Endpoint(each.pool.clone(), name.to_owned()));
    [Target::Listener(name.to_owned()), Target::Pool(name.to_owned())].into_iter().chain(endpoints).collect()
}
