//! The hot copy loop: one socket, one data stream, both directions.
//!
//! No task and no lock of its own: both directions are polled by the one future that carries the
//! forwarded connection. Payload moves as [`Bytes`] handles; between the session's read buffer
//! and the socket nothing is copied.

use crate::session::{CHUNK, Stream};
use crate::socket::Socket;
use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWrite};

/// Reads shorter than this are copied out of their buffer.
const COPY_BELOW: usize = 8 << 10;
/// Chunks gathered for one write to a socket. They count as unread until it has taken them.
const GATHER: usize = 32;

/// How socket to stream ended. Reported once.
#[derive(Debug)]
pub(crate) enum UpEnd {
    /// The socket's end of file; FIN has been sent on the stream.
    Eof,
    /// The socket failed.
    Socket(io::Error),
    /// The stream takes no more; why shows in the other direction.
    Stream,
}

/// How stream to socket ended, after everything that arrived was written. Reported once.
#[derive(Debug)]
pub(crate) enum DownEnd {
    /// FIN. The socket has not been told.
    Fin,
    /// The socket failed: what it did not take is lost.
    Socket(io::Error),
    /// The stream was reset, or its session lost.
    Stream(io::Error),
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a connection"
)]
/// One socket joined to one data stream.
pub(crate) struct Relay<S> {
    pub(crate) socket: S,
    pub(crate) data: Stream,
    up_open: bool,
    down_open: bool,
    /// Writing has failed, and told the error: reading may find an end of file behind it.
    broken: bool,
    /// The last read was full: the next may be larger.
    full: bool,
    buffer: BytesMut,
    /// Read from the socket, waiting for room in the stream.
    pending_up: Bytes,
    /// Taken from the stream, waiting for the socket, each with its first length.
    pending_down: VecDeque<(usize, Bytes)>,
    /// The stream's end, once all before it is gathered.
    stream_end: Option<DownEnd>,
    /// Bytes from socket to stream.
    pub(crate) up: u64,
    /// Bytes from stream to socket.
    pub(crate) down: u64,
}

impl<S: Socket> Relay<S> {
    /// From now on dropping the relay resets the socket; see [`Relay::release`].
    pub(crate) fn new(mut socket: S, data: Stream) -> Self {
        socket.set_abrupt(true);
        Self {
            socket,
            data,
            up_open: true,
            down_open: true,
            broken: false,
            full: false,
            buffer: BytesMut::new(),
            pending_up: Bytes::new(),
            pending_down: VecDeque::new(),
            stream_end: None,
            up: 0,
            down: 0,
        }
    }

    /// The connection ended well: the socket closes cleanly. The stream, for who still waits for its other end.
    pub(crate) fn release(mut self) -> Stream {
        self.socket.set_abrupt(false);
        self.data
    }

    /// Socket to stream, until its end; pending for ever after that was reported.
    pub(crate) fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<UpEnd> {
        if !self.up_open {
            return Poll::Pending;
        }
        let end = std::task::ready!(self.poll_up_inner(cx));
        self.up_open = false;
        self.buffer = BytesMut::new();
        Poll::Ready(end)
    }

    fn poll_up_inner(&mut self, cx: &mut Context<'_>) -> Poll<UpEnd> {
        loop {
            if !self.pending_up.is_empty() {
                let n = self.pending_up.len();
                if std::task::ready!(self.data.poll_write_chunk(cx, &mut self.pending_up)).is_err()
                {
                    return Poll::Ready(UpEnd::Stream);
                }
                self.up = self.up.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
            }
            // An idle connection keeps no buffer.
            match self.socket.poll_readable(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(UpEnd::Socket(e)),
                Poll::Pending => {
                    self.buffer = BytesMut::new();
                    self.full = false;
                    return Poll::Pending;
                }
            }
            let room = if self.full { self.data.chunk() } else { CHUNK };
            if self.buffer.capacity() < room / 4 {
                self.buffer.reserve(room);
            }
            // The buffer may have more, from a longer read before.
            let mut into = (&mut self.buffer).limit(room);
            match std::task::ready!(pin!(self.socket.read_buf(&mut into)).poll(cx)) {
                // A failure must never end in FIN.
                Ok(0) if self.broken => {
                    return Poll::Ready(UpEnd::Socket(io::ErrorKind::ConnectionReset.into()));
                }
                Ok(0) => {
                    let fin = Pin::new(&mut self.data).poll_shutdown(cx);
                    return Poll::Ready(match std::task::ready!(fin) {
                        Ok(()) => UpEnd::Eof,
                        Err(_) => UpEnd::Stream,
                    });
                }
                Ok(n) => {
                    self.full = n >= CHUNK;
                    // A short read is copied: one byte must not keep a whole buffer alive.
                    self.pending_up = if n < COPY_BELOW {
                        let short = Bytes::copy_from_slice(&self.buffer);
                        self.buffer.clear();
                        short
                    } else {
                        self.buffer.split().freeze()
                    };
                }
                Err(e) => return Poll::Ready(UpEnd::Socket(e)),
            }
        }
    }

    /// Stream to socket, until its end; pending for ever after that was reported.
    pub(crate) fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<DownEnd> {
        if !self.down_open {
            return Poll::Pending;
        }
        let end = std::task::ready!(self.poll_down_inner(cx));
        self.down_open = false;
        self.pending_down = VecDeque::new();
        Poll::Ready(end)
    }

    fn poll_down_inner(&mut self, cx: &mut Context<'_>) -> Poll<DownEnd> {
        loop {
            while self.pending_down.len() < GATHER && self.stream_end.is_none() {
                match self.data.poll_take(cx) {
                    Poll::Ready(Ok(Some(chunk))) => {
                        self.pending_down.push_back((chunk.len(), chunk));
                    }
                    Poll::Ready(Ok(None)) => self.stream_end = Some(DownEnd::Fin),
                    Poll::Ready(Err(e)) => self.stream_end = Some(DownEnd::Stream(e)),
                    Poll::Pending => break,
                }
            }
            if self.pending_down.is_empty() {
                return self.stream_end.take().map_or(Poll::Pending, Poll::Ready);
            }
            if let Err(e) = std::task::ready!(self.poll_write_gathered(cx)) {
                self.broken = true;
                return Poll::Ready(DownEnd::Socket(e));
            }
        }
    }

    /// One write of what is gathered.
    fn poll_write_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); GATHER];
        for (slice, (_, chunk)) in slices.iter_mut().zip(&self.pending_down) {
            *slice = IoSlice::new(chunk);
        }
        let filled = slices.get(..self.pending_down.len()).unwrap_or(&slices);
        let mut n = std::task::ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, filled))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        // Part of a chunk is progress too: a slow reader is not a stalled one.
        self.data.progressed();
        self.down = self
            .down
            .saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        while let Some((whole, front)) = self.pending_down.front_mut() {
            let part = n.min(front.len());
            front.advance(part);
            n = n.saturating_sub(part);
            if front.has_remaining() {
                break;
            }
            let whole = *whole;
            self.pending_down.pop_front();
            self.data.release(whole);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{self, Config};
    use std::future::poll_fn;
    use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf, duplex};

    /// A connection that its peer reset: the first write tells, and reading finds an end of file
    /// afterwards, as with a kernel's socket.
    struct Reset;

    impl AsyncRead for Reset {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Reset {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Socket for Reset {
        fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn set_abrupt(&mut self, _: bool) {}

        async fn abort(self) {}
    }

    /// Has so many bytes, and as many at a time as there is room for.
    struct Source {
        left: usize,
        most: usize,
        rooms: Vec<usize>,
    }

    impl AsyncRead for Source {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.rooms.push(buf.remaining());
            let n = buf.remaining().min(self.left).min(self.most);
            self.left = self.left.saturating_sub(n);
            buf.put_slice(&vec![7; n]);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Source {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Socket for Source {
        fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn set_abrupt(&mut self, _: bool) {}

        async fn abort(self) {}
    }

    /// The rooms that an upload of so many bytes, as many at a time, had for its reads.
    async fn rooms(left: usize, most: usize, config: Config) -> Vec<usize> {
        let (a, b) = duplex(1 << 16);
        let (client, driver) = session::client(a, BytesMut::new(), config).unwrap();
        tokio::spawn(driver);
        let (server, driver) = session::server(b, BytesMut::new(), Config::default()).unwrap();
        tokio::spawn(driver);
        let ours = client.open(spdy::HeaderBlock::new()).unwrap();
        let mut theirs = server.accept().await.unwrap().accept().unwrap();
        let source = Source {
            left,
            most,
            rooms: Vec::new(),
        };
        let mut relay = Relay::new(source, ours);
        let mut got = Vec::new();
        let (end, read) = tokio::join!(
            poll_fn(|cx| relay.poll_up(cx)),
            theirs.read_to_end(&mut got)
        );
        assert!(matches!(end, UpEnd::Eof), "{end:?}");
        assert_eq!(read.unwrap(), left);
        std::mem::take(&mut relay.socket.rooms)
    }

    #[tokio::test]
    async fn only_who_fills_its_buffer_gets_a_large_one() {
        let large = 4 * CHUNK;
        let much = rooms(4 << 20, usize::MAX, Config::default()).await;
        assert_eq!(much[0], CHUNK);
        assert!(much[1..].iter().all(|room| *room >= large), "{much:?}");
        let little = rooms(4 << 20, CHUNK - 1, Config::default()).await;
        assert!(little.iter().all(|room| *room <= CHUNK), "{little:?}");
    }

    /// Each stream may have a chunk more than there is room for: where much waits they are small again, also in a
    /// buffer that has room for more.
    #[tokio::test]
    async fn where_much_waits_reads_are_small() {
        let config = Config {
            stream_send: 1 << 20,
            session_send: 1 << 20,
            ..Config::default()
        };
        for most in (70_000..200_000).step_by(10_000) {
            // Nothing leaves.
            let (client, _driver) =
                session::client(duplex(1).0, BytesMut::new(), config.clone()).unwrap();
            let source = Source {
                left: usize::MAX,
                most,
                rooms: Vec::new(),
            };
            let mut relay = Relay::new(source, client.open(spdy::HeaderBlock::new()).unwrap());
            assert!(poll_fn(|cx| Poll::Ready(relay.poll_up(cx).is_pending())).await);
            let rooms = std::mem::take(&mut relay.socket.rooms);
            let (mut waiting, mut large, mut small) = (0, 0, 0);
            for room in &rooms {
                if waiting < config.session_send / 2 {
                    large += usize::from(*room > CHUNK);
                } else {
                    small += 1;
                    assert!(*room <= CHUNK, "{most}: {rooms:?}");
                }
                waiting += (*room).min(most);
            }
            assert!(large > 1 && small > 2, "{rooms:?}");
        }
    }

    #[tokio::test]
    async fn behind_a_failed_write_an_end_of_file_is_none() {
        let (a, b) = duplex(1 << 16);
        let (client, driver) = session::client(a, BytesMut::new(), Config::default()).unwrap();
        tokio::spawn(driver);
        let (server, driver) = session::server(b, BytesMut::new(), Config::default()).unwrap();
        tokio::spawn(driver);
        let mut ours = client.open(spdy::HeaderBlock::new()).unwrap();
        ours.write_all(b"x").await.unwrap();
        let theirs = server.accept().await.unwrap().accept().unwrap();
        let mut relay = Relay::new(Reset, theirs);
        let down = poll_fn(|cx| relay.poll_down(cx)).await;
        assert!(matches!(down, DownEnd::Socket(_)), "{down:?}");
        let up = poll_fn(|cx| relay.poll_up(cx)).await;
        assert!(matches!(up, UpEnd::Socket(_)), "{up:?}");
    }
}
