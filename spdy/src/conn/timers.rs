//! Clocks: keepalive (B27), idle (B26), the end after GOAWAY (B29).

use super::Connection;
use crate::config::Config;
use crate::error::{ConnectionError, ConnectionErrorKind};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Timers {
    next_ping: Option<Instant>,
    /// Something arrived.
    inbound: Instant,
    /// Something went either way, as far as a clock was at hand.
    any: Instant,
    /// Something was queued since `any`.
    sent: bool,
    /// What the last call left of its input.
    left: usize,
    /// Reading paused at the last look.
    paused: bool,
    goaway: Option<Instant>,
}

impl Timers {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            next_ping: config
                .ping_interval
                .and_then(|every| now.checked_add(every)),
            inbound: now,
            any: now,
            sent: false,
            left: 0,
            paused: false,
            goaway: None,
        }
    }

    /// That much is there to be read: life if it is more than was left.
    pub(super) fn input(&mut self, now: Instant, len: usize) {
        if len > self.left {
            self.inbound = now;
            self.any = now;
        }
    }

    pub(super) fn left(&mut self, len: usize) {
        self.left = len;
    }

    /// Sending has no clock at hand: the next look at it counts as its time.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    pub(super) fn going_away(&mut self, now: Instant) {
        self.goaway = Some(now);
    }
}

impl Connection {
    /// When [`Connection::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.failed.is_some() {
            return None;
        }
        let timers = &self.timers;
        let ping = timers.next_ping.filter(|_| !self.goaway_sent);
        [ping, self.idle_at(), self.dead_at(), self.drain_at()]
            .into_iter()
            .flatten()
            .min()
    }

    fn idle_at(&self) -> Option<Instant> {
        self.timers.any.checked_add(self.config.idle_timeout?)
    }

    fn is_paused(&self) -> bool {
        self.is_full() || self.is_blocked()
    }

    /// While we do not read, the peer's silence says nothing (B27): it counts from the first look
    /// after that.
    pub(super) fn look_at_pause(&mut self, now: Instant) {
        let paused = self.is_paused();
        if std::mem::replace(&mut self.timers.paused, paused) || paused {
            self.timers.inbound = now;
        }
    }

    fn dead_at(&self) -> Option<Instant> {
        if self.is_paused() {
            return None;
        }
        self.timers.inbound.checked_add(self.config.dead_after?)
    }

    fn drain(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.config.limits.drain_ms).unwrap_or(u64::MAX))
    }

    fn drain_at(&self) -> Option<Instant> {
        self.timers.goaway?.checked_add(self.drain())
    }

    /// Does what is due: queues a PING if the last one was answered.
    ///
    /// # Errors
    /// A deadline has passed; the connection is over, and GOAWAY waits to be written.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.look_at_pause(now);
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.drain_at()) {
            let kind = if self.watch.goodbye {
                let limit = self.config.limits.glitches;
                ConnectionErrorKind::Glitches { limit }
            } else {
                let after = self.drain();
                ConnectionErrorKind::Drain { after }
            };
            return Err(self.fail(kind.into()));
        }
        if due(self.dead_at()) {
            let after = self.config.dead_after.unwrap_or_default();
            return Err(self.fail(ConnectionErrorKind::Silent { after }.into()));
        }
        if due(self.idle_at()) {
            if !std::mem::take(&mut self.timers.sent) {
                let after = self.config.idle_timeout.unwrap_or_default();
                return Err(self.fail(ConnectionErrorKind::Idle { after }.into()));
            }
            self.timers.any = now;
        }
        if let Some(every) = self.config.ping_interval
            && due(self.timers.next_ping)
        {
            self.timers.next_ping = now.checked_add(every);
            if self.pinged.is_empty() {
                self.ping(now);
            }
        }
        Ok(())
    }
}
