//! Limits hold while connections are on their way, and who is there goes before
//! who comes.

use std::{
    io::{ErrorKind, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{Client, Daemon, Origin, Setup, child, clock::pause, eventually};

/// One listener and one pool, with more settings of each.
fn relay(origin: &Origin, listener: &str, pool: &str) -> Setup {
    Setup::config(&format!(
        "[workers]\ncount = 2\n
         [[listener]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"back\"\n{listener}\n
         [[pool]]\nname = \"back\"\nendpoints = [\"{}\"]\n{pool}\n",
        origin.address
    ))
}

/// Clients that have sent a byte.
fn crowd(daemon: &Daemon, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| daemon.connect("front")).collect();
    clients.iter_mut().for_each(|client| client.send(b"?"));
    clients
}

/// Moves those whose byte has come back; the others wait.
#[track_caller]
fn sort(waiting: &mut Vec<Client>, served: &mut Vec<Client>) {
    for mut client in std::mem::take(waiting) {
        client.stream.set_nonblocking(true).expect("an open socket");
        let read = client.stream.read(&mut [0; 8]);
        client.stream.set_nonblocking(false).expect("an open socket");
        match read {
            Ok(1) => served.push(client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => waiting.push(client),
            other => panic!("a client was sent away: {other:?}"),
        }
    }
}

#[track_caller]
fn eventually_served(count: usize, waiting: &mut Vec<Client>, served: &mut Vec<Client>) {
    eventually("so many are served", || {
        sort(waiting, served);
        (served.len() >= count).then_some(())
    });
}

#[test]
fn those_that_are_there_move_though_others_wait_for_their_descriptors() {
    let origin = Origin::echoing();
    let mut daemon = relay(&origin, "", "").surroundings(|command| child::limit_files(command, 150)).start();
    let (mut waiting, mut served) = (crowd(&daemon, 80), Vec::new());
    eventually("accepting pauses", || (daemon.listener("front")["state"] == "paused").then_some(()));
    pause(Duration::from_millis(300));
    sort(&mut waiting, &mut served);
    let (held, of) = (served.len(), waiting.len());
    assert!(held > 20 && of > 20, "{held} are served, {of} wait");
    for _ in 0..2 {
        let receipt = daemon.upgrade(&[]);
        assert_eq!((&receipt["moved"], &receipt["drained"]), (&held.into(), &0.into()), "{receipt}");
        served.iter_mut().for_each(|client| client.echo(b"moved"));
    }
    // Who waited has its turn when the others leave.
    while !waiting.is_empty() {
        served.clear();
        eventually_served(1, &mut waiting, &mut served);
        served.iter_mut().for_each(|client| client.echo(b"new"));
    }
}

#[test]
fn who_waits_for_a_full_pool_waits_on_while_the_others_move() {
    let origin = Origin::echoing();
    let queue = "max_connections = 5\nqueue = { size = 30, timeout = \"60s\" }\n";
    let mut daemon = relay(&origin, "", queue).start();
    let (mut waiting, mut served) = (crowd(&daemon, 25), Vec::new());
    eventually_served(5, &mut waiting, &mut served);
    let mut still = |daemon: &Daemon, what: &str| {
        pause(Duration::from_millis(600));
        sort(&mut waiting, &mut served);
        assert_eq!((served.len(), waiting.len()), (5, 20), "{what}");
        daemon.ask(&["pools"]).said("max_connections 5 of 5 (100%), queue 20 of 30");
    };
    still(&daemon, "before");
    for round in 0..2 {
        let receipt = daemon.upgrade(&[]);
        assert_eq!(receipt["moved"], 25, "{receipt}");
        still(&daemon, &format!("upgrade {round}"));
    }
    daemon.ask(&["drain", "worker", "1", "--move", "--no-deadline"]);
    still(&daemon, "a worker is empty");
    daemon.ask(&["start", "worker", "1"]);
    daemon.ask(&["rebalance"]);
    still(&daemon, "the workers are even");
    served.truncate(2);
    eventually_served(5, &mut waiting, &mut served);
}

/// With as many connections as the limit lets in, nobody else comes in while
/// netd is replaced.
fn nobody_comes_in(listener: &str, pool: &str) {
    const MOST: usize = 50;
    let origin = Origin::echoing();
    let mut daemon = relay(&origin, listener, pool).start();
    let mut held: Vec<Client> = (0..MOST).map(|_| daemon.connect("front")).collect();
    held.iter_mut().for_each(|client| client.echo(b"in"));
    let (address, over) = (daemon.address("front"), Arc::new(AtomicBool::new(false)));
    let knocking: Vec<_> = (0..3)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let (mut inside, mut tries) = (Vec::new(), 0);
                while !over.load(Ordering::Relaxed) {
                    tries += 1;
                    if let Ok(mut client) = Client::try_connect(address)
                        && client.try_echo(b"knock").is_ok()
                    {
                        inside.push(client);
                    }
                    pause(Duration::from_micros(500));
                }
                (inside.len(), tries)
            })
        })
        .collect();
    for _ in 0..3 {
        let receipt = daemon.upgrade(&[]);
        assert_eq!(receipt["drained"], 0, "{receipt}");
    }
    over.store(true, Ordering::Relaxed);
    for knocks in knocking {
        let (inside, tries) = knocks.join().expect("no panic");
        assert_eq!(inside, 0, "of {tries}");
    }
    held.iter_mut().for_each(|client| client.echo(b"still in"));
    held.pop();
    eventually("there is room for one", || daemon.connect("front").try_echo(b"in").ok());
}

#[test]
fn a_listener_has_no_more_than_it_may_while_they_move() {
    nobody_comes_in("max_connections = 50", "");
}

#[test]
fn a_source_has_no_more_than_it_may_while_they_move() {
    nobody_comes_in("max_connections_per_source = 50", "");
}

#[test]
fn an_endpoint_has_no_more_than_it_may_while_they_move() {
    nobody_comes_in("", "endpoint_max_connections = 50");
}

#[test]
fn old_refusals_and_failures_are_not_told_anew() {
    let nowhere = Origin::refusing();
    let mut daemon = Setup::config(&format!(
        "[[listener]]\nname = \"shut\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\ndeny = [\"127.0.0.0/8\"]\n
         [[listener]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"back\"\n
         [[pool]]\nname = \"back\"\nendpoints = [\"{}\"]\nretries = 0\n",
        nowhere.address
    ))
    .start();
    // Refused ones may see a reset before they are connected.
    let knock = |daemon: &Daemon, listener: &str| Client::try_connect(daemon.address(listener)).map(drop).ok();
    knock(&daemon, "shut");
    knock(&daemon, "front");
    let (refused, failed) = ("listener `shut` has refused", "of pool `back` failed");
    daemon.logs(refused);
    daemon.logs(failed);
    let said = |daemon: &Daemon| [refused, failed].map(|text| daemon.log().matches(text).count());
    let before = said(&daemon);
    for _ in 0..2 {
        daemon.upgrade(&[]);
        // It looks at the counters ten times a second, and once a second.
        pause(Duration::from_millis(1500));
    }
    assert_eq!(said(&daemon), before, "{}", daemon.log());
    knock(&daemon, "shut");
    eventually("a new one is told", || (said(&daemon)[0] > before[0]).then_some(()));
}

/// Who has used up a rate has not got a burst again because netd is replaced.
fn a_rate_goes_on(keys: &str) {
    let origin = Origin::echoing();
    let mut daemon = relay(&origin, keys, "").start();
    let knock = |daemon: &Daemon| {
        Client::try_connect(daemon.address("front")).and_then(|mut client| client.try_echo(b"?")).is_ok()
    };
    let served = (0..12).filter(|_| knock(&daemon)).count();
    assert_eq!(served, 5, "before");
    for round in 0..2 {
        daemon.upgrade(&[]);
        assert_eq!((0..6).filter(|_| knock(&daemon)).count(), 0, "upgrade {round}");
    }
}

#[test]
fn the_rate_of_a_listener_goes_on() {
    a_rate_goes_on("rate = \"5/1000s\"");
}

#[test]
fn the_rate_of_a_source_goes_on() {
    a_rate_goes_on("rate_per_source = \"5/1000s\"");
}
