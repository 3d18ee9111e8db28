//! What a line looks like: text, JSON, syslog, journal. Records in, bytes out.

use std::fmt::Write;

use tracing::Level;

use super::record::{Record, Value, cut};

/// Most bytes of a syslog message; more than any default limit of a receiver
/// keeps.
const MAX_SYSLOG: usize = 8 * 1024;

/// Facility `daemon` (RFC 3164 section 4.1.1).
const FACILITY: u8 = 3;

/// One readable line: time (RFC 3339, UTC), level, room, message, fields. A
/// message of several lines goes on indented, so that no part of it can pass
/// for another record.
pub(super) fn text(record: &Record, color: bool) -> String {
    let mut line = String::with_capacity(128);
    let time = humantime::format_rfc3339_millis(record.time);
    let (paint, reset) = if color { (level_color(record.level), "\x1b[0m") } else { ("", "") };
    let (faint, bold) = if color { ("\x1b[2m", "\x1b[1m") } else { ("", "") };
    let _ = write!(
        line,
        "{faint}{time}{reset} {paint}{:<5}{reset} {faint}{}:{reset} ",
        level_word(record.level),
        room(record)
    );
    line.push_str(bold);
    push_message(&mut line, &record.message, "\n    ");
    line.push_str(reset);
    push_fields(&mut line, record);
    line.push('\n');
    line
}

/// One JSON object: `time`, `level`, `target`, `message`, then the fields by
/// their names; a field with one of those names gets a `_` behind it.
pub(super) fn json(record: &Record) -> String {
    let mut line = String::with_capacity(192);
    let time = humantime::format_rfc3339_millis(record.time);
    let level = level_word(record.level).to_ascii_lowercase();
    let _ = write!(line, r#"{{"time":"{time}","level":"{level}","target":"#);
    push_json_string(&mut line, record.target);
    line.push_str(r#","message":"#);
    push_json_string(&mut line, &record.message);
    for (name, value) in &record.fields {
        line.push(',');
        match *name {
            "time" | "level" | "target" | "message" => push_json_string(&mut line, &format!("{name}_")),
            name => push_json_string(&mut line, name),
        }
        line.push(':');
        match value {
            // JSON has no NaN and no infinity.
            Value::Float(number) if !number.is_finite() => push_json_string(&mut line, &number.to_string()),
            Value::Text(text) => push_json_string(&mut line, text),
            other => {
                let _ = write!(line, "{other}");
            }
        }
    }
    line.push_str("}\n");
    line
}

/// A datagram for the local syslog (RFC 3164): `<PRI>netd[PID]: ...`. Without
/// a time: the receiver stamps it, in its own time zone.
pub(super) fn syslog(record: &Record, pid: u32) -> String {
    let mut line = String::with_capacity(128);
    let _ = write!(line, "<{}>netd[{pid}]: {}: ", FACILITY * 8 + severity(record.level), room(record));
    push_message(&mut line, &record.message, "\\n");
    push_fields(&mut line, record);
    let length = cut(&line, MAX_SYSLOG).len();
    line.truncate(length);
    line
}

/// A datagram of the journal's native protocol. The fields of the event become
/// `NETD_` fields: `listener` is `NETD_LISTENER`.
pub(super) fn journal(record: &Record, pid: u32) -> Vec<u8> {
    let mut entry = Vec::with_capacity(256);
    push_journal(&mut entry, "MESSAGE", &record.message);
    push_journal(&mut entry, "PRIORITY", &severity(record.level).to_string());
    push_journal(&mut entry, "SYSLOG_IDENTIFIER", "netd");
    push_journal(&mut entry, "SYSLOG_FACILITY", &FACILITY.to_string());
    push_journal(&mut entry, "SYSLOG_PID", &pid.to_string());
    push_journal(&mut entry, "TARGET", record.target);
    if let Some((file, line)) = record.source {
        push_journal(&mut entry, "CODE_FILE", file);
        push_journal(&mut entry, "CODE_LINE", &line.to_string());
    }
    for (name, value) in &record.fields {
        push_journal(&mut entry, &journal_name(name), &value.to_string());
    }
    entry
}

/// RFC 5424, table 2.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn level_word(level: Level) -> &'static str {
    level.as_str()
}

fn level_color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[36m",
    }
}

/// `netd::control::state` is `control` to a reader; other crates have their
/// whole name.
fn room(record: &Record) -> &str {
    match record.target.strip_prefix("netd::") {
        Some(path) => path.split("::").next().unwrap_or(path),
        None => record.target,
    }
}

fn push_message(line: &mut String, message: &str, newline: &str) {
    for (number, part) in message.trim_end().split('\n').enumerate() {
        if number > 0 {
            line.push_str(newline);
        }
        part.chars().for_each(|character| push_visible(line, character));
    }
}

fn push_fields(line: &mut String, record: &Record) {
    for (name, value) in &record.fields {
        let _ = write!(line, " {name}=");
        match value {
            Value::Text(text) => push_text_value(line, text),
            other => {
                let _ = write!(line, "{other}");
            }
        }
    }
}

/// Bare if a reader and a split at blanks see its bounds, else in quotes.
fn push_text_value(line: &mut String, text: &str) {
    let bare = !text.is_empty()
        && text
            .chars()
            .all(|character| !character.is_whitespace() && !character.is_control() && !"\"=\\".contains(character));
    if bare {
        line.push_str(text);
        return;
    }
    line.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            '\n' => line.push_str("\\n"),
            other => push_visible(line, other),
        }
    }
    line.push('"');
}

/// Nothing that steers a terminal.
fn push_visible(line: &mut String, character: char) {
    match character {
        '\t' => line.push('\t'),
        character if character.is_control() => line.extend(character.escape_default()),
        character => line.push(character),
    }
}

pub(super) fn push_json_string(line: &mut String, text: &str) {
    // Writing a str to a String has nothing to fail of.
    line.push_str(&serde_json::to_string(text).unwrap_or_default());
}

pub(super) fn push_journal(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// A name that the journal takes: A-Z, 0-9 and `_`, at most 64 characters.
fn journal_name(name: &str) -> String {
    let upper = name.chars().map(|character| match character.to_ascii_uppercase() {
        character if character.is_ascii_alphanumeric() => character,
        _ => '_',
    });
    "NETD_".chars().chain(upper).take(64).collect()
}

#[cfg(test)]
mod tests;
