use crate::limits::Budget;
use crate::status::GoAwayStatus;
use crate::stream_id::StreamId;
use std::fmt;
use std::time::Duration;

/// Who caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Initiator {
    /// This crate: a deadline that the caller set, or an encoder that failed.
    Library,
    /// The peer: it broke the protocol or one of our limits, or went silent.
    Remote,
}

/// Bytes that are no SPDY frame. The connection cannot go on: after a bad header block the
/// compression context is lost, after a bad length the frame boundary is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    pub(crate) kind: DecodeErrorKind,
    pub(crate) offset: u64,
}

impl DecodeError {
    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &DecodeErrorKind {
        &self.kind
    }

    /// Where the frame began, in bytes from the start of this direction.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (frame at byte {})", self.kind, self.offset)
    }
}

impl std::error::Error for DecodeError {}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The length field does not fit the frame type.
    Length {
        /// Frame type by name.
        frame: &'static str,
        /// What the frame said.
        length: u32,
    },
    /// A control frame over its limit.
    FrameTooLarge {
        /// Frame type by name.
        frame: &'static str,
        /// What the frame said.
        length: u32,
        /// What is allowed.
        limit: usize,
    },
    /// Flags that this frame type does not have.
    Flags {
        /// Frame type by name.
        frame: &'static str,
        /// The flag byte.
        flags: u8,
    },
    /// The reserved top bit of a stream id, or of WINDOW_UPDATE's bytes, is set.
    ReservedBit(&'static str),
    /// Stream id 0.
    StreamZero(&'static str),
    /// PING id 0.
    PingZero,
    /// RST_STREAM status 0, which the draft forbids.
    ResetStatusZero,
    /// The compressed header block does not inflate.
    Inflate(&'static str),
    /// The decompressed header block is over its limit.
    HeaderBlockTooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// More header pairs than allowed.
    HeaderPairs {
        /// What the block said.
        count: u32,
        /// What is allowed.
        limit: usize,
    },
    /// A name or value longer than allowed.
    HeaderField {
        /// `name` or `value`.
        field: &'static str,
        /// What the block said.
        length: u32,
        /// What is allowed.
        limit: usize,
    },
    /// The block ends inside a field.
    HeaderTruncated,
    /// Bytes behind the last pair.
    HeaderSurplus(usize),
    /// A name with an upper-case letter.
    HeaderUpperCase,
    /// A name that SPDY forbids (`connection`, `host`, ...).
    HeaderForbidden(&'static str),
    /// A name of no letters ([`crate::Dialect::Spdy31`]).
    HeaderEmptyName,
    /// A name that was there already ([`crate::Dialect::Spdy31`]).
    HeaderRepeated,
    /// An empty value among several ([`crate::Dialect::Spdy31`]).
    HeaderEmptyValue,
    /// Another version than 3 ([`crate::Dialect::Spdy31`]).
    Version(u16),
    /// A control frame of a type that SPDY/3.1 does not have ([`crate::Dialect::Spdy31`]).
    UnknownFrame(u16),
    /// More SETTINGS entries than allowed.
    SettingsEntries {
        /// What the frame said.
        count: u32,
        /// What is allowed.
        limit: usize,
    },
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { frame, length } => write!(f, "{frame} of {length} bytes: wrong length"),
            Self::FrameTooLarge {
                frame,
                length,
                limit,
            } => {
                write!(
                    f,
                    "{frame} of {length} bytes, more than the {limit} allowed"
                )
            }
            Self::Flags { frame, flags } => write!(f, "{frame} with flags {flags:#04x}"),
            Self::ReservedBit(frame) => write!(f, "{frame} with a reserved bit set"),
            Self::StreamZero(frame) => write!(f, "{frame} for stream 0"),
            Self::PingZero => f.write_str("PING with id 0"),
            Self::ResetStatusZero => f.write_str("RST_STREAM with status 0"),
            Self::Inflate(why) => write!(f, "header block does not inflate: {why}"),
            Self::HeaderBlockTooLarge { limit } => {
                write!(f, "header block inflates to more than {limit} bytes")
            }
            Self::HeaderPairs { count, limit } => {
                write!(
                    f,
                    "header block of {count} pairs, more than the {limit} allowed"
                )
            }
            Self::HeaderField {
                field,
                length,
                limit,
            } => {
                write!(
                    f,
                    "header {field} of {length} bytes, more than the {limit} allowed"
                )
            }
            Self::HeaderTruncated => f.write_str("header block ends inside a field"),
            Self::HeaderSurplus(n) => write!(f, "{n} bytes behind the last header pair"),
            Self::HeaderUpperCase => f.write_str("header name with an upper-case letter"),
            Self::HeaderForbidden(name) => write!(f, "header {name} is forbidden in SPDY"),
            Self::HeaderEmptyName => f.write_str("header with an empty name"),
            Self::HeaderRepeated => f.write_str("header name given twice"),
            Self::HeaderEmptyValue => f.write_str("header with an empty value among several"),
            Self::Version(version) => write!(f, "control frame of SPDY version {version}, not 3"),
            Self::UnknownFrame(kind) => write!(f, "control frame of unknown type {kind}"),
            Self::SettingsEntries { count, limit } => {
                write!(
                    f,
                    "SETTINGS of {count} entries, more than the {limit} allowed"
                )
            }
        }
    }
}

/// A frame that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The header block is over our own limit (B3), uncompressed bytes.
    HeaderBlockTooLarge {
        /// Bytes of the block.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More header pairs than allowed.
    HeaderPairs {
        /// Pairs of the block.
        count: usize,
        /// Pairs allowed.
        limit: usize,
    },
    /// A name or value longer than allowed.
    HeaderField {
        /// `name` or `value`.
        field: &'static str,
        /// Its bytes.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The header block may take more on the wire than allowed.
    HeaderBlockOnWire {
        /// Bytes at most: how well it compresses shows only when it is too late.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A payload longer than the 24-bit length field can say.
    TooLong(usize),
    /// The compressor failed, and the context is lost: nothing more can be written.
    Deflate,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderBlockTooLarge { size, limit } => {
                write!(
                    f,
                    "header block of {size} bytes, more than the {limit} allowed"
                )
            }
            Self::HeaderPairs { count, limit } => {
                write!(
                    f,
                    "header block of {count} pairs, more than the {limit} allowed"
                )
            }
            Self::HeaderField {
                field,
                length,
                limit,
            } => {
                write!(
                    f,
                    "header {field} of {length} bytes, more than the {limit} allowed"
                )
            }
            Self::HeaderBlockOnWire { size, limit } => {
                write!(
                    f,
                    "header block of up to {size} bytes on the wire, more than the {limit} allowed"
                )
            }
            Self::TooLong(n) => write!(f, "payload of {n} bytes does not fit a frame"),
            Self::Deflate => f.write_str("header compression failed"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    pub(crate) kind: ConnectionErrorKind,
}

impl ConnectionError {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &ConnectionErrorKind {
        &self.kind
    }

    /// Who caused it.
    #[must_use]
    pub fn initiator(&self) -> Initiator {
        match self.kind {
            ConnectionErrorKind::Idle { .. }
            | ConnectionErrorKind::Drain { .. }
            | ConnectionErrorKind::Encode(_) => Initiator::Library,
            _ => Initiator::Remote,
        }
    }

    /// What the GOAWAY that answers it should say.
    #[must_use]
    pub fn status(&self) -> GoAwayStatus {
        match self.kind {
            // Nobody did anything wrong.
            ConnectionErrorKind::Idle { .. }
            | ConnectionErrorKind::Drain { .. }
            | ConnectionErrorKind::Silent { .. } => GoAwayStatus::OK,
            ConnectionErrorKind::Encode(_) => GoAwayStatus::INTERNAL_ERROR,
            _ => GoAwayStatus::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ConnectionErrorKind as K;
        match &self.kind {
            K::Decode(e) => e.fmt(f),
            K::Encode(e) => e.fmt(f),
            K::TooManyErrors { limit } => {
                write!(f, "the peer caused more than {limit} stream errors")
            }
            K::RapidResets { limit } => write!(
                f,
                "the peer opened and reset more than {limit} streams within 10 s"
            ),
            K::Flood { frame, limit } => {
                write!(f, "the peer sent more than {limit} {frame} within 10 s")
            }
            K::Glitches { limit } => write!(
                f,
                "the peer did odd things worth more than {limit} points within 10 minutes"
            ),
            K::WindowExceeded => f.write_str("the peer sent more than the connection's window"),
            K::WindowOverflow => f.write_str("a window was raised above 2^31 - 1"),
            K::StreamOrder { id, last } => {
                write!(f, "stream {id} was opened after stream {last}")
            }
            K::StreamParity(id) => write!(f, "stream {id} is not the peer's to open"),
            K::Idle { after } => write!(f, "no frame either way for {} s", after.as_secs_f32()),
            K::Silent { after } => {
                write!(f, "nothing from the peer for {} s", after.as_secs_f32())
            }
            K::Drain { after } => write!(
                f,
                "the connection did not end within {} s of GOAWAY",
                after.as_secs_f32()
            ),
        }
    }
}

impl std::error::Error for ConnectionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ConnectionErrorKind::Decode(e) => Some(e),
            ConnectionErrorKind::Encode(e) => Some(e),
            _ => None,
        }
    }
}

impl From<ConnectionErrorKind> for ConnectionError {
    fn from(kind: ConnectionErrorKind) -> Self {
        Self { kind }
    }
}

impl From<DecodeError> for ConnectionError {
    fn from(e: DecodeError) -> Self {
        Self {
            kind: ConnectionErrorKind::Decode(e),
        }
    }
}

/// What ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionErrorKind {
    /// Not SPDY, or over a limit.
    Decode(DecodeError),
    /// The peer opened streams only to reset them (B8).
    RapidResets {
        /// Resets allowed per 10 s.
        limit: usize,
    },
    /// The peer made us reset too many streams (B9).
    TooManyErrors {
        /// Resets allowed.
        limit: usize,
    },
    /// More frames of a kind than allowed (B11, B12).
    Flood {
        /// `PING`, `SETTINGS` or `empty DATA`.
        frame: &'static str,
        /// Frames allowed per 10 s.
        limit: usize,
    },
    /// Too much that is tolerated (B30).
    Glitches {
        /// Score allowed per 10 minutes.
        limit: usize,
    },
    /// DATA beyond the connection's window (§2.6.8).
    WindowExceeded,
    /// WINDOW_UPDATE or SETTINGS made a window larger than it can be (§2.6.8).
    WindowOverflow,
    /// Ids must rise ([`crate::Dialect::Spdy31`], §2.3.2).
    StreamOrder {
        /// The new stream.
        id: StreamId,
        /// The last one before.
        last: u32,
    },
    /// Odd ids are the client's ([`crate::Dialect::Spdy31`], §2.3.2).
    StreamParity(StreamId),
    /// [`crate::Config::idle_timeout`] passed.
    Idle {
        /// The timeout.
        after: Duration,
    },
    /// [`crate::Config::dead_after`] passed.
    Silent {
        /// The timeout.
        after: Duration,
    },
    /// Streams were still there [`crate::Limits::drain_ms`] after GOAWAY (B29).
    Drain {
        /// The timeout.
        after: Duration,
    },
    /// A frame of ours cannot be written, and the compression context is lost.
    Encode(EncodeError),
}

/// A [`crate::Config`] that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A limit of 0 or over its ceiling.
    Limit(Budget),
    /// A field of this name out of its range.
    Range(&'static str),
    /// A window of this name and size above the limit that holds what arrives in it, with that
    /// limit's name and value: raise the limit first.
    Window {
        /// The field.
        field: &'static str,
        /// Its value, bytes.
        window: u32,
        /// The field of [`crate::Limits`].
        limit: &'static str,
        /// Its value, bytes.
        most: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(b) => write!(
                f,
                "limit {} ({}) is {}, and must be 1 to {}",
                b.name, b.id, b.value, b.ceiling
            ),
            Self::Range(field) => write!(f, "{field} is out of range"),
            Self::Window {
                field,
                window,
                limit,
                most,
            } => write!(
                f,
                "{field} is {window}, and must be at most limits.{limit}, {most}"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why a stream cannot be opened. Never caused by bytes of the peer alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// A GOAWAY was sent or received.
    GoingAway,
    /// The connection has failed: what [`crate::Connection::recv`] or
    /// [`crate::Connection::handle_timeout`] returned says why.
    Failed,
    /// All ids are used; a new connection is needed.
    IdsExhausted,
    /// [`crate::Limits::own_streams`] are open, or as many as the peer's SETTINGS allow.
    TooManyStreams(usize),
    /// So many control frames wait to be written: streams were opened and reset while the transport
    /// took nothing.
    Unwritten(usize),
    /// A priority above 7 or an associated id of more than 31 bits.
    BadOpening,
    /// The header block cannot be written.
    Encode(EncodeError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoingAway => f.write_str("the connection is going away"),
            Self::Failed => f.write_str("the connection has failed"),
            Self::IdsExhausted => f.write_str("all stream ids of the connection are used"),
            Self::TooManyStreams(n) => write!(f, "{n} streams are open already"),
            Self::Unwritten(n) => write!(f, "{n} control frames wait to be written"),
            Self::BadOpening => f.write_str("priority above 7, or associated id above 2^31 - 1"),
            Self::Encode(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why an operation on a stream fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// No such stream: never opened, ended on both sides, or reset, by the peer too;
    /// [`crate::Event::Reset`] has its status.
    Closed(StreamId),
    /// Our direction has ended: the caller has sent FIN, or the peer opened the stream one-way.
    FinSent(StreamId),
    /// DATA before SYN_REPLY: real openers drop it (PROTOCOL.md 1.6).
    NotReplied(StreamId),
    /// A second SYN_REPLY, or one for a stream that this side opened or the peer opened one-way.
    NotReplyable(StreamId),
    /// HEADERS in [`crate::Dialect::Kubernetes`]: the receiver stops at them (PROTOCOL.md 1.6).
    NotInDialect(StreamId),
    /// The connection has failed.
    Failed,
    /// The frame cannot be written.
    Encode(EncodeError),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(id) => write!(f, "stream {id} is closed"),
            Self::FinSent(id) => write!(f, "stream {id}: FIN was sent already"),
            Self::NotReplied(id) => write!(f, "stream {id}: SYN_REPLY must come before DATA"),
            Self::NotReplyable(id) => write!(f, "stream {id} takes no SYN_REPLY"),
            Self::NotInDialect(id) => {
                write!(f, "stream {id}: Kubernetes peers stop at a HEADERS frame")
            }
            Self::Failed => f.write_str("the connection has failed"),
            Self::Encode(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}
