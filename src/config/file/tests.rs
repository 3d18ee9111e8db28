use std::{path::PathBuf, time::Duration};

use proptest::prelude::*;

use crate::config::{
    Address, AdminSocket, Config, Errors, LogFormat, LogLevel, LogTarget, Problem, Protocol, default::bare, parse,
    parse_bytes,
};

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

#[test]
fn reads_every_key() {
    let config = good(include_str!("every-key.toml"));
    assert_eq!((config.workers.count, config.workers.pin, config.workers.buffer_size), (Some(4), true, 131_072));
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
    assert_eq!(config.drain.timeout, Duration::from_secs(90));

    let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["web", "socket", "hello", "void"]);
    let web = config.listener("web").unwrap();
    assert_eq!(web.address, "[::]:8080".parse().unwrap());
    assert_eq!(web.protocol, Protocol::Tcp { pool: "app".to_owned() });
    assert_eq!((web.backlog, web.v6only, web.idle_timeout), (512, false, Some(Duration::from_secs(5400))));
    let socket = config.listener("socket").unwrap();
    assert_eq!((&socket.address, socket.mode), (&Address::Unix(PathBuf::from("/run/netd/echo.sock")), 0o660));
    assert_eq!(socket.idle_timeout, None);
    assert_eq!(config.listener("hello").unwrap().protocol, Protocol::Respond { text: (*b"hi\n").into() });
    assert_eq!(config.listener("void").unwrap().idle_timeout, None);
    assert!(config.listener("nothing").is_none());

    let pool = config.pool("app").unwrap();
    let endpoints: Vec<_> = pool.endpoints.iter().map(|e| (e.address.to_string(), e.weight)).collect();
    let expected = [("127.0.0.1:9000", 1), ("127.0.0.1:9001", 0), ("unix:/run/app.sock", 3)];
    assert_eq!(endpoints, expected.map(|(address, weight)| (address.to_owned(), weight)));
    assert_eq!((pool.connect_timeout, pool.retries), (Duration::from_millis(250), 0));
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
    assert_problem("[drain]\nspeed = 1", 2, 1, "unknown key `speed` in [drain]", "keys here are `timeout`");
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

#[test]
fn dangling_pools() {
    let to = |pool: &str| {
        format!(
            "{}[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"tcp\"\npool = \"{pool}\"\n",
            POOL.replace("\"p\"", "\"database\"")
        )
    };
    assert_problem(&to("databse"), 8, 8, "there is no pool `databse`", "did you mean `database`?");
    assert_problem(&to("web"), 8, 8, "there is no pool `web`", "pools are `database`");
    let alone = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"tcp\"\npool = \"web\"\n";
    assert_problem(
        alone,
        5,
        8,
        "there is no pool `web`",
        "there is no pool; add a [[pool]] with this name and its endpoints",
    );
}

#[test]
fn keys_that_do_not_fit() {
    assert_listener_problem(
        "pool = \"p\"",
        1,
        "`pool` belongs to protocol `tcp` only",
        "remove this line, or relay with `protocol = \"tcp\"`",
    );
    assert_listener_problem(
        "text = \"x\"",
        1,
        "`text` belongs to protocol `respond` only",
        "remove this line, or send the text with `protocol = \"respond\"`",
    );
    assert_listener_problem(
        "mode = 0o660",
        1,
        "`mode` belongs to Unix sockets only",
        "remove this line; only a Unix socket is a file with a mode",
    );
    assert_listener_problem(
        "v6only = true",
        1,
        "`v6only` belongs to IPv6 addresses only",
        "remove this line; for both IPv6 and IPv4 write `address = \"[::]:PORT\"` and `v6only = false`",
    );
}

/// Two echo listeners; the second address stands in line 8, column 11.
fn two(first: &str, second: &str, more: &str) -> String {
    format!(
        "[[listener]]\nname = \"a\"\nprotocol = \"echo\"\naddress = \"{first}\"\n[[listener]]\nname = \"b\"\nprotocol = \"echo\"\naddress = \"{second}\"\n{more}"
    )
}

#[test]
fn addresses_that_clash() {
    for (first, second, message, help) in [
        (
            "127.0.0.1:80",
            "127.0.0.1:80",
            "`127.0.0.1:80` is taken by listener `a` already (line 4)",
            "use another port or address",
        ),
        (
            "0.0.0.0:80",
            "127.0.0.1:80",
            "`127.0.0.1:80` overlaps with `0.0.0.0:80` of listener `a` (line 4)",
            "use another port; the wildcard address takes connections to every address",
        ),
        (
            "127.0.0.1:80",
            "*:80",
            "`0.0.0.0:80` overlaps with `127.0.0.1:80` of listener `a` (line 4)",
            "use another port; the wildcard address takes connections to every address",
        ),
        (
            "[::1]:80",
            "[::]:80",
            "`[::]:80` overlaps with `[::1]:80` of listener `a` (line 4)",
            "use another port; the wildcard address takes connections to every address",
        ),
        ("unix:/a", "unix:/a", "`unix:/a` is taken by listener `a` already (line 4)", "use another path"),
    ] {
        assert_problem(&two(first, second, ""), 8, 11, message, help);
    }
    let dual = "`v6only = false` takes IPv4 as well; remove it, or use another port";
    for ipv4 in ["0.0.0.0:80", "127.0.0.1:80"] {
        let message = format!("`[::]:80` overlaps with `{ipv4}` of listener `a` (line 4)");
        assert_problem(&two(ipv4, "[::]:80", "v6only = false"), 8, 11, &message, dual);
    }
}

#[test]
fn addresses_that_do_not_clash() {
    for (first, second) in [
        ("127.0.0.1:80", "127.0.0.1:81"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("0.0.0.0:80", "[::]:80"),
        ("127.0.0.1:80", "[::1]:80"),
        ("unix:/a", "unix:/b"),
    ] {
        good(&two(first, second, ""));
    }
    good(&two("0.0.0.0:80", "[::1]:80", "v6only = false"));
}

#[test]
fn listeners_clash_with_admin_and_metrics() {
    let listener =
        |address: &str| format!("[[listener]]\nname = \"a\"\nprotocol = \"echo\"\naddress = \"{address}\"\n");
    let help = "use another port or address";
    assert_problem(
        &listener("127.0.0.1:9464"),
        4,
        11,
        "`127.0.0.1:9464` is taken by metrics.listen already (its default)",
        help,
    );
    let text = format!("{}[metrics]\nlisten = \"127.0.0.1:1\"", listener("127.0.0.1:1"));
    assert_problem(&text, 4, 11, "`127.0.0.1:1` is taken by metrics.listen already (line 6)", help);
    let text = format!("[admin]\ntcp = \"127.0.0.1:1\"\n{}", listener("127.0.0.1:1"));
    assert_problem(&text, 6, 11, "`127.0.0.1:1` is taken by admin.tcp already (line 2)", help);
    let text = format!("[admin]\nunix = \"/a\"\n{}", listener("unix:/a"));
    assert_problem(&text, 6, 11, "`unix:/a` is taken by admin.unix already (line 2)", "use another path");
    assert_problem(
        "[admin]\ntcp = \"127.0.0.1:9464\"",
        2,
        7,
        "`127.0.0.1:9464` is taken by metrics.listen already (its default)",
        help,
    );
    good(&format!("[metrics]\nlisten = \"off\"\n{}", listener("127.0.0.1:9464")));
}

#[test]
fn endpoints() {
    let pool = |endpoints: &str| format!("[[pool]]\nname = \"p\"\nendpoints = [\n{endpoints}\n]\n");
    assert_problem(
        &pool("\"127.0.0.1:0\""),
        4,
        1,
        "endpoint `127.0.0.1:0` has port 0",
        "write the port that the server listens on, 1 to 65535",
    );
    assert_problem(
        &pool("\"127.0.0.1:1\",\n{ address = \"127.0.0.1:1\" }"),
        5,
        1,
        "endpoint `127.0.0.1:1` is in the pool already (line 4)",
        "remove one of them; for a greater share give it a weight: { address = ..., weight = 2 }",
    );
    let text =
        format!("{POOL}[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:9000\"\nprotocol = \"tcp\"\npool = \"p\"");
    assert_problem(
        &text,
        3,
        14,
        "endpoint `127.0.0.1:9000` is the address of listener `a`, which would relay to itself (line 6)",
        "write the address of the server behind it",
    );
}

#[test]
fn limits() {
    let listeners = |n: usize| {
        (0..n)
            .map(|i| {
                format!("[[listener]]\nname = \"l{i}\"\nprotocol = \"echo\"\naddress = \"127.0.0.1:{}\"\n", 10_000 + i)
            })
            .collect::<String>()
    };
    assert_eq!(good(&listeners(1024)).listeners.len(), 1024);
    assert_problem(&listeners(1030), 4097, 1, "too many listeners: at most 1024", "serve the others with another netd");
    let pools = |n: usize| {
        (0..n).map(|i| format!("[[pool]]\nname = \"p{i}\"\nendpoints = [\"127.0.0.1:1\"]\n")).collect::<String>()
    };
    assert_eq!(good(&pools(1024)).pools.len(), 1024);
    assert_problem(&pools(1030), 3073, 1, "too many pools: at most 1024", "serve the others with another netd");
    let endpoints = |n: usize| {
        let lines: String = (0..n).map(|i| format!("\"127.0.0.1:{}\",\n", 10_000 + i)).collect();
        format!("[[pool]]\nname = \"p\"\nendpoints = [\n{lines}]\n")
    };
    assert_eq!(good(&endpoints(1000)).pools[0].endpoints.len(), 1000);
    assert_problem(&endpoints(1010), 1004, 1, "too many endpoints in one pool: at most 1000", "split the pool");
    let respond = |n: usize| {
        format!(
            "[[listener]]\nname = \"r\"\naddress = \"127.0.0.1:1\"\nprotocol = \"respond\"\ntext = \"{}\"\n",
            "x".repeat(n)
        )
    };
    good(&respond(65_536));
    assert_problem(&respond(65_537), 5, 8, "`text`: the text has 65537 bytes", "write at most 64 KiB");
    let errors = bad(&" ".repeat(super::MAX_FILE_SIZE + 1));
    assert_eq!(errors.problems()[0].message, "the file is too large");
}

#[test]
fn all_problems_of_a_file_at_once() {
    let text = "[workers]\ncout = 2\npin = 1\n[log]\nlevel = \"loud\"\n[[pool]]\nname = \"p\"\nendpoints = [\"x\", \"127.0.0.1:0\"]\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:9464\"\nprotocol = \"tcp\"\npool = \"q\"\nbacklog = 0\n";
    let lines: Vec<_> = bad(text).problems().iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(lines, [(2, 1), (3, 7), (5, 9), (8, 14), (8, 19), (11, 11), (13, 8), (14, 11)]);
}

#[test]
fn syntax_errors() {
    assert_problem(
        "[workers]\ncount = two\n",
        2,
        9,
        "`two` is no value",
        "text needs quotes, as in \"abc\"; numbers, `true` and `false` stand without",
    );
    assert_problem("[workers]\ncount =\n", 2, 8, "there is no value", "write one after `=`");
    assert_problem("[workers]\ncount = 1\ncount = 2\n", 3, 1, "duplicate key `count`", "write it once");
    assert_problem("[log]\n[log]\n", 2, 2, "duplicate key `log`", "write it once");
    let unclosed = bad("[workers\ncount = 1\n");
    assert_eq!((unclosed.problems()[0].line, unclosed.problems()[0].column), (1, 9));
    assert_eq!(unclosed.problems().len(), 1);
    let end = bad("[[pool]]\nendpoints = [\n  \"a\"\n\n\n");
    assert_eq!((end.problems()[0].line, end.problems()[0].column), (3, 6));
    let large = bad(&format!("{}a = ?\nb = ?\n", "# x\n".repeat(100_000)));
    assert_eq!(large.problems().iter().map(|p| (p.line, p.column)).collect::<Vec<_>>(), [(100_001, 5)]);
    let text = bad("[log]\nlevel = \"\"\"info\n");
    assert_eq!(text.problems()[0].line, 2);
}

#[test]
fn a_broken_line_does_not_hide_the_other_problems() {
    let text = "[workers]\ncount = two\n[[pool]]\nname = \"p\nendpoints = [\"127.0.0.1:0\"]\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"tcp\"\npool = \"p\"\nbacklog = 0\n";
    let errors = bad(text);
    let places: Vec<_> = errors.problems().iter().map(|p| p.line).collect();
    // The pool's name is broken, so it is neither missing nor is line 10 wrong.
    assert_eq!(places, [2, 4, 5, 11], "{errors}");
}

#[test]
fn damage_beyond_a_line_is_told_once() {
    let errors = bad("[[pool]]\nname = \"p\"\nendpoints = [\"127.0.0.1:1\"\nretries = 1\n[[listener]]\nname = \"a\"\n");
    assert_eq!(errors.problems().iter().map(|p| p.line).collect::<Vec<_>>(), [4], "{errors}");
}

#[test]
fn substitution() {
    let text = "[workers]\ncount = \"${COUNT}\"\npin = \"${YES}\"\nbuffer_size = \"${SIZE:-8KiB}\"\n[[listener]]\nname = \"a-${COUNT}\"\naddress = \"127.0.0.1:${PORT}\"\nprotocol = \"respond\"\nbacklog = \"${BACKLOG:-7}\"\ntext = \"$${PORT} ${PORT}\" # ${NONE}\n";
    let config = good(text);
    assert_eq!((config.workers.count, config.workers.pin, config.workers.buffer_size), (Some(3), true, 8192));
    let listener = config.listener("a-3").unwrap();
    assert_eq!((listener.address.to_string().as_str(), listener.backlog), ("127.0.0.1:8080", 7));
    assert_eq!(listener.protocol, Protocol::Respond { text: (*b"${PORT} 8080").into() });
}

#[test]
fn substitution_cannot_write_toml() {
    let text = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"respond\"\ntext = \"${INJECT}\"\n";
    let expected = env("INJECT").unwrap();
    assert_eq!(good(text).listeners[0].protocol, Protocol::Respond { text: expected.as_bytes().into() });
}

#[test]
fn wrong_substitution() {
    assert_problem(
        "[log]\ntarget = \"file:/log/${NONE}\"",
        2,
        21,
        "`target`: environment variable `NONE` is not set",
        "set it, or give a default: `${NONE:-default}`",
    );
    assert_problem(
        "[log]\ntarget = \"${\"",
        2,
        11,
        "`target`: `${` without a closing `}`",
        "write `${VAR}` or `${VAR:-default}`; a literal `${` is written `$${`",
    );
    assert_problem(
        "[workers]\npin = \"${WORD}\"",
        2,
        7,
        "`pin`: `many` is neither true nor false",
        "the environment must give `true` or `false`",
    );
    assert_listener_problem(
        "backlog = \"${WORD}\"",
        11,
        "`backlog`: `many` is no whole number",
        "write a number from 1 to 65535",
    );
    assert_listener_problem(
        "backlog = \"1${COUNT}\"",
        11,
        "`backlog` must be a whole number, not a text in quotes",
        "write a number from 1 to 65535, without quotes",
    );
    assert_problem(
        "[drain]\ntimeout = \"${COUNT}\"",
        2,
        11,
        "`timeout`: the duration `3` has no unit: write `3s` for seconds",
        "",
    );
    assert_problem("[${NONE}]", 1, 2, "invalid unquoted key, expected letters, numbers, `-`, `_`", "");
}

#[test]
fn not_utf8() {
    let errors = parse_bytes("x", b"[log]\nlevel = \"d\xe9bug\"\n", &env).unwrap_err();
    let expected = Problem {
        line: 2,
        column: 11,
        message: "byte 0xe9 is not UTF-8".to_owned(),
        help: Some("save the file as UTF-8".to_owned()),
        span: 16..19,
    };
    assert_eq!(errors.problems(), [expected]);
    assert!(errors.to_string().contains("level = \"d\u{fffd}bug\""), "{errors}");
    assert_eq!(parse_bytes("x", b"", &env), Ok(bare()));
}

#[test]
fn the_errors_of_the_manual_are_true() {
    let manual = include_str!("../../../docs/configuration.md");
    let (_, rest) = manual.split_once("<!-- a file with errors -->\n\n```toml\n").expect("the file of the manual");
    let (file, rest) = rest.split_once("```\n").expect("the end of the file");
    let (_, rest) = rest.split_once("```text\n").expect("the errors of the manual");
    let (shown, _) = rest.split_once("```\n").expect("the end of the errors");
    let errors = parse("/etc/netd/netd.toml", file, &|_| None).expect_err(file);
    assert_eq!(format!("{errors}\n"), shown);
}

#[test]
fn the_examples_of_the_manual_are_valid() {
    let manual = include_str!("../../../docs/configuration.md");
    let blocks: Vec<_> = manual.split("\n\n```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 9, "{}", blocks.len());
    for block in blocks.into_iter().filter(|block| !block.contains("adress")) {
        let Err(errors) = parse("x", block, &env) else { continue };
        // Sections are shown one by one: a pool may be in another example.
        let other = |problem: &&Problem| problem.message != "there is no pool `postgres`";
        assert_eq!(errors.problems().iter().find(other), None, "{errors}");
    }
}

/// Pieces of configurations, so that random text gets beyond the lexer.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "[[listener]]\n",
            "[[pool]]\n",
            "[workers]\n",
            "[log]\n",
            "[",
            "]",
            "\n",
            "=",
            "\"",
            "'''",
            "\"\"\"",
            "{",
            "}",
            ",",
            "# ",
            "name",
            "address",
            "protocol",
            "pool",
            "endpoints",
            "weight",
            "count",
            "idle_timeout",
            "mode",
            "listener",
            "text",
            " = \"tcp\"\n",
            " = \"127.0.0.1:80\"\n",
            " = \"${X}\"\n",
            " = [\"127.0.0.1:80\"]\n",
            " = 0o666\n",
            " = \"1h\"\n",
            " = {",
            " = -1\n",
            "${",
            "$${",
            "}",
            "é",
            "\r\n",
            "\t",
            "\u{feff}",
            "\0",
            ".",
            " = 99999999999999999999\n",
            " = 1e999\n",
            " = nan\n",
            " = 1979-05-27\n",
        ])
        .prop_map(str::to_owned),
        "(?s).{0,4}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes_give_a_configuration_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(errors) = parse_bytes("x", &bytes, &|_| None) {
            prop_assert!(!errors.problems().is_empty());
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn random_text_gives_a_configuration_or_errors(text in pieces(), value in "(?s).{0,10}") {
        if let Err(errors) = parse("x", &text, &|_| Some(value.clone())) {
            prop_assert!(errors.problems().is_sorted_by_key(|problem| problem.span.start));
            prop_assert!(errors.to_string().starts_with("error: "));
        }
    }
}
