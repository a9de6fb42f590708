//! SPDY/3.1 for the Kubernetes streaming protocols: frames, header compression and the connection
//! state machine, without IO.
//!
//! Nothing here reads a socket, a clock or a thread: bytes go in through [`Connection::recv`],
//! what happened comes out of [`Connection::poll_event`], and bytes to be written wait in
//! [`Connection::outgoing`], which is a [`bytes::Buf`]. Time is an argument. So the same code runs
//! over TCP, TLS or a WebSocket tunnel, under a simulator, and under a fuzzer.
//!
//! ```
//! use bytes::{Buf, Bytes, BytesMut};
//! use spdy::{Config, Connection, Event, HeaderBlock, Role};
//! use std::time::Instant;
//!
//! let now = Instant::now();
//! let mut client = Connection::new(Config::kubernetes(Role::Client), now)?;
//! let mut server = Connection::new(Config::kubernetes(Role::Server), now)?;
//!
//! let mut headers = HeaderBlock::new();
//! headers.push("streamtype", "data");
//! let id = client.open(&headers, false)?;
//! client.send(id, &mut Bytes::from_static(b"hello"), true)?;
//!
//! // What a socket would do: move bytes from one side to the other.
//! let mut wire = BytesMut::new();
//! while client.outgoing().has_remaining() {
//!     let n = client.outgoing().chunk().len();
//!     wire.extend_from_slice(client.outgoing().chunk());
//!     client.outgoing().advance(n);
//! }
//! server.recv(now, &mut wire)?;
//!
//! assert!(matches!(server.poll_event(), Some(Event::Opened { headers, .. })
//!     if headers.get("streamtype") == Some(b"data".as_slice())));
//! assert!(matches!(server.poll_event(), Some(Event::Data { payload, fin: true, .. })
//!     if payload == "hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Dialect
//!
//! The deployed peers (moby/spdystream, behind every kubelet and runtime) send no WINDOW_UPDATE or
//! SETTINGS and ignore both, so [`Config::kubernetes`] never waits for window credit and never
//! sends either. What such a peer tolerates is tolerated here, except where two readers could see
//! different frames: a length that does not fit its frame type, or a reserved bit, ends the
//! connection.
//!
//! # Budgets
//!
//! Every amount a peer can make this crate hold has a named limit in [`Limits`]; nothing is
//! allocated from a declared length.

mod codec;
mod config;
mod conn;
mod error;
mod event;
mod flow;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_wrap,
    reason = "a property that does not hold panics"
)]
pub mod fuzz;
mod header;
mod limits;
mod outgoing;
mod queue;
mod status;
mod stream_id;

pub use codec::{Decoder, Encoder, Opening};
pub use config::{Config, Dialect, FlowControl, HeaderEncoding, Role};
pub use conn::Connection;
pub use error::{
    ConfigError, ConnectionError, ConnectionErrorKind, DecodeError, DecodeErrorKind, EncodeError,
    Initiator, OpenError, StreamError,
};
pub use event::{Event, Stats};
pub use frame::{
    Data, Frame, GoAway, Headers, Kind, Ping, RstStream, Setting, Settings, SynReply, SynStream,
    Unknown, WindowUpdate,
};
pub use header::{DICTIONARY, Deflater, HeaderBlock, Inflater};
pub use limits::{Budget, Limits};
pub use outgoing::Outgoing;
pub use status::{GoAwayStatus, RstStatus};
pub use stream_id::StreamId;
