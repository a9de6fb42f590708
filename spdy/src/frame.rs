//! What is on the wire and nothing else (SPDY/3.1 §2.2, §2.6).
//!
//! ```text
//! control: | 1 | version:15 = 3 | type:16 |  | flags:8 | length:24 |  payload
//! data:    | 0 | stream id:31             |  | flags:8 | length:24 |  payload
//! ```
//!
//! | type | frame | payload |
//! |---|---|---|
//! | 1 | SYN_STREAM | id, associated id, priority (3 bits), slot, header block |
//! | 2 | SYN_REPLY | id, header block |
//! | 3 | RST_STREAM | id, status: 8 bytes |
//! | 4 | SETTINGS | count, then count entries of 8 bytes |
//! | 6 | PING | id: 4 bytes |
//! | 7 | GOAWAY | last good id, status: 8 bytes |
//! | 8 | HEADERS | id, header block |
//! | 9 | WINDOW_UPDATE | id, delta: 8 bytes |
//!
//! All numbers are big-endian.

use crate::header::HeaderBlock;
use crate::status::{GoAwayStatus, RstStatus};
use crate::stream_id::StreamId;
use bytes::Bytes;
use std::fmt;

/// Bytes of every frame's head.
pub(crate) const HEAD: usize = 8;
/// FIN flag of DATA, SYN_STREAM, SYN_REPLY and HEADERS.
pub(crate) const FIN: u8 = 0x01;
/// Second flag of SYN_STREAM.
pub(crate) const UNIDIRECTIONAL: u8 = 0x02;
/// The only version there is.
pub(crate) const VERSION: u16 = 3;

/// The control frames of SPDY/3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Opens a stream.
    SynStream,
    /// Accepts one.
    SynReply,
    /// Ends one at once.
    RstStream,
    /// Parameters of the connection.
    Settings,
    /// Sign of life.
    Ping,
    /// No more streams.
    GoAway,
    /// More headers on a stream.
    Headers,
    /// Window credit.
    WindowUpdate,
}

impl Kind {
    /// `None` for types SPDY/3.1 does not have (5 was NOOP, 10 CREDENTIAL).
    #[must_use]
    pub const fn from_u16(kind: u16) -> Option<Self> {
        Some(match kind {
            1 => Self::SynStream,
            2 => Self::SynReply,
            3 => Self::RstStream,
            4 => Self::Settings,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::Headers,
            9 => Self::WindowUpdate,
            _ => return None,
        })
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        match self {
            Self::SynStream => 1,
            Self::SynReply => 2,
            Self::RstStream => 3,
            Self::Settings => 4,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::Headers => 8,
            Self::WindowUpdate => 9,
        }
    }

    /// The name in the specification.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynStream => "SYN_STREAM",
            Self::SynReply => "SYN_REPLY",
            Self::RstStream => "RST_STREAM",
            Self::Settings => "SETTINGS",
            Self::Ping => "PING",
            Self::GoAway => "GOAWAY",
            Self::Headers => "HEADERS",
            Self::WindowUpdate => "WINDOW_UPDATE",
        }
    }

    /// Fixed bytes of the payload, and whether a header block follows them.
    pub(crate) const fn layout(self) -> (usize, bool) {
        match self {
            Self::SynStream => (10, true),
            Self::SynReply | Self::Headers => (4, true),
            Self::RstStream | Self::GoAway | Self::WindowUpdate => (8, false),
            Self::Settings | Self::Ping => (4, false),
        }
    }
}

/// One frame, or of DATA the part that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// SYN_STREAM.
    SynStream(SynStream),
    /// SYN_REPLY.
    SynReply(SynReply),
    /// RST_STREAM.
    RstStream(RstStream),
    /// SETTINGS.
    Settings(Settings),
    /// PING.
    Ping(Ping),
    /// GOAWAY.
    GoAway(GoAway),
    /// HEADERS.
    Headers(Headers),
    /// WINDOW_UPDATE.
    WindowUpdate(WindowUpdate),
    /// DATA.
    Data(Data),
    /// A control frame of a type SPDY/3.1 does not have; its payload is skipped.
    Unknown(Unknown),
}

/// Opens a stream (§2.6.1).
///
/// | bits | field |
/// |---|---|
/// | 1 + 15 + 16 | 1, version 3, type 1 |
/// | 8 + 24 | flags (1 FIN, 2 UNIDIRECTIONAL), length = 10 + block |
/// | 1 + 31 | reserved, stream id |
/// | 1 + 31 | reserved, associated stream id |
/// | 3 + 5 + 8 | priority, unused, slot |
/// | rest | header block |
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct SynStream {
    /// The new stream.
    pub id: StreamId,
    /// Stream it belongs to, 0 for none. 31 bits.
    pub associated: u32,
    /// 0 (highest) to 7; higher bits are not sent.
    pub priority: u8,
    /// Credential slot; 0 in SPDY/3.1.
    pub slot: u8,
    /// The sender will send no DATA.
    pub fin: bool,
    /// The receiver may send nothing.
    pub unidirectional: bool,
    /// Its header block.
    pub headers: HeaderBlock,
}

/// Accepts a stream (§2.6.2).
///
/// | bits | field |
/// |---|---|
/// | 1 + 15 + 16 | 1, version 3, type 2 |
/// | 8 + 24 | flags (1 FIN), length = 4 + block |
/// | 1 + 31 | reserved, stream id |
/// | rest | header block |
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct SynReply {
    /// The stream.
    pub id: StreamId,
    /// The sender will send no DATA.
    pub fin: bool,
    /// Its header block; empty from Kubernetes.
    pub headers: HeaderBlock,
}

/// Ends a stream at once (§2.6.3).
///
/// | bits | field |
/// |---|---|
/// | 1 + 15 + 16 | 1, version 3, type 3 |
/// | 8 + 24 | flags 0, length 8 |
/// | 1 + 31 | reserved, stream id |
/// | 32 | status, not 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct RstStream {
    /// The stream.
    pub id: StreamId,
    /// Why.
    pub status: RstStatus,
}

/// Parameters (§2.6.4).
///
/// | bits | field |
/// |---|---|
/// | 1 + 15 + 16 | 1, version 3, type 4 |
/// | 8 + 24 | flags (1 CLEAR), length = 4 + 8 x count |
/// | 32 | count |
/// | 8 + 24 + 32 | flags, id, value; count times |
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct Settings {
    /// Forget persisted settings.
    pub clear: bool,
    /// In wire order.
    pub entries: Vec<Setting>,
}

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct Setting {
    /// Persistence flags.
    pub flags: u8,
    /// Which parameter, 24 bits.
    pub id: u32,
    /// Its value.
    pub value: u32,
}

/// Sign of life (§2.6.5).
///
/// | bits | field |
/// |---|---|
/// | 1 + 15 + 16 | 1, version 3, type 6 |
/// | 8 + 24 | flags 0, length 4 |
/// | 32 | id, not 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct Ping {
    /// Odd from clients, even from servers; the answer repeats it.
    pub id: u32,
}

/// No more streams (§2.6.6).
///
/// | bits | field |
/// |---|---|
/// | 1 + 15 + 16 | 1, version 3, type 7 |
/// | 8 + 24 | flags 0, length 8 |
/// | 1 + 31 | reserved, last good stream id |
/// | 32 | status |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct GoAway {
    /// Last stream of the receiver that was processed; 0 for none. 31 bits.
    pub last_good: u32,
    /// Why.
    pub status: GoAwayStatus,
}

/// More headers (§2.6.7). Never sent to Kubernetes: its receiver stops (PROTOCOL.md 1.6).
///
/// | bits | field |
/// |---|---|
/// | 1 + 15 + 16 | 1, version 3, type 8 |
/// | 8 + 24 | flags (1 FIN), length = 4 + block |
/// | 1 + 31 | reserved, stream id |
/// | rest | header block |
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct Headers {
    /// The stream.
    pub id: StreamId,
    /// The sender will send no more DATA.
    pub fin: bool,
    /// The block.
    pub headers: HeaderBlock,
}

/// Window credit (§2.6.8).
///
/// | bits | field |
/// |---|---|
/// | 1 + 15 + 16 | 1, version 3, type 9 |
/// | 8 + 24 | flags 0, length 8 |
/// | 1 + 31 | reserved, stream id or 0 |
/// | 1 + 31 | reserved, bytes |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct WindowUpdate {
    /// Stream, or 0 for the connection. 31 bits.
    pub id: u32,
    /// Bytes granted. 31 bits.
    pub delta: u32,
}

/// Payload of a stream (§2.2.2), handed out as it arrives: a DATA frame may claim 16 MiB, and memory must
/// not follow the claim.
///
/// | bits | field |
/// |---|---|
/// | 1 + 31 | 0, stream id |
/// | 8 + 24 | flags (1 FIN), length |
/// | rest | payload |
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct Data {
    /// The stream.
    pub id: StreamId,
    /// The next bytes.
    pub payload: Bytes,
    /// Bytes of this frame still to come.
    pub remaining: u32,
    /// The frame's FIN flag; the stream ends when `remaining` is 0.
    pub fin: bool,
    /// The other flag bits, which mean nothing in SPDY/3.1; 0 from real peers.
    pub flags: u8,
}

impl Setting {
    /// Streams the sender of SETTINGS takes at a time.
    pub const MAX_CONCURRENT_STREAMS: u32 = 4;
    /// Window of its streams, new ones and (as a change) old ones.
    pub const INITIAL_WINDOW_SIZE: u32 = 7;
}

impl fmt::Debug for Data {
    /// The payload's length, never its bytes: they are somebody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data")
            .field("id", &self.id)
            .field("payload", &self.payload.len())
            .field("remaining", &self.remaining)
            .field("fin", &self.fin)
            .field("flags", &self.flags)
            .finish()
    }
}

/// A control frame nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire format is fixed")]
pub struct Unknown {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u8,
    /// Payload bytes, skipped.
    pub length: u32,
}
