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
//! # The loop
//!
//! Write what waits before each read that may block, keep what a read leaves over, and tell the end:
//!
//! ```
//! use bytes::{Buf, BytesMut};
//! use std::io::{Read, Write};
//! use std::time::Instant;
//! use wsstream::{Connection, Event};
//!
//! /// Sends back what comes. `input` begins with what was read behind the head of the handshake.
//! fn echo(
//!     conn: &mut Connection,
//!     io: &mut (impl Read + Write),
//!     mut input: BytesMut,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     loop {
//!         // Not more than `Limits::outgoing` waits: events are taken while there is room.
//!         let event = match conn.is_writable() || conn.is_done() {
//!             true => conn.poll_event(Instant::now(), &mut input),
//!             false => Ok(None),
//!         };
//!         match event {
//!             Ok(Some(Event::Message { kind, mut payload, ends, .. })) => {
//!                 conn.send(kind, &mut payload, ends)?;
//!                 continue;
//!             }
//!             Ok(Some(_)) => continue,
//!             Ok(None) => {}
//!             Err(error) => {
//!                 // The Close that says why.
//!                 let n = conn.outgoing().remaining();
//!                 io.write_all(&conn.outgoing().copy_to_bytes(n))?;
//!                 return Err(error.into());
//!             }
//!         }
//!         let waited = conn.outgoing().has_remaining();
//!         let n = conn.outgoing().remaining();
//!         io.write_all(&conn.outgoing().copy_to_bytes(n))?;
//!         if conn.is_done() {
//!             return Ok(());
//!         }
//!         if waited {
//!             continue;
//!         }
//!         let mut buf = [0; 4096];
//!         match io.read(&mut buf)? {
//!             0 => return Ok(conn.end_of_input(&input)?),
//!             n => input.extend_from_slice(&buf[..n]),
//!         }
//!     }
//! }
//!
//! # let mut client = Connection::new(wsstream::Config::new(wsstream::Role::Client))?;
//! # client.send(wsstream::Kind::Text, &mut "hello".into(), true)?;
//! # client.close(&wsstream::CloseFrame::default())?;
//! # let n = client.outgoing().remaining();
//! # struct Io(std::io::Cursor<Vec<u8>>, Vec<u8>);
//! # impl Read for Io { fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> { self.0.read(buf) } }
//! # impl Write for Io {
//! #     fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> { self.1.write(buf) }
//! #     fn flush(&mut self) -> std::io::Result<()> { Ok(()) }
//! # }
//! # let mut io = Io(std::io::Cursor::new(client.outgoing().copy_to_bytes(n).to_vec()), Vec::new());
//! # let mut conn = Connection::new(wsstream::Config::new(wsstream::Role::Server))?;
//! # echo(&mut conn, &mut io, BytesMut::new())?;
//! # assert_eq!(io.1, b"\x81\x05hello\x88\x00");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The handshake
//!
//! ```
//! use wsstream::{Offer, Opening, Rules};
//!
//! // A client: these fields, behind `GET /path HTTP/1.1` and `Host`.
//! let opening = Opening::new(&["v4.channel.k8s.io"])?;
//! let asked = opening.fields();
//! // A server: the fields of its 101, or `Refusal::status` with `Sec-WebSocket-Version: 13`.
//! let asked: Vec<_> = asked.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
//! let offer = Offer::read("GET", true, &asked, Rules::Strict)?;
//! let answered = offer.accepted(offer.protocols.first().map(String::as_str)).ok_or("offered")?;
//! // The client again.
//! let answered: Vec<_> = answered.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
//! let selected = opening.check(101, true, &answered)?;
//! assert_eq!(selected.as_deref(), Some("v4.channel.k8s.io"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! "PROTOCOL.md", "B15", "T31" name sections, budgets and threats of the notes that this crate was built from;
//! what counts of them is said where they are named (ARCHITECTURE.md, Glossary).
//!
//! # Payload is streamed
//!
//! A frame's payload is handed out as it comes, unmasked where it lies, and nothing is allocated
//! from a declared length. Who needs whole messages collects them, within [`Limits::message`]. Who looks at payload
//! and does not keep it borrows it ([`Connection::poll_borrowed`], [`Tunnel::poll_read_borrowed`]), which at 1 KiB
//! saves a tenth of the time of reading or more.
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
//! | base64 that is none | 1007 | dropped and logged by the real kubelet |
//! | text in a binary channel protocol | 1003 | taken by some |
//! | a Close inside a message | [`ConnectionError::Cut`] | by most an end like any other |
//! | a second CLOSE signal for a channel, a message on one behind it (`v5.channel.k8s.io`) | 1002 | taken |
//! | a base64 channel above 79 | cannot be named: it would be no UTF-8 | sent all the same |
//!
//! As there: a server passes over channels beyond its ports and what comes on error channels; of many pings
//! the latest is answered (RFC 6455 §5.5.3).

mod base64;
mod channel;
mod close;
mod config;
mod conn;
mod decode;
mod error;
mod event;
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
pub use conn::Connection;
pub use decode::{Data, Decoder, Frame};
pub use error::{ConfigError, ConnectionError, DecodeError, DecodeErrorKind, SendError};
pub use event::{BorrowedEvent, Event, Kind};
pub use frame::{Head, MAX_CONTROL, MAX_HEAD, Opcode, Role};
pub use handshake::{
    AnswerError, Field, Offer, Opening, OpeningError, Refusal, Rules, accept_key, same_origin,
};
pub use mask::{MaskKeys, NoEntropy};
pub use outgoing::Outgoing;
pub use ports::{MAX_PORTS, MAX_PORTS_BASE64, PortChannels, PortEvent, PortsError};
pub use subprotocol::{Subprotocol, TUNNEL_PREFIX, TUNNEL_SUFFIX};
pub use tunnel::{BorrowedRead, Read, Tunnel};
