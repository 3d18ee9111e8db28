//! The server behind the proxy: each connection says first what it wants.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{
    Origin,
    clock::{now, pause},
    pattern::Pattern,
};

/// What comes first: what is wanted, and the seed of the bytes.
pub(crate) const GREETING: usize = 9;
/// Of one trickle, and between two pieces of it.
pub(crate) const PIECE: usize = 512;
pub(crate) const PIECES: usize = 300;
pub(crate) const BETWEEN: Duration = Duration::from_millis(10);
/// What a slow reader gets.
pub(crate) const SLOWLY: usize = 2 << 20;
/// What a slow reader takes at once, every [`SLOWNESS`].
pub(crate) const SIP: usize = 8 << 10;
pub(crate) const SLOWNESS: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// All back.
    Echo,
    /// After the client's end, a trickle.
    TrickleAfterEnd,
    /// An end at once; then it listens to a trickle.
    EndFirst,
    /// As much as fits, at once.
    Gush,
    /// It reads slowly.
    ReadSlowly,
}

impl Wish {
    const ALL: [Self; 5] = [Self::Echo, Self::TrickleAfterEnd, Self::EndFirst, Self::Gush, Self::ReadSlowly];

    pub(crate) fn greeting(self, seed: u64) -> [u8; GREETING] {
        let mut greeting = [self as u8; GREETING];
        greeting[1..].copy_from_slice(&seed.to_le_bytes());
        greeting
    }

    fn read(stream: &mut TcpStream) -> io::Result<(Self, u64)> {
        let mut greeting = [0; GREETING];
        stream.read_exact(&mut greeting)?;
        let wish = Self::ALL.into_iter().find(|&wish| wish as u8 == greeting[0]);
        let seed = greeting[1..].iter().rev().fold(0, |seed, &byte| seed << 8 | u64::from(byte));
        wish.map(|wish| (wish, seed)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// By seed: how many bytes were heard until the end and the longest wait for
/// one, or what was wrong.
pub(crate) type Heard = Mutex<HashMap<u64, Result<(usize, Duration), String>>>;

pub(crate) struct Upstream {
    origin: Origin,
    heard: Arc<Heard>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        Self::beside(Arc::default())
    }

    /// Another that keeps what it hears in the same place.
    pub(crate) fn beside(heard: Arc<Heard>) -> Self {
        let theirs = Arc::clone(&heard);
        // A client that goes away is seen at its own end.
        let origin = Origin::serving(move |stream| drop(serve(stream, &theirs)));
        Self { origin, heard }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.origin.address
    }

    pub(crate) fn heard(&self) -> Arc<Heard> {
        Arc::clone(&self.heard)
    }
}

fn serve(mut stream: TcpStream, heard: &Heard) -> io::Result<()> {
    // Idle ones are idle for longer than tests wait.
    stream.set_read_timeout(None)?;
    stream.set_nodelay(true)?;
    let (wish, seed) = Wish::read(&mut stream)?;
    match wish {
        Wish::Echo => echo(&mut stream),
        Wish::TrickleAfterEnd => match stream.read(&mut [0])? {
            0 => trickle(&mut stream, seed),
            _ => Err(io::ErrorKind::InvalidData.into()),
        },
        Wish::EndFirst => {
            stream.shutdown(Shutdown::Write)?;
            listen(&mut stream, seed, PIECE, Duration::ZERO, heard);
            Ok(())
        }
        Wish::Gush => stream.write_all(&Pattern::new(seed).bytes(SLOWLY)),
        Wish::ReadSlowly => {
            listen(&mut stream, seed, SIP, SLOWNESS, heard);
            Ok(())
        }
    }
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 32 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

/// Either end's.
pub(crate) fn trickle(stream: &mut TcpStream, seed: u64) -> io::Result<()> {
    let bytes = Pattern::new(seed).bytes(PIECE * PIECES);
    for piece in bytes.chunks(PIECE) {
        stream.write_all(piece)?;
        pause(BETWEEN);
    }
    stream.shutdown(Shutdown::Write)
}

/// Compares until the end, and keeps what became of it.
fn listen(stream: &mut TcpStream, seed: u64, at_once: usize, slowness: Duration, heard: &Heard) {
    let (mut total, mut longest) = (0, Duration::ZERO);
    let (mut buffer, mut expected) = (vec![0; at_once], vec![0; at_once]);
    let pattern = Pattern::new(seed);
    let outcome = loop {
        let began = now();
        let read = stream.read(&mut buffer);
        longest = longest.max(now() - began);
        match read {
            Ok(0) => break Ok((total, longest)),
            Ok(length) => {
                pattern.fill(total as u64, &mut expected[..length]);
                if buffer[..length] != expected[..length] {
                    break Err(format!("corrupted after byte {total}"));
                }
                total += length;
            }
            Err(error) => break Err(format!("the server, after {total} bytes: {error}")),
        }
        pause(slowness);
    };
    heard.lock().expect("no poison").insert(seed, outcome);
}
