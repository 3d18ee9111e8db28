//! Pipes as a place for bytes that never enter this process: splice(2).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    unistd::pipe2,
};

/// A non-blocking pipe, both ends in one hand.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

impl Pipe {
    /// A pipe of `capacity` bytes, or of as many as the system allows
    /// (`/proc/sys/fs/pipe-max-size`, see pipe(7)).
    ///
    /// # Errors
    /// EMFILE or ENFILE: two file descriptors are needed.
    pub fn new(capacity: usize) -> io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        let wanted = i32::try_from(capacity).unwrap_or(i32::MAX);
        let got = fcntl(&write, FcntlArg::F_SETPIPE_SZ(wanted)).or_else(|_| fcntl(&write, FcntlArg::F_GETPIPE_SZ))?;
        Ok(Self { read, write, capacity: usize::try_from(got).unwrap_or(0) })
    }

    /// Both ends of a pipe that somebody else made, non-blocking.
    pub fn adopt(read: OwnedFd, write: OwnedFd) -> Self {
        // One that does not tell is used as if it were small.
        let capacity = fcntl(&write, FcntlArg::F_GETPIPE_SZ).ok().and_then(|bytes| usize::try_from(bytes).ok());
        Self { read, write, capacity: capacity.unwrap_or(4096) }
    }

    /// Gives up both ends, for reading and for writing.
    pub fn into_ends(self) -> (OwnedFd, OwnedFd) {
        (self.read, self.write)
    }

    /// Bytes that it takes at most; less if they come in small pieces.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Moves up to `n` bytes from a socket into the pipe. `Ok(0)` is the end
    /// of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has none, or the pipe is full; else what
    /// ended the connection.
    pub fn splice_from(&self, socket: impl AsFd, n: usize) -> io::Result<usize> {
        Ok(splice(socket, None, &self.write, None, n, flags())?)
    }

    /// Moves up to `n` bytes from the pipe into a socket.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has no room, or the pipe is empty; else what
    /// ended the connection.
    pub fn splice_to(&self, socket: impl AsFd, n: usize) -> io::Result<usize> {
        Ok(splice(&self.read, None, socket, None, n, flags())?)
    }

    /// The end that bytes go into.
    pub fn write_end(&self) -> &OwnedFd {
        &self.write
    }

    /// The end that bytes come out of.
    pub fn read_end(&self) -> &OwnedFd {
        &self.read
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}
