//! Relays between two sides until both are done: the hot path.
//!
//! Each direction is a small machine of its own:
//!
//! ```text
//! Open --end read--> Ending --all written, end passed on--> Ended
//!   |                   +------- the receiver is gone ------->|
//!   +-- the receiver is gone --> Sinking ----- end read ----->+
//! ```
//!
//! Sinking is for the upstream alone: one that has said all it had to say, or
//! still speaks, but reads no more. The client gets its answer whole, as it
//! would without netd, and what the client still sends is thrown away.
//!
//! A direction holds at most one block, and only while bytes wait in it: the
//! sender is not read before the receiver has taken what was read.

pub(super) mod freeze;

use std::{io, time::Instant};

use crate::{
    config::Accelerate,
    protocol::{CloseReason, LINGER},
    worker::{
        hold::Hold,
        supplies::Supplies,
        transport::{Read, Stream, Transport},
    },
};

/// Reads of one direction in one go; then others have their turn.
const READS: usize = 4;

/// Both directions of a relayed connection.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// Downstream to upstream.
    up: Flow,
    /// Upstream to downstream.
    down: Flow,
    /// The upstream ended first.
    upstream_ended_first: bool,
    /// The upstream went before it had taken all.
    upstream_gone: bool,
    /// The answer is delivered; when netd stops sinking what nobody wants any
    /// more.
    sink_until: Option<Instant>,
}

#[derive(Debug)]
struct Flow {
    state: State,
    hold: Hold,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Ending,
    Ended,
    Sinking,
}

/// What became of a turn of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Outcome {
    /// Nothing more until the kernel says so.
    Wait,
    /// There is more to do; others first.
    Yield,
    /// The connection is over, as both sides wanted.
    Done(CloseReason),
    /// One side failed; the other is to be reset.
    Reset(CloseReason),
}

/// How one direction's pumping ended.
enum Pumped {
    Blocked,
    Budget,
}

/// Whose stream failed.
enum Failure {
    Source,
    Sink(io::Error),
}

impl Tunnel {
    /// A tunnel through which no byte has gone yet.
    pub(super) fn new(accelerate: Accelerate) -> Self {
        let flow = || Flow { state: State::Open, hold: Hold::new(accelerate) };
        Self { up: flow(), down: flow(), upstream_ended_first: false, upstream_gone: false, sink_until: None }
    }

    /// These go to the upstream first, and with them, if they are there, the
    /// client's own: one system call less, and one segment.
    pub(super) fn begin_with<S: Stream>(
        &mut self,
        bytes: Vec<u8>,
        downstream: &mut Transport<S>,
        supplies: &mut Supplies,
    ) {
        self.up.hold.begin_with(bytes, downstream, supplies);
    }

    /// Moves what can be moved.
    pub(super) fn drive<S: Stream>(
        &mut self,
        downstream: &mut Transport<S>,
        upstream: &mut Transport<S>,
        supplies: &mut Supplies,
        now: Instant,
    ) -> Outcome {
        let mut more = false;
        let last = self.up.state == State::Ended;
        match self.down.pump(upstream, downstream, supplies, last) {
            Ok(pumped) => more |= matches!(pumped, Pumped::Budget),
            Err(Failure::Source) => return Outcome::Reset(CloseReason::UPSTREAM_RESET),
            Err(Failure::Sink(_)) => return Outcome::Reset(CloseReason::DOWNSTREAM_RESET),
        }
        if self.down.state != State::Open && self.up.state == State::Open {
            self.upstream_ended_first = true;
        }
        let last = self.down.state == State::Ended;
        match self.up.pump(downstream, upstream, supplies, last) {
            Ok(pumped) => more |= matches!(pumped, Pumped::Budget),
            Err(Failure::Source) => return Outcome::Reset(CloseReason::DOWNSTREAM_RESET),
            // The failed write has taken the error from the socket, which from
            // now on reads as if it had ended (tcp_recvmsg). It did so in truth
            // only if the end was read before, or the error is EPIPE: a reset
            // behind an end, or a receiver that reads no more.
            Err(Failure::Sink(error))
                if self.down.state == State::Open && error.kind() != io::ErrorKind::BrokenPipe =>
            {
                return Outcome::Reset(CloseReason::UPSTREAM_RESET);
            }
            Err(Failure::Sink(_)) => {
                self.sink_rest(supplies);
                more = true;
            }
        }
        if upstream.failed && self.down.state != State::Open && matches!(self.up.state, State::Open | State::Ending) {
            // Gone behind its end: no write needs to find that out.
            self.sink_rest(supplies);
            more = true;
        }
        self.outcome(downstream.failed, more, now)
    }

    fn outcome(&mut self, downstream_failed: bool, more: bool, now: Instant) -> Outcome {
        if self.down.state == State::Ended && self.up.state == State::Ended {
            return Outcome::Done(if self.upstream_ended_first || self.upstream_gone {
                CloseReason::DONE_BY_UPSTREAM
            } else {
                CloseReason::DONE
            });
        }
        if self.down.state == State::Ended && self.up.state == State::Sinking {
            let until = *self.sink_until.get_or_insert(now + LINGER);
            if now >= until {
                return Outcome::Done(CloseReason::DONE_BY_UPSTREAM);
            }
        }
        match (more, downstream_failed) {
            (true, _) => Outcome::Yield,
            // What it sent before could not be read up to the error: the
            // upstream does not take it, or the client's end was read already.
            (false, true) => Outcome::Reset(CloseReason::DOWNSTREAM_RESET),
            (false, false) => Outcome::Wait,
        }
    }

    /// The upstream takes nothing more.
    fn sink_rest(&mut self, supplies: &mut Supplies) {
        self.upstream_gone = true;
        self.up.hold.sink(supplies);
        self.up.state = if self.up.state == State::Open { State::Sinking } else { State::Ended };
    }

    /// When the tunnel must be driven even if nothing moves.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sink_until
    }

    /// At least one direction has ended.
    pub(super) fn is_half_closed(&self) -> bool {
        self.up.state != State::Open || self.down.state != State::Open
    }

    /// Both directions have ended; only delivery is left.
    pub(super) fn is_closing(&self) -> bool {
        self.up.state != State::Open && self.down.state != State::Open
    }

    /// A direction has proven bulky.
    pub(super) fn is_bulky(&self) -> bool {
        self.up.hold.is_bulky() || self.down.hold.is_bulky()
    }

    /// Bytes wait that the receiver did not take yet.
    pub(super) fn holds_bytes(&self) -> bool {
        !self.up.hold.is_empty() || !self.down.hold.is_empty()
    }

    /// Gives the buffers back.
    pub(super) fn clear(&mut self, supplies: &mut Supplies) {
        self.up.hold.clear(supplies);
        self.down.hold.clear(supplies);
    }
}

impl Flow {
    /// `last`: the other direction has ended, so the end is passed on by closing.
    fn pump<S: Stream>(
        &mut self,
        source: &mut Transport<S>,
        sink: &mut Transport<S>,
        supplies: &mut Supplies,
        last: bool,
    ) -> Result<Pumped, Failure> {
        let mut reads = 0;
        loop {
            if !self.hold.is_empty() {
                if !sink.writable {
                    return Ok(Pumped::Blocked);
                }
                self.hold.flush(sink, source.is_at_its_end(), supplies).map_err(Failure::Sink)?;
                continue;
            }
            match self.state {
                State::Ended => return Ok(Pumped::Blocked),
                State::Ending => {
                    self.state = State::Ended;
                    if last {
                        return Ok(Pumped::Blocked);
                    }
                    // A receiver that is gone already cannot be told; whether
                    // it failed is seen by reading from it.
                    return match sink.stream.shutdown_write() {
                        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(Failure::Sink(error)),
                        _ => Ok(Pumped::Blocked),
                    };
                }
                State::Open | State::Sinking => {
                    if !source.readable {
                        self.hold.rest(supplies);
                        return Ok(Pumped::Blocked);
                    }
                    if reads == READS {
                        return Ok(Pumped::Budget);
                    }
                    self.read(source, supplies)?;
                    // A pipe takes in one go what many blocks do.
                    reads = if self.hold.is_spliced() { READS } else { reads + 1 };
                }
            }
        }
    }

    fn read<S: Stream>(&mut self, source: &mut Transport<S>, supplies: &mut Supplies) -> Result<(), Failure> {
        match self.hold.fill(source, supplies) {
            Ok(Read::End) if self.state == State::Sinking => self.state = State::Ended,
            Ok(Read::End) => self.state = State::Ending,
            Ok(Read::Bytes) if self.state == State::Sinking => self.hold.clear(supplies),
            Ok(Read::Bytes | Read::Nothing) => {}
            Err(_) => return Err(Failure::Source),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
