//! Finding connections: filters, and what is told of one.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use crate::{
    slots::{SlotId, Slots},
    worker::{
        command::{ConnectionInfo, Filter, Selection},
        conn::Conn,
        transport::Stream,
    },
};

/// The slots of `limit` of the selected connections.
pub(super) fn some<S: Stream>(conns: &Slots<Conn<S>>, selection: &Selection, limit: usize) -> Vec<SlotId> {
    let ids = match selection {
        Selection::Ids(ids) => ids.iter().collect::<HashSet<_>>(),
        Selection::Matching(_) => HashSet::new(),
    };
    let selected = |conn: &Conn<S>| match selection {
        Selection::Ids(_) => ids.contains(&conn.id),
        Selection::Matching(filter) => matches(filter, conn),
    };
    conns.iter().filter(|(_, conn)| selected(conn)).map(|(slot, _)| slot).take(limit).collect()
}

/// Whether a connection is one of those that are looked for.
pub(super) fn matches<S: Stream>(filter: &Filter, conn: &Conn<S>) -> bool {
    let endpoint = conn.endpoint.as_ref().map(|endpoint| endpoint.id);
    filter.listeners.as_ref().is_none_or(|ids| ids.contains(&conn.origin.listener))
        && filter.endpoints.as_ref().is_none_or(|ids| endpoint.is_some_and(|id| ids.contains(&id)))
        && filter.source.is_none_or(|network| conn.origin.source.is_some_and(|source| is_in(network, source)))
        && filter.accepted_before.is_none_or(|before| conn.since <= before)
        && filter.idle_since.is_none_or(|since| conn.progressed_at <= since)
}

fn is_in((network, prefix): (IpAddr, u8), source: SocketAddr) -> bool {
    match (network, source.ip()) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => same_prefix(&network.octets(), &ip.octets(), prefix),
        (IpAddr::V6(network), IpAddr::V6(ip)) => same_prefix(&network.octets(), &ip.octets(), prefix),
        _ => false,
    }
}

fn same_prefix(one: &[u8], other: &[u8], prefix: u8) -> bool {
    let mut bits = usize::from(prefix).min(8 * one.len());
    one.iter().zip(other).all(|(one, other)| {
        let here = bits.min(8);
        bits -= here;
        let mask = u8::MAX.checked_shl(8 - here as u32).unwrap_or(0);
        (one ^ other) & mask == 0
    })
}

/// What is told of a connection.
pub(super) fn describe<S: Stream>(conn: &Conn<S>) -> ConnectionInfo {
    ConnectionInfo {
        id: conn.id,
        listener: conn.origin.listener,
        source: conn.origin.source,
        via: conn.origin.via.clone(),
        endpoint: conn.endpoint.as_ref().map(|endpoint| endpoint.id),
        state: conn.state(),
        since: conn.since,
        progressed_at: conn.progressed_at,
        bytes_from_downstream: conn.downstream.received,
        bytes_to_downstream: conn.downstream.sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let network = |text: &str, prefix| (text.parse::<IpAddr>().unwrap(), prefix);
        let source = |text: &str| SocketAddr::new(text.parse().unwrap(), 1);
        assert!(is_in(network("10.1.0.0", 16), source("10.1.255.3")));
        assert!(!is_in(network("10.1.0.0", 16), source("10.2.0.3")));
        assert!(is_in(network("10.1.0.128", 25), source("10.1.0.129")));
        assert!(!is_in(network("10.1.0.128", 25), source("10.1.0.127")));
        assert!(is_in(network("0.0.0.0", 0), source("1.2.3.4")));
        assert!(is_in(network("1.2.3.4", 32), source("1.2.3.4")));
        assert!(is_in(network("fd00::", 8), source("fd12::1")));
        assert!(!is_in(network("fd00::", 8), source("1.2.3.4")));
    }
}
