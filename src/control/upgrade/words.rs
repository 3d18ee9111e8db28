//! Receipts in words.

use std::time::{Duration, SystemTime};

use super::{
    super::{names, request::Provenance},
    types::{Receipt, Verdict},
};

/// One line for the log and for events.
pub(super) fn summary(receipt: &Receipt) -> String {
    let Receipt { from, to, took, moved, drained, lost, longest_pause, sockets, .. } = receipt;
    let mut text = format!(
        "{}: netd {} (pid {}) -> netd {} (pid {}) in {}: {} handed over, {} moved (longest pause {})",
        receipt.verdict.as_str(),
        from.0,
        from.1,
        to.0,
        to.1,
        humantime(*took),
        names::counted(*sockets, "socket"),
        names::counted(*moved, "connection"),
        humantime(*longest_pause),
    );
    if *drained > 0 {
        text += &format!(", {drained} drained");
    }
    if *lost > 0 {
        text += &format!(", {lost} lost");
    }
    if !receipt.reason.is_empty() {
        text += &format!("; {}", receipt.reason);
    }
    text
}

fn humantime(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

impl Receipt {
    /// Of an upgrade that came to nothing before the other side was heard.
    pub fn failed(verdict: Verdict, reason: String, by: Provenance, now: SystemTime, version: &str) -> Self {
        Self {
            verdict,
            reason,
            by,
            began_at: now,
            took: Duration::ZERO,
            from: (version.to_owned(), std::process::id()),
            to: (String::new(), 0),
            phases: Vec::new(),
            sockets: 0,
            moved: 0,
            drained: 0,
            lost: 0,
            longest_pause: Duration::ZERO,
            kernel: Vec::new(),
        }
    }
}
