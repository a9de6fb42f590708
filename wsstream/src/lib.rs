//! The WebSocket side of the Kubernetes streaming protocols, without IO: RFC 6455 framing, the
//! opening handshake, the channel subprotocols, and SPDY tunnelled in a WebSocket.
//!
//! Nothing here reads a socket, a clock or a thread: bytes go in through `poll_event`, what
//! happened comes out of it, and bytes to be written wait in `outgoing`, which is a [`bytes::Buf`].
//! Time is an argument. There are four layers, each usable alone:
//!
//! | | |
//! |---|---|
//! | [`Decoder`], [`Head`], [`mask`] | frames |
//! | [`Connection`] | messages, pings, the closing handshake, limits |
//! | [`Channels`], [`PortChannels`] | numbered channels: exec and attach; port-forward |
//! | [`Tunnel`] | a byte stream |
//!
//! The opening handshake is a matter of heads that somebody else reads and writes: [`Offer`] for a
//! server, [`Opening`] for a client.
//!
//! # Payload is streamed
//!
//! A frame's payload is handed out as it comes, unmasked where it lies, and nothing is allocated
//! from a declared length. Who needs whole messages collects them, within [`Limits::message`].
//!
//! # Errors
//!
//! [`ConnectionError`]: the peer broke the protocol or a limit, with the offset of the frame and the
//! close code that RFC 6455 names, and that Close waits to be written; or the transport ended where
//! it must not. [`SendError`], [`ConfigError`], [`PortsError`]: the call makes no sense now, and nothing
//! has happened. Everything that came before an error has been returned before it, but for a message
//! that is itself at fault (no UTF-8, no base64): how much of it was, depends on how it came.
//!
//! # Stricter than deployed servers
//!
//! | Input | here | elsewhere |
//! |---|---|---|
//! | a length in more bytes than it needs | 1002 (RFC 6455 §5.2 forbids it) | taken by most |
//! | text that is not UTF-8, at once | 1007 | at the end of the message, or not at all |
//! | an Origin that is not the host asked ([`Rules::Strict`]) | 403 | not checked |
//! | a channel beyond the ports, an error channel written to by a client | passed over, as there | |
//! | base64 that is none | 1007 | dropped and logged by the real kubelet |
//! | text in a binary channel protocol | 1003 | taken by some |
//! | a Close inside a message | [`ConnectionError::Cut`] | by most an end like any other |
//! | a base64 channel above 79 | cannot be named: it would be no UTF-8 | sent all the same |
//! | a second pong waiting beyond the 16th | takes the place of the one before (RFC 6455 §5.5.3) | |

mod base64;
mod channel;
mod close;
mod config;
mod conn;
mod decode;
mod error;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a property that does not hold panics"
)]
pub mod fuzz;
mod handshake;
pub mod mask;
mod outgoing;
mod ports;
mod subprotocol;
mod tail;
mod tunnel;
mod utf8;

/// Bytes that are not to be seen: how many.
pub(crate) struct Hidden(pub(crate) usize);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

pub use channel::{ChannelEvent, Channels, Format, exec};
pub use close::{CloseCode, CloseFrame, MAX_REASON};
pub use config::{Config, Limits};
pub use conn::{Connection, Event, Kind};
pub use decode::{Data, Decoder, Frame};
pub use error::{ConfigError, ConnectionError, DecodeError, DecodeErrorKind, SendError};
pub use frame::{Head, MAX_CONTROL, MAX_HEAD, Opcode, Role};
pub use handshake::{
    AnswerError, Field, Offer, Opening, OpeningError, Refusal, Rules, accept_key, same_origin,
};
pub use mask::{MaskKeys, NoEntropy};
pub use outgoing::Outgoing;
pub use ports::{MAX_PORTS, MAX_PORTS_BASE64, PortChannels, PortEvent, PortsError};
pub use subprotocol::{Subprotocol, TUNNEL_PREFIX, TUNNEL_SUFFIX};
pub use tunnel::{Read, Tunnel};
