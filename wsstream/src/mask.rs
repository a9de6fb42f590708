//! Masking (RFC 6455 §5.3): each payload byte is XORed with the byte of the key at its offset
//! modulo 4. It keeps a script in a browser from choosing the bytes that an intermediary sees;
//! it hides nothing.

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};
use std::fmt;

/// Eight key bytes at a time: what the compiler turns into the widest registers there are.
const WORD: usize = 8;
/// Bytes a round of the loops: more rounds cost more than more registers. And a line of the processor's cache.
const LINE: usize = 64;
/// From so many bytes on it pays to begin with a part of a line.
const ALIGNED: usize = 4 * LINE;

/// The key as it stands `offset` bytes into the payload.
fn rotated(key: [u8; 4], offset: u64) -> [u8; 4] {
    // In a register.
    let by = match offset % 4 {
        0 => 0,
        1 => 8,
        2 => 16,
        _ => 24,
    };
    u32::from_le_bytes(key).rotate_right(by).to_le_bytes()
}

fn word(key: [u8; 4]) -> u64 {
    let [a, b, c, d] = key;
    u64::from_ne_bytes([a, b, c, d, a, b, c, d])
}

/// Masks `bytes`, or removes the mask, which is the same; they stand `offset` bytes into the
/// payload.
///
/// ```
/// let mut bytes = *b"Hello";
/// wsstream::mask::apply([0x37, 0xfa, 0x21, 0x3d], 0, &mut bytes);
/// assert_eq!(bytes, [0x7f, 0x9f, 0x4d, 0x51, 0x58]); // RFC 6455 §5.7
/// ```
#[inline]
pub fn apply(key: [u8; 4], offset: u64, bytes: &mut [u8]) {
    if bytes.len() < ALIGNED {
        return xor(rotated(key, offset), bytes);
    }
    // To the next line of the cache: what crosses lines is twice the work, and behind a head most would.
    let before = bytes.as_ptr().addr().wrapping_neg() % LINE;
    let (first, lines) = bytes.split_at_mut(before);
    let (odd, words) = first.split_at_mut(before % WORD);
    let mut offset = offset;
    for piece in [odd, words, lines] {
        xor(rotated(key, offset), piece);
        offset = offset.wrapping_add(u64::try_from(piece.len()).unwrap_or(0));
    }
}

/// Masks `bytes`, which begin where the key does.
fn xor(key: [u8; 4], bytes: &mut [u8]) {
    let wide = word(key);
    let (lines, rest) = bytes.as_chunks_mut::<LINE>();
    for line in lines {
        for piece in line.as_chunks_mut::<WORD>().0 {
            *piece = (u64::from_ne_bytes(*piece) ^ wide).to_ne_bytes();
        }
    }
    let (words, rest) = rest.as_chunks_mut::<WORD>();
    for piece in words {
        *piece = (u64::from_ne_bytes(*piece) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// The same into another buffer: as many bytes as the shorter of the two has.
pub fn copy(key: [u8; 4], offset: u64, from: &[u8], to: &mut [u8]) {
    let key = rotated(key, offset);
    let wide = word(key);
    let n = from.len().min(to.len());
    let (Some(from), Some(to)) = (from.get(..n), to.get_mut(..n)) else {
        return;
    };
    let (from_lines, from) = from.as_chunks::<LINE>();
    let (to_lines, to) = to.as_chunks_mut::<LINE>();
    for (from, to) in from_lines.iter().zip(to_lines) {
        let (from, to) = (from.as_chunks::<WORD>().0, to.as_chunks_mut::<WORD>().0);
        for (from, to) in from.iter().zip(to) {
            *to = (u64::from_ne_bytes(*from) ^ wide).to_ne_bytes();
        }
    }
    let (from, from_rest) = from.as_chunks::<WORD>();
    let (to, to_rest) = to.as_chunks_mut::<WORD>();
    for (from, to) in from.iter().zip(to) {
        *to = (u64::from_ne_bytes(*from) ^ wide).to_ne_bytes();
    }
    let keys = key.into_iter().cycle();
    for ((from, to), key) in from_rest.iter().zip(to_rest).zip(keys) {
        *to = from ^ key;
    }
}

/// Where a client's masking keys come from. They must be unpredictable (RFC 6455 §5.3, §10.3).
pub struct MaskKeys {
    source: Source,
}

enum Source {
    /// A generator seeded by the system's once there is a key to make: a call for each key costs more than
    /// masking what it is for, and an idle connection needs none.
    System(Option<Box<ChaCha12Rng>>),
    Counter(u32),
}

/// The system gives no random bytes. Nothing is sent then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoEntropy;

impl fmt::Display for NoEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random bytes for masking keys")
    }
}

impl std::error::Error for NoEntropy {}

impl fmt::Debug for MaskKeys {
    /// Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskKeys").finish_non_exhaustive()
    }
}

impl MaskKeys {
    /// From a cryptographic generator that is seeded by the system's. A process that forks and goes on shares its keys
    /// with its child.
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System(None),
        }
    }

    /// The same keys each time, for tests, simulators and transcripts. Not for a client whose
    /// payload others choose.
    #[must_use]
    pub fn predictable(seed: u32) -> Self {
        Self {
            source: Source::Counter(seed),
        }
    }

    /// One key, by chance: among 2^20 some 128 come again.
    ///
    /// # Errors
    /// The system has none.
    pub fn next_key(&mut self) -> Result<[u8; 4], NoEntropy> {
        match &mut self.source {
            Source::Counter(n) => {
                // Knuth's multiplier: consecutive keys differ in all bytes.
                *n = n.wrapping_add(1);
                Ok(n.wrapping_mul(0x9E37_79B1).to_be_bytes())
            }
            Source::System(Some(generator)) => Ok(generator.next_u32().to_le_bytes()),
            Source::System(empty) => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|_| NoEntropy)?;
                let generator = empty.insert(Box::new(ChaCha12Rng::from_seed(seed)));
                Ok(generator.next_u32().to_le_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plainly(key: [u8; 4], offset: u64, bytes: &[u8]) -> Vec<u8> {
        let skip = usize::try_from(offset % 4).unwrap();
        let keys = key.into_iter().cycle().skip(skip);
        bytes.iter().zip(keys).map(|(b, k)| b ^ k).collect()
    }

    #[test]
    fn as_one_byte_at_a_time_at_every_offset_length_and_alignment() {
        let source: Vec<u8> = (0..=255).cycle().step_by(7).take(700).collect();
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for offset in [0, 1, 2, 3, 4, 5, u64::MAX] {
            for start in (0..9).chain([31, 63, 64]) {
                for length in (0..67).chain([255, 256, 290, 335, 600]) {
                    let plain = &source[start..start + length];
                    let expected = plainly(key, offset, plain);
                    let mut here = source.clone();
                    apply(key, offset, &mut here[start..start + length]);
                    assert_eq!(&here[start..start + length], expected);
                    assert_eq!(&here[..start], &source[..start]);
                    assert_eq!(&here[start + length..], &source[start + length..]);
                    let mut there = vec![0; length];
                    copy(key, offset, plain, &mut there);
                    assert_eq!(there, expected);
                    apply(key, offset, &mut there);
                    assert_eq!(there, plain);
                }
            }
        }
    }

    /// T32: 2^20 keys of 32 bits have 128 pairs in common by chance, with a deviation of 11.
    #[test]
    fn keys_repeat_as_chance_has_it() {
        let mut keys = MaskKeys::system();
        let mut all: Vec<[u8; 4]> = (0..1 << 20).map(|_| keys.next_key().unwrap()).collect();
        all.sort_unstable();
        let repeats = all.windows(2).filter(|w| w[0] == w[1]).count();
        assert!((64..=256).contains(&repeats), "{repeats}");
    }

    #[test]
    fn connections_have_keys_of_their_own() {
        let take = || {
            let mut keys = MaskKeys::system();
            [(); 4].map(|()| keys.next_key().unwrap())
        };
        assert_ne!(take(), take());
    }

    #[test]
    fn predictable_keys_are() {
        let take = |seed| {
            let mut keys = MaskKeys::predictable(seed);
            [keys.next_key().unwrap(), keys.next_key().unwrap()]
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7)[0], take(7)[1]);
        assert_ne!(take(7), take(8));
    }
}
