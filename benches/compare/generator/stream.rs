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

/// What is moved at once if there is a pace.
const PIECE: usize = 64 * 1024;

/// How long to wait when the pace allows no more.
const STEP: Duration = Duration::from_micros(500);

/// Counts what was taken from the sockets here and what was given to them: the
/// latter is ahead of what arrived by what the sockets between hold.
pub(super) fn run(job: &Job, flow: Flow, pace: Option<u64>) -> io::Result<Sample> {
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
    let mut buffer = vec![0; if pace.is_some() { PIECE } else { CHUNK }];
    let (begun, mut moved) = (now(), 0);
    while !meter.is_over(now()) {
        let is_ahead = pace.is_some_and(|pace| moved as f64 > pace as f64 * (now() - begun).as_secs_f64());
        let patience = match pumps.iter().any(Pump::is_ready) {
            true if is_ahead => STEP,
            true => Duration::ZERO,
            false => meter.patience(),
        };
        match poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        events.iter().for_each(|event| pumps[event.token().0].note(event));
        for pump in pumps.iter_mut().filter(|pump| !is_ahead && pump.is_ready()) {
            let bytes = pump.turn(&mut buffer)?;
            moved += bytes;
            meter.bytes(bytes);
        }
    }
    Ok(meter.finish())
}
