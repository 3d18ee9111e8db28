//! `netd`: the daemon.

use std::process::ExitCode;

use clap::Parser;

use netd::daemon::{self, Args};

fn main() -> ExitCode {
    daemon::run(Args::parse())
}
