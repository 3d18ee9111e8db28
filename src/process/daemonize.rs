//! `netd --daemon`: every step of daemon(7)'s SysV list, in its order, and the
//! options of PEP 3143.
//!
//! [`daemonize`] does steps 1 to 11: close what was inherited, reset signals,
//! sanitise the environment, fork, setsid, fork, /dev/null, umask, chdir.
//! Step 12 is [`pidfile`](super::pidfile), 13 is
//! [`privileges`](super::privileges), both in the daemon and by the caller.
//! Steps 14 and 15 are the pipe between [`Ready`] in the daemon and [`Waiter`]
//! in the original process, whose exit status tells whether netd serves.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
        socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname},
        stat::{Mode, umask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, getpid, getppid, pipe2, setsid},
};

use super::Env;
use crate::sys::process::{self, Fork};

/// Most bytes of a failure's message that the original process gets to print.
/// Fits a pipe, so that the daemon never waits for a reader.
pub const MAX_MESSAGE: usize = 60 * 1024;

/// Exit status for a failure that has none of its own.
pub const FAILED: u8 = 1;

/// Search path of the daemon, whatever the one of the person who started it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long to wait for a daemon's end, once it has let go of the pipe.
const LAST_WORDS_MS: u16 = 2000;

/// How to detach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// File mode creation mask.
    pub umask: u32,
    /// Working directory.
    pub working_directory: PathBuf,
    /// Allow core dumps.
    pub core_dumps: bool,
    /// File descriptors that stay open, besides 0, 1 and 2: all that the caller
    /// owns already.
    pub preserve: Vec<RawFd>,
}

/// Which process [`daemonize`] returned in: it returns in both.
#[derive(Debug)]
pub enum Side {
    /// The process that was started; it is to wait, tell and exit.
    Original(Waiter),
    /// The daemon.
    Daemon(Ready),
}

/// What became of the daemon's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It serves.
    Serving {
        /// Its process id.
        pid: i32,
    },
    /// It does not, and has ended or is about to.
    Failed {
        /// Why.
        message: String,
        /// Exit status to end with; never 0.
        status: u8,
    },
}

/// Who started this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedBy {
    /// A service manager that waits for READY=1 (`Type=notify`) of this very
    /// process.
    Supervisor,
    /// inetd or the like: standard input is a network socket.
    SuperServer,
    /// Process 1, by fork and exec: inittab, or systemd with another `Type=`.
    Init,
    /// Somebody else, such as a shell.
    Other,
}

impl StartedBy {
    /// Looks at the environment, the parent and standard input.
    pub fn detect(env: Env<'_>) -> Self {
        Self::judge(env("NOTIFY_SOCKET").is_some(), is_network_socket(io::stdin()), getppid().as_raw())
    }

    fn judge(notify_socket: bool, stdin_is_socket: bool, parent: i32) -> Self {
        match parent {
            _ if notify_socket => Self::Supervisor,
            _ if stdin_is_socket => Self::SuperServer,
            1 => Self::Init,
            _ => Self::Other,
        }
    }

    /// Whether detaching on request makes sense (PEP 3143, `detach_process`).
    /// Under [`Init`](Self::Init) it does: that is what `Type=forking` wants.
    pub fn may_detach(self) -> bool {
        matches!(self, Self::Init | Self::Other)
    }
}

/// Whether this process belongs to a supervisor or a super-server already, so
/// that detaching would take it away from them.
pub fn started_by_init(env: Env<'_>) -> bool {
    !StartedBy::detect(env).may_detach()
}

/// Splits into the original process, which waits, and a detached daemon.
///
/// In the daemon SIGPIPE, SIGTTIN, SIGTTOU and SIGTSTP are ignored, all other
/// signals have their default action, none is blocked. The environment is kept
/// (a reload substitutes from it) except for what steers the loader, libc,
/// shells or belongs to another service; `PATH` is set anew.
///
/// # Errors
/// In the original process only, with nothing left running: if a thread runs
/// already, or the system refuses a step. What fails in the daemon comes out
/// of [`Waiter::wait`].
pub fn daemonize(options: &Options) -> io::Result<Side> {
    // Before any step changes something.
    match process::thread_count()? {
        1 => {}
        count => return Err(io::Error::other(format!("cannot become a daemon: {count} threads run already"))),
    }
    process::close_inherited(&options.preserve)?;
    process::reset_signals()?;
    // Writing to a pipe that nobody reads is an error to handle, also on the way.
    process::ignore_signals(&[Signal::SIGPIPE])?;
    process::edit_environment(is_dangerous, &[("PATH", PATH)])?;
    if !options.core_dumps {
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    }
    // Step 14 needs it now. Both ends are close-on-exec.
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    // The daemon becomes this process's child when the one between ends, so that its end can be told. It is not
    // inherited, and ends with this process: then the daemon is the init's.
    prctl::set_child_subreaper(true)?;

    match process::fork()? {
        Fork::Parent(child) => {
            drop(writer);
            Ok(Side::Original(Waiter { pipe: File::from(reader), child }))
        }
        Fork::Child => {
            drop(reader);
            Ok(Side::Daemon(detach(Ready { pipe: File::from(writer) }, options)))
        }
    }
}

/// The original process's end: hears what becomes of the daemon.
#[derive(Debug)]
pub struct Waiter {
    pipe: File,
    child: Pid,
}

impl Waiter {
    /// Waits until the daemon serves, has said why not, or has ended without
    /// a word: as long as its start takes. Whoever interrupts this process
    /// does not stop the daemon.
    pub fn wait(mut self) -> Outcome {
        let mut said = Vec::new();
        let read = (&mut self.pipe).take(MAX_MESSAGE as u64 + 64).read_to_end(&mut said);
        // The process between the two forks ends at once: reaped, so that nothing of the start is left.
        let between = waitpid(self.child, None);
        match (Said::parse(&said), read) {
            (Said { pid: Some(pid), verdict: Some(Verdict::Serving) }, _) => Outcome::Serving { pid },
            (Said { verdict: Some(Verdict::Failed { message, status }), .. }, _) => {
                Outcome::Failed { message, status: if status == 0 { FAILED } else { status } }
            }
            (Said { pid, .. }, read) => {
                let how = match (pid, read) {
                    (_, Err(error)) => format!("the start of the daemon could not be followed: {error}"),
                    (Some(pid), _) => how_it_ended(pid),
                    (None, _) => match between {
                        Ok(status) => format!("the daemon {} while it was detaching", describe(status)),
                        Err(error) => format!("the daemon ended while it was detaching ({error})"),
                    },
                };
                Outcome::Failed { message: how, status: FAILED }
            }
        }
    }
}

/// The daemon's end: to be told once that it serves or why it does not.
/// Dropped without either, the original process reports that the daemon ended
/// without a word.
#[derive(Debug)]
pub struct Ready {
    pipe: File,
}

impl Ready {
    /// All is up: the original process exits with 0.
    pub fn serving(mut self) {
        self.say(b"s");
    }

    /// It does not work: the original process prints `message` and exits with
    /// `status` (1 instead of 0). A message longer than [`MAX_MESSAGE`] is cut.
    pub fn failed(mut self, message: &str, status: u8) {
        let mut end = message.len().min(MAX_MESSAGE);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        self.say(&[b"f", &[status][..], &message.as_bytes()[..end]].concat());
    }

    /// A reader that is gone has nobody to tell; that is no reason not to serve.
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.pipe.write_all(bytes);
    }
}

/// Steps 6 to 11, in the first child. Returns in the daemon only.
fn detach(mut ready: Ready, options: &Options) -> Ready {
    let second = setsid().map_err(io::Error::from).and_then(|_| process::fork());
    match second {
        Ok(Fork::Parent(_)) => process::exit_at_once(0),
        Ok(Fork::Child) => {}
        Err(error) => {
            ready.failed(&format!("cannot detach from the terminal: {error}"), FAILED);
            process::exit_at_once(FAILED);
        }
    }
    ready.say(&[b"p", &getpid().as_raw().to_le_bytes()[..]].concat());
    if let Err(message) = settle(options) {
        ready.failed(&message, FAILED);
        process::exit_at_once(FAILED);
    }
    ready
}

fn settle(options: &Options) -> Result<(), String> {
    process::ignore_signals(&[Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGTSTP])
        .map_err(|error| format!("cannot ignore terminal signals: {error}"))?;
    streams_to(Path::new("/dev/null")).map_err(|error| format!("/dev/null: {error}"))?;
    umask(Mode::from_bits_truncate(options.umask));
    chdir(&options.working_directory)
        .map_err(|error| format!("{}: {error}; it is to be the working directory", options.working_directory.display()))
}

fn streams_to(path: &Path) -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

/// What came over the pipe: `p` and the daemon's id, then `s`, or `f`, a status
/// and the message.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    pid: Option<i32>,
    verdict: Option<Verdict>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Serving,
    Failed { message: String, status: u8 },
}

impl Said {
    fn parse(bytes: &[u8]) -> Self {
        let (pid, rest) = match bytes {
            [b'p', a, b, c, d, rest @ ..] => (Some(i32::from_le_bytes([*a, *b, *c, *d])), rest),
            rest => (None, rest),
        };
        let verdict = match rest {
            [b's', ..] => Some(Verdict::Serving),
            [b'f', status, message @ ..] => {
                Some(Verdict::Failed { message: String::from_utf8_lossy(message).into_owned(), status: *status })
            }
            _ => None,
        };
        Self { pid, verdict }
    }
}

/// How a daemon that has let go of the pipe without a word came to its end.
fn how_it_ended(pid: i32) -> String {
    // Its parent is this process since the one between has ended; ECHILD if the system has no subreapers.
    let ended = process::pidfd_open(Pid::from_raw(pid)).and_then(|pidfd| readable_within(&pidfd, LAST_WORDS_MS));
    match (ended, waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG))) {
        (_, Ok(status)) if status != WaitStatus::StillAlive => {
            format!("the daemon {} before it served; its log may say why", describe(status))
        }
        (Ok(false), _) => format!("the daemon (pid {pid}) gave up its start without a word, but still runs"),
        _ => "the daemon ended before it served; its log may say why".to_owned(),
    }
}

fn readable_within(fd: &OwnedFd, milliseconds: u16) -> io::Result<bool> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    Ok(epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::from(milliseconds))? > 0)
}

fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("ended with status {code}"),
        WaitStatus::Signaled(_, signal, dumped) => {
            format!("was killed by {signal}{}", if dumped { " (core dumped)" } else { "" })
        }
        other => format!("ended ({other:?})"),
    }
}

fn is_network_socket(stdin: impl AsFd) -> bool {
    use std::os::fd::AsRawFd;
    // A Unix socket is what sshd gives to commands, not what inetd does.
    getsockname::<SockaddrStorage>(stdin.as_fd().as_raw_fd())
        .is_ok_and(|address| matches!(address.family(), Some(AddressFamily::Inet | AddressFamily::Inet6)))
}

/// Variables that steer the loader, libc or shells (what glibc takes from a
/// set-uid program, and more), and those that a service manager meant for
/// another process.
fn is_dangerous(name: &OsStr) -> bool {
    const PREFIXES: [&[u8]; 9] = [
        b"LD_",
        b"BASH_FUNC_",
        b"MALLOC_",
        b"GLIBC_",
        b"GCONV_",
        b"RES_",
        b"LISTEN_",
        b"WATCHDOG_",
        b"MEMORY_PRESSURE_",
    ];
    const NAMES: [&[u8]; 28] = [
        b"IFS",
        b"ENV",
        b"BASH_ENV",
        b"BASHOPTS",
        b"SHELLOPTS",
        b"CDPATH",
        b"GLOBIGNORE",
        b"PS4",
        b"GETCONF_DIR",
        b"HOSTALIASES",
        b"LOCALDOMAIN",
        b"RESOLV_HOST_CONF",
        b"LOCPATH",
        b"NIS_PATH",
        b"NLSPATH",
        b"TMPDIR",
        b"OLDPWD",
        b"PWD",
        b"NOTIFY_SOCKET",
        b"JOURNAL_STREAM",
        b"INVOCATION_ID",
        b"MAINPID",
        b"MANAGERPID",
        b"MANAGERPIDFDID",
        b"SYSTEMD_EXEC_PID",
        b"EXIT_CODE",
        b"EXIT_STATUS",
        b"FDSTORE",
    ];
    let name = name.as_bytes();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

#[cfg(test)]
mod tests;
