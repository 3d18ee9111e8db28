//! What tests of daemons need between fork and exec.

use std::{fs::File, io, os::fd::OwnedFd, process::Command};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
        wait::{WaitStatus, waitpid},
    },
    unistd::ForkResult,
};

/// Runs `body` in a child with a single thread and returns how that ended. The
/// test harness has more, idle ones: the child does without them.
pub(crate) fn in_single_threaded_child(body: impl FnOnce()) -> WaitStatus {
    // SAFETY: the other thread of a test that runs alone waits for its result and holds no lock; malloc's own are
    // handled by libc's fork. The child ends with _exit.
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err();
            super::exit_at_once(u8::from(failed));
        }
    }
}

/// The command will start in the worst surroundings for a daemon: SIGUSR1
/// ignored, others blocked, `left_open` inherited.
pub(crate) fn spoil(command: &mut Command, left_open: Vec<File>) {
    use std::os::unix::process::CommandExt;
    let spoil = move || -> io::Result<()> {
        for file in &left_open {
            fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        // SAFETY: SIG_IGN installs no function.
        unsafe { signal(Signal::SIGUSR1, SigHandler::SigIgn) }?;
        let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR2]);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
        Ok(())
    };
    // SAFETY: makes async-signal-safe calls only and allocates nothing.
    unsafe { command.pre_exec(spoil) };
}

/// The command will find `sockets` at 3, 4, ... as a service manager passes
/// them.
pub(crate) fn pass_from_3(command: &mut Command, sockets: Vec<OwnedFd>) {
    use std::os::unix::process::CommandExt;
    let pass = move || -> io::Result<()> {
        // Out of the way first: one may sit where another has to go.
        let mut moved = [-1; 16];
        for (place, socket) in moved.iter_mut().zip(&sockets) {
            *place = fcntl(socket, FcntlArg::F_DUPFD_CLOEXEC(600))?;
        }
        for ((number, _), fd) in (3..).zip(&sockets).zip(moved) {
            // SAFETY: takes numbers only; nothing of this process is used after exec.
            Errno::result(unsafe { libc::dup2(fd, number) })?;
        }
        Ok(())
    };
    // SAFETY: makes async-signal-safe calls only and allocates nothing.
    unsafe { command.pre_exec(pass) };
}
