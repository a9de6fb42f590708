use crate::config::HeaderEncoding;
use crate::error::EncodeError;
use crate::frame::{FIN, Frame, HEAD, Kind, UNIDIRECTIONAL, VERSION};
use crate::header::{Deflater, HeaderBlock};
use crate::limits::Limits;
use crate::stream_id::StreamId;
use bytes::{BufMut, BytesMut};

/// Largest value of the 24-bit length field.
const MAX_LENGTH: usize = 0xff_ffff;

/// Writes frames of one direction. Frames must leave in the order in which they were encoded:
/// header blocks share one compression context.
#[derive(Debug)]
pub struct Encoder {
    deflater: Deflater,
    limits: Limits,
}

impl Encoder {
    /// A fresh direction. What a peer with these limits would refuse for its size is not written; names
    /// that the draft forbids ([`crate::DecodeErrorKind::HeaderForbidden`]) are the caller's affair.
    #[must_use]
    pub fn new(encoding: HeaderEncoding, limits: &Limits) -> Self {
        Self {
            deflater: Deflater::new(encoding),
            limits: limits.clone(),
        }
    }

    /// Appends one whole frame. [`Frame::Data`] is written with its own payload and length;
    /// [`Frame::Unknown`] with that many zero bytes.
    ///
    /// # Errors
    /// A header block over a limit, or a payload over 2^24 - 1 bytes; nothing is appended. The
    /// context survives every kind of [`EncodeError`] but [`EncodeError::Deflate`].
    pub fn encode(&mut self, frame: &Frame, dst: &mut BytesMut) -> Result<(), EncodeError> {
        match frame {
            Frame::SynStream(f) => {
                let open = Opening {
                    associated: f.associated,
                    priority: f.priority,
                    slot: f.slot,
                    fin: f.fin,
                    unidirectional: f.unidirectional,
                };
                self.syn_stream(f.id, open, &f.headers, dst)
            }
            Frame::SynReply(f) => self.syn_reply(f.id, f.fin, &f.headers, dst),
            Frame::Headers(f) => self.headers(f.id, f.fin, &f.headers, dst),
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
                let flags = (f.flags & !FIN) | flag(f.fin, FIN);
                dst.put_slice(&data_head(f.id.get(), flags, length));
                dst.put_slice(&f.payload);
                Ok(())
            }
            Frame::Unknown(f) => {
                let length = usize::try_from(f.length).unwrap_or(usize::MAX);
                control_head(dst, f.kind, f.flags, length)?;
                dst.put_bytes(0, length);
                Ok(())
            }
        }
    }

    /// SYN_STREAM, without a [`Frame`] to be built first.
    pub(crate) fn syn_stream(
        &mut self,
        id: StreamId,
        open: Opening,
        headers: &HeaderBlock,
        dst: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let flags = flag(open.fin, FIN) | flag(open.unidirectional, UNIDIRECTIONAL);
        let mut fixed = [0; 10];
        let mut put = fixed.as_mut_slice();
        put.put_u32(id.get());
        put.put_u32(open.associated & 0x7fff_ffff);
        put.put_u8(open.priority << 5);
        put.put_u8(open.slot);
        self.with_block(Kind::SynStream, flags, &fixed, headers, dst)
    }

    /// SYN_REPLY.
    pub(crate) fn syn_reply(
        &mut self,
        id: StreamId,
        fin: bool,
        headers: &HeaderBlock,
        dst: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let fixed = id.get().to_be_bytes();
        self.with_block(Kind::SynReply, flag(fin, FIN), &fixed, headers, dst)
    }

    /// HEADERS.
    pub(crate) fn headers(
        &mut self,
        id: StreamId,
        fin: bool,
        headers: &HeaderBlock,
        dst: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let fixed = id.get().to_be_bytes();
        self.with_block(Kind::Headers, flag(fin, FIN), &fixed, headers, dst)
    }

    /// Whether a peer with our limits takes the block, however badly it compresses (B2 to B4).
    fn check(&self, headers: &HeaderBlock, fixed: usize) -> Result<(), EncodeError> {
        let (size, limit) = (headers.encoded_len(), self.limits.header_block_inflated);
        if size > limit || !headers.is_encodable() {
            return Err(EncodeError::HeaderBlockTooLarge { size, limit });
        }
        let (count, limit) = (headers.len(), self.limits.header_pairs);
        if count > limit {
            return Err(EncodeError::HeaderPairs { count, limit });
        }
        for (name, value) in headers.iter() {
            for (field, bytes, limit) in [
                ("name", name, self.limits.header_name),
                ("value", value, self.limits.header_value),
            ] {
                let length = bytes.len();
                if length > limit {
                    return Err(EncodeError::HeaderField {
                        field,
                        length,
                        limit,
                    });
                }
            }
        }
        let (size, limit) = (self.deflater.bound(size), self.limits.header_block);
        if size > limit {
            return Err(EncodeError::HeaderBlockOnWire { size, limit });
        }
        let length = size.saturating_add(fixed);
        if length > MAX_LENGTH {
            return Err(EncodeError::TooLong(length));
        }
        Ok(())
    }

    fn with_block(
        &mut self,
        kind: Kind,
        flags: u8,
        fixed: &[u8],
        headers: &HeaderBlock,
        dst: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        // Before the context is touched, so that an error costs nothing.
        self.check(headers, fixed.len())?;
        let start = dst.len();
        control_head(dst, kind.to_u16(), flags, 0)?;
        dst.put_slice(fixed);
        if let Err(e) = self.deflater.block(headers, dst) {
            dst.truncate(start);
            return Err(e);
        }
        // The length is known only now: the last three bytes of the head.
        let length = dst.len().saturating_sub(start).saturating_sub(HEAD);
        let Some(short) = u32::try_from(length).ok().filter(|_| length <= MAX_LENGTH) else {
            // More than the compressor's bound.
            dst.truncate(start);
            return Err(EncodeError::Deflate);
        };
        let at = start.saturating_add(HEAD / 2);
        let word = u32::from(flags) << 24 | short;
        if let Some(head) = dst.get_mut(at..).and_then(|b| b.first_chunk_mut()) {
            *head = word.to_be_bytes();
        }
        Ok(())
    }
}

/// What SYN_STREAM says beside the id and the header block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct Opening {
    /// Stream it belongs to, 0 for none. 31 bits.
    pub associated: u32,
    /// 0 (highest) to 7. Real peers send 0.
    pub priority: u8,
    /// Credential slot; 0 in SPDY/3.1.
    pub slot: u8,
    /// We will send no DATA.
    pub fin: bool,
    /// The peer may send nothing.
    pub unidirectional: bool,
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
pub(crate) fn data_head(id: u32, flags: u8, length: u32) -> [u8; HEAD] {
    let word = u64::from(id) << 32 | u64::from(flags) << 24 | u64::from(length & 0xff_ffff);
    word.to_be_bytes()
}
