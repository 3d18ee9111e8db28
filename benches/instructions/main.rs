//! Instructions of the pieces that the data plane runs for every event, counted
//! by callgrind and compared with the counts kept in `baseline`. A count is the
//! same in every run and on a busy machine; it says nothing of the kernel.
//! docs/benchmarks.md tells how to read and renew the figures.

mod baseline;
mod count;
#[path = "../common/echo.rs"]
mod echo;
mod pieces;
#[path = "../common/worker.rs"]
mod worker;

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, ExitCode},
};

use baseline::{Baseline, Tools, Verdict};
use pieces::PIECES;

/// From the root of the package, where cargo runs benches.
const BASELINE: &str = "benches/instructions/baseline";
const USAGE: &str = "cargo bench --bench instructions [-- --renew]";

fn main() -> ExitCode {
    // Cargo itself adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => count_all().and_then(|counts| compare(&counts)),
        ["--renew"] => count_all().and_then(|counts| renew(&counts)),
        [count::RUN, name, times] => run(name, times),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What callgrind runs: one piece, so many times.
fn run(name: &str, times: &str) -> Result<(), String> {
    let piece = PIECES.iter().find(|piece| piece.name == name).ok_or_else(|| format!("no piece is named {name:?}"))?;
    let times = times.parse().map_err(|error| format!("{times:?}: {error}"))?;
    (piece.run)(times);
    Ok(())
}

/// Instructions of each piece for one time.
fn count_all() -> Result<BTreeMap<String, f64>, String> {
    PIECES.iter().map(|piece| Ok((piece.name.to_owned(), count::instructions(piece)?))).collect()
}

fn renew(counts: &BTreeMap<String, f64>) -> Result<(), String> {
    let baseline = Baseline { tools: tools()?, counts: counts.clone() };
    fs::write(BASELINE, baseline.render()).map_err(|error| format!("{BASELINE}: {error}"))?;
    counts.iter().for_each(|(name, count)| println!("{name:32} {count:12.1}"));
    println!("written to {}", BASELINE);
    Ok(())
}

fn compare(counts: &BTreeMap<String, f64>) -> Result<(), String> {
    let text = fs::read_to_string(BASELINE).map_err(|error| format!("{BASELINE}: {error}"))?;
    let baseline = Baseline::parse(&text).map_err(|error| format!("{BASELINE}: {error}"))?;
    let tools = tools()?;
    let tolerance = baseline.tolerance(&tools);
    if baseline.tools != tools {
        println!(
            "NOTE: counted with other tools than the baseline, so only differences above {:.0} % count.",
            100.0 * tolerance
        );
        println!("  baseline: {}\n  here:     {}", baseline.tools, tools);
    }
    let mut failed = false;
    for (name, verdict) in baseline.verdicts(counts, tolerance) {
        failed |= verdict.is_failure();
        println!("{name:32} {verdict}");
        if matches!(verdict, Verdict::Better { .. }) {
            println!("{:32} better than the baseline: renew it ({USAGE})", "");
        }
    }
    if failed { Err(format!("not as in the baseline; if that is as it should be: {USAGE}")) } else { Ok(()) }
}

/// What this machine counts with.
fn tools() -> Result<Tools, String> {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().map_err(|error| format!("{program}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().next().map(str::to_owned).ok_or_else(|| format!("{program} {argument} says nothing"))
    };
    Ok(Tools {
        rustc: format!("{} {}", first_line("rustc", "-V")?, std::env::consts::ARCH),
        libc: first_line("getconf", "GNU_LIBC_VERSION")?,
        valgrind: first_line("valgrind", "--version")?,
    })
}
