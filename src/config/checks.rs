//! The schema of `[pool.health]` and `[pool.outlier]`.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use toml::de::{DeTable, DeValue};

use crate::config::{
    CheckKind, HealthCheck, Initial, Outlier, PoolHealth, Statuses, format_duration,
    reader::{Reader, Section, Value},
    values::{Wrong, choice, quote},
};

const HEALTH_KEYS: &[&str] = &[
    "kind",
    "interval",
    "fast_interval",
    "timeout",
    "rise",
    "fall",
    "jitter",
    "initial",
    "send",
    "expect",
    "path",
    "host",
    "status",
    "service",
    "user",
    "database",
];
const OUTLIER_KEYS: &[&str] = &["consecutive", "base", "max", "max_share"];

/// Keys that belong to one kind only.
const OWN_KEYS: &[(&str, &str)] = &[
    ("send", "tcp"),
    ("expect", "tcp"),
    ("path", "http"),
    ("host", "http"),
    ("status", "http"),
    ("service", "grpc"),
    ("user", "postgres"),
    ("database", "postgres"),
];

const INTERVAL_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
const BASE_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const MAX_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const COUNT_RANGE: RangeInclusive<u64> = 1..=100;
const CONSECUTIVE_RANGE: RangeInclusive<u64> = 1..=1000;
const PERCENT_RANGE: RangeInclusive<u64> = 0..=100;
const JITTER_RANGE: RangeInclusive<u64> = 0..=50;

const INTERVAL: Duration = Duration::from_secs(5);
const FAST_INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);
const BASE: Duration = Duration::from_secs(30);
const MAX: Duration = Duration::from_secs(300);
const MAX_TALK: usize = 4096;

/// What the keys of a `[[pool]]` say about health.
pub(super) fn pool_health(reader: &mut Reader<'_>, pool: &Section<'_>) -> PoolHealth {
    let default = PoolHealth::default();
    let panic_threshold = percent(reader, pool, "panic_threshold", default.panic_threshold, &PERCENT_RANGE);
    let of_pool = |key: &str| format!("[pool.{key}] of {}", pool.title);
    let check = pool.get("health").and_then(|value| {
        let table = table(reader, &value)?;
        let section = Section::open(reader, of_pool("health"), table, value.span, HEALTH_KEYS);
        health(reader, &section).map(Arc::new)
    });
    let outlier = pool.get("outlier").and_then(|value| {
        let table = table(reader, &value)?;
        let section = Section::open(reader, of_pool("outlier"), table, value.span, OUTLIER_KEYS);
        Some(outlier(reader, &section))
    });
    PoolHealth { check, outlier, panic_threshold }
}

fn table<'t>(reader: &mut Reader<'_>, value: &Value<'t>) -> Option<&'t DeTable<'t>> {
    match value.node {
        DeValue::Table(table) => Some(table),
        _ => {
            let help = format!("write `[pool.{}]` below the pool, and its keys below that", value.key);
            reader.expected(value, "a table", &help)
        }
    }
}

fn health(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<HealthCheck> {
    let kind = kind(reader, section);
    let interval =
        section.optional(reader, "interval", INTERVAL, |reader, value| reader.duration(value, &INTERVAL_RANGE));
    let fast_interval = section.optional(reader, "fast_interval", FAST_INTERVAL.min(interval), |reader, value| {
        let fast = reader.duration(value, &INTERVAL_RANGE)?;
        if fast > interval {
            let help = format!("write at most {}", format_duration(interval));
            reader.wrong(value, Wrong::new("it is longer than `interval`", help));
        }
        Some(fast)
    });
    let timeout = section.optional(reader, "timeout", TIMEOUT, |reader, value| reader.duration(value, &TIMEOUT_RANGE));
    let rise = percent(reader, section, "rise", 2, &COUNT_RANGE);
    let fall = percent(reader, section, "fall", 3, &COUNT_RANGE);
    let jitter = percent(reader, section, "jitter", 10, &JITTER_RANGE);
    let initial = section.optional(reader, "initial", Initial::Used, |reader, value| reader.parsed(value, initial));
    Some(HealthCheck { kind: kind?, interval, fast_interval, timeout, rise, fall, jitter, initial })
}

/// The kind with what belongs to it; what belongs to another is a problem.
fn kind(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<CheckKind> {
    const WORDS: [&str; 5] = ["tcp", "http", "grpc", "redis", "postgres"];
    let read = |text: &str| choice(text, &WORDS.map(|word| (word, word)));
    let word = match section.get("kind") {
        Some(value) => reader.parsed(&value, read)?,
        None => "tcp",
    };
    for (key, owner) in OWN_KEYS.iter().filter(|(_, owner)| *owner != word) {
        if let Some(value) = section.get(key) {
            let help = format!("remove this line, or write `kind = \"{owner}\"`");
            reader.problem(value.key_span, format!("`{key}` belongs to kind `{owner}` only"), help);
        }
    }
    let mut text = |key: &str, default: &str, read: fn(&str) -> Result<Arc<str>, Wrong>| {
        section.optional(reader, key, Arc::from(default), |reader, value| reader.parsed(value, read))
    };
    Some(match word {
        "http" => CheckKind::Http {
            path: text("path", "/", path),
            host: text("host", "", word_of_header),
            status: section.optional(reader, "status", Statuses::default(), |reader, value| {
                let read = |text: &str| {
                    text.parse().map_err(|message: String| Wrong::new(message, "write it as in \"200-299,404\""))
                };
                reader.parsed(value, read)
            }),
        },
        "grpc" => CheckKind::Grpc { service: text("service", "", word_of_header) },
        "redis" => CheckKind::Redis,
        "postgres" => {
            CheckKind::Postgres { user: text("user", "netd", account), database: text("database", "postgres", account) }
        }
        _ => CheckKind::Tcp { send: text("send", "", talk), expect: text("expect", "", talk) },
    })
}

fn outlier(reader: &mut Reader<'_>, section: &Section<'_>) -> Outlier {
    let consecutive =
        section.optional(reader, "consecutive", 5, |reader, value| reader.integer(value, &CONSECUTIVE_RANGE));
    let base = section.optional(reader, "base", BASE, |reader, value| reader.duration(value, &BASE_RANGE));
    let max = section.optional(reader, "max", MAX.max(base), |reader, value| {
        let max = reader.duration(value, &MAX_RANGE)?;
        if max < base {
            let help = format!("write at least {}", format_duration(base));
            reader.wrong(value, Wrong::new("it is shorter than `base`", help));
        }
        Some(max)
    });
    let max_share = percent(reader, section, "max_share", 50, &PERCENT_RANGE);
    // The range above leaves nothing else.
    Outlier { consecutive: u16::try_from(consecutive).unwrap_or(u16::MAX), base, max, max_share }
}

/// A small number in a range.
fn percent(reader: &mut Reader<'_>, section: &Section<'_>, key: &str, default: u8, range: &RangeInclusive<u64>) -> u8 {
    let number = section.optional(reader, key, u64::from(default), |reader, value| reader.integer(value, range));
    u8::try_from(number).unwrap_or(default)
}

fn initial(text: &str) -> Result<Initial, Wrong> {
    choice(text, &[("used", Initial::Used), ("unused", Initial::Unused)])
}

fn talk(text: &str) -> Result<Arc<str>, Wrong> {
    match text.len() {
        0..=MAX_TALK => Ok(Arc::from(text)),
        length => Err(Wrong::new(format!("the text has {length} bytes"), "write at most 4 KiB")),
    }
}

fn path(text: &str) -> Result<Arc<str>, Wrong> {
    if !text.starts_with('/') {
        return Err(Wrong::new(format!("{} does not begin with `/`", quote(text)), "write it as in `/healthz`"));
    }
    visible(text, 1024)
}

fn word_of_header(text: &str) -> Result<Arc<str>, Wrong> {
    visible(text, 256)
}

/// Only what may stand inside a line of a protocol.
fn visible(text: &str, most: usize) -> Result<Arc<str>, Wrong> {
    if text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Arc::from(text));
    }
    let help = format!("write at most {most} visible ASCII characters, without spaces");
    Err(Wrong::new(format!("{} cannot be sent", quote(text)), help))
}

fn account(text: &str) -> Result<Arc<str>, Wrong> {
    if (1..=63).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(Arc::from(text));
    }
    Err(Wrong::new(format!("{} is no name for PostgreSQL", quote(text)), "write 1 to 63 bytes"))
}

#[cfg(test)]
mod tests;
