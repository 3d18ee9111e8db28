//! What is known of the world goes on: counters, overrides, drains.

use std::time::Duration;

use super::{config, serving};
use crate::support::{
    Client, Origin, Setup,
    clock::{now, pause},
    eventually,
    exposition::Exposition,
};

#[test]
fn counters_go_on() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    let mut client = daemon.connect("front");
    for _ in 0..5 {
        daemon.connect("echo").echo(b"counted");
    }
    client.echo(b"twelve bytes");
    eventually("the sessions end", || {
        (daemon.metrics().sum("netd_listener_connections_active", &[]) == 1.0).then_some(())
    });
    let before = daemon.metrics();
    let started = daemon.status()["started_at"].clone();
    daemon.upgrade(&[]);
    let after = daemon.metrics();
    none_went_back(&before, &after);
    let accepted = |page: &Exposition| page.sum("netd_listener_connections_accepted_total", &[]);
    assert_eq!((accepted(&before), accepted(&after)), (6.0, 6.0));
    assert_eq!(after.sum("netd_listener_connections_active", &[]), 1.0, "gauges are not counted twice");
    assert_eq!(daemon.status()["started_at"], started);
    assert_eq!(after.one("netd_upgrades_total", &[("verdict", "upgraded")]), 1.0);
    daemon.upgrade(&[]);
    assert_eq!(daemon.metrics().one("netd_upgrades_total", &[("verdict", "upgraded")]), 2.0);
    client.echo(b"on");
}

/// Every counter and histogram is there still, and none is less than it was.
fn none_went_back(before: &Exposition, after: &Exposition) {
    for sample in &before.samples {
        let family = sample.name.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
        let kind = before.kinds.get(&sample.name).or_else(|| before.kinds.get(family)).map(String::as_str);
        if !matches!(kind, Some("counter" | "histogram")) || sample.name == "process_cpu_seconds_total" {
            continue;
        }
        let labels: Vec<(&str, &str)> = sample.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        let now = after.one(&sample.name, &labels);
        assert!(now >= sample.value, "{} {labels:?} went back: {} -> {now}", sample.name, sample.value);
    }
}

#[test]
fn counts_of_probes_ejections_trials_and_drains_go_on() {
    let (good, bad) = (Origin::echoing(), Origin::resetting_at_once());
    let text = |retries: u32| {
        let pool = format!(
            "retries = {retries}
             [pool.health]\nkind = \"tcp\"\ninterval = \"200ms\"\nfast_interval = \"200ms\"
             [pool.outlier]\nconsecutive = 2\nbase = \"60s\"\n"
        );
        let endpoints = format!("endpoints = [\"{}\", \"{}\"]", good.address, bad.address);
        let one = format!("endpoints = [\"{}\"]", good.address);
        config(&good, "[workers]\ncount = 2\n").replace(&one, &endpoints) + &pool
    };
    let mut daemon = Setup::config(&text(1)).start();
    let front = daemon.address("front");
    let ejections = |page: &Exposition| page.sum("netd_endpoint_ejections_total", &[]);
    eventually("the bad one is ejected", || {
        // Some meet the one that resets, be it while they connect.
        let _ = Client::try_connect(front).and_then(|mut client| client.try_echo(b"?"));
        (ejections(&daemon.metrics()) == 1.0).then_some(())
    });
    daemon.rewrite(&text(2));
    daemon.ask(&["reload"]);
    daemon.ask(&["rollback"]);
    daemon.rewrite(&text(1));
    daemon.ask(&["drain", "listener", "echo"]).said("drained");
    let probes = |page: &Exposition| page.sum("netd_endpoint_probes_total", &[]);
    eventually("they are probed", || (probes(&daemon.metrics()) >= 8.0).then_some(()));
    let mut before = daemon.metrics();
    let figure = |page: &Exposition| {
        let ended = page.one("netd_drains_ended_total", &[("outcome", "drained")]);
        (ejections(page), page.one("netd_config_rollbacks_total", &[]), ended)
    };
    assert_eq!(figure(&before), (1.0, 1.0, 1.0));
    for _ in 0..2 {
        daemon.upgrade(&[]);
        let after = daemon.metrics();
        none_went_back(&before, &after);
        assert_eq!(figure(&after), (1.0, 1.0, 1.0), "counted once");
        before = after;
    }
    let counted = probes(&before);
    eventually("probes go on", || (probes(&daemon.metrics()) > counted).then_some(()));
}

#[test]
fn overrides_go_on_with_who_and_why() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    let address = origin.address.to_string();
    daemon.ask(&["set", "back", &address, "--weight", "7", "--for", "1h", "--who", "anna", "--why", "T-1"]);
    daemon.ask(&["stop", "echo", "--who", "bob"]);
    daemon.ask(&["log-level", "debug"]);
    let before = (daemon.endpoint("back", 0)["override"].clone(), daemon.listener("echo")["override"].clone());
    assert_eq!(before.0["by"]["why"], "T-1");
    daemon.upgrade(&[]);
    let after = (daemon.endpoint("back", 0)["override"].clone(), daemon.listener("echo")["override"].clone());
    assert_eq!(before, after);
    assert_eq!(daemon.status()["log_level"], "debug");
    assert_eq!(daemon.listener("echo")["state"], "stopped");
    daemon.ask(&["start", "echo"]);
    daemon.connect("echo").echo(b"again");
}

#[test]
fn a_drain_goes_on_and_ends_and_who_watches_sees_it() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    let mut client = daemon.connect("front");
    client.echo(b"open");
    let address = origin.address.to_string();
    let mut second = daemon.connect("front");
    second.echo(b"open");
    let watching = daemon
        .netctl_command(&["drain", "endpoint", "back", &address, "--no-deadline"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("netctl");
    eventually("it drains", || (daemon.endpoint("back", 0)["state"] == "draining").then_some(()));
    second.finish();
    drop(second);
    eventually("one has ended", || (daemon.connections().len() == 1).then_some(()));
    for _ in 0..2 {
        daemon.upgrade(&[]);
        assert_eq!(daemon.endpoint("back", 0)["state"], "draining");
    }
    client.echo(b"still open");
    client.finish();
    drop(client);
    daemon.logs("drained: 2 connections finished");
    let seen = watching.wait_with_output().expect("netctl's end");
    let [out, err] = [&seen.stdout, &seen.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(seen.status.success(), "{:?}: {out}{err}", seen.status);
    assert!(out.contains(": 2 connections finished, none cut"), "{out}");
    assert_eq!(err.matches("the drain is watched on").count(), 2, "{err}");
    assert_eq!(daemon.metrics().one("netd_drain_connections_total", &[("how", "finished")]), 2.0);
    daemon.ask(&["undrain", "endpoint", "back", &address]);
    daemon.connect("front").echo(b"up");
}

#[test]
fn the_number_of_workers_follows_the_configuration() {
    let origin = Origin::echoing();
    let text = |count: u32| config(&origin, &format!("[workers]\ncount = {count}\n"));
    let mut daemon = Setup::config(&text(2)).start();
    let mut clients: Vec<_> = (0..12).map(|_| daemon.connect("front")).collect();
    for count in [5, 1, 3] {
        // Ports that the kernel chose must be kept: by name and address they are the same.
        daemon.rewrite(&text(count));
        daemon.upgrade(&[]);
        assert_eq!(daemon.status()["workers"].as_array().map(Vec::len), Some(count as usize));
        clients.iter_mut().for_each(|client| client.echo(b"moved"));
        clients.extend((0..12).map(|_| daemon.connect("front")));
        clients.iter_mut().for_each(|client| client.echo(b"all"));
    }
    let open = daemon.json(&["status"])["workers"].as_array().cloned().unwrap_or_default();
    let open: Vec<u64> = open.iter().filter_map(|worker| worker["active"].as_u64()).collect();
    assert!(open.iter().all(|&each| each > 0), "connections are spread: {open:?}");
}

#[test]
fn a_slow_start_goes_on_where_it_was() {
    let [a, b] = [Origin::echoing(), Origin::echoing()];
    let text = |endpoints: &str| {
        let one = format!("endpoints = [\"{}\"]", a.address);
        let pool = format!("endpoints = [{endpoints}]\nslow_start = \"40s\"\n");
        config(&a, "[workers]\ncount = 2\n").replace(&one, &pool)
    };
    let mut daemon = Setup::config(&text(&format!("\"{}\"", a.address))).start();
    daemon.rewrite(&text(&format!("\"{}\", \"{}\"", a.address, b.address)));
    daemon.ask(&["reload"]);
    let address = b.address.to_string();
    let percent = |page: &Exposition| {
        page.one("netd_endpoint_share_percent", &[("pool", "back"), ("endpoint", address.as_str())])
    };
    let begun = now();
    let before = eventually("it has begun to grow", || {
        let percent = percent(&daemon.metrics());
        (percent >= 10.0).then_some(percent)
    });
    assert!(before < 100.0, "{before}");
    for _ in 0..2 {
        daemon.upgrade(&[]);
    }
    let (after, elapsed) = (percent(&daemon.metrics()), begun.elapsed().as_secs_f64());
    let due = 5.0 + 95.0 * elapsed / 40.0;
    assert!(after >= before && after <= due + 5.0, "{before}% before, {after}% after, {due}% due");
    eventually("it grows on", || (percent(&daemon.metrics()) > after || after == 100.0).then_some(()));
}

#[test]
fn what_is_removed_is_closed_when_it_would_have_been() {
    let [a, b] = [Origin::echoing(), Origin::echoing()];
    let more = "[reload]\nclose_removed_after = \"5s\"\n";
    let mut daemon = Setup::config(&config(&a, more)).start();
    let mut client = daemon.connect("front");
    client.echo(b"1");
    daemon.rewrite(&config(&b, more));
    daemon.ask(&["reload"]);
    let begun = now();
    // Without what the predecessor knows each of them would begin anew.
    for wait in [2000, 2000] {
        pause(Duration::from_millis(wait));
        daemon.upgrade(&[]);
    }
    let closed_at = eventually("it is closed", || (!client.is_open()).then(|| begun.elapsed()));
    assert!((4.5..8.5).contains(&closed_at.as_secs_f64()), "{closed_at:?}");
}
