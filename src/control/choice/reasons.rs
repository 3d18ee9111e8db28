//! Why a connection would go where it would, in words. Pure.

use std::{collections::BTreeMap, net::SocketAddr};

use super::door::Room;

use crate::{
    config::{Address, HashKey, Policy},
    control::{
        balancing::{EndpointChoice, PoolChoice, ShareView, WorkerChoice},
        names,
        ramp::Ramp,
        request::{EndpointOverride, Override, PoolOverride, Standing},
        told::{ToldEndpoint, ToldPool},
        why::provenance,
    },
    worker::Nobody,
};

/// Endpoints that one answer lists of a pool.
const LISTED: usize = 100;

/// Why this endpoint was chosen.
pub(super) fn chosen(pool: &ToldPool, endpoint: &ToldEndpoint, hash: HashKey, source: Option<SocketAddr>) -> String {
    let load = names::counted(endpoint.load.get(), "connection");
    let weight = endpoint.weight;
    let mut text = match pool.config.policy {
        Policy::RoundRobin => format!("it is its turn, with weight {weight}"),
        Policy::LeastConnections => format!("it has {load} and weight {weight}: the fewest for its weight"),
        Policy::PowerOfTwoChoices => {
            format!("it has {load} and weight {weight}: not more than the other of two drawn by lot")
        }
        Policy::Random => format!("it is drawn by lot, with weight {weight}"),
        Policy::Maglev => match (hash, source) {
            (HashKey::Source, Some(source)) => format!("{} always goes there", source.ip()),
            (HashKey::SourcePort, Some(source)) => format!("{source} always goes there"),
            _ => "all of this listener go there".to_owned(),
        },
        Policy::FirstAvailable => "it is the first of the file that has room".to_owned(),
    };
    if endpoint.backup {
        text.push_str("; it is a backup, and no other takes connections");
    }
    if endpoint.ramp != Ramp::Done {
        text.push_str(&format!("; in its slow start it takes {} % of its share", endpoint.ramp.percent()));
    }
    text
}

/// Why none was chosen.
pub(super) fn none(pool: &ToldPool, nobody: Nobody) -> String {
    match nobody {
        Nobody::Full => "every endpoint that takes connections has as many as it may".to_owned(),
        Nobody::Suited => {
            "connections come from the client's address (source = \"client\"), and no endpoint that takes any has an address of its family".to_owned()
        }
        Nobody::Taking => {
            format!("none of its {} takes connections", names::counted(pool.endpoints.len() as u64, "endpoint"))
        }
    }
}

/// A pool's endpoints, and why those do not take it that do not.
pub(super) fn pool<'a>(
    told: &ToldPool,
    whole: Option<&Override<PoolOverride>>,
    own: impl Fn(&str) -> Option<&'a Override<EndpointOverride>>,
    rests: impl Fn(&Address) -> Option<Standing>,
    workers: &[WorkerChoice],
) -> PoolChoice {
    let has_room = |each: &ToldEndpoint| each.max_connections.is_none_or(|most| each.load.get() < u64::from(most));
    let takes = |each: &ToldEndpoint| each.weight > 0 && has_room(each);
    let primary = told.endpoints.iter().any(|each| takes(each) && !each.backup);
    let out = |each: &ToldEndpoint, address: &str| {
        if each.weight == 0 {
            return Some(match (whole, own(address)) {
                (Some(whole), _) => format!("its pool is {}, {}", whole.value, provenance(whole)),
                (None, Some(own)) => format!("{}, {}", own.value, provenance(own)),
                (None, None) => match rests(&each.address) {
                    Some(Standing::Unknown) => "it was not asked yet how it is".to_owned(),
                    Some(standing) => format!("it is {}", standing.as_str()),
                    None => "its weight in the file is 0".to_owned(),
                },
            });
        }
        if !has_room(each) {
            return Some(format!("it has {}, as many as it may", names::counted(each.load.get(), "connection")));
        }
        (each.backup && primary).then(|| "it is a backup, and others take connections".to_owned())
    };
    let mut endpoints: Vec<EndpointChoice> = told
        .endpoints
        .iter()
        .map(|each| {
            let address = each.address.to_string();
            EndpointChoice {
                out: out(each, &address),
                address,
                weight: each.weight,
                percent: each.ramp.percent(),
                backup: each.backup,
                load: each.load.get(),
                max_connections: each.max_connections,
            }
        })
        .collect();
    let open = endpoints.iter().filter(|each| each.out.is_none()).count();
    let more = endpoints.len().saturating_sub(LISTED);
    if more > 0 {
        let is_chosen = |each: &EndpointChoice| {
            workers
                .iter()
                .any(|worker| worker.endpoint.as_ref() == Some(&each.address) && worker.pool == told.config.name)
        };
        endpoints.sort_by_cached_key(|each| (!is_chosen(each), each.out.is_none()));
        endpoints.truncate(LISTED);
    }
    PoolChoice { name: told.config.name.clone(), policy: told.config.policy, endpoints, more, open }
}

/// All in one sentence.
pub(super) fn sentence(
    listener: &str,
    source: Option<SocketAddr>,
    shares: &[ShareView],
    workers: &[WorkerChoice],
    (at_the_door, rooms): (bool, &BTreeMap<String, Room>),
) -> String {
    let from = source.map_or_else(|| "over its Unix socket".to_owned(), |source| format!("from {}", source.ip()));
    let subject = format!("a connection {from} to listener `{listener}`");
    let goal = |each: &WorkerChoice| {
        let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
        let share = shares.iter().find(|share| share.pool == each.pool);
        let share = share.filter(|share| u64::from(share.weight) < total);
        let share = share.map(|share| format!(" (share {} of {total})", share.weight)).unwrap_or_default();
        let pool = format!("pool `{}`{share}", each.pool);
        match (&each.endpoint, rooms.get(&each.pool)) {
            (Some(endpoint), Some(Room::Waits(_))) => {
                format!("would wait for {pool}, which is full, and would go to {endpoint} now: {}", each.why)
            }
            (None, Some(Room::Waits(_))) => format!("would wait for {pool}, which is full: {}", each.why),
            (Some(_), Some(Room::Refuses(_))) => format!("would be refused by {pool}: it is full"),
            (Some(endpoint), _) => format!("would go to {endpoint} of {pool}: {}", each.why),
            (None, _) => format!("would be refused by {pool}: {}", each.why),
        }
    };
    let Some(first) = workers.first() else { return String::new() };
    let subject = if at_the_door { format!("{subject} would be refused; let in, it") } else { subject };
    if workers.iter().all(|each| (&each.pool, &each.endpoint) == (&first.pool, &first.endpoint)) {
        return format!("{subject} {}", goal(first));
    }
    let each: Vec<String> = workers.iter().map(|each| format!("on worker {} it {}", each.worker, goal(each))).collect();
    format!("{subject} goes to the worker that the kernel chooses: {}", each.join("; "))
}
