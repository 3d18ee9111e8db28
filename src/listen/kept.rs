//! Sockets that are kept for an address, and come from or go to another
//! process.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use socket2::SockRef;

use super::Kept;

impl Kept {
    /// Sockets that a predecessor kept; `local`: the address they are bound to.
    pub fn of(sockets: Vec<OwnedFd>, local: String) -> Self {
        Self { sockets, local }
    }

    /// Duplicates for a successor.
    ///
    /// # Errors
    /// If file descriptors run out.
    pub fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.iter().map(OwnedFd::try_clone).collect()
    }
}

/// Whether it is a listening socket.
pub fn is_listening(fd: &OwnedFd) -> bool {
    SockRef::from(&fd.as_fd()).is_listener().unwrap_or(false)
}
