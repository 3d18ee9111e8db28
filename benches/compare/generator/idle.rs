//! Connections that did one exchange and then nothing.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::{
    generator::{Job, MESSAGE, Sample},
    usage::{Watched, kernel_memory},
};

/// An answer that is not there by then never comes.
const PATIENCE: Duration = Duration::from_secs(5);

#[expect(clippy::disallowed_methods, reason = "that nothing happens for a while is the point")]
pub(super) fn run(job: &Job) -> io::Result<(Sample, Vec<TcpStream>)> {
    let proxy = job.proxy.map(Watched::new);
    let memory = || proxy.as_ref().map(Watched::memory);
    // One connection that is over, so that what a proxy makes ready at its first
    // one is not taken for a cost of each.
    exchange(job)?;
    thread::sleep(job.warm_up);
    let (before, kernel) = (memory(), kernel_memory());
    let held = (0..job.connections).map(|_| exchange(job)).collect::<io::Result<Vec<_>>>()?;
    thread::sleep(job.window);
    let memory = before.zip(memory()).map(|(before, after)| [after.saturating_sub(before), after]);
    let kernel = kernel_memory().saturating_sub(kernel);
    Ok((Sample { operations: held.len() as u64, memory, kernel, ..Sample::default() }, held))
}

/// Tells on how many of them nothing is answered any more.
pub(super) fn release(held: Vec<TcpStream>) -> Sample {
    let operations = held.len() as u64;
    let failures = held.into_iter().filter_map(|mut stream| once(&mut stream).err()).count() as u64;
    Sample { operations, failures, ..Sample::default() }
}

fn exchange(job: &Job) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(job.to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    once(&mut stream)?;
    Ok(stream)
}

fn once(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[b'x'; MESSAGE])?;
    stream.read_exact(&mut [0; MESSAGE])
}
