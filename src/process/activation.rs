//! Sockets that a service manager opened before netd ran (sd_listen_fds(3)).

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use socket2::{SockAddr, SockRef, Type};

use super::Env;
use crate::{config::Address, sys::process::take_inherited};

/// Most sockets that are taken over.
pub const MAX_SOCKETS: usize = 1024;

/// The first of them (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// A listening stream socket that was passed in: close-on-exec, non-blocking.
#[derive(Debug)]
pub struct Inherited {
    /// From LISTEN_FDNAMES (`FileDescriptorName=` of the socket unit).
    pub name: Option<String>,
    /// The socket.
    pub fd: OwnedFd,
    /// Where it listens, written as netd writes an [`Address`].
    pub local: String,
}

/// Something that was passed in and that netd cannot listen on. Closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// From LISTEN_FDNAMES.
    pub name: Option<String>,
    /// The number it had.
    pub fd: RawFd,
    /// What is wrong with it.
    pub reason: String,
}

/// All that was passed in.
#[derive(Debug, Default)]
pub struct Activation {
    /// In order of their numbers.
    pub sockets: Vec<Inherited>,
    /// In order of their numbers.
    pub refused: Vec<Refused>,
}

/// Which inherited sockets are whose.
#[derive(Debug, Default)]
pub struct Matched {
    /// By name of the listener, one or more sockets each.
    pub listeners: BTreeMap<String, Vec<Inherited>>,
    /// No listener wants these; to be reported and dropped.
    pub unmatched: Vec<Inherited>,
}

/// Takes over what was passed in: nothing unless LISTEN_PID is `own_pid`.
///
/// The caller removes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES from the
/// environment afterwards. A second call finds the sockets owned and fails.
///
/// # Errors
/// If the variables make no sense together, more than [`MAX_SOCKETS`] are
/// promised, or a promised descriptor is not there.
pub fn inherited(env: Env<'_>, own_pid: u32) -> io::Result<Activation> {
    let mut activation = Activation::default();
    for (fd, name) in promised(env, own_pid).map_err(|message| io::Error::new(io::ErrorKind::InvalidData, message))? {
        let socket = take_inherited(fd).map_err(|error| {
            io::Error::new(error.kind(), format!("LISTEN_FDS promises file descriptor {fd}, but: {error}"))
        })?;
        match listening_address(&socket) {
            Ok(local) => {
                SockRef::from(&socket).set_nonblocking(true)?;
                activation.sockets.push(Inherited { name, fd: socket, local });
            }
            Err(reason) => activation.refused.push(Refused { name, fd, reason }),
        }
    }
    Ok(activation)
}

/// Gives each socket to the listener whose name it bears, else to the one whose
/// address it has.
pub fn match_listeners(inherited: Vec<Inherited>, listeners: &[(&str, &Address)]) -> Matched {
    let mut matched = Matched::default();
    for socket in inherited {
        match owner(socket.name.as_deref(), &socket.local, listeners) {
            Some(listener) => matched.listeners.entry(listener.to_owned()).or_default().push(socket),
            None => matched.unmatched.push(socket),
        }
    }
    matched
}

fn owner<'a>(name: Option<&str>, local: &str, listeners: &[(&'a str, &Address)]) -> Option<&'a str> {
    let by_name = listeners.iter().find(|(listener, _)| Some(*listener) == name);
    let by_address = || listeners.iter().find(|(_, address)| address.to_string() == local);
    by_name.or_else(by_address).map(|(listener, _)| *listener)
}

/// The descriptors that the environment promises, with their names.
fn promised(env: Env<'_>, own_pid: u32) -> Result<Vec<(RawFd, Option<String>)>, String> {
    let Some(pid) = env("LISTEN_PID") else { return Ok(Vec::new()) };
    if pid.parse::<u32>().map_err(|_| format!("LISTEN_PID is `{pid}`, not a process id"))? != own_pid {
        return Ok(Vec::new());
    }
    let Some(count) = env("LISTEN_FDS") else { return Ok(Vec::new()) };
    let count = count
        .parse::<usize>()
        .ok()
        .filter(|&count| count <= MAX_SOCKETS)
        .ok_or_else(|| format!("LISTEN_FDS is `{count}`; it must be a number of sockets, 0 to {MAX_SOCKETS}"))?;
    let names: Vec<Option<String>> = match env("LISTEN_FDNAMES") {
        None => vec![None; count],
        Some(names) if names.is_empty() && count == 0 => Vec::new(),
        Some(names) => names.split(':').map(|name| (!name.is_empty()).then(|| name.to_owned())).collect(),
    };
    if names.len() != count {
        return Err(format!("LISTEN_FDNAMES has {} names for {count} sockets (LISTEN_FDS)", names.len()));
    }
    Ok((FIRST..).zip(names).collect())
}

/// Where it listens, or why it is nothing to accept on.
fn listening_address(fd: &OwnedFd) -> Result<String, String> {
    let socket = SockRef::from(fd);
    match socket.r#type() {
        Ok(Type::STREAM) => {}
        Ok(other) => {
            let kind = if other == Type::DGRAM { "a datagram socket" } else { "no stream socket" };
            return Err(format!("it is {kind}; netd needs ListenStream="));
        }
        Err(error) => return Err(format!("it is no socket ({error})")),
    }
    match socket.is_listener() {
        Ok(true) => {}
        Ok(false) => return Err("it is a connection; netd needs Accept=no".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let address = socket.local_addr().map_err(|error| error.to_string())?;
    written(&address).ok_or_else(|| format!("its address family is {}, neither IP nor Unix", address.family()))
}

fn written(address: &SockAddr) -> Option<String> {
    if let Some(inet) = address.as_socket() {
        return Some(inet.to_string());
    }
    if let Some(path) = address.as_pathname() {
        return Some(format!("unix:{}", path.display()));
    }
    address.as_abstract_namespace().map(|name| format!("unix:@{}", String::from_utf8_lossy(name)))
}

impl AsRawFd for Inherited {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
