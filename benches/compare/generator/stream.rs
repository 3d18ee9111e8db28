//! Bytes without end.

use std::{
    io::{self, ErrorKind, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use crate::{
    generator::{Job, Sample, meter::Meter, now},
    pump::{CHUNK, Flow, Pump},
};

/// Counts what was taken from the sockets here and what was given to them: the
/// latter is ahead of what arrived by what the sockets between hold.
pub(super) fn run(job: &Job, flow: Flow) -> io::Result<Sample> {
    let mut poll = Poll::new()?;
    let mut pumps = Vec::new();
    for index in 0..job.connections {
        let mut stream = TcpStream::connect(job.to)?;
        stream.write_all(&[flow.byte()])?;
        stream.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(index), interest)?;
        pumps.push(Pump::new(stream, flow != Flow::Down));
    }
    let mut meter = Meter::new(job);
    let mut events = Events::with_capacity(256);
    let mut buffer = vec![0; CHUNK];
    while !meter.is_over(now()) {
        let is_busy = pumps.iter().any(Pump::is_ready);
        match poll.poll(&mut events, Some(if is_busy { Duration::ZERO } else { meter.patience() })) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        events.iter().for_each(|event| pumps[event.token().0].note(event));
        for pump in pumps.iter_mut().filter(|pump| pump.is_ready()) {
            meter.bytes(pump.turn(&mut buffer)?);
        }
    }
    Ok(meter.finish())
}
