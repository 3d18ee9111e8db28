//! Rules that join several values, and limits.

use super::{POOL, assert_listener_problem, assert_problem, bad, good};
use crate::config::MAX_FILE_SIZE;

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
fn a_listener_does_not_relay_to_itself_by_another_name() {
    let text = |listener: &str, more: &str, endpoint: &str| {
        format!(
            "[[pool]]\nname = \"p\"\nendpoints = [\"{endpoint}\"]\n\
             [[listener]]\nname = \"a\"\nprotocol = \"tcp\"\npool = \"p\"\naddress = \"{listener}\"\n{more}"
        )
    };
    let dual = "v6only = false";
    for (listener, endpoint) in [
        ("0.0.0.0:8180", "127.0.0.1:8180"),
        ("0.0.0.0:8180", "127.1.2.3:8180"),
        ("0.0.0.0:8180", "0.0.0.0:8180"),
        ("0.0.0.0:8180", "[::ffff:127.0.0.1]:8180"),
        ("[::]:8500", "[::1]:8500"),
        ("127.0.0.1:8200", "0.0.0.0:8200"),
        ("127.0.0.1:8200", "[::ffff:127.0.0.1]:8200"),
        ("[::1]:8200", "[::]:8200"),
        ("10.0.0.1:8200", "[::ffff:10.0.0.1]:8200"),
    ] {
        let found = bad(&text(listener, "", endpoint)).to_string();
        assert!(found.contains("would relay to itself"), "{listener} {endpoint}: {found}");
    }
    for endpoint in ["127.0.0.1:8500", "[::1]:8500", "0.0.0.0:8500"] {
        let found = bad(&text("[::]:8500", dual, endpoint)).to_string();
        assert!(found.contains("leads to `[::]:8500` of listener `a`"), "{endpoint}: {found}");
    }
    for (listener, endpoint) in [
        ("0.0.0.0:8180", "127.0.0.1:8181"),
        ("0.0.0.0:8180", "10.0.0.1:8180"),
        ("0.0.0.0:8180", "[::1]:8180"),
        ("[::]:8500", "127.0.0.1:8500"),
        ("127.0.0.1:8200", "127.0.0.2:8200"),
        ("127.0.0.2:8200", "0.0.0.0:8200"),
        ("[::1]:8200", "127.0.0.1:8200"),
        ("10.0.0.1:8200", "127.0.0.1:8200"),
    ] {
        good(&text(listener, "", endpoint));
    }
    good(&text("[::]:8500", dual, "10.0.0.1:8500"));
}

#[test]
fn pools_of_a_listener() {
    let text = |lines: &str| {
        format!("{POOL}[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"tcp\"\n{lines}\n")
    };
    let shares = |lines: &str| crate::config::format_shares(good(&text(lines)).listeners[0].protocol.pools());
    assert_eq!(shares("pools = [\"p\"]"), "p=1");
    assert_eq!(shares("pools = [{ name = \"p\", weight = 5 }]"), "p=5");
    for (lines, column, message, help) in [
        ("pools = [\"p\", \"q\"]", 15, "there is no pool `q`", "did you mean `p`?"),
        (
            "pools = [\"p\", \"p\"]",
            15,
            "pool `p` is there already",
            "remove one of them, and give the other its weight",
        ),
        (
            "pools = [{ name = \"p\", weight = 0 }]",
            9,
            "no pool has a share: all weights are 0",
            "give at least one a weight of 1 to 1000",
        ),
        (
            "pool = \"p\"\npools = [\"p\"]",
            1,
            "both `pool` and `pools` are there",
            "keep `pool` for one pool, or `pools` for several",
        ),
        (
            "pool = \"p\"\nhash = \"sources\"",
            8,
            "`hash`: unknown value `sources`",
            "did you mean `source`? use `source`, `source-port` or `listener`",
        ),
    ] {
        let line = 7 + lines.lines().count();
        assert_problem(&text(lines), line, column, message, help);
    }
    let several = "pools = [1, { weight = 2 }, \"p\", \"p\", { name = \"p\", weight = 5000 }]";
    assert_eq!(bad(&text(several)).problems().len(), 5, "{}", bad(&text(several)));
    for key in ["pools = [\"p\"]", "hash = \"source\""] {
        let name = key.split(' ').next().unwrap();
        let help = if name == "pools" {
            "remove this line, or relay with `protocol = \"tcp\"`"
        } else {
            "remove this line; only `protocol = \"tcp\"` relays"
        };
        assert_listener_problem(key, 1, &format!("`{name}` belongs to protocol `tcp` only"), help);
    }
}

#[test]
fn how_a_pool_balances() {
    assert_problem(
        &format!("{POOL}policy = \"round\"\n"),
        4,
        10,
        "`policy`: unknown value `round`",
        "use `round-robin`, `least-connections`, `power-of-two-choices`, `random`, `maglev` or `first-available`",
    );
    for policy in ["maglev", "first-available"] {
        let message = format!("`slow_start` does not go with policy `{policy}`");
        let text = format!("{POOL}policy = \"{policy}\"\nslow_start = \"5s\"\n");
        assert_problem(&text, 5, 1, &message, "remove this line, or use another policy");
        good(&text.replace("5s", "off"));
    }
    let help = "write a number from 1 to 1000000";
    assert_problem(
        &format!("{POOL}endpoint_max_connections = 0\n"),
        4,
        28,
        "`endpoint_max_connections`: `0` is out of range",
        help,
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
    assert_eq!(good(&pools(2048)).pools.len(), 2048);
    assert_problem(&pools(2050), 6145, 1, "too many pools: at most 2048", "serve the others with another netd");
    let endpoints = |n: usize| {
        let lines: String = (0..n).map(|i| format!("\"127.0.0.1:{}\",\n", 10_000 + i)).collect();
        format!("[[pool]]\nname = \"p\"\nendpoints = [\n{lines}]\n")
    };
    assert_eq!(good(&endpoints(10_000)).pools[0].endpoints.len(), 10_000);
    assert_problem(&endpoints(10_010), 10_004, 1, "too many endpoints in one pool: at most 10000", "split the pool");
    let respond = |n: usize| {
        format!(
            "[[listener]]\nname = \"r\"\naddress = \"127.0.0.1:1\"\nprotocol = \"respond\"\ntext = \"{}\"\n",
            "x".repeat(n)
        )
    };
    good(&respond(65_536));
    assert_problem(&respond(65_537), 5, 8, "`text`: the text has 65537 bytes", "write at most 64 KiB");
    let errors = bad(&" ".repeat(MAX_FILE_SIZE + 1));
    assert_eq!(errors.problems()[0].message, "the file is too large");
}

#[test]
fn proxy_headers_come_from_somebody_who_is_named() {
    assert_listener_problem(
        "proxy_timeout = \"1s\"",
        1,
        "`proxy_timeout` means nothing without `proxy_protocol`",
        "add `proxy_protocol = \"any\"`, or remove this line",
    );
    let listener =
        |lines: &str| format!("[[listener]]\nname = \"a\"\nprotocol = \"echo\"\naddress = \"127.0.0.1:1\"\n{lines}\n");
    let told = |lines: &str| bad(&listener(lines)).to_string();
    assert!(told("proxy_protocol = \"v2\"").contains("does not say from whom"));
    assert!(told("proxy_protocol = \"v2\"\nproxy_trusted = []").contains("has 0 networks"));
    let bits = told("proxy_protocol = \"v2\"\nproxy_trusted = [\"10.0.0.1/8\"]");
    assert!(bits.contains("the network is `10.0.0.0/8`"), "{bits}");
    assert!(told("proxy_protocol = \"v3\"").contains("use `off`, `v1`, `v2` or `any`"));
    let unix = "[[listener]]\nname = \"a\"\nprotocol = \"echo\"\naddress = \"unix:/run/a\"\nproxy_protocol = \"v1\"\n";
    good(unix);
    assert!(bad(&format!("{unix}proxy_trusted = [\"::/0\"]\n")).to_string().contains("belongs to IP addresses only"));
}

#[test]
fn what_a_pool_says_and_where_it_comes_from() {
    let told = |lines: &str| bad(&format!("{POOL}{lines}\n")).to_string();
    assert!(told("send_proxy = \"v1\"\nsend_proxy_tlvs = [\"alpn\"]").contains("belongs to version 2 only"));
    assert!(told("send_proxy = \"any\"").contains("use `off`, `v1` or `v2`"));
    let twice = "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"alpn\", \"alpn\"]";
    assert!(told(twice).contains("`alpn` stands here twice"));
    assert!(told("source = \"eth0\"").contains("write `auto`, `client`, or an address"));
    assert!(told("source = \"0.0.0.0\"").contains("is nothing to connect from"));
    let mixed = |source: &str| {
        let endpoints = "[\"unix:/run/a\", \"[::1]:5\", \"127.0.0.1:24001\"]";
        format!("[[pool]]\nname = \"p\"\nendpoints = {endpoints}\nsource = \"{source}\"\n")
    };
    for (source, message, others) in [
        ("127.0.0.1", "IPv4 address 127.0.0.1 cannot be used to connect to endpoint [::1]:5", "IPv6"),
        ("::1", "IPv6 address ::1 cannot be used to connect to endpoint 127.0.0.1:24001", "IPv4"),
    ] {
        let help = format!("give {others} endpoints a pool of their own, or write `source = \"auto\"`");
        assert_problem(&mixed(source), 4, 10, message, &help);
    }
    good(&mixed("auto"));
    good(&mixed("client"));
}

#[test]
fn what_clients_are_known_by_is_asked_for_by_some_pool() {
    let listener = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"tcp\"\npool = \"p\"\n";
    let text = |hash: &str, policy: &str| format!("{listener}hash = \"{hash}\"\n{POOL}policy = \"{policy}\"\n");
    let message = "`hash` means nothing: no pool of this listener has policy `maglev`";
    let help = "remove this line, or write `policy = \"maglev\"` in a pool";
    assert_problem(&text("listener", "round-robin"), 6, 8, message, help);
    good(&text("listener", "maglev"));
    good(&text("source", "round-robin"));
}

#[test]
fn what_is_said_first_is_not_held_back() {
    let text = |protocol: &str| {
        let listener = format!("[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"{protocol}\"\n");
        format!("{listener}[listener.tcp]\ndefer_accept = \"1s\"\n")
    };
    good(&text("echo"));
    assert!(bad(&text("respond")).to_string().contains("`tcp.defer_accept` holds back the text"));
}

#[test]
fn options_of_tcp_sockets() {
    let pool = |lines: &str| bad(&format!("{POOL}[pool.tcp]\n{lines}\n")).to_string();
    assert!(pool("defer_accept = \"1s\"").contains("`defer_accept` belongs to listeners only"));
    assert!(pool("keepalive_idle = \"1500ms\"").contains("is no number of whole seconds"));
    assert!(pool("keepalive = false\nkeepalive_count = 3").contains("`keepalive = false` with times for it"));
    assert!(pool("dscp = 64").contains("write a number from 0 to 63"));
    assert!(pool("interface = \"a/b\"").contains("is no name"));
    assert!(pool("mtu = 3").contains("unknown key `mtu` in [pool.tcp] of pool `p`"));
    let unix = "[[listener]]\nname = \"a\"\nprotocol = \"echo\"\naddress = \"unix:/run/a\"\n[listener.tcp]\nmark = 1\n";
    assert!(bad(unix).to_string().contains("`tcp` belongs to IP addresses only"));
}
