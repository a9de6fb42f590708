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
//! # A guide
//!
//! **Feed and drain.** After every read, [`Connection::recv`], then [`Connection::poll_event`] until
//! there is none, and both again until `recv` takes nothing more: one call deals with a bounded amount. What is
//! left in the input may be half a frame, or wait for room: call `recv` again after [`Connection::consumed`]
//! and after writing, too. After every call of yours, write [`Connection::outgoing`] (it is a [`bytes::Buf`]
//! and good at vectored writes). Ask [`Connection::poll_timeout`] when to call
//! [`Connection::handle_timeout`]. `examples/pipe.rs` has the whole loop, around a port-forward's two
//! streams.
//!
//! **Streams.** [`Connection::open`] one and [`Connection::send`] at once; the other end answers
//! [`Event::Opened`] with [`Connection::reply`] or [`Connection::reset`], and may send only behind its
//! reply. Either end says with FIN that it sends no more; the other direction stays open. A stream
//! that has ended on both sides is forgotten, its id never used again.
//!
//! **Pushing back.** Tell with [`Connection::consumed`] when payload is gone. With flow control, credit
//! returns to the peer; without it, [`Connection::recv`] takes nothing more when too much is held
//! ([`Connection::is_full`]), which is all that the protocol leaves: then, and while
//! [`Connection::is_blocked`], do not read the transport, since the input is yours and no budget bounds it.
//! In the other direction [`Connection::send`] takes one frame's payload at most: call it until all is taken
//! or it takes nothing; then too much waits, and [`Event::Writable`] tells when to go on. What waits is framed in turns by bytes, streams of a higher priority first, and control
//! frames go before DATA.
//!
//! **The end.** Let streams finish, then [`Connection::go_away`], and close when
//! [`Connection::is_done`]: a Kubernetes peer stops reading at GOAWAY and drops what is open
//! (PROTOCOL.md 1.6). A peer of the draft's may be told first and finish meanwhile. An end of the transport with streams open, or elsewhere than
//! [between frames](Connection::is_between_frames), cut them: it must not look like FIN.
//!
//! **Errors** come in three families. [`ConnectionError`]: the peer broke the protocol or a budget;
//! the connection is over, and GOAWAY waits to be written; events found before it are still to be polled. [`OpenError`], [`StreamError`],
//! [`ConfigError`]: the call makes no sense now; nothing has happened ([`EncodeError::Deflate`] alone
//! ends the connection). Transport failures are yours:
//! the crate has no IO. [`ConnectionError::initiator`] tells whose doing it was. There is no panic in
//! any of them.
//!
//! # Dialects
//!
//! [`Dialect::Kubernetes`] ([`Config::kubernetes`]): what moby/spdystream does, which is behind every
//! kubelet and runtime. It sends no WINDOW_UPDATE or SETTINGS and ignores both, so nothing waits for
//! credit and neither is sent; what it chokes on (HEADERS, DATA before SYN_REPLY) is never sent; what it
//! tolerates is tolerated, except where two readers could see different frames: a length that does
//! not fit its frame type, or a reserved bit of an id or of a WINDOW_UPDATE's delta, ends the connection.
//!
//! [`Dialect::Spdy31`] ([`Config::strict`]): the public draft, with windows of 64 KiB on every stream
//! and on the connection, SETTINGS, and an error for what the draft forbids. So one stream that is not read
//! stops all: with [`Config::session_window`] well above [`Config::stream_window`] it does not.
//!
//! [`FlowControl::Detect`] stands between: windows count from when the peer shows that it has
//! them, or both ends agree by other means, and never before; with [`FlowControl::Agreed`] only then.
//!
//! # Header compression
//!
//! The default encoder writes *stored* blocks ([`HeaderEncoding`]): no compressor state, no length that
//! tells of content (CRIME), and real peers take them; a port-forward block of 62 bytes costs 73 instead
//! of about 10. Every block is inflated, in order, also those of streams that are refused: one context
//! serves the whole direction. Inflating stops within 4 KiB of the limit.
//!
//! # Budgets
//!
//! Every amount a peer can make this crate hold, or work it can ask for, has a named limit in
//! [`Limits`], with a ceiling; nothing is allocated from a declared length. [`Connection::stats`] shows
//! what of them is in use.
//!
//! # Where it differs from the deployed server
//!
//! The reactions of a server session of moby/spdystream 0.5.1 to 66 inputs are part of this crate's
//! tests. Those that differ here:
//!
#![doc = include_str!("reactions.md")]

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
mod id_map;
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
