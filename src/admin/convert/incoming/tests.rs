use proptest::prelude::*;

use super::*;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// The message of a refusal, which must be `Invalid`.
fn refusal<T: std::fmt::Debug>(checked: Checked<T>) -> String {
    match checked {
        Err(Refusal::Invalid(message)) => message,
        other => panic!("not refused as invalid: {other:?}"),
    }
}

fn by(who: &str, why: &str) -> Option<pb::Provenance> {
    Some(pb::Provenance { who: who.into(), why: why.into() })
}

#[test]
fn the_peer_stands_in_for_an_empty_who() {
    let expected = |who: &str, why: &str| Ok(control::Provenance { who: who.into(), why: why.into() });
    assert_eq!(provenance(None, "alice"), expected("alice", ""));
    assert_eq!(provenance(by("", "ticket 7"), "alice"), expected("alice", "ticket 7"));
    assert_eq!(provenance(by("deploy", "x"), "alice"), expected("deploy", "x"));
}

#[test]
fn provenance_has_limits() {
    assert!(provenance(by(&"w".repeat(128), &"y".repeat(512)), "").is_ok());
    assert!(refusal(provenance(by(&"w".repeat(129), ""), "")).contains("by.who is 129 bytes"));
    assert!(refusal(provenance(by("", &"y".repeat(513)), "")).contains("by.why is 513 bytes"));
    assert!(refusal(provenance(by("", "one\ntwo"), "")).contains("by.why has a control character"));
}

#[test]
fn pages_have_a_default_and_a_limit() {
    let query = |page_size, page_token: &str| {
        connections(pb::ListConnectionsRequest { page_size, page_token: page_token.into(), ..Default::default() })
    };
    assert_eq!(query(0, "").map(|(query, limit)| (query.page_size, query.after, limit)), Ok((200, None, None)));
    assert_eq!(query(1000, "ff").map(|(query, _)| (query.page_size, query.after)), Ok((1000, Some(255))));
    assert!(refusal(query(1001, "")).contains("page_size is 1001"));
    for token in ["xyz", "-1", "+1", "00000000000000001"] {
        assert!(refusal(query(0, token)).contains("page_token"), "{token}");
    }
}

#[test]
fn sources_are_addresses_or_networks() {
    for (text, expected) in [
        ("192.0.2.7", ("192.0.2.7", 32)),
        ("10.1.2.3/8", ("10.0.0.0", 8)),
        ("10.1.2.3/0", ("0.0.0.0", 0)),
        ("2001:db8:1::1/32", ("2001:db8::", 32)),
        ("2001:db8::1", ("2001:db8::1", 128)),
    ] {
        assert_eq!(network(text), Ok((expected.0.parse().expect("an address"), expected.1)), "{text}");
    }
    for text in ["10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8/8"] {
        assert!(refusal(network(text)).contains("prefix length"), "{text}");
    }
    for text in ["10.0.0", "localhost", "unix:", "/8"] {
        assert!(refusal(network(text)).contains("192.0.2.0/24"), "{text}");
    }
}

#[test]
fn filters_leave_out_what_is_empty() {
    assert_eq!(filter(pb::ConnectionFilter::default()), Ok(control::ConnectionFilter::default()));
    let given = pb::ConnectionFilter { listener: "web".into(), min_idle: seconds(9), ..Default::default() };
    let read = filter(given).expect("is valid");
    assert_eq!((read.listener.as_deref(), read.min_idle), (Some("web"), Some(Duration::from_secs(9))));
    let bad = pb::ConnectionFilter { min_age: seconds(-1), ..Default::default() };
    assert!(refusal(filter(bad)).contains("filter.min_age"));
}

#[test]
fn closing_needs_ids_a_filter_or_all() {
    let request = |ids: &[&str], filter, all| pb::CloseConnectionRequest {
        ids: ids.iter().map(|&id| id.into()).collect(),
        filter,
        all,
        by: None,
    };
    let web = || Some(pb::ConnectionFilter { listener: "web".into(), ..Default::default() });
    let empty = || Some(pb::ConnectionFilter::default());
    assert!(refusal(close(request(&[], None, false), "")).contains("set `all`"));
    assert!(refusal(close(request(&[], empty(), false), "")).contains("set `all`"));
    assert!(refusal(close(request(&[], web(), true), "")).contains("leave `all` out"));
    assert!(refusal(close(request(&["xx"], None, false), "")).contains("`xx` is no connection id"));
    assert!(refusal(close(request(&["1"; 1001], None, false), "")).contains("at most 1000"));
    let by_id = close(request(&["a", "FFFFFFFFFFFFFFFF"], empty(), false), "").expect("is valid");
    assert_eq!((by_id.ids, by_id.filter), (vec![10, u64::MAX], None));
    let matching = close(request(&[], web(), false), "").expect("is valid");
    assert_eq!(matching.filter.and_then(|filter| filter.listener).as_deref(), Some("web"));
    for filter in [None, empty()] {
        let all = close(request(&[], filter, true), "").expect("is valid");
        assert_eq!(all.filter, Some(control::ConnectionFilter::default()));
    }
}

#[test]
fn drains_have_one_target_and_one_deadline() {
    use pb::target::Of;
    let request = |of, deadline, wait_forever| {
        drain(pb::DrainRequest { target: Some(pb::Target { of }), deadline, wait_forever, ..Default::default() }, "")
    };
    let daemon = || Some(Of::Daemon(true));
    let deadline = |deadline, forever| request(daemon(), deadline, forever).map(|drain| drain.course.deadline);
    assert_eq!(deadline(None, false), Ok(Deadline::Configured));
    assert_eq!(deadline(None, true), Ok(Deadline::Never));
    assert_eq!(deadline(seconds(30), false), Ok(Deadline::After(Duration::from_secs(30))));
    assert_eq!(deadline(seconds(604_800), false), Ok(Deadline::After(MAX_DURATION)));
    for bad in [0, -1, 604_801, i64::MAX] {
        assert!(refusal(deadline(seconds(bad), false)).contains("at most 7 days"), "{bad}");
    }
    assert!(refusal(deadline(seconds(1), true)).contains("wait_forever"));
    assert!(refusal(request(None, None, false)).contains("target is missing"));
    assert!(refusal(request(Some(Of::Daemon(false)), None, false)).contains("target.daemon is false"));
    assert!(refusal(request(Some(Of::Listener(String::new())), None, false)).contains("target.listener is empty"));
    let endpoint = pb::EndpointName { pool: "db".into(), address: "10.0.0.1:5432".into() };
    assert_eq!(
        request(Some(Of::Endpoint(endpoint)), None, false).map(|drain| drain.target),
        Ok(control::Target::Endpoint("db".into(), "10.0.0.1:5432".into()))
    );
}

#[test]
fn endpoint_settings_are_checked() {
    use pb::set_endpoint_request::Setting;
    let set = |setting, expires_in| {
        let endpoint = Some(pb::EndpointName { pool: "db".into(), address: "10.0.0.1:5432".into() });
        set_endpoint(pb::SetEndpointRequest { endpoint, setting, expires_in, by: None }, "alice").map(|set| set.setting)
    };
    assert_eq!(set(Some(Setting::Weight(1000)), seconds(60)), Ok(Some(EndpointOverride::Weight(1000))));
    assert_eq!(set(Some(Setting::Weight(0)), None), Ok(Some(EndpointOverride::Weight(0))));
    assert_eq!(set(Some(Setting::Drain(true)), None), Ok(Some(EndpointOverride::Draining)));
    assert_eq!(set(Some(Setting::Maintenance(true)), None), Ok(Some(EndpointOverride::Maintenance)));
    assert_eq!(set(Some(Setting::Clear(true)), None), Ok(None));
    for weight in [1001, 65_536, u32::MAX] {
        assert!(refusal(set(Some(Setting::Weight(weight)), None)).contains("0 (drains) to 1000"));
    }
    assert!(refusal(set(Some(Setting::Clear(true)), seconds(1))).contains("expires_in"));
    assert!(refusal(set(Some(Setting::Drain(false)), None)).contains("use clear"));
    assert!(refusal(set(None, None)).contains("one of weight, drain, maintenance, clear"));
    assert!(refusal(set(Some(Setting::Drain(true)), seconds(0))).contains("expires_in"));
    assert!(refusal(set_endpoint(pb::SetEndpointRequest::default(), "")).contains("endpoint.pool is empty"));
}

#[test]
fn event_kinds_must_be_known() {
    let kinds = |words: &[&str]| event_kinds(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    assert_eq!(kinds(&[]), Ok(vec![]));
    assert_eq!(kinds(&["reloaded", "missed", "reloaded"]), Ok(vec![EventKind::Reloaded]));
    let message = refusal(kinds(&["reload"]));
    assert!(message.contains("`reload` is no kind of event") && message.contains("reload-refused"), "{message}");
}

#[test]
fn a_reload_checks_the_generation_only_if_asked() {
    let reload = |toml: &str, expected_generation| {
        reload(pb::ReloadRequest { toml: toml.into(), expected_generation, ..Default::default() }, "")
            .expect("is valid")
    };
    let (plain, checked) = (reload("", 0), reload("x", 7));
    assert_eq!((plain.candidate, plain.expected_generation), (Candidate::Source, None));
    assert_eq!((checked.candidate, checked.expected_generation), (Candidate::Text("x".into()), Some(7)));
}

#[test]
fn a_shutdown_is_now_or_by_a_deadline() {
    let shutdown = |now, deadline| shutdown(pb::ShutdownRequest { now, deadline, ..Default::default() }, "");
    assert!(refusal(shutdown(true, seconds(1))).contains("both now and deadline"));
    assert_eq!(shutdown(false, None).map(|it| (it.now, it.course.deadline)), Ok((false, Deadline::Configured)));
}

proptest! {
    #[test]
    fn ids_go_out_and_come_back(value: u64) {
        prop_assert_eq!(id(&super::super::outgoing::id(value)), Some(value));
    }

    #[test]
    fn no_network_text_panics(text in "[0-9a-f.:/]{0,24}") {
        if let Ok((address, prefix)) = network(&text) {
            prop_assert_eq!(masked(address, prefix), address);
        }
    }

    #[test]
    fn no_duration_panics(seconds: i64, nanos: i32) {
        let checked = duration("x", prost_types::Duration { seconds, nanos }, MAX_DURATION);
        prop_assert!(checked.is_err() || (1..=604_800).contains(&seconds.max(1)));
    }
}
