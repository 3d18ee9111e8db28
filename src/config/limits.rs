//! What is let in, how much of it, and for how long: the checked settings.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    config::units::format_duration,
    limit::{Network, Networks, Rate, RefusedKind},
};

/// Limits of the whole process. The default is none but `memory = "auto"`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Client connections open at the same time, over all listeners. 1 to
    /// 100,000,000; `None` (the default): only file descriptors bound it.
    pub max_connections: Option<u64>,
    /// What is near the limit of memory or file descriptors.
    pub overload: OverloadMode,
    /// Memory that counts as the limit.
    pub memory: MemoryLimit,
}

/// What netd does near the limit of file descriptors or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverloadMode {
    /// Nothing before it; without descriptors, clients wait in the kernel's
    /// queue. The default.
    #[default]
    Wait,
    /// Closes idle connections, then refuses new ones.
    Shed,
}

impl OverloadMode {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Shed => "shed",
        }
    }
}

/// Memory that counts as the limit of an overload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLimit {
    /// What the control group of the process may have (memory.max), if it has
    /// a limit. The default.
    #[default]
    Auto,
    /// Bytes, 16 MiB to 16 TiB.
    Bytes(u64),
    /// None.
    Off,
}

/// Limits of one listener. The default is none at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenerLimits {
    /// Connections open at the same time. 1 to 100,000,000.
    pub max_connections: Option<u64>,
    /// Connections open at the same time from one source.
    pub max_connections_per_source: Option<u32>,
    /// New connections.
    pub rate: Option<ConnectionRate>,
    /// New connections from one source.
    pub rate_per_source: Option<ConnectionRate>,
    /// What counts as one source.
    pub source: SourcePrefix,
    /// Sources whose rate is remembered at the same time. 8 to 16,777,216,
    /// default 65,536; about 32 bytes each, and at least 4,096 places.
    pub source_table: SourceTable,
    /// Only these may connect; `None`: all.
    pub allow: Option<AccessList>,
    /// These may not connect, also if they are allowed.
    pub deny: Option<AccessList>,
    /// A client that has sent nothing for so long after it was accepted is
    /// closed. 1 ms to 365 days.
    pub first_byte_timeout: Option<Duration>,
    /// A connection of which one side has ended for so long is closed. 1 ms
    /// to 365 days.
    pub half_closed_timeout: Option<Duration>,
    /// A connection ends after so long at the latest. 1 s to 365 days.
    pub max_lifetime: Option<Duration>,
    /// By up to so many percent earlier, each at another time. 0 to 100,
    /// default 10.
    pub lifetime_jitter: Jitter,
    /// What a refused client sees.
    pub refuse: Refuse,
}

/// Percent of a lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(pub u8);

impl Default for Jitter {
    fn default() -> Self {
        Self(10)
    }
}

/// Number of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceTable(pub u32);

impl Default for SourceTable {
    fn default() -> Self {
        Self(65_536)
    }
}

/// How many bits of an address tell sources apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePrefix {
    /// 0 to 32, default 32.
    pub v4: u8,
    /// 0 to 128, default 64: what one subscriber has.
    pub v6: u8,
}

impl Default for SourcePrefix {
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

/// So many in so long, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionRate {
    count: u32,
    period: Duration,
    burst: u32,
    rate: Rate,
}

impl ConnectionRate {
    /// `count` every `period`, `burst` at once. `None` if the numbers are out
    /// of range (see [`Rate::new`]).
    pub fn new(count: u32, period: Duration, burst: u32) -> Option<Self> {
        Rate::new(count, period, burst).map(|rate| Self { count, period, burst: burst.max(1), rate })
    }

    /// As a bucket understands it.
    pub fn rate(self) -> Rate {
        self.rate
    }
}

impl fmt::Display for ConnectionRate {
    /// `100/s burst 20`; the burst only if it is not the count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = format_duration(self.period);
        write!(f, "{}/{}", self.count, period.strip_prefix('1').filter(|unit| is_unit(unit)).unwrap_or(&period))?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

fn is_unit(text: &str) -> bool {
    matches!(text, "ms" | "s" | "m" | "h" | "d")
}

/// Networks, in part from a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessList {
    /// Written in the configuration, in order.
    pub listed: Vec<Network>,
    /// Further ones, one a line.
    pub file: Option<PathBuf>,
    /// How many the file had when it was read.
    pub from_file: usize,
    /// All of them.
    pub networks: Arc<Networks>,
}

impl AccessList {
    /// A list whose file was not read yet.
    pub fn new(listed: Vec<Network>, file: Option<PathBuf>) -> Self {
        let networks = Arc::new(listed.iter().copied().collect());
        Self { listed, file, from_file: 0, networks }
    }

    /// With what its file has.
    #[must_use]
    pub fn with_file(self, more: &[Network]) -> Self {
        let networks = Arc::new(self.listed.iter().chain(more).copied().collect());
        Self { from_file: more.len(), networks, ..self }
    }
}

impl fmt::Display for AccessList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            None => write!(f, "{} listed", self.listed.len()),
            Some(path) => {
                write!(f, "{} listed, {} from {}", self.listed.len(), self.from_file, path.display())
            }
        }
    }
}

/// What a refused client sees, by the kind of cause.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refuse {
    /// `allow` and `deny`.
    pub denied: Refusal,
    /// Numbers of connections, and full pools.
    pub full: Refusal,
    /// An overload.
    pub overload: Refusal,
    /// Rates.
    pub rate: Refusal,
}

impl Refuse {
    /// For this kind.
    pub fn by(&self, kind: RefusedKind) -> &Refusal {
        match kind {
            RefusedKind::Denied => &self.denied,
            RefusedKind::Full => &self.full,
            RefusedKind::Overload => &self.overload,
            RefusedKind::Rate => &self.rate,
        }
    }
}

/// What a refused client sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Refusal {
    /// The connection is reset. The default: it costs least, on both sides.
    #[default]
    Reset,
    /// The connection is closed.
    Close,
    /// A text, 1 to 1024 bytes, then the connection is closed.
    Text(Arc<[u8]>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => f.write_str("reset"),
            Self::Close => f.write_str("close"),
            Self::Text(text) => write!(f, "text \"{}\"", String::from_utf8_lossy(text).escape_debug()),
        }
    }
}

impl ListenerLimits {
    /// Whether its lists let this address in. A Unix socket's clients have
    /// none, and are let in.
    pub fn allows(&self, source: Option<IpAddr>) -> bool {
        let Some(source) = source else { return true };
        self.allow.as_ref().is_none_or(|list| list.networks.contains(source))
            && self.deny.as_ref().is_none_or(|list| !list.networks.contains(source))
    }
}

/// Limits of one pool. The default is none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolLimits {
    /// Connections open or being opened at the same time, over all listeners.
    /// 1 to 100,000,000.
    pub max_connections: Option<u64>,
    /// Where connections wait when the pool is full; `None`: they are refused.
    pub queue: Option<Queue>,
    /// Second attempts that first ones earn; `None`: `retries` alone bounds
    /// them.
    pub retry_budget: Option<Budget>,
}

/// Connections that wait for a full pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// So many at most. 1 to 1,000,000.
    pub size: u32,
    /// Each at most so long. 1 ms to 1 h.
    pub timeout: Duration,
}

/// Second attempts that first ones earn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// For 100 first attempts. 0 to 1000.
    pub percent: u32,
    /// Saved up at the start and at most. 0 to 1,000,000.
    pub reserve: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, period: u64, burst: u32) -> String {
        ConnectionRate::new(count, Duration::from_secs(period), burst).unwrap().to_string()
    }

    #[test]
    fn rates_are_written_shortly() {
        assert_eq!(rate(100, 1, 100), "100/s");
        assert_eq!(rate(5, 60, 20), "5/m burst 20");
        assert_eq!(rate(5, 10, 5), "5/10s");
        assert_eq!(rate(7, 90, 7), "7/1m30s");
    }

    #[test]
    fn deny_stands_above_allow_and_a_unix_socket_has_no_address() {
        let list = |text: &str| Some(AccessList::new(vec![text.parse().unwrap()], None));
        let limits = ListenerLimits { allow: list("10.0.0.0/8"), deny: list("10.1.0.0/16"), ..Default::default() };
        let allows = |text: &str| limits.allows(Some(text.parse().unwrap()));
        assert!(allows("10.2.0.1") && !allows("10.1.0.1") && !allows("192.0.2.1"));
        assert!(limits.allows(None));
        assert!(ListenerLimits::default().allows(Some("192.0.2.1".parse().unwrap())));
    }

    #[test]
    fn a_file_adds_to_what_is_listed() {
        let list = AccessList::new(vec!["10.0.0.0/8".parse().unwrap()], Some(PathBuf::from("/x")));
        assert_eq!(list.to_string(), "1 listed, 0 from /x");
        let list = list.with_file(&["192.0.2.0/24".parse().unwrap()]);
        assert_eq!(list.to_string(), "1 listed, 1 from /x");
        assert!(list.networks.contains("10.1.1.1".parse().unwrap()));
        assert!(list.networks.contains("192.0.2.1".parse().unwrap()));
    }
}
