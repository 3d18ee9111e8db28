//! Why netd does not serve, and the exit status that says so.

use std::fmt;

/// The configuration is wrong (`EX_CONFIG`, sysexits.h).
pub(super) const EX_CONFIG: u8 = 78;

/// A message for a person and a status for a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) status: u8,
}

impl Failure {
    pub(super) fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), status: 1 }
    }

    pub(super) fn config(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), status: EX_CONFIG }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.trim_end())
    }
}
