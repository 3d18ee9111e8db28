//! The PROXY protocol: who may say whom a connection comes from, and what
//! netd says itself; and the address that netd connects from.

use std::{
    fmt::{self, Display},
    net::IpAddr,
    ops::RangeInclusive,
    time::Duration,
};

use crate::{
    config::{
        Address, Endpoint, format_duration,
        reader::{Reader, Section, Value},
        values::{Wrong, choice, quote},
    },
    limit::{Network, Networks},
};

const LISTENER_KEYS: [&str; 4] = ["proxy_protocol", "proxy_trusted", "proxy_untrusted", "proxy_timeout"];

const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
const MAX_TRUSTED: usize = 10_000;
const TRUSTED_EXAMPLE: &str = r#"["10.0.0.0/8", "192.0.2.7"]"#;
const TLVS_EXAMPLE: &str = r#"["unique-id", "crc32c"]"#;

/// Whether connections of a listener begin with a PROXY header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Which versions are taken. Default: none.
    pub accept: ProxyVersions,
    /// Who may, and must, send one. Unix sockets have none: their mode says who
    /// may connect.
    pub trusted: Trusted,
    /// What others get.
    pub untrusted: Untrusted,
    /// The header must be whole so long after the connection was accepted. 1 ms
    /// to 1 h, default 5 s.
    pub timeout: Duration,
}

impl Default for Proxy {
    fn default() -> Self {
        Self { accept: ProxyVersions::Off, trusted: Trusted::default(), untrusted: Untrusted::Refuse, timeout: TIMEOUT }
    }
}

/// Versions of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyVersions {
    /// None.
    #[default]
    Off,
    /// Version 1, a line of text.
    V1,
    /// Version 2, binary.
    V2,
    /// Either; to be received only.
    Any,
}

impl ProxyVersions {
    pub(super) const ALL: [Self; 4] = [Self::Off, Self::V1, Self::V2, Self::Any];

    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Any => "any",
        }
    }
}

/// What a source gets that is not trusted to send a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Untrusted {
    /// A reset.
    #[default]
    Refuse,
    /// Served as itself: what it sends is no header.
    Plain,
}

impl Untrusted {
    pub(super) const ALL: [Self; 2] = [Self::Refuse, Self::Plain];

    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Plain => "plain",
        }
    }
}

/// A list of networks, as written and as looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trusted {
    list: Vec<Network>,
    set: Networks,
}

impl Trusted {
    /// Whether the address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.set.contains(address)
    }
}

impl FromIterator<Network> for Trusted {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let list: Vec<Network> = networks.into_iter().collect();
        let set = list.iter().copied().collect();
        Self { list, set }
    }
}

/// The PROXY header that a pool's endpoints get.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendProxy {
    /// `Off` (the default), `V1` or `V2`.
    pub version: ProxyVersions,
    /// Version 2: what else is said, without repetition.
    pub tlvs: Vec<ProxyTlv>,
}

/// What a header of version 2 may say besides addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyTlv {
    /// The host asked for, if the client's own header said it.
    Authority,
    /// The client's unique id if its header had one, else the connection's id.
    UniqueId,
    /// The protocol agreed on by ALPN, if the client's header said it.
    Alpn,
    /// The network namespace, if the client's header said it.
    Netns,
    /// A checksum.
    Crc32c,
}

impl ProxyTlv {
    pub(super) const ALL: [Self; 5] = [Self::Authority, Self::UniqueId, Self::Alpn, Self::Netns, Self::Crc32c];

    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::UniqueId => "unique-id",
            Self::Alpn => "alpn",
            Self::Netns => "netns",
            Self::Crc32c => "crc32c",
        }
    }
}

/// The address that netd connects to endpoints from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// The kernel chooses. The default.
    #[default]
    Auto,
    /// The client's (IP_TRANSPARENT).
    Client,
    /// This one of the machine's.
    Address(IpAddr),
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Client => f.write_str("client"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The PROXY keys of a listener.
pub(super) fn proxy(reader: &mut Reader<'_>, section: &Section<'_>, address: Option<&Address>) -> Proxy {
    let word = |reader: &mut Reader<'_>, value: &Value<'_>| {
        reader.parsed(value, |text| choice(text, &ProxyVersions::ALL.map(|each| (each.as_str(), each))))
    };
    let accept = match section.get("proxy_protocol") {
        Some(value) => word(reader, &value),
        None => (!section.has("proxy_protocol")).then_some(ProxyVersions::Off),
    };
    let trusted = section.optional(reader, "proxy_trusted", Trusted::default(), networks);
    let untrusted = section.optional(reader, "proxy_untrusted", Untrusted::Refuse, |reader, value| {
        reader.parsed(value, |text| choice(text, &Untrusted::ALL.map(|each| (each.as_str(), each))))
    });
    let timeout =
        section.optional(reader, "proxy_timeout", TIMEOUT, |reader, value| reader.duration(value, &TIMEOUT_RANGE));
    let unix = matches!(address, Some(Address::Unix(_)));
    // Of one that could not be read nothing is concluded.
    let Some(accept) = accept else { return Proxy::default() };
    if accept == ProxyVersions::Off {
        for key in &LISTENER_KEYS[1..] {
            if let Some(value) = section.get(key) {
                let help = "add `proxy_protocol = \"any\"`, or remove this line";
                reader.problem(
                    value.key_span,
                    format!("`{key}` means nothing without `proxy_protocol`"),
                    help.to_owned(),
                );
            }
        }
    } else if unix {
        for key in ["proxy_trusted", "proxy_untrusted"] {
            if let Some(value) = section.get(key) {
                let help =
                    "remove this line; `mode` says who may connect to a Unix socket, and all of them are trusted";
                reader.problem(value.key_span, format!("`{key}` belongs to IP addresses only"), help.to_owned());
            }
        }
    } else if !section.has("proxy_trusted") {
        reader.missing(
            section.span.clone(),
            format!("{} takes PROXY headers, but does not say from whom", section.title),
            format!("add a line such as `proxy_trusted = {TRUSTED_EXAMPLE}` with the addresses of your proxies: whoever is in it can claim to be anybody"),
        );
    }
    Proxy { accept, trusted, untrusted, timeout }
}

fn networks(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Trusted> {
    let elements = reader.array(value, TRUSTED_EXAMPLE)?;
    if elements.is_empty() || elements.len() > MAX_TRUSTED {
        let message = format!("`{}` has {} networks", value.key, elements.len());
        reader.problem(value.span.clone(), message, format!("write 1 to {MAX_TRUSTED}, as in {TRUSTED_EXAMPLE}"));
        return None;
    }
    let networks = elements.iter().filter_map(|element| {
        let value =
            Value { key: "proxy_trusted", key_span: element.span(), node: element.get_ref(), span: element.span() };
        reader.parsed(&value, |text| text.parse::<Network>().map_err(Wrong::bare))
    });
    Some(networks.collect())
}

/// The PROXY keys of a pool.
pub(super) fn send_proxy(reader: &mut Reader<'_>, section: &Section<'_>) -> SendProxy {
    let words = [ProxyVersions::Off, ProxyVersions::V1, ProxyVersions::V2].map(|each| (each.as_str(), each));
    let version = match section.get("send_proxy") {
        Some(value) => reader.parsed(&value, |text| choice(text, &words)),
        None => (!section.has("send_proxy")).then_some(ProxyVersions::Off),
    };
    let tlvs = section.optional(reader, "send_proxy_tlvs", Vec::new(), tlvs);
    if let Some(value) =
        section.get("send_proxy_tlvs").filter(|_| version.is_some_and(|version| version != ProxyVersions::V2))
    {
        let help = "write `send_proxy = \"v2\"`, or remove this line";
        reader.problem(value.key_span, "`send_proxy_tlvs` belongs to version 2 only", help.to_owned());
    }
    SendProxy { version: version.unwrap_or_default(), tlvs }
}

fn tlvs(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Vec<ProxyTlv>> {
    let mut tlvs = Vec::new();
    for element in reader.array(value, TLVS_EXAMPLE)? {
        let value =
            Value { key: "send_proxy_tlvs", key_span: element.span(), node: element.get_ref(), span: element.span() };
        let words = ProxyTlv::ALL.map(|each| (each.as_str(), each));
        let Some(tlv) = reader.parsed(&value, |text| choice(text, &words)) else { continue };
        if tlvs.contains(&tlv) {
            reader.problem(
                element.span(),
                format!("{} stands here twice", quote(tlv.as_str())),
                "remove one".to_owned(),
            );
        } else {
            tlvs.push(tlv);
        }
    }
    Some(tlvs)
}

/// The address that a pool is connected to from.
pub(super) fn source(reader: &mut Reader<'_>, section: &Section<'_>) -> Source {
    section.optional(reader, "source", Source::Auto, |reader, value| {
        reader.parsed(value, |text| match text {
            "auto" => Ok(Source::Auto),
            "client" => Ok(Source::Client),
            text => match text.parse::<IpAddr>() {
                Ok(address) if !address.is_unspecified() => Ok(Source::Address(address.to_canonical())),
                _ => Err(Wrong::new(
                    format!("{} is nothing to connect from", quote(text)),
                    "write `auto`, `client`, or an address of this machine without a port",
                )),
            },
        })
    })
}

/// Endpoints that cannot be connected to from a pool's address are a problem.
pub(super) fn source_fits(reader: &mut Reader<'_>, section: &Section<'_>, source: Source, endpoints: &[Endpoint]) {
    let (Source::Address(from), Some(value)) = (source, section.get("source")) else { return };
    let stranger = endpoints.iter().find_map(|endpoint| match &endpoint.address {
        Address::Inet(to) if to.is_ipv4() != from.is_ipv4() => Some(to),
        _ => None,
    });
    if let Some(to) = stranger {
        let family = |v4: bool| if v4 { "IPv4" } else { "IPv6" };
        let (own, other) = (family(from.is_ipv4()), family(!from.is_ipv4()));
        let message = format!("{own} address {from} cannot be used to connect to endpoint {to}");
        let help = format!("give {other} endpoints a pool of their own, or write `source = \"auto\"`");
        reader.problem(value.span, message, help);
    }
}

/// `key` and `value` of one line of the file.
pub(super) type Line = (&'static str, String);
type Lines = Vec<Line>;

/// Lines `key = value` of a listener.
pub(super) fn listener_lines(proxy: &Proxy, unix: bool) -> Lines {
    let mut lines = vec![("proxy_protocol", quoted(proxy.accept.as_str()))];
    if proxy.accept != ProxyVersions::Off {
        if !unix {
            lines.push(("proxy_trusted", array(&proxy.trusted.list)));
            lines.push(("proxy_untrusted", quoted(proxy.untrusted.as_str())));
        }
        lines.push(("proxy_timeout", quoted(format_duration(proxy.timeout))));
    }
    lines
}

/// Lines `key = value` of a pool.
pub(super) fn pool_lines(send: &SendProxy, source: Source) -> Lines {
    let mut lines = vec![("send_proxy", quoted(send.version.as_str()))];
    if send.version == ProxyVersions::V2 {
        lines.push(("send_proxy_tlvs", array(send.tlvs.iter().map(|tlv| tlv.as_str()))));
    }
    lines.push(("source", quoted(source)));
    lines
}

fn quoted(text: impl Display) -> String {
    format!("\"{text}\"")
}

fn array<T: Display>(each: impl IntoIterator<Item = T>) -> String {
    let each: Vec<String> = each.into_iter().map(quoted).collect();
    format!("[{}]", each.join(", "))
}

/// For `key: old -> new`.
pub(super) fn differences(old: &[Line], new: &[Line]) -> Vec<(&'static str, String, String)> {
    let value = |lines: &[Line], key: &str| {
        lines.iter().find(|(each, _)| *each == key).map_or_else(|| "(not set)".to_owned(), |(_, value)| short(value))
    };
    let mut keys: Vec<&'static str> = old.iter().chain(new).map(|(key, _)| *key).collect();
    let mut seen = Vec::new();
    keys.retain(|key| {
        !seen.contains(key) && {
            seen.push(*key);
            true
        }
    });
    let each = keys.into_iter().map(|key| (key, value(old, key), value(new, key)));
    // Long lists are cut alike where they differ further behind.
    each.filter(|(key, _, _)| lookup(old, key) != lookup(new, key)).collect()
}

fn lookup<'l>(lines: &'l [Line], key: &str) -> Option<&'l str> {
    lines.iter().find(|(each, _)| *each == key).map(|(_, value)| value.as_str())
}

/// The value, cut where it is too long for a line.
fn short(value: &str) -> String {
    const MOST: usize = 60;
    let text = value.trim_matches('"');
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let begin: String = text.chars().take(MOST).collect();
    format!("{begin}... ({} bytes)", text.len())
}
