//! Recording a connection as a [transcript](crate::transcript) while it is used.
//!
//! [`start`] gives a [`Recorder`], which takes events and never waits, and a [`Recording`], which
//! ends it. Between them is a thread that writes, behind a queue of at most 8 MiB. A transcript
//! with a gap is worth nothing, so whatever goes wrong there (full disk, slow disk, too much) ends
//! the recording, is told once, and leaves the connection alone.

use crate::transcript::{
    Annotator, Direction, EVENT_BYTES, Event, Head, MAX_FILE, Provenance, What, write,
};
use bytes::Bytes;
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that may wait for the writer (S2).
const QUEUE: usize = 8 << 20;
/// What an event costs beyond its bytes.
const OVERHEAD: usize = 256;

/// Why a recording ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Writing failed.
    #[error("{0}")]
    Write(#[from] io::Error),
    /// The transcript would be larger than can be read back.
    #[error("a transcript may have {} MiB at most", MAX_FILE >> 20)]
    TooLarge,
    /// The writer is slower than the connection.
    #[error("writing is slower than the connection: {} MiB wait", QUEUE >> 20)]
    Behind,
    /// The writer did not come to its end in time.
    #[error("writing did not end in time")]
    Stuck,
}

/// Takes what happens on one connection. Clones share it; none ever waits or fails.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    start: Instant,
    jobs: Sender<Job>,
    /// Bytes in the queue, overhead included.
    queued: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

enum Job {
    Event(Direction, Duration, What),
    Behind,
    /// Acknowledged by what the thread returns.
    Finish,
}

/// A recording under way.
#[must_use = "the last lines are written by `finish`"]
#[derive(Debug)]
pub struct Recording<W> {
    jobs: Sender<Job>,
    done: Receiver<Result<W, RecordError>>,
}

/// Starts a thread that writes a transcript to `sink`, its header first. `failed` is called by that
/// thread, at most once, when the recording ends early.
///
/// # Errors
/// There is no thread to be had.
pub fn start<W: Write + Send + 'static>(
    sink: W,
    provenance: &Provenance,
    failed: impl FnOnce(&RecordError) + Send + 'static,
) -> io::Result<(Recorder, Recording<W>)> {
    let mut text = String::new();
    write::begin(&mut text, provenance);
    let (jobs, todo) = channel();
    let (finished, done): (SyncSender<_>, _) = sync_channel(1);
    let queued = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let inner = Inner {
        start: Instant::now(),
        jobs: jobs.clone(),
        queued: Arc::clone(&queued),
        over: Arc::clone(&over),
    };
    let mut writer = Writer {
        sink,
        annotator: Annotator::new(),
        written: 0,
        events: 0,
        last: Duration::ZERO,
        text,
    };
    std::thread::Builder::new()
        .name("record".to_owned())
        .spawn(move || {
            let result = writer.run(&todo, &queued);
            over.store(true, Ordering::Relaxed);
            if let Err(error) = &result {
                failed(error);
            }
            // Whoever waited may have given up.
            drop(finished.send(result.map(|()| writer.sink)));
        })?;
    Ok((Recorder(Arc::new(inner)), Recording { jobs, done }))
}

impl Recorder {
    /// Records a head.
    pub fn head(&self, direction: Direction, head: Head) {
        self.push(direction, What::Head(head), 0);
    }

    /// Records bytes of the session.
    pub fn bytes(&self, direction: Direction, bytes: &[u8]) {
        for piece in bytes.chunks(EVENT_BYTES) {
            if !self.is_over() {
                let what = What::Bytes(Bytes::copy_from_slice(piece));
                self.push(direction, what, piece.len());
            }
        }
    }

    /// Records an end of file.
    pub fn end(&self, direction: Direction) {
        self.push(direction, What::End, 0);
    }

    /// Records a failure of the connection.
    pub fn failed(&self, direction: Direction, error: &io::Error) {
        // The kind alone: the text may name more than it should.
        self.push(direction, What::Failed(error.kind().to_string()), 0);
    }

    /// Whether nothing more is recorded.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    fn push(&self, direction: Direction, what: What, bytes: usize) {
        let inner = &*self.0;
        if self.is_over() {
            return;
        }
        let cost = bytes.saturating_add(OVERHEAD);
        let queued = inner.queued.fetch_add(cost, Ordering::Relaxed);
        let job = if queued.saturating_add(cost) > QUEUE {
            inner.over.store(true, Ordering::Relaxed);
            Job::Behind
        } else {
            Job::Event(direction, inner.start.elapsed(), what)
        };
        // Without a receiver the recording is over.
        drop(inner.jobs.send(job));
    }
}

impl<W> Recording<W> {
    /// Writes what waits and the last line, and gives the sink back. Blocks, for `within` at most.
    ///
    /// # Errors
    /// The recording ended early; unless it is [`RecordError::Stuck`], that was told already.
    pub fn finish(self, within: Duration) -> Result<W, RecordError> {
        drop(self.jobs.send(Job::Finish));
        self.done
            .recv_timeout(within)
            .unwrap_or(Err(RecordError::Stuck))
    }
}

struct Writer<W> {
    sink: W,
    annotator: Annotator,
    written: usize,
    events: u64,
    last: Duration,
    text: String,
}

impl<W: Write> Writer<W> {
    fn run(&mut self, todo: &Receiver<Job>, queued: &AtomicUsize) -> Result<(), RecordError> {
        // The header.
        self.put()?;
        // All senders gone without `Finish`: the program is at its end.
        while let Ok(job) = todo.recv() {
            match job {
                Job::Event(direction, at, what) => {
                    let bytes = match &what {
                        What::Bytes(bytes) => bytes.len(),
                        _ => 0,
                    };
                    self.event(direction, at, what)?;
                    queued.fetch_sub(bytes.saturating_add(OVERHEAD), Ordering::Relaxed);
                }
                Job::Behind => return Err(RecordError::Behind),
                Job::Finish => break,
            }
        }
        self.text.clear();
        write::end(&mut self.text, self.events);
        self.put()
    }

    fn event(&mut self, direction: Direction, at: Duration, what: What) -> Result<(), RecordError> {
        // Two threads may have taken the time in one order and sent in the other. Whole
        // microseconds, or equal ones could be out of order.
        self.last = self.last.max(at);
        let comments = self.annotator.comments(direction, &what);
        self.text.clear();
        write::event(
            &mut self.text,
            &Event {
                direction,
                at: self.last,
                what,
                comments,
            },
        );
        self.events = self.events.saturating_add(1);
        self.put()
    }

    fn put(&mut self) -> Result<(), RecordError> {
        self.written = self.written.saturating_add(self.text.len());
        // The last line must fit too.
        if self.written > MAX_FILE.saturating_sub(64) && !self.text.starts_with("pft end") {
            return Err(RecordError::TooLarge);
        }
        self.sink.write_all(self.text.as_bytes())?;
        Ok(())
    }
}

/// A byte stream whose bytes are recorded, each when it has passed.
#[derive(Debug)]
pub struct Tap<T> {
    io: T,
    recorder: Recorder,
    /// `end` or `failed` is there already.
    read_over: bool,
    write_over: bool,
}

impl<T> Tap<T> {
    /// Around the client's end of a session, behind its heads. `early` is what was read behind
    /// the response head.
    #[must_use]
    pub fn client(io: T, recorder: Recorder, early: &[u8]) -> Self {
        recorder.bytes(Direction::ServerToClient, early);
        Self {
            io,
            recorder,
            read_over: false,
            write_over: false,
        }
    }

    fn wrote(&mut self, result: &io::Result<usize>, bufs: &[IoSlice<'_>]) {
        match result {
            // What went in one write is one event.
            Ok(n) if !self.recorder.is_over() => {
                let bytes = bufs.iter().flat_map(|buf| buf.iter().copied());
                let bytes: Vec<u8> = bytes.take(*n).collect();
                self.recorder.bytes(Direction::ClientToServer, &bytes);
            }
            Ok(_) => {}
            Err(error) => self.write_failed(error),
        }
    }

    fn write_failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.write_over, true) {
            self.recorder.failed(Direction::ClientToServer, error);
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
        let room = buf.remaining();
        let result = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
        match &result {
            Ok(()) => match buf.filled().get(before..).unwrap_or_default() {
                [] if room == 0 || this.read_over => {}
                [] => {
                    this.read_over = true;
                    this.recorder.end(Direction::ServerToClient);
                }
                read => this.recorder.bytes(Direction::ServerToClient, read),
            },
            Err(error) => {
                if !std::mem::replace(&mut this.read_over, true) {
                    this.recorder.failed(Direction::ServerToClient, error);
                }
            }
        }
        Poll::Ready(result)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.io).poll_write(cx, buf));
        this.wrote(&result, &[IoSlice::new(buf)]);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs));
        this.wrote(&result, bufs);
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.io).poll_flush(cx));
        if let Err(error) = &result {
            this.write_failed(error);
        }
        Poll::Ready(result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.io).poll_shutdown(cx));
        match &result {
            Ok(()) if !std::mem::replace(&mut this.write_over, true) => {
                this.recorder.end(Direction::ClientToServer);
            }
            Ok(()) => {}
            Err(error) => this.write_failed(error),
        }
        Poll::Ready(result)
    }
}

#[cfg(test)]
mod tests;
