//! Single values from text, as they stand in a file or behind a flag.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::config::{
    Accelerate, Address, AdminSocket, HashKey, LogFormat, LogLevel, LogTarget, Policy, Rebalance,
    suggest::nearest,
    units::{format_duration, parse_duration},
};

/// What is wrong with a value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }

    pub(super) fn bare(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// What would be right, too.
    pub(super) fn or(self, right: &str) -> Self {
        Self { help: self.help.map(|help| format!("{help}, or {right}")), ..self }
    }
}

/// An operator's text inside a message: on one line, not too long.
pub(super) fn quote(text: &str) -> String {
    const MAX: usize = 80;
    let mut shown: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}

/// The words of `choices`, for a message: `a`, `b` or `c`.
pub(super) fn list<'w>(words: impl IntoIterator<Item = &'w str>, last: &str) -> String {
    const MAX: usize = 20;
    let mut words: Vec<String> = words.into_iter().map(quote).collect();
    if words.len() > MAX {
        let more = words.len() - MAX;
        words.truncate(MAX);
        return format!("{} and {more} more", words.join(", "));
    }
    match words.split_last() {
        Some((end, rest)) if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
        _ => words.join(", "),
    }
}

/// One of some words.
pub(super) fn choice<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, Wrong> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(value.clone());
    }
    let words = || choices.iter().map(|(word, _)| *word);
    let right = format!("use {}", list(words(), "or"));
    let help = match nearest(text, words()) {
        Some(near) => format!("did you mean `{near}`? {right}"),
        None => right,
    };
    Err(Wrong::new(format!("unknown value {}", quote(text)), help))
}

/// A name of a listener or pool.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    const HELP: &str = "a name has 1 to 64 letters, digits, `.`, `_` or `-`, as in `web-1`";
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if text.is_empty() {
        return Err(Wrong::new("the name is empty", HELP));
    }
    if !fits || text.len() > 64 {
        return Err(Wrong::new(format!("{} is no valid name", quote(text)), HELP));
    }
    Ok(text.to_owned())
}

/// A user or group: name or number.
pub(super) fn account(text: &str) -> Result<String, Wrong> {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != ':' && c != '/';
    if text.is_empty() || text.len() > 256 || !text.chars().all(fits) {
        let help = "write a name or a number, as in `netd` or `994`";
        return Err(Wrong::new(format!("{} is no user or group", quote(text)), help));
    }
    Ok(text.to_owned())
}

/// An address to listen on or connect to.
pub(super) fn address(text: &str) -> Result<Address, Wrong> {
    const MAX: usize = 256;
    if text.len() > MAX || text.chars().any(char::is_control) {
        return Err(Wrong::new(
            format!("{} is no address", quote(text)),
            "write `IP:PORT`, `[IPv6]:PORT` or `unix:/PATH`",
        ));
    }
    text.parse().map_err(|message: String| Wrong::bare(message))
}

/// A TCP address, or `off`.
pub(super) fn tcp_or_off(text: &str) -> Result<Option<SocketAddr>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    match address(text)? {
        Address::Inet(address) => Ok(Some(address)),
        Address::Unix(_) => Err(Wrong::new("this is served over TCP only", "write `IP:PORT`, or `off`")),
    }
}

/// A TCP address of the admin API, or `off`. Only loopback until TLS exists.
pub(super) fn admin_tcp(text: &str) -> Result<Option<SocketAddr>, Wrong> {
    let address = tcp_or_off(text)?;
    match address {
        Some(address) if !address.ip().is_loopback() => Err(Wrong::new(
            format!(
                "`{address}` is not a loopback address; the admin API has no TLS yet, so anybody on the network could use it"
            ),
            format!("write `127.0.0.1:{}`, and reach it through SSH from elsewhere", address.port()),
        )),
        _ => Ok(address),
    }
}

/// The admin API's Unix socket: a path (`unix:` before it is allowed),
/// `default` or `off`.
pub(super) fn admin_unix(text: &str) -> Result<AdminSocket, Wrong> {
    match text {
        "off" => return Ok(AdminSocket::Off),
        "default" => return Ok(AdminSocket::Default),
        _ => {}
    }
    let socket = text.strip_prefix("unix:").unwrap_or(text);
    if !socket.starts_with('/') {
        let help = "write an absolute path, as in `/run/netd/admin.sock`, or `default`, or `off`";
        return Err(Wrong::new(format!("{} is no path of a Unix socket", quote(text)), help));
    }
    match address(&format!("unix:{socket}"))? {
        Address::Unix(path) => Ok(AdminSocket::Path(path)),
        Address::Inet(_) => Err(Wrong::bare(format!("{} is no path", quote(text)))),
    }
}

/// An absolute path.
pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    if text.contains('\0') || text.len() > 4095 {
        return Err(Wrong::new(
            format!("{} is no path", quote(text)),
            "a path has at most 4095 bytes and no NUL (path_resolution(7))",
        ));
    }
    if !text.starts_with('/') {
        return Err(Wrong::new(
            format!("the path {} is not absolute", quote(text)),
            "begin it with `/`: a daemon has no current directory to start from",
        ));
    }
    Ok(PathBuf::from(text))
}

/// Number of workers; `None`: `auto`.
pub(super) fn workers(text: &str) -> Result<Option<u16>, Wrong> {
    if text == "auto" {
        return Ok(None);
    }
    match text.parse::<u16>() {
        Ok(count) if (1..=256).contains(&count) => Ok(Some(count)),
        _ => Err(Wrong::new(format!("{} is no number of workers", quote(text)), WORKERS_HELP)),
    }
}

pub(super) const WORKERS_HELP: &str = "write a number from 1 to 256, or \"auto\" for one worker per CPU";

/// Destination of the log.
pub(super) fn log_target(text: &str) -> Result<LogTarget, Wrong> {
    if let Some(file) = text.strip_prefix("file:") {
        return path(file).map(LogTarget::File);
    }
    let words = [
        ("auto", LogTarget::Auto),
        ("stderr", LogTarget::Stderr),
        ("journal", LogTarget::Journal),
        ("syslog", LogTarget::Syslog),
    ];
    if text.starts_with('/') {
        return Err(Wrong::new(
            format!("unknown value {}", quote(text)),
            format!("to log to a file write `file:{text}`"),
        ));
    }
    choice(text, &words)
        .map_err(|wrong| Wrong { help: wrong.help.map(|help| format!("{help}, or `file:/PATH`")), ..wrong })
}

/// Least severe level that is written.
pub(super) fn log_level(text: &str) -> Result<LogLevel, Wrong> {
    choice(text, &LogLevel::ALL.map(|level| (level.as_str(), level)))
}

/// Shape of a log line.
pub(super) fn log_format(text: &str) -> Result<LogFormat, Wrong> {
    choice(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

/// How a relay moves bytes.
pub(super) fn accelerate(text: &str) -> Result<Accelerate, Wrong> {
    choice(text, &[("auto", Accelerate::Auto), ("splice", Accelerate::Splice), ("off", Accelerate::Off)])
}

/// How a pool chooses.
pub(super) fn policy(text: &str) -> Result<Policy, Wrong> {
    choice(text, &Policy::ALL.map(|policy| (policy.as_str(), policy)))
}

/// What consistent hashing knows a client by.
pub(super) fn hash_key(text: &str) -> Result<HashKey, Wrong> {
    choice(text, &HashKey::ALL.map(|key| (key.as_str(), key)))
}

/// Whether connections are evened over the workers.
pub(super) fn rebalance(text: &str) -> Result<Rebalance, Wrong> {
    choice(text, &Rebalance::ALL.map(|word| (word.as_str(), word)))
}

/// A protocol's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Tcp,
    Echo,
    Discard,
    Respond,
}

/// A protocol's word.
pub(super) fn protocol(text: &str) -> Result<Word, Wrong> {
    choice(text, &[("tcp", Word::Tcp), ("echo", Word::Echo), ("discard", Word::Discard), ("respond", Word::Respond)])
}

/// A duration in a range.
pub(super) fn duration(text: &str, range: &std::ops::RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let duration = parse_duration(text).map_err(Wrong::bare)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(Wrong::new(
        format!("{} is out of range", format_duration(duration)),
        format!("write {} to {}", format_duration(*range.start()), format_duration(*range.end())),
    ))
}

/// Permission bits in octal, with or without `0o` before them.
pub(super) fn octal(text: &str) -> Result<u32, Wrong> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(bits) if bits <= 0o777 && !digits.starts_with('+') => Ok(bits),
        _ => {
            Err(Wrong::new(format!("{} is no file mode", quote(text)), "write octal digits up to 0o777, as in `0o660`"))
        }
    }
}
