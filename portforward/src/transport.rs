//! One write and one read of a transport, as all drivers do them.

use bytes::{Buf, BytesMut};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// Bytes read at a time.
const READ: usize = 64 << 10;
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

/// Reads once, behind what is in `input`: how much came, 0 at the end. TLS that ends without its
/// close_notify is as much of an end as one of TCP: what the protocol inside says of it counts.
pub(crate) fn poll_read_once<T: AsyncRead + Unpin>(
    io: &mut T,
    input: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if input.capacity().saturating_sub(input.len()) < READ / 4 {
        input.reserve(READ);
    }
    match ready!(pin!(io.read_buf(input)).poll(cx)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
        read => Poll::Ready(read),
    }
}
