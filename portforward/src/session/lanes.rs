//! Uploads to a peer without flow control (PROTOCOL.md 1.7).
//!
//! Such a peer works on streams in five lanes, by stream id modulo 5, each with a queue of 50 frames. A
//! pod that does not read blocks the lane of its stream, and once that queue is full the peer reads
//! nothing more from anyone. It answers PINGs in the same lanes, in turn: the answer to the n-th tells
//! that lane n modulo 5 has dealt with every frame before it. So the client counts what of each lane is
//! not confirmed, stops before the queue is full, and gives each forwarded connection one lane.
//!
//! What this cannot do: a lane that is blocked for good holds one more frame for every fifth PING, so
//! that there are only so many left. When they are used up the other lanes go on unconfirmed.

use super::FLOW_CONTROL;
use super::driver::Driver;
use super::shared::{Lane as Place, Open, StreamCell};
use spdy::{OpenError, StreamId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Workers of spdystream.
pub(super) const LANES: usize = 5;
/// Frames of a lane that may be unconfirmed, of the 50 that fit: the rest is for PINGs, resets and
/// FINs.
const FRAMES: u64 = 24;
/// Unconfirmed frames after which the peer is asked.
const ASK: u64 = 8;
/// PINGs of a lane that may wait for their answers.
const PINGS: usize = 3;
/// The same while a lane is blocked: what its queue has room for.
const PINGS_BLOCKED: usize = 12;
/// A lane is blocked when an answer takes this long, and those of other lanes came.
const BLOCKED: Duration = Duration::from_millis(300);
/// What a stream may send before the peer is asked because of it: the sockets to the pod take that
/// much.
pub(super) const FREE: u64 = 128 << 10;
/// A peer that answers no PING at all within this time is not asked any more.
const MUTE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Lane {
    streams: usize,
    /// Frames handed to the protocol.
    sent: u64,
    confirmed: u64,
    /// A stream that may block it has sent since the last PING.
    heavy: bool,
    /// PINGs on their way: id, when, and how many frames were before it.
    asked: VecDeque<(u32, Instant, u64)>,
    parked: Vec<Arc<StreamCell>>,
}

impl Lane {
    fn unconfirmed(&self) -> u64 {
        self.sent.saturating_sub(self.confirmed)
    }

    /// Frames that no PING has asked about.
    fn unasked(&self) -> u64 {
        let asked = self.asked.back().map_or(self.confirmed, |(.., n)| *n);
        self.sent.saturating_sub(asked)
    }
}

/// Where uploads stand.
#[derive(Debug)]
pub(super) struct Lanes {
    on: bool,
    all: [Lane; LANES],
    /// The latest PING that was answered.
    answered: Option<u32>,
    first_asked: Option<Instant>,
    /// The last look at who waits.
    looked: Option<Instant>,
}

impl Lanes {
    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            all: Default::default(),
            answered: None,
            first_asked: None,
            looked: None,
        }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    /// The peer has flow control, or answers nothing: all that waits may go.
    pub(super) fn turn_off(&mut self) -> Vec<Arc<StreamCell>> {
        self.on = false;
        let lanes = self.all.iter_mut();
        lanes.flat_map(|lane| lane.parked.drain(..)).collect()
    }

    fn lane(&mut self, id: StreamId) -> &mut Lane {
        let [first, rest @ ..] = &mut self.all;
        match index(id.get()).checked_sub(1) {
            Some(at) => rest.get_mut(at).unwrap_or(first),
            None => first,
        }
    }

    /// The lane for a new forwarded connection: not blocked, with the fewest streams. As a remainder.
    pub(super) fn pick(&self, now: Instant) -> usize {
        let order = |(_, lane): &(usize, &Lane)| {
            (
                overdue(lane, self.answered, now),
                lane.streams,
                lane.unconfirmed(),
            )
        };
        let lanes = self.all.iter().enumerate();
        lanes.min_by_key(order).map_or(0, |(at, _)| at)
    }

    /// Lanes without a stream, and not blocked by one that is gone.
    pub(super) fn free(&self, now: Instant) -> usize {
        let free = |lane: &&Lane| lane.streams == 0 && !overdue(lane, self.answered, now);
        self.all.iter().filter(free).count()
    }

    /// Lanes that a pod blocks by reading nothing.
    pub(super) fn blocked(&self, now: Instant) -> usize {
        let blocked = |lane: &&Lane| overdue(lane, self.answered, now);
        self.all.iter().filter(blocked).count()
    }

    pub(super) fn opened(&mut self, id: StreamId) {
        let lane = self.lane(id);
        lane.streams = lane.streams.saturating_add(1);
        lane.sent = lane.sent.saturating_add(1);
    }

    pub(super) fn forgotten(&mut self, id: StreamId, cell: &Arc<StreamCell>) {
        let lane = self.lane(id);
        lane.streams = lane.streams.saturating_sub(1);
        lane.parked.retain(|parked| !Arc::ptr_eq(parked, cell));
    }

    /// A frame of a stream that has sent `total` bytes was handed to the protocol.
    pub(super) fn sent(&mut self, id: StreamId, total: u64) {
        let lane = self.lane(id);
        lane.sent = lane.sent.saturating_add(1);
        lane.heavy |= total >= FREE;
    }

    /// Whether a stream that has sent so many bytes may send now; if not, its cell is kept until it may.
    pub(super) fn may_send(
        &mut self,
        id: StreamId,
        total: u64,
        cell: &Arc<StreamCell>,
        now: Instant,
    ) -> bool {
        if !self.on || total < FREE || self.lane(id).unconfirmed() < FRAMES {
            return true;
        }
        let answered = self.answered;
        // When nobody can be asked any more, unconfirmed is better than not at all.
        if self.is_spent(now) && !overdue(self.lane(id), answered, now) {
            return true;
        }
        self.lane(id).parked.push(Arc::clone(cell));
        false
    }

    /// A blocked lane has no room for another PING.
    fn is_spent(&self, now: Instant) -> bool {
        let full =
            |lane: &Lane| lane.asked.len() >= PINGS_BLOCKED && overdue(lane, self.answered, now);
        self.all.iter().any(full)
    }

    /// Whether five more PINGs should leave now: a lane has sent enough since the last.
    pub(super) fn should_ask(&self, now: Instant) -> bool {
        let due = |lane: &Lane| {
            (lane.heavy && lane.unasked() >= ASK) || (!lane.parked.is_empty() && lane.unasked() > 0)
        };
        let room = |lane: &Lane| {
            let limit = if overdue(lane, self.answered, now) {
                PINGS_BLOCKED
            } else {
                PINGS
            };
            lane.asked.len() < limit
        };
        self.on && self.all.iter().any(due) && self.all.iter().all(room)
    }

    /// Looks at a PING that was sent, ours or the keepalive's.
    pub(super) fn asked(&mut self, ping: u32, now: Instant) {
        self.first_asked.get_or_insert(now);
        if let Some(lane) = self.all.get_mut(worker(ping)) {
            lane.asked.push_back((ping, now, lane.sent));
            lane.heavy = false;
        }
    }

    /// An answer. Gives back who waited for it.
    pub(super) fn answered(&mut self, ping: u32) -> Vec<Arc<StreamCell>> {
        self.answered = self.answered.max(Some(ping));
        let Some(lane) = self.all.get_mut(worker(ping)) else {
            return Vec::new();
        };
        while let Some(&(id, _, sent)) = lane.asked.front()
            && id <= ping
        {
            lane.confirmed = lane.confirmed.max(sent);
            lane.asked.pop_front();
        }
        if lane.unconfirmed() < FRAMES {
            std::mem::take(&mut lane.parked)
        } else {
            Vec::new()
        }
    }

    /// When to look again, while somebody waits: a lane may turn out to be blocked, or the peer mute.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.on || self.all.iter().all(|lane| lane.parked.is_empty()) {
            return None;
        }
        let fronts = self.all.iter().filter_map(|lane| lane.asked.front());
        let late = fronts.filter_map(|(_, at, _)| at.checked_add(BLOCKED));
        let mute = self.first_asked.filter(|_| self.answered.is_none());
        let mute = mute.and_then(|at| at.checked_add(MUTE));
        // What was looked at is known.
        let news = |at: &Instant| self.looked.is_none_or(|looked| *at > looked);
        late.chain(mute).filter(news).min()
    }

    /// The deadline has passed. Gives back those who are to ask again whether they may.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Arc<StreamCell>> {
        self.looked = Some(now);
        let since = |at: Instant| now.saturating_duration_since(at);
        if self.answered.is_none() && self.first_asked.is_some_and(|at| since(at) >= MUTE) {
            self.on = false;
        }
        let lanes = self.all.iter_mut();
        lanes.flat_map(|lane| lane.parked.drain(..)).collect()
    }
}

/// The oldest answer is late: others, asked with it or later, came.
fn overdue(lane: &Lane, answered: Option<u32>, now: Instant) -> bool {
    let Some(&(ping, asked, _)) = lane.asked.front() else {
        return false;
    };
    // Of the same five, whose ids go in steps of 2.
    let others = answered.is_some_and(|answered| answered.saturating_add(8) >= ping);
    others && now.saturating_duration_since(asked) >= BLOCKED
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(0) % LANES
}

/// Who answers: PINGs go to the workers in turn, beginning with the first.
fn worker(ping: u32) -> usize {
    index(ping >> 1)
}

impl<T> Driver<T> {
    /// Opens a stream, in its lane if it has one. The first one offers flow control.
    pub(super) fn open(&mut self, open: Open) -> Result<StreamId, OpenError> {
        let Open { mut headers, lane } = open;
        let lane = match lane {
            _ if !self.lanes.is_on() => None,
            Place::Any => None,
            Place::New => Some(self.lanes.pick(Instant::now())),
            Place::Of(other) => {
                let id = other.lock().id.map(StreamId::get);
                id.and_then(|id| usize::try_from(id).ok())
            }
        };
        if let Some(lane) = lane {
            self.skip_to_lane(lane % LANES);
        }
        if !std::mem::replace(&mut self.offered, true) {
            headers.push(FLOW_CONTROL, "agree");
        }
        self.conn.open(&headers, false)
    }

    /// Leaves out ids until the next one is of this lane.
    fn skip_to_lane(&mut self, lane: usize) {
        let Some(next) = self.conn.next_id().map(StreamId::get) else {
            return;
        };
        let id = (0u32..5)
            .filter_map(|n| next.checked_add(n.checked_mul(2)?))
            .find(|id| usize::try_from(*id).is_ok_and(|id| id % LANES == lane));
        if let Some(id) = id.and_then(StreamId::new) {
            self.conn.skip_to(id);
        }
    }

    /// Forgets a stream, but not what of it is unread.
    pub(super) fn remove(&mut self, id: StreamId) -> Option<Arc<StreamCell>> {
        let cell = self.streams.remove(&id)?;
        self.lanes.forgotten(id, &cell);
        Some(cell)
    }

    /// Asks the peer how far it has come, if it is time to.
    pub(super) fn ask(&mut self) {
        if !self.lanes.is_on() {
            return;
        }
        let now = Instant::now();
        if self.lanes.should_ask(now) {
            for _ in 0..LANES {
                if let Some(ping) = self.conn.ping_behind_data(now.into_std()) {
                    self.lanes.asked(ping, now);
                }
            }
        }
    }

    /// For those who choose among sessions.
    pub(super) fn tell_load(&mut self) {
        if self.lanes.is_on() {
            let now = Instant::now();
            let (free, blocked) = (self.lanes.free(now), self.lanes.blocked(now));
            self.shared.free_lanes.store(free, Ordering::Relaxed);
            self.shared.blocked_lanes.store(blocked, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
