//! The environment that netd was started in, read once.

use std::{collections::HashMap, ffi::OsStr, io, path::PathBuf};

use crate::{process::successor, sys};

/// The file that the predecessor reads, for the way back.
pub(super) const FORMER_CONFIG: &str = "NETD_UPGRADE_FORMER_CONFIG";

/// A copy of the environment variables at the start. Reloads substitute from
/// it too, so it does not matter what detaching removes.
#[derive(Debug, Clone)]
pub(super) struct Environment(HashMap<String, String>);

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "the daemon reads its environment here, once")]
    pub(super) fn read() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// A directory for the pid file and the admin socket.
    pub(super) fn user_runtime_dir(&self) -> Option<PathBuf> {
        self.get("XDG_RUNTIME_DIR").filter(|path| path.starts_with('/')).map(PathBuf::from)
    }
}

/// Takes the service manager's variables out of the process's environment, so
/// that no child takes them for its own (sd_notify(3), sd_listen_fds(3)).
///
/// # Errors
/// If other threads run already.
pub(super) fn forget_supervisor() -> io::Result<()> {
    const NAMES: [&str; 9] = [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PIDFDID",
        successor::VARIABLE,
        FORMER_CONFIG,
    ];
    sys::process::edit_environment(|name: &OsStr| NAMES.iter().any(|each| name == *each), &[])
}
