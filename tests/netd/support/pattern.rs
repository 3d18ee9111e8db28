//! Bytes that tell their place: a lost, doubled or moved byte is seen.

/// A stream of bytes; two with different seeds agree nowhere for long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pattern {
    seed: u64,
}

impl Pattern {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// The bytes from `offset` on.
    pub(crate) fn fill(self, offset: u64, buffer: &mut [u8]) {
        let mut at = 0;
        while at < buffer.len() {
            let place = offset + at as u64;
            let word = self.word(place / 8).to_le_bytes();
            let skip = (place % 8) as usize;
            let length = (8 - skip).min(buffer.len() - at);
            buffer[at..at + length].copy_from_slice(&word[skip..skip + length]);
            at += length;
        }
    }

    /// As many bytes from the beginning.
    pub(crate) fn bytes(self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(0, &mut bytes);
        bytes
    }

    /// Panics with the first place where `bytes` are not those from `offset` on.
    #[track_caller]
    pub(crate) fn verify(self, offset: u64, bytes: &[u8], expected: &mut Vec<u8>) {
        expected.resize(bytes.len(), 0);
        self.fill(offset, expected);
        if bytes != expected.as_slice() {
            let place = bytes.iter().zip(expected.iter()).position(|(a, b)| a != b).unwrap_or(0);
            panic!("byte {} is {}, not {}", offset + place as u64, bytes[place], expected[place]);
        }
    }

    fn word(self, index: u64) -> u64 {
        (index ^ self.seed).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29) ^ self.seed
    }
}
