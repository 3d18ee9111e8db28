use std::{
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixListener,
};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use super::*;
use crate::{process::testing, sys::process::testing::pass_from_3};

fn promise(variables: &[(&str, &str)]) -> Result<Vec<(RawFd, Option<String>)>, String> {
    promised(&|name| variables.iter().find(|(each, _)| *each == name).map(|(_, value)| (*value).to_owned()), 7)
}

#[test]
fn what_is_promised_is_read_as_the_manual_page_says() {
    assert_eq!(promise(&[]), Ok(vec![]));
    assert_eq!(promise(&[("LISTEN_FDS", "2")]), Ok(vec![]));
    assert_eq!(promise(&[("LISTEN_PID", "8"), ("LISTEN_FDS", "2")]), Ok(vec![]), "meant for another process");
    assert_eq!(promise(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2")]), Ok(vec![(3, None), (4, None)]));
    assert_eq!(
        promise(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "web::db")]),
        Ok(vec![(3, Some("web".into())), (4, None), (5, Some("db".into()))])
    );
    assert_eq!(promise(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "0"), ("LISTEN_FDNAMES", "")]), Ok(vec![]));
}

#[test]
fn a_broken_promise_says_what_is_wrong() {
    let wrong = |variables: &[(&str, &str)]| promise(variables).unwrap_err();
    assert!(wrong(&[("LISTEN_PID", "x")]).contains("`x`, not a process id"));
    for count in ["-1", "two", "1025", "99999999999999999999"] {
        let message = wrong(&[("LISTEN_PID", "7"), ("LISTEN_FDS", count)]);
        assert!(message.contains(&format!("LISTEN_FDS is `{count}`")), "{message}");
    }
    let message = wrong(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web")]);
    assert_eq!(message, "LISTEN_FDNAMES has 1 names for 2 sockets (LISTEN_FDS)");
}

#[test]
fn a_socket_goes_by_name_else_by_address() {
    let web: Address = "127.0.0.1:80".parse().unwrap();
    let db: Address = "unix:/run/db.sock".parse().unwrap();
    let listeners = [("web", &web), ("db", &db)];
    assert_eq!(owner(Some("db"), "127.0.0.1:80", &listeners), Some("db"), "the name decides");
    assert_eq!(owner(Some("netd.socket"), "127.0.0.1:80", &listeners), Some("web"));
    assert_eq!(owner(None, "unix:/run/db.sock", &listeners), Some("db"));
    assert_eq!(owner(None, "127.0.0.1:81", &listeners), None);
    assert_eq!(owner(Some("other"), "", &[]), None);
}

#[test]
fn a_listener_may_get_several_sockets_and_the_rest_is_left_over() {
    let socket = |name: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap().to_string();
        Inherited { name: Some(name.to_owned()), fd: listener.into(), local }
    };
    let address: Address = "127.0.0.1:80".parse().unwrap();
    let matched = match_listeners(vec![socket("web"), socket("stray"), socket("web")], &[("web", &address)]);
    assert_eq!(matched.listeners.keys().collect::<Vec<_>>(), ["web"]);
    assert_eq!(matched.listeners["web"].len(), 2);
    assert_eq!(matched.unmatched.len(), 1);
    assert_eq!(matched.unmatched[0].name.as_deref(), Some("stray"));
}

#[test]
fn sockets_that_came_through_exec_are_taken_once() {
    let directory = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let path = directory.path().join("netd.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let connection = TcpStream::connect(address).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();

    let mut command = testing::own_process("process::activation::tests::child_takes_over");
    command.env("NETD_TEST_TCP", address.to_string()).env("NETD_TEST_UNIX", &path);
    pass_from_3(&mut command, vec![tcp.into(), unix.into(), connection.into(), udp.into(), file.into()]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn child_takes_over() {
    if !testing::is_own_process() {
        return;
    }
    let env = |name: &str| match name {
        "LISTEN_PID" => Some(std::process::id().to_string()),
        "LISTEN_FDS" => Some("5".to_owned()),
        "LISTEN_FDNAMES" => Some("web:unix:conn:udp:file".to_owned()),
        _ => None,
    };
    let activation = inherited(&env, std::process::id()).unwrap();
    let locals: Vec<&str> = activation.sockets.iter().map(|socket| socket.local.as_str()).collect();
    let unix = format!("unix:{}", testing::env("NETD_TEST_UNIX").unwrap());
    assert_eq!(locals, [testing::env("NETD_TEST_TCP").unwrap(), unix]);
    for socket in &activation.sockets {
        assert!(fcntl(&socket.fd, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits() != 0);
        assert!(fcntl(&socket.fd, FcntlArg::F_GETFL).unwrap() & OFlag::O_NONBLOCK.bits() != 0);
    }
    let refused: Vec<(RawFd, &str)> =
        activation.refused.iter().map(|refused| (refused.fd, refused.reason.as_str())).collect();
    assert_eq!(refused[0], (5, "it is a connection; netd needs Accept=no"));
    assert_eq!(refused[1], (6, "it is a datagram socket; netd needs ListenStream="));
    assert!(refused[2].0 == 7 && refused[2].1.starts_with("it is no socket"));

    let again = inherited(&env, std::process::id()).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    // What was adopted still works.
    let tcp = TcpListener::from(activation.sockets.into_iter().next().unwrap().fd);
    let client = TcpStream::connect(testing::env("NETD_TEST_TCP").unwrap().parse::<SocketAddr>().unwrap()).unwrap();
    // The first in the queue is the connection of the test above.
    let peers = [tcp.accept().unwrap().1, tcp.accept().unwrap().1];
    assert!(peers.contains(&client.local_addr().unwrap()));
}
