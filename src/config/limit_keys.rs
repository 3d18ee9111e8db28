//! The schema of everything that limits: `[limits]`, and keys of `[[listener]]`
//! and `[[pool]]`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use toml::de::DeValue;

use crate::{
    config::{
        limits::{
            AccessList, Budget, ConnectionRate, Jitter, Limits, ListenerLimits, MemoryLimit, OverloadMode, PoolLimits,
            Queue, Refusal, Refuse, SourcePrefix, SourceTable,
        },
        reader::{Reader, Section, Value},
        units::parse_duration,
        values::{Wrong, choice, path, quote},
    },
    limit::Network,
};

pub(super) const LIMITS_KEYS: &[&str] = &["max_connections", "overload", "memory"];
const QUEUE_KEYS: &[&str] = &["size", "timeout"];
const BUDGET_KEYS: &[&str] = &["percent", "reserve"];
const REFUSE_KEYS: &[&str] = &["denied", "full", "overload", "rate"];
const TEXT_KEYS: &[&str] = &["text"];

const CONNECTIONS: std::ops::RangeInclusive<u64> = 1..=100_000_000;
const MEMORY: std::ops::RangeInclusive<u64> = 16 << 20..=16 << 40;
const TABLE: std::ops::RangeInclusive<u64> = 8..=1 << 24;
const DAY: Duration = Duration::from_secs(86_400);
const TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(365 * 86_400);
const LIFETIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
const QUEUE_TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// Networks listed in the configuration itself; a file takes more.
const MAX_LISTED: usize = 10_000;
const MAX_REFUSAL: usize = 1024;

/// `[limits]`.
pub(super) fn limits(reader: &mut Reader<'_>, section: &Section<'_>) -> Limits {
    Limits {
        max_connections: number(reader, section, "max_connections", &CONNECTIONS),
        overload: section.optional(reader, "overload", OverloadMode::Wait, |reader, value| {
            let words = [("wait", OverloadMode::Wait), ("shed", OverloadMode::Shed)];
            reader.parsed(value, |text| choice(text, &words))
        }),
        memory: section.optional(reader, "memory", MemoryLimit::Auto, |reader, value| match value.node {
            DeValue::String(word) if word == "auto" => Some(MemoryLimit::Auto),
            DeValue::String(word) if word == "off" => Some(MemoryLimit::Off),
            _ => reader.size(value, &MEMORY).map(MemoryLimit::Bytes),
        }),
    }
}

/// The limits among the keys of a listener.
pub(super) fn listener(reader: &mut Reader<'_>, section: &Section<'_>) -> ListenerLimits {
    let timeout = |reader: &mut Reader<'_>, key, range| {
        section.optional(reader, key, None, |reader, value| reader.duration_or_off(value, range))
    };
    let small = |reader: &mut Reader<'_>, key, default: u8, most: u8| {
        let read =
            section.optional(reader, key, default.into(), |reader, value| reader.integer(value, &(0..=most.into())));
        u8::try_from(read).unwrap_or(default)
    };
    ListenerLimits {
        max_connections: number(reader, section, "max_connections", &CONNECTIONS),
        max_connections_per_source: number(reader, section, "max_connections_per_source", &CONNECTIONS)
            .and_then(|n| u32::try_from(n).ok()),
        rate: section.optional(reader, "rate", None, rate),
        rate_per_source: section.optional(reader, "rate_per_source", None, rate),
        source: SourcePrefix {
            v4: small(reader, "source_prefix_v4", SourcePrefix::default().v4, 32),
            v6: small(reader, "source_prefix_v6", SourcePrefix::default().v6, 128),
        },
        source_table: number(reader, section, "source_table", &TABLE)
            .and_then(|n| u32::try_from(n).ok())
            .map_or_else(SourceTable::default, SourceTable),
        allow: access(reader, section, "allow", "allow_file"),
        deny: access(reader, section, "deny", "deny_file"),
        first_byte_timeout: timeout(reader, "first_byte_timeout", &TIMEOUT),
        half_closed_timeout: timeout(reader, "half_closed_timeout", &TIMEOUT),
        max_lifetime: timeout(reader, "max_lifetime", &LIFETIME),
        lifetime_jitter: Jitter(small(reader, "lifetime_jitter", Jitter::default().0, 100)),
        refuse: section.optional(reader, "refuse", Refuse::default(), |reader, value| refuse(reader, value, section)),
    }
}

/// The limits among the keys of a pool.
pub(super) fn pool(reader: &mut Reader<'_>, section: &Section<'_>) -> PoolLimits {
    PoolLimits {
        max_connections: number(reader, section, "max_connections", &CONNECTIONS),
        queue: section.optional(reader, "queue", None, |reader, value| {
            let help = r#"write it as in { size = 100, timeout = "5s" }"#;
            let inner = inner(reader, value, "this queue", QUEUE_KEYS, help)?;
            let size = inner.required(reader, "size", "100", |reader, value| reader.integer(value, &(1..=1_000_000)));
            let timeout =
                inner.required(reader, "timeout", "\"5s\"", |reader, value| reader.duration(value, &QUEUE_TIMEOUT));
            Some(Some(Queue { size: u32::try_from(size?).ok()?, timeout: timeout? }))
        }),
        retry_budget: section.optional(reader, "retry_budget", None, |reader, value| {
            let help = "write it as in { percent = 20, reserve = 10 }";
            let inner = inner(reader, value, "this retry budget", BUDGET_KEYS, help)?;
            let percent = inner.required(reader, "percent", "20", |reader, value| reader.integer(value, &(0..=1000)));
            let reserve =
                inner.optional(reader, "reserve", 10, |reader, value| reader.integer(value, &(0..=1_000_000)));
            Some(Some(Budget { percent: u32::try_from(percent?).ok()?, reserve: u32::try_from(reserve).ok()? }))
        }),
    }
}

/// A number, or `"off"` for none.
fn number(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    range: &std::ops::RangeInclusive<u64>,
) -> Option<u64> {
    section.optional(reader, key, None, |reader, value| match value.node {
        DeValue::String(word) if word == "off" => Some(None),
        _ => reader.integer_or(value, range, "\"off\"").map(Some),
    })
}

/// `"100/s burst 20"`, or `"off"`.
fn rate(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Option<ConnectionRate>> {
    const HELP: &str = "write it as in \"100/s\", \"600/m burst 50\", or \"off\"";
    let DeValue::String(_) = value.node else { return reader.expected(value, "a rate", HELP) };
    reader.parsed(value, |text| {
        if text == "off" {
            return Ok(None);
        }
        let wrong = || Wrong::new(format!("{} is no rate", quote(text)), HELP);
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(whole(burst.trim()).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let (count, period) = rate.trim().split_once('/').ok_or_else(wrong)?;
        let count = whole(count).ok_or_else(wrong)?;
        let period = match period.as_bytes().first() {
            Some(digit) if digit.is_ascii_digit() => parse_duration(period),
            _ => parse_duration(&format!("1{period}")),
        };
        let period = period.map_err(|_| wrong())?;
        let out = "1 to 4294967295 in at most a day each, and a burst of at most 100 days of the rate";
        let read = ConnectionRate::new(count, period, burst.unwrap_or(count)).filter(|_| burst != Some(0));
        let read = read.filter(|_| period <= 100 * DAY);
        read.map(Some).ok_or_else(|| Wrong::new(format!("the rate {} is out of range", quote(text)), out))
    })
}

fn whole(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Networks listed, and a file with more; `None` if there is neither key.
fn access(reader: &mut Reader<'_>, section: &Section<'_>, key: &str, file_key: &str) -> Option<AccessList> {
    let listed = section.get(key).map(|value| networks(reader, &value));
    let file: Option<PathBuf> = section.get(file_key).and_then(|value| reader.parsed(&value, path));
    (listed.is_some() || section.get(file_key).is_some())
        .then(|| AccessList::new(listed.flatten().unwrap_or_default(), file))
}

fn networks(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Vec<Network>> {
    let elements = reader.array(value, r#"["10.0.0.0/8", "2001:db8::/32"]"#)?;
    if elements.len() > MAX_LISTED {
        let message = format!("`{}` lists {} networks, at most {MAX_LISTED}", value.key, elements.len());
        reader.problem(value.span.clone(), message, format!("write them to a file, and use `{}_file`", value.key));
        return None;
    }
    let mut networks = Vec::new();
    for element in elements {
        let element = Value { key: value.key, key_span: element.span(), node: element.get_ref(), span: element.span() };
        networks.extend(
            reader.parsed(&element, |text| text.parse::<Network>().map_err(|message| Wrong { message, help: None })),
        );
    }
    Some(networks)
}

/// One answer for all causes, or a table by cause.
fn refuse(reader: &mut Reader<'_>, value: &Value<'_>, section: &Section<'_>) -> Option<Refuse> {
    if let DeValue::Table(table) = value.node
        && !table.contains_key("text")
    {
        let title = format!("`refuse` of {}", section.title);
        let inner = Section::open(reader, title, table, value.span.clone(), REFUSE_KEYS);
        let mut by = |key| inner.optional(reader, key, Refusal::Reset, refusal);
        return Some(Refuse { denied: by("denied"), full: by("full"), overload: by("overload"), rate: by("rate") });
    }
    let all = refusal(reader, value)?;
    Some(Refuse { denied: all.clone(), full: all.clone(), overload: all.clone(), rate: all })
}

/// `"reset"`, `"close"`, or `{ text = "..." }`.
fn refusal(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Refusal> {
    const HELP: &str = r#"write "reset", "close" or { text = "busy\n" }"#;
    match value.node {
        DeValue::String(_) => reader.parsed(value, |text| {
            let words = [("reset", Refusal::Reset), ("close", Refusal::Close)];
            choice(text, &words).map_err(|wrong| wrong.or(r#"{ text = "busy\n" }"#))
        }),
        DeValue::Table(_) => {
            let inner = inner(reader, value, "this answer", TEXT_KEYS, HELP)?;
            let text = inner.required(reader, "text", "\"busy\\n\"", |reader, value| {
                reader.parsed(value, |text| match text.len() {
                    1..=MAX_REFUSAL => Ok(text.to_owned()),
                    length => Err(Wrong::new(format!("the text has {length} bytes"), "write 1 to 1024 bytes")),
                })
            })?;
            Some(Refusal::Text(Arc::from(text.as_bytes())))
        }
        _ => reader.expected(value, "an answer to refused clients", HELP),
    }
}

fn inner<'t>(
    reader: &mut Reader<'_>,
    value: &Value<'t>,
    title: &str,
    keys: &[&'static str],
    help: &str,
) -> Option<Section<'t>> {
    match value.node {
        DeValue::Table(table) => Some(Section::open(reader, title, table, value.span.clone(), keys)),
        _ => reader.expected(value, "a table", help),
    }
}

#[cfg(test)]
mod tests;
