//! What applying a candidate would change, with the live connections that each
//! change touches. Pure.

use std::{collections::HashSet, sync::Arc};

use super::{
    names,
    request::{Change, ChangeKind},
};
use crate::config::{
    Address, Config, Difference, EndpointChange, EndpointChangeKind, ListenerChange, Pool, PoolChange, SettingChange,
    format_duration,
};

/// Live connections, asked for by the plan.
pub(super) trait Live {
    /// Of a listener.
    fn listener(&self, name: &str) -> u64;
    /// Of an endpoint.
    fn endpoint(&self, pool: &str, address: &Address) -> u64;
}

/// What becomes of some connections of an endpoint that is removed.
const UNUSED: &str = "connections without a byte so far go to another endpoint that takes them";

/// Changes object by object. No reload cuts a connection at once: they are
/// left alone, or go on without successors until `close_removed_after`. Those
/// without a byte may go to another endpoint, which nobody notices.
///
/// A pool's line counts the connections of those endpoints that have no line
/// of their own, so lines of pools and endpoints add up.
pub(super) fn changes(difference: &Difference, new: &Config, live: &impl Live) -> Vec<Change> {
    let listeners = difference.listeners.iter().map(|change| listener(change, live));
    let pools = difference.pools.iter().flat_map(|change| pool(change, live));
    let settings = difference.settings.iter().map(setting);
    let mut changes: Vec<Change> = listeners.chain(pools).chain(settings).collect();
    if let Some(after) = new.reload.close_removed_after {
        for gone in changes.iter_mut().filter(|each| each.kind == ChangeKind::Removed) {
            gone.details.push(format!("connections that are left after {} are closed", format_duration(after)));
        }
    }
    changes
}

/// What a reload cannot do; empty: it can do all.
pub(super) fn obstacles(difference: &Difference) -> Vec<String> {
    let fixed = difference.settings.iter().filter(|change| !change.reloadable);
    fixed.map(|change| format!("[{}] {}: takes a restart of netd", change.section, change.details.join(", "))).collect()
}

/// "2 added, 1 removed": the changes in short.
pub(super) fn summary(changes: &[Change]) -> String {
    let count = |kind| changes.iter().filter(|change| change.kind == kind).count();
    let words = [(ChangeKind::Added, "added"), (ChangeKind::Changed, "changed"), (ChangeKind::Removed, "removed")];
    let parts: Vec<String> = words
        .into_iter()
        .filter(|(kind, _)| count(*kind) > 0)
        .map(|(kind, word)| format!("{} {word}", count(kind)))
        .collect();
    if parts.is_empty() { "nothing changed".to_owned() } else { parts.join(", ") }
}

fn listener(change: &ListenerChange, live: &impl Live) -> Change {
    match change {
        ListenerChange::Added(new) => bare(names::listener(&new.name), ChangeKind::Added, Vec::new()),
        ListenerChange::Removed(old) => Change {
            drained: live.listener(&old.name),
            ..bare(names::listener(&old.name), ChangeKind::Removed, Vec::new())
        },
        ListenerChange::Changed { new, rebind, details, .. } => {
            let mut details = details.clone();
            if *rebind {
                details.push("binds new sockets first, then empties the old ones".to_owned());
            }
            let untouched = live.listener(&new.name);
            Change { untouched, ..bare(names::listener(&new.name), ChangeKind::Changed, details) }
        }
    }
}

fn pool(change: &PoolChange, live: &impl Live) -> Vec<Change> {
    match change {
        PoolChange::Added(new) => vec![bare(names::pool(&new.name), ChangeKind::Added, Vec::new())],
        PoolChange::Removed(old) => {
            let drained = live_of(old, live, |_| true);
            vec![Change { drained, ..bare(names::pool(&old.name), ChangeKind::Removed, Vec::new()) }]
        }
        PoolChange::Changed { old, new, details, endpoints, .. } => {
            let others = new.endpoints.iter().any(|each| each.weight > 0);
            let own_lines: HashSet<&Address> = endpoints.iter().map(|each| &each.address).collect();
            let mut changes = Vec::with_capacity(1 + endpoints.len());
            if !details.is_empty() {
                let untouched = live_of(old, live, |address| !own_lines.contains(address));
                let object = names::pool(&old.name);
                changes.push(Change { untouched, ..bare(object, ChangeKind::Changed, details.clone()) });
            }
            changes.extend(endpoints.iter().map(|each| endpoint(&old.name, each, others, live)));
            changes
        }
    }
}

/// `others`: the pool has endpoints that may take connections.
fn endpoint(pool: &str, change: &EndpointChange, others: bool, live: &impl Live) -> Change {
    let active = live.endpoint(pool, &change.address);
    let object = names::endpoint(pool, &change.address.to_string());
    match &change.kind {
        EndpointChangeKind::Added => bare(object, ChangeKind::Added, Vec::new()),
        EndpointChangeKind::Removed => {
            let details = if others { vec![UNUSED.to_owned()] } else { Vec::new() };
            Change { drained: active, ..bare(object, ChangeKind::Removed, details) }
        }
        EndpointChangeKind::Changed { to, details } => {
            let line = bare(object, ChangeKind::Changed, details.clone());
            if *to == 0 { Change { drained: active, ..line } } else { Change { untouched: active, ..line } }
        }
    }
}

fn setting(change: &SettingChange) -> Change {
    bare(change.section.to_owned(), ChangeKind::Changed, change.details.clone())
}

fn live_of(pool: &Arc<Pool>, live: &impl Live, counts: impl Fn(&Address) -> bool) -> u64 {
    let addresses = pool.endpoints.iter().map(|each| &each.address);
    addresses.filter(|address| counts(address)).map(|address| live.endpoint(&pool.name, address)).sum()
}

fn bare(object: String, kind: ChangeKind, details: Vec<String>) -> Change {
    Change { object, kind, details, untouched: 0, drained: 0, cut: 0 }
}

#[cfg(test)]
mod tests;
