use super::*;
use crate::config::{AdminSocket, LogTarget, parse};

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn serving(listen: &[&str], upstream: &[&str], protocol: Option<&str>) -> Flags {
    Flags {
        listen: listen.iter().map(|text| address(text)).collect(),
        upstream: upstream.iter().map(|text| address(text)).collect(),
        protocol: protocol.map(str::to_owned),
        ..Flags::default()
    }
}

fn file() -> Config {
    let text = "[log]\nlevel = \"warn\"\n[admin]\ntcp = \"127.0.0.1:7000\"\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:7001\"\nprotocol = \"echo\"\n";
    parse("x", text, &|_| None).unwrap()
}

#[test]
fn nothing_is_the_embedded_default() {
    assert_eq!(with_flags(None, &Flags::default()), Ok(Config::embedded_default()));
    let flags = Flags { workers: Some("2".to_owned()), ..Flags::default() };
    let config = with_flags(None, &flags).unwrap();
    assert_eq!((config.workers.count, config.listeners.len()), (Some(2), 3));
}

#[test]
fn no_flags_leave_a_file_as_it_is() {
    assert_eq!(with_flags(Some(file()), &Flags::default()), Ok(file()));
}

#[test]
fn a_relay_on_one_line() {
    let flags = serving(&["127.0.0.1:8080", "[::1]:8080"], &["127.0.0.1:9000", "127.0.0.1:9001"], None);
    let config = with_flags(None, &flags).unwrap();
    let listeners: Vec<_> = config.listeners.iter().map(|l| (l.name.as_str(), &l.address, &l.protocol)).collect();
    let protocol = Protocol::tcp("upstream");
    assert_eq!(listeners, [("listen-1", &flags.listen[0], &protocol), ("listen-2", &flags.listen[1], &protocol)]);
    assert_eq!(config.pools.len(), 1);
    assert!(config.pool("upstream").unwrap().endpoints.iter().map(|e| &e.address).eq(&flags.upstream));
    assert_eq!(parse("x", &config.to_toml(), &|_| None), Ok(config));
}

#[test]
fn listen_replaces_what_a_file_serves_and_nothing_else() {
    let config = with_flags(Some(file()), &serving(&["127.0.0.1:8080"], &[], Some("respond"))).unwrap();
    assert_eq!((config.listeners.len(), config.pools.len()), (1, 0));
    assert_eq!(config.listeners[0].protocol, respond());
    assert_eq!((config.log, config.admin), (file().log, file().admin));
}

#[test]
fn single_values() {
    let set = |text: &str| Some(text.to_owned());
    let flags = Flags {
        workers: set("auto"),
        admin: set("unix:/tmp/admin.sock"),
        metrics: set("off"),
        pid_file: Some(PathBuf::from("/tmp/pid")),
        user: set("netd"),
        group: set("12"),
        log: set("file:/tmp/log"),
        log_level: set("trace"),
        log_format: set("json"),
        ..Flags::default()
    };
    let config = with_flags(Some(file()), &flags).unwrap();
    assert_eq!(config.admin.unix, AdminSocket::Path(PathBuf::from("/tmp/admin.sock")));
    assert_eq!((config.metrics.listen, config.process.pid_file), (None, Some(PathBuf::from("/tmp/pid"))));
    assert_eq!((config.process.user.as_deref(), config.process.group.as_deref()), (Some("netd"), Some("12")));
    assert_eq!(config.log.target, LogTarget::File(PathBuf::from("/tmp/log")));
    assert_eq!((config.log.level.as_str(), config.listeners), ("trace", file().listeners));
    let off = Flags { admin: set("off"), ..Flags::default() };
    assert_eq!(with_flags(None, &off).unwrap().admin.unix, AdminSocket::Off);
}

#[test]
fn flags_that_do_not_go_together() {
    for (flags, expected) in [
        (
            serving(&[], &["127.0.0.1:1"], None),
            "--upstream 127.0.0.1:1 needs --listen: say where to accept, as in `--listen 127.0.0.1:8080`",
        ),
        (
            serving(&[], &[], Some("echo")),
            "--protocol echo needs --listen: say where to accept, as in `--listen 127.0.0.1:8080`",
        ),
        (
            serving(&["127.0.0.1:1"], &[], None),
            "--listen needs something to serve: add `--upstream ADDRESS` to relay there, or `--protocol echo`, `discard` or `respond`",
        ),
        (
            serving(&["127.0.0.1:1"], &[], Some("tcp")),
            "--protocol tcp needs --upstream: say where to relay, as in `--upstream 127.0.0.1:9000`",
        ),
        (
            serving(&["127.0.0.1:1"], &["127.0.0.1:2"], Some("echo")),
            "--upstream 127.0.0.1:2 does not go with --protocol echo, which relays nothing; leave one out",
        ),
        (
            serving(&["127.0.0.1:1"], &[], Some("ehco")),
            "--protocol ehco: unknown value `ehco`; did you mean `echo`? use `tcp`, `echo`, `discard` or `respond`",
        ),
        (
            serving(&["127.0.0.1:1"], &["127.0.0.1:0"], None),
            "--upstream 127.0.0.1:0: endpoint `127.0.0.1:0` has port 0; write the port that the server listens on, 1 to 65535",
        ),
        (
            serving(&["127.0.0.1:1"], &["127.0.0.1:1"], None),
            "--upstream 127.0.0.1:1: endpoint `127.0.0.1:1` is the address of listener `listen-1`, which would relay to itself (--listen 127.0.0.1:1); write the address of the server behind it",
        ),
        (
            serving(&["0.0.0.0:1"], &["127.0.0.1:1"], None),
            "--upstream 127.0.0.1:1: endpoint `127.0.0.1:1` leads to `0.0.0.0:1` of listener `listen-1`, which would relay to itself (--listen 0.0.0.0:1); write the address of the server behind it",
        ),
        (
            serving(&["127.0.0.1:1", "127.0.0.1:1"], &[], Some("echo")),
            "--listen 127.0.0.1:1: `127.0.0.1:1` is taken by listener `listen-1` already; use another port or address",
        ),
        (
            serving(&["127.0.0.1:9464"], &[], Some("echo")),
            "--listen 127.0.0.1:9464: `127.0.0.1:9464` is taken by metrics.listen already; use another port or address",
        ),
    ] {
        assert_eq!(with_flags(None, &flags).expect_err(expected), expected);
    }
}

#[test]
fn a_flag_is_checked_against_the_file() {
    let flags = Flags { metrics: Some("127.0.0.1:7001".to_owned()), ..Flags::default() };
    let expected = "--metrics 127.0.0.1:7001: listener `a`: `127.0.0.1:7001` is taken by metrics.listen already; use another port or address";
    assert_eq!(with_flags(Some(file()), &flags).unwrap_err(), expected);
    let flags = Flags { metrics: Some("127.0.0.1:7000".to_owned()), ..Flags::default() };
    let expected = "--metrics 127.0.0.1:7000: admin.tcp: `127.0.0.1:7000` is taken by metrics.listen already; use another port or address";
    assert_eq!(with_flags(Some(file()), &flags).unwrap_err(), expected);
}

#[test]
fn every_wrong_flag_is_named() {
    let set = |text: &str| Some(text.to_owned());
    let flags = Flags {
        workers: set("0"),
        admin: set("tcp:1"),
        metrics: set("9464"),
        pid_file: Some(PathBuf::from("netd.pid")),
        user: set(""),
        log: set("stdout"),
        log_level: set("loud"),
        log_format: set("xml"),
        ..serving(&[], &[], Some("echo"))
    };
    let message = with_flags(None, &flags).unwrap_err();
    let named: Vec<_> = message.lines().map(|line| line.split([' ', ':']).next().unwrap()).collect();
    assert_eq!(
        named,
        [
            "--protocol",
            "--workers",
            "--admin",
            "--metrics",
            "--pid-file",
            "--user",
            "--log",
            "--log-level",
            "--log-format"
        ],
        "{message}"
    );
    assert!(message.contains("--workers 0: `0` is no number of workers; write a number from 1 to 256"), "{message}");
}
