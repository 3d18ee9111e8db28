use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::config::{
    AccessOnly, AccessTarget, Address, AdminSocket, CheckKind, Config, Errors, HashKey, HealthCheck, Initial,
    Keepalive, LogFormat, LogLevel, LogTarget, Outlier, Policy, PoolHealth, PoolShare, Protocol, ProxyVersions,
    Rebalance, Source, Tcp, Untrusted, default::bare, parse,
};

mod rules;
mod text;

const POOL: &str = "[[pool]]\nname = \"p\"\nendpoints = [\"127.0.0.1:9000\"]\n";

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".to_owned()),
        "COUNT" => Some("3".to_owned()),
        "YES" => Some("true".to_owned()),
        "INJECT" => Some("\"\nprotocol = \"discard".to_owned()),
        "WORD" => Some("many".to_owned()),
        _ => None,
    }
}

fn good(text: &str) -> Config {
    parse("netd.toml", text, &env).unwrap_or_else(|errors| panic!("{errors}"))
}

fn bad(text: &str) -> Errors {
    parse("netd.toml", text, &env).expect_err(text)
}

/// The one problem of a text: line, column, message, help.
#[track_caller]
fn assert_problem(text: &str, line: usize, column: usize, message: &str, help: &str) {
    let errors = bad(text);
    let problems: Vec<_> = errors
        .problems()
        .iter()
        .map(|p| (p.line, p.column, p.message.as_str(), p.help.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(problems, [(line, column, message, help)], "{errors}");
}

/// A problem of a listener's line, put in the fourth line at the front.
#[track_caller]
fn assert_listener_problem(line: &str, column: usize, message: &str, help: &str) {
    let text = format!("[[listener]]\nname = \"a\"\nprotocol = \"echo\"\n{line}\naddress = \"127.0.0.1:1\"\n");
    assert_problem(&text, 4, column, message, help);
}

#[test]
fn an_empty_file_is_all_defaults() {
    for text in ["", "\n", "# nothing\r\n", "\u{feff}", "[workers]\n[log]\n"] {
        assert_eq!(good(text), bare(), "{text:?}");
    }
}

fn every_key() -> Config {
    good(include_str!("every-key.toml"))
}

#[test]
fn reads_every_key_of_the_daemon() {
    let config = every_key();
    assert_eq!((config.workers.count, config.workers.pin, config.workers.buffer_size), (Some(4), true, 131_072));
    assert_eq!(config.workers.busy_poll, Some(Duration::from_micros(50)));
    assert_eq!(config.workers.rebalance, Rebalance::Auto);
    let process = &config.process;
    assert_eq!((process.user.as_deref(), process.group.as_deref()), (Some("netd"), Some("994")));
    assert_eq!((process.umask, process.core_dumps), (0o022, true));
    assert_eq!(process.pid_file, Some(PathBuf::from("/run/netd/netd.pid")));
    assert_eq!(process.working_directory, PathBuf::from("/var/lib/netd"));
    assert_eq!(config.admin.unix, AdminSocket::Path(PathBuf::from("/run/netd/admin.sock")));
    assert_eq!(config.admin.group.as_deref(), Some("ops"));
    assert_eq!(config.admin.tcp, Some("127.0.0.1:9465".parse().unwrap()));
    assert_eq!(config.metrics.listen, None);
    assert_eq!(config.log.target, LogTarget::File(PathBuf::from("/var/log/netd.log")));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, LogFormat::Json));
    let (timeout, window) = (Duration::from_secs(90), Duration::from_secs(60));
    let drain = crate::config::Drain { timeout, lame_duck: Duration::from_secs(5), gradual: Some(window) };
    assert_eq!(config.drain, drain);
    assert_eq!(config.upgrade.rollback_window, Duration::from_secs(7200));
    let access = &config.access_log;
    assert_eq!(access.target, AccessTarget::File(PathBuf::from("/var/log/netd-access.log")));
    assert_eq!((access.sample.millionths(), access.only), (250_000, AccessOnly::Failures));
    assert_eq!(config.reload.close_removed_after, Some(Duration::from_secs(600)));
}

#[test]
fn reads_every_key_of_a_listener() {
    let config = every_key();
    let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["web", "socket", "hello", "void"]);
    let web = config.listener("web").unwrap();
    assert_eq!(web.address, "[::]:8080".parse().unwrap());
    let share = |name: &str, weight| PoolShare { name: name.to_owned(), weight };
    let pools = vec![share("app", 95), share("canary", 5)];
    assert_eq!(web.protocol, Protocol::Tcp { pools, hash: HashKey::SourcePort });
    assert_eq!((web.backlog, web.v6only, web.idle_timeout), (512, false, Some(Duration::from_secs(5400))));
    let socket = config.listener("socket").unwrap();
    assert_eq!((&socket.address, socket.mode), (&Address::Unix(PathBuf::from("/run/netd/echo.sock")), 0o660));
    assert_eq!(socket.idle_timeout, None);
    assert_eq!(config.listener("hello").unwrap().protocol, Protocol::Respond { text: (*b"hi\n").into() });
    let void = config.listener("void").unwrap();
    assert_eq!((void.idle_timeout, void.access_log, web.access_log), (None, false, true));
    assert!(config.listener("nothing").is_none());
}

#[test]
fn reads_every_key_of_proxies_and_sockets() {
    let config = every_key();
    let web = config.listener("web").unwrap();
    let proxy = &web.proxy;
    assert_eq!(
        (proxy.accept, proxy.untrusted, proxy.timeout),
        (ProxyVersions::Any, Untrusted::Plain, Duration::from_secs(2))
    );
    let trusts = |ip: &str| proxy.trusted.contains(ip.parse().unwrap());
    assert!(trusts("10.1.2.3") && trusts("2001:db8::7") && !trusts("11.0.0.1") && !trusts("2001:db8::8"));
    let keepalive =
        Keepalive { idle: Some(Duration::from_secs(60)), interval: Some(Duration::from_secs(10)), count: Some(3) };
    let tcp = Tcp {
        keepalive: Some(keepalive),
        user_timeout: Some(Duration::from_secs(30)),
        nodelay: Some(false),
        defer_accept: Some(Duration::from_secs(5)),
        fast_open: Some(256),
        mptcp: true,
        receive_buffer: Some(128 << 10),
        send_buffer: Some(64 << 10),
        mark: Some(7),
        interface: Some("eth0".to_owned()),
        dscp: Some(46),
        congestion: Some("reno".to_owned()),
    };
    assert_eq!(web.tcp, tcp);
    let app = config.pool("app").unwrap();
    assert_eq!((app.send_proxy.version, app.send_proxy.tlvs.len()), (ProxyVersions::V2, 5));
    assert_eq!(app.source, Source::Address([192, 0, 2, 1].into()));
    let keepalive = Keepalive { idle: Some(Duration::from_secs(60)), ..Keepalive::default() };
    assert_eq!(app.tcp, Tcp { keepalive: Some(keepalive), fast_open: Some(1), ..Tcp::default() });
}

#[test]
fn reads_every_key_of_a_pool() {
    let config = every_key();
    let pool = config.pool("app").unwrap();
    let endpoints: Vec<_> = pool.endpoints.iter().map(|e| (e.address.to_string(), e.weight)).collect();
    let expected = [("127.0.0.1:9000", 1), ("127.0.0.1:9001", 0), ("unix:/run/app.sock", 3)];
    assert_eq!(endpoints, expected.map(|(address, weight)| (address.to_owned(), weight)));
    assert_eq!((pool.connect_timeout, pool.retries), (Duration::from_millis(250), 1));
    let check = HealthCheck {
        kind: CheckKind::Http {
            path: "/healthz".into(),
            host: "app.example".into(),
            status: "200-299,404".parse().unwrap(),
        },
        interval: Duration::from_secs(10),
        fast_interval: Duration::from_secs(2),
        timeout: Duration::from_millis(500),
        rise: 3,
        fall: 4,
        jitter: 20,
        initial: Initial::Unused,
    };
    let (base, max) = (Duration::from_secs(10), Duration::from_secs(60));
    let outlier = Outlier { consecutive: 7, base, max, max_share: 40 };
    let health = PoolHealth { check: Some(Arc::new(check)), outlier: Some(outlier), panic_threshold: 30 };
    assert_eq!(pool.health, health);
    assert_eq!((pool.policy, pool.slow_start), (Policy::LeastConnections, Some(Duration::from_secs(30))));
    assert_eq!(pool.endpoint_max_connections, Some(500));
    let last = &pool.endpoints[2];
    assert_eq!((last.backup, last.max_connections, pool.endpoints[0].max_connections), (true, Some(20), None));
}

#[test]
fn the_example_is_valid() {
    let config = good(include_str!("../../../deploy/netd.toml"));
    assert!(config.listeners.len() >= 3 && config.pools.len() >= 2);
}

#[test]
fn unknown_keys_and_sections() {
    assert_listener_problem("adress = \"x\"", 1, "unknown key `adress` in listener `a`", "did you mean `address`?");
    let text = "[[listener]]\nname = \"a\"\nprotocol = \"tcp\"\npol = \"p\"\naddress = \"127.0.0.1:1\"\n";
    assert_problem(text, 4, 1, "unknown key `pol` in listener `a`", "did you mean `pool`?");
    assert_problem(
        "[drain]\nspeed = 1",
        2,
        1,
        "unknown key `speed` in [drain]",
        "keys here are `timeout`, `lame_duck` and `gradual`",
    );
    assert_problem("[lisener]\n", 1, 2, "unknown section `lisener`", "did you mean `[[listener]]`?");
    assert_problem("[worker.x]\n", 1, 2, "unknown section `worker`", "did you mean `[workers]`?");
    assert_problem("timeout = \"3s\"", 1, 1, "unknown key `timeout`", "`timeout` belongs below `[drain]`");
    let text = "[[pool]]\nname = \"p\"\nendpoints = [{ address = \"127.0.0.1:1\", wieght = 2 }]";
    assert_problem(text, 3, 41, "unknown key `wieght` in this endpoint", "did you mean `weight`?");
}

#[test]
fn wrong_shape_of_a_section() {
    let help = "write `[[listener]]`, with two brackets, before each of them";
    assert_problem("[listener]\n", 1, 1, "`listener` must be an array of tables, not a table", help);
    assert_problem("[[log]]\n", 1, 1, "`log` must be one table, not an array", "write `[log]`, with one bracket, once");
    assert_problem("log = 3", 1, 7, "`log` must be a table, not a whole number", "write `[log]` and its keys below");
    assert_problem(
        "listener = [3]",
        1,
        13,
        "`listener` must be a table, not a whole number",
        "write `[[listener]]` and its keys below",
    );
}

#[test]
fn missing_keys() {
    assert_problem(
        "[[listener]]\nname = \"a\"\nprotocol = \"echo\"",
        1,
        1,
        "listener `a` has no `address`",
        "add a line such as `address = \"0.0.0.0:8080\"`",
    );
    assert_problem(
        "[[listener]]\naddress = \"127.0.0.1:1\"\nprotocol = \"echo\"",
        1,
        1,
        "this listener has no `name`",
        "add a line such as `name = \"listener-1\"`",
    );
    assert_problem(
        "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"tcp\"",
        1,
        1,
        "listener `a` has no `pool` to relay to",
        "add a line such as `pool = \"web\"`, and a [[pool]] of that name",
    );
    assert_problem(
        "[[pool]]\nname = \"p\"",
        1,
        1,
        "pool `p` has no `endpoints`",
        r#"add a line such as `endpoints = ["127.0.0.1:9000", "127.0.0.1:9001"]`"#,
    );
    assert_problem(
        "[[pool]]\nname = \"p\"\nendpoints = []",
        3,
        13,
        "pool `p` has no endpoint",
        r#"write at least one, as in ["127.0.0.1:9000", "127.0.0.1:9001"]"#,
    );
}

#[test]
fn wrong_types() {
    assert_listener_problem(
        "backlog = true",
        11,
        "`backlog` must be a whole number, not true or false",
        "write a number from 1 to 65535, without quotes",
    );
    assert_listener_problem(
        "backlog = \"9\"",
        11,
        "`backlog` must be a whole number, not a text in quotes",
        "write a number from 1 to 65535, without quotes",
    );
    assert_listener_problem(
        "idle_timeout = 30",
        16,
        "`idle_timeout` must be a duration with a unit, not a whole number",
        "write \"30s\" for seconds",
    );
    assert_listener_problem(
        "idle_timeout = 1.5",
        16,
        "`idle_timeout` must be a duration, not a fraction",
        "write it as in \"30s\" or \"1h30m\"",
    );
    assert_problem(
        "[workers]\npin = \"yes\"",
        2,
        7,
        "`pin` must be true or false, not a text in quotes",
        "write `true` or `false`, without quotes",
    );
    assert_problem(
        "[workers]\ncount = 2026-01-01",
        2,
        9,
        "`count` must be a number or \"auto\", not a date",
        "write a number from 1 to 256, or \"auto\" for one worker per CPU",
    );
    assert_problem(
        "[workers]\nbuffer_size = []",
        2,
        15,
        "`buffer_size` must be a size, not an array",
        "write it as in \"64KiB\", or bytes as in 65536",
    );
    assert_problem(
        "[log]\ntarget = 1",
        2,
        10,
        "`target` must be a text, not a whole number",
        "write it in quotes, as in \"abc\"",
    );
    assert_problem(
        "[[pool]]\nname = \"p\"\nendpoints = [1]",
        3,
        14,
        "`endpoint` must be an address or a table, not a whole number",
        r#"write "127.0.0.1:9000" or { address = "127.0.0.1:9000", weight = 2 }"#,
    );
    assert_problem(
        "[[pool]]\nname = \"p\"\nendpoints = \"127.0.0.1:1\"",
        3,
        13,
        "`endpoints` must be an array, not a text in quotes",
        r#"write it in brackets, as in ["127.0.0.1:9000", "127.0.0.1:9001"]"#,
    );
}

#[test]
fn values_out_of_range() {
    for value in ["0", "65536", "-1", "99999999999999999999999999999999999999999999"] {
        let message = format!("`backlog`: `{value}` is out of range");
        assert_listener_problem(&format!("backlog = {value}"), 11, &message, "write a number from 1 to 65535");
    }
    assert_listener_problem(
        "idle_timeout = \"400d\"",
        16,
        "`idle_timeout`: 400d is out of range",
        "write 1ms to 365d, or \"off\"",
    );
    assert_problem("[workers]\ncount = 257", 2, 9, "`count`: `257` is out of range", "write a number from 1 to 256");
    assert_problem(
        "[workers]\nbusy_poll = \"2ms\"",
        2,
        13,
        "`busy_poll`: 2ms is out of range",
        "write 1us to 1ms, or \"off\"",
    );
    assert_problem("[workers]\nbuffer_size = 1024", 2, 15, "`buffer_size`: 1KiB is out of range", "write 4KiB to 1MiB");
    assert_problem(
        "[workers]\nbuffer_size = \"2MB\"",
        2,
        15,
        "`buffer_size`: 2000000B is out of range",
        "write 4KiB to 1MiB",
    );
    assert_problem("[drain]\ntimeout = \"8d\"", 2, 11, "`timeout`: 8d is out of range", "write 0s to 7d");
    let pool = |line: &str| {
        format!("[[pool]]\nname = \"p\"\nendpoints = [{{ address = \"127.0.0.1:1\", weight = 1001 }}]\n{line}")
    };
    assert_problem(&pool(""), 3, 50, "`weight`: `1001` is out of range", "write a number from 0 to 1000");
    let text = format!("{POOL}retries = 17\nconnect_timeout = \"0s\"\n");
    let errors = bad(&text);
    let messages: Vec<_> = errors.problems().iter().map(|p| (p.line, p.message.as_str())).collect();
    assert_eq!(messages, [(4, "`retries`: `17` is out of range"), (5, "`connect_timeout`: 0s is out of range")]);
}

#[test]
fn unknown_words() {
    assert_problem(
        "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"ehco\"",
        4,
        12,
        "`protocol`: unknown value `ehco`",
        "did you mean `echo`? use `tcp`, `echo`, `discard` or `respond`",
    );
    assert_problem(
        "[log]\nlevel = \"verbose\"",
        2,
        9,
        "`level`: unknown value `verbose`",
        "use `error`, `warn`, `info`, `debug` or `trace`",
    );
    assert_problem("[log]\nformat = \"xml\"", 2, 10, "`format`: unknown value `xml`", "use `text` or `json`");
    assert_problem(
        "[log]\ntarget = \"/var/log/x\"",
        2,
        10,
        "`target`: unknown value `/var/log/x`",
        "to log to a file write `file:/var/log/x`",
    );
    assert_problem(
        "[log]\ntarget = \"stdout\"",
        2,
        10,
        "`target`: unknown value `stdout`",
        "use `auto`, `stderr`, `journal` or `syslog`, or `file:/PATH`",
    );
    assert_problem(
        "[workers]\ncount = \"many\"",
        2,
        9,
        "`count`: `many` is no number of workers",
        "write a number from 1 to 256, or \"auto\" for one worker per CPU",
    );
}

#[test]
fn wrong_addresses_and_paths() {
    let at = |address: &str| format!("[[listener]]\nname = \"a\"\nprotocol = \"echo\"\naddress = \"{address}\"\n");
    assert_problem(&at("127.0.0.1"), 4, 11, "`address`: `127.0.0.1` has no port: write `127.0.0.1:8080`", "");
    assert_problem(
        &at("localhost:80"),
        4,
        11,
        "`address`: `localhost` is a host name; write the IP address (`getent hosts localhost` tells it), as in `127.0.0.1:80`",
        "",
    );
    assert_problem(
        &at("tcp://127.0.0.1:80"),
        4,
        11,
        "`address`: `tcp://` does not belong here: write `127.0.0.1:80`",
        "",
    );
    for zone in ["fe80::1%eth0:80", "[fe80::1%eth0]:80"] {
        assert_problem(
            &at(zone),
            4,
            11,
            "`address`: an IPv6 address with a zone is written with brackets and the interface's number, as in `[fe80::1%2]:80` (`cat /sys/class/net/eth0/ifindex` tells it)",
            "",
        );
    }
    assert_problem(
        &at("[::ffff:127.0.0.1]:80"),
        4,
        11,
        "`[::ffff:127.0.0.1]:80` is an IPv4 address written as IPv6",
        "write `127.0.0.1:80`",
    );
    assert_problem(
        &at("a\\u0007b"),
        4,
        11,
        "`address`: `a\\u{7}b` is no address",
        "write `IP:PORT`, `[IPv6]:PORT` or `unix:/PATH`",
    );
    assert_problem(
        "[process]\npid_file = \"netd.pid\"",
        2,
        12,
        "`pid_file`: the path `netd.pid` is not absolute",
        "begin it with `/`: a daemon has no current directory to start from",
    );
    assert_problem(
        "[admin]\nunix = \"admin.sock\"",
        2,
        8,
        "`unix`: `admin.sock` is no path of a Unix socket",
        "write an absolute path, as in `/run/netd/admin.sock`, or `default`, or `off`",
    );
    assert_problem(
        "[admin]\ntcp = \"0.0.0.0:9465\"",
        2,
        7,
        "`tcp`: `0.0.0.0:9465` is not a loopback address; the admin API has no TLS yet, so anybody on the network could use it",
        "write `127.0.0.1:9465`, and reach it through SSH from elsewhere",
    );
    assert_problem(
        "[metrics]\nlisten = \"unix:/x\"",
        2,
        10,
        "`listen`: this is served over TCP only",
        "write `IP:PORT`, or `off`",
    );
    assert_problem(
        "[process]\nuser = \"a b\"",
        2,
        8,
        "`user`: `a b` is no user or group",
        "write a name or a number, as in `netd` or `994`",
    );
}

#[test]
fn wrong_modes() {
    assert_problem("[process]\numask = 22", 2, 9, "`umask`: a file mode must be written in octal", "write 0o022");
    assert_problem(
        "[process]\numask = 0x1f",
        2,
        9,
        "`umask`: a file mode must be written in octal",
        "write it as in 0o660",
    );
    assert_problem(
        "[process]\numask = \"0o1000\"",
        2,
        9,
        "`umask`: `0o1000` is no file mode",
        "write octal digits up to 0o777, as in `0o660`",
    );
    for umask in ["0o022", "\"0o022\"", "\"022\""] {
        assert_eq!(good(&format!("[process]\numask = {umask}")).process.umask, 0o022);
    }
    assert_eq!(good("[process]\numask = 0").process.umask, 0);
}

#[test]
fn names() {
    const HELP: &str = "a name has 1 to 64 letters, digits, `.`, `_` or `-`, as in `web-1`";
    let named = |name: &str| format!("[[pool]]\nname = \"{name}\"\nendpoints = [\"127.0.0.1:1\"]");
    assert_problem(&named("a b"), 2, 8, "`name`: `a b` is no valid name", HELP);
    assert_problem(&named(""), 2, 8, "`name`: the name is empty", HELP);
    assert!(bad(&named(&"x".repeat(65))).problems()[0].message.ends_with("is no valid name"));
    assert!(good(&named(&"x".repeat(64))).pool(&"x".repeat(64)).is_some());
    assert_problem(
        &format!("{POOL}\n{POOL}"),
        6,
        8,
        "another pool is named `p` already (line 2)",
        "give every pool its own name",
    );
}
