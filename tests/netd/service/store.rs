//! Listening sockets that the service manager keeps (FDSTORE=1).

use std::{
    collections::BTreeMap,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixDatagram,
    },
};

use netd::sys::channel;
use nix::sys::signal::Signal;

use super::activation;
use crate::support::{Client, Daemon, Setup, eventually, ports};

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
    format!(
        "[workers]\ncount = 2\n[[listener]]\nname = \"web\"\naddress = \"{web}\"\nprotocol = \"echo\"\n
         [[listener]]\nname = \"unix\"\naddress = \"unix:DIR/echo.sock\"\nprotocol = \"echo\"\n{more}"
    )
}

#[test]
fn what_waits_when_netd_is_killed_is_served_by_the_next() {
    let (mut keeper, [web, other]) = (Keeper::new(), [ports::free(), ports::free()]);
    let more = format!("[[listener]]\nname = \"more\"\naddress = \"{other}\"\nprotocol = \"echo\"\n");
    let mut daemon = keeper.start(&config(web, &more));
    // One a worker and listener, but none of a Unix-domain socket.
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
