//! With a service manager's socket, and real listeners.

use std::{
    net::TcpListener,
    os::{fd::AsFd, unix::net::UnixDatagram},
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

fn passed(name: &str, local: &str) -> Inherited {
    Inherited { name: Some(name.to_owned()), fd: socket().0, local: local.to_owned() }
}

#[test]
fn systemd_is_told_what_is_new_and_what_is_gone_and_nothing_else() {
    let (manager, mut store) = (manager(), store("8"));
    let (a, b) = (socket().0, socket().0);
    let (name_a, name_b) = (name("web", &a).unwrap(), name("api", &b).unwrap());
    let both = [("web".to_owned(), a.try_clone().unwrap()), ("api".to_owned(), b)];
    assert!(store.keep(&both, &manager.notify));
    assert_eq!(
        manager.heard(),
        [(format!("FDSTORE=1\nFDNAME={name_a}"), 1), (format!("FDSTORE=1\nFDNAME={name_b}"), 1)]
    );
    assert!(store.keep(&both, &manager.notify));
    assert_eq!(manager.heard(), []);
    assert!(store.keep(&[("web".to_owned(), a)], &manager.notify));
    assert_eq!(manager.heard(), [(format!("FDSTOREREMOVE=1\nFDNAME={name_b}"), 0)]);
    store.clear(&manager.notify);
    assert_eq!(manager.heard(), [(format!("FDSTOREREMOVE=1\nFDNAME={name_a}"), 0)]);
    store.clear(&manager.notify);
    assert_eq!(manager.heard(), []);
}

#[test]
fn no_more_than_it_keeps_and_nothing_where_it_keeps_none() {
    let (manager, sockets) = (manager(), [("a".to_owned(), socket().0), ("b".to_owned(), socket().0)]);
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
    let sockets = [("web".to_owned(), socket().0)];
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
