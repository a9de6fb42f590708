//! Z12. Streams that arrive in any order, with any headers, while time passes.
//!
//! Beside a model of maps only: each data stream is dialled at most once, and only together with the
//! error stream of its request and port; never more wait than may (B7); each stream comes back at most
//! once; who waits too long is told, and nobody else.

#![allow(
    clippy::panic,
    clippy::verbose_bit_mask,
    reason = "it panics where a property does not hold"
)]

use crate::pair::{Added, HeaderError, Label, Pairing, StreamType};
use spdy::{HeaderBlock, StreamId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A stream as the model knows it.
#[derive(Clone, Debug)]
struct Waiting {
    since: Instant,
    label: Label,
    number: u32,
}

struct Model {
    waiting: BTreeMap<Vec<u8>, Waiting>,
    limit: usize,
    timeout: Duration,
    /// Streams that were handed back, for whatever reason.
    over: BTreeSet<u32>,
    dialled: BTreeSet<u32>,
}

impl Model {
    fn hand_back(&mut self, number: u32) {
        assert!(self.over.insert(number), "stream {number} came back twice");
    }

    fn add(&mut self, now: Instant, label: &Label, number: u32, added: Added<u32>) {
        let partner = self.waiting.get(&label.request).cloned();
        match (added, partner) {
            (Added::Waiting, None) => {
                assert!(self.waiting.len() < self.limit, "too many wait");
                let label = label.clone();
                let waiting = Waiting {
                    since: now,
                    label: label.clone(),
                    number,
                };
                self.waiting.insert(label.request, waiting);
            }
            (Added::Full(stream), None) => {
                assert_eq!(self.waiting.len(), self.limit, "refused before the limit");
                assert_eq!(stream, number);
                self.hand_back(stream);
            }
            (Added::Duplicate(stream), Some(other)) => {
                assert_eq!(other.label.kind, label.kind, "no duplicate");
                assert_eq!(stream, number);
                self.hand_back(stream);
            }
            (Added::PortMismatch(first, second), Some(other)) => {
                assert_ne!(other.label.port, label.port, "no mismatch");
                assert_eq!((first, second), (other.number, number));
                self.waiting.remove(&label.request);
                self.hand_back(first);
                self.hand_back(second);
            }
            (
                Added::Pair {
                    port,
                    half_close,
                    data,
                    error,
                },
                Some(other),
            ) => {
                assert_eq!(
                    (other.label.port, label.port),
                    (port, port),
                    "a mismatch dials"
                );
                assert_eq!(half_close, label.half_close || other.label.half_close);
                let (expected, partner) = match label.kind {
                    StreamType::Data => (number, other.number),
                    StreamType::Error => (other.number, number),
                };
                assert_ne!(other.label.kind, label.kind, "two of a kind");
                assert_eq!((data, error), (expected, partner));
                assert!(self.dialled.insert(data), "dialled twice");
                self.waiting.remove(&label.request);
                self.hand_back(data);
                self.hand_back(error);
            }
            (added, other) => panic!("{added:?} beside {other:?}"),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let first = self.waiting.values().map(|w| w.since).min()?;
        first.checked_add(self.timeout)
    }
}

/// What headers a stream has: what one byte of the input makes of them.
fn headers(byte: u8, request: u8) -> HeaderBlock {
    let mut headers = HeaderBlock::new();
    match byte & 7 {
        0..=2 => headers.push("streamtype", "data"),
        3..=5 => headers.push("streamtype", "error"),
        6 => headers.push("streamtype", "Data"),
        _ => {}
    }
    match (byte >> 3) & 7 {
        0..=4 => headers.push("port", "80"),
        5 => headers.push("port", "0081"),
        6 => headers.push("port", "65536"),
        _ => {}
    }
    if byte >> 6 != 0 {
        headers.push("requestid", (request & 15).to_string());
    }
    if byte >> 6 == 1 {
        headers.push("half-close", "keep");
    }
    headers
}

/// Three bytes are one arrival, or the time that passes.
pub fn pairing(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let limit = usize::from(first & 15);
    let timeout = Duration::from_secs(30);
    let mut model = Model {
        waiting: BTreeMap::new(),
        limit,
        timeout,
        over: BTreeSet::new(),
        dialled: BTreeSet::new(),
    };
    let mut pairing = Pairing::new(timeout, limit);
    let mut now = Instant::now();
    let mut number = 0u32;
    for step in data.chunks_exact(3) {
        let &[what, byte, request] = step else { return };
        if what & 3 == 0 {
            now = now
                .checked_add(Duration::from_millis(u64::from(byte) << (request & 7)))
                .unwrap_or(now);
            expire(&mut pairing, &mut model, now);
        } else {
            // Ids rise by two; a jump leaves error streams without their follower.
            number = number.saturating_add(u32::from(what >> 2).max(1));
            let Some(id) = StreamId::new(number.saturating_mul(2).saturating_sub(1)) else {
                return;
            };
            let block = headers(byte, request);
            match Label::read(id, &block) {
                Ok(label) => {
                    let added = pairing.add(now, label.clone(), number);
                    model.add(now, &label, number, added);
                }
                Err(error) => check_refusal(&error, &block),
            }
        }
        assert_eq!(pairing.len(), model.waiting.len());
        assert!(pairing.len() <= limit, "too many wait");
        assert_eq!(pairing.is_empty(), model.waiting.is_empty());
        assert_eq!(pairing.next_deadline(), model.next_deadline());
    }
}

/// What cannot be read must not be readable.
fn check_refusal(error: &HeaderError, block: &HeaderBlock) {
    let port = block.get("port");
    let kind = block.get("streamtype");
    let right = match error {
        HeaderError::NoPort => port.is_none(),
        HeaderError::BadPort(_) => port == Some(b"65536"),
        HeaderError::NoType => kind.is_none(),
        HeaderError::BadType(_) => kind == Some(b"Data"),
    };
    assert!(right, "{error}");
}

fn expire(pairing: &mut Pairing<u32>, model: &mut Model, now: Instant) {
    let mut last = None;
    for lone in pairing.expire(now) {
        let known = model.waiting.remove(&lone.label.request);
        let Some(known) = known else {
            panic!("a stream expires that does not wait")
        };
        assert_eq!((known.number, &known.label), (lone.stream, &lone.label));
        let age = now.saturating_duration_since(known.since);
        assert!(age >= model.timeout, "expired early");
        assert!(
            last.is_none_or(|last| last <= known.since),
            "not the oldest first"
        );
        last = Some(known.since);
        model.hand_back(lone.stream);
    }
    let late = |w: &Waiting| now.saturating_duration_since(w.since) >= model.timeout;
    assert!(!model.waiting.values().any(late), "kept too long");
}
