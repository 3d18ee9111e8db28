//! `netctl`: sees, explains and changes a running netd.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use tokio::runtime;

use netd::cli::{self, Args, Surroundings};

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nowhere is left to report a failure to report.
            let _ = writeln!(io::stderr(), "netctl: cannot start: {error}");
            return ExitCode::from(cli::ExitStatus::Refused.code());
        }
    };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let status = runtime.block_on(cli::run(args, &Surroundings::read(), &mut out, &mut err));
    ExitCode::from(status.code())
}
