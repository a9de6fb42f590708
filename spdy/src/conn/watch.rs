//! Counting what is legal once and an attack many times (B8, B11, B12, B30).

use super::Connection;
use crate::error::ConnectionErrorKind;
use crate::status::GoAwayStatus;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(600);

/// How odd a tolerated frame is (B30).
#[derive(Clone, Copy, Debug)]
pub(super) enum Oddity {
    /// Might be a crossing of frames.
    Slight,
    /// Nobody asked for it, or nobody knows it.
    Strange,
}

/// Events within a time; the time begins with the first.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    since: Option<Instant>,
    count: usize,
}

impl Rate {
    fn add(&mut self, now: Instant, window: Duration, n: usize) -> usize {
        let running = |since: Instant| now.saturating_duration_since(since) < window;
        if !self.since.is_some_and(running) {
            *self = Self {
                since: Some(now),
                count: 0,
            };
        }
        self.count = self.count.saturating_add(n);
        self.count
    }
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    rapid_resets: Rate,
    pings: Rate,
    settings: Rate,
    empty_data: Rate,
    glitches: Rate,
    /// GOAWAY was sent because of them.
    pub(super) goodbye: bool,
}

impl Watch {
    pub(super) fn rapid_resets(&self) -> usize {
        self.rapid_resets.count
    }

    pub(super) fn glitches(&self) -> usize {
        self.glitches.count
    }
}

/// PINGs that one DATA frame pays for: a client that asks how far its bytes have come sends so many
/// behind as little as one frame, as fast as bytes go.
const PAID: usize = 5;

type Counted = Result<(), ConnectionErrorKind>;

impl Connection {
    /// A stream that was opened and reset before it could be answered (B8).
    pub(super) fn count_rapid_reset(&mut self, now: Instant) -> Counted {
        let limit = self.config.limits.rapid_resets;
        if self.watch.rapid_resets.add(now, SHORT, 1) > limit {
            return Err(ConnectionErrorKind::RapidResets { limit });
        }
        Ok(())
    }

    /// A reset that the peer made us send (B9).
    pub(super) fn count_error(&mut self) -> Counted {
        self.stats.error_resets = self.stats.error_resets.saturating_add(1);
        let limit = self.config.limits.error_resets;
        if self.stats.error_resets > limit {
            return Err(ConnectionErrorKind::TooManyErrors { limit });
        }
        Ok(())
    }

    pub(super) fn count_ping(&mut self, now: Instant) -> Counted {
        let limit = self.config.limits.pings;
        flood("PING", self.watch.pings.add(now, SHORT, 1), limit)
    }

    /// Payload came for somebody. It costs more than the PINGs behind it.
    pub(super) fn pay_for_pings(&mut self) {
        let pings = &mut self.watch.pings;
        pings.count = pings.count.saturating_sub(PAID);
    }

    pub(super) fn count_settings(&mut self, now: Instant) -> Counted {
        let limit = self.config.limits.settings;
        flood("SETTINGS", self.watch.settings.add(now, SHORT, 1), limit)
    }

    pub(super) fn count_empty_data(&mut self, now: Instant) -> Counted {
        let limit = self.config.limits.empty_data;
        let count = self.watch.empty_data.add(now, SHORT, 1);
        flood("empty DATA", count, limit)
    }

    /// Something that is dropped without harm; `odd` if a sane peer has no reason for it.
    pub(super) fn ignore(&mut self, now: Instant, odd: Option<Oddity>) -> Counted {
        self.stats.ignored = self.stats.ignored.saturating_add(1);
        odd.map_or(Ok(()), |odd| self.odd(now, odd))
    }

    /// Something that a sane peer has no reason for (B30).
    pub(super) fn odd(&mut self, now: Instant, odd: Oddity) -> Counted {
        let points = match odd {
            Oddity::Slight => 1,
            Oddity::Strange => 4,
        };
        let score = self.watch.glitches.add(now, LONG, points);
        let limit = self.config.limits.glitches_fatal;
        if score > limit {
            return Err(ConnectionErrorKind::Glitches { limit });
        }
        if score > self.config.limits.glitches && !self.goaway_sent {
            self.watch.goodbye = true;
            self.go_away(now, GoAwayStatus::PROTOCOL_ERROR);
        }
        Ok(())
    }
}

fn flood(frame: &'static str, count: usize, limit: usize) -> Counted {
    if count > limit {
        return Err(ConnectionErrorKind::Flood { frame, limit });
    }
    Ok(())
}
