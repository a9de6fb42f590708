//! Payload that is not framed yet: waits for credit, or for the transport to take what is framed.
//!
//! Streams take turns by bytes (deficit round-robin), the higher priority first; within a stream
//! the order stays.

use crate::id_map::IdMap;
use crate::status::RstStatus;
use crate::stream_id::StreamId;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;

/// Bytes a stream may send per turn.
pub(crate) const QUANTUM: usize = 16 << 10;
/// Shorter payloads are copied together: alone, each would cost more than it holds.
const SMALL: usize = 1 << 10;
/// What a queue of a stream that is gone counts beside its payload (B15).
const GONE: usize = 256;
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
    /// Small payloads behind `chunks`, at most a turn's worth.
    tail: BytesMut,
    /// Of `chunks` and `tail`.
    bytes: usize,
    end: End,
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
    /// Whether something is left to send.
    fn holds(&self) -> bool {
        self.bytes > 0 || self.end != End::Open
    }

    fn is_over(&self) -> bool {
        !self.holds() && !self.wants_room
    }

    fn push(&mut self, payload: Bytes) {
        self.bytes = self.bytes.saturating_add(payload.len());
        let small = payload.len() < SMALL;
        if !small || self.tail.len().saturating_add(payload.len()) > QUANTUM {
            self.end_tail();
        }
        if small {
            self.tail.extend_from_slice(&payload);
        } else {
            self.chunks.push_back(payload);
        }
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks
                .push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queues {
    of: IdMap<Queue>,
    ready: [VecDeque<StreamId>; LEVELS],
    bytes: usize,
    /// Queues that end with a reset: their streams are gone.
    gone: usize,
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

    /// What counts in the budget of all streams.
    pub(crate) fn charged(&self) -> usize {
        self.bytes.saturating_add(self.gone.saturating_mul(GONE))
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
        self.of.get(&id).is_some_and(Queue::holds)
    }

    /// Whether anything must leave before a last word.
    pub(crate) fn holds_any(&self) -> bool {
        self.of.values().any(Queue::holds)
    }

    fn queue(&mut self, id: StreamId, priority: u8) -> &mut Queue {
        self.of.entry(id).or_insert_with(|| Queue {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
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
        queue.push(payload);
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
        self.starved |= queue.bytes == 0;
    }

    /// RST_STREAM follows what waits.
    pub(crate) fn end_with_reset(&mut self, id: StreamId, status: RstStatus) {
        if let Some(queue) = self.of.get_mut(&id) {
            queue.end = End::Reset(status);
            queue.wants_room = false;
            self.gone = self.gone.saturating_add(1);
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
            queue.tail = BytesMut::new();
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
        if queue.ready || !queue.holds() {
            return;
        }
        if let Some(level) = self.ready.get_mut(usize::from(queue.priority)) {
            queue.ready = true;
            level.push_back(id);
            // Turns of what was discarded: there may be no turn for long.
            if level.len() > self.of.len().saturating_mul(2) {
                level.retain(|id| self.of.contains_key(id));
            }
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
        if queue.chunks.is_empty() {
            queue.end_tail();
        }
        let Some(front) = queue.chunks.front_mut() else {
            return match std::mem::replace(&mut queue.end, End::Open) {
                End::Open => None,
                End::Fin => Some(Next::Data {
                    payload: Bytes::new(),
                    fin: true,
                }),
                End::Reset(status) => {
                    self.gone = self.gone.saturating_sub(1);
                    Some(Next::Reset(status))
                }
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
        queue.bytes = queue.bytes.saturating_sub(n);
        let fin = queue.bytes == 0 && queue.end == End::Fin;
        if fin {
            queue.end = End::Open;
        }
        queue.deficit = queue
            .deficit
            .saturating_sub(i64::try_from(n).unwrap_or(i64::MAX));
        self.bytes = self.bytes.saturating_sub(n);
        Some(Next::Data { payload, fin })
    }

    /// Whether the turn may go on.
    pub(crate) fn may_go_on(&self, id: StreamId) -> bool {
        let more = |q: &Queue| q.deficit > 0 && q.holds();
        self.of.get(&id).is_some_and(more)
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
        let full = self.charged() > session;
        let Some(queue) = self.of.get_mut(&id) else {
            return false;
        };
        queue.ready = false;
        if let Some(level) = self.ready.get_mut(usize::from(queue.priority)) {
            level.pop_front();
        }
        if queue.bytes == 0 {
            queue.deficit = 0;
        }
        let room = queue.wants_room && queue.bytes <= stream;
        self.starved |= full;
        let room = room && !full;
        queue.wants_room &= !room;
        if queue.is_over() {
            self.of.remove(&id);
        } else if !blocked {
            self.wake(id);
        }
        room
    }

    /// Streams that were kept waiting only because all together had no room, once no more than
    /// `session` bytes are charged.
    pub(crate) fn relieved(&mut self, stream: usize, session: usize) -> Vec<StreamId> {
        if !self.starved || self.charged() > session {
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

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::panic, reason = "a test")]
mod tests {
    use super::*;

    fn id(n: u32) -> StreamId {
        StreamId::new(n).unwrap()
    }

    fn push(queues: &mut Queues, n: u32, payload: &[u8]) {
        queues.push(id(n), 0, Bytes::copy_from_slice(payload), false);
    }

    fn take(queues: &mut Queues, n: u32, limit: usize) -> Vec<u8> {
        match queues.take(id(n), limit) {
            Some(Next::Data { payload, .. }) => payload.to_vec(),
            _ => panic!("no payload"),
        }
    }

    #[test]
    fn small_payloads_leave_together_and_in_order() {
        let (mut queues, large) = (Queues::default(), vec![7; SMALL]);
        for payload in [&b"a"[..], b"b", &large, b"c", b"d"] {
            push(&mut queues, 1, payload);
        }
        assert_eq!(queues.of[&id(1)].chunks.len(), 2, "and a tail");
        assert_eq!(take(&mut queues, 1, 100), b"ab");
        assert_eq!(take(&mut queues, 1, 100), large[..100]);
        assert_eq!(take(&mut queues, 1, usize::MAX), large[100..]);
        assert_eq!(take(&mut queues, 1, 1), b"c");
        push(&mut queues, 1, b"e");
        assert_eq!(take(&mut queues, 1, 100), b"d", "was set apart already");
        assert_eq!(take(&mut queues, 1, 100), b"e");
        assert!(queues.take(id(1), 100).is_none() && queues.bytes() == 0);
        // Never more than a turn in one piece.
        for _ in 0..QUANTUM {
            push(&mut queues, 1, b"x");
        }
        assert!(queues.of[&id(1)].chunks.is_empty());
        push(&mut queues, 1, b"y");
        assert_eq!(take(&mut queues, 1, usize::MAX).len(), QUANTUM);
        assert_eq!(take(&mut queues, 1, usize::MAX), b"y");
    }

    #[test]
    fn a_queue_whose_stream_is_gone_counts_beside_its_payload() {
        let mut queues = Queues::default();
        push(&mut queues, 1, b"x");
        assert_eq!(queues.charged(), 1);
        queues.end_with_reset(id(1), RstStatus::CANCEL);
        assert_eq!((queues.charged(), queues.bytes()), (1 + GONE, 1));
        take(&mut queues, 1, 1);
        assert!(queues.holds(id(1)) && queues.holds_any());
        assert_eq!(queues.charged(), GONE);
        assert!(matches!(queues.take(id(1), 0), Some(Next::Reset(_))));
        assert!(!queues.holds_any() && queues.charged() == 0);
    }

    #[test]
    fn turns_of_what_was_discarded_do_not_pile_up() {
        let mut queues = Queues::default();
        push(&mut queues, 1, b"first");
        for n in 2..1000 {
            push(&mut queues, n, b"x");
            queues.discard(id(n));
            assert!(queues.ready[0].len() <= 4, "{}", queues.ready[0].len());
        }
        assert_eq!(queues.turn(), Some((id(1), true)));
        assert_eq!(queues.bytes(), 5);
    }

    /// Who had no room only because of others is told when all have left enough.
    #[test]
    fn who_waits_for_room_is_told_once() {
        let mut queues = Queues::default();
        push(&mut queues, 1, &[0; 100]);
        queues.want_room(id(1), 0);
        assert!(
            queues.relieved(100, 100).is_empty(),
            "its own turn tells it"
        );
        queues.want_room(id(2), 0);
        assert!(!queues.is_empty() && queues.relieved(50, 50).is_empty());
        queues.turn();
        take(&mut queues, 1, 40);
        assert!(
            !queues.end_turn(id(1), false, 59, 100),
            "too much of its own"
        );
        queues.turn();
        assert!(!queues.end_turn(id(1), false, 60, 59), "too much of all");
        // Now both waited for all.
        let mut told = queues.relieved(60, 60);
        told.sort();
        assert_eq!(told, [id(1), id(2)]);
        assert!(queues.relieved(60, 60).is_empty(), "once");
        assert!(!queues.of.contains_key(&id(2)) && queues.holds(id(1)));
        queues.want_room(id(1), 0);
        queues.want_room(id(2), 0);
        assert_eq!(queues.relieved(59, 60), [id(2)], "the other has too much");
        queues.turn();
        assert!(queues.end_turn(id(1), false, 60, 60));
        queues.turn();
        assert!(!queues.end_turn(id(1), false, 60, 60), "once");
        queues.turn();
        take(&mut queues, 1, 60);
        assert!(!queues.end_turn(id(1), false, 60, 60), "nobody waits");
        assert!(queues.is_empty());
    }

    #[test]
    fn a_turn_is_shared_if_others_wait() {
        let mut queues = Queues::default();
        assert_eq!(queues.turn(), None);
        push(&mut queues, 1, &vec![0; 20_000]);
        assert_eq!(queues.turn(), Some((id(1), false)));
        assert!(queues.may_go_on(id(1)));
        take(&mut queues, 1, QUANTUM);
        assert!(!queues.may_go_on(id(1)), "its turn is used up");
        assert_eq!(
            format!("{:?}", queues.of[&id(1)]),
            "Queue { bytes: 3616, end: Open, .. }"
        );
        push(&mut queues, 2, b"x");
        assert_eq!(queues.turn(), Some((id(1), true)));
        assert!(!queues.may_go_on(id(2)), "not its turn");
        take(&mut queues, 1, 3616);
        assert!(!queues.may_go_on(id(1)), "nothing is left");
        queues.end_turn(id(1), false, 0, 0);
        assert_eq!(queues.turn(), Some((id(2), false)));
        // A FIN is something.
        queues.push(id(2), 0, Bytes::new(), true);
        take(&mut queues, 2, 1);
        queues.push(id(3), 0, Bytes::new(), true);
        queues.end_turn(id(2), false, 0, 0);
        assert_eq!(queues.turn(), Some((id(3), false)));
        assert!(queues.may_go_on(id(3)) && queues.holds(id(3)));
        queues.drop_payload(id(3));
        assert!(matches!(
            queues.take(id(3), 0),
            Some(Next::Data { fin: true, .. })
        ));
    }

    #[test]
    fn a_debt_is_paid_in_the_next_turn() {
        let mut queues = Queues::default();
        push(&mut queues, 1, &vec![0; 40_000]);
        queues.turn();
        take(&mut queues, 1, QUANTUM + 100);
        queues.end_turn(id(1), false, 0, 0);
        queues.turn();
        take(&mut queues, 1, QUANTUM - 101);
        assert!(queues.may_go_on(id(1)), "a byte is left");
        take(&mut queues, 1, 1);
        assert!(!queues.may_go_on(id(1)));
    }
}
