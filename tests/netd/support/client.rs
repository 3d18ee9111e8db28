//! Clients of netd.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use super::clock::PATIENCE;

/// How a peer ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN.
    Eof,
    /// RST.
    Reset,
}

/// One TCP connection. Nothing waits longer than [`PATIENCE`].
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        Self::adopt(stream)
    }

    pub(crate) fn adopt(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap_or_else(|error| panic!("send {} bytes: {error}", bytes.len()));
    }

    #[track_caller]
    pub(crate) fn receive(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap_or_else(|error| panic!("receive {length} bytes: {error}"));
        bytes
    }

    /// Sends bytes and gets them back.
    #[track_caller]
    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        assert_eq!(self.receive(bytes.len()), bytes);
    }

    pub(crate) fn try_echo(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut back = vec![0; bytes.len()];
        self.stream.write_all(bytes)?;
        self.stream.read_exact(&mut back)?;
        if back == bytes { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidData, "another echo")) }
    }

    /// FIN to the peer; its bytes still come.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection to shut down");
    }

    /// RST to the peer.
    #[track_caller]
    pub(crate) fn reset(self) {
        reset(&self.stream);
    }

    /// Reads all that comes, and how it ends.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => (bytes, End::Eof),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, End::Reset),
            Err(error) => panic!("neither an end nor a reset after {} bytes: {error}", bytes.len()),
        }
    }

    /// Connects and reads all that comes. A reset may be there before the
    /// connect has returned.
    #[track_caller]
    pub(crate) fn what_comes(address: SocketAddr) -> (Vec<u8>, End) {
        match Self::try_connect(address) {
            Ok(mut client) => client.rest(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (Vec::new(), End::Reset),
            Err(error) => panic!("connect to {address}: {error}"),
        }
    }

    /// Whether nothing has come and nothing has ended. Looks once.
    pub(crate) fn is_open(&self) -> bool {
        self.stream.set_nonblocking(true).expect("an open socket");
        let open = matches!(self.stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).expect("an open socket");
        open
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket")
    }
}

/// Closing will send RST instead of FIN.
pub(crate) fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
}
