//! What a token of the reactor stands for.
//!
//! ```text
//! bit 63 62   61    60 .. 0
//!     kind    side  packed slot id (generation, index)
//! ```
//!
//! A listener has no sides: both bits stand for orders about all connections.

use crate::slots::{PACKED_BITS, SlotId};

/// A side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Downstream,
    Upstream,
}

/// What a token stands for. The generation in the slot id makes tokens of
/// something closed find nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Listener(SlotId),
    Conn(SlotId, Side),
    /// An order about all connections is to go on.
    Walk,
}

const SIDE: u64 = 1 << PACKED_BITS;
const LISTENER: u64 = 1 << (PACKED_BITS + 1);

impl Key {
    pub(super) fn token(self) -> usize {
        let bits = match self {
            Self::Listener(id) => id.pack() | LISTENER,
            Self::Conn(id, Side::Downstream) => id.pack(),
            Self::Conn(id, Side::Upstream) => id.pack() | SIDE,
            Self::Walk => LISTENER | SIDE,
        };
        bits as usize
    }

    pub(super) fn from_token(token: usize) -> Self {
        let bits = token as u64;
        let id = SlotId::unpack(bits);
        match (bits & LISTENER != 0, bits & SIDE != 0) {
            (true, true) => Self::Walk,
            (true, false) => Self::Listener(id),
            (false, false) => Self::Conn(id, Side::Downstream),
            (false, true) => Self::Conn(id, Side::Upstream),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_tells_what_it_was_made_of(packed in 0..1u64 << PACKED_BITS) {
            let id = SlotId::unpack(packed);
            for key in [Key::Listener(id), Key::Conn(id, Side::Downstream), Key::Conn(id, Side::Upstream), Key::Walk] {
                prop_assert_eq!(Key::from_token(key.token()), key);
                prop_assert_ne!(key.token(), usize::MAX, "the reactor's own");
            }
        }
    }
}
