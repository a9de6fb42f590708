//! The bytes of the services `random` and `early`, and of everything the suites send.

use std::io::{self, Read};

/// An endless run of bytes that its seed determines: xorshift64*, as the demo pods compute it.
#[derive(Debug, Clone)]
pub struct Sequence {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Sequence {
    /// The sequence of this seed. Seed 0 is all zeros.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            word: [0; 8],
            used: 8,
        }
    }

    /// Fills a buffer.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut out = out;
        while !out.is_empty() {
            if self.used == self.word.len() {
                self.state ^= self.state >> 12;
                self.state ^= self.state << 25;
                self.state ^= self.state >> 27;
                self.word = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
                self.used = 0;
            }
            let take = out.len().min(self.word.len() - self.used);
            let (now, later) = out.split_at_mut(take);
            now.copy_from_slice(&self.word[self.used..self.used + take]);
            self.used += take;
            out = later;
        }
    }

    /// The first `count` bytes of the sequence of `seed`.
    #[must_use]
    pub fn first(seed: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        Self::new(seed).fill(&mut bytes);
        bytes
    }
}

impl Read for Sequence {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.fill(out);
        Ok(out.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sequence_of_the_demo_pods() {
        let wanted = [
            0xed, 0xae, 0x3a, 0xce, 0x32, 0x40, 0x0e, 0x2e, 0xd0, 0x71, 0xab, 0x4c, 0xdc, 0xa2,
            0x75, 0x35, 0xe4, 0xf1, 0x71, 0x0f,
        ];
        assert_eq!(Sequence::first(20, 20), wanted);
    }

    #[test]
    fn pieces_make_the_whole() {
        let whole = Sequence::first(7, 100);
        let mut sequence = Sequence::new(7);
        let mut pieces = vec![0; 100];
        let (mut at, mut step) = (0, 1);
        while at < 100 {
            let end = (at + step).min(100);
            sequence.fill(&mut pieces[at..end]);
            (at, step) = (end, step + 1);
        }
        assert_eq!(pieces, whole);
    }
}
