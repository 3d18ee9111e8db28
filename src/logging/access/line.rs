//! What a line looks like. Records in, text out.

use std::{
    fmt::Write,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use crate::{logging::format::push_json_string, worker::AccessRecord};

/// Appends one JSON object and a newline; `time` is when the connection ended.
/// docs/operating.md tells what each field means.
pub(super) fn push(text: &mut String, record: &AccessRecord, time: SystemTime) {
    let time = humantime::format_rfc3339_millis(time);
    let _ = write!(text, r#"{{"time":"{time}","id":"{:x}","listener":"#, record.id);
    push_name(text, &record.listener.name);
    text.push_str(r#","source":"#);
    push_address(text, record.source);
    text.push_str(r#","proxy":"#);
    push_address(text, record.proxy);
    text.push_str(r#","destination":"#);
    push_address(text, record.destination);
    let pool = record.pool.as_ref().map(|pool| &*pool.name).filter(|name| !name.is_empty());
    let pool = pool.or_else(|| record.endpoint.as_ref().map(|endpoint| &*endpoint.pool));
    text.push_str(r#","pool":"#);
    push_name(text, pool.unwrap_or_default());
    text.push_str(r#","endpoint":"#);
    push_name(text, record.endpoint.as_ref().map(|endpoint| &*endpoint.address).unwrap_or_default());
    text.push_str(r#","duration_ms":"#);
    push_millis(text, record.until.saturating_duration_since(record.since));
    text.push_str(r#","connect_ms":"#);
    match record.connect_time {
        Some(time) => push_millis(text, time),
        None => text.push_str("null"),
    }
    let _ = writeln!(
        text,
        r#","bytes_from_downstream":{},"bytes_to_downstream":{},"bytes_to_upstream":{},"bytes_from_upstream":{},"retries":{},"by":"{}","phase":"{}","cause":"{}","worker":{}}}"#,
        record.bytes_from_downstream,
        record.bytes_to_downstream,
        record.bytes_to_upstream,
        record.bytes_from_upstream,
        record.retries,
        record.reason.by.as_str(),
        record.reason.phase.as_str(),
        record.reason.cause.as_str(),
        record.worker,
    );
}

/// `null` for none.
fn push_address(text: &mut String, address: Option<SocketAddr>) {
    match address {
        Some(address) => {
            let _ = write!(text, r#""{address}""#);
        }
        None => text.push_str("null"),
    }
}

/// `null` for no name.
fn push_name(text: &mut String, name: &str) {
    if name.is_empty() {
        text.push_str("null");
    } else {
        push_json_string(text, name);
    }
}

/// With three digits behind the point.
fn push_millis(text: &mut String, duration: Duration) {
    let micros = duration.as_micros();
    let _ = write!(text, "{}.{:03}", micros / 1000, micros % 1000);
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use super::*;
    use crate::{
        metrics::{EndpointShard, ListenerShard, PoolShard},
        protocol::CloseReason,
    };

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn record(listener: &str) -> AccessRecord {
        let since = Instant::now();
        let endpoint =
            EndpointShard { pool: "app".into(), address: "unix:/run/a \"b\".sock".into(), ..EndpointShard::default() };
        AccessRecord {
            id: 0x1_0000_0000_002a,
            listener: Arc::new(ListenerShard::named(listener.into(), 0)),
            source: Some("[fd00::1]:5000".parse().unwrap()),
            proxy: Some("10.0.0.9:40000".parse().unwrap()),
            destination: Some("[fd00::2]:443".parse().unwrap()),
            pool: Some(Arc::new(PoolShard { name: "app".into(), ..PoolShard::default() })),
            endpoint: Some(Arc::new(endpoint)),
            since,
            until: since + Duration::from_micros(61_002_003),
            connect_time: Some(Duration::from_micros(1_020)),
            retries: 2,
            bytes_from_downstream: 1,
            bytes_to_downstream: u64::MAX,
            bytes_to_upstream: 3,
            bytes_from_upstream: 4,
            reason: CloseReason::DONE,
            worker: 7,
        }
    }

    fn line(record: &AccessRecord) -> String {
        let mut text = String::new();
        push(&mut text, record, SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_435_200_123));
        text
    }

    fn read(record: &AccessRecord) -> serde_json::Value {
        serde_json::from_str(&line(record)).expect("JSON")
    }

    #[test]
    fn all_fields() {
        assert_eq!(
            line(&record("web")),
            "{\"time\":\"2026-11-23T12:00:00.123Z\",\"id\":\"100000000002a\",\"listener\":\"web\",\
             \"source\":\"[fd00::1]:5000\",\"proxy\":\"10.0.0.9:40000\",\"destination\":\"[fd00::2]:443\",\"pool\":\"app\",\"endpoint\":\"unix:/run/a \\\"b\\\".sock\",\
             \"duration_ms\":61002.003,\"connect_ms\":1.020,\"bytes_from_downstream\":1,\
             \"bytes_to_downstream\":18446744073709551615,\"bytes_to_upstream\":3,\"bytes_from_upstream\":4,\
             \"retries\":2,\"by\":\"downstream\",\"phase\":\"open\",\"cause\":\"end\",\"worker\":7}\n"
        );
    }

    #[test]
    fn what_is_not_known_is_null() {
        let bare = AccessRecord {
            source: None,
            proxy: None,
            destination: None,
            pool: None,
            endpoint: None,
            connect_time: None,
            ..record("")
        };
        let line = read(&bare);
        for field in ["listener", "source", "proxy", "destination", "pool", "endpoint", "connect_ms"] {
            assert!(line[field].is_null() && line.get(field).is_some(), "{field} in {line}");
        }
        let gone = AccessRecord { pool: None, ..record("web") };
        assert_eq!(read(&gone)["pool"], "app", "the endpoint knows its pool, too");
    }

    #[test]
    fn every_close_reason() {
        for reason in CloseReason::ALL {
            let line = read(&AccessRecord { reason, ..record("web") });
            let words = [reason.by.as_str(), reason.phase.as_str(), reason.cause.as_str()];
            assert_eq!([&line["by"], &line["phase"], &line["cause"]], words);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_one_line_and_reads_back(name in ".{1,64}|[\\n\\r\\t\"\\\\\u{0}\u{7f}\u{2028}]{1,20}") {
            let line = line(&record(&name));
            proptest::prop_assert_eq!(line.matches('\n').count(), 1);
            let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            proptest::prop_assert_eq!(&read["listener"], &serde_json::Value::from(name));
        }
    }
}
