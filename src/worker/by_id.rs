//! A table whose keys are numbers that this process gave out itself.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Nobody outside chooses the keys, so they need no hash that withstands an
/// attack, which costs more than all the rest of a look-up.
pub(super) type ById<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Spreads numbers over all bits (Knuth, TAOCP 6.4: multiplicative hashing).
#[derive(Debug, Default)]
pub(super) struct NumberHasher(u64);

/// 2^64 over the golden ratio, made odd.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        // The table takes its places from the low bits, its marks from the high.
        self.0 = (self.0 ^ number).wrapping_mul(SPREAD);
        self.0 ^= self.0 >> 32;
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;
    use crate::worker::command::PoolId;

    #[test]
    fn numbers_in_a_row_take_different_places() {
        let table = ById::<PoolId, ()>::default();
        let hash = |id| table.hasher().hash_one(PoolId(id));
        let places: std::collections::HashSet<u64> = (0..1024).map(|id| hash(id) & 1023).collect();
        assert!(places.len() > 512, "{} of 1024", places.len());
        let marks: std::collections::HashSet<u64> = (0..1024).map(|id| hash(id) >> 57).collect();
        assert_eq!(marks.len(), 128);
    }
}
