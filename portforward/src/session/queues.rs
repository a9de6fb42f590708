//! What a stream holds in its two queues, and what it counts (B14, B15): one place for both drivers and the
//! handle, so that what is charged and what is taken off again agree.

use super::shared::{Shared, StreamState};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::task::Waker;

/// What every queued chunk counts beside its payload, so that tiny frames cannot hold more than
/// they are charged for (B12).
pub(super) const CHUNK_OVERHEAD: usize = 256;
/// Payloads shorter than this are copied, so that a few unread bytes do not keep a whole read
/// buffer alive.
const COPY_BELOW: usize = 8 << 10;

impl StreamState {
    /// Queues what came.
    pub(super) fn receive(&mut self, payload: Bytes, shared: &Shared) {
        let charge = payload.len().saturating_add(CHUNK_OVERHEAD);
        self.received_bytes = self.received_bytes.saturating_add(charge);
        shared.received_bytes.fetch_add(charge, Ordering::SeqCst);
        self.received.push_back(if payload.len() < COPY_BELOW {
            Bytes::copy_from_slice(&payload)
        } else {
            payload
        });
    }

    /// Queues what is to be sent.
    pub(super) fn queue(&mut self, chunk: Bytes, shared: &Shared) {
        let charge = chunk.len().saturating_add(CHUNK_OVERHEAD);
        self.sending_bytes = self.sending_bytes.saturating_add(charge);
        shared.sending_bytes.fetch_add(charge, Ordering::Relaxed);
        self.sending.push_back(chunk);
    }

    /// The first chunk that is to be sent, or so much of it: then the rest stays as a chunk of its own. A little more
    /// goes whole, for a rest of a few bytes would cost a turn, and one of a lane's frames.
    pub(super) fn next_to_send(&mut self, most: usize, shared: &Shared) -> Bytes {
        let mut chunk = self.sending.pop_front().unwrap_or_default();
        if chunk.len() > most.saturating_add(most / 4) {
            self.sending.push_front(chunk.split_off(most));
            self.sending_bytes = self.sending_bytes.saturating_add(CHUNK_OVERHEAD);
            shared
                .sending_bytes
                .fetch_add(CHUNK_OVERHEAD, Ordering::Relaxed);
        }
        chunk
    }

    /// The protocol has taken `n` bytes of the first chunk, which is out of the queue; `rest` goes back.
    pub(super) fn taken(&mut self, n: usize, rest: Bytes, shared: &Shared) {
        let sent = u64::try_from(n).unwrap_or(u64::MAX);
        self.sent = self.sent.saturating_add(sent);
        let overhead = if rest.is_empty() { CHUNK_OVERHEAD } else { 0 };
        let charge = n.saturating_add(overhead).min(self.sending_bytes);
        self.sending_bytes = self.sending_bytes.saturating_sub(charge);
        shared.sending_bytes.fetch_sub(charge, Ordering::Relaxed);
        if !rest.is_empty() {
            self.sending.push_front(rest);
        }
    }

    /// Forgets what was queued for sending.
    pub(super) fn drop_sends(&mut self, shared: &Shared) {
        let n = std::mem::take(&mut self.sending_bytes);
        shared.sending_bytes.fetch_sub(n, Ordering::Relaxed);
        self.sending.clear();
    }

    /// Who waits for room, once half of the stream's budget is free.
    pub(super) fn writer_with_room(&mut self, shared: &Shared) -> Option<Waker> {
        if self.sending_bytes <= shared.stream_send / 2 {
            self.take_writer()
        } else {
            None
        }
    }

    /// To be woken: it waits no longer.
    pub(super) fn take_writer(&mut self) -> Option<Waker> {
        self.waits_to_send = false;
        self.writer.take()
    }
}
