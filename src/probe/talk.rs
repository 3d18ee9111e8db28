//! What is said to an endpoint, and what its answer is worth. Pure.

use super::{grpc, http, postgres, redis};
use crate::config::{Address, CheckKind};

/// What an answer is worth so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It says that the endpoint can be used.
    Good,
    /// It says that it cannot; why, in one line.
    Bad(String),
    /// It is not whole yet.
    More,
}

/// What is sent after the connect.
pub(super) fn opening(kind: &CheckKind, address: &Address) -> Vec<u8> {
    let authority = || match address {
        Address::Inet(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    match kind {
        CheckKind::Tcp { send, .. } => send.as_bytes().to_vec(),
        CheckKind::Http { path, host, .. } => {
            http::request(path, if host.is_empty() { authority() } else { host.to_string() }.as_str())
        }
        CheckKind::Grpc { service } => grpc::request(service, &authority()),
        CheckKind::Redis => redis::PING.to_vec(),
        CheckKind::Postgres { user, database } => postgres::startup(user, database),
    }
}

/// What is sent before a connection with a good answer is closed.
pub(super) fn parting(kind: &CheckKind) -> &'static [u8] {
    match kind {
        CheckKind::Postgres { .. } => postgres::TERMINATE,
        _ => b"",
    }
}

/// Judges what was received; `ended`: nothing more will come.
pub(super) fn judge(kind: &CheckKind, received: &[u8], ended: bool) -> Judgement {
    match kind {
        CheckKind::Tcp { expect, .. } => expected(expect.as_bytes(), received, ended),
        CheckKind::Http { status, .. } => http::judge(status, received),
        CheckKind::Grpc { .. } => grpc::judge(received),
        CheckKind::Redis => redis::judge(received),
        CheckKind::Postgres { .. } => postgres::judge(received),
    }
}

fn expected(expect: &[u8], received: &[u8], ended: bool) -> Judgement {
    if expect.is_empty() || received.windows(expect.len()).any(|window| window == expect) {
        return Judgement::Good;
    }
    if ended && !received.is_empty() {
        return Judgement::Bad(format!("it answered {}, without {}", excerpt(received), excerpt(expect)));
    }
    Judgement::More
}

/// What came of an answer that is not whole, for who waited for it.
pub(super) fn lacking(kind: &CheckKind, received: &[u8]) -> String {
    match kind {
        CheckKind::Tcp { expect, .. } => {
            format!("it answered {}, and nothing with {}", excerpt(received), excerpt(expect.as_bytes()))
        }
        _ => format!("no whole answer, only {},", excerpt(received)),
    }
}

/// The beginning of what was received, for a message.
pub(super) fn excerpt(received: &[u8]) -> String {
    const MOST: usize = 60;
    let shown: String = received.iter().take(MOST).flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
    format!("`{shown}{}`", if received.len() > MOST { "..." } else { "" })
}

/// The text of a server, for a message: on one line, not too long.
pub(super) fn quoted(text: &[u8]) -> String {
    const MOST: usize = 120;
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(MOST).collect()
}
