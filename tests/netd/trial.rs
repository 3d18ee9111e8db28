//! Reloads on trial, the way back, and the history of both.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Client, Daemon, End, Origin, Setup, eventually, traffic::Traffic};

fn front(endpoint: &Origin, more: &str) -> String {
    format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[pool]]
        name = "back"
        endpoints = ["{}"]
        {more}
        "#,
        endpoint.address
    )
}

const EXTRA: &str = r#"
        [[listener]]
        name = "extra"
        address = "127.0.0.1:0"
        protocol = "echo"
"#;

fn comes_into_force(daemon: &Daemon, generation: u64) {
    eventually("another generation", || (daemon.status()["generation"] == generation).then_some(()));
}

fn history(daemon: &Daemon) -> Vec<Value> {
    daemon.json(&["history"])["entries"].as_array().expect("a list").clone()
}

fn verdict(entry: &Value) -> (&str, u64, &str) {
    let text = |key: &str| entry[key].as_str().expect("a text");
    (text("kind"), entry["generation"].as_u64().expect("a number"), text("verdict"))
}

#[test]
fn what_nobody_confirms_comes_back_beneath_live_connections() {
    let [a, b] = [Origin::echoing(), Origin::echoing()];
    let daemon = Setup::config(&front(&a, "")).start();
    let address = daemon.address("front");
    let traffic = Traffic::over(address, 2);
    let mut before = Client::connect(address);
    before.echo(b"before");
    let candidate = daemon.path("candidate.toml");
    std::fs::write(&candidate, front(&b, EXTRA)).expect("a file to write");
    let candidate = candidate.to_str().expect("UTF-8");

    let answer = daemon.json(&["reload", candidate, "--confirm", "6s", "--who", "ann"]);
    assert_eq!((&answer["generation"], &answer["pending"]["former"]), (&2.into(), &1.into()), "{answer:#}");
    let mut meanwhile = Client::connect(address);
    meanwhile.echo(b"to the other endpoint");
    assert!(b.accepted() > 0);
    let mut on_extra = daemon.connect("extra");
    on_extra.echo(b"on a listener that goes away again");
    assert_eq!(daemon.status()["pending"]["must_confirm"], true);
    daemon.ask(&["status"]).said("until").said("generation 1 comes back unless `netctl confirm` keeps it");
    daemon.netctl(&["reload"]).ended_with(1).complained("waits for its confirmation");
    daemon.signal(Signal::SIGHUP);
    assert_eq!(daemon.metrics().one("netd_config_trial_pending", &[]), 1.0);

    comes_into_force(&daemon, 3);
    for each in [&mut before, &mut meanwhile, &mut on_extra] {
        each.echo(b"untouched");
    }
    assert_eq!(daemon.address("front"), address);
    assert_eq!(daemon.listener("extra")["state"], "removed");
    assert_eq!(daemon.endpoint("back", 0)["address"], a.address.to_string());
    traffic.goes_on(20);
    traffic.ends_without_a_failure();

    let history = history(&daemon);
    assert_eq!(verdict(&history[0]), ("revert", 3, "applied"), "{history:#?}");
    let trial = history.iter().find(|entry| entry["generation"] == 2).expect("the trial");
    assert_eq!((verdict(trial), &trial["by"]["who"]), (("reload", 2, "reverted"), &"ann".into()));
    assert_eq!(trial["reason"], "not confirmed within 6s");
    let refusals = history.iter().filter(|entry| entry["verdict"] == "refused").count();
    assert_eq!(refusals, 2, "netctl's reload and the signal's");
    let metrics = daemon.metrics();
    assert_eq!(metrics.one("netd_config_trials_total", &[("outcome", "reverted-time")]), 1.0);
    assert_eq!(metrics.one("netd_config_last_reload_successful", &[]), 0.0);
    daemon.logs("generation 2 is taken back (not confirmed within 6s): generation 1 is in force again, as 3");
    // The candidate was no file of the daemon's: what runs is again what that says.
    assert_eq!(daemon.status()["restored_from"], 0);
}

#[test]
fn what_is_confirmed_stays_and_a_stop_takes_nothing_back() {
    let a = Origin::echoing();
    let mut daemon = Setup::config(&front(&a, "")).start();
    daemon.rewrite(&front(&a, "retries = 1"));
    daemon.ask(&["reload", "--confirm", "10s"]);
    daemon.netctl(&["confirm", "7"]).ended_with(1).complained("generation 2");
    daemon.ask(&["confirm"]).said("Generation 2 is confirmed.");
    daemon.netctl(&["confirm"]).ended_with(1).complained("nothing waits for a confirmation");

    daemon.rewrite(&front(&a, "retries = 3"));
    daemon.ask(&["reload", "--confirm", "1h"]);
    assert_eq!(daemon.status()["generation"], 3, "the first one has stayed");
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    assert!(!daemon.log().contains("taken back ("), "a daemon that stops does not change any more");
}

#[test]
fn a_guard_takes_back_a_pool_that_refuses() {
    let (good, bad) = (Origin::echoing(), Origin::refusing());
    let daemon = Setup::config(&front(&good, "")).start();
    let address = daemon.address("front");
    let mut live = Client::connect(address);
    live.echo(b"before");
    for _ in 0..30 {
        let mut client = Client::connect(address);
        client.echo(b"good");
        client.finish();
        assert_eq!(client.rest().1, End::Eof);
    }
    daemon.rewrite(&front(&bad, ""));
    daemon.ask(&["reload", "--guard", "--guard-for", "10m", "--guard-min", "10"]);
    let mut failed = 0;
    eventually("the guard trips", || {
        if daemon.status()["generation"] == 3 {
            return Some(());
        }
        failed += usize::from(Client::try_connect(address).and_then(|mut client| client.try_echo(b"?")).is_err());
        None
    });
    assert!(failed >= 1, "nobody met the pool that refuses");
    live.echo(b"untouched");
    Client::connect(address).echo(b"good again");
    let history = history(&daemon);
    assert_eq!(verdict(&history[1]), ("reload", 2, "reverted"));
    let reason = history[1]["reason"].as_str().expect("a text");
    assert!(reason.starts_with("listener/front: ") && reason.contains("(100.0%), before the reload 0 of "), "{reason}");
    assert_eq!(daemon.metrics().one("netd_config_trials_total", &[("outcome", "reverted-guard")]), 1.0);
    // The daemon's own file still has the pool that refuses, and everybody is told.
    daemon.ask(&["status"]).said("generation 1 again (by netd), not from");
    daemon.ask(&["plan"]).said("is generation 1 again (by netd), not the daemon's own file");
}

#[test]
fn a_guard_lets_a_good_reload_stay() {
    let a = Origin::echoing();
    let daemon = Setup::config(&front(&a, "")).start();
    daemon.rewrite(&front(&a, "retries = 1"));
    daemon.ask(&["reload", "--guard", "--guard-for", "500ms"]).said("generation 1 comes back if failures rise");
    eventually("it stays", || daemon.status()["pending"].is_null().then_some(()));
    assert_eq!(verdict(&history(&daemon)[0]), ("reload", 2, "confirmed"));
}

#[test]
fn a_rollback_goes_to_any_of_the_last_generations() {
    let a = Origin::echoing();
    let daemon = Setup::config(&front(&a, "")).start();
    let mut live = daemon.connect("front");
    live.echo(b"1");
    for retries in 3..=5 {
        daemon.rewrite(&front(&a, &format!("retries = {retries}")));
        daemon.ask(&["reload", "--why", &format!("step {retries}")]);
    }
    // Three generations ago.
    let answer = daemon.json(&["rollback", "1", "--who", "bert", "--why", "all wrong"]);
    assert_eq!((&answer["generation"], &answer["restored"]), (&5.into(), &1.into()), "{answer:#}");
    assert!(daemon.ask(&["config"]).stdout.contains("retries = 2"), "the default of the first file");
    let status = daemon.status();
    assert_eq!((&status["restored_from"], &status["restored_by"]), (&1.into(), &"bert".into()));
    daemon.netctl(&["plan", "--exit-code"]).ended_with(6).said("retries: 2 -> 5").said("generation 1 again (by bert)");
    live.echo(b"2");

    let table = daemon.ask(&["history"]);
    table.said("* 5").said("bert").said("rollback: back to generation 1: 1 changed").said("was in force");
    let list = history(&daemon);
    assert_eq!(list.len(), 5);
    assert_eq!((&list[1]["by"]["why"], &list[4]["kind"]), (&"step 5".into(), &"start".into()));
    assert!(list[1]["changes"][0]["details"].to_string().contains("retries: 4 -> 5"), "{list:#?}");
    daemon.ask(&["history", "4"]).said("retries: 4 -> 5");
    daemon.netctl(&["history", "77"]).ended_with(1).complained("not in the history");

    daemon.netctl(&["rollback", "99"]).ended_with(1).complained("there is: 1, 2, 3, 4, 5");
    daemon.netctl(&["rollback"]).ended_with(1).complained("no generation before");
    daemon.netctl(&["rollback", "4", "--expect", "3"]).ended_with(1).complained("generation 5 is in force");
    // A reload of the daemon's own file takes that again.
    daemon.ask(&["reload"]);
    assert_eq!(daemon.status()["restored_from"], 0);
    assert_eq!(daemon.metrics().one("netd_config_rollbacks_total", &[]), 1.0);
    daemon.logs("rolled back to generation 1, as generation 5: 1 changed");
}

#[test]
fn connections_of_what_was_removed_have_a_deadline() {
    let [a, b] = [Origin::echoing(), Origin::echoing()];
    let daemon = Setup::config(&front(&a, EXTRA)).start();
    let (mut on_front, mut on_extra) = (daemon.connect("front"), daemon.connect("extra"));
    on_front.echo(b"1");
    on_extra.echo(b"1");
    daemon.rewrite(&front(&b, "[reload]\nclose_removed_after = \"3s\""));
    daemon.ask(&["reload"]).said("connections that are left after 3s are closed");
    on_front.echo(b"2");
    on_extra.echo(b"2");
    let mut on_what_is_left = daemon.connect("front");
    on_what_is_left.echo(b"1");
    assert_eq!(on_extra.rest(), (Vec::new(), End::Reset));
    assert_eq!(on_front.rest(), (Vec::new(), End::Reset));
    eventually("one is left", || (daemon.connections().len() == 1).then_some(()));
    on_what_is_left.echo(b"2");
    let labels = [("listener", "front"), ("by", "operator"), ("phase", "open"), ("cause", "drain")];
    assert_eq!(daemon.metrics().one("netd_listener_connections_closed_total", &labels), 1.0);
}
