//! The two users of a forwarded connection: an application and a pod. Each byte that one reads is
//! compared with what the other must have written there.

use super::network::End;
use super::plan::{App, ConnectionPlan, Pod, Reads, Then};
use super::trace::Trace;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// One direction, as its two ends saw it.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// Taken by the sender's socket.
    pub(super) sent: u64,
    /// The sender has ended in order.
    pub(super) fin: bool,
    pub(super) got: u64,
    pub(super) seen: Option<Seen>,
}

/// How a reader saw the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    EndOfFile,
    Error,
}

/// What is known of one forwarded connection.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Record {
    pub(super) up: Flow,
    pub(super) down: Flow,
    pub(super) dials: u32,
    pub(super) app_over: bool,
    pub(super) pod_over: bool,
    /// The application gave up waiting.
    pub(super) gave_up: bool,
    /// Writing told the reader of this direction that the connection is broken: what reading says
    /// afterwards is no end of file.
    up_broken: bool,
    down_broken: bool,
}

/// A connection as its parts share it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) plan: ConnectionPlan,
    pub(super) trace: Trace,
    record: Arc<Mutex<Record>>,
}

/// Which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Connection {
    pub(super) fn new(plan: ConnectionPlan, trace: Trace) -> Self {
        Self {
            plan,
            trace,
            record: Arc::default(),
        }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    fn flow(&self, way: Way) -> impl std::ops::DerefMut<Target = Flow> {
        struct Guard<'a>(MutexGuard<'a, Record>, Way);
        impl std::ops::Deref for Guard<'_> {
            type Target = Flow;
            fn deref(&self) -> &Flow {
                match self.1 {
                    Way::Up => &self.0.up,
                    Way::Down => &self.0.down,
                }
            }
        }
        impl std::ops::DerefMut for Guard<'_> {
            fn deref_mut(&mut self) -> &mut Flow {
                match self.1 {
                    Way::Up => &mut self.0.up,
                    Way::Down => &mut self.0.down,
                }
            }
        }
        Guard(self.record(), way)
    }

    fn is_broken(&self, way: Way) -> bool {
        let record = self.record();
        match way {
            Way::Up => record.up_broken,
            Way::Down => record.down_broken,
        }
    }

    /// The byte of this connection at that place; an echo says what it heard.
    fn byte(&self, way: Way, at: u64) -> u8 {
        let down = way == Way::Down && self.plan.pod != Pod::Echo;
        let key = u64::from(self.plan.id) * 2 + u64::from(down);
        let mixed = (at ^ (key << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 56) as u8
    }

    fn fill(&self, way: Way, from: u64, n: u64) -> Vec<u8> {
        (from..from + n).map(|at| self.byte(way, at)).collect()
    }

    async fn send(&self, end: &End, way: Way, piece: &[u8]) -> bool {
        let mut left = piece;
        while !left.is_empty() {
            if let Ok(n) = end.write(left).await {
                self.flow(way).sent += n as u64;
                left = &left[n..];
                continue;
            }
            let mut record = self.record();
            match way {
                Way::Up => record.down_broken = true,
                Way::Down => record.up_broken = true,
            }
            return false;
        }
        true
    }

    /// Reads up to so many bytes and compares. How it ended, if it did.
    async fn read(&self, end: &End, way: Way, most: usize) -> Result<usize, Seen> {
        let mut buf = vec![0; most.clamp(1, 16 << 10)];
        let seen = match end.read(&mut buf).await {
            Ok(0) if self.is_broken(way) => Seen::Error,
            Ok(0) => Seen::EndOfFile,
            Ok(n) => {
                let (from, sent) = {
                    let mut flow = self.flow(way);
                    flow.got += n as u64;
                    (flow.got - n as u64, flow.sent)
                };
                let id = self.plan.id;
                self.trace
                    .say(format_args!("connection {id} {way:?} got {n}"));
                let right = buf[..n]
                    .iter()
                    .zip(from..)
                    .all(|(byte, at)| *byte == self.byte(way, at));
                if !right || from + n as u64 > sent {
                    let id = self.plan.id;
                    self.trace.wrong(format!(
                        "I1/I2: connection {id}, {way:?}: {n} bytes at {from} are not what was sent ({sent})"
                    ));
                }
                return Ok(n);
            }
            Err(_) => Seen::Error,
        };
        self.flow(way).seen = Some(seen);
        let id = self.plan.id;
        self.trace
            .say(format_args!("connection {id} {way:?} ends: {seen:?}"));
        Err(seen)
    }

    async fn read_all(&self, end: &End, way: Way) -> Seen {
        loop {
            if let Err(seen) = self.read(end, way, 16 << 10).await {
                return seen;
            }
        }
    }

    fn fin(&self, end: &End, way: Way) {
        if end.shut_down().is_ok() {
            self.flow(way).fin = true;
            let id = self.plan.id;
            self.trace.say(format_args!("connection {id} {way:?} FIN"));
        }
    }

    /// Closes both directions, if nothing is unread; else that is a reset.
    fn close(&self, end: End, way: Way) {
        if end.closes_cleanly() {
            self.flow(way).fin = true;
        }
        drop(end);
    }

    /// The application's life.
    pub(super) async fn run_app(self, end: End) {
        let App { patience, then, .. } = self.plan.app;
        let until = Instant::now() + patience;
        let writes = async {
            if !self.app_writes(&end).await {
                return std::future::pending().await;
            }
            match then {
                Then::HalfClose => self.fin(&end, Way::Up),
                Then::Wait => {}
                Then::Abort(after) | Then::Drop(after) => {
                    sleep(after).await;
                    return then;
                }
            }
            std::future::pending().await
        };
        let reads = self.app_reads(&end);
        let over = async {
            tokio::select! {
                biased;
                end = reads => Err(end),
                then = writes => Ok(then),
            }
        };
        match timeout(until - Instant::now(), over).await {
            Err(_) => {
                self.record().gave_up = true;
                end.set_reset(true);
            }
            Ok(Ok(Then::Abort(_)) | Err(Seen::Error)) => end.set_reset(true),
            Ok(Ok(_)) => {}
            // What it still has to say.
            Ok(Err(Seen::EndOfFile)) => {
                if timeout(patience, self.app_writes(&end)).await.is_err() {
                    end.set_reset(true);
                }
            }
        }
        self.close(end, Way::Up);
        self.record().app_over = true;
    }

    /// Goes on where it was.
    async fn app_writes(&self, end: &End) -> bool {
        let App {
            sends,
            piece,
            pause,
            ..
        } = self.plan.app;
        loop {
            let sent = self.record().up.sent;
            if sent >= sends {
                return true;
            }
            let next = self.fill(Way::Up, sent, piece.clamp(1, sends - sent));
            if !self.send(end, Way::Up, &next).await {
                return false;
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    async fn app_reads(&self, end: &End) -> Seen {
        match self.plan.app.reads {
            Reads::All => self.read_all(end, Way::Down).await,
            Reads::Slowly(n) => loop {
                if let Err(seen) = self.read(end, Way::Down, n as usize).await {
                    return seen;
                }
                sleep(Duration::from_millis(10)).await;
            },
            Reads::Late(time) => {
                sleep(time).await;
                self.read_all(end, Way::Down).await
            }
            Reads::Until(all) => loop {
                let got = self.record().down.got;
                if got >= all {
                    return std::future::pending().await;
                }
                if let Err(seen) = self.read(end, Way::Down, (all - got) as usize).await {
                    return seen;
                }
            },
        }
    }

    /// The pod's life, once it is dialled.
    pub(super) async fn run_pod(self, end: End) {
        let sends = |n| {
            let end = &end;
            let this = &self;
            async move {
                while this.record().down.sent < n {
                    let sent = this.record().down.sent;
                    let piece = this.fill(Way::Down, sent, (n - sent).min(8 << 10));
                    if !this.send(end, Way::Down, &piece).await {
                        return;
                    }
                }
            }
        };
        match self.plan.pod {
            Pod::Echo => loop {
                let from = self.record().up.got;
                match self.read(&end, Way::Up, 16 << 10).await {
                    Ok(n) => {
                        let piece = self.fill(Way::Down, from, n as u64);
                        if !self.send(&end, Way::Down, &piece).await {
                            self.read_all(&end, Way::Up).await;
                            break;
                        }
                    }
                    Err(Seen::EndOfFile) => {
                        self.fin(&end, Way::Down);
                        break;
                    }
                    Err(Seen::Error) => break,
                }
            },
            Pod::Source(n) => {
                let sending = async {
                    sends(n).await;
                    if self.record().down.sent == n {
                        self.fin(&end, Way::Down);
                    }
                };
                tokio::join!(biased; sending, self.read_all(&end, Way::Up));
            }
            Pod::Answer(after, n) => {
                if self.read_all(&end, Way::Up).await == Seen::EndOfFile {
                    sleep(after).await;
                    sends(n).await;
                    if self.record().down.sent == n {
                        self.fin(&end, Way::Down);
                    }
                }
            }
            Pod::Reset { after, says, last } => {
                let reading = async {
                    while self.record().up.got < after {
                        if self.read(&end, Way::Up, 16 << 10).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::join!(biased; sends(says), reading);
                sends(says + last).await;
                end.set_reset(true);
            }
            Pod::Deaf(time) => {
                sleep(time).await;
                end.set_reset(true);
            }
            Pod::Refuse | Pod::Silent => {}
        }
        self.close(end, Way::Down);
        self.record().pod_over = true;
    }
}
