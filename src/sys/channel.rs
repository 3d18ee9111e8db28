//! A socket pair that keeps datagrams apart and carries file descriptors:
//! SOCK_SEQPACKET and SCM_RIGHTS (unix(7)).
#![expect(unsafe_code, reason = "control messages with file descriptors have no safe form that closes them on errors")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
    },
};

/// Most file descriptors in one datagram; the kernel's limit is one more
/// (SCM_MAX_FD).
pub const MAX_FDS: usize = 252;

/// Room for one control message of [`MAX_FDS`], aligned as cmsghdr(3) wants.
const CONTROL_WORDS: usize = 160;

/// A control buffer.
type Control = [u64; CONTROL_WORDS];

const _: () = {
    // SAFETY: computes a size.
    let needed = unsafe { libc::CMSG_SPACE((MAX_FDS * size_of::<RawFd>()) as u32) } as usize;
    assert!(needed <= size_of::<Control>());
};

/// One datagram.
#[derive(Debug)]
pub struct Datagram {
    /// How much of the buffer it fills; 0: the other end is closed.
    pub length: usize,
    /// What came with it, in order, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// More had been sent than could be received here (this process has none
    /// left, or the sender does not keep to [`MAX_FDS`]). Those that arrived
    /// are closed.
    pub fds_lost: bool,
}

/// Two connected ends: non-blocking, close-on-exec.
///
/// # Errors
/// What socketpair(2) says.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one datagram, whole or not at all.
///
/// # Errors
/// `InvalidInput` for no bytes or more than [`MAX_FDS`]; EPIPE if the other
/// end is closed; EAGAIN, ENOBUFS and ETOOMANYREFS (too many file descriptors
/// are on their way) pass by waiting.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || fds.len() > MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty datagram, or too many file descriptors"));
    }
    let mut control: Control = [0; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: an all-zero msghdr is valid: no name, no parts, no control.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let length = size_of_val(fds) as u32; // a BorrowedFd is a RawFd
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the buffer holds MAX_FDS (asserted above), so the first header and as many numbers as `fds` has lie
        // within it; it is aligned for a cmsghdr, and numbers are written without alignment.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(length) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length) as _;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (index, fd) in fds.iter().enumerate() {
                data.add(index).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    loop {
        // SAFETY: `message` points to buffers that live through the call; the kernel only reads them.
        let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
        match Errno::result(result) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one datagram.
///
/// # Errors
/// `WouldBlock` if there is none; `InvalidData` if it does not fit the buffer
/// (its file descriptors are closed). What the other end left unread when it
/// closed (ECONNRESET) is no error: what it had sent is read first.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut control: Control = [0; CONTROL_WORDS];
    loop {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: as for sending.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: `message` points to exclusively borrowed buffers of the lengths that it tells.
        let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        let length = match Errno::result(result) {
            Ok(length) => usize::try_from(length).unwrap_or(0),
            // The kernel tells ECONNRESET once, then what is queued.
            Err(Errno::EINTR | Errno::ECONNRESET) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut fds = received(&message);
        let fds_lost = message.msg_flags & libc::MSG_CTRUNC != 0;
        if fds_lost {
            fds.clear();
        }
        if message.msg_flags & libc::MSG_TRUNC != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a datagram larger than the protocol allows"));
        }
        return Ok(Datagram { length, fds, fds_lost });
    }
}

/// Owns what the kernel has just installed.
fn received(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled in the control buffer and its length; the macros walk within it. Each number is a
    // descriptor that the kernel made for this process, and nobody else knows of it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    fds
}

/// What [`wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// A datagram, or the end.
    Read,
    /// Room for one.
    Write,
}

/// Waits until the socket is ready, or the other end is closed; `false`: it
/// was not in time. Also after a wait in which this process was stopped, the
/// answer is of the moment.
///
/// # Errors
/// What poll(2) says.
pub fn wait(socket: BorrowedFd<'_>, interest: Interest, limit: Duration) -> io::Result<bool> {
    let events = match interest {
        Interest::Read => libc::POLLIN,
        Interest::Write => libc::POLLOUT,
    };
    let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 };
    // Rounded up, so that a wait is never shorter than asked for.
    let millis = i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    // SAFETY: one valid entry, exclusively borrowed for the call.
    match Errno::result(unsafe { libc::poll(&raw mut entry, 1, millis) }) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A memfd with these bytes that nobody can change any more.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = std::fs::File::from(memfd_create("netd", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    io::Write::write_all(&mut &file, bytes)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
    Ok(file.into())
}

/// The bytes of a [`sealed`] memfd.
///
/// # Errors
/// `InvalidData` if it is none, not sealed, or longer than `limit`.
pub fn unsealed(fd: OwnedFd, limit: usize) -> io::Result<Vec<u8>> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let held = fcntl(&fd, FcntlArg::F_GET_SEALS).map_err(|_| invalid("not a memfd"))?;
    if !SealFlag::from_bits_truncate(held).contains(seals()) {
        return Err(invalid("a memfd that its sender can still change"));
    }
    let file = std::fs::File::from(fd);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > limit {
        return Err(invalid("a memfd larger than the protocol allows"));
    }
    let mut bytes = vec![0; length];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    Ok(bytes)
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

#[cfg(test)]
mod tests;
