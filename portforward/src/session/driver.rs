//! The future that owns protocol and socket.
//!
//! Each poll, at most [`ROUNDS`] times: requests of the handles, sends round-robin, write, read,
//! events. Never `Pending` with work it could do, never without a registered waker.

use super::lanes::Lanes;
use super::life::Life;
use super::shared::{Shared, StreamCell, StreamState, wake_all};
use super::stream::StreamFailure;
use super::sync::MutexGuard;
use super::{CHUNK, CloseReason, Config, Incoming};
use crate::transport::{ReadSize, poll_read_once, poll_write_once};
use bytes::BytesMut;
use spdy::{Connection, GoAwayStatus, HeaderBlock, Role, RstStatus, StreamId};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, sleep_until};

/// Rounds per poll before other tasks get a turn.
const ROUNDS: usize = 16;
/// DATA is handed to the protocol only while less than this waits for the socket, so that control
/// frames and other streams are never far behind.
const WRITE_AHEAD: usize = 256 << 10;
/// How long the peer's last bytes are awaited after ours have left.
const LINGER: Duration = Duration::from_secs(1);

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a connection"
)]
/// Moves the bytes of one session; resolves with the reason of its end. Must be polled: spawn it.
///
/// # Cancel safety
/// Dropping it ends the session and the transport at once: every stream is an error to its reader.
#[must_use = "a session does nothing unless its driver is polled"]
pub struct Driver<T> {
    io: T,
    input: BytesMut,
    read_size: ReadSize,
    pub(super) conn: Connection,
    pub(super) config: Config,
    pub(super) shared: Arc<Shared>,
    /// `None` once nothing more is admitted.
    pub(super) admit: Option<mpsc::Sender<Incoming>>,
    closing: watch::Sender<Option<CloseReason>>,
    /// In order of their ids, so that the same history gives the same session.
    pub(super) streams: BTreeMap<StreamId, Arc<StreamCell>>,
    /// Streams that the protocol has forgotten, of which something is still unread or not told.
    pub(super) unread: BTreeMap<StreamId, Arc<StreamCell>>,
    /// Streams with something to send, each once.
    pub(super) round: VecDeque<Arc<StreamCell>>,
    requests: Vec<Arc<StreamCell>>,
    pub(super) lanes: Lanes,
    /// Both sides count windows.
    pub(super) windows: bool,
    /// The peer was offered to.
    pub(super) offered: bool,
    /// While reading is paused: when to look for the stream to blame.
    pub(super) blame_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// Streams whose unread bytes are over their budget.
    pub(super) pausing: usize,
    pub(super) goaway: Option<CloseReason>,
    /// When a session that the peer has said goodbye to ends, streams or not.
    pub(super) goaway_deadline: Option<Instant>,
    pub(super) life: Life,
    /// Why nothing is written any more; what the peer sent before is still read, until then.
    pub(super) write_failed: Option<(CloseReason, Instant)>,
    eof: bool,
    pub(super) needs_flush: bool,
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

impl<T> fmt::Debug for Driver<T> {
    /// Never the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("streams", &self.streams.len())
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl<T> Driver<T> {
    pub(super) fn new(
        io: T,
        early: BytesMut,
        conn: Connection,
        config: Config,
        shared: Arc<Shared>,
        admit: mpsc::Sender<Incoming>,
        closing: watch::Sender<Option<CloseReason>>,
    ) -> Self {
        let client = config.spdy.role == Role::Client;
        let lanes = client && config.lanes;
        let offered = !(client && config.windows);
        Self {
            io,
            input: early,
            read_size: ReadSize::new(),
            blame_at: None,
            conn,
            config,
            shared,
            admit: Some(admit),
            closing,
            streams: BTreeMap::new(),
            unread: BTreeMap::new(),
            round: VecDeque::new(),
            requests: Vec::new(),
            lanes: Lanes::new(lanes),
            windows: false,
            offered,
            timer: Box::pin(sleep_until(Instant::now())),
            pausing: 0,
            goaway: None,
            goaway_deadline: None,
            life: Life::new(Instant::now()),
            write_failed: None,
            eof: false,
            needs_flush: false,
            shut_down: false,
            phase: Phase::Open,
        }
    }

    /// Ends every stream and tells everyone who waits.
    fn finish(&mut self, reason: &CloseReason) {
        self.admit = None;
        #[cfg(all(test, pf_loom))]
        self.shared.meet();
        self.closing.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(reason.clone());
            }
            first
        });
        // Streams asked for but not opened yet are in the list of requests.
        self.shared.take(&mut self.requests, Waker::noop());
        let requests = std::mem::take(&mut self.requests);
        let lost = StreamFailure::SessionLost(reason.clone());
        let streams = std::mem::take(&mut self.streams);
        let unread = std::mem::take(&mut self.unread);
        let streams = streams.into_values().chain(unread.into_values());
        for cell in streams.chain(self.round.drain(..)).chain(requests) {
            let wakers = cell.lock().fail(&lost);
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
        let reset = state.reset.take();
        if let Some(open) = state.open.take() {
            // Reset before it was opened: the peer never hears of it.
            let opened = match reset {
                Some(status) => Err(StreamFailure::ResetLocally(status)),
                None => self.open(open).map_err(StreamFailure::NotOpened),
            };
            match opened {
                Ok(id) => {
                    state.id = Some(id);
                    self.streams.insert(id, Arc::clone(cell));
                    self.lanes.opened(id);
                }
                Err(failure) => return self.give_up(state, &failure),
            }
        }
        let Some(id) = state.id else {
            // It was never opened, and its handle knows.
            return state.drop_sends(&self.shared);
        };
        if std::mem::take(&mut state.reply) {
            // Fails only if the peer has reset the stream meanwhile, which its handle is told.
            state.replied = self.conn.reply(id, &HeaderBlock::new(), false).is_ok();
        }
        if let Some(status) = reset {
            self.conn.reset(id, status);
            self.lanes.sent(id, 0);
            self.remove(id);
            self.unread.remove(&id);
            return self.give_up(state, &StreamFailure::ResetLocally(status));
        }
        if state.received_bytes < self.config.stream_receive / 2 {
            state.set_pausing(false, &mut self.pausing);
        }
        if self.windows {
            self.conn.consumed(id, std::mem::take(&mut state.consumed));
        }
        if state.received_bytes == 0 {
            self.unread.remove(&id);
        }
        drop(state);
        self.take_turn(cell);
    }

    /// Puts a stream with something to send into the round.
    pub(super) fn take_turn(&mut self, cell: &Arc<StreamCell>) {
        let mut state = cell.lock();
        if state.wants_to_send() && !state.in_round {
            state.in_round = true;
            drop(state);
            self.round.push_back(Arc::clone(cell));
        }
    }

    /// Both directions of a stream are over.
    pub(super) fn give_up(
        &mut self,
        mut state: MutexGuard<'_, StreamState>,
        failure: &StreamFailure,
    ) {
        state.drop_sends(&self.shared);
        state.set_pausing(false, &mut self.pausing);
        let wakers = state.fail(failure);
        drop(state);
        wake_all(wakers);
    }

    /// The protocol may have forgotten a stream; what of it is unread still counts.
    pub(super) fn forget_if_done(&mut self, id: StreamId) {
        if self.conn.has_stream(id) {
            return;
        }
        if let Some(cell) = self.remove(id) {
            let state = cell.lock();
            // Forgotten before our FIN: the peer's reset came right behind its own, and is told next.
            if state.received_bytes > 0 || !state.fin_sent {
                drop(state);
                self.unread.insert(id, cell);
            }
        }
    }

    /// Hands queued bytes to the protocol, one frame per stream and turn.
    pub(super) fn fill(&mut self) {
        while self.has_room() {
            let Some(cell) = self.round.pop_front() else {
                break;
            };
            self.send_one(&cell);
        }
        self.ask();
    }

    /// Whether another frame may be handed to the protocol: however long, it puts no more than [`WRITE_AHEAD`] and a
    /// [`CHUNK`] before who comes next, unless nothing else waits.
    fn has_room(&mut self) -> bool {
        let turn = turn(self.round.len().saturating_sub(1));
        let turn = turn.min(self.config.spdy.data_payload);
        let room = WRITE_AHEAD.saturating_add(CHUNK).saturating_sub(turn);
        self.conn.outgoing().len() < room.clamp(1, WRITE_AHEAD)
    }

    /// One frame of one stream.
    fn send_one(&mut self, cell: &Arc<StreamCell>) {
        let mut state = cell.lock();
        state.in_round = false;
        let Some(id) = state.id else { return };
        if self.lanes.is_on() && !self.lanes.may_send(id, state.sent, cell, Instant::now()) {
            // Kept there; it stands in no other line.
            state.in_round = true;
            return;
        }
        let mut chunk = state.next_to_send(turn(self.round.len()), &self.shared);
        let fin = state.fin && !state.fin_sent && state.sending.is_empty();
        let Ok(n) = self.conn.send(id, &mut chunk, fin) else {
            // The peer's reset was told when it came; what is left is a one-way stream.
            self.give_up(state, &StreamFailure::NotWritable);
            return;
        };
        if n == 0 && !chunk.is_empty() {
            // No room there: `Event::Writable` puts it back into the round.
            state.sending.push_front(chunk);
            return;
        }
        state.fin_sent |= fin && chunk.is_empty();
        self.shared.count_moved(n);
        state.asked |= n > 0;
        state.taken(n, chunk, &self.shared);
        self.lanes.sent(id, state.sent);
        let more = state.wants_to_send();
        state.in_round = more;
        let writer = state.writer_with_room(&self.shared);
        drop(state);
        self.forget_if_done(id);
        if more {
            self.round.push_back(Arc::clone(cell));
        }
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Starts the orderly end: resets, GOAWAY, then the transport.
    fn begin_close(&mut self) {
        for id in self.streams.keys() {
            self.conn.reset(*id, RstStatus::CANCEL);
        }
        self.conn
            .go_away(Instant::now().into_std(), GoAwayStatus::OK);
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
        match (&self.goaway, &self.write_failed) {
            (Some(reason), _) | (None, Some((reason, _))) => reason.clone(),
            (None, None) if self.conn.is_between_frames(&self.input) => CloseReason::Eof,
            (None, None) => CloseReason::Cut,
        }
    }

    /// When a session that has been said goodbye to, or that cannot be written to, ends at last.
    pub(super) fn goodbye(&self) -> Option<(Instant, CloseReason)> {
        let goaway = self.goaway_deadline.map(|at| (at, self.on_eof()));
        let failed = self
            .write_failed
            .as_ref()
            .map(|(reason, at)| (*at, reason.clone()));
        goaway.into_iter().chain(failed).min_by_key(|(at, _)| *at)
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

/// Payload a stream may send at a time beside as many others in line: a long frame only while there are none.
const fn turn(others: usize) -> usize {
    if others > 0 { CHUNK } else { usize::MAX }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        match self.poll_rounds(cx) {
            Ok(poll) => poll,
            Err(reason) => Poll::Ready(reason),
        }
    }

    fn poll_rounds(&mut self, cx: &mut Context<'_>) -> Result<Poll<CloseReason>, CloseReason> {
        for _ in 0..ROUNDS {
            if self.handle_requests(cx) {
                self.begin_close();
                return Ok(self.poll_drain(cx));
            }
            self.fill();
            let socket_full = self.write_failed.is_some() || self.write_some(cx);
            let mut progress = self.may_read() && self.read_some(cx)?;
            // Also without new bytes: what was left over waits for answers to leave.
            let before = self.input.len();
            let received = self.conn.recv(Instant::now().into_std(), &mut self.input);
            progress |= self.input.len() != before;
            self.handle_events();
            if let Err(e) = received {
                // GOAWAY is queued and should leave.
                self.drain(CloseReason::Protocol(e));
                return Ok(self.poll_drain(cx));
            }
            if self.eof && !progress {
                return Err(self.on_eof());
            }
            if self.goaway.is_some() && self.streams.is_empty() && self.conn.outgoing().is_empty() {
                return Err(self.on_eof());
            }
            // Framing makes room, which streams that wait for it are told by an event.
            let to_write = !self.conn.outgoing().is_empty();
            self.handle_events();
            progress |= to_write && !socket_full;
            progress |= !self.round.is_empty() && self.has_room();
            if !progress && !self.poll_timer(cx)? {
                self.tell_load();
                return Ok(Poll::Pending);
            }
        }
        self.tell_load();
        cx.waker().wake_by_ref();
        Ok(Poll::Pending)
    }

    /// Writes what it can. `true`: the socket takes no more now.
    fn write_some(&mut self, cx: &mut Context<'_>) -> bool {
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(e)) => {
                // What the peer sent before it closed may still be there to read.
                let until = Instant::now()
                    .checked_add(self.config.drain)
                    .unwrap_or_else(Instant::now);
                self.write_failed = Some((self.on_io_error(&e), until));
                self.conn.end_of_output();
                true
            }
            Poll::Pending => true,
        }
    }

    /// Reads once. `Ok(true)`: there was something, if only the end.
    fn read_some(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        if self.eof {
            return Ok(false);
        }
        match self.poll_fill_input(cx) {
            Poll::Ready(Ok(0)) => {
                self.eof = true;
                // Nothing that waits to leave may keep what arrived from being understood.
                self.conn.end_of_output();
                Ok(true)
            }
            Poll::Ready(Ok(_)) => {
                self.life.received();
                Ok(true)
            }
            Poll::Ready(Err(e)) => Err(match self.write_failed.take() {
                Some((reason, _)) => reason,
                None => self.on_io_error(&e),
            }),
            Poll::Pending => Ok(false),
        }
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
            std::task::ready!(poll_write_once(&mut self.io, self.conn.outgoing(), cx))?;
            self.life.sent();
            self.needs_flush = true;
            self.fill();
        }
    }

    fn poll_fill_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_read_once(&mut self.io, &mut self.input, &mut self.read_size, cx)
    }

    /// Does what is due and arms the timer for what comes next. `Ok(true)`: look again.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let waiting = self.conn.outgoing().len();
        let Some(next) = self.handle_deadlines()? else {
            return Ok(false);
        };
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
        }
        let passed = self.timer.as_mut().poll(cx).is_ready();
        Ok(passed || self.conn.outgoing().len() != waiting)
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
