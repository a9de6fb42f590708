//! On plain TCP no payload is copied between the buffer that was read into and the one that is written
//! from, in either direction; reads below 8 KiB are, so that a byte does not keep a whole buffer.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "a test"
)]

use bytes::BytesMut;
use portforward::client::Forwarder;
use portforward::session::{self, Config, Session, Stream};
use portforward::socket::Socket;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

/// Where in memory things were read to and written from.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<(Ranges, Ranges)>>);

type Ranges = Vec<Range<usize>>;

impl Places {
    fn take(&self) -> (Ranges, Ranges) {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn place(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

/// Notes the places of one side.
struct Noted(DuplexStream, Places);

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        let new = place(buf.filled().get(before..).unwrap());
        self.1.0.lock().unwrap().0.push(new);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.0).poll_write(cx, buf))?;
        let taken = place(buf.get(..n).unwrap());
        self.1.0.lock().unwrap().1.push(taken);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.poll_write(cx, first.map_or(&[], |slice| slice))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Socket for Noted {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn set_abrupt(&mut self, _: bool) {}

    async fn abort(self) {}
}

/// The pod's stream of a new pair.
async fn accept(server: &Session) -> (Stream, Stream) {
    let mut error = server.accept().await.unwrap().accept().unwrap();
    let mut data = server.accept().await.unwrap().accept().unwrap();
    for stream in [&mut error, &mut data] {
        stream.flush().await.unwrap();
    }
    (error, data)
}

/// Payload bytes among what was written: pieces of frames' heads are shorter.
fn payload(written: &[Range<usize>]) -> Ranges {
    let long = written.iter().filter(|piece| piece.len() >= 64);
    long.cloned().collect()
}

fn within(piece: &Range<usize>, reads: &[Range<usize>]) -> bool {
    reads
        .iter()
        .any(|read| read.start <= piece.start && piece.end <= read.end)
}

#[tokio::test]
async fn payload_is_written_from_where_it_was_read() {
    let (wire, far) = duplex(1 << 20);
    let on_wire = Places::default();
    let wire = Noted(wire, on_wire.clone());
    let (client, driver) = session::client(wire, BytesMut::new(), Config::default()).unwrap();
    tokio::spawn(driver);
    let (server, driver) = session::server(far, BytesMut::new(), Config::default()).unwrap();
    tokio::spawn(driver);

    let (mut application, local) = duplex(1 << 20);
    let at_socket = Places::default();
    let local = Noted(local, at_socket.clone());
    tokio::spawn(Forwarder::new(client).forward(local, 80));
    let (_error, mut data) = accept(&server).await;

    // One at a time: what was read is still there when it is written, so that a copy is elsewhere.
    for round in 0u8..8 {
        for (len, copied) in [(40 << 10, false), (16 << 10, false), (4 << 10, true)] {
            let sent = vec![round; len];
            let mut got = vec![0; len];
            drop((on_wire.take(), at_socket.take()));
            application.write_all(&sent).await.unwrap();
            data.read_exact(&mut got).await.unwrap();
            assert!(got == sent);
            let (reads, written) = (at_socket.take().0, payload(&on_wire.take().1));
            assert_eq!(
                written.iter().map(ExactSizeIterator::len).sum::<usize>(),
                len
            );
            for piece in &written {
                assert_eq!(within(piece, &reads), !copied, "up, {len} bytes");
            }

            drop((on_wire.take(), at_socket.take()));
            data.write_all(&sent).await.unwrap();
            application.read_exact(&mut got).await.unwrap();
            assert!(got == sent);
            let (reads, written) = (on_wire.take().0, payload(&at_socket.take().1));
            assert_eq!(
                written.iter().map(ExactSizeIterator::len).sum::<usize>(),
                len
            );
            for piece in &written {
                // A frame that came in two reads has a short piece.
                let short = piece.len() < 8 << 10;
                assert_eq!(within(piece, &reads), !short, "down, {len} bytes");
            }
        }
    }
}
