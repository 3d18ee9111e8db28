//! What clients see of it: nothing.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::{config, serving};
use crate::support::{Client, End, Origin, PATIENCE, Setup, clock::pause, eventually, pattern::Pattern};

#[test]
fn idle_and_half_closed_connections_and_sessions_go_on() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    let mut relayed: Vec<Client> = (0..20).map(|_| daemon.connect("front")).collect();
    let mut sessions: Vec<Client> = (0..5).map(|_| daemon.connect("echo")).collect();
    for client in relayed.iter_mut().chain(&mut sessions) {
        client.echo(b"before");
    }
    let receipt = daemon.upgrade(&[]);
    assert_eq!((&receipt["moved"], &receipt["lost"]), (&25.into(), &0.into()), "{receipt}");
    for client in relayed.iter_mut().chain(&mut sessions) {
        client.echo(b"after");
        client.finish();
        assert_eq!(client.rest(), (Vec::new(), End::Eof));
    }
    daemon.connect("front").echo(b"new");
}

#[test]
fn a_direction_that_has_ended_stays_ended_and_the_other_goes_on() {
    let (heard, hears) = mpsc::channel();
    let origin = Origin::finishing_first("first", heard);
    let mut daemon = serving(&origin);
    let mut client = daemon.connect("front");
    assert_eq!(client.rest(), (b"first".to_vec(), End::Eof));
    client.send(b"half a ");
    daemon.upgrade(&[]);
    client.send(b"message");
    client.finish();
    assert_eq!(hears.recv_timeout(PATIENCE).expect("the origin hears the end"), b"half a message");
    daemon.becomes_idle();

    let counting = Origin::counting();
    let mut daemon = serving(&counting);
    let mut client = daemon.connect("front");
    client.send(&[7; 1000]);
    daemon.upgrade(&[]);
    client.send(&[7; 234]);
    client.finish();
    assert_eq!(client.rest(), (b"1234".to_vec(), End::Eof));
}

/// Downloads with every byte checked while netd is replaced again and again.
fn downloads(accelerate: &str) {
    const TOTAL: u64 = 24 << 20;
    let pattern = Pattern::new(5);
    let origin = Origin::serving(move |mut stream| {
        let mut buffer = vec![0; 60_000];
        let mut sent = 0;
        while sent < TOTAL {
            let length = (TOTAL - sent).min(buffer.len() as u64) as usize;
            pattern.fill(sent, &mut buffer[..length]);
            stream.write_all(&buffer[..length]).expect("a client that reads");
            sent += length as u64;
        }
        let _ = stream.shutdown(Shutdown::Write);
    });
    let text = config(&origin, "[workers]\ncount = 2\n");
    let text = text.replace("pool = \"back\"\n", &format!("pool = \"back\"\naccelerate = \"{accelerate}\"\n"));
    let mut daemon = Setup::config(&text).start();
    let clients: Vec<Client> = (0..6).map(|_| daemon.connect("front")).collect();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                let (mut buffer, mut expected, mut received) = (vec![0; 20_000], Vec::new(), 0);
                loop {
                    match client.stream.read(&mut buffer).expect("no reset") {
                        0 => return received,
                        length => {
                            pattern.verify(received, &buffer[..length], &mut expected);
                            received += length as u64;
                        }
                    }
                    pause(Duration::from_micros(300));
                }
            })
        })
        .collect();
    let mut moved = 0;
    for _ in 0..3 {
        moved += daemon.upgrade(&[])["moved"].as_u64().expect("a number");
    }
    assert!(moved > 0, "some downloads were on their way");
    for reader in readers {
        assert_eq!(reader.join().expect("no panic"), TOTAL);
    }
    daemon.becomes_idle();
    let bytes = [("listener", "front"), ("direction", "to_downstream")];
    assert_eq!(daemon.metrics().one("netd_listener_bytes_total", &bytes), (6 * TOTAL) as f64);
}

#[test]
fn downloads_in_full_flow_go_on_copied() {
    downloads("off");
}

#[test]
fn downloads_in_full_flow_go_on_spliced() {
    downloads("splice");
}

#[test]
fn a_connect_under_way_goes_on() {
    let origin = Origin::not_accepting();
    let text = config(&origin, "[workers]\ncount = 2\n").replace("endpoints", "connect_timeout = \"2s\"\nendpoints");
    let mut daemon = Setup::config(&text).start();
    let mut client = daemon.connect("front");
    eventually("it dials", || daemon.connections().first().filter(|view| view["state"] == "dialing").cloned());
    daemon.upgrade(&[]);
    assert_eq!(daemon.connections().len(), 1);
    // The deadline of the connect goes on too.
    let (bytes, _) = client.rest();
    assert!(bytes.is_empty());
    daemon.becomes_idle();
}

#[test]
fn ten_upgrades_in_a_row_under_new_connections_fail_none() {
    let origin = Origin::echoing();
    let mut daemon = serving(&origin);
    let (front, echo) = (daemon.address("front"), daemon.address("echo"));
    let mut kept = daemon.connect("front");
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|n| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let address = if n % 2 == 0 { front } else { echo };
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    let mut client = Client::connect(address);
                    for _ in 0..3 {
                        client.echo(b"a few bytes");
                    }
                    client.finish();
                    assert_eq!(client.rest(), (Vec::new(), End::Eof));
                    done.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    for _ in 0..10 {
        let receipt = daemon.upgrade(&[]);
        assert_eq!((&receipt["lost"], &receipt["drained"]), (&0.into(), &0.into()), "{receipt}");
        kept.echo(b"still here");
    }
    stop.store(true, Ordering::Release);
    for each in load {
        each.join().expect("no connection failed");
    }
    assert!(done.load(Ordering::Acquire) > 20);
    kept.finish();
    daemon.becomes_idle();
    let accepted = daemon.metrics().sum("netd_listener_connections_accepted_total", &[]);
    assert_eq!(accepted, (done.load(Ordering::Acquire) + 1) as f64, "every connection is counted once");
}
