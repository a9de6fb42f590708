//! Frames out of bytes. Payload is handed out as it comes and unmasked where it lies.

use crate::Hidden;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::frame::{Head, Opcode, Role};
use crate::mask;
use bytes::{Buf as _, Bytes, BytesMut};
use std::fmt;

/// What the decoder found. `Debug` tells lengths, never bytes.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// Part of a data frame (continuation, text or binary).
    Data(Data),
    /// A whole Close, Ping or Pong: at most 125 bytes.
    Control {
        /// Which one.
        opcode: Opcode,
        /// Unmasked.
        payload: Bytes,
    },
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(data) => data.fmt(f),
            Self::Control { opcode, payload } => f
                .debug_struct("Control")
                .field("opcode", opcode)
                .field("payload", &Hidden(payload.len()))
                .finish(),
        }
    }
}

/// Part of a data frame, without its mask. `Debug` tells lengths, never bytes.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Data {
    /// The frame's.
    pub opcode: Opcode,
    /// First part of its frame. It may be empty: the head is told as soon as it is there.
    pub begins: bool,
    /// Bytes of it.
    pub payload: Bytes,
    /// Bytes of the frame that are still to come.
    pub remaining: u64,
    /// The frame is the last of its message.
    pub fin: bool,
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data")
            .field("opcode", &self.opcode)
            .field("begins", &self.begins)
            .field("payload", &Hidden(self.payload.len()))
            .field("remaining", &self.remaining)
            .field("fin", &self.fin)
            .finish()
    }
}

impl Data {
    /// The message ends with this part.
    #[must_use]
    pub const fn ends_message(&self) -> bool {
        self.fin && self.remaining == 0
    }
}

/// What is in front of an input: `taken` bytes, of which the last `payload` are that.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) taken: usize,
    pub(crate) payload: usize,
    pub(crate) part: Part,
}

/// What a [`Step`] is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Data(Piece),
    Control(Opcode),
}

/// Part of a data frame but for its payload; see [`Data`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) opcode: Opcode,
    pub(crate) begins: bool,
    pub(crate) remaining: u64,
    pub(crate) fin: bool,
}

/// A whole message in front of an input: so many bytes of head, and of payload, which is still masked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    pub(crate) head: usize,
    pub(crate) payload: usize,
    pub(crate) mask: Option<[u8; 4]>,
}

/// Reads the frames of one direction. It knows frames only; whether they make messages is
/// [`crate::Connection`]'s to say.
///
/// Splitting the input anywhere changes only how payload is cut; nothing is allocated from a
/// declared length.
#[derive(Debug)]
pub struct Decoder {
    masked: bool,
    /// The data frame being read: its head, and how much of its payload has been handed out.
    current: Option<(Head, u64)>,
    /// Data frames are handed out whole.
    whole: bool,
    /// Bytes at the front of the input that are unmasked, and wait for the rest of their frame.
    held: usize,
    /// Where the current or next frame begins.
    offset: u64,
    /// Where the frame behind the current one begins.
    next: u64,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// For what the other end of a connection sends to `role`.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            masked: matches!(role, Role::Server),
            current: None,
            whole: false,
            held: 0,
            offset: 0,
            next: 0,
            failed: None,
        }
    }

    /// Payload of a frame is handed out in one part; a frame whose head comes before the rest begins with an empty one.
    /// Who asks for this bounds what frames declare.
    pub(crate) const fn in_whole_frames(mut self, whole: bool) -> Self {
        self.whole = whole;
        self
    }

    /// How much of the current frame is not in `input` yet.
    pub(crate) fn missing(&self, input: &[u8]) -> usize {
        let left = self
            .current
            .map_or(0, |(head, done)| head.length.saturating_sub(done));
        usize::try_from(left)
            .unwrap_or(usize::MAX)
            .saturating_sub(input.len())
    }

    /// Takes the next frame, or part of one, from the front of `input`. `None`: more bytes are
    /// needed; at most 139 are left then.
    ///
    /// # Errors
    /// The bytes are no frame; the same error ever after.
    #[inline]
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        let Some(step) = self.step(input)? else {
            return Ok(None);
        };
        // Not `split_to`: that would count a handle up and down.
        input.advance(step.taken.saturating_sub(step.payload));
        let payload = input.split_to(step.payload);
        Ok(Some(match step.part {
            Part::Data(piece) => Frame::Data(Data {
                opcode: piece.opcode,
                begins: piece.begins,
                payload: payload.freeze(),
                remaining: piece.remaining,
                fin: piece.fin,
            }),
            Part::Control(opcode) => Frame::Control {
                opcode,
                // A copy, so that who keeps it does not keep a whole read buffer.
                payload: Bytes::copy_from_slice(&payload),
            },
        }))
    }

    /// The same, in place: the payload is unmasked where it lies, and nothing is moved.
    #[inline]
    pub(crate) fn step(&mut self, input: &mut [u8]) -> Result<Option<Step>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let (head, done, n) = match self.current {
            Some((head, done)) => (head, done, 0),
            None => match Head::parse(input, self.masked) {
                Ok(Some((head, n))) => (head, 0, n),
                Ok(None) => return Ok(None),
                Err(kind) => return Err(self.fail(kind)),
            },
        };
        let body = input.get_mut(n..).unwrap_or_default();
        if !head.opcode.is_control() {
            if n > 0 {
                let whole = head.length.saturating_add(wide(n));
                self.next = self.offset.saturating_add(whole);
            }
            return Ok(self.payload(head, done, n, body));
        }
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let Some(payload) = body.get_mut(..length) else {
            return Ok(None);
        };
        if let Some(key) = head.mask {
            mask::apply(key, 0, payload);
        }
        let taken = n.saturating_add(length);
        self.offset = self.offset.saturating_add(wide(taken));
        Ok(Some(Step {
            taken,
            payload: length,
            part: Part::Control(head.opcode),
        }))
    }

    /// Head and payload of a whole binary message of at most `limit` bytes in one frame, if that is in front of
    /// `input`: what [`Decoder::step`] makes of it, by a shorter way, but for the mask, which is the caller's to
    /// remove. Nothing is taken otherwise.
    #[inline]
    pub(crate) fn whole(&mut self, input: &[u8], limit: Option<u64>) -> Option<Whole> {
        if self.current.is_some() || input.first() != Some(&WHOLE_BINARY) {
            return None;
        }
        let (head, n) = Head::parse(input, self.masked).ok()??;
        let length = usize::try_from(head.length).ok()?;
        let whole = n.checked_add(length)?;
        if input.len() < whole || limit.is_some_and(|limit| head.length > limit) {
            return None;
        }
        self.offset = self.offset.saturating_add(wide(whole));
        self.next = self.offset;
        Some(Whole {
            head: n,
            payload: length,
            mask: head.mask,
        })
    }

    /// `n` bytes of head, if it begins, and then `body`.
    #[inline]
    fn payload(&mut self, head: Head, done: u64, n: usize, body: &mut [u8]) -> Option<Step> {
        let left = head.length.saturating_sub(done);
        let mut length = usize::try_from(left).unwrap_or(usize::MAX).min(body.len());
        // While it is in the cache, also if it is not handed out yet.
        debug_assert!(body.len() >= self.held, "the input has been cut short");
        if let (Some(key), Some(new)) = (head.mask, body.get_mut(self.held..length)) {
            mask::apply(key, done.saturating_add(wide(self.held)), new);
        }
        self.held = 0;
        if self.whole && wide(length) < left {
            self.held = length;
            length = 0;
        }
        let begins = n > 0;
        if length == 0 && !begins {
            return None;
        }
        let remaining = left.saturating_sub(wide(length));
        if remaining == 0 {
            self.offset = self.next;
            self.current = None;
        } else {
            self.current = Some((head, done.saturating_add(wide(length))));
        }
        Some(Step {
            taken: n.saturating_add(length),
            payload: length,
            part: Part::Data(Piece {
                opcode: head.opcode,
                begins,
                remaining,
                fin: head.fin,
            }),
        })
    }

    /// Whether no data frame has been begun that is not complete. Bytes of a head may still wait
    /// in the input.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        self.current.is_none()
    }

    /// An error in the sequence of frames, found by who knows messages: at the current frame.
    pub(crate) fn fail_at(&mut self, offset: u64, kind: DecodeErrorKind) -> DecodeError {
        self.offset = offset;
        self.fail(kind)
    }

    /// Where the frame begins that is read now or next.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    fn fail(&mut self, kind: DecodeErrorKind) -> DecodeError {
        let error = DecodeError {
            kind,
            offset: self.offset,
        };
        self.failed = Some(error.clone());
        error
    }
}

/// The first byte of such a frame.
const WHOLE_BINARY: u8 = 0x80 | Opcode::Binary.bits();

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
