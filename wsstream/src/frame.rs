//! The head of a frame (RFC 6455 §5.2).
//!
//! ```text
//!  byte 0                 byte 1
//!  7   6 5 4  3 2 1 0     7     6 5 4 3 2 1 0
//! +---+-----+---------+ +------+-------------+  +------------------+  +-------------+
//! |FIN|RSV  | opcode  | | MASK | length 0-125|  | length, 2 bytes  |  | masking key |
//! |   |1-3=0|         | |      | 126, 127 -> |  | or 8, big-endian |  | 4, if MASK  |
//! +---+-----+---------+ +------+-------------+  +------------------+  +-------------+
//! ```

use crate::error::DecodeErrorKind;

/// Longest head: two bytes, an 8-byte length, a masking key (B16).
pub const MAX_HEAD: usize = 14;
/// What a head is put together in: longer than any, and copied in one go.
pub(crate) const HEAD_ROOM: usize = 16;
/// Longest payload of a control frame (RFC 6455 §5.5).
pub const MAX_CONTROL: usize = 125;

/// What a frame is (RFC 6455 §5.2). Reserved opcodes have no value here: they are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "RFC 6455 defines these; more need an extension, and none is negotiated"
)]
pub enum Opcode {
    /// 0x0, more of the message that was begun.
    Continuation,
    /// 0x1, begins a text message.
    Text,
    /// 0x2, begins a binary message.
    Binary,
    /// 0x8.
    Close,
    /// 0x9.
    Ping,
    /// 0xA.
    Pong,
}

impl Opcode {
    /// The four bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// From the low four bits of byte 0.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Close, Ping or Pong: whole frames that may stand inside a fragmented message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Which end of the connection. The client masks, the server does not (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a connection has two ends")]
pub enum Role {
    /// Sent the opening request.
    Client,
    /// Answered it.
    Server,
}

/// A frame's head. [`Head::encode`] writes what it is given: that a control frame has FIN and at most 125
/// bytes, and the length its top bit clear, is for who makes one to see to; [`crate::Connection`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "all that a head has once RSV is known to be 0"
)]
pub struct Head {
    /// Last frame of its message; always set on control frames.
    pub fin: bool,
    /// What it is.
    pub opcode: Opcode,
    /// The masking key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Payload bytes, below 2^63.
    pub length: u64,
}

impl Head {
    /// Reads a head from the front of `bytes`, sent by a peer whose frames are `masked` or not.
    /// `None`: it is not all there, and what is there may still become one. Otherwise the head and
    /// its length in bytes.
    ///
    /// # Errors
    /// As early as the bytes tell.
    #[inline]
    pub fn parse(bytes: &[u8], masked: bool) -> Result<Option<(Self, usize)>, DecodeErrorKind> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(DecodeErrorKind::ReservedBits(first >> 4 & 7));
        }
        let opcode =
            Opcode::from_bits(first & 0xF).ok_or(DecodeErrorKind::ReservedOpcode(first & 0xF))?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(DecodeErrorKind::FragmentedControl);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        match (second & 0x80 != 0, masked) {
            (false, true) => return Err(DecodeErrorKind::Unmasked),
            (true, false) => return Err(DecodeErrorKind::Masked),
            _ => {}
        }
        let short = second & 0x7F;
        if opcode.is_control() && short > 125 {
            return Err(DecodeErrorKind::LongControl);
        }
        let (length, at) = match short {
            126 => {
                let Some(field) = array::<2>(bytes, 2) else {
                    return Ok(None);
                };
                (u64::from(u16::from_be_bytes(field)), 4)
            }
            127 => {
                // The top bit is known with the first byte of the field.
                if bytes.get(2).is_some_and(|b| b & 0x80 != 0) {
                    return Err(DecodeErrorKind::LengthTopBit);
                }
                let Some(field) = array::<8>(bytes, 2) else {
                    return Ok(None);
                };
                (u64::from_be_bytes(field), 10)
            }
            n => (u64::from(n), 2),
        };
        if (short == 126 && length < 126) || (short == 127 && length <= 0xFFFF) {
            return Err(DecodeErrorKind::LengthNotMinimal(length));
        }
        let mask = if masked {
            let Some(key) = array::<4>(bytes, at) else {
                return Ok(None);
            };
            Some(key)
        } else {
            None
        };
        let head = Self {
            fin,
            opcode,
            mask,
            length,
        };
        Ok(Some((head, if masked { at.saturating_add(4) } else { at })))
    }

    /// The head on the wire, in the shortest form: the array and how many bytes of it count.
    #[must_use]
    pub fn encode(&self) -> ([u8; MAX_HEAD], usize) {
        let (room, n) = self.encode_in_room();
        let mut out = [0; MAX_HEAD];
        out.copy_from_slice(&room[..MAX_HEAD]);
        (out, n)
    }

    /// [`Head::encode`], and zeros behind it.
    pub(crate) fn encode_in_room(&self) -> ([u8; HEAD_ROOM], usize) {
        let key = self.mask.map(u32::from_be_bytes);
        encode(self.opcode, self.fin, key, self.length)
    }
}

/// A head, with a key that is read as big-endian, and zeros behind it. It comes in registers and is put together in
/// one: bytes stored one by one, as a key in a [`Head`] is, make the processor wait for all it has stored before when they are
/// loaded at once.
pub(crate) fn encode(
    opcode: Opcode,
    fin: bool,
    key: Option<u32>,
    length: u64,
) -> ([u8; HEAD_ROOM], usize) {
    let first = opcode.bits() | if fin { 0x80 } else { 0 };
    let mask = if key.is_some() { 0x80 } else { 0 };
    let wide = u128::from(length);
    let (second, wide, n): (u8, u128, usize) = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => (short, 0, 2),
        (_, Ok(_)) => (0x7E, wide << 96, 4),
        _ => (0x7F, wide << 48, 10),
    };
    let bits = u128::from(first) << 120 | u128::from(second | mask) << 112 | wide;
    match key {
        None => (bits.to_be_bytes(), n),
        Some(key) => {
            let shift = 96_usize.saturating_sub(n.saturating_mul(8));
            let key = u128::from(key) << shift;
            ((bits | key).to_be_bytes(), n.saturating_add(4))
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_there_and_back() {
        for length in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, i64::MAX as u64] {
            for (opcode, fin) in [(Opcode::Binary, false), (Opcode::Continuation, true)] {
                for mask in [None, Some([1, 2, 3, 4])] {
                    let head = Head {
                        fin,
                        opcode,
                        mask,
                        length,
                    };
                    let (bytes, n) = head.encode();
                    let masked = mask.is_some();
                    assert_eq!(Head::parse(&bytes[..n], masked), Ok(Some((head, n))));
                    for cut in 0..n {
                        assert_eq!(Head::parse(&bytes[..cut], masked), Ok(None), "{cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_head_is_refused_as_soon_as_it_shows() {
        use DecodeErrorKind as E;
        let table: &[(&[u8], bool, E)] = &[
            (&[0xC1], false, E::ReservedBits(4)),
            (&[0x91], false, E::ReservedBits(1)),
            (&[0x83], false, E::ReservedOpcode(3)),
            (&[0x8B], false, E::ReservedOpcode(11)),
            (&[0x09], false, E::FragmentedControl),
            (&[0x82, 0x00], true, E::Unmasked),
            (&[0x82, 0x80], false, E::Masked),
            (&[0x89, 126], false, E::LongControl),
            (&[0x88, 127], false, E::LongControl),
            (&[0x82, 127, 0x80], false, E::LengthTopBit),
            (&[0x82, 126, 0, 125], false, E::LengthNotMinimal(125)),
            (
                &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
                false,
                E::LengthNotMinimal(0xFFFF),
            ),
        ];
        for (bytes, masked, kind) in table {
            assert_eq!(
                Head::parse(bytes, *masked).as_ref(),
                Err(kind),
                "{bytes:02x?}"
            );
        }
    }
}
