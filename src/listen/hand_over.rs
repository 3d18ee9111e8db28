//! Listening sockets that go to another process, or to other workers, with
//! their accept queues.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use nix::sys::stat::fstat;
use socket2::{SockRef, Type};

use super::{Bound, ListenSocket, Ownership, SocketFile};

/// How a listening socket came to be, which decides how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// netd bound it, one a worker.
    Own,
    /// As `Own`, and netd keeps the address for good.
    Kept,
    /// netd bound one Unix-domain socket for all workers.
    Shared,
    /// systemd made it.
    Inherited,
}

/// A further descriptor of a listening socket. Dropping it changes nothing.
#[derive(Debug)]
pub struct Duplicate {
    /// The socket: non-blocking, listening.
    pub fd: OwnedFd,
    /// How it came to be.
    pub origin: Origin,
}

impl ListenSocket {
    /// How it came to be.
    pub fn origin(&self) -> Origin {
        match self.ownership {
            Ownership::Own => Origin::Own,
            Ownership::Kept(_) => Origin::Kept,
            Ownership::Shared(_) => Origin::Shared,
            Ownership::Inherited => Origin::Inherited,
        }
    }

    /// A further descriptor of the same socket.
    ///
    /// # Errors
    /// EMFILE: file descriptors have run out.
    pub fn duplicate(&self) -> io::Result<Duplicate> {
        Ok(Duplicate { fd: self.fd.try_clone()?, origin: self.origin() })
    }

    /// A further descriptor for another worker of this process, which accepts
    /// from the same queue.
    ///
    /// # Errors
    /// EMFILE: file descriptors have run out.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, ownership: self.ownership.clone() })
    }

    /// Somebody else has it now and sees to its end: dropping it only closes
    /// this descriptor. It goes on listening, nothing keeps handshakes away,
    /// and the file of a Unix-domain socket stays.
    pub fn give_away(&mut self) {
        if let Ownership::Shared(file) = &self.ownership {
            file.given_away.store(true, Relaxed);
        }
        self.ownership = Ownership::Inherited;
    }
}

/// Takes on the sockets of one listener from a predecessor that has given them
/// away, or is about to; their queues go on. Answers as many as were given, in
/// their order; see [`spread`]. `file`: that of a Unix-domain socket, which may
/// have been renamed since the socket was bound to it.
///
/// # Errors
/// If one is no listening stream socket, or the file of a Unix-domain socket is
/// gone.
pub fn resume(sockets: Vec<Duplicate>, file: Option<&Path>) -> io::Result<Bound> {
    let mut local = String::new();
    let mut shared = None;
    let mut resumed = Vec::with_capacity(sockets.len());
    for Duplicate { fd, origin } in sockets {
        let socket = SockRef::from(&fd);
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket"));
        }
        let address = socket.local_addr()?;
        let path = address.as_pathname().map(|bound| file.unwrap_or(bound));
        local = match (address.as_socket(), path) {
            (Some(address), _) => address.to_string(),
            (None, Some(path)) => format!("unix:{}", path.display()),
            (None, None) => "unix:".to_owned(),
        };
        let ownership = match (origin, path) {
            (Origin::Own, _) => Ownership::Own,
            (Origin::Kept, _) => Ownership::Kept(Arc::default()),
            (Origin::Shared, Some(path)) => {
                let file = match &shared {
                    Some(file) => Arc::clone(file),
                    None => Arc::clone(shared.insert(Arc::new(SocketFile::new(path)?))),
                };
                Ownership::Shared(file)
            }
            (Origin::Shared, None) | (Origin::Inherited, _) => Ownership::Inherited,
        };
        resumed.push(ListenSocket { fd, ownership });
    }
    Ok(Bound { sockets: resumed, local })
}

/// Deals sockets out, so that none is left unserved: worker `n` gets the `n`th,
/// and of more sockets than workers some get several. Workers for which there
/// is none share that of another.
///
/// # Errors
/// EMFILE, for a socket to be shared.
pub fn spread(sockets: Vec<ListenSocket>, workers: usize) -> io::Result<Vec<Vec<ListenSocket>>> {
    let given = sockets.len();
    let mut dealt: Vec<Vec<ListenSocket>> = (0..workers).map(|_| Vec::new()).collect();
    for (n, socket) in sockets.into_iter().enumerate() {
        if let Some(hand) = n.checked_rem(workers).and_then(|worker| dealt.get_mut(worker)) {
            hand.push(socket);
        }
    }
    for worker in given..workers {
        let Some(shared) = worker.checked_rem(given).and_then(|other| dealt[other].first()) else { break };
        let copy = shared.share()?;
        dealt[worker].push(copy);
    }
    Ok(dealt)
}

/// One descriptor of each socket: all workers have the same socket of some
/// listeners.
///
/// # Errors
/// What fstat(2) says, which is nothing for an open socket.
pub fn distinct(duplicates: Vec<Duplicate>) -> io::Result<Vec<Duplicate>> {
    let mut seen = Vec::new();
    let mut kept = Vec::with_capacity(duplicates.len());
    for duplicate in duplicates {
        let inode = fstat(duplicate.fd.as_fd())?.st_ino;
        if !seen.contains(&inode) {
            seen.push(inode);
            kept.push(duplicate);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;
