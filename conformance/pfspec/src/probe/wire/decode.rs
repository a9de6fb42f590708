//! The server's frames, read strictly.

use super::{
    DICTIONARY, Frame, GOAWAY, HEADERS, PING, Pairs, RST_STREAM, SETTINGS, SYN_REPLY, SYN_STREAM,
    WINDOW_UPDATE,
};
use bytes::{Buf as _, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

/// Bytes of an inflated header block that are read; more is a departure.
const BLOCK: usize = 1 << 20;

/// What reads the server's frames, one by one, strictly.
#[derive(Debug)]
pub struct Decoder {
    inflate: Decompress,
    /// Bytes that are no whole frame yet.
    pub buffer: BytesMut,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            inflate: Decompress::new(true),
            buffer: BytesMut::new(),
        }
    }
}

impl Decoder {
    /// The next whole frame and its bytes.
    ///
    /// # Errors
    /// Why the bytes are no frame that a server may send.
    pub fn frame(&mut self) -> Result<Option<(Frame, Vec<u8>)>, String> {
        let Some(head) = self.buffer.first_chunk::<8>().copied() else {
            return Ok(None);
        };
        let mut fields = &head[..];
        let (first, second) = (fields.get_u32(), fields.get_u32());
        let [flags, ..] = second.to_be_bytes();
        let length = usize::try_from(second & 0x00ff_ffff).unwrap_or(usize::MAX);
        if self.buffer.len() < 8 + length {
            return Ok(None);
        }
        let whole = self.buffer.split_to(8 + length).to_vec();
        let payload = whole.get(8..).unwrap_or_default();
        if first & 0x8000_0000 == 0 {
            let frame = Frame::Data {
                id: first,
                flags,
                payload: payload.to_vec(),
            };
            return Ok(Some((frame, whole)));
        }
        let version = (first >> 16) & 0x7fff;
        if version != 3 {
            return Err(format!("a control frame of version {version}"));
        }
        let kind = u16::try_from(first & 0xffff).unwrap_or(u16::MAX);
        let frame = self.control(kind, flags, payload)?;
        Ok(Some((frame, whole)))
    }

    fn control(&mut self, kind: u16, flags: u8, mut payload: &[u8]) -> Result<Frame, String> {
        let name = |text: &str| format!("{text} of {} bytes", payload.len());
        Ok(match kind {
            SYN_STREAM => {
                if payload.len() < 10 {
                    return Err(name("SYN_STREAM"));
                }
                let (id, associated) = (payload.get_u32() & 0x7fff_ffff, payload.get_u32());
                let (priority, _slot) = (payload.get_u8() >> 5, payload.get_u8());
                Frame::SynStream {
                    id,
                    associated,
                    flags,
                    priority,
                    headers: self.headers(payload)?,
                }
            }
            SYN_REPLY | HEADERS => {
                if payload.len() < 4 {
                    return Err(name("SYN_REPLY or HEADERS"));
                }
                let id = payload.get_u32() & 0x7fff_ffff;
                let headers = self.headers(payload)?;
                if kind == SYN_REPLY {
                    Frame::SynReply { id, flags, headers }
                } else {
                    Frame::Headers { id, flags, headers }
                }
            }
            RST_STREAM | GOAWAY | WINDOW_UPDATE => {
                if payload.len() != 8 {
                    return Err(name("RST_STREAM, GOAWAY or WINDOW_UPDATE"));
                }
                let (id, value) = (payload.get_u32() & 0x7fff_ffff, payload.get_u32());
                match kind {
                    RST_STREAM => Frame::RstStream { id, status: value },
                    GOAWAY => Frame::Goaway {
                        last: id,
                        status: value,
                    },
                    _ => Frame::WindowUpdate { id, delta: value },
                }
            }
            PING => {
                if payload.len() != 4 {
                    return Err(name("PING"));
                }
                Frame::Ping(payload.get_u32())
            }
            SETTINGS => {
                if payload.len() < 4 {
                    return Err(name("SETTINGS"));
                }
                let count = payload.get_u32();
                if u64::from(count) * 8 != payload.len() as u64 {
                    return Err(format!(
                        "SETTINGS with count {count} and {} bytes",
                        payload.len()
                    ));
                }
                let mut entries = Vec::new();
                while payload.len() >= 8 {
                    let (head, value) = (payload.get_u32(), payload.get_u32());
                    let [flags, ..] = head.to_be_bytes();
                    entries.push((flags, head & 0x00ff_ffff, value));
                }
                Frame::Settings { flags, entries }
            }
            _ => Frame::Other {
                kind,
                flags,
                payload: payload.to_vec(),
            },
        })
    }

    fn headers(&mut self, block: &[u8]) -> Result<Pairs, String> {
        let plain = self.inflate(block)?;
        let mut rest = &plain[..];
        let number = |rest: &mut &[u8]| -> Result<usize, String> {
            if rest.len() < 4 {
                return Err("a header block that ends within a number".to_owned());
            }
            Ok(usize::try_from(rest.get_u32()).unwrap_or(usize::MAX))
        };
        let count = number(&mut rest)?;
        let mut headers = Pairs::new();
        for _ in 0..count {
            let mut text = || -> Result<String, String> {
                let length = number(&mut rest)?;
                let Some(bytes) = rest.get(..length) else {
                    return Err("a header block that ends within a text".to_owned());
                };
                rest.advance(length);
                Ok(bytes.iter().map(|byte| char::from(*byte)).collect())
            };
            let (name, value) = (text()?, text()?);
            if name.is_empty() || name.chars().any(|c| c.is_ascii_uppercase()) {
                return Err(format!("the header name {name:?}"));
            }
            if headers.iter().any(|(known, _)| *known == name) {
                return Err(format!("the header name {name:?} twice"));
            }
            headers.push((name, value));
        }
        if !rest.is_empty() {
            return Err(format!("{} bytes behind a header block", rest.len()));
        }
        Ok(headers)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, String> {
        let mut plain = Vec::with_capacity(1024);
        loop {
            let (read, wrote) = (self.inflate.total_in(), self.inflate.total_out());
            let result = self
                .inflate
                .decompress_vec(block, &mut plain, FlushDecompress::Sync);
            let taken = usize::try_from(self.inflate.total_in() - read).unwrap_or(block.len());
            block = block.get(taken..).unwrap_or_default();
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.inflate.set_dictionary(DICTIONARY);
                    set.map_err(|error| {
                        format!("a header block with another dictionary: {error}")
                    })?;
                    continue;
                }
                Err(error) => {
                    return Err(format!("a header block that cannot be inflated: {error}"));
                }
                Ok(Status::StreamEnd) => {
                    return Err("a header block that ends the zlib stream".to_owned());
                }
                Ok(Status::Ok | Status::BufError) => {}
            }
            if plain.len() > BLOCK {
                return Err(format!("a header block of more than {BLOCK} bytes"));
            }
            if block.is_empty() && plain.len() < plain.capacity() {
                return Ok(plain);
            }
            if self.inflate.total_out() == wrote && taken == 0 && plain.len() < plain.capacity() {
                return Err("a header block that cannot be inflated to its end".to_owned());
            }
            plain.reserve(plain.capacity());
        }
    }
}
