//! Every call, over the Unix socket.

use tonic::Code;

use super::fake::{Server, run};
use crate::{
    control::{DrainMode, DrainOutcome, DrainProgress, Event, EventKind, Provenance, Refusal},
    pb,
};

fn progress(remaining: u64, outcome: Option<DrainOutcome>) -> DrainProgress {
    DrainProgress {
        remaining,
        finished: 1,
        retired: 2,
        moved: 1,
        cut: 0,
        elapsed: std::time::Duration::ZERO,
        left: None,
        estimate: Some(std::time::Duration::from_secs(3)),
        accepting: None,
        mode: DrainMode::Gradual,
        outcome,
    }
}

fn event(kind: EventKind, text: &str) -> Event {
    let by = Some(Provenance { who: "alice".into(), why: String::new() });
    Event { at: super::fake::epoch(1), kind, object: "listener/web".into(), text: text.into(), by }
}

#[test]
fn status_listeners_and_pools() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let status = client.get_status(pb::GetStatusRequest {}).await.expect("answers").into_inner();
        assert_eq!((status.state.as_str(), status.last_reload.as_str()), ("serving", "bad file"));
        assert_eq!((status.pid, status.version.as_str()), (std::process::id(), env!("CARGO_PKG_VERSION")));
        assert_eq!(status.started_at.map(|at| at.seconds), Some(5));
        assert_eq!(status.workers[0].cpu, Some(1));
        assert_eq!((status.log_destination.as_str(), status.candidate_by.as_str()), ("the journal", ""));

        let all = client.list_listeners(pb::ListListenersRequest::default()).await.expect("answers").into_inner();
        assert_eq!(all.listeners.len(), 2);
        let one = pb::ListListenersRequest { name: "web".into() };
        let one = client.list_listeners(one).await.expect("answers").into_inner().listeners.remove(0);
        assert_eq!((one.name.as_str(), one.state.as_str(), one.origin.as_str()), ("web", "draining", "systemd"));
        let over = one.r#override.expect("has one");
        assert_eq!((over.value.as_str(), over.by.expect("known").who.as_str()), ("stopped", "alice"));
        let none = client.list_listeners(pb::ListListenersRequest { name: "w".into() }).await.expect_err("none");
        assert_eq!((none.code(), none.message()), (Code::NotFound, "there is no listener `w`; there are: db, web"));

        let pools = client.list_pools(pb::ListPoolsRequest::default()).await.expect("answers").into_inner().pools;
        assert_eq!((pools[0].state.as_str(), pools[0].endpoints[0].state.as_str()), ("failing", "failing"));
        assert_eq!(pools[0].reachable, 0);
        assert_eq!(pools[0].endpoints[0].r#override.as_ref().expect("has one").value, "weight 3");
        assert_eq!(pools[0].endpoints[0].mean_connect_time.expect("known").nanos, 250_000);
        let none = client.list_pools(pb::ListPoolsRequest { name: "x".into() }).await.expect_err("none");
        assert_eq!(none.code(), Code::NotFound);
    });
}

#[test]
fn every_refusal_has_its_code_and_message() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        for (refusal, code) in [
            (Refusal::Invalid("a".into()), Code::InvalidArgument),
            (Refusal::NotFound("b".into()), Code::NotFound),
            (Refusal::Precondition("c".into()), Code::FailedPrecondition),
            (Refusal::Busy("d".into()), Code::Aborted),
            (Refusal::Timeout("e".into()), Code::DeadlineExceeded),
            (Refusal::ShuttingDown, Code::Unavailable),
        ] {
            server.fake.script(|script| script.refusal = Some(refusal.clone()));
            let status = client.reload(pb::ReloadRequest::default()).await.expect_err("refused");
            assert_eq!((status.code(), status.message()), (code, refusal.to_string().as_str()));
        }
    });
}

#[test]
fn changes_reach_control_with_who_and_why() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let by = || Some(pb::Provenance { who: String::new(), why: "ticket 7".into() });
        let own = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let own = own.map_or_else(|| format!("uid:{}", nix::unistd::geteuid()), |user| user.name);

        client
            .stop_listener(pb::StopListenerRequest { name: "web".into(), by: by(), ..Default::default() })
            .await
            .expect("answers");
        client.start_listener(pb::StartListenerRequest { name: "web".into(), by: by() }).await.expect("answers");
        let target = Some(pb::Target { of: Some(pb::target::Of::Pool("db".into())) });
        client.undrain(pb::UndrainRequest { target, by: by() }).await.expect("answers");
        let level = pb::SetLogLevelRequest { level: "debug".into(), by: by() };
        assert_eq!(client.set_log_level(level).await.expect("answers").into_inner().previous, "info");
        client.shutdown(pb::ShutdownRequest { now: true, by: by(), ..Default::default() }).await.expect("answers");
        let endpoint = Some(pb::EndpointName { pool: "db".into(), address: "10.0.0.1:5432".into() });
        let setting = Some(pb::set_endpoint_request::Setting::Weight(3));
        let set = pb::SetEndpointRequest { endpoint, setting, by: by(), ..Default::default() };
        let set = client.set_endpoint(set).await.expect("answers").into_inner().endpoint.expect("there");
        assert_eq!(set.weight, 3);
        let close = pb::CloseConnectionRequest { ids: vec!["1f".into()], by: by(), ..Default::default() };
        let closed = client.close_connection(close).await.expect("answers").into_inner();
        assert_eq!((closed.closed, closed.unknown_ids), (2, vec!["1f".to_owned()]));

        let reload = client.reload(pb::ReloadRequest { by: by(), ..Default::default() }).await.expect("answers");
        assert_eq!((reload.get_ref().generation, reload.get_ref().changes[0].kind.as_str()), (4, "changed"));

        let mut changes = server.fake.script(|script| std::mem::take(&mut script.seen));
        changes.retain(|request| !request.starts_with("Status"));
        assert_eq!(changes.len(), 8, "{changes:?}");
        for request in changes {
            assert!(request.contains(&format!("who: {own:?}, why: \"ticket 7\"")), "{request}");
        }
    });
}

#[test]
fn reading_calls() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let config = client.get_config(pb::GetConfigRequest {}).await.expect("answers").into_inner();
        assert_eq!((config.toml.as_str(), config.generation), ("buffer_size = 65536\n", 3));
        let plan = client.plan(pb::PlanRequest { toml: "x = 1".into() }).await.expect("answers").into_inner();
        assert_eq!((plan.obstacles, plan.changes[0].cut), (vec!["workers".to_owned()], 3));
        let why = client.why(pb::WhyRequest { object: "listener/web".into() }).await.expect("answers").into_inner();
        assert_eq!((why.object.as_str(), why.decided_by.as_str()), ("listener/web", "override"));
        let status = client.why(pb::WhyRequest::default()).await.expect_err("no object");
        assert_eq!(status.code(), Code::InvalidArgument);
    });
}

#[test]
fn connections_come_page_by_page() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let request = |page_size, page_token: &str, limit| pb::ListConnectionsRequest {
            page_size,
            page_token: page_token.into(),
            limit,
            ..Default::default()
        };
        for (request, expected) in [
            (request(2, "", 0), vec![(vec!["10", "20"], "20"), (vec!["30", "40"], "40"), (vec!["50"], "")]),
            (request(0, "", 0), vec![(vec!["10", "20", "30", "40", "50"], "")]),
            (request(2, "", 3), vec![(vec!["10", "20"], "20"), (vec!["30"], "30")]),
            (request(3, "30", 0), vec![(vec!["40", "50"], "")]),
            (request(3, "50", 0), vec![(vec![], "")]),
        ] {
            let mut pages = client.list_connections(request.clone()).await.expect("answers").into_inner();
            let mut got = Vec::new();
            while let Some(page) = pages.message().await.expect("no failure") {
                let ids: Vec<_> = page.connections.into_iter().map(|connection| connection.id).collect();
                got.push((ids, page.next_page_token));
            }
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(ids, token)| (ids.into_iter().map(str::to_owned).collect::<Vec<_>>(), token.to_owned()))
                .collect();
            assert_eq!(got, expected, "{request:?}");
        }
    });
}

#[test]
fn a_refusal_in_the_middle_ends_the_pages_with_its_code() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        server.fake.script(|script| script.connections = 100_000);
        let request = pb::ListConnectionsRequest { page_size: 1000, ..Default::default() };
        let mut pages = client.list_connections(request).await.expect("answers").into_inner();
        pages.message().await.expect("no failure").expect("a page");
        server.fake.script(|script| script.refusal = Some(Refusal::Timeout("worker 1".into())));
        let status = loop {
            match pages.message().await {
                Ok(page) => page.expect("does not end well"),
                Err(status) => break status,
            };
        };
        assert_eq!(status.code(), Code::DeadlineExceeded);
    });
}

#[test]
fn a_client_that_vanishes_stops_the_asking() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        server.fake.script(|script| script.connections = u64::MAX / 16);
        let request = pb::ListConnectionsRequest { page_size: 1, ..Default::default() };
        let mut pages = client.list_connections(request).await.expect("answers").into_inner();
        pages.message().await.expect("no failure").expect("a page");
        drop((pages, client));
        // When two looks see the same count with time in between, it stopped.
        let count = || server.fake.script(|script| script.seen.iter().filter(|it| it.starts_with("Conn")).count());
        let mut before = count();
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let now = count();
            if now == before {
                break;
            }
            before = now;
        }
    });
}

#[test]
fn a_drain_is_forwarded_to_its_end() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let target = Some(pb::Target { of: Some(pb::target::Of::Daemon(true)) });
        let request = pb::DrainRequest { target, wait_forever: true, ..Default::default() };
        let mut stream = client.drain(request.clone()).await.expect("answers").into_inner();
        let control = server.fake.script(|script| script.drains.pop()).expect("was asked");
        control.send(progress(2, None)).await.expect("is read");
        let first = stream.message().await.expect("no failure").expect("a message");
        assert_eq!((first.remaining, first.done), (2, false));
        control.send(progress(0, Some(DrainOutcome::Drained))).await.expect("is read");
        let last = stream.message().await.expect("no failure").expect("a message");
        assert_eq!((last.remaining, last.done, last.outcome.as_str()), (0, true, "drained"));
        assert_eq!(stream.message().await.expect("no failure"), None);

        // The client goes: so does the forwarding.
        let stream = client.drain(request.clone()).await.expect("answers").into_inner();
        let control = server.fake.script(|script| script.drains.pop()).expect("was asked");
        drop(stream);
        control.closed().await;

        // Control goes: the client is told that this is no good end.
        let mut stream = client.drain(request).await.expect("answers").into_inner();
        drop(server.fake.script(|script| script.drains.pop()).expect("was asked"));
        assert_eq!(stream.message().await.expect_err("no outcome").code(), Code::Unavailable);
    });
}

#[test]
fn checks_are_told_one_by_one() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let request = pb::CheckRequest { pool: "app".into(), endpoint: String::new() };
        let mut stream = client.check(request).await.expect("answers").into_inner();
        let mut told = Vec::new();
        while let Some(each) = stream.message().await.expect("no failure") {
            assert_eq!((each.pool.as_str(), each.check.as_str(), each.configured), ("app", "redis", true));
            assert_eq!(each.took.expect("known").nanos, 1_500_000);
            told.push((each.outcome, each.why));
        }
        let expected = [("good", ""), ("bad", "refused"), ("timeout", "no answer")];
        assert_eq!(told, expected.map(|(outcome, why)| (outcome.to_owned(), why.to_owned())));
        let nameless = client.check(pb::CheckRequest::default()).await.expect_err("no name");
        assert_eq!(nameless.code(), Code::InvalidArgument);
    });
}

#[test]
fn events_are_filtered_and_misses_are_told() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let request = pb::WatchEventsRequest { kinds: vec!["reloaded".into()] };
        let mut events = client.watch_events(request).await.expect("answers").into_inner();
        server.fake.events.send(event(EventKind::Shutdown, "not wanted")).expect("is read");
        server.fake.events.send(event(EventKind::Reloaded, "wanted")).expect("is read");
        let first = events.message().await.expect("no failure").expect("an event");
        assert_eq!((first.kind.as_str(), first.text.as_str()), ("reloaded", "wanted"));
        assert_eq!(first.by.expect("known").who, "alice");

        // More at once than are kept: on one thread nobody reads meanwhile.
        for _ in 0..3000 {
            server.fake.events.send(event(EventKind::Reloaded, "many")).expect("is read");
        }
        let notice = loop {
            let event = events.message().await.expect("no failure").expect("an event");
            if event.kind == "missed" {
                break event.text;
            }
        };
        assert!(notice.contains("events were missed"), "{notice}");

        let unknown = pb::WatchEventsRequest { kinds: vec!["reload".into()] };
        assert_eq!(client.watch_events(unknown).await.expect_err("refused").code(), Code::InvalidArgument);
    });
}

#[test]
fn events_end_when_the_server_stops_and_the_last_ones_are_told() {
    run(async {
        let mut server = Server::start();
        let mut client = server.client().await;
        let mut events = client.watch_events(pb::WatchEventsRequest::default()).await.expect("answers").into_inner();
        server.fake.events.send(event(EventKind::Shutdown, "bye")).expect("is read");
        server.stop();
        assert_eq!(events.message().await.expect("no failure").expect("an event").text, "bye");
        assert_eq!(events.message().await.expect("no failure"), None);
        (&mut server.serving).await.expect("no panic").expect("no failure");
        assert!(!server.path.exists(), "the socket's file is removed");
    });
}
