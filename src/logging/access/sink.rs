//! Where lines go, in whole batches.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::OpenOptionsExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    config::AccessTarget,
    logging::{
        format::push_journal,
        sink::{JOURNAL, datagram_to, file_error, is_fifo},
    },
};

/// A pipe that is ready takes so much at once (PIPE_BUF, pipe(7)), and nobody
/// else's bytes come in between.
const PIECE: usize = 4096;
/// Between two looks whether another destination waits.
const LOOK: Duration = Duration::from_millis(100);
/// Looks without progress until one that waits is let in.
const LOOKS: u32 = 10;

/// Whole lines.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: String,
    /// Where each line ends in the text.
    pub(super) ends: Vec<usize>,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn lines_until(&self, offset: usize) -> usize {
        self.ends.partition_point(|end| *end <= offset)
    }

    /// The end of the last line that ends within `PIECE` bytes, at least one.
    fn piece(&self, from: usize) -> usize {
        let first = self.lines_until(from);
        let fits = self.ends.partition_point(|end| *end <= from + PIECE);
        self.ends.get(fits.max(first + 1) - 1).copied().unwrap_or(self.text.len())
    }
}

/// A destination.
#[derive(Debug)]
pub(super) enum Sink {
    Stream(Stream),
    Journal { socket: UnixDatagram, path: PathBuf, pid: u32 },
}

/// A file, a FIFO or stderr.
#[derive(Debug)]
pub(super) struct Stream {
    to: To,
    /// A line was written in part.
    torn: bool,
}

#[derive(Debug)]
enum To {
    /// Never blocks, unless it is the disk that does.
    File(File),
    /// Blocks if it is given more than it has room for.
    Stderr(io::Stderr),
}

impl Sink {
    /// `None`: there is none.
    ///
    /// # Errors
    /// Which destination cannot be had, why, and what to do.
    pub(super) fn open(target: &AccessTarget) -> Result<Option<Self>, String> {
        let stream = |to| Some(Self::Stream(Stream { to, torn: false }));
        match target {
            AccessTarget::Off => Ok(None),
            AccessTarget::Stderr => Ok(stream(To::Stderr(io::stderr()))),
            AccessTarget::File(path) => match open(path) {
                Ok(file) => Ok(stream(To::File(file))),
                Err(error) => Err(format!("access {}", file_error(path, &error))),
            },
            AccessTarget::Journal => {
                let path = PathBuf::from(JOURNAL);
                let socket = datagram_to(&path).map_err(|error| {
                    format!("access log to the journal at {JOURNAL}: {error}; does systemd-journald run here?")
                })?;
                Ok(Some(Self::Journal { socket, path, pid: std::process::id() }))
            }
        }
    }

    /// Writes a batch; answers how many lines were written, and why not more.
    /// May wait, and gives up if nothing moves while somebody waits, which
    /// `is_awaited` tells.
    pub(super) fn write(&mut self, batch: &Batch, is_awaited: &dyn Fn() -> bool) -> (usize, io::Result<()>) {
        match self {
            Self::Stream(stream) => stream.write(batch, is_awaited),
            Self::Journal { socket, path, pid } => {
                let mut start = 0;
                for (written, &end) in batch.ends.iter().enumerate() {
                    let entry = entry(batch.text[start..end].trim_end(), *pid);
                    // To the path each time: a journal that was started anew is found again.
                    if let Err(error) = socket.send_to(&entry, &*path) {
                        return (written, Err(error));
                    }
                    start = end;
                }
                (batch.ends.len(), Ok(()))
            }
        }
    }
}

impl Stream {
    fn write(&mut self, batch: &Batch, is_awaited: &dyn Fn() -> bool) -> (usize, io::Result<()>) {
        if self.torn {
            let mut done = 0;
            if let Err(error) = self.write_all(b"\n", &mut done, is_awaited) {
                return (0, Err(error));
            }
            self.torn = false;
        }
        let mut done = 0;
        while done < batch.text.len() {
            let end = match self.to {
                To::File(_) => batch.text.len(),
                To::Stderr(_) => batch.piece(done),
            };
            if let Err(error) = self.write_all(&batch.text.as_bytes()[..end], &mut done, is_awaited) {
                let lines = batch.lines_until(done);
                let whole = lines.checked_sub(1).and_then(|last| batch.ends.get(last)).copied().unwrap_or(0);
                self.torn = whole != done;
                return (lines, Err(error));
            }
        }
        (batch.ends.len(), Ok(()))
    }

    /// Writes from `done` on, and moves it along.
    fn write_all(&mut self, bytes: &[u8], done: &mut usize, is_awaited: &dyn Fn() -> bool) -> io::Result<()> {
        let mut looks = 0;
        while *done < bytes.len() {
            if !self.is_ready()? {
                looks += 1;
                if looks >= LOOKS && is_awaited() {
                    return Err(io::Error::new(ErrorKind::TimedOut, "it takes nothing, and another one waits"));
                }
                continue;
            }
            match self.to.write(&bytes[*done..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => (*done, looks) = (*done + length, 0),
                // A FIFO with too little room for the rest of a short line: ready
                // again when there is.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for room, but not for long. Errors show when it is written to.
    fn is_ready(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stderr(stderr) => stderr.write(bytes),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Stderr(stderr) => stderr.as_fd(),
        }
    }
}

/// Opens for appending, 0640. A FIFO never blocks, and needs no reader: until
/// there is one, it takes what it has room for.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match options.open(path) {
        // Its own reader, netd needs no other (fifo(7)).
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) && is_fifo(path) => options.read(true).open(path),
        result => result,
    }
}

/// A datagram of the journal's native protocol, severity `info`.
fn entry(line: &str, pid: u32) -> Vec<u8> {
    let mut entry = Vec::with_capacity(line.len() + 96);
    push_journal(&mut entry, "MESSAGE", line);
    push_journal(&mut entry, "PRIORITY", "6");
    push_journal(&mut entry, "SYSLOG_IDENTIFIER", "netd-access");
    push_journal(&mut entry, "SYSLOG_PID", &pid.to_string());
    entry
}

#[cfg(test)]
mod tests;
