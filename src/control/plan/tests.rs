use proptest::prelude::*;

use super::*;
use crate::{
    config::{Config, LogLevel, LogTarget, diff},
    control::testing::{echo, empty, pool, relay, usual},
};

/// Every listener and endpoint has as many connections as its name is long.
struct ByLength;

impl Live for ByLength {
    fn listener(&self, name: &str) -> u64 {
        name.len() as u64
    }

    fn endpoint(&self, _pool: &str, address: &Address) -> u64 {
        address.to_string().len() as u64
    }
}

fn plan(old: &Config, new: &Config) -> Vec<Change> {
    changes(&diff(old, new), new, &ByLength)
}

fn find<'a>(changes: &'a [Change], object: &str) -> &'a Change {
    changes.iter().find(|change| change.object == object).unwrap()
}

#[test]
fn the_same_configuration_changes_nothing() {
    assert_eq!(plan(&usual(), &usual()), []);
    assert_eq!(summary(&[]), "nothing changed");
}

#[test]
fn a_removed_listener_and_endpoint_drain_and_the_rest_goes_on() {
    let mut new = usual();
    new.listeners = vec![relay("web", "127.0.0.1:8081", "db"), echo("new", "127.0.0.1:9")];
    new.pools = vec![pool("db", &[("10.0.0.2:5432", 5)])];
    let changes = plan(&usual(), &new);
    let web = find(&changes, "listener/web");
    assert_eq!((web.kind, web.untouched, web.drained), (ChangeKind::Changed, 3, 0));
    assert!(web.details.iter().any(|line| line == "address: 127.0.0.1:8080 -> 127.0.0.1:8081"));
    let echo = find(&changes, "listener/echo");
    assert_eq!((echo.kind, echo.untouched, echo.drained), (ChangeKind::Removed, 0, 4));
    assert_eq!(find(&changes, "listener/new").kind, ChangeKind::Added);
    let gone = find(&changes, "endpoint/db/10.0.0.1:5432");
    assert_eq!((gone.kind, gone.drained), (ChangeKind::Removed, 13));
    assert_eq!(gone.details, [UNUSED]);
    let heavier = find(&changes, "endpoint/db/10.0.0.2:5432");
    assert_eq!((heavier.untouched, &heavier.details[..]), (13, &["weight: 2 -> 5".to_owned()][..]));
    assert_eq!(summary(&changes), "1 added, 2 changed, 2 removed");
}

#[test]
fn weight_zero_drains() {
    let mut new = usual();
    new.pools = vec![pool("db", &[("10.0.0.1:5432", 0), ("10.0.0.2:5432", 2)])];
    let changes = plan(&usual(), &new);
    let change = find(&changes, "endpoint/db/10.0.0.1:5432");
    assert_eq!((change.untouched, change.drained), (0, 13));
}

#[test]
fn what_takes_a_restart_is_an_obstacle() {
    let mut new = usual();
    new.workers.count = Some(4);
    new.workers.pin = true;
    new.log.level = LogLevel::Debug;
    let found = obstacles(&diff(&usual(), &new));
    assert_eq!(found, ["[workers] pin: false -> true: takes a restart of netd"]);
    let mut new = usual();
    new.log.level = LogLevel::Debug;
    assert_eq!(obstacles(&diff(&usual(), &new)), Vec::<String>::new());
    new.log.target = LogTarget::Stderr;
    assert_eq!(obstacles(&diff(&usual(), &new)), Vec::<String>::new(), "the log can change its place");
}

fn config() -> impl Strategy<Value = Config> {
    let endpoints = proptest::collection::btree_map(1..5u8, 0..3u16, 1..4);
    let pools = proptest::collection::btree_map("[ab]", (endpoints, 0..3u8), 0..3);
    let listeners = proptest::collection::btree_map("[l-n]{1,2}", 1..4u16, 0..4);
    (listeners, pools).prop_map(|(listeners, pools)| Config {
        listeners: listeners.iter().map(|(name, port)| echo(name, &format!("127.0.0.1:{port}"))).collect(),
        pools: pools
            .into_iter()
            .map(|(name, (endpoints, retries))| {
                let all: Vec<(String, u16)> = endpoints.iter().map(|(n, w)| (format!("10.0.0.{n}:1"), *w)).collect();
                let all: Vec<(&str, u16)> = all.iter().map(|(address, weight)| (address.as_str(), *weight)).collect();
                let made = pool(&name, &all);
                Arc::new(Pool { retries, ..(*made).clone() })
            })
            .collect(),
        ..empty()
    })
}

proptest! {
    #[test]
    fn no_reload_cuts_and_no_connection_counts_twice(old in config(), new in config()) {
        let changes = plan(&old, &new);
        prop_assert!(changes.iter().all(|change| change.cut == 0));
        let live: usize = old.pools.iter().flat_map(|each| &each.endpoints).map(|each| each.address.to_string().len()).sum();
        let pools = changes.iter().filter(|each| !each.object.starts_with("listener/"));
        prop_assert!(pools.map(|each| each.untouched + each.drained).sum::<u64>() <= live as u64);
        let live: usize = old.listeners.iter().map(|each| each.name.len()).sum();
        let listeners = changes.iter().filter(|each| each.object.starts_with("listener/"));
        prop_assert!(listeners.map(|each| each.untouched + each.drained).sum::<u64>() <= live as u64);
    }
}
