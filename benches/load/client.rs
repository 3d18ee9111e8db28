//! The measuring client: blocking, one thread, as cheap as it gets.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// Bytes of a request, and of its answer.
pub(crate) const MESSAGE: usize = 64;

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
        self.stream.write_all(&[b'x'; MESSAGE]).expect("the request goes out");
    }

    /// The answer to one request.
    pub(crate) fn receive(&mut self) {
        let mut answer = [0; MESSAGE];
        self.stream.read_exact(&mut answer).expect("the whole answer comes back");
        assert_eq!(answer, [b'x'; MESSAGE], "an echo answers what it was sent");
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

    /// Ends its side and waits for the end of the other one.
    pub(crate) fn finish(mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the end goes out");
        let rest = self.stream.read(&mut [0; MESSAGE]).expect("the end comes back");
        assert_eq!(rest, 0, "nothing but the end follows");
    }
}
