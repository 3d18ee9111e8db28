//! Listening sockets that systemd keeps (its file descriptor store,
//! sd_pid_notify_with_fds(3)): what is kept under which name, and what of it a
//! start may use.
//!
//! A socket that is kept listens for as long as it is kept, whether or not
//! anybody accepts. So nothing may stay there that netd does not serve.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::stat::fstat;

use super::{Env, activation::Inherited, notify::Notify};
use crate::config::Address;

/// Set by systemd (254) or by the unit: how many descriptors it keeps.
pub const VARIABLE: &str = "FDSTORE";

/// Names of netd's own; what a socket unit passes in has others.
const PREFIX: &str = "netd-listener/";

/// The name of a socket: of its listener, and of itself among them (its inode,
/// which it keeps in every process).
fn name(listener: &str, socket: &OwnedFd) -> io::Result<String> {
    let inode = fstat(socket.as_fd())?.st_ino;
    Ok(format!("{PREFIX}{listener}/{inode}"))
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
    /// where. Sockets of others, of another address, and those that do not
    /// listen are to be forgotten.
    pub fn sort(&mut self, passed: Vec<Inherited>, listeners: &[(&str, &Address)]) -> Left {
        let mut left = Left::default();
        for socket in passed {
            let Some(name) = socket.name.as_deref().filter(|name| listener(name).is_some()) else {
                left.others.push(socket);
                continue;
            };
            let wanted = listener(name).filter(|wanted| {
                listeners.iter().any(|(name, address)| name == wanted && is_at(address, &socket.local))
            });
            match wanted {
                Some(wanted) => {
                    self.kept.insert(name.to_owned());
                    left.listeners.entry(wanted.to_owned()).or_default().push(socket.fd);
                }
                None => left.stale.push(name.to_owned()),
            }
        }
        left
    }

    /// Makes systemd keep these sockets, each with its listener's name, and no
    /// other; answers whether it was told of all.
    pub fn keep(&mut self, sockets: &[(String, OwnedFd)], notify: &Notify) -> bool {
        let mut complete = true;
        let mut wanted = BTreeSet::new();
        // What cannot be named cannot be forgotten either.
        let named = sockets.iter().filter_map(|(listener, socket)| Some((name(listener, socket).ok()?, socket)));
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

/// Whether a socket at `local` is one for this address. A port that the kernel
/// chooses may be any.
fn is_at(address: &Address, local: &str) -> bool {
    match address {
        Address::Inet(address) if address.port() == 0 => {
            local.parse().is_ok_and(|local: std::net::SocketAddr| local.ip() == address.ip())
        }
        address => address.to_string() == local,
    }
}

#[cfg(test)]
mod tests;
