//! The access log: lines that match what clients did, and that nobody waits
//! for.

mod blocked;

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use crate::support::{Client, Daemon, End, Finished, Origin, Setup, eventually};

const ECHO: &str = "[[listener]]\nname = \"echo\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\n";

/// An access log into the file `access`, with these keys.
fn access(keys: &str) -> String {
    format!("[access_log]\ntarget = \"file:DIR/access\"\n{keys}\n")
}

fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // A line that is being written has no end yet.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(line).collect()
}

/// The file's lines, once there are so many.
#[track_caller]
fn lines(daemon: &Daemon, count: usize) -> Vec<Value> {
    let path = daemon.path("access");
    let lines = eventually(&format!("{count} lines"), || {
        let lines = read(&path);
        (lines.len() >= count).then_some(lines)
    });
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn reason(line: &Value) -> [&str; 3] {
    ["by", "phase", "cause"].map(|field| line[field].as_str().unwrap_or_default())
}

fn one_of(listener: &str, lines: &[Value]) -> Value {
    let mut found = lines.iter().filter(|line| line["listener"] == listener);
    found.next().unwrap_or_else(|| panic!("no line of {listener} in {lines:#?}")).clone()
}

/// A listener and a pool for each origin, and two that echo.
fn relaying(origins: &[(&str, &Origin)]) -> String {
    let mut config = access("");
    for (name, origin) in origins {
        config.push_str(&format!(
            "[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"{name}\"\n\
             [[pool]]\nname = \"{name}\"\nendpoints = [\"{}\"]\nretries = 0\nconnect_timeout = \"200ms\"\n",
            origin.address
        ));
    }
    config.push_str(
        "[[listener]]\nname = \"idle\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\nidle_timeout = \"100ms\"\n",
    );
    config.push_str(
        "[[listener]]\nname = \"unlogged\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\naccess_log = false\n",
    );
    config
}

#[test]
fn lines_tell_what_clients_did() {
    let (echo, saying, resetting) = (Origin::echoing(), Origin::saying("hello\n"), Origin::resetting());
    let (refusing, silent, hanging) = (Origin::refusing(), Origin::not_accepting(), Origin::hanging());
    let origins = [
        ("done", &echo),
        ("said", &saying),
        ("reset", &resetting),
        ("refused", &refusing),
        ("silent", &silent),
        ("killed", &hanging),
        ("gone", &hanging),
    ];
    let daemon = Setup::config(&relaying(&origins)).start();

    drop(daemon.connect("unlogged"));
    let mut sources = BTreeMap::new();
    let mut open = |name: &'static str| {
        let client = daemon.connect(name);
        sources.insert(name, client.local().to_string());
        client
    };
    let mut done = open("done");
    done.echo(&[7; 100_000]);
    done.finish();
    assert_eq!(done.rest(), (Vec::new(), End::Eof));
    assert_eq!(open("said").rest(), (b"hello\n".to_vec(), End::Eof));
    let mut reset = open("reset");
    reset.send(b"x");
    assert_eq!(reset.rest().1, End::Reset);
    let _ = Client::what_comes(daemon.address("refused"));
    let _ = Client::what_comes(daemon.address("silent"));
    assert_eq!(open("idle").rest().1, End::Eof);
    let mut killed = open("killed");
    killed.send(b"abc");
    let mut gone = open("gone");
    gone.send(b"four");
    eventually("both are relayed", || (hanging.accepted() == 2).then_some(()));
    eventually("their bytes have come", || {
        let moved = daemon.metrics().sum("netd_endpoint_bytes_total", &[("direction", "to_upstream")]);
        (moved >= 100_008.0).then_some(())
    });
    let id = daemon.connections().iter().find(|each| each["listener"] == "killed").expect("it is open")["id"].clone();
    gone.reset();
    daemon.ask(&["close", id.as_str().expect("an id"), "--why", "test"]);
    assert_eq!(killed.rest().1, End::Reset);
    daemon.becomes_idle();

    let lines = lines(&daemon, 8);
    let ends = [
        ("done", ["downstream", "open", "end"], [100_000, 100_000, 100_000, 100_000]),
        ("said", ["upstream", "open", "end"], [0, 6, 0, 6]),
        ("reset", ["upstream", "open", "reset"], [1, 0, 1, 0]),
        ("refused", ["upstream", "dial", "refused"], [0, 0, 0, 0]),
        ("silent", ["upstream", "dial", "timeout"], [0, 0, 0, 0]),
        ("killed", ["operator", "open", "kill"], [3, 0, 3, 0]),
        ("gone", ["downstream", "open", "reset"], [4, 0, 4, 0]),
        ("idle", ["netd", "open", "timeout"], [0, 0, 0, 0]),
    ];
    for (name, why, bytes) in ends {
        let line = one_of(name, &lines);
        assert_eq!(reason(&line), why, "{line}");
        let fields = ["bytes_from_downstream", "bytes_to_downstream", "bytes_to_upstream", "bytes_from_upstream"];
        assert_eq!(fields.map(|field| line[field].as_u64().expect("a number")), bytes, "{line}");
        if let Some(source) = sources.get(name) {
            assert_eq!(line["source"], source.as_str());
        }
        let origin = origins.iter().find(|(each, _)| *each == name).map(|(_, origin)| origin.address.to_string());
        let (pool, endpoint) = (origin.as_ref().map(|_| name), origin.as_deref());
        assert_eq!((line["pool"].as_str(), line["endpoint"].as_str()), (pool, endpoint), "{line}");
        assert_eq!(line["connect_ms"].is_number(), origin.is_some() && why[1] == "open", "{line}");
        assert!(line["duration_ms"].as_f64().expect("a number") >= line["connect_ms"].as_f64().unwrap_or(0.0));
    }
    assert_eq!(one_of("killed", &lines)["id"], id);
    let silent = one_of("silent", &lines)["duration_ms"].as_f64().expect("a number");
    assert!(silent >= 199.0, "the connect timeout shows: {silent}");
    let page = daemon.metrics();
    the_book_s_commands_work(&daemon.path("access"));
    assert_eq!(page.one("netd_access_log_lines_total", &[]), 8.0);
    assert_eq!(page.sum("netd_access_log_dropped_total", &[]), 0.0);
}

/// Those of docs/operating.md, on real lines.
fn the_book_s_commands_work(file: &Path) {
    let book = include_str!("../../docs/operating.md");
    let (_, chapter) = book.split_once("\n## The access log\n").expect("the chapter");
    let (_, commands) = chapter.split_once("```sh\n").expect("its commands");
    let commands = commands.split_once("```").expect("their end").0;
    assert_eq!(commands.matches("access.log").count(), 3);
    if std::process::Command::new("jq").arg("--version").output().is_err() {
        eprintln!("skipped: jq is not installed");
        return;
    }
    let commands = commands.replace("access.log", &file.display().to_string());
    let ran = Finished::run(std::process::Command::new("sh").args(["-e", "-c", &commands]));
    let ran = ran.ended_with(0).said("upstream dial refused").said("\"listener\":\"done\",\"bytes\":100000");
    assert!(!ran.story().contains("jq: error"), "{}", ran.story());
}

#[test]
fn a_sample_is_within_bounds_over_two_workers() {
    const CLIENTS: usize = 3000;
    let daemon = Setup::config(&format!("[workers]\ncount = 2\n{}{ECHO}", access("sample = 0.2"))).start();
    let address = daemon.address("echo");
    for _ in 0..CLIENTS {
        // It ends first, so that no port waits for the end of time.
        Client::connect(address).reset();
    }
    eventually("all have ended", || {
        let closed = daemon.metrics().sum("netd_listener_connections_closed_total", &[]);
        (closed as usize == CLIENTS).then_some(())
    });
    // Six standard deviations (21.9 each) around the mean.
    let few = 600 - 132;
    let found = eventually("lines", || {
        let lines = read(&daemon.path("access"));
        let written = daemon.metrics().one("netd_access_log_lines_total", &[]) as usize;
        (lines.len() >= few && lines.len() == written).then_some(lines)
    });
    assert!(found.len() <= 600 + 132, "{}", found.len());
    for worker in 0..2 {
        assert!(found.iter().any(|line| line["worker"] == worker), "worker {worker} tells nothing");
    }
}

#[test]
fn only_failures_leave_lines_if_so_configured() {
    let daemon = Setup::config(&format!("{}{ECHO}", access("only = \"failures\""))).start();
    for _ in 0..5 {
        let mut client = daemon.connect("echo");
        client.echo(b"fine");
        client.finish();
        client.rest();
    }
    let mut cut = daemon.connect("echo");
    cut.echo(b"cut");
    cut.reset();
    assert_eq!(reason(&lines(&daemon, 1)[0]), ["downstream", "open", "reset"]);
}

#[test]
fn a_rotation_loses_no_line() {
    const CLIENTS: usize = 2000;
    let daemon = Setup::config(&format!("{}{ECHO}", access(""))).start();
    let (address, path) = (daemon.address("echo"), daemon.path("access"));
    let clients = std::thread::spawn(move || (0..CLIENTS).for_each(|_| Client::connect(address).reset()));
    let mut rotated = Vec::new();
    while !clients.is_finished() {
        let old = daemon.path(&format!("access.{}", rotated.len()));
        fs::rename(&path, &old).expect("a file");
        rotated.push(old);
        daemon.signal(nix::sys::signal::Signal::SIGUSR1);
        eventually("there is a new file", || path.exists().then_some(()));
    }
    clients.join().expect("clients that are served");
    assert!(!rotated.is_empty());
    rotated.push(path);
    let ids = eventually("all lines", || {
        let ids: Vec<String> = rotated.iter().flat_map(|path| read(path)).map(|line| line["id"].to_string()).collect();
        (ids.len() >= CLIENTS).then_some(ids)
    });
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!((ids.len(), unique.len()), (CLIENTS, CLIENTS));
    assert_eq!(daemon.metrics().sum("netd_access_log_dropped_total", &[]), 0.0);
}

#[test]
fn a_reload_turns_it_on_and_off_or_changes_nothing() {
    let daemon = Setup::config(ECHO).start();
    let visit = || {
        let mut client = daemon.connect("echo");
        client.echo(b"hi");
        client.finish();
        assert_eq!(client.rest().1, End::Eof);
        daemon.becomes_idle();
    };
    visit();
    daemon.rewrite(&format!("{}{ECHO}", access("")));
    assert!(daemon.ask(&["reload"]).story().contains("target: off -> file:"));
    visit();
    assert_eq!(lines(&daemon, 1)[0]["bytes_to_downstream"], 2);
    daemon.rewrite(&format!("[access_log]\ntarget = \"file:/nonexistent/access\"\n{ECHO}"));
    let refused = daemon.netctl(&["reload"]);
    assert!(refused.code() != Some(0) && refused.story().contains("install -d"), "{}", refused.story());
    visit();
    lines(&daemon, 2);
    daemon.rewrite(ECHO);
    daemon.ask(&["reload"]);
    visit();
    assert_eq!(daemon.metrics().one("netd_access_log_lines_total", &[]), 2.0);
    lines(&daemon, 2);
}

#[test]
fn what_ends_with_the_daemon_has_its_line() {
    let mut daemon = Setup::config(&format!("[drain]\ntimeout = \"0s\"\n{}{ECHO}", access(""))).start();
    let mut clients: Vec<Client> = (0..20).map(|_| daemon.connect("echo")).collect();
    clients.iter_mut().for_each(|client| client.echo(b"x"));
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.wait();
    let lines = read(&daemon.path("access"));
    assert_eq!(lines.len(), 20);
    for line in &lines {
        let [by, _, cause] = reason(line);
        assert!(by == "operator" && ["drain", "shutdown"].contains(&cause), "{line}");
    }
}

#[test]
fn who_named_the_client_is_told() {
    let proxied = "[[listener]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\n\
                   proxy_protocol = \"any\"\nproxy_trusted = [\"127.0.0.0/8\"]\n";
    let daemon = Setup::config(&format!("{}{proxied}{ECHO}", access(""))).start();
    let mut proxies = Vec::new();
    for header in ["PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n", "PROXY UNKNOWN\r\n"] {
        let mut client = daemon.connect("front");
        client.send(header.as_bytes());
        client.echo(b"hello");
        proxies.push(client.local().to_string());
        drop(client);
        daemon.becomes_idle();
    }
    daemon.connect("echo").echo(b"hello");
    let lines = lines(&daemon, 3);
    let fields = |line: &Value| ["source", "proxy", "destination"].map(|field| line[field].clone());
    let named = lines.iter().find(|line| line["source"] == "192.0.2.7:4711").expect("the client that was named");
    assert_eq!(fields(named), ["192.0.2.7:4711", proxies[0].as_str(), "198.51.100.2:443"].map(Value::from));
    let unnamed = lines.iter().find(|line| line["source"] == proxies[1].as_str()).expect("the proxy itself");
    assert_eq!(fields(unnamed)[1..], [Value::Null, Value::Null]);
    assert_eq!(fields(&one_of("echo", &lines))[1..], [Value::Null, Value::Null]);
}
