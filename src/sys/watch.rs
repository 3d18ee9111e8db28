//! File descriptors in tokio's reactor.
#![expect(unsafe_code, reason = "the reactor must be promised that the descriptor stays open and the same")]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A file descriptor that can be waited for.
#[derive(Debug)]
pub struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    /// To be called within a runtime.
    ///
    /// # Errors
    /// What epoll says: not everything can be waited for.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an OwnedFd is open and stays the same number; it is owned by the AsyncFd alone, which drops it after
        // its registration, and this type lends it only shared.
        Ok(Self(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?))
    }

    /// Waits until `read` answers anything but `WouldBlock`.
    ///
    /// # Errors
    /// Those of `read` or of the reactor.
    pub async fn read<T>(&self, mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        loop {
            let mut guard = self.0.readable().await?;
            if let Ok(result) = guard.try_io(|fd| read(fd.as_fd())) {
                return result;
            }
        }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
