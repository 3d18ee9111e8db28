//! Listening sockets: one a worker and address, bound here or adopted.

mod hand_over;
mod kept;

use std::{
    fs, io,
    net::{Shutdown, SocketAddr},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt, chown, fchown},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

pub use hand_over::{Duplicate, Origin, distinct, resume, spread};
pub use kept::{Shelved, file_identity, is_listening, set_mode};

use crate::sys;
pub use crate::sys::options::{From, Keepalive, Refused, SocketOptions, probe_upstream, upstream};

/// One worker's listening socket for one listener: non-blocking, close-on-exec,
/// listening.
#[derive(Debug)]
pub struct ListenSocket {
    /// The socket.
    pub fd: OwnedFd,
    /// Who else has it.
    ownership: Ownership,
}

/// Who else has a listening socket, which decides how accepting is stopped.
#[derive(Debug, Clone)]
enum Ownership {
    /// netd bound it, and one worker alone has it: its queue ends with it.
    Own,
    /// As `Own`, but control keeps a duplicate, to listen on it again later. If
    /// workers share it, the last one ends the listening.
    Kept(Arc<()>),
    /// All workers have the same Unix-domain socket, bound to this file.
    Shared(Arc<SocketFile>),
    /// systemd has it too: it must be left as it was, its queue lives on.
    Inherited,
}

impl ListenSocket {
    /// Lets no further handshake begin, while those under way complete and the
    /// queue can still be accepted: the first half of closing without losing a
    /// connection. Inherited sockets are left alone.
    pub fn refuse_new(&self) {
        match &self.ownership {
            // Without the filter the window in which a connection can get lost
            // is merely larger.
            Ownership::Own | Ownership::Kept(_) => drop(sys::socket::drop_new_handshakes(self.fd.as_fd())),
            Ownership::Shared(file) => file.remove(),
            Ownership::Inherited => {}
        }
    }

    /// Takes back [`refuse_new`](Self::refuse_new), of whichever process; not
    /// for Unix-domain sockets.
    ///
    /// # Errors
    /// What the system says; the socket is of no use then.
    pub fn accept_new(&self) -> io::Result<()> {
        sys::socket::let_new_handshakes_in(self.fd.as_fd())
    }

    /// Whether connections may still come in after
    /// [`refuse_new`](Self::refuse_new), from handshakes under way.
    pub fn needs_grace(&self) -> bool {
        !matches!(self.ownership, Ownership::Inherited)
    }

    /// Takes on other options, those that need no other socket.
    ///
    /// # Errors
    /// The first that the kernel refuses.
    pub fn change_options(&self, old: &SocketOptions, new: &SocketOptions) -> Result<(), Refused> {
        new.change_listener(old, self.fd.as_fd())
    }

    /// Takes on another length of the accept queue. Inherited sockets are left
    /// as they are.
    pub fn set_backlog(&self, backlog: u32) {
        if !matches!(self.ownership, Ownership::Inherited) {
            // listen(2) again; it does not fail on a listening socket.
            let _ = SockRef::from(&self.fd).listen(length(backlog));
        }
    }
}

impl Drop for ListenSocket {
    /// Ends listening. A kept socket stays bound to its address, but must not
    /// go on to take in what nobody accepts.
    fn drop(&mut self) {
        let ownership = std::mem::replace(&mut self.ownership, Ownership::Inherited);
        if let Ownership::Kept(sharers) = ownership
            && Arc::into_inner(sharers).is_some()
        {
            // For a listening socket that is the end of listening (inet_shutdown
            // in the kernel); one that does not listen any more is as it should
            // be.
            let _ = SockRef::from(&self.fd).shutdown(Shutdown::Read);
        }
    }
}

/// The file of a Unix-domain socket; removed with its last user, if it is
/// still the same file.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Somebody else sees to its end.
    given_away: AtomicBool,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_owned(), identity, given_away: AtomicBool::new(false) })
    }

    fn remove(&self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours && !self.given_away.load(Relaxed) {
            // Gone already, or not permitted any more: a stale file is taken
            // over by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Where and how to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindOptions {
    /// Where.
    pub address: BindAddress,
    /// Length of one socket's accept queue.
    pub backlog: u32,
    /// IPv6 only, for IPv6 addresses.
    pub v6only: bool,
    /// Mode bits of a Unix socket's file.
    pub mode: u32,
    /// The user and group that netd runs as, or is about to become: the
    /// sockets are theirs. Only sockets of one user share an address
    /// (SO_REUSEPORT), and netd may have to bind further ones later.
    pub owner: Option<(u32, u32)>,
    /// netd itself listens on this address already (it is bound anew with
    /// other options): do not take that for a conflict.
    pub rebind: bool,
    /// Options of the sockets, for IP addresses.
    pub tcp: SocketOptions,
}

/// A stream socket's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindAddress {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// Unix-domain.
    Unix(PathBuf),
}

/// One listener's sockets, one a worker, in order of the workers.
#[derive(Debug)]
pub struct Bound {
    /// One a worker.
    pub sockets: Vec<ListenSocket>,
    /// The address in fact bound: `ADDRESS:PORT` or `unix:PATH`.
    pub local: String,
}

impl Bound {
    /// Tells the sockets their options; that of MPTCP is a socket's from its
    /// making.
    ///
    /// # Errors
    /// The first that the kernel refuses.
    pub fn set_options(&self, options: &SocketOptions) -> Result<(), Refused> {
        self.sockets.iter().try_for_each(|socket| options.apply_to_listener(socket.fd.as_fd()))
    }

    /// Keeps duplicates of the sockets, so that their address can be listened
    /// on again after accepting was stopped, without the privilege that binding
    /// it took. Only for sockets that [`bind`] made for an IP address with a
    /// port: one that the kernel chose would not be kept.
    ///
    /// # Errors
    /// If file descriptors run out.
    pub fn keep(&mut self) -> io::Result<Kept> {
        let sockets = self.sockets.iter().map(|socket| socket.fd.try_clone()).collect::<io::Result<_>>()?;
        self.sockets.iter_mut().for_each(|socket| socket.ownership = Ownership::Kept(Arc::default()));
        Ok(Kept { sockets, local: self.local.clone() })
    }
}

/// Sockets that stay bound to their address whether they listen or not.
#[derive(Debug)]
pub struct Kept {
    sockets: Vec<OwnedFd>,
    local: String,
}

impl Kept {
    /// Listens again; accepting must have been stopped on all of them.
    ///
    /// # Errors
    /// What listen(2) says.
    pub fn listen(&self, backlog: u32) -> io::Result<Bound> {
        let mut sockets = Vec::with_capacity(self.sockets.len());
        for fd in &self.sockets {
            let socket = SockRef::from(fd);
            // Of refuse_new(); if there is none, so much the better.
            let _ = socket.detach_filter();
            socket.listen(length(backlog))?;
            sockets.push(ListenSocket { fd: fd.try_clone()?, ownership: Ownership::Kept(Arc::default()) });
        }
        Ok(Bound { sockets, local: self.local.clone() })
    }
}

/// Binds `workers` sockets to one address.
///
/// # Errors
/// What the system says, with the address in the message; `AddrInUse` if
/// anybody else listens there, although SO_REUSEPORT would allow it.
pub fn bind(options: &BindOptions, workers: usize) -> io::Result<Bound> {
    match &options.address {
        BindAddress::Inet(address) => bind_inet(*address, options, workers),
        BindAddress::Unix(path) => bind_unix(path, options, workers),
    }
    .map_err(|error| explain(&options.address, &error))
}

/// Takes over a listening socket that systemd made; every worker gets a
/// duplicate of it.
///
/// # Errors
/// If it is no listening stream socket.
pub fn adopt(fd: OwnedFd, workers: usize) -> io::Result<Bound> {
    let socket = SockRef::from(&fd);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket"));
    }
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    if address.as_socket().is_some() {
        // Accepted sockets inherit it.
        socket.set_tcp_nodelay(true)?;
    }
    let local = match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) => address.to_string(),
        (None, Some(path)) => format!("unix:{}", path.display()),
        (None, None) => "unix:".to_owned(),
    };
    let sockets = share(fd, workers, &Ownership::Inherited)?;
    Ok(Bound { sockets, local })
}

fn bind_inet(address: SocketAddr, options: &BindOptions, workers: usize) -> io::Result<Bound> {
    if address.port() != 0 && !options.rebind {
        // SO_REUSEPORT lets a second daemon of the same user in, unnoticed;
        // without it the kernel tells.
        inet_socket(address, options, false)?.bind(&address.into())?;
    }
    let mut address = address;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = inet_socket(address, options, true)?;
        socket.bind(&address.into())?;
        socket.listen(length(options.backlog))?;
        if let Some(bound) = socket.local_addr()?.as_socket() {
            address = bound;
        }
        sockets.push(ListenSocket { fd: socket.into(), ownership: Ownership::Own });
    }
    Ok(Bound { sockets, local: address.to_string() })
}

fn inet_socket(address: SocketAddr, options: &BindOptions, reuse_port: bool) -> io::Result<Socket> {
    let socket = options.tcp.socket(address).map_err(named)?;
    if let Some((uid, gid)) = options.owner {
        fchown(&socket, Some(uid), Some(gid))?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(options.v6only)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    options.tcp.apply_to_listener(socket.as_fd()).map_err(named)?;
    Ok(socket)
}

/// With the option's name in the text.
fn named(refused: Refused) -> io::Error {
    io::Error::new(refused.error.kind(), refused)
}

fn bind_unix(path: &Path, options: &BindOptions, workers: usize) -> io::Result<Bound> {
    let temporary = options.rebind.then(|| {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        PathBuf::from(name)
    });
    let target = temporary.as_deref().unwrap_or(path);
    remove_stale(target)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&SockAddr::unix(target)?)?;
    fs::set_permissions(target, fs::Permissions::from_mode(options.mode))?;
    if let Some((uid, gid)) = options.owner {
        chown(target, Some(uid), Some(gid))?;
    }
    socket.listen(length(options.backlog))?;
    if let Some(temporary) = &temporary {
        fs::rename(temporary, path)?;
    }
    let file = Ownership::Shared(Arc::new(SocketFile::new(path)?));
    let sockets = share(socket.into(), workers, &file)?;
    Ok(Bound { sockets, local: format!("unix:{}", path.display()) })
}

/// Removes a socket file that nobody answers on.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is no socket"));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::from(io::ErrorKind::AddrInUse)),
    }
}

fn share(fd: OwnedFd, workers: usize, ownership: &Ownership) -> io::Result<Vec<ListenSocket>> {
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(ListenSocket { fd: fd.try_clone()?, ownership: ownership.clone() });
    }
    sockets.push(ListenSocket { fd, ownership: ownership.clone() });
    Ok(sockets)
}

/// As listen(2) wants it.
fn length(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

fn explain(address: &BindAddress, error: &io::Error) -> io::Error {
    let (what, port) = match address {
        BindAddress::Inet(address) => (address.to_string(), Some(address.port())),
        BindAddress::Unix(path) => (format!("unix:{}", path.display()), None),
    };
    let hint = match (error.kind(), port) {
        (io::ErrorKind::AddrInUse, Some(port)) => {
            format!("; something else listens there (`ss -ltnp 'sport = :{port}'` tells what)")
        }
        (io::ErrorKind::AddrInUse, None) => "; something else listens there".to_owned(),
        (io::ErrorKind::PermissionDenied, Some(port)) if port < 1024 => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE".to_owned()
        }
        (io::ErrorKind::AddrNotAvailable, _) => "; this machine has no such address (`ip address` tells)".to_owned(),
        _ => String::new(),
    };
    io::Error::new(error.kind(), format!("cannot listen on {what}: {error}{hint}"))
}

#[cfg(test)]
mod tests;
