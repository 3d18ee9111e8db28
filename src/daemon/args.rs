//! The command line of `netd`.

use std::{ffi::OsString, io, path::PathBuf, time::Duration};

use clap::Parser;

use crate::config::{Address, parse_duration};

/// The connection front door: accepts on every core, balances over upstream
/// pools, and never drops a connection that it could have kept.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Configuration file [default: /etc/netd/netd.toml if it exists].
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Validate the configuration and exit: 0 if it is right, 78 if not.
    #[arg(long, group = "mode")]
    pub check: bool,

    /// Print the effective configuration and exit.
    #[arg(long, group = "mode")]
    pub print_config: bool,

    /// Detach and serve in the background (daemon(7)); returns when it serves.
    #[arg(short, long, group = "mode")]
    pub daemon: bool,

    /// Drain and stop the daemon of the pid file; returns when it has ended.
    #[arg(long, group = "mode")]
    pub stop: bool,

    /// Say whether the daemon of the pid file runs; see the exit status below.
    #[arg(long, group = "mode")]
    pub status: bool,

    /// How long --stop waits.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration, requires = "stop")]
    pub timeout: Duration,

    /// Addresses to accept on.
    // Not from the comment above: rustdoc would take the brackets for a link.
    #[arg(
        short,
        long,
        value_name = "ADDRESS",
        help = "Accept here: IP:PORT, [IPv6]:PORT or unix:/PATH. Repeatable; replaces the listeners and pools of the file",
        help_heading = "Serving without a file, or over one"
    )]
    pub listen: Vec<Address>,

    /// Relay to this endpoint. Repeatable.
    #[arg(short, long, value_name = "ADDRESS", help_heading = "Serving without a file, or over one")]
    pub upstream: Vec<Address>,

    /// What --listen speaks: tcp, echo, discard or respond
    /// [default: tcp with --upstream].
    #[arg(short, long, value_name = "NAME", help_heading = "Serving without a file, or over one")]
    pub protocol: Option<String>,

    /// Number of workers, or `auto`: one per usable CPU.
    #[arg(short, long, value_name = "N", help_heading = "Single settings over the file's")]
    pub workers: Option<String>,

    /// Where the admin API is served: unix:/PATH, `default` or `off`.
    #[arg(long, value_name = "WHERE", help_heading = "Single settings over the file's")]
    pub admin: Option<String>,

    /// Where /metrics is served: IP:PORT or `off`.
    #[arg(long, value_name = "WHERE", help_heading = "Single settings over the file's")]
    pub metrics: Option<String>,

    /// Pid file [default with --daemon: netd.pid beside the admin socket].
    #[arg(long, value_name = "PATH", help_heading = "Single settings over the file's")]
    pub pid_file: Option<PathBuf>,

    /// User to become once the sockets are bound.
    #[arg(long, value_name = "NAME", help_heading = "Single settings over the file's")]
    pub user: Option<String>,

    /// Group to become [default: the user's].
    #[arg(long, value_name = "NAME", help_heading = "Single settings over the file's")]
    pub group: Option<String>,

    /// Where the log goes: auto, stderr, journal, syslog or file:/PATH.
    #[arg(long, value_name = "WHERE", help_heading = "Single settings over the file's")]
    pub log: Option<String>,

    /// error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", help_heading = "Single settings over the file's")]
    pub log_level: Option<String>,

    /// text or json.
    #[arg(long, value_name = "FORMAT", help_heading = "Single settings over the file's")]
    pub log_format: Option<String>,
}

const AFTER_HELP: &str = "\
Without a file and without --listen, netd serves an embedded default on 127.0.0.1:8080.

Examples:
  netd --listen 127.0.0.1:8080 --upstream 127.0.0.1:9000 --upstream 127.0.0.1:9001
  netd --check --config /etc/netd/netd.toml
  netd --daemon --config /etc/netd/netd.toml

Signals: TERM, INT, QUIT drain and stop (a second one stops at once); HUP reloads; USR1 reopens the log;
USR2 upgrades: hands everything to a new process, started from the same path.
Exit status:
   0  done; --status: it runs; --stop: it has stopped
   1  it could not start or go on; --status: it died and left its pid file; --stop: it still drains
   2  wrong command line
   3  --status, --stop: it does not run
   4  --status: that could not be found out, for example of a daemon that is just starting
  78  the configuration is wrong";

/// What `netd` is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Serve,
    Check,
    PrintConfig,
    Stop,
    Status,
}

impl Args {
    /// The same command line for another process that serves, but for the
    /// configuration file; relative paths are completed.
    ///
    /// # Errors
    /// If the current directory is gone and a path is relative.
    pub(super) fn again(&self) -> io::Result<Vec<OsString>> {
        let mut line: Vec<OsString> = Vec::new();
        let mut add = |flag: &str, value: OsString| line.extend([flag.into(), value]);
        for address in &self.listen {
            add("--listen", address.to_string().into());
        }
        for address in &self.upstream {
            add("--upstream", address.to_string().into());
        }
        let place = |value: &str| match value.split_once(":") {
            Some((kind @ ("unix" | "file"), path)) => Ok(format!("{kind}:{}", std::path::absolute(path)?.display())),
            _ => Ok::<_, io::Error>(value.to_owned()),
        };
        let single = [
            ("--protocol", self.protocol.clone()),
            ("--workers", self.workers.clone()),
            ("--admin", self.admin.as_deref().map(place).transpose()?),
            ("--metrics", self.metrics.clone()),
            ("--user", self.user.clone()),
            ("--group", self.group.clone()),
            ("--log", self.log.as_deref().map(place).transpose()?),
            ("--log-level", self.log_level.clone()),
            ("--log-format", self.log_format.clone()),
        ];
        for (flag, value) in single {
            if let Some(value) = value {
                add(flag, value.into());
            }
        }
        if let Some(path) = &self.pid_file {
            add("--pid-file", std::path::absolute(path)?.into());
        }
        if self.daemon {
            line.push("--daemon".into());
        }
        Ok(line)
    }

    pub(super) fn mode(&self) -> Mode {
        match self {
            Self { check: true, .. } => Mode::Check,
            Self { print_config: true, .. } => Mode::PrintConfig,
            Self { stop: true, .. } => Mode::Stop,
            Self { status: true, .. } => Mode::Status,
            _ => Mode::Serve,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn modes_exclude_each_other() {
        assert_eq!(Args::parse_from(["netd"]).mode(), Mode::Serve);
        assert_eq!(Args::parse_from(["netd", "--daemon"]).mode(), Mode::Serve);
        assert_eq!(Args::parse_from(["netd", "--status"]).mode(), Mode::Status);
        assert!(Args::try_parse_from(["netd", "--stop", "--check"]).is_err());
    }
}
