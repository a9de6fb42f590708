//! Answers with a small body, in the forms real gateways and kubelets give them.

use crate::http1::{EncodeError, Fields, ResponseHead, date};
#[cfg(feature = "gateway")]
use crate::status::Status;
use bytes::{Bytes, BytesMut};
use std::io;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Time for a peer to take an answer.
pub(crate) const WRITE_TIME: Duration = Duration::from_secs(10);

/// A head and its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    head: ResponseHead,
    body: Bytes,
}

impl Answer {
    /// Any body.
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut fields = Fields::new();
        fields.push_number("Content-Length", body.len());
        fields.push_static("Content-Type", content_type);
        push_date(&mut fields);
        Self {
            head: ResponseHead::new(status, fields),
            body,
        }
    }

    /// A Status object: how a gateway refuses.
    #[cfg(feature = "gateway")]
    pub(crate) fn status(status: &Status) -> Self {
        Self::json(status.code, status.to_json())
    }

    /// A JSON object.
    #[cfg(feature = "gateway")]
    pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", body)
    }

    /// Bare text, no newline behind it: how a kubelet refuses.
    pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// Text with a newline, not to be taken for anything else: how a runtime and a proxy refuse.
    pub(crate) fn error(status: u16, text: &str) -> Self {
        let mut answer = Self::text(status, format!("{text}\n"));
        answer
            .head
            .fields
            .push_static("X-Content-Type-Options", "nosniff");
        answer
    }

    /// An answer whose head came from elsewhere; its length is set anew.
    #[cfg(feature = "gateway")]
    pub(crate) fn relayed(status: u16, mut fields: Fields, body: Bytes) -> Self {
        fields.remove("content-length");
        fields.push_number("Content-Length", body.len());
        fields.canonicalise();
        Self {
            head: ResponseHead::new(status, fields),
            body,
        }
    }

    /// The HTTP status.
    pub(crate) const fn code(&self) -> u16 {
        self.head.status
    }

    /// For a protocol with heads of its own.
    #[cfg(feature = "gateway")]
    pub(crate) fn into_parts(self) -> (ResponseHead, Bytes) {
        (self.head, self.body)
    }

    /// The same with one field more, a constant.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.head.fields.push_static(name, value);
        self
    }

    /// Writes it. With `close`, says that nothing follows.
    pub(crate) async fn write<T: AsyncWrite + Unpin>(
        mut self,
        io: &mut T,
        close: bool,
    ) -> io::Result<()> {
        if close {
            self.head.fields.push_static("Connection", "close");
        }
        self.head.fields.canonicalise();
        let head = self.head.encode().map_err(invalid)?;
        let mut bytes = BytesMut::with_capacity(head.len().saturating_add(self.body.len()));
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&self.body);
        write(io, &bytes).await
    }
}

/// Writes and flushes within [`WRITE_TIME`].
pub(crate) async fn write<T: AsyncWrite + Unpin>(io: &mut T, bytes: &[u8]) -> io::Result<()> {
    timeout(WRITE_TIME, async {
        io.write_all(bytes).await?;
        io.flush().await
    })
    .await
    .unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes no answer",
        ))
    })
}

/// How long a closed connection is read on, so that the last answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Ends a connection in good order: says so, then reads for a moment what is still on its way, so
/// that the kernel does not answer it with a reset that overtakes the last answer.
pub(crate) async fn finish<T: AsyncRead + AsyncWrite + Unpin>(io: &mut T) {
    let goodbye = async {
        io.shutdown().await?;
        let mut rest = [0u8; 1024];
        while io.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // It is over either way.
    drop(timeout(LINGER, goodbye).await);
}

/// A head that cannot be written is a fault of ours or of a relayed one; never sent.
pub(crate) fn invalid(error: EncodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

pub(crate) fn push_date(fields: &mut Fields) {
    // Digits, letters, spaces, a comma: a field value.
    if let Err(error) = fields.push("Date", date::http(SystemTime::now())) {
        debug_assert!(false, "{error}");
    }
}
