//! A drain on its way.

use std::time::Duration;

use crate::pb;

use super::units;

/// The figures whose change is worth a new line.
pub(crate) fn figures(progress: &pb::DrainProgress) -> (u64, u64, u64) {
    (progress.remaining, progress.finished, progress.cut)
}

/// `draining listener/web: 12 connections left, 30 finished; 4s so far, 26s to the deadline`.
/// `since` is the age of the message.
pub(crate) fn line(name: &str, progress: &pb::DrainProgress, since: Duration) -> String {
    let left = units::counted(progress.remaining, "connection", "connections");
    let cut = match progress.cut {
        0 => String::new(),
        cut => format!(", {} cut", units::count(cut)),
    };
    let elapsed = units::span(progress.elapsed.as_ref()).unwrap_or_default() + since;
    let deadline = match units::span(progress.left.as_ref()) {
        Some(left) => format!("{} to the deadline", seconds(left.saturating_sub(since))),
        None => "no deadline".to_owned(),
    };
    format!(
        "draining {name}: {left} left, {} finished{cut}; {} so far, {deadline}",
        units::count(progress.finished),
        seconds(elapsed)
    )
}

/// Whether a drain's last message says that nothing is left.
pub(crate) fn is_drained(progress: &pb::DrainProgress) -> bool {
    progress.done && progress.outcome == "drained" && progress.remaining == 0
}

/// The sentence at the end of a drain that left nothing.
pub(crate) fn drained(name: &str, progress: &pb::DrainProgress) -> String {
    let elapsed = seconds(units::span(progress.elapsed.as_ref()).unwrap_or_default());
    let finished = units::counted(progress.finished, "connection", "connections");
    match progress.cut {
        0 => format!("{name} is drained after {elapsed}: {finished} finished, none cut"),
        cut => {
            format!("{name} is drained after {elapsed}: {finished} finished, {} cut at the deadline", units::count(cut))
        }
    }
}

/// The sentence at the end of a drain that left connections.
pub(crate) fn left(name: &str, progress: &pb::DrainProgress) -> String {
    let reason = match progress.outcome.as_str() {
        "undrained" => "it was taken back",
        "shutdown" => "the daemon is shutting down",
        "" => "no reason given",
        other => other,
    };
    let left = units::counted(progress.remaining, "connection", "connections");
    format!("the drain of {name} ended with {left} left: {reason}")
}

/// The nearest whole second: a line that is rewritten should not flicker, and a
/// drain of 30 s should begin with 30 s.
fn seconds(duration: Duration) -> String {
    let rounded = duration.saturating_add(Duration::from_millis(500));
    units::duration(Duration::from_secs(rounded.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(remaining: u64, cut: u64, left: Option<i64>) -> pb::DrainProgress {
        let span = |seconds| prost_types::Duration { seconds, nanos: 300_000_000 };
        pb::DrainProgress {
            remaining,
            finished: 30,
            cut,
            elapsed: Some(span(4)),
            left: left.map(span),
            done: false,
            outcome: String::new(),
        }
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line("listener/web", &progress(1200, 0, Some(26)), Duration::ZERO),
            "draining listener/web: 1,200 connections left, 30 finished; 4s so far, 26s to the deadline"
        );
        assert_eq!(
            line("netd", &progress(1, 2, Some(0)), second),
            "draining netd: 1 connection left, 30 finished, 2 cut; 5s so far, 0s to the deadline"
        );
        assert_eq!(
            line("pool/db", &progress(0, 0, None), second),
            "draining pool/db: 0 connections left, 30 finished; 5s so far, no deadline"
        );
        let left = Some(prost_types::Duration { seconds: 29, nanos: 990_000_000 });
        let begun = pb::DrainProgress { left, elapsed: None, ..progress(1, 0, None) };
        assert!(line("netd", &begun, Duration::ZERO).ends_with("; 0s so far, 30s to the deadline"));
    }

    #[test]
    fn only_drained_with_nothing_left_is_drained() {
        let end = |outcome: &str, remaining| pb::DrainProgress {
            done: true,
            outcome: outcome.to_owned(),
            ..progress(remaining, 0, None)
        };
        assert!(is_drained(&end("drained", 0)));
        assert!(!is_drained(&end("drained", 1)));
        assert!(!is_drained(&end("shutdown", 0)));
        assert!(!is_drained(&pb::DrainProgress { done: false, ..end("drained", 0) }));
        assert_eq!(
            left("netd", &end("undrained", 3)),
            "the drain of netd ended with 3 connections left: it was taken back"
        );
    }
}
