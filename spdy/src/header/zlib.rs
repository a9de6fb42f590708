//! One zlib stream (RFC 1950) per direction and connection, over all header blocks in frame order
//! (SPDY/3.1 §2.6.10.1, PROTOCOL.md 1.4).

use super::{DICTIONARY, HeaderBlock};
use crate::config::{Dialect, HeaderEncoding};
use crate::error::{DecodeErrorKind, EncodeError};
use crate::limits::Limits;
use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Bytes inflated at a time: how far a block may overshoot its limit before it is stopped.
const STEP: usize = 4096;
/// Room that a port-forward block fits in, and in which the inflater takes its fast way.
const SMALL: usize = 512;
/// zlib head with FDICT set, then the dictionary's Adler-32.
const ZLIB_HEAD: [u8; 6] = [0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2];

/// Type, length and its complement in front of a stored block.
const STORED_HEAD: usize = 5;

/// Decompresses header blocks. After an error the context is lost and every further call fails.
#[derive(Debug, Default)]
pub struct Inflater {
    /// Allocated with the first block: many connections never see one.
    zlib: Option<Box<Decompress>>,
    broken: bool,
}

impl Inflater {
    /// A fresh context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that came out so far.
    pub(crate) fn inflated(&self) -> u64 {
        self.zlib.as_ref().map_or(0, |zlib| zlib.total_out())
    }

    /// Inflates and parses one frame's header block by the rules of [`Dialect::Kubernetes`]. Must
    /// be called for every block of the direction, in order, even for streams that are refused.
    ///
    /// # Errors
    /// The block is no deflate data, over a limit, or not a header block. The connection must end.
    #[inline]
    pub fn block(&mut self, src: &[u8], limits: &Limits) -> Result<HeaderBlock, DecodeErrorKind> {
        self.block_of(src, false, Dialect::Kubernetes, limits)
    }

    /// The same; `syn`: for a SYN_STREAM. Inlined, so that the block is made where it stays.
    #[inline]
    pub(crate) fn block_of(
        &mut self,
        src: &[u8],
        syn: bool,
        dialect: Dialect,
        limits: &Limits,
    ) -> Result<HeaderBlock, DecodeErrorKind> {
        if self.broken {
            return Err(DecodeErrorKind::Inflate("an earlier block was bad"));
        }
        // Unless all goes well.
        self.broken = true;
        // Grows with what comes out, never with what is declared, and a step over the limit at most.
        let mut plain = Vec::with_capacity(src.len().saturating_mul(4).clamp(SMALL, STEP));
        self.inflate(src, limits.header_block_inflated, &mut plain)?;
        let block = HeaderBlock::parse(plain, syn, dialect, limits)?;
        self.broken = false;
        Ok(block)
    }

    fn inflate(
        &mut self,
        mut src: &[u8],
        limit: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), DecodeErrorKind> {
        let zlib = self
            .zlib
            .get_or_insert_with(|| Box::new(Decompress::new(true)));
        loop {
            if plain.len() == plain.capacity() {
                let room = limit.saturating_add(STEP).saturating_sub(plain.len());
                plain.reserve_exact(plain.len().max(STEP).min(room).max(1));
            }
            let (spare, before_in, before_out) = (
                plain.capacity().saturating_sub(plain.len()),
                zlib.total_in(),
                plain.len(),
            );
            let status = zlib.decompress_vec(src, plain, FlushDecompress::Sync);
            let used =
                usize::try_from(zlib.total_in().saturating_sub(before_in)).unwrap_or(usize::MAX);
            let made = plain.len().saturating_sub(before_out);
            src = src.get(used..).unwrap_or_default();
            if plain.len() > limit {
                return Err(DecodeErrorKind::HeaderBlockTooLarge { limit });
            }
            match status {
                Ok(Status::StreamEnd) if src.is_empty() => break,
                Ok(Status::StreamEnd) => {
                    return Err(DecodeErrorKind::Inflate(
                        "bytes behind the end of the zlib stream",
                    ));
                }
                // Room was left over, so all that these bytes hold is out.
                Ok(_) if src.is_empty() && made < spare => break,
                Ok(Status::BufError) => {
                    return Err(DecodeErrorKind::Inflate("no progress"));
                }
                Ok(_) => {}
                // Reported after the six bytes of the zlib head have been consumed.
                Err(e) if e.needs_dictionary().is_some() => {
                    zlib.set_dictionary(DICTIONARY)
                        .map_err(|_| DecodeErrorKind::Inflate("another dictionary is wanted"))?;
                }
                Err(_) => return Err(DecodeErrorKind::Inflate("corrupt deflate data")),
            }
        }
        Ok(())
    }
}

/// Writes header blocks.
#[derive(Debug)]
pub struct Deflater {
    encoding: HeaderEncoding,
    zlib: Option<Box<Compress>>,
    begun: bool,
}

impl Deflater {
    /// A fresh context.
    #[must_use]
    pub fn new(encoding: HeaderEncoding) -> Self {
        Self {
            encoding,
            zlib: None,
            begun: false,
        }
    }

    /// Appends one frame's compressed header block. Blocks must leave in the order in which they
    /// were written here.
    ///
    /// # Errors
    /// The block is longer than 32-bit lengths can say, or the compressor failed.
    pub fn block(&mut self, headers: &HeaderBlock, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let plain = headers.encoded();
        if !headers.is_encodable() || u32::try_from(plain.len()).is_err() {
            return Err(EncodeError::TooLong(plain.len()));
        }
        match self.encoding {
            HeaderEncoding::Stored => {
                self.stored(plain, dst);
                Ok(())
            }
            HeaderEncoding::Deflate(level) => self.deflated(level, plain, dst),
        }
    }

    /// What a block of `plain` bytes takes at most; exact when stored.
    pub(crate) fn bound(&self, plain: usize) -> usize {
        let extra = match self.encoding {
            HeaderEncoding::Stored => {
                let blocks = plain.div_ceil(usize::from(u16::MAX)).saturating_add(1);
                let head = if self.begun { 0 } else { ZLIB_HEAD.len() };
                blocks.saturating_mul(STORED_HEAD).saturating_add(head)
            }
            // Nine bits a byte are the worst of fixed codes; head, flush and block types beside.
            HeaderEncoding::Deflate(_) => (plain / 8).saturating_add(64),
        };
        plain.saturating_add(extra)
    }

    fn stored(&mut self, plain: &[u8], dst: &mut BytesMut) {
        dst.reserve(self.bound(plain.len()));
        if !self.begun {
            dst.put_slice(&ZLIB_HEAD);
            self.begun = true;
        }
        // Each block: type 0, not final, length, its complement. Real receivers insist on the
        // empty one at the end, which is what a sync flush looks like.
        for piece in plain.chunks(usize::from(u16::MAX)).chain([[].as_slice()]) {
            let n = u16::try_from(piece.len()).unwrap_or(u16::MAX);
            let ([n0, n1], [m0, m1]) = (n.to_le_bytes(), (!n).to_le_bytes());
            dst.put_slice(&[0, n0, n1, m0, m1]);
            dst.put_slice(piece);
        }
    }

    fn deflated(
        &mut self,
        level: u32,
        mut src: &[u8],
        dst: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let zlib = match &mut self.zlib {
            Some(zlib) => zlib,
            empty => {
                let mut zlib = Box::new(Compress::new(Compression::new(level.min(9)), true));
                zlib.set_dictionary(DICTIONARY)
                    .map_err(|_| EncodeError::Deflate)?;
                empty.insert(zlib)
            }
        };
        let mut step = [0u8; STEP];
        loop {
            let (before_in, before_out) = (zlib.total_in(), zlib.total_out());
            zlib.compress(src, &mut step, FlushCompress::Sync)
                .map_err(|_| EncodeError::Deflate)?;
            let used =
                usize::try_from(zlib.total_in().saturating_sub(before_in)).unwrap_or(usize::MAX);
            let made =
                usize::try_from(zlib.total_out().saturating_sub(before_out)).unwrap_or(usize::MAX);
            src = src.get(used..).unwrap_or_default();
            dst.put_slice(step.get(..made).unwrap_or_default());
            // A flush is complete only when it leaves room in the output.
            if src.is_empty() && made < STEP {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(pairs: &[(String, Vec<u8>)]) -> HeaderBlock {
        pairs.iter().map(|(n, v)| (n, v)).collect()
    }

    proptest! {
        #[test]
        fn both_encodings_round_trip(
            blocks in prop::collection::vec(
                prop::collection::vec(("[a-z]{0,40}", prop::collection::vec(any::<u8>(), 0..2000)), 0..20),
                1..6),
            level in 0u32..=9,
        ) {
            for encoding in [HeaderEncoding::Stored, HeaderEncoding::Deflate(level)] {
                let (mut deflater, mut inflater) = (Deflater::new(encoding), Inflater::new());
                for pairs in &blocks {
                    let headers = block(pairs);
                    let mut wire = BytesMut::new();
                    deflater.block(&headers, &mut wire).unwrap();
                    prop_assert!(wire.ends_with(&[0, 0, 0xff, 0xff]));
                    prop_assert_eq!(inflater.block(&wire, &Limits::default()).unwrap(), headers);
                }
            }
        }

        #[test]
        fn garbage_is_an_error_and_sticks(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut inflater = Inflater::new();
            if inflater.block(&bytes, &Limits::default()).is_err() {
                let mut good = BytesMut::new();
                Deflater::new(HeaderEncoding::Stored).block(&HeaderBlock::new(), &mut good).unwrap();
                prop_assert!(inflater.block(&good, &Limits::default()).is_err());
            }
        }
    }

    /// Of noise, which no level makes shorter.
    #[test]
    fn no_block_takes_more_than_its_bound() {
        let mut state = 1u32;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        };
        for len in [0, 1, 100, 5000, 65_522, 65_523, 200_000] {
            let mut headers = HeaderBlock::new();
            headers.push("n", (0..len).map(|_| noise()).collect::<Vec<u8>>());
            for level in 0..=9 {
                let encoding = match level {
                    0 => HeaderEncoding::Stored,
                    level => HeaderEncoding::Deflate(level),
                };
                let mut deflater = Deflater::new(encoding);
                for _ in 0..2 {
                    let (bound, mut wire) =
                        (deflater.bound(headers.encoded_len()), BytesMut::new());
                    deflater.block(&headers, &mut wire).unwrap();
                    assert!(wire.len() <= bound, "{len} at {level}: {}", wire.len());
                    if level == 0 {
                        assert_eq!(wire.len(), bound);
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_inflate_and_why() {
        let why = |wire: &[u8]| match Inflater::new().block(wire, &Limits::default()) {
            Err(DecodeErrorKind::Inflate(why)) => why,
            other => panic!("{other:?}"),
        };
        let mut head = ZLIB_HEAD.to_vec();
        head.push(0x07);
        assert_eq!(why(&head), "corrupt deflate data", "a block of type 3");
        let another = b"\x78\xf9\0\0\0\x01";
        assert_eq!(why(another), "another dictionary is wanted");
        // A stream may end, and nothing may follow it.
        let mut zlib = Compress::new(Compression::best(), true);
        let mut wire = Vec::with_capacity(100);
        let none = HeaderBlock::new();
        zlib.compress_vec(none.encoded(), &mut wire, FlushCompress::Finish)
            .unwrap();
        assert_eq!(Inflater::new().block(&wire, &Limits::default()), Ok(none));
        wire.push(0);
        assert_eq!(why(&wire), "bytes behind the end of the zlib stream");
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let limits = Limits::default();
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(DICTIONARY).unwrap();
        let mut wire = Vec::with_capacity(1 << 20);
        zlib.compress_vec(&vec![0; 16 << 20], &mut wire, FlushCompress::Sync)
            .unwrap();
        assert!(wire.len() < 20_000, "{} bytes of bomb", wire.len());
        assert_eq!(
            Inflater::new().block(&wire, &limits),
            Err(DecodeErrorKind::HeaderBlockTooLarge {
                limit: limits.header_block_inflated
            })
        );
    }

    #[test]
    fn equal_lengths_give_equal_frames_when_stored() {
        // No length side channel: the encoded size does not depend on what a value says.
        let size = |value: &str| {
            let mut wire = BytesMut::new();
            let mut headers = HeaderBlock::new();
            headers.push("streamtype", value);
            Deflater::new(HeaderEncoding::Stored)
                .block(&headers, &mut wire)
                .unwrap();
            wire.len()
        };
        assert_eq!(size("streamtype"), size("zqxjkvbpyg"));
    }

    #[test]
    fn no_dictionary_and_all_levels_are_accepted() {
        let block = block(&[("a".into(), b"b".to_vec())]);
        for level in 0..=9 {
            let mut zlib = Compress::new(Compression::new(level), true);
            let mut wire = Vec::with_capacity(1000);
            zlib.compress_vec(block.encoded(), &mut wire, FlushCompress::Sync)
                .unwrap();
            assert_eq!(
                Inflater::new()
                    .block(&wire, &Limits::default())
                    .unwrap()
                    .get("a"),
                Some(b"b".as_slice())
            );
        }
    }
}
