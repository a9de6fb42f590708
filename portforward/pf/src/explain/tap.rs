//! A wrapper around the connection, inside TLS and behind the 101: sees every byte and decodes the
//! frames of both directions as they pass. Only `pf explain` pays for it.

use super::trace::{FrameInfo, Trace};
use bytes::BytesMut;
use spdy::{Decoder, Frame, Limits};
use std::fs::File;
use std::io::{self, BufWriter, IoSlice, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// First line of a raw log.
const HEAD: &str = "# pf wire log 1: direction, nanoseconds since the start, bytes\n";

/// What is seen of both directions.
#[derive(Clone)]
pub(super) struct Wire(Arc<Mutex<Inner>>);

struct Inner {
    trace: Trace,
    out: Direction,
    back: Direction,
    /// Streams whose SYN_STREAM said that they carry errors.
    errors: Vec<u32>,
    log: Option<BufWriter<File>>,
    failed: Option<io::Error>,
}

struct Direction {
    decoder: Decoder,
    buffer: BytesMut,
    /// The frame under way: when its first byte passed, its number, and its bytes so far.
    begun: Option<(Duration, u64)>,
    taken: usize,
    payload: usize,
    /// Not SPDY: not looked at any more.
    broken: bool,
}

impl Direction {
    fn new() -> Self {
        Self {
            decoder: Decoder::new(Limits::default()),
            buffer: BytesMut::new(),
            begun: None,
            taken: 0,
            payload: 0,
            broken: false,
        }
    }
}

impl Wire {
    /// # Errors
    /// The raw log cannot be written.
    pub(super) fn new(trace: &Trace, log: Option<&Path>) -> io::Result<Self> {
        let log = match log {
            None => None,
            Some(file) => {
                let mut options = std::fs::OpenOptions::new();
                options.write(true).create_new(true);
                // It holds payload.
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let mut log = BufWriter::new(options.open(file)?);
                log.write_all(HEAD.as_bytes())?;
                Some(log)
            }
        };
        Ok(Self(Arc::new(Mutex::new(Inner {
            trace: trace.clone(),
            out: Direction::new(),
            back: Direction::new(),
            errors: Vec::new(),
            log,
            failed: None,
        }))))
    }

    pub(super) fn wrap<T>(&self, io: T) -> Tap<T> {
        Tap {
            io,
            wire: self.clone(),
        }
    }

    /// Bytes that have just passed.
    pub(super) fn passed(&self, out: bool, bytes: &[u8]) {
        let now = Instant::now();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.passed(now, out, bytes);
    }

    /// Ends the raw log.
    ///
    /// # Errors
    /// It is not complete.
    pub(super) fn finish(&self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = inner.failed.take() {
            return Err(error);
        }
        inner.log.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Inner {
    fn passed(&mut self, now: Instant, out: bool, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let at = self.trace.since_start(now);
        if let Some(log) = &mut self.log {
            let mut line = format!("{} {} ", if out { "out" } else { "in" }, at.as_nanos());
            for byte in bytes {
                line.push(hex(byte >> 4));
                line.push(hex(byte & 15));
            }
            line.push('\n');
            if let Err(error) = log.write_all(line.as_bytes()) {
                (self.log, self.failed) = (None, Some(error));
            }
        }
        let direction = if out { &mut self.out } else { &mut self.back };
        if direction.broken {
            return;
        }
        direction.buffer.extend_from_slice(bytes);
        loop {
            if direction.begun.is_none() && !direction.buffer.is_empty() {
                direction.begun = Some((at, self.trace.number()));
            }
            let before = direction.buffer.len();
            let frame = direction.decoder.decode(&mut direction.buffer);
            let taken = before.saturating_sub(direction.buffer.len());
            direction.taken = direction.taken.saturating_add(taken);
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(_) => {
                    direction.broken = true;
                    return;
                }
            };
            if let Frame::Data(data) = &frame {
                direction.payload = direction.payload.saturating_add(data.payload.len());
                if data.remaining > 0 {
                    continue;
                }
            }
            let Some((began, number)) = direction.begun.take() else {
                return;
            };
            let payload = std::mem::take(&mut direction.payload);
            let (kind, stream, fin, text) = describe(&frame, payload, &mut self.errors);
            let frame = FrameInfo {
                out,
                kind,
                stream,
                fin,
                bytes: std::mem::take(&mut direction.taken),
                at: began,
                until: at,
            };
            self.trace.frame(number, frame, &text);
        }
    }
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('?')
}

/// Name, stream, FIN, and words for people; never payload.
fn describe(
    frame: &Frame,
    payload: usize,
    errors: &mut Vec<u32>,
) -> (&'static str, Option<u32>, bool, String) {
    let end = |fin: bool| if fin { ", FIN" } else { "" };
    match frame {
        Frame::SynStream(f) => {
            let id = f.id.get();
            let header = |name: &str| {
                let value = f.headers.get(name).unwrap_or_default();
                let value = value.get(..64).unwrap_or(value);
                String::from_utf8_lossy(value).into_owned()
            };
            let kind = header("streamtype");
            if kind == "error" && errors.len() < 1024 {
                errors.push(id);
            }
            let text = format!(
                "SYN_STREAM {id}: streamtype={kind} port={} requestid={}{}",
                header("port"),
                header("requestid"),
                end(f.fin)
            );
            ("SYN_STREAM", Some(id), f.fin, text)
        }
        Frame::SynReply(f) => {
            let id = f.id.get();
            let text = format!("SYN_REPLY {}{}", name(id, errors), end(f.fin));
            ("SYN_REPLY", Some(id), f.fin, text)
        }
        Frame::Data(f) => {
            let (id, fin) = (f.id.get(), f.fin);
            let text = match (payload, fin) {
                (0, true) => format!("FIN {}", name(id, errors)),
                (n, _) => format!("DATA {}, {n} bytes{}", name(id, errors), end(fin)),
            };
            ("DATA", Some(id), fin, text)
        }
        Frame::RstStream(f) => {
            let id = f.id.get();
            let text = format!("RST_STREAM {}: {}", name(id, errors), f.status);
            ("RST_STREAM", Some(id), false, text)
        }
        Frame::GoAway(f) => {
            let text = format!("GOAWAY {}, last stream {}", f.status, f.last_good);
            ("GOAWAY", None, false, text)
        }
        Frame::Ping(f) => ("PING", None, false, format!("PING {}", f.id)),
        Frame::Settings(_) => ("SETTINGS", None, false, "SETTINGS".to_owned()),
        Frame::Headers(f) => {
            let id = f.id.get();
            let text = format!("HEADERS {}{}", name(id, errors), end(f.fin));
            ("HEADERS", Some(id), f.fin, text)
        }
        Frame::WindowUpdate(f) => {
            let text = format!("WINDOW_UPDATE {}, {} bytes", f.id, f.delta);
            ("WINDOW_UPDATE", Some(f.id), false, text)
        }
        other => {
            let text = match other {
                Frame::Unknown(f) => format!("a frame of the unknown type {}", f.kind),
                _ => "a frame of an unknown type".to_owned(),
            };
            ("UNKNOWN", None, false, text)
        }
    }
}

fn name(id: u32, errors: &[u32]) -> String {
    let kind = if errors.contains(&id) {
        "error"
    } else {
        "data"
    };
    format!("{id} ({kind})")
}

/// The connection, watched.
pub(super) struct Tap<T> {
    io: T,
    wire: Wire,
}

impl<T: AsyncRead + Unpin> AsyncRead for Tap<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        self.wire.passed(false, read);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.wire.passed(true, buf.get(..n).unwrap_or(buf));
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        // As one: they left together.
        let mut written: Vec<u8> = Vec::with_capacity(n);
        for buf in bufs {
            let left = n.saturating_sub(written.len()).min(buf.len());
            written.extend_from_slice(buf.get(..left).unwrap_or_default());
        }
        self.wire.passed(true, &written);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
