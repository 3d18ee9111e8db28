//! The PROXY protocol, versions 1 and 2: who a connection was before a proxy
//! took it on (haproxy's `doc/proxy-protocol.txt`, here "the specification").
//!
//! Pure: bytes in, a header out, or why there is none. What is not exactly as
//! the specification has it is refused: a header decides who a client is.

mod encode;
mod tlv;
mod v1;
mod v2;

use std::net::SocketAddr;

pub use encode::{encode_v1, encode_v2, encode_v2_local};
pub use tlv::{MAX_UNIQUE_ID, Tlvs};

/// Most bytes of a header. Version 1 has at most 107; of version 2 the
/// specification would allow 64 KiB, of which no sender makes use.
pub const MAX_LENGTH: usize = 4096;

/// Which versions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// The line of text.
    V1,
    /// The binary one.
    V2,
    /// Either.
    Any,
}

/// Who speaks with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The proxy speaks for itself (`LOCAL`, as its health checks do).
    pub local: bool,
    /// `None`: unknown, or no TCP over IP. The addresses of the socket hold
    /// then.
    pub addresses: Option<Addresses>,
    /// What else was said; version 2 only.
    pub tlvs: Tlvs,
}

/// How far a header is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// So far it is one; more must come.
    Partial,
    /// It is whole.
    Whole {
        /// Its bytes; what follows belongs to the connection.
        length: usize,
        /// What it says.
        header: Header,
    },
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They begin with neither version's signature.
    #[error("no PROXY header")]
    Signature,
    /// It is of a version that is not taken here.
    #[error("a PROXY header of a version that is not taken here")]
    NotAccepted,
    /// Version 1: no CR LF within 107 bytes, or one of them alone.
    #[error("version 1: the line has no end within 107 bytes, or CR and LF do not come together")]
    LineEnd,
    /// Version 1: the words are not those of the specification.
    #[error("version 1: not `PROXY TCP4|TCP6 SOURCE DESTINATION SOURCE_PORT DESTINATION_PORT`")]
    Line,
    /// Version 1: an address is not one of the family.
    #[error("version 1: an address is not one of its family")]
    Address,
    /// Version 1: a port is no decimal number from 0 to 65535.
    #[error("version 1: a port is no number from 0 to 65535 without leading zeroes")]
    Port,
    /// Version 2: the version's number is another.
    #[error("version 2: another version's number")]
    Version,
    /// Version 2: neither `LOCAL` nor `PROXY`.
    #[error("version 2: an unknown command")]
    Command,
    /// Version 2: no family or transport protocol of the specification.
    #[error("version 2: an unknown address family or transport protocol")]
    Family,
    /// Version 2: too short for the addresses of its family.
    #[error("version 2: shorter than the addresses of its family")]
    TooShort,
    /// Version 2: above [`MAX_LENGTH`].
    #[error("version 2: longer than 4096 bytes")]
    TooLong,
    /// Version 2: a TLV does not fit into what is there.
    #[error("version 2: a TLV goes beyond its end")]
    TlvBounds,
    /// Version 2: a TLV's value is not what its type asks for, or stands twice.
    #[error("version 2: a TLV's value is not what its type asks for, or stands twice")]
    TlvValue,
    /// Version 2: the checksum is another.
    #[error("version 2: the checksum does not match")]
    Checksum,
}

/// Reads the header that `bytes` begin with.
///
/// # Errors
/// As soon as the bytes cannot become a header any more.
pub fn parse(bytes: &[u8], accepts: Accepts) -> Result<Parsed, Malformed> {
    let Some(&first) = bytes.first() else { return Ok(Parsed::Partial) };
    match (first, accepts) {
        (b'P', Accepts::V1 | Accepts::Any) => v1::parse(bytes),
        (b'\r', Accepts::V2 | Accepts::Any) => v2::parse(bytes),
        (b'P', Accepts::V2) if v1::may_begin(bytes) => Err(Malformed::NotAccepted),
        (b'\r', Accepts::V1) if v2::may_begin(bytes) => Err(Malformed::NotAccepted),
        _ => Err(Malformed::Signature),
    }
}

#[cfg(test)]
mod tests;
