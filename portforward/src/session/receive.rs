//! The receive budgets: when reading pauses, and whom to blame (B14).
//!
//! Without flow control the protocol cannot push back on one stream. What is left is to stop
//! reading the whole connection, and to reset a stream that makes the others wait.

use super::driver::Driver;
use super::shared::{End, StreamCell};
use super::stream::StreamFailure;
use spdy::{Role, RstStatus, StreamId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// A stalled stream that holds up nobody who waits for an answer has this many times as long, and so has
/// one whose own side waits for us to send.
const PATIENCE: u32 = 4;

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
            for cell in self.streams.values().chain(self.unread.values()) {
                let mut state = cell.lock();
                (state.asked, state.looks) = (false, 0);
            }
        }
        !over
    }

    /// A look is over: from now on it counts anew which streams are read.
    pub(super) fn watch_progress(&mut self) {
        for cell in self.streams.values().chain(self.unread.values()) {
            let mut state = cell.lock();
            let progressed = std::mem::take(&mut state.progressed);
            let looks = state.looks.saturating_add(1);
            state.looks = if progressed { 0 } else { looks };
            state.waits_to_send = state.writer.is_some();
        }
        self.blame_at = Instant::now().checked_add(self.config.stall);
    }

    /// Whether a pause because of `id` holds up others, and whether one of them waits for an answer.
    /// Streams on which this side has sent FIN do not count: a real server ends them within a second, and
    /// all that is missing of most is their end. A client's error stream is such; a server's is the
    /// second of its pair.
    fn holds_up(&self, id: StreamId) -> (bool, bool) {
        let (mut others, mut asked) = (0usize, false);
        for (other, cell) in &self.streams {
            let state = cell.lock();
            if *other != id && !state.fin_sent {
                others = others.saturating_add(1);
                asked |= state.asked;
            }
        }
        let partner = usize::from(self.config.spdy.role == Role::Server);
        (others > partner, asked && others > partner)
    }

    /// The stream to blame, and whether it deserves patience: of those that nobody reads and that caused
    /// the pause, the one with the most unread bytes. A reader that may itself wait until we have sent what
    /// it said (an echo, while the peer takes nothing) comes last.
    fn most_stalled(&self) -> Option<(StreamId, Arc<StreamCell>, bool)> {
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
            let own = !state.waits_to_send;
            (cause && !state.progressed).then_some((own, state.received_bytes))
        };
        let stalled = all().filter_map(|(id, cell)| Some((to_blame(cell)?, id, cell)));
        stalled
            .max_by_key(|(blame, ..)| *blame)
            .map(|((own, _), id, cell)| (*id, Arc::clone(cell), !own))
    }

    pub(super) fn reset_stalled(&mut self) {
        let Some((id, cell, patience)) = self.most_stalled() else {
            return;
        };
        // Alone on its connection a stream may wait for ever.
        match self.holds_up(id) {
            (_, true) if !patience => {}
            // This look counts too.
            (true, _) if cell.lock().looks.saturating_add(1) >= PATIENCE => {}
            _ => return,
        }
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
