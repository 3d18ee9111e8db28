//! How an endpoint is connected to: options of the socket, the address that it
//! connects from, and the PROXY header that it gets first.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::{
    config::{self, Address, ProxyTlv, ProxyVersions, Source},
    listen::{self, From, Keepalive, SocketOptions},
    protocol::proxy_header::{Addresses, Tlvs, encode_v1, encode_v2, encode_v2_local},
    sys::socket::Socket,
    worker::conn::Conn,
};

/// The options as the kernel is told them.
pub fn socket_options(tcp: &config::Tcp) -> SocketOptions {
    let keepalive = |config::Keepalive { idle, interval, count }| Keepalive { idle, interval, count };
    SocketOptions {
        keepalive: tcp.keepalive.map(keepalive),
        user_timeout: tcp.user_timeout,
        nodelay: tcp.nodelay,
        defer_accept: tcp.defer_accept,
        fast_open: tcp.fast_open,
        mptcp: tcp.mptcp,
        receive_buffer: tcp.receive_buffer,
        send_buffer: tcp.send_buffer,
        mark: tcp.mark,
        interface: tcp.interface.clone(),
        dscp: tcp.dscp,
        congestion: tcp.congestion.clone(),
        from: None,
    }
}

/// Why connections to this pool's endpoints cannot be made as it asks for, if
/// the system says so; `unprivileged`: netd is about to give up root.
pub fn refused_upstream(pool: &config::Pool, unprivileged: bool) -> Option<String> {
    if !has_options(pool) {
        return None;
    }
    if unprivileged && (pool.source == Source::Client || pool.tcp.mark.is_some()) {
        let key = if pool.source == Source::Client { "source = \"client\"" } else { "tcp.mark" };
        return Some(format!(
            "{key} takes CAP_NET_ADMIN, which netd gives up with root; let the service manager start it as its user with that capability"
        ));
    }
    let families = pool.endpoints.iter().filter_map(|endpoint| match &endpoint.address {
        Address::Inet(address) => Some(address.is_ipv4()),
        Address::Unix(_) => None,
    });
    let mut seen = [false; 2];
    families.for_each(|v4| seen[usize::from(v4)] = true);
    let samples: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    let samples = samples.into_iter().zip(seen).filter(|(_, seen)| *seen).map(|(ip, _)| ip);
    samples.into_iter().find_map(|ip| {
        // A client's address is another machine's, mostly; that is what may not
        // be permitted. Documentation addresses stand for it (RFC 5737, 3849).
        let client = match ip {
            IpAddr::V4(_) => IpAddr::from([192, 0, 2, 1]),
            IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        };
        let options = options(pool, Some(client));
        listen::probe_upstream(&options, SocketAddr::new(ip, 9)).err().map(|refused| refused.to_string())
    })
}

fn has_options(pool: &config::Pool) -> bool {
    pool.source != Source::Auto || pool.tcp != config::Tcp::default()
}

fn options(pool: &config::Pool, client: Option<IpAddr>) -> SocketOptions {
    let from = match pool.source {
        Source::Auto => None,
        Source::Client => client.map(|address| From { address, transparent: true }),
        Source::Address(address) => Some(From { address, transparent: false }),
    };
    SocketOptions { from, ..socket_options(&pool.tcp) }
}

/// How netd itself reaches the endpoints of a pool, for a health check: as its
/// connections do, as far as that goes without a client.
pub fn own_options(pool: &config::Pool) -> Option<SocketOptions> {
    // With fast open a connect succeeds before anybody was asked.
    has_options(pool).then(|| SocketOptions { fast_open: None, ..options(pool, None) })
}

/// The PROXY header of a connection to the pool that is netd's own; mostly
/// nothing.
pub fn own_preface(pool: &config::Pool) -> Vec<u8> {
    match pool.send_proxy.version {
        ProxyVersions::Off => Vec::new(),
        ProxyVersions::V1 => encode_v1(None),
        ProxyVersions::V2 | ProxyVersions::Any => encode_v2_local(),
    }
}

/// Begins to connect to an endpoint as its pool asks for.
///
/// # Errors
/// What the system refuses at once.
pub(super) fn connect(pool: Option<&config::Pool>, to: &Address, client: Option<SocketAddr>) -> io::Result<Socket> {
    match (to, pool.filter(|pool| has_options(pool))) {
        (Address::Unix(path), _) => Socket::connect_unix(path),
        (Address::Inet(address), None) => Socket::connect_inet(*address),
        (Address::Inet(address), Some(pool)) => {
            Socket::connect_with(*address, &options(pool, client.map(|client| client.ip())))
        }
    }
}

/// What the endpoint gets before anything of the client's; mostly nothing.
pub(super) fn preface(pool: &config::Pool, conn: &Conn<Socket>) -> Vec<u8> {
    let send = &pool.send_proxy;
    if send.version == ProxyVersions::Off {
        return Vec::new();
    }
    let via = conn.origin.via.as_deref();
    let destination = match via {
        Some(via) => Some(via.destination),
        None => conn.downstream.stream.local_address(),
    };
    let addresses = conn.origin.source.zip(destination);
    let addresses = addresses.map(|(source, destination)| Addresses { source, destination });
    if send.version != ProxyVersions::V2 {
        return encode_v1(addresses);
    }
    let nothing = Tlvs::default();
    let said = via.map_or(&nothing, |via| &via.tlvs);
    let wanted = |tlv| send.tlvs.contains(&tlv);
    let tlvs = Tlvs {
        authority: said.authority.clone().filter(|_| wanted(ProxyTlv::Authority)),
        alpn: said.alpn.clone().filter(|_| wanted(ProxyTlv::Alpn)),
        netns: said.netns.clone().filter(|_| wanted(ProxyTlv::Netns)),
        unique_id: wanted(ProxyTlv::UniqueId).then(|| match &said.unique_id {
            Some(id) => id.clone(),
            None => format!("{:x}", conn.id).into_bytes().into(),
        }),
    };
    encode_v2(addresses, &tlvs, wanted(ProxyTlv::Crc32c))
}
