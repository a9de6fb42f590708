//! Bodies of the fuzz targets, also run by plain tests. Each panics when a property does not hold.

mod codec;
mod differential;
mod golden;
mod machine;
mod model;
mod peer;
mod sequences;

pub use codec::{decode, encode_blocks, inflate, round_trip};
pub use differential::{
    Disagreement, End, Ours, REVIEWED, Story, Theirs, against_go, compare, is_ours_alone, ours,
    theirs,
};
pub use golden::golden;
pub use machine::pair;
pub use model::against_model;

fn require(holds: bool, what: &str) {
    assert!(holds, "{what}");
}

/// Choices out of a fuzzer's bytes; zeroes when they have run out.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        let wide = usize::from(self.byte()) << 8 | usize::from(self.byte());
        wide.checked_rem(n).unwrap_or(0)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() {
            return None;
        }
        let at = usize::from(self.byte()).checked_rem(of.len())?;
        of.get(at).copied()
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
