//! Options of TCP sockets as the kernel has them: of accepted sockets, of
//! sockets to endpoints, and after a reload. `ss` asks for what can be seen
//! from outside; the rest is asked of a duplicate of the socket (pidfd_getfd).

use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use socket2::{Domain, SockRef};

use super::{becomes, behind};
use crate::support::{Client, Daemon, Origin};

/// Connected TCP sockets of the daemon with this local or remote port.
fn sockets(daemon: &Daemon, is: impl Fn(&SockRef<'_>) -> bool) -> Vec<OwnedFd> {
    let Some(pidfd) = own(libc::SYS_pidfd_open, [i64::from(daemon.process.0), 0, 0]) else { return Vec::new() };
    let each = daemon
        .process
        .fds()
        .into_iter()
        .filter_map(|fd| own(libc::SYS_pidfd_getfd, [i64::from(pidfd.as_raw_fd()), i64::from(fd), 0]));
    let wanted = each.filter(|fd| {
        let socket = SockRef::from(fd);
        socket.domain().is_ok_and(|domain| domain == Domain::IPV4) && is(&socket)
    });
    wanted.collect()
}

#[expect(unsafe_code, reason = "neither call has a safe wrapper")]
fn own(call: i64, arguments: [i64; 3]) -> Option<OwnedFd> {
    let [a, b, c] = arguments;
    // SAFETY: both calls take three numbers and give a descriptor that is ours.
    let fd = unsafe { libc::syscall(call, a, b, c) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

const OPTIONS: &str = "keepalive_idle = \"11s\"\nkeepalive_interval = \"12s\"\nkeepalive_count = 4\n\
                       user_timeout = \"13s\"\nreceive_buffer = \"64KiB\"\nsend_buffer = \"32KiB\"\ndscp = 46\n\
                       congestion = \"reno\"";

fn has_all(socket: &SockRef<'_>) {
    assert!(socket.keepalive().expect("an answer"));
    assert_eq!(socket.tcp_keepalive_time().expect("an answer"), Duration::from_secs(11));
    assert_eq!(socket.tcp_keepalive_interval().expect("an answer"), Duration::from_secs(12));
    assert_eq!(socket.tcp_keepalive_retries().expect("an answer"), 4);
    assert_eq!(socket.tcp_user_timeout().expect("an answer"), Some(Duration::from_secs(13)));
    assert_eq!(socket.recv_buffer_size().expect("an answer"), 128 << 10);
    assert_eq!(socket.send_buffer_size().expect("an answer"), 64 << 10);
    assert_eq!(socket.tos_v4().expect("an answer"), 46 << 2);
    assert!(socket.tcp_congestion().expect("an answer").starts_with(b"reno"));
}

#[test]
fn both_sides_have_what_was_asked_for() {
    let origin = Origin::echoing();
    let tables = |tcp: &str| (format!("[listener.tcp]\n{tcp}"), format!("[pool.tcp]\n{tcp}\nnodelay = true"));
    let (listener, pool) = tables(OPTIONS);
    let daemon = behind(&listener, &pool, origin.address);
    let mut client = daemon.connect("front");
    client.echo(b"there");
    let peer = |socket: &SockRef<'_>| socket.peer_addr().ok().and_then(|address| address.as_socket());
    let accepted = sockets(&daemon, |socket| peer(socket) == Some(client.local()));
    let connected = sockets(&daemon, |socket| peer(socket) == Some(origin.address));
    if accepted.is_empty() {
        return eprintln!("skipped: pidfd_getfd is not permitted here");
    }
    assert_eq!((accepted.len(), connected.len()), (1, 1));
    for fd in accepted.iter().chain(&connected) {
        has_all(&SockRef::from(fd));
        assert!(SockRef::from(fd).tcp_nodelay().expect("an answer"));
    }
}

#[test]
fn a_reload_changes_options_without_other_sockets() {
    let origin = Origin::echoing();
    let text = |tcp: &str| {
        format!(
            "[[listener]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"back\"\n\
             [listener.tcp]\n{tcp}\n[[pool]]\nname = \"back\"\nendpoints = [\"{}\"]\n",
            origin.address
        )
    };
    let daemon = crate::support::Setup::config(&text("user_timeout = \"13s\"\nnodelay = false")).start();
    let address = daemon.address("front");
    let accepted = |client: &Client| {
        let local = client.local();
        sockets(&daemon, |socket| socket.peer_addr().ok().and_then(|each| each.as_socket()) == Some(local))
    };
    let mut client = Client::connect(address);
    client.echo(b"before");
    let Some(fd) = accepted(&client).pop() else { return eprintln!("skipped: pidfd_getfd is not permitted here") };
    let socket = SockRef::from(&fd);
    assert_eq!(socket.tcp_user_timeout().expect("an answer"), Some(Duration::from_secs(13)));
    assert!(!socket.tcp_nodelay().expect("an answer"));
    daemon.rewrite(&text("keepalive = true\ndscp = 8"));
    daemon.ask(&["reload"]).said("tcp.user_timeout: 13s -> (not set)");
    assert_eq!(daemon.address("front"), address, "the same sockets: the port was the kernel's choice");
    let mut client = Client::connect(address);
    client.echo(b"after");
    let fd = accepted(&client).pop().expect("its socket");
    let socket = SockRef::from(&fd);
    assert!(socket.keepalive().expect("an answer") && socket.tcp_nodelay().expect("an answer"));
    assert_eq!(socket.tcp_user_timeout().expect("an answer"), None);
    assert_eq!(socket.tos_v4().expect("an answer"), 8 << 2);
    // One that takes other sockets: new connections come to those.
    daemon.rewrite(&text("receive_buffer = \"64KiB\""));
    daemon.ask(&["reload"]);
    becomes(|| {
        let mut client = Client::connect(daemon.address("front"));
        client.echo(b"again");
        accepted(&client)
            .pop()
            .is_some_and(|fd| SockRef::from(&fd).recv_buffer_size().is_ok_and(|size| size == 128 << 10))
    });
    client.echo(b"still");
}
