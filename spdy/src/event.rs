//! What comes out of a connection: events and counters.

use crate::header::HeaderBlock;
use crate::status::{GoAwayStatus, RstStatus};
use crate::stream_id::StreamId;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// What the other side did.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It opened a stream: answer with [`crate::Connection::reply`] or
    /// [`crate::Connection::reset`].
    Opened {
        /// The stream.
        id: StreamId,
        /// Its header block.
        headers: HeaderBlock,
        /// No DATA will come.
        fin: bool,
    },
    /// It accepted a stream of ours.
    Replied {
        /// The stream.
        id: StreamId,
        /// Its header block.
        headers: HeaderBlock,
        /// No DATA will come.
        fin: bool,
    },
    /// Bytes of a stream, in order; with `fin` its last.
    Data {
        /// The stream.
        id: StreamId,
        /// May be empty when `fin` is set.
        payload: Bytes,
        /// Nothing more will come.
        fin: bool,
    },
    /// It reset the stream, which is forgotten now.
    Reset {
        /// The stream.
        id: StreamId,
        /// Why.
        status: RstStatus,
    },
    /// It answered our PING.
    Pong {
        /// Time between PING and answer.
        round_trip: Duration,
    },
    /// It will accept no more streams. A real peer closes at once and has dropped what it had not
    /// read (PROTOCOL.md 1.6, 1.9).
    GoAway {
        /// Last stream of ours it processed, 0 for none.
        last_good: u32,
        /// Why.
        status: GoAwayStatus,
    },
}

impl fmt::Debug for Event {
    /// Of DATA the length, never the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { id, headers, fin } => write!(f, "Opened({id}, {headers:?}, fin: {fin})"),
            Self::Replied { id, headers, fin } => {
                write!(f, "Replied({id}, {headers:?}, fin: {fin})")
            }
            Self::Data { id, payload, fin } => {
                write!(f, "Data({id}, {} bytes, fin: {fin})", payload.len())
            }
            Self::Reset { id, status } => write!(f, "Reset({id}, {status})"),
            Self::Pong { round_trip } => write!(f, "Pong({round_trip:?})"),
            Self::GoAway { last_good, status } => write!(f, "GoAway({last_good}, {status})"),
        }
    }
}

/// Counters of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames received, DATA counted once each.
    pub frames_received: u64,
    /// DATA payload bytes received.
    pub bytes_received: u64,
    /// DATA payload bytes queued for sending.
    pub bytes_sent: u64,
    /// Streams opened by this side.
    pub opened: u64,
    /// Streams opened by the peer and admitted.
    pub accepted: u64,
    /// Resets sent because of peer errors or limits.
    pub error_resets: u32,
    /// Frames dropped: for streams that are gone, or of unknown type.
    pub ignored: u64,
}
