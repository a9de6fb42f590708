//! UTF-8 over pieces that may end inside a character.

/// A character that a piece ended in the middle of: at most three bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Utf8 {
    held: [u8; 4],
    len: usize,
}

impl std::fmt::Debug for Utf8 {
    /// Never the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Utf8")
            .field("held", &self.len)
            .finish_non_exhaustive()
    }
}

impl Utf8 {
    /// `false` as soon as what has come cannot be the beginning of a text.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> bool {
        // Finish what the last piece began, byte by byte.
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return true;
            };
            let Some(place) = self.held.get_mut(self.len) else {
                return false;
            };
            *place = byte;
            self.len = self.len.saturating_add(1);
            piece = rest;
            match std::str::from_utf8(self.held.get(..self.len).unwrap_or_default()) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) => {
                let rest = piece.get(error.valid_up_to()..).unwrap_or_default();
                let room = self.held.get_mut(..rest.len());
                match (error.error_len(), room) {
                    (None, Some(room)) => {
                        room.copy_from_slice(rest);
                        self.len = rest.len();
                        true
                    }
                    _ => false,
                }
            }
        }
    }

    /// Whether a text may end here.
    pub(crate) fn is_complete(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judge(bytes: &[u8], cuts: &[usize]) -> bool {
        let mut utf8 = Utf8::default();
        let mut rest = bytes;
        for cut in cuts {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            rest = behind;
            if !utf8.push(piece) {
                return false;
            }
        }
        utf8.push(rest) && utf8.is_complete()
    }

    #[test]
    fn fails_with_the_first_byte_that_cannot_be() {
        // RFC 6455 and Autobahn 6.4: not only at the end of the message.
        let mut utf8 = Utf8::default();
        assert!(utf8.push("κόσμε".as_bytes()));
        assert!(utf8.push(&[0xF4]));
        assert!(!utf8.push(&[0x90]));
        for bad in [&[0x80][..], &[0xC0], &[0xED, 0xA0], &[0xF5], &[0xE0, 0x80]] {
            assert!(!Utf8::default().push(bad), "{bad:02x?}");
        }
        let mut utf8 = Utf8::default();
        assert!(utf8.push(&[0xE2, 0x82]) && !utf8.is_complete());
    }

    proptest! {
        #[test]
        fn cut_anywhere_as_the_whole(
            text in ".{0,12}",
            noise in proptest::collection::vec((0usize..40, any::<u8>()), 0..3),
            cuts in proptest::collection::vec(0usize..4, 0..12),
        ) {
            let mut bytes = text.into_bytes();
            for (at, byte) in noise {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            prop_assert_eq!(judge(&bytes, &cuts), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
