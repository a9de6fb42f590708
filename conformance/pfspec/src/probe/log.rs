//! The evidence of a case: every byte on every connection, with the time, and what it was.

use super::secrets::{Finder, Secrets};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that are kept of one case; what is beyond is counted.
pub const KEPT: usize = 1 << 20;

/// Bytes that are kept of one item.
const KEPT_OF_ITEM: usize = 64 << 10;

/// Who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The judge.
    Judge,
    /// The server.
    Server,
}

/// What kind of thing an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Opening and end of a connection.
    Transport,
    /// A head or body of HTTP.
    Http,
    /// A WebSocket frame.
    WebSocket,
    /// A SPDY frame.
    Spdy,
    /// A channel message.
    Channel,
    /// Bytes that are none of these, sent on purpose.
    Raw,
    /// The case says what it does.
    Note,
}

impl Layer {
    /// In lower case, for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::Spdy => "spdy",
            Self::Channel => "channel",
            Self::Raw => "raw",
            Self::Note => "note",
        }
    }
}

/// One step of the ladder.
#[derive(Debug, Clone)]
pub struct Item {
    /// Since the case began.
    pub at: Duration,
    /// Number of the connection within the case, from 1; 0 for notes.
    pub connection: usize,
    /// Who.
    pub side: Side,
    /// What kind.
    pub layer: Layer,
    /// One line of what it says, secrets hidden.
    pub text: String,
    /// Its bytes, secrets hidden; the first of them if there are too many.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub length: usize,
}

/// Bytes as they went over one connection (below TLS they are others), secrets hidden.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Since the case began.
    pub at: Duration,
    /// Number of the connection within the case.
    pub connection: usize,
    /// Who.
    pub side: Side,
    /// The bytes, or the first of them.
    pub bytes: Vec<u8>,
    /// How many there were.
    pub length: usize,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    connections: usize,
    items: Vec<Item>,
    chunks: Vec<Chunk>,
    kept: usize,
    total: u64,
    secrets: Secrets,
    /// What finds them, until there is one more.
    finder: Option<Arc<Finder>>,
}

/// The evidence of one case, shared by its connections.
#[derive(Debug, Clone)]
pub struct Log(Arc<Mutex<Inner>>);

impl Default for Log {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            began: Instant::now(),
            connections: 0,
            items: Vec::new(),
            chunks: Vec::new(),
            kept: 0,
            total: 0,
            secrets: Secrets::default(),
            finder: None,
        })))
    }
}

impl Log {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a new connection.
    #[must_use]
    pub fn connection(&self) -> usize {
        let mut inner = self.inner();
        inner.connections += 1;
        inner.connections
    }

    /// Adds a step of the ladder.
    pub fn item(&self, connection: usize, side: Side, layer: Layer, text: String, bytes: &[u8]) {
        let mut inner = self.inner();
        let at = inner.began.elapsed();
        let room = KEPT_OF_ITEM.min(KEPT.saturating_sub(inner.kept));
        let kept = bytes.get(..room).unwrap_or(bytes).to_vec();
        inner.kept += kept.len();
        // So many items of no bytes are a load test, where the first say enough.
        if inner.items.len() < 20_000 {
            inner.items.push(Item {
                at,
                connection,
                side,
                layer,
                text,
                bytes: kept,
                length: bytes.len(),
            });
        }
    }

    /// Adds bytes as they went over a connection.
    pub fn chunk(&self, connection: usize, side: Side, bytes: &[u8]) {
        let mut inner = self.inner();
        let at = inner.began.elapsed();
        inner.total += bytes.len() as u64;
        let room = KEPT.saturating_sub(inner.kept);
        if inner.chunks.len() >= 20_000 || (room == 0 && !bytes.is_empty()) {
            return;
        }
        let kept = bytes.get(..room).unwrap_or(bytes).to_vec();
        inner.kept += kept.len();
        inner.chunks.push(Chunk {
            at,
            connection,
            side,
            bytes: kept,
            length: bytes.len(),
        });
    }

    /// Whether no more bytes are kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inner().kept >= KEPT
    }

    /// Says in the ladder what the case does now.
    pub fn note(&self, text: impl Into<String>) {
        self.item(0, Side::Judge, Layer::Note, text.into(), &[]);
    }

    /// Names values that nobody is to see; [`Log::take`] and [`Log::blot`] overwrite them in all their forms.
    pub fn hide(&self, values: &[Vec<u8>]) {
        let mut inner = self.inner();
        for value in values {
            if inner.secrets.add(value) {
                inner.finder = None;
            }
        }
    }

    fn finder(&self) -> Arc<Finder> {
        let mut inner = self.inner();
        if let Some(finder) = &inner.finder {
            return finder.clone();
        }
        let finder = Arc::new(inner.secrets.finder());
        inner.finder = Some(finder.clone());
        finder
    }

    /// A text without the secrets. Best before it is cut.
    #[must_use]
    pub fn blot(&self, text: &str) -> String {
        self.finder().text(text)
    }

    /// The same with bytes.
    pub fn blot_bytes(&self, bytes: &mut [u8]) {
        self.finder().blot(bytes);
    }

    /// What there is, without the secrets: the ladder, the bytes, how many bytes there were.
    #[must_use]
    pub fn take(&self) -> (Vec<Item>, Vec<Chunk>, u64) {
        let finder = self.finder();
        let mut inner = self.inner();
        let mut items = std::mem::take(&mut inner.items);
        let mut chunks = std::mem::take(&mut inner.chunks);
        if !finder.is_empty() {
            let mut streams: BTreeMap<_, Vec<&mut Vec<u8>>> = BTreeMap::new();
            for item in &mut items {
                item.text = finder.text(&item.text);
                let stream = streams.entry((item.connection, item.side, Some(item.layer)));
                stream.or_default().push(&mut item.bytes);
            }
            for chunk in &mut chunks {
                let stream = streams.entry((chunk.connection, chunk.side, None));
                stream.or_default().push(&mut chunk.bytes);
            }
            for parts in streams.values_mut() {
                finder.stream(parts);
            }
        }
        (items, chunks, inner.total)
    }
}
