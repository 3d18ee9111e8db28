use proptest::prelude::*;

use super::*;
use crate::config::{arbitrary, parse};

const OLD: &str = r#"
[[listener]]
name = "web"
address = "127.0.0.1:80"
protocol = "tcp"
pool = "app"

[[listener]]
name = "hello"
address = "127.0.0.1:81"
protocol = "respond"

[[pool]]
name = "app"
endpoints = ["127.0.0.1:1", "127.0.0.1:2"]
"#;

fn config(text: &str) -> Config {
    parse("x", text, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn changed(from: &str, to: &str) -> Difference {
    assert!(OLD.contains(from));
    diff(&config(OLD), &config(&OLD.replacen(from, to, 1)))
}

#[track_caller]
fn listener_details(difference: &Difference) -> (bool, &[String]) {
    match difference.listeners.as_slice() {
        [ListenerChange::Changed { rebind, details, .. }] => (*rebind, details),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listener_that_changed() {
    for (from, to, rebind, details) in [
        ("127.0.0.1:80\"", "[::1]:80\"", true, "address: 127.0.0.1:80 -> [::1]:80"),
        ("pool = \"app\"", "pool = \"app\"\nbacklog = 9", false, "backlog: 4096 -> 9"),
        ("pool = \"app\"", "pool = \"app\"\nidle_timeout = \"30s\"", false, "idle_timeout: 1h -> 30s"),
        ("pool = \"app\"", "pool = \"app\"\nidle_timeout = \"off\"", false, "idle_timeout: 1h -> off"),
        ("\"respond\"", "\"respond\"\ntext = \"x\"", false, "text: \"Hello from daemon\\n\" -> \"x\""),
        ("\"respond\"", "\"echo\"", false, "protocol: respond -> echo"),
    ] {
        let difference = changed(from, to);
        assert_eq!(listener_details(&difference), (rebind, [details.to_owned()].as_slice()), "{to}");
        assert!(difference.pools.is_empty() && difference.settings.is_empty() && !difference.is_empty());
    }
    let difference = changed("protocol = \"tcp\"\npool = \"app\"", "protocol = \"discard\"");
    let details = ["protocol: tcp -> discard".to_owned(), "pool: app -> (not set)".to_owned()];
    assert_eq!(listener_details(&difference), (false, details.as_slice()));
}

#[test]
fn shares_of_pools_that_changed() {
    let pools = "pools = [{ name = \"app\", weight = 95 }, { name = \"new\", weight = 5 }]\nhash = \"listener\"";
    let new = format!(
        "{}\n[[pool]]\nname = \"new\"\nendpoints = [\"127.0.0.1:3\"]\npolicy = \"maglev\"\n",
        OLD.replacen("pool = \"app\"", pools, 1)
    );
    let difference = diff(&config(OLD), &config(&new));
    let details = ["pool: app -> app=95 new=5".to_owned(), "hash: source -> listener".to_owned()];
    assert_eq!(listener_details(&difference), (false, details.as_slice()));
}

#[test]
fn other_sockets_are_made_anew() {
    let dual = |v6only: bool| config(&OLD.replacen("127.0.0.1:80\"", &format!("[::]:80\"\nv6only = {v6only}"), 1));
    let difference = diff(&dual(true), &dual(false));
    assert_eq!(listener_details(&difference), (true, ["v6only: true -> false".to_owned()].as_slice()));
    let unix = |mode: &str| config(&OLD.replacen("127.0.0.1:80\"", &format!("unix:/a\"\nmode = {mode}"), 1));
    let difference = diff(&unix("0o600"), &unix("0o007"));
    assert_eq!(listener_details(&difference), (true, ["mode: 0o600 -> 0o007".to_owned()].as_slice()));
}

#[test]
fn objects_that_come_and_go() {
    let (old, new) = (config(OLD), config(&OLD.replace("\"hello\"", "\"hallo\"").replace("\"app\"", "\"web\"")));
    let difference = diff(&old, &new);
    let [ListenerChange::Changed { .. }, ListenerChange::Added(added), ListenerChange::Removed(removed)] =
        difference.listeners.as_slice()
    else {
        panic!("{difference:?}")
    };
    assert_eq!((added.name.as_str(), removed.name.as_str()), ("hallo", "hello"));
    let [PoolChange::Added(added), PoolChange::Removed(removed)] = difference.pools.as_slice() else {
        panic!("{difference:?}")
    };
    assert_eq!((added.name.as_str(), removed.name.as_str()), ("web", "app"));
}

#[test]
fn a_pool_that_changed() {
    let difference = changed(
        "[\"127.0.0.1:1\", \"127.0.0.1:2\"]",
        "[\"127.0.0.1:3\", { address = \"127.0.0.1:2\", weight = 3 }]\nretries = 0\nconnect_timeout = \"1s\"",
    );
    let [PoolChange::Changed { details, endpoints, .. }] = difference.pools.as_slice() else {
        panic!("{difference:?}")
    };
    assert_eq!(details, &["connect_timeout: 5s -> 1s", "retries: 2 -> 0"]);
    let endpoints: Vec<_> = endpoints.iter().map(|change| (change.address.to_string(), change.kind.clone())).collect();
    let expected = [
        ("127.0.0.1:3", EndpointChangeKind::Added),
        ("127.0.0.1:2", EndpointChangeKind::Changed { to: 3, details: vec!["weight: 1 -> 3".to_owned()] }),
        ("127.0.0.1:1", EndpointChangeKind::Removed),
    ];
    assert_eq!(endpoints, expected.map(|(address, kind)| (address.to_owned(), kind)));
    assert!(difference.listeners.is_empty());
}

#[test]
fn health_that_changed() {
    let details = |before: &str, after: &str| {
        let with = |keys: &str| config(&format!("[[pool]]\nname = \"p\"\nendpoints = [\"127.0.0.1:1\"]\n{keys}"));
        match diff(&with(before), &with(after)).pools.as_slice() {
            [PoolChange::Changed { details, .. }] => details.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(details("", "[pool.health]"), ["health: off -> on"]);
    assert_eq!(details("[pool.outlier]", "panic_threshold = 5"), ["panic_threshold: 20 -> 5", "outlier: on -> off"]);
    assert_eq!(
        details("[pool.health]\nsend = \"x\\n\"", "[pool.health]\nkind = \"redis\"\ninterval = \"2s\""),
        [
            "health.kind: \"tcp\" -> \"redis\"",
            "health.interval: \"5s\" -> \"2s\"",
            "health.send: \"x\\n\" -> (not set)",
            "health.expect: \"\" -> (not set)"
        ]
    );
}

#[test]
fn balancing_that_changed() {
    let difference = changed(
        "[\"127.0.0.1:1\", \"127.0.0.1:2\"]",
        "[\"127.0.0.1:2\", { address = \"127.0.0.1:1\", backup = true, max_connections = 9 }]\npolicy = \"maglev\"\nendpoint_max_connections = 3",
    );
    let [PoolChange::Changed { details, endpoints, .. }] = difference.pools.as_slice() else {
        panic!("{difference:?}")
    };
    assert_eq!(details, &["policy: round-robin -> maglev", "endpoint_max_connections: (not set) -> 3"]);
    let details = vec!["backup: false -> true".to_owned(), "max_connections: (not set) -> 9".to_owned()];
    assert_eq!(endpoints[0].kind, EndpointChangeKind::Changed { to: 1, details });
}

#[test]
fn settings_say_whether_a_reload_can_do_them() {
    let new = "[workers]\ncount = 2\npin = true\nbuffer_size = \"4KiB\"\nbusy_poll = \"50us\"\nrebalance = \"auto\"\n[process]\nuser = \"netd\"\npid_file = \"/p\"\numask = 0o027\n[admin]\nunix = \"off\"\ntcp = \"127.0.0.1:5\"\n[metrics]\nlisten = \"off\"\n[log]\nlevel = \"debug\"\ntarget = \"file:/l\"\n[access_log]\ntarget = \"file:/a\"\nsample = 0.5\nonly = \"failures\"\n[drain]\ntimeout = \"1m\"\n";
    let difference = diff(&config(""), &config(new));
    let settings: Vec<_> =
        difference.settings.iter().map(|s| (s.section, s.reloadable, s.details.join(", "))).collect();
    let expected = [
        ("workers", true, "count: auto -> 2, rebalance: off -> auto"),
        ("workers", false, "pin: false -> true, buffer_size: 64KiB -> 4KiB, busy_poll: off -> 50us"),
        ("process", false, "user: (not set) -> netd, pid_file: (not set) -> /p, umask: 0o000 -> 0o027"),
        ("admin", false, "unix: default -> off, tcp: off -> 127.0.0.1:5"),
        ("metrics", false, "listen: 127.0.0.1:9464 -> off"),
        ("log", true, "target: auto -> file:/l, level: info -> debug"),
        ("access_log", true, "target: off -> file:/a, sample: 1 -> 0.5, only: all -> failures"),
        ("drain", true, "timeout: 30s -> 1m"),
    ];
    assert_eq!(settings, expected.map(|(section, reloadable, details)| (section, reloadable, details.to_owned())));
}

#[test]
fn long_texts_are_cut() {
    assert_eq!(excerpt(b"a\"b\xff\n"), "\"a\\\"b\u{fffd}\\n\"");
    assert_eq!(excerpt(&[b'x'; 100]), format!("\"{}...\" (100 bytes)", "x".repeat(40)));
}

/// The same configuration in another order.
fn reversed(config: &Config) -> Config {
    let mut config = config.clone();
    config.listeners.reverse();
    config.pools.reverse();
    for pool in &mut config.pools {
        Arc::make_mut(pool).endpoints.reverse();
    }
    config
}

proptest! {
    #[test]
    fn equal_configurations_have_no_difference(config in arbitrary::config()) {
        prop_assert!(diff(&config, &config.clone()).is_empty());
        prop_assert!(diff(&config, &reversed(&config)).is_empty());
    }

    #[test]
    fn a_difference_goes_both_ways(old in arbitrary::config(), new in arbitrary::config()) {
        let (there, back) = (diff(&old, &new), diff(&new, &old));
        prop_assert_eq!(there.is_empty(), back.is_empty());
        prop_assert_eq!(there.listeners.len(), back.listeners.len());
        prop_assert_eq!(there.pools.len(), back.pools.len());
        prop_assert_eq!(there.settings.len(), back.settings.len());
    }
}
