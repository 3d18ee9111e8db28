//! The admin API's listening sockets, bound before privileges are dropped.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use nix::errno::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::sync::watch;

use super::{accept::Gate, answering::Answering, auth::Group, reserve::Reserve};

/// Connections at once over the Unix socket.
const UNIX_LIMIT: usize = 48;
/// Connections at once over TCP. Less, and apart from the others: any local
/// user can open these.
const TCP_LIMIT: usize = 16;
/// File descriptors kept back for connections over the Unix socket.
const UNIX_RESERVE: usize = 8;
/// The same for TCP.
const TCP_RESERVE: usize = 2;

const BACKLOG: i32 = 128;

/// Where to serve the admin API.
#[derive(Debug, Clone, Default)]
pub struct AdminOptions {
    /// Path of the Unix socket; `None`: not served.
    pub unix: Option<PathBuf>,
    /// Mode bits of its file; 0: 0o660.
    pub mode: u32,
    /// The user that netd is going to become: owner of the file, and of its
    /// directory where that had to be made.
    pub owner: Option<u32>,
    /// The group whose members may use it.
    pub group: Option<Group>,
    /// Loopback address for TCP; `None`: not served.
    pub tcp: Option<SocketAddr>,
}

/// Bound and listening, with what is needed to accept when the process has run
/// out of file descriptors.
#[derive(Debug)]
pub struct AdminListeners {
    pub(super) unix: Option<(UnixListener, SocketFile, Gate)>,
    pub(super) tcp: Option<(TcpListener, Gate)>,
    pub(super) answering: Answering,
}

/// Listening sockets that a predecessor has handed over.
#[derive(Debug, Default)]
pub struct AdminSockets {
    /// The Unix-domain one.
    pub unix: Option<OwnedFd>,
    /// The one for TCP.
    pub tcp: Option<OwnedFd>,
}

impl AdminSockets {
    /// Path of the Unix-domain socket.
    pub fn unix_path(&self) -> Option<PathBuf> {
        let address = SockRef::from(self.unix.as_ref()?).local_addr().ok()?;
        address.as_pathname().map(Path::to_owned)
    }
}

impl AdminListeners {
    /// Binds what is asked for.
    ///
    /// A missing directory is made (mode 0755). A socket file that nobody
    /// answers on is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when another netd serves there; else what the system says;
    /// with the path or address in the message.
    pub fn bind(options: &AdminOptions) -> io::Result<Self> {
        Self::adopt(options, AdminSockets::default())
    }

    /// As [`bind`](Self::bind), but a socket in `given` that is bound to what is
    /// asked for is taken as it is; others are closed.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn adopt(options: &AdminOptions, given: AdminSockets) -> io::Result<Self> {
        let given_path = given.unix_path();
        let (mut given_unix, mut given_tcp) = (given.unix, given.tcp);
        let unix = options.unix.as_deref().map(|path| {
            let same = given_path.as_deref() == Some(path);
            let bound = match given_unix.take().filter(|_| same) {
                Some(fd) => adopt_unix(fd, path),
                None => bind_unix(path, options),
            };
            let (listener, file) = bound.map_err(|error| at(&format!("unix:{}", path.display()), &error))?;
            Ok::<_, io::Error>((listener, file, Gate::new("admin", UNIX_LIMIT, Reserve::new(UNIX_RESERVE)?)))
        });
        let tcp = options.tcp.map(|address| {
            let given = given_tcp.take().map(TcpListener::from);
            let given = given.filter(|given| given.local_addr().is_ok_and(|bound| bound == address));
            let bound = given.map_or_else(|| bind_tcp(address), Ok);
            let listener = bound.map_err(|error| at(&address.to_string(), &error))?;
            Ok::<_, io::Error>((listener, Gate::new("admin", TCP_LIMIT, Reserve::new(TCP_RESERVE)?)))
        });
        Ok(Self { unix: unix.transpose()?, tcp: tcp.transpose()?, answering: Answering::default() })
    }

    /// Duplicates for a successor.
    ///
    /// # Errors
    /// If file descriptors run out.
    pub fn duplicates(&self) -> io::Result<AdminSockets> {
        let unix = self.unix.as_ref().map(|(listener, ..)| listener.as_fd().try_clone_to_owned()).transpose()?;
        let tcp = self.tcp.as_ref().map(|(listener, _)| listener.as_fd().try_clone_to_owned()).transpose()?;
        Ok(AdminSockets { unix, tcp })
    }

    /// What keeps the socket's file from being removed at the end.
    pub fn file_guard(&self) -> FileGuard {
        FileGuard(self.unix.as_ref().map(|(_, file, _)| Arc::clone(&file.given_away)))
    }

    /// Accepts only while this is true.
    pub fn answer_while(&mut self, switch: watch::Receiver<bool>) {
        self.answering = Answering::follow(switch);
    }

    /// The addresses in fact bound, as `unix:PATH` and `ADDRESS:PORT`.
    pub fn addresses(&self) -> Vec<String> {
        let unix = self.unix.iter().map(|(_, file, _)| format!("unix:{}", file.path.display()));
        let tcp = self.tcp.iter().filter_map(|(listener, _)| Some(listener.local_addr().ok()?.to_string()));
        unix.chain(tcp).collect()
    }
}

fn at(address: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot serve the admin API on {address}: {error}"))
}

/// The file of a Unix socket. Removed on drop, if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// A successor sees to its end.
    given_away: Arc<AtomicBool>,
}

/// Says what becomes of the socket's file.
#[derive(Debug, Clone, Default)]
pub struct FileGuard(Option<Arc<AtomicBool>>);

impl FileGuard {
    /// It is another process's, and stays.
    pub fn give_away(&self) {
        self.set(true);
    }

    /// It is this process's, and goes with it: also one that was adopted.
    pub fn take(&self) {
        self.set(false);
    }

    fn set(&self, away: bool) {
        if let Some(given_away) = &self.0 {
            given_away.store(away, Relaxed);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.given_away.load(Relaxed)
            && identity(&self.path).is_ok_and(|now| now == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "the admin socket's file stays behind");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn bind_unix(path: &Path, options: &AdminOptions) -> io::Result<(UnixListener, SocketFile)> {
    make_directory(path, options.owner)?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path)?, given_away: Arc::default() };
    // Nobody can connect before listen, so nobody meets the file with another
    // mode or owner.
    let mode = if options.mode == 0 { 0o660 } else { options.mode };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if options.owner.is_some() || options.group.is_some() {
        chown(path, options.owner, options.group.as_ref().map(Group::gid))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from(OwnedFd::from(socket)), file))
}

fn adopt_unix(fd: OwnedFd, path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    // The predecessor's, until that says go.
    let given_away = Arc::new(AtomicBool::new(true));
    let file = SocketFile { path: path.to_owned(), identity: identity(path)?, given_away };
    let listener = UnixListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok((listener, file))
}

fn make_directory(path: &Path, owner: Option<u32>) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return Ok(()) };
    if directory.exists() {
        return Ok(());
    }
    if let Some(above) = directory.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    match fs::DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    // The file creation mask must not keep the group out.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    if owner.is_some() {
        chown(directory, owner, None)?;
    }
    Ok(())
}

/// Removes a socket file that a netd left behind. A file of another kind and
/// one that somebody answers on are left alone.
fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of another kind; remove it, or choose another path for admin.unix",
        ));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    let Err(error) = probe.connect(&SockAddr::unix(path)?) else { return Err(in_use()) };
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => fs::remove_file(path),
        Some(Errno::ENOENT) => Ok(()),
        // Its queue is full, or it does not let us in: somebody is there.
        Some(Errno::EAGAIN | Errno::EACCES | Errno::EPERM) => Err(in_use()),
        _ => Err(error),
    }
}

fn in_use() -> io::Error {
    io::Error::new(
        io::ErrorKind::AddrInUse,
        "another netd serves there (`netctl status` shows it); stop it, or choose another path for admin.unix",
    )
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the admin API has no authentication over TCP; only a loopback address such as 127.0.0.1 is served",
        ));
    }
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn on(path: &Path) -> AdminOptions {
        AdminOptions { unix: Some(path.to_owned()), ..Default::default() }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").mode() & 0o7777
    }

    #[test]
    fn makes_the_directory_and_the_file_and_removes_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run/netd/admin.sock");
        let listeners = AdminListeners::bind(&on(&path)).expect("binds");
        assert_eq!((mode(&path), mode(path.parent().expect("has one"))), (0o660, 0o755));
        assert_eq!(listeners.addresses(), [format!("unix:{}", path.display())]);
        UnixStream::connect(&path).expect("listens");
        drop(listeners);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_taken_over_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        drop(UnixListener::bind(&path).expect("binds"));
        let listeners = AdminListeners::bind(&on(&path)).expect("replaces the stale file");
        let error = AdminListeners::bind(&on(&path)).expect_err("somebody is there");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("another netd serves there"), "{error}");
        UnixStream::connect(&path).expect("the first one is unharmed");
        drop(listeners);
    }

    #[test]
    fn a_live_one_with_a_full_queue_is_alive() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.bind(&SockAddr::unix(&path).expect("fits")).expect("binds");
        socket.listen(0).expect("listens");
        let _queued = UnixStream::connect(&path).expect("fills the queue");
        let error = AdminListeners::bind(&on(&path)).expect_err("somebody is there");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn other_files_are_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("precious");
        fs::write(&path, "data").expect("writes");
        let error = AdminListeners::bind(&on(&path)).expect_err("not a socket");
        assert!(error.to_string().contains("another kind"), "{error}");
        assert_eq!(fs::read(&path).expect("reads"), b"data");
    }

    #[test]
    fn a_file_that_is_no_longer_ours_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        let listeners = AdminListeners::bind(&on(&path)).expect("binds");
        fs::rename(&path, directory.path().join("moved")).expect("moves");
        let _successor = UnixListener::bind(&path).expect("binds");
        drop(listeners);
        assert!(path.exists());
    }

    #[test]
    fn only_loopback_over_tcp() {
        let tcp = |address: &str| {
            let tcp = Some(address.parse().expect("an address"));
            AdminListeners::bind(&AdminOptions { tcp, ..Default::default() })
        };
        assert!(tcp("0.0.0.0:0").expect_err("not loopback").to_string().contains("loopback"));
        assert!(tcp("127.0.0.1:0").expect("binds").addresses()[0].starts_with("127.0.0.1:"));
    }
}
