//! Listening sockets that systemd keeps (its file descriptor store,
//! sd_pid_notify_with_fds(3)): what is kept under which name, and what of it a
//! start may use.
//!
//! A socket that is kept listens for as long as it is kept, whether or not
//! anybody accepts. So nothing may stay there that netd does not serve.
//!
//! A Unix-domain socket is reached through its file. Somebody else may have put
//! another one in its place while nobody ran: the name of the kept socket says
//! which file was its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Shutdown, SocketAddr},
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::stat::fstat;
use socket2::SockRef;

use super::{Env, activation::Inherited, notify::Notify};
use crate::{
    config::Address,
    listen::{Shelved, file_identity},
};

/// Set by systemd (254) or by the unit: how many descriptors it keeps.
pub const VARIABLE: &str = "FDSTORE";

/// Names of netd's own; what a socket unit passes in has others.
const PREFIX: &str = "netd-listener/";

/// The name of a socket: of its listener, of itself among them (its inode, which
/// it keeps in every process), and of its file (device and inode).
fn name(socket: &Shelved) -> io::Result<String> {
    let inode = fstat(socket.fd.as_fd())?.st_ino;
    let file = match &socket.file {
        None => String::new(),
        Some(path) => {
            let (device, inode) = file_identity(path).ok_or(io::ErrorKind::NotFound)?;
            format!("-{device}-{inode}")
        }
    };
    Ok(format!("{PREFIX}{}/{inode}{file}", socket.listener))
}

/// The file that a name speaks of.
fn file(name: &str) -> Option<(u64, u64)> {
    let (_, file) = name.rsplit_once('/')?.1.split_once('-')?;
    let (device, inode) = file.split_once('-')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// The listener that a socket was kept for; `None`: it is none of ours.
fn listener(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.rsplit_once('/').map(|(listener, _)| listener)
}

/// What systemd keeps, as far as it was told.
#[derive(Debug)]
pub struct FdStore {
    /// 0: nothing is kept.
    capacity: usize,
    kept: BTreeSet<String>,
}

/// What an earlier netd has left.
#[derive(Debug, Default)]
pub struct Left {
    /// By listener.
    pub listeners: BTreeMap<String, Vec<OwnedFd>>,
    /// From elsewhere: socket units.
    pub others: Vec<Inherited>,
    /// Names of those that nobody wants. They are closed.
    pub stale: Vec<String>,
}

impl FdStore {
    /// Reads [`VARIABLE`].
    pub fn from_env(env: Env<'_>) -> Self {
        let capacity = env(VARIABLE).and_then(|text| text.parse().ok()).unwrap_or(0);
        Self { capacity, kept: BTreeSet::new() }
    }

    /// Whether anything can be kept.
    pub fn is_on(&self) -> bool {
        self.capacity > 0
    }

    /// Sorts out what an earlier netd has left; `listeners` are served now, and
    /// where. Sockets of others, of another address or whose file is not theirs
    /// any more are to be forgotten. They stop listening at once: the manager
    /// still has them, and a client must not wait where nobody accepts.
    pub fn sort(&mut self, passed: Vec<Inherited>, listeners: &[(&str, &Address)]) -> Left {
        let mut left = Left::default();
        for socket in passed {
            let Some(name) = socket.name.as_deref().filter(|name| listener(name).is_some()) else {
                left.others.push(socket);
                continue;
            };
            let wanted = listener(name).filter(|wanted| {
                let mut known = listeners.iter().filter(|(name, _)| name == wanted);
                known.any(|(_, address)| is_at(address, &socket.local, file(name)))
            });
            match wanted {
                Some(wanted) => {
                    self.kept.insert(name.to_owned());
                    left.listeners.entry(wanted.to_owned()).or_default().push(socket.fd);
                }
                None => {
                    // One that does not listen any more is as it should be.
                    let _ = SockRef::from(&socket.fd).shutdown(Shutdown::Read);
                    left.stale.push(name.to_owned());
                }
            }
        }
        left
    }

    /// Makes systemd keep these sockets, each with its listener's name, and no
    /// other; answers whether it was told of all.
    pub fn keep(&mut self, sockets: &[Shelved], notify: &Notify) -> bool {
        let mut complete = true;
        let mut wanted = BTreeSet::new();
        // What cannot be named cannot be forgotten either.
        let named = sockets.iter().filter_map(|socket| Some((name(socket).ok()?, &socket.fd)));
        for (name, socket) in named.take(self.capacity) {
            if self.kept.contains(&name) || notify.store(&name, socket.as_fd()) {
                wanted.insert(name);
            } else {
                complete = false;
            }
        }
        let gone: Vec<String> = self.kept.difference(&wanted).cloned().collect();
        for name in gone {
            if !notify.forget(&name) {
                complete = false;
                wanted.insert(name);
            }
        }
        self.kept = wanted;
        complete
    }

    /// Nothing is kept any more: somebody else will keep what is theirs.
    pub fn clear(&mut self, notify: &Notify) {
        self.kept.retain(|name| !notify.forget(name));
    }
}

/// Whether a socket at `local`, or with that file, is one for this address. A
/// port that the kernel chooses may be any. A file may have been renamed since
/// the socket was bound to it, which still has the old name.
fn is_at(address: &Address, local: &str, file: Option<(u64, u64)>) -> bool {
    match address {
        Address::Inet(address) if address.port() == 0 => {
            local.parse().is_ok_and(|local: SocketAddr| local.ip() == address.ip())
        }
        Address::Inet(address) => address.to_string() == local,
        Address::Unix(path) => file.is_some() && file_identity(path) == file,
    }
}

#[cfg(test)]
mod tests;
