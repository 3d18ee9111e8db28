//! The log as the rest of netd knows it.

use std::{
    panic,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing_subscriber::layer::SubscriberExt;

use super::{
    layer::{Filter, LogLayer},
    sink::{Output, Surroundings, destination, give_file, unseen},
    writer::Queue,
};
use crate::config::{self, LogLevel, LogTarget};

/// How long the end of netd waits for a destination that does not take lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a thread that panics waits for its line.
const PANIC: Duration = Duration::from_millis(250);

/// The running log. Every method may be called from any thread; dropping it
/// waits (2 s at most) until what was logged is written.
#[derive(Debug)]
pub struct Logging {
    filter: Arc<Filter>,
    queue: Queue,
    surroundings: Surroundings,
    /// In force; its level is the file's, not one set by hand.
    config: Mutex<config::Log>,
}

impl Logging {
    /// Starts the log: from now on every `tracing` event of this process goes
    /// there, and so does every panic. Starts a thread, so it comes after the
    /// last fork. `journal_stream` is the variable JOURNAL_STREAM.
    ///
    /// # Errors
    /// If the destination cannot be had, or a log runs already.
    pub fn start(config: &config::Log, daemon_mode: bool, journal_stream: Option<&str>) -> Result<Self, String> {
        let surroundings = Surroundings::look(daemon_mode, journal_stream, no_color());
        let output = Output::open(config, surroundings)?;
        let logging = Self::with_output(config, surroundings, output)?;
        let subscriber = tracing_subscriber::registry().with(logging.layer());
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|error| format!("cannot start the log: {error}"))?;
        log_panics(logging.queue.clone());
        Ok(logging)
    }

    /// Why the log of a detached daemon will be seen by nobody, if that is so.
    /// For the terminal that it is started from, which is the last to hear it.
    pub fn unseen_if_detached(config: &config::Log) -> Option<String> {
        unseen(config)
    }

    /// Sets the level until the next [`apply`](Self::apply); returns the one
    /// before.
    pub fn set_level(&self, level: LogLevel) -> LogLevel {
        self.filter.set(level)
    }

    /// The level in force.
    pub fn level(&self) -> LogLevel {
        self.filter.level()
    }

    /// Takes on another configuration: level, destination, format. Lines from
    /// now on go to the new destination.
    ///
    /// # Errors
    /// If the destination cannot be had; then nothing changes.
    pub fn apply(&self, config: &config::Log) -> Result<(), String> {
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if (&current.target, current.format) != (&config.target, config.format) {
            self.queue.switch(Output::open(config, self.surroundings)?);
        }
        self.filter.set(config.level);
        *current = config.clone();
        Ok(())
    }

    /// Opens the log file anew, as logrotate wants it. Nothing to do for other
    /// destinations.
    ///
    /// # Errors
    /// If it cannot be opened; then the old one stays in use.
    pub fn reopen(&self) -> Result<(), String> {
        let current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let LogTarget::File(_) = current.target {
            self.queue.switch(Output::open(&current, self.surroundings)?);
        }
        Ok(())
    }

    /// Makes the log file that of the user netd is about to become, so that it
    /// can open it anew. For other destinations there is nothing to do.
    ///
    /// # Errors
    /// If it is not a plain file of root or that user, or not ours to give.
    pub fn give_to(&self, uid: u32, gid: u32) -> Result<(), String> {
        let current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        match &current.target {
            LogTarget::File(path) => give_file(path, uid, gid)
                .map_err(|error| format!("log file {}: cannot give it to user {uid}: {error}", path.display())),
            _ => Ok(()),
        }
    }

    /// Where lines go, in words: `syslog`, `/var/log/netd.log`; or that they go
    /// nowhere and what to do about it.
    pub fn destination(&self) -> String {
        destination(&self.config.lock().unwrap_or_else(PoisonError::into_inner), self.surroundings)
    }

    /// Lines lost so far: the destination did not take them, or not in time.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Waits until all that was logged so far is written, 2 s at most. Returns
    /// whether it is.
    pub fn flush(&self) -> bool {
        self.queue.flush(LAST_LINES)
    }

    fn with_output(config: &config::Log, surroundings: Surroundings, output: Output) -> Result<Self, String> {
        Ok(Self {
            filter: Arc::new(Filter::new(config.level)),
            queue: Queue::start(output).map_err(|error| format!("cannot start the log's thread: {error}"))?,
            surroundings,
            config: Mutex::new(config.clone()),
        })
    }

    fn layer(&self) -> LogLayer {
        LogLayer::new(Arc::clone(&self.filter), self.queue.clone())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Logs a panic before whatever else is done about it.
fn log_panics(queue: Queue) {
    let next = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(target: "netd", place, thread, "panic: {message}");
        // The process may be about to end.
        queue.flush(PANIC);
        next(info);
    }));
}

/// See no-color.org.
#[expect(clippy::disallowed_methods, reason = "the log is set up at the root, and this is about its terminal alone")]
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
