//! One write and one read of a transport, as all drivers do them.

use bytes::{Buf, BytesMut};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// Bytes of the first read,
const SMALL: usize = 1 << 10;
/// of one where reads are full.
const LARGE: usize = 64 << 10;
/// Pieces per vectored write.
const SLICES: usize = 64;

/// Writes once from `buf`, which has something, and advances it by what was taken.
pub(crate) fn poll_write_once<T: AsyncWrite + Unpin>(
    io: &mut T,
    buf: &mut impl Buf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let io = Pin::new(io);
    let n = if io.is_write_vectored() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = buf.chunks_vectored(&mut slices);
        io.poll_write_vectored(cx, slices.get(..filled).unwrap_or_default())
    } else {
        io.poll_write(cx, buf.chunk())
    };
    match ready!(n)? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        n => {
            buf.advance(n);
            Poll::Ready(Ok(()))
        }
    }
}

/// How much is read at a time: a busy transport costs few system calls, one that says little a small
/// buffer.
#[derive(Debug)]
pub(crate) struct ReadSize(usize);

impl ReadSize {
    pub(crate) const fn new() -> Self {
        Self(SMALL)
    }

    /// Room for a read behind what is in `buf`.
    fn reserve(&self, buf: &mut BytesMut) {
        if buf.is_empty() && buf.capacity() > self.0.saturating_mul(2) {
            *buf = BytesMut::with_capacity(self.0);
        } else if buf.capacity().saturating_sub(buf.len()) < self.0 / 4 {
            buf.reserve(self.0);
        }
    }

    /// `n` bytes came, into as many as there was `room` for.
    fn came(&mut self, n: usize, room: usize) {
        if n >= room {
            self.0 = self.0.saturating_mul(4).min(LARGE);
        } else if n < self.0 / 4 {
            self.0 = (self.0 / 2).max(SMALL);
        }
    }
}

/// Reads once, behind what is in `input`: how much came, 0 at the end.
pub(crate) fn poll_read_strict<T: AsyncRead + Unpin>(
    io: &mut T,
    input: &mut BytesMut,
    size: &mut ReadSize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    size.reserve(input);
    let room = input.capacity().saturating_sub(input.len());
    let read = pin!(io.read_buf(input)).poll(cx);
    if let Poll::Ready(Ok(n)) = read {
        size.came(n, room);
    }
    read
}

/// The same, where TLS that ends without its close_notify is as much of an end as one of TCP: what the
/// protocol inside says of it counts.
pub(crate) fn poll_read_once<T: AsyncRead + Unpin>(
    io: &mut T,
    input: &mut BytesMut,
    size: &mut ReadSize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    match ready!(poll_read_strict(io, input, size, cx)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
        read => Poll::Ready(read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt as _;

    async fn read(
        io: &mut (impl AsyncRead + Unpin),
        input: &mut BytesMut,
        size: &mut ReadSize,
    ) -> usize {
        poll_fn(|cx| poll_read_once(io, input, size, cx))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn reads_grow_while_they_are_full_and_shrink_when_little_comes() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let (mut input, mut size) = (BytesMut::new(), ReadSize::new());
        far.write_all(&vec![7; 200 << 10]).await.unwrap();
        let mut sizes = Vec::new();
        for _ in 0..5 {
            sizes.push(read(&mut near, &mut input, &mut size).await >> 10);
            input = BytesMut::new();
        }
        assert_eq!(sizes, [1, 4, 16, 64, 64]);
        while read(&mut near, &mut input, &mut size).await == LARGE {
            input = BytesMut::new();
        }
        for _ in 0..10 {
            far.write_all(b"x").await.unwrap();
            input.clear();
            assert_eq!(read(&mut near, &mut input, &mut size).await, 1);
        }
        assert!(input.capacity() <= 2 * SMALL, "{}", input.capacity());
    }
}
