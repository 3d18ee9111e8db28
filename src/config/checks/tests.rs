use std::{sync::Arc, time::Duration};

use crate::config::{CheckKind, HealthCheck, Initial, PoolHealth, Statuses, parse};

const POOL: &str = "[[pool]]\nname = \"p\"\nendpoints = [\"127.0.0.1:9000\"]\n";

fn health(keys: &str) -> PoolHealth {
    let text = format!("{POOL}{keys}\n");
    let config = parse("netd.toml", &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    config.pools[0].health.clone()
}

fn check(keys: &str) -> Arc<HealthCheck> {
    health(&format!("[pool.health]\n{keys}")).check.expect("checks")
}

/// Line, message and help of each problem.
fn problems(keys: &str) -> Vec<(usize, String, String)> {
    let text = format!("{POOL}{keys}\n");
    let errors = parse("netd.toml", &text, &|_| None).expect_err(&text);
    let problems = errors.problems().iter();
    problems.map(|p| (p.line, p.message.clone(), p.help.clone().unwrap_or_default())).collect()
}

#[track_caller]
fn assert_problem(keys: &str, line: usize, message: &str, help: &str) {
    assert_eq!(problems(keys), [(line, message.to_owned(), help.to_owned())]);
}

#[test]
fn nothing_is_checked_unless_it_is_asked_for() {
    assert_eq!(health(""), PoolHealth { check: None, outlier: None, panic_threshold: 20 });
}

#[test]
fn an_empty_table_is_a_connect_with_the_defaults() {
    let expected = HealthCheck {
        kind: CheckKind::Tcp { send: "".into(), expect: "".into() },
        interval: Duration::from_secs(5),
        fast_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
        jitter: 10,
        initial: Initial::Used,
    };
    assert_eq!(*check(""), expected);
    let outlier = health("[pool.outlier]").outlier.expect("an outlier");
    assert_eq!((outlier.consecutive, outlier.max_share), (5, 50));
    assert_eq!((outlier.base, outlier.max), (Duration::from_secs(30), Duration::from_secs(300)));
}

#[test]
fn defaults_give_way_to_what_is_written() {
    assert_eq!(check("interval = \"300ms\"").fast_interval, Duration::from_millis(300));
    assert_eq!(health("[pool.outlier]\nbase = \"10m\"").outlier.map(|each| each.max), Some(Duration::from_secs(600)));
}

#[test]
fn every_kind() {
    let kind = |keys: &str| check(keys).kind.clone();
    assert_eq!(kind("send = \"a\\r\\n\"\nexpect = \"b\""), CheckKind::Tcp { send: "a\r\n".into(), expect: "b".into() });
    assert_eq!(
        kind("kind = \"http\""),
        CheckKind::Http { path: "/".into(), host: "".into(), status: Statuses::default() }
    );
    let CheckKind::Http { path, host, status } =
        kind("kind = \"http\"\npath = \"/healthz\"\nhost = \"a.example\"\nstatus = \"200-204, 404\"")
    else {
        panic!("http")
    };
    assert_eq!((&*path, &*host, status.to_string().as_str()), ("/healthz", "a.example", "200-204,404"));
    assert_eq!([199, 200, 204, 205, 404].map(|each| status.contains(each)), [false, true, true, false, true]);
    assert_eq!(kind("kind = \"grpc\"\nservice = \"a.B\""), CheckKind::Grpc { service: "a.B".into() });
    assert_eq!(kind("kind = \"redis\""), CheckKind::Redis);
    assert_eq!(
        kind("kind = \"postgres\"\nuser = \"u\""),
        CheckKind::Postgres { user: "u".into(), database: "postgres".into() }
    );
}

#[test]
fn what_belongs_to_another_kind() {
    assert_problem(
        "[pool.health]\nkind = \"redis\"\npath = \"/\"",
        6,
        "`path` belongs to kind `http` only",
        "remove this line, or write `kind = \"http\"`",
    );
    assert_problem(
        "[pool.health]\nstatus = \"200\"",
        5,
        "`status` belongs to kind `http` only",
        "remove this line, or write `kind = \"http\"`",
    );
}

#[test]
fn values_that_cannot_be() {
    assert_problem(
        "[pool.health]\nkind = \"postgress\"",
        5,
        "`kind`: unknown value `postgress`",
        "did you mean `postgres`? use `tcp`, `http`, `grpc`, `redis` or `postgres`",
    );
    assert_problem(
        "[pool.health]\nfast_interval = \"6s\"",
        5,
        "`fast_interval`: it is longer than `interval`",
        "write at most 5s",
    );
    assert_problem(
        "[pool.outlier]\nbase = \"1m\"\nmax = \"30s\"",
        6,
        "`max`: it is shorter than `base`",
        "write at least 1m",
    );
    assert_problem("[pool.health]\nrise = 0", 5, "`rise`: `0` is out of range", "write a number from 1 to 100");
    assert_problem(
        "panic_threshold = 101",
        4,
        "`panic_threshold`: `101` is out of range",
        "write a number from 0 to 100",
    );
    assert_problem(
        "[pool.health]\nkind = \"http\"\npath = \"healthz\"",
        6,
        "`path`: `healthz` does not begin with `/`",
        "write it as in `/healthz`",
    );
    assert_problem(
        "[pool.health]\nkind = \"http\"\nhost = \"a b\"",
        6,
        "`host`: `a b` cannot be sent",
        "write at most 256 visible ASCII characters, without spaces",
    );
    for (status, message) in [
        ("20", "`20` is no HTTP status: 100 to 599"),
        ("600", "`600` is no HTTP status: 100 to 599"),
        ("299-200", "`299-200` is empty: write the lower status first"),
        ("", "`` is no HTTP status: 100 to 599"),
    ] {
        let keys = format!("[pool.health]\nkind = \"http\"\nstatus = \"{status}\"");
        assert_problem(&keys, 6, &format!("`status`: {message}"), "write it as in \"200-299,404\"");
    }
    let problems = problems("health = \"http\"");
    assert_eq!(problems[0].1, "`health` must be a table, not a text in quotes");
}

#[test]
fn a_key_that_is_misspelt() {
    assert_problem(
        "[pool.health]\nintervall = \"1s\"",
        5,
        "unknown key `intervall` in [pool.health] of pool `p`",
        "did you mean `interval`?",
    );
}
