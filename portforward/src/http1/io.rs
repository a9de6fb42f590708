//! One head from a socket, by a deadline.

use super::HeadLimits;
use super::error::{HeadError, HeadErrorKind, ReadError};
use super::head::{RequestHead, ResponseHead};
use super::scan::{Role, Scanner};
use bytes::BytesMut;
use std::io::ErrorKind;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

/// Bytes asked of the socket at a time; a head is rarely longer.
const READ: usize = 2048;

/// Reads the head of a request. Bytes behind it stay in `buf`, and bytes in `buf` come first.
///
/// # Errors
/// [`ReadError::Closed`] when the connection ends before the first byte; everything else means
/// that the connection cannot be used further.
///
/// # Cancel safety
/// Nothing is lost: what was read is in `buf`, and the next call goes on with it.
pub async fn read_request_head<T: AsyncRead + Unpin>(
    io: &mut T,
    buf: &mut BytesMut,
    limits: &HeadLimits,
    deadline: Instant,
) -> Result<RequestHead, ReadError> {
    let mut scanner = Scanner::new(Role::Request, *limits);
    read(io, buf, deadline, |buf| RequestHead::cut(&mut scanner, buf)).await
}

/// Reads the head of a response. Bytes behind it stay in `buf`, and bytes in `buf` come first.
///
/// # Errors
/// As [`read_request_head`].
///
/// # Cancel safety
/// As [`read_request_head`].
pub async fn read_response_head<T: AsyncRead + Unpin>(
    io: &mut T,
    buf: &mut BytesMut,
    limits: &HeadLimits,
    deadline: Instant,
) -> Result<ResponseHead, ReadError> {
    let mut scanner = Scanner::new(Role::Response, *limits);
    read(io, buf, deadline, |buf| {
        ResponseHead::cut(&mut scanner, buf)
    })
    .await
}

async fn read<T: AsyncRead + Unpin, H>(
    io: &mut T,
    buf: &mut BytesMut,
    deadline: Instant,
    mut cut: impl FnMut(&mut BytesMut) -> Result<Option<H>, HeadError>,
) -> Result<H, ReadError> {
    loop {
        if !buf.is_empty()
            && let Some(head) = cut(buf)?
        {
            return Ok(head);
        }
        // Spare room first: growing by less than this would copy the buffer for every small read.
        if buf.capacity() == buf.len() {
            buf.reserve(READ);
        }
        let read = match timeout_at(deadline, io.read_buf(buf)).await {
            // TLS without its close_notify.
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => Ok(Ok(0)),
            read => read,
        };
        match read {
            Err(_) => return Err(ReadError::Timeout),
            Ok(Ok(0)) if buf.is_empty() => return Err(ReadError::Closed),
            Ok(Ok(0)) => return Err(HeadError::new(HeadErrorKind::Truncated, buf.len()).into()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.into()),
        }
    }
}
