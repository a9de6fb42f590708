//! What a connection tells of its peer.

use crate::Hidden;
use crate::close::CloseFrame;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "RFC 6455 has two types of messages"
)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// What the peer did. `Debug` tells lengths, never bytes. `P` is payload: [`Bytes`], or a slice that is borrowed from the
/// input ([`crate::Connection::poll_borrowed`]).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<P = Bytes> {
    /// Part of a message, or all of it where [`crate::Config::whole`] says so. Text is checked as it comes; a part may
    /// end inside a character.
    Message {
        /// The message's type.
        kind: Kind,
        /// First part of its message.
        begins: bool,
        /// Never empty, unless the part begins or ends the message.
        payload: P,
        /// Last part of its message.
        ends: bool,
    },
    /// A ping; its pong waits to be written.
    Ping(P),
    /// A pong, asked for or not.
    Pong(P),
    /// The peer's Close. **Poll once more:** if it stands inside a message, that one is cut, which
    /// [`crate::Connection::poll_event`] and [`crate::Connection::end_of_input`] say from now on. If it is the first, the
    /// answer waits to be written: the same code. What comes behind it is not looked at.
    Closed(CloseFrame),
}

/// An [`Event`] whose payload is a slice of the input, but where a message had to be put together.
pub type BorrowedEvent<'a> = Event<Cow<'a, [u8]>>;

impl<P: AsRef<[u8]>> fmt::Debug for Event<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message {
                kind,
                begins,
                payload,
                ends,
            } => f
                .debug_struct("Message")
                .field("kind", kind)
                .field("begins", begins)
                .field("payload", &Hidden(payload.as_ref().len()))
                .field("ends", ends)
                .finish(),
            Self::Ping(payload) => f
                .debug_tuple("Ping")
                .field(&Hidden(payload.as_ref().len()))
                .finish(),
            Self::Pong(payload) => f
                .debug_tuple("Pong")
                .field(&Hidden(payload.as_ref().len()))
                .finish(),
            Self::Closed(frame) => f.debug_tuple("Closed").field(frame).finish(),
        }
    }
}
