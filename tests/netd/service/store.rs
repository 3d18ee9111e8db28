//! Listening sockets that the service manager keeps (FDSTORE=1).

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixDatagram, UnixStream},
        },
    },
    path::Path,
};

use netd::sys::channel;
use nix::sys::signal::Signal;

use super::activation;
use crate::{
    daemon::privileges::low_port,
    support::{Client, Daemon, PATIENCE, Setup, eventually, is_root, ports},
};

/// A service manager that keeps what it is told to keep.
struct Keeper {
    _directory: tempfile::TempDir,
    path: String,
    socket: UnixDatagram,
    kept: BTreeMap<String, OwnedFd>,
}

impl Keeper {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket to be notified on");
        socket.set_nonblocking(true).expect("a socket");
        // As systemd's: whoever netd becomes may speak to it.
        for each in [directory.path(), &path] {
            std::fs::set_permissions(each, std::fs::Permissions::from_mode(0o777)).expect("its own file");
        }
        let path = path.to_str().expect("UTF-8").to_owned();
        Self { _directory: directory, path, socket, kept: BTreeMap::new() }
    }

    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(mut datagram) = channel::receive(self.socket.as_fd(), &mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..datagram.length]).into_owned();
            let Some(name) = text.lines().find_map(|line| line.strip_prefix("FDNAME=")) else { continue };
            if text.starts_with("FDSTORE=1") {
                self.kept.insert(name.to_owned(), datagram.fds.remove(0));
            } else if text.starts_with("FDSTOREREMOVE=1") {
                self.kept.remove(name);
            }
        }
    }

    /// Where a Unix-domain listener may have its file, whichever netd it is.
    fn file(&self) -> std::path::PathBuf {
        self._directory.path().join("echo.sock")
    }

    #[track_caller]
    fn keeps(&mut self, count: usize) {
        eventually("so many sockets are kept", || {
            self.listen();
            (self.kept.len() == count).then_some(())
        });
    }

    /// Starts netd with what is kept.
    fn start(&self, config: &str) -> Daemon {
        let sockets = self.kept.values().map(|fd| fd.try_clone().expect("a free file descriptor")).collect();
        let names = self.kept.keys().cloned().collect::<Vec<_>>().join(":");
        let setup = Setup::config(config).env("NOTIFY_SOCKET", &self.path).env("FDSTORE", "16");
        activation::with_sockets(setup, sockets, &names).start()
    }
}

fn config(web: std::net::SocketAddr, more: &str) -> String {
    format!("[workers]\ncount = 2\n[[listener]]\nname = \"web\"\naddress = \"{web}\"\nprotocol = \"echo\"\n{more}")
}

fn unix(name: &str, file: &Path, mode: &str) -> String {
    let file = file.display();
    format!("[[listener]]\nname = \"{name}\"\naddress = \"unix:{file}\"\nprotocol = \"echo\"\nmode = \"{mode}\"\n")
}

fn echoes(stream: &mut UnixStream, text: &[u8]) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, text);
}

#[test]
fn what_waits_when_netd_is_killed_is_served_by_the_next() {
    let (mut keeper, [web, other]) = (Keeper::new(), [ports::free(), ports::free()]);
    let more = format!("[[listener]]\nname = \"more\"\naddress = \"{other}\"\nprotocol = \"echo\"\n");
    let mut daemon = keeper.start(&config(web, &more));
    // One a worker and listener.
    keeper.keeps(4);
    daemon.ask(&["stop", "more"]);
    keeper.keeps(2);
    daemon.ask(&["start", "more"]);
    keeper.keeps(4);
    daemon.signal(Signal::SIGSTOP);
    eventually("it has stopped", || daemon.process.is_stopped().then_some(()));
    let mut waiting: Vec<Client> = (0..10).map(|_| Client::connect(web)).collect();
    waiting.iter_mut().for_each(|client| client.send(b"early"));
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    waiting.push(Client::connect(web));
    waiting[10].send(b"early");

    // The next one has a listener less.
    let daemon = keeper.start(&config(web, ""));
    for client in &mut waiting {
        assert_eq!(client.receive(5), b"early");
    }
    daemon.connect("web").echo(b"late");
    daemon.logs("goes on with the sockets of an earlier netd");
    keeper.keeps(2);
    assert!(keeper.kept.keys().all(|name| name.starts_with("netd-listener/web/")), "{:?}", keeper.kept);
}

#[test]
fn an_upgrade_keeps_them_in_the_new_process_name() {
    let (mut keeper, web) = (Keeper::new(), ports::free());
    let mut daemon = keeper.start(&config(web, ""));
    keeper.keeps(2);
    let before: Vec<String> = keeper.kept.keys().cloned().collect();
    daemon.upgrade(&[]);
    daemon.connect("web").echo(b"after");
    keeper.keeps(2);
    let after: Vec<String> = keeper.kept.keys().cloned().collect();
    assert_eq!(before, after, "the same sockets");
    daemon.ask(&["stop", "web"]);
    keeper.keeps(0);
}

#[test]
fn who_waits_on_a_unix_socket_is_served_by_the_next_netd() {
    let (mut keeper, web) = (Keeper::new(), ports::free());
    let file = keeper.file();
    let connect = || UnixStream::connect(&file).expect("somebody listens");
    let mut daemon = keeper.start(&config(web, &unix("unix", &file, "0600")));
    keeper.keeps(3);
    // Other mode bits make it a new socket under the same path.
    daemon.rewrite(&config(web, &unix("unix", &file, "0660")));
    daemon.ask(&["reload"]);
    let names = |keeper: &Keeper| keeper.kept.keys().cloned().collect::<Vec<_>>();
    let before = names(&keeper);
    eventually("the new one is kept instead", || {
        keeper.listen();
        (keeper.kept.len() == 3 && names(&keeper) != before).then_some(())
    });
    daemon.signal(Signal::SIGSTOP);
    eventually("it has stopped", || daemon.process.is_stopped().then_some(()));
    let mut early = connect();
    early.write_all(b"early").expect("sent");
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let mut nobody_runs = connect();
    nobody_runs.write_all(b"between").expect("sent");
    let mut daemon = keeper.start(&config(web, &unix("unix", &file, "0666")));
    echoes(&mut early, b"early");
    echoes(&mut nobody_runs, b"between");
    let mode = std::fs::metadata(&file).expect("its file").permissions().mode() & 0o777;
    assert_eq!(mode, 0o666, "as its own file says");
    keeper.keeps(3);

    // Killed again; the next has another name for the path.
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let mut daemon = keeper.start(&config(web, &unix("renamed", &file, "0666")));
    let mut client = connect();
    client.write_all(b"anew").expect("sent");
    echoes(&mut client, b"anew");
    keeper.keeps(3);
    assert!(keeper.kept.keys().any(|name| name.starts_with("netd-listener/renamed/")), "{:?}", keeper.kept);
    drop(client);
    daemon.ask(&["stop", "renamed"]);
    keeper.keeps(2);
    assert!(UnixStream::connect(&file).is_err() && !file.exists(), "what is stopped is gone");
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    keeper.keeps(0);
}

#[test]
fn an_upgrade_finds_a_unix_socket_that_was_bound_anew() {
    let (mut keeper, web) = (Keeper::new(), ports::free());
    let file = keeper.file();
    let mut daemon = keeper.start(&config(web, &unix("unix", &file, "0600")));
    daemon.rewrite(&config(web, &unix("unix", &file, "0660")));
    daemon.ask(&["reload"]);
    for _ in 0..2 {
        daemon.upgrade(&[]);
        let mut client = UnixStream::connect(&file).expect("somebody listens");
        client.write_all(b"served").expect("sent");
        echoes(&mut client, b"served");
    }
    keeper.keeps(3);
    daemon.ask(&["stop", "unix"]);
    keeper.keeps(2);
    assert!(!file.exists());
}

#[test]
fn a_low_port_outlives_a_crash_and_can_be_stopped_and_started() {
    if !is_root("giving up root") {
        return;
    }
    let (mut keeper, low) = (Keeper::new(), low_port().expect("a free low port"));
    let text = config(low, "[process]\nuser = \"nobody\"\n");
    let mut daemon = keeper.start(&text);
    keeper.keeps(2);
    for _ in 0..2 {
        daemon.signal(Signal::SIGSTOP);
        eventually("it has stopped", || daemon.process.is_stopped().then_some(()));
        let mut waiting: Vec<Client> = (0..6).map(|_| Client::connect(low)).collect();
        waiting.iter_mut().for_each(|client| client.send(b"early"));
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon = keeper.start(&text);
        for client in &mut waiting {
            assert_eq!(client.receive(5), b"early");
        }
        keeper.keeps(2);
        // Nobody could bind it again.
        assert_eq!(daemon.process.status("Uid").split_whitespace().next(), Some("65534"));
        daemon.ask(&["stop", "web"]);
        keeper.keeps(0);
        assert!(Client::try_connect(low).is_err());
        daemon.ask(&["start", "web"]);
        keeper.keeps(2);
        daemon.connect("web").echo(b"again");
    }
}
