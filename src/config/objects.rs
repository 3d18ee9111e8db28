//! The schema of `[[listener]]` and `[[pool]]`.

use std::{collections::HashMap, ops::Range, sync::Arc};

use toml::{Spanned, de::DeValue};

use crate::config::{
    Accelerate, Address, Endpoint, HashKey, Listener, Policy, Pool, Protocol,
    check::{Facts, ListenerFacts, Place, PoolFacts},
    checks::pool_health,
    default::{
        BACKLOG, BACKLOG_RANGE, CONNECT_TIMEOUT, CONNECT_TIMEOUT_RANGE, DEFAULT_TEXT, IDLE_TIMEOUT, IDLE_TIMEOUT_RANGE,
        MAX_CONNECTIONS_RANGE, MAX_ENDPOINTS, MAX_LISTENERS, MAX_POOLS, MAX_TEXT, RETRIES, RETRIES_RANGE,
        SLOW_START_RANGE, SOCKET_MODE, WEIGHT, WEIGHT_RANGE,
    },
    limit_keys, meaningless, proxy,
    reader::{Reader, Section, Value},
    relaying::{TCP_KEYS, relaying},
    tcp::{self, Side},
    values::{Word, Wrong, accelerate, address, name, policy, protocol, quote},
};

pub(super) const LISTENER_KEYS: &[&str] = &[
    "name",
    "address",
    "protocol",
    "pool",
    "pools",
    "hash",
    "backlog",
    "v6only",
    "idle_timeout",
    "text",
    "mode",
    "accelerate",
    "access_log",
    "max_connections",
    "max_connections_per_source",
    "rate",
    "rate_per_source",
    "source_prefix_v4",
    "source_prefix_v6",
    "source_table",
    "allow",
    "allow_file",
    "deny",
    "deny_file",
    "first_byte_timeout",
    "half_closed_timeout",
    "max_lifetime",
    "lifetime_jitter",
    "refuse",
    "proxy_protocol",
    "proxy_trusted",
    "proxy_untrusted",
    "proxy_timeout",
    "tcp",
];
pub(super) const POOL_KEYS: &[&str] = &[
    "name",
    "endpoints",
    "policy",
    "slow_start",
    "endpoint_max_connections",
    "connect_timeout",
    "retries",
    "max_connections",
    "queue",
    "retry_budget",
    "panic_threshold",
    "health",
    "outlier",
    "send_proxy",
    "send_proxy_tlvs",
    "source",
    "tcp",
];
const ENDPOINT_KEYS: &[&str] = &["address", "weight", "backup", "max_connections"];
const ENDPOINTS_EXAMPLE: &str = r#"["127.0.0.1:9000", "127.0.0.1:9001"]"#;

/// Where everything was written that the cross-field rules may name.
pub(super) type Places = HashMap<Place, Range<usize>>;

/// All `[[listener]]` of the file.
pub(super) fn listeners(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    facts: &mut Facts,
    places: &mut Places,
) -> Vec<Arc<Listener>> {
    let Some(elements) = array_of_tables(reader, value) else { return Vec::new() };
    let mut listeners = Vec::new();
    for (index, element) in elements.iter().enumerate().take(MAX_LISTENERS + 1) {
        places.insert(Place::Listener(index), element.span());
        if index == MAX_LISTENERS {
            facts.listeners.push(ListenerFacts::default());
            break;
        }
        let (listener, fact) = listener(reader, index, element, places);
        listeners.extend(listener.map(Arc::new));
        facts.listeners.push(fact);
    }
    listeners
}

/// All `[[pool]]` of the file.
pub(super) fn pools(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    facts: &mut Facts,
    places: &mut Places,
) -> Vec<Arc<Pool>> {
    let Some(elements) = array_of_tables(reader, value) else { return Vec::new() };
    let mut pools = Vec::new();
    for (index, element) in elements.iter().enumerate().take(MAX_POOLS + 1) {
        places.insert(Place::Pool(index), element.span());
        if index == MAX_POOLS {
            facts.pools.push(PoolFacts::default());
            break;
        }
        let (pool, fact) = pool(reader, index, element, places);
        pools.extend(pool.map(Arc::new));
        facts.pools.push(fact);
    }
    pools
}

fn array_of_tables<'t>(reader: &mut Reader<'_>, value: &Value<'t>) -> Option<&'t [Spanned<DeValue<'t>>]> {
    if let DeValue::Array(array) = value.node {
        return Some(array);
    }
    let help = format!("write `[[{}]]`, with two brackets, before each of them", value.key);
    reader.expected(value, "an array of tables", &help)
}

/// Opens one element under its name, if it has one.
fn open<'t>(
    reader: &mut Reader<'_>,
    what: &'static str,
    element: &'t Spanned<DeValue<'t>>,
    keys: &[&'static str],
) -> Option<(Section<'t>, Option<String>)> {
    let span = element.span();
    let value = Value { key: what, key_span: span.clone(), node: element.get_ref(), span: span.clone() };
    let DeValue::Table(table) = element.get_ref() else {
        return reader.expected(&value, "a table", &format!("write `[[{what}]]` and its keys below"));
    };
    let mut title = format!("this {what}");
    if let Some(DeValue::String(name)) = table.get("name").map(Spanned::get_ref) {
        title = format!("{what} {}", quote(name));
    }
    let section = Section::open(reader, title, table, span, keys);
    let name = section.required(reader, "name", &format!("\"{what}-1\""), |reader, value| {
        let text = reader.text(value)?;
        if let Err(wrong) = name(&text) {
            reader.wrong(value, wrong);
        }
        Some(text)
    });
    Some((section, name))
}

fn listener(
    reader: &mut Reader<'_>,
    index: usize,
    element: &Spanned<DeValue<'_>>,
    places: &mut Places,
) -> (Option<Listener>, ListenerFacts) {
    let mut facts = ListenerFacts { v6only: true, ..ListenerFacts::default() };
    let Some((section, name)) = open(reader, "listener", element, LISTENER_KEYS) else { return (None, facts) };
    for (key, place) in [
        ("name", Place::ListenerName(index)),
        ("address", Place::ListenerAddress(index)),
        ("hash", Place::ListenerHash(index)),
    ] {
        places.extend(section.get(key).map(|value| (place, value.span)));
    }
    let address =
        section.required(reader, "address", "\"0.0.0.0:8080\"", |reader, value| reader.parsed(value, address));
    let protocol = listener_protocol(reader, &section, index, places);
    let backlog =
        section.optional(reader, "backlog", u64::from(BACKLOG), |reader, value| reader.integer(value, &BACKLOG_RANGE));
    let v6only = section.optional(reader, "v6only", true, Reader::boolean);
    let idle_timeout = section.optional(reader, "idle_timeout", Some(IDLE_TIMEOUT), |reader, value| {
        reader.duration_or_off(value, &IDLE_TIMEOUT_RANGE)
    });
    let mode = section.optional(reader, "mode", SOCKET_MODE, Reader::octal);
    let accelerate =
        section.optional(reader, "accelerate", Accelerate::Auto, |reader, value| reader.parsed(value, accelerate));
    let limits = limit_keys::listener(reader, &section);
    let access_log = section.optional(reader, "access_log", true, Reader::boolean);
    let proxy = proxy::proxy(reader, &section, address.as_ref());
    let tcp = tcp::tcp(reader, &section, Side::Listener);
    meaningless::of_listener(reader, &section, &limits, (address.as_ref(), &proxy));
    meaningless::of_sockets(reader, &section, &tcp, protocol.as_ref());
    if let Some(address) = &address {
        unfit_for_address(reader, &section, address);
    }
    facts = ListenerFacts {
        name: name.clone(),
        address: address.clone(),
        v6only,
        pools: protocol.iter().flat_map(Protocol::pools).map(|share| share.name.clone()).collect(),
        hash: section
            .get("hash")
            .filter(|_| protocol.as_ref().is_some_and(|each| each.hash() != HashKey::default()))
            .is_some(),
    };
    let listener = || {
        let backlog = u32::try_from(backlog).ok()?;
        Some(Listener {
            name: name?,
            address: address?,
            protocol: protocol?,
            backlog,
            v6only,
            idle_timeout,
            mode,
            accelerate,
            limits,
            access_log,
            proxy,
            tcp,
        })
    };
    (listener(), facts)
}

/// The protocol with what belongs to it; what belongs to another is a problem.
fn listener_protocol(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    index: usize,
    places: &mut Places,
) -> Option<Protocol> {
    let example = if section.get("pool").or_else(|| section.get("pools")).is_some() { "\"tcp\"" } else { "\"echo\"" };
    let word = section.required(reader, "protocol", example, |reader, value| reader.parsed(value, protocol));
    let text = section.optional(reader, "text", DEFAULT_TEXT.to_owned(), |reader, value| {
        let read = |text: &str| match text.len() {
            0..=MAX_TEXT => Ok(text.to_owned()),
            length => Err(Wrong::new(format!("the text has {length} bytes"), "write at most 64 KiB")),
        };
        reader.parsed(value, read)
    });
    let word = word?;
    for key in TCP_KEYS {
        if let Some(value) = section.get(key).filter(|_| word != Word::Tcp) {
            let help = match key {
                "pool" | "pools" => "remove this line, or relay with `protocol = \"tcp\"`",
                _ => "remove this line; only `protocol = \"tcp\"` relays",
            };
            reader.problem(value.key_span, format!("`{key}` belongs to protocol `tcp` only"), help.to_owned());
        }
    }
    if let Some(value) = section.get("text").filter(|_| word != Word::Respond) {
        let help = "remove this line, or send the text with `protocol = \"respond\"`";
        reader.problem(value.key_span, "`text` belongs to protocol `respond` only", help.to_owned());
    }
    match word {
        Word::Tcp => relaying(reader, section, index, places),
        Word::Echo => Some(Protocol::Echo),
        Word::Discard => Some(Protocol::Discard),
        Word::Respond => Some(Protocol::Respond { text: Arc::from(text.as_bytes()) }),
    }
}

fn unfit_for_address(reader: &mut Reader<'_>, section: &Section<'_>, address: &Address) {
    let ipv6 = matches!(address, Address::Inet(address) if address.is_ipv6());
    if let Some(value) = section.get("v6only").filter(|_| !ipv6) {
        let help = "remove this line; for both IPv6 and IPv4 write `address = \"[::]:PORT\"` and `v6only = false`";
        reader.problem(value.key_span, "`v6only` belongs to IPv6 addresses only", help.to_owned());
    }
    if let Some(value) = section.get("mode").filter(|_| !matches!(address, Address::Unix(_))) {
        let help = "remove this line; only a Unix socket is a file with a mode";
        reader.problem(value.key_span, "`mode` belongs to Unix sockets only", help.to_owned());
    }
    if let Some(value) = section.get("tcp").filter(|_| matches!(address, Address::Unix(_))) {
        let help = "remove this table; a Unix socket has no such options";
        reader.problem(value.key_span, "`tcp` belongs to IP addresses only", help.to_owned());
    }
}

fn pool(
    reader: &mut Reader<'_>,
    index: usize,
    element: &Spanned<DeValue<'_>>,
    places: &mut Places,
) -> (Option<Pool>, PoolFacts) {
    let mut facts = PoolFacts::default();
    let Some((section, name)) = open(reader, "pool", element, POOL_KEYS) else { return (None, facts) };
    places.extend(section.get("name").map(|value| (Place::PoolName(index), value.span)));
    facts.name.clone_from(&name);
    let endpoints = section.required(reader, "endpoints", ENDPOINTS_EXAMPLE, |reader, value| {
        let elements = reader.array(value, ENDPOINTS_EXAMPLE)?;
        if elements.is_empty() {
            reader.missing(
                value.span.clone(),
                format!("{} has no endpoint", section.title),
                format!("write at least one, as in {ENDPOINTS_EXAMPLE}"),
            );
        }
        let mut endpoints = Vec::new();
        for (position, element) in elements.iter().enumerate().take(MAX_ENDPOINTS + 1) {
            let endpoint = if position < MAX_ENDPOINTS { endpoint(reader, element) } else { None };
            places.insert(Place::Endpoint(index, position), element.span());
            facts.endpoints.push(endpoint.as_ref().map(|endpoint| endpoint.address.clone()));
            endpoints.extend(endpoint);
        }
        Some(endpoints)
    });
    let connect_timeout = section.optional(reader, "connect_timeout", CONNECT_TIMEOUT, |reader, value| {
        reader.duration(value, &CONNECT_TIMEOUT_RANGE)
    });
    let retries =
        section.optional(reader, "retries", u64::from(RETRIES), |reader, value| reader.integer(value, &RETRIES_RANGE));
    let send_proxy = proxy::send_proxy(reader, &section);
    let source = proxy::source(reader, &section);
    proxy::source_fits(reader, &section, source, endpoints.as_deref().unwrap_or_default());
    let tcp = tcp::tcp(reader, &section, Side::Pool);
    let limits = limit_keys::pool(reader, &section);
    meaningless::of_pool(reader, &section, &limits, retries, endpoints.as_deref());
    let health = pool_health(reader, &section);
    let policy = section.optional(reader, "policy", Policy::default(), |reader, value| reader.parsed(value, policy));
    let slow_start =
        section.optional(reader, "slow_start", None, |reader, value| reader.duration_or_off(value, &SLOW_START_RANGE));
    facts.is_hashed = policy == Policy::Maglev;
    if let Some(value) = section.get("slow_start").filter(|_| slow_start.is_some() && !policy.can_start_slowly()) {
        let message = format!("`slow_start` does not go with policy `{}`", policy.as_str());
        reader.problem(value.key_span, message, "remove this line, or use another policy".to_owned());
    }
    let endpoint_max_connections = section.optional(reader, "endpoint_max_connections", None, most);
    let pool = || {
        Some(Pool {
            name: name?,
            endpoints: endpoints?,
            policy,
            slow_start,
            endpoint_max_connections,
            connect_timeout,
            retries: u8::try_from(retries).ok()?,
            limits,
            health,
            send_proxy,
            source,
            tcp,
        })
    };
    (pool(), facts)
}

/// A limit of connections.
fn most(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Option<u32>> {
    let number = reader.integer(value, &MAX_CONNECTIONS_RANGE)?;
    u32::try_from(number).ok().map(Some)
}

/// `"ADDRESS"`, or a table with an address and more.
fn endpoint(reader: &mut Reader<'_>, element: &Spanned<DeValue<'_>>) -> Option<Endpoint> {
    let span = element.span();
    let value = Value { key: "endpoints", key_span: span.clone(), node: element.get_ref(), span };
    let table = match value.node {
        DeValue::String(_) => {
            return reader.parsed(&value, address).map(|address| Endpoint::new(address, WEIGHT));
        }
        DeValue::Table(table) => table,
        _ => {
            let help = r#"write "127.0.0.1:9000" or { address = "127.0.0.1:9000", weight = 2 }"#;
            return reader.expected(&Value { key: "endpoint", ..value }, "an address or a table", help);
        }
    };
    let section = Section::open(reader, "this endpoint", table, value.span.clone(), ENDPOINT_KEYS);
    let address =
        section.required(reader, "address", "\"127.0.0.1:9000\"", |reader, value| reader.parsed(value, address));
    let weight =
        section.optional(reader, "weight", u64::from(WEIGHT), |reader, value| reader.integer(value, &WEIGHT_RANGE));
    let backup = section.optional(reader, "backup", false, Reader::boolean);
    let max_connections = section.optional(reader, "max_connections", None, most);
    Some(Endpoint { address: address?, weight: u16::try_from(weight).ok()?, backup, max_connections })
}
