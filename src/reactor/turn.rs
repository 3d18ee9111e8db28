//! What a handler can do during a turn.

use std::{collections::VecDeque, io, os::fd::AsRawFd, time::Instant};

use mio::{Interest, Registry, Token, event::Event, unix::SourceFd};

use crate::time::{TimerId, Wheel};

/// What the kernel says of a socket. Edge-triggered: it is said once, and again
/// only after something new happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// Bytes, an end or an error can be read.
    pub readable: bool,
    /// There is room to write, or a write meets the error.
    pub writable: bool,
    /// The peer sends nothing more, or the connection failed: a read meets the
    /// end behind what is there.
    pub read_closed: bool,
    /// The connection failed.
    pub error: bool,
    /// Urgent data (RFC 9293 3.8.5) came: a read may stop short of it.
    pub urgent: bool,
}

impl From<&Event> for Ready {
    fn from(event: &Event) -> Self {
        let error = event.is_error() || (event.is_read_closed() && event.is_write_closed());
        Self {
            readable: event.is_readable() || event.is_read_closed() || error,
            writable: event.is_writable() || error,
            read_closed: event.is_read_closed() || error,
            error: event.is_error(),
            urgent: event.is_priority(),
        }
    }
}

/// The reactor's state that handlers act on.
#[derive(Debug)]
pub(super) struct State {
    pub(super) wheel: Wheel,
    pub(super) queue: VecDeque<usize>,
}

impl State {
    pub(super) fn new(now: Instant) -> Self {
        Self { wheel: Wheel::new(now), queue: VecDeque::new() }
    }
}

/// One pass of the loop.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The time of this turn.
    pub now: Instant,
    pub(super) registry: &'a Registry,
    pub(super) state: &'a mut State,
}

impl Turn<'_> {
    /// Watches a socket: edge-triggered, both directions, until it is closed.
    ///
    /// # Errors
    /// ENOMEM or ENOSPC (see epoll_ctl(2)).
    pub fn watch(&mut self, socket: &impl AsRawFd, token: usize) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        self.registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(token), interest)
    }

    /// Watches a listening socket: edge-triggered, for connections to accept.
    ///
    /// # Errors
    /// As for [`watch`](Self::watch).
    pub fn watch_listener(&mut self, socket: &impl AsRawFd, token: usize) -> io::Result<()> {
        self.registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(token), Interest::READABLE)
    }

    /// Ends the watch on a socket of which others have a duplicate; closing
    /// the only descriptor of a socket ends its watch by itself.
    pub fn unwatch(&mut self, socket: &impl AsRawFd) {
        // Not watched is as good as no longer watched.
        let _ = self.registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
    }

    /// Puts a token on the run queue: its turn comes when the ready sockets
    /// have had theirs, or in the next turn.
    pub fn enqueue(&mut self, token: usize) {
        self.state.queue.push_back(token);
    }

    /// Arms a timer.
    pub fn arm(&mut self, deadline: Instant, token: usize) -> TimerId {
        self.state.wheel.arm(deadline, token)
    }

    /// Disarms a timer that has not fired.
    pub fn cancel(&mut self, timer: TimerId) {
        self.state.wheel.cancel(timer);
    }

    /// Timers armed.
    pub fn timers(&self) -> usize {
        self.state.wheel.len()
    }
}
