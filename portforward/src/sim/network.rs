//! Connections in memory, with the manners of TCP: delay, rate, small buffers, partial reads and
//! writes, and every way to end. An error is reported once, as a kernel does; behind it reads find an
//! end of file, so that whoever misses the error takes a cut for a clean end.

use super::dice::Dice;
use super::trace::Trace;
use crate::gateway::Leg;
use crate::socket::Socket;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

/// How one direction carries bytes.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) delay: Duration,
    /// Bytes in a millisecond; 0 for no limit.
    pub(super) rate: u64,
    /// Bytes between writer and reader.
    pub(super) capacity: usize,
    /// Most bytes of one write and of one read; 0 for no limit.
    pub(super) piece: usize,
    /// Percent of the calls that are pending for no reason.
    pub(super) storm: u64,
    /// Nothing arrives in between.
    pub(super) stall: Option<(Duration, Duration)>,
    /// Behind each so many bytes a pause: what was said at once arrives in two parts.
    pub(super) hiccup: Option<(u64, Duration)>,
    /// After so many bytes.
    pub(super) cut: Option<(u64, Cut)>,
}

impl Rule {
    pub(super) fn plain() -> Self {
        Self {
            delay: Duration::ZERO,
            rate: 0,
            capacity: 64 << 10,
            piece: 0,
            storm: 0,
            stall: None,
            hiccup: None,
            cut: None,
        }
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Both sides find an end of file behind what had been sent.
    Clean,
    /// Both sides find an error; what is on its way is lost.
    Reset,
    /// This direction carries nothing any more, and nobody is told.
    Silent,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<(Instant, Vec<u8>)>,
    queued: usize,
    passed: u64,
    free_at: Option<Instant>,
    /// The writer has said that it is over, and when that arrives.
    fin: Option<Instant>,
    silent: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What one end knows beside the bytes.
#[derive(Debug, Default)]
struct Side {
    /// The connection is dead for it; the error has been told.
    dead: Option<bool>,
    abrupt: bool,
    gone: bool,
}

#[derive(Debug)]
struct Link {
    name: u64,
    rules: [Rule; 2],
    lanes: [Lane; 2],
    sides: [Side; 2],
    dice: Dice,
    trace: Trace,
    silenced: Arc<Notify>,
}

impl Link {
    fn reset(&mut self, now: Instant) {
        for lane in &mut self.lanes {
            lane.queue.retain(|(at, _)| *at <= now && !lane.silent);
            lane.queued = lane.queue.iter().map(|(_, bytes)| bytes.len()).sum();
        }
        for side in &mut self.sides {
            side.dead.get_or_insert(false);
        }
        self.wake_all();
    }

    fn wake_all(&mut self) {
        for lane in &mut self.lanes {
            for waker in [lane.reader.take(), lane.writer.take()]
                .into_iter()
                .flatten()
            {
                waker.wake();
            }
        }
    }

    fn cut(&mut self, lane: usize, kind: Cut, now: Instant) {
        self.trace.event(self.name, 7, lane as u64);
        self.trace
            .say(format_args!("link {} lane {lane} cut: {kind:?}", self.name));
        match kind {
            Cut::Reset => self.reset(now),
            Cut::Clean => {
                for lane in &mut self.lanes {
                    let last = lane.queue.back().map_or(now, |(at, _)| *at);
                    lane.fin.get_or_insert(last);
                }
                for side in &mut self.sides {
                    // Writing fails; reading ends as the other side's end does.
                    side.dead = side.dead.or(Some(true));
                }
                self.wake_all();
            }
            Cut::Silent => {
                self.lanes[lane].silent = true;
                self.silenced.notify_one();
            }
        }
    }

    fn storm(&mut self, lane: usize, cx: &Context<'_>) -> bool {
        let storm = self.rules[lane].storm;
        let pending = storm > 0 && self.dice.chance(storm);
        if pending {
            cx.waker().wake_by_ref();
        }
        pending
    }

    /// The error that has not been told yet.
    fn error(&mut self, side: usize) -> Option<io::Error> {
        let told = self.sides[side].dead.as_mut()?;
        (!std::mem::replace(told, true)).then(|| io::ErrorKind::ConnectionReset.into())
    }

    /// When this direction goes on, if it stands still.
    fn stalled(&self, lane: usize, now: Instant) -> Option<Instant> {
        let (from, until) = self.rules[lane].stall?;
        let (from, until) = (self.trace.start() + from, self.trace.start() + until);
        (from <= now && now < until).then_some(until)
    }

    /// What a reader finds: bytes now, an end, or something later.
    fn readable(&mut self, side: usize, now: Instant) -> Found {
        let lane = 1 - side;
        if let Some(until) = self.stalled(lane, now) {
            return Found::Later(Some(until));
        }
        let silent = self.lanes[lane].silent;
        match self.lanes[lane].queue.front() {
            Some((at, _)) if *at <= now => return Found::Bytes,
            Some((at, _)) if !silent => return Found::Later(Some(*at)),
            _ => {}
        }
        if let Some(error) = self.error(side) {
            return Found::Failed(error);
        }
        match self.lanes[lane].fin {
            Some(at) if !silent && at <= now => Found::End,
            Some(at) if !silent => Found::Later(Some(at)),
            _ if self.sides[side].dead.is_some() => Found::End,
            _ => Found::Later(None),
        }
    }
}

enum Found {
    Bytes,
    End,
    Failed(io::Error),
    Later(Option<Instant>),
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    link: Arc<Mutex<Link>>,
    side: usize,
    timer: Mutex<Pin<Box<Sleep>>>,
}

/// Both ends, and the hand that can cut between them. Lane 0 leads from the first to the second.
pub(super) fn connection(
    name: u64,
    rules: [Rule; 2],
    dice: Dice,
    trace: &Trace,
) -> (End, End, Arc<Hand>) {
    let silenced = Arc::new(Notify::new());
    let link = Arc::new(Mutex::new(Link {
        name,
        rules,
        lanes: Default::default(),
        sides: Default::default(),
        dice,
        trace: trace.clone(),
        silenced: Arc::clone(&silenced),
    }));
    let end = |side| End {
        link: Arc::clone(&link),
        side,
        timer: Mutex::new(Box::pin(sleep_until(Instant::now()))),
    };
    let (first, second) = (end(0), end(1));
    (first, second, Arc::new(Hand { link, silenced }))
}

/// Cuts a connection from outside.
pub(super) struct Hand {
    link: Arc<Mutex<Link>>,
    silenced: Arc<Notify>,
}

impl Hand {
    pub(super) fn cut(&self, lane: usize, kind: Cut) {
        self.link.lock().unwrap().cut(lane, kind, Instant::now());
    }

    /// A silent connection is given up by the kernels after this long.
    pub(super) async fn bury(self: Arc<Self>) {
        self.silenced.notified().await;
        tokio::time::sleep(Duration::from_secs(900)).await;
        self.link.lock().unwrap().reset(Instant::now());
    }
}

impl End {
    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap()
    }

    pub(super) fn poll_read_some(
        &self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<()>> {
        let mut link = self.lock();
        let (now, lane, name) = (Instant::now(), 1 - self.side, link.name);
        link.trace.event(name, 1, self.side as u64);
        if link.storm(lane, cx) {
            return Poll::Pending;
        }
        match link.readable(self.side, now) {
            Found::Bytes => {
                let most = match link.rules[lane].piece {
                    0 => usize::MAX,
                    piece => link.dice.range(1, piece as u64) as usize,
                };
                let this = &mut link.lanes[lane];
                let mut n = 0;
                while n < most
                    && let Some((at, bytes)) = this.queue.front_mut()
                    && *at <= now
                {
                    let wanted = bytes.len().min(most - n);
                    let taken = take(&bytes[..wanted]);
                    n += taken;
                    if taken == bytes.len() {
                        this.queue.pop_front();
                        continue;
                    }
                    bytes.drain(..taken);
                    break;
                }
                this.queued -= n;
                if let Some(writer) = this.writer.take() {
                    writer.wake();
                }
                link.trace.event(name, 2, n as u64);
                let side = self.side;
                link.trace
                    .say(format_args!("net {name} end {side} read {n}"));
                Poll::Ready(Ok(()))
            }
            Found::End => Poll::Ready(Ok(())),
            Found::Failed(error) => Poll::Ready(Err(error)),
            Found::Later(at) => {
                link.lanes[lane].reader = Some(cx.waker().clone());
                drop(link);
                self.wait(at, cx)
            }
        }
    }

    fn wait<T>(&self, at: Option<Instant>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(at) = at {
            let mut timer = self.timer.lock().unwrap();
            timer.as_mut().reset(at);
            if timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    pub(super) fn poll_write_some(
        &self,
        cx: &Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut link = self.lock();
        let link = &mut *link;
        let (now, lane, name) = (Instant::now(), self.side, link.name);
        link.trace.event(name, 3, self.side as u64);
        if link.storm(lane, cx) {
            return Poll::Pending;
        }
        if let Some(error) = link.error(self.side) {
            return Poll::Ready(Err(error));
        }
        if link.sides[self.side].dead.is_some() || link.lanes[lane].fin.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let wanted: usize = bufs.iter().map(|buf| buf.len()).sum();
        if link.sides[1 - self.side].gone && !link.lanes[lane].silent {
            // Taken, and answered with a reset.
            link.sides[self.side].dead = Some(false);
            link.wake_all();
            return Poll::Ready(Ok(wanted));
        }
        let rule = &link.rules[lane];
        let mut n = wanted.min(rule.capacity.saturating_sub(link.lanes[lane].queued));
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        if n == 0 {
            link.trace
                .say(format_args!("net {name} end {} full", self.side));
            link.lanes[lane].writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if rule.piece > 0 {
            n = n.min(link.dice.range(1, rule.piece as u64) as usize);
        }
        let passed = link.lanes[lane].passed;
        if let Some((every, _)) = rule.hiccup {
            n = n.min((every - passed % every) as usize);
        }
        let left = rule.cut.map(|(after, kind)| {
            let left = after.saturating_sub(passed);
            (left, kind)
        });
        let cut = left.filter(|(left, _)| n as u64 >= *left && *left > 0);
        if let Some((left, _)) = cut {
            n = left as usize;
        }
        let mut bytes = Vec::with_capacity(n);
        for buf in bufs {
            bytes.extend_from_slice(&buf[..buf.len().min(n - bytes.len())]);
        }
        let this = &mut link.lanes[lane];
        let mut at = this.free_at.unwrap_or(now).max(now);
        if let Some(nanos) = (n as u64 * 1_000_000).checked_div(rule.rate) {
            at += Duration::from_nanos(nanos);
        }
        if let Some((every, pause)) = rule.hiccup
            && passed > 0
            && passed.is_multiple_of(every)
        {
            at += pause;
        }
        this.free_at = Some(at);
        this.queue.push_back((at + rule.delay, bytes));
        this.queued += n;
        this.passed += n as u64;
        if let Some(reader) = this.reader.take() {
            reader.wake();
        }
        link.trace.event(name, 4, n as u64);
        let side = self.side;
        link.trace
            .say(format_args!("net {name} end {side} wrote {n} of {wanted}"));
        if let Some((_, kind)) = cut {
            link.cut(lane, kind, now);
        }
        Poll::Ready(Ok(n))
    }

    pub(super) fn shut_down(&self) -> io::Result<()> {
        let mut link = self.lock();
        let (now, name) = (Instant::now(), link.name);
        link.trace.event(name, 5, self.side as u64);
        if link.sides[self.side].dead.is_some() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let delay = link.rules[self.side].delay;
        let lane = &mut link.lanes[self.side];
        let last = lane.queue.back().map_or(now, |(at, _)| *at);
        lane.fin.get_or_insert_with(|| last.max(now + delay));
        if let Some(reader) = lane.reader.take() {
            reader.wake();
        }
        Ok(())
    }

    pub(super) async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut got = 0;
            let mut take = |bytes: &[u8]| {
                let n = bytes.len().min(buf.len() - got);
                buf[got..got + n].copy_from_slice(&bytes[..n]);
                got += n;
                n
            };
            let done = self.poll_read_some(cx, &mut take);
            done.map_ok(|()| got)
        })
        .await
    }

    pub(super) async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write_some(cx, &[IoSlice::new(buf)])).await
    }

    /// Whether closing now is a clean end for the peer. Unread bytes make it a reset.
    pub(super) fn closes_cleanly(&self) -> bool {
        let link = self.lock();
        let now = Instant::now();
        let lane = 1 - self.side;
        let unread = link.lanes[lane].queue.front();
        let unread = unread.filter(|_| link.stalled(lane, now).is_none());
        let side = &link.sides[self.side];
        side.dead.is_none() && !side.abrupt && unread.is_none_or(|(at, _)| *at > now)
    }

    pub(super) fn set_reset(&self, on: bool) {
        self.lock().sides[self.side].abrupt = on;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let clean = self.closes_cleanly();
        if clean {
            drop(self.shut_down());
        }
        let mut link = self.lock();
        let name = link.name;
        link.trace.event(name, 6, u64::from(clean));
        link.sides[self.side].gone = true;
        let (out, back) = (self.side, 1 - self.side);
        link.lanes[back].queue.clear();
        link.lanes[back].queued = 0;
        if !clean && !link.lanes[out].silent {
            let now = Instant::now();
            link.lanes[out].queue.retain(|(at, _)| *at <= now);
            link.sides[back].dead.get_or_insert(false);
        }
        link.wake_all();
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_read_some(cx, &mut |bytes| {
            let n = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..n]);
            n
        })
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_some(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_some(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shut_down())
    }
}

impl Socket for End {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut link = self.lock();
        let (now, lane) = (Instant::now(), 1 - self.side);
        // An error stays for the read to find.
        if link.sides[self.side].dead == Some(false) {
            return Poll::Ready(Ok(()));
        }
        match link.readable(self.side, now) {
            Found::Later(at) => {
                link.lanes[lane].reader = Some(cx.waker().clone());
                drop(link);
                self.wait(at, cx)
            }
            Found::Bytes | Found::End | Found::Failed(_) => Poll::Ready(Ok(())),
        }
    }

    fn set_abrupt(&mut self, on: bool) {
        self.set_reset(on);
    }

    async fn abort(self) {
        self.set_reset(true);
        let sent = || {
            let link = self.lock();
            let last = link.lanes[self.side].queue.back().map(|(at, _)| *at);
            last.filter(|at| *at > Instant::now())
        };
        let limit = Instant::now() + Duration::from_secs(1);
        while let Some(at) = sent()
            && Instant::now() < limit
        {
            sleep_until(at.min(limit)).await;
        }
    }
}

impl Leg for End {
    fn reset_on_drop(&self, reset: bool) {
        self.set_reset(reset);
    }
}
