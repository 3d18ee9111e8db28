//! Upgrades and reloads in a row under load of every kind, and thousands of
//! connections that move at once. A binary of its own: nothing else runs beside
//! it that would make its clients wait.
//!
//! The long form: `cargo test --test endurance -- --ignored --nocapture
//! --test-threads 1`.

mod load;
mod peers;
#[expect(dead_code, unused_imports, reason = "the scenarios here need a part of what the others do")]
#[path = "../netd/support/mod.rs"]
mod support;
mod tally;
mod thousands;
mod upstream;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use load::{IDLE, Load};
use serde_json::Value;
use support::{Daemon, Setup, clock::pause};
use tally::{Book, Kind};
use thousands::{HEADING, Move, move_at_once};
use upstream::Upstream;

/// One scenario at a time: they measure.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both listeners lead to the upstreams that `round` has; there is more or less
/// beside them, on more or fewer workers.
fn config(upstreams: &[Upstream; 2], round: usize) -> String {
    let address = |index: usize| format!("\"{}\"", upstreams[index].address());
    let endpoints = match round % 3 {
        0 => format!("{}, {}", address(0), address(1)),
        1 => address(0),
        _ => address(1),
    };
    let more = match round % 4 {
        0 => String::new(),
        1 => format!("retries = {}\n", round % 7),
        2 => format!("connect_timeout = \"{}s\"\n", 5 + round % 3),
        _ => "[[listener]]\nname = \"extra\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\n".to_owned(),
    };
    let listener = |name: &str, accelerate: &str| {
        format!(
            "[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"back\"\n\
             accelerate = \"{accelerate}\"\n"
        )
    };
    format!(
        "[workers]\ncount = {}\n{}{}[[pool]]\nname = \"back\"\nendpoints = [{endpoints}]\n{more}",
        2 + round / 5 % 3 - usize::from(round % 15 > 12),
        listener("front", "auto"),
        listener("spliced", "splice"),
    )
}

/// What upgrades and reloads said of themselves.
#[derive(Debug, Default)]
struct Receipts {
    moved: u64,
    upgrades: Vec<f64>,
    longest_pause: f64,
    /// Most listening sockets that were handed over at once.
    sockets: u64,
    reloads: usize,
}

impl Receipts {
    fn upgraded(&mut self, receipt: &Value) {
        let seconds = |name: &str| receipt[name].as_f64().unwrap_or_default();
        self.moved += receipt["moved"].as_u64().unwrap_or_default();
        self.sockets = self.sockets.max(receipt["sockets"].as_u64().unwrap_or(u64::MAX));
        self.upgrades.push(seconds("took_seconds"));
        self.longest_pause = self.longest_pause.max(seconds("longest_pause_seconds"));
    }

    fn line(&mut self) -> String {
        self.upgrades.sort_by(f64::total_cmp);
        format!(
            "{} upgrades ({:.2} s each in the middle, {:.2} s the longest), {} reloads, {} connections moved, longest \
             pause of one {:.0} ms",
            self.upgrades.len(),
            self.upgrades[self.upgrades.len() / 2],
            self.upgrades[self.upgrades.len() - 1],
            self.reloads,
            self.moved,
            self.longest_pause * 1000.0
        )
    }
}

fn reload(daemon: &Daemon, text: &str, receipts: &mut Receipts) {
    daemon.rewrite(text);
    daemon.ask(&["reload"]);
    receipts.reloads += 1;
}

/// Upgrades, with so many reloads after each; every receipt must be clean.
fn endure(upgrades: usize, reloads: usize) -> (Arc<Book>, Receipts) {
    let first = Upstream::start();
    let upstreams = [Upstream::beside(first.heard()), first];
    let mut daemon = Setup::config(&config(&upstreams, 0)).start();
    let addresses = ["front", "spliced"].map(|name| daemon.address(name));
    let mut load = Load::start(&addresses, &upstreams[0]);
    pause(Duration::from_secs(1));
    let (mut receipts, mut round) = (Receipts::default(), 0);
    for _ in 0..upgrades {
        let receipt = daemon.upgrade(&[]);
        assert_eq!((&receipt["lost"], &receipt["drained"]), (&0.into(), &0.into()), "{receipt}");
        assert!(receipt["moved"].as_u64() >= Some(2 * IDLE as u64), "{receipt}\n{}", load.book.stories());
        receipts.upgraded(&receipt);
        for _ in 0..reloads {
            round += 1;
            reload(&daemon, &config(&upstreams, round), &mut receipts);
            pause(Duration::from_millis(100));
        }
        pause(Duration::from_millis(200));
    }
    load.end();
    daemon.becomes_idle();
    let accepted = daemon.metrics().sum("netd_listener_connections_accepted_total", &[]);
    let opened = load.book.sum().connections;
    // Of three listeners on four workers, admin and metrics: none is left behind
    // when workers come and go.
    assert!(receipts.sockets <= 3 * 4 + 2, "{receipts:?}");
    assert_eq!(accepted, opened as f64, "every connection is counted once\n{}", load.book.stories());
    (Arc::clone(&load.book), receipts)
}

/// Nothing failed, was cut, corrupted or stalled, and every kind was there.
fn nobody_noticed(book: &Book) {
    assert_eq!(book.sum().troubles(), 0, "{}\n{}", book.stories(), book.table());
    for kind in Kind::ALL {
        let row = book.row(kind);
        assert!(row.connections > 0 && row.bytes > 0, "{kind:?}: {row:?}");
    }
}

#[test]
fn five_upgrades_and_ten_reloads_under_every_load_are_noticed_by_nobody() {
    let _alone = alone();
    let (book, mut receipts) = endure(5, 2);
    println!("{}\n\n{}", receipts.line(), book.table());
    nobody_noticed(&book);
}

#[test]
#[ignore = "the long form: minutes"]
fn fifty_upgrades_and_two_hundred_reloads_under_every_load_are_noticed_by_nobody() {
    let _alone = alone();
    let (book, mut receipts) = endure(50, 4);
    println!("{}\n\n{}", receipts.line(), book.table());
    nobody_noticed(&book);
}

#[test]
#[ignore = "measures other proxies: a minute and a half"]
fn the_same_load_on_haproxy_and_nginx() {
    let _alone = alone();
    println!("{}", peers::compare(20));
}

/// Moves so many at once; none may be lost or left behind.
fn all_move(connections: usize) -> Move {
    let moved = move_at_once(connections);
    println!("{HEADING}{}", moved.row(connections));
    assert_eq!((moved.receipt["lost"].as_u64(), moved.receipt["drained"].as_u64()), (Some(0), Some(0)));
    assert!(moved.receipt["moved"].as_u64() >= Some(connections as u64), "{}", moved.receipt);
    moved
}

#[test]
fn two_thousand_connections_move_at_once_and_none_is_lost() {
    let _alone = alone();
    let moved = all_move(2_000);
    assert!(moved.moving < Duration::from_secs(10), "{moved:?}");
}

#[test]
#[ignore = "needs 20,000 open files a process"]
fn eight_thousand_connections_move_within_a_second() {
    let _alone = alone();
    let moved = all_move(8_000);
    // A debug build is slower, and so is a machine with other work.
    let bound = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(moved.moving < Duration::from_secs(bound), "{moved:?}");
}

/// In a virtual machine, where a process may have so many files open. There
/// is no bound on time: it may be an emulated one.
#[test]
#[ignore = "needs 110,000 open files a process, and net.ipv4.ip_local_port_range of 1024 to 65535"]
fn fifty_thousand_connections_move_and_none_is_lost() {
    let _alone = alone();
    all_move(50_000);
}

/// As above.
#[test]
#[ignore = "needs 210,000 open files a process, and net.ipv4.ip_local_port_range of 1024 to 65535"]
fn a_hundred_thousand_connections_move_and_none_is_lost() {
    let _alone = alone();
    all_move(100_000);
}
