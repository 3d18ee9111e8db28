//! Connect, one exchange, end. The origin ends first: a client that did would
//! soon have more ports in TIME-WAIT than free ones, and measure the search.

use std::{
    io::{self, ErrorKind, Read, Write},
    time::Instant,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    echo::LAST,
    generator::{Job, MESSAGE, Sample, meter::Meter, now},
};

const REQUEST: [u8; MESSAGE] = [LAST; MESSAGE];

struct Connection {
    stream: TcpStream,
    begun: Instant,
    is_sent: bool,
    received: usize,
}

enum Progress {
    Waits,
    Done,
    Failed,
}

pub(super) fn run(job: &Job) -> io::Result<Sample> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::new();
    for index in 0..job.connections {
        connections.push(Connection::open(job, &poll, index)?);
    }
    let mut meter = Meter::new(job);
    let mut events = Events::with_capacity(1024);
    while !meter.is_over(now()) {
        match poll.poll(&mut events, Some(meter.patience())) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            match connection.advance() {
                Progress::Waits => continue,
                Progress::Done => meter.operation(now() - connection.begun),
                Progress::Failed => meter.failure(),
            }
            // Closes the one before, with which its registration goes.
            *connection = Connection::open(job, &poll, event.token().0)?;
        }
    }
    Ok(meter.finish())
}

impl Connection {
    fn open(job: &Job, poll: &Poll, index: usize) -> io::Result<Self> {
        let begun = now();
        let mut stream = TcpStream::connect(job.to)?;
        poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, begun, is_sent: false, received: 0 })
    }

    fn advance(&mut self) -> Progress {
        if !self.is_sent {
            match self.stream.write(&REQUEST) {
                Ok(MESSAGE) => self.is_sent = true,
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::NotConnected].contains(&error.kind()) => {
                    return Progress::Waits;
                }
                _ => return Progress::Failed,
            }
        }
        let mut buffer = [0; MESSAGE];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) if self.received == MESSAGE => return Progress::Done,
                Ok(0) => return Progress::Failed,
                Ok(read) => self.received += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Waits,
                Err(_) => return Progress::Failed,
            }
        }
    }
}
