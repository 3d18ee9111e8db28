//! Tests of the channel.

use std::{fs::File, os::fd::AsFd};

use nix::fcntl::FdFlag;

use super::*;

const NO_FDS: &[BorrowedFd<'_>] = &[];

#[test]
fn datagrams_stay_apart_and_bring_their_descriptors() {
    let (a, b) = pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let fds = vec![file.as_fd(); MAX_FDS];
    send(a.as_fd(), b"one", &fds).unwrap();
    send(a.as_fd(), b"two", NO_FDS).unwrap();
    let mut buffer = [0; 16];
    let first = receive(b.as_fd(), &mut buffer).unwrap();
    assert_eq!((&buffer[..first.length], first.fds.len(), first.fds_lost), (b"one".as_slice(), MAX_FDS, false));
    for fd in &first.fds {
        assert_eq!(fcntl(fd, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
    }
    let second = receive(b.as_fd(), &mut buffer).unwrap();
    assert_eq!((&buffer[..second.length], second.fds.len()), (b"two".as_slice(), 0));
    assert_eq!(receive(b.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let (a, b) = pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    for (bytes, count) in [(b"".as_slice(), 0), (b"x", MAX_FDS + 1)] {
        let error = send(a.as_fd(), bytes, &vec![file.as_fd(); count]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    drop(b);
    assert_eq!(send(a.as_fd(), b"x", NO_FDS).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_full_channel_would_block_and_takes_again_what_was_read() {
    let (a, b) = pair().unwrap();
    let message = vec![1; 60_000];
    let mut sent = 0;
    while send(a.as_fd(), &message, NO_FDS).is_ok() {
        sent += 1;
    }
    assert!(sent > 0);
    assert_eq!(send(a.as_fd(), &message, NO_FDS).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(!wait(a.as_fd(), Interest::Write, Duration::from_millis(1)).unwrap());
    let mut buffer = vec![0; 60_000];
    for _ in 0..sent {
        assert_eq!(receive(b.as_fd(), &mut buffer).unwrap().length, 60_000);
    }
    assert!(wait(a.as_fd(), Interest::Write, Duration::from_secs(10)).unwrap());
}

#[test]
fn the_end_comes_after_what_was_sent_before_it() {
    let (a, b) = pair().unwrap();
    // Unread by `a`: its close is a reset for `b`.
    send(b.as_fd(), b"unread", NO_FDS).unwrap();
    send(a.as_fd(), b"last words", NO_FDS).unwrap();
    assert!(wait(b.as_fd(), Interest::Read, Duration::from_secs(10)).unwrap());
    drop(a);
    let mut buffer = [0; 16];
    let last = receive(b.as_fd(), &mut buffer).unwrap();
    assert_eq!(&buffer[..last.length], b"last words");
    assert_eq!(receive(b.as_fd(), &mut buffer).unwrap().length, 0);
    assert_eq!(receive(b.as_fd(), &mut buffer).unwrap().length, 0);
}

#[test]
fn a_datagram_larger_than_the_buffer_is_an_error_and_leaks_nothing() {
    let (a, b) = pair().unwrap();
    let (kept, sent) = pair().unwrap();
    send(a.as_fd(), b"too long", &[sent.as_fd()]).unwrap();
    drop(sent);
    let mut buffer = [0; 3];
    assert_eq!(receive(b.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
    // The received end is closed again.
    assert_eq!(receive(kept.as_fd(), &mut buffer).unwrap().length, 0);
}

#[test]
fn a_sealed_memfd_gives_its_bytes_back_and_nothing_else_does() {
    let bytes: Vec<u8> = (0..200_000u32).map(|byte| byte as u8).collect();
    let memfd = sealed(&bytes).unwrap();
    assert!(io::Write::write_all(&mut File::from(memfd.try_clone().unwrap()), b"x").is_err());
    assert_eq!(unsealed(memfd.try_clone().unwrap(), bytes.len()).unwrap(), bytes);
    for (fd, limit) in [
        (memfd, bytes.len() - 1),
        (File::open("/dev/null").unwrap().into(), 100),
        (memfd_create("open", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap(), 100),
    ] {
        assert_eq!(unsealed(fd, limit).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
