//! Keys that mean nothing where they stand, since another one is or is not
//! there. Whoever wrote them expects something of them: that is a problem.

use crate::config::{
    Address, Endpoint, Protocol, Proxy, ProxyVersions, Tcp,
    limits::{ListenerLimits, PoolLimits},
    reader::{Reader, Section},
};

/// Keys that tell sources apart.
const BY_SOURCE: [&str; 3] = ["source_prefix_v4", "source_prefix_v6", "source_table"];
/// Keys that ask for the client's address.
const OF_ADDRESS: [&str; 6] =
    ["allow", "allow_file", "deny", "deny_file", "rate_per_source", "max_connections_per_source"];

/// What means nothing among the keys of a listener.
pub(super) fn of_listener(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    limits: &ListenerLimits,
    (address, proxy): (Option<&Address>, &Proxy),
) {
    let mut without = |keys: &[&str], what: &str, help: &str| {
        for value in keys.iter().filter_map(|key| section.get(key)) {
            reader.problem(value.key_span, format!("`{}` means nothing {what}", value.key), help.to_owned());
        }
    };
    if limits.max_lifetime.is_none() && !section.has("max_lifetime") {
        without(&["lifetime_jitter"], "without `max_lifetime`", "add `max_lifetime = \"1h\"`, or remove this line");
    }
    let by_source = ["max_connections_per_source", "rate_per_source"];
    if !by_source.iter().any(|key| section.has(key)) {
        let help = "add `max_connections_per_source` or `rate_per_source`, or remove this line";
        without(&BY_SOURCE, "without a limit per source", help);
    }
    let has_proxy = proxy.accept != ProxyVersions::Off || section.has("proxy_protocol");
    if matches!(address, Some(Address::Unix(_))) && !has_proxy {
        let help = "remove this line; clients of a Unix socket have no address, unless `proxy_protocol` says it";
        without(&OF_ADDRESS, "on a Unix socket", help);
    }
}

/// What means nothing among the options of a listener's sockets.
pub(super) fn of_sockets(reader: &mut Reader<'_>, section: &Section<'_>, tcp: &Tcp, protocol: Option<&Protocol>) {
    let Some(value) = section.get("tcp") else { return };
    if tcp.defer_accept.is_some() && matches!(protocol, Some(Protocol::Respond { .. })) {
        let help = "remove `defer_accept`: its clients wait for the text, and need not say anything";
        let message = "`tcp.defer_accept` holds back the text of protocol `respond`";
        reader.problem(value.key_span, message, help.to_owned());
    }
}

/// What means nothing among the keys of a pool.
pub(super) fn of_pool(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    limits: &PoolLimits,
    retries: u64,
    endpoints: Option<&[Endpoint]>,
) {
    let is_limited = section.has("max_connections")
        || section.has("endpoint_max_connections")
        || endpoints.is_none_or(|endpoints| endpoints.iter().any(|each| each.max_connections.is_some()));
    if let Some(value) = section.get("queue").filter(|_| limits.queue.is_some() && !is_limited) {
        let help = "add `max_connections` or `endpoint_max_connections`, or remove this line: the pool is never full";
        reader.problem(value.key_span, "`queue` means nothing without a limit of connections", help.to_owned());
    }
    if let Some(value) = section.get("retry_budget").filter(|_| limits.retry_budget.is_some() && retries == 0) {
        let help = "remove this line, or let `retries` be at least 1";
        reader.problem(value.key_span, "`retry_budget` means nothing with `retries = 0`", help.to_owned());
    }
}
