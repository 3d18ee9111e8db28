//! Whether a PostgreSQL server takes connections, as `pg_isready` finds it out:
//! by a start-up message (PostgreSQL documentation, "Message Formats"). A demand
//! for a password, or a refusal of this user, comes from a server that serves.

use super::talk::{Judgement, excerpt, quoted};

/// Ends a connection in good order.
pub(super) const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// Version 3.0 of the protocol.
const VERSION: u32 = 3 << 16;
/// No message that is judged is longer.
const LONGEST: usize = 8 * 1024;

/// SQLSTATEs of a server that does not serve now (errcodes): it starts, stops or
/// recovers (class 57P), or has no connection left.
const NOT_NOW: [&[u8]; 5] = [b"57P01", b"57P02", b"57P03", b"57P05", b"53300"];

/// The start-up message.
pub(super) fn startup(user: &str, database: &str) -> Vec<u8> {
    let mut body = VERSION.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, "application_name", "netd"] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), body.as_slice()].concat()
}

/// Judges the first message.
pub(super) fn judge(received: &[u8]) -> Judgement {
    let kind = match received.first() {
        None => return Judgement::More,
        // It would rather speak another version, but it serves.
        Some(b'R' | b'v') => return Judgement::Good,
        Some(b'E') => b'E',
        Some(_) => return Judgement::Bad(format!("it answered {}, which is not PostgreSQL", excerpt(received))),
    };
    let Some((length, rest)) = received.strip_prefix(&[kind]).and_then(|rest| rest.split_first_chunk::<4>()) else {
        return Judgement::More;
    };
    let length = u32::from_be_bytes(*length) as usize;
    if !(4..=LONGEST).contains(&length) {
        return Judgement::Bad(format!("it answered {}, which is not PostgreSQL", excerpt(received)));
    }
    let Some(fields) = rest.get(..length - 4) else { return Judgement::More };
    let field = |kind: u8| fields.split(|&byte| byte == 0).find_map(|field| field.strip_prefix(&[kind]));
    let state = field(b'C').unwrap_or_default();
    if NOT_NOW.contains(&state) {
        return Judgement::Bad(format!("it refuses connections: {}", quoted(field(b'M').unwrap_or(state))));
    }
    Judgement::Good
}
