//! What happens to a program between fork and exec: surroundings that no
//! `Command` can make.

#![expect(unsafe_code, reason = "code between fork and exec has no safe form")]

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, setrlimit},
        signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
    },
    unistd::{Gid, Uid, setgid, setgroups, setuid},
};

use super::proc::Process;

/// Runs `before` in the child. It may make system calls only.
fn before_exec(command: &mut Command, before: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: all callers, below, make async-signal-safe system calls and allocate nothing.
    unsafe { command.pre_exec(before) };
}

/// May open so many files.
pub(crate) fn limit_files(command: &mut Command, limit: u64) {
    before_exec(command, move || Ok(setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?));
}

/// A process that runs already may open so many from now on.
pub(crate) fn limit_files_of(process: Process, limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the pointer to the new limit lives through the call; the old one is not asked for.
    let result = unsafe { libc::prlimit(process.0, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    Errno::result(result).expect("the limit of one's own process may be lowered");
}

/// Runs as this user, with no other group.
pub(crate) fn become_user(command: &mut Command, uid: u32) {
    before_exec(command, move || {
        setgroups(&[])?;
        setgid(Gid::from_raw(uid))?;
        Ok(setuid(Uid::from_raw(uid))?)
    });
}

/// The command will find `sockets` at 3, 4, ... as a service manager passes
/// them. Each must have a number above 3 + their count.
pub(crate) fn pass_from_3(command: &mut Command, sockets: Vec<OwnedFd>) {
    let high: Vec<OwnedFd> = sockets.into_iter().map(|socket| high(&socket)).collect();
    before_exec(command, move || {
        for (to, socket) in (3..).zip(&high) {
            // SAFETY: takes numbers only; nothing of this process is used after exec.
            Errno::result(unsafe { libc::dup2(socket.as_raw_fd(), to) })?;
        }
        Ok(())
    });
}

/// The same socket under a number that no dup2 of ours reaches.
fn high(socket: &OwnedFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    let fd = nix::fcntl::fcntl(socket, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(500)).expect("a free file descriptor");
    // SAFETY: fcntl has just made it; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The worst surroundings for a daemon: SIGUSR1 and SIGHUP ignored, all signals
/// blocked, files left open at 3 to 20, a umask.
pub(crate) fn spoil(command: &mut Command) {
    before_exec(command, || {
        for to in 3..=20 {
            // SAFETY: takes numbers only.
            Errno::result(unsafe { libc::dup2(1, to) })?;
        }
        for number in [Signal::SIGUSR1, Signal::SIGHUP] {
            // SAFETY: SIG_IGN installs no function.
            unsafe { signal(number, SigHandler::SigIgn) }?;
        }
        // SAFETY: takes a number only.
        unsafe { libc::umask(0o077) };
        Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?)
    });
}

/// A network of its own, loopback up, and an empty /run. Needs root.
pub(crate) fn alone(command: &mut Command) {
    before_exec(command, || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        loopback_up()?;
        mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
        mount(Some(c"none"), c"/run", Some(c"tmpfs"), 0)
    });
}

fn mount(
    source: Option<&std::ffi::CStr>,
    target: &std::ffi::CStr,
    kind: Option<&std::ffi::CStr>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let pointer = |text: Option<&std::ffi::CStr>| text.map_or(std::ptr::null(), std::ffi::CStr::as_ptr);
    // SAFETY: the strings end with NUL and live through the call; no data is passed.
    let result = unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, std::ptr::null()) };
    Ok(Errno::result(result).map(drop)?)
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: an all-zero ifreq is valid; the name fits and ends with NUL. The ioctl reads and writes it only.
    unsafe {
        let socket = Errno::result(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        Errno::result(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request))?;
        libc::close(socket);
    }
    Ok(())
}
