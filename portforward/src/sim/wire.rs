//! A tap on a session's frames: each direction of each stream ends once, nothing follows a reset, and
//! each forwarded connection has a request id of its own.

use super::trace::Trace;
use bytes::Buf;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Ends {
    fin: bool,
    reset: bool,
}

/// One frame's head.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u16,
    id: u32,
    fin: bool,
}

/// The frames of one direction.
#[derive(Debug)]
struct Frames {
    what: &'static str,
    head: Vec<u8>,
    skip: usize,
    /// The frame that is passing.
    frame: Option<Head>,
    /// What follows the head of a SYN_STREAM.
    block: Vec<u8>,
    streams: BTreeMap<u32, Ends>,
    opened: u32,
    requests: BTreeSet<(Vec<u8>, Vec<u8>)>,
    pairs: Option<(Arc<Pairs>, usize)>,
}

impl Frames {
    fn new(what: &'static str, pairs: Option<(Arc<Pairs>, usize)>) -> Self {
        Self {
            what,
            head: Vec::new(),
            skip: 0,
            frame: None,
            block: Vec::new(),
            streams: BTreeMap::new(),
            opened: 0,
            requests: BTreeSet::new(),
            pairs,
        }
    }

    fn feed(&mut self, mut bytes: &[u8], trace: &Trace, link: u64) {
        loop {
            let n = self.skip.min(bytes.len());
            if self.frame.is_some_and(|frame| frame.kind == 1) {
                self.block.extend_from_slice(&bytes[..n]);
            }
            bytes.advance(n);
            self.skip -= n;
            if self.skip == 0
                && let Some(frame) = self.frame.take()
            {
                self.passed(frame, trace, link);
            }
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
                self.begins(0, word, flags, trace, link);
            } else if length < 4 {
                self.skip = length;
            } else if head.len() < 4 {
                continue;
            } else {
                self.skip = length - 4;
                let id = head.get_u32() & 0x7fff_ffff;
                self.begins((word & 0xffff) as u16, id, flags, trace, link);
            }
            self.head.clear();
        }
    }

    fn begins(&mut self, kind: u16, id: u32, flags: u8, trace: &Trace, link: u64) {
        let what = self.what;
        let wrong = |line: &str| trace.wrong(format!("{line}: link {link}, {what}, stream {id}"));
        trace.event(link, 20 + u64::from(kind), u64::from(id));
        let fin = flags & 1 != 0;
        trace.say(format_args!(
            "link {link}: {what}: frame {kind}, stream {id}, flags {flags}"
        ));
        self.frame = Some(Head { kind, id, fin });
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
        ends.fin |= kind != 3 && fin;
    }

    /// All of a frame has passed.
    fn passed(&mut self, frame: Head, trace: &Trace, link: u64) {
        let mut port = None;
        if frame.kind == 1 {
            let block = std::mem::take(&mut self.block);
            let text = |name| header(&block, name).unwrap_or_default();
            if !self
                .requests
                .insert((text("requestid"), text("streamtype")))
            {
                let id = frame.id;
                trace.wrong(format!(
                    "I3: link {link}, stream {id}: the request id is another connection's"
                ));
            }
            port = String::from_utf8_lossy(&text("port")).parse().ok();
        }
        if let Some((pairs, way)) = &self.pairs {
            pairs.note(*way, frame, port);
        }
    }
}

/// A value of a header block, which this crate's sessions leave uncompressed.
fn header(block: &[u8], name: &str) -> Option<Vec<u8>> {
    let name = [&(name.len() as u32).to_be_bytes(), name.as_bytes()].concat();
    let at = block.windows(name.len()).position(|part| part == name)?;
    let mut rest = &block[at + name.len()..];
    let length = rest.get_u32() as usize;
    Some(rest[..length].to_vec())
}

#[derive(Debug, Default)]
struct Stream {
    port: u16,
    fins: [bool; 2],
    reset: bool,
}

/// How far the forwarded connections of a link are, as its node has read and written.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    streams: Mutex<BTreeMap<u32, Stream>>,
    news: Notify,
}

impl Pairs {
    fn note(&self, way: usize, frame: Head, port: Option<u16>) {
        let mut streams = self.streams.lock().unwrap();
        if let Some(port) = port {
            streams.entry(frame.id).or_default().port = port;
        }
        if let Some(stream) = streams.get_mut(&frame.id)
            && matches!(frame.kind, 0..=3 | 8)
        {
            stream.fins[way] |= frame.fin && frame.kind != 3;
            stream.reset |= frame.kind == 3;
            self.news.notify_one();
        }
    }

    /// The ports both of whose streams have ended in order, both ways.
    pub(super) fn ended(&self) -> BTreeSet<u16> {
        let mut ended = BTreeMap::<u16, u32>::new();
        for stream in self.streams.lock().unwrap().values() {
            if stream.fins == [true; 2] && !stream.reset {
                *ended.entry(stream.port).or_default() += 1;
            }
        }
        let ended = ended.into_iter().filter(|(_, streams)| *streams == 2);
        ended.map(|(port, _)| port).collect()
    }

    pub(super) async fn wait_for(&self, ended: usize) {
        while self.ended().len() < ended {
            self.news.notified().await;
        }
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
    pub(super) fn client(io: T, link: u64, trace: Trace) -> Self {
        Self {
            io,
            link,
            written: Frames::new("to the node", None),
            read: Frames::new("to the client", None),
            trace,
        }
    }

    pub(super) fn node(io: T, link: u64, trace: Trace, pairs: &Arc<Pairs>) -> Self {
        let pairs = |way| Some((Arc::clone(pairs), way));
        Self {
            io,
            link,
            written: Frames::new("from the node", pairs(0)),
            read: Frames::new("from the client", pairs(1)),
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
