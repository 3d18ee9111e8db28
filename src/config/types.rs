//! The checked configuration.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use crate::config::{
    AccessLog, HashKey, Policy, PoolHealth, PoolShare, Proxy, SendProxy, Source, Tcp,
    limits::{Limits, ListenerLimits, PoolLimits},
};

/// A whole, valid configuration. Crosses threads as an immutable `Arc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The data plane's threads.
    pub workers: Workers,
    /// The daemon as a Unix process.
    pub process: Process,
    /// Where the admin API is served.
    pub admin: Admin,
    /// Where `/metrics` is served.
    pub metrics: Metrics,
    /// Where the log goes.
    pub log: Log,
    /// Which connections leave a line, and where.
    pub access_log: AccessLog,
    /// How long a drain may take.
    pub drain: Drain,
    /// Upgrades of the binary.
    pub upgrade: Upgrade,
    /// What a reload does with connections of what is gone.
    pub reload: Reload,
    /// What the whole process takes.
    pub limits: Limits,
    /// In the order of the file; names are unique.
    pub listeners: Vec<Arc<Listener>>,
    /// In the order of the file; names are unique.
    pub pools: Vec<Arc<Pool>>,
}

/// The data plane's threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// Number of workers; `None` (written `"auto"`): one per usable CPU.
    /// 1 to 256.
    pub count: Option<u16>,
    /// Pin worker n to the n-th CPU that the process may use.
    pub pin: bool,
    /// Bytes of one relay buffer, and so the most that netd holds of one
    /// direction of one connection. 4 KiB to 1 MiB, default 64 KiB.
    pub buffer_size: usize,
    /// How long a worker looks for events before it sleeps, while such looks
    /// find some; `None` (written `"off"`): it sleeps at once. 1 us to 1 ms.
    pub busy_poll: Option<Duration>,
    /// Whether open connections are evened over the workers by themselves.
    pub rebalance: Rebalance,
}

/// Whether open connections are evened over the workers by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rebalance {
    /// They stay with the worker that accepted them. The default.
    #[default]
    Off,
    /// Some go from a worker that has much to one that has little.
    Auto,
}

impl Rebalance {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Off, Self::Auto];

    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
        }
    }
}

/// The daemon as a Unix process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// User (name or number) to become once the sockets are bound.
    pub user: Option<String>,
    /// Group (name or number) to become; default: the user's own.
    pub group: Option<String>,
    /// Pid file, locked while the daemon runs. Daemon mode defaults to none.
    pub pid_file: Option<PathBuf>,
    /// File mode creation mask in daemon mode, 0 to 0o777; default 0 as
    /// daemon(7) asks.
    pub umask: u32,
    /// Working directory in daemon mode, default `/`.
    pub working_directory: PathBuf,
    /// Allow core dumps; default false (PEP 3143 `prevent_core`).
    pub core_dumps: bool,
}

/// Where the admin API is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Unix socket.
    pub unix: AdminSocket,
    /// Members of this group may use the socket, besides root and netd's own
    /// user.
    pub group: Option<String>,
    /// Loopback address for TCP; `None`: not served. Anything but a loopback
    /// address is refused by the check.
    pub tcp: Option<SocketAddr>,
}

/// The admin API's Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminSocket {
    /// `/run/netd/admin.sock` for root, else in the user's runtime directory.
    Default,
    /// This path.
    Path(PathBuf),
    /// Not served.
    Off,
}

/// Where `/metrics`, `/healthz` and `/readyz` are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Default 127.0.0.1:9464; `None`: written `"off"`.
    pub listen: Option<SocketAddr>,
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Destination.
    pub target: LogTarget,
    /// Least severe level that is written.
    pub level: LogLevel,
    /// Shape of a line (stderr and file).
    pub format: LogFormat,
}

/// Destination of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Journal if stderr is connected to it; else syslog in daemon mode; else
    /// stderr.
    Auto,
    /// Standard error.
    Stderr,
    /// The systemd journal, with structured fields.
    Journal,
    /// Local syslog (`/dev/log`), facility daemon.
    Syslog,
    /// This file, opened anew on SIGUSR1.
    File(PathBuf),
}

/// Severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something may soon not work.
    Warn,
    /// What an operator wants to know. The default.
    Info,
    /// For finding faults.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// All levels, most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word used in files, flags and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no log level; use error, warn, info, debug or trace"))
    }
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line.
    Text,
    /// One JSON object a line.
    Json,
}

/// Upgrades of the binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// How long after an upgrade the binary before can be gone back to. 0 to 7
    /// days, default 1 h.
    pub rollback_window: Duration,
}

/// How long a drain may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// After this, what is left is cut. 0 to 7 days, default 30 s.
    pub timeout: Duration,
    /// Go on accepting so long before the daemon drains, while readiness fails
    /// already. 0 to 1 hour, default 0.
    pub lame_duck: Duration,
    /// End connections that rest evenly over this time. 1 second to 7 days;
    /// default `None`, written `"off"`.
    pub gradual: Option<Duration>,
}

/// What a reload does with connections of what is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// Connections of a removed listener, pool or endpoint that are open so
    /// long after the reload are closed. 1 s to 7 days; `None` (the default):
    /// never.
    pub close_removed_after: Option<Duration>,
}

/// One address that netd accepts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique; 1 to 64 of `a-z A-Z 0-9 . _ -`.
    pub name: String,
    /// Where.
    pub address: Address,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Length of the accept queue of one worker's socket. 1 to 65535, default
    /// 4096; the kernel caps it at net.core.somaxconn.
    pub backlog: u32,
    /// For IPv6 addresses: IPv6 only (default true), or dual stack.
    pub v6only: bool,
    /// A connection on which no byte moves for so long is closed. 1 ms to 365
    /// days, default 1 h; 0 (written `"0s"` or `"off"`) means never: `None`.
    pub idle_timeout: Option<Duration>,
    /// Mode bits of a Unix socket's file, default 0o666.
    pub mode: u32,
    /// How bytes of a relay are moved; `Auto` for protocols that do not relay.
    pub accelerate: Accelerate,
    /// What is let in, and for how long.
    pub limits: ListenerLimits,
    /// Its connections may leave lines in the access log. Default true.
    pub access_log: bool,
    /// Whether connections begin with a PROXY header.
    pub proxy: Proxy,
    /// Options of the sockets, for IP addresses.
    pub tcp: Tcp,
}

/// How the bytes of a relayed connection are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accelerate {
    /// Copied; a direction that has proven bulky is spliced (splice(2)) as long
    /// as it is. The default.
    #[default]
    Auto,
    /// Spliced from the first byte.
    Splice,
    /// Copied.
    Off,
}

impl Accelerate {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Splice => "splice",
            Self::Off => "off",
        }
    }
}

/// What a listener speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// Relay to pools of the same configuration.
    Tcp {
        /// 1 to 64, in the order of the file; names are unique.
        pools: Vec<PoolShare>,
        /// What a pool with [`Policy::Maglev`] knows a client by.
        hash: HashKey,
    },
    /// RFC 862: sends back what it gets.
    Echo,
    /// RFC 863: reads and throws away.
    Discard,
    /// Sends a text and closes.
    Respond {
        /// At most 64 KiB; default `Hello from daemon\n`.
        text: Arc<[u8]>,
    },
}

impl Protocol {
    /// Relay to this pool alone.
    pub fn tcp(pool: impl Into<String>) -> Self {
        Self::Tcp { pools: vec![PoolShare { name: pool.into(), weight: 1 }], hash: HashKey::default() }
    }

    /// The word used in files, flags, the API and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Respond { .. } => "respond",
        }
    }

    /// The pools it relays to, with their shares in the file.
    pub fn pools(&self) -> &[PoolShare] {
        match self {
            Self::Tcp { pools, .. } => pools,
            _ => &[],
        }
    }

    /// What consistent hashing knows a client by.
    pub fn hash(&self) -> HashKey {
        match self {
            Self::Tcp { hash, .. } => *hash,
            _ => HashKey::default(),
        }
    }
}

/// A named set of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Unique; as for a listener.
    pub name: String,
    /// In the order of the file; addresses are unique; 1 to 10,000.
    pub endpoints: Vec<Endpoint>,
    /// How it chooses. Default round-robin.
    pub policy: Policy,
    /// So long an endpoint that is added or comes back takes less than its
    /// share. 1 s to 1 h; `None` (the default): it takes its share at once, as
    /// it does under policies that cannot start slowly.
    pub slow_start: Option<Duration>,
    /// Most connections of one endpoint that has no limit of its own. 1 to
    /// 1,000,000; `None` (the default): no limit.
    pub endpoint_max_connections: Option<u32>,
    /// For one attempt. 1 ms to 1 h, default 5 s.
    pub connect_timeout: Duration,
    /// Further endpoints tried after a failed connect, before the client sees
    /// anything. 0 to 16, default 2.
    pub retries: u8,
    /// What it takes.
    pub limits: PoolLimits,
    /// Whether its endpoints can be used.
    pub health: PoolHealth,
    /// The PROXY header that endpoints get.
    pub send_proxy: SendProxy,
    /// Where connections to endpoints come from, for IP addresses.
    pub source: Source,
    /// Options of sockets to endpoints with IP addresses.
    pub tcp: Tcp,
}

/// One upstream address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// Share of new connections, 0 to 1000, default 1; 0 drains.
    pub weight: u16,
    /// Takes connections only if no other does. Default false.
    pub backup: bool,
    /// Most connections at a time, all workers together. 1 to 1,000,000;
    /// `None`: the pool's `endpoint_max_connections`.
    pub max_connections: Option<u32>,
}

impl Endpoint {
    /// An endpoint with every other setting at its default.
    pub fn new(address: Address, weight: u16) -> Self {
        Self { address, weight, backup: false, max_connections: None }
    }
}

/// A stream socket's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IPv4 or IPv6 with port.
    Inet(SocketAddr),
    /// Path of a Unix-domain socket, absolute, at most 107 bytes.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// Reads `1.2.3.4:80`, `[::1]:80`, `*:80` (all IPv4), or `unix:/path`. The error says what
    /// would be right.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Inet(address));
        }
        if let Some(port) = text.strip_prefix("*:").and_then(|port| port.parse::<u16>().ok()) {
            return Ok(Self::Inet(SocketAddr::from(([0, 0, 0, 0], port))));
        }
        Err(hint(text))
    }
}

impl Address {
    /// Longest path that fits `sun_path` with its NUL (unix(7)).
    pub const MAX_UNIX_PATH: usize = 107;

    fn unix(path: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err(format!(
                "`unix:{path}`: the path of a Unix socket must be absolute, like `unix:/run/app.sock`"
            ));
        }
        if path.len() > Self::MAX_UNIX_PATH {
            return Err(format!(
                "the path is {} bytes long; a Unix socket's path has at most {} (unix(7))",
                path.len(),
                Self::MAX_UNIX_PATH
            ));
        }
        if path.contains('\0') {
            return Err("the path contains a NUL byte".to_owned());
        }
        Ok(Self::Unix(PathBuf::from(path)))
    }
}

fn hint(text: &str) -> String {
    if text.parse::<Ipv6Addr>().is_ok() {
        return format!("`{text}` has no port, and an IPv6 address needs brackets: `[{text}]:8080`");
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return format!("`{text}` has no port: write `{text}:8080`");
    }
    if text.starts_with('/') {
        return format!("for a Unix socket write `unix:{text}`");
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return format!("`{scheme}://` does not belong here: write `{}`", rest.trim_end_matches('/'));
    }
    if let Some((ip, zone)) = text.trim_start_matches('[').split_once('%')
        && ip.parse::<Ipv6Addr>().is_ok()
    {
        let port = zone.rsplit_once(':').map_or("8080", |(_, port)| port);
        let name = zone.split([']', ':']).next().unwrap_or_default();
        return format!(
            "an IPv6 address with a zone is written with brackets and the interface's number, as in `[{ip}%2]:{port}` \
             (`cat /sys/class/net/{name}/ifindex` tells it)"
        );
    }
    match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && host.chars().any(|c| c.is_ascii_alphabetic()) => format!(
            "`{host}` is a host name; write the IP address (`getent hosts {host}` tells it), as in `127.0.0.1:{port}`"
        ),
        Some((_, port)) if port.parse::<u64>().is_ok_and(|port| port > 65535) => {
            format!("port {port} is out of range: 0 to 65535")
        }
        _ => format!("`{text}` is no address; write `IP:PORT`, `[IPv6]:PORT` or `unix:/PATH`"),
    }
}
