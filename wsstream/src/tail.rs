use crate::frame::HEAD_ROOM;
use bytes::{Buf as _, Bytes};

/// A line of the processor's cache.
const LINE: usize = 64;

/// Frames that are copied, in one buffer. Its bytes are initialised once and used again, so that
/// copying and masking a payload is one pass over it.
#[derive(Default)]
pub(crate) struct Tail {
    buf: Vec<u8>,
    /// What of `buf` waits to be written.
    start: usize,
    end: usize,
}

impl Tail {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How much of the buffer is used, with what has left it.
    pub(crate) const fn used(&self) -> usize {
        self.end
    }

    /// Appends a frame's head, of which `head_len` bytes count, and room for its payload of `n` bytes, all of
    /// which are to be overwritten.
    #[inline]
    pub(crate) fn append(&mut self, head: [u8; HEAD_ROOM], head_len: usize, n: usize) -> &mut [u8] {
        let room = head_len.saturating_add(n).max(HEAD_ROOM);
        if self.is_empty() {
            self.grow(room.saturating_add(LINE));
            // The payload begins a cache line: copying and masking it crosses none of them twice.
            let at = self.buf.as_ptr().addr().wrapping_add(head_len);
            self.start = at.wrapping_neg() % LINE;
            self.end = self.start;
        } else {
            self.grow(self.end.saturating_add(room));
        }
        let begin = self.end.saturating_add(head_len);
        // All of `head`, whose length the compiler knows; the payload goes over the rest.
        if let Some(place) = self.buf.get_mut(self.end..)
            && let Some(place) = place.first_chunk_mut()
        {
            *place = head;
        }
        self.end = begin.saturating_add(n);
        self.buf.get_mut(begin..self.end).unwrap_or_default()
    }

    fn grow(&mut self, len: usize) {
        if self.buf.len() < len {
            self.buf.resize(len, 0);
        }
    }

    /// Consumes at most `n` bytes. A buffer of more than `keep` bytes goes with the last of them.
    pub(crate) fn advance(&mut self, n: usize, keep: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
        if self.is_empty() && self.buf.len() > keep {
            *self = Self::default();
        }
    }

    /// What waits, and the buffer with it.
    pub(crate) fn take(&mut self) -> Bytes {
        let Self {
            mut buf,
            start,
            end,
        } = std::mem::take(self);
        buf.truncate(end);
        let mut bytes = Bytes::from(buf);
        bytes.advance(start.min(end));
        bytes
    }

    #[cfg(test)]
    pub(crate) const fn capacity(&self) -> usize {
        self.buf.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Head, Opcode};

    /// What was in the buffer before never shows, and a payload at the front of it is aligned.
    #[test]
    fn the_buffer_is_used_again() {
        let mut tail = Tail::default();
        for n in [300_usize, 1, 0, 125, 126, 5, 70_000, 0, 2] {
            for again in 0..3 {
                let head = Head {
                    fin: true,
                    opcode: Opcode::Binary,
                    mask: Some([1, 2, 3, 4]).filter(|_| n % 2 == 0),
                    length: n as u64,
                };
                let payload = vec![n.to_le_bytes()[0]; n];
                let (in_room, head_len) = head.encode_in_room();
                let expected = [&in_room[..head_len], &payload].concat();
                let room = tail.append(in_room, head_len, n);
                assert_eq!(room.len(), n);
                assert_eq!(room.as_ptr().addr() % LINE, 0);
                room.copy_from_slice(&payload);
                tail.append(in_room, head_len, n).copy_from_slice(&payload);
                assert_eq!(tail.bytes(), expected.repeat(2));
                tail.advance(1, usize::MAX);
                assert_eq!(tail.bytes(), &expected.repeat(2)[1..]);
                if again == 0 {
                    assert_eq!(tail.take(), &expected.repeat(2)[1..]);
                }
                tail.advance(usize::MAX, usize::MAX);
                assert!(tail.is_empty() && tail.bytes().is_empty());
            }
        }
    }
}
