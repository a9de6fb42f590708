//! What happened in a run, as one number; and what was wrong.

use crate::session::gauge;
use std::fmt::Arguments;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// Events at one instant above which a run is said to spin.
const SPIN: u64 = 3_000_000;

#[derive(Debug)]
struct Inner {
    start: Instant,
    hash: AtomicU64,
    events: AtomicU64,
    last: AtomicU64,
    at_once: AtomicU64,
    log: bool,
    /// Bytes that a session may hold unread, and queued for sending.
    budgets: [usize; 2],
    over: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// Shared by all parts of one run.
#[derive(Clone, Debug)]
pub(super) struct Trace(Arc<Inner>);

impl Trace {
    /// Inside the runtime, whose clock stands still.
    pub(super) fn new(log: bool, budgets: [usize; 2]) -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            hash: AtomicU64::new(0xcbf2_9ce4_8422_2325),
            events: AtomicU64::new(0),
            last: AtomicU64::new(0),
            at_once: AtomicU64::new(0),
            log,
            budgets,
            over: AtomicU64::new(0),
            wrong: Mutex::default(),
        }))
    }

    pub(super) fn start(&self) -> Instant {
        self.0.start
    }

    /// Something happened: who, what, how much.
    pub(super) fn event(&self, who: u64, what: u64, n: u64) {
        let now = self.0.start.elapsed().as_nanos() as u64;
        let mut hash = self.0.hash.load(Ordering::Relaxed);
        for word in [now, who, what, n] {
            hash = (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        self.0.hash.store(hash, Ordering::Relaxed);
        let count = self.0.events.fetch_add(1, Ordering::Relaxed);
        if count.is_multiple_of(16) {
            let (received, sending) = gauge::peak();
            let over = received > self.0.budgets[0] || sending > self.0.budgets[1];
            if over && self.0.over.swap(1, Ordering::Relaxed) == 0 {
                self.wrong(format!(
                    "I7: {received} bytes unread and {sending} to send are too many"
                ));
            }
        }
        if self.0.last.swap(now, Ordering::Relaxed) != now {
            self.0.at_once.store(0, Ordering::Relaxed);
        }
        let at_once = self.0.at_once.fetch_add(1, Ordering::Relaxed);
        assert!(at_once < SPIN, "the run spins at {now} ns");
    }

    /// A line for the reader of a failing seed (`PF_SIM_LOG=1`).
    pub(super) fn say(&self, line: Arguments<'_>) {
        if self.0.log {
            let now = self.0.start.elapsed().as_millis();
            eprintln!("{:>5}.{:03} {line}", now / 1000, now % 1000);
        }
    }

    /// An invariant does not hold.
    pub(super) fn wrong(&self, line: String) {
        self.say(format_args!("WRONG {line}"));
        self.0.wrong.lock().unwrap().push(line);
    }

    pub(super) fn events(&self) -> u64 {
        self.0.events.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) -> (u64, Vec<String>) {
        let wrong = std::mem::take(&mut *self.0.wrong.lock().unwrap());
        (self.0.hash.load(Ordering::Relaxed), wrong)
    }
}
