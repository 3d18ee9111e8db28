//! Asking endpoints how they are. One file descriptor and one answer a probe;
//! when to ask, and what to think of the answer, is control's.
//!
//! What is said and how an answer is judged is pure (`talk` and the files
//! beside it); only this file touches a socket.

mod grpc;
mod http;
mod postgres;
mod redis;
mod talk;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
    time::{Instant, timeout_at},
};

use crate::{
    config::{Address, CheckKind, format_duration},
    control::{Answer, Asking, Outcome, Prober, Question},
    listen::{self, SocketOptions},
};

use talk::{Judgement, judge, lacking, opening, parting};

/// An answer is judged by its first bytes; more are not read.
const MOST_READ: usize = 16 * 1024;

/// Asks over the system's sockets. Needs the runtime's I/O and time.
#[derive(Debug, Clone, Copy)]
pub struct SystemProber;

impl Prober for SystemProber {
    fn ask(&self, question: Question) -> Asking {
        Box::pin(ask(question))
    }
}

/// What a probe waits for, for whoever reads that it waited too long.
#[derive(Debug)]
enum Step {
    Connect,
    Send,
    Answer,
    /// The answer, of which so much has come.
    Rest(String),
}

async fn ask(question: Question) -> Answer {
    let begun = Instant::now();
    let limit = question.check.timeout;
    let mut step = Step::Connect;
    let outcome = match timeout_at(begun + limit, talk_with(&question, &mut step)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::TimedOut(format!("{} within {}", step.missed(), format_duration(limit))),
    };
    Answer { outcome, took: begun.elapsed() }
}

async fn talk_with(question: &Question, step: &mut Step) -> Outcome {
    match &question.address {
        Address::Inet(address) => match connect(*address, question.way.options.as_deref()).await {
            Ok(mut stream) => {
                let outcome = converse(&mut stream, question, step).await;
                if !speaks(question) {
                    // Nothing was said: no port needs to be kept for what may be
                    // under way (TIME_WAIT).
                    let _ = stream.set_zero_linger();
                }
                outcome
            }
            Err(outcome) => outcome,
        },
        Address::Unix(path) => match UnixStream::connect(path).await {
            Ok(mut stream) => converse(&mut stream, question, step).await,
            Err(error) => refused(&error),
        },
    }
}

/// Connects as the pool's connections do.
async fn connect(address: SocketAddr, options: Option<&SocketOptions>) -> Result<TcpStream, Outcome> {
    let connected = match options {
        None => TcpStream::connect(address).await,
        // The machine does not let anybody ask in this way: no fault of the
        // endpoint's.
        Some(options) => match listen::upstream(options, address) {
            Err(refused) => return Err(Outcome::NotAsked(refused.to_string())),
            Ok(socket) => TcpSocket::from_std_stream(socket.into()).connect(address).await,
        },
    };
    connected.map_err(|error| refused(&error))
}

/// Whether the check is more than a connect. A header is to be read, and then
/// an end.
fn speaks(question: &Question) -> bool {
    let connects =
        matches!(&question.check.kind, CheckKind::Tcp { send, expect } if send.is_empty() && expect.is_empty());
    !connects || !question.way.preface.is_empty()
}

/// Sends what is to be sent, and reads until the answer can be judged.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, question: &Question, step: &mut Step) -> Outcome {
    let kind = &question.check.kind;
    let opening = [&*question.way.preface, &opening(kind, &question.address)].concat();
    if !opening.is_empty() {
        *step = Step::Send;
        if let Err(error) = stream.write_all(&opening).await {
            return Outcome::Bad(format!("sending: {}", short(&error)));
        }
    }
    *step = Step::Answer;
    let (mut received, mut ended) = (Vec::new(), false);
    loop {
        match judge(kind, &received, ended) {
            Judgement::Good => break,
            Judgement::Bad(why) => return Outcome::Bad(why),
            Judgement::More if ended => return Outcome::Bad(end_of(&received)),
            Judgement::More if received.len() >= MOST_READ => {
                return Outcome::Bad(format!("the first {} KiB hold no answer", MOST_READ / 1024));
            }
            Judgement::More if received.is_empty() => {}
            Judgement::More => *step = Step::Rest(lacking(kind, &received)),
        }
        let room = (MOST_READ - received.len()) as u64;
        match (&mut *stream).take(room).read_buf(&mut received).await {
            Ok(n) => ended = n == 0,
            Err(error) => return Outcome::Bad(format!("reading: {}", short(&error))),
        }
    }
    // Who goes in good order is not complained of in the server's log.
    let _ = stream.write_all(parting(kind)).await;
    Outcome::Good
}

fn end_of(received: &[u8]) -> String {
    if received.is_empty() {
        "it closed without an answer".to_owned()
    } else {
        format!("it closed after {} bytes, which are no answer", received.len())
    }
}

/// A connect that failed: the endpoint's fault, or this machine's.
fn refused(error: &io::Error) -> Outcome {
    match error.raw_os_error().unwrap_or(0) {
        libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::EADDRNOTAVAIL => {
            Outcome::NotAsked(short(error))
        }
        _ => Outcome::Bad(format!("connecting: {}", short(error))),
    }
}

/// Without the number behind it.
fn short(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

impl Step {
    fn missed(&self) -> &str {
        match self {
            Self::Connect => "no connection",
            Self::Send => "it took not all of the question",
            Self::Answer => "no answer",
            Self::Rest(lacking) => lacking,
        }
    }
}
