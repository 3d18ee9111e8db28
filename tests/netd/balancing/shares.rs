//! Several pools of one listener.

use crate::support::{Client, Daemon, End, Origin, Setup, eventually};

fn canary(app: &Origin, canary: &Origin) -> Daemon {
    Setup::config(&format!(
        r#"
        [workers]
        count = 2
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pools = [{{ name = "app", weight = 95 }}, {{ name = "canary", weight = 5 }}]
        [[pool]]
        name = "app"
        endpoints = ["{}"]
        [[pool]]
        name = "canary"
        endpoints = ["{}"]
        "#,
        app.address, canary.address
    ))
    .start()
}

/// How many of `count` connections the canary took.
fn taken(daemon: &Daemon, canary: &Origin, count: usize) -> usize {
    let (address, before) = (daemon.address("front"), canary.accepted());
    for _ in 0..count {
        assert_eq!(Client::connect(address).rest().1, End::Eof);
    }
    canary.accepted() - before
}

#[test]
fn a_canary_takes_its_share_and_it_changes_live() {
    let (app, new) = (Origin::saying("app"), Origin::saying("canary"));
    let daemon = canary(&app, &new);
    // Each of two workers is exact to one in a round of 20.
    let count = taken(&daemon, &new, 4000);
    assert!((198..=202).contains(&count), "5 % of 4000: {count}");
    let set = daemon.ask(&["set-split", "front", "canary=50", "app=50", "--why", "looks well"]);
    assert!(set.stdout.contains("app=50 (file 95) canary=50 (file 5)"), "{}", set.stdout);
    let count = taken(&daemon, &new, 400);
    assert!((197..=203).contains(&count), "50 % of 400: {count}");
    let why = daemon.ask(&["why", "front"]).stdout;
    assert!(why.contains("looks well") && why.contains("app=50 canary=50"), "{why}");
    daemon.ask(&["reload"]);
    assert_eq!(daemon.status()["overrides"], 1, "a reload leaves it");
    daemon.ask(&["set-split", "front", "canary=0"]);
    assert_eq!(taken(&daemon, &new, 50), 0);
    daemon.ask(&["set-split", "front", "--clear"]);
    assert_eq!(daemon.listener("front")["pools"][1]["weight"], 5);
    let count = taken(&daemon, &new, 400);
    assert!((18..=22).contains(&count), "5 % of 400: {count}");
    let refused = daemon.netctl(&["set-split", "front", "canary=0", "app=0"]);
    assert!(refused.stderr.contains("no pool would have a share"), "{}", refused.stderr);
}

#[test]
fn shares_that_are_set_for_a_time_end_by_themselves() {
    let (app, new) = (Origin::saying("app"), Origin::saying("canary"));
    let daemon = canary(&app, &new);
    daemon.ask(&["set-split", "front", "app=0", "canary=1", "--for", "1s"]);
    eventually("the file's shares", || (daemon.listener("front")["pools"][0]["weight"] == 95).then_some(()));
    assert!(taken(&daemon, &new, 40) <= 4);
    daemon.logs("override has expired");
}

#[test]
fn all_pools_of_a_listener_are_explained() {
    let (app, new) = (Origin::saying("app"), Origin::saying("canary"));
    let daemon = canary(&app, &new);
    let explained = daemon.json(&["explain", "--listener", "front", "--from", "192.0.2.1:999"]);
    let names: Vec<&str> =
        explained["pools"].as_array().expect("pools").iter().filter_map(|it| it["pool"].as_str()).collect();
    assert_eq!(names, ["app", "canary"]);
    assert_eq!(explained["workers"].as_array().map(Vec::len), Some(2));
    assert!(explained["explanation"].as_str().is_some_and(|text| text.contains("(share 95 of 100)")), "{explained}");
    let listed = daemon.ask(&["listeners"]).stdout;
    assert!(listed.contains("tcp to app=95 canary=5"), "{listed}");
}
