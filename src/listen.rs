//! Listening sockets: one a worker and address, bound here or adopted.

use std::{io, net::SocketAddr, os::fd::OwnedFd, path::PathBuf};

/// One worker's listening socket for one listener: non-blocking, close-on-exec,
/// listening.
#[derive(Debug)]
pub struct ListenSocket {
    /// The socket.
    pub fd: OwnedFd,
    /// What has to be done with it when accepting stops.
    pub ownership: Ownership,
}

/// Who else has the socket, which decides how accepting is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// netd bound it, this worker alone has it: its queue ends with it.
    Own,
    /// All workers have the same socket (Unix-domain listeners).
    Shared,
    /// systemd has it too: it must be left as it was, its queue lives on.
    Inherited,
}

/// Where and how to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindOptions {
    /// Where.
    pub address: BindAddress,
    /// Length of one socket's accept queue.
    pub backlog: u32,
    /// IPv6 only, for IPv6 addresses.
    pub v6only: bool,
    /// Mode bits of a Unix socket's file.
    pub mode: u32,
    /// netd itself listens on this address already (it is bound anew with
    /// other options): do not take that for a conflict.
    pub rebind: bool,
}

/// A stream socket's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindAddress {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// Unix-domain.
    Unix(PathBuf),
}

/// One listener's sockets, one a worker, in order of the workers.
#[derive(Debug)]
pub struct Bound {
    /// One a worker.
    pub sockets: Vec<ListenSocket>,
    /// The address in fact bound: `ADDRESS:PORT` or `unix:PATH`.
    pub local: String,
}

/// Binds `workers` sockets to one address.
///
/// # Errors
/// What the system says, with the address in the message; `AddrInUse` if
/// anybody else listens there, although SO_REUSEPORT would allow it.
pub fn bind(_options: &BindOptions, _workers: usize) -> io::Result<Bound> {
    Err(io::Error::other("stub"))
}

/// Takes over a listening socket that systemd made; every worker gets a
/// duplicate of it.
///
/// # Errors
/// If it is no listening stream socket.
pub fn adopt(_fd: OwnedFd, _workers: usize) -> io::Result<Bound> {
    Err(io::Error::other("stub"))
}
