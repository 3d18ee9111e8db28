//! The real netd, with a directory of its own, and netctl to speak with it.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    client::Client,
    clock::{PATIENCE, eventually},
    exposition::Exposition,
    finished::Finished,
    ports,
    proc::Process,
};

/// Lines of the log that a failed test shows.
const LAST_LINES: usize = 150;

/// A netd to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    directory: TempDir,
    command: Command,
    admin: PathBuf,
    metrics: SocketAddr,
    /// Where stderr or the log file goes.
    log: PathBuf,
}

impl Setup {
    /// With this configuration file; admin, metrics and the log are given by
    /// flags. `DIR` in it stands for the daemon's own directory.
    pub(crate) fn config(text: &str) -> Self {
        let mut setup = Self::flags(&[]);
        fs::write(setup.config_path(), setup.fill_in(text)).expect("a file to write");
        let path = setup.config_path();
        setup.command.arg("--config").arg(path);
        setup
    }

    /// With these flags instead of a file.
    pub(crate) fn flags(flags: &[&str]) -> Self {
        let mut setup = Self::bare(flags);
        let admin = format!("unix:{}", setup.admin.display());
        let metrics = setup.metrics.to_string();
        setup.command.args(["--admin", &admin, "--metrics", &metrics]);
        setup
    }

    /// With no other flags.
    pub(crate) fn bare(flags: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_netd"));
        command.args(flags);
        for name in ["NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "RUST_LOG"] {
            command.env_remove(name);
        }
        let (admin, log) = (directory.path().join("admin.sock"), directory.path().join("netd.log"));
        Self { directory, command, admin, metrics: ports::free(), log }
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Changes what the program starts in.
    pub(crate) fn surroundings(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Starts another program, which will exec netd with the arguments so far.
    pub(crate) fn through(mut self, program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.path("netd.toml")
    }

    fn fill_in(&self, text: &str) -> String {
        text.replace("DIR", &self.directory.path().display().to_string())
    }

    pub(crate) fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// In the foreground, with the log on stderr; returns when it serves.
    #[track_caller]
    pub(crate) fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.wait_until_ready();
        daemon
    }

    /// As [`start`](Self::start), without waiting.
    #[track_caller]
    pub(crate) fn spawn(mut self) -> Daemon {
        let log = fs::File::create(&self.log).expect("a file to write");
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let process = Process(i32::try_from(child.id()).expect("a process id"));
        Daemon::new(self, process, Some(child))
    }

    /// As a daemon of its own, with a pid file and a log file.
    #[track_caller]
    pub(crate) fn detach(mut self) -> Daemon {
        let started = Finished::run(self.detaching());
        assert_eq!(
            started.code(),
            Some(0),
            "{}\n{}",
            started.story(),
            fs::read_to_string(&self.log).unwrap_or_default()
        );
        let pid = fs::read_to_string(self.path("netd.pid")).expect("a pid file");
        let process = Process(pid.trim().parse().expect("a process id in the pid file"));
        Daemon::new(self, process, None)
    }

    /// The command so far.
    pub(crate) fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// The command that detaches.
    pub(crate) fn detaching(&mut self) -> &mut Command {
        let pid_file = self.path("netd.pid");
        let log = format!("file:{}", self.log.display());
        self.command.args(["--daemon", "--log", &log, "--pid-file"]).arg(pid_file)
    }

    /// To its end, which must come by itself.
    #[track_caller]
    pub(crate) fn run(mut self) -> Finished {
        Finished::run(&mut self.command)
    }
}

/// A netd that runs. It is killed when dropped; a panic of its own fails the
/// test.
#[derive(Debug)]
pub(crate) struct Daemon {
    setup: Setup,
    pub(crate) process: Process,
    /// Not of a detached one.
    child: Option<Child>,
    ended: Option<ExitStatus>,
}

impl Daemon {
    fn new(setup: Setup, process: Process, child: Option<Child>) -> Self {
        Self { setup, process, child, ended: None }
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        eventually("netd serves", || {
            if let Some(status) = self.try_wait() {
                panic!("netd has ended: {status}");
            }
            self.try_get("/readyz").filter(|answer| answer.status == 200)
        });
    }

    // -- as a process

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.0), signal).unwrap_or_else(|error| panic!("{signal}: {error}"));
    }

    /// How it ended, if it did.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.as_mut()?.try_wait().expect("a child to wait for");
        }
        self.ended
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("netd ends", || self.try_wait())
    }

    /// Upgrades, and goes on as the successor. The old process must end in
    /// order, within a second.
    #[track_caller]
    pub(crate) fn upgrade(&mut self, args: &[&str]) -> Value {
        let asked = [&["upgrade", "-o", "json"], args].concat();
        let told = self.ask(&asked).json_lines();
        let receipt = told.last().map(|last| last["ended"].clone()).unwrap_or_default();
        assert_eq!(receipt["verdict"], "upgraded", "{receipt}");
        self.succeeded(receipt["to_pid"].as_i64().expect("the successor's process id"));
        receipt
    }

    /// Another process is the daemon now.
    #[track_caller]
    pub(crate) fn succeeded(&mut self, pid: i64) {
        let old = std::mem::replace(&mut self.process, Process(i32::try_from(pid).expect("a process id")));
        let second = Duration::from_secs(1);
        match self.child.take() {
            Some(mut child) => {
                let ended = super::clock::within(second, || child.try_wait().expect("a child to wait for"));
                assert_eq!(ended.and_then(|status| status.code()), Some(0), "the old process ends with 0");
            }
            None => {
                let gone = super::clock::within(second, || (!old.is_alive()).then_some(()));
                assert!(gone.is_some(), "the old process {} is still there", old.0);
            }
        }
    }

    pub(crate) fn fds(&self) -> usize {
        self.process.fds().len()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.setup.log).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn logs(&self, text: &str) {
        eventually(&format!("`{text}` in the log"), || self.log().contains(text).then_some(()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    pub(crate) fn admin(&self) -> &Path {
        &self.setup.admin
    }

    /// Another configuration file in the place of the old one.
    pub(crate) fn rewrite(&self, text: &str) {
        let new = self.path("netd.toml.new");
        fs::write(&new, self.setup.fill_in(text))
            .and_then(|()| fs::rename(&new, self.setup.config_path()))
            .expect("a file to write");
    }

    // -- netctl

    pub(crate) fn netctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netctl"));
        command.arg("--admin").arg(format!("unix:{}", self.setup.admin.display())).args(args);
        command
    }

    #[track_caller]
    pub(crate) fn netctl(&self, args: &[&str]) -> Finished {
        Finished::run(&mut self.netctl_command(args))
    }

    /// Must end with 0.
    #[track_caller]
    pub(crate) fn ask(&self, args: &[&str]) -> Finished {
        self.netctl(args).ended_with(0)
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.ask(&[args, &["-o", "json"]].concat()).json()
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.json(&["status"])
    }

    /// One listener as `netctl listeners` tells it.
    #[track_caller]
    pub(crate) fn listener(&self, name: &str) -> Value {
        self.json(&["listeners", name])["listeners"][0].clone()
    }

    /// One endpoint as `netctl pools` tells it.
    #[track_caller]
    pub(crate) fn endpoint(&self, pool: &str, index: usize) -> Value {
        self.json(&["pools", pool])["pools"][0]["endpoints"][index].clone()
    }

    #[track_caller]
    pub(crate) fn connections(&self) -> Vec<Value> {
        self.ask(&["connections", "-o", "json"]).json_lines()
    }

    /// The address that a listener is in fact bound to.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let view = self.listener(listener);
        let bound = view["bound"].as_str().unwrap_or_else(|| panic!("no address in {view}"));
        bound.parse().unwrap_or_else(|error| panic!("{bound}: {error}"))
    }

    #[track_caller]
    pub(crate) fn connect(&self, listener: &str) -> Client {
        Client::connect(self.address(listener))
    }

    // -- the metrics page

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_as(path, "*/*")
    }

    #[track_caller]
    pub(crate) fn get_as(&self, path: &str, accept: &str) -> Answer {
        Answer::get(self.setup.metrics, path, accept).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    fn try_get(&self, path: &str) -> Option<Answer> {
        Answer::get(self.setup.metrics, path, "*/*").ok()
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> Exposition {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Exposition::parse(&answer.body)
    }

    /// Waits until no connection is open.
    #[track_caller]
    pub(crate) fn becomes_idle(&self) {
        eventually("all connections end", || {
            (self.metrics().sum("netd_listener_connections_active", &[]) == 0.0).then_some(())
        });
    }

    /// For a failed test.
    fn story(&self) -> String {
        let config = fs::read_to_string(self.setup.config_path()).unwrap_or_else(|_| "(none)\n".to_owned());
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        let ended = self.ended.map_or_else(|| "it runs".to_owned(), |status| status.to_string());
        format!("{:?}\n{ended}\n--- configuration\n{config}--- log\n{last}\n---", self.setup.command)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.try_wait();
        if thread::panicking() {
            eprintln!("{}", self.story());
        }
        if self.ended.is_none() {
            let _ = kill(Pid::from_raw(self.process.0), Signal::SIGKILL);
            match &mut self.child {
                Some(child) => drop(child.wait()),
                None => drop(super::clock::within(PATIENCE, || (!self.process.is_alive()).then_some(()))),
            }
        }
        if !thread::panicking() {
            assert!(!self.log().contains("panicked at"), "netd has panicked\n{}", self.story());
        }
    }
}

/// What a GET was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn get(address: SocketAddr, path: &str, accept: &str) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: netd\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let bad = || std::io::Error::new(std::io::ErrorKind::InvalidData, format!("no HTTP answer: {text}"));
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
        Ok(Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
    }
}
