//! What handles and driver share: per stream two queues and three wakers, per session the list of
//! streams that want the driver's attention.

use super::lanes::LANES;
use super::stream::StreamFailure;
use super::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard};
use bytes::Bytes;
use spdy::{HeaderBlock, RstStatus, StreamId};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize as Count, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Waker;

/// How the peer's direction of a stream ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Fin,
    Failed(StreamFailure),
}

/// One stream, between its handle and the driver. Locked briefly by both, never both ways.
#[derive(Default)]
pub(super) struct StreamCell {
    state: Mutex<StreamState>,
}

impl fmt::Debug for StreamCell {
    /// Never the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("StreamCell")
            .field("id", &state.id)
            .field("received_bytes", &state.received_bytes)
            .field("sending_bytes", &state.sending_bytes)
            .field("failure", &state.failure)
            .finish_non_exhaustive()
    }
}

impl StreamCell {
    pub(super) fn lock(&self) -> MutexGuard<'_, StreamState> {
        // A panic elsewhere leaves plain queues behind, which are still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each set by one side"
)]
pub(super) struct StreamState {
    /// Known once SYN_STREAM was sent or received.
    pub(super) id: Option<StreamId>,

    // Received: the driver appends, the handle takes.
    pub(super) received: VecDeque<Bytes>,
    /// Charged bytes in `received`.
    pub(super) received_bytes: usize,
    /// How the peer's direction ended, for the reader.
    pub(super) end: Option<End>,
    /// The stream is over in both directions, also when FIN had been received before: for
    /// everybody but the reader.
    pub(super) failure: Option<StreamFailure>,
    pub(super) watcher: Option<Waker>,
    /// Nothing can be sent any more, though the peer's end was no failure.
    pub(super) write_over: Option<StreamFailure>,
    pub(super) reader: Option<Waker>,
    /// Payload that was read, or will not be, and is not credited to the peer yet.
    pub(super) consumed: usize,
    /// Something was read since the driver last looked for stalled streams.
    pub(super) progressed: bool,
    /// Of the looks that are over so many in a row found nothing read.
    pub(super) looks: u32,
    /// The writer has been waiting for room since then.
    pub(super) waits_to_send: bool,
    /// Something was sent since reading paused: an answer is waited for.
    pub(super) asked: bool,
    /// Nobody will read: the driver discards.
    pub(super) reader_gone: bool,
    /// The driver stopped reading the connection because of this stream.
    pub(super) pausing: bool,

    // To send: the handle appends, the driver takes.
    pub(super) sending: VecDeque<Bytes>,
    pub(super) sending_bytes: usize,
    /// FIN follows the last of `sending`.
    pub(super) fin: bool,
    /// Bytes handed to the protocol.
    pub(super) sent: u64,
    /// The driver has handed FIN to the protocol.
    pub(super) fin_sent: bool,
    pub(super) writer: Option<Waker>,

    // Requests to the driver.
    pub(super) open: Option<Open>,
    pub(super) reply: bool,
    pub(super) reset: Option<RstStatus>,
    /// In the session's list already.
    pub(super) listed: bool,
    /// In the driver's round of streams with something to send.
    pub(super) in_round: bool,

    pub(super) replied: bool,
    pub(super) opener: Option<Waker>,
}

impl StreamState {
    /// Everyone who waits, to be woken after the lock is released.
    pub(super) fn take_wakers(&mut self) -> Wakers {
        [
            self.reader.take(),
            self.take_writer(),
            self.opener.take(),
            self.watcher.take(),
        ]
    }

    /// The stream is over; what was received before stays readable. The first failure counts.
    pub(super) fn fail(&mut self, failure: &StreamFailure) -> Wakers {
        if self.end.is_none() {
            self.end = Some(End::Failed(failure.clone()));
        }
        self.failure.get_or_insert_with(|| failure.clone());
        self.take_wakers()
    }

    /// Keeps the driver's count of pausing streams true.
    pub(super) fn set_pausing(&mut self, on: bool, count: &mut usize) {
        match (self.pausing, on) {
            (false, true) => *count = count.saturating_add(1),
            (true, false) => *count = count.saturating_sub(1),
            _ => {}
        }
        self.pausing = on;
    }

    /// What the driver could send now.
    pub(super) fn wants_to_send(&self) -> bool {
        !self.sending.is_empty() || (self.fin && !self.fin_sent)
    }
}

/// A stream to be opened.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) headers: HeaderBlock,
    pub(super) lane: Lane,
}

/// Where a stream goes at a peer that works on streams by the remainder of their ids.
#[derive(Debug)]
pub(super) enum Lane {
    /// Nobody cares.
    Any,
    /// The one with the fewest.
    New,
    /// Where another one is.
    Of(Arc<StreamCell>),
}

/// Everyone who can wait for a stream.
pub(super) type Wakers = [Option<Waker>; 4];

pub(super) fn wake_all(wakers: Wakers) {
    for waker in wakers.into_iter().flatten() {
        waker.wake();
    }
}

/// What a handle asks of the driver.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    Reply,
    Reset(RstStatus),
    /// Something to send, or room to receive.
    Attend,
}

#[derive(Debug, Default)]
struct Attention {
    streams: Vec<Arc<StreamCell>>,
    close: bool,
    driver: Option<Waker>,
}

/// One session, between its handles and the driver.
#[derive(Debug)]
pub(super) struct Shared {
    attention: Mutex<Attention>,
    /// Charged bytes received and not read yet, over all streams.
    pub(super) received_bytes: AtomicUsize,
    /// Bytes queued for sending, over all streams.
    pub(super) sending_bytes: AtomicUsize,
    /// The driver waits for `received_bytes` to fall.
    pub(super) paused: AtomicBool,
    /// The peer waits for credit: what is read is reported to the driver.
    pub(super) windows: AtomicBool,
    /// Payload that crossed, in both directions.
    pub(super) moved: AtomicU64,
    /// Lanes without a stream, and lanes that are blocked: for who asks, nothing depends on them.
    pub(super) free_lanes: Count,
    pub(super) blocked_lanes: Count,
    pub(super) stream_send: usize,
    pub(super) session_send: usize,
    /// What is worth being sent at a time.
    pub(super) chunk: usize,
}

impl Shared {
    pub(super) fn new(stream_send: usize, session_send: usize, chunk: usize) -> Self {
        Self {
            attention: Mutex::default(),
            received_bytes: AtomicUsize::new(0),
            sending_bytes: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            windows: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            free_lanes: Count::new(LANES),
            blocked_lanes: Count::new(0),
            stream_send,
            session_send,
            chunk,
        }
    }

    /// The channel that tells the end of the session is none of loom's: here it sees who uses it.
    #[cfg(all(test, pf_loom))]
    pub(super) fn meet(&self) {
        self.sending_bytes.fetch_add(0, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Attention> {
        self.attention
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a stream on the driver's list and wakes it.
    pub(super) fn enqueue(&self, cell: &Arc<StreamCell>) {
        if std::mem::replace(&mut cell.lock().listed, true) {
            return;
        }
        let waker = {
            let mut attention = self.lock();
            attention.streams.push(Arc::clone(cell));
            attention.driver.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn request_close(&self) {
        let waker = {
            let mut attention = self.lock();
            attention.close = true;
            attention.driver.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the driver without a particular stream.
    pub(super) fn wake_driver(&self) {
        let waker = self.lock().driver.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Streams that asked for attention, into `streams`, and whether to close; `waker` is called
    /// for the next request.
    pub(super) fn take(&self, streams: &mut Vec<Arc<StreamCell>>, waker: &Waker) -> bool {
        let mut attention = self.lock();
        std::mem::swap(&mut attention.streams, streams);
        if !attention
            .driver
            .as_ref()
            .is_some_and(|w| w.will_wake(waker))
        {
            attention.driver = Some(waker.clone());
        }
        attention.close
    }

    /// Payload crossed.
    pub(super) fn count_moved(&self, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        self.moved.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn uncharge_received(&self, n: usize) {
        self.received_bytes.fetch_sub(n, Ordering::SeqCst);
        if self.paused.load(Ordering::SeqCst) {
            self.wake_driver();
        }
    }
}
