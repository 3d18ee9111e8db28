//! Bytes on their way: blocks that are borrowed from a pool only while bytes
//! wait in them.

mod buffer;

pub use buffer::{BlockPool, Buffer};

/// One side of a connection as a session sees it: bytes and end marks, both
/// ways.
#[derive(Debug, Default)]
pub struct Wire {
    /// What came in and was not consumed yet.
    pub incoming: Buffer,
    /// The peer has said that nothing follows `incoming`.
    pub incoming_ended: bool,
    /// What is to go out.
    pub outgoing: Buffer,
    /// Nothing follows `outgoing`: pass the end on once it is empty.
    pub outgoing_ended: bool,
    /// The end was passed on.
    pub end_sent: bool,
}
