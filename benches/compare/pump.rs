//! A connection on which bytes flow without end, in one direction or both.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use mio::event::Event;

/// Most bytes moved at once.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Chunks in each direction before another connection has its turn.
const TURN: usize = 4;

/// Which end sends. The first byte that the client sends names it.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Flow {
    Down,
    Up,
    Both,
}

impl Flow {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Down => b'd',
            Self::Up => b'u',
            Self::Both => b'b',
        }
    }

    pub(crate) fn of(byte: u8) -> Option<Self> {
        [Self::Down, Self::Up, Self::Both].into_iter().find(|flow| flow.byte() == byte)
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

    /// Moves what can be moved in one turn; answers how many bytes, in both
    /// directions together.
    ///
    /// # Errors
    /// The connection ended or failed.
    pub(crate) fn turn(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut moved = 0;
        for _ in 0..TURN {
            if self.can_read {
                match self.stream.read(buffer) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(read) => moved += read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.can_read = false,
                    Err(error) => return Err(error),
                }
            }
            if self.sends && self.can_write {
                match self.stream.write(buffer) {
                    Ok(written) => moved += written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.can_write = false,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(moved)
    }
}
