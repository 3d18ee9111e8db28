//! What the tunnel relies on in Linux, with real sockets.

use std::{
    io::{IoSlice, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::{super::*, zero};
use crate::worker::budget::FdBudget;
use crate::{reactor::Ready, sys::socket::Socket};

const READABLE: Ready = Ready { readable: true, writable: false, read_closed: false, error: false, urgent: false };

fn tcp_pair() -> (TcpStream, Transport<Socket>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (theirs, Transport::new(Socket::from(OwnedFd::from(ours))))
}

fn unix_pair() -> (UnixStream, Transport<Socket>) {
    let (theirs, ours) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (theirs, Transport::new(Socket::from(OwnedFd::from(ours))))
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// The failed write takes the error out of the socket, which then reads as if
/// it had ended; the client must not be told so.
#[test]
fn a_reset_that_a_write_meets_first_is_no_end() {
    let (mut client, mut downstream) = tcp_pair();
    let (mut server, mut upstream) = tcp_pair();
    let (mut tunnel, mut supplies) = (Tunnel::new(Accelerate::Auto), Supplies::new(1024, FdBudget::new(20_000, 0)));
    server.write_all(b"half an ans").unwrap();
    upstream.note(READABLE);
    assert_eq!(tunnel.drive(&mut downstream, &mut upstream, &mut supplies, zero()), Outcome::Wait);
    client.read_exact(&mut [0; 11]).unwrap();
    reset(server);
    client.write_all(b"more").unwrap();
    // The upstream's event is not there yet.
    downstream.note(READABLE);
    let outcome = tunnel.drive(&mut downstream, &mut upstream, &mut supplies, zero());
    assert_eq!(outcome, Outcome::Reset(CloseReason::UPSTREAM_RESET));
}

#[test]
fn an_answer_before_a_reset_is_delivered_though_a_write_meets_the_reset_first() {
    let (mut client, mut downstream) = tcp_pair();
    let (mut server, mut upstream) = tcp_pair();
    let (mut tunnel, mut supplies) = (Tunnel::new(Accelerate::Auto), Supplies::new(1024, FdBudget::new(20_000, 0)));
    let mut drive = |downstream: &mut _, upstream: &mut _| {
        loop {
            match tunnel.drive(downstream, upstream, &mut supplies, zero()) {
                Outcome::Yield => {}
                outcome => return outcome,
            }
        }
    };
    server.write_all(b"413 too large").unwrap();
    drop(server);
    for _ in 0..3 {
        // The first is answered with a reset, which the next meets.
        client.write_all(b"upload").unwrap();
        downstream.note(READABLE);
        assert_eq!(drive(&mut downstream, &mut upstream), Outcome::Wait);
    }
    upstream.note(Ready { read_closed: true, error: true, writable: true, ..READABLE });
    assert_eq!(drive(&mut downstream, &mut upstream), Outcome::Wait, "the client is heard out");
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "413 too large");
}

/// unix(7): a read does not go on behind bytes that came with a descriptor.
#[test]
fn bytes_behind_a_passed_descriptor_are_not_left() {
    let (client, mut downstream) = unix_pair();
    let (mut server, mut upstream) = unix_pair();
    downstream.stops_short();
    let passed = [client.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&passed)];
    sendmsg::<()>(client.as_raw_fd(), &[IoSlice::new(b"with, ")], &message, MsgFlags::empty(), None).unwrap();
    (&client).write_all(b"without").unwrap();
    downstream.note(READABLE);
    let mut supplies = Supplies::new(1024, FdBudget::new(20_000, 0));
    let outcome = Tunnel::new(Accelerate::Auto).drive(&mut downstream, &mut upstream, &mut supplies, zero());
    assert_eq!(outcome, Outcome::Wait);
    let mut got = [0; 13];
    server.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"with, without");
}
