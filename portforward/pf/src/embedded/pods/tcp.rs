//! The services that are a few reads and writes.

use std::{io, str, time::Duration};

use super::counts::Counts;
use ring::digest;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{
        AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, Interest, copy,
        sink as void,
    },
    net::TcpStream,
};

/// How much is sent or hashed at a time; a multiple of 256 and of a word.
const CHUNK: usize = 64 << 10;

/// What `source` sends.
const SOURCE_LENGTH: u64 = 1 << 30;

/// What `early` sends.
const EARLY_LENGTH: u64 = 64 << 10;

/// The longest that `late` lets wait.
const LATE_MAX: Duration = Duration::from_secs(60);

/// The longest first line `late` takes; any number of milliseconds it heeds is shorter.
const LATE_LINE: u64 = 20;

/// How soon `neverreads` notices that its peer has vanished.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Sends back what it receives, and closes once the client has closed.
pub(super) async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

/// Reads everything and never answers.
pub(super) async fn sink(mut stream: TcpStream, counts: &Counts) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(CHUNK);
    while stream.read_buf(&mut buffer).await? > 0 {
        counts.sunk(buffer.len());
        buffer.clear();
    }
    Ok(())
}

/// Sends [`SOURCE_LENGTH`] bytes, byte `i` being the lowest of `i`, and closes.
pub(super) async fn source(mut stream: TcpStream) -> io::Result<()> {
    let chunk: Vec<u8> = (0..=u8::MAX).cycle().take(CHUNK).collect();
    let mut left = SOURCE_LENGTH;
    while left > 0 {
        let part = upto(&chunk, left);
        stream.write_all(part).await?;
        left = left.saturating_sub(part.len() as u64);
    }
    stream.shutdown().await
}

/// Makes the close that follows a reset.
pub(super) fn reset(stream: &TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

/// Sends a line, closes its sending side, keeps receiving.
pub(super) async fn half_close(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"banner\n").await?;
    stream.shutdown().await?;
    drain(&mut stream).await
}

/// Reads a length and as many bytes, answers with their SHA-256 and closes.
pub(super) async fn hash(mut stream: TcpStream) -> io::Result<()> {
    let mut left = length(&mut stream).await?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = Vec::with_capacity(CHUNK);
    while left > 0 {
        buffer.clear();
        let n = (&mut stream).take(left).read_buf(&mut buffer).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        context.update(&buffer);
        left = left.saturating_sub(n as u64);
    }
    let line = super::hex(context.finish().as_ref()) + "\n";
    stream.write_all(line.as_bytes()).await?;
    stream.shutdown().await
}

/// Reads a length N, sends as many bytes of the sequence N, and closes once the
/// client has closed.
pub(super) async fn random(mut stream: TcpStream) -> io::Result<()> {
    let n = length(&mut stream).await?;
    send_sequence(&mut stream, n).await?;
    drain(&mut stream).await
}

/// Reads one line and at once answers with a sequence, without waiting for the rest.
pub(super) async fn early(mut stream: TcpStream) -> io::Result<()> {
    let mut line = [0; 3];
    stream.read_exact(&mut line).await?;
    if line != *b"go\n" {
        return Err(io::ErrorKind::InvalidData.into());
    }
    send_sequence(&mut stream, EARLY_LENGTH).await?;
    drain(&mut stream).await
}

/// Reads a line with a number of milliseconds and all that follows, waits as long,
/// and only then answers.
pub(super) async fn late(stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    (&mut reader)
        .take(LATE_LINE)
        .read_until(b'\n', &mut line)
        .await?;
    let wait = line
        .strip_suffix(b"\n")
        .and_then(|digits| str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .map(Duration::from_millis)
        .ok_or(io::ErrorKind::InvalidData)?;
    drain(&mut reader).await?;
    tokio::time::sleep(wait.min(LATE_MAX)).await;
    let mut stream = reader.into_inner();
    stream.write_all(b"late\n").await?;
    stream.shutdown().await
}

/// Reads nothing for as long as the connection lives. Its end comes unread too: as
/// an error, which keepalive makes sure of should the peer have closed and gone.
pub(super) async fn never_reads(stream: TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    stream.ready(Interest::ERROR).await.map(drop)
}

/// What `hash` and `random` begin with. Lengths of more than 63 bits are refused,
/// as by the test image, which counts in signed integers.
async fn length(stream: &mut TcpStream) -> io::Result<u64> {
    let n = stream.read_u64().await?;
    if i64::try_from(n).is_err() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(n)
}

async fn drain(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    copy(reader, &mut void()).await.map(drop)
}

/// Sends the first `n` bytes of the sequence that has the seed `n`.
async fn send_sequence(stream: &mut TcpStream, n: u64) -> io::Result<()> {
    let mut sequence = Sequence::new(n);
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut left = n;
    while left > 0 {
        chunk.clear();
        let words = left.div_ceil(8).min(CHUNK as u64 / 8);
        (0..words).for_each(|_| chunk.extend_from_slice(&sequence.word()));
        let part = upto(&chunk, left);
        stream.write_all(part).await?;
        left = left.saturating_sub(part.len() as u64);
    }
    Ok(())
}

/// The chunk, or as much of it as is left to send.
fn upto(chunk: &[u8], left: u64) -> &[u8] {
    usize::try_from(left)
        .ok()
        .and_then(|left| chunk.get(..left))
        .unwrap_or(chunk)
}

/// Bytes that their seed determines (xorshift64*), so that a receiver can check
/// what it got without having sent it.
struct Sequence(u64);

impl Sequence {
    fn new(seed: u64) -> Self {
        Self(seed.max(1)) // of 0 would come nothing but zeros
    }

    fn word(&mut self) -> [u8; 8] {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()
    }
}
