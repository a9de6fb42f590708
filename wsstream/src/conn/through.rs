//! Whole messages by the shortest way: one copy into the queue, or none, straight to the transport.

use super::Connection;
use crate::error::SendError;
use crate::frame::{Head, MAX_HEAD, Opcode, Role};
use crate::mask;
use bytes::Buf;
use std::io::IoSlice;

/// Most slices of payload in one write.
const SLICES: usize = 16;

/// A client's payload is masked and written in pieces of this size, a head included (B15): one that stays in a
/// cache, and fills TLS records.
const PIECE: usize = 64 << 10;

/// What is left at the end goes in one piece up to this, so that the last one is not tiny.
const LAST: usize = PIECE + PIECE / 4;

/// A server's pieces below this are copied: in a vectored write a piece more costs more.
const COPIED: usize = 1 << 10;

/// Fills `to` from `from`, masked with `key` as it is copied.
#[inline]
pub(super) fn fill(to: &mut [u8], key: Option<[u8; 4]>, from: &mut impl Buf) {
    fill_at(0, to, key, from);
}

/// The same, `offset` bytes into the payload.
fn fill_at(offset: usize, to: &mut [u8], key: Option<[u8; 4]>, from: &mut impl Buf) {
    let mut done: usize = 0;
    while let Some(rest) = to.get_mut(done..)
        && !rest.is_empty()
    {
        let piece = from.chunk();
        let n = piece.len().min(rest.len());
        match (key, piece.get(..n), rest.get_mut(..n)) {
            (Some(key), ..) => {
                let at = u64::try_from(offset.saturating_add(done)).unwrap_or(0);
                mask::copy(key, at, piece, rest);
            }
            (None, Some(piece), Some(place)) => place.copy_from_slice(piece),
            _ => {}
        }
        from.advance(n);
        done = done.saturating_add(n);
    }
}

impl Connection {
    /// Queues one whole binary message made of the first `n` bytes of `from`, in one buffer: one
    /// copy, with the mask put on as it is made.
    ///
    /// # Errors
    /// See [`SendError`]; `from` is untouched.
    #[inline]
    pub fn send_from(&mut self, from: &mut impl Buf, n: usize) -> Result<(), SendError> {
        let (key, place) = self.place(n.min(from.remaining()))?;
        fill(place, key, from);
        Ok(())
    }

    /// The key of the next whole message, if one may be sent.
    fn begin(&mut self) -> Result<Option<[u8; 4]>, SendError> {
        self.may_send()?;
        if self.sending.is_some() {
            return Err(SendError::OtherMessage);
        }
        Ok(self.key()?)
    }

    /// Where the payload of a whole binary message is to be copied to, and the key to mask it with.
    fn place(&mut self, n: usize) -> Result<(Option<[u8; 4]>, &mut [u8]), SendError> {
        let key = self.begin()?;
        let bits = key.map(u32::from_be_bytes);
        Ok((key, self.outgoing.copy(Opcode::Binary, true, bits, n)))
    }

    /// Sends one whole binary message made of the first `n` bytes of `from`, like [`Connection::send_from`]. If
    /// nothing waits and the message is large, it is offered to `write` first, which makes one vectored write
    /// and says how many bytes were taken, 0 if none could be: a server's payload is not copied then, a client's
    /// only a piece at a time, to mask it.
    ///
    /// What was not taken waits in [`Connection::outgoing`] when this returns, and nothing goes before it if its frame
    /// has begun. So there is no half of a message to remember, and the limits are those of `send_from`; who
    /// gives up waiting for the transport has still sent the message. Write what waits first: behind it a message is only
    /// queued. `write` is not called again once it took less than was offered; it keeps its error itself.
    ///
    /// ```
    /// use std::io::Write;
    /// use wsstream::{Config, Connection, Role};
    ///
    /// let mut conn = Connection::new(Config::new(Role::Server))?;
    /// let (mut io, payload) = (Vec::new(), [7; 5000]);
    /// let mut failed = None;
    /// conn.send_through(&mut &payload[..], 5000, |slices| {
    ///     io.write_vectored(slices).unwrap_or_else(|error| {
    ///         failed = Some(error);
    ///         0
    ///     })
    /// })?;
    /// assert!(conn.outgoing().is_empty());
    /// assert_eq!(io.len(), 4 + 5000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`SendError`]; `from` is untouched, and `write` was not called.
    pub fn send_through(
        &mut self,
        from: &mut impl Buf,
        n: usize,
        write: impl FnMut(&[IoSlice<'_>]) -> usize,
    ) -> Result<(), SendError> {
        let n = n.min(from.remaining());
        // What a client sends in one piece anyway is queued.
        let least = match self.role {
            Role::Client => LAST,
            Role::Server => COPIED,
        };
        if n < least || !self.outgoing.is_empty() {
            return self.send_from(from, n);
        }
        let key = self.begin()?;
        let head = Self::head(key, Opcode::Binary, true, n);
        match key {
            Some(key) => self.pass_masked(&head, key, from, n, write),
            None => self.pass(&head, from, n, write),
        }
        Ok(())
    }

    fn pass(
        &mut self,
        head: &Head,
        from: &mut impl Buf,
        n: usize,
        mut write: impl FnMut(&[IoSlice<'_>]) -> usize,
    ) {
        let (bytes, head_len) = head.encode_in_room();
        let mut from = from.take(n);
        let mut slices = [IoSlice::new(&[]); SLICES + 1];
        let [first, payload @ ..] = &mut slices;
        *first = IoSlice::new(bytes.get(..head_len).unwrap_or_default());
        let pieces = from.chunks_vectored(payload);
        let offered = payload.iter().map(|slice| slice.len()).sum::<usize>();
        // Small pieces are cheaper copied; and a message is offered as a whole.
        if offered < n || pieces.saturating_mul(COPIED) > n {
            let place = self.outgoing.copy(head.opcode, head.fin, None, n);
            return fill_at(0, place, None, &mut from);
        }
        let taken = write(slices.get(..=pieces).unwrap_or_default());
        let of_head = taken.min(head_len);
        from.advance(taken.saturating_sub(of_head).min(n));
        let rest = from.remaining();
        if rest > 0 || of_head < head_len {
            // A `Bytes` is not copied here either.
            let rest = from.copy_to_bytes(rest);
            self.outgoing.push_rest(head, of_head, rest);
        }
    }

    fn pass_masked(
        &mut self,
        head: &Head,
        key: [u8; 4],
        from: &mut impl Buf,
        n: usize,
        mut write: impl FnMut(&[IoSlice<'_>]) -> usize,
    ) {
        let (mut room, mut head) = (PIECE.saturating_sub(MAX_HEAD), Some(head));
        let (mut done, mut begun) = (0_usize, false);
        while done < n && self.outgoing.is_empty() {
            let left = n.saturating_sub(done);
            let piece = if left < LAST { left } else { room };
            let place = self.outgoing.piece(head.take(), piece);
            room = PIECE;
            fill_at(done, place, Some(key), from);
            done = done.saturating_add(piece);
            let waits = self.outgoing.chunk();
            let taken = write(&[IoSlice::new(waits)]).min(waits.len());
            self.outgoing.advance(taken);
            begun |= taken > 0;
        }
        if done < n {
            let place = self.outgoing.piece(None, n.saturating_sub(done));
            fill_at(done, place, Some(key), from);
        }
        if begun {
            self.outgoing.begin_tail();
        }
    }
}
