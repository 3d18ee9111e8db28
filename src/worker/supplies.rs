//! What a worker lends to its connections while bytes are on their way: blocks
//! to copy through, and pipes to splice through.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    sys::pipe::Pipe,
    wire::BlockPool,
    worker::budget::{FdBudget, FdShare},
};

/// Bytes of one pipe, if the system allows so many.
const PIPE: usize = 1 << 20;
/// A smaller one is not worth its descriptors.
const PIPE_AT_LEAST: usize = 256 << 10;
/// Pipes that one worker has at most, in use or not.
const PIPES: usize = 256;
/// Pipes kept for use; more are closed.
const KEEP: usize = 16;

/// Bytes through a pipe in one go while others are served as well. A whole pipe
/// full takes a tenth of a millisecond and more, for which they would wait once
/// for each bulky connection.
const SHARED_GO: usize = 128 << 10;
/// For how long others count as being served.
const OTHERS: Duration = Duration::from_millis(2);

/// Blocks and pipes of one worker.
#[derive(Debug)]
pub(super) struct Supplies {
    pub(super) blocks: BlockPool,
    pub(super) pipes: PipePool,
}

impl Supplies {
    pub(super) fn new(block_size: usize, fds: Arc<FdBudget>) -> Self {
        Self { blocks: BlockPool::new(block_size), pipes: PipePool::new(fds) }
    }
}

/// Pipes of one worker. Their file descriptors count against the budget of
/// all connections.
#[derive(Debug)]
pub(super) struct PipePool {
    free: Vec<Pipe>,
    lent: usize,
    fds: FdShare,
    /// The system gave none that was large enough (pipe(7): there is a limit
    /// for each user); not tried again before one has come back.
    refused: bool,
    /// When a connection that is not bulky was served last.
    others_at: Option<Instant>,
    go: usize,
}

impl PipePool {
    fn new(fds: Arc<FdBudget>) -> Self {
        Self { free: Vec::new(), lent: 0, fds: FdShare::new(fds), refused: false, others_at: None, go: PIPE }
    }

    /// An empty pipe; `None` if there is none to be had, and copying has to do.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        let pipe = match self.free.pop() {
            Some(pipe) => pipe,
            None => self.make()?,
        };
        self.lent += 1;
        Some(pipe)
    }

    /// Takes a pipe back. One that is not empty is closed.
    pub(super) fn give(&mut self, pipe: Pipe, is_empty: bool) {
        self.lent -= 1;
        self.refused = false;
        if is_empty && self.free.len() < KEEP {
            self.free.push(pipe);
        } else {
            drop(pipe);
            self.fds.give(2);
        }
    }

    /// A connection is served now: what is bulky moves less in one go while
    /// others are.
    pub(super) fn serve(&mut self, bulky: bool, now: Instant) {
        if bulky {
            let alone = self.others_at.is_none_or(|at| now.saturating_duration_since(at) >= OTHERS);
            self.go = if alone { PIPE } else { SHARED_GO };
        } else {
            self.others_at = Some(now);
        }
    }

    /// Bytes to move through a pipe in one go.
    pub(super) fn go(&self, pipe: &Pipe) -> usize {
        self.go.min(pipe.capacity())
    }

    /// Takes on a pipe that another worker has made.
    pub(super) fn adopt(&mut self, pipe: Pipe) -> Pipe {
        self.fds.take_anyway(2);
        self.lent += 1;
        pipe
    }

    /// Lets a pipe that was lent go to another worker.
    pub(super) fn release(&mut self, pipe: Pipe) -> Pipe {
        self.lent -= 1;
        self.refused = false;
        self.fds.give(2);
        pipe
    }

    /// Pipes in use.
    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.lent
    }

    fn make(&mut self) -> Option<Pipe> {
        if self.refused || self.lent >= PIPES || !self.fds.take(2) {
            return None;
        }
        match Pipe::new(PIPE) {
            Ok(pipe) if pipe.capacity() >= PIPE_AT_LEAST => return Some(pipe),
            Ok(_) => self.refused = true,
            Err(_) => {}
        }
        self.fds.give(2);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_goes_in_small_pieces_while_others_are_served() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of the test")]
        let start = Instant::now();
        let mut pipes = PipePool::new(FdBudget::new(64, 0));
        let pipe = pipes.take().expect("the system gives a pipe");
        let go_at = |pipes: &mut PipePool, micros| {
            pipes.serve(true, start + Duration::from_micros(micros));
            pipes.go(&pipe)
        };
        assert_eq!(go_at(&mut pipes, 0), pipe.capacity().min(PIPE), "alone");
        pipes.serve(false, start + Duration::from_micros(10));
        assert_eq!(go_at(&mut pipes, 10), SHARED_GO);
        assert_eq!(go_at(&mut pipes, 2_009), SHARED_GO);
        assert_eq!(go_at(&mut pipes, 2_010), pipe.capacity().min(PIPE), "alone again");
        pipes.give(pipe, true);
    }
}
