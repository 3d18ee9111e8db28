//! How it is found out whether the endpoints of a pool can be used.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use crate::config::format_duration;

/// Most ranges in one [`Statuses`].
const MAX_RANGES: usize = 16;

/// Health of a pool's endpoints: what is asked, what is watched, and when it is
/// no longer believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolHealth {
    /// `[pool.health]`: active checks; `None`: none are made.
    pub check: Option<Arc<HealthCheck>>,
    /// `[pool.outlier]`: ejection by what connections meet; `None`: never.
    pub outlier: Option<Outlier>,
    /// While fewer than so many percent of the endpoints are healthy, all are
    /// used. 0 (never) to 100, default 20.
    pub panic_threshold: u8,
}

impl Default for PoolHealth {
    fn default() -> Self {
        Self { check: None, outlier: None, panic_threshold: 20 }
    }
}

/// Active checks of every endpoint of a pool. Two pools that ask an endpoint
/// the same share the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// From one probe of an endpoint to the next. 100 ms to 1 h, default 5 s.
    pub interval: Duration,
    /// As `interval`, while the answers contradict the verdict. 100 ms to 1 h,
    /// at most `interval`; default 1 s, or `interval` if that is less.
    pub fast_interval: Duration,
    /// For one probe, the connect included. 1 ms to 1 min, default 2 s.
    pub timeout: Duration,
    /// Good answers that make an unhealthy endpoint healthy. 1 to 100, default
    /// 2.
    pub rise: u8,
    /// Bad answers that make a healthy endpoint unhealthy. 1 to 100, default 3.
    pub fall: u8,
    /// Every interval is longer or shorter by up to so many percent. 0 to 50,
    /// default 10.
    pub jitter: u8,
    /// What an endpoint is good for until its first answer.
    pub initial: Initial,
}

/// What an endpoint is good for until its first answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Initial {
    /// It takes connections. The default.
    #[default]
    Used,
    /// It takes none.
    Unused,
}

impl Initial {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Unused => "unused",
        }
    }
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// Connects; then sends and expects, where something is given.
    Tcp {
        /// Sent after the connect; empty: nothing. At most 4 KiB.
        send: Arc<str>,
        /// Must occur in the first 16 KiB of the answer; empty: nothing is
        /// waited for. At most 4 KiB.
        expect: Arc<str>,
    },
    /// `GET` over HTTP/1.1.
    Http {
        /// Begins with `/`; default `/`.
        path: Arc<str>,
        /// The `Host` field; empty (the default): the endpoint's address, or
        /// `localhost` for a Unix socket.
        host: Arc<str>,
        /// Good answers; default 200-299.
        status: Statuses,
    },
    /// `grpc.health.v1.Health/Check`, without TLS.
    Grpc {
        /// Empty (the default): the server as a whole.
        service: Arc<str>,
    },
    /// `PING` of the Redis protocol.
    Redis,
    /// A start-up message, as `pg_isready` sends it; nobody logs in.
    Postgres {
        /// Default `netd`.
        user: Arc<str>,
        /// Default `postgres`.
        database: Arc<str>,
    },
}

impl CheckKind {
    /// The word used in files and shown to people.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Http { .. } => "http",
            Self::Grpc { .. } => "grpc",
            Self::Redis => "redis",
            Self::Postgres { .. } => "postgres",
        }
    }
}

/// HTTP statuses: `200-299,404`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Statuses(Vec<(u16, u16)>);

impl Statuses {
    /// Whether the status is among them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&status))
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

impl FromStr for Statuses {
    type Err = String;

    /// Reads `200`, `200-399` or several with commas between them, each from
    /// 100 to 599.
    fn from_str(text: &str) -> Result<Self, String> {
        let status = |text: &str| {
            let digits = text.trim();
            let number = digits.parse::<u16>().ok().filter(|status| (100..=599).contains(status) && digits.len() == 3);
            number.ok_or_else(|| format!("`{digits}` is no HTTP status: 100 to 599"))
        };
        let range = |text: &str| match text.split_once('-') {
            None => status(text).map(|only| (only, only)),
            Some((first, last)) => match (status(first)?, status(last)?) {
                (first, last) if first <= last => Ok((first, last)),
                (first, last) => Err(format!("`{first}-{last}` is empty: write the lower status first")),
            },
        };
        let ranges = text.split(',').take(MAX_RANGES + 1).map(range).collect::<Result<Vec<_>, _>>()?;
        if ranges.len() > MAX_RANGES {
            return Err(format!("at most {MAX_RANGES} ranges of statuses"));
        }
        Ok(Self(ranges))
    }
}

/// When connections that fail eject an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlier {
    /// Failed connects, or early resets, one behind the other. 1 to 1000,
    /// default 5.
    pub consecutive: u16,
    /// The first ejection lasts so long, the second twice as long, and so on.
    /// 1 s to 1 h, default 30 s.
    pub base: Duration,
    /// No ejection is longer. `base` to 1 day, default 5 min, or `base` if that
    /// is more.
    pub max: Duration,
    /// At most so many percent of the endpoints are ejected at the same time.
    /// 0 to 100, default 50.
    pub max_share: u8,
}

/// A value as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setting {
    Number(u64),
    Text(String),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

fn time(duration: Duration) -> Setting {
    Setting::Text(format_duration(duration))
}

impl HealthCheck {
    /// Every key of `[pool.health]` that belongs to the kind.
    pub(super) fn settings(&self) -> Vec<(&'static str, Setting)> {
        let text = |text: &str| Setting::Text(text.to_owned());
        let number = |number: u8| Setting::Number(number.into());
        let mut settings = vec![("kind", text(self.kind.as_str()))];
        match &self.kind {
            CheckKind::Tcp { send, expect } => settings.extend([("send", text(send)), ("expect", text(expect))]),
            CheckKind::Http { path, host, status } => {
                settings.extend([("path", text(path)), ("host", text(host)), ("status", text(&status.to_string()))]);
            }
            CheckKind::Grpc { service } => settings.push(("service", text(service))),
            CheckKind::Redis => {}
            CheckKind::Postgres { user, database } => {
                settings.extend([("user", text(user)), ("database", text(database))]);
            }
        }
        settings.extend([
            ("interval", time(self.interval)),
            ("fast_interval", time(self.fast_interval)),
            ("timeout", time(self.timeout)),
            ("rise", number(self.rise)),
            ("fall", number(self.fall)),
            ("jitter", number(self.jitter)),
            ("initial", text(self.initial.as_str())),
        ]);
        settings
    }
}

impl Outlier {
    /// Every key of `[pool.outlier]`.
    pub(super) fn settings(&self) -> Vec<(&'static str, Setting)> {
        vec![
            ("consecutive", Setting::Number(self.consecutive.into())),
            ("base", time(self.base)),
            ("max", time(self.max)),
            ("max_share", Setting::Number(self.max_share.into())),
        ]
    }
}
