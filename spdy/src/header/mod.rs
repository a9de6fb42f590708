//! Header blocks: ordered name/value lists (SPDY/3.1 §2.6.10) and their compression.
//!
//! ```text
//! count:32  { name length:32 name  value length:32 value } x count
//! ```

mod zlib;

pub use zlib::{Deflater, Inflater};

use crate::config::Dialect;
use crate::error::DecodeErrorKind;
use crate::limits::Limits;
use std::fmt;

/// The preset dictionary of SPDY/3 and 3.1, 1423 bytes (public draft, appendix A of PROTOCOL.md).
pub const DICTIONARY: &[u8; 1423] = include_bytes!("dictionary.bin");

/// An ordered list of names and values. Names are lower-case; several values of one name are
/// joined by a 0 byte.
///
/// Held as the bytes of its uncompressed form, checked once: one allocation a block.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderBlock {
    /// The uncompressed form; empty instead of a count of 0. Alone, so that a block is moved in
    /// words that were written as they are read.
    raw: Vec<u8>,
}

impl HeaderBlock {
    /// An empty block.
    #[must_use]
    pub const fn new() -> Self {
        Self { raw: Vec::new() }
    }

    /// Appends a pair. The name is lower-cased (ASCII), since an upper-case letter ends the
    /// connection at a real peer. Pushing a name twice is the caller's to avoid: receivers differ
    /// on duplicates. No secret belongs here: header blocks may be compressed beside other data.
    ///
    /// A block longer than the encoder's limit is refused when it is sent, with
    /// [`crate::EncodeError`].
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_bytes(), value.as_ref());
        let count = u32::try_from(self.len().saturating_add(1));
        let (Ok(count), Ok(name_len), Ok(value_len)) =
            (count, u32::try_from(name.len()), u32::try_from(value.len()))
        else {
            self.set_count(TOO_LONG);
            return;
        };
        self.set_count(count);
        self.raw.extend_from_slice(&name_len.to_be_bytes());
        self.raw.extend(name.iter().map(u8::to_ascii_lowercase));
        self.raw.extend_from_slice(&value_len.to_be_bytes());
        self.raw.extend_from_slice(value);
    }

    fn set_count(&mut self, count: u32) {
        if self.raw.is_empty() {
            self.raw.extend_from_slice(&[0; COUNT]);
        }
        if let Some(first) = self.raw.first_chunk_mut() {
            *first = count.to_be_bytes();
        }
    }

    /// The first value of `name`, which must be lower-case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.iter().find(|(n, _)| *n == name.as_bytes())?;
        value.split(|b| *b == 0).next()
    }

    /// All values of `name`, those joined by 0 bytes taken apart.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(n, _)| *n == name.as_bytes())
            .flat_map(|(_, v)| v.split(|b| *b == 0))
    }

    /// Names and values as they are on the wire.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        pairs(&self.raw)
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.first_chunk().map_or(0, |count| length(*count))
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Bytes of the uncompressed form.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.encoded().len()
    }

    /// The uncompressed form, as it is deflated.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        if self.raw.is_empty() {
            &[0; COUNT]
        } else {
            &self.raw
        }
    }

    /// Whether every field fits its 32-bit length.
    pub(crate) fn is_encodable(&self) -> bool {
        self.raw.first_chunk() != Some(&TOO_LONG.to_be_bytes())
    }

    /// Checks the uncompressed form and keeps it. Names stay as they came, order too. `syn`: it
    /// opens a stream, where `host` is forbidden too. Source of the rules: PROTOCOL.md 1.3;
    /// what the draft forbids beyond them is an error in [`Dialect::Spdy31`].
    #[inline]
    pub(crate) fn parse(
        raw: Vec<u8>,
        syn: bool,
        dialect: Dialect,
        limits: &Limits,
    ) -> Result<Self, DecodeErrorKind> {
        let count = check(&raw, syn, limits)?;
        if dialect == Dialect::Spdy31 {
            check_strict(&raw)?;
        }
        if count == 0 {
            return Ok(Self::new());
        }
        Ok(Self { raw })
    }
}

/// Bytes of the pair count.
const COUNT: usize = 4;
/// The count of a block onto which a field was pushed that no 32-bit length can say. So many pairs
/// would take 32 GiB.
const TOO_LONG: u32 = u32::MAX;

fn length(bytes: [u8; COUNT]) -> usize {
    usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX)
}

/// What the draft forbids and real peers take: empty names, repeated names, empty values
/// among several (§2.6.10).
fn check_strict(raw: &[u8]) -> Result<(), DecodeErrorKind> {
    for (at, (name, value)) in pairs(raw).enumerate() {
        if name.is_empty() {
            return Err(DecodeErrorKind::HeaderEmptyName);
        }
        if pairs(raw).take(at).any(|(earlier, _)| earlier == name) {
            return Err(DecodeErrorKind::HeaderRepeated);
        }
        let joined = value.contains(&0);
        if joined && value.split(|b| *b == 0).any(<[u8]>::is_empty) {
            return Err(DecodeErrorKind::HeaderEmptyValue);
        }
    }
    Ok(())
}

/// The pairs of an uncompressed form.
fn pairs(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = raw.get(COUNT..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (name, after) = split_field(rest)?;
        let (value, after) = split_field(after)?;
        rest = after;
        Some((name, value))
    })
}

/// Checks an uncompressed form by the rules of every dialect; returns its count of pairs.
fn check(raw: &[u8], syn: bool, limits: &Limits) -> Result<u32, DecodeErrorKind> {
    let truncated = DecodeErrorKind::HeaderTruncated;
    let (count, mut rest) = raw.split_first_chunk::<COUNT>().ok_or(truncated)?;
    let (count, limit) = (u32::from_be_bytes(*count), limits.header_pairs);
    if usize::try_from(count).map_or(true, |n| n > limit) {
        return Err(DecodeErrorKind::HeaderPairs { count, limit });
    }
    for _ in 0..count {
        let name = take_field(&mut rest, "name", limits.header_name)?;
        take_field(&mut rest, "value", limits.header_value)?;
        check_name(name, syn)?;
    }
    if !rest.is_empty() {
        return Err(DecodeErrorKind::HeaderSurplus(rest.len()));
    }
    Ok(count)
}

/// A field and what follows it.
fn split_field(src: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = src.split_first_chunk()?;
    rest.split_at_checked(length(*head))
}

fn take_field<'a>(
    src: &mut &'a [u8],
    field: &'static str,
    limit: usize,
) -> Result<&'a [u8], DecodeErrorKind> {
    match split_field(src) {
        Some((taken, rest)) if taken.len() <= limit => {
            *src = rest;
            Ok(taken)
        }
        _ => Err(bad_field(src, field, limit)),
    }
}

/// Why no field of at most `limit` bytes is here: its length is looked at first, then whether so
/// many bytes follow. Apart, for the way of good blocks to be short.
#[cold]
fn bad_field(src: &[u8], field: &'static str, limit: usize) -> DecodeErrorKind {
    let over = |head: &[u8; COUNT]| length(*head) > limit;
    match src.first_chunk().filter(|head| over(head)) {
        Some(head) => DecodeErrorKind::HeaderField {
            field,
            length: u32::from_be_bytes(*head),
            limit,
        },
        None => DecodeErrorKind::HeaderTruncated,
    }
}

/// Names that end the connection at a real receiver (PROTOCOL.md 1.3).
fn check_name(name: &[u8], syn: bool) -> Result<(), DecodeErrorKind> {
    if has_upper(name) {
        return Err(DecodeErrorKind::HeaderUpperCase);
    }
    let forbidden = match name {
        b"connection" => "connection",
        b"keep-alive" => "keep-alive",
        b"proxy-connection" => "proxy-connection",
        b"transfer-encoding" => "transfer-encoding",
        b"host" if syn => "host",
        _ => return Ok(()),
    };
    Err(DecodeErrorKind::HeaderForbidden(forbidden))
}

/// Whether there is an upper-case letter; by words, since most names are too short for the
/// compiler's vectors.
fn has_upper(name: &[u8]) -> bool {
    if let Some(last) = name.last_chunk() {
        let (mut rest, mut upper) = (name, upper_of(u64::from_le_bytes(*last)));
        while let Some((word, after)) = rest.split_first_chunk() {
            upper |= upper_of(u64::from_le_bytes(*word));
            rest = after;
        }
        upper != 0
    } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        upper_of(u64::from(first) << 32 | u64::from(last)) != 0
    } else {
        name.iter().any(u8::is_ascii_uppercase)
    }
}

/// The highest bit of every byte that is an upper-case letter.
fn upper_of(word: u64) -> u64 {
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // No sum reaches the next byte.
    let low = word & !HIGH;
    let from_a = low.wrapping_add(const { u64::from_ne_bytes([0x80 - b'A'; 8]) });
    let behind_z = low.wrapping_add(const { u64::from_ne_bytes([0x7f - b'Z'; 8]) });
    from_a & !behind_z & !word & HIGH
}

impl fmt::Debug for HeaderBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .map(|(n, v)| (n.escape_ascii().to_string(), v.escape_ascii().to_string())),
            )
            .finish()
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderBlock {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut block = Self::new();
        for (name, value) in pairs {
            block.push(name.as_ref(), value);
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoder;
    use crate::config::HeaderEncoding;
    use crate::error::EncodeError;
    use crate::frame::{Frame, SynReply};
    use crate::stream_id::StreamId;
    use bytes::BytesMut;

    #[test]
    fn dictionary_is_the_published_one() {
        // Adler-32 e3c6a7c2 (PROTOCOL.md appendix A).
        let (a, b) = DICTIONARY.iter().fold((1u32, 0u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        assert_eq!(b << 16 | a, 0xe3c6_a7c2);
    }

    #[test]
    fn limits_at_n_and_n_plus_1() {
        let limits = Limits::default();
        let block = |n: usize, name: usize, value: usize| {
            let block = (0..n)
                .map(|i| (format!("{i:0>name$}"), vec![b'v'; value]))
                .collect::<HeaderBlock>();
            HeaderBlock::parse(block.encoded().to_vec(), true, Dialect::Kubernetes, &limits)
        };
        assert_eq!(
            block(limits.header_pairs, 2, 1).unwrap().len(),
            limits.header_pairs
        );
        assert!(matches!(
            block(limits.header_pairs + 1, 2, 1),
            Err(DecodeErrorKind::HeaderPairs { .. })
        ));
        assert!(block(1, limits.header_name, 1).is_ok());
        assert!(matches!(
            block(1, limits.header_name + 1, 1),
            Err(DecodeErrorKind::HeaderField { .. })
        ));
        assert!(block(1, 1, limits.header_value).is_ok());
        assert!(matches!(
            block(1, 1, limits.header_value + 1),
            Err(DecodeErrorKind::HeaderField { .. })
        ));
    }

    #[test]
    fn an_upper_case_letter_is_seen_wherever_it_is() {
        for len in 1..40 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut name = vec![b'@'; len];
                    name[at] = byte;
                    assert_eq!(has_upper(&name), byte.is_ascii_uppercase(), "{name:?}");
                }
            }
        }
        assert!(!has_upper(b""));
    }

    #[test]
    fn malformed_blocks() {
        let parse = |bytes: &'static [u8]| {
            let limits = Limits::default();
            HeaderBlock::parse(bytes.to_vec(), true, Dialect::Kubernetes, &limits).unwrap_err()
        };
        assert_eq!(parse(b""), DecodeErrorKind::HeaderTruncated);
        assert_eq!(parse(b"\0\0\0\x01"), DecodeErrorKind::HeaderTruncated);
        assert_eq!(
            parse(b"\0\0\0\x01\0\0\0\x05ab"),
            DecodeErrorKind::HeaderTruncated
        );
        assert_eq!(parse(b"\0\0\0\0x"), DecodeErrorKind::HeaderSurplus(1));
        assert_eq!(
            parse(b"\0\0\0\x01\0\0\0\x01A\0\0\0\0"),
            DecodeErrorKind::HeaderUpperCase
        );
        assert_eq!(
            parse(b"\0\0\0\x01\0\0\0\x0aconnection\0\0\0\0"),
            DecodeErrorKind::HeaderForbidden("connection")
        );
        assert!(matches!(
            parse(b"\x7f\0\0\0"),
            DecodeErrorKind::HeaderPairs { .. }
        ));
        assert!(matches!(
            parse(b"\0\0\0\x01\xff\xff\xff\xff"),
            DecodeErrorKind::HeaderField { field: "name", .. }
        ));
    }

    /// Nor is the block sent without the field that was too long.
    #[test]
    fn what_no_length_can_say_is_not_encoded() {
        let mut headers: HeaderBlock = [("a", "b")].into_iter().collect();
        headers.set_count(TOO_LONG);
        let mut wire = BytesMut::new();
        let size = headers.encoded_len();
        assert_eq!(
            Deflater::new(HeaderEncoding::Stored).block(&headers, &mut wire),
            Err(EncodeError::TooLong(size))
        );
        let id = StreamId::new(1).unwrap();
        let (fin, limits) = (false, Limits::default());
        let limit = limits.header_block_inflated;
        assert_eq!(
            Encoder::new(HeaderEncoding::Stored, &limits)
                .encode(&Frame::SynReply(SynReply { id, fin, headers }), &mut wire),
            Err(EncodeError::HeaderBlockTooLarge { size, limit })
        );
        assert!(wire.is_empty());
    }

    #[test]
    fn values_are_split_on_zero() {
        let mut block = HeaderBlock::new();
        block.push("Port", b"80\x0081");
        assert_eq!(block.get("port"), Some(b"80".as_slice()));
        assert_eq!(block.values("port").count(), 2);
        assert_eq!(block.get("other"), None);
    }
}
