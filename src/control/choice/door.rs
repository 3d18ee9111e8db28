//! What a connection meets before an endpoint: the listener's door, and the
//! pool's. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::{
    config::{Address, Listener, ProxyVersions, Untrusted, format_duration},
    control::{names, told::ToldPool},
    worker::Nobody,
};

/// Whose connection is spoken of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// The address that lists and limits of sources go by; `None`: by none.
    pub(super) counted: Option<IpAddr>,
    /// What is to be known of it, in words.
    pub(super) note: Option<String>,
}

/// Who a connection from `source` is to the listener.
pub(super) fn who(listener: &Listener, source: Option<SocketAddr>) -> Who {
    let (proxy, ip) = (&listener.proxy, source.map(|source| source.ip().to_canonical()));
    if proxy.accept == ProxyVersions::Off {
        return Who { counted: ip, note: None };
    }
    let timeout = format_duration(proxy.timeout);
    let unix = matches!(listener.address, Address::Unix(_));
    match ip {
        Some(ip) if !unix && proxy.trusted.contains(ip) => Who {
            counted: None,
            note: Some(format!(
                "{ip} is a trusted proxy (`proxy_trusted`): a connection of it begins with a PROXY header, within \
                 {timeout}, and is then that of the client that the header names; ask with the client's address. This \
                 answer is for connections of the proxy's own"
            )),
        },
        Some(ip) => Who {
            counted: Some(ip),
            note: Some(match (unix, proxy.untrusted) {
                (true, _) => format!("{ip} is a client that a PROXY header names: this listener is a Unix socket"),
                (false, Untrusted::Refuse) => format!(
                    "this answer is for {ip} as a client that the PROXY header of a trusted proxy names; a connection \
                     from {ip} itself is reset: it is not in `proxy_trusted`, and `proxy_untrusted` is \"refuse\""
                ),
                (false, Untrusted::Plain) => format!(
                    "{ip} is not in `proxy_trusted`: a connection from it is served as its own (`proxy_untrusted` is \
                     \"plain\"), and this answer is also for it as a client that a trusted proxy names"
                ),
            }),
        },
        None => Who {
            counted: None,
            note: Some(format!(
                "a connection begins with a PROXY header, within {timeout}, which names the client; ask with its \
                 address"
            )),
        },
    }
}

/// Whether a pool has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Room {
    /// It has.
    Free,
    /// The connection would wait for one; in words.
    Waits(String),
    /// It would be refused; in words.
    Refuses(String),
}

/// Whether the pool has a place for a connection; `endpoints`: what the workers
/// find at its endpoints, if none.
pub(super) fn room(pool: &ToldPool, endpoints: Option<Nobody>) -> Room {
    let (gate, limits, name) = (&pool.gate, &pool.config.limits, &pool.config.name);
    let (open, waiting) = (gate.open(), gate.waiting());
    let why = if limits.max_connections.is_some_and(|most| open >= most) {
        format!("it has {}, as many as it may (`max_connections`)", names::counted(open, "connection"))
    } else if waiting > 0 {
        "others wait for it already".to_owned()
    } else if endpoints == Some(Nobody::Full) {
        "every endpoint that takes connections has as many as it may".to_owned()
    } else {
        return Room::Free;
    };
    match limits.queue {
        None => Room::Refuses(format!("pool `{name}` is full: {why}, and it has no `queue`")),
        Some(queue) if waiting >= queue.size as usize => {
            Room::Refuses(format!("pool `{name}` is full: {why}, and {waiting} wait in its `queue`, as many as may"))
        }
        Some(queue) => Room::Waits(format!(
            "it would wait in the `queue` of pool `{name}`, behind {waiting} others, for {} at most: {why}",
            format_duration(queue.timeout)
        )),
    }
}
