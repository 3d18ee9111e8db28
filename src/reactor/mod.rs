//! One core's poll loop. It knows tokens, readiness, timers and messages, and
//! nothing of protocols.
//!
//! A turn: wait, messages, readiness, run queue, timers, end. The clock is read
//! once a turn, after the wait, and once more when it ends to tell how long
//! the turn took.

mod alarm;
mod look;
mod mailbox;
mod turn;

use std::{
    hint, io,
    time::{Duration, Instant},
};

use alarm::Alarm;
use look::Look;
use mio::{Events, Poll, Waker};

pub use mailbox::{Mailbox, SendError, Sender};
pub use turn::{Ready, Turn};

/// What a reactor drives: the owner of sockets and timers.
pub trait Handler {
    /// What others may send to it.
    type Message;

    /// A socket became ready; sent once an edge, see [`Ready`].
    fn on_ready(&mut self, token: usize, ready: Ready, turn: &mut Turn<'_>);
    /// A token that was put on the run queue is due.
    fn on_queued(&mut self, token: usize, turn: &mut Turn<'_>);
    /// A timer fired.
    fn on_timer(&mut self, token: usize, turn: &mut Turn<'_>);
    /// A message arrived.
    fn on_message(&mut self, message: Self::Message, turn: &mut Turn<'_>);
    /// The turn is over: `events` were handled, and it took `elapsed` since
    /// the wait ended.
    fn on_turn_end(&mut self, events: usize, elapsed: Duration, turn: &mut Turn<'_>);
    /// The loop should end.
    fn is_done(&self) -> bool;
}

/// Readiness events taken from the kernel at once.
const EVENTS: usize = 1024;
/// Messages handled in one turn.
const MESSAGES: usize = 64;
/// While sockets become ready, the loop wakes this often at least: the kernel
/// goes to sleep and wakes up at less cost with a timer that is near. A loop at
/// rest has no pulse.
const PULSE: Duration = Duration::from_millis(10);
/// The token of the mailbox; handlers must not use it.
const MAILBOX: mio::Token = mio::Token(usize::MAX);
/// The token of the alarm; handlers must not use it either.
const ALARM: mio::Token = mio::Token(usize::MAX - 1);

/// A poll loop with its timers, run queue and mailbox.
#[derive(Debug)]
pub struct Reactor<M> {
    poll: Poll,
    mailbox: Mailbox<M>,
    alarm: Alarm,
    look: Look,
    state: turn::State,
}

impl<M> Reactor<M> {
    /// A loop, and the way to send messages to it; at most `capacity` messages
    /// wait.
    ///
    /// # Errors
    /// If the system gives no epoll, eventfd or timerfd descriptor.
    pub fn new(capacity: usize) -> io::Result<(Self, Sender<M>)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), MAILBOX)?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let (sender, mailbox) = mailbox::channel(capacity, waker);
        Ok((Self { poll, mailbox, alarm, look: Look::default(), state: turn::State::new(clock()) }, sender))
    }

    /// From now on it looks for events for so long before it sleeps, while
    /// such looks find some; zero: it sleeps at once.
    pub fn look_before_sleep(&mut self, limit: Duration) {
        self.look = Look::new(limit);
    }

    /// Runs `handler` until it is done.
    ///
    /// # Errors
    /// If the kernel's poll fails, which it does not for want of anything.
    pub fn run(&mut self, handler: &mut impl Handler<Message = M>) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut due = Vec::new();
        let mut now = clock();
        let mut handled = 0;
        while !handler.is_done() {
            let waited = match self.may_sleep(now, handled > 0)? {
                true => self.wait(&mut events),
                false => self.poll.poll(&mut events, Some(Duration::ZERO)),
            };
            if let Err(error) = waited {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            now = clock();
            let mut turn = Turn { now, registry: self.poll.registry(), state: &mut self.state };
            for _ in 0..MESSAGES {
                let Some(message) = self.mailbox.take() else { break };
                handler.on_message(message, &mut turn);
            }
            handled = 0;
            for event in &events {
                match event.token() {
                    MAILBOX => {}
                    ALARM => self.alarm.rang(),
                    token => {
                        handled += 1;
                        handler.on_ready(token.0, Ready::from(event), &mut turn);
                    }
                }
            }
            // Only what is queued now: what queues itself again waits a turn.
            for _ in 0..turn.state.queue.len() {
                let Some(token) = turn.state.queue.pop_front() else { break };
                handler.on_queued(token, &mut turn);
            }
            turn.state.wheel.fire(now, |token| due.push(token));
            for token in due.drain(..) {
                handler.on_timer(token, &mut turn);
            }
            let elapsed = clock().saturating_duration_since(now);
            handler.on_turn_end(handled, elapsed, &mut turn);
        }
        Ok(())
    }

    /// Whether the next wait has no limit but the alarm, or none is to be at all.
    /// `busy`: sockets were ready in the turn before.
    fn may_sleep(&mut self, now: Instant, busy: bool) -> io::Result<bool> {
        if !self.state.queue.is_empty() || !self.mailbox.is_empty() {
            return Ok(false);
        }
        if busy {
            self.alarm.pulse(PULSE, now)?;
        }
        if let Some(deadline) = self.state.wheel.next_deadline() {
            self.alarm.set(deadline, now)?;
        }
        Ok(true)
    }

    /// Waits for events, and looks for them before that if that has paid.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        if let Some(limit) = self.look.begin() {
            let until = clock() + limit;
            loop {
                self.poll.poll(events, Some(Duration::ZERO))?;
                let found = !events.is_empty();
                if found || clock() >= until {
                    self.look.end(found);
                    break;
                }
                hint::spin_loop();
            }
            if !events.is_empty() {
                return Ok(());
            }
        }
        self.poll.poll(events, None)
    }
}

#[expect(clippy::disallowed_methods, reason = "the data plane's only reading of the clock")]
fn clock() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
