//! A stream for tests that does what a socket of Linux does, one step at a
//! time, as the test says. The test keeps a clone of it: the peer's and the
//! kernel's side.
//!
//! Readiness is told as epoll(7) tells it to edge-triggered watchers: once for
//! each thing that is new, and room only to somebody who ran out of it.

use std::{
    cell::{Ref, RefCell},
    collections::VecDeque,
    io,
    rc::Rc,
};

use crate::{reactor::Ready, sys::pipe::Pipe, worker::transport::Stream};

/// Bytes that one splice moves at most.
const SPLICE: usize = 40;

/// One socket. Clones are the same socket.
#[derive(Debug, Clone, Default)]
pub(super) struct Script(Rc<RefCell<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    incoming: VecDeque<u8>,
    /// Bytes read so far.
    taken: u64,
    /// Where urgent bytes are: a read that has something stops there.
    marks: VecDeque<u64>,
    /// The peer's end came.
    ended: bool,
    /// Somebody has read the end.
    end_taken: bool,
    /// A reset came.
    dead: bool,
    /// The reset was not told to a read or write yet.
    pending: Option<io::ErrorKind>,
    /// The peer is closed wholly: it answers what is written with a reset.
    answers_with_reset: bool,
    room: usize,
    /// A write ran out of room.
    starved: bool,
    news: Ready,
    /// What was written.
    pub(super) written: Vec<u8>,
    /// How often the end was passed on.
    pub(super) ends: usize,
    /// Bytes that went into pipes.
    pub(super) spliced: usize,
    /// A reset was asked for.
    pub(super) reset_on_close: bool,
}

impl Script {
    /// With room for `room` bytes to write.
    pub(super) fn with_room(room: usize) -> Self {
        let script = Self::default();
        script.0.borrow_mut().room = room;
        script
    }

    pub(super) fn look(&self) -> Ref<'_, State> {
        self.0.borrow()
    }

    /// Bytes come in; the first of them is urgent if so said.
    pub(super) fn arrive(&self, bytes: &[u8], urgent: bool) {
        let mut state = self.0.borrow_mut();
        if state.dead || bytes.is_empty() {
            return;
        }
        assert!(!state.ended, "nothing follows the end");
        if urgent {
            let mark = state.taken + state.incoming.len() as u64;
            state.marks.push_back(mark);
            state.news.urgent = true;
        }
        state.incoming.extend(bytes);
        state.news.readable = true;
    }

    /// The peer's end comes in.
    pub(super) fn end(&self) {
        let mut state = self.0.borrow_mut();
        if !state.dead && !state.ended {
            state.ended = true;
            (state.news.readable, state.news.read_closed) = (true, true);
            state.news.writable |= state.ends > 0; // EPOLLHUP
        }
    }

    /// The peer's end comes in, and the peer does not read any more either.
    pub(super) fn close(&self) {
        self.end();
        self.0.borrow_mut().answers_with_reset = true;
    }

    /// netd closes the socket, which passes the end on if that was not done.
    pub(super) fn is_closed(&self) {
        let mut state = self.0.borrow_mut();
        if !state.dead && state.ends == 0 {
            assert!(state.incoming.is_empty(), "closing with bytes unread is a reset");
            state.ends = 1;
        }
    }

    /// A reset comes in.
    pub(super) fn reset(&self) {
        self.0.borrow_mut().reset();
    }

    /// The peer takes bytes.
    pub(super) fn give_room(&self, bytes: usize) {
        let mut state = self.0.borrow_mut();
        state.room = state.room.saturating_add(bytes);
        if state.room > 0 && std::mem::take(&mut state.starved) {
            state.news.writable = true;
        }
    }

    /// What epoll would tell now, and not again. A `chatty` one repeats what
    /// is still so, as Linux does when anything is new.
    pub(super) fn news(&self, chatty: bool) -> Option<Ready> {
        let mut state = self.0.borrow_mut();
        let mut news = std::mem::take(&mut state.news);
        if news == Ready::default() {
            return None;
        }
        if chatty {
            news.readable |= state.can_read();
            news.writable |= state.can_write();
            news.read_closed |= state.ended || state.dead;
        }
        Some(news)
    }

    pub(super) fn has_news(&self) -> bool {
        self.look().news != Ready::default()
    }
}

impl State {
    /// A read would find bytes, the end or an error that none has found yet.
    pub(super) fn can_read(&self) -> bool {
        !self.incoming.is_empty() || (self.ended && !self.end_taken) || self.pending.is_some()
    }

    /// A write would find room, or the error.
    pub(super) fn can_write(&self) -> bool {
        self.room > 0 || self.dead
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    fn reset(&mut self) {
        if !self.dead {
            self.dead = true;
            // tcp_reset(): EPIPE in CLOSE_WAIT.
            let kind = if self.ended { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionReset };
            self.pending = Some(kind);
            self.news = Ready { readable: true, writable: true, read_closed: true, error: true, ..self.news };
        }
    }
}

impl Stream for Script {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "a read without room looks like an end");
        let state = &mut *self.0.borrow_mut();
        if state.incoming.is_empty() {
            if state.ended {
                state.end_taken = true;
                return Ok(0);
            }
            return match state.pending.take() {
                Some(kind) => Err(kind.into()),
                // tcp_recvmsg(): once the error was told, a dead socket reads
                // as if it had ended.
                None if state.dead => Ok(0),
                None => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let mut n = buffer.len().min(state.incoming.len());
        while state.marks.front().is_some_and(|&mark| mark <= state.taken) {
            state.marks.pop_front();
        }
        if let Some(mark) = state.marks.front() {
            n = n.min((mark - state.taken) as usize);
        }
        for (to, from) in buffer.iter_mut().zip(state.incoming.drain(..n)) {
            *to = from;
        }
        state.taken += n as u64;
        Ok(n)
    }

    fn write_last(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let state = &mut *self.0.borrow_mut();
        assert_eq!(state.ends, 0, "nothing is written after the end");
        assert!(!bytes.is_empty(), "a write of nothing says nothing");
        if state.dead {
            return Err(state.pending.take().unwrap_or(io::ErrorKind::BrokenPipe).into());
        }
        let n = bytes.len().min(state.room);
        state.starved |= n < bytes.len();
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.room -= n;
        state.written.extend_from_slice(&bytes[..n]);
        if state.answers_with_reset {
            state.reset();
        }
        Ok(n)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        if state.dead {
            return Err(io::ErrorKind::NotConnected.into());
        }
        state.ends += 1;
        assert_eq!(state.ends, 1, "the end is passed on once");
        if state.ended {
            // EPOLLHUP
            state.news = Ready { readable: true, writable: true, read_closed: true, ..state.news };
        }
        Ok(())
    }

    fn reset_on_close(&self) {
        self.0.borrow_mut().reset_on_close = true;
    }

    fn set_nodelay(&self) {}

    fn splice_into(&self, pipe: &Pipe, n: usize) -> io::Result<usize> {
        {
            // tcp_splice_read() does not pass an urgent byte.
            let state = self.0.borrow();
            if !state.incoming.is_empty() && state.marks.front() == Some(&state.taken) {
                return if state.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
            }
        }
        let mut bytes = vec![0; SPLICE.min(n)];
        let n = self.read(&mut bytes)?;
        self.0.borrow_mut().spliced += n;
        assert_eq!(nix::unistd::write(pipe.write_end(), &bytes[..n])?, n, "the pipe was empty");
        Ok(n)
    }

    fn splice_from(&self, pipe: &Pipe, n: usize) -> io::Result<usize> {
        assert!(n > 0, "a splice of nothing says nothing");
        let room = self.0.borrow().room.clamp(1, n);
        let mut bytes = vec![0; room];
        // What is taken from the pipe cannot be put back: only as much as there is room for.
        if self.0.borrow().room == 0 || self.0.borrow().dead {
            return self.write(&bytes[..1]);
        }
        let taken = nix::unistd::read(pipe.read_end(), &mut bytes)?;
        let written = self.write(&bytes[..taken])?;
        assert_eq!(written, taken);
        // It was asked to take more.
        self.0.borrow_mut().starved |= written < n;
        Ok(written)
    }
}

impl Script {
    /// Somebody else watches it from now on: the kernel tells what is so, as
    /// `epoll_ctl(2)` does when a socket is added.
    pub(super) fn watched_anew(&self) {
        let state = &mut *self.0.borrow_mut();
        let hung_up = state.dead || (state.ended && state.ends > 0);
        state.starved |= !state.can_write();
        state.news = Ready {
            readable: !state.incoming.is_empty() || state.ended || state.dead,
            writable: state.can_write() || hung_up,
            read_closed: state.ended || state.dead,
            error: state.pending.is_some(),
            urgent: !state.marks.is_empty(),
        };
    }
}
