//! The log and the access log follow the configuration: both or neither.

use super::{
    controller::Controller,
    port::WorkerPort,
    request::{AccessFigures, EventKind, Provenance},
};
use crate::config::{Config, LogLevel};

impl<P: WorkerPort> Controller<P> {
    /// Brings the logs where `new` wants them; nothing changes if one of them
    /// cannot go there.
    pub(super) fn apply_logs(&mut self, old: &Config, new: &Config) -> Result<(), String> {
        if new.log != old.log {
            (self.apply_log)(&new.log)?;
        }
        if new.access_log == old.access_log {
            return Ok(());
        }
        (self.apply_access)(&new.access_log).inspect_err(|_| self.return_log(old, new))
    }

    /// Another level of the log, until the next start or reload that changes it;
    /// answers the one before.
    pub(super) fn change_log_level(&mut self, level: LogLevel, by: &Provenance) -> LogLevel {
        let before = (self.set_log_level)(level);
        self.log_level = level;
        let text = format!("log level: {} -> {}", before.as_str(), level.as_str());
        self.journal.asked(EventKind::LogLevel, "", &text, by);
        before
    }

    /// Brings the logs back from where a configuration that is refused after
    /// all wanted them.
    pub(super) fn return_logs(&mut self, old: &Config, refused: &Config) {
        self.return_log(old, refused);
        if refused.access_log != old.access_log
            && let Err(error) = (self.apply_access)(&old.access_log)
        {
            tracing::error!("the access log stays as the refused configuration has it: {error}");
        }
    }

    /// Lines of the access log, and what became of them.
    pub(super) fn access_figures(&self) -> AccessFigures {
        AccessFigures { written: self.access.written(), behind: self.access.behind(), refused: self.access.refused() }
    }

    fn return_log(&mut self, old: &Config, refused: &Config) {
        if refused.log == old.log {
            return;
        }
        if let Err(error) = (self.apply_log)(&old.log) {
            tracing::error!("the log stays as the refused configuration has it: {error}");
        }
        // A level set by hand goes on.
        (self.set_log_level)(self.log_level);
    }
}
