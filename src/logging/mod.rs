//! The log: from `tracing` events to stderr, a file, syslog or the journal.
//!
//! ```text
//! event -> layer (level, record) -> bounded queue -> writer thread -> format -> sink
//! ```
//!
//! A thread that logs never waits: a destination that blocks (a full pipe, a
//! hung syslogd) blocks the writer thread alone. What does not fit the queue
//! is counted, and the count is logged as soon as the destination takes lines
//! again.

mod access;
mod format;
mod layer;
mod logger;
mod record;
mod sink;
mod writer;

pub use access::AccessLogging;
pub use logger::Logging;
