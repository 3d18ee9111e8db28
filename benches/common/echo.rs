//! An origin that sends back what it gets, on a thread that ends with the
//! process.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
};

use mio::{Events, Interest, Poll, Token, event::Event, unix::SourceFd};

/// What begins with this is sent back and is the last word of an [`echo`].
pub(crate) const LAST: u8 = b'.';

/// Sends back what it gets. One thread serves all connections, so that many of
/// them do not measure the scheduler.
pub(crate) fn echo() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut echo = Echo { poll: Poll::new()?, listener, streams: HashMap::new(), next: LISTENER.0 + 1 };
    thread::Builder::new()
        .name("echo".to_owned())
        .spawn(move || echo.run().unwrap_or_else(|error| eprintln!("the echo origin stopped: {error}")))?;
    Ok(address)
}

const LISTENER: Token = Token(0);

struct Echo {
    poll: Poll,
    listener: TcpListener,
    streams: HashMap<Token, TcpStream>,
    /// Tokens are not used twice.
    next: usize,
}

impl Echo {
    fn run(&mut self) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        self.poll.registry().register(&mut SourceFd(&self.listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
        let mut events = Events::with_capacity(256);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    token => self.answer(token, event),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let token = Token(self.next);
            self.next += 1;
            self.poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE)?;
            self.streams.insert(token, stream);
        }
    }

    /// Closing a stream takes it out of the poll as well.
    fn answer(&mut self, token: Token, event: &Event) {
        let Some(stream) = self.streams.get_mut(&token) else { return };
        if !echo_all(stream, event.is_read_closed()) {
            self.streams.remove(&token);
        }
    }
}

/// Whether the stream goes on. A client has one small message on its way at
/// most, so a write never finds the socket full. A short read means that no
/// more is there, unless the end was seen with it.
fn echo_all(stream: &mut TcpStream, read_closed: bool) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) if stream.write_all(&buffer[..n]).is_err() || buffer[0] == LAST => return false,
            Ok(n) if n < buffer.len() && !read_closed => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
