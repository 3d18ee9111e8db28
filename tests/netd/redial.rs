//! Connections over which no byte has gone leave an endpoint that a reload
//! removes.

use std::io::{Read, Write};

use crate::support::{Client, Daemon, Origin, Setup, eventually};

fn front(endpoint: &Origin, more: &str) -> String {
    format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[pool]]
        name = "back"
        endpoints = ["{}"]
        {more}
        "#,
        endpoint.address
    )
}

const WORKERS: &str = "[workers]\ncount = 2";

/// What the daemon says of the connections of an endpoint.
fn active(daemon: &Daemon, endpoint: &Origin) -> f64 {
    let endpoint = endpoint.address.to_string();
    let labels = [("pool", "back"), ("endpoint", endpoint.as_str())];
    daemon.metrics().sum("netd_endpoint_connections_active", &labels)
}

fn redialed(daemon: &Daemon) -> f64 {
    daemon.metrics().sum("netd_worker_connections_redialed_total", &[])
}

/// Two servers that send each byte back behind their name.
fn servers() -> (Origin, Origin) {
    let named = |name: &'static [u8]| {
        Origin::serving(move |mut stream| {
            let mut byte = [0];
            while let Ok(1..) = stream.read(&mut byte) {
                if stream.write_all(&[name, &byte].concat()).is_err() {
                    return;
                }
            }
        })
    };
    (named(b"a"), named(b"b"))
}

fn asked(client: &mut Client, answer: &[u8]) {
    client.send(b"?");
    assert_eq!(client.receive(answer.len()), answer);
}

#[test]
fn unused_connections_go_to_the_new_endpoint_and_used_ones_stay() {
    let (a, b) = servers();
    let daemon = Setup::config(&front(&a, WORKERS)).start();
    let mut used: Vec<Client> = (0..4).map(|_| daemon.connect("front")).collect();
    used.iter_mut().for_each(|client| asked(client, b"a?"));
    let mut unused: Vec<Client> = (0..12).map(|_| daemon.connect("front")).collect();
    eventually("all are with a", || (a.accepted() == 16 && active(&daemon, &a) == 16.0).then_some(()));

    daemon.rewrite(&front(&b, WORKERS));
    let foretold = "connections without a byte so far go to another endpoint that takes them";
    daemon.ask(&["plan"]).said(foretold);
    daemon.ask(&["reload"]).said(foretold);
    eventually("the unused are with b", || (redialed(&daemon) == 12.0).then_some(()));
    assert_eq!((active(&daemon, &a), active(&daemon, &b)), (4.0, 12.0));
    daemon.logs("connections without a byte so far: another endpoint of the pool is dialed");
    unused.iter_mut().for_each(|client| asked(client, b"b?"));
    used.iter_mut().for_each(|client| asked(client, b"a?"));
    daemon.ask(&["history", "2"]).said(foretold);
}

#[test]
fn a_server_that_nobody_can_reach_takes_no_connection_from_the_one_that_is_removed() {
    let (a, _) = servers();
    let nobody = Origin::refusing();
    let daemon = Setup::config(&front(&a, "")).start();
    let mut client = daemon.connect("front");
    eventually("it is with a", || (active(&daemon, &a) == 1.0).then_some(()));
    daemon.rewrite(&front(&nobody, ""));
    daemon.ask(&["reload"]);
    let failures = |daemon: &Daemon| daemon.metrics().sum("netd_endpoint_connect_failures_total", &[]);
    eventually("another is tried", || (failures(&daemon) >= 1.0).then_some(()));
    eventually("it is back with a", || (active(&daemon, &a) == 1.0).then_some(()));
    asked(&mut client, b"a?");
    assert_eq!(redialed(&daemon), 0.0);
}

#[test]
fn while_a_reload_is_on_trial_all_stay() {
    let (a, b) = servers();
    let daemon = Setup::config(&front(&a, "")).start();
    let mut clients = [daemon.connect("front"), daemon.connect("front")];
    eventually("they are with a", || (active(&daemon, &a) == 2.0).then_some(()));
    daemon.rewrite(&front(&b, ""));
    daemon.ask(&["reload", "--confirm", "60s"]);
    // A new one goes to b; the others are where they were.
    asked(&mut daemon.connect("front"), b"b?");
    asked(&mut clients[0], b"a?");
    assert_eq!(redialed(&daemon), 0.0);
    daemon.ask(&["confirm"]);
    eventually("the unused one goes", || (redialed(&daemon) == 1.0).then_some(()));
    asked(&mut clients[1], b"b?");
    asked(&mut clients[0], b"a?");
}

#[test]
fn what_an_upgrade_finds_removed_is_left_too() {
    let (a, b) = servers();
    let mut daemon = Setup::config(&front(&a, WORKERS)).start();
    let mut clients: Vec<Client> = (0..6).map(|_| daemon.connect("front")).collect();
    eventually("they are with a", || (active(&daemon, &a) == 6.0).then_some(()));
    asked(&mut clients[0], b"a?");
    daemon.rewrite(&front(&b, WORKERS));
    daemon.upgrade(&[]);
    eventually("the unused are with b", || (redialed(&daemon) == 5.0).then_some(()));
    asked(&mut clients[0], b"a?");
    clients.iter_mut().skip(1).for_each(|client| asked(client, b"b?"));
    // The figures go on.
    daemon.upgrade(&[]);
    assert_eq!(redialed(&daemon), 5.0);
    clients.iter_mut().skip(1).for_each(|client| asked(client, b"b?"));
}
