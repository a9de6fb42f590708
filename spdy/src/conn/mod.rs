//! One side of one SPDY connection.
//!
//! ```text
//!                 open() / SYN_STREAM
//!                          |
//!                          v
//!                 +------- open -------+
//!    FIN sent     |                    |    FIN received
//!                 v                    v
//!          half-closed(local)   half-closed(remote)
//!                 |                    |
//!    FIN received |                    | FIN sent
//!                 +----> forgotten <---+
//!                          ^
//!                          |  reset() / RST_STREAM, from any state
//! ```
//!
//! A forgotten stream costs nothing; frames that still arrive for it are dropped in silence, as
//! peers produce them legally (PROTOCOL.md 1.5).

mod receive;
mod send;
mod streams;
#[cfg(test)]
mod tests;
mod timers;
mod watch;

use crate::codec::{Decoder, Encoder};
use crate::config::{Config, Dialect, INITIAL_WINDOW};
use crate::error::{ConfigError, ConnectionError, ConnectionErrorKind, EncodeError, StreamError};
use crate::event::{Event, Stats};
use crate::flow::{Mode, ReceiveWindow, SendWindow};
use crate::frame::{Frame, Ping, Setting, Settings, WindowUpdate};
use crate::id_map::IdMap;
use crate::outgoing::{Cause, Outgoing};
use crate::queue::Queues;
use crate::status::GoAwayStatus;
use crate::stream_id::StreamId;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::time::Instant;
use timers::Timers;
use watch::Watch;

/// Bytes that one call of [`Connection::recv`] may inflate before it lets others work.
const INFLATE_PER_CALL: u64 = 256 << 10;
/// PINGs of ours that may wait for their answers.
const PINGS: usize = 64;
/// Bytes of FINs for each stream there can be: three frames.
const FINS: usize = 24;

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts, not a state"
)]
struct Stream {
    /// We may send DATA.
    local_open: bool,
    /// The peer may send DATA.
    remote_open: bool,
    /// SYN_REPLY was sent or received.
    replied: bool,
    /// This side opened it.
    own: bool,
    priority: u8,
    /// HEADERS frames received (B13).
    headers_frames: u16,
    /// Payload received and not consumed (B14).
    unconsumed: usize,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    /// Number of its last frame in [`Outgoing`].
    last_data: u64,
}

/// The state machine. See the crate documentation for an example.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    decoder: Decoder,
    encoder: Encoder,
    outgoing: Outgoing,
    queues: Queues,
    events: VecDeque<Event>,
    /// What `events` hold beside payload.
    event_bytes: usize,
    streams: IdMap<Stream>,
    /// Unconsumed payload of streams that are forgotten.
    unread: IdMap<usize>,
    peer_streams: usize,
    unanswered: usize,
    /// Next id of ours; above [`StreamId::MAX`] when used up.
    next_id: u32,
    /// The last one of the peer's that was looked at, for GOAWAY to name.
    last_peer_id: u32,
    /// The highest that the peer has opened, also behind a GOAWAY.
    last_seen_id: u32,
    /// GOAWAY came.
    going_away: bool,
    /// GOAWAY was sent, or waits in `goaway`.
    goaway_sent: bool,
    /// GOAWAY that leaves when nothing else waits.
    goaway: Option<GoAwayStatus>,
    output_ended: bool,
    flow: Mode,
    /// What the peer grants new streams.
    peer_window: u32,
    /// Streams the peer takes at a time.
    peer_max_streams: Option<usize>,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    /// Payload received and not consumed, of all streams.
    unconsumed: usize,
    /// Streams of which more is unconsumed than B14 allows.
    over: usize,
    next_ping_id: u32,
    /// Our PINGs on their way.
    pinged: VecDeque<(u32, Instant)>,
    timers: Timers,
    watch: Watch,
    stats: Stats,
    failed: Option<ConnectionError>,
    /// DATA frames' bytes that may wait to be written: what is framed ahead, one frame more, and FINs.
    most_data: usize,
}

fn most_data(config: &Config) -> usize {
    let limits = &config.limits;
    let streams = limits.peer_streams.saturating_add(limits.own_streams);
    (config.write_ahead)
        .saturating_add(config.data_payload)
        .saturating_add(streams.saturating_mul(FINS))
}

impl Connection {
    /// A fresh connection, after the upgrade. In [`Dialect::Kubernetes`] it sends nothing by
    /// itself: a server must stay silent until the client's first frame (PROTOCOL.md 2.2). In
    /// [`Dialect::Spdy31`] SETTINGS wait to be written.
    ///
    /// # Errors
    /// A value of the configuration is out of its range.
    pub fn new(config: Config, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let mut conn = Self {
            decoder: Decoder::with_dialect(config.dialect, config.limits.clone()),
            encoder: Encoder::new(config.header_encoding, &config.limits),
            outgoing: Outgoing::default(),
            queues: Queues::default(),
            events: VecDeque::new(),
            event_bytes: 0,
            streams: IdMap::default(),
            unread: IdMap::default(),
            peer_streams: 0,
            unanswered: 0,
            next_id: config.first_id(),
            last_peer_id: 0,
            last_seen_id: 0,
            going_away: false,
            goaway_sent: false,
            goaway: None,
            output_ended: false,
            flow: Mode::new(config.flow_control),
            peer_window: INITIAL_WINDOW,
            peer_max_streams: None,
            send_window: SendWindow::new(INITIAL_WINDOW),
            receive_window: ReceiveWindow::new(config.session_window),
            unconsumed: 0,
            over: 0,
            next_ping_id: config.first_ping_id(),
            pinged: VecDeque::new(),
            timers: Timers::new(&config, now),
            watch: Watch::default(),
            stats: Stats::default(),
            failed: None,
            most_data: most_data(&config),
            config,
        };
        if conn.config.dialect == Dialect::Spdy31 || conn.flow.is_active() {
            conn.announce();
        }
        Ok(conn)
    }

    /// SETTINGS, and the connection's window if it is not what every connection begins with.
    fn announce(&mut self) {
        let entry = |id, value| Setting {
            flags: 0,
            id,
            value,
        };
        let streams = u32::try_from(self.config.limits.peer_streams).unwrap_or(u32::MAX);
        let mut entries = vec![entry(Setting::MAX_CONCURRENT_STREAMS, streams)];
        if self.flow.is_active() {
            let window = self.config.stream_window;
            entries.push(entry(Setting::INITIAL_WINDOW_SIZE, window));
        }
        let clear = false;
        self.control(&Frame::Settings(Settings { clear, entries }), Cause::Ours);
        let more = self.config.session_window.saturating_sub(INITIAL_WINDOW);
        if self.flow.is_active() && more > 0 {
            let update = WindowUpdate { id: 0, delta: more };
            self.control(&Frame::WindowUpdate(update), Cause::Ours);
        }
    }

    /// Takes bytes of the peer off `input` and turns them into events and answers. Consumes all
    /// whole frames, unless it [is blocked](Connection::is_blocked), [is full](Connection::is_full),
    /// or many large header blocks came at once: then call it again, even without new bytes.
    ///
    /// # Errors
    /// The peer broke the protocol; GOAWAY is queued, nothing more is read. Events found before
    /// the error are still there. Every further call gives the same error.
    pub fn recv(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ConnectionError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.timers.input(now, input.len());
        self.look_at_pause(now);
        let result = self.read(now, input);
        self.timers.left(input.len());
        self.look_at_pause(now);
        result.map_err(|e| self.fail(e))
    }

    fn read(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ConnectionError> {
        let inflated = self.decoder.inflated();
        while !self.is_blocked() && !self.is_full() {
            // Header blocks are work out of proportion to their size on the wire.
            if self.decoder.inflated().saturating_sub(inflated) > INFLATE_PER_CALL {
                return Ok(());
            }
            match self.decoder.decode(input)? {
                Some(frame) => self.on_frame(now, frame)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether answers that the peer provoked must leave before more is read (B10), or more FINs than
    /// there can be streams: control frames go first, and a peer that provokes enough of them would keep
    /// the FINs of streams that are long forgotten.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        let limits = &self.config.limits;
        let of_streams = limits.frames_of(limits.peer_streams);
        let waiting = self.outgoing.waiting();
        waiting.provoked >= limits.queued_replies
            || waiting.stream >= of_streams
            || self.outgoing.data_len() > self.most_data
    }

    /// Whether something must be polled or [consumed](Connection::consumed) before more is read
    /// (B12, B14).
    #[must_use]
    pub fn is_full(&self) -> bool {
        let limits = &self.config.limits;
        let queued = self.events.len().saturating_mul(limits.event_overhead);
        let queued = queued.saturating_add(self.event_bytes);
        self.over > 0 || self.unconsumed.saturating_add(queued) > limits.session_receive
    }

    /// The streams of which more is unconsumed than [`crate::Limits::stream_receive`], so that
    /// nothing is read: consume, or reset one.
    pub fn stalled(&self) -> impl Iterator<Item = StreamId> {
        let limit = self.config.limits.stream_receive;
        let live = self.streams.iter().map(|(id, s)| (*id, s.unconsumed));
        let ended = self.unread.iter().map(|(id, n)| (*id, *n));
        live.chain(ended)
            .filter(move |(_, n)| *n > limit)
            .map(|(id, _)| id)
    }

    /// Nothing more will be written: what waits is dropped, and so is what is queued from now on, as
    /// if it had left. Answers no longer hold up [`Connection::recv`]; no [`Event::Writable`] comes.
    pub fn end_of_output(&mut self) {
        self.output_ended = true;
        self.goaway = None;
        self.queues.clear();
        self.outgoing.end();
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            self.forget_if_done(id);
        }
    }

    /// Whether the bytes received so far end between frames, `input` being what
    /// [`Connection::recv`] left over. An end of stream elsewhere cut a frame.
    #[must_use]
    pub fn is_between_frames(&self, input: &BytesMut) -> bool {
        input.is_empty() && self.decoder.is_between_frames()
    }

    /// What the peer did, oldest first.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.event_bytes = self.event_bytes.saturating_sub(event.held());
        Some(event)
    }

    fn push_event(&mut self, event: Event) {
        self.event_bytes = self.event_bytes.saturating_add(event.held());
        self.events.push_back(event);
    }

    /// Says that `n` bytes of a stream's payload are gone: read, or thrown away. This is the only
    /// way credit returns to the peer with flow control, and room without. Bytes of streams that
    /// have ended count until then too; of streams reset by [`Connection::reset`] they do not.
    /// More than was received is cut to that.
    pub fn consumed(&mut self, id: StreamId, n: usize) {
        let limit = self.config.limits.stream_receive;
        let n = if let Some(stream) = self.streams.get_mut(&id) {
            let n = n.min(stream.unconsumed);
            let left = stream.unconsumed.saturating_sub(n);
            let was_over = stream.unconsumed > limit && left <= limit;
            self.over = self.over.saturating_sub(usize::from(was_over));
            stream.unconsumed = left;
            stream.receive_window.owe(n);
            self.credit_stream(id);
            n
        } else if let Some(unread) = self.unread.get_mut(&id) {
            let n = n.min(*unread);
            let left = unread.saturating_sub(n);
            let was_over = *unread > limit && left <= limit;
            self.over = self.over.saturating_sub(usize::from(was_over));
            *unread = left;
            if left == 0 {
                self.unread.remove(&id);
            }
            n
        } else {
            return;
        };
        self.release(n);
    }

    /// `n` bytes of payload are no longer held for anybody.
    fn release(&mut self, n: usize) {
        self.unconsumed = self.unconsumed.saturating_sub(n);
        self.receive_window.owe(n);
        self.credit_session();
    }

    fn own_streams(&self) -> usize {
        self.streams.len().saturating_sub(self.peer_streams)
    }

    /// Queues GOAWAY. No streams can be opened afterwards, and none of the peer's are admitted.
    /// In [`Dialect::Kubernetes`] it leaves only when nothing else waits to be written: a real peer stops
    /// reading there and drops what is open, so let streams finish first (PROTOCOL.md 1.6). Streams that
    /// are merely open do not hold it back, and what is sent on them afterwards is lost. A peer
    /// of the draft's may let those that are there finish, until [`crate::Limits::drain_ms`] have
    /// passed.
    pub fn go_away(&mut self, now: Instant, status: GoAwayStatus) {
        if self.goaway_sent {
            return;
        }
        self.goaway_sent = true;
        self.timers.going_away(now);
        if self.config.dialect == Dialect::Spdy31 {
            self.control(&self.goaway_frame(status), Cause::Ours);
        } else if !self.output_ended {
            self.goaway = Some(status);
        }
    }

    /// Whether GOAWAY was sent or received and no stream is left, or the connection has failed, and
    /// nothing waits to be written: the transport can be closed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let goodbye = self.goaway_sent || self.going_away;
        (self.failed.is_some() || (goodbye && self.streams.is_empty()))
            && self.queues.is_empty()
            && self.goaway.is_none()
            && self.outgoing.is_empty()
    }

    /// Bytes to write. Call it anew after each write: it makes frames of what waits.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        self.schedule();
        &mut self.outgoing
    }

    /// Sends a PING and returns its id; [`Event::Pong`] tells of the answer. `None`, and nothing
    /// is sent, after GOAWAY or while many wait.
    pub fn ping(&mut self, now: Instant) -> Option<u32> {
        let id = self.next_ping(now)?;
        self.control(&Frame::Ping(Ping { id }), Cause::Ours);
        Some(id)
    }

    /// As [`Connection::ping`], but it leaves behind the DATA that is framed, and the answer of a peer
    /// that works in order tells that this much has been dealt with.
    pub fn ping_behind_data(&mut self, now: Instant) -> Option<u32> {
        let id = self.next_ping(now)?;
        self.push_last(&Frame::Ping(Ping { id }));
        Some(id)
    }

    fn next_ping(&mut self, now: Instant) -> Option<u32> {
        if self.pinged.len() >= PINGS || self.goaway_sent || self.failed.is_some() {
            return None;
        }
        let id = self.next_ping_id;
        self.pinged.push_back((id, now));
        // Wraps as real clients do (PROTOCOL.md 1.9).
        self.next_ping_id = match id.checked_add(2) {
            Some(next) if next <= StreamId::MAX => next,
            _ => self.config.first_ping_id(),
        };
        Some(id)
    }

    /// Both ends have agreed, by other means than SPDY's, that windows count from now on: says so
    /// by SETTINGS. For [`crate::FlowControl::Detect`] and [`crate::FlowControl::Agreed`]; otherwise nothing
    /// changes.
    pub fn agree_flow_control(&mut self) {
        if matches!(self.flow, Mode::Waiting | Mode::Silent) && self.failed.is_none() {
            self.flow = Mode::Agreed;
            self.announce();
            self.credit_all();
        }
    }

    /// Whether windows count now.
    #[must_use]
    pub fn has_flow_control(&self) -> bool {
        self.flow.is_active()
    }

    /// Counters, and what is held now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            header_bytes_inflated: self.decoder.inflated(),
            rapid_resets: self.watch.rapid_resets(),
            glitches: self.watch.glitches(),
            own_streams: self.own_streams(),
            peer_streams: self.peer_streams.saturating_add(self.unread.len()),
            unanswered_streams: self.unanswered,
            queued_replies: self.outgoing.waiting().provoked,
            queued_answers: self.outgoing.waiting().stream,
            queued_events: self.events.len(),
            unconsumed: self.unconsumed,
            queued_to_send: self.queues.bytes(),
            outgoing: self.outgoing.len(),
            ..self.stats
        }
    }

    /// Ends the connection: what waits is dropped, GOAWAY follows what is framed.
    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        self.failed = Some(error.clone());
        self.queues.clear();
        if !std::mem::replace(&mut self.goaway_sent, true) && !self.output_ended {
            self.goaway = Some(error.status());
        }
        error
    }

    /// Without its compression context the connection can go on no more.
    fn encode_failed(&mut self, error: EncodeError) -> EncodeError {
        if error == EncodeError::Deflate {
            self.fail(ConnectionErrorKind::Encode(error.clone()).into());
        }
        error
    }

    fn check_alive(&self) -> Result<(), StreamError> {
        match self.failed {
            Some(_) => Err(StreamError::Failed),
            None => Ok(()),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Connection {
    /// At rest, with everything consumed, each window is what was granted, less what is owed (I3).
    pub(crate) fn check_credit(&self, peer: &Self) {
        if !self.flow.is_active() || !peer.flow.is_active() {
            return;
        }
        assert!(
            self.send_window.is_other_end_of(peer.receive_window),
            "the connection's windows agree"
        );
        for (id, stream) in &self.streams {
            if let Some(other) = peer.streams.get(id).filter(|s| s.remote_open) {
                assert!(
                    stream.send_window.is_other_end_of(other.receive_window),
                    "the windows of stream {id} agree"
                );
            }
        }
    }
}
