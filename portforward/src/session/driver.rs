//! The future that owns protocol and socket.
//!
//! Each poll, at most [`ROUNDS`] times: requests of the handles, sends round-robin, write, read,
//! events. Never `Pending` with work it could do, never without a registered waker.

use super::shared::{CHUNK_OVERHEAD, End, Shared, StreamCell, wake_all};
use super::stream::{Stream, StreamFailure};
use super::{CloseReason, Config, Incoming};
use bytes::{Buf, Bytes, BytesMut};
use spdy::{Connection, Event, GoAwayStatus, HeaderBlock, RstStatus, StreamId};
use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, sleep_until};

/// Rounds per poll before other tasks get a turn.
const ROUNDS: usize = 16;
/// Bytes read at a time.
const READ: usize = 64 << 10;
/// DATA is handed to the protocol only while less than this waits for the socket, so that control
/// frames and other streams are never far behind.
const WRITE_AHEAD: usize = 256 << 10;
/// Pieces per vectored write.
const SLICES: usize = 64;
/// Payloads shorter than this are copied, so that a few unread bytes do not keep a whole read
/// buffer alive.
const COPY_BELOW: usize = 8 << 10;
/// How long the peer's last bytes are awaited after ours have left.
const LINGER: Duration = Duration::from_secs(1);

/// Moves the bytes of one session; resolves with the reason of its end. Must be polled: spawn it.
#[must_use = "a session does nothing unless its driver is polled"]
#[derive(Debug)]
pub struct Driver<T> {
    io: T,
    input: BytesMut,
    pub(super) conn: Connection,
    pub(super) config: Config,
    pub(super) shared: Arc<Shared>,
    /// `None` once nothing more is admitted.
    admit: Option<mpsc::UnboundedSender<Incoming>>,
    closing: watch::Sender<Option<CloseReason>>,
    pub(super) streams: HashMap<StreamId, Arc<StreamCell>>,
    /// Streams with something to send, each once.
    round: VecDeque<Arc<StreamCell>>,
    requests: Vec<Arc<StreamCell>>,
    /// While reading is paused: when to look for the stream to blame.
    pub(super) blame_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// Streams whose unread bytes are over their budget.
    pub(super) pausing: usize,
    goaway: Option<CloseReason>,
    needs_flush: bool,
    shut_down: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// The reason is known; what is queued leaves until the deadline.
    Draining(CloseReason, Instant),
    Done(CloseReason),
}

impl<T> Driver<T> {
    pub(super) fn new(
        io: T,
        early: BytesMut,
        conn: Connection,
        config: Config,
        shared: Arc<Shared>,
        admit: mpsc::UnboundedSender<Incoming>,
        closing: watch::Sender<Option<CloseReason>>,
    ) -> Self {
        Self {
            io,
            input: early,
            blame_at: None,
            conn,
            config,
            shared,
            admit: Some(admit),
            closing,
            streams: HashMap::new(),
            round: VecDeque::new(),
            requests: Vec::new(),
            timer: Box::pin(sleep_until(Instant::now())),
            pausing: 0,
            goaway: None,
            needs_flush: false,
            shut_down: false,
            phase: Phase::Open,
        }
    }

    /// Ends every stream and tells everyone who waits.
    fn finish(&mut self, reason: &CloseReason) {
        self.admit = None;
        self.closing.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(reason.clone());
            }
            first
        });
        let lost = End::Failed(StreamFailure::SessionLost(reason.clone()));
        for (_, cell) in self.streams.drain() {
            let wakers = cell.lock().finish(lost.clone());
            wake_all(wakers);
        }
        for cell in self.round.drain(..) {
            let wakers = cell.lock().finish(lost.clone());
            wake_all(wakers);
        }
        // Streams asked for but not opened yet.
        self.shared
            .take(&mut self.requests, std::task::Waker::noop());
        for cell in std::mem::take(&mut self.requests) {
            let wakers = cell.lock().finish(lost.clone());
            wake_all(wakers);
        }
    }

    /// What handles asked for since the last round.
    fn handle_requests(&mut self, cx: &Context<'_>) -> bool {
        let mut requests = std::mem::take(&mut self.requests);
        let close = self.shared.take(&mut requests, cx.waker());
        for cell in requests.drain(..) {
            self.handle_request(&cell);
        }
        self.requests = requests;
        close
    }

    fn handle_request(&mut self, cell: &Arc<StreamCell>) {
        let mut state = cell.lock();
        state.listed = false;
        if let Some(headers) = state.open.take() {
            if state.reset.is_some() {
                // Dropped before it was opened: the peer never hears of it.
                return state.drop_sends(&self.shared);
            }
            match self.conn.open(&headers, false) {
                Ok(id) => {
                    state.id = Some(id);
                    self.streams.insert(id, Arc::clone(cell));
                }
                Err(e) => {
                    let wakers = state.finish(End::Failed(StreamFailure::NotOpened(e)));
                    drop(state);
                    return wake_all(wakers);
                }
            }
        }
        let Some(id) = state.id else {
            // Late request on a stream of a session that is over.
            let failure = self.goaway.clone().unwrap_or(CloseReason::Local);
            let wakers = state.finish(End::Failed(StreamFailure::SessionLost(failure)));
            drop(state);
            return wake_all(wakers);
        };
        if std::mem::take(&mut state.reply) {
            // Fails only if the peer has reset the stream meanwhile, which its handle is told.
            state.replied = self.conn.reply(id, &HeaderBlock::new(), false).is_ok();
        }
        if let Some(status) = state.reset.take() {
            self.conn.reset(id, status);
            self.streams.remove(&id);
            state.drop_sends(&self.shared);
            state.set_pausing(false, &mut self.pausing);
            let wakers = state.finish(End::Failed(StreamFailure::ResetLocally(status)));
            drop(state);
            return wake_all(wakers);
        }
        if state.received_bytes < self.config.stream_receive / 2 {
            state.set_pausing(false, &mut self.pausing);
        }
        if state.wants_to_send() && !state.in_round {
            state.in_round = true;
            drop(state);
            self.round.push_back(Arc::clone(cell));
        }
    }

    /// Hands queued bytes to the protocol, one frame per stream and turn.
    fn fill(&mut self) {
        while self.conn.outgoing().len() < WRITE_AHEAD {
            let Some(cell) = self.round.pop_front() else {
                return;
            };
            let mut state = cell.lock();
            state.in_round = false;
            let Some(id) = state.id else { continue };
            let mut chunk = state.sending.pop_front().unwrap_or_default();
            let fin = state.fin && !state.fin_sent && state.sending.is_empty();
            let Ok(n) = self.conn.send(id, &mut chunk, fin) else {
                // Reset or ended: the handle is told by the event.
                state.drop_sends(&self.shared);
                continue;
            };
            state.sending_bytes = state.sending_bytes.saturating_sub(n);
            self.shared.sending_bytes.fetch_sub(n, Ordering::Relaxed);
            state.fin_sent |= fin && chunk.is_empty();
            if !chunk.is_empty() {
                state.sending.push_front(chunk);
            }
            let more = state.wants_to_send();
            state.in_round = more;
            let writer = if state.sending_bytes <= self.shared.stream_send / 2 {
                state.writer.take()
            } else {
                None
            };
            if !self.conn.has_stream(id) {
                self.streams.remove(&id);
            }
            drop(state);
            if more {
                self.round.push_back(cell);
            }
            if let Some(writer) = writer {
                writer.wake();
            }
        }
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.conn.poll_event() {
            match event {
                Event::Data { id, payload, fin } => self.on_data(id, payload, fin),
                Event::Opened { id, headers, fin } => self.on_opened(id, headers, fin),
                Event::Replied { id, fin, .. } => {
                    let Some(cell) = self.streams.get(&id).cloned() else {
                        continue;
                    };
                    let mut state = cell.lock();
                    state.replied = true;
                    let opener = state.opener.take();
                    drop(state);
                    if let Some(opener) = opener {
                        opener.wake();
                    }
                    if fin {
                        self.end_receiving(id, End::Fin);
                    }
                }
                Event::Reset { id, status } => {
                    self.end_receiving(id, End::Failed(StreamFailure::Reset(status)));
                    if let Some(cell) = self.streams.remove(&id) {
                        cell.lock().drop_sends(&self.shared);
                    }
                }
                Event::GoAway { last_good, status } => {
                    self.goaway = Some(CloseReason::GoAway { last_good, status });
                }
                // PONG keeps the peer and the hops between alive; nothing waits for it.
                _ => {}
            }
        }
    }

    fn on_data(&mut self, id: StreamId, payload: Bytes, fin: bool) {
        let Some(cell) = self.streams.get(&id).cloned() else {
            return;
        };
        let mut state = cell.lock();
        let mut reader = None;
        if !payload.is_empty() && !state.reader_gone {
            let charge = payload.len().saturating_add(CHUNK_OVERHEAD);
            state.received_bytes = state.received_bytes.saturating_add(charge);
            self.shared
                .received_bytes
                .fetch_add(charge, Ordering::Relaxed);
            let short = payload.len() < COPY_BELOW;
            state.received.push_back(if short {
                Bytes::copy_from_slice(&payload)
            } else {
                payload
            });
            if state.received_bytes > self.config.stream_receive {
                state.set_pausing(true, &mut self.pausing);
            }
            reader = state.reader.take();
        }
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        if fin {
            self.end_receiving(id, End::Fin);
        }
    }

    fn on_opened(&mut self, id: StreamId, headers: HeaderBlock, fin: bool) {
        let cell = Arc::new(StreamCell::default());
        cell.lock().id = Some(id);
        self.streams.insert(id, Arc::clone(&cell));
        let stream = Stream::new(cell, Arc::clone(&self.shared));
        let incoming = Incoming::new(id, headers, stream);
        // With nobody to take it, it is dropped, which refuses it.
        if let Some(Err(unwanted)) = self.admit.as_ref().map(|admit| admit.send(incoming)) {
            drop(unwanted);
        }
        if fin {
            self.end_receiving(id, End::Fin);
        }
    }

    fn end_receiving(&mut self, id: StreamId, end: End) {
        let Some(cell) = self.streams.get(&id).cloned() else {
            return;
        };
        let failed = matches!(end, End::Failed(_));
        let mut state = cell.lock();
        if failed {
            state.set_pausing(false, &mut self.pausing);
        }
        if state.end.is_none() {
            state.end = Some(end);
        }
        let wakers = if failed {
            state.take_wakers()
        } else {
            [state.reader.take(), None, None]
        };
        drop(state);
        if !self.conn.has_stream(id) {
            self.streams.remove(&id);
        }
        wake_all(wakers);
    }

    /// Starts the orderly end: resets, GOAWAY, then the transport.
    fn begin_close(&mut self) {
        for id in self.streams.keys() {
            self.conn.reset(*id, RstStatus::CANCEL);
        }
        self.conn.go_away(GoAwayStatus::OK);
        self.drain(CloseReason::Local);
    }

    fn drain(&mut self, reason: CloseReason) {
        self.finish(&reason);
        let deadline = Instant::now().checked_add(self.config.drain);
        self.phase = match deadline {
            Some(deadline) => Phase::Draining(reason, deadline),
            None => Phase::Done(reason),
        };
    }

    /// What an end of stream means.
    fn on_eof(&self) -> CloseReason {
        match &self.goaway {
            Some(reason) => reason.clone(),
            None if self.conn.is_between_frames(&self.input) => CloseReason::Eof,
            None => CloseReason::Cut,
        }
    }

    fn on_io_error(&self, error: &io::Error) -> CloseReason {
        // TLS without its close_notify: what an end of stream means, it means too.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.on_eof();
        }
        // Peers close hard after GOAWAY; the GOAWAY is the reason.
        self.goaway
            .clone()
            .unwrap_or_else(|| CloseReason::Transport(error.to_string()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        for _ in 0..ROUNDS {
            if self.handle_requests(cx) {
                self.begin_close();
                return self.poll_drain(cx);
            }
            self.fill();
            let socket_full = match self.poll_write(cx) {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(e)) => return Poll::Ready(self.on_io_error(&e)),
                Poll::Pending => true,
            };
            let mut progress = false;
            if self.may_read() {
                match self.poll_fill_input(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(self.on_eof()),
                    Poll::Ready(Ok(_)) => progress = true,
                    Poll::Ready(Err(e)) => return Poll::Ready(self.on_io_error(&e)),
                    Poll::Pending => {}
                }
            }
            progress |= self.poll_timer(cx);
            // Also without new bytes: what was left over waits for answers to leave.
            let before = self.input.len();
            let received = self.conn.recv(Instant::now().into_std(), &mut self.input);
            progress |= self.input.len() != before;
            self.handle_events();
            if let Err(e) = received {
                // GOAWAY is queued and should leave.
                self.drain(CloseReason::Protocol(e));
                return self.poll_drain(cx);
            }
            progress |= !socket_full && !self.conn.outgoing().is_empty();
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes and flushes all that is queued.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.conn.outgoing().is_empty() {
                if self.needs_flush {
                    std::task::ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                    self.needs_flush = false;
                }
                return Poll::Ready(Ok(()));
            }
            let io = Pin::new(&mut self.io);
            let n = if io.is_write_vectored() {
                let outgoing = &*self.conn.outgoing();
                let mut slices = [IoSlice::new(&[]); SLICES];
                let filled = outgoing.chunks_vectored(&mut slices);
                io.poll_write_vectored(cx, slices.get(..filled).unwrap_or_default())
            } else {
                io.poll_write(cx, self.conn.outgoing().chunk())
            };
            let n = std::task::ready!(n)?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.conn.outgoing().advance(n);
            self.needs_flush = true;
            self.fill();
        }
    }

    fn poll_fill_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity().saturating_sub(self.input.len()) < READ / 4 {
            self.input.reserve(READ);
        }
        pin!(self.io.read_buf(&mut self.input)).poll(cx)
    }

    /// Arms the timer for the earliest deadline. `true` if one has passed and was handled.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let ping = self.conn.poll_timeout().map(Instant::from_std);
        let mut handled = false;
        if ping.is_some_and(|due| due <= now) {
            self.conn.handle_timeout(now.into_std());
            handled = true;
        }
        if self.blame_at.is_some_and(|due| due <= now) {
            self.reset_stalled();
            self.watch_progress();
            handled = true;
        }
        let ping = self.conn.poll_timeout().map(Instant::from_std);
        if let Some(next) = ping.into_iter().chain(self.blame_at).min() {
            if self.timer.deadline() != next {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_ready() {
                // Passed between the two looks at the clock.
                cx.waker().wake_by_ref();
            }
        }
        handled
    }

    /// The last bytes leave, then the transport closes; the peer's last bytes are read and
    /// dropped, so that closing the socket does not destroy what it has not read yet.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let Phase::Draining(reason, deadline) = &self.phase else {
            return Poll::Pending;
        };
        let (reason, deadline) = (reason.clone(), *deadline);
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(reason);
        }
        if let Poll::Ready(Err(_)) = self.poll_write(cx) {
            return Poll::Ready(reason);
        }
        if self.conn.outgoing().is_empty()
            && !self.shut_down
            && let Poll::Ready(result) = Pin::new(&mut self.io).poll_shutdown(cx)
        {
            if result.is_err() {
                return Poll::Ready(reason);
            }
            self.shut_down = true;
            let linger = Instant::now()
                .checked_add(LINGER)
                .unwrap_or(deadline)
                .min(deadline);
            self.phase = Phase::Draining(reason.clone(), linger);
            cx.waker().wake_by_ref();
        }
        loop {
            self.input.clear();
            match self.poll_fill_input(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(reason),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let this = &mut *self;
        let polled = match &this.phase {
            Phase::Open => this.poll_open(cx),
            Phase::Draining(..) => this.poll_drain(cx),
            Phase::Done(reason) => return Poll::Ready(reason.clone()),
        };
        let reason = match (polled, &this.phase) {
            (Poll::Ready(reason), _) => reason,
            (Poll::Pending, _) => return Poll::Pending,
        };
        this.finish(&reason);
        this.phase = Phase::Done(reason.clone());
        Poll::Ready(reason)
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.finish(&CloseReason::Local);
    }
}
