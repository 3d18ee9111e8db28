//! What the proxies stand in front of: servers in this process, on threads that
//! end with it.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

/// Bytes that a [`source`] sends for each byte it gets.
pub(crate) const BULK: usize = 64 * 1024 * 1024;

/// Answers each byte with [`BULK`] bytes. A thread a connection.
pub(crate) fn source() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::Builder::new().name("source".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that leaves in the middle is no fault of the source.
            thread::spawn(move || supply(stream).unwrap_or_default());
        }
    })?;
    Ok(address)
}

fn supply(mut stream: TcpStream) -> io::Result<()> {
    let chunk = vec![0; 256 * 1024];
    while stream.read(&mut [0])? == 1 {
        for _ in 0..BULK / chunk.len() {
            stream.write_all(&chunk)?;
        }
    }
    Ok(())
}
