//! An upgrade on its way, and its proof.

use std::{fmt::Write, time::Duration};

use crate::pb;

use super::units;

/// `  ready      12.3 ms  it has the sockets, its workers stand`.
pub(crate) fn phase(phase: &pb::UpgradePhase) -> String {
    let says = match phase.phase.as_str() {
        "spawned" => "the new binary was started",
        "checked" => "it has read and checked its configuration",
        "ready" => "it has the listening sockets, its workers stand",
        "serving" => "it accepts",
        "moving" => "connections move",
        "handed" => "it has everything",
        _ => "",
    };
    format!("{:<9}{:>11}  {says}", phase.phase, time(phase.at.as_ref())).trim_end().to_owned()
}

/// `moving: 1,200 of 8,000 connections`.
pub(crate) fn moved(moved: &pb::UpgradeMoved) -> String {
    format!("moving: {} of {}", units::count(moved.moved), units::counted(moved.of, "connection", "connections"))
}

/// What came of it, in a few lines.
pub(crate) fn receipt(receipt: &pb::UpgradeReceipt) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<15}{value}");
    };
    line("Verdict", &receipt.verdict);
    if !receipt.reason.is_empty() {
        line("Reason", &receipt.reason);
    }
    let process = |version: &str, pid: u32| format!("netd {version} (pid {pid})");
    line("From", &process(&receipt.from_version, receipt.from_pid));
    if !receipt.to_version.is_empty() {
        line("To", &process(&receipt.to_version, receipt.to_pid));
    }
    line("Took", &time(receipt.took.as_ref()));
    line("Sockets", &format!("{} handed over", units::count(receipt.sockets)));
    let count = |n: u64| units::count(n);
    let (moved, drained, lost) = (count(receipt.moved), count(receipt.drained), count(receipt.lost));
    line("Connections", &format!("{moved} moved, {drained} drained by the old process, {lost} lost"));
    line("Longest pause", &time(receipt.longest_pause.as_ref()));
    for figure in &receipt.kernel {
        let more = figure.after.saturating_sub(figure.before);
        line("Kernel", &format!("{} {} -> {} (+{more})", figure.name, figure.before, figure.after));
    }
    text
}

fn time(time: Option<&prost_types::Duration>) -> String {
    let time: Duration = units::span(time).unwrap_or_default();
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_says_what_came_of_it() {
        let millis = |millis: i32| Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 });
        let given = pb::UpgradeReceipt {
            verdict: "upgraded".to_owned(),
            from_version: "0.1.0".to_owned(),
            from_pid: 1,
            to_version: "0.2.0".to_owned(),
            to_pid: 2,
            took: millis(120),
            sockets: 4,
            moved: 8000,
            longest_pause: millis(3),
            kernel: vec![pb::KernelFigure { name: "ListenDrops".to_owned(), before: 5, after: 5 }],
            ..Default::default()
        };
        let text = receipt(&given);
        for wanted in [
            "Verdict        upgraded\n",
            "To             netd 0.2.0 (pid 2)\n",
            "Connections    8,000 moved, 0 drained by the old process, 0 lost\n",
            "Longest pause  3.0 ms\n",
            "Kernel         ListenDrops 5 -> 5 (+0)\n",
        ] {
            assert!(text.contains(wanted), "{text}");
        }
        assert!(!text.contains("Reason"));
        let ready = pb::UpgradePhase { phase: "ready".to_owned(), at: millis(12) };
        assert_eq!(phase(&ready), "ready        12.0 ms  it has the listening sockets, its workers stand");
    }
}
