//! What leaves: frames out of what waits, credit, resets and goodbyes in their order.

use super::{Connection, Stream};
use crate::codec::data_head;
use crate::error::StreamError;
use crate::event::Event;
use crate::flow::Mode;
use crate::frame::{FIN, Frame, GoAway, HEAD, RstStream, WindowUpdate};
use crate::outgoing::Cause;
use crate::queue::{Next, QUANTUM};
use crate::status::{GoAwayStatus, RstStatus};
use crate::stream_id::StreamId;
use bytes::{Bytes, BytesMut};

impl Connection {
    /// Queues bytes as DATA, taking at most [`crate::Config::data_payload`] off `data`; returns
    /// how many. `fin` is sent when it takes all of `data`, which may be empty.
    ///
    /// Returns 0, with `data` not empty, when too much waits already (B15): then
    /// [`Event::Writable`] tells of room.
    ///
    /// # Errors
    /// The stream is gone, FIN was sent, or it has not been replied to; nothing is taken.
    pub fn send(
        &mut self,
        id: StreamId,
        data: &mut Bytes,
        fin: bool,
    ) -> Result<usize, StreamError> {
        self.check_alive()?;
        let stream = self.streams.get_mut(&id).ok_or(StreamError::Closed(id))?;
        if !stream.local_open {
            return Err(StreamError::FinSent(id));
        }
        if !stream.own && !stream.replied {
            return Err(StreamError::NotReplied(id));
        }
        let mut n = data.len().min(self.config.data_payload);
        let priority = stream.priority;
        // The usual case: nobody waits, and the transport keeps up.
        let (own, session) = (stream.send_window, self.send_window);
        let usual = self.outgoing.data_len() < self.config.write_ahead
            && (!self.flow.is_active() || n <= own.available().min(session.available()));
        // A FIN alone needs no credit, so it does not wait behind those that do. What is dropped
        // waits for nothing.
        let direct = if self.queues.is_empty() {
            usual || data.is_empty() || self.output_ended
        } else {
            (usual && self.queues.nobody_ready() || data.is_empty()) && !self.queues.holds(id)
        };
        if !direct {
            let limits = &self.config.limits;
            let stream_room = limits.stream_send.saturating_sub(self.queues.bytes_of(id));
            let session_room = limits.session_send.saturating_sub(self.queues.charged());
            n = n.min(stream_room).min(session_room);
        }
        let fin = fin && n == data.len();
        if n == 0 && !fin {
            if !data.is_empty() {
                self.queues.want_room(id, priority);
            }
            return Ok(0);
        }
        if fin {
            stream.local_open = false;
        }
        let payload = if n == data.len() {
            std::mem::take(data)
        } else {
            data.split_to(n)
        };
        let sent = u64::try_from(n).unwrap_or(u64::MAX);
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(sent);
        if direct {
            stream.last_data = self.outgoing.push_data(head(id, n, fin), payload);
            if self.flow != Mode::Off {
                self.send_window.take(n);
                stream.send_window.take(n);
            }
            self.timers.sent();
        } else {
            self.queues.push(id, priority, payload, fin);
        }
        if fin {
            self.forget_if_done(id);
        }
        Ok(n)
    }

    /// Frames payload: from here on its place in the output is fixed.
    fn push_data(&mut self, id: StreamId, payload: Bytes, fin: bool) {
        let n = payload.len();
        let number = self.outgoing.push_data(head(id, n, fin), payload);
        self.send_window.take(n);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.send_window.take(n);
            stream.last_data = number;
        }
        self.timers.sent();
    }

    /// Frames what waits, as far as windows and [`crate::Config::write_ahead`] go.
    pub(super) fn schedule(&mut self) {
        if !self.queues.is_empty() {
            while self.outgoing.data_len() < self.config.write_ahead && self.schedule_turn() {}
            let (stream, session) = self.room();
            for id in self.queues.relieved(stream, session) {
                self.push_event(Event::Writable { id });
            }
        }
        // Not what only waits for room, which may never be asked for again.
        if self.goaway.is_some()
            && !self.queues.holds_any()
            && let Some(status) = self.goaway.take()
        {
            let mut bytes = BytesMut::new();
            if self
                .encoder
                .encode(&self.goaway_frame(status), &mut bytes)
                .is_ok()
            {
                self.outgoing.push_last(&bytes);
            }
        }
    }

    /// With no more than this waiting on a stream and on all, who waits for room is told (B15). Streams that
    /// wait for credit may hold more than half of what all may: the others need not wait for them.
    fn room(&self) -> (usize, usize) {
        let limits = &self.config.limits;
        let rest = limits.session_send.saturating_sub(limits.stream_send);
        (limits.stream_send / 2, rest.max(limits.session_send / 2))
    }

    /// One stream's turn. `false`: nobody can send anything now.
    fn schedule_turn(&mut self) -> bool {
        let Some((id, shared)) = self.queues.turn() else {
            return false;
        };
        let active = self.flow.is_active();
        let mut blocked = false;
        loop {
            let mut limit = self.config.data_payload;
            if shared {
                limit = limit.min(QUANTUM);
            }
            if active {
                match self.streams.get(&id) {
                    Some(stream) => limit = limit.min(stream.send_window.available()),
                    // Reset before windows counted: no credit would ever come for the rest.
                    None => self.queues.drop_payload(id),
                }
                let of_session = self.send_window.available();
                if of_session == 0 && limit > 0 && self.queues.bytes_of(id) > 0 {
                    // Keeps its turn until the connection has credit.
                    return false;
                }
                limit = limit.min(of_session);
            }
            match self.queues.take(id, limit) {
                Some(Next::Data { payload, fin }) => {
                    self.push_data(id, payload, fin);
                    if fin {
                        self.forget_if_done(id);
                    }
                }
                Some(Next::Reset(status)) => {
                    self.push_last(&Frame::RstStream(RstStream { id, status }));
                }
                None => blocked = true,
            }
            if blocked || !self.queues.may_go_on(id) {
                break;
            }
            if self.outgoing.data_len() >= self.config.write_ahead {
                // Goes on with its turn when there is room.
                return true;
            }
        }
        let (stream, session) = self.room();
        if self.queues.end_turn(id, blocked, stream, session) {
            self.push_event(Event::Writable { id });
        }
        true
    }

    /// RST_STREAM, which must not overtake its own stream's DATA.
    pub(super) fn send_reset(
        &mut self,
        id: StreamId,
        stream: &Stream,
        status: RstStatus,
        cause: Cause,
    ) {
        let reset = RstStream { id, status };
        let waits = self.queues.holds(id);
        if waits && !self.flow.is_active() && cause != Cause::Provoked {
            self.queues.end_with_reset(id, status);
            return;
        }
        self.queues.discard(id);
        if self.outgoing.has_left(stream.last_data) {
            self.control(&Frame::RstStream(reset), cause);
        } else {
            self.push_last(&Frame::RstStream(reset));
        }
    }

    /// Queues a short control frame behind the DATA that is framed.
    pub(super) fn push_last(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::with_capacity(16);
        if self.encoder.encode(frame, &mut bytes).is_ok() {
            self.outgoing.push_last(&bytes);
            self.timers.sent();
        }
    }

    pub(super) fn goaway_frame(&self, status: GoAwayStatus) -> Frame {
        Frame::GoAway(GoAway {
            last_good: self.last_peer_id,
            status,
        })
    }

    /// Queues a control frame without header block, which always encodes.
    pub(super) fn control(&mut self, frame: &Frame, cause: Cause) {
        let before = self.outgoing.control().len();
        if self.encoder.encode(frame, self.outgoing.control()).is_ok() {
            self.end_control(before, cause);
        }
    }

    /// A control frame was appended to what was `before` bytes long.
    pub(super) fn end_control(&mut self, before: usize, cause: Cause) {
        let len = self.outgoing.control().len().saturating_sub(before);
        self.outgoing.end_control(len, cause);
        self.timers.sent();
    }

    /// Returns credit for a stream, once it is worth a frame.
    pub(super) fn credit_stream(&mut self, id: StreamId) {
        if !self.flow.is_active() || self.failed.is_some() {
            return;
        }
        let size = self.config.stream_window;
        let credit = |stream: &mut Stream| stream.receive_window.update(size);
        while let Some(delta) = (self.streams.get_mut(&id))
            .filter(|s| s.remote_open)
            .and_then(credit)
        {
            let update = WindowUpdate {
                id: id.get(),
                delta,
            };
            self.control(&Frame::WindowUpdate(update), Cause::Stream);
        }
    }

    /// The same for the connection.
    pub(super) fn credit_session(&mut self) {
        if !self.flow.is_active() || self.failed.is_some() {
            return;
        }
        while let Some(delta) = self
            .receive_window
            .update_shared(self.config.session_window)
        {
            let update = WindowUpdate { id: 0, delta };
            self.control(&Frame::WindowUpdate(update), Cause::Stream);
        }
    }

    /// What has been consumed before windows counted is credited now.
    pub(super) fn credit_all(&mut self) {
        self.credit_session();
        let mut ids: Vec<StreamId> = self.streams.keys().copied().collect();
        // One order for the same history, whatever the hash.
        ids.sort_unstable();
        for id in ids {
            self.credit_stream(id);
        }
    }
}

/// The head of a DATA frame of `n` bytes, which fit a frame.
fn head(id: StreamId, n: usize, fin: bool) -> [u8; HEAD] {
    let flags = if fin { FIN } else { 0 };
    data_head(id.get(), flags, u32::try_from(n).unwrap_or(0))
}
