//! Why a connection was not let in, as data.

/// Why a connection was refused at the door. One value that is metric label,
/// answer of `would_refuse` and test assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Its address is on the listener's deny list, or not on its allow list.
    Denied,
    /// The listener has as many connections open as it may.
    Listener,
    /// The listener has had as many new connections lately as it may.
    ListenerRate,
    /// netd is near its limit of file descriptors or memory.
    Overload,
    /// The process has as many connections open as it may.
    Process,
    /// Its source has as many connections open on the listener as it may.
    Source,
    /// Its source has had as many new connections on the listener lately as it
    /// may.
    SourceRate,
}

/// The causes that a configuration answers alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// By a list of networks.
    Denied,
    /// By a number of open connections; also by a full pool.
    Full,
    /// Near a limit of the machine.
    Overload,
    /// By a rate.
    Rate,
}

impl Refused {
    /// Every cause there is; the order gives [`index`](Self::index).
    pub const ALL: [Self; 7] = [
        Self::Denied,
        Self::Listener,
        Self::ListenerRate,
        Self::Overload,
        Self::Process,
        Self::Source,
        Self::SourceRate,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|&each| each == self).unwrap_or(0)
    }

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Listener => "listener-full",
            Self::ListenerRate => "listener-rate",
            Self::Overload => "overload",
            Self::Process => "process-full",
            Self::Source => "source-full",
            Self::SourceRate => "source-rate",
        }
    }

    /// The setting that decides, in a few words for a person.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Denied => "its address is on `deny`, or not on `allow`",
            Self::Listener => "`max_connections` of the listener are open",
            Self::ListenerRate => "`rate` of the listener is used up",
            Self::Overload => "netd is near its limit of file descriptors or memory (`limits.overload`)",
            Self::Process => "`limits.max_connections` are open",
            Self::Source => "`max_connections_per_source` of its source are open",
            Self::SourceRate => "`rate_per_source` of its source is used up",
        }
    }

    /// How it is answered is configured by kind.
    pub fn kind(self) -> RefusedKind {
        match self {
            Self::Denied => RefusedKind::Denied,
            Self::Listener | Self::Process | Self::Source => RefusedKind::Full,
            Self::ListenerRate | Self::SourceRate => RefusedKind::Rate,
            Self::Overload => RefusedKind::Overload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_place_and_its_word() {
        for (index, each) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(each.index(), index);
            assert_eq!(Refused::ALL.iter().filter(|other| other.as_str() == each.as_str()).count(), 1);
        }
    }
}
