//! What netctl knows of the world around it. Read once; everything else takes
//! it as an argument.

use std::{
    io::{IsTerminal, stdout},
    path::PathBuf,
    time::SystemTime,
};

use nix::unistd::{Uid, User, geteuid, getuid};

/// Environment, user, clock and terminal.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// `$NETD_ADMIN`, unless it is empty: where netd serves its admin API.
    pub admin: Option<String>,
    /// Who asks, unless `--who` says otherwise.
    pub user: String,
    /// Numeric id of the process's user.
    pub uid: u32,
    /// Socket of a system-wide netd.
    pub system_socket: PathBuf,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// Standard output is a terminal, so many columns wide.
    pub terminal_width: Option<u16>,
    /// Colour is wanted: a terminal, and no `$NO_COLOR`.
    pub colour: bool,
    /// The wall clock.
    pub clock: fn() -> SystemTime,
}

impl Surroundings {
    /// Where a netd of the whole system serves its admin API.
    pub const SYSTEM_SOCKET: &str = "/run/netd/admin.sock";

    /// Reads environment, user database and terminal.
    pub fn read() -> Self {
        let tty = stdout().is_terminal();
        Self {
            admin: variable("NETD_ADMIN"),
            user: user_name(),
            uid: geteuid().as_raw(),
            system_socket: PathBuf::from(Self::SYSTEM_SOCKET),
            runtime_dir: variable("XDG_RUNTIME_DIR").map(PathBuf::from),
            terminal_width: if tty { comfy_table::Table::new().width() } else { None },
            colour: tty && variable("NO_COLOR").is_none(),
            clock: wall_clock,
        }
    }
}

/// The person, also behind sudo(8): a change by "root" helps nobody later.
fn user_name() -> String {
    let uid = getuid();
    if uid.is_root()
        && let Some(name) = variable("SUDO_USER")
    {
        return name;
    }
    account_name(uid).or_else(|| variable("USER")).unwrap_or_else(|| format!("uid {uid}"))
}

fn account_name(uid: Uid) -> Option<String> {
    User::from_uid(uid).ok().flatten().map(|user| user.name)
}

/// A variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the one place where the client reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[expect(clippy::disallowed_methods, reason = "the one place where the client reads the clock, to write `3m ago`")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
