//! Several sessions for one forward, so that connections do not wait for each other.
//!
//! Real servers have no flow control: a connection whose end reads nothing stops all that share its
//! session (PROTOCOL.md 1.7). Our own have it, and then one session is enough.

use crate::cli::Isolate;
use crate::establish::Dialler;
use crate::exit::Failure;
use crate::output::Output;
use portforward::client::{ForwardError, Forwarder, Summary};
use portforward::session::{CloseReason, Load, Session};
use portforward::socket::Socket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Bytes a second from which a session carries bulk: others would wait behind its frames.
const BULK: u64 = 1 << 20;
/// Bytes nobody has read from which a session is likely to stop.
const UNREAD: usize = 256 << 10;
/// Connections that a session takes: a server admits 1,024 (B6).
const FULL: usize = 1_000;
/// Time over which bulk is measured.
const SAMPLE: Duration = Duration::from_millis(200);
/// A session nobody uses is kept for this long.
const IDLE: Duration = Duration::from_secs(30);
/// How long a connection waits for a session of its own.
const PATIENCE: Duration = Duration::from_secs(30);
/// While it does it looks again after this time: that a session has become clear is not told.
const LOOK: Duration = Duration::from_millis(250);
/// Pause after a session could not be opened.
const AGAIN: Duration = Duration::from_secs(5);

/// One session.
struct Member {
    number: u64,
    forwarder: Forwarder,
    driver: JoinHandle<CloseReason>,
    connections: usize,
    /// Since when there is none.
    idle: Instant,
    /// Payload that had crossed then.
    sample: (Instant, u64),
    bulk: bool,
}

impl Member {
    fn session(&self) -> &Session {
        self.forwarder.session()
    }

    /// Others may share it: what it carries now holds nobody up.
    fn is_clear(&mut self, now: Instant) -> bool {
        // Streams with flow control hold up only themselves.
        if self.session().has_windows() {
            return !self.is_full();
        }
        let load = self.session().load();
        self.measure(now, load);
        let quiet = self.connections == 0 || !self.bulk && load.unread < UNREAD;
        quiet && load.blocked_lanes == 0 && !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.connections >= FULL
    }

    /// Connections that others would have to share it with. Those that only wait for their end do not count:
    /// else many short ones, one after the other, would have as many sessions as may be.
    fn shared(&self) -> usize {
        self.connections
            .saturating_sub(self.forwarder.half_closed())
    }

    /// For a connection alone.
    fn is_free(&mut self, policy: Isolate, now: Instant) -> bool {
        let others = match policy {
            Isolate::Always => self.connections,
            Isolate::Auto | Isolate::Never => self.shared(),
        };
        others == 0 && self.is_clear(now)
    }

    fn measure(&mut self, now: Instant, load: Load) {
        let (at, moved) = self.sample;
        let passed = now.saturating_duration_since(at);
        if passed >= SAMPLE {
            let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            let rate = load.moved.saturating_sub(moved).saturating_mul(1000);
            self.bulk = rate.checked_div(millis).unwrap_or(0) >= BULK;
            self.sample = (now, load.moved);
        } else if load.moved.saturating_sub(moved) >= BULK {
            self.bulk = true;
        }
    }
}

struct State {
    members: Vec<Member>,
    next: u64,
    /// Sessions that are being opened.
    dialling: usize,
    /// Connections that wait for one.
    waiting: usize,
    /// The last attempt failed.
    failed: Option<Instant>,
    closing: bool,
}

/// The sessions of one forward.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    dialler: Box<Dialler>,
    policy: Isolate,
    limit: usize,
    output: Output,
    /// A session came, or is free.
    news: Notify,
    /// Why the last one ended.
    over: watch::Sender<Option<CloseReason>>,
}

/// Where a connection goes.
enum Choice {
    Take(usize),
    /// Nothing fits yet, and something is on its way or will be free.
    Wait,
}

impl Pool {
    /// With its first session.
    pub(crate) fn new(
        first: (Session, JoinHandle<CloseReason>),
        dialler: Box<Dialler>,
        policy: Isolate,
        limit: usize,
        output: Output,
    ) -> Self {
        let inner = Inner {
            state: Mutex::new(State {
                members: Vec::new(),
                next: 0,
                dialling: 0,
                waiting: 0,
                failed: None,
                closing: false,
            }),
            dialler,
            policy,
            limit,
            output,
            news: Notify::new(),
            over: watch::Sender::new(None),
        };
        let pool = Self {
            inner: Arc::new(inner),
        };
        pool.admit(first);
        pool
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.inner.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, (session, driver): (Session, JoinHandle<CloseReason>)) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.closing {
            return session.close();
        }
        let number = state.next;
        state.next = number.saturating_add(1);
        state.members.push(Member {
            number,
            forwarder: Forwarder::new(session.clone()),
            driver,
            connections: 0,
            idle: now,
            sample: (now, 0),
            bulk: false,
        });
        drop(state);
        self.inner.news.notify_waiters();
        let pool = self.clone();
        tokio::spawn(async move {
            let reason = session.closed().await;
            pool.ended(number, reason);
        });
    }

    /// A session is over; with the last one all is.
    fn ended(&self, number: u64, reason: CloseReason) {
        let mut state = self.lock();
        state.members.retain(|member| member.number != number);
        let left = state.members.len();
        if left == 0 && !state.closing {
            drop(state);
            self.inner.over.send_replace(Some(reason));
        } else {
            drop(state);
            if reason != CloseReason::Local {
                self.trace(|| format!("session {number} ended: {reason}; {left} left"));
            }
        }
        self.inner.news.notify_waiters();
    }

    fn trace(&self, text: impl FnOnce() -> String) {
        self.inner
            .output
            .trace(1, || portforward::escape::line(&text()));
    }

    /// Why there is no session left.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn lost(&self) -> CloseReason {
        let mut over = self.inner.over.subscribe();
        let reason = over.wait_for(Option::is_some).await;
        let reason = reason.ok().and_then(|reason| reason.clone());
        reason.unwrap_or(CloseReason::Local)
    }

    /// Whether no session is left.
    pub(crate) fn is_lost(&self) -> bool {
        self.inner.over.borrow().is_some()
    }

    /// Ends all sessions in order.
    pub(crate) async fn close(&self) {
        let members = {
            let mut state = self.lock();
            state.closing = true;
            std::mem::take(&mut state.members)
        };
        self.inner.over.send_replace(Some(CloseReason::Local));
        for member in &members {
            member.session().close();
        }
        for member in members {
            // However it ended.
            drop(member.driver.await);
        }
    }

    /// Carries a connection, on the session that fits it. `None`: there was none for it, and that has
    /// been told.
    ///
    /// # Cancel safety
    /// As [`Forwarder::forward`].
    pub(crate) async fn forward(
        &self,
        socket: TcpStream,
        port: u16,
    ) -> Option<Result<Summary, ForwardError>> {
        let placed = timeout(PATIENCE, self.place()).await;
        let Ok(Some(place)) = placed else {
            socket.abort().await;
            if placed.is_err() {
                let (time, limit) = (PATIENCE.as_secs(), self.inner.limit);
                self.inner.output.note(format!(
                    "error: a connection to port {port} was refused: no session was free for it within \
                     {time} s (--max-sessions {limit})"
                ));
            }
            return None;
        };
        Some(place.forwarder.forward(socket, port).await)
    }

    /// `None`: no session is left.
    async fn place(&self) -> Option<Place> {
        loop {
            // Before the look, so that nothing is missed between the two.
            let news = self.inner.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            match self.choose() {
                Some(place) => return Some(place),
                None if self.is_lost() || self.lock().closing => return None,
                None => {
                    let _waiting = Waiting::new(self);
                    drop(timeout(LOOK, news).await);
                }
            }
        }
    }

    fn choose(&self) -> Option<Place> {
        let now = Instant::now();
        let policy = self.inner.policy;
        let mut state = self.lock();
        state.close_blocked();
        let dial = self.may_dial(&state, now);
        let choice = match policy {
            Isolate::Never => least(&mut state.members, now).map_or(Choice::Wait, Choice::Take),
            Isolate::Auto => match least(&mut state.members, now) {
                Some(at) if !dial && state.dialling == 0 && !full(&state, at) => Choice::Take(at),
                Some(at) => match state.members.get_mut(at).map(|m| m.is_clear(now)) {
                    Some(true) => Choice::Take(at),
                    _ => Choice::Wait,
                },
                None => Choice::Wait,
            },
            Isolate::Always => {
                let members = &mut state.members;
                let free = members.iter_mut().position(|m| m.is_free(policy, now));
                free.map_or(Choice::Wait, Choice::Take)
            }
        };
        let taken = match choice {
            Choice::Take(at) => state.members.get_mut(at).map(|member| {
                member.connections = member.connections.saturating_add(1);
                Place {
                    number: member.number,
                    forwarder: member.forwarder.clone(),
                    pool: self.clone(),
                }
            }),
            Choice::Wait => None,
        };
        // One spare at least, unless streams cannot hold each other up.
        let members = state.members.iter_mut();
        let spare = members
            .map(|m| m.is_free(policy, now))
            .filter(|free| *free)
            .count();
        // Then one session does for as many as it takes.
        let windows = state
            .members
            .iter()
            .any(|m| m.session().has_windows() && !m.is_full());
        let wanted = match policy {
            Isolate::Never => false,
            Isolate::Auto => !windows && spare == 0 && state.dialling == 0,
            Isolate::Always => {
                let waiting = state.waiting.saturating_add(usize::from(taken.is_none()));
                spare.saturating_add(state.dialling) < waiting.max(1)
            }
        };
        if wanted && dial {
            state.dialling = state.dialling.saturating_add(1);
            drop(state);
            tokio::spawn(self.clone().dial());
        }
        taken
    }

    fn may_dial(&self, state: &State, now: Instant) -> bool {
        let rests = |at: Instant| now.saturating_duration_since(at) < AGAIN;
        let all = state.members.len().saturating_add(state.dialling);
        all < self.inner.limit && !state.closing && !state.failed.is_some_and(rests)
    }

    async fn dial(self) {
        let dialled: Result<_, Failure> = self.inner.dialler.dial().await;
        {
            let mut state = self.lock();
            state.dialling = state.dialling.saturating_sub(1);
            state.failed = dialled.is_err().then(Instant::now);
        }
        match dialled {
            Ok(session) => {
                self.admit(session);
                let n = self.lock().members.len();
                self.trace(|| format!("sessions: {n}"));
                self.clone().tidy_later();
            }
            Err(failure) => self.trace(|| format!("no further session: {failure}")),
        }
        self.inner.news.notify_waiters();
    }

    /// Closes sessions that nobody has used for a while: one stays.
    fn tidy_later(self) {
        tokio::spawn(async move {
            loop {
                sleep(IDLE).await;
                let now = Instant::now();
                let mut state = self.lock();
                let idle = |m: &Member| {
                    m.connections == 0 && now.saturating_duration_since(m.idle) >= IDLE
                };
                while state.members.len() > 1
                    && let Some(at) = state.members.iter().rposition(idle)
                {
                    state.members.swap_remove(at).session().close();
                }
                if state.members.len() <= 1 || state.closing {
                    return;
                }
            }
        });
    }

    /// A connection has ended.
    fn leave(&self, number: u64) {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some(member) = state.members.iter_mut().find(|m| m.number == number) {
            member.connections = member.connections.saturating_sub(1);
            member.idle = now;
        }
        state.close_blocked();
        drop(state);
        self.inner.news.notify_waiters();
    }
}

impl State {
    /// An upload that the pod never read has left its frames on a session: nobody else should meet them, and the
    /// pod's connection ends with the session. Not the last one: with it all ends.
    fn close_blocked(&mut self) {
        let left = |m: &Member| m.connections == 0 && m.session().load().blocked_lanes > 0;
        // One that has ended leaves the list a little later.
        let lives = |m: &&Member| m.session().reason().is_none();
        while self.members.iter().filter(lives).count() > 1
            && let Some(at) = self.members.iter().position(left)
        {
            self.members.swap_remove(at).session().close();
        }
    }
}

fn full(state: &State, at: usize) -> bool {
    state.members.get(at).is_some_and(Member::is_full)
}

/// The session with the least to wait for: clear ones first, then those that fewest would share, and of those the one
/// with fewest that wait for their end.
fn least(members: &mut [Member], now: Instant) -> Option<usize> {
    let members = members.iter_mut().enumerate();
    let order = |m: &mut Member| (m.is_full(), !m.is_clear(now), m.shared(), m.connections);
    let ordered = members.map(|(at, m)| (order(m), at));
    ordered.min().map(|(_, at)| at)
}

/// Counts a connection that waits.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn new(pool: &'a Pool) -> Self {
        let mut state = pool.lock();
        state.waiting = state.waiting.saturating_add(1);
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

/// A connection's place on a session.
struct Place {
    number: u64,
    forwarder: Forwarder,
    pool: Pool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.leave(self.number);
    }
}

#[cfg(test)]
mod tests;
