//! What the peer did, passed on to the handles.

use super::FLOW_CONTROL;
use super::driver::Driver;
use super::shared::{End, StreamCell};
use super::stream::{Stream, StreamFailure};
use super::{CloseReason, Incoming};
use bytes::Bytes;
use spdy::{Event, HeaderBlock, Role, StreamId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

impl<T> Driver<T> {
    pub(super) fn handle_events(&mut self) {
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
                        self.end_receiving(id);
                    }
                }
                Event::Reset { id, status } => {
                    let cell = self.remove(id).or_else(|| self.unread.remove(&id));
                    if let Some(cell) = cell {
                        self.give_up(cell.lock(), &StreamFailure::Reset(status));
                        if cell.lock().received_bytes > 0 {
                            self.unread.insert(id, Arc::clone(&cell));
                        }
                    }
                }
                Event::GoAway { last_good, status } => {
                    self.goaway = Some(CloseReason::GoAway { last_good, status });
                    // Streams that are there may finish; a real peer closes at once.
                    self.goaway_deadline = Instant::now().checked_add(self.config.drain);
                }
                Event::Headers { id, fin: true, .. } => self.end_receiving(id),
                Event::Writable { id } => {
                    if let Some(cell) = self.streams.get(&id).cloned() {
                        self.take_turn(&cell);
                    }
                }
                Event::Pong { id, .. } if self.lanes.is_on() => {
                    let waited = self.lanes.answered(id);
                    self.round.extend(waited);
                }
                // PONG keeps the peer and the hops between alive; nothing waits for it.
                _ => {}
            }
        }
        self.look_at_windows();
    }

    /// The peer has shown that it counts windows, or agreed to.
    fn look_at_windows(&mut self) {
        if !self.windows && self.conn.has_flow_control() {
            self.windows = true;
            self.shared.windows.store(true, Ordering::Relaxed);
            let waited = self.lanes.turn_off();
            self.round.extend(waited);
        }
    }

    fn on_data(&mut self, id: StreamId, payload: Bytes, fin: bool) {
        self.shared.count_moved(payload.len());
        let Some(cell) = self.streams.get(&id).cloned() else {
            return self.conn.consumed(id, payload.len());
        };
        let mut state = cell.lock();
        let mut reader = None;
        // Without windows what is unread is counted here alone (B14), not by the protocol.
        if !self.windows || state.reader_gone {
            self.conn.consumed(id, payload.len());
        }
        if !payload.is_empty() && !state.reader_gone {
            state.receive(payload, &self.shared);
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
            self.end_receiving(id);
        }
    }

    fn on_opened(&mut self, id: StreamId, headers: HeaderBlock, fin: bool) {
        let offered = || headers.get(FLOW_CONTROL).is_some();
        if !self.windows
            && self.config.windows
            && self.config.spdy.role == Role::Server
            && offered()
        {
            self.conn.agree_flow_control();
        }
        let cell = Arc::new(StreamCell::default());
        cell.lock().id = Some(id);
        self.streams.insert(id, Arc::clone(&cell));
        let stream = Stream::new(cell, Arc::clone(&self.shared));
        let incoming = Incoming::new(id, headers, stream, Arc::clone(&self.shared));
        // With nobody to take it, or too many untaken, it is dropped, which refuses it.
        if let Some(Err(unwanted)) = self.admit.as_ref().map(|admit| admit.try_send(incoming)) {
            drop(unwanted);
        }
        if fin {
            self.end_receiving(id);
        }
    }

    /// The peer's FIN.
    fn end_receiving(&mut self, id: StreamId) {
        let Some(cell) = self.streams.get(&id).cloned() else {
            return;
        };
        let mut state = cell.lock();
        state.end.get_or_insert(End::Fin);
        let reader = state.reader.take();
        drop(state);
        self.forget_if_done(id);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}
