//! Any valid limits, for property tests. Files are not read.

use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    config::{
        arbitrary::{duration, path},
        limits::{
            AccessList, Budget, ConnectionRate, Jitter, Limits, ListenerLimits, MemoryLimit, OverloadMode, PoolLimits,
            Queue, Refusal, Refuse, SourcePrefix, SourceTable,
        },
    },
    limit::Network,
};

pub(super) fn limits() -> impl Strategy<Value = Limits> {
    let memory = prop_oneof![
        Just(MemoryLimit::Auto),
        Just(MemoryLimit::Off),
        (16u64 << 20..=16 << 40).prop_map(MemoryLimit::Bytes)
    ];
    (connections(), select(vec![OverloadMode::Wait, OverloadMode::Shed]), memory)
        .prop_map(|(max_connections, overload, memory)| Limits { max_connections, overload, memory })
}

pub(super) fn listener() -> impl Strategy<Value = ListenerLimits> {
    let timeout = || option::of(duration(1, 365 * 86_400_000));
    let numbers = (connections(), option::of(1..=100_000_000_u32), 8..=1_u32 << 24, 0..=100_u8);
    let sources = (0..=32_u8, 0..=128_u8).prop_map(|(v4, v6)| SourcePrefix { v4, v6 });
    let lifetime = option::of(duration(1000, 365 * 86_400_000));
    let lists = (option::of(list()), option::of(list()));
    let some =
        (numbers, sources, (option::of(rate()), option::of(rate())), lists, (timeout(), timeout(), lifetime), refuse());
    let some = some.prop_map(|(numbers, source, rates, lists, times, refuse)| ListenerLimits {
        max_connections: numbers.0,
        max_connections_per_source: numbers.1,
        source_table: SourceTable(numbers.2),
        lifetime_jitter: Jitter(numbers.3),
        source,
        rate: rates.0,
        rate_per_source: rates.1,
        allow: lists.0,
        deny: lists.1,
        first_byte_timeout: times.0,
        half_closed_timeout: times.1,
        max_lifetime: times.2,
        refuse,
    });
    prop_oneof![Just(ListenerLimits::default()), some]
}

/// What means nothing is at its default.
pub(super) fn meaningful(limits: &mut ListenerLimits, clients_have_no_address: bool) {
    if clients_have_no_address {
        (limits.max_connections_per_source, limits.rate_per_source, limits.allow, limits.deny) =
            (None, None, None, None);
    }
    if limits.max_connections_per_source.is_none() && limits.rate_per_source.is_none() {
        (limits.source, limits.source_table) = (SourcePrefix::default(), SourceTable::default());
    }
    if limits.max_lifetime.is_none() {
        limits.lifetime_jitter = Jitter::default();
    }
}

pub(super) fn pool() -> impl Strategy<Value = PoolLimits> {
    let queue = (1..=1_000_000_u32, duration(1, 3_600_000)).prop_map(|(size, timeout)| Queue { size, timeout });
    let budget = (0..=1000_u32, 0..=1_000_000_u32).prop_map(|(percent, reserve)| Budget { percent, reserve });
    (connections(), option::of(queue), option::of(budget))
        .prop_map(|(max_connections, queue, retry_budget)| PoolLimits { max_connections, queue, retry_budget })
}

fn connections() -> impl Strategy<Value = Option<u64>> {
    option::of(1..=100_000_000_u64)
}

fn rate() -> impl Strategy<Value = ConnectionRate> {
    (1..=100_000_u32, 1..=86_400_000_u64, 1..=100_u32).prop_filter_map("in range", |(count, millis, burst)| {
        ConnectionRate::new(count, Duration::from_millis(millis), burst)
    })
}

fn list() -> impl Strategy<Value = AccessList> {
    let network = (any::<std::net::IpAddr>(), 0..=128_u8)
        .prop_filter_map("has so many bits", |(ip, bits)| Network::new(ip, bits));
    (vec(network, 0..4), option::of(path())).prop_map(|(listed, file)| AccessList::new(listed, file))
}

fn refuse() -> impl Strategy<Value = Refuse> {
    let text = "(?s).{1,40}|[$\\{}\"\\\\\n]{1,20}".prop_map(|text| Refusal::Text(Arc::from(text.as_bytes())));
    let refusal = prop_oneof![Just(Refusal::Reset), Just(Refusal::Close), text];
    (refusal.clone(), refusal.clone(), refusal.clone(), refusal).prop_map(|(denied, full, overload, rate)| Refuse {
        denied,
        full,
        overload,
        rate,
    })
}
