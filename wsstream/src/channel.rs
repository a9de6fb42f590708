//! The channel subprotocols (PROTOCOL.md 4.2, 8): every message begins with the number of a
//! channel, as a byte (`channel.k8s.io` and its versions) or as a digit in front of base64
//! (`base64.channel.k8s.io`).

use crate::Hidden;
use crate::base64;
use crate::close::CloseFrame;
use crate::config::Config;
use crate::conn::Connection;
use crate::error::{ConfigError, ConnectionError, DecodeErrorKind, SendError};
use crate::event::{Event, Kind};
use crate::outgoing::Outgoing;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

/// The channels of exec and attach (PROTOCOL.md 8).
pub mod exec {
    /// To the container.
    pub const STDIN: u8 = 0;
    /// From the container.
    pub const STDOUT: u8 = 1;
    /// From the container, without a terminal.
    pub const STDERR: u8 = 2;
    /// How it ended: a Status object from `v4.channel.k8s.io` on, plain text before.
    pub const ERROR: u8 = 3;
    /// To the container: the size of the terminal as JSON, from `v3.channel.k8s.io` on.
    pub const RESIZE: u8 = 4;
    /// Not a channel: in `v5.channel.k8s.io` the byte behind it names the channel that is over. Here a second
    /// signal for a channel, and any message on one behind it, is an error.
    pub const CLOSE: u8 = 255;
}

/// The last channel that a character can name: DEL. The ones above would make the text no UTF-8.
const LAST_CHARACTER: u8 = 127 - b'0';

/// How a channel is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "Kubernetes has these two")]
pub enum Format {
    /// A byte in front, in binary messages.
    Binary,
    /// A character in front, `'0'` plus the channel, and base64, in text messages: channels 0
    /// to 79.
    Base64,
}

/// What came. `Debug` tells lengths, never bytes.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// Part of a message.
    Data {
        /// Its channel.
        channel: u8,
        /// First part of its message.
        begins: bool,
        /// Decoded.
        payload: Bytes,
        /// Last part of its message.
        ends: bool,
    },
    /// Nothing more comes on a channel ([`Channels::with_close_signal`]).
    ChannelClosed(u8),
    /// A pong.
    Pong(Bytes),
    /// The peer's Close, between two messages.
    Closed(CloseFrame),
}

impl fmt::Debug for ChannelEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data {
                channel,
                begins,
                payload,
                ends,
            } => f
                .debug_struct("Data")
                .field("channel", channel)
                .field("begins", begins)
                .field("payload", &Hidden(payload.len()))
                .field("ends", ends)
                .finish(),
            Self::ChannelClosed(channel) => f.debug_tuple("ChannelClosed").field(channel).finish(),
            Self::Pong(payload) => f.debug_tuple("Pong").field(&Hidden(payload.len())).finish(),
            Self::Closed(frame) => f.debug_tuple("Closed").field(frame).finish(),
        }
    }
}

/// The message being received.
#[derive(Clone, Copy, Debug)]
enum Message {
    /// Its first byte has not come.
    Nothing,
    On(u8, base64::Decode),
    /// [`exec::CLOSE`]: the channel, once it has come.
    Close(Option<u8>),
}

/// Messages on channels. Payload is handed out as it comes.
///
/// | Subprotocol | |
/// |---|---|
/// | `channel.k8s.io`, `v2.channel.k8s.io` to `v4.channel.k8s.io` | [`Format::Binary`] |
/// | `v5.channel.k8s.io` | [`Format::Binary`], [`Channels::with_close_signal`] |
/// | `base64.channel.k8s.io`, `v4.base64.channel.k8s.io` | [`Format::Base64`] |
///
/// Which channels there are, and which way each goes, is the application's to check.
#[derive(Debug)]
pub struct Channels {
    conn: Connection,
    format: Format,
    close_signal: bool,
    message: Message,
    /// Channels that the peer has said are over,
    over: BTreeSet<u8>,
    /// and those that this side has.
    closed: BTreeSet<u8>,
}

impl Channels {
    /// Over a connection whose opening handshake chose a subprotocol of this format.
    ///
    /// # Errors
    /// A limit is out of its range.
    pub fn new(config: Config, format: Format) -> Result<Self, ConfigError> {
        Ok(Self {
            conn: Connection::new(config)?,
            format,
            close_signal: false,
            message: Message::Nothing,
            over: BTreeSet::new(),
            closed: BTreeSet::new(),
        })
    }

    /// With the signal of `v5.channel.k8s.io` that a channel is over. Binary only.
    #[must_use]
    pub fn with_close_signal(mut self) -> Self {
        self.close_signal = true;
        self
    }

    /// What came next, from the front of `input`; `None` if more of it is needed. A message
    /// without anything in it, not even a channel, is passed over, as real servers do.
    ///
    /// # Errors
    /// The peer broke the protocol, in framing or in what a message must be, or closed inside a
    /// message.
    pub fn poll_event(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<Option<ChannelEvent>, ConnectionError> {
        loop {
            let event = match self.conn.poll_event(now, input)? {
                None => return Ok(None),
                Some(Event::Ping(_)) => continue,
                Some(Event::Pong(payload)) => ChannelEvent::Pong(payload),
                Some(Event::Closed(frame)) => match self.conn.cut_by(&frame) {
                    Some(error) => return Err(error),
                    None => ChannelEvent::Closed(frame),
                },
                Some(Event::Message {
                    kind,
                    payload,
                    ends,
                    ..
                }) => match self.on_part(kind, payload, ends) {
                    Ok(Some(event)) => event,
                    Ok(None) => continue,
                    Err(kind) => return Err(self.conn.refuse(kind)),
                },
            };
            return Ok(Some(event));
        }
    }

    fn on_part(
        &mut self,
        kind: Kind,
        mut payload: Bytes,
        ends: bool,
    ) -> Result<Option<ChannelEvent>, DecodeErrorKind> {
        let wanted = match self.format {
            Format::Binary => Kind::Binary,
            Format::Base64 => Kind::Text,
        };
        if kind != wanted {
            return Err(DecodeErrorKind::MessageType);
        }
        let mut begins = false;
        if matches!(self.message, Message::Nothing) {
            let Some(&first) = payload.first() else {
                return Ok(None);
            };
            payload = payload.slice(1..);
            self.message = self.begin(first)?;
            begins = true;
        }
        let event = match &mut self.message {
            Message::Nothing => None,
            Message::Close(channel) => {
                for byte in &payload {
                    if channel.replace(*byte).is_some() {
                        return Err(DecodeErrorKind::CloseSignal);
                    }
                }
                match (ends, *channel) {
                    (true, None) => return Err(DecodeErrorKind::CloseSignal),
                    (true, Some(channel)) => {
                        if channel == exec::CLOSE || !self.over.insert(channel) {
                            return Err(DecodeErrorKind::CloseSignal);
                        }
                        Some(ChannelEvent::ChannelClosed(channel))
                    }
                    (false, _) => None,
                }
            }
            Message::On(channel, decode) => {
                if self.format == Format::Base64 {
                    payload = decode.push(&payload).ok_or(DecodeErrorKind::Base64)?;
                    if ends && !decode.is_complete() {
                        return Err(DecodeErrorKind::Base64);
                    }
                }
                (begins || ends || !payload.is_empty()).then_some(ChannelEvent::Data {
                    channel: *channel,
                    begins,
                    payload,
                    ends,
                })
            }
        };
        if ends {
            self.message = Message::Nothing;
        }
        Ok(event)
    }

    fn begin(&self, first: u8) -> Result<Message, DecodeErrorKind> {
        if self.close_signal && self.format == Format::Binary && first == exec::CLOSE {
            return Ok(Message::Close(None));
        }
        let channel = match self.format {
            Format::Binary => first,
            Format::Base64 => first.checked_sub(b'0').ok_or(DecodeErrorKind::Channel)?,
        };
        if self.over.contains(&channel) {
            return Err(DecodeErrorKind::ChannelOver(channel));
        }
        Ok(Message::On(channel, base64::Decode::default()))
    }

    /// Queues one message, whole and in one frame: some servers take each frame for a message
    /// (PROTOCOL.md 4.2). `payload` is left empty.
    ///
    /// # Errors
    /// See [`SendError`]; `payload` is untouched.
    pub fn send(&mut self, channel: u8, payload: &mut Bytes) -> Result<(), SendError> {
        self.may_name(channel)?;
        match self.format {
            Format::Binary => self.conn.send_prefixed(channel, payload),
            Format::Base64 => {
                let digit = char::from(channel.saturating_add(b'0'));
                let mut text = base64::encode(digit, payload).into();
                self.conn.send(Kind::Text, &mut text, true)?;
                payload.clear();
                Ok(())
            }
        }
    }

    fn may_name(&self, channel: u8) -> Result<(), SendError> {
        let fine = match self.format {
            Format::Binary if self.close_signal && channel == exec::CLOSE => false,
            Format::Binary => !self.closed.contains(&channel),
            Format::Base64 => channel <= LAST_CHARACTER,
        };
        if fine {
            Ok(())
        } else {
            Err(SendError::Channel(channel))
        }
    }

    /// Says that nothing more comes on a channel, once.
    ///
    /// # Errors
    /// The subprotocol has no such signal ([`SendError::NoCloseSignal`]), the channel has no end or has had it
    /// ([`SendError::Channel`]), or see [`SendError`].
    pub fn close_channel(&mut self, channel: u8) -> Result<(), SendError> {
        if !self.close_signal || self.format != Format::Binary {
            return Err(SendError::NoCloseSignal);
        }
        self.may_name(channel)?;
        let mut payload = Bytes::copy_from_slice(&[channel]);
        self.conn.send_prefixed(exec::CLOSE, &mut payload)?;
        self.closed.insert(channel);
        Ok(())
    }

    /// See [`Connection::limit_outgoing`].
    pub(crate) fn limit_outgoing(&mut self, bytes: u64) -> u64 {
        self.conn.limit_outgoing(bytes)
    }

    /// The subprotocol above has not had all that a Close must come behind.
    pub(crate) fn closed_abnormally(&mut self, frame: CloseFrame) -> ConnectionError {
        self.conn.closed_abnormally(frame)
    }

    /// The subprotocol above finds the last message wrong.
    pub(crate) fn refuse(&mut self, kind: DecodeErrorKind) -> ConnectionError {
        self.conn.refuse(kind)
    }

    /// See [`Connection::ping`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn ping(&mut self, payload: Bytes) -> Result<(), SendError> {
        self.conn.ping(payload)
    }

    /// See [`Connection::close`].
    ///
    /// # Errors
    /// There is no masking key.
    pub fn close(&mut self, frame: &CloseFrame) -> Result<(), SendError> {
        self.conn.close(frame)
    }

    /// See [`Connection::end_of_input`].
    ///
    /// # Errors
    /// The peer had not said Close.
    pub fn end_of_input(&mut self, input: &[u8]) -> Result<(), ConnectionError> {
        self.conn.end_of_input(input)
    }

    /// Bytes to be written.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        self.conn.outgoing()
    }

    /// See [`Connection::is_writable`].
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.conn.is_writable()
    }

    /// See [`Connection::is_done`].
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.conn.is_done()
    }

    /// Which end this is.
    #[must_use]
    pub const fn role(&self) -> crate::Role {
        self.conn.role()
    }
}
