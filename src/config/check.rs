//! The rules that join several values. Files and flags share them: a rule says
//! at which [`Place`] it is broken, and the caller knows where that place was
//! written.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use crate::config::{
    Address, AdminSocket, Config, HashKey, Policy,
    default::{MAX_ENDPOINTS, MAX_LISTENERS, MAX_POOLS},
    suggest::nearest,
    values::{list, quote},
};

/// Something that was written somewhere. Numbers are positions in the file's
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Listener(usize),
    ListenerName(usize),
    ListenerAddress(usize),
    ListenerHash(usize),
    /// A listener's pool, by its position among them.
    ListenerPool(usize, usize),
    Pool(usize),
    PoolName(usize),
    Endpoint(usize, usize),
    AdminUnix,
    AdminTcp,
    Metrics,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) place: Place,
    /// What has the place, if the message alone does not tell.
    pub(super) subject: Option<String>,
    /// The other place that does not go with this one.
    pub(super) other: Option<Place>,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// Concluded from something that is not there.
    pub(super) absence: bool,
}

/// What the rules look at. What could not be read is `None`.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) listeners: Vec<ListenerFacts>,
    pub(super) pools: Vec<PoolFacts>,
    pub(super) admin_unix: Option<AdminSocket>,
    pub(super) admin_tcp: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
}

#[derive(Debug, Default)]
pub(super) struct ListenerFacts {
    pub(super) name: Option<String>,
    pub(super) address: Option<Address>,
    pub(super) v6only: bool,
    pub(super) pools: Vec<String>,
    /// It says, and not as everybody, what consistent hashing knows clients by.
    pub(super) hash: bool,
}

#[derive(Debug, Default)]
pub(super) struct PoolFacts {
    pub(super) name: Option<String>,
    pub(super) endpoints: Vec<Option<Address>>,
    /// Its policy looks at what clients are known by.
    pub(super) is_hashed: bool,
}

impl Facts {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            listeners: config
                .listeners
                .iter()
                .map(|listener| ListenerFacts {
                    name: Some(listener.name.clone()),
                    address: Some(listener.address.clone()),
                    v6only: listener.v6only,
                    pools: listener.protocol.pools().iter().map(|share| share.name.clone()).collect(),
                    hash: listener.protocol.hash() != HashKey::default(),
                })
                .collect(),
            pools: config
                .pools
                .iter()
                .map(|pool| PoolFacts {
                    name: Some(pool.name.clone()),
                    endpoints: pool.endpoints.iter().map(|endpoint| Some(endpoint.address.clone())).collect(),
                    is_hashed: pool.policy == Policy::Maglev,
                })
                .collect(),
            admin_unix: Some(config.admin.unix.clone()),
            admin_tcp: config.admin.tcp,
            metrics: config.metrics.listen,
        }
    }
}

/// All broken rules.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    limits(facts, &mut findings);
    let listener_names = facts.listeners.iter().map(|listener| listener.name.as_deref());
    unique_names("listener", listener_names, Place::ListenerName, &mut findings);
    unique_names("pool", facts.pools.iter().map(|pool| pool.name.as_deref()), Place::PoolName, &mut findings);
    endpoints(facts, &mut findings);
    addresses(facts, &mut findings);
    unix_paths(facts, &mut findings);
    references(facts, &mut findings);
    loops(facts, &mut findings);
    hashes(facts, &mut findings);
    findings
}

fn finding(place: Place, message: String, help: impl Into<String>) -> Finding {
    Finding { place, subject: None, other: None, message, help: Some(help.into()), absence: false }
}

fn limits(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.listeners.len() > MAX_LISTENERS {
        let message = format!("too many listeners: at most {MAX_LISTENERS}");
        findings.push(finding(Place::Listener(MAX_LISTENERS), message, "serve the others with another netd"));
    }
    if facts.pools.len() > MAX_POOLS {
        let message = format!("too many pools: at most {MAX_POOLS}");
        findings.push(finding(Place::Pool(MAX_POOLS), message, "serve the others with another netd"));
    }
    for (index, pool) in facts.pools.iter().enumerate() {
        if pool.endpoints.len() > MAX_ENDPOINTS {
            let message = format!("too many endpoints in one pool: at most {MAX_ENDPOINTS}");
            findings.push(finding(Place::Endpoint(index, MAX_ENDPOINTS), message, "split the pool"));
        }
    }
}

fn unique_names<'f>(
    what: &str,
    names: impl Iterator<Item = Option<&'f str>>,
    place: impl Fn(usize) -> Place,
    findings: &mut Vec<Finding>,
) {
    let mut seen = HashMap::new();
    for (index, name) in names.enumerate() {
        let Some(name) = name else { continue };
        if let Some(first) = seen.get(name) {
            let message = format!("another {what} is named {} already", quote(name));
            let other = Some(place(*first));
            findings
                .push(Finding { other, ..finding(place(index), message, format!("give every {what} its own name")) });
        } else {
            seen.insert(name, index);
        }
    }
}

fn endpoints(facts: &Facts, findings: &mut Vec<Finding>) {
    for (index, pool) in facts.pools.iter().enumerate() {
        let mut seen = HashMap::new();
        for (position, address) in pool.endpoints.iter().enumerate() {
            let (place, Some(address)) = (Place::Endpoint(index, position), address) else { continue };
            if matches!(address, Address::Inet(address) if address.port() == 0) {
                let message = format!("endpoint `{address}` has port 0");
                findings.push(finding(place, message, "write the port that the server listens on, 1 to 65535"));
            } else if let Some(first) = seen.insert(address, position) {
                let message = format!("endpoint `{address}` is in the pool already");
                let other = Some(Place::Endpoint(index, first));
                let help = "remove one of them; for a greater share give it a weight: { address = ..., weight = 2 }";
                findings.push(Finding { other, ..finding(place, message, help) });
            }
        }
    }
}

/// An address that is taken, and by whom.
struct Claim {
    place: Place,
    owner: String,
    address: SocketAddr,
    v6only: bool,
}

fn addresses(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut claims: Vec<Claim> = Vec::new();
    let own = |place, owner: &str, address: Option<SocketAddr>| {
        address.map(|address| Claim { place, owner: owner.to_owned(), address, v6only: true })
    };
    let own =
        [own(Place::Metrics, "metrics.listen", facts.metrics), own(Place::AdminTcp, "admin.tcp", facts.admin_tcp)];
    let listeners = facts.listeners.iter().enumerate().filter_map(|(index, listener)| match &listener.address {
        Some(Address::Inet(address)) => Some(Claim {
            place: Place::ListenerAddress(index),
            owner: listener_title(listener),
            address: *address,
            v6only: listener.v6only,
        }),
        _ => None,
    });
    for claim in own.into_iter().flatten().chain(listeners) {
        if let Some(mapped) = mapped(claim.address) {
            let message = format!("`{}` is an IPv4 address written as IPv6", claim.address);
            findings.push(finding(claim.place, message, format!("write `{mapped}`")));
        } else if let Some(taken) = claims.iter().find(|taken| overlap(taken, &claim)) {
            let (message, help) = if taken.address == claim.address {
                (format!("`{}` is taken by {} already", claim.address, taken.owner), "use another port or address")
            } else {
                let message = format!("`{}` overlaps with `{}` of {}", claim.address, taken.address, taken.owner);
                let dual = taken.address.is_ipv4() != claim.address.is_ipv4();
                let help = if dual {
                    "`v6only = false` takes IPv4 as well; remove it, or use another port"
                } else {
                    "use another port; the wildcard address takes connections to every address"
                };
                (message, help)
            };
            let (subject, other) = (Some(claim.owner.clone()), Some(taken.place));
            findings.push(Finding { subject, other, ..finding(claim.place, message, help) });
        }
        claims.push(claim);
    }
}

/// The IPv4 address inside `::ffff:1.2.3.4`.
fn mapped(address: SocketAddr) -> Option<SocketAddr> {
    match address.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map(|ip| SocketAddr::from((ip, address.port()))),
        IpAddr::V4(_) => None,
    }
}

/// A connection could belong to both.
fn overlap(a: &Claim, b: &Claim) -> bool {
    let (ip, other) = (a.address.ip(), b.address.ip());
    if a.address.port() != b.address.port() || a.address.port() == 0 {
        return false;
    }
    let takes_ipv4 = |claim: &Claim| claim.address.ip().is_unspecified() && !claim.v6only;
    match (ip.is_ipv6(), other.is_ipv6()) {
        (true, false) => takes_ipv4(a),
        (false, true) => takes_ipv4(b),
        _ => a.address == b.address || ip.is_unspecified() || other.is_unspecified(),
    }
}

fn unix_paths(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut taken: HashMap<&Path, (Place, String)> = HashMap::new();
    if let Some(AdminSocket::Path(path)) = &facts.admin_unix {
        taken.insert(path, (Place::AdminUnix, "admin.unix".to_owned()));
    }
    for (index, listener) in facts.listeners.iter().enumerate() {
        let Some(Address::Unix(path)) = &listener.address else { continue };
        let place = Place::ListenerAddress(index);
        if let Some((other, owner)) = taken.get(path.as_path()) {
            let message = format!("`unix:{}` is taken by {owner} already", path.display());
            let (subject, other) = (Some(listener_title(listener)), Some(*other));
            findings.push(Finding { subject, other, ..finding(place, message, "use another path") });
        } else {
            taken.insert(path, (place, listener_title(listener)));
        }
    }
}

fn references(facts: &Facts, findings: &mut Vec<Finding>) {
    // A suggestion costs a long look at every pool.
    const MAX_SUGGESTIONS: usize = 20;
    let mut suggestions = 0;
    let pools: HashMap<&str, ()> = facts.pools.iter().filter_map(|pool| Some((pool.name.as_deref()?, ()))).collect();
    let all = facts.listeners.iter().enumerate().flat_map(|(index, listener)| {
        listener.pools.iter().enumerate().map(move |(position, pool)| (Place::ListenerPool(index, position), pool))
    });
    for (place, pool) in all.filter(|(_, pool)| !pools.contains_key(pool.as_str())) {
        let names = || facts.pools.iter().filter_map(|pool| pool.name.as_deref());
        suggestions += 1;
        let near = if suggestions <= MAX_SUGGESTIONS { nearest(pool, names()) } else { None };
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if pools.is_empty() => "there is no pool; add a [[pool]] with this name and its endpoints".to_owned(),
            None => format!("pools are {}", list(names(), "and")),
        };
        let message = format!("there is no pool {}", quote(pool));
        findings.push(Finding { absence: true, ..finding(place, message, help) });
    }
}

/// What a client is known by is asked for by one policy only.
fn hashes(facts: &Facts, findings: &mut Vec<Finding>) {
    let plain: HashSet<&str> =
        facts.pools.iter().filter(|pool| !pool.is_hashed).filter_map(|pool| pool.name.as_deref()).collect();
    for (index, listener) in facts.listeners.iter().enumerate().filter(|(_, listener)| listener.hash) {
        if !listener.pools.is_empty() && listener.pools.iter().all(|pool| plain.contains(pool.as_str())) {
            let message = "`hash` means nothing: no pool of this listener has policy `maglev`".to_owned();
            let help = "remove this line, or write `policy = \"maglev\"` in a pool";
            findings.push(finding(Place::ListenerHash(index), message, help));
        }
    }
}

/// A listener that relays to itself would eat all file descriptors with the
/// first connection.
fn loops(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut relaying: HashMap<&str, Vec<(usize, &ListenerFacts)>> = HashMap::new();
    for (index, listener) in facts.listeners.iter().enumerate() {
        for pool in &listener.pools {
            relaying.entry(pool).or_default().push((index, listener));
        }
    }
    for (index, pool) in facts.pools.iter().enumerate() {
        let Some(relaying) = pool.name.as_deref().and_then(|name| relaying.get(name)) else { continue };
        for (position, address) in pool.endpoints.iter().enumerate() {
            let Some(address) = address else { continue };
            let Some((listener, own)) = relaying.iter().find(|(_, listener)| leads_to(address, listener)) else {
                continue;
            };
            let title = listener_title(own);
            let message = match &own.address {
                Some(bound) if bound != address => {
                    format!("endpoint `{address}` leads to `{bound}` of {title}, which would relay to itself")
                }
                _ => format!("endpoint `{address}` is the address of {title}, which would relay to itself"),
            };
            let other = Some(Place::ListenerAddress(*listener));
            let help = "write the address of the server behind it";
            findings.push(Finding { other, ..finding(Place::Endpoint(index, position), message, help) });
        }
    }
}

/// Whether a connect to the endpoint comes to the listener, as far as the
/// addresses tell. A wildcard also has the machine's other addresses, which
/// are not known here.
fn leads_to(endpoint: &Address, listener: &ListenerFacts) -> bool {
    let (target, own) = match (endpoint, &listener.address) {
        (Address::Inet(target), Some(Address::Inet(own))) => (target, own),
        (endpoint, own) => return own.as_ref() == Some(endpoint),
    };
    if target.port() != own.port() {
        return false;
    }
    if target == own {
        return true;
    }
    let destination = match target.ip().to_canonical() {
        // A connect to the wildcard address goes to the loopback one (ip(7)).
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let ip = own.ip().to_canonical();
    if ip.is_unspecified() {
        let takes = ip.is_ipv4() == destination.is_ipv4() || (ip.is_ipv6() && !listener.v6only);
        return takes && destination.is_loopback();
    }
    // Link-local addresses are told apart by their interfaces.
    let scope = |address: &SocketAddr| match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    ip == destination && scope(target) == scope(own)
}

fn listener_title(listener: &ListenerFacts) -> String {
    match &listener.name {
        Some(name) => format!("listener {}", quote(name)),
        None => "another listener".to_owned(),
    }
}
