//! Base64 over pieces that may end anywhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// Characters of a group of four that a piece ended in the middle of.
#[derive(Clone, Copy, Default)]
pub(crate) struct Decode {
    held: [u8; 4],
    len: usize,
    /// A group with padding has come: nothing may follow it.
    padded: bool,
}

impl std::fmt::Debug for Decode {
    /// Never the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decode")
            .field("held", &self.len)
            .finish_non_exhaustive()
    }
}

impl Decode {
    /// The bytes of the groups that are complete now. `None`: this is no base64.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> Option<Bytes> {
        let mut out = Vec::with_capacity(piece.len());
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Some(out.into());
            };
            *self.held.get_mut(self.len)? = byte;
            piece = rest;
            self.len = self.len.saturating_add(1);
            if self.len == 4 {
                let group = self.held;
                self.groups(&group, &mut out)?;
                self.len = 0;
            }
        }
        let whole = piece.len() & !3;
        let (groups, rest) = piece.split_at_checked(whole)?;
        self.groups(groups, &mut out)?;
        if !rest.is_empty() && self.padded {
            return None;
        }
        self.held.get_mut(..rest.len())?.copy_from_slice(rest);
        self.len = rest.len();
        Some(out.into())
    }

    fn groups(&mut self, groups: &[u8], out: &mut Vec<u8>) -> Option<()> {
        if groups.is_empty() {
            return Some(());
        }
        if self.padded {
            return None;
        }
        self.padded = groups.last() == Some(&b'=');
        STANDARD.decode_vec(groups, out).ok()
    }

    /// Whether a message may end here.
    pub(crate) fn is_complete(&self) -> bool {
        self.len == 0
    }
}

fn encoded_len(len: usize) -> usize {
    let groups = len.div_ceil(3);
    groups.saturating_mul(4).saturating_add(1)
}

/// `prefix` and the bytes in base64 with padding.
pub(crate) fn encode(prefix: char, bytes: &[u8]) -> String {
    let mut out = String::with_capacity(encoded_len(bytes.len()));
    out.push(prefix);
    STANDARD.encode_string(bytes, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judge(text: &[u8], cuts: &[usize]) -> Option<Vec<u8>> {
        let (mut decode, mut out, mut rest) = (Decode::default(), Vec::new(), text);
        for cut in cuts {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            rest = behind;
            out.extend_from_slice(&decode.push(piece)?);
        }
        out.extend_from_slice(&decode.push(rest)?);
        decode.is_complete().then_some(out)
    }

    proptest! {
        #[test]
        fn cut_anywhere_as_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            noise in proptest::option::of((0usize..60, any::<u8>())),
            cuts in proptest::collection::vec(0usize..7, 0..12),
        ) {
            let mut text = encode('0', &bytes).as_bytes()[1..].to_vec();
            if let Some((at, byte)) = noise && let Some(place) = text.get_mut(at) {
                *place = byte;
            }
            prop_assert_eq!(judge(&text, &cuts), STANDARD.decode(&text).ok());
        }
    }
}
