//! Proxies as child processes that end with this one.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tempfile::TempDir;

/// A port that was free a moment ago may be taken: so often another is tried.
const ATTEMPTS: u16 = 5;

/// For a proxy to accept after its start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Name of the file that a proxy's stderr goes to.
const LOG: &str = "log";

/// A running proxy. It is killed with its children when dropped, and also if
/// this process ends without dropping anything.
pub(crate) struct Proxy {
    child: Child,
    /// Kills the proxy as soon as its standard input ends, which this process
    /// holds open.
    guard: Child,
    address: SocketAddr,
    /// Configuration and log.
    pub(crate) directory: TempDir,
}

impl Proxy {
    /// Where it accepts.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs, and what it has said so far.
    pub(crate) fn report(&mut self) -> String {
        let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
        match self.child.try_wait() {
            Ok(Some(status)) => format!("it ended, {status}\n{log}"),
            Ok(None) => format!("it runs\n{log}"),
            Err(error) => format!("its state is unknown: {error}\n{log}"),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "another process is waited for, which tells nothing but by accepting"
    )]
    fn wait_until_it_accepts(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(_)) = self.child.try_wait() {
                return Err(format!("it cannot accept on {}", self.address));
            }
            match TcpStream::connect(self.address) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(format!("{} cannot be reached: {error}", self.address)),
            }
            if Instant::now() > deadline {
                return Err(format!("it did not accept on {} within {PATIENCE:?}", self.address));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The guard first: the id of the proxy may be another's once it is
        // waited for. It may have ended by itself, which the client has then
        // reported.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Starts what `command` makes of a directory for files and an address to
/// accept on, and waits until it accepts.
pub(crate) fn start(command: impl Fn(&Path, SocketAddr) -> io::Result<Command>) -> Result<Proxy, String> {
    let mut failure = String::new();
    for attempt in 0..ATTEMPTS {
        let directory = tempfile::tempdir().expect("a directory for the proxy's files");
        let address = free_address(attempt).expect("a free port");
        let log = directory.path().join(LOG);
        let mut command = command(directory.path(), address).expect("the proxy's files can be written");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log).expect("a file for the log"));
        command.process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let guard = guard(&child).expect("a shell can be started");
        let mut proxy = Proxy { child, guard, address, directory };
        match proxy.wait_until_it_accepts() {
            Ok(()) => return Ok(proxy),
            Err(why) => failure = format!("{why}; {}", proxy.report().trim_end()),
        }
    }
    Err(failure)
}

/// A shell that does nothing but wait for the end of this process.
fn guard(child: &Child) -> io::Result<Child> {
    Command::new("sh").args(["-c", "read _; kill -KILL -$0", &child.id().to_string()]).stdin(Stdio::piped()).spawn()
}

/// A port below those that the kernel gives to clients: they come and go by the
/// thousand here. Where to begin is the process's own, so that two runs seldom
/// want the same.
fn free_address(attempt: u16) -> Option<SocketAddr> {
    let first = 20_000 + (std::process::id() % 1000) as u16 * 8 + attempt;
    let addresses = (first..32_000).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses.into_iter().find(|address| TcpListener::bind(address).is_ok())
}
