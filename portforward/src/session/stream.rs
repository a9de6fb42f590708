//! The handle to one stream.

use super::queues::CHUNK_OVERHEAD;
use super::shared::{End, Request, Shared, StreamCell, StreamState};
use super::{CHUNK, CloseReason};
use bytes::Bytes;
use spdy::RstStatus;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read is reported to the driver in pieces of this many bytes, while more is waiting.
const CREDIT: usize = 16 << 10;

/// Why a stream ended other than by FIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFailure {
    /// The peer reset it.
    #[error("stream reset by the peer: {0}")]
    Reset(RstStatus),
    /// This side reset it.
    #[error("stream reset by this side: {0}")]
    ResetLocally(RstStatus),
    /// It was not read for too long and would have stopped the other streams of its connection.
    #[error("stream reset: not read for too long, {0} bytes were waiting")]
    Stalled(usize),
    /// The peer takes no bytes on it.
    #[error("stream cannot be written to: the peer opened it one-way")]
    NotWritable,
    /// This side has ended its direction, which a channel cannot say, and the peer has sent nothing
    /// for this many seconds.
    #[error(
        "the protocol has no half-close, and the pod sent nothing for {0} s after this side had ended"
    )]
    NoHalfClose(u64),
    /// It could not be opened.
    #[error("stream not opened: {0}")]
    NotOpened(spdy::OpenError),
    /// Its session is over.
    #[error("session lost: {0}")]
    SessionLost(CloseReason),
}

impl From<StreamFailure> for io::Error {
    fn from(failure: StreamFailure) -> Self {
        let kind = match &failure {
            StreamFailure::Reset(_) => io::ErrorKind::ConnectionReset,
            StreamFailure::NotOpened(_) => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, failure)
    }
}

/// The failure inside an error of a [`Stream`].
#[must_use]
pub fn stream_failure(error: &io::Error) -> Option<&StreamFailure> {
    error.get_ref()?.downcast_ref()
}

/// One stream of a session.
///
/// End of file means the peer's FIN, nothing else: a reset and a lost session are errors, after
/// all that arrived before them has been read. [`AsyncWrite::poll_shutdown`] sends FIN and leaves
/// the other direction open. Dropping a stream of which not both directions have ended resets it.
#[derive(Debug)]
pub struct Stream {
    pub(super) cell: Arc<StreamCell>,
    pub(super) shared: Arc<Shared>,
}

impl Stream {
    pub(super) fn new(cell: Arc<StreamCell>, shared: Arc<Shared>) -> Self {
        Self { cell, shared }
    }

    pub(super) fn request(&self, request: Request) {
        {
            let mut state = self.cell.lock();
            match request {
                Request::Reply => state.reply = true,
                Request::Reset(status) => state.reset = Some(status),
                Request::Attend => {}
            }
        }
        self.shared.enqueue(&self.cell);
    }

    /// Waits for the peer's SYN_REPLY, on a stream that this side opened.
    ///
    /// # Errors
    /// The peer reset the stream instead, or the session is over.
    ///
    /// # Cancel safety
    /// Nothing is lost when this future is dropped.
    pub async fn replied(&mut self) -> Result<(), StreamFailure> {
        poll_fn(|cx| self.poll_replied(cx)).await
    }

    /// See [`Stream::replied`].
    pub fn poll_replied(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        let mut state = self.cell.lock();
        if state.replied {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = &state.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        set(&mut state.opener, cx);
        Poll::Pending
    }

    /// Ready when the stream is over in both directions other than by FIN, whatever of it was
    /// read or written: for those who wait for something else meanwhile.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<StreamFailure> {
        let mut state = self.cell.lock();
        if let Some(failure) = &state.failure {
            return Poll::Ready(failure.clone());
        }
        set(&mut state.watcher, cx);
        Poll::Pending
    }

    /// The next bytes as they came, without a copy; `None` at the peer's FIN.
    ///
    /// # Errors
    /// A [`StreamFailure`]; see [`stream_failure`].
    ///
    /// # Cancel safety
    /// Takes something only when it returns it.
    pub fn poll_read_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let chunk = std::task::ready!(self.poll_take(cx))?;
        if let Some(chunk) = &chunk {
            self.release(chunk.len());
        }
        Poll::Ready(Ok(chunk))
    }

    /// As [`Stream::poll_read_chunk`], but the chunk goes on counting as unread until it is given
    /// to [`Stream::release`]: taking it from one queue into the next makes no room.
    pub(crate) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut state = self.cell.lock();
        if let Some(chunk) = state.received.pop_front() {
            return Poll::Ready(Ok(Some(chunk)));
        }
        match &state.end {
            Some(End::Fin) => Poll::Ready(Ok(None)),
            Some(End::Failed(failure)) => Poll::Ready(Err(failure.clone().into())),
            None => {
                set(&mut state.reader, cx);
                Poll::Pending
            }
        }
    }

    /// What to read at a time for [`Stream::poll_write_chunk`] where there is much: a frame, but not while much of the
    /// session waits, since each stream may have a chunk more than there is room for.
    pub(crate) fn chunk(&self) -> usize {
        let waiting = self.shared.sending_bytes.load(Ordering::Relaxed);
        if waiting < self.shared.session_send / 2 {
            self.shared.chunk
        } else {
            self.shared.chunk.min(CHUNK)
        }
    }

    /// The peer's FIN has come, though what is before it may be unread.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.cell.lock().end, Some(End::Fin))
    }

    /// Charged bytes that wait to be read, or have been taken and not been dealt with.
    #[cfg(any(test, feature = "node"))]
    pub(crate) fn held(&self) -> usize {
        self.cell.lock().received_bytes
    }

    /// Something of a taken chunk has been dealt with.
    pub(crate) fn progressed(&mut self) {
        self.cell.lock().progressed = true;
    }

    /// A taken chunk of `len` bytes has been dealt with.
    pub(crate) fn release(&mut self, len: usize) {
        let attend = {
            let mut state = self.cell.lock();
            // Less when the driver gave the stream up meanwhile and counted it down itself.
            let charge = len.saturating_add(CHUNK_OVERHEAD).min(state.received_bytes);
            state.received_bytes = state.received_bytes.saturating_sub(charge);
            state.progressed = true;
            self.shared.uncharge_received(charge);
            consume(&mut state, &self.shared, len) || state.pausing
        };
        if attend {
            self.shared.enqueue(&self.cell);
        }
    }

    /// Queues all of `chunk` for sending, and leaves it empty, once there is room.
    ///
    /// # Errors
    /// FIN was sent, the stream was reset, or the session is over: `chunk` is untouched.
    ///
    /// # Cancel safety
    /// Takes `chunk` only when it returns ready.
    pub fn poll_write_chunk(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        {
            let mut state = self.cell.lock();
            if let Some(failure) = state.failure.as_ref().or(state.write_over.as_ref()) {
                return Poll::Ready(Err(failure.clone().into()));
            }
            if state.fin {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if chunk.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let full = state.sending_bytes >= self.shared.stream_send
                || (state.sending_bytes > 0
                    && self.shared.sending_bytes.load(Ordering::Relaxed)
                        >= self.shared.session_send);
            if full {
                set(&mut state.writer, cx);
                return Poll::Pending;
            }
            state.queue(std::mem::take(chunk), &self.shared);
        }
        self.request(Request::Attend);
        Poll::Ready(Ok(()))
    }

    /// Resets the stream: both directions end at once, for the peer too. What was queued for
    /// sending and not handed to the protocol is dropped.
    pub fn reset(&mut self, status: RstStatus) {
        self.request(Request::Reset(status));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let discarded = {
            let mut state = self.cell.lock();
            state.reader_gone = true;
            // What was not read no longer counts: the rest of the session goes on.
            let charge = std::mem::take(&mut state.received_bytes);
            let chunks = std::mem::take(&mut state.received);
            let unread: usize = chunks.iter().map(Bytes::len).sum();
            state.consumed = state.consumed.saturating_add(unread);
            if !(state.fin && state.end.is_some()) && state.reset.is_none() {
                state.reset = Some(RstStatus::CANCEL);
            }
            self.shared.uncharge_received(charge);
            chunks
        };
        drop(discarded);
        self.shared.enqueue(&self.cell);
    }
}

/// Payload was read. Whether the driver should hear of it: as soon as it is worth credit, or all.
fn consume(state: &mut StreamState, shared: &Shared, n: usize) -> bool {
    if !shared.windows.load(Ordering::Relaxed) {
        return false;
    }
    state.consumed = state.consumed.saturating_add(n);
    state.consumed >= CREDIT || state.received.is_empty()
}

fn set(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(mut chunk) = std::task::ready!(self.poll_take(cx))? else {
            return Poll::Ready(Ok(()));
        };
        let n = chunk.len().min(buf.remaining());
        buf.put_slice(&chunk.split_to(n));
        if chunk.is_empty() {
            self.release(n);
        } else {
            let mut state = self.cell.lock();
            state.progressed = true;
            let charge = n.min(state.received_bytes);
            state.received_bytes = state.received_bytes.saturating_sub(charge);
            self.shared.uncharge_received(charge);
            state.received.push_front(chunk);
            if consume(&mut state, &self.shared, n) {
                drop(state);
                self.shared.enqueue(&self.cell);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = buf.len().min(self.shared.stream_send).min(CHUNK);
        let mut chunk = Bytes::copy_from_slice(buf.get(..n).unwrap_or_default());
        std::task::ready!(self.poll_write_chunk(cx, &mut chunk))?;
        Poll::Ready(Ok(n))
    }

    /// Ready when all that was written has been handed to the protocol. A reset does not overtake that, but with flow
    /// control it discards what still waits for credit of the stream, `spdy.limits.stream_send` at most.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.cell.lock();
        if let Some(failure) = state.failure.as_ref().or(state.write_over.as_ref()) {
            return Poll::Ready(Err(failure.clone().into()));
        }
        if state.sending_bytes == 0 {
            return Poll::Ready(Ok(()));
        }
        set(&mut state.writer, cx);
        Poll::Pending
    }

    /// Queues FIN behind what was written.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let failure = {
            let mut state = self.cell.lock();
            state.fin = true;
            state.failure.clone()
        };
        if let Some(failure) = failure {
            return Poll::Ready(Err(failure.into()));
        }
        self.request(Request::Attend);
        Poll::Ready(Ok(()))
    }
}
