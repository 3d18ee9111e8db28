//! How connections are shared out, in the words of the file.

/// A pool of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolShare {
    /// Name of the pool.
    pub name: String,
    /// Its share of the listener's connections, 0 to 1000; not all are 0.
    pub weight: u16,
}

/// What consistent hashing knows a client by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashKey {
    /// Its address. Those that come over a Unix socket have none, and are one.
    #[default]
    Source,
    /// Its address and port: connections of one client spread.
    SourcePort,
    /// The listener that it came to: all of a listener's go together.
    Listener,
}

impl HashKey {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Source, Self::SourcePort, Self::Listener];

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::SourcePort => "source-port",
            Self::Listener => "listener",
        }
    }
}

/// How a pool chooses an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Everyone its share, in turn.
    #[default]
    RoundRobin,
    /// The fewest connections for its weight.
    LeastConnections,
    /// The better of two drawn by lot.
    PowerOfTwoChoices,
    /// By lot.
    Random,
    /// Consistent hashing: the same client, the same endpoint.
    Maglev,
    /// The first of the file that has room.
    FirstAvailable,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::LeastConnections,
        Self::PowerOfTwoChoices,
        Self::Random,
        Self::Maglev,
        Self::FirstAvailable,
    ];

    /// The word used in files and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::PowerOfTwoChoices => "power-of-two-choices",
            Self::Random => "random",
            Self::Maglev => "maglev",
            Self::FirstAvailable => "first-available",
        }
    }

    /// Whether it gives an endpoint a part of its share, for a slow start.
    pub fn can_start_slowly(self) -> bool {
        !matches!(self, Self::Maglev | Self::FirstAvailable)
    }
}

/// Shares in one line: `app=95 canary=5`.
pub fn format_shares(pools: &[PoolShare]) -> String {
    pools.iter().map(|PoolShare { name, weight }| format!("{name}={weight}")).collect::<Vec<_>>().join(" ")
}
