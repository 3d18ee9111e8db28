//! What the scenarios are written in.

pub(crate) mod child;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod daemon;
pub(crate) mod exposition;
pub(crate) mod finished;
pub(crate) mod intermediary;
pub(crate) mod manager;
pub(crate) mod origin;
pub(crate) mod pattern;
pub(crate) mod ports;
pub(crate) mod proc;
pub(crate) mod tracer;
pub(crate) mod traffic;

pub(crate) use client::{Client, End};
pub(crate) use clock::{PATIENCE, eventually};
pub(crate) use daemon::{Daemon, Setup};
pub(crate) use finished::Finished;
pub(crate) use origin::Origin;

/// Whether the tests run as root; prints why a test does nothing if not.
pub(crate) fn is_root(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: {what} needs root");
    }
    root
}
