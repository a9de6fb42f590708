//! Deadlines of a channel WebSocket: dead peers, pods that say no more, ports that stop the others (B14,
//! B26, B27).

use super::{ChannelDriver, Port};
use crate::session::shared::{End, StreamCell, wake_all};
use crate::session::{CloseReason, StreamFailure};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use wsstream::Role;

/// How often a client looks whether the server is there.
const PING: Duration = Duration::from_secs(10);
/// How long a client that has ended its direction waits for a byte of the pod, which cannot know.
pub(super) const QUIET: Duration = Duration::from_secs(10);
/// How long a pod may go on once its client has closed (PROTOCOL.md 4.3, 7.3).
const AFTER_CLOSE: Duration = Duration::from_secs(1);

/// When things happened.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) inbound: Instant,
    pub(super) any: Instant,
    /// Bytes of a port.
    pub(super) data: Instant,
    pub(super) pinged: Instant,
    /// A client has ended its direction of all ports.
    pub(super) ended: Option<Instant>,
    /// Reading is paused.
    pub(super) paused: Option<Instant>,
    /// The peer has closed.
    pub(super) closed: Option<Instant>,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            inbound: now,
            any: now,
            data: now,
            pinged: now,
            ended: None,
            paused: None,
            closed: None,
        }
    }
}

impl<T> ChannelDriver<T> {
    /// Whether nobody holds more than may be held unread, each and all together.
    pub(super) fn may_read(&mut self) -> bool {
        let full = |cell: &StreamCell| {
            let mut state = cell.lock();
            state.pausing &= state.received_bytes > self.config.stream_receive / 2;
            state.pausing
        };
        let mut over = false;
        for port in &self.ports {
            over |= full(&port.data) | full(&port.error);
        }
        // Announced before the look, so that a reader that makes room now wakes us.
        self.shared.paused.store(true, Ordering::SeqCst);
        let all = self.shared.received_bytes.load(Ordering::SeqCst) > self.config.session_receive;
        self.shared.paused.store(all, Ordering::SeqCst);
        over |= all;
        if !over {
            self.clock.paused = None;
        } else if self.clock.paused.is_none() {
            self.clock.paused = Some(Instant::now());
            for port in &self.ports {
                port.data.lock().progressed = false;
            }
        }
        !over
    }

    /// Of several ports, the one that nobody reads and that stops the others: it is given up (B14).
    fn fail_stalled(&mut self) {
        let waiting = |port: &Port| {
            let state = port.data.lock();
            (!state.progressed).then_some(state.received_bytes)
        };
        let stalled = self
            .ports
            .iter()
            .filter_map(|port| Some((waiting(port)?, port)));
        let most = stalled.max_by_key(|(bytes, _)| *bytes);
        if let Some((bytes, port)) = most.filter(|(bytes, _)| *bytes > 0) {
            let failure = StreamFailure::Stalled(bytes);
            let mut state = port.data.lock();
            let chunks = std::mem::take(&mut state.received);
            let charge = std::mem::take(&mut state.received_bytes);
            state.reader_gone = true;
            state.pausing = false;
            state.end = Some(End::Failed(failure.clone()));
            let wakers = state.fail(&failure);
            drop(state);
            drop(chunks);
            self.shared.uncharge_received(charge);
            wake_all(wakers);
        }
        self.clock.paused = None;
    }

    /// What is due, and when to look again.
    pub(super) fn deadlines(&mut self) -> Result<Instant, CloseReason> {
        let now = Instant::now();
        let far = now.checked_add(self.config.idle).unwrap_or(now);
        let after = |since: Instant, time: Duration| since.checked_add(time).unwrap_or(far);
        let mut next = far;
        let mut until = |at: Instant| {
            next = next.min(at);
            at <= now
        };
        if let Some(closed) = self.clock.closed {
            if until(after(closed, AFTER_CLOSE)) {
                return Err(CloseReason::Eof);
            }
            return Ok(next);
        }
        let paused = !self.may_read();
        if let Some((reason, at)) = &mut self.write_failed {
            if paused && self.role == Role::Client {
                // What the peer sent is there, and we do not read it.
                *at = now.checked_add(self.config.drain).unwrap_or(now);
            }
            if until(*at) {
                return Err(reason.clone());
            }
        }
        if let Some(since) = self.clock.paused
            && self.ports.len() > 1
            && until(after(since, self.config.stall))
        {
            self.fail_stalled();
            until(now);
        }
        if self.role == Role::Server && until(after(self.clock.any, self.config.idle)) {
            return Err(CloseReason::Idle(self.config.idle.as_secs()));
        }
        let mut ping = self.role == Role::Client;
        if paused {
            // While we do not read, the peer's silence says nothing; that it is gone only writing
            // tells.
            self.clock.inbound = now;
            ping = true;
        }
        if ping && until(after(self.clock.pinged, PING)) {
            self.clock.pinged = now;
            // Sent or not: the next one follows.
            drop(self.channels.ping(Bytes::new()));
            until(after(now, PING));
        }
        if paused || self.role == Role::Server {
            return Ok(next);
        }
        // A peer whose pod does not read cannot answer.
        let sent = |port: &Port| port.data.lock().sent > 0;
        let silence = if self.ports.iter().any(sent) || !self.channels.outgoing().is_empty() {
            self.config.dead_after_sending
        } else {
            self.config.dead_after
        };
        if until(after(self.clock.inbound, silence)) {
            return Err(CloseReason::Silent(silence.as_secs()));
        }
        if self.ports.iter().all(|port| port.data.lock().fin_sent) {
            let ended = *self.clock.ended.get_or_insert(now);
            if until(after(ended.max(self.clock.data), QUIET)) {
                let failure = StreamFailure::NoHalfClose(QUIET.as_secs());
                for port in &self.ports {
                    let wakers = port.data.lock().fail(&failure);
                    wake_all(wakers);
                }
                return Err(CloseReason::Local);
            }
        }
        Ok(next)
    }
}
