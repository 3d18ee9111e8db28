//! `netd --stop` and `netd --status`.

use std::{io, path::Path, time::Duration};

use crate::{
    daemon::{failure::Failure, tell},
    process::pidfile::{self, Holder, StopError},
};

/// Not running, as the LSB has it for init scripts.
const NOT_RUNNING: u8 = 3;

pub(super) fn stop(path: &Path, timeout: Duration) -> Result<u8, Failure> {
    match pidfile::stop(path, timeout) {
        Ok(stopped) => {
            tell(&mut io::stdout(), &format!("netd (pid {}) has stopped\n", stopped.pid));
            Ok(0)
        }
        Err(error @ StopError::NotRunning { .. }) => {
            Err(Failure { message: format!("{error} ({})", path.display()), status: NOT_RUNNING })
        }
        Err(error) => Err(Failure::new(error)),
    }
}

pub(super) fn status(path: &Path) -> Result<u8, Failure> {
    let holder = pidfile::holder(path)
        .map_err(|error| Failure { message: format!("pid file {}: {error}", path.display()), status: 4 })?;
    let text = match holder {
        Holder::Running(pid) => format!("netd runs with pid {pid}"),
        Holder::Stale(Some(pid)) => format!("netd is dead: process {pid} left {}", path.display()),
        Holder::Stale(None) => format!("netd is dead: {} holds no pid", path.display()),
        Holder::Missing => format!("netd does not run ({} does not exist)", path.display()),
        Holder::Empty => format!("netd does not run; it has ended in order and left {} empty", path.display()),
    };
    tell(&mut io::stdout(), &format!("{text}\n"));
    Ok(holder.exit_code())
}
