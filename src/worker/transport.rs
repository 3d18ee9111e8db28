//! A stream and what is known of it: readiness as the kernel told it, and a
//! ledger of bytes.

mod freeze;

use std::io;

use crate::{
    reactor::Ready,
    sys::{pipe::Pipe, socket::Socket},
    wire::{BlockPool, Buffer},
};

/// A byte stream that never blocks. Faked in tests.
pub(super) trait Stream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// As `write`, and the end follows at once.
    fn write_last(&self, bytes: &[u8]) -> io::Result<usize>;
    fn shutdown_write(&self) -> io::Result<()>;
    /// Makes the coming close a reset.
    fn reset_on_close(&self);
    /// Sends small pieces at once.
    fn set_nodelay(&self);
    /// Moves up to `n` bytes into an empty pipe. `Ok(0)`: the end, or urgent
    /// data.
    fn splice_into(&self, pipe: &Pipe, n: usize) -> io::Result<usize>;
    /// Moves up to `n` bytes out of a pipe.
    fn splice_from(&self, pipe: &Pipe, n: usize) -> io::Result<usize>;
}

impl Stream for Socket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn write_last(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_last(bytes)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown_write()
    }

    fn reset_on_close(&self) {
        self.reset_on_close();
    }

    fn set_nodelay(&self) {
        self.set_nodelay();
    }

    fn splice_into(&self, pipe: &Pipe, n: usize) -> io::Result<usize> {
        pipe.splice_from(self, n)
    }

    fn splice_from(&self, pipe: &Pipe, n: usize) -> io::Result<usize> {
        pipe.splice_to(self, n)
    }
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Transport<S> {
    pub(super) stream: S,
    /// A read may find something. Set by the kernel's word; cleared when a
    /// read found nothing, or less than there was room for.
    pub(super) readable: bool,
    /// A write may find room. Cleared likewise.
    pub(super) writable: bool,
    /// An error was announced: the connection is gone, whatever can still be
    /// read from it.
    pub(super) failed: bool,
    /// A short read does not mean that all was read: an error or urgent data
    /// was announced, or the kind of socket stops short.
    read_to_the_end: bool,
    /// The peer's end was announced: it is behind what can be read.
    end_announced: bool,
    /// All before the end was read.
    end_reached: bool,
    /// Small pieces are still gathered; the first write alone is not held back
    /// by that (Nagle's algorithm, as Linux has it).
    gathers: bool,
    /// Urgent data was announced, which splice(2) does not pass.
    pub(super) urgent: bool,
    /// Bytes received.
    pub(super) received: u64,
    /// Bytes sent.
    pub(super) sent: u64,
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Bytes,
    Nothing,
    End,
}

impl<S: Stream> Transport<S> {
    /// A side that is connected. Fresh sockets have room to write.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            readable: false,
            writable: true,
            failed: false,
            read_to_the_end: false,
            end_announced: false,
            end_reached: false,
            gathers: false,
            urgent: false,
            received: 0,
            sent: 0,
        }
    }

    /// For a Unix-domain socket: a read stops short behind bytes that came
    /// with descriptors (unix(7), SCM_RIGHTS), and no edge tells of the rest.
    pub(super) fn stops_short(&mut self) {
        self.read_to_the_end = true;
    }

    /// For a socket that gathers small pieces: it is told not to before the
    /// second write, which many a connection does not see.
    pub(super) fn gathers(&mut self) {
        self.gathers = true;
    }

    /// Takes in what the kernel says.
    pub(super) fn note(&mut self, ready: Ready) {
        self.readable |= ready.readable;
        self.writable |= ready.writable;
        self.failed |= ready.error;
        self.urgent |= ready.urgent;
        self.read_to_the_end |= ready.error || ready.urgent;
        self.end_announced |= ready.read_closed;
    }

    /// Reads once into the free room of `buffer`. Only if
    /// [`readable`](Self::readable), and if there is room. Answers what was
    /// found, and whether it filled the room.
    pub(super) fn fill(&mut self, buffer: &mut Buffer, blocks: &mut BlockPool) -> io::Result<(Read, bool)> {
        if self.end_reached {
            self.readable = false;
            return Ok((Read::End, false));
        }
        match buffer.fill(blocks, |room| self.stream.read(room)) {
            Ok((0, _)) => {
                self.readable = false;
                Ok((Read::End, false))
            }
            Ok((n, room)) => {
                self.received += n as u64;
                // A short read took all there was. What comes next comes with a
                // new edge; behind an announced end nothing comes.
                self.end_reached = n < room && self.end_announced && !self.read_to_the_end;
                self.readable = n == room || self.read_to_the_end || self.end_announced;
                Ok((Read::Bytes, n == room))
            }
            Err(error) => self.nothing_to_read(error).map(|read| (read, false)),
        }
    }

    /// Moves up to `n` bytes once into an empty pipe; answers how many, or `None`
    /// if only a read can tell what comes next.
    pub(super) fn fill_pipe(&mut self, pipe: &Pipe, n: usize) -> io::Result<Option<usize>> {
        match self.stream.splice_into(pipe, n) {
            Ok(0) => Ok(None),
            Ok(n) => {
                // Less than was asked for says nothing: a pipe also fills up
                // by pieces (pipe(7)).
                self.received += n as u64;
                Ok(Some(n))
            }
            Err(error) => self.nothing_to_read(error).map(|_| Some(0)),
        }
    }

    /// All before the end was read.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.end_reached
    }

    /// Writes once from `buffer`; `last`: the end follows. Only if
    /// [`writable`](Self::writable), and if there is something. Answers the
    /// number of bytes taken.
    pub(super) fn flush(&mut self, buffer: &mut Buffer, last: bool, blocks: &mut BlockPool) -> io::Result<usize> {
        self.stop_gathering();
        let waiting = buffer.len();
        let n = if last { self.stream.write_last(buffer.data()) } else { self.stream.write(buffer.data()) };
        let n = self.wrote(n, waiting)?;
        buffer.consume(blocks, n);
        Ok(n)
    }

    /// Moves bytes once out of a pipe that holds `held`.
    pub(super) fn flush_pipe(&mut self, pipe: &Pipe, held: usize) -> io::Result<usize> {
        self.stop_gathering();
        let n = self.stream.splice_from(pipe, held);
        self.wrote(n, held)
    }

    fn stop_gathering(&mut self) {
        if self.gathers && self.sent > 0 {
            self.gathers = false;
            self.stream.set_nodelay();
        }
    }

    fn nothing_to_read(&mut self, error: io::Error) -> io::Result<Read> {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        self.readable = false;
        Ok(Read::Nothing)
    }

    fn wrote(&mut self, outcome: io::Result<usize>, waiting: usize) -> io::Result<usize> {
        match outcome {
            Ok(n) => {
                self.sent += n as u64;
                self.writable = n == waiting;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}
