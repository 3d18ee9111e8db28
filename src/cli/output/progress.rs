//! A drain on its way.

use std::time::Duration;

use crate::pb;

use super::units;

/// The figures whose change is worth a new line.
pub(crate) fn figures(progress: &pb::DrainProgress) -> (u64, u64, u64, u64, u64, bool) {
    let pb::DrainProgress { remaining, finished, retired, moved, cut, accepting, .. } = progress;
    // While it accepts connections come and go: that is no news.
    let lame = accepting.is_some();
    if lame { (0, 0, 0, 0, 0, lame) } else { (*remaining, *finished, *retired, *moved, *cut, lame) }
}

/// `draining listener/web: 12 connections left, 30 finished; 4s so far, about 9s to go, 26s to the deadline`.
/// `since` is the age of the message.
pub(crate) fn line(name: &str, progress: &pb::DrainProgress, since: Duration) -> String {
    let open = units::counted(progress.remaining, "connection", "connections");
    let span = |span: &Option<prost_types::Duration>| units::span(span.as_ref());
    let to_go = |span: Duration| seconds(span.saturating_sub(since));
    if let Some(accepting) = span(&progress.accepting) {
        return format!("{name} is not ready any more and accepts for another {}: {open} open", to_go(accepting));
    }
    let cut = match progress.cut {
        0 => String::new(),
        cut => format!(", {} cut", units::count(cut)),
    };
    let elapsed = span(&progress.elapsed).unwrap_or_default() + since;
    let estimate = span(&progress.estimate).map(|left| format!(", about {} to go", to_go(left))).unwrap_or_default();
    let deadline = match span(&progress.left) {
        Some(left) => format!("{} to the deadline", to_go(left)),
        None => "no deadline".to_owned(),
    };
    format!(
        "draining {name}: {open} left, {} finished{}{cut}; {} so far{estimate}, {deadline}",
        units::count(progress.finished),
        retired(progress),
        seconds(elapsed)
    )
}

/// What a gradual drain ended, and what went to other workers.
fn retired(progress: &pb::DrainProgress) -> String {
    let some = |count: u64, how: &str| match count {
        0 => String::new(),
        count => format!(", {} {how}", units::count(count)),
    };
    format!("{}{}", some(progress.retired, "ended while idle"), some(progress.moved, "moved to other workers"))
}

/// Whether a drain's last message says that nothing is left.
pub(crate) fn is_drained(progress: &pb::DrainProgress) -> bool {
    progress.done && progress.outcome == "drained" && progress.remaining == 0
}

/// The sentence at the end of a drain that left nothing.
pub(crate) fn drained(name: &str, progress: &pb::DrainProgress) -> String {
    let elapsed = seconds(units::span(progress.elapsed.as_ref()).unwrap_or_default());
    let finished = units::counted(progress.finished, "connection", "connections");
    let cut = match progress.cut {
        0 => "none cut".to_owned(),
        cut => format!("{} cut at the deadline", units::count(cut)),
    };
    format!("{name} is drained after {elapsed}: {finished} finished{}, {cut}", retired(progress))
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
            ..Default::default()
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
    fn a_line_tells_the_window_the_estimate_and_the_lame_duck() {
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let gradual = pb::DrainProgress { retired: 8, estimate: span(9), ..progress(12, 0, Some(26)) };
        assert_eq!(
            line("netd", &gradual, Duration::from_secs(1)),
            "draining netd: 12 connections left, 30 finished, 8 ended while idle; 5s so far, about 8s to go, 25s to the \
             deadline"
        );
        let done = pb::DrainProgress { done: true, ..gradual };
        let text = "netd is drained after 4s: 30 connections finished, 8 ended while idle, none cut";
        assert_eq!(drained("netd", &done), text);
        let moved = pb::DrainProgress { moved: 7, ..progress(0, 0, None) };
        assert!(drained("worker/1", &moved).ends_with(" finished, 7 moved to other workers, none cut"));
        let lame = pb::DrainProgress { accepting: span(8), ..progress(3, 0, None) };
        assert_eq!(
            line("netd", &lame, Duration::from_secs(2)),
            "netd is not ready any more and accepts for another 6s: 3 connections open"
        );
        assert_eq!(figures(&lame), figures(&pb::DrainProgress { remaining: 4, ..lame.clone() }));
        assert_ne!(figures(&lame), figures(&pb::DrainProgress { accepting: None, ..lame.clone() }));
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
