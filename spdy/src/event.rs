//! What comes out of a connection: events and counters.

use crate::frame::{Setting, Settings};
use crate::header::HeaderBlock;
use crate::status::{GoAwayStatus, RstStatus};
use crate::stream_id::StreamId;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// Bytes of one entry of SETTINGS, as it is held.
const ENTRY: usize = size_of::<Setting>();

/// What the other side did.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It opened a stream: answer with [`crate::Connection::reply`] or
    /// [`crate::Connection::reset`]. One that was opened one-way takes no answer
    /// ([`crate::StreamError::NotReplyable`]), which is no fault of anybody's.
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
    /// Bytes of a stream, in order; with `fin` its last. They are a part of the buffer that
    /// [`crate::Connection::recv`] was given, which they keep whole: copy small ones that are held
    /// for long.
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
    /// It sent HEADERS on a stream; none come from Kubernetes.
    Headers {
        /// The stream.
        id: StreamId,
        /// The block.
        headers: HeaderBlock,
        /// No DATA will come any more.
        fin: bool,
    },
    /// [`crate::Connection::send`] had no room for this stream, and has some now.
    Writable {
        /// The stream.
        id: StreamId,
    },
    /// It sent SETTINGS, and they were heeded. Without flow control, in
    /// [`crate::Dialect::Kubernetes`], they mean nothing and are dropped.
    Settings {
        /// What it said.
        settings: Settings,
    },
    /// It answered our PING.
    Pong {
        /// The PING.
        id: u32,
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

impl Event {
    /// Bytes it holds beside payload, which counts by its stream.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Opened { headers, .. }
            | Self::Replied { headers, .. }
            | Self::Headers { headers, .. } => headers.encoded_len(),
            Self::Settings { settings } => settings.entries.len().saturating_mul(ENTRY),
            Self::Data { .. }
            | Self::Reset { .. }
            | Self::Writable { .. }
            | Self::Pong { .. }
            | Self::GoAway { .. } => 0,
        }
    }
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
            Self::Headers { id, headers, fin } => {
                write!(f, "Headers({id}, {headers:?}, fin: {fin})")
            }
            Self::Writable { id } => write!(f, "Writable({id})"),
            Self::Settings { settings } => write!(f, "Settings({settings:?})"),
            Self::Pong { id, round_trip } => write!(f, "Pong({id}, {round_trip:?})"),
            Self::GoAway { last_good, status } => write!(f, "GoAway({last_good}, {status})"),
        }
    }
}

/// What one connection has done so far, and what it holds now. The second half is what the
/// budgets of [`crate::Limits`] bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames received, DATA counted once each.
    pub frames_received: u64,
    /// DATA payload bytes received.
    pub bytes_received: u64,
    /// DATA payload bytes queued for sending.
    pub bytes_sent: u64,
    /// Decompressed bytes of header blocks received.
    pub header_bytes_inflated: u64,
    /// Streams opened by this side.
    pub opened: u64,
    /// Streams opened by the peer and admitted.
    pub accepted: u64,
    /// Streams of the peer refused because of a limit (B6, B7).
    pub refused: u64,
    /// Resets sent because of peer errors (B9).
    pub error_resets: usize,
    /// Frames dropped: for streams that are gone, or of unknown type.
    pub ignored: u64,
    /// Streams reset by the peer before they were answered, in the current 10 s (B8).
    pub rapid_resets: usize,
    /// Score of oddities in the current 10 minutes (B30).
    pub glitches: usize,
    /// Streams we opened that are known (B6).
    pub own_streams: usize,
    /// Streams the peer opened that are known, and ended ones with something unread (B6).
    pub peer_streams: usize,
    /// Streams the peer opened that we have not answered (B7).
    pub unanswered_streams: usize,
    /// Answers that the peer provoked and that wait to be written (B10).
    pub queued_replies: usize,
    /// Frames about streams that wait to be written: SYN_REPLY, our resets of the peer's, credit
    /// (B6, B10).
    pub queued_answers: usize,
    /// Events that wait to be polled (B12).
    pub queued_events: usize,
    /// Payload bytes handed out, or waiting in events, and not reported as consumed (B14).
    pub unconsumed: usize,
    /// Payload bytes that wait to become frames (B15).
    pub queued_to_send: usize,
    /// Bytes of frames that wait to be written.
    pub outgoing: usize,
}
