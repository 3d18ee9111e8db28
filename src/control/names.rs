//! Names of objects, and answers that help when there is no such object.

use std::fmt;

use super::request::{EndpointOverride, ListenerOverride, PoolOverride, Refusal, Target, WorkerOverride};

/// Names listed in one message.
const LISTED: usize = 20;

/// `listener/web`.
pub(super) fn listener(name: &str) -> String {
    format!("listener/{name}")
}

/// `pool/db`.
pub(super) fn pool(name: &str) -> String {
    format!("pool/{name}")
}

/// `endpoint/db/10.0.0.1:5432`.
pub(super) fn endpoint(pool: &str, address: &str) -> String {
    format!("endpoint/{pool}/{address}")
}

/// `worker/1`.
pub(super) fn worker(index: usize) -> String {
    format!("worker/{index}")
}

/// The kind of a drain's target.
pub(super) fn kind(target: &Target) -> &'static str {
    match target {
        Target::Daemon => "daemon",
        Target::Listener(_) => "listener",
        Target::Pool(_) => "pool",
        Target::Endpoint(..) => "endpoint",
        Target::Worker(_) => "worker",
    }
}

/// The object that a drain is about; empty: the daemon.
pub(super) fn target(target: &Target) -> String {
    match target {
        Target::Daemon => String::new(),
        Target::Listener(name) => listener(name),
        Target::Pool(name) => pool(name),
        Target::Endpoint(pool, address) => endpoint(pool, address),
        Target::Worker(index) => worker(*index),
    }
}

impl fmt::Display for ListenerOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Draining => "draining",
        })
    }
}

impl fmt::Display for PoolOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("draining"),
        }
    }
}

impl fmt::Display for WorkerOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("draining"),
        }
    }
}

impl fmt::Display for EndpointOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weight(weight) => write!(f, "weight {weight}"),
            Self::Draining => f.write_str("draining"),
            Self::Maintenance => f.write_str("maintenance"),
        }
    }
}

/// "There is no ...", what was probably meant, and what there is.
pub(super) fn missing<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Refusal {
    missing_of("", kind, name, known)
}

/// The same among those of `owner`, as in "in pool `db`".
pub(super) fn missing_of<'a>(owner: &str, kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Refusal {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    let mut text = format!("there is no {kind} `{name}`");
    if !owner.is_empty() {
        text.push_str(&format!(" {owner}"));
    }
    if known.is_empty() {
        text.push_str(", nor any other");
        return Refusal::NotFound(text);
    }
    if let Some(near) = nearest(name, &known) {
        text.push_str(&format!("; did you mean `{near}`?"));
    }
    let more = known.len().saturating_sub(LISTED);
    known.truncate(LISTED);
    text.push_str(&format!("; there is: {}", known.join(", ")));
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    Refusal::NotFound(text)
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, near) = known.iter().map(|each| (distance(name, each), *each)).min()?;
    (distance <= 1 + name.len() / 4).then_some(near)
}

/// Levenshtein's distance in bytes; names longer than 128 bytes are far from
/// everything.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 128 || b.len() > 128 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replace.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// "1 connection", "3 connections".
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits() {
        assert_eq!(distance("web", "web"), 0);
        assert_eq!(distance("wbe", "web"), 2);
        assert_eq!(distance("web", "webs"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_missing_name_is_answered_with_what_there_is() {
        let text = missing("listener", "wab", ["web", "admin"].into_iter()).to_string();
        assert_eq!(text, "there is no listener `wab`; did you mean `web`?; there is: admin, web");
        let text = missing_of("of listener `web`", "pool", "foo", ["db"].into_iter()).to_string();
        assert_eq!(text, "there is no pool `foo` of listener `web`; there is: db");
        let text = missing("pool", "x", std::iter::empty()).to_string();
        assert_eq!(text, "there is no pool `x`, nor any other");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..30).map(|n| format!("listener-{n:02}")).collect();
        let text = missing("listener", "zzz", names.iter().map(String::as_str)).to_string();
        assert!(text.ends_with("listener-19 and 10 more"), "{text}");
    }
}
