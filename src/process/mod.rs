//! The daemon as a Unix process: detaching, pid file, credentials, limits, and
//! the protocols of service managers.
//!
//! Nothing here reads the environment or logs: variables come in through an
//! [`Env`], and what happened goes out as values.

pub mod activation;
pub mod daemonize;
pub mod kernel;
pub mod limits;
pub mod notify;
pub mod pidfile;
pub mod privileges;
pub mod successor;

/// Looks up an environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

#[cfg(test)]
mod testing;
