//! The composition root: what `netd` does, in order.
//!
//! ```text
//! arguments -> configuration -> (detach) -> log, pid file, sockets -> drop privileges -> workers -> serve
//! ```
//!
//! Everything up to the log runs on one thread, since only then a fork is
//! sound; the log's writer is the first other thread.

mod args;
mod banner;
mod environment;
mod failure;
mod loader;
mod pidfile;
mod places;
mod serve;
mod start;
mod succession;
mod supervisor;
mod upgrade;

use std::{
    io::{self, Write},
    process::ExitCode,
};

pub use args::Args;

use crate::{
    daemon::{
        args::Mode,
        environment::Environment,
        failure::Failure,
        loader::Loader,
        start::{Arrival, Detached},
        succession::Heritage,
    },
    handover,
    logging::{AccessLogging, Logging},
    process::daemonize::Outcome,
};

/// Runs `netd` with these arguments until it is done; the answer is its exit
/// status: 0 done, 78 the configuration is wrong (`EX_CONFIG`, sysexits.h), 1
/// anything else, and for `--status` what the LSB wants: 0 running, 1 dead
/// with a pid file, 3 not running.
pub fn run(args: Args) -> ExitCode {
    match act(&args) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            tell(&mut io::stderr(), &format!("netd: {failure}\n"));
            ExitCode::from(failure.status)
        }
    }
}

fn act(args: &Args) -> Result<u8, Failure> {
    let environment = Environment::read();
    let mut loader = Loader::new(args, &environment)?;
    match args.mode() {
        Mode::Check => {
            let config = loader.load()?;
            tell(&mut io::stdout(), &banner::checked(&loader, &config));
            if let Some(warning) = banner::idle(&config) {
                tell(&mut io::stderr(), &format!("netd: warning: {warning}\n"));
            }
            Ok(0)
        }
        Mode::PrintConfig => {
            let config = loader.load()?;
            tell(&mut io::stdout(), &config.to_toml());
            Ok(0)
        }
        Mode::Stop => pidfile::stop(&loader.pid_file(&environment)?, args.timeout),
        Mode::Status => pidfile::status(&loader.pid_file(&environment)?),
        Mode::Serve => serve(args, environment, loader),
    }
}

fn serve(args: &Args, environment: Environment, mut loader: Loader) -> Result<u8, Failure> {
    if let Some(predecessor) = succession::arrival(&environment)? {
        return succeed(args, &environment, loader, predecessor);
    }
    let config = loader.load()?;
    match start::detach_if_asked(args, &environment, &config)? {
        Detached::Original(waiter) => match waiter.wait() {
            Outcome::Serving { .. } => {
                if let Some(why) = Logging::unseen_if_detached(&config.log) {
                    tell(&mut io::stderr(), &format!("netd: it serves, but {why}\n"));
                }
                if let Some(why) = AccessLogging::unseen_if_detached(&config.access_log) {
                    tell(&mut io::stderr(), &format!("netd: it serves, but {why}\n"));
                }
                Ok(0)
            }
            Outcome::Failed { message, status } => Err(Failure { message, status }),
        },
        Detached::Here(arrival) => serve_here(args, &environment, loader, config, arrival),
    }
}

/// Takes over from the netd that started this process. What goes wrong before
/// it accepts is told to that one, which goes on.
fn succeed(
    args: &Args,
    environment: &Environment,
    mut loader: Loader,
    mut predecessor: handover::Arrival,
) -> Result<u8, Failure> {
    environment::forget_supervisor().map_err(Failure::new)?;
    let mut arrival = Arrival::of_successor(succession::is_detached(args, environment));
    let inherited = succession::inherit(&mut predecessor, environment, &mut loader);
    let alone = inherited.as_ref().is_ok_and(|(_, heritage)| !heritage.is_any());
    let prepared = inherited
        .and_then(|(config, heritage)| start::prepare(args, environment, loader, config, &mut arrival, heritage));
    match prepared {
        Ok(mut prepared) if alone => {
            prepared.claim();
            serve::run(prepared, arrival, None).map(|()| 0)
        }
        Ok(prepared) => serve::run(prepared, arrival, Some(predecessor)).map(|()| 0),
        Err(failure) => {
            predecessor.decline(&failure.message, failure.status);
            Err(failure)
        }
    }
}

/// Serves in this process. What goes wrong before it serves is told to whoever
/// waits; and in a detached daemon the log has it too.
fn serve_here(
    args: &Args,
    environment: &Environment,
    loader: Loader,
    config: crate::config::Config,
    mut arrival: Arrival,
) -> Result<u8, Failure> {
    let detached = arrival.is_detached();
    let heritage = Heritage::default();
    let prepared = match start::prepare(args, environment, loader, config, &mut arrival, heritage) {
        Ok(prepared) => prepared,
        Err(failure) => return arrival.failed(failure),
    };
    match serve::run(prepared, arrival, None) {
        Err(failure) if detached => {
            tracing::error!("{failure}");
            Ok(failure.status)
        }
        outcome => outcome.map(|()| 0),
    }
}

/// Prints; a reader that is gone is no fault.
fn tell(to: &mut dyn Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
