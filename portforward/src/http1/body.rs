//! Small bodies: what stands behind a refusal. Bounded in bytes and time (B22).

use bytes::{Buf, Bytes, BytesMut};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the connection ends.
    UntilClose,
}

/// What a body may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyLimits {
    /// Bytes that are kept.
    pub bytes: usize,
    /// Time for all of it.
    pub time: Duration,
}

impl BodyLimits {
    /// A body of so many bytes in so much time.
    #[must_use]
    pub const fn new(bytes: usize, time: Duration) -> Self {
        Self { bytes, time }
    }
}

impl Default for BodyLimits {
    /// B22: 64 KiB, 10 s.
    fn default() -> Self {
        Self::new(64 * 1024, Duration::from_secs(10))
    }
}

/// A body as far as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Body {
    /// Its bytes.
    pub bytes: Bytes,
    /// How it ended. Unless complete, the connection cannot be used further.
    pub end: BodyEnd,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyEnd {
    /// As its framing says.
    Complete,
    /// It is longer than the limit; the rest was not read.
    TooLong,
    /// It was not complete in time.
    Timeout,
    /// The connection ended or failed in front of its end.
    Cut,
    /// The chunks make no sense.
    Malformed,
}

/// Reads a body; bytes in `buf` come first, and bytes behind the body stay in `buf`.
///
/// Never fails: what there is of a refusal's text is worth more than the reason why the rest is
/// missing.
///
/// # Cancel safety
/// Not cancel safe: a dropped call loses what it had read.
pub async fn read_body<T: AsyncRead + Unpin>(
    io: &mut T,
    buf: &mut BytesMut,
    framing: Framing,
    limits: &BodyLimits,
) -> Body {
    let mut out = BytesMut::new();
    let end = timeout(limits.time, fill(io, buf, framing, limits.bytes, &mut out))
        .await
        .unwrap_or(BodyEnd::Timeout);
    Body {
        bytes: out.freeze(),
        end,
    }
}

async fn fill<T: AsyncRead + Unpin>(
    io: &mut T,
    buf: &mut BytesMut,
    framing: Framing,
    limit: usize,
    out: &mut BytesMut,
) -> BodyEnd {
    let mut decoder = match framing {
        Framing::Length(n) => Decoder::Length(n),
        Framing::UntilClose => Decoder::UntilClose,
        Framing::Chunked => Decoder::Chunked(Chunk::Size, TRAILER_LIMIT),
    };
    loop {
        match decoder.decode(buf, limit, out) {
            Step::Done(end) => return end,
            Step::More => {}
        }
        if buf.capacity() == buf.len() {
            buf.reserve(2048);
        }
        match io.read_buf(buf).await {
            Ok(0) if framing == Framing::UntilClose => return BodyEnd::Complete,
            Ok(0) | Err(_) => return BodyEnd::Cut,
            Ok(_) => {}
        }
    }
}

/// Longest line of a chunk size with its extensions.
const SIZE_LINE_LIMIT: usize = 256;
/// Bytes of trailer fields, which nobody reads.
const TRAILER_LIMIT: usize = 4096;

enum Step {
    More,
    Done(BodyEnd),
}

enum Decoder {
    /// Bytes left.
    Length(u64),
    UntilClose,
    /// Where in a chunk, and the bytes of trailer still allowed.
    Chunked(Chunk, usize),
}

#[derive(Clone, Copy)]
enum Chunk {
    /// In front of a size line.
    Size,
    /// Inside data, so many bytes left.
    Data(u64),
    /// In front of the CR LF behind data.
    DataEnd,
    /// Behind the last chunk.
    Trailer,
}

impl Decoder {
    fn decode(&mut self, buf: &mut BytesMut, limit: usize, out: &mut BytesMut) -> Step {
        match self {
            Self::UntilClose => {
                let mut all = u64::MAX;
                if take(buf, &mut all, limit, out) {
                    Step::More
                } else {
                    Step::Done(BodyEnd::TooLong)
                }
            }
            Self::Length(left) => match (take(buf, left, limit, out), *left) {
                (false, _) => Step::Done(BodyEnd::TooLong),
                (true, 0) => Step::Done(BodyEnd::Complete),
                (true, _) => Step::More,
            },
            Self::Chunked(chunk, trailer) => decode_chunks(chunk, trailer, buf, limit, out),
        }
    }
}

/// Moves up to `left` bytes from `buf` to `out`; false when `out` is full and more was there.
fn take(buf: &mut BytesMut, left: &mut u64, limit: usize, out: &mut BytesMut) -> bool {
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
    let n = here.min(limit.saturating_sub(out.len()));
    out.extend_from_slice(&buf.split_to(n));
    *left = left.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
    n == here
}

fn decode_chunks(
    chunk: &mut Chunk,
    trailer: &mut usize,
    buf: &mut BytesMut,
    limit: usize,
    out: &mut BytesMut,
) -> Step {
    loop {
        match chunk {
            Chunk::Size => match cut_line(buf, SIZE_LINE_LIMIT) {
                Ok(None) => return Step::More,
                Ok(Some(line)) => match parse_size(&line) {
                    Some(0) => *chunk = Chunk::Trailer,
                    Some(n) => *chunk = Chunk::Data(n),
                    None => return Step::Done(BodyEnd::Malformed),
                },
                Err(()) => return Step::Done(BodyEnd::Malformed),
            },
            Chunk::Data(left) => {
                if !take(buf, left, limit, out) {
                    return Step::Done(BodyEnd::TooLong);
                }
                if *left > 0 {
                    return Step::More;
                }
                *chunk = Chunk::DataEnd;
            }
            Chunk::DataEnd => match buf.get(..2) {
                None => return Step::More,
                Some(b"\r\n") => {
                    buf.advance(2);
                    *chunk = Chunk::Size;
                }
                Some(_) => return Step::Done(BodyEnd::Malformed),
            },
            Chunk::Trailer => match cut_line(buf, *trailer) {
                Ok(None) => return Step::More,
                Ok(Some(line)) if line.is_empty() => return Step::Done(BodyEnd::Complete),
                Ok(Some(line)) => *trailer = trailer.saturating_sub(line.len()).saturating_sub(2),
                Err(()) => return Step::Done(BodyEnd::Malformed),
            },
        }
    }
}

/// Cuts a line that ends with CR LF; an error when it is longer than `limit` or ends otherwise.
fn cut_line(buf: &mut BytesMut, limit: usize) -> Result<Option<BytesMut>, ()> {
    match buf
        .iter()
        .take(limit.saturating_add(2))
        .position(|b| *b == b'\n')
    {
        Some(lf) => {
            let mut line = buf.split_to(lf.saturating_add(1));
            let content = line.strip_suffix(b"\r\n").map(<[u8]>::len).ok_or(())?;
            line.truncate(content);
            Ok(Some(line))
        }
        None if buf.len() > limit => Err(()),
        None => Ok(None),
    }
}

/// `HEX [; extension]`, at most 16 digits.
fn parse_size(line: &[u8]) -> Option<u64> {
    let digits = line
        .split(|b| *b == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    let text = std::str::from_utf8(digits).ok()?;
    let valid = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::BodyEnd::{Complete, Cut, Malformed, TooLong};
    use super::*;

    /// Input, framing; body, its end, what stays behind it.
    type Row = (
        &'static [u8],
        Framing,
        &'static [u8],
        BodyEnd,
        &'static [u8],
    );

    /// Feeds `input` in pieces of every small size; all must agree.
    async fn read_all(input: &[u8], framing: Framing, limit: usize) -> (Body, Vec<u8>) {
        let mut first: Option<(Body, Vec<u8>)> = None;
        for piece in [1, 2, 3, 7, input.len().max(1)] {
            let mut io = tokio_test_io(input, piece);
            let mut buf = BytesMut::new();
            let body = read_body(
                &mut io,
                &mut buf,
                framing,
                &BodyLimits::new(limit, Duration::from_secs(1)),
            )
            .await;
            let mut rest = buf.to_vec();
            if body.end == Complete && framing != Framing::UntilClose {
                io.read_to_end(&mut rest).await.unwrap();
            } else {
                rest.clear();
            }
            match &first {
                None => first = Some((body, rest)),
                Some((b, r)) => assert_eq!((b, r), (&body, &rest), "pieces of {piece}"),
            }
        }
        first.unwrap()
    }

    fn tokio_test_io(input: &[u8], piece: usize) -> impl AsyncRead + Unpin + use<> {
        let input = input.to_vec();
        let (mut tx, rx) = tokio::io::duplex(piece);
        tokio::spawn(async move {
            let _gone = tokio::io::AsyncWriteExt::write_all(&mut tx, &input).await;
        });
        rx
    }

    #[tokio::test]
    async fn framings() {
        // At most 8 bytes are kept.
        let table: &[Row] = &[
            (
                b"hello, world",
                Framing::Length(5),
                b"hello",
                Complete,
                b", world",
            ),
            (b"hello", Framing::Length(0), b"", Complete, b"hello"),
            (b"hello", Framing::Length(6), b"hello", Cut, b""),
            (b"hello", Framing::UntilClose, b"hello", Complete, b""),
            (
                b"0123456789",
                Framing::Length(8),
                b"01234567",
                Complete,
                b"89",
            ),
            (b"0123456789", Framing::Length(9), b"01234567", TooLong, b""),
            (
                b"0123456789",
                Framing::UntilClose,
                b"01234567",
                TooLong,
                b"",
            ),
            (b"01234567", Framing::UntilClose, b"01234567", Complete, b""),
            (
                b"3\r\nabc\r\n0\r\n\r\nrest",
                Framing::Chunked,
                b"abc",
                Complete,
                b"rest",
            ),
            (
                b"3;x=y\r\nabc\r\n2 \r\nde\r\n000\r\nT: x\r\n\r\n",
                Framing::Chunked,
                b"abcde",
                Complete,
                b"",
            ),
            (
                b"9\r\n012345678\r\n0\r\n\r\n",
                Framing::Chunked,
                b"01234567",
                TooLong,
                b"",
            ),
            (b"3\r\nab", Framing::Chunked, b"ab", Cut, b""),
            (b"3\r\nabcX\r\n", Framing::Chunked, b"abc", Malformed, b""),
            (b"3\nabc\r\n", Framing::Chunked, b"", Malformed, b""),
            (b"-1\r\nabc\r\n", Framing::Chunked, b"", Malformed, b""),
            (b"0x3\r\nabc\r\n", Framing::Chunked, b"", Malformed, b""),
            (b"\r\nabc\r\n", Framing::Chunked, b"", Malformed, b""),
            (
                b"11111111111111111\r\nabc\r\n",
                Framing::Chunked,
                b"",
                Malformed,
                b"",
            ),
            (
                b"ffffffffffffffff\r\nabc",
                Framing::Chunked,
                b"abc",
                Cut,
                b"",
            ),
        ];
        for (input, framing, bytes, end, rest) in table {
            let (body, left) = read_all(input, *framing, 8).await;
            let label = String::from_utf8_lossy(input);
            assert_eq!((&body.bytes[..], body.end), (*bytes, *end), "{label}");
            assert_eq!(left, *rest, "{label}");
        }
    }

    #[tokio::test]
    async fn long_lines_end_it() {
        let mut long = vec![b'1'; 1];
        long.extend_from_slice(&[b';'; 400]);
        assert_eq!(read_all(&long, Framing::Chunked, 64).await.0.end, Malformed);
        let mut trailers = b"0\r\n".to_vec();
        trailers.extend(b"X: y\r\n".repeat(1000));
        assert_eq!(
            read_all(&trailers, Framing::Chunked, 64).await.0.end,
            Malformed
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_ends_in_time() {
        let (mut tx, mut rx) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut tx, b"half")
            .await
            .unwrap();
        let start = tokio::time::Instant::now();
        let mut buf = BytesMut::new();
        let body = read_body(
            &mut rx,
            &mut buf,
            Framing::Length(8),
            &BodyLimits::default(),
        )
        .await;
        assert_eq!(
            (&body.bytes[..], body.end),
            (&b"half"[..], BodyEnd::Timeout)
        );
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}
