//! Stream sockets as the data plane wants them: non-blocking, close-on-exec,
//! one system call an operation.
#![expect(
    unsafe_code,
    reason = "accept4 with an address, socket filters and system calls that are no cancellation points have no safe wrapper"
)]

use std::{
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
    ptr,
    time::Duration,
};

use socket2::{Domain, SockAddr, SockRef, Socket as RawSocket, Type};

use super::options::SocketOptions;

/// A connected (or connecting) stream socket.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// recv(2). `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock`, or what ended the connection. `Interrupted` does not
    /// happen on a non-blocking socket.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (address, length) = (ptr::null::<libc::sockaddr>(), ptr::null::<libc::socklen_t>());
        // SAFETY: `buffer` is writable for its length, and the address is not
        // asked for.
        counted(unsafe {
            libc::syscall(libc::SYS_recvfrom, self.0.as_raw_fd(), buffer.as_mut_ptr(), buffer.len(), 0, address, length)
        })
    }

    /// send(2), without SIGPIPE.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes, libc::MSG_NOSIGNAL)
    }

    /// As [`write`](Self::write), for bytes behind which the end follows at
    /// once: they wait for it, and go in one segment with it (send(2),
    /// MSG_MORE).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_last(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes, libc::MSG_NOSIGNAL | libc::MSG_MORE)
    }

    fn send(&self, bytes: &[u8], flags: libc::c_int) -> io::Result<usize> {
        let (address, length) = (ptr::null::<libc::sockaddr>(), 0);
        // SAFETY: `bytes` is readable for its length, and there is no address.
        counted(unsafe {
            libc::syscall(libc::SYS_sendto, self.0.as_raw_fd(), bytes.as_ptr(), bytes.len(), flags, address, length)
        })
    }

    /// Ends the sending direction: the peer reads an end of stream.
    ///
    /// # Errors
    /// `NotConnected` if the connection is gone already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        SockRef::from(&self.0).shutdown(std::net::Shutdown::Write)
    }

    /// The pending error of the socket (SO_ERROR), and clears it.
    ///
    /// # Errors
    /// If the socket cannot be asked.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(&self.0).take_error()
    }

    /// Sends small pieces at once instead of gathering them (TCP_NODELAY).
    pub fn set_nodelay(&self) {
        // Without it small pieces are merely slower.
        let _ = SockRef::from(&self.0).set_tcp_nodelay(true);
    }

    /// Makes the next close a reset: unsent bytes are thrown away and the peer
    /// reads ECONNRESET (SO_LINGER of 0). No effect on Unix sockets.
    pub fn reset_on_close(&self) {
        // A socket that cannot linger is closed plainly; nothing depends on it.
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }

    /// Whether neither a byte nor an end nor an error waits to be read.
    pub fn is_silent(&self) -> bool {
        let peeked = SockRef::from(&self.0).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether it is a Unix-domain socket.
    pub fn is_unix(&self) -> bool {
        // A socket that cannot be asked is treated as one: that costs a read
        // here and there.
        SockRef::from(&self.0).domain().map_or(true, |domain| domain == Domain::UNIX)
    }

    /// Begins to connect over IP. The socket becomes writable when it is
    /// connected or has failed ([`take_error`](Self::take_error) tells).
    ///
    /// # Errors
    /// What socket(2) or connect(2) refuses at once.
    pub fn connect_inet(address: SocketAddr) -> io::Result<Self> {
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
        hold_ack(&socket, true);
        Self::connect(socket, &address.into())
    }

    /// Acknowledges the handshake at once, if no bytes have done it yet.
    pub fn acknowledge(&self) {
        hold_ack(&self.0, false);
    }

    /// As [`connect_inet`](Self::connect_inet), with options.
    ///
    /// # Errors
    /// As there, or the first option that the kernel refuses.
    pub fn connect_with(address: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        let socket = options.socket(address)?;
        options.apply_to_upstream(socket.as_fd())?;
        options.bind_from(&socket, address)?;
        Self::connect(socket, &address.into())
    }

    /// The address that it is bound to; `None` for Unix sockets, or if it
    /// cannot be asked.
    pub fn local_address(&self) -> Option<SocketAddr> {
        let address = SockRef::from(&self.0).local_addr().ok()?.as_socket()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Begins to connect to a Unix-domain socket.
    ///
    /// # Errors
    /// As for [`connect_inet`](Self::connect_inet); `WouldBlock` if the
    /// listener's queue is full.
    pub fn connect_unix(path: &Path) -> io::Result<Self> {
        let socket = RawSocket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
        Self::connect(socket, &SockAddr::unix(path)?)
    }

    fn connect(socket: RawSocket, address: &SockAddr) -> io::Result<Self> {
        match socket.connect(address) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(Self(socket.into()))
    }
}

/// Whether the last segment of the handshake waits a little for bytes that it
/// can go with (tcp(7), TCP_QUICKACK).
fn hold_ack(socket: &impl AsRawFd, hold: bool) {
    let value = libc::c_int::from(!hold);
    let (pointer, length) = ((&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // Without it one segment more is sent.
    // SAFETY: `value` is an int that lives through the call, as the option wants.
    let _ = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_QUICKACK, pointer, length) };
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What recvfrom(2) or sendto(2) answered. The C library's functions are points
/// at which a thread may be cancelled (pthreads(7)); keeping account of that
/// costs two locked instructions a call, and no thread here is ever cancelled.
fn counted(outcome: libc::c_long) -> io::Result<usize> {
    usize::try_from(outcome).map_err(|_| io::Error::last_os_error())
}

/// accept4(2): a connection that is non-blocking and close-on-exec, and the
/// client's address (`None` for Unix sockets), in one system call.
///
/// # Errors
/// `WouldBlock` when the queue is empty; else see accept(2).
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(Socket, Option<SocketAddr>)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `storage` is writable for `length` bytes, and both live until the
    // call returns.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            storage.as_mut_ptr().cast(),
            &raw mut length,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let socket = Socket(unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: all zeroes is a valid sockaddr_storage, and the kernel wrote a
    // valid address over it.
    let storage = unsafe { storage.assume_init() };
    Ok((socket, inet_address(&storage)))
}

fn inet_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in is stored here, and
            // sockaddr_storage is large enough and aligned for it.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = u32::from_be(address.sin_addr.s_addr);
            Some((std::net::Ipv4Addr::from(ip), u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = std::net::Ipv6Addr::from(address.sin6_addr.s6_addr);
            match ip.to_ipv4_mapped() {
                Some(ip) => Some((ip, u16::from_be(address.sin6_port)).into()),
                None => Some((ip, u16::from_be(address.sin6_port)).into()),
            }
        }
        _ => None,
    }
}

/// Makes a listening TCP socket drop every SYN, so that no new handshake
/// begins, while handshakes under way complete and what waits in its queue can
/// be accepted. Clients repeat a dropped SYN after about a second.
///
/// # Errors
/// What setsockopt(2) SO_ATTACH_FILTER refuses.
pub fn drop_new_handshakes(listener: BorrowedFd<'_>) -> io::Result<()> {
    const SYN: u32 = 0x02;
    const FLAGS_OFFSET: u32 = 13; // in the TCP header, where the kernel starts the filter (RFC 9293)
    let filter = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        filter(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS_OFFSET),
        filter(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, SYN),
        filter(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        filter(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `program` points to four valid instructions that live until the
    // call returns; the kernel copies them.
    let outcome = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Undoes [`drop_new_handshakes`]; harmless if nothing is to be undone.
///
/// # Errors
/// What setsockopt(2) says.
pub fn let_new_handshakes_in(listener: BorrowedFd<'_>) -> io::Result<()> {
    match SockRef::from(&listener).detach_filter() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
