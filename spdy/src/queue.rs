//! Payload that is not framed yet: waits for credit, or for the transport to take what is framed.
//!
//! Streams take turns by bytes (deficit round-robin), the higher priority first; within a stream
//! the order stays.

use crate::id_map::IdMap;
use crate::status::RstStatus;
use crate::stream_id::StreamId;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;

/// Bytes a stream may send per turn.
pub(crate) const QUANTUM: usize = 16 << 10;
/// Priorities, 0 first (§2.3.3).
const LEVELS: usize = 8;

/// How a stream's output ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Fin,
    Reset(RstStatus),
}

/// What waits on one stream.
pub(crate) struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    pub(crate) end: End,
    priority: u8,
    /// Has a turn coming.
    ready: bool,
    /// The caller was told that there is no room.
    wants_room: bool,
    /// Bytes of this turn; below zero when the last frame was longer than what was left.
    deficit: i64,
}

impl fmt::Debug for Queue {
    /// How much, never what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("bytes", &self.bytes)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Queue {
    fn is_over(&self) -> bool {
        self.chunks.is_empty() && self.end == End::Open && !self.wants_room
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queues {
    of: IdMap<Queue>,
    ready: [VecDeque<StreamId>; LEVELS],
    bytes: usize,
    /// Streams have room for themselves, but all together have none.
    starved: bool,
}

/// What leaves next.
pub(crate) enum Next {
    Data { payload: Bytes, fin: bool },
    Reset(RstStatus),
}

impl Queues {
    /// Bytes that wait, of all streams.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn bytes_of(&self, id: StreamId) -> usize {
        self.of.get(&id).map_or(0, |q| q.bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whether nobody has a turn coming.
    pub(crate) fn nobody_ready(&self) -> bool {
        self.ready.iter().all(VecDeque::is_empty)
    }

    /// Whether something of this stream must leave before anything new of it.
    pub(crate) fn holds(&self, id: StreamId) -> bool {
        self.of
            .get(&id)
            .is_some_and(|q| !q.chunks.is_empty() || q.end != End::Open)
    }

    fn queue(&mut self, id: StreamId, priority: u8) -> &mut Queue {
        self.of.entry(id).or_insert_with(|| Queue {
            chunks: VecDeque::new(),
            bytes: 0,
            end: End::Open,
            priority,
            ready: false,
            wants_room: false,
            deficit: 0,
        })
    }

    pub(crate) fn push(&mut self, id: StreamId, priority: u8, payload: Bytes, fin: bool) {
        self.bytes = self.bytes.saturating_add(payload.len());
        let queue = self.queue(id, priority);
        queue.bytes = queue.bytes.saturating_add(payload.len());
        if !payload.is_empty() {
            queue.chunks.push_back(payload);
        }
        if fin {
            queue.end = End::Fin;
        }
        self.wake(id);
    }

    /// The caller waits for room on this stream.
    pub(crate) fn want_room(&mut self, id: StreamId, priority: u8) {
        let queue = self.queue(id, priority);
        queue.wants_room = true;
        // Then it gets no turn that would tell it.
        self.starved |= queue.chunks.is_empty();
    }

    /// RST_STREAM follows what waits.
    pub(crate) fn end_with_reset(&mut self, id: StreamId, status: RstStatus) {
        if let Some(queue) = self.of.get_mut(&id) {
            queue.end = End::Reset(status);
            queue.wants_room = false;
            self.wake(id);
        }
    }

    /// Drops what waits on a stream.
    pub(crate) fn discard(&mut self, id: StreamId) {
        // Its turn, if it has one coming, is passed over when it comes.
        if let Some(queue) = self.of.remove(&id) {
            self.bytes = self.bytes.saturating_sub(queue.bytes);
        }
    }

    /// Drops the payload that waits on a stream, not its end.
    pub(crate) fn drop_payload(&mut self, id: StreamId) {
        if let Some(queue) = self.of.get_mut(&id) {
            queue.chunks.clear();
            self.bytes = self.bytes.saturating_sub(std::mem::take(&mut queue.bytes));
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives a stream a turn, if it has something to send.
    pub(crate) fn wake(&mut self, id: StreamId) {
        let Some(queue) = self.of.get_mut(&id) else {
            return;
        };
        if queue.ready || (queue.chunks.is_empty() && queue.end == End::Open) {
            return;
        }
        if let Some(level) = self.ready.get_mut(usize::from(queue.priority)) {
            queue.ready = true;
            level.push_back(id);
        }
    }

    /// Gives every stream a turn: windows have changed.
    pub(crate) fn wake_all(&mut self) {
        let waiting: Vec<StreamId> = self.of.keys().copied().collect();
        for id in waiting {
            self.wake(id);
        }
    }

    /// Whose turn it is, and whether others wait beside it.
    pub(crate) fn turn(&mut self) -> Option<(StreamId, bool)> {
        let (id, shared) = self.ready.iter_mut().find_map(|level| {
            while let Some(id) = level.front() {
                if self.of.contains_key(id) {
                    return Some((*id, level.len() > 1));
                }
                level.pop_front();
            }
            None
        })?;
        let queue = self.of.get_mut(&id)?;
        if queue.deficit <= 0 {
            queue.deficit = queue
                .deficit
                .saturating_add(i64::try_from(QUANTUM).unwrap_or(i64::MAX));
        }
        Some((id, shared))
    }

    /// The next piece of the stream whose turn it is, of at most `limit` bytes. `None`: it has to
    /// wait for credit, or has nothing.
    pub(crate) fn take(&mut self, id: StreamId, limit: usize) -> Option<Next> {
        let queue = self.of.get_mut(&id)?;
        let Some(front) = queue.chunks.front_mut() else {
            return match std::mem::replace(&mut queue.end, End::Open) {
                End::Open => None,
                End::Fin => Some(Next::Data {
                    payload: Bytes::new(),
                    fin: true,
                }),
                End::Reset(status) => Some(Next::Reset(status)),
            };
        };
        let n = front.len().min(limit);
        if n == 0 {
            return None;
        }
        let payload = front.split_to(n);
        if front.is_empty() {
            queue.chunks.pop_front();
        }
        let fin = queue.chunks.is_empty() && queue.end == End::Fin;
        if fin {
            queue.end = End::Open;
        }
        queue.bytes = queue.bytes.saturating_sub(n);
        queue.deficit = queue
            .deficit
            .saturating_sub(i64::try_from(n).unwrap_or(i64::MAX));
        self.bytes = self.bytes.saturating_sub(n);
        Some(Next::Data { payload, fin })
    }

    /// Whether the turn may go on.
    pub(crate) fn may_go_on(&self, id: StreamId) -> bool {
        self.of
            .get(&id)
            .is_some_and(|q| q.deficit > 0 && (!q.chunks.is_empty() || q.end != End::Open))
    }

    /// Ends the turn of the stream that has it. `blocked`: it waits for credit. `true`: its caller
    /// waited for room and has it now, with no more than these bytes on the stream and on all.
    pub(crate) fn end_turn(
        &mut self,
        id: StreamId,
        blocked: bool,
        stream: usize,
        session: usize,
    ) -> bool {
        let Some(queue) = self.of.get_mut(&id) else {
            return false;
        };
        queue.ready = false;
        if let Some(level) = self.ready.get_mut(usize::from(queue.priority)) {
            level.pop_front();
        }
        if queue.chunks.is_empty() {
            queue.deficit = 0;
        }
        let room = queue.wants_room && queue.bytes <= stream;
        self.starved |= room && self.bytes > session;
        let room = room && self.bytes <= session;
        queue.wants_room &= !room;
        if queue.is_over() {
            self.of.remove(&id);
        } else if !blocked {
            self.wake(id);
        }
        room
    }

    /// Streams that were kept waiting only because all together had no room, once no more than
    /// `session` bytes wait.
    pub(crate) fn relieved(&mut self, stream: usize, session: usize) -> Vec<StreamId> {
        if !self.starved || self.bytes > session {
            return Vec::new();
        }
        self.starved = false;
        let mut found = Vec::new();
        for (id, queue) in &mut self.of {
            if queue.wants_room && queue.bytes <= stream {
                queue.wants_room = false;
                found.push(*id);
            }
        }
        self.of.retain(|_, queue| !queue.is_over());
        found
    }
}
