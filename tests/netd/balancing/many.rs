//! Very many endpoints and pools.

use std::{
    fmt::Write,
    io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::text;
use crate::support::{Client, Daemon, End, Setup, clock::now};

/// A server on all addresses of this machine: 127.0.0.0/8 has enough of them.
struct Everywhere {
    port: u16,
    /// Addresses that were connected to.
    homes: Arc<std::sync::Mutex<std::collections::BTreeSet<std::net::IpAddr>>>,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Everywhere {
    fn serve() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let (homes, accepted, stop) = (Arc::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let theirs = (Arc::clone(&homes), Arc::clone(&accepted), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let (homes, accepted, stop): (Arc<std::sync::Mutex<std::collections::BTreeSet<_>>>, _, _) = theirs;
            for stream in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(home) = stream.and_then(|stream: std::net::TcpStream| -> io::Result<_> { stream.local_addr() })
                else {
                    continue;
                };
                homes.lock().expect("whole").insert(home.ip());
                accepted.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { port, homes, accepted, stop, thread: Some(thread) }
    }

    fn endpoints(&self, count: u32) -> String {
        let mut list = String::from("endpoints = [");
        for number in 0..count {
            let [_, b, c, d] = (number + 0x0a_0000).to_be_bytes();
            write!(list, "\"127.{b}.{c}.{d}:{}\",", self.port).expect("a text");
        }
        list + "]"
    }

    fn homes(&self) -> usize {
        self.homes.lock().expect("whole").len()
    }
}

impl Drop for Everywhere {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serves(daemon: &Daemon, count: usize) {
    let address = daemon.address("front");
    for _ in 0..count {
        assert_eq!(Client::connect(address).rest().1, End::Eof);
    }
}

fn timed<T>(what: &str, does: impl FnOnce() -> T) -> T {
    let begun = now();
    let done = does();
    println!("{what}: {:?}", begun.elapsed());
    done
}

#[test]
fn ten_thousand_endpoints_of_one_pool_load_and_serve() {
    let origin = Everywhere::serve();
    let config = |count, policy: &str| text(&format!("{}\npolicy = \"{policy}\"", origin.endpoints(count)));
    let daemon = timed("start", || Setup::config(&config(10_000, "round-robin")).start());
    timed("300 connections in turn", || serves(&daemon, 300));
    // Two workers begin their rounds one apart.
    assert!(origin.homes() >= 150, "{} endpoints took a connection", origin.homes());
    daemon.rewrite(&config(9_999, "least-connections"));
    timed("reload with one less, another policy", || daemon.ask(&["reload"]));
    timed("300 connections to the least loaded", || serves(&daemon, 300));
    daemon.rewrite(&config(10_000, "random"));
    timed("reload with one more, another policy", || daemon.ask(&["reload"]));
    timed("300 connections by lot", || serves(&daemon, 300));
    timed("set one", || daemon.ask(&["set", "back", &format!("127.10.0.9:{}", origin.port), "--weight", "0"]));
    let explained = timed("explain", || daemon.json(&["explain", "--listener", "front", "--from", "10.1.2.3"]));
    let pool = &explained["pools"][0];
    assert_eq!((&pool["open"], &pool["more"]), (&9_999.into(), &9_900.into()));
    assert!(pool["endpoints"].as_array().expect("a list").iter().any(|each| each["weight"] == 0), "who is out is told");
    let pools = timed("pools", || daemon.json(&["pools"]));
    assert_eq!(pools["pools"][0]["endpoints"].as_array().map(Vec::len), Some(10_000));
    let metrics = timed("metrics", || daemon.metrics());
    assert_eq!(metrics.sum("netd_endpoint_weight", &[("pool", "back")]), 9_999.0);
    assert!(origin.accepted.load(Ordering::Acquire) >= 900);
}

#[test]
fn a_thousand_pools_load_and_serve() {
    let origin = Everywhere::serve();
    let config = |pools: usize, weight: u16| {
        let mut config = text(&origin.endpoints(2));
        for number in 0..pools {
            write!(
                config,
                "\n[[pool]]\nname = \"pool-{number}\"\nendpoints = [{{ address = \"127.1.0.1:{}\", weight = {weight} }}]\n",
                origin.port
            )
            .expect("a text");
        }
        config
    };
    let daemon = timed("start", || Setup::config(&config(1000, 1)).start());
    serves(&daemon, 20);
    daemon.rewrite(&config(1000, 2));
    timed("reload with other weights of all", || daemon.ask(&["reload"]));
    serves(&daemon, 20);
    daemon.rewrite(&config(2000, 2));
    timed("reload with a thousand more", || daemon.ask(&["reload"]));
    serves(&daemon, 20);
    let pools = timed("pools", || daemon.json(&["pools"]));
    assert_eq!(pools["pools"].as_array().map(Vec::len), Some(2001));
    let metrics = timed("metrics", || daemon.metrics());
    assert_eq!(metrics.sum("netd_endpoint_weight", &[]), 2.0 * 2000.0 + 2.0);
    daemon.rewrite(&config(1000, 1));
    timed("reload with a thousand less", || daemon.ask(&["reload"]));
    serves(&daemon, 20);
    assert_eq!(daemon.json(&["pools"])["pools"].as_array().map(Vec::len), Some(1001));
}
