//! What wakes the loop for its timers: one timer of the kernel's (timerfd_create(2))
//! that is set seldom, instead of a time limit for each wait. Deadlines are
//! mostly put off, and a wait without a limit costs the kernel less.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

/// Rings at the deadline that it was set for, or earlier.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: TimerFd,
    /// When it rings next; `None`: it has rung, or was never set.
    set_for: Option<Instant>,
    /// A pulse is on its way: it was set and has not rung since.
    is_pulsing: bool,
}

impl Alarm {
    /// One that is not set, and whose ringing is an event of `token`.
    ///
    /// # Errors
    /// If the system gives no timer, or epoll does not take it.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_for: None, is_pulsing: false })
    }

    /// Sees to it that it rings at `deadline`, or earlier.
    ///
    /// # Errors
    /// If the system refuses, which it does not for valid times.
    pub(super) fn set(&mut self, deadline: Instant, now: Instant) -> io::Result<()> {
        if self.set_for.is_some_and(|at| at <= deadline) {
            return Ok(());
        }
        // Nothing at all would disarm it.
        let wait = deadline.saturating_duration_since(now).max(Duration::from_nanos(1));
        self.timer.set(Expiration::OneShot(TimeSpec::from_duration(wait)), TimerSetTimeFlags::empty())?;
        self.set_for = Some(deadline);
        Ok(())
    }

    /// Sees to it that it rings within so long; nothing is done if a pulse is on
    /// its way.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub(super) fn pulse(&mut self, within: Duration, now: Instant) -> io::Result<()> {
        if !self.is_pulsing {
            self.set(now + within, now)?;
            self.is_pulsing = true;
        }
        Ok(())
    }

    /// It has rung. Nothing is read from it: each time is an edge of its own.
    pub(super) fn rang(&mut self) {
        self.set_for = None;
        self.is_pulsing = false;
    }
}
