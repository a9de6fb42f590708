//! The receive budgets: when reading pauses, and whom to blame (B14).
//!
//! Without flow control the protocol cannot push back on one stream. What is left is to stop
//! reading the whole connection, and to reset a stream that makes the others wait.

use super::driver::Driver;
use super::shared::{End, StreamCell};
use super::stream::StreamFailure;
use spdy::{RstStatus, StreamId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Streams that one forwarded connection has: with no more than these there is nobody to hold up.
const PAIR: usize = 2;

impl<T> Driver<T> {
    /// Whether the receive budgets let more be read.
    pub(super) fn may_read(&mut self) -> bool {
        if self.conn.is_blocked() {
            return false;
        }
        let full = self.shared.received_bytes.load(Ordering::SeqCst) > self.config.session_receive
            && {
                // Announced before the second look, so that a reader that makes room now wakes us.
                self.shared.paused.store(true, Ordering::SeqCst);
                self.shared.received_bytes.load(Ordering::SeqCst) > self.config.session_receive
            };
        self.shared.paused.store(full, Ordering::SeqCst);
        let over = full || self.pausing > 0;
        if !over {
            self.blame_at = None;
        } else if self.blame_at.is_none() {
            self.watch_progress();
        }
        !over
    }

    /// From now on it counts which streams are read.
    pub(super) fn watch_progress(&mut self) {
        for cell in self.streams.values().chain(self.unread.values()) {
            cell.lock().progressed = false;
        }
        self.blame_at = Instant::now().checked_add(self.config.stall);
    }

    /// The stream to blame: of those that nobody reads and that caused the pause, the one with the
    /// most unread bytes, if there are others that it holds up. Alone on its connection a stream
    /// may wait for ever.
    fn most_stalled(&self) -> Option<(StreamId, Arc<StreamCell>)> {
        if self.streams.len().saturating_add(self.unread.len()) <= PAIR {
            return None;
        }
        let all = || self.streams.iter().chain(&self.unread);
        let holders = all()
            .filter(|(_, cell)| cell.lock().received_bytes > 0)
            .count();
        let share = self
            .config
            .session_receive
            .checked_div(holders)
            .unwrap_or(0);
        let to_blame = |cell: &StreamCell| {
            let state = cell.lock();
            // Over its own budget, or over its share of what all may hold together.
            let cause = if self.pausing > 0 {
                state.pausing
            } else {
                state.received_bytes > share
            };
            (cause && !state.progressed).then_some(state.received_bytes)
        };
        let stalled = all().filter_map(|(id, cell)| Some((to_blame(cell)?, id, cell)));
        stalled
            .max_by_key(|(bytes, ..)| *bytes)
            .map(|(_, id, cell)| (*id, Arc::clone(cell)))
    }

    pub(super) fn reset_stalled(&mut self) {
        let Some((id, cell)) = self.most_stalled() else {
            return;
        };
        self.conn.reset(id, RstStatus::FLOW_CONTROL_ERROR);
        self.remove(id);
        self.unread.remove(&id);
        let mut state = cell.lock();
        let waiting = std::mem::take(&mut state.received_bytes);
        let chunks = std::mem::take(&mut state.received);
        let failure = StreamFailure::Stalled(waiting);
        // Also over a FIN: what came before it will not be read.
        state.end = Some(End::Failed(failure.clone()));
        self.give_up(state, &failure);
        drop(chunks);
        self.shared.uncharge_received(waiting);
    }
}
