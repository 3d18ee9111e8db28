//! The command line's part of the configuration: a whole one without a file,
//! or single values over a file's.

use std::{path::PathBuf, sync::Arc};

use crate::config::{
    Address, Config, Protocol,
    check::{Facts, Finding, Place, check},
    default::{bare, listener, pool, respond},
    values::{
        Word, Wrong, account, admin_unix, log_format, log_level, log_target, path, protocol, tcp_or_off, workers,
    },
};

/// What the command line says about the configuration, as written. Paths are
/// absolute: the caller completes relative ones, since the daemon leaves the
/// directory that it was started in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// `--listen ADDRESS`, one listener each: `listen-1`, `listen-2` ...
    pub listen: Vec<Address>,
    /// `--upstream ADDRESS`, the endpoints of the pool `upstream`.
    pub upstream: Vec<Address>,
    /// `--protocol tcp|echo|discard|respond`, of every `--listen`.
    pub protocol: Option<String>,
    /// `--workers N|auto`.
    pub workers: Option<String>,
    /// `--admin unix:PATH|default|off`.
    pub admin: Option<String>,
    /// `--metrics ADDRESS|off`.
    pub metrics: Option<String>,
    /// `--pid-file PATH`.
    pub pid_file: Option<PathBuf>,
    /// `--user NAME`.
    pub user: Option<String>,
    /// `--group NAME`.
    pub group: Option<String>,
    /// `--log auto|stderr|journal|syslog|file:PATH`.
    pub log: Option<String>,
    /// `--log-level error|warn|info|debug|trace`.
    pub log_level: Option<String>,
    /// `--log-format text|json`.
    pub log_format: Option<String>,
}

/// Puts the flags over a file's configuration. With no file, `--listen` makes
/// a configuration of its own; with neither, the embedded default serves.
/// `--listen` replaces all listeners and pools of the file.
///
/// # Errors
/// Everything that is wrong, a line each, naming the flag and what would be
/// right.
pub fn with_flags(base: Option<Config>, flags: &Flags) -> Result<Config, String> {
    let mut problems = Vec::new();
    let mut config = match base {
        Some(base) => base,
        None if flags.listen.is_empty() => Config::embedded_default(),
        None => bare(),
    };
    if let Err(message) = serve(&mut config, flags) {
        problems.push(message);
    }
    settings(&mut config, flags, &mut problems);
    // What a wrong flag would have changed is not worth checking.
    if problems.is_empty() {
        problems.extend(check(&Facts::of(&config)).iter().map(|finding| describe(finding, flags)));
    }
    if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
}

/// Listeners and pools.
fn serve(config: &mut Config, flags: &Flags) -> Result<(), String> {
    if flags.listen.is_empty() {
        let flag = match (flags.upstream.first(), &flags.protocol) {
            (Some(upstream), _) => format!("--upstream {upstream}"),
            (None, Some(protocol)) => format!("--protocol {protocol}"),
            (None, None) => return Ok(()),
        };
        return Err(format!("{flag} needs --listen: say where to accept, as in `--listen 127.0.0.1:8080`"));
    }
    let word = match &flags.protocol {
        Some(text) => protocol(text).map_err(|wrong| show("--protocol", text, &wrong))?,
        None if flags.upstream.is_empty() => {
            return Err(
                "--listen needs something to serve: add `--upstream ADDRESS` to relay there, or `--protocol echo`, \
                 `discard` or `respond`"
                    .to_owned(),
            );
        }
        None => Word::Tcp,
    };
    if word == Word::Tcp && flags.upstream.is_empty() {
        return Err("--protocol tcp needs --upstream: say where to relay, as in `--upstream 127.0.0.1:9000`".to_owned());
    }
    if let (false, Some(upstream), Some(text)) = (word == Word::Tcp, flags.upstream.first(), &flags.protocol) {
        return Err(format!(
            "--upstream {upstream} does not go with --protocol {text}, which relays nothing; leave one out"
        ));
    }
    let protocol = match word {
        Word::Tcp => Protocol::tcp(UPSTREAM),
        Word::Echo => Protocol::Echo,
        Word::Discard => Protocol::Discard,
        Word::Respond => respond(),
    };
    let numbered = flags.listen.iter().zip(1..);
    config.listeners = numbered
        .map(|(address, number)| Arc::new(listener(&format!("listen-{number}"), address.clone(), protocol.clone())))
        .collect();
    config.pools = match flags.upstream.as_slice() {
        [] => Vec::new(),
        upstream => vec![Arc::new(pool(UPSTREAM, upstream.iter().cloned()))],
    };
    Ok(())
}

const UPSTREAM: &str = "upstream";

/// Single values.
fn settings(config: &mut Config, flags: &Flags, problems: &mut Vec<String>) {
    let pid_file = flags.pid_file.as_ref().map(|path| path.to_str().ok_or(path));
    let pid_file = match pid_file {
        Some(Err(path)) => {
            problems.push(format!("--pid-file {}: the path is not UTF-8; choose another", path.display()));
            None
        }
        Some(Ok(text)) => Some(text.to_owned()),
        None => None,
    };
    set(problems, "--workers", &flags.workers, workers, &mut config.workers.count);
    set(problems, "--admin", &flags.admin, admin_unix, &mut config.admin.unix);
    set(problems, "--metrics", &flags.metrics, tcp_or_off, &mut config.metrics.listen);
    set(problems, "--pid-file", &pid_file, |text| path(text).map(Some), &mut config.process.pid_file);
    set(problems, "--user", &flags.user, |text| account(text).map(Some), &mut config.process.user);
    set(problems, "--group", &flags.group, |text| account(text).map(Some), &mut config.process.group);
    set(problems, "--log", &flags.log, log_target, &mut config.log.target);
    set(problems, "--log-level", &flags.log_level, log_level, &mut config.log.level);
    set(problems, "--log-format", &flags.log_format, log_format, &mut config.log.format);
}

fn set<T>(
    problems: &mut Vec<String>,
    flag: &str,
    text: &Option<String>,
    read: impl FnOnce(&str) -> Result<T, Wrong>,
    value: &mut T,
) {
    let Some(text) = text else { return };
    match read(text) {
        Ok(read) => *value = read,
        Err(wrong) => problems.push(show(flag, text, &wrong)),
    }
}

fn show(flag: &str, text: &str, wrong: &Wrong) -> String {
    let text: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    match &wrong.help {
        Some(help) => format!("{flag} {text}: {}; {help}", wrong.message),
        None => format!("{flag} {text}: {}", wrong.message),
    }
}

/// A broken rule, with the flag that breaks it in front.
fn describe(finding: &Finding, flags: &Flags) -> String {
    let here = flag_of(finding.place, flags);
    let there = finding.other.and_then(|other| flag_of(other, flags));
    let mut text = match (here, there) {
        (Some(here), Some(there)) if here != there => format!("{here}: {} ({there})", finding.message),
        (Some(here), _) => format!("{here}: {}", finding.message),
        (None, there) => {
            let parts = there.into_iter().chain(finding.subject.clone()).chain([finding.message.clone()]);
            parts.collect::<Vec<_>>().join(": ")
        }
    };
    if let Some(help) = &finding.help {
        text = format!("{text}; {help}");
    }
    text
}

/// The flag that gave a place its value, as written.
fn flag_of(place: Place, flags: &Flags) -> Option<String> {
    let setting = |flag: &str, text: &Option<String>| text.as_ref().map(|text| format!("{flag} {text}"));
    match place {
        Place::Listener(index)
        | Place::ListenerName(index)
        | Place::ListenerAddress(index)
        | Place::ListenerHash(index)
        | Place::ListenerPool(index, _) => flags.listen.get(index).map(|address| format!("--listen {address}")),
        Place::Endpoint(_, index) => flags.upstream.get(index).map(|address| format!("--upstream {address}")),
        Place::Pool(_) | Place::PoolName(_) => None,
        Place::AdminUnix => setting("--admin", &flags.admin),
        Place::Metrics => setting("--metrics", &flags.metrics),
        Place::AdminTcp => None,
    }
}

#[cfg(test)]
mod tests;
