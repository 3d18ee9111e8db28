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
const ATTEMPTS: u16 = 5;

/// For a proxy to accept after its start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Modules of Debian's nginx that are files of their own.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Name of the file that a proxy's stderr goes to.
const LOG: &str = "log";

/// A running proxy. Killed when dropped, and also if this process ends without
/// dropping anything.
pub(crate) struct Proxy {
    child: Child,
    /// Kills the proxy as soon as its standard input ends, which this process
    /// holds open.
    guard: Child,
    address: SocketAddr,
    /// Configuration and log.
    directory: TempDir,
}

impl Proxy {
    /// netd as echo server.
    pub(crate) fn netd_echo() -> Self {
        netd("protocol = \"echo\"\n")
    }

    /// netd in front of `origin`; `accelerate` as in its configuration.
    pub(crate) fn netd_relay(origin: SocketAddr, accelerate: &str) -> Self {
        netd(&format!(
            "protocol = \"tcp\"\npool = \"back\"\naccelerate = \"{accelerate}\"\n\
             [[pool]]\nname = \"back\"\nendpoints = [\"{origin}\"]\n"
        ))
    }

    /// HAProxy in front of `origin`.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub(crate) fn haproxy(origin: SocketAddr) -> Result<Self, String> {
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

    /// nginx's stream module in front of `origin`. It passes half-closes on, as
    /// the others do (1.21.4 and later).
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub(crate) fn nginx(origin: SocketAddr) -> Result<Self, String> {
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
                     stream {{\n  proxy_timeout 1h;\n  proxy_half_close on;\n  server {{\n    listen {address};\n    proxy_pass {origin};\n  }}\n}}\n",
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
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The guard first: the id of the proxy may be another's once it is
        // waited for. It may have ended by itself, which the client has then
        // reported.
        for child in [&mut self.guard, &mut self.child] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// netd with one listener, of which `rest` is the end.
fn netd(rest: &str) -> Proxy {
    start(|directory, address| {
        let file = directory.join("netd.toml");
        fs::write(
            &file,
            format!(
                "workers.count = 1\nadmin.unix = \"off\"\nmetrics.listen = \"off\"\n\
                 log = {{ target = \"stderr\", level = \"warn\" }}\n\
                 [[listener]]\nname = \"front\"\naddress = \"{address}\"\n{rest}"
            ),
        )?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_netd"));
        command.arg("--config").arg(file);
        Ok(command)
    })
    .unwrap_or_else(|why| panic!("netd does not start: {why}"))
}

/// The first of these programs that can be run.
fn installed<'a>(programs: &[&'a str]) -> Result<&'a str, String> {
    let runs =
        |program: &&&str| Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    programs.iter().find(runs).copied().ok_or_else(|| "it is not installed".to_owned())
}

/// Starts what `command` makes of a directory for files and an address to
/// accept on, and waits until it accepts.
fn start(command: impl Fn(&Path, SocketAddr) -> io::Result<Command>) -> Result<Proxy, String> {
    let mut failure = String::new();
    for attempt in 0..ATTEMPTS {
        let directory = tempfile::tempdir().expect("a directory for the proxy's files");
        let address = free_address(attempt).expect("a free port");
        let log = directory.path().join(LOG);
        let mut command = command(directory.path(), address).expect("the proxy's files can be written");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log).expect("a file for the log"));
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
    Command::new("sh").args(["-c", "read _; kill -KILL $0", &child.id().to_string()]).stdin(Stdio::piped()).spawn()
}

impl Proxy {
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

/// A port below those that the kernel gives to clients: they come and go by the
/// thousand here. Where to begin is the process's own, so that two runs seldom
/// want the same.
fn free_address(attempt: u16) -> Option<SocketAddr> {
    let first = 20_000 + (std::process::id() % 1000) as u16 * 8 + attempt;
    let addresses = (first..32_000).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses.into_iter().find(|address| TcpListener::bind(address).is_ok())
}
