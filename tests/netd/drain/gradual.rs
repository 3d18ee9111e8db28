//! Connections that end evenly, so that their clients do not come back as a
//! storm.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::support::{Client, End, Setup, clock};

const CLIENTS: usize = 200;
const WINDOW: Duration = Duration::from_secs(3);

#[test]
fn two_hundred_idle_connections_end_evenly_over_three_seconds() {
    let daemon = Setup::config(
        r#"
        [workers]
        count = 2
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#,
    )
    .start();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| daemon.connect("echo")).collect();
    clients.iter_mut().for_each(|client| client.echo(b"x"));
    // Longer than what counts as idle in such a window.
    clock::pause(Duration::from_secs(1));
    let (told, ends) = mpsc::channel();
    for mut client in clients {
        let told = told.clone();
        thread::spawn(move || {
            let rest = client.rest();
            let _ = told.send((clock::now(), rest));
        });
    }
    drop(told);
    let begun = clock::now();
    let said = daemon.ask(&["drain", "listener", "echo", "--gradual", "3s", "--deadline", "30s"]);
    said.said(&format!("0 connections finished, {CLIENTS} ended while idle, none cut"));
    let mut ended: Vec<Instant> = Vec::new();
    for (at, rest) in ends {
        assert_eq!(rest, (Vec::new(), End::Eof), "in good order");
        ended.push(at);
    }
    assert_eq!(ended.len(), CLIENTS);
    ended.sort();
    let took = ended[CLIENTS - 1].saturating_duration_since(begun);
    assert!(took >= WINDOW * 8 / 10, "all have ended after {took:?}");

    // No half second has more than two and a half times its share: the machine
    // may hold netd up for a while.
    let share = CLIENTS / 6;
    for (index, &first) in ended.iter().enumerate() {
        let burst = ended[index..].iter().take_while(|at| at.duration_since(first) < WINDOW / 6).count();
        assert!(burst <= share * 5 / 2, "{burst} within half a second from {:?} on", first.duration_since(begun));
    }
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("netd_drain_connections_total", &[("how", "retired")]), CLIENTS as f64);
    let labels = [("by", "operator"), ("cause", "end")];
    assert_eq!(metrics.sum("netd_listener_connections_closed_total", &labels), CLIENTS as f64);
}

#[test]
fn what_is_busy_is_left_to_the_deadline() {
    let daemon = Setup::config(
        r#"
        [drain]
        timeout = "2s"
        gradual = "1s"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#,
    )
    .start();
    let (mut idle, mut busy) = (daemon.connect("echo"), daemon.connect("echo"));
    idle.echo(b"x");
    let working = thread::spawn(move || {
        let mut exchanges = 0;
        while busy.try_echo(b"x").is_ok() {
            exchanges += 1;
            clock::pause(Duration::from_millis(10));
        }
        exchanges
    });
    // As configured: what rests ends over 1 s, the rest is cut after 2 s.
    daemon.ask(&["drain"]).said("1 ended while idle, 1 cut at the deadline");
    assert_eq!(idle.rest(), (Vec::new(), End::Eof));
    assert!(working.join().expect("the busy client") > 50);
}
