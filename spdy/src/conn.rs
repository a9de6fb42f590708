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

use crate::codec::{Decoder, Encoder, data_head};
use crate::config::{Config, Role};
use crate::error::{ConnectionError, ConnectionErrorKind, OpenError, StreamError};
use crate::event::{Event, Stats};
use crate::frame::{Frame, GoAway, Ping, RstStream, SynReply, SynStream};
use crate::header::HeaderBlock;
use crate::outgoing::Outgoing;
use crate::status::{GoAwayStatus, RstStatus};
use crate::stream_id::StreamId;
use bytes::{Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Window of [`crate::Limits::rapid_resets`].
const RAPID_RESET_WINDOW: Duration = Duration::from_secs(10);
/// Bytes that one call of [`Connection::recv`] may inflate before it lets others work.
const INFLATE_PER_CALL: u64 = 256 << 10;

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
}

/// The state machine. See the crate documentation for an example.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    decoder: Decoder,
    encoder: Encoder,
    outgoing: Outgoing,
    events: VecDeque<Event>,
    streams: HashMap<StreamId, Stream>,
    peer_streams: usize,
    /// Next id of ours; above [`StreamId::MAX`] when used up.
    next_id: u32,
    last_peer_id: u32,
    going_away: bool,
    goaway_sent: bool,
    output_ended: bool,
    next_ping_id: u32,
    /// Our PING on its way.
    pinged: Option<(u32, Instant)>,
    next_ping: Option<Instant>,
    stats: Stats,
    rapid_resets: Option<(Instant, u32)>,
    failed: Option<ConnectionError>,
}

impl Connection {
    /// A fresh connection, after the upgrade. Sends nothing by itself: a server must stay silent
    /// until the client's first frame (PROTOCOL.md 2.2).
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let first = match config.role {
            Role::Client => 1,
            Role::Server => 2,
        };
        Self {
            decoder: Decoder::new(config.limits.clone()),
            encoder: Encoder::new(config.header_encoding, &config.limits),
            outgoing: Outgoing::default(),
            events: VecDeque::new(),
            streams: HashMap::new(),
            peer_streams: 0,
            next_id: first,
            last_peer_id: 0,
            going_away: false,
            goaway_sent: false,
            output_ended: false,
            next_ping_id: first,
            pinged: None,
            next_ping: config
                .ping_interval
                .and_then(|every| now.checked_add(every)),
            stats: Stats::default(),
            rapid_resets: None,
            failed: None,
            config,
        }
    }

    /// Takes bytes of the peer off `input` and turns them into events and answers. Consumes all
    /// whole frames, unless too many answers wait to be written (B10) or many large header blocks
    /// came at once: then call it again, even without new bytes, in the first case once
    /// [`Connection::outgoing`] has shrunk.
    ///
    /// # Errors
    /// The peer broke the protocol; GOAWAY is queued, nothing more is read. Events found before
    /// the error are still there. Every further call gives the same error.
    pub fn recv(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ConnectionError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let inflated = self.decoder.inflated();
        while !self.is_blocked() {
            // Header blocks are work out of proportion to their size on the wire.
            if self.decoder.inflated().saturating_sub(inflated) > INFLATE_PER_CALL {
                return Ok(());
            }
            let frame = match self.decoder.decode(input) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(e) => return Err(self.fail(e.into())),
            };
            self.on_frame(now, frame);
            if self
                .rapid_resets
                .is_some_and(|(_, count)| count > self.config.limits.rapid_resets)
            {
                let limit = self.config.limits.rapid_resets;
                return Err(self.fail(ConnectionError {
                    kind: ConnectionErrorKind::RapidResets { limit },
                }));
            }
            if self.stats.error_resets > self.config.limits.error_resets {
                let limit = self.config.limits.error_resets;
                return Err(self.fail(ConnectionError {
                    kind: ConnectionErrorKind::TooManyErrors { limit },
                }));
            }
        }
        Ok(())
    }

    /// Whether answers that the peer provoked must leave before more is read (B10).
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        !self.output_ended && self.outgoing.replies() >= self.config.limits.queued_replies
    }

    /// Nothing more will be written: answers no longer hold up [`Connection::recv`].
    pub fn end_of_output(&mut self) {
        self.output_ended = true;
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
        self.events.pop_front()
    }

    /// Opens a stream. DATA may follow at once, before the peer's answer.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is sent.
    pub fn open(&mut self, headers: &HeaderBlock, fin: bool) -> Result<StreamId, OpenError> {
        if self.going_away || self.goaway_sent || self.failed.is_some() {
            return Err(OpenError::GoingAway);
        }
        let own = self.streams.len().saturating_sub(self.peer_streams);
        if own >= self.config.limits.own_streams {
            return Err(OpenError::TooManyStreams(own));
        }
        let id = StreamId::new(self.next_id).ok_or(OpenError::IdsExhausted)?;
        let frame = Frame::SynStream(SynStream {
            id,
            associated: 0,
            priority: 0,
            slot: 0,
            fin,
            unidirectional: false,
            headers: headers.clone(),
        });
        let mut bytes = BytesMut::new();
        self.encoder
            .encode(&frame, &mut bytes)
            .map_err(OpenError::Encode)?;
        self.outgoing.push_control(bytes.freeze(), false);
        self.next_id = self.next_id.saturating_add(2);
        self.stats.opened = self.stats.opened.saturating_add(1);
        self.streams.insert(
            id,
            Stream {
                local_open: !fin,
                remote_open: true,
                replied: false,
                own: true,
            },
        );
        Ok(id)
    }

    /// Accepts a stream of the peer; must come before DATA on it.
    ///
    /// # Errors
    /// The stream is gone, is ours, or was replied to.
    pub fn reply(
        &mut self,
        id: StreamId,
        headers: &HeaderBlock,
        fin: bool,
    ) -> Result<(), StreamError> {
        let stream = self.streams.get_mut(&id).ok_or(StreamError::Closed(id))?;
        if stream.own || stream.replied {
            return Err(StreamError::NotReplyable(id));
        }
        let frame = Frame::SynReply(SynReply {
            id,
            fin,
            headers: headers.clone(),
        });
        let mut bytes = BytesMut::new();
        self.encoder
            .encode(&frame, &mut bytes)
            .map_err(StreamError::Encode)?;
        // Bounded by the number of streams (B6), so not counted as a provoked answer.
        self.outgoing.push_control(bytes.freeze(), false);
        stream.replied = true;
        if fin {
            stream.local_open = false;
            self.forget_if_done(id);
        }
        Ok(())
    }

    /// Queues bytes as DATA, taking at most [`Config::data_payload`] off `data`; returns how many.
    /// `fin` is sent when it takes all of `data`, which may be empty.
    ///
    /// # Errors
    /// The stream is gone, FIN was sent, or it has not been replied to; nothing is taken.
    pub fn send(
        &mut self,
        id: StreamId,
        data: &mut Bytes,
        fin: bool,
    ) -> Result<usize, StreamError> {
        let stream = self.streams.get_mut(&id).ok_or(StreamError::Closed(id))?;
        if !stream.local_open {
            return Err(StreamError::FinSent(id));
        }
        if !stream.own && !stream.replied {
            return Err(StreamError::NotReplied(id));
        }
        let n = data.len().min(self.config.data_payload).min(0xff_ffff);
        let payload = data.split_to(n);
        let fin = fin && data.is_empty();
        if n == 0 && !fin {
            return Ok(0);
        }
        let length = u32::try_from(n).unwrap_or(0);
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(u64::from(length));
        self.outgoing
            .push_data(id, data_head(id.get(), fin, length), payload);
        if fin {
            stream.local_open = false;
            self.forget_if_done(id);
        }
        Ok(n)
    }

    /// Resets a stream: it is forgotten, and no more events come for it. DATA queued before leaves
    /// first. Does nothing if the stream is gone.
    pub fn reset(&mut self, id: StreamId, status: RstStatus) {
        if self.forget(id).is_some() {
            self.send_reset(id, status, false);
        }
    }

    /// Whether the stream is known: opened, and neither ended on both sides nor reset.
    #[must_use]
    pub fn has_stream(&self, id: StreamId) -> bool {
        self.streams.contains_key(&id)
    }

    /// Streams that are known.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Queues GOAWAY behind everything else: a real peer stops reading there (PROTOCOL.md 1.6).
    /// No streams can be opened afterwards, and none of the peer's are admitted.
    pub fn go_away(&mut self, status: GoAwayStatus) {
        if self.goaway_sent {
            return;
        }
        self.goaway_sent = true;
        let frame = Frame::GoAway(GoAway {
            last_good: self.last_peer_id,
            status,
        });
        let mut bytes = BytesMut::new();
        if self.encoder.encode(&frame, &mut bytes).is_ok() {
            self.outgoing.push_last(&bytes);
        }
    }

    /// Bytes to write.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// When [`Connection::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.goaway_sent || self.failed.is_some() {
            None
        } else {
            self.next_ping
        }
    }

    /// Does what is due: queues a PING if the last one was answered.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (Some(every), Some(due)) = (self.config.ping_interval, self.next_ping) else {
            return;
        };
        if now < due {
            return;
        }
        self.next_ping = now.checked_add(every);
        if self.pinged.is_some() || self.goaway_sent || self.failed.is_some() {
            return;
        }
        let id = self.next_ping_id;
        self.pinged = Some((id, now));
        // Wraps as real clients do (PROTOCOL.md 1.9).
        self.next_ping_id = match id.checked_add(2) {
            Some(next) if next <= StreamId::MAX => next,
            _ => id.wrapping_add(2).wrapping_sub(0x7fff_fffe),
        };
        self.control(&Frame::Ping(Ping { id }), false);
    }

    /// Counters so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        self.failed = Some(error.clone());
        self.go_away(error.status());
        error
    }

    fn on_frame(&mut self, now: Instant, frame: Frame) {
        if !matches!(&frame, Frame::Data(data) if data.remaining > 0) {
            self.stats.frames_received = self.stats.frames_received.saturating_add(1);
        }
        match frame {
            Frame::SynStream(syn) => self.on_syn_stream(syn),
            Frame::SynReply(SynReply { id, fin, headers }) => match self.streams.get_mut(&id) {
                Some(stream) if stream.own && !stream.replied => {
                    stream.replied = true;
                    stream.remote_open &= !fin;
                    self.events.push_back(Event::Replied { id, headers, fin });
                    self.forget_if_done(id);
                }
                // Unknown stream or second reply: ignored, as real peers do.
                _ => self.ignore(),
            },
            Frame::Data(data) => match self.streams.get_mut(&data.id) {
                Some(stream) if stream.remote_open => {
                    let fin = data.fin && data.remaining == 0;
                    if data.payload.is_empty() && !fin {
                        return;
                    }
                    stream.remote_open = !fin;
                    let n = u64::try_from(data.payload.len()).unwrap_or(u64::MAX);
                    self.stats.bytes_received = self.stats.bytes_received.saturating_add(n);
                    self.events.push_back(Event::Data {
                        id: data.id,
                        payload: data.payload,
                        fin,
                    });
                    self.forget_if_done(data.id);
                }
                _ => self.ignore(),
            },
            Frame::RstStream(RstStream { id, status }) => match self.forget(id) {
                Some(stream) => {
                    if !stream.own && !stream.replied {
                        self.count_rapid_reset(now);
                    }
                    self.events.push_back(Event::Reset { id, status });
                }
                None => self.ignore(),
            },
            Frame::Ping(ping) => self.on_ping(now, ping),
            Frame::GoAway(GoAway { last_good, status }) => {
                self.going_away = true;
                self.events.push_back(Event::GoAway { last_good, status });
            }
            // A peer of this dialect that sends them means nothing by them (PROTOCOL.md 1.7).
            Frame::Settings(_) | Frame::WindowUpdate(_) | Frame::Headers(_) | Frame::Unknown(_) => {
                self.ignore();
            }
        }
    }

    fn on_syn_stream(&mut self, syn: SynStream) {
        if self.goaway_sent || self.going_away {
            return self.ignore();
        }
        let id = syn.id;
        // Parity is not checked: real servers take a client's even id (PROTOCOL.md 1.5).
        if id.get() <= self.last_peer_id {
            // The reset names a stream that may be live: then it is over on both sides.
            let status = RstStatus::PROTOCOL_ERROR;
            if self.forget(id).is_some() {
                self.events.push_back(Event::Reset { id, status });
            }
            return self.error_reset(id, status);
        }
        self.last_peer_id = id.get();
        // No deployed server opens streams, and nobody here would read them.
        if self.config.role == Role::Client || self.streams.contains_key(&id) {
            return self.error_reset(id, RstStatus::REFUSED_STREAM);
        }
        if self.peer_streams >= self.config.limits.peer_streams {
            // A limit, not an error of the peer: not counted against it.
            return self.send_reset(id, RstStatus::REFUSED_STREAM, true);
        }
        self.peer_streams = self.peer_streams.saturating_add(1);
        self.stats.accepted = self.stats.accepted.saturating_add(1);
        self.streams.insert(
            id,
            Stream {
                local_open: !syn.unidirectional,
                remote_open: !syn.fin,
                replied: false,
                own: false,
            },
        );
        self.events.push_back(Event::Opened {
            id,
            headers: syn.headers,
            fin: syn.fin,
        });
        // One-way and ended at once: nobody can say anything more on it.
        self.forget_if_done(id);
    }

    fn on_ping(&mut self, now: Instant, ping: Ping) {
        let from_client = ping.id & 1 == 1;
        let own = from_client == (self.config.role == Role::Client);
        if !own {
            return self.control(&Frame::Ping(ping), true);
        }
        match self.pinged {
            Some((id, sent)) if id == ping.id => {
                self.pinged = None;
                let round_trip = now.saturating_duration_since(sent);
                self.events.push_back(Event::Pong { round_trip });
            }
            _ => self.ignore(),
        }
    }

    /// A stream that was opened and reset before it could be answered (B8).
    fn count_rapid_reset(&mut self, now: Instant) {
        let window = RAPID_RESET_WINDOW;
        match &mut self.rapid_resets {
            Some((since, count)) if now.saturating_duration_since(*since) < window => {
                *count = count.saturating_add(1);
            }
            other => *other = Some((now, 1)),
        }
    }

    fn ignore(&mut self) {
        self.stats.ignored = self.stats.ignored.saturating_add(1);
    }

    fn error_reset(&mut self, id: StreamId, status: RstStatus) {
        self.stats.error_resets = self.stats.error_resets.saturating_add(1);
        self.send_reset(id, status, true);
    }

    fn send_reset(&mut self, id: StreamId, status: RstStatus, reply: bool) {
        let frame = Frame::RstStream(RstStream { id, status });
        if self.outgoing.has_data_of(id) {
            let mut bytes = BytesMut::new();
            if self.encoder.encode(&frame, &mut bytes).is_ok() {
                self.outgoing.push_last(&bytes);
            }
        } else {
            self.control(&frame, reply);
        }
    }

    /// Queues a control frame without header block, which always encodes.
    fn control(&mut self, frame: &Frame, reply: bool) {
        let mut bytes = BytesMut::with_capacity(16);
        if self.encoder.encode(frame, &mut bytes).is_ok() {
            self.outgoing.push_control(bytes.freeze(), reply);
        }
    }

    fn forget_if_done(&mut self, id: StreamId) {
        if self
            .streams
            .get(&id)
            .is_some_and(|s| !s.local_open && !s.remote_open)
        {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        if !stream.own {
            self.peer_streams = self.peer_streams.saturating_sub(1);
        }
        Some(stream)
    }
}
