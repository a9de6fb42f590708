use crate::config::{HeaderEncoding, Limits};
use crate::error::EncodeError;
use crate::frame::{FIN, Frame, HEAD, Kind, UNIDIRECTIONAL, VERSION};
use crate::header::{Deflater, HeaderBlock};
use bytes::{BufMut, BytesMut};

/// Largest value of the 24-bit length field.
const MAX_LENGTH: usize = 0xff_ffff;

/// Writes frames of one direction. Frames must leave in the order in which they were encoded:
/// header blocks share one compression context.
#[derive(Debug)]
pub struct Encoder {
    deflater: Deflater,
    max_block: usize,
}

impl Encoder {
    /// A fresh direction.
    #[must_use]
    pub fn new(encoding: HeaderEncoding, limits: &Limits) -> Self {
        Self {
            deflater: Deflater::new(encoding),
            max_block: limits.header_block_inflated,
        }
    }

    /// Appends one whole frame. [`Frame::Data`] is written with its own payload and length;
    /// [`Frame::Unknown`] with that many zero bytes.
    ///
    /// # Errors
    /// A header block over the limit, or a payload over 2^24 - 1 bytes; nothing is appended. The
    /// context survives the first two kinds of [`EncodeError`], not [`EncodeError::Deflate`].
    pub fn encode(&mut self, frame: &Frame, dst: &mut BytesMut) -> Result<(), EncodeError> {
        match frame {
            Frame::SynStream(f) => {
                let flags = flag(f.fin, FIN) | flag(f.unidirectional, UNIDIRECTIONAL);
                self.with_block(Kind::SynStream, flags, &f.headers, dst, |dst| {
                    dst.put_u32(f.id.get());
                    dst.put_u32(f.associated & 0x7fff_ffff);
                    dst.put_u8(f.priority << 5);
                    dst.put_u8(f.slot);
                })
            }
            Frame::SynReply(f) => {
                self.with_block(Kind::SynReply, flag(f.fin, FIN), &f.headers, dst, |dst| {
                    dst.put_u32(f.id.get());
                })
            }
            Frame::Headers(f) => {
                self.with_block(Kind::Headers, flag(f.fin, FIN), &f.headers, dst, |dst| {
                    dst.put_u32(f.id.get());
                })
            }
            Frame::RstStream(f) => two_words(dst, Kind::RstStream, f.id.get(), f.status.get()),
            Frame::GoAway(f) => {
                two_words(dst, Kind::GoAway, f.last_good & 0x7fff_ffff, f.status.get())
            }
            Frame::WindowUpdate(f) => two_words(
                dst,
                Kind::WindowUpdate,
                f.id & 0x7fff_ffff,
                f.delta & 0x7fff_ffff,
            ),
            Frame::Ping(f) => {
                control_head(dst, Kind::Ping.to_u16(), 0, 4)?;
                dst.put_u32(f.id);
                Ok(())
            }
            Frame::Settings(f) => {
                let length = f.entries.len().saturating_mul(8).saturating_add(4);
                control_head(dst, Kind::Settings.to_u16(), flag(f.clear, 1), length)?;
                dst.put_u32(u32::try_from(f.entries.len()).unwrap_or(u32::MAX));
                for entry in &f.entries {
                    dst.put_u32(u32::from(entry.flags) << 24 | (entry.id & 0xff_ffff));
                    dst.put_u32(entry.value);
                }
                Ok(())
            }
            Frame::Data(f) => {
                let length = f.payload.len();
                let short = u32::try_from(length).ok().filter(|_| length <= MAX_LENGTH);
                let length = short.ok_or(EncodeError::TooLong(length))?;
                dst.put_slice(&data_head(f.id.get(), f.fin, length));
                dst.put_slice(&f.payload);
                Ok(())
            }
            Frame::Unknown(f) => {
                let length = usize::try_from(f.length).unwrap_or(usize::MAX);
                control_head(dst, f.kind, 0, length)?;
                dst.put_bytes(0, length);
                Ok(())
            }
        }
    }

    fn with_block(
        &mut self,
        kind: Kind,
        flags: u8,
        headers: &HeaderBlock,
        dst: &mut BytesMut,
        fixed: impl FnOnce(&mut BytesMut),
    ) -> Result<(), EncodeError> {
        let (size, limit) = (headers.encoded_len(), self.max_block);
        // Checked before the context is touched, so that an error costs nothing.
        if size > limit {
            return Err(EncodeError::HeaderBlockTooLarge { size, limit });
        }
        let mut block = BytesMut::new();
        self.deflater.block(headers, &mut block)?;
        let (fixed_len, _) = kind.layout();
        control_head(
            dst,
            kind.to_u16(),
            flags,
            block.len().saturating_add(fixed_len),
        )?;
        fixed(dst);
        dst.put_slice(&block);
        Ok(())
    }
}

fn flag(on: bool, bit: u8) -> u8 {
    if on { bit } else { 0 }
}

fn two_words(dst: &mut BytesMut, kind: Kind, a: u32, b: u32) -> Result<(), EncodeError> {
    control_head(dst, kind.to_u16(), 0, 8)?;
    dst.put_u32(a);
    dst.put_u32(b);
    Ok(())
}

fn control_head(
    dst: &mut BytesMut,
    kind: u16,
    flags: u8,
    length: usize,
) -> Result<(), EncodeError> {
    let short = u32::try_from(length).ok().filter(|_| length <= MAX_LENGTH);
    let length = short.ok_or(EncodeError::TooLong(length))?;
    dst.put_u16(0x8000 | VERSION);
    dst.put_u16(kind);
    dst.put_u32(u32::from(flags) << 24 | length);
    Ok(())
}

/// The 8 bytes in front of a DATA payload. `id` has 31 bits, `length` 24.
pub(crate) fn data_head(id: u32, fin: bool, length: u32) -> [u8; HEAD] {
    let word =
        u64::from(id) << 32 | u64::from(flag(fin, FIN)) << 24 | u64::from(length & 0xff_ffff);
    word.to_be_bytes()
}
