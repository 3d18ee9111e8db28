//! Another configuration while clients are served.

use nix::sys::signal::Signal;

use crate::support::{Client, Daemon, End, Finished, Origin, Setup, eventually, traffic::Traffic};

fn front(endpoints: &[&Origin], more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[pool]]
        name = "back"
        endpoints = [{}]
        {more}
        "#,
        endpoints.join(", ")
    )
}

fn generation(daemon: &Daemon) -> u64 {
    daemon.status()["generation"].as_u64().expect("a number")
}

const EXTRA: &str = r#"
        [[listener]]
        name = "extra"
        address = "127.0.0.1:0"
        protocol = "echo"
"#;

#[test]
fn twenty_changes_under_traffic_lose_nothing() {
    let [a, b] = [Origin::echoing(), Origin::echoing()];
    let daemon = Setup::config(&front(&[&a], "")).start();
    let address = daemon.address("front");
    let traffic = Traffic::over(address, 4);
    let mut long = Client::connect(address);
    for round in 1..=20_u64 {
        let endpoints: &[&Origin] = match round % 3 {
            0 => &[&a],
            1 => &[&a, &b],
            _ => &[&b],
        };
        let more = match round % 4 {
            0 => String::new(),
            1 => format!("retries = {}", round % 7),
            2 => EXTRA.to_owned(),
            _ => EXTRA.replace("echo", "discard"),
        };
        daemon.rewrite(&front(endpoints, &more));
        if round % 2 == 0 {
            daemon.signal(Signal::SIGHUP);
        } else {
            daemon.ask(&["reload"]);
        }
        eventually("the change is in force", || (generation(&daemon) == round + 1).then_some(()));
        traffic.goes_on(20);
        long.echo(format!("round {round}").as_bytes());
    }
    assert_eq!(daemon.address("front"), address, "a listener that did not change was bound anew");
    let done = traffic.ends_without_a_failure();
    assert!(done >= 400, "{done} exchanges");
    assert!(a.accepted() > 20 && b.accepted() > 20, "{} and {} connections", a.accepted(), b.accepted());
    eventually("all workers have confirmed", || {
        let applied = daemon.metrics().one("netd_config_reloads_total", &[("outcome", "applied")]);
        (applied == 20.0).then_some(())
    });
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let a = Origin::saying("a");
    let daemon = Setup::config(&front(&[&a], "")).start();
    let before = daemon.ask(&["config"]).stdout;
    daemon.rewrite(&front(&[&a], "colour = \"red\""));

    let refused = daemon.netctl(&["reload"]).ended_with(1);
    assert!(refused.stderr.contains("colour") && refused.stderr.contains("netd.toml:"), "{}", refused.story());
    daemon.netctl(&["plan"]).ended_with(1).complained("colour");

    daemon.signal(Signal::SIGHUP);
    eventually("the second reload is refused", || {
        let refused = daemon.metrics().one("netd_config_reloads_total", &[("outcome", "refused")]);
        (refused == 2.0).then_some(())
    });
    let status = daemon.status();
    assert_eq!(status["generation"], 1);
    assert!(status["last_reload"].as_str().is_some_and(|text| text.contains("colour")), "{status}");
    assert!(daemon.log().contains("colour"), "the log does not say why");
    assert_eq!(daemon.metrics().one("netd_config_last_reload_successful", &[]), 0.0);
    assert_eq!(daemon.ask(&["config"]).stdout, before);
    assert_eq!(daemon.connect("front").rest(), (b"a".to_vec(), End::Eof));

    daemon.rewrite(&front(&[&a], "retries = 1"));
    daemon.ask(&["reload"]);
    assert_eq!(daemon.status()["last_reload"], "ok");
    assert_eq!(daemon.metrics().one("netd_config_last_reload_successful", &[]), 1.0);
}

#[test]
fn an_address_that_is_taken_makes_the_whole_reload_fail() {
    let a = Origin::saying("a");
    let daemon = Setup::config(&front(&[&a], "")).start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket").to_string();
    let more = format!("retries = 7\n{EXTRA}{}", EXTRA.replace("extra", "taken").replace("127.0.0.1:0", &address));
    daemon.rewrite(&front(&[&a], &more));
    daemon.netctl(&["reload"]).ended_with(1).complained(&address);
    assert_eq!(generation(&daemon), 1);
    let names: Vec<_> = daemon.json(&["listeners"])["listeners"].as_array().expect("a list").clone();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(!daemon.ask(&["config"]).stdout.contains("retries = 7"));
    drop(taken);
    daemon.ask(&["reload"]);
    daemon.connect("taken").echo(b"now");
}

#[test]
fn connections_of_a_removed_listener_go_on() {
    let a = Origin::echoing();
    let daemon = Setup::config(&front(&[&a], EXTRA)).start();
    let extra = daemon.address("extra");
    let mut client = Client::connect(extra);
    client.echo(b"before");
    daemon.rewrite(&front(&[&a], ""));
    daemon.ask(&["reload"]);
    client.echo(b"after");
    assert!(Client::try_connect(extra).is_err(), "a removed listener still accepts");
    assert_eq!(daemon.listener("extra")["state"], "removed");
    assert_eq!(daemon.connections()[0]["listener"], "extra");

    client.finish();
    assert_eq!(client.rest().1, End::Eof);
    eventually("the removed listener is gone", || {
        (daemon.json(&["listeners"])["listeners"].as_array().expect("a list").len() == 1).then_some(())
    });
}

#[test]
fn connections_keep_the_endpoint_that_was_taken_away() {
    let [a, b] = [Origin::echoing(), Origin::echoing()];
    let daemon = Setup::config(&front(&[&a], "")).start();
    let mut client = daemon.connect("front");
    client.echo(b"before");
    daemon.rewrite(&front(&[&b], ""));
    daemon.ask(&["reload"]);
    client.echo(b"after");
    daemon.connect("front").echo(b"new");
    assert_eq!((a.accepted(), b.accepted()), (1, 1));
    // Which worker has it, and so its place in the list, is the kernel's choice.
    let source = client.local().to_string();
    let connections = daemon.connections();
    let ours = connections.iter().find(|each| each["source"] == source.as_str()).expect("it is open");
    assert_eq!(ours["endpoint"], a.address.to_string());
}

#[test]
fn a_plan_shows_the_truth_and_changes_nothing() {
    let [a, b] = [Origin::echoing(), Origin::echoing()];
    let daemon = Setup::config(&front(&[&a], EXTRA)).start();
    let mut on_front = daemon.connect("front");
    let mut on_extra = daemon.connect("extra");
    on_front.echo(b"1");
    on_extra.echo(b"1");
    daemon.netctl(&["plan", "--exit-code"]).ended_with(0);

    let candidate = daemon.path("candidate.toml");
    std::fs::write(&candidate, front(&[&b], "retries = 9")).expect("a file to write");
    let candidate = candidate.to_str().expect("UTF-8");
    daemon.netctl(&["plan", candidate, "--exit-code"]).ended_with(6);
    let plan = daemon.json(&["plan", candidate]);
    let change = |object: &str, kind: &str| {
        let changes = plan["changes"].as_array().expect("a list");
        let found = changes.iter().find(|change| change["object"] == object && change["kind"] == kind);
        found.unwrap_or_else(|| panic!("{kind} {object} is not in {plan:#}")).clone()
    };
    let (old, new) = (format!("endpoint/back/{}", a.address), format!("endpoint/back/{}", b.address));
    assert_eq!(change("listener/extra", "removed")["drained"], 1);
    assert_eq!(change(&old, "removed")["drained"], 1);
    change(&new, "added");
    assert!(change("pool/back", "changed")["details"].to_string().contains("retries"), "{plan:#}");
    for each in plan["changes"].as_array().expect("a list") {
        assert_eq!(each["cut"], 0, "{each}");
    }
    assert_eq!(generation(&daemon), 1);
    on_extra.echo(b"2");
    daemon.connect("extra").echo(b"still there");
    assert_eq!(b.accepted(), 0);

    // And what was planned is what a reload does.
    let applied = daemon.json(&["reload", candidate, "--expect", "1"]);
    let objects = |value: &serde_json::Value| -> Vec<String> {
        value["changes"].as_array().expect("a list").iter().map(|change| change["object"].to_string()).collect()
    };
    assert_eq!(objects(&applied), objects(&plan));
    daemon.netctl(&["reload", candidate, "--expect", "1"]).ended_with(1).complained("generation");
    on_front.echo(b"2");
}

#[test]
fn what_a_reload_cannot_do_is_an_obstacle() {
    let a = Origin::echoing();
    let daemon = Setup::config(&format!("[workers]\npin = false\n{}", front(&[&a], ""))).start();
    daemon.rewrite(&format!("[workers]\npin = true\n{}", front(&[&a], "")));
    let said: Finished = daemon.netctl(&["plan", "-o", "json"]).ended_with(1);
    assert!(said.json()["obstacles"].to_string().contains("workers"), "{}", said.story());
    daemon.netctl(&["reload"]).ended_with(1).complained("workers");
    assert_eq!(generation(&daemon), 1);
}

#[test]
fn a_candidate_is_shown_until_the_file_is_read_again() {
    let a = Origin::saying("a");
    let daemon = Setup::config(&front(&[&a], "")).start();
    let candidate = daemon.path("candidate.toml");
    std::fs::write(&candidate, front(&[&a], "retries = 1")).expect("a file to write");
    let candidate = candidate.to_str().expect("UTF-8");
    daemon.ask(&["reload", candidate, "--who", "anna"]).complained("reads the daemon's own file again");
    daemon.ask(&["status"]).said("a candidate over the admin API (by anna)");
    daemon.ask(&["reload"]);
    assert_eq!(daemon.status()["candidate_by"], "");
    assert!(daemon.ask(&["status"]).stdout.contains("netd.toml, applied"), "the file is not named");
}

#[test]
fn a_refused_file_takes_one_line_of_the_log_and_the_status() {
    let a = Origin::saying("a");
    let daemon = Setup::config(&front(&[&a], "")).start();
    daemon.rewrite(&front(&[&a], "colour = \"red\""));
    daemon.signal(Signal::SIGHUP);
    daemon.logs("reload refused");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("reload refused")).expect("a line");
    assert!(line.contains("colour") && line.contains("more lines)") && line.contains("SIGHUP"), "{line}");
    assert!(!log.contains("\n    "), "a line of the log goes on\n{log}");
    daemon.ask(&["status"]).said("more lines)");
    assert!(daemon.status()["last_reload"].as_str().is_some_and(|text| text.lines().count() > 3));
}

#[test]
fn an_endpoint_that_is_gone_is_shown_while_a_client_is_on_it() {
    let [a, b] = [Origin::echoing(), Origin::echoing()];
    let daemon = Setup::config(&front(&[&a], "")).start();
    let mut client = daemon.connect("front");
    client.echo(b"on a");
    daemon.rewrite(&front(&[&b], ""));
    daemon.ask(&["reload"]);
    let gone = daemon.endpoint("back", 1);
    assert_eq!((&gone["state"], &gone["figures"]["active"]), (&"removed".into(), &1.into()), "{gone}");
    daemon.ask(&["pools"]).said("removed");
    client.echo(b"still on a");
    drop(client);
    eventually("it is gone", || daemon.endpoint("back", 1).is_null().then_some(()));
}
