//! A connection on which bytes flow without end, in one direction or both.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use mio::event::Event;

/// Most bytes moved at once.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Which end sends. The first byte that the client sends names it: that of a
/// request is an echo's.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Flow {
    Down,
    Up,
    Both,
    Echo,
}

impl Flow {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Down => b'd',
            Self::Up => b'u',
            Self::Both => b'b',
            Self::Echo => b'x',
        }
    }

    pub(crate) fn of(byte: u8) -> Option<Self> {
        [Self::Down, Self::Up, Self::Both, Self::Echo].into_iter().find(|flow| flow.byte() == byte)
    }
}

/// One end of such a connection.
pub(crate) struct Pump {
    pub(crate) stream: TcpStream,
    sends: bool,
    can_read: bool,
    can_write: bool,
}

impl Pump {
    /// `stream` does not block.
    pub(crate) fn new(stream: TcpStream, sends: bool) -> Self {
        Self { stream, sends, can_read: true, can_write: true }
    }

    pub(crate) fn starts_to_send(&mut self, sends: bool) {
        self.sends = sends;
    }

    pub(crate) fn note(&mut self, event: &Event) {
        self.can_read |= event.is_readable();
        self.can_write |= event.is_writable();
    }

    /// Whether there may be something to do without waiting.
    pub(crate) fn is_ready(&self) -> bool {
        self.can_read || (self.sends && self.can_write)
    }

    /// Moves a chunk in each direction if that can be done without waiting;
    /// answers how many bytes, in both together.
    ///
    /// # Errors
    /// The connection ended or failed.
    pub(crate) fn turn(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut moved = self.take(buffer)?;
        if self.sends && self.can_write {
            match self.stream.write(buffer) {
                Ok(written) => moved += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.can_write = false,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// Fills `buffer` with what is there; answers how much.
    ///
    /// # Errors
    /// The connection ended or failed.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.can_read {
            return Ok(0);
        }
        match self.stream.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => Ok(read),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.can_read = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends back what is there: little, so that the socket has room for it.
    ///
    /// # Errors
    /// The connection ended or failed.
    pub(crate) fn echo(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let taken = self.take(buffer)?;
        self.stream.write_all(&buffer[..taken])
    }
}
