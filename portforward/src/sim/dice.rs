//! Where every decision of a run comes from: a seed, or a fuzzer's bytes.

/// A stream of numbers. Zero is always the dull choice, so that short inputs are simple runs.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    /// A fuzzer's bytes; zeroes when they have run out.
    bytes: Option<Vec<u8>>,
    at: usize,
    state: u64,
}

impl Dice {
    pub(super) fn seeded(seed: u64) -> Self {
        Self {
            bytes: None,
            at: 0,
            state: seed,
        }
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            bytes: Some(bytes.to_vec()),
            at: 0,
            state: 0,
        }
    }

    fn next(&mut self) -> u64 {
        if let Some(bytes) = &self.bytes {
            let byte = |at: usize| u64::from(bytes.get(at).copied().unwrap_or(0));
            let word = byte(self.at) << 8 | byte(self.at + 1);
            self.at += 2;
            return word;
        }
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Both ends included.
    pub(super) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) >= 100 - percent.min(100)
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let n = self.below(of.len() as u64);
        of[n as usize]
    }

    /// Small numbers often, up to `high` sometimes.
    pub(super) fn size(&mut self, high: u64) -> u64 {
        let bits = 64 - high.leading_zeros() as u64;
        let shift = self.below(bits + 1);
        self.below((high >> (bits - shift).min(63)).max(1) + 1)
            .min(high)
    }

    /// Numbers of their own, for one part of the run: what it draws moves nobody else's.
    pub(super) fn fork(&mut self) -> Self {
        Self::seeded(self.next().wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5851_f42d)
    }
}
