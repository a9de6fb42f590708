//! Streams by id: a hash of two random numbers, so that nobody can choose ids that collide (T44), and
//! of one multiplication, since it is asked for every frame.

use crate::stream_id::StreamId;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

pub(crate) type IdMap<V> = HashMap<StreamId, V, IdHash>;

/// The random numbers of one map.
#[derive(Clone, Debug)]
pub(crate) struct IdHash {
    xor: u64,
    factor: u64,
}

impl Default for IdHash {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            xor: random.hash_one(0),
            factor: random.hash_one(1) | 1,
        }
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher {
            state: self.xor,
            factor: self.factor,
        }
    }
}

/// Folds the two halves of the product, so that all bits of the id reach all bits of the hash.
pub(crate) struct IdHasher {
    state: u64,
    factor: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, n: u32) {
        let product = u128::from(self.state ^ u64::from(n)).wrapping_mul(u128::from(self.factor));
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
        let (high, low) = (half(product >> 64), half(product));
        // Buckets are chosen by low bits, which the sum of the halves alone does not reach well.
        let folded = (high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.state = folded ^ (folded >> 32);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test")]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Ids of any stride spread over the buckets as chance would.
    #[test]
    fn strides_spread() {
        let strides = [1u32, 2, 256, 1 << 16, 1 << 20];
        for stride in strides.repeat(50) {
            let hash = IdHash::default();
            let ids = (1..1000u32).map(|n| StreamId::new(n * stride).unwrap());
            let buckets: HashSet<u64> = ids.map(|id| hash.hash_one(id) & 0x3ff).collect();
            // Of 1,024 buckets, chance fills about 640; less than 600 never was, in 2,500 tries.
            assert!(buckets.len() > 560, "stride {stride}: {}", buckets.len());
        }
        let hash = IdHash::default();
        assert_ne!(hash.hash_one([1u8, 2]), hash.hash_one([2u8, 1]), "bytes");
        let (a, b) = (IdHash::default(), IdHash::default());
        let id = StreamId::new(1).unwrap();
        assert_ne!(a.hash_one(id), b.hash_one(id), "another map, another hash");
    }
}
