//! One worker of several stops accepting and comes back: nobody notices.

use super::daemon_with;
use crate::support::{Client, Daemon, Origin, eventually, traffic::Traffic};

fn accepted(daemon: &Daemon, worker: usize) -> u64 {
    daemon.status()["workers"][worker]["accepted"].as_u64().expect("a figure")
}

#[test]
fn a_worker_drains_and_comes_back_under_load_and_no_connection_is_lost() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon_with("[workers]\ncount = 2", &a, &b);
    let traffic = Traffic::over(daemon.address("front"), 6);
    traffic.goes_on(200);
    for round in 0..3 {
        for worker in [1, 0] {
            let name = worker.to_string();
            daemon.ask(&["drain", "worker", &name]).said(&format!("worker/{worker} is drained"));
            let before = accepted(&daemon, worker);
            traffic.goes_on(100);
            assert_eq!(accepted(&daemon, worker), before, "worker {worker} accepts in round {round}");
            daemon.ask(&["start", "worker", &name]).said("takes new connections again");
            eventually("it accepts again", || {
                traffic.goes_on(20);
                (accepted(&daemon, worker) > before).then_some(())
            });
        }
    }
    let done = traffic.ends_without_a_failure();
    assert!(done > 1000, "{done}");
    assert_eq!(daemon.metrics().sum("netd_listener_connections_closed_total", &[("cause", "drain")]), 0.0);
}

#[test]
fn a_drained_worker_keeps_its_connections_and_is_shown() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon_with("[workers]\ncount = 2", &a, &b);
    let mut clients: Vec<Client> = (0..40).map(|_| daemon.connect("front")).collect();
    clients.iter_mut().for_each(|client| client.echo(b"before"));
    let mut drain = daemon.netctl_command(&["drain", "worker", "1", "--no-deadline"]).spawn().expect("netctl");
    eventually("it drains", || (daemon.status()["workers"][1]["accepting"] == false).then_some(()));
    daemon.netctl(&["drain", "worker", "0"]).ended_with(1).complained("the last that accepts");
    daemon.netctl(&["drain", "worker", "7"]).ended_with(1).complained("there are workers 0 to 1");
    let why = daemon.json(&["why", "worker/1"]);
    assert_eq!((&why["decided_by"], &why["effective"]), (&"override".into(), &"draining".into()), "{why}");
    assert_eq!(daemon.metrics().one("netd_worker_accepting", &[("worker", "1")]), 0.0);
    clients.iter_mut().for_each(|client| client.echo(b"during"));
    assert_eq!(daemon.get("/readyz").status, 200, "one worker is not the daemon");
    // What a reload brings in the meantime is the other worker's, too.
    daemon.ask(&["stop", "echo"]);
    daemon.ask(&["start", "echo"]).said("listener/echo accepts");
    for _ in 0..20 {
        daemon.connect("echo").echo(b"x");
    }
    clients.clear();
    assert!(drain.wait().expect("netctl").success());
    // A stop takes all its sockets, wherever they are.
    daemon.ask(&["stop", "front"]);
    let front = daemon.address("front");
    eventually("it refuses", || Client::try_connect(front).is_err().then_some(()));
    daemon.ask(&["start", "worker", "1"]);
    daemon.ask(&["start", "front"]);
    daemon.connect("front").echo(b"after");
}

#[test]
fn the_deadline_cuts_one_workers_connections_alone() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon_with("[workers]\ncount = 2", &a, &b);
    let mut clients: Vec<Client> = (0..40).map(|_| daemon.connect("front")).collect();
    clients.iter_mut().for_each(|client| client.echo(b"before"));
    let active = |worker: usize| daemon.status()["workers"][worker]["active"].as_u64().expect("a figure");
    let kept = active(0);
    daemon.ask(&["drain", "worker", "1", "--deadline", "200ms"]);
    assert_eq!((active(0), active(1)), (kept, 0));
    let alive = clients.iter_mut().filter_map(|client| client.try_echo(b"after").ok()).count();
    assert_eq!(alive as u64, kept);
}

#[test]
fn its_connections_go_to_the_others_at_once_and_nobody_notices() {
    let (a, b) = (Origin::echoing(), Origin::echoing());
    let daemon = daemon_with("[workers]\ncount = 3", &a, &b);
    let mut clients: Vec<Client> = (0..60).map(|_| daemon.connect("front")).collect();
    clients.iter_mut().for_each(|client| client.echo(b"before"));
    let traffic = Traffic::over(daemon.address("front"), 4);
    traffic.goes_on(50);
    daemon.ask(&["drain", "worker", "1", "--move", "--no-deadline"]).said("worker/1 is drained");
    let active = |worker: usize| daemon.status()["workers"][worker]["active"].as_u64().expect("a figure");
    assert_eq!(active(1), 0);
    clients.iter_mut().for_each(|client| client.echo(b"elsewhere"));
    // Evening leaves it alone, and so do workers that go.
    daemon.ask(&["rebalance"]);
    assert_eq!(active(1), 0);
    clients.iter_mut().for_each(|client| client.echo(b"evened"));
    daemon.ask(&["start", "worker", "1"]);
    daemon.ask(&["rebalance"]);
    assert!(active(1) >= 15, "{}", active(1));
    clients.iter_mut().for_each(|client| client.echo(b"back"));
    traffic.goes_on(50);
    traffic.ends_without_a_failure();
    daemon
        .netctl(&["drain", "listener", "front", "--move"])
        .ended_with(1)
        .complained("only the connections of a worker");
}
