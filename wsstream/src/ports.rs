//! `v4.channel.k8s.io` for port-forward (PROTOCOL.md 4.2): port *i* of the request has channel 2i
//! for data and 2i + 1 for error text, and the server begins each with the port's number.

use crate::Hidden;
use crate::channel::{ChannelEvent, Channels, Format};
use crate::close::CloseFrame;
use crate::config::Config;
use crate::error::{ConfigError, ConnectionError, DecodeErrorKind, SendError};
use crate::frame::Role;
use crate::outgoing::Outgoing;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::time::Instant;

/// Ports that a byte can number the channels of (B20).
pub const MAX_PORTS: usize = 127;
/// Ports that a character can: above, the text would be no UTF-8.
pub const MAX_PORTS_BASE64: usize = 40;

/// What came on the channels of a port, named by its place in the request. `Debug` tells lengths, never bytes.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortEvent {
    /// Both channels have named their port: the server has the request. To a client only.
    Ready(usize),
    /// Bytes.
    Data(usize, Bytes),
    /// Error text, or a part of it. To a client only.
    Error(usize, Bytes),
    /// The peer's Close, with any code: only 1000 is an orderly end. The only one that there is, for all ports
    /// at once.
    Closed(CloseFrame),
}

impl fmt::Debug for PortEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = |name, port, payload: &Bytes| {
            let mut tuple = f.debug_tuple(name);
            tuple.field(port).field(&Hidden(payload.len())).finish()
        };
        match self {
            Self::Ready(port) => f.debug_tuple("Ready").field(port).finish(),
            Self::Data(port, payload) => part("Data", port, payload),
            Self::Error(port, payload) => part("Error", port, payload),
            Self::Closed(frame) => f.debug_tuple("Closed").field(frame).finish(),
        }
    }
}

/// Ports that cannot be forwarded on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortsError {
    /// None, or more than the format has channels for: how many may be.
    Count(usize),
    /// Port 0.
    Zero,
    /// A limit of the configuration.
    Config(ConfigError),
}

impl fmt::Display for PortsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(limit) => write!(f, "one WebSocket forwards 1 to {limit} ports"),
            Self::Zero => f.write_str("port 0 cannot be forwarded"),
            Self::Config(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PortsError {}

/// A channel of a port: how much of its first message has come.
#[derive(Clone, Copy, Debug, Default)]
struct Prefix {
    /// The port, of which it makes no secret.
    bytes: [u8; 2],
    /// At most 3.
    len: u64,
    done: bool,
}

#[derive(Debug)]
struct Port {
    number: u16,
    data: Prefix,
    error: Prefix,
    /// A server has told why it failed.
    told: bool,
}

/// One end of a connection that forwards a fixed list of ports, each once.
#[derive(Debug)]
pub struct PortChannels {
    channels: Channels,
    ports: Vec<Port>,
}

impl PortChannels {
    /// Over a connection whose opening handshake named `ports`. A server's first messages, two for
    /// each port, wait to be written.
    ///
    /// # Errors
    /// See [`PortsError`].
    pub fn new(config: Config, format: Format, ports: &[u16]) -> Result<Self, PortsError> {
        let limit = match format {
            Format::Binary => MAX_PORTS,
            Format::Base64 => MAX_PORTS_BASE64,
        };
        if ports.is_empty() || ports.len() > limit {
            return Err(PortsError::Count(limit));
        }
        if ports.contains(&0) {
            return Err(PortsError::Zero);
        }
        let role = config.role;
        let channels = Channels::new(config, format).map_err(PortsError::Config)?;
        let port = |number: &u16| Port {
            number: *number,
            data: Prefix::default(),
            error: Prefix::default(),
            told: false,
        };
        let mut this = Self {
            channels,
            ports: ports.iter().map(port).collect(),
        };
        if role == Role::Server {
            // However little may wait otherwise, these come first.
            let limit = this.channels.limit_outgoing(u64::MAX);
            for (i, port) in ports.iter().enumerate() {
                for channel in [data_channel(i), error_channel(i)].into_iter().flatten() {
                    let mut prefix = Bytes::copy_from_slice(&port.to_le_bytes());
                    let queued = this.channels.send(channel, &mut prefix);
                    debug_assert!(queued.is_ok(), "{queued:?}");
                }
            }
            this.channels.limit_outgoing(limit);
        }
        Ok(this)
    }

    /// What came next, from the front of `input`; `None` if more of it is needed.
    ///
    /// # Errors
    /// The peer broke the protocol, or closed inside a message. A client wants both channels of a port
    /// to begin with its number, in a message of its own and before any Close, and no channel beyond; a
    /// server passes over channels that it does not have and what comes on error channels, as real ones do.
    pub fn poll_event(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<Option<PortEvent>, ConnectionError> {
        loop {
            let event = match self.channels.poll_event(now, input)? {
                None => return Ok(None),
                Some(ChannelEvent::Closed(frame)) => {
                    let named = |port: &Port| port.data.done && port.error.done;
                    if self.channels.role() == Role::Client && !self.ports.iter().all(named) {
                        return Err(self.channels.closed_abnormally(frame));
                    }
                    PortEvent::Closed(frame)
                }
                Some(ChannelEvent::Data {
                    channel,
                    payload,
                    ends,
                    ..
                }) => match self.on_part(channel, payload, ends) {
                    Ok(Some(event)) => event,
                    Ok(None) => continue,
                    Err(kind) => return Err(self.channels.refuse(kind)),
                },
                Some(_) => continue,
            };
            return Ok(Some(event));
        }
    }

    fn on_part(
        &mut self,
        channel: u8,
        payload: Bytes,
        ends: bool,
    ) -> Result<Option<PortEvent>, DecodeErrorKind> {
        let (index, is_error) = (usize::from(channel / 2), channel % 2 == 1);
        let server = self.channels.role() == Role::Server;
        let Some(port) = self.ports.get_mut(index) else {
            return if server {
                Ok(None)
            } else {
                Err(DecodeErrorKind::UnknownChannel(channel))
            };
        };
        if server {
            let nothing = is_error || payload.is_empty();
            return Ok((!nothing).then_some(PortEvent::Data(index, payload)));
        }
        let prefix = if is_error {
            &mut port.error
        } else {
            &mut port.data
        };
        if !prefix.done {
            prefix.read(&payload, ends, port.number)?;
            let ready = port.data.done && port.error.done;
            return Ok(ready.then_some(PortEvent::Ready(index)));
        }
        if payload.is_empty() {
            return Ok(None);
        }
        Ok(Some(if is_error {
            PortEvent::Error(index, payload)
        } else {
            PortEvent::Data(index, payload)
        }))
    }

    /// Queues bytes for the port at index `port` of the request, also before it is ready, in one message and
    /// one frame; `payload` is left empty. Real servers end a connection with a frame of more than 32 MiB.
    ///
    /// # Errors
    /// See [`SendError`]; `payload` is untouched.
    pub fn send(&mut self, port: usize, payload: &mut Bytes) -> Result<(), SendError> {
        let channel = self.channel(port, data_channel)?;
        self.channels.send(channel, payload)
    }

    /// Queues the text that says why a port's forward failed. A server's to do, once.
    ///
    /// # Errors
    /// [`SendError::Port`] from a client or again, or see [`SendError`].
    pub fn send_error(&mut self, port: usize, text: &str) -> Result<(), SendError> {
        let channel = self.channel(port, error_channel)?;
        let told = self.ports.get(port).is_none_or(|port| port.told);
        if told || self.channels.role() == Role::Client {
            return Err(SendError::Port(port));
        }
        let mut payload = Bytes::copy_from_slice(text.as_bytes());
        self.channels.send(channel, &mut payload)?;
        if let Some(port) = self.ports.get_mut(port) {
            port.told = true;
        }
        Ok(())
    }

    fn channel(&self, port: usize, of: fn(usize) -> Option<u8>) -> Result<u8, SendError> {
        let known = self.ports.get(port).and_then(|_| of(port));
        known.ok_or(SendError::Port(port))
    }

    /// See [`crate::Connection::ping`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn ping(&mut self, payload: Bytes) -> Result<(), SendError> {
        self.channels.ping(payload)
    }

    /// See [`crate::Connection::close`].
    ///
    /// # Errors
    /// There is no masking key.
    pub fn close(&mut self, frame: &CloseFrame) -> Result<(), SendError> {
        self.channels.close(frame)
    }

    /// See [`crate::Connection::end_of_input`].
    ///
    /// # Errors
    /// The peer had not said Close.
    pub fn end_of_input(&mut self, input: &[u8]) -> Result<(), ConnectionError> {
        self.channels.end_of_input(input)
    }

    /// Bytes to be written.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        self.channels.outgoing()
    }

    /// See [`crate::Connection::is_writable`].
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.channels.is_writable()
    }

    /// See [`crate::Connection::is_done`].
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.channels.is_done()
    }
}

impl Prefix {
    fn read(&mut self, payload: &[u8], ends: bool, number: u16) -> Result<(), DecodeErrorKind> {
        for byte in payload {
            let at = usize::try_from(self.len).unwrap_or(usize::MAX);
            if let Some(place) = self.bytes.get_mut(at) {
                *place = *byte;
            }
            self.len = self.len.saturating_add(1).min(3);
        }
        if self.len > 2 || (ends && self.len < 2) {
            return Err(DecodeErrorKind::PortPrefix(self.len));
        }
        if ends {
            let got = u16::from_le_bytes(self.bytes);
            if got != number {
                return Err(DecodeErrorKind::PortMismatch(number, got));
            }
            self.done = true;
        }
        Ok(())
    }
}

fn data_channel(port: usize) -> Option<u8> {
    u8::try_from(port).ok()?.checked_mul(2)
}

fn error_channel(port: usize) -> Option<u8> {
    data_channel(port)?.checked_add(1)
}
