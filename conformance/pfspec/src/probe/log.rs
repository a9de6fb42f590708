//! The evidence of a case: the bytes on every connection, with the time, and what they were, up to a limit.

use super::ending::{Ending, Sign, Signs};
use super::secrets::{Finder, Secrets};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that are kept of the steps of one case, and as many of its connections; what is beyond is counted.
pub const KEPT: usize = 1 << 20;

/// Steps that are kept of one case, and pieces of its connections.
pub const STEPS: usize = 20_000;

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
    /// Bytes of items, and of chunks.
    kept: usize,
    kept_of_chunks: usize,
    total: u64,
    lost: Lost,
    signs: Signs,
    secrets: Secrets,
    /// What finds them, until there is one more.
    finder: Option<Arc<Finder>>,
}

/// What was not kept.
#[derive(Debug, Default)]
struct Lost {
    steps: u64,
    bytes_of_steps: u64,
    bytes_of_connections: u64,
}

impl Lost {
    /// What the ladder says of it, unless nothing is missing.
    fn text(&self) -> Option<String> {
        let all = [
            (self.steps, "steps"),
            (self.bytes_of_steps, "bytes of steps"),
            (self.bytes_of_connections, "bytes of connections"),
        ];
        let some = all.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = some
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!parts.is_empty()).then(|| format!("not kept: {}", parts.join(", ")))
    }
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
            kept_of_chunks: 0,
            total: 0,
            lost: Lost::default(),
            signs: Signs::default(),
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
        // So many steps are a load test, where the first say enough. How its connections end is kept for as many.
        let most = if layer == Layer::Transport {
            2 * STEPS
        } else {
            STEPS
        };
        if inner.items.len() >= most {
            inner.lost.steps += 1;
            inner.lost.bytes_of_steps += bytes.len() as u64;
        } else {
            let kept = bytes.get(..room).unwrap_or(bytes).to_vec();
            inner.kept += kept.len();
            inner.lost.bytes_of_steps += (bytes.len() - kept.len()) as u64;
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
        let room = KEPT.saturating_sub(inner.kept_of_chunks);
        if inner.chunks.len() >= STEPS || (room == 0 && !bytes.is_empty()) {
            inner.lost.bytes_of_connections += bytes.len() as u64;
            return;
        }
        let kept = bytes.get(..room).unwrap_or(bytes).to_vec();
        inner.kept_of_chunks += kept.len();
        inner.lost.bytes_of_connections += (bytes.len() - kept.len()) as u64;
        inner.chunks.push(Chunk {
            at,
            connection,
            side,
            bytes: kept,
            length: bytes.len(),
        });
    }

    /// Notes what ends a connection, or announces that.
    pub fn sign(&self, connection: usize, sign: Sign) {
        let mut inner = self.inner();
        let at = inner.began.elapsed();
        inner.signs.add(connection, at, sign);
    }

    /// How each connection ended, without the secrets.
    #[must_use]
    pub fn endings(&self) -> Vec<Ending> {
        let finder = self.finder();
        let inner = self.inner();
        let mut endings = inner.signs.endings(inner.connections);
        for ending in &mut endings {
            ending.text = finder.text(&ending.text);
        }
        endings
    }

    /// Whether no more bytes are kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let inner = self.inner();
        inner.kept >= KEPT && inner.kept_of_chunks >= KEPT
    }

    /// Whether the server has answered in HTTP, with a status that begins so.
    #[must_use]
    pub fn has_answer(&self, status: &str) -> bool {
        self.inner().items.iter().any(|item| {
            (item.side, item.layer) == (Side::Server, Layer::Http) && item.text.starts_with(status)
        })
    }

    /// Shows the steps from this one on, with the secrets in them; how many there are.
    pub fn look(&self, from: usize, mut see: impl FnMut(&Item)) -> usize {
        let inner = self.inner();
        inner.items.iter().skip(from).for_each(&mut see);
        inner.items.len()
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

    /// What there is, without the secrets: the ladder, the bytes, how many bytes there were. The last step says what is
    /// missing.
    #[must_use]
    pub fn take(&self) -> (Vec<Item>, Vec<Chunk>, u64) {
        let finder = self.finder();
        let mut inner = self.inner();
        let mut items = std::mem::take(&mut inner.items);
        if let Some(text) = std::mem::take(&mut inner.lost).text() {
            items.push(Item {
                at: inner.began.elapsed(),
                connection: 0,
                side: Side::Judge,
                layer: Layer::Note,
                text,
                bytes: Vec::new(),
                length: 0,
            });
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_said() {
        let log = Log::default();
        let part = vec![7; KEPT_OF_ITEM];
        let parts = KEPT / part.len();
        for _ in 0..=parts {
            log.item(1, Side::Judge, Layer::Raw, "step".to_owned(), &part);
        }
        assert!(!log.is_full());
        // Steps leave room for the connections.
        for _ in 0..=parts {
            log.chunk(1, Side::Judge, &part);
        }
        assert!(log.is_full());
        for _ in 0..STEPS {
            log.item(1, Side::Server, Layer::Spdy, "PING 1".to_owned(), &[1, 2]);
        }
        log.item(1, Side::Server, Layer::Transport, "end".to_owned(), &[]);
        let (items, chunks, total) = log.take();
        assert_eq!(items.len(), STEPS + 2);
        let [.., end, last] = items.as_slice() else {
            panic!("no items")
        };
        assert_eq!(end.text, "end");
        let steps = parts + 1;
        let bytes = part.len() + STEPS * 2;
        assert_eq!(
            last.text,
            format!("not kept: {steps} steps, {bytes} bytes of steps, 65536 bytes of connections")
        );
        let kept: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        assert_eq!((kept, total), (KEPT, ((parts + 1) * part.len()) as u64));

        let log = Log::default();
        log.item(1, Side::Judge, Layer::Raw, "step".to_owned(), &part);
        log.chunk(1, Side::Judge, &part);
        assert_eq!(log.take().0.len(), 1);
    }
}
