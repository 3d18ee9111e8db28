//! What Prometheus and the probes see.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use crate::support::{Client, Daemon, End, Origin, Setup};

const SECRET: &str = "s3cr3t-passphrase";

fn daemon(origin: &Origin) -> Daemon {
    Setup::config(&format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[listener]]
        name = "hello"
        address = "127.0.0.1:0"
        protocol = "respond"
        text = "${{NETD_TEST_SECRET}}"
        [[pool]]
        name = "back"
        endpoints = ["{}"]
        "#,
        origin.address
    ))
    .env("NETD_TEST_SECRET", SECRET)
    .start()
}

#[test]
fn counters_count_what_was_done() {
    let origin = Origin::echoing();
    let daemon = daemon(&origin);
    let (front, hello) = (daemon.address("front"), daemon.address("hello"));
    let mut open = Client::connect(front);
    open.echo(b"0123456789");
    for _ in 0..3 {
        let mut client = Client::connect(front);
        client.echo(b"12345");
        client.finish();
        assert_eq!(client.rest(), (Vec::new(), End::Eof));
        assert_eq!(Client::connect(hello).rest().0, SECRET.as_bytes());
    }
    crate::support::eventually("all but one have ended", || {
        (daemon.metrics().sum("netd_listener_connections_active", &[]) == 1.0).then_some(())
    });
    let metrics = daemon.metrics();
    let endpoint = origin.address.to_string();
    for (name, labels, expected) in [
        ("netd_listener_connections_accepted_total", vec![("listener", "front"), ("protocol", "tcp")], 4.0),
        ("netd_listener_connections_accepted_total", vec![("listener", "hello"), ("protocol", "respond")], 3.0),
        ("netd_listener_connections_active", vec![("listener", "front")], 1.0),
        ("netd_listener_bytes_total", vec![("listener", "front"), ("direction", "from_downstream")], 25.0),
        ("netd_listener_bytes_total", vec![("listener", "front"), ("direction", "to_downstream")], 25.0),
        ("netd_listener_bytes_total", vec![("listener", "hello"), ("direction", "to_downstream")], 51.0),
        ("netd_listener_connection_duration_seconds_count", vec![("listener", "front")], 3.0),
        ("netd_endpoint_connections_total", vec![("endpoint", &endpoint)], 4.0),
        ("netd_endpoint_connections_active", vec![("endpoint", &endpoint)], 1.0),
        ("netd_endpoint_bytes_total", vec![("endpoint", &endpoint), ("direction", "to_upstream")], 25.0),
        ("netd_endpoint_connect_time_seconds_count", vec![("endpoint", &endpoint)], 4.0),
        ("netd_config_generation", vec![], 1.0),
        ("netd_state", vec![("state", "serving")], 1.0),
    ] {
        assert_eq!(metrics.one(name, &labels), expected, "{name} {labels:?}");
    }
    assert_eq!(metrics.sum("netd_listener_connections_closed_total", &[("listener", "front"), ("cause", "end")]), 3.0);
    assert_eq!(metrics.sum("netd_worker_connections_accepted_total", &[]), 7.0);
    assert!(metrics.one("process_open_fds", &[]) > 5.0);
    assert!(metrics.sum("netd_worker_turns_total", &[]) > 0.0);
}

#[test]
fn the_page_is_well_formed_and_bounded() {
    let origin = Origin::echoing();
    let daemon = daemon(&origin);
    let hello = daemon.address("hello");
    let before = daemon.metrics();
    let mut seen = BTreeSet::new();
    for sample in &before.samples {
        assert!(seen.insert(format!("{} {:?}", sample.name, sample.labels)), "{sample:?} comes twice");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.name.strip_suffix(end));
        let known =
            before.kinds.contains_key(&sample.name) || family.is_some_and(|name| before.kinds.contains_key(name));
        assert!(known, "{} has no TYPE", sample.name);
    }
    for name in before.kinds.keys() {
        assert!(before.text.contains(&format!("# HELP {name} ")), "{name} has no HELP");
    }
    for _ in 0..200 {
        Client::connect(hello).rest();
    }
    let after = daemon.metrics();
    assert_eq!(after.samples.len(), before.samples.len(), "clients have added samples");
    assert!(!after.text.contains(SECRET), "a secret is published");
    assert!(!daemon.log().contains(SECRET), "a secret is logged");
}

#[test]
fn openmetrics_when_asked_for() {
    let origin = Origin::echoing();
    let daemon = daemon(&origin);
    let text = daemon.get("/metrics");
    assert!(text.head.contains("content-type: text/plain; version=0.0.4"), "{}", text.head);
    let accept = "application/openmetrics-text; version=1.0.0; charset=utf-8, text/plain;q=0.5";
    let open = daemon.get_as("/metrics", accept);
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
    assert!(open.body.contains("# TYPE netd_listener_bytes counter\n"), "{}", open.body);
}

#[test]
fn probes_and_other_paths() {
    let origin = Origin::echoing();
    let daemon = daemon(&origin);
    let statuses = ["/healthz", "/readyz", "/", "/nothing"].map(|path| daemon.get(path).status);
    assert_eq!(statuses, [200, 200, 200, 404]);
    daemon.ask(&["drain"]);
    assert_eq!(daemon.get("/readyz").status, 503);
    assert_eq!(daemon.get("/healthz").status, 200);
    daemon.ask(&["undrain"]);
    assert_eq!(daemon.get("/readyz").status, 200);
}

#[test]
fn promtool_has_nothing_to_say() {
    let origin = Origin::echoing();
    let daemon = daemon(&origin);
    daemon.connect("front").echo(b"x");
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = command.spawn() else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    let page = daemon.get("/metrics").body;
    promtool.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("a reader");
    let output = promtool.wait_with_output().expect("promtool");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
