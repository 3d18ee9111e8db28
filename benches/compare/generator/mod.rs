//! The load generator: a process with one thread that does one job, prints a
//! [`Sample`] as a line of JSON and ends.
//!
//! In a **closed loop** each connection sends its next request when it has the
//! answer to the last one; latency counts from the sending. Such a client waits
//! with a slow server, so it tells little of what others would have seen. In an
//! **open loop** requests are due at times that are fixed beforehand, and
//! latency counts from the time a request was *due*: what a stall makes late
//! counts as late (no coordinated omission).

mod connect;
mod exchange;
mod idle;
mod meter;
mod stream;

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{Role, pump::Flow};

/// Bytes of a request, and of its answer.
const MESSAGE: usize = 64;

/// What a generator does.
#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Job {
    pub(crate) load: Load,
    pub(crate) connections: usize,
    pub(crate) to: SocketAddr,
    /// The proxy between, whose use of the machine is measured.
    pub(crate) proxy: Option<u32>,
    /// Before anything counts.
    pub(crate) warm_up: Duration,
    /// In which it counts.
    pub(crate) window: Duration,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Requests on connections that stay, in a closed loop.
    Closed,
    /// The same in an open loop, so many a second on all connections together.
    Open { rate: u32 },
    /// Connect, one exchange, end, in a closed loop.
    Connect,
    /// Bytes without end; so many a second at most, on all connections together.
    Stream { flow: Flow, pace: Option<u64> },
    /// Connections that did one exchange and then nothing, held until the
    /// standard input ends; then each does another one.
    Idle,
}

/// What came of a job.
#[derive(Serialize, Deserialize, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    /// Requests or connections that were completed.
    pub(crate) operations: u64,
    /// Those that were not.
    pub(crate) failures: u64,
    /// Moved at the client, in both directions together.
    pub(crate) bytes: u64,
    /// TCP segments that anybody sent twice.
    pub(crate) retransmits: u64,
    /// Nanoseconds: the median, 99 %, 99.9 %, the longest.
    pub(crate) latency: [u64; 4],
    /// Nanoseconds of the proxy.
    pub(crate) cpu: Option<u64>,
    /// The kernel's part of it.
    pub(crate) system: f64,
    /// Bytes of the proxy for all connections, and what it has in all.
    pub(crate) memory: Option<[u64; 2]>,
    /// Bytes of the kernel for all connections, of everybody.
    pub(crate) kernel: u64,
}

/// A generator from its parent's side. It is killed when this is dropped.
pub(crate) struct Generator {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Generator {
    pub(crate) fn start(job: &Job) -> io::Result<Self> {
        let role = Role::Generator(job.clone());
        let mut child = role.command()?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("its output is no pipe"))?;
        Ok(Self { child, output: BufReader::new(output) })
    }

    /// Waits for its sample.
    pub(crate) fn sample(&mut self) -> io::Result<Sample> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.is_empty() {
            true => Err(io::Error::other("the load generator failed; see above")),
            false => Ok(serde_json::from_str(&line)?),
        }
    }

    /// Ends the holding of connections: the sample tells how many of them did
    /// not answer any more.
    pub(crate) fn release(&mut self) -> io::Result<Sample> {
        drop(self.child.stdin.take());
        self.sample()
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process itself.
pub(crate) fn generate(job: &Job) -> io::Result<()> {
    match job.load {
        Load::Closed => tell(&exchange::run(job, None)?),
        Load::Open { rate } => tell(&exchange::run(job, Some(rate))?),
        Load::Connect => tell(&connect::run(job)?),
        Load::Stream { flow, pace } => tell(&stream::run(job, flow, pace)?),
        Load::Idle => {
            let (sample, held) = idle::run(job)?;
            tell(&sample)?;
            io::copy(&mut io::stdin(), &mut io::sink())?;
            tell(&idle::release(held))
        }
    }
}

fn tell(sample: &Sample) -> io::Result<()> {
    println!("{}", serde_json::to_string(sample)?);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
fn now() -> Instant {
    Instant::now()
}
