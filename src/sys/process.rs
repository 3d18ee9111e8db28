//! Processes: fork, signals, inherited file descriptors, environment, pidfds.

#![expect(
    unsafe_code,
    reason = "fork, signal actions, inherited file descriptors and the environment have no safe form"
)]

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
    unistd::{ForkResult, Pid},
};

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The old process; the child's id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Number of threads of this process.
///
/// # Errors
/// If /proc is not there.
pub fn thread_count() -> io::Result<usize> {
    fs::read_dir("/proc/self/task").map(Iterator::count)
}

/// Makes a second process of this one (fork(2)).
///
/// # Errors
/// If more than one thread runs (the child would have only one of them, and
/// every lock of the others held for ever), or what fork(2) says.
pub fn fork() -> io::Result<Fork> {
    require_single_thread("fork")?;
    // SAFETY: this is the only thread, checked above, so no lock can be held by a thread that the child lacks, and the
    // child may do all that the parent may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Ends this process without destructors or buffers: for the sides of a fork
/// that must not run what belongs to the other side (_exit(2)).
pub fn exit_at_once(status: u8) -> ! {
    // SAFETY: _exit takes no pointer and does not return.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Sets every signal's action to the default, 1 to SIGRTMAX, and unblocks all.
///
/// # Errors
/// What sigaction(2) says, except that it may refuse the signals that cannot
/// be caught or that libc keeps for itself.
pub fn reset_signals() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: an all-zero sigaction is valid: SIG_DFL, empty mask, no flags. The pointers live through the call.
        let result = unsafe {
            let default: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &raw const default, ptr::null_mut())
        };
        match Errno::result(result) {
            Ok(_) | Err(Errno::EINVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Ignores these signals from now on.
///
/// # Errors
/// For signals that cannot be ignored.
pub fn ignore_signals(signals: &[Signal]) -> io::Result<()> {
    for &signal in signals {
        // SAFETY: an all-zero sigaction is valid; SIG_IGN installs no function. The pointers live through the call.
        let result = unsafe {
            let mut ignore: libc::sigaction = std::mem::zeroed();
            ignore.sa_sigaction = libc::SIG_IGN;
            libc::sigaction(signal as i32, &raw const ignore, ptr::null_mut())
        };
        Errno::result(result)?;
    }
    Ok(())
}

/// Closes every file descriptor above 2 that is not in `preserve`.
///
/// To be called before the program opens anything that it wants to keep: what
/// is open then was left by whoever started the program, and nobody here owns
/// it. What is owned already must be in `preserve`.
///
/// # Errors
/// If more than one thread runs, or what close_range(2) says.
pub fn close_inherited(preserve: &[RawFd]) -> io::Result<()> {
    require_single_thread("close inherited file descriptors")?;
    for (first, last) in gaps(preserve) {
        // SAFETY: takes numbers only. No other thread runs, and the caller has named every descriptor that is owned.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        match Errno::result(result) {
            Ok(_) => {}
            // Linux before 5.9, or a sandbox that does not know it.
            Err(Errno::ENOSYS | Errno::EPERM) => close_listed(first, last)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Takes over a file descriptor that came through exec(2), and makes it
/// close-on-exec. Works once for each number.
///
/// # Errors
/// `InvalidInput` for 0 to 2; EBADF if nothing is open there; `AlreadyExists`
/// if it is close-on-exec: such a one cannot have come through exec, so
/// somebody in this process owns it.
pub fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "standard streams cannot be taken over"));
    }
    // SAFETY: used for two fcntl calls only, which report a closed descriptor as EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if fcntl(borrowed, FcntlArg::F_GETFD)? & FdFlag::FD_CLOEXEC.bits() != 0 {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("file descriptor {fd} was opened by this process, not inherited"),
        ));
    }
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open and was not close-on-exec. Everything that this process opens is (std, mio, nix callers), so
    // it was inherited and has no owner yet; from now on this function refuses it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Removes the variables that `remove` names from the environment, then sets
/// those in `set`.
///
/// # Errors
/// If more than one thread runs (environ(7) has no lock that C code knows).
#[expect(clippy::disallowed_methods, reason = "what is removed must be found first")]
pub fn edit_environment(remove: impl Fn(&OsStr) -> bool, set: &[(&str, &str)]) -> io::Result<()> {
    require_single_thread("change the environment")?;
    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).filter(|name| remove(name)).collect();
    for name in names {
        // SAFETY: no other thread runs that could read the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
    for (name, value) in set {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

/// A handle on another process that never names a later one with the same
/// number (pidfd_open(2), Linux 5.3). Readable once the process has ended.
///
/// # Errors
/// ESRCH if there is no such process; what the system says.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = RawFd::try_from(Errno::result(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; it is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process behind a pidfd (pidfd_send_signal(2)).
///
/// # Errors
/// ESRCH if it has ended; EPERM if it is not ours.
pub fn pidfd_send_signal(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call; a null siginfo is allowed.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as i32, ptr::null::<libc::siginfo_t>(), 0)
    };
    Errno::result(result)?;
    Ok(())
}

fn require_single_thread(action: &str) -> io::Result<()> {
    match thread_count()? {
        1 => Ok(()),
        count => Err(io::Error::other(format!("cannot {action}: {count} threads run already"))),
    }
}

/// The ranges of numbers above 2 that are not in `preserve`.
fn gaps(preserve: &[RawFd]) -> Vec<(u32, u32)> {
    let keep: BTreeSet<u32> = preserve.iter().filter_map(|&fd| u32::try_from(fd).ok()).filter(|&fd| fd > 2).collect();
    let mut gaps = Vec::with_capacity(keep.len() + 1);
    let mut first = 3;
    for fd in keep {
        if fd > first {
            gaps.push((first, fd - 1));
        }
        first = fd + 1;
    }
    gaps.push((first, u32::MAX));
    gaps
}

fn close_listed(first: u32, last: u32) -> io::Result<()> {
    // Collected before anything is closed: the listing has a descriptor too, gone when the loop starts.
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd: &RawFd| u32::try_from(fd).is_ok_and(|fd| (first..=last).contains(&fd)))
        .collect();
    for fd in open {
        // SAFETY: takes a number only; as for close_range above, nobody owns it. EBADF is harmless.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::IntoRawFd};

    use super::*;

    #[test]
    fn gaps_leave_out_exactly_what_is_preserved() {
        assert_eq!(gaps(&[]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[0, 1, 2, -1]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[3]), [(4, u32::MAX)]);
        assert_eq!(gaps(&[9, 5, 6, 5]), [(3, 4), (7, 8), (10, u32::MAX)]);
    }

    #[test]
    fn a_threaded_process_may_not_fork() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        for error in [fork().err(), close_inherited(&[]).err(), edit_environment(|_| true, &[]).err()] {
            assert!(error.is_some_and(|error| error.to_string().contains("threads run already")));
        }
        drop(stop);
        assert!(thread.join().is_ok());
    }

    #[test]
    fn an_inherited_descriptor_is_taken_once() {
        let file = File::open("/dev/null").unwrap();
        assert_eq!(take_inherited(file.as_raw_fd()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // As it would come through exec.
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let owned = take_inherited(file.into_raw_fd()).unwrap();
        assert_eq!(take_inherited(owned.as_raw_fd()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(take_inherited(1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(take_inherited(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_pidfd_signals_the_process_it_was_opened_for() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let pidfd = pidfd_open(pid).unwrap();
        pidfd_send_signal(&pidfd, Signal::SIGTERM).unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert_eq!(pidfd_send_signal(&pidfd, Signal::SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
