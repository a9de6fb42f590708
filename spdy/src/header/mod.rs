//! Header blocks: ordered name/value lists (SPDY/3.1 §2.6.10) and their compression.
//!
//! ```text
//! count:32  { name length:32 name  value length:32 value } x count
//! ```

mod zlib;

pub use zlib::{Deflater, Inflater};

use crate::config::Limits;
use crate::error::DecodeErrorKind;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// The preset dictionary of SPDY/3 and 3.1, 1423 bytes (public draft, appendix A of PROTOCOL.md).
pub const DICTIONARY: &[u8; 1423] = include_bytes!("dictionary.bin");

/// Names SPDY forbids; a real receiver ends the connection on them (PROTOCOL.md 1.3).
const FORBIDDEN: [&str; 4] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
];

/// An ordered list of names and values. Names are lower-case; several values of one name are
/// joined by a 0 byte.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderBlock {
    pairs: Vec<(Bytes, Bytes)>,
}

impl HeaderBlock {
    /// An empty block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a pair. The name is lower-cased (ASCII), since an upper-case letter ends the
    /// connection at a real peer. Pushing a name twice is the caller's to avoid: receivers differ
    /// on duplicates. No secret belongs here: header blocks may be compressed beside other data.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let name = Bytes::from(name.to_ascii_lowercase());
        self.pairs
            .push((name, Bytes::copy_from_slice(value.as_ref())));
    }

    /// The first value of `name`, which must be lower-case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.pairs.iter().find(|(n, _)| n == name.as_bytes())?;
        value.split(|b| *b == 0).next()
    }

    /// All values of `name`, those joined by 0 bytes taken apart.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.pairs
            .iter()
            .filter(move |(n, _)| n == name.as_bytes())
            .flat_map(|(_, v)| v.split(|b| *b == 0))
    }

    /// Names and values as they are on the wire.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Bytes of the uncompressed form.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.pairs.iter().fold(4usize, |sum, (n, v)| {
            sum.saturating_add(8)
                .saturating_add(n.len())
                .saturating_add(v.len())
        })
    }

    /// Appends the uncompressed form. `false`, and nothing appended, if a length does not fit 32
    /// bits.
    pub(crate) fn encode(&self, dst: &mut BytesMut) -> bool {
        let Ok(count) = u32::try_from(self.pairs.len()) else {
            return false;
        };
        if u32::try_from(self.encoded_len()).is_err() {
            return false;
        }
        dst.put_u32(count);
        for field in self.pairs.iter().flat_map(|(n, v)| [n, v]) {
            dst.put_u32(u32::try_from(field.len()).unwrap_or(u32::MAX));
            dst.put_slice(field);
        }
        true
    }

    /// Parses the uncompressed form. Names stay as they came, order too. Source of the rules:
    /// PROTOCOL.md 1.3.
    pub(crate) fn parse(mut src: Bytes, limits: &Limits) -> Result<Self, DecodeErrorKind> {
        let count = src
            .try_get_u32()
            .map_err(|_| DecodeErrorKind::HeaderTruncated)?;
        let limit = limits.header_pairs;
        if usize::try_from(count).map_or(true, |n| n > limit) {
            return Err(DecodeErrorKind::HeaderPairs { count, limit });
        }
        let mut pairs = Vec::new();
        for _ in 0..count {
            let name = field(&mut src, "name", limits.header_name)?;
            let value = field(&mut src, "value", limits.header_value)?;
            if name.iter().any(u8::is_ascii_uppercase) {
                return Err(DecodeErrorKind::HeaderUpperCase);
            }
            if let Some(name) = FORBIDDEN.iter().find(|f| f.as_bytes() == name) {
                return Err(DecodeErrorKind::HeaderForbidden(name));
            }
            pairs.push((name, value));
        }
        if src.has_remaining() {
            return Err(DecodeErrorKind::HeaderSurplus(src.remaining()));
        }
        Ok(Self { pairs })
    }

    /// Whether `host` is there, which is forbidden in SYN_STREAM only.
    pub(crate) fn has_host(&self) -> bool {
        self.pairs.iter().any(|(n, _)| n.as_ref() == b"host")
    }
}

fn field(src: &mut Bytes, field: &'static str, limit: usize) -> Result<Bytes, DecodeErrorKind> {
    let length = src
        .try_get_u32()
        .map_err(|_| DecodeErrorKind::HeaderTruncated)?;
    let n = usize::try_from(length).unwrap_or(usize::MAX);
    if n > limit {
        return Err(DecodeErrorKind::HeaderField {
            field,
            length,
            limit,
        });
    }
    if n > src.remaining() {
        return Err(DecodeErrorKind::HeaderTruncated);
    }
    Ok(src.split_to(n))
}

impl fmt::Debug for HeaderBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.pairs
                    .iter()
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
            let mut dst = BytesMut::new();
            (0..n)
                .map(|i| (format!("{i:0>name$}"), vec![b'v'; value]))
                .collect::<HeaderBlock>()
                .encode(&mut dst);
            HeaderBlock::parse(dst.freeze(), &limits)
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
    fn malformed_blocks() {
        let parse = |bytes: &'static [u8]| {
            HeaderBlock::parse(Bytes::from_static(bytes), &Limits::default()).unwrap_err()
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

    #[test]
    fn values_are_split_on_zero() {
        let mut block = HeaderBlock::new();
        block.push("Port", b"80\x0081");
        assert_eq!(block.get("port"), Some(b"80".as_slice()));
        assert_eq!(block.values("port").count(), 2);
        assert_eq!(block.get("other"), None);
    }
}
