//! One piece under callgrind.
//!
//! A piece runs once with few and once with many repetitions; what the second
//! run takes more is theirs alone. So nothing needs to be switched on and off
//! inside, and no symbol needs to be found by name.

use std::{env, fs, process::Command};

use crate::pieces::Piece;

/// The argument with which this program runs a piece.
pub(crate) const RUN: &str = "--run";

/// Repetitions of the first run; tables and pools have their size after them.
const FEW: u64 = 200;

/// Instructions of one repetition.
pub(crate) fn instructions(piece: &Piece) -> Result<f64, String> {
    let (few, many) = (total(piece, FEW)?, total(piece, FEW + piece.times)?);
    Ok(many.saturating_sub(few) as f64 / piece.times as f64)
}

fn total(piece: &Piece, times: u64) -> Result<u64, String> {
    let directory = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
    let table = directory.path().join("table");
    let program = env::current_exe().map_err(|error| format!("this program's path is unknown: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", table.display()))
        .arg(program)
        .args([RUN, piece.name, &times.to_string()])
        .output()
        .map_err(|error| format!("valgrind (Debian: valgrind) is needed to count: {error}"))?;
    if !output.status.success() {
        return Err(format!("{}: {}\n{}", piece.name, output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let path = directory.path().join(format!("table-{:02}", piece.thread));
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {}: {error}", piece.name, path.display()))?;
    let mut totals = text.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    totals.next_back().ok_or_else(|| format!("{}: callgrind's table has no total", piece.name))
}
