//! Errors in three families: the peer broke the protocol ([`ConnectionError`], with
//! [`DecodeError`] inside where a byte is to blame), the caller asked for what makes no sense now
//! ([`SendError`], [`ConfigError`]), and the transport, which is the caller's.

use crate::close::{CloseCode, CloseFrame};
use crate::mask::NoEntropy;
use std::fmt;

/// Bytes that are no WebSocket frame, or no sequence of them.
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
    /// RSV bits without an extension (RFC 6455 §5.2): their value.
    ReservedBits(u8),
    /// An opcode that has no meaning.
    ReservedOpcode(u8),
    /// A control frame without FIN (§5.5).
    FragmentedControl,
    /// A control frame of more than 125 bytes (§5.5).
    LongControl,
    /// A client's frame without a mask (§5.1).
    Unmasked,
    /// A server's frame with a mask (§5.1).
    Masked,
    /// A length of 2^63 or more (§5.2).
    LengthTopBit,
    /// A length in more bytes than it needs (§5.2).
    LengthNotMinimal(u64),
    /// A continuation without a message that was begun (§5.4).
    LoneContinuation,
    /// A new message inside another (§5.4).
    Interleaved,
    /// A message over its limit: bytes allowed.
    MessageTooBig(u64),
    /// More frames in a message than allowed.
    TooManyFragments(u32),
    /// Text that is not UTF-8 (§8.1).
    Utf8,
    /// A Close payload of one byte (§5.5.1).
    CloseLength,
    /// A code that no Close frame may have (§7.4).
    CloseCode(u16),
    /// A reason that is not UTF-8 (§5.5.1).
    CloseReason,
    /// More control frames than allowed: how many within 10 s.
    ControlFlood(u32),
    /// A message type that the subprotocol does not have: text in a tunnel, binary in a base64
    /// channel.
    MessageType,
    /// No digit in front of base64.
    Channel,
    /// A channel beyond the ports of the request.
    UnknownChannel(u8),
    /// A message on a channel that the peer has said is over.
    ChannelOver(u8),
    /// A signal that a channel is over ([`crate::exec::CLOSE`]) which does not name one, or one that is
    /// over already.
    CloseSignal,
    /// A channel message that is not base64.
    Base64,
    /// The first message of a channel is not its port: how many bytes it had; 3 stands for all above 2.
    PortPrefix(u64),
    /// The first message of a channel names another port: the one expected and the one named.
    PortMismatch(u16, u16),
}

impl DecodeErrorKind {
    /// The code to close with (§7.4.1).
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::MessageTooBig(_) | Self::TooManyFragments(_) => CloseCode::TOO_BIG,
            Self::Utf8 | Self::CloseReason | Self::Base64 => CloseCode::INVALID_PAYLOAD,
            Self::ControlFlood(_) => CloseCode::POLICY,
            Self::MessageType => CloseCode::UNSUPPORTED,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits(bits) => write!(f, "reserved bits {bits:03b} are set"),
            Self::ReservedOpcode(opcode) => write!(f, "reserved opcode {opcode:#x}"),
            Self::FragmentedControl => f.write_str("fragmented control frame"),
            Self::LongControl => f.write_str("control frame of more than 125 bytes"),
            Self::Unmasked => f.write_str("client frame without a mask"),
            Self::Masked => f.write_str("server frame with a mask"),
            Self::LengthTopBit => f.write_str("frame length of 2^63 or more"),
            Self::LengthNotMinimal(n) => write!(f, "frame length {n} in more bytes than it needs"),
            Self::LoneContinuation => f.write_str("continuation frame without a message"),
            Self::Interleaved => f.write_str("new message inside a fragmented one"),
            Self::MessageTooBig(limit) => write!(f, "message of more than {limit} bytes"),
            Self::TooManyFragments(limit) => write!(f, "message of more than {limit} frames"),
            Self::Utf8 => f.write_str("text that is not UTF-8"),
            Self::CloseLength => f.write_str("Close frame of one byte"),
            Self::CloseCode(code) => write!(f, "close code {code}, which no frame may have"),
            Self::CloseReason => f.write_str("close reason that is not UTF-8"),
            Self::ControlFlood(limit) => {
                write!(f, "more than {limit} control frames within 10 s")
            }
            Self::MessageType => f.write_str("message type that the subprotocol does not have"),
            Self::Channel => f.write_str("message without a channel"),
            Self::UnknownChannel(n) => write!(f, "message on channel {n}, which no port has"),
            Self::ChannelOver(n) => write!(f, "message on channel {n}, which is over"),
            Self::CloseSignal => {
                f.write_str("CLOSE signal that names no channel, several, or one already closed")
            }
            Self::Base64 => f.write_str("channel message that is not base64"),
            Self::PortPrefix(n) => {
                let more = if *n > 2 { " or more" } else { "" };
                write!(
                    f,
                    "first message of a channel has {n}{more} bytes instead of a port"
                )
            }
            Self::PortMismatch(want, got) => {
                write!(
                    f,
                    "first message of a channel names port {got} instead of {want}"
                )
            }
        }
    }
}

/// The connection is over, other than by a closing handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer broke the protocol or a limit. A Close with [`DecodeErrorKind::close_code`] waits
    /// to be written.
    Protocol(DecodeError),
    /// The transport ended without a Close, between frames.
    Eof,
    /// The transport ended inside a frame or a message, or the peer closed inside a message.
    Cut,
    /// No masking key for an answer.
    Entropy(NoEntropy),
    /// A tunnel: the peer closed with anything but 1000. Port-forward: with any code, before it named the ports.
    Closed(CloseFrame),
}

impl ConnectionError {
    /// The code of the Close that this error made; `None` also where the peer's own was only answered.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Protocol(error) => Some(error.kind.close_code()),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => write!(f, "the peer broke the WebSocket protocol: {error}"),
            Self::Eof => f.write_str("the connection ended without a WebSocket Close"),
            Self::Cut => f.write_str("the connection was cut inside a WebSocket message"),
            Self::Entropy(error) => write!(f, "{error}"),
            Self::Closed(frame) => write!(
                f,
                "the peer closed the WebSocket before its end, with {frame}"
            ),
        }
    }
}

impl std::error::Error for ConnectionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Protocol(error) => Some(error),
            Self::Entropy(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DecodeError> for ConnectionError {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error)
    }
}

/// A call that makes no sense now; nothing has happened. Never the peer's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// Close was sent or an error ended the connection.
    Closed,
    /// A message is being sent in pieces; this one is not its continuation.
    OtherMessage,
    /// Too much waits to be written; try again when [`crate::Connection::outgoing`] has shrunk.
    Full,
    /// A ping or pong of more than 125 bytes.
    LongControl,
    /// A text message, whole, that is not UTF-8.
    Utf8,
    /// A channel that this protocol cannot name, or that was closed.
    Channel(u8),
    /// The subprotocol has no signal that a channel is over.
    NoCloseSignal,
    /// The request has no port at this index. Or an error text that this end has not to send, or has sent.
    Port(usize),
    /// No masking key.
    Entropy(NoEntropy),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the WebSocket is closed"),
            Self::OtherMessage => f.write_str("another message is being sent"),
            Self::Full => f.write_str("too much waits to be written"),
            Self::LongControl => f.write_str("a ping has at most 125 bytes"),
            Self::Utf8 => f.write_str("the text is not UTF-8"),
            Self::Channel(n) => write!(f, "channel {n} cannot be named here, or was closed"),
            Self::NoCloseSignal => {
                f.write_str("the subprotocol has no signal for the end of a channel")
            }
            Self::Port(n) => write!(
                f,
                "nothing can be sent so to the port at index {n} of the request"
            ),
            Self::Entropy(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SendError {}

impl From<NoEntropy> for SendError {
    fn from(error: NoEntropy) -> Self {
        Self::Entropy(error)
    }
}

/// A limit that is 0 or over its ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The field of [`crate::Limits`].
    pub name: &'static str,
    /// What it was set to.
    pub value: u64,
    /// What it may be at most.
    pub ceiling: u64,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            value,
            ceiling,
        } = self;
        write!(f, "limit {name} is {value}; it must be 1 to {ceiling}")
    }
}

impl std::error::Error for ConfigError {}
