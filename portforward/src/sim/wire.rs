//! A tap on a session's frames: each direction of each stream ends once, and nothing follows a reset.

use super::trace::Trace;
use bytes::Buf;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, Default)]
struct Ends {
    fin: bool,
    reset: bool,
}

/// The frames of one direction.
#[derive(Debug)]
struct Frames {
    what: &'static str,
    head: Vec<u8>,
    skip: usize,
    streams: BTreeMap<u32, Ends>,
    opened: u32,
}

impl Frames {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            head: Vec::new(),
            skip: 0,
            streams: BTreeMap::new(),
            opened: 0,
        }
    }

    fn feed(&mut self, mut bytes: &[u8], trace: &Trace, link: u64) {
        while !bytes.is_empty() {
            let n = self.skip.min(bytes.len());
            bytes.advance(n);
            self.skip -= n;
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            self.head.push(*first);
            bytes = rest;
            if self.head.len() < 8 {
                continue;
            }
            let mut head = &self.head[..];
            let (word, length) = (head.get_u32(), head.get_u32());
            let (flags, length) = ((length >> 24) as u8, (length & 0xff_ffff) as usize);
            if word >> 31 == 0 {
                self.skip = length;
                self.frame(0, word, flags, trace, link);
            } else if length < 4 {
                self.skip = length;
            } else if head.len() < 4 {
                continue;
            } else {
                self.skip = length - 4;
                let id = head.get_u32() & 0x7fff_ffff;
                self.frame((word & 0xffff) as u16, id, flags, trace, link);
            }
            self.head.clear();
        }
    }

    fn frame(&mut self, kind: u16, id: u32, flags: u8, trace: &Trace, link: u64) {
        let what = self.what;
        let wrong = |line: &str| trace.wrong(format!("{line}: link {link}, {what}, stream {id}"));
        trace.event(link, 20 + u64::from(kind), u64::from(id));
        if kind == 1 {
            if id <= self.opened {
                wrong("I5: ids do not rise");
            }
            self.opened = id;
        }
        // Frames of the connection.
        if !matches!(kind, 0 | 1 | 2 | 3 | 8) {
            return;
        }
        let ends = self.streams.entry(id).or_default();
        if ends.reset {
            wrong("I4: a frame behind a reset");
        }
        if ends.fin && kind != 3 {
            wrong("I4: a frame behind FIN");
        }
        ends.reset |= kind == 3;
        ends.fin |= kind != 3 && flags & 1 != 0;
    }
}

/// A byte stream with a session's frames in it.
#[derive(Debug)]
pub(super) struct Tap<T> {
    io: T,
    link: u64,
    written: Frames,
    read: Frames,
    trace: Trace,
}

impl<T> Tap<T> {
    pub(super) fn new(io: T, link: u64, trace: Trace) -> Self {
        Self {
            io,
            link,
            written: Frames::new("to the node"),
            read: Frames::new("to the client"),
            trace,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tap<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.read
            .feed(&buf.filled()[before..], &this.trace, this.link);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs))?;
        let mut left = n;
        for buf in bufs {
            let part = left.min(buf.len());
            this.written.feed(&buf[..part], &this.trace, this.link);
            left -= part;
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
