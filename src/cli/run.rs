//! From arguments to exit status.

use std::io::Write;

use super::{
    args::{Args, OutputFormat},
    commands::Session,
    exit::{ExitStatus, Failure},
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
    };
    let Args { globals, command } = args;
    let outcome = Session { globals, around, console: &mut console }.run(command).await;
    let outcome = outcome.and_then(|status| console.out.flush().map(|()| status).map_err(Failure::from));
    outcome.unwrap_or_else(|failure| {
        if let Some(message) = failure.message() {
            // If even this cannot be written, the exit status has to do.
            let _ = writeln!(console.err, "netctl: {}", units::printable(message.trim_end()));
        }
        failure.status()
    })
}
