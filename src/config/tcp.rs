//! Options of TCP sockets: `[listener.tcp]` and `[pool.tcp]`.

use std::{ops::RangeInclusive, time::Duration};

use toml::de::DeValue;

use crate::config::{
    format_duration,
    proxy::Line,
    reader::{Reader, Section, Value},
    values::{Wrong, quote},
};

const KEYS: &[&str] = &[
    "keepalive",
    "keepalive_idle",
    "keepalive_interval",
    "keepalive_count",
    "user_timeout",
    "nodelay",
    "defer_accept",
    "fast_open",
    "mptcp",
    "receive_buffer",
    "send_buffer",
    "mark",
    "interface",
    "dscp",
    "congestion",
];

// tcp.h: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT.
const KEEPALIVE_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);
const KEEPALIVE_COUNT_RANGE: RangeInclusive<u64> = 1..=127;
const USER_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 86_400);
const DEFER_ACCEPT_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const FAST_OPEN_RANGE: RangeInclusive<u64> = 1..=65_535;
const BUFFER_RANGE: RangeInclusive<u64> = 4096..=1 << 30;
const MARK_RANGE: RangeInclusive<u64> = 1..=0xffff_ffff;
const DSCP_RANGE: RangeInclusive<u64> = 0..=63;
/// IFNAMSIZ and TCP_CA_NAME_MAX, with a NUL each.
const MAX_NAME: usize = 15;

/// Options of TCP sockets. What is not set is as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tcp {
    /// Probes of idle connections.
    pub keepalive: Option<Keepalive>,
    /// Sent bytes unacknowledged for so long end the connection. 1 ms to 24
    /// days.
    pub user_timeout: Option<Duration>,
    /// Small pieces are sent at once. Not set: on, for pools from the second
    /// write.
    pub nodelay: Option<bool>,
    /// Listeners: a connection is accepted once it has sent something, or after
    /// so long. Whole seconds, 1 s to 1 h.
    pub defer_accept: Option<Duration>,
    /// Listeners: so many connections may be opening that brought data with
    /// their SYN, 1 to 65535. Pools: 1.
    pub fast_open: Option<u32>,
    /// Multipath TCP where the other side has it.
    pub mptcp: bool,
    /// SO_RCVBUF: 4 KiB to 1 GiB.
    pub receive_buffer: Option<u32>,
    /// SO_SNDBUF: 4 KiB to 1 GiB.
    pub send_buffer: Option<u32>,
    /// SO_MARK, not 0.
    pub mark: Option<u32>,
    /// Name of the network interface that is used alone.
    pub interface: Option<String>,
    /// Differentiated services code point, 0 to 63.
    pub dscp: Option<u8>,
    /// Name of the congestion control.
    pub congestion: Option<String>,
}

/// Probes of an idle connection; what is not set is as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// Idle for so long, it is probed. Whole seconds, 1 s to 32767 s.
    pub idle: Option<Duration>,
    /// Between two probes. As `idle`.
    pub interval: Option<Duration>,
    /// So many unanswered probes end it. 1 to 127.
    pub count: Option<u32>,
}

/// Whose sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Listener,
    Pool,
}

impl Tcp {
    /// Whether taking these on in the place of `old` takes other listening
    /// sockets: what cannot be taken back, or may be refused, is set on new
    /// ones before the old ones go.
    pub fn needs_sockets(&self, old: &Self) -> bool {
        let of = |tcp: &Self| {
            let names = (tcp.interface.clone(), tcp.congestion.clone());
            (tcp.mptcp, tcp.receive_buffer, tcp.send_buffer, tcp.mark, names)
        };
        of(self) != of(old)
    }
}

/// The table of a listener or a pool.
pub(super) fn tcp(reader: &mut Reader<'_>, section: &Section<'_>, side: Side) -> Tcp {
    let Some(value) = section.get("tcp") else { return Tcp::default() };
    let what = if side == Side::Listener { "listener" } else { "pool" };
    let DeValue::Table(table) = value.node else {
        let help = format!("write `[{what}.tcp]` and its keys below");
        return reader.expected(&value, "a table", &help).unwrap_or_default();
    };
    let title = format!("[{what}.tcp] of {}", section.title);
    let section = Section::open(reader, title, table, value.span, KEYS);
    let some = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    let integer = |reader: &mut Reader<'_>, key, range: &RangeInclusive<u64>| {
        some(section.optional(reader, key, None, |reader, value| reader.integer(value, range).map(Some)))
    };
    let size = |reader: &mut Reader<'_>, key| {
        some(section.optional(reader, key, None, |reader, value| reader.size(value, &BUFFER_RANGE).map(Some)))
    };
    let name = |reader: &mut Reader<'_>, key| {
        section.optional(reader, key, None, |reader, value| reader.parsed(value, word).map(Some))
    };
    Tcp {
        keepalive: keepalive(reader, &section),
        user_timeout: section.optional(reader, "user_timeout", None, |reader, value| {
            reader.duration(value, &USER_TIMEOUT_RANGE).map(Some)
        }),
        nodelay: section.optional(reader, "nodelay", None, |reader, value| reader.boolean(value).map(Some)),
        defer_accept: match section.get("defer_accept") {
            Some(value) if side == Side::Pool => {
                let help = "remove this line; nothing is accepted from an endpoint";
                reader.problem(value.key_span, "`defer_accept` belongs to listeners only", help.to_owned());
                None
            }
            _ => seconds(reader, &section, "defer_accept", &DEFER_ACCEPT_RANGE),
        },
        fast_open: match side {
            Side::Listener => integer(reader, "fast_open", &FAST_OPEN_RANGE),
            Side::Pool => section.optional(reader, "fast_open", false, Reader::boolean).then_some(1),
        },
        mptcp: section.optional(reader, "mptcp", false, Reader::boolean),
        receive_buffer: size(reader, "receive_buffer"),
        send_buffer: size(reader, "send_buffer"),
        mark: integer(reader, "mark", &MARK_RANGE),
        interface: name(reader, "interface"),
        dscp: integer(reader, "dscp", &DSCP_RANGE).and_then(|dscp| u8::try_from(dscp).ok()),
        congestion: name(reader, "congestion"),
    }
}

/// The times alone turn it on.
fn keepalive(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Keepalive> {
    let on = section.optional(reader, "keepalive", None, |reader, value| reader.boolean(value).map(Some));
    let idle = seconds(reader, section, "keepalive_idle", &KEEPALIVE_RANGE);
    let interval = seconds(reader, section, "keepalive_interval", &KEEPALIVE_RANGE);
    let count = section.optional(reader, "keepalive_count", None, |reader, value| {
        reader.integer(value, &KEEPALIVE_COUNT_RANGE).map(Some)
    });
    let keepalive = Keepalive { idle, interval, count: count.and_then(|count| u32::try_from(count).ok()) };
    let details = keepalive != Keepalive::default();
    if let Some(value) = section.get("keepalive").filter(|_| on == Some(false) && details) {
        let help = "remove this line, or the `keepalive_...` lines";
        reader.problem(value.key_span, "`keepalive = false` with times for it", help.to_owned());
    }
    (on == Some(true) || details).then_some(keepalive)
}

fn seconds(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    range: &RangeInclusive<Duration>,
) -> Option<Duration> {
    section.optional(reader, key, None, |reader, value: &Value<'_>| {
        let time = reader.duration(value, range)?;
        if time.subsec_nanos() == 0 {
            return Some(Some(time));
        }
        let message = format!("{} is no number of whole seconds", format_duration(time));
        reader.wrong(value, Wrong::new(message, "the kernel counts it in seconds"));
        None
    })
}

fn word(text: &str) -> Result<String, Wrong> {
    let fits = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if fits { Ok(text.to_owned()) } else { Err(Wrong::new(format!("{} is no name", quote(text)), NAME_HELP)) }
}

const NAME_HELP: &str = "write 1 to 15 characters without blanks and slashes";

/// Lines `key = value`; none if nothing is set.
pub(super) fn lines(tcp: &Tcp, side: Side) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut push = |key: &'static str, value: Option<String>| lines.extend(value.map(|value| (key, value)));
    let time = |time: Option<Duration>| time.map(|time| format!("\"{}\"", format_duration(time)));
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let text = |text: &Option<String>| text.as_ref().map(|text| toml_text(text));
    if let Some(Keepalive { idle, interval, count }) = tcp.keepalive {
        push("keepalive", Some("true".to_owned()));
        push("keepalive_idle", time(idle));
        push("keepalive_interval", time(interval));
        push("keepalive_count", number(count));
    }
    push("user_timeout", time(tcp.user_timeout));
    push("nodelay", tcp.nodelay.map(|on| on.to_string()));
    push("defer_accept", time(tcp.defer_accept));
    match side {
        Side::Listener => push("fast_open", number(tcp.fast_open)),
        Side::Pool => push("fast_open", tcp.fast_open.map(|_| "true".to_owned())),
    }
    push("mptcp", tcp.mptcp.then(|| "true".to_owned()));
    push("receive_buffer", number(tcp.receive_buffer));
    push("send_buffer", number(tcp.send_buffer));
    push("mark", number(tcp.mark));
    push("interface", text(&tcp.interface));
    push("dscp", tcp.dscp.map(|dscp| dscp.to_string()));
    push("congestion", text(&tcp.congestion));
    lines
}

/// A name may hold what means something to TOML or to substitution.
fn toml_text(text: &str) -> String {
    super::render::quoted(text)
}
