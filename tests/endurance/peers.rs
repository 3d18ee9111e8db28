//! The same load while HAProxy and nginx are reloaded, which is what they have
//! in an upgrade's place.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    load::Load,
    support::{
        PATIENCE,
        clock::{pause, within},
        ports,
    },
    tally::{Book, Kind},
    upstream::{Upstream, Wish},
};

/// How long old processes are given before they are counted.
const MINUTE: Duration = Duration::from_secs(60);
const BETWEEN_RELOADS: Duration = Duration::from_millis(500);
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A proxy, and how it treats old connections.
struct Peer {
    name: &'static str,
    program: &'static str,
    reload: Signal,
    /// Fills in the bound of old processes.
    bound: &'static str,
    template: &'static str,
    args: &'static [&'static str],
}

const HAPROXY: &str = "
global
  nbthread 1
  maxconn 4000
  stats socket {directory}/stats mode 600 level admin expose-fd listeners
  {bound}
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend front
  bind {address} backlog 4096
  default_backend back
backend back
  server origin {origin}
";

const NGINX: &str = "
{module}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 8000;
{bound}
events { worker_connections 7900; }
stream {
  access_log off;
  proxy_timeout 1h;
  proxy_half_close on;
  server { listen {address} backlog=4096; proxy_pass {origin}; }
}
";

const PEERS: [Peer; 4] = [
    Peer {
        name: "HAProxy",
        program: "haproxy",
        reload: Signal::SIGUSR2,
        bound: "",
        template: HAPROXY,
        args: &["-W", "-q", "-f"],
    },
    Peer {
        name: "HAProxy, hard-stop-after 10s",
        program: "haproxy",
        reload: Signal::SIGUSR2,
        bound: "hard-stop-after 10s",
        template: HAPROXY,
        args: &["-W", "-q", "-f"],
    },
    Peer {
        name: "nginx",
        program: "nginx",
        reload: Signal::SIGHUP,
        bound: "",
        template: NGINX,
        args: &["-e", "stderr", "-c"],
    },
    Peer {
        name: "nginx, worker_shutdown_timeout 10s",
        program: "nginx",
        reload: Signal::SIGHUP,
        bound: "worker_shutdown_timeout 10s;",
        template: NGINX,
        args: &["-e", "stderr", "-c"],
    },
];

/// A line of the table for each, or why there is none.
pub(crate) fn compare(reloads: usize) -> String {
    let mut lines = heading(reloads);
    // Side by side: most of it is waiting.
    let runs = thread::scope(|scope| {
        let runs: Vec<_> = PEERS.iter().map(|peer| (peer, scope.spawn(move || peer.run(reloads)))).collect();
        runs.into_iter().map(|(peer, run)| (peer, run.join().expect("no panic"))).collect::<Vec<_>>()
    });
    for (peer, run) in runs {
        let line = match run {
            Ok(seen) => {
                eprintln!("{}: {}\n{}", peer.name, seen.book.stories(), seen.book.table());
                row(peer.name, &seen)
            }
            Err(why) => format!("| {} | left out: {why} | | | | | | |\n", peer.name),
        };
        lines.push_str(&line);
    }
    lines
}

fn heading(reloads: usize) -> String {
    format!(
        "| {reloads} reloads, then a minute | connections | failed to connect | cut | of them held | corrupted | \
         stalled > 1 s | old processes after the minute |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
}

fn row(name: &str, seen: &Seen) -> String {
    let sum = seen.book.sum();
    let held_cut = seen.book.row(Kind::Idle).cut + seen.held_cut;
    format!(
        "| {name} | {} | {} | {} | {held_cut} of {} | {} | {} | {} |\n",
        sum.connections + seen.held,
        sum.failed,
        sum.cut + seen.held_cut,
        seen.book.row(Kind::Idle).connections + seen.held,
        sum.corrupted,
        sum.stalled,
        seen.old
    )
}

/// What became of a run.
struct Seen {
    book: Arc<Book>,
    /// Connections opened before each reload and held, and how many were cut.
    held: u64,
    held_cut: u64,
    /// Old processes.
    old: usize,
}

impl Peer {
    fn run(&self, reloads: usize) -> Result<Seen, String> {
        let upstream = Upstream::start();
        let (address, directory) = (ports::free(), tempfile::tempdir().map_err(|error| error.to_string())?);
        let running = self.start(address, &upstream, &directory)?;
        let mut load = Load::start(&[address], &upstream);
        pause(Duration::from_secs(2));
        let mut held = Vec::new();
        for _ in 0..reloads {
            held.push(hold(address).map_err(|error| format!("a connection to hold: {error}"))?);
            kill(Pid::from_raw(running.pid()), self.reload).map_err(|error| error.to_string())?;
            pause(BETWEEN_RELOADS);
        }
        pause(MINUTE);
        // One of them is the new one.
        let old = running.workers().saturating_sub(1);
        load.end();
        let held_cut = held.iter_mut().filter_map(|stream| exchange(stream).err()).count() as u64;
        Ok(Seen { book: Arc::clone(&load.book), held: held.len() as u64, held_cut, old })
    }

    fn start(&self, address: SocketAddr, upstream: &Upstream, directory: &TempDir) -> Result<Running, String> {
        let module = if Path::new(MODULE).exists() { format!("load_module {MODULE};") } else { String::new() };
        let text = self
            .template
            .replace("{module}", &module)
            .replace("{bound}", self.bound)
            .replace("{address}", &address.to_string())
            .replace("{origin}", &upstream.address().to_string())
            .replace("{directory}", &directory.path().display().to_string());
        let path = directory.path().join("peer.conf");
        fs::write(&path, text).map_err(|error| error.to_string())?;
        let child = Command::new(self.program)
            .args(self.args)
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program))?;
        let running = Running(child);
        let serves = || TcpStream::connect(address).and_then(|mut stream| stream.write_all(b"")).ok();
        within(Duration::from_secs(10), serves).ok_or("it does not serve")?;
        Ok(running)
    }
}

/// A session that somebody leaves open.
fn hold(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&Wish::Echo.greeting(0))?;
    exchange(&mut stream)?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"held")?;
    stream.read_exact(&mut [0; 4])
}

/// A master with its workers, which end with it.
struct Running(Child);

impl Running {
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a process id")
    }

    /// Children that are alive.
    fn workers(&self) -> usize {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        fs::read_to_string(children).unwrap_or_default().split_whitespace().count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Their quick end, workers included.
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let ended = within(Duration::from_secs(10), || self.0.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.0.kill().and_then(|()| self.0.wait());
        }
    }
}
