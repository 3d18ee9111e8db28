//! A file's text to a [`Config`]: syntax, sections, and where each problem is.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::config::{
    Config, Errors,
    access_log::{ACCESS_LOG_KEYS, access_log},
    check::{Facts, Place, check},
    default::{
        BUFFER_SIZE_RANGE, BUSY_POLL_RANGE, CLOSE_REMOVED_RANGE, DRAIN_TIMEOUT_RANGE, GRADUAL_RANGE, LAME_DUCK_RANGE,
        bare,
    },
    errors::{Findings, Found, Lines},
    limit_keys::{self, LIMITS_KEYS},
    objects::{LISTENER_KEYS, POOL_KEYS, Places, listeners, pools},
    reader::{Reader, Section, Value},
    values::{
        WORKERS_HELP, admin_tcp, admin_unix, list, log_format, log_level, log_target, path, quote, rebalance,
        tcp_or_off, workers,
    },
};

/// Most bytes that a configuration may have; as many as one gRPC message.
pub const MAX_FILE_SIZE: usize = 4 * 1024 * 1024;

/// In larger texts only the first fault of the syntax is told: a binary file
/// has one at every other byte.
const MAX_RECOVERED: usize = 256 * 1024;

const WORKERS_KEYS: &[&str] = &["count", "pin", "buffer_size", "busy_poll", "rebalance"];
const PROCESS_KEYS: &[&str] = &["user", "group", "pid_file", "umask", "working_directory", "core_dumps"];
const ADMIN_KEYS: &[&str] = &["unix", "group", "tcp"];
const METRICS_KEYS: &[&str] = &["listen"];
const LOG_KEYS: &[&str] = &["target", "level", "format"];
const DRAIN_KEYS: &[&str] = &["timeout", "lame_duck", "gradual"];
const UPGRADE_KEYS: &[&str] = &["rollback_window"];
const RELOAD_KEYS: &[&str] = &["close_removed_after"];

const SECTIONS: &[(&str, &[&str])] = &[
    ("workers", WORKERS_KEYS),
    ("process", PROCESS_KEYS),
    ("admin", ADMIN_KEYS),
    ("metrics", METRICS_KEYS),
    ("log", LOG_KEYS),
    ("access_log", ACCESS_LOG_KEYS),
    ("drain", DRAIN_KEYS),
    ("upgrade", UPGRADE_KEYS),
    ("reload", RELOAD_KEYS),
    ("limits", LIMITS_KEYS),
    ("listener", LISTENER_KEYS),
    ("pool", POOL_KEYS),
];

/// Reads a configuration. `name` is what errors call the text (its path);
/// `env` answers for `${VAR}`.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn parse(name: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Errors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { source: text, env, damaged: false, findings: Findings::default() };
    if text.len() > MAX_FILE_SIZE {
        reader.problem(0..0, "the file is too large", format!("at most {} MiB are read", MAX_FILE_SIZE >> 20));
        return Err(Errors::new(name, "", reader.findings));
    }
    match DeTable::parse(text) {
        Ok(tree) => finish(name, reader, tree.get_ref()),
        Err(first) if text.len() > MAX_RECOVERED => {
            reader.findings.push(syntax(text, &first));
            Err(Errors::new(name, text, reader.findings))
        }
        Err(_) => recover(name, reader),
    }
}

/// Reports the faults of the syntax, and what is wrong in the rest of the text
/// where that can be told.
fn recover(name: &str, mut reader: Reader<'_>) -> Result<Config, Errors> {
    let text = reader.source;
    let (tree, faults) = DeTable::parse_recoverable(text);
    let mut faults: Vec<Found> = faults.iter().map(|fault| syntax(text, fault)).collect();
    faults.sort_by_key(|fault| fault.span.start);
    reader.damaged = true;
    if faults.iter().all(|fault| fault.message.starts_with(DUPLICATE)) {
        faults.into_iter().for_each(|fault| reader.findings.push(fault));
        return finish(name, reader, tree.get_ref());
    }
    let rest = without_broken_lines(text, &faults);
    let rest = rest.as_deref().and_then(|rest| DeTable::parse(rest).ok());
    // Damage beyond its line makes the following lines look faulty.
    let near = usize::from(rest.is_none());
    first_of_each_line(text, faults, near).for_each(|fault| reader.findings.push(fault));
    match rest {
        Some(tree) => finish(name, reader, tree.get_ref()),
        None => Err(Errors::new(name, text, reader.findings)),
    }
}

/// As [`parse`], for text that may not be UTF-8.
///
/// # Errors
/// Everything that is wrong with the text, or where it is not UTF-8.
pub fn parse_bytes(name: &str, bytes: &[u8], env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Errors> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(name, text, env),
        Err(error) => {
            let at = error.valid_up_to();
            // The line is enough to show where; the whole may be a core dump.
            let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| at + newline);
            let end = end.min(at + 200);
            let text = String::from_utf8_lossy(&bytes[..end]);
            let mut findings = Findings::default();
            findings.push(Found {
                span: at..at + char::REPLACEMENT_CHARACTER.len_utf8(),
                message: format!("byte 0x{:02x} is not UTF-8", bytes[at]),
                help: Some("save the file as UTF-8".to_owned()),
            });
            Err(Errors::new(name, &text, findings))
        }
    }
}

fn finish(name: &str, mut reader: Reader<'_>, tree: &DeTable<'_>) -> Result<Config, Errors> {
    let mut facts = Facts::default();
    let mut places = Places::new();
    let config = document(&mut reader, tree, &mut facts, &mut places);
    cross_check(&mut reader, &facts, &places);
    if reader.findings.is_empty() {
        return Ok(config);
    }
    Err(Errors::new(name, reader.source, reader.findings))
}

fn cross_check(reader: &mut Reader<'_>, facts: &Facts, places: &Places) {
    let lines = Lines::new(reader.source);
    for finding in check(facts) {
        let other = finding.other.map(|other| places.get(&other));
        if reader.damaged && (finding.absence || matches!(other, Some(None))) {
            continue;
        }
        let suffix = match other {
            Some(Some(span)) => format!(" (line {})", lines.line(span.start)),
            Some(None) => " (its default)".to_owned(),
            None => String::new(),
        };
        let span = places.get(&finding.place).cloned().unwrap_or_default();
        reader.problem(span, finding.message + &suffix, finding.help);
    }
}

fn document(reader: &mut Reader<'_>, tree: &DeTable<'_>, facts: &mut Facts, places: &mut Places) -> Config {
    unknown_sections(reader, tree);
    let mut config = bare();
    workers_section(reader, tree, &mut config);
    process_section(reader, tree, &mut config);
    admin_section(reader, tree, &mut config, places);
    if let Some(section) = table(reader, tree, "metrics", METRICS_KEYS) {
        places.extend(section.get("listen").map(|value| (Place::Metrics, value.span)));
        let default = config.metrics.listen;
        config.metrics.listen =
            section.optional(reader, "listen", default, |reader, value| reader.parsed(value, tcp_or_off));
    }
    if let Some(section) = table(reader, tree, "log", LOG_KEYS) {
        let log = &mut config.log;
        log.target =
            section.optional(reader, "target", log.target.clone(), |reader, value| reader.parsed(value, log_target));
        log.level = section.optional(reader, "level", log.level, |reader, value| reader.parsed(value, log_level));
        log.format = section.optional(reader, "format", log.format, |reader, value| reader.parsed(value, log_format));
    }
    if let Some(section) = table(reader, tree, "access_log", ACCESS_LOG_KEYS) {
        config.access_log = access_log(reader, &section);
    }
    if let Some(section) = table(reader, tree, "drain", DRAIN_KEYS) {
        let drain = &mut config.drain;
        drain.timeout = section
            .optional(reader, "timeout", drain.timeout, |reader, value| reader.duration(value, &DRAIN_TIMEOUT_RANGE));
        drain.lame_duck = section
            .optional(reader, "lame_duck", drain.lame_duck, |reader, value| reader.duration(value, &LAME_DUCK_RANGE));
        drain.gradual = section
            .optional(reader, "gradual", drain.gradual, |reader, value| reader.duration_or_off(value, &GRADUAL_RANGE));
    }
    if let Some(section) = table(reader, tree, "upgrade", UPGRADE_KEYS) {
        let default = config.upgrade.rollback_window;
        config.upgrade.rollback_window = section
            .optional(reader, "rollback_window", default, |reader, value| reader.duration(value, &DRAIN_TIMEOUT_RANGE));
    }
    if let Some(section) = table(reader, tree, "reload", RELOAD_KEYS) {
        config.reload.close_removed_after = section.optional(reader, "close_removed_after", None, |reader, value| {
            reader.duration_or_off(value, &CLOSE_REMOVED_RANGE)
        });
    }
    if let Some(section) = table(reader, tree, "limits", LIMITS_KEYS) {
        config.limits = limit_keys::limits(reader, &section);
    }
    facts.admin_unix = Some(config.admin.unix.clone());
    facts.admin_tcp = config.admin.tcp;
    facts.metrics = config.metrics.listen;
    if let Some(value) = value_of(tree, "listener") {
        config.listeners = listeners(reader, &value, facts, places);
    }
    if let Some(value) = value_of(tree, "pool") {
        config.pools = pools(reader, &value, facts, places);
    }
    config
}

fn workers_section(reader: &mut Reader<'_>, tree: &DeTable<'_>, config: &mut Config) {
    let Some(section) = table(reader, tree, "workers", WORKERS_KEYS) else { return };
    config.workers.count = section.optional(reader, "count", None, |reader, value| match value.node {
        DeValue::String(_) => reader.parsed(value, workers),
        DeValue::Integer(_) => {
            let count = reader.integer(value, &(1..=256))?;
            u16::try_from(count).ok().map(Some)
        }
        _ => reader.expected(value, "a number or \"auto\"", WORKERS_HELP),
    });
    config.workers.pin = section.optional(reader, "pin", false, Reader::boolean);
    let default = config.workers.buffer_size as u64;
    let size = section.optional(reader, "buffer_size", default, |reader, value| reader.size(value, &BUFFER_SIZE_RANGE));
    config.workers.buffer_size = usize::try_from(size).unwrap_or(config.workers.buffer_size);
    config.workers.busy_poll =
        section.optional(reader, "busy_poll", None, |reader, value| reader.duration_or_off(value, &BUSY_POLL_RANGE));
    let default = config.workers.rebalance;
    config.workers.rebalance =
        section.optional(reader, "rebalance", default, |reader, value| reader.parsed(value, rebalance));
}

fn process_section(reader: &mut Reader<'_>, tree: &DeTable<'_>, config: &mut Config) {
    let Some(section) = table(reader, tree, "process", PROCESS_KEYS) else { return };
    let process = &mut config.process;
    process.user = section.optional(reader, "user", None, |reader, value| reader.account(value).map(Some));
    process.group = section.optional(reader, "group", None, |reader, value| reader.account(value).map(Some));
    process.pid_file = section.optional(reader, "pid_file", None, |reader, value| reader.parsed(value, path).map(Some));
    process.umask = section.optional(reader, "umask", process.umask, Reader::octal);
    let default = process.working_directory.clone();
    process.working_directory =
        section.optional(reader, "working_directory", default, |reader, value| reader.parsed(value, path));
    process.core_dumps = section.optional(reader, "core_dumps", false, Reader::boolean);
}

fn admin_section(reader: &mut Reader<'_>, tree: &DeTable<'_>, config: &mut Config, places: &mut Places) {
    let Some(section) = table(reader, tree, "admin", ADMIN_KEYS) else { return };
    places.extend(section.get("unix").map(|value| (Place::AdminUnix, value.span)));
    places.extend(section.get("tcp").map(|value| (Place::AdminTcp, value.span)));
    let admin = &mut config.admin;
    admin.unix = section.optional(reader, "unix", admin.unix.clone(), |reader, value| reader.parsed(value, admin_unix));
    admin.group = section.optional(reader, "group", None, |reader, value| reader.account(value).map(Some));
    admin.tcp = section.optional(reader, "tcp", None, |reader, value| reader.parsed(value, admin_tcp));
}

fn unknown_sections(reader: &mut Reader<'_>, tree: &DeTable<'_>) {
    for (key, value) in tree {
        let name: &str = key.get_ref();
        if SECTIONS.iter().any(|(section, _)| *section == name) {
            continue;
        }
        let is_table = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
        let home = SECTIONS.iter().find(|(_, keys)| !is_table && keys.contains(&name));
        let help = match (home, reader.nearest(name, SECTIONS.iter().map(|(section, _)| *section))) {
            (Some((section, _)), _) => format!("`{name}` belongs below `{}`", header(section)),
            (None, Some(near)) => format!("did you mean `{}`?", header(near)),
            (None, None) => format!("sections are {}", list(SECTIONS.iter().map(|(section, _)| *section), "and")),
        };
        let what = if is_table { "section" } else { "key" };
        reader.problem(key.span(), format!("unknown {what} {}", quote(name)), help);
    }
}

fn header(section: &str) -> String {
    if matches!(section, "listener" | "pool") { format!("[[{section}]]") } else { format!("[{section}]") }
}

fn value_of<'t>(tree: &'t DeTable<'t>, name: &str) -> Option<Value<'t>> {
    let (key, value) = tree.get_key_value(name)?;
    Some(Value { key: key.get_ref(), key_span: key.span(), node: value.get_ref(), span: value.span() })
}

fn table<'t>(reader: &mut Reader<'_>, tree: &'t DeTable<'t>, name: &str, keys: &[&'static str]) -> Option<Section<'t>> {
    let value = value_of(tree, name)?;
    match value.node {
        DeValue::Table(table) => Some(Section::open(reader, format!("[{name}]"), table, value.span, keys)),
        DeValue::Array(_) => reader.expected(&value, "one table", &format!("write `[{name}]`, with one bracket, once")),
        _ => reader.expected(&value, "a table", &format!("write `[{name}]` and its keys below")),
    }
}

const DUPLICATE: &str = "duplicate key";

/// What the TOML parser found, in words that help.
fn syntax(text: &str, fault: &toml::de::Error) -> Found {
    let mut span = fault.span().unwrap_or_default();
    // The end of the file is an empty line: show the last that says something.
    if span.is_empty() && span.start >= text.len() {
        let end = text.trim_end().len();
        span = end..end;
    }
    let written = text.get(span.clone()).unwrap_or_default();
    let (message, help) = match fault.message() {
        message if message.starts_with("string values must be quoted") && written.is_empty() => {
            ("there is no value".to_owned(), Some("write one after `=`".to_owned()))
        }
        message if message.starts_with("string values must be quoted") || message.starts_with("invalid boolean") => (
            format!("{} is no value", quote(written)),
            Some("text needs quotes, as in \"abc\"; numbers, `true` and `false` stand without".to_owned()),
        ),
        message if message.starts_with(DUPLICATE) => (
            format!("{DUPLICATE} {}", quote(written)),
            Some(match written {
                "listener" | "pool" => format!("write `[[{written}]]`, with two brackets, before each of them"),
                _ => "write it once".to_owned(),
            }),
        ),
        message => (message.to_owned(), None),
    };
    Found { span, message, help }
}

/// The text with its broken lines blanked; offsets stay as they are. `None` if
/// a header is broken: the keys below it would go to another section. `faults`
/// are in order.
fn without_broken_lines(text: &str, faults: &[Found]) -> Option<String> {
    let mut rest = text.as_bytes().to_vec();
    let mut done = 0;
    for fault in faults {
        if done > 0 && fault.span.start <= done {
            continue;
        }
        let line = line_range(text, fault.span.start);
        if text[line.clone()].trim_start().starts_with('[') {
            return None;
        }
        done = line.end;
        rest[line].fill(b' ');
    }
    String::from_utf8(rest).ok()
}

fn line_range(text: &str, offset: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let offset = offset.min(bytes.len());
    let start = bytes[..offset].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[offset..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| offset + newline);
    start..end
}

/// One fault a line; and none on lines up to `near` after a faulty one.
fn first_of_each_line(text: &str, faults: Vec<Found>, near: usize) -> impl Iterator<Item = Found> {
    let lines = Lines::new(text);
    let mut last = None;
    let numbers: Vec<usize> = faults.iter().map(|fault| lines.line(fault.span.start)).collect();
    faults.into_iter().zip(numbers).filter_map(move |(fault, line)| {
        let follows = last.is_some_and(|last| line <= last + near);
        last = Some(line);
        (!follows).then_some(fault)
    })
}

#[cfg(test)]
mod tests;
