//! With a service manager's socket, and real listeners.

use std::{
    net::{TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
};

use super::*;
use crate::sys::channel;

struct Manager {
    socket: UnixDatagram,
    _directory: tempfile::TempDir,
    notify: Notify,
}

fn manager() -> Manager {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let notify = Notify::from_env(&|name| (name == "NOTIFY_SOCKET").then(|| path.display().to_string()), 7);
    Manager { socket, _directory: directory, notify }
}

impl Manager {
    /// Messages so far, each with its number of descriptors.
    fn heard(&self) -> Vec<(String, usize)> {
        let mut buffer = [0; 4096];
        let next = || {
            let datagram = channel::receive(self.socket.as_fd(), &mut buffer).ok()?;
            Some((String::from_utf8_lossy(&buffer[..datagram.length]).into_owned(), datagram.fds.len()))
        };
        std::iter::from_fn(next).collect()
    }
}

fn store(capacity: &str) -> FdStore {
    FdStore::from_env(&|name| (name == VARIABLE).then(|| capacity.to_owned()))
}

fn socket() -> (OwnedFd, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap().to_string();
    (listener.into(), local)
}

fn shelved(listener: &str, fd: &OwnedFd) -> Shelved {
    Shelved { listener: listener.to_owned(), file: None, fd: fd.try_clone().unwrap() }
}

fn passed(name: &str, local: &str) -> Inherited {
    Inherited { name: Some(name.to_owned()), fd: socket().0, local: local.to_owned() }
}

#[test]
fn systemd_is_told_what_is_new_and_what_is_gone_and_nothing_else() {
    let (manager, mut store) = (manager(), store("8"));
    let (a, b) = (socket().0, socket().0);
    let both = [shelved("web", &a), shelved("api", &b)];
    let [name_a, name_b] = [0, 1].map(|at: usize| name(&both[at]).unwrap());
    assert!(store.keep(&both, &manager.notify));
    assert_eq!(
        manager.heard(),
        [(format!("FDSTORE=1\nFDNAME={name_a}"), 1), (format!("FDSTORE=1\nFDNAME={name_b}"), 1)]
    );
    assert!(store.keep(&both, &manager.notify));
    assert_eq!(manager.heard(), []);
    assert!(store.keep(&[shelved("web", &a)], &manager.notify));
    assert_eq!(manager.heard(), [(format!("FDSTOREREMOVE=1\nFDNAME={name_b}"), 0)]);
    store.clear(&manager.notify);
    assert_eq!(manager.heard(), [(format!("FDSTOREREMOVE=1\nFDNAME={name_a}"), 0)]);
    store.clear(&manager.notify);
    assert_eq!(manager.heard(), []);
}

#[test]
fn no_more_than_it_keeps_and_nothing_where_it_keeps_none() {
    let (manager, sockets) = (manager(), [shelved("a", &socket().0), shelved("b", &socket().0)]);
    assert!(store("1").keep(&sockets, &manager.notify));
    assert_eq!(manager.heard().len(), 1);
    for capacity in ["", "0", "many", "-1"] {
        let mut store = store(capacity);
        assert!(!store.is_on());
        assert!(store.keep(&sockets, &manager.notify));
    }
    assert_eq!(manager.heard(), []);
}

#[test]
fn what_was_not_told_is_tried_again() {
    let (manager, mut store) = (manager(), store("8"));
    while manager.notify.forget("full") {}
    let sockets = [shelved("web", &socket().0)];
    assert!(!store.keep(&sockets, &manager.notify));
    manager.heard();
    assert!(store.keep(&sockets, &manager.notify));
    assert_eq!(manager.heard().len(), 1);
    while manager.notify.forget("full") {}
    assert!(!store.keep(&[], &manager.notify));
    manager.heard();
    assert!(store.keep(&[], &manager.notify));
    assert!(manager.heard()[0].0.starts_with("FDSTOREREMOVE=1"));
}

#[test]
fn what_is_left_goes_to_the_listener_of_the_same_name_and_address() {
    let address = |text: &str| text.parse::<Address>().unwrap();
    let (web, any) = (address("127.0.0.1:80"), address("127.0.0.1:0"));
    let listeners = [("web", &web), ("any", &any)];
    let all = vec![
        passed("netd-listener/web/1", "127.0.0.1:80"),
        passed("netd-listener/web/2", "127.0.0.1:80"),
        passed("netd-listener/web/3", "127.0.0.1:81"),
        passed("netd-listener/gone/4", "127.0.0.1:80"),
        passed("netd-listener/any/5", "127.0.0.1:4321"),
        passed("netd-listener/any/6", "127.0.0.2:4321"),
        passed("web", "127.0.0.1:80"),
    ];
    let mut store = store("8");
    let left = store.sort(all, &listeners);
    let counts: Vec<_> = left.listeners.iter().map(|(name, sockets)| (name.as_str(), sockets.len())).collect();
    assert_eq!(counts, [("any", 1), ("web", 2)]);
    assert_eq!(left.stale, ["netd-listener/web/3", "netd-listener/gone/4", "netd-listener/any/6"]);
    assert_eq!(left.others.len(), 1);
    // Those that are not served after all are forgotten.
    let manager = manager();
    assert!(store.keep(&[], &manager.notify));
    assert_eq!(manager.heard().len(), 3);
}

/// A Unix-domain listener at `path`, as it would be passed in under the name
/// that it is kept under.
fn unix(path: &std::path::Path) -> (UnixListener, Inherited) {
    let listener = UnixListener::bind(path).unwrap();
    let fd = || OwnedFd::from(listener.try_clone().unwrap());
    let name = name(&Shelved { listener: "unix".to_owned(), file: Some(path.to_owned()), fd: fd() }).unwrap();
    let inherited = Inherited { name: Some(name), fd: fd(), local: format!("unix:{}", path.display()) };
    (listener, inherited)
}

#[test]
fn a_unix_socket_is_used_if_the_file_is_still_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let address = Address::Unix(path.clone());
    let listeners = [("unix", &address)];
    let (_first, inherited) = unix(&path);
    // Bound to another name, as one is that was renamed.
    let inherited = Inherited { local: format!("unix:{}.new", path.display()), ..inherited };
    let left = store("8").sort(vec![inherited], &listeners);
    assert_eq!((left.listeners["unix"].len(), left.stale.len()), (1, 0));

    // Somebody else has the path now, or nobody.
    let other = folder.path().join("other");
    for somebody in [true, false] {
        let (kept, inherited) = unix(&other);
        std::fs::remove_file(&other).unwrap();
        let _new = somebody.then(|| UnixListener::bind(&other).unwrap());
        let address = Address::Unix(other.clone());
        let left = store("8").sort(vec![inherited], &[("unix", &address)]);
        assert_eq!((left.listeners.len(), left.stale.len()), (0, 1));
        drop(kept);
        let _ = std::fs::remove_file(&other);
    }
}

#[test]
fn what_nobody_wants_does_not_listen_any_more_whoever_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let (kept_unix, unix) = unix(&path);
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = inet.local_addr().unwrap();
    let fd = OwnedFd::from(inet.try_clone().unwrap());
    let tcp = Inherited { name: Some("netd-listener/gone/1".to_owned()), fd, local: local.to_string() };
    let left = store("8").sort(vec![unix, tcp], &[]);
    assert_eq!(left.stale.len(), 2);
    assert!(UnixStream::connect(&path).is_err() && TcpStream::connect(local).is_err());
    drop((kept_unix, inet));
}

#[test]
fn names_say_which_file() {
    assert_eq!(file("netd-listener/unix/12-34-56"), Some((34, 56)));
    for none in ["netd-listener/web/12", "netd-listener/a-1-2/12", "netd-listener/unix/12-34", "x", ""] {
        assert_eq!(file(none), None, "{none}");
    }
}
