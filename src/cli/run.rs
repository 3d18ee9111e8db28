//! From arguments to exit status.

use std::io::Write;

use super::{
    args::{Args, OutputFormat},
    commands::Session,
    exit::ExitStatus,
    output::{Console, units},
    surroundings::Surroundings,
};

/// Carries out one command of netctl: answers go to `out`, complaints and hints
/// to `err`. Needs a tokio runtime with I/O and time.
pub async fn run(args: Args, around: &Surroundings, out: &mut dyn Write, err: &mut dyn Write) -> ExitStatus {
    let mut console = Console {
        out,
        err,
        json: args.globals.output == OutputFormat::Json,
        width: around.terminal_width,
        colour: around.colour,
        clock: around.clock,
        reader_gone: false,
    };
    let Args { globals, command } = args;
    let outcome = Session { globals, around, console: &mut console }.run(command).await;
    outcome.unwrap_or_else(|failure| {
        // If even this cannot be written, the exit status has to do.
        let _ = writeln!(console.err, "netctl: {}", units::printable(failure.message().trim_end()));
        failure.status()
    })
}
