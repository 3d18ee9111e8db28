//! `netctl explain` names the limit that would refuse a connection, and asking
//! uses nothing up.

use super::{echo, relay, served};
use crate::support::{Client, Daemon, Origin, eventually};

/// What is told of a connection from there.
fn told(daemon: &Daemon, from: &str) -> (Vec<String>, Vec<String>, String) {
    let answer = daemon.json(&["explain", "--listener", "front", "--from", from]);
    let texts = |field: &str| {
        let texts = answer[field].as_array().expect("an array").iter();
        texts.map(|each| each.as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    (texts("refused_by"), texts("notes"), answer["explanation"].as_str().expect("a text").to_owned())
}

/// Refused by this one thing.
#[track_caller]
fn refused(daemon: &Daemon, from: &str, by: &str) {
    let (refused_by, _, sentence) = told(daemon, from);
    assert!(refused_by.len() == 1 && refused_by[0].ends_with(by), "{by}: {refused_by:?}");
    assert!(sentence.contains("would be refused"), "{sentence}");
}

#[track_caller]
fn let_in(daemon: &Daemon, from: &str) {
    let (refused_by, _, sentence) = told(daemon, from);
    assert!(refused_by.is_empty() && sentence.contains("would go to"), "{refused_by:?}: {sentence}");
}

#[test]
fn lists_numbers_and_rates() {
    let origin = Origin::echoing();
    let deny = relay(&[&origin], "deny = [\"10.0.0.0/8\"]\nallow = [\"10.0.0.0/8\", \"127.0.0.0/8\"]", "");
    refused(&deny, "10.1.2.3", "(denied)");
    refused(&deny, "192.0.2.1", "(denied)");
    let_in(&deny, "127.0.0.1");
    deny.ask(&["explain", "--listener", "front", "--from", "10.1.2.3"])
        .said("would be refused; let in, it would go to")
        .said("Refused: its address is on `deny`, or not on `allow` (denied).");

    let full = relay(&[&origin], "max_connections = 2", "");
    let_in(&full, "127.0.0.1");
    let open = served(&full, "front", 2);
    refused(&full, "127.0.0.1", "(listener-full)");
    drop(open);
    full.becomes_idle();
    let_in(&full, "127.0.0.1");

    let source = relay(&[&origin], "max_connections_per_source = 1", "");
    let _open = served(&source, "front", 1);
    refused(&source, "127.0.0.1", "(source-full)");
    let_in(&source, "127.0.0.2");

    let rates = relay(&[&origin], "rate = \"3/h\"\nrate_per_source = \"2/h\"", "");
    // However often somebody asks.
    (0..10).for_each(|_| let_in(&rates, "127.0.0.1"));
    assert_eq!(served(&rates, "front", 2).len(), 2);
    refused(&rates, "127.0.0.1", "(source-rate)");
    let_in(&rates, "127.0.0.2");
    drop(served(&rates, "front", 1));
    assert_eq!(rates.metrics().one("netd_listener_connections_accepted_total", &[("listener", "front")]), 2.0);

    let process = relay(&[&origin], "", "[limits]\nmax_connections = 1");
    let _open = served(&process, "front", 1);
    refused(&process, "127.0.0.9", "(process-full)");
}

#[test]
fn full_pools_and_their_queues() {
    let origin = Origin::echoing();
    for limit in ["max_connections = 2", "endpoint_max_connections = 2"] {
        let daemon = relay(&[&origin], "", limit);
        let_in(&daemon, "127.0.0.1");
        let open = served(&daemon, "front", 2);
        refused(&daemon, "127.0.0.1", "and it has no `queue`");
        drop(open);

        let daemon = relay(&[&origin], "", &format!("{limit}\nqueue = {{ size = 1, timeout = \"60s\" }}"));
        let open = served(&daemon, "front", 2);
        let (refused_by, notes, sentence) = told(&daemon, "127.0.0.1");
        assert_eq!(refused_by, [""; 0], "it waits");
        assert!(
            notes.len() == 1
                && notes[0].starts_with("it would wait in the `queue` of pool `back`, behind 0 others, for 1m")
        );
        assert!(sentence.contains("would wait for pool `back`, which is full"), "{sentence}");
        let mut waiting = Client::connect(daemon.address("front"));
        waiting.send(b"!");
        eventually("it stands in the line", || {
            (daemon.metrics().one("netd_pool_waiting", &[("pool", "back")]) == 1.0).then_some(())
        });
        refused(&daemon, "127.0.0.1", "and 1 wait in its `queue`, as many as may");
        drop(open);
        assert_eq!(waiting.receive(1), b"!");
    }
}

#[test]
fn proxies_and_who_is_behind_them() {
    let origin = Origin::echoing();
    let proxied =
        "proxy_protocol = \"any\"\nproxy_trusted = [\"10.0.0.0/24\"]\ndeny = [\"192.0.2.0/24\", \"10.0.0.0/8\"]";
    let daemon = relay(&[&origin], proxied, "");
    let (refused_by, notes, _) = told(&daemon, "10.0.0.9");
    assert_eq!(refused_by, [""; 0], "lists go by the client that its header names");
    assert!(notes.len() == 1 && notes[0].starts_with("10.0.0.9 is a trusted proxy (`proxy_trusted`)"), "{notes:?}");
    refused(&daemon, "192.0.2.7", "(denied)");
    let (refused_by, notes, _) = told(&daemon, "198.51.100.7");
    assert_eq!(refused_by, [""; 0]);
    assert!(notes[0].contains("a connection from 198.51.100.7 itself is reset"), "{notes:?}");
    let plain = relay(&[&origin], &format!("{proxied}\nproxy_untrusted = \"plain\""), "");
    let (_, notes, _) = told(&plain, "198.51.100.7");
    assert!(notes[0].contains("is served as its own"), "{notes:?}");
    plain.ask(&["explain", "--listener", "front", "--from", "10.0.0.9"]).said("Note: 10.0.0.9 is a trusted proxy");
}

#[test]
fn without_proxies_there_is_nothing_to_note() {
    let daemon = relay(&[&Origin::echoing()], "", "");
    assert_eq!(told(&daemon, "127.0.0.1").1, [""; 0]);
    echo("").netctl(&["explain", "--listener", "echo", "--from", "127.0.0.1"]).complained("relays to no pool");
}
