//! Transcripts: what passed between a client and its peer, as text that people read and tests
//! replay.
//!
//! ```text
//! pft 1
//! peer: kubernetes v1.37.1
//! command: pf pod/bare 0:7000
//! client: pf 0.1.0
//! server: API server
//! date: 2026-11-25T18:30:00Z
//! tool: pf 0.1.0
//! redacted: ...
//! expect: ...
//!
//! c>s +0.000012 head POST /api/v1/namespaces/default/pods/bare/portforward HTTP/1.1
//! | connection: Upgrade
//! s>c +0.004310 head HTTP/1.1 101 Switching Protocols
//! c>s +0.004702 12 000000030100000470696e67
//! # DATA 3 fin: 4 bytes "ping"
//! s>c +0.004990 end
//! c>s +0.005001 failed broken pipe
//! pft end 5
//! ```
//!
//! Header lines first: `expect` any number of times or not at all, each other one once. Then, behind
//! an empty line, the events: direction, seconds since the first moment, and a head with its
//! fields (`|`), a count of bytes and the bytes in hexadecimal, `end` (end of file), or `failed`
//! and how. A line `#` says which frames an event completes; it follows from the bytes
//! ([`Annotator`]). The last line counts the events, so that a cut file shows.
//!
//! Heads are never recorded as bytes: of their fields only those on an allow-list are written, so
//! that no credential can be (T36, S2). What the forwarded connections carry is in the file.

mod annotate;
mod heads;
mod parse;
pub(crate) mod write;

pub use annotate::Annotator;
pub use parse::ParseError;

use bytes::Bytes;
use std::time::{Duration, SystemTime};

/// First line of a transcript.
const MAGIC: &str = "pft 1";
/// Longest line that is read, with its line end.
pub const MAX_LINE: usize = 4 << 20;
/// Largest transcript that is read, or written.
pub const MAX_FILE: usize = 64 << 20;
/// Bytes of an event; more become several events.
pub(crate) const EVENT_BYTES: usize = 1 << 20;
/// What a transcript leaves out.
const REDACTED: &str = "head fields not on the allow-list, by name and value; what stands before \
    /api/v1/namespaces/ in the target, and its query; bodies of refusals";

/// A whole transcript. `Display` is the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transcript {
    /// Where it comes from.
    pub provenance: Provenance,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Where a transcript comes from. Each text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provenance {
    /// The peer and its version.
    pub peer: String,
    /// How to do it again.
    pub command: String,
    /// Who plays the client.
    pub client: String,
    /// Who plays the server.
    pub server: String,
    /// When it was recorded, RFC 3339, UTC.
    pub date: String,
    /// What recorded it, and its version.
    pub tool: String,
    /// What is left out.
    pub redacted: String,
    /// What came of it, for replays.
    pub expect: Vec<String>,
}

impl Provenance {
    /// Recorded now.
    #[must_use]
    pub fn new(peer: &str, command: &str, client: &str, server: &str, tool: &str) -> Self {
        Self {
            peer: peer.to_owned(),
            command: command.to_owned(),
            client: client.to_owned(),
            server: server.to_owned(),
            date: crate::http1::date::rfc3339(SystemTime::now()),
            tool: tool.to_owned(),
            redacted: REDACTED.to_owned(),
            expect: Vec::new(),
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Which way.
    pub direction: Direction,
    /// Time since the recording began; whole microseconds.
    pub at: Duration,
    /// What.
    pub what: What,
    /// The frames it completes, as [`Annotator`] writes them.
    pub comments: Vec<String>,
}

/// Which way something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two directions")]
pub enum Direction {
    /// `c>s`.
    ClientToServer,
    /// `s>c`.
    ServerToClient,
}

impl Direction {
    const fn word(self) -> &'static str {
        match self {
            Self::ClientToServer => "c>s",
            Self::ServerToClient => "s>c",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A request or response head.
    Head(Head),
    /// Bytes of the session.
    Bytes(Bytes),
    /// End of file.
    End,
    /// The connection failed, as seen by the side that recorded.
    Failed(String),
}

/// A head, as far as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// Request line or status line.
    pub line: String,
    /// Fields on the allow-list, names in lower case.
    pub fields: Vec<(String, String)>,
}
