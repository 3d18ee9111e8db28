//! The pid file: who of all that were started is the daemon.
//!
//! A lock on the file decides, not the number in it: a lock ends with its
//! process, a number is given to another one later. The lock is one of the open
//! file description (F_OFD_SETLK, fcntl(2)), so looking does not disturb it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        signal::Signal,
    },
    unistd::Pid,
};

use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// How often to start over when the path names another file after each lock.
const ATTEMPTS: usize = 100;

/// A pid file that is ours while this value lives.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    /// Who locked it: a forked child must not remove it.
    pid: u32,
    /// Found in it: the daemon that did not remove it.
    stale: Option<i32>,
    removed: bool,
}

/// Why a pid file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Another daemon runs.
    #[error("netd runs already: {holder} holds {path}; `netd --stop` ends it, or give this one another pid file", holder = describe(*pid, command.as_deref()), path = path.display())]
    AlreadyRunning {
        /// The file.
        path: PathBuf,
        /// Its process id; `None` if it has not yet written it.
        pid: Option<i32>,
        /// The name of its command.
        command: Option<String>,
    },
    /// The path names something else.
    #[error("{} is no regular file, so it cannot be the pid file", .0.display())]
    NotAFile(PathBuf),
    /// The system refused.
    #[error("pid file {path}: {source}{hint}", path = path.display(), hint = hint(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// What a pid file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A daemon has it locked and has written this id.
    Running(i32),
    /// Nobody has it locked; left by this process (`None`: it holds no id).
    Stale(Option<i32>),
    /// There is none.
    Missing,
    /// It is empty: left by a daemon that ended in order where it could not
    /// remove it.
    Empty,
}

impl Holder {
    /// Exit status of `netd --status` as the LSB wants it: 0 running, 1 dead
    /// but with a pid file, 3 not running.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Running(_) => 0,
            Self::Stale(_) => 1,
            Self::Missing | Self::Empty => 3,
        }
    }
}

/// A daemon that [`stop`] has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Its process id.
    pub pid: i32,
}

/// Why [`stop`] has not stopped a daemon.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// There is none.
    #[error("netd does not run{}", match stale { Some(pid) => format!(" (process {pid} left its pid file)"), None => String::new() })]
    NotRunning {
        /// Who left the pid file.
        stale: Option<i32>,
    },
    /// It has the signal, but is not through yet.
    #[error("netd (pid {pid}) still drains after {}; it ends when its connections have, or kill it", humantime::format_duration(*timeout))]
    TimedOut {
        /// Its process id.
        pid: i32,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The system refused.
    #[error("cannot stop netd: {0}")]
    Io(#[from] io::Error),
}

impl PidFile {
    /// Locks `path`, making it if need be, and writes this process's id.
    /// A file that nobody has locked is stale and taken over.
    ///
    /// To be called in the daemon, after the last fork and before privileges
    /// are dropped. The directory must exist.
    ///
    /// # Errors
    /// See [`PidFileError`].
    pub fn acquire(path: &Path) -> Result<Self, PidFileError> {
        let failed = |source| PidFileError::Io { path: path.to_owned(), source };
        for _ in 0..ATTEMPTS {
            let file = open(path).map_err(failed)?;
            if !file.metadata().map_err(failed)?.is_file() {
                return Err(PidFileError::NotAFile(path.to_owned()));
            }
            if !lock(&file).map_err(failed)? {
                let pid = read_pid(&file).map_err(failed)?;
                return Err(PidFileError::AlreadyRunning {
                    path: path.to_owned(),
                    pid,
                    command: pid.and_then(command_name),
                });
            }
            // Between open and lock the holder may have removed the file: then this lock is on nothing.
            if !names(path, &file).map_err(failed)? {
                continue;
            }
            let stale = read_pid(&file).map_err(failed)?;
            let pid = std::process::id();
            write_pid(&file, pid).map_err(failed)?;
            return Ok(Self { path: path.to_owned(), file, pid, stale, removed: false });
        }
        Err(failed(io::Error::other("somebody replaces it over and over")))
    }

    /// Goes on with the pid file of a predecessor: `fd` is open on it and
    /// locked, and the lock belongs to all who have it. It is not removed
    /// unless it is [taken](Self::take). `None`: it is no file any more.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn resume(fd: OwnedFd) -> io::Result<Option<Self>> {
        let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        let file = File::from(fd);
        if !names(&path, &file)? {
            return Ok(None);
        }
        Ok(Some(Self { path, file, pid: std::process::id(), stale: None, removed: true }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A duplicate for a successor, with the lock.
    ///
    /// # Errors
    /// If file descriptors run out.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Makes it name this process; whoever reads it meanwhile sees the one or
    /// the other.
    ///
    /// # Errors
    /// What the system says, such as ENOSPC.
    pub fn point_at(&self, pid: u32) -> io::Result<()> {
        write_pid(&self.file, pid)
    }

    /// It is this process's now: it is removed at the end.
    pub fn take(&mut self) {
        self.removed = false;
    }

    /// A successor has it now: it is neither removed nor unlocked.
    pub fn give_away(&mut self) {
        self.removed = true;
    }

    /// The id found in the file: of a daemon that was killed. For the log.
    pub fn taken_over(&self) -> Option<i32> {
        self.stale
    }

    /// Removes the file, if the path still names it, and unlocks it. Where
    /// privileges no longer allow that, it is left behind empty, which counts
    /// as none. Dropping does the same without telling.
    ///
    /// # Errors
    /// If it can neither be removed nor emptied.
    pub fn remove(mut self) -> io::Result<()> {
        self.clear()
    }

    fn clear(&mut self) -> io::Result<()> {
        if self.removed || self.pid != std::process::id() {
            return Ok(());
        }
        self.removed = true;
        if !names(&self.path, &self.file)? {
            return Ok(());
        }
        let gone = fs::remove_file(&self.path).or_else(|_| self.file.set_len(0));
        // By hand: a process forked off this one holds the same lock until it runs another program or ends.
        unlock(&self.file)?;
        gone
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = self.clear();
    }
}

/// Who holds the pid file, judged by the lock.
///
/// # Errors
/// If it is there but cannot be read.
pub fn holder(path: &Path) -> io::Result<Holder> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Missing),
        Err(error) => return Err(error),
    };
    let pid = read_pid(&file)?;
    Ok(match (is_locked(&file)?, pid) {
        (true, Some(pid)) => Holder::Running(pid),
        (true, None) => return Err(io::Error::new(io::ErrorKind::WouldBlock, "a daemon is just starting")),
        (false, None) if file.metadata()?.len() == 0 => Holder::Empty,
        (false, pid) => Holder::Stale(pid),
    })
}

/// Asks the daemon of this pid file to drain and stop (SIGTERM), and waits for
/// its end for at most `timeout`. No other process can be hit, whatever is in
/// the file.
///
/// # Errors
/// See [`StopError`].
pub fn stop(path: &Path, timeout: Duration) -> Result<Stopped, StopError> {
    let running = || match holder(path)? {
        Holder::Running(pid) => Ok(pid),
        Holder::Stale(stale) => Err(StopError::NotRunning { stale }),
        Holder::Missing | Holder::Empty => Err(StopError::NotRunning { stale: None }),
    };
    let pid = running()?;
    let pidfd = match pidfd_open(Pid::from_raw(pid)) {
        Ok(pidfd) => pidfd,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
            return Err(StopError::NotRunning { stale: Some(pid) });
        }
        Err(error) => return Err(error.into()),
    };
    // It still holds the lock, so the process that the pidfd names is the one that wrote the file.
    if running()? != pid {
        return Err(io::Error::other("another netd has just taken its place").into());
    }
    match pidfd_send_signal(&pidfd, Signal::SIGTERM) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(Stopped { pid }),
        Err(error) => return Err(error.into()),
    }
    if ended_within(&pidfd, timeout)? { Ok(Stopped { pid }) } else { Err(StopError::TimedOut { pid, timeout }) }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        // Nothing else than a file of this very name; NONBLOCK in case it is a FIFO.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// A lock of this kind on the whole file.
fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Whether the lock could be had.
fn lock(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn unlock(file: &File) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)))?;
    Ok(())
}

fn is_locked(file: &File) -> io::Result<bool> {
    let mut lock = whole_file(libc::F_WRLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Whether the path names this open file.
fn names(path: &Path, file: &File) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_pid(file: &File) -> io::Result<Option<i32>> {
    let mut buffer = [0; 32];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(parse_pid(&buffer[..length]))
}

fn parse_pid(bytes: &[u8]) -> Option<i32> {
    std::str::from_utf8(bytes).ok()?.trim_ascii().parse().ok().filter(|&pid| pid > 0)
}

fn write_pid(file: &File, pid: u32) -> io::Result<()> {
    let text = format!("{pid}\n");
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

fn command_name(pid: i32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

fn ended_within(pidfd: &OwnedFd, timeout: Duration) -> io::Result<bool> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(pidfd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX);
    Ok(epoll.wait(&mut [EpollEvent::empty()], timeout)? > 0)
}

fn describe(pid: Option<i32>, command: Option<&str>) -> String {
    match (pid, command) {
        (Some(pid), Some(command)) => format!("process {pid} ({command})"),
        (Some(pid), None) => format!("process {pid}"),
        (None, _) => "a process that is just starting".to_owned(),
    }
}

fn hint(path: &Path, error: &io::Error) -> String {
    let directory = path.parent().unwrap_or_else(|| Path::new("/")).display();
    match error.raw_os_error() {
        Some(libc::ENOENT) => format!("; make its directory first: `install -d {directory}`"),
        Some(libc::ELOOP) => "; it is a symbolic link, and those are not followed".to_owned(),
        Some(libc::EACCES | libc::EPERM) => {
            format!("; start netd as root, or name a file that you may write, not in {directory}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
