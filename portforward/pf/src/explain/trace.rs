//! What happened, in the order in which it happened.

use portforward::escape;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Frames that are kept; a pod that sends without end is cut off long before.
const FRAMES: usize = 20_000;

/// Who takes part, from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Actor {
    App,
    Pf,
    Server,
    Kubelet,
    Runtime,
    Pod,
}

impl Actor {
    pub(super) const ALL: [Self; 6] = [
        Self::App,
        Self::Pf,
        Self::Server,
        Self::Kubelet,
        Self::Runtime,
        Self::Pod,
    ];

    /// The name in JSON and Mermaid.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Pf => "pf",
            Self::Server => "api-server",
            Self::Kubelet => "kubelet",
            Self::Runtime => "runtime",
            Self::Pod => "pod",
        }
    }
}

/// How a step is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Measured.
    Seen,
    /// It must have happened, out of sight.
    Unseen,
    /// Where it all ended.
    Failed,
}

/// A SPDY frame, as it passed between pf and TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameInfo {
    /// To the API server.
    pub(super) out: bool,
    pub(super) kind: &'static str,
    pub(super) stream: Option<u32>,
    pub(super) fin: bool,
    /// Its eight bytes of head included.
    pub(super) bytes: usize,
    /// When its first byte passed, and its last.
    pub(super) at: Duration,
    pub(super) until: Duration,
}

/// A place in the order of things: a time, a number among equal times, and one more for what is
/// not seen itself but comes behind something that is.
pub(super) type Key = (Duration, u64, u8);

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) key: Key,
    pub(super) from: Actor,
    pub(super) to: Actor,
    pub(super) text: String,
    pub(super) at: Option<Duration>,
    pub(super) took: Option<Duration>,
    pub(super) sight: Sight,
    pub(super) frame: Option<FrameInfo>,
}

/// Collects steps; clones share them.
#[derive(Clone)]
pub(super) struct Trace {
    start: Instant,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    frames: usize,
    dropped: usize,
    steps: Vec<Step>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            inner: Arc::default(),
        }
    }

    fn with<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Time since the start.
    pub(super) fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }

    /// The next number among equal times.
    pub(super) fn number(&self) -> u64 {
        self.with(|inner| {
            inner.next = inner.next.saturating_add(1);
            inner.next
        })
    }

    fn push(&self, step: Step) -> Key {
        let key = step.key;
        self.with(|inner| inner.steps.push(step));
        key
    }

    /// Something that happened at one moment. Texts may come from anywhere.
    pub(super) fn step(
        &self,
        (from, to): (Actor, Actor),
        at: Instant,
        took: Option<Duration>,
        text: &str,
    ) -> Key {
        self.any((from, to), at, took, text, Sight::Seen)
    }

    /// Something that began at `since` and has just ended.
    pub(super) fn span(&self, between: (Actor, Actor), since: Instant, text: &str) -> Key {
        self.step(between, since, Some(since.elapsed()), text)
    }

    pub(super) fn now(&self, between: (Actor, Actor), text: &str) -> Key {
        self.step(between, Instant::now(), None, text)
    }

    /// The end of the drawing.
    pub(super) fn failed(&self, between: (Actor, Actor), at: Instant, text: &str) -> Key {
        self.any(between, at, None, text, Sight::Failed)
    }

    fn any(
        &self,
        (from, to): (Actor, Actor),
        at: Instant,
        took: Option<Duration>,
        text: &str,
        sight: Sight,
    ) -> Key {
        let at = self.since_start(at);
        self.push(Step {
            key: (at, self.number(), 0),
            from,
            to,
            text: escape::line(text),
            at: Some(at),
            took,
            sight,
            frame: None,
        })
    }

    /// Something out of sight that comes right behind a step.
    pub(super) fn unseen(&self, behind: Key, between: (Actor, Actor), text: &str) -> Key {
        let (at, number, sub) = behind;
        self.push(Step {
            key: (at, number, sub.saturating_add(1)),
            from: between.0,
            to: between.1,
            text: escape::line(text),
            at: None,
            took: None,
            sight: Sight::Unseen,
            frame: None,
        })
    }

    /// A frame; `number` was drawn when its first byte passed.
    pub(super) fn frame(&self, number: u64, frame: FrameInfo, text: &str) {
        let (from, to) = if frame.out {
            (Actor::Pf, Actor::Runtime)
        } else {
            (Actor::Runtime, Actor::Pf)
        };
        self.with(|inner| {
            if inner.frames >= FRAMES {
                inner.dropped = inner.dropped.saturating_add(1);
                return;
            }
            inner.frames = inner.frames.saturating_add(1);
            inner.steps.push(Step {
                key: (frame.at, number, 0),
                from,
                to,
                text: escape::line(text),
                at: Some(frame.at),
                took: Some(frame.until.saturating_sub(frame.at)).filter(|took| !took.is_zero()),
                sight: Sight::Seen,
                frame: Some(frame),
            });
        });
    }

    /// All steps in order, and how many frames were left out.
    pub(super) fn finish(&self) -> (Vec<Step>, usize) {
        self.with(|inner| {
            let mut steps = std::mem::take(&mut inner.steps);
            steps.sort_by_key(|step| step.key);
            (steps, inner.dropped)
        })
    }

    /// The first frame of a kind on a stream.
    pub(super) fn find(&self, kind: &str, stream: u32) -> Option<Key> {
        self.with(|inner| {
            let is = |f: &FrameInfo| f.kind == kind && f.stream == Some(stream);
            let found = inner
                .steps
                .iter()
                .find(|s| s.frame.as_ref().is_some_and(is));
            found.map(|step| step.key)
        })
    }
}
