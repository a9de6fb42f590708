//! Deadlines of a session: dead peers, idle sessions, goodbyes that take too long (B10, B26, B27,
//! B29).

use super::CloseReason;
use super::driver::Driver;
use spdy::Role;
use std::time::Duration;
use tokio::time::Instant;

/// How long answers that the peer provoked may wait for it to read them (B10).
const PROVOKED: Duration = Duration::from_secs(1);

/// When something last happened.
#[derive(Debug)]
pub(super) struct Life {
    /// Bytes of the peer, or the end of a pause of ours.
    inbound: Instant,
    /// Bytes in either direction.
    any: Instant,
    /// Answers have been waiting since.
    blocked: Option<Instant>,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            inbound: now,
            any: now,
            blocked: None,
        }
    }

    pub(super) fn received(&mut self) {
        self.inbound = Instant::now();
        self.any = self.inbound;
    }

    pub(super) fn sent(&mut self) {
        self.any = Instant::now();
    }
}

/// What happens when a deadline passes.
enum Due {
    Ping,
    Blame,
    Lanes,
    Look,
    /// Nothing was read because we do not read: the goodbye waits.
    Later,
    End(CloseReason),
}

impl<T> Driver<T> {
    /// Does what is due. `Ok(Some)`: when to be called again.
    ///
    /// # Errors
    /// The session is over.
    pub(super) fn handle_deadlines(&mut self) -> Result<Option<Instant>, CloseReason> {
        loop {
            let now = Instant::now();
            let Some((at, due)) = self.next_deadline(now) else {
                return Ok(None);
            };
            if at > now {
                return Ok(Some(at));
            }
            match due {
                Due::Ping => self
                    .conn
                    .handle_timeout(now.into_std())
                    .map_err(CloseReason::Protocol)?,
                Due::Blame => {
                    self.reset_stalled();
                    self.watch_progress();
                }
                Due::Lanes => {
                    let waited = self.lanes.look(now);
                    self.round.extend(waited);
                    self.fill();
                }
                Due::Look => self.life.inbound = now,
                Due::Later => {
                    let later = now.checked_add(self.config.drain).unwrap_or(now);
                    if let Some(at) = &mut self.goaway_deadline {
                        *at = later;
                    }
                    if let Some((_, at)) = &mut self.write_failed {
                        *at = later;
                    }
                }
                Due::End(reason) => return Err(reason),
            }
        }
    }

    fn next_deadline(&mut self, now: Instant) -> Option<(Instant, Due)> {
        let after = |since: Instant, time: Duration, due| Some((since.checked_add(time)?, due));
        let blocked = self.conn.is_blocked();
        self.life.blocked = blocked.then(|| self.life.blocked.unwrap_or(now));
        let silent = |time: Duration| Due::End(CloseReason::Silent(time.as_secs()));
        let life = match self.config.spdy.role {
            // While we do not read, the peer's silence says nothing.
            Role::Client if self.blame_at.is_some() || blocked => {
                after(self.life.inbound, self.config.dead_after, Due::Look)
            }
            Role::Client if now < self.life.inbound.checked_add(self.config.dead_after)? => after(
                self.life.inbound,
                self.config.dead_after,
                silent(self.config.dead_after),
            ),
            // A real peer cannot answer a PING while a stream of ours that nobody reads blocks it
            // (PROTOCOL.md 1.7).
            Role::Client if self.streams.values().any(|cell| cell.lock().sent > 0) => {
                let time = self.config.dead_after_sending;
                after(self.life.inbound, time, silent(time))
            }
            Role::Client => after(
                self.life.inbound,
                self.config.dead_after,
                silent(self.config.dead_after),
            ),
            _ => {
                // The last bytes of streams that are over may wait for a slow reader.
                let sent = self.conn.outgoing().is_empty() && !self.needs_flush;
                let empty = self.streams.is_empty() && sent;
                let time = if empty {
                    self.config.idle_empty
                } else {
                    self.config.idle
                };
                after(
                    self.life.any,
                    time,
                    Due::End(CloseReason::Idle(time.as_secs())),
                )
            }
        };
        let ping = self
            .conn
            .poll_timeout()
            .map(|at| (Instant::from_std(at), Due::Ping));
        let blame = self.blame_at.map(|at| (at, Due::Blame));
        let lanes = self.lanes.deadline().map(|at| (at, Due::Lanes));
        let provoked = self.life.blocked.and_then(|since| {
            after(
                since,
                PROVOKED,
                Due::End(CloseReason::Transport(UNREAD.to_owned())),
            )
        });
        let goodbye = self.goodbye().map(|(at, reason)| {
            // A server's pod need not ever read; nobody waits for it any more.
            let paused = self.blame_at.is_some() && self.config.spdy.role == Role::Client;
            (at, if paused { Due::Later } else { Due::End(reason) })
        });
        let all = [life, ping, blame, lanes, provoked, goodbye];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

const UNREAD: &str = "the peer does not read the answers that it asks for";
