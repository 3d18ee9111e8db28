//! Who gets the next connection: policies, limits, shares of pools.

mod many;
mod shares;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
};

use socket2::{Domain, Socket, Type};

use crate::support::{Client, Daemon, End, Origin, Setup};

/// A listener `front` that relays to a pool `back` with these lines, on two
/// workers.
fn pool(lines: &str) -> Daemon {
    Setup::config(&text(lines)).start()
}

fn text(lines: &str) -> String {
    format!(
        r#"
        [workers]
        count = 2
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[pool]]
        name = "back"
        {lines}
        "#
    )
}

fn endpoints<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> String {
    let all: Vec<String> = origins.into_iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    format!("endpoints = [{}]", all.join(", "))
}

/// A connection that is relayed already, and stays.
fn held(daemon: &Daemon) -> Client {
    let mut client = daemon.connect("front");
    client.echo(b"here");
    client
}

/// A connection from this address.
fn from(source: Ipv4Addr, to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("a listener");
    Client::adopt(socket.into()).expect("a connection")
}

fn said(mut client: Client) -> String {
    let (text, end) = client.rest();
    assert_eq!(end, End::Eof);
    String::from_utf8(text).expect("a name")
}

/// Connections are counted over both workers, whichever the kernel gives them
/// to.
#[test]
fn the_least_connections_are_those_of_the_whole_process() {
    let origins: Vec<Origin> = (0..4).map(|_| Origin::echoing()).collect();
    let daemon = pool(&format!("{}\npolicy = \"least-connections\"", endpoints(&origins)));
    let mut clients: Vec<Client> = (0..80).map(|_| held(&daemon)).collect();
    assert_eq!(origins.iter().map(Origin::accepted).collect::<Vec<_>>(), [20; 4]);
    let workers = daemon.status()["workers"].as_array().expect("workers").clone();
    assert!(workers.iter().all(|worker| worker["active"].as_u64() > Some(5)), "one worker has them all: {workers:?}");
    for index in 0..4 {
        assert_eq!(daemon.endpoint("back", index)["load"], 20);
    }
    // Those that go make room.
    clients.drain(..);
    daemon.becomes_idle();
    assert_eq!(daemon.endpoint("back", 0)["load"], 0);
    let _clients: Vec<Client> = (0..40).map(|_| held(&daemon)).collect();
    assert_eq!(origins.iter().map(Origin::accepted).collect::<Vec<_>>(), [30; 4]);
}

#[test]
fn the_better_of_two_is_nearly_even() {
    let origins: Vec<Origin> = (0..5).map(|_| Origin::echoing()).collect();
    let daemon = pool(&format!("{}\npolicy = \"power-of-two-choices\"", endpoints(&origins)));
    let _clients: Vec<Client> = (0..200).map(|_| held(&daemon)).collect();
    let counts: Vec<usize> = origins.iter().map(Origin::accepted).collect();
    // By lot alone, one of five would differ from 40 by more than 11 in one
    // run of ten or so; the better of two keeps the gap at a few.
    assert!(counts.iter().all(|count| (34..=46).contains(count)), "{counts:?}");
}

#[test]
fn lots_are_drawn_by_weight() {
    let [light, heavy] = ["light", "heavy"].map(Origin::saying);
    let list = format!(
        "endpoints = [\"{}\", {{ address = \"{}\", weight = 3 }}]\npolicy = \"random\"",
        light.address, heavy.address
    );
    let daemon = pool(&list);
    (0..400).for_each(|_| drop(said(daemon.connect("front"))));
    // 100 expected, standard deviation 8.7: beyond five of them once in 1.7
    // million runs.
    assert!((57..=143).contains(&light.accepted()), "{}", light.accepted());
    assert_eq!(light.accepted() + heavy.accepted(), 400);
}

/// With one of ten endpoints gone, its clients move, and few others.
#[test]
fn clients_stay_with_their_endpoint() {
    const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    const CLIENTS: u16 = 400;
    let origins = NAMES.map(Origin::saying);
    let lines = |origins: &[Origin]| format!("{}\npolicy = \"maglev\"", endpoints(origins));
    let daemon = pool(&lines(&origins));
    let address = daemon.address("front");
    let client = |number: u16| Ipv4Addr::new(127, 9, (number >> 8) as u8, number as u8);
    let homes = || -> Vec<String> { (0..CLIENTS).map(|number| said(from(client(number), address))).collect() };
    let before = homes();
    assert_eq!(before, homes(), "the same client, the same endpoint, on both workers");
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 10, "all are used");
    daemon.rewrite(&text(&lines(&origins[..9])));
    daemon.ask(&["reload"]);
    let after = homes();
    let moved = before.iter().zip(&after).filter(|(old, new)| old != new).count();
    let lost = before.iter().filter(|home| *home == "j").count();
    assert!(lost >= 20 && moved >= lost, "{lost} of {CLIENTS} lost their endpoint");
    assert!(moved - lost <= usize::from(CLIENTS) / 20, "{} moved needlessly", moved - lost);
    assert!(after.iter().all(|home| home != "j"));
}

#[test]
fn a_full_endpoint_is_passed_over_and_a_full_pool_says_so() {
    let [first, second, backup] = [(); 3].map(|()| Origin::echoing());
    let list = format!(
        "endpoints = [\"{}\", {{ address = \"{}\", max_connections = 3 }}, {{ address = \"{}\", backup = true, \
         max_connections = 1 }}]\npolicy = \"first-available\"\nendpoint_max_connections = 2",
        first.address, second.address, backup.address
    );
    let daemon = pool(&list);
    let mut clients: Vec<Client> = (0..6).map(|_| held(&daemon)).collect();
    assert_eq!([&first, &second, &backup].map(|origin| origin.accepted()), [2, 3, 1]);
    assert_eq!(Client::what_comes(daemon.address("front")).1, End::Reset);
    assert_eq!(daemon.metrics().one("netd_pool_full_total", &[("pool", "back")]), 1.0);
    let explained = daemon.json(&["explain", "--listener", "front", "--from", "10.1.2.3"]);
    assert_eq!((&explained["pools"][0]["open"], &explained["workers"][0]["endpoint"]), (&0.into(), &"".into()));
    let sentence = explained["explanation"].as_str().expect("a sentence");
    assert!(sentence.contains("every endpoint that takes connections has as many as it may"), "{sentence}");
    clients.swap_remove(0);
    let room = || (daemon.endpoint("back", 0)["load"] == 1).then_some(());
    crate::support::eventually("a place is free", room);
    drop(held(&daemon));
    assert_eq!(first.accepted(), 3, "the first of the file has room again");
}

#[test]
fn what_is_explained_comes_and_asking_changes_nothing() {
    let origins = ["a", "b", "c"].map(Origin::saying);
    let config = text(&endpoints(&origins)).replace("count = 2", "count = 1");
    let daemon = Setup::config(&config).start();
    let names: BTreeMap<String, &str> =
        origins.iter().map(|origin| origin.address.to_string()).zip(["a", "b", "c"]).collect();
    for _ in 0..6 {
        let ask = || daemon.json(&["explain", "--from", "127.0.0.1", "--listener", "front"]);
        let explained = ask();
        assert_eq!(ask(), explained);
        let endpoint = explained["workers"][0]["endpoint"].as_str().expect("an endpoint");
        assert_eq!(said(daemon.connect("front")), names[endpoint]);
    }
    daemon.ask(&["set", "back", &origins[0].address.to_string(), "--maintenance", "--why", "ticket 7"]);
    let shown = daemon.ask(&["explain", "--from", "127.0.0.1", "--listener", "front"]).stdout;
    assert!(shown.contains("no: maintenance, set by") && shown.contains("(ticket 7)"), "{shown}");
    assert!(shown.contains("round-robin, 2 of 3 endpoints open"), "{shown}");
    let refused = daemon.netctl(&["explain", "--listener", "frnt"]);
    assert!(refused.stderr.contains("did you mean `front`"), "{}", refused.stderr);
}

#[test]
fn an_endpoint_that_comes_back_begins_with_a_small_share() {
    let [old, new] = ["old", "new"].map(Origin::saying);
    let lines = format!("{}\nslow_start = \"10m\"", endpoints([&old, &new]));
    let daemon = pool(&lines);
    let round = |daemon: &Daemon| {
        let before = new.accepted();
        (0..210).for_each(|_| drop(said(daemon.connect("front"))));
        new.accepted() - before
    };
    assert!((104..=106).contains(&round(&daemon)), "a pool that is new begins whole");
    let address = new.address.to_string();
    daemon.ask(&["set", "back", &address, "--maintenance"]);
    assert_eq!(round(&daemon), 0);
    daemon.ask(&["set", "back", &address, "--clear"]);
    // 5 % of its share for half a minute: 10 of 210; 10 % for the next.
    let count = round(&daemon);
    assert!((8..=25).contains(&count), "{count}");
    let percent = daemon.endpoint("back", 1)["share_percent"].as_u64().expect("a number");
    assert!((5..=15).contains(&percent), "{percent}");
    assert!(daemon.ask(&["pools"]).stdout.contains("1, starting:"));
    // Over in a second, it takes its whole share.
    daemon.rewrite(&text(&lines.replace("10m", "1s")));
    daemon.ask(&["reload"]);
    crate::support::eventually("the start is over", || {
        (daemon.endpoint("back", 1)["share_percent"] == 100).then_some(())
    });
    let count = round(&daemon);
    assert!((103..=107).contains(&count), "{count}");
}
