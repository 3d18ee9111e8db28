//! Where lines go.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt, fchown},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::stat::fstat,
};

use super::{format, record::Record};
use crate::config::{self, LogFormat, LogTarget};

const SYSLOG: &str = "/dev/log";
pub(super) const JOURNAL: &str = "/run/systemd/journal/socket";

/// How long syslog or the journal may make the writer wait for one line.
const PATIENCE: Duration = Duration::from_secs(1);

/// A destination and the shape of its lines.
pub(super) enum Output {
    Stream { stream: Box<dyn Write + Send>, format: LogFormat, color: bool },
    Syslog { socket: UnixDatagram, path: PathBuf, pid: u32 },
    Journal { socket: UnixDatagram, path: PathBuf, pid: u32 },
}

/// What `auto` is decided by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// Detached from the terminal.
    pub(super) daemon_mode: bool,
    /// Standard error is connected to the journal.
    pub(super) stderr_is_journal: bool,
    /// Colours are allowed.
    pub(super) color: bool,
}

impl Surroundings {
    /// `journal_stream` is the variable JOURNAL_STREAM (systemd.exec(5)).
    pub(super) fn look(daemon_mode: bool, journal_stream: Option<&str>, no_color: bool) -> Self {
        let stderr = fstat(io::stderr()).map(|stat| (stat.st_dev, stat.st_ino));
        Self {
            daemon_mode,
            stderr_is_journal: stderr.is_ok_and(|stderr| journal_stream.and_then(parse_stream) == Some(stderr)),
            color: !no_color && io::stderr().is_terminal(),
        }
    }
}

impl Output {
    /// # Errors
    /// Which destination cannot be had, why, and what to do.
    pub(super) fn open(config: &config::Log, surroundings: Surroundings) -> Result<Self, String> {
        match resolve(&config.target, surroundings, Path::new(SYSLOG).exists()) {
            LogTarget::File(path) => {
                let file = open_file(&path).map_err(|error| file_error(&path, &error))?;
                Ok(Self::Stream { stream: Box::new(file), format: config.format, color: false })
            }
            LogTarget::Syslog => Self::syslog(Path::new(SYSLOG)),
            LogTarget::Journal => Self::journal(Path::new(JOURNAL)),
            LogTarget::Auto | LogTarget::Stderr => {
                Ok(Self::Stream { stream: Box::new(io::stderr()), format: config.format, color: surroundings.color })
            }
        }
    }

    fn syslog(path: &Path) -> Result<Self, String> {
        let socket = datagram_to(path)
            .map_err(|error| format!("syslog at {}: {error}; does a syslog daemon run here?", path.display()))?;
        Ok(Self::Syslog { socket, path: path.to_owned(), pid: std::process::id() })
    }

    fn journal(path: &Path) -> Result<Self, String> {
        let socket = datagram_to(path)
            .map_err(|error| format!("the journal at {}: {error}; does systemd-journald run here?", path.display()))?;
        Ok(Self::Journal { socket, path: path.to_owned(), pid: std::process::id() })
    }

    /// Writes one line. May block: only the writer thread calls it.
    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        match self {
            Self::Stream { stream, format: LogFormat::Text, color } => {
                stream.write_all(format::text(record, *color).as_bytes())
            }
            Self::Stream { stream, format: LogFormat::Json, .. } => stream.write_all(format::json(record).as_bytes()),
            // To the path each time: a receiver that was started anew is found again.
            Self::Syslog { socket, path, pid } => {
                socket.send_to(format::syslog(record, *pid).as_bytes(), path).map(drop)
            }
            Self::Journal { socket, path, pid } => socket.send_to(&format::journal(record, *pid), path).map(drop),
        }
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stream { .. } => "Stream",
            Self::Syslog { .. } => "Syslog",
            Self::Journal { .. } => "Journal",
        })
    }
}

/// Where lines go, in words, for who starts netd.
pub(super) fn destination(config: &config::Log, surroundings: Surroundings) -> String {
    match resolve(&config.target, surroundings, Path::new(SYSLOG).exists()) {
        LogTarget::File(path) => path.display().to_string(),
        LogTarget::Syslog => "syslog".to_owned(),
        LogTarget::Journal => "the journal".to_owned(),
        LogTarget::Auto | LogTarget::Stderr if surroundings.daemon_mode => {
            format!("nowhere: a daemon has no standard error, and {SYSLOG} is not in use; set log.target to a file")
        }
        LogTarget::Auto | LogTarget::Stderr => "standard error".to_owned(),
    }
}

/// Why a detached daemon's lines will be seen by nobody, if that is so.
pub(super) fn unseen(config: &config::Log) -> Option<String> {
    let detached = Surroundings { daemon_mode: true, stderr_is_journal: false, color: false };
    match resolve(&config.target, detached, Path::new(SYSLOG).exists()) {
        LogTarget::Auto | LogTarget::Stderr => Some(format!("the log goes {}", destination(config, detached))),
        _ => None,
    }
}

/// Makes the file another user's, so that it can be opened anew after root's
/// privileges are gone. That user may own the directory: what else than a
/// plain file of root's or its own it has put there is left alone.
pub(super) fn give_file(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let file = OpenOptions::new()
        .append(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 || (found.uid() != 0 && found.uid() != uid) {
        return Err(io::Error::other("it is not a plain file of root or of that user alone"));
    }
    fchown(&file, Some(uid), Some(gid))
}

/// What `auto` means here; other targets mean themselves.
fn resolve(target: &LogTarget, surroundings: Surroundings, has_syslog: bool) -> LogTarget {
    match target {
        LogTarget::Auto if surroundings.stderr_is_journal => LogTarget::Journal,
        LogTarget::Auto if surroundings.daemon_mode && has_syslog => LogTarget::Syslog,
        LogTarget::Auto => LogTarget::Stderr,
        other => other.clone(),
    }
}

/// `DEVICE:INODE`, decimal.
fn parse_stream(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// Opens for appending, 0640. A FIFO without a reader is an error, not a wait.
fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    // From now on the writer thread may wait.
    let flags = OFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GETFL)?) - OFlag::O_NONBLOCK;
    fcntl(&file, FcntlArg::F_SETFL(flags))?;
    Ok(file)
}

pub(super) fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// What is wrong with the file, and what to do.
pub(super) fn file_error(path: &Path, error: &io::Error) -> String {
    let hint = match (error.kind(), path.parent()) {
        (io::ErrorKind::NotFound, Some(directory)) => {
            format!("; make its directory first: `install -d {}`", directory.display())
        }
        (io::ErrorKind::PermissionDenied, Some(directory)) => {
            format!("; netd's user needs to write it, and to make files in {} after a rotation", directory.display())
        }
        _ if fs::metadata(path).is_ok_and(|found| found.is_dir()) => "; name a file in it".to_owned(),
        _ if is_fifo(path) => "; start what is to read this FIFO first".to_owned(),
        _ => "; name another file, or `stderr`".to_owned(),
    };
    format!("log file {}: {error}{hint}", path.display())
}

/// An unconnected socket, after a check that there is somebody at `path`.
pub(super) fn datagram_to(path: &Path) -> io::Result<UnixDatagram> {
    UnixDatagram::unbound()?.connect(path)?;
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
