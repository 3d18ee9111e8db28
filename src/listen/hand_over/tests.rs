use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
};

use super::*;
use crate::{
    listen::{BindAddress, BindOptions, bind},
    sys,
};

fn options(address: BindAddress) -> BindOptions {
    BindOptions { address, backlog: 64, v6only: true, mode: 0o666, owner: None, rebind: false, tcp: Default::default() }
}

fn loopback() -> BindOptions {
    options(BindAddress::Inet(([127, 0, 0, 1], 0).into()))
}

/// Accepts all that waits; answers how many.
fn accept_all(sockets: &[ListenSocket]) -> usize {
    let queue = |socket: &ListenSocket| std::iter::from_fn(|| sys::socket::accept(socket.fd.as_fd()).ok()).count();
    sockets.iter().map(queue).sum()
}

#[test]
fn a_successor_has_the_queues_of_its_predecessor() {
    let mut bound = bind(&loopback(), 3).unwrap();
    let clients: Vec<_> = (0..20).map(|_| TcpStream::connect(&bound.local).unwrap()).collect();
    let duplicates = bound.sockets.iter().map(ListenSocket::duplicate).collect::<io::Result<_>>().unwrap();
    let resumed = resume(duplicates, None).unwrap();
    assert_eq!(resumed.local, bound.local);
    assert!(resumed.sockets.iter().all(|socket| socket.origin() == Origin::Own));
    // The predecessor retires.
    bound.sockets.iter_mut().for_each(ListenSocket::give_away);
    bound.sockets.iter().for_each(ListenSocket::refuse_new);
    drop(bound);
    let late = TcpStream::connect(&resumed.local).unwrap();
    assert_eq!(accept_all(&resumed.sockets), 21);
    drop((clients, late));
}

#[test]
fn a_kept_socket_that_was_given_away_goes_on_listening() {
    let mut bound = bind(&loopback(), 1).unwrap();
    let _kept = bound.keep().unwrap();
    let resumed = resume(vec![bound.sockets[0].duplicate().unwrap()], None).unwrap();
    assert_eq!(resumed.sockets[0].origin(), Origin::Kept);
    bound.sockets[0].give_away();
    drop(bound);
    let _client = TcpStream::connect(&resumed.local).unwrap();
    assert_eq!(accept_all(&resumed.sockets), 1);
    let local = resumed.local.clone();
    drop(resumed);
    assert!(TcpStream::connect(local).is_err(), "the successor's end of it is the end");
}

#[test]
fn a_kept_socket_that_is_shared_listens_until_the_last_one_goes() {
    let mut bound = bind(&loopback(), 1).unwrap();
    let _kept = bound.keep().unwrap();
    let shared = bound.sockets[0].share().unwrap();
    let local = bound.local.clone();
    drop(bound);
    let _client = TcpStream::connect(&local).unwrap();
    assert_eq!(accept_all(std::slice::from_ref(&shared)), 1);
    drop(shared);
    assert!(TcpStream::connect(local).is_err());
}

#[test]
fn the_file_of_a_unix_socket_stays_with_the_successor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("front");
    let mut bound = bind(&options(BindAddress::Unix(path.clone())), 3).unwrap();
    let duplicates = bound.sockets.iter().map(ListenSocket::duplicate).collect::<io::Result<_>>().unwrap();
    let duplicates = distinct(duplicates).unwrap();
    assert_eq!(duplicates.len(), 1, "all workers have the same socket");
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"x").unwrap();
    let resumed = resume(duplicates, None).unwrap();
    assert_eq!(resumed.local, bound.local);
    // One is enough: the file is everybody's.
    bound.sockets[0].give_away();
    bound.sockets.iter().for_each(ListenSocket::refuse_new);
    drop(bound);
    assert!(path.exists());
    let (accepted, _) = sys::socket::accept(resumed.sockets[0].fd.as_fd()).unwrap();
    accepted.write(b"y").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(resumed);
    assert!(!path.exists(), "and goes with it");
}

#[test]
fn a_unix_socket_that_was_bound_anew_is_known_by_the_file_it_has_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("front");
    let first = bind(&options(BindAddress::Unix(path.clone())), 1).unwrap();
    let again = BindOptions { rebind: true, mode: 0o600, ..options(BindAddress::Unix(path.clone())) };
    let mut second = bind(&again, 1).unwrap();
    drop(first);
    assert!(path.exists());
    let duplicate = || vec![second.sockets[0].duplicate().unwrap()];
    assert!(resume(duplicate(), None).is_err(), "it has another name by itself");
    let resumed = resume(duplicate(), Some(&path)).unwrap();
    assert_eq!(resumed.local, format!("unix:{}", path.display()));
    second.sockets[0].give_away();
    drop(second);
    let _client = UnixStream::connect(&path).unwrap();
    drop(resumed);
    assert!(!path.exists());
}

#[test]
fn fewer_workers_get_all_sockets_and_more_share() {
    for (given, workers) in [(4, 2), (5, 2), (2, 4), (3, 3), (1, 4), (2, 1)] {
        let bound = bind(&loopback(), given).unwrap();
        let clients: Vec<_> = (0..16).map(|_| TcpStream::connect(&bound.local).unwrap()).collect();
        let dealt = spread(bound.sockets, workers).unwrap();
        assert_eq!(dealt.len(), workers);
        assert!(dealt.iter().all(|hand| !hand.is_empty()), "{given} for {workers}: nobody is without");
        assert_eq!(dealt.iter().map(Vec::len).sum::<usize>(), given.max(workers), "none is lost");
        let accepted: usize = dealt.iter().map(|hand| accept_all(hand)).sum();
        assert_eq!(accepted, clients.len(), "{given} for {workers}: every queue is served");
    }
    assert_eq!(spread(Vec::new(), 2).unwrap().len(), 2);
    assert!(spread(bind(&loopback(), 1).unwrap().sockets, 0).unwrap().is_empty());
}

#[test]
fn what_does_not_listen_is_not_taken_on() {
    let (one, _other) = UnixStream::pair().unwrap();
    let error = resume(vec![Duplicate { fd: one.into(), origin: Origin::Own }], None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
