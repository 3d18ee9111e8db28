//! Connections, and what stands above the file.

use std::collections::BTreeSet;

use super::{config, daemon};
use crate::support::{Client, End, Origin, Setup, eventually, ports};

#[test]
fn connections_are_listed_filtered_and_paged() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let (front, echo) = (daemon.address("front"), daemon.address("echo"));
    let mut clients: Vec<Client> = (0..20).map(|n| Client::connect(if n < 12 { front } else { echo })).collect();
    clients.iter_mut().for_each(|client| client.echo(b"here"));

    let all = daemon.connections();
    assert_eq!(all.len(), 20);
    let sources: BTreeSet<String> = clients.iter().map(|client| client.local().to_string()).collect();
    assert_eq!(
        all.iter().map(|each| each["source"].as_str().expect("an address").to_owned()).collect::<BTreeSet<_>>(),
        sources
    );
    for each in &all {
        let relayed = each["listener"] == "front";
        assert_eq!(each["pool"] == "back", relayed, "{each}");
        assert_eq!((&each["state"], &each["bytes_from_downstream"]), (&"open".into(), &4.into()), "{each}");
    }

    let count = |filter: &[&str]| daemon.ask(&[&["connections", "-o", "json"], filter].concat()).json_lines().len();
    assert_eq!(count(&["--listener", "front"]), 12);
    assert_eq!(count(&["--pool", "back"]), 12);
    let to_a = count(&["--endpoint", &a.address.to_string()]);
    assert_eq!((to_a, to_a + count(&["--endpoint", &b.address.to_string()])), (a.accepted(), 12));
    assert_eq!(count(&["--source", "127.0.0.0/8"]), 20);
    assert_eq!(count(&["--source", "10.0.0.0/8"]), 0);
    assert_eq!(count(&["--min-age", "1h"]), 0);

    let mut seen = BTreeSet::new();
    let mut token = String::new();
    loop {
        let page =
            daemon.ask(&["connections", "-o", "json", "--limit", "7", "--page-size", "3", "--page-token", &token]);
        let lines = page.json_lines();
        token.clear();
        for line in &lines {
            match line["next_page_token"].as_str() {
                Some(next) => next.clone_into(&mut token),
                None => assert!(seen.insert(line["id"].to_string()), "{line} comes twice"),
            }
        }
        if token.is_empty() {
            break;
        }
        assert_eq!(lines.len(), 8, "7 connections and the token");
    }
    assert_eq!(seen.len(), 20);
    daemon.ask(&["connections"]).said("front");
}

#[test]
fn a_pool_that_nobody_answers_for_is_failing() {
    let [dead, more] = [ports::free(), ports::free()];
    let daemon =
        Setup::flags(&["--listen", "127.0.0.1:0", "--upstream", &dead.to_string(), "--upstream", &more.to_string()])
            .start();
    let pool = || daemon.json(&["pools"])["pools"][0].clone();
    assert_eq!((&pool()["state"], &pool()["reachable"]), (&"up".into(), &2.into()), "nobody has tried yet");
    let address = daemon.address("listen-1");
    eventually("the pool is failing", || {
        let _ = Client::what_comes(address);
        (pool()["state"] == "failing").then_some(())
    });
    assert_eq!(pool()["reachable"], 0);
    daemon.ask(&["pools"]).said("failing, 0 of 2");
    daemon.ask(&["why", "pool/upstream"]).said("of which 0 can be reached").said("ago: Connection refused");
    daemon.ask(&["why", &dead.to_string()]).said("but the last connect to it failed").said("Connection refused");
    assert_eq!(daemon.metrics().one("netd_pool_endpoints_reachable", &[("pool", "upstream")]), 0.0);
}

#[test]
fn close_ends_what_it_names_and_nothing_else() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let [mut one, mut other, mut front] = ["echo", "echo", "front"].map(|name| daemon.connect(name));
    for client in [&mut one, &mut other, &mut front] {
        client.echo(b"x");
    }
    let source = one.local().to_string();
    let id = daemon.connections().iter().find(|each| each["source"] == source.as_str()).expect("it")["id"].clone();
    let id = id.as_str().expect("an id");
    daemon.ask(&["close", id]).said("Closed 1 connection");
    assert_eq!(one.rest(), (Vec::new(), End::Reset));
    daemon.ask(&["close", id]).said("Closed 0 connections");
    daemon.logs(&format!("1 connection closed, asked for id {id}"));

    daemon.ask(&["close", "--pool", "back", "--why", "cleaning"]).said("Closed 1 connection");
    assert_eq!(front.rest(), (Vec::new(), End::Reset));
    other.echo(b"untouched");
    daemon.netctl(&["close"]).ended_with(2);
    daemon.ask(&["close", "--all"]).said("Closed 1 connection");
    assert_eq!(other.rest(), (Vec::new(), End::Reset));
    assert_eq!(daemon.metrics().sum("netd_listener_connections_closed_total", &[("cause", "kill")]), 3.0);
}

#[test]
fn a_stopped_listener_refuses_and_its_connections_go_on() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let echo = daemon.address("echo");
    let mut open = Client::connect(echo);
    open.echo(b"1");
    daemon.ask(&["stop", "echo", "--why", "repair"]);
    eventually("it refuses", || Client::try_connect(echo).is_err().then_some(()));
    open.echo(b"2");
    let view = daemon.listener("echo");
    assert_eq!(view["override"]["value"], "stopped", "{view}");
    assert_eq!(view["override"]["by"]["why"], "repair", "{view}");
    daemon.ask(&["why", "echo"]).said("repair");
    drop(open);
    daemon.ask(&["drain", "listener", "echo"]).complained("`netctl start echo` lifts that");
    daemon.ask(&["start", "echo"]);
    daemon.connect("echo").echo(b"3");

    daemon.ask(&["stop", "echo", "--for", "300ms"]);
    eventually("the stop ends by itself", || (daemon.listener("echo")["state"] == "accepting").then_some(()));
    daemon.connect("echo").echo(b"4");
    daemon.netctl(&["stop", "ecko"]).ended_with(1).complained("echo");
}

#[test]
fn overrides_of_endpoints_stand_above_the_file_and_survive_a_reload() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let address = a.address.to_string();
    let object = format!("endpoint/back/{address}");
    daemon.ask(&["set", "back", &address, "--weight", "0", "--who", "anna", "--why", "ticket 4711"]);
    let serve = |count: usize| (0..count).for_each(|_| daemon.connect("front").echo(b"x"));
    serve(4);
    assert_eq!(a.accepted(), 0);

    daemon.rewrite(&config(&a, &b, "retries = 9"));
    daemon.ask(&["reload"]);
    assert!(daemon.ask(&["config"]).stdout.contains("retries = 9"));
    serve(4);
    assert_eq!(a.accepted(), 0, "the override is lost");
    let view = daemon.endpoint("back", 0);
    assert_eq!((&view["configured_weight"], &view["weight"]), (&1.into(), &0.into()), "{view}");
    assert_eq!(daemon.status()["overrides"], 1);
    let why = daemon.json(&["why", &object]);
    assert_eq!(why["decided_by"], "override", "{why}");
    assert_eq!(why["override"]["by"]["who"], "anna", "{why}");
    daemon.ask(&["why", &object]).said("anna").said("ticket 4711");

    daemon.ask(&["set", "back", &address, "--clear"]);
    let why = daemon.json(&["why", &object]);
    assert_ne!(why["decided_by"], "override", "{why}");
    assert_eq!(daemon.status()["overrides"], 0);
    serve(6);
    assert!(a.accepted() > 0);
}

#[test]
fn maintenance_is_shown_as_such_and_expires() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon(&a, &b);
    let address = a.address.to_string();
    daemon.ask(&["set", "back", &address, "--maintenance"]);
    assert_eq!(daemon.endpoint("back", 0)["state"], "maintenance");
    daemon.ask(&["set", "back", &address, "--maintenance", "--for", "300ms"]);
    eventually("it expires", || (daemon.endpoint("back", 0)["state"] == "up").then_some(()));
    daemon.ask(&["set", "back", &address, "--drain"]);
    assert_eq!(daemon.endpoint("back", 0)["state"], "draining");
    daemon.netctl(&["set", "back", "127.0.0.1:1", "--weight", "1"]).ended_with(1).complained(&address);
    daemon.netctl(&["set", "bak", &address, "--weight", "1"]).ended_with(1).complained("back");
}
