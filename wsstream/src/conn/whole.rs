//! Messages in one part, received in place.

use super::Connection;
use crate::Hidden;
use crate::frame::MAX_HEAD;
use bytes::BytesMut;
use std::fmt;

/// Room for a read (B15); more only by as many bytes of a frame as have come.
const READ: usize = 64 << 10;

/// The frames of a message but for the last: within [`crate::Limits::message`].
#[derive(Default)]
pub(super) struct Joined(BytesMut);

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Joined")
            .field(&Hidden(self.0.len()))
            .finish()
    }
}

/// What a part of a message is to who is told messages.
pub(super) enum Join {
    /// Told as it is: nobody asked for whole ones.
    Part,
    /// Kept until the rest is there.
    Waits,
    /// A whole message: this, or, if it is `None`, the part.
    Whole(Option<BytesMut>),
}

impl Joined {
    fn push(&mut self, payload: &[u8], ends: bool) -> Join {
        if ends && self.0.is_empty() {
            return Join::Whole(None);
        }
        self.0.extend_from_slice(payload);
        if !ends {
            return Join::Waits;
        }
        // With its buffer: the next message may be small.
        Join::Whole(Some(std::mem::take(&mut self.0)))
    }
}

impl Connection {
    pub(super) fn join(&mut self, payload: &[u8], ends: bool) -> Join {
        match &mut self.joined {
            Some(joined) => joined.push(payload, ends),
            None => Join::Part,
        }
    }

    /// Makes room in `input` for the next read, and says how much of it is to be used at most, such that a frame that
    /// is told whole ([`crate::Config::whole`]) is received in place: what it lacks, or 64 KiB. Where there is less room than 64
    /// KiB the buffer grows by as much as is in it, 64 KiB at least and in powers of two, so that a length that is only
    /// declared costs nothing: about four times what has come at most, and what was received before in the same buffer. A
    /// message that has been dropped leaves its place to the next; room is not given back, so who has had a large one may
    /// want a new buffer. More may be read, but may have to be moved.
    ///
    /// ```
    /// use bytes::{BufMut, BytesMut};
    /// # fn read_once(
    /// #     conn: &wsstream::Connection, io: &mut impl std::io::Read, input: &mut BytesMut,
    /// # ) -> std::io::Result<usize> {
    /// let room = conn.reserve(input);
    /// let mut place = input.limit(room);
    /// // ... as `tokio::io::AsyncReadExt::read_buf` does into `place`.
    /// # place.put_slice(&[]);
    /// # Ok(0)
    /// # }
    /// ```
    pub fn reserve(&self, input: &mut BytesMut) -> usize {
        let missing = match self.joined {
            Some(_) => self.decoder.missing(input),
            None => 0,
        };
        // And the next head, to save a read.
        let room = missing.saturating_add(MAX_HEAD).max(READ);
        // Before much has come that would have to be moved.
        if !input.try_reclaim(room) && input.capacity().saturating_sub(input.len()) < READ {
            input.reserve(room.min(READ.max(input.len())));
        }
        room.min(input.capacity().saturating_sub(input.len()))
    }
}
