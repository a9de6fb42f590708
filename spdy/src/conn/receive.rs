//! What each frame of the peer does (PROTOCOL.md 1.6; the draft where the dialect is strict).

use super::watch::Oddity;
use super::{Connection, Stream};
use crate::config::{Dialect, Role};
use crate::error::ConnectionErrorKind;
use crate::event::Event;
use crate::flow::Mode;
use crate::frame::{
    Data, Frame, GoAway, Headers, Ping, RstStream, Setting, Settings, SynReply, SynStream,
    WindowUpdate,
};
use crate::outgoing::Cause;
use crate::status::RstStatus;
use crate::stream_id::StreamId;
use std::time::Instant;

type Received = Result<(), ConnectionErrorKind>;

impl Connection {
    pub(super) fn on_frame(&mut self, now: Instant, frame: Frame) -> Received {
        if !matches!(&frame, Frame::Data(data) if data.remaining > 0) {
            self.stats.frames_received = self.stats.frames_received.saturating_add(1);
        }
        match frame {
            Frame::Data(data) => self.on_data(now, data),
            Frame::SynStream(syn) => self.on_syn_stream(now, syn),
            Frame::SynReply(reply) => self.on_syn_reply(now, reply),
            Frame::RstStream(reset) => self.on_rst_stream(now, reset),
            Frame::Ping(ping) => self.on_ping(now, ping),
            Frame::WindowUpdate(update) => self.on_window_update(update),
            Frame::Headers(headers) => self.on_headers(now, headers),
            Frame::Settings(settings) => self.on_settings(now, settings),
            Frame::GoAway(goaway) => self.on_goaway(now, goaway),
            Frame::Unknown(_) => self.ignore(now, Some(Oddity::Strange)),
        }
    }

    fn is_strict(&self) -> bool {
        self.config.dialect == Dialect::Spdy31
    }

    /// Whether a stream of this id has been opened, by whoever may.
    fn was_opened(&self, id: StreamId) -> bool {
        if self.is_own(id) {
            id.get() < self.next_id
        } else {
            id.get() <= self.last_seen_id
        }
    }

    fn is_own(&self, id: StreamId) -> bool {
        id.is_client() == (self.config.role == Role::Client)
    }

    fn on_goaway(&mut self, now: Instant, goaway: GoAway) -> Received {
        let again = std::mem::replace(&mut self.going_away, true);
        let GoAway { last_good, status } = goaway;
        self.push_event(Event::GoAway { last_good, status });
        if again {
            return self.odd(now, Oddity::Slight);
        }
        Ok(())
    }

    /// A frame for a stream that is not there. One that has ended is no oddity: frames cross.
    fn on_stray(&mut self, now: Instant, id: StreamId) -> Received {
        let odd = (!self.was_opened(id)).then_some(Oddity::Strange);
        self.ignore(now, odd)
    }

    fn on_data(&mut self, now: Instant, data: Data) -> Received {
        let (id, n) = (data.id, data.payload.len());
        let fin = data.fin && data.remaining == 0;
        if self.flow != Mode::Off && !self.receive_window.take(n) && self.flow == Mode::Strict {
            return Err(ConnectionErrorKind::WindowExceeded);
        }
        if self.receive_window.is_used_up() {
            self.credit_session();
        }
        if n == 0 && !fin && data.remaining == 0 {
            self.count_empty_data(now)?;
        }
        let strict = self.is_strict();
        let Some(stream) = self.streams.get_mut(&id) else {
            self.drop_payload(n);
            // A frame that comes in pieces is one oddity.
            if data.remaining > 0 {
                return Ok(());
            }
            if strict && !self.was_opened(id) {
                return self.error_reset(id, RstStatus::INVALID_STREAM);
            }
            return self.on_stray(now, id);
        };
        if !stream.remote_open {
            self.drop_payload(n);
            if strict {
                return self.error_reset(id, RstStatus::STREAM_ALREADY_CLOSED);
            }
            if data.remaining > 0 {
                return Ok(());
            }
            return self.ignore(now, None);
        }
        if strict && stream.own && !stream.replied {
            self.drop_payload(n);
            return self.error_reset(id, RstStatus::PROTOCOL_ERROR);
        }
        if self.flow != Mode::Off && !stream.receive_window.take(n) && self.flow == Mode::Strict {
            self.drop_payload(n);
            return self.error_reset(id, RstStatus::FLOW_CONTROL_ERROR);
        }
        if n == 0 && !fin {
            return Ok(());
        }
        let limit = self.config.limits.stream_receive;
        let was_over = stream.unconsumed > limit;
        stream.unconsumed = stream.unconsumed.saturating_add(n);
        let over = !was_over && stream.unconsumed > limit;
        stream.remote_open = !fin;
        // It was opened one-way: nobody could answer it.
        let unanswerable = fin && !stream.own && !stream.local_open && !stream.replied;
        self.over = self.over.saturating_add(usize::from(over));
        self.unconsumed = self.unconsumed.saturating_add(n);
        let received = u64::try_from(n).unwrap_or(u64::MAX);
        self.stats.bytes_received = self.stats.bytes_received.saturating_add(received);
        if data.remaining == 0 && n > 0 {
            self.pay_for_pings();
        }
        self.push_event(Event::Data {
            id,
            payload: data.payload,
            fin,
        });
        if fin {
            self.forget_if_done(id);
        }
        if unanswerable {
            self.count_rapid_reset(now)?;
        }
        Ok(())
    }

    /// Payload that nobody gets: its credit returns at once.
    fn drop_payload(&mut self, n: usize) {
        self.receive_window.owe(n);
        self.credit_session();
    }

    fn on_syn_stream(&mut self, now: Instant, syn: SynStream) -> Received {
        let id = syn.id;
        // Also of a stream that is dropped: what follows on it is no oddity.
        self.last_seen_id = self.last_seen_id.max(id.get());
        if self.going_away {
            // It said that it opens no more.
            return self.ignore(now, Some(Oddity::Strange));
        }
        if self.goaway_sent {
            return self.ignore(now, None);
        }
        let last = self.last_peer_id;
        if self.is_strict() && self.is_own(id) {
            return Err(ConnectionErrorKind::StreamParity(id));
        }
        if self.is_strict() && id.get() < last {
            return Err(ConnectionErrorKind::StreamOrder { id, last });
        }
        // Parity is not checked: real servers take a client's even id (PROTOCOL.md 1.5).
        if id.get() <= last {
            return self.error_reset(id, RstStatus::PROTOCOL_ERROR);
        }
        self.last_peer_id = id.get();
        // No deployed server opens streams, and nobody would read them.
        let unwanted = self.config.role == Role::Client && !self.is_strict();
        let ours = self.is_own(id);
        if self.streams.contains_key(&id) {
            return self.error_reset(id, RstStatus::PROTOCOL_ERROR);
        }
        if unwanted || (ours && id.get() < self.next_id) {
            self.count_error()?;
            self.refuse(id);
            return Ok(());
        }
        if ours {
            // Never used again.
            self.next_id = id.get().saturating_add(2);
        }
        let limits = &self.config.limits;
        let theirs = self.peer_streams.saturating_add(self.unread.len());
        if theirs >= limits.peer_streams || self.unanswered >= limits.unanswered_streams {
            // A limit, not an error of the peer: not counted against it.
            self.stats.refused = self.stats.refused.saturating_add(1);
            self.refuse(id);
            return Ok(());
        }
        self.peer_streams = self.peer_streams.saturating_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        self.stats.accepted = self.stats.accepted.saturating_add(1);
        let stream = self.stream(syn.priority, !syn.unidirectional, !syn.fin, false);
        self.streams.insert(id, stream);
        self.push_event(Event::Opened {
            id,
            headers: syn.headers,
            fin: syn.fin,
        });
        // One-way and ended at once: nobody can say anything more on it, or answer it.
        self.forget_if_done(id);
        if syn.unidirectional && syn.fin {
            self.count_rapid_reset(now)?;
        }
        Ok(())
    }

    fn refuse(&mut self, id: StreamId) {
        let status = RstStatus::REFUSED_STREAM;
        self.control(&Frame::RstStream(RstStream { id, status }), Cause::Provoked);
    }

    fn on_syn_reply(&mut self, now: Instant, reply: SynReply) -> Received {
        let SynReply { id, fin, headers } = reply;
        let strict = self.is_strict();
        let Some(stream) = self.streams.get_mut(&id) else {
            if strict && !self.was_opened(id) {
                return self.error_reset(id, RstStatus::INVALID_STREAM);
            }
            if !self.is_own(id) {
                // An answer to a stream of its own crosses nothing.
                return self.ignore(now, Some(Oddity::Strange));
            }
            return self.on_stray(now, id);
        };
        // The draft lets nobody answer on a one-way stream; real servers do.
        if stream.own && !stream.replied && (stream.remote_open || !strict) {
            stream.replied = true;
            stream.remote_open &= !fin;
            self.push_event(Event::Replied { id, headers, fin });
            self.forget_if_done(id);
            return Ok(());
        }
        if strict {
            return self.error_reset(id, RstStatus::STREAM_IN_USE);
        }
        self.ignore(now, Some(Oddity::Strange))
    }

    fn on_rst_stream(&mut self, now: Instant, reset: RstStream) -> Received {
        let RstStream { id, status } = reset;
        // Never answered, whatever it names: two ends would go on for ever.
        let Some(Stream { own, replied, .. }) = self.forget(id, false) else {
            return self.on_stray(now, id);
        };
        self.queues.discard(id);
        self.push_event(Event::Reset { id, status });
        if own || replied {
            return Ok(());
        }
        self.count_rapid_reset(now)
    }

    fn on_ping(&mut self, now: Instant, ping: Ping) -> Received {
        let from_client = ping.id & 1 == 1;
        if from_client != (self.config.role == Role::Client) {
            self.count_ping(now)?;
            self.control(&Frame::Ping(ping), Cause::Provoked);
            return Ok(());
        }
        let position = self.pinged.iter().position(|(id, _)| *id == ping.id);
        match position.and_then(|at| self.pinged.remove(at)) {
            Some((id, sent)) => {
                let round_trip = now.saturating_duration_since(sent);
                self.push_event(Event::Pong { id, round_trip });
                Ok(())
            }
            None => self.ignore(now, Some(Oddity::Slight)),
        }
    }

    fn on_headers(&mut self, now: Instant, frame: Headers) -> Received {
        let Headers { id, fin, headers } = frame;
        let limit = self.config.limits.headers_frames;
        let strict = self.is_strict();
        let Some(stream) = self.streams.get_mut(&id) else {
            if strict && !self.was_opened(id) {
                return self.error_reset(id, RstStatus::INVALID_STREAM);
            }
            // Inflated for nobody. They may cross a reset, but Kubernetes sends none at all.
            let odd = if strict {
                Oddity::Slight
            } else {
                Oddity::Strange
            };
            return self.ignore(now, Some(odd));
        };
        stream.headers_frames = stream.headers_frames.saturating_add(1);
        if usize::from(stream.headers_frames) > limit {
            return self.error_reset(id, RstStatus::PROTOCOL_ERROR);
        }
        if !stream.remote_open {
            if strict {
                return self.error_reset(id, RstStatus::STREAM_ALREADY_CLOSED);
            }
            return self.ignore(now, None);
        }
        // A real opener takes no headers before the answer (PROTOCOL.md 1.6).
        if stream.own && !stream.replied {
            if strict {
                return self.error_reset(id, RstStatus::PROTOCOL_ERROR);
            }
            return self.ignore(now, Some(Oddity::Strange));
        }
        stream.remote_open = !fin;
        self.push_event(Event::Headers { id, headers, fin });
        if fin {
            self.forget_if_done(id);
        }
        if strict {
            Ok(())
        } else {
            self.ignore(now, Some(Oddity::Strange))
        }
    }

    fn on_window_update(&mut self, update: WindowUpdate) -> Received {
        match self.flow {
            // A peer of this dialect means nothing by it (PROTOCOL.md 1.7).
            Mode::Off | Mode::Silent => {
                self.stats.ignored = self.stats.ignored.saturating_add(1);
                return Ok(());
            }
            Mode::Waiting => self.agree_flow_control(),
            Mode::Agreed | Mode::Strict => {}
        }
        let Some(id) = StreamId::new(update.id) else {
            if !self.send_window.grant(update.delta) {
                return Err(ConnectionErrorKind::WindowOverflow);
            }
            return Ok(());
        };
        // Credit for a stream that has ended crosses its end.
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if update.delta == 0 {
            return self.error_reset(id, RstStatus::PROTOCOL_ERROR);
        }
        if !stream.send_window.grant(update.delta) {
            return self.error_reset(id, RstStatus::FLOW_CONTROL_ERROR);
        }
        self.queues.wake(id);
        Ok(())
    }

    fn on_settings(&mut self, now: Instant, settings: Settings) -> Received {
        self.count_settings(now)?;
        // Of several values the first counts (draft 3.1, 2.6.4).
        let find = |id| settings.entries.iter().find(|e| e.id == id);
        let window = find(Setting::INITIAL_WINDOW_SIZE).map(|entry| entry.value);
        if window.is_some() && self.flow == Mode::Waiting {
            self.agree_flow_control();
        }
        if self.is_strict() || self.flow.is_active() {
            if let Some(entry) = find(Setting::MAX_CONCURRENT_STREAMS) {
                self.peer_max_streams = usize::try_from(entry.value).ok();
            }
            if let Some(window) = window.filter(|_| self.flow.is_active()) {
                self.on_initial_window(window)?;
            }
            self.push_event(Event::Settings { settings });
        } else {
            self.stats.ignored = self.stats.ignored.saturating_add(1);
        }
        Ok(())
    }

    /// The window of every stream changes by the difference, maybe below zero (§2.6.8).
    fn on_initial_window(&mut self, window: u32) -> Received {
        if window > StreamId::MAX {
            return Err(ConnectionErrorKind::WindowOverflow);
        }
        let delta = i64::from(window).saturating_sub(i64::from(self.peer_window));
        self.peer_window = window;
        for stream in self.streams.values_mut() {
            if !stream.send_window.shift(delta) {
                return Err(ConnectionErrorKind::WindowOverflow);
            }
        }
        self.queues.wake_all();
        Ok(())
    }
}
