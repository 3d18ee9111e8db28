//! Sockets that are kept for an address, and come from or go to another
//! process.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
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

/// A descriptor of a listening socket that somebody is to keep beyond the end of
/// this process.
#[derive(Debug)]
pub struct Shelved {
    /// Name of its listener.
    pub listener: String,
    /// The file of a Unix-domain socket.
    pub file: Option<PathBuf>,
    /// The socket.
    pub fd: OwnedFd,
}

/// What tells the file of a Unix-domain socket from another one that has its
/// path later: device and inode; `None`: there is no socket.
pub fn file_identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.file_type().is_socket().then(|| (metadata.dev(), metadata.ino()))
}

/// Gives the file of a Unix-domain socket these mode bits.
///
/// # Errors
/// What chmod(2) says.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
