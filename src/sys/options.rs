//! Options of TCP sockets: what a socket is told once, and which option it was
//! that the kernel refused.
#![expect(unsafe_code, reason = "half of these options have no safe wrapper")]

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

const IP_BIND_ADDRESS_NO_PORT: i32 = 24; // linux/in.h
const IPV6_TRANSPARENT: i32 = 75; // linux/in6.h

/// What is set; the rest is as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SocketOptions {
    /// SO_KEEPALIVE and its times.
    pub keepalive: Option<Keepalive>,
    /// TCP_USER_TIMEOUT, in whole milliseconds.
    pub user_timeout: Option<Duration>,
    /// TCP_NODELAY.
    pub nodelay: Option<bool>,
    /// TCP_DEFER_ACCEPT, in whole seconds; listening sockets only.
    pub defer_accept: Option<Duration>,
    /// Listening: TCP_FASTOPEN, a queue of so many. Connecting:
    /// TCP_FASTOPEN_CONNECT.
    pub fast_open: Option<u32>,
    /// An MPTCP socket.
    pub mptcp: bool,
    /// SO_RCVBUF, bytes.
    pub receive_buffer: Option<u32>,
    /// SO_SNDBUF, bytes.
    pub send_buffer: Option<u32>,
    /// SO_MARK.
    pub mark: Option<u32>,
    /// SO_BINDTODEVICE.
    pub interface: Option<String>,
    /// The upper six bits of IP_TOS and IPV6_TCLASS.
    pub dscp: Option<u8>,
    /// TCP_CONGESTION.
    pub congestion: Option<String>,
    /// The address to connect from; `transparent`: it need not be this
    /// machine's (IP_TRANSPARENT).
    pub from: Option<From>,
}

/// Where to connect from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct From {
    /// The address; the kernel chooses the port.
    pub address: IpAddr,
    /// It may be another machine's.
    pub transparent: bool,
}

/// Probes of an idle connection; `None`: as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Keepalive {
    /// TCP_KEEPIDLE, whole seconds.
    pub idle: Option<Duration>,
    /// TCP_KEEPINTVL, whole seconds.
    pub interval: Option<Duration>,
    /// TCP_KEEPCNT.
    pub count: Option<u32>,
}

/// The option that the kernel refused, and why.
#[derive(Debug)]
pub struct Refused {
    /// As the configuration calls it.
    pub option: &'static str,
    /// What the kernel said.
    pub error: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { option, error } = self;
        write!(f, "{option}: {error}")?;
        match (*option, error.raw_os_error()) {
            ("tcp.mark" | "source", Some(libc::EPERM | libc::EACCES)) => write!(f, "; it takes CAP_NET_ADMIN"),
            ("tcp.interface", Some(libc::EPERM)) => write!(f, "; it takes CAP_NET_RAW"),
            ("tcp.interface", Some(libc::ENODEV)) => write!(f, "; `ip link` tells which there are"),
            ("tcp.congestion", Some(libc::ENOENT)) => {
                write!(f, "; `sysctl net.ipv4.tcp_available_congestion_control` tells which there are")
            }
            ("tcp.congestion", Some(libc::EPERM)) => {
                write!(f, "; without CAP_NET_ADMIN only those of net.ipv4.tcp_allowed_congestion_control")
            }
            ("tcp.mptcp", _) => write!(f, "; `sysctl net.mptcp.enabled` tells whether this kernel has it"),
            ("source", Some(libc::EADDRNOTAVAIL)) => {
                write!(f, "; this machine has no such address (`ip address` tells)")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}

impl std::convert::From<Refused> for io::Error {
    /// With the number of the error alone, for those who go by it.
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

impl SocketOptions {
    /// A stream socket for `address`: non-blocking, close-on-exec.
    ///
    /// # Errors
    /// What socket(2) says.
    pub fn socket(&self, address: SocketAddr) -> Result<Socket, Refused> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let protocol = self.mptcp.then_some(Protocol::MPTCP);
        let option = if self.mptcp { "tcp.mptcp" } else { "socket" };
        Socket::new(Domain::for_address(address), kind, protocol).map_err(|error| Refused { option, error })
    }

    /// Tells a socket that is to listen. Accepted ones inherit all of it.
    ///
    /// # Errors
    /// The first that the kernel refuses.
    pub fn apply_to_listener(&self, socket: BorrowedFd<'_>) -> Result<(), Refused> {
        // Accepted sockets inherit it, which saves a system call a connection.
        set(socket, "tcp.nodelay", libc::IPPROTO_TCP, libc::TCP_NODELAY, i32::from(self.nodelay != Some(false)))?;
        if let Some(time) = self.defer_accept {
            set(socket, "tcp.defer_accept", libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds(time))?;
        }
        if let Some(queue) = self.fast_open {
            set(socket, "tcp.fast_open", libc::IPPROTO_TCP, libc::TCP_FASTOPEN, whole(queue))?;
        }
        self.apply(socket)
    }

    /// Tells a socket that is to connect.
    ///
    /// # Errors
    /// The first that the kernel refuses.
    pub fn apply_to_upstream(&self, socket: BorrowedFd<'_>) -> Result<(), Refused> {
        if self.nodelay == Some(true) {
            set(socket, "tcp.nodelay", libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        }
        if self.fast_open.is_some() {
            set(socket, "tcp.fast_open", libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)?;
        }
        self.apply(socket)
    }

    /// Takes a listening socket from `old` to these, where that goes without
    /// another socket: keepalive, user timeout, nodelay, defer accept, fast open
    /// and DSCP.
    ///
    /// # Errors
    /// The first that the kernel refuses.
    pub fn change_listener(&self, old: &Self, socket: BorrowedFd<'_>) -> Result<(), Refused> {
        let reset = Self {
            user_timeout: self.user_timeout.or_else(|| old.user_timeout.map(|_| Duration::ZERO)),
            defer_accept: self.defer_accept.or_else(|| old.defer_accept.map(|_| Duration::ZERO)),
            fast_open: self.fast_open.or_else(|| old.fast_open.map(|_| 0)),
            dscp: self.dscp.or_else(|| old.dscp.map(|_| 0)),
            keepalive: self.keepalive,
            nodelay: self.nodelay,
            ..Self::default()
        };
        if self.keepalive.is_none() && old.keepalive.is_some() {
            set(socket, "tcp.keepalive", libc::SOL_SOCKET, libc::SO_KEEPALIVE, 0)?;
        }
        reset.apply_to_listener(socket)
    }

    fn apply(&self, socket: BorrowedFd<'_>) -> Result<(), Refused> {
        let tcp = libc::IPPROTO_TCP;
        if let Some(Keepalive { idle, interval, count }) = self.keepalive {
            set(socket, "tcp.keepalive", libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
            for (option, name, value) in [
                ("tcp.keepalive_idle", libc::TCP_KEEPIDLE, idle.map(seconds)),
                ("tcp.keepalive_interval", libc::TCP_KEEPINTVL, interval.map(seconds)),
                ("tcp.keepalive_count", libc::TCP_KEEPCNT, count.map(whole)),
            ] {
                value.map_or(Ok(()), |value| set(socket, option, tcp, name, value))?;
            }
        }
        if let Some(timeout) = self.user_timeout {
            let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
            set(socket, "tcp.user_timeout", tcp, libc::TCP_USER_TIMEOUT, millis)?;
        }
        let sizes = [
            ("tcp.receive_buffer", libc::SO_RCVBUF, self.receive_buffer.map(whole)),
            ("tcp.send_buffer", libc::SO_SNDBUF, self.send_buffer.map(whole)),
            ("tcp.mark", libc::SO_MARK, self.mark.map(u32::cast_signed)),
        ];
        for (option, name, value) in sizes {
            value.map_or(Ok(()), |value| set(socket, option, libc::SOL_SOCKET, name, value))?;
        }
        if let Some(name) = &self.interface {
            set_bytes(socket, "tcp.interface", libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_bytes())?;
        }
        if let Some(name) = &self.congestion {
            set_bytes(socket, "tcp.congestion", tcp, libc::TCP_CONGESTION, name.as_bytes())?;
        }
        match self.dscp {
            Some(dscp) => set_dscp(socket, dscp),
            None => Ok(()),
        }
    }

    /// Binds a socket to where it is to connect from, if that was said.
    ///
    /// # Errors
    /// If it may not, or the family is another than that of `to`.
    pub fn bind_from(&self, socket: &Socket, to: SocketAddr) -> Result<(), Refused> {
        let Some(From { address, transparent }) = self.from else { return Ok(()) };
        if address.is_ipv4() != to.is_ipv4() {
            return Err(Refused { option: "source", error: io::Error::from_raw_os_error(libc::EAFNOSUPPORT) });
        }
        let fd = socket.as_fd();
        if transparent {
            let (level, name) = match address {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, IPV6_TRANSPARENT),
            };
            set(fd, "source", level, name, 1)?;
        }
        // The port is chosen at connect(2), when the destination is known: an
        // address has 64 K of them to each destination, not in all.
        set(fd, "source", libc::IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)?;
        socket.bind(&SocketAddr::new(address, 0).into()).map_err(|error| Refused { option: "source", error })
    }
}

/// Whether a socket takes these options: makes one and throws it away.
///
/// # Errors
/// The first that the kernel refuses.
pub fn probe_upstream(options: &SocketOptions, to: SocketAddr) -> Result<(), Refused> {
    upstream(options, to).map(drop)
}

/// A socket that has these options and is bound to where they say; it only has
/// to connect. Non-blocking, close-on-exec.
///
/// # Errors
/// The first option that the kernel refuses.
pub fn upstream(options: &SocketOptions, to: SocketAddr) -> Result<OwnedFd, Refused> {
    let socket = options.socket(to)?;
    options.apply_to_upstream(socket.as_fd())?;
    options.bind_from(&socket, to)?;
    Ok(socket.into())
}

fn set_dscp(socket: BorrowedFd<'_>, dscp: u8) -> Result<(), Refused> {
    let class = i32::from(dscp) << 2;
    let wide = set(socket, "tcp.dscp", libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class);
    // A socket of both families has both; one of IPv4 has the first alone.
    match (set(socket, "tcp.dscp", libc::IPPROTO_IP, libc::IP_TOS, class), wide) {
        (Ok(()), _) | (_, Ok(())) => Ok(()),
        (refused, _) => refused,
    }
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn set(socket: BorrowedFd<'_>, option: &'static str, level: i32, name: i32, value: i32) -> Result<(), Refused> {
    set_bytes(socket, option, level, name, &value.to_ne_bytes())
}

fn set_bytes(socket: BorrowedFd<'_>, option: &'static str, level: i32, name: i32, value: &[u8]) -> Result<(), Refused> {
    let length = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    // SAFETY: `value` is readable for `length` bytes and lives until the call
    // returns; the kernel copies it.
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(Refused { option, error: io::Error::last_os_error() }) }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    fn loopback() -> SocketAddr {
        ([127, 0, 0, 1], 9).into()
    }

    #[test]
    fn what_is_set_is_there() {
        let options = SocketOptions {
            keepalive: Some(Keepalive {
                idle: Some(Duration::from_secs(11)),
                interval: Some(Duration::from_secs(12)),
                count: Some(3),
            }),
            user_timeout: Some(Duration::from_millis(1500)),
            nodelay: Some(true),
            receive_buffer: Some(8192),
            send_buffer: Some(16384),
            dscp: Some(46),
            ..SocketOptions::default()
        };
        let socket = options.socket(loopback()).unwrap();
        options.apply_to_upstream(socket.as_fd()).unwrap();
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(11));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(12));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(1500)));
        // socket(7): the kernel doubles what is asked for.
        assert_eq!((socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap()), (16384, 32768));
        assert_eq!(socket.tos_v4().unwrap(), 46 << 2);
    }

    #[test]
    fn a_change_takes_back_what_is_not_wanted_any_more() {
        let options = SocketOptions {
            keepalive: Some(Keepalive::default()),
            user_timeout: Some(Duration::from_secs(1)),
            nodelay: Some(false),
            dscp: Some(10),
            defer_accept: Some(Duration::from_secs(3)),
            fast_open: Some(16),
            ..SocketOptions::default()
        };
        let socket = options.socket(loopback()).unwrap();
        options.apply_to_listener(socket.as_fd()).unwrap();
        let seen = SockRef::from(&socket);
        assert!(seen.keepalive().unwrap() && !seen.tcp_nodelay().unwrap());
        SocketOptions::default().change_listener(&options, socket.as_fd()).unwrap();
        assert!(!seen.keepalive().unwrap() && seen.tcp_nodelay().unwrap());
        assert_eq!((seen.tcp_user_timeout().unwrap(), seen.tos_v4().unwrap()), (None, 0));
    }

    #[test]
    fn what_the_kernel_refuses_is_named() {
        let refused = |options: &SocketOptions| probe_upstream(options, loopback()).unwrap_err().to_string();
        let options = SocketOptions { congestion: Some("no-such".to_owned()), ..SocketOptions::default() };
        let text = refused(&options);
        assert!(text.starts_with("tcp.congestion: ") && text.contains("tcp_available_congestion_control"), "{text}");
        let options = SocketOptions { interface: Some("no-such".to_owned()), ..SocketOptions::default() };
        let text = refused(&options);
        assert!(text.starts_with("tcp.interface: "), "{text}");
        let from = Some(From { address: "192.0.2.1".parse().unwrap(), transparent: false });
        let text = refused(&SocketOptions { from, ..SocketOptions::default() });
        assert!(text.starts_with("source: ") && text.contains("no such address"), "{text}");
        let from = Some(From { address: "::1".parse().unwrap(), transparent: false });
        let text = refused(&SocketOptions { from, ..SocketOptions::default() });
        assert!(text.starts_with("source: "), "{text}");
    }
}
