//! Connections that did one exchange and then nothing.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    thread,
};

use crate::{
    generator::{Job, MESSAGE, Sample},
    usage::{Watched, kernel_memory},
};

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

fn exchange(job: &Job) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(job.to)?;
    stream.write_all(&[b'x'; MESSAGE])?;
    stream.read_exact(&mut [0; MESSAGE])?;
    Ok(stream)
}
