use super::*;
use crate::config::{Config, diff, parse};

fn read(text: &str) -> Result<Config, Vec<(String, String)>> {
    parse("x", text, &|_| None).map_err(|errors| {
        let told =
            |problem: &crate::config::Problem| (problem.message.clone(), problem.help.clone().unwrap_or_default());
        errors.problems().iter().map(told).collect()
    })
}

fn with_listener(lines: &str) -> String {
    format!("[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"echo\"\n{lines}\n")
}

fn with_pool(lines: &str) -> String {
    format!("[[pool]]\nname = \"a\"\nendpoints = [\"127.0.0.1:1\"]\n{lines}\n")
}

fn listener(lines: &str) -> ListenerLimits {
    read(&with_listener(lines)).unwrap().listeners[0].limits.clone()
}

#[test]
fn every_key_is_read() {
    let config = read(include_str!("../file/every-key.toml")).unwrap();
    assert_eq!(config.limits.max_connections, Some(50_000));
    assert_eq!(config.limits.overload, OverloadMode::Shed);
    assert_eq!(config.limits.memory, MemoryLimit::Bytes(2 << 30));
    let web = &config.listener("web").unwrap().limits;
    assert_eq!((web.max_connections, web.max_connections_per_source), (Some(10_000), Some(100)));
    assert_eq!(web.rate.unwrap().to_string(), "1000/s");
    assert_eq!(web.rate_per_source.unwrap().to_string(), "600/m burst 50");
    assert_eq!(web.source, SourcePrefix { v4: 24, v6: 56 });
    assert_eq!((web.source_table, web.lifetime_jitter), (SourceTable(100_000), Jitter(20)));
    assert_eq!(web.allow.as_ref().unwrap().to_string(), "2 listed, 0 from /etc/netd/allow");
    assert_eq!(web.deny.as_ref().unwrap().to_string(), "2 listed, 0 from /etc/netd/deny");
    assert_eq!(web.first_byte_timeout, Some(Duration::from_secs(10)));
    assert_eq!(web.half_closed_timeout, Some(Duration::from_secs(60)));
    assert_eq!(web.max_lifetime, Some(Duration::from_secs(3600)));
    let Refuse { denied, full, overload, rate } = &web.refuse;
    assert_eq!((denied, overload, rate), (&Refusal::Close, &Refusal::Reset, &Refusal::Close));
    assert_eq!(full, &Refusal::Text(Arc::from(&b"busy\n"[..])));
    let app = config.pool("app").unwrap().limits;
    assert_eq!(app.max_connections, Some(500));
    assert_eq!(app.queue, Some(Queue { size: 100, timeout: Duration::from_secs(5) }));
    assert_eq!(app.retry_budget, Some(Budget { percent: 20, reserve: 5 }));
}

#[test]
fn nothing_limits_unless_it_is_written() {
    assert_eq!(listener(""), ListenerLimits::default());
    assert_eq!(
        listener("rate = \"off\"\nmax_connections = \"off\"\nmax_lifetime = \"off\""),
        ListenerLimits::default()
    );
    assert_eq!(listener("allow = []").allow, Some(AccessList::default()), "nobody may connect");
    assert_eq!(read("").unwrap().limits, Limits::default());
}

#[test]
fn one_answer_can_stand_for_all_causes() {
    assert_eq!(listener("refuse = \"close\"").refuse.rate, Refusal::Close);
    let busy = Refusal::Text(Arc::from(&b"busy"[..]));
    assert_eq!(listener("refuse = { text = \"busy\" }").refuse.denied, busy);
    assert_eq!(listener("refuse = { full = { text = \"busy\" } }").refuse, Refuse { full: busy, ..Refuse::default() });
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    let rate = "write it as in \"100/s\", \"600/m burst 50\", or \"off\"";
    for (line, message, help) in [
        ("rate = 100", "`rate` must be a rate, not a whole number", rate),
        ("rate = \"100\"", "`rate`: `100` is no rate", rate),
        ("rate = \"100/fortnight\"", "`rate`: `100/fortnight` is no rate", rate),
        ("rate = \"+1/s\"", "`rate`: `+1/s` is no rate", rate),
        ("rate_per_source = \"1/s burst many\"", "`rate_per_source`: `1/s burst many` is no rate", rate),
        ("rate = \"0/s\"", "`rate`: the rate `0/s` is out of range", ""),
        ("rate = \"1/s burst 0\"", "`rate`: the rate `1/s burst 0` is out of range", ""),
        ("deny = \"10.0.0.0/8\"", "`deny` must be an array, not a text in quotes", ""),
        (
            "deny = [\"10.0.0.1/8\"]",
            "`deny`: `10.0.0.1/8` has bits set behind its prefix; the network is `10.0.0.0/8`",
            "",
        ),
        ("deny_file = \"deny\"", "`deny_file`: the path `deny` is not absolute", ""),
        (
            "refuse = 1",
            "`refuse` must be an answer to refused clients, not a whole number",
            r#"write "reset", "close" or { text = "busy\n" }"#,
        ),
        ("refuse = \"drop\"", "`refuse`: unknown value `drop`", "use `reset` or `close`, or { text = \"busy\\n\" }"),
        ("refuse = { fulll = \"close\" }", "unknown key `fulll` in `refuse` of listener `a`", "did you mean `full`?"),
        ("refuse = { text = \"\" }", "`text`: the text has 0 bytes", "write 1 to 1024 bytes"),
        (
            "max_connections = 0",
            "`max_connections`: `0` is out of range",
            "write a number from 1 to 100000000, or \"off\"",
        ),
        (
            "max_lifetime = \"1h\"\nlifetime_jitter = 101",
            "`lifetime_jitter`: `101` is out of range",
            "write a number from 0 to 100",
        ),
        ("max_conections = 5", "unknown key `max_conections` in listener `a`", "did you mean `max_connections`?"),
    ] {
        let told = read(&with_listener(line)).unwrap_err();
        assert_eq!((told.len(), told[0].0.as_str()), (1, message), "{line}: {told:?}");
        assert!(told[0].1.contains(help), "{line}: {told:?}");
    }
    for (line, message) in [
        ("queue = 5", "`queue` must be a table, not a whole number"),
        ("queue = { size = 5, timeout = \"1s\" }", "`queue` means nothing without a limit of connections"),
        ("retries = 0\nretry_budget = { percent = 5 }", "`retry_budget` means nothing with `retries = 0`"),
        ("queue = { size = 5 }", "this queue has no `timeout`"),
        ("queue = { size = 0, timeout = \"1s\" }", "`size`: `0` is out of range"),
        ("retry_budget = { reserve = 5 }", "this retry budget has no `percent`"),
    ] {
        let told = read(&with_pool(line)).unwrap_err();
        assert_eq!(told[0].0, message, "{line}");
    }
    assert_eq!(read("[limits]\noverload = \"drop\"").unwrap_err()[0].0, "`overload`: unknown value `drop`");
    assert_eq!(read("[limits]\nmemory = \"1KiB\"").unwrap_err()[0].0, "`memory`: 1KiB is out of range");
}

#[test]
fn what_means_nothing_where_it_stands_is_a_problem() {
    let unix = |line: &str| with_listener(line).replacen("127.0.0.1:1", "unix:/run/a", 1);
    for (file, message) in [
        (with_listener("lifetime_jitter = 5"), "`lifetime_jitter` means nothing without `max_lifetime`"),
        (with_listener("source_table = 100"), "`source_table` means nothing without a limit per source"),
        (with_listener("source_prefix_v4 = 24"), "`source_prefix_v4` means nothing without a limit per source"),
        (with_listener("source_prefix_v6 = 64"), "`source_prefix_v6` means nothing without a limit per source"),
        (unix("allow = []"), "`allow` means nothing on a Unix socket"),
        (unix("deny_file = \"/etc/deny\""), "`deny_file` means nothing on a Unix socket"),
        (unix("rate_per_source = \"1/s\""), "`rate_per_source` means nothing on a Unix socket"),
        (unix("max_connections_per_source = 1"), "`max_connections_per_source` means nothing on a Unix socket"),
    ] {
        let told = read(&file).unwrap_err();
        assert_eq!((told.len(), told[0].0.as_str()), (1, message), "{told:?}");
    }
    for file in [
        with_listener("max_lifetime = \"off\"\nlifetime_jitter = 5"),
        with_listener("rate_per_source = \"off\"\nsource_table = 100"),
        unix("allow = []\nproxy_protocol = \"any\""),
        with_pool("endpoint_max_connections = 5\nqueue = { size = 5, timeout = \"1s\" }"),
    ] {
        assert!(read(&file).is_ok(), "{file}: {:?}", read(&file));
    }
}

#[test]
fn a_change_is_told_key_by_key() {
    let changed = |old: &str, new: &str| {
        let difference = diff(&read(old).unwrap(), &read(new).unwrap());
        match (&difference.listeners[..], &difference.pools[..], &difference.settings[..]) {
            ([crate::config::ListenerChange::Changed { details, rebind: false, .. }], [], []) => details.clone(),
            ([], [crate::config::PoolChange::Changed { details, .. }], []) => details.clone(),
            ([], [], [setting]) if setting.reloadable => setting.details.clone(),
            other => panic!("{other:?}"),
        }
    };
    let of_listener = |lines: &str| changed(&with_listener(""), &with_listener(lines));
    assert_eq!(of_listener("rate = \"5/s\""), ["rate: off -> 5/s"]);
    assert_eq!(of_listener("deny = [\"10.0.0.0/8\"]"), ["deny: (not set) -> 1 listed"]);
    assert_eq!(of_listener("max_lifetime = \"1h\""), ["max_lifetime: off -> 1h"]);
    assert_eq!(of_listener("refuse = { rate = { text = \"no\\n\" } }"), ["refuse.rate: reset -> text \"no\\n\""]);
    let of_pool = |lines: &str| changed(&with_pool(""), &with_pool(lines));
    let queue = "queue = { size = 5, timeout = \"1s\" }\nmax_connections = 9";
    assert_eq!(of_pool(queue), ["max_connections: off -> 9", "queue: off -> 5 for 1s"]);
    assert_eq!(of_pool("retry_budget = { percent = 20 }"), ["retry_budget: off -> 20% and 10"]);
    assert_eq!(changed("", "[limits]\nmemory = \"1GiB\""), ["memory: auto -> 1GiB"]);
}
