//! Streams: opened, answered, reset, forgotten.

use super::{Connection, Stream};
use crate::codec::Opening;
use crate::config::{Dialect, Role};
use crate::error::{ConnectionErrorKind, OpenError, StreamError};
use crate::event::Event;
use crate::flow::{ReceiveWindow, SendWindow};
use crate::frame::{Frame, RstStream};
use crate::header::HeaderBlock;
use crate::outgoing::Cause;
use crate::status::RstStatus;
use crate::stream_id::StreamId;
use bytes::Bytes;

impl Connection {
    /// Opens a stream. DATA may follow at once, before the peer's answer.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is sent.
    pub fn open(&mut self, headers: &HeaderBlock, fin: bool) -> Result<StreamId, OpenError> {
        let fin = Opening {
            fin,
            ..Opening::default()
        };
        self.open_with(headers, fin)
    }

    /// Opens a stream with all that SYN_STREAM can say.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is sent.
    pub fn open_with(
        &mut self,
        headers: &HeaderBlock,
        opening: Opening,
    ) -> Result<StreamId, OpenError> {
        if self.failed.is_some() {
            return Err(OpenError::Failed);
        }
        if self.going_away || self.goaway_sent {
            return Err(OpenError::GoingAway);
        }
        if opening.priority > 7 || opening.associated > StreamId::MAX {
            return Err(OpenError::BadOpening);
        }
        let own = self.own_streams();
        let limit = self.config.limits.own_streams;
        if own >= self.peer_max_streams.map_or(limit, |max| max.min(limit)) {
            return Err(OpenError::TooManyStreams(own));
        }
        // Streams that were opened and reset while nothing could be written.
        let unwritten = self.outgoing.waiting().ours;
        if unwritten >= self.config.limits.frames_of(limit) {
            return Err(OpenError::Unwritten(unwritten));
        }
        let id = StreamId::new(self.next_id).ok_or(OpenError::IdsExhausted)?;
        let before = self.outgoing.control().len();
        let result = self
            .encoder
            .syn_stream(id, opening, headers, self.outgoing.control());
        if let Err(e) = result {
            return Err(OpenError::Encode(self.encode_failed(e)));
        }
        self.end_control(before, Cause::Ours);
        self.next_id = self.next_id.saturating_add(2);
        self.stats.opened = self.stats.opened.saturating_add(1);
        let stream = self.stream(
            opening.priority,
            !opening.fin,
            !opening.unidirectional,
            true,
        );
        self.streams.insert(id, stream);
        self.forget_if_done(id);
        Ok(id)
    }

    /// The id of the next stream of ours; `None` when they are used up.
    #[must_use]
    pub fn next_id(&self) -> Option<StreamId> {
        StreamId::new(self.next_id)
    }

    /// Leaves out the ids of ours below `id`, which peers take (PROTOCOL.md 1.5): some treat streams
    /// alike whose ids have the same remainder (1.7). `false`, and nothing changes, if `id` is the other
    /// side's or has been passed.
    pub fn skip_to(&mut self, id: StreamId) -> bool {
        let ours = id.is_client() == (self.config.role == Role::Client);
        let ahead = ours && id.get() >= self.next_id;
        if ahead {
            self.next_id = id.get();
        }
        ahead
    }

    pub(super) fn stream(
        &self,
        priority: u8,
        local_open: bool,
        remote_open: bool,
        own: bool,
    ) -> Stream {
        Stream {
            local_open,
            remote_open,
            replied: false,
            own,
            priority,
            headers_frames: 0,
            unconsumed: 0,
            send_window: SendWindow::new(self.peer_window),
            receive_window: ReceiveWindow::new(self.config.stream_window),
            last_data: 0,
        }
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
        self.check_alive()?;
        let stream = self.streams.get_mut(&id).ok_or(StreamError::Closed(id))?;
        // The draft lets nobody answer on a one-way stream; real servers do.
        let one_way = !stream.local_open && self.config.dialect == Dialect::Spdy31;
        if stream.own || stream.replied || one_way {
            return Err(StreamError::NotReplyable(id));
        }
        let before = self.outgoing.control().len();
        let result = self
            .encoder
            .syn_reply(id, fin, headers, self.outgoing.control());
        if let Err(e) = result {
            return Err(StreamError::Encode(self.encode_failed(e)));
        }
        stream.replied = true;
        stream.local_open &= !fin;
        self.unanswered = self.unanswered.saturating_sub(1);
        self.end_control(before, Cause::Stream);
        self.forget_if_done(id);
        Ok(())
    }

    /// Sends HEADERS on a stream, in [`Dialect::Spdy31`] only. They may overtake DATA that waits.
    ///
    /// # Errors
    /// The stream is gone, FIN was sent, or the peer would stop at them.
    pub fn headers(
        &mut self,
        id: StreamId,
        headers: &HeaderBlock,
        fin: bool,
    ) -> Result<(), StreamError> {
        self.check_alive()?;
        if self.config.dialect == Dialect::Kubernetes {
            return Err(StreamError::NotInDialect(id));
        }
        let stream = self.streams.get_mut(&id).ok_or(StreamError::Closed(id))?;
        if !stream.local_open {
            return Err(StreamError::FinSent(id));
        }
        if !stream.own && !stream.replied {
            return Err(StreamError::NotReplied(id));
        }
        // FIN must not overtake what waits.
        let waits = self.queues.holds(id) || !self.outgoing.has_left(stream.last_data);
        let with_fin = fin && !waits;
        let before = self.outgoing.control().len();
        let result = self
            .encoder
            .headers(id, with_fin, headers, self.outgoing.control());
        if let Err(e) = result {
            return Err(StreamError::Encode(self.encode_failed(e)));
        }
        if with_fin {
            stream.local_open = false;
        }
        self.end_control(before, Cause::Ours);
        if fin && waits {
            self.send(id, &mut Bytes::new(), true)?;
        }
        self.forget_if_done(id);
        Ok(())
    }

    /// Resets a stream: it is forgotten. Events of it that were found before may still be polled;
    /// none come anew, and nothing of it counts as unconsumed any more. Without flow control, DATA
    /// queued before leaves first; with it, what waits for credit is dropped. Does nothing if the
    /// stream is gone.
    pub fn reset(&mut self, id: StreamId, status: RstStatus) {
        if let Some(unread) = self.unread.remove(&id) {
            self.not_over(unread);
            self.release(unread);
        }
        if let Some(stream) = self.forget(id, true)
            && self.failed.is_none()
        {
            let cause = if stream.own {
                Cause::Ours
            } else {
                Cause::Stream
            };
            self.send_reset(id, &stream, status, cause);
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

    /// Forgets a stream that has ended on both sides and of which nothing waits.
    pub(super) fn forget_if_done(&mut self, id: StreamId) {
        let over = |s: &Stream| !s.local_open && !s.remote_open;
        if self.streams.get(&id).is_some_and(over) && !self.queues.holds(id) {
            self.forget(id, false);
        }
    }

    /// `drop_unread`: what is unconsumed will not be read.
    pub(super) fn forget(&mut self, id: StreamId, drop_unread: bool) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        if !stream.own {
            self.peer_streams = self.peer_streams.saturating_sub(1);
            let unanswered = usize::from(!stream.replied);
            self.unanswered = self.unanswered.saturating_sub(unanswered);
        }
        if stream.unconsumed == 0 {
        } else if drop_unread {
            self.not_over(stream.unconsumed);
            self.release(stream.unconsumed);
        } else {
            self.unread.insert(id, stream.unconsumed);
        }
        Some(stream)
    }

    /// A stream with this much unconsumed is over.
    pub(super) fn not_over(&mut self, unconsumed: usize) {
        let was_over = unconsumed > self.config.limits.stream_receive;
        self.over = self.over.saturating_sub(usize::from(was_over));
    }

    /// Resets a stream because of something the peer did (B9).
    pub(super) fn error_reset(
        &mut self,
        id: StreamId,
        status: RstStatus,
    ) -> Result<(), ConnectionErrorKind> {
        self.count_error()?;
        // The stream may be live: then it is over on both sides.
        match self.forget(id, false) {
            Some(stream) => {
                self.push_event(Event::Reset { id, status });
                self.send_reset(id, &stream, status, Cause::Provoked);
            }
            None => self.control(&Frame::RstStream(RstStream { id, status }), Cause::Provoked),
        }
        Ok(())
    }
}
