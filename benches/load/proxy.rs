//! Proxies as child processes: netd itself, and others to compare it with.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A port that was free a moment ago may be taken: so often another is tried.
const ATTEMPTS: u32 = 5;

/// For a proxy to accept after its start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Modules of Debian's nginx that are files of their own.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A running proxy. Killed when dropped, also by a panic.
pub(crate) struct Proxy {
    child: Child,
    address: SocketAddr,
    /// Configuration and log.
    _directory: TempDir,
}

impl Proxy {
    /// netd as echo server.
    pub(crate) fn netd_echo() -> Self {
        netd(&["--protocol", "echo"])
    }

    /// netd in front of `origin`.
    pub(crate) fn netd_relay(origin: SocketAddr) -> Self {
        netd(&["--upstream", &origin.to_string()])
    }

    /// HAProxy in front of `origin`; `None` if it is not installed.
    pub(crate) fn haproxy(origin: SocketAddr) -> Option<Self> {
        let program = installed(&["haproxy", "/usr/sbin/haproxy"])?;
        start(|directory, address| {
            let file = directory.join("haproxy.cfg");
            fs::write(
                &file,
                format!(
                    "global\n  nbthread 1\n  maxconn 4096\n\
                     defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
                     frontend front\n  bind {address}\n  default_backend back\n\
                     backend back\n  server origin {origin}\n"
                ),
            )?;
            let mut command = Command::new(program);
            command.arg("-db").arg("-f").arg(file);
            Ok(command)
        })
    }

    /// nginx's stream module in front of `origin`; `None` if it is not
    /// installed.
    pub(crate) fn nginx(origin: SocketAddr) -> Option<Self> {
        let program = installed(&["nginx", "/usr/sbin/nginx"])?;
        start(|directory, address| {
            let module = match Path::new(NGINX_STREAM).exists() {
                true => format!("load_module {NGINX_STREAM};\n"),
                false => String::new(),
            };
            let file = directory.join("nginx.conf");
            let pid = directory.join("nginx.pid");
            fs::write(
                &file,
                format!(
                    "{module}daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\n\
                     events {{ worker_connections 4096; }}\n\
                     stream {{\n  proxy_timeout 1h;\n  server {{\n    listen {address};\n    proxy_pass {origin};\n  }}\n}}\n",
                    pid.display()
                ),
            )?;
            let mut command = Command::new(program);
            command.arg("-c").arg(file).arg("-p").arg(directory);
            Ok(command)
        })
    }

    /// Where it accepts.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself, which the client has then reported.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn netd(what: &[&str]) -> Proxy {
    start(|_, address| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netd"));
        command.args(["--listen", &address.to_string(), "--workers", "1", "--admin", "off", "--metrics", "off"]);
        command.args(["--log", "stderr", "--log-level", "warn"]).args(what);
        Ok(command)
    })
    .expect("netd starts")
}

/// The first of these programs that can be run.
fn installed<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let runs =
        |program: &&&str| Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    programs.iter().find(runs).copied()
}

/// Starts what `command` makes of a directory for files and an address to
/// accept on, and waits until it accepts.
fn start(command: impl Fn(&Path, SocketAddr) -> io::Result<Command>) -> Option<Proxy> {
    for _ in 0..ATTEMPTS {
        let directory = tempfile::tempdir().expect("a directory for the proxy's files");
        let address = free_address().expect("a free port");
        let log = directory.path().join("log");
        let mut command = command(directory.path(), address).expect("the proxy's files can be written");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).expect("a file for the log"));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut proxy = Proxy { child, address, _directory: directory };
        match proxy.wait_until_it_accepts() {
            Ok(()) => return Some(proxy),
            Err(why) => eprintln!("{command:?} {why}\n{}", fs::read_to_string(log).unwrap_or_default()),
        }
    }
    None
}

impl Proxy {
    #[expect(
        clippy::disallowed_methods,
        reason = "another process is waited for, which tells nothing but by accepting"
    )]
    fn wait_until_it_accepts(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended at once, {status}"));
            }
            match TcpStream::connect(self.address) {
                // A connect to a free port may meet itself.
                Ok(stream) if stream.local_addr().is_ok_and(|local| local != self.address) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(format!("cannot be reached: {error}")),
            }
            if Instant::now() > deadline {
                return Err(format!("did not accept on {} within {PATIENCE:?}", self.address));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
