//! `PING` of the Redis protocol (RESP).

use super::talk::{Judgement, excerpt, quoted};

/// The request.
pub(super) const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// A longer line is no answer.
const LINE: usize = 1024;

/// Judges the answer. A server that wants a password first is alive; more it
/// tells only to whoever has one.
pub(super) fn judge(received: &[u8]) -> Judgement {
    let Some(end) = received.windows(2).position(|window| window == b"\r\n") else {
        let could_be = received.first().is_none_or(|first| b"+-".contains(first));
        return if could_be && received.len() <= LINE { Judgement::More } else { no_redis(received) };
    };
    match &received[..end] {
        b"+PONG" => Judgement::Good,
        [b'-', error @ ..] if error.starts_with(b"NOAUTH") => Judgement::Good,
        [b'-', error @ ..] => Judgement::Bad(format!("it answered an error: {}", quoted(error))),
        line => no_redis(line),
    }
}

fn no_redis(received: &[u8]) -> Judgement {
    Judgement::Bad(format!("it answered {}, not PONG", excerpt(received)))
}
