use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::{UnixListener, UnixStream},
};

use super::*;

fn loopback() -> BindOptions {
    BindOptions {
        address: BindAddress::Inet(([127, 0, 0, 1], 0).into()),
        backlog: 16,
        v6only: true,
        mode: 0o666,
        owner: None,
        rebind: false,
        tcp: Default::default(),
    }
}

#[test]
fn every_worker_gets_a_socket_on_the_same_port() {
    let bound = bind(&loopback(), 3).unwrap();
    assert_eq!(bound.sockets.len(), 3);
    let addresses: Vec<_> =
        bound.sockets.iter().map(|each| SockRef::from(&each.fd).local_addr().unwrap().as_socket().unwrap()).collect();
    assert!(addresses.iter().all(|address| address.to_string() == bound.local));
}

#[test]
fn a_second_daemon_is_noticed_in_spite_of_reuseport() {
    let first = bind(&loopback(), 1).unwrap();
    let address: SocketAddr = first.local.parse().unwrap();
    let again = BindOptions { address: BindAddress::Inet(address), ..loopback() };
    let error = bind(&again, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&first.local), "{error}");
    bind(&BindOptions { rebind: true, ..again }, 1).unwrap();
}

#[test]
fn after_refuse_new_the_queue_can_still_be_accepted() {
    let bound = bind(&loopback(), 1).unwrap();
    let socket = &bound.sockets[0];
    let mut client = TcpStream::connect(&bound.local).unwrap();
    socket.refuse_new();
    client.write_all(b"hello").unwrap();
    let (accepted, from) = sys::socket::accept(socket.fd.as_fd()).unwrap();
    assert_eq!(from, Some(client.local_addr().unwrap()));
    let mut buffer = [0; 8];
    let n = loop {
        match accepted.read(&mut buffer) {
            Ok(n) => break n,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    };
    assert_eq!(&buffer[..n], b"hello");
    let late = TcpStream::connect_timeout(&bound.local.parse().unwrap(), std::time::Duration::from_millis(100));
    assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut, "a new handshake does not begin");
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_its_last_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let options = BindOptions { address: BindAddress::Unix(path.clone()), mode: 0o600, ..loopback() };
    let bound = bind(&options, 2).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    UnixStream::connect(&path).unwrap();
    assert_eq!(bind(&options, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_stale_unix_socket_is_taken_over_and_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    let options = BindOptions { address: BindAddress::Unix(path.clone()), ..loopback() };
    drop(bind(&options, 1).unwrap());
    fs::write(&path, "precious").unwrap();
    assert_eq!(bind(&options, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn rebinding_a_unix_socket_leaves_no_gap_and_the_new_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let options = BindOptions { address: BindAddress::Unix(path.clone()), ..loopback() };
    let old = bind(&options, 1).unwrap();
    let new = bind(&BindOptions { rebind: true, ..options }, 1).unwrap();
    old.sockets[0].refuse_new();
    drop(old);
    let mut client = UnixStream::connect(&path).unwrap();
    let (accepted, from) = sys::socket::accept(new.sockets[0].fd.as_fd()).unwrap();
    assert_eq!(from, None);
    accepted.write(b"hi").unwrap();
    drop(accepted);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hi");
}

#[test]
fn only_a_listening_stream_socket_is_adopted() {
    let connected = UnixStream::pair().unwrap().0;
    assert!(adopt(connected.into(), 1).is_err());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap().to_string();
    let bound = adopt(listener.into(), 2).unwrap();
    assert_eq!((bound.sockets.len(), bound.local), (2, local));
}

/// On a port that is named, since the kernel's choice cannot be kept.
fn bind_named(workers: usize) -> Bound {
    for _ in 0..100 {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        match bind(&BindOptions { address: BindAddress::Inet(free), ..loopback() }, workers) {
            Ok(bound) => return bound,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse),
        }
    }
    panic!("no free port");
}

#[test]
fn kept_sockets_can_listen_again_where_they_did() {
    let mut bound = bind_named(2);
    let address: SocketAddr = bound.local.parse().unwrap();
    let kept = bound.keep().unwrap();
    // Twice, since there may be many drains.
    for _ in 0..2 {
        let waiting = TcpStream::connect(address).unwrap();
        for socket in std::mem::take(&mut bound.sockets) {
            socket.refuse_new();
            drop(socket);
        }
        drop(waiting);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

        bound = kept.listen(128).unwrap();
        assert_eq!(bound.local, address.to_string());
        let clients: Vec<_> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
        let accept = |socket: &ListenSocket| sys::socket::accept(socket.fd.as_fd()).is_ok();
        let accepted: Vec<usize> =
            bound.sockets.iter().map(|socket| std::iter::repeat(()).take_while(|()| accept(socket)).count()).collect();
        assert_eq!(accepted.iter().sum::<usize>(), clients.len());
        assert!(accepted.iter().all(|&each| each > 5), "the kernel spreads connections over both: {accepted:?}");
    }
    drop(bound);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn sockets_of_the_user_that_netd_becomes_share_their_address_with_later_ones() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root can give a socket to somebody else");
        return;
    }
    let owned = BindOptions { owner: Some((65534, 65534)), ..loopback() };
    let bound = bind(&owned, 1).unwrap();
    let address = BindAddress::Inet(bound.local.parse().unwrap());
    let again = BindOptions { address: address.clone(), rebind: true, ..owned };
    bind(&again, 1).unwrap();
    // Another user's cannot, as without netd.
    let foreign = BindOptions { address, rebind: true, ..loopback() };
    assert_eq!(bind(&foreign, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
}
