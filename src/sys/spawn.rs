//! What a started program gets besides its arguments.
#![expect(unsafe_code, reason = "only between fork and exec a descriptor can be passed on to one child alone")]

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    os::unix::process::CommandExt,
    process::Command,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::process::reset_signals;

/// Lets the program that `command` starts have `fd` under the number that is
/// answered, and every signal at its default. All else that is close-on-exec
/// stays behind. `fd` is closed with the command.
pub fn hand_down(command: &mut Command, fd: OwnedFd) -> RawFd {
    let number = fd.as_raw_fd();
    let prepare = move || {
        reset_signals()?;
        fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    };
    // SAFETY: runs in the child between fork and exec, where only async-signal-safe functions may be called:
    // sigaction, pthread_sigmask and fcntl are; nothing allocates or locks.
    unsafe { command.pre_exec(prepare) };
    number
}
