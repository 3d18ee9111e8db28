//! Requests and answers on connections that stay open.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use crate::generator::{Job, MESSAGE, Sample, meter::Meter, now};

const REQUEST: [u8; MESSAGE] = [b'x'; MESSAGE];

/// Requests that may be under way on a connection in an open loop. One that is
/// due beyond goes out later, and its latency counts from when it was due.
const DEPTH: usize = 32;

/// The token of the timer, which no connection has.
const TIMER: Token = Token(usize::MAX - 1);

struct Connection {
    stream: TcpStream,
    /// When the requests were sent (closed loop) or due (open loop) that have
    /// no whole answer yet.
    begun: VecDeque<Instant>,
    /// Due and not sent.
    waiting: VecDeque<Instant>,
    /// Bytes of the next answer that are there.
    received: usize,
}

/// The times at which requests are due: evenly spread.
struct Schedule {
    timer: TimerFd,
    interval: Duration,
    next: Instant,
    /// Whose turn it is.
    turn: usize,
}

pub(super) fn run(job: &Job, rate: Option<u32>) -> io::Result<Sample> {
    let mut poll = Poll::new()?;
    let mut connections = connect(job, &poll)?;
    let mut schedule = rate.map(|rate| Schedule::new(rate, &poll)).transpose()?;
    let mut meter = Meter::new(job);
    if schedule.is_none() {
        connections.iter_mut().try_for_each(|connection| connection.send(now()))?;
    }
    let mut events = Events::with_capacity(1024);
    while !meter.is_over(now()) {
        match poll.poll(&mut events, Some(meter.patience())) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in events.iter().filter(|event| event.token() != TIMER) {
            let connection = &mut connections[event.token().0];
            connection.receive(&mut meter, schedule.is_none())?;
        }
        if let Some(schedule) = &mut schedule {
            schedule.send_what_is_due(&mut connections)?;
        }
    }
    Ok(meter.finish())
}

fn connect(job: &Job, poll: &Poll) -> io::Result<Vec<Connection>> {
    let open = |index| {
        let mut stream = TcpStream::connect(job.to)?;
        stream.set_nodelay(true)?;
        // One exchange each: the origin's backlog is not what is measured.
        stream.write_all(&REQUEST)?;
        stream.read_exact(&mut [0; MESSAGE])?;
        stream.set_nonblocking(true)?;
        poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(index), Interest::READABLE)?;
        Ok(Connection { stream, begun: VecDeque::new(), waiting: VecDeque::new(), received: 0 })
    };
    (0..job.connections).map(open).collect()
}

impl Connection {
    /// A request of 64 bytes: the socket always has room for the few that are
    /// under way.
    fn send(&mut self, begun: Instant) -> io::Result<()> {
        self.begun.push_back(begun);
        self.stream.write_all(&REQUEST)
    }

    fn receive(&mut self, meter: &mut Meter, is_closed: bool) -> io::Result<()> {
        let mut buffer = [0; MESSAGE * (DEPTH + 1)];
        loop {
            let read = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.received += read;
            while self.received >= MESSAGE {
                self.received -= MESSAGE;
                let begun = self.begun.pop_front().ok_or_else(|| io::Error::other("an answer without a request"))?;
                let at = now();
                meter.operation(at.saturating_duration_since(begun));
                match self.waiting.pop_front() {
                    Some(due) => self.send(due)?,
                    None if is_closed => self.send(at)?,
                    None => {}
                }
            }
            if read < buffer.len() {
                return Ok(());
            }
        }
    }
}

impl Schedule {
    fn new(rate: u32, poll: &Poll) -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_fd().as_raw_fd()), TIMER, Interest::READABLE)?;
        let mut schedule = Self { timer, interval: Duration::from_secs(1) / rate, next: now(), turn: 0 };
        schedule.arm(now())?;
        Ok(schedule)
    }

    fn send_what_is_due(&mut self, connections: &mut [Connection]) -> io::Result<()> {
        let at = now();
        while self.next <= at {
            let connection = &mut connections[self.turn % connections.len()];
            match connection.begun.len() < DEPTH {
                true => connection.send(self.next)?,
                false => connection.waiting.push_back(self.next),
            }
            self.next += self.interval;
            self.turn += 1;
        }
        self.arm(at)
    }

    /// Setting it anew takes back its readiness, too. Zero would disarm it.
    fn arm(&mut self, at: Instant) -> io::Result<()> {
        let left = self.next.saturating_duration_since(at).max(Duration::from_nanos(1));
        self.timer.set(Expiration::OneShot(TimeSpec::from(left)), TimerSetTimeFlags::empty())?;
        Ok(())
    }
}
