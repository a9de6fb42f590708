//! WebSockets over a socket: what [`wsstream`] leaves to its user.

use crate::transport::{ReadSize, poll_read_once, poll_write_once};
use bytes::{Buf, BytesMut};
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use wsstream::{Config, ConfigError, ConnectionError, Outgoing, Read, Role, Tunnel};

/// Payload bytes of a message: many small writes become one, and none makes a frame behind which
/// a pong waits long. With a client's head of 8 bytes it fills four TLS records.
const MESSAGE: usize = (64 << 10) - 8;
/// Writes are refused while this much waits for a client's socket: a DATA frame, in messages that leave in one write;
const GATHERED: usize = 256 << 10;
/// and for a server's, which gathers nothing.
const WRITE_AHEAD: usize = 128 << 10;

/// A byte stream inside a WebSocket (PROTOCOL.md 5.2 to 5.4).
///
/// A read ends only with Close 1000, or with the end of the transport between messages once this side has said
/// it. Everything else that ends the WebSocket is an error of the kind
/// [`io::ErrorKind::ConnectionAborted`], with a [`wsstream::ConnectionError`] inside: it must never look
/// like an end of file. Shutting down sends Close 1000 and closes the transport without waiting for the
/// peer's, as both real ends do.
///
/// What a client writes may wait for a flush, for a read, or until 256 KiB have come together.
///
/// Answers to pings are written by reading and by writing. The halves of a [`tokio::io::split`] may be polled from
/// two tasks.
pub struct WsByteStream<T> {
    io: T,
    tunnel: Tunnel,
    input: BytesMut,
    read_size: ReadSize,
    /// Bytes at the front of `input` that have come out of the tunnel and are not read yet.
    ready: usize,
    ended: End,
    failed: Option<ConnectionError>,
    /// We have said Close: real peers then close the transport and say nothing.
    finished: bool,
    unflushed: bool,
    /// A write has failed: what waits has not arrived.
    write_failed: bool,
    /// Who waits for room; what reads may make it.
    writer: Option<Waker>,
}

/// Whether what the peer sends has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    Yes,
    /// And of what waits to be written there is only the answer to its Close, which it need not wait for.
    Answered,
}

impl<T> fmt::Debug for WsByteStream<T> {
    /// Never the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsByteStream")
            .field("ended", &self.ended)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl<T> WsByteStream<T> {
    /// A client's end; `early` is what was read behind the answer's head.
    ///
    /// # Errors
    /// None with the default limits.
    pub fn client(io: T, early: BytesMut) -> Result<Self, ConfigError> {
        Self::new(io, early, Config::stream(Role::Client))
    }

    /// A server's end; `early` is what was read behind the request's head.
    ///
    /// # Errors
    /// None with the default limits.
    pub fn server(io: T, early: BytesMut) -> Result<Self, ConfigError> {
        Self::new(io, early, Config::stream(Role::Server))
    }

    /// With limits and keys of the caller's.
    ///
    /// # Errors
    /// A limit is out of its range.
    pub fn new(io: T, early: BytesMut, config: Config) -> Result<Self, ConfigError> {
        Ok(Self {
            io,
            tunnel: Tunnel::new(config)?,
            input: early,
            read_size: ReadSize::new(),
            ready: 0,
            ended: End::No,
            failed: None,
            finished: false,
            unflushed: false,
            write_failed: false,
            writer: None,
        })
    }

    fn is_full(&mut self) -> bool {
        let most = match self.tunnel.role() {
            Role::Client => GATHERED,
            Role::Server => WRITE_AHEAD,
        };
        self.tunnel.outgoing().len() >= most
    }

    /// The transport.
    pub fn get_ref(&self) -> &T {
        &self.io
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> WsByteStream<T> {
    /// Until there is something to read, or the end. Nothing is lost by asking again.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.ready > 0 || self.ended != End::No {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = &self.failed {
                return Poll::Ready(Err(io_error(error.clone())));
            }
            let waited = !self.tunnel.outgoing().is_empty() || self.unflushed;
            let event = self.poll_tunnel();
            // A pong or the answer to Close; a socket that is full takes it later, and a failure is for who
            // writes to learn.
            if self.unflushed || !self.tunnel.outgoing().is_empty() {
                // Who waits for room to write stays who is woken for it.
                let writer = self.writer.clone();
                let mut cx = Context::from_waker(writer.as_ref().unwrap_or_else(|| cx.waker()));
                if let Poll::Ready(Ok(())) = self.poll_out(&mut cx)
                    && self.unflushed
                    && Pin::new(&mut self.io).poll_flush(&mut cx).is_ready()
                {
                    self.unflushed = false;
                    self.wake_writer();
                }
            }
            match event {
                Ok(Some(Read::Bytes(n))) => {
                    self.ready = n;
                    continue;
                }
                Ok(Some(Read::End)) => {
                    self.ended = if waited { End::Yes } else { End::Answered };
                    continue;
                }
                Err(error) => {
                    self.failed = Some(error);
                    continue;
                }
                Ok(None) => {}
            }
            if ready!(poll_read_once(
                &mut self.io,
                &mut self.input,
                &mut self.read_size,
                cx
            ))? == 0
            {
                let ended = self.tunnel.end_of_input(&self.input);
                // Real peers answer our Close by closing the transport; in the middle of a message, or
                // before it can have left, that is still a cut.
                let left = self.tunnel.outgoing().is_empty() && !self.unflushed;
                let said = self.finished && left && !self.write_failed;
                let said = said && ended == Err(ConnectionError::Eof);
                if ended.is_ok() || said {
                    self.ended = End::Yes;
                }
                self.failed = ended.err();
            }
        }
    }

    /// What the tunnel has next; bytes stay at the front of the input, so many.
    fn poll_tunnel(&mut self) -> Result<Option<Read<usize>>, ConnectionError> {
        let now = Instant::now().into_std();
        let (taken, read) = self.tunnel.poll_read_borrowed(now, &mut self.input)?;
        let read = read.map(|read| read.map(<[u8]>::len));
        let stays = match read {
            Some(Read::Bytes(n)) => n,
            _ => 0,
        };
        self.input.advance(taken.saturating_sub(stays));
        Ok(read)
    }

    /// Sends a message: straight to the socket if nothing waits, else behind what does; a client's, which is copied
    /// anyway to be masked, waits for more or for a flush. Pending: it is queued, and the socket full.
    fn send(
        &mut self,
        source: &mut Slices<'_>,
        n: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let (io, unflushed) = (&mut self.io, &mut self.unflushed);
        let mut written = Poll::Ready(Ok(()));
        let sent = if io.is_write_vectored() {
            self.tunnel.write_through(source, n, |slices| {
                let taken = Pin::new(&mut *io).poll_write_vectored(cx, slices);
                let n = match taken {
                    Poll::Ready(Ok(n)) => n,
                    _ => 0,
                };
                written = taken.map_ok(|_| ());
                *unflushed |= n > 0;
                n
            })
        } else {
            // It would get the head alone.
            self.tunnel.write(source, n)
        };
        if let Err(error) = sent {
            return Poll::Ready(Err(match &self.failed {
                Some(failed) => io_error(failed.clone()),
                None => io::Error::new(io::ErrorKind::BrokenPipe, error),
            }));
        }
        self.write_failed |= matches!(written, Poll::Ready(Err(_)));
        ready!(written)?;
        if self.tunnel.role() == Role::Client && !self.is_full() {
            return Poll::Ready(Ok(()));
        }
        self.poll_out(cx)
    }

    /// Writes what waits, without flushing.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.tunnel.outgoing().len();
        let written = poll_write_out(&mut self.io, self.tunnel.outgoing(), cx);
        if self.tunnel.outgoing().len() != before {
            self.unflushed = true;
            self.wake_writer();
        }
        self.write_failed |= matches!(written, Poll::Ready(Err(_)));
        written
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Writes and flushes. Only the answer to the peer's Close may fail to arrive: it need not listen any more
    /// (PROTOCOL.md 5.4).
    fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut flushed = self.poll_out(cx);
        if let Poll::Ready(Ok(())) = flushed
            && self.unflushed
        {
            flushed = Pin::new(&mut self.io).poll_flush(cx);
            self.unflushed = !matches!(flushed, Poll::Ready(Ok(())));
            self.write_failed |= matches!(flushed, Poll::Ready(Err(_)));
        }
        self.writer = flushed.is_pending().then(|| cx.waker().clone());
        match flushed {
            Poll::Ready(Err(_)) if self.ended == End::Answered => Poll::Ready(Ok(())),
            flushed => flushed,
        }
    }
}

/// Writes until nothing waits.
pub(crate) fn poll_write_out<T: AsyncWrite + Unpin>(
    io: &mut T,
    outgoing: &mut Outgoing,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !outgoing.is_empty() {
        ready!(poll_write_once(io, outgoing, cx))?;
    }
    Poll::Ready(Ok(()))
}

/// Never of a kind that is taken for an end of file.
pub(crate) fn io_error(error: ConnectionError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for WsByteStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        ready!(this.poll_ready(cx))?;
        let n = this.ready.min(buf.remaining()).min(this.input.len());
        buf.put_slice(this.input.get(..n).unwrap_or_default());
        this.input.advance(n);
        this.ready = this.ready.saturating_sub(n);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WsByteStream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.is_full() || !this.tunnel.is_writable() {
            let room = this.poll_out(cx);
            this.writer = room.is_pending().then(|| cx.waker().clone());
            ready!(room)?;
        }
        let mut source = Slices::new(bufs);
        let n = source.remaining().min(MESSAGE);
        if n == 0 {
            return Poll::Ready(Ok(0));
        }
        // What the socket does not take now, flushing or the next write carries on with.
        match this.send(&mut source, n, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(n)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tunnel.finish().map_err(io::Error::other)?;
        self.finished = true;
        ready!(self.poll_flush_out(cx))?;
        match ready!(Pin::new(&mut self.io).poll_shutdown(cx)) {
            Err(_) if self.ended == End::Answered => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}

/// Slices of a vectored write as one buffer.
struct Slices<'a> {
    slices: &'a [IoSlice<'a>],
    /// Taken of the first.
    taken: usize,
}

impl<'a> Slices<'a> {
    fn new(slices: &'a [IoSlice<'a>]) -> Self {
        let mut this = Self { slices, taken: 0 };
        this.skip_empty();
        this
    }

    fn skip_empty(&mut self) {
        while let Some((first, rest)) = self.slices.split_first()
            && first.len() <= self.taken
        {
            self.taken = self.taken.saturating_sub(first.len());
            self.slices = rest;
        }
    }
}

impl Buf for Slices<'_> {
    fn chunks_vectored<'a>(&'a self, slots: &mut [IoSlice<'a>]) -> usize {
        let mut filled: usize = 0;
        let mut taken = self.taken;
        for (slot, slice) in slots.iter_mut().zip(self.slices) {
            *slot = IoSlice::new(slice.get(taken..).unwrap_or_default());
            taken = 0;
            filled = filled.saturating_add(1);
        }
        filled
    }

    fn remaining(&self) -> usize {
        let all: usize = self.slices.iter().map(|slice| slice.len()).sum();
        all.saturating_sub(self.taken)
    }

    fn chunk(&self) -> &[u8] {
        let first = self.slices.first().map_or(&[][..], |slice| slice);
        first.get(self.taken..).unwrap_or_default()
    }

    fn advance(&mut self, n: usize) {
        self.taken = self.taken.saturating_add(n);
        self.skip_empty();
    }
}

#[cfg(feature = "gateway")]
impl<T: crate::gateway::Leg> crate::gateway::Leg for WsByteStream<T> {
    fn reset_on_drop(&self, reset: bool) {
        self.io.reset_on_drop(reset);
    }

    fn answers_the_end(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
