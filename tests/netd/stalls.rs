//! What an operator looks at or closes must not hold up traffic: no turn of a worker's
//! loop is long because of it, by the loop's own histogram.
//!
//! A thread that the kernel has put aside in the middle of a turn shows as a
//! long turn too, so a try that saw none proves it, and there are several: work
//! that takes too long in one turn takes too long in every try.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::{Client, Daemon, Setup, clock::pause};

const CONNECTIONS: usize = 8000;
/// In 10 pools.
const ENDPOINTS: usize = 10_000;
const TRIES: usize = 60;
/// Connections closed in one try.
const CLOSED: usize = 160;
/// The bucket's bound next to 1 ms, in seconds.
const LONG: &str = "0.001024";

/// One worker, and all these endpoints; `echo` is for itself.
fn daemon() -> Daemon {
    let mut text = "[[listener]]\nname = \"echo\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\n".to_owned();
    for pool in 0..10 {
        let endpoints: Vec<String> =
            (0..ENDPOINTS / 10).map(|n| format!("\"10.{pool}.{}.{}:80\"", n / 250, n % 250 + 1)).collect();
        write!(text, "[[pool]]\nname = \"pool-{pool}\"\nendpoints = [{}]\n", endpoints.join(", ")).expect("a String");
    }
    Setup::config(&text).args(&["--workers", "1"]).start()
}

/// The page as it is: it has 200,000 lines.
fn scrape(daemon: &Daemon) -> String {
    let answer = daemon.get("/metrics");
    assert_eq!(answer.status, 200);
    answer.body
}

/// Turns of the worker so far: all, and the long ones.
fn turns(daemon: &Daemon) -> (u64, u64) {
    let page = scrape(daemon);
    let figure = |start: &str| {
        let line = page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}"));
        line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    let all = figure("netd_worker_turn_seconds_count");
    (all, all - figure(&format!("netd_worker_turn_seconds_bucket{{worker=\"0\",le=\"{LONG}\"}}")))
}

/// Has `look` done until a try of it sees no long turn.
#[track_caller]
fn never_stalls(daemon: &Daemon, what: &str, at_least: u64, mut look: impl FnMut()) {
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let before = turns(daemon);
        look();
        let after = turns(daemon);
        let (all, long) = (after.0 - before.0, after.1 - before.1);
        assert!(all >= at_least, "{what}: only {all} turns");
        if long == 0 {
            return;
        }
        seen.push(long);
    }
    panic!("{what}: turns of more than 1 ms in every try: {seen:?}");
}

#[test]
fn orders_about_everything_do_not_hold_up_a_worker() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the hard limit is allowed");
    let daemon = daemon();
    let address = daemon.address("echo");
    let mut busy = Client::connect(address);
    let clients: Vec<Client> = (1..CONNECTIONS)
        .map(|_| {
            let mut client = Client::connect(address);
            client.echo(b"x");
            client
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    // Traffic all the time, so that there are turns; little, so that hardly one
    // of them is cut short by other work of the machine.
    let traffic = thread::spawn(move || {
        while !stopped.load(Relaxed) {
            busy.echo(b"request");
            pause(Duration::from_millis(1));
        }
    });
    let pages = CONNECTIONS.div_ceil(1000) as u64;
    never_stalls(&daemon, "a scrape", 1, || {
        let page = scrape(&daemon);
        let endpoints = page.lines().filter(|line| line.starts_with("netd_endpoint_connections_total{"));
        assert_eq!(endpoints.count(), ENDPOINTS);
    });
    // Each page looks at every connection.
    never_stalls(&daemon, "a list of connections", pages * 31, || {
        assert_eq!(daemon.connections().len(), CONNECTIONS);
    });
    let ids: Vec<String> = daemon.connections().iter().map(|each| each["id"].as_str().expect("an id").into()).collect();
    // The one with the lowest id has the traffic.
    let mut rest = ids[1..].chunks_exact(CLOSED);
    never_stalls(&daemon, "closing connections", CLOSED as u64 / 16, || {
        let some = rest.next().expect("a try without a long turn before all are closed");
        let words: Vec<&str> = ["close"].into_iter().chain(some.iter().map(String::as_str)).collect();
        daemon.ask(&words);
    });
    stop.store(true, Relaxed);
    traffic.join().expect("it was served");
    drop(clients);
}
