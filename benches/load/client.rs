//! The measuring client: blocking, one thread, as cheap as it gets.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::echo::LAST;

/// Bytes of a request, and of its answer.
pub(crate) const MESSAGE: usize = 64;

const REQUEST: [u8; MESSAGE] = [b'x'; MESSAGE];
const LAST_REQUEST: [u8; MESSAGE] = [LAST; MESSAGE];

/// An answer that is not there by then never comes: the run ends and says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most bytes taken out of the socket at once in a download.
const CHUNK: usize = 256 * 1024;

/// One connection. What goes wrong on it ends the run.
pub(crate) struct Client {
    stream: TcpStream,
    chunk: Vec<u8>,
}

impl Client {
    /// Connects, without Nagle's delay.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, chunk: Vec::new() })
    }

    /// A request and its answer.
    pub(crate) fn exchange(&mut self) {
        self.send();
        self.receive();
    }

    /// A request.
    pub(crate) fn send(&mut self) {
        self.write(REQUEST);
    }

    /// The answer to one request.
    pub(crate) fn receive(&mut self) {
        self.read(REQUEST);
    }

    /// A last request and its answer, after which the origin ends the
    /// connection.
    pub(crate) fn exchange_and_end(mut self) {
        self.write(LAST_REQUEST);
        self.read(LAST_REQUEST);
        let rest = self.stream.read(&mut [0]).expect("the end comes");
        assert_eq!(rest, 0, "nothing but the end follows");
    }

    /// Asks a [source](crate::origin::source) for its bytes and takes them.
    pub(crate) fn download(&mut self, size: usize) {
        self.chunk.resize(CHUNK, 0);
        self.stream.write_all(b"x").expect("the request goes out");
        let mut missing = size;
        while missing > 0 {
            let read = self.stream.read(&mut self.chunk).expect("the bytes come");
            assert!(read > 0, "the connection ended {missing} bytes early");
            missing = missing.checked_sub(read).expect("no byte more than was asked for");
        }
    }

    fn write(&mut self, request: [u8; MESSAGE]) {
        self.stream.write_all(&request).expect("the request goes out");
    }

    fn read(&mut self, request: [u8; MESSAGE]) {
        let mut answer = [0; MESSAGE];
        self.stream.read_exact(&mut answer).expect("the whole answer comes back");
        assert_eq!(answer, request, "an echo answers what it was sent");
    }
}
