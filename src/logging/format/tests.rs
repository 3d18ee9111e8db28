use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::logging::record::MAX_TEXT;

fn record(message: &str, fields: Vec<(&'static str, Value)>) -> Record {
    Record {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_435_200_123),
        level: Level::INFO,
        target: "netd::control::state",
        source: Some(("src/control/state.rs", 7)),
        message: message.to_owned(),
        fields,
    }
}

fn text_value(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn a_text_line_is_read_at_a_glance() {
    let fields = vec![
        ("listener", text_value("web")),
        ("source", text_value("10.0.0.1:5")),
        ("why", text_value("no \"route\"")),
        ("bytes", Value::Unsigned(5)),
        ("delta", Value::Integer(-5)),
        ("ratio", Value::Float(0.5)),
        ("ok", Value::Bool(true)),
        ("none", text_value("")),
    ];
    assert_eq!(
        text(&record("listener added", fields), false),
        "2026-11-23T12:00:00.123Z INFO  control: listener added listener=web source=10.0.0.1:5 \
         why=\"no \\\"route\\\"\" bytes=5 delta=-5 ratio=0.5 ok=true none=\"\"\n"
    );
}

#[test]
fn colours_only_on_demand() {
    assert!(!text(&record("x", vec![]), false).contains('\x1b'));
    let colored = text(&record("x", vec![]), true);
    assert!(colored.contains("\x1b[32mINFO ") && colored.ends_with("\x1b[0m\n"));
}

#[test]
fn other_crates_are_named_in_full() {
    let mut other = record("gone", vec![]);
    other.target = "h2::codec::framed_read";
    other.level = Level::WARN;
    assert!(text(&other, false).ends_with(" WARN  h2::codec::framed_read: gone\n"));
}

#[test]
fn a_message_of_several_lines_cannot_pass_for_two_records() {
    let line = text(&record("bad file:\n2026-01-01T00:00:00.000Z INFO  fake\n\x1b[31m", vec![]), false);
    assert!(line.ends_with("bad file:\n    2026-01-01T00:00:00.000Z INFO  fake\n    \\u{1b}[31m\n"), "{line}");
}

#[test]
fn json_keeps_types_and_its_own_names() {
    let fields = vec![
        ("bytes", Value::Unsigned(5)),
        ("ratio", Value::Float(f64::NAN)),
        ("time", text_value("noon\n")),
        ("ok", Value::Bool(false)),
    ];
    let line = json(&record("say \"hi\"", fields));
    assert_eq!(
        line,
        "{\"time\":\"2026-11-23T12:00:00.123Z\",\"level\":\"info\",\"target\":\"netd::control::state\",\
         \"message\":\"say \\\"hi\\\"\",\"bytes\":5,\"ratio\":\"NaN\",\"time_\":\"noon\\n\",\"ok\":false}\n"
    );
    assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
}

#[test]
fn syslog_has_priority_and_tag() {
    let mut failed = record("two\nlines", vec![("errno", Value::Integer(24))]);
    failed.level = Level::ERROR;
    assert_eq!(syslog(&failed, 42), "<27>netd[42]: control: two\\nlines errno=24");
    assert!(syslog(&record("info", vec![]), 1).starts_with("<30>netd[1]: "));
    assert_eq!(syslog(&record(&"€".repeat(MAX_TEXT), vec![]), 1).len().div_ceil(4), MAX_SYSLOG / 4);
}

#[test]
fn the_journal_gets_structured_fields() {
    let entry = journal(&record("plain", vec![("pool-name", text_value("db"))]), 42);
    let text = String::from_utf8(entry).unwrap();
    for line in [
        "MESSAGE=plain\n",
        "PRIORITY=6\n",
        "SYSLOG_IDENTIFIER=netd\n",
        "SYSLOG_PID=42\n",
        "TARGET=netd::control::state\n",
        "CODE_FILE=src/control/state.rs\n",
        "CODE_LINE=7\n",
        "NETD_POOL_NAME=db\n",
    ] {
        assert!(text.contains(line), "{line} not in {text}");
    }
    let entry = journal(&record("a\nPRIORITY=0", vec![]), 42);
    assert!(entry.starts_with(b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\nPRIORITY=6\n"));
    assert_eq!(journal_name(&"x".repeat(100)).len(), 64);
}

proptest! {
    #[test]
    fn whatever_is_logged_the_shape_holds(message in ".{0,80}", value in "(?s).{0,80}") {
        let record = record(&message, vec![("field", Value::Text(value.clone()))]);

        let parsed: serde_json::Value = serde_json::from_str(&json(&record)).unwrap();
        prop_assert_eq!(parsed["message"].as_str(), Some(message.as_str()));
        prop_assert_eq!(parsed["field"].as_str(), Some(value.as_str()));
        prop_assert_eq!(json(&record).matches('\n').count(), 1);

        let line = text(&record, false);
        prop_assert!(line.ends_with('\n'));
        prop_assert!(line.lines().skip(1).all(|line| line.starts_with("    ")));
        prop_assert!(!line.trim_end_matches('\n').contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        prop_assert!(!syslog(&record, 1).contains('\n'));
    }
}
