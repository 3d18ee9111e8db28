//! What is open when the predecessor accepts no more.

use std::{net::IpAddr, time::Duration};

use super::{Wrong, nanos, wrong};
use crate::{
    control::{Expected, ExpectedListener, ExpectedPool},
    pb::handover as pb,
};

pub(in super::super) fn to_expected(expected: &Expected) -> pb::Expected {
    pb::Expected {
        connections: expected.connections,
        fds: expected.fds,
        listeners: expected.listeners.iter().map(to_listener).collect(),
        pools: expected
            .pools
            .iter()
            .map(|each| pb::ExpectedPool { name: each.name.clone(), open: each.open, waiting: each.waiting })
            .collect(),
        endpoints: expected
            .endpoints
            .iter()
            .map(|((pool, address), open)| pb::ExpectedEndpoint {
                name: Some(pb::EndpointName { pool: pool.clone(), address: address.clone() }),
                open: *open,
            })
            .collect(),
    }
}

fn to_listener(listener: &ExpectedListener) -> pb::ExpectedListener {
    let sources = listener.sources.iter();
    pb::ExpectedListener {
        name: listener.name.clone(),
        open: listener.open,
        sources: sources
            .map(|(address, open)| pb::ExpectedSource { address: address.to_string(), open: *open })
            .collect(),
        nanos_rate: nanos(listener.rate),
        source_rates: listener
            .source_rates
            .iter()
            .map(|(address, left)| pb::SourceRate { address: address.to_string(), nanos: nanos(*left) })
            .collect(),
    }
}

pub(in super::super) fn from_expected(message: pb::Expected) -> Result<Expected, Wrong> {
    let pool = |each: pb::ExpectedPool| ExpectedPool { name: each.name, open: each.open, waiting: each.waiting };
    let endpoint = |each: pb::ExpectedEndpoint| {
        let name = each.name.unwrap_or_default();
        ((name.pool, name.address), each.open)
    };
    Ok(Expected {
        connections: message.connections,
        fds: message.fds,
        listeners: message.listeners.into_iter().map(from_listener).collect::<Result<_, _>>()?,
        pools: message.pools.into_iter().map(pool).collect(),
        endpoints: message.endpoints.into_iter().map(endpoint).collect(),
    })
}

fn from_listener(listener: pb::ExpectedListener) -> Result<ExpectedListener, Wrong> {
    let address = |text: String| -> Result<IpAddr, Wrong> {
        text.parse().or_else(|_| wrong(format!("no address of a source: `{text}`")))
    };
    let source = |each: pb::ExpectedSource| Ok((address(each.address)?, each.open));
    let rate = |each: pb::SourceRate| Ok((address(each.address)?, Duration::from_nanos(each.nanos)));
    Ok(ExpectedListener {
        sources: listener.sources.into_iter().map(source).collect::<Result<_, _>>()?,
        rate: Duration::from_nanos(listener.nanos_rate),
        source_rates: listener.source_rates.into_iter().map(rate).collect::<Result<_, _>>()?,
        name: listener.name,
        open: listener.open,
    })
}
