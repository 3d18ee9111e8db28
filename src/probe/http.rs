//! `GET` over HTTP/1.1 (RFC 9112), as far as the status line.

use super::talk::{Judgement, excerpt};
use crate::config::Statuses;

/// A longer status line is none.
const STATUS_LINE: usize = 1024;

/// The request.
pub(super) fn request(path: &str, host: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: netd\r\nAccept: */*\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

/// Judges by the first status that is not an interim one (RFC 9110, 15.2).
pub(super) fn judge(good: &Statuses, received: &[u8]) -> Judgement {
    let mut rest = received;
    loop {
        let line = match rest.iter().position(|&byte| byte == b'\n') {
            Some(end) => &rest[..end],
            None if rest.len() > STATUS_LINE => return no_http(rest),
            None if !could_be_http(rest) => return no_http(rest),
            None => return Judgement::More,
        };
        let Some(status) = status(line) else { return no_http(line) };
        if (100..200).contains(&status) {
            // Its header ends with an empty line.
            let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else { return Judgement::More };
            rest = &rest[end + 4..];
            continue;
        }
        if good.contains(status) {
            return Judgement::Good;
        }
        return Judgement::Bad(format!("it answered status {status}, and good is {good}"));
    }
}

fn could_be_http(received: &[u8]) -> bool {
    received.iter().zip(b"HTTP/1.").all(|(a, b)| a == b)
}

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [minor, b' ', a, b, c, rest @ ..] = rest else { return None };
    let digits = [*a, *b, *c];
    let ends = matches!(rest.first(), None | Some(b' ' | b'\r'));
    let number = std::str::from_utf8(&digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?;
    number.parse().ok().filter(|_| ends && minor.is_ascii_digit())
}

fn no_http(received: &[u8]) -> Judgement {
    Judgement::Bad(format!("it answered {}, which is not HTTP/1", excerpt(received)))
}
