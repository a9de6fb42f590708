//! SPDY inside a WebSocket (KEP-4006, PROTOCOL.md 5.2 to 5.4): a byte stream in binary messages
//! whose boundaries mean nothing.

use crate::Hidden;
use crate::close::{CloseCode, CloseFrame};
use crate::config::Config;
use crate::conn::{Connection, Seen};
use crate::error::{ConfigError, ConnectionError, DecodeErrorKind, SendError};
use crate::event::{Event, Kind};
use crate::frame::Role;
use crate::outgoing::Outgoing;
use bytes::{Buf, Bytes, BytesMut};
use std::fmt;
use std::io::IoSlice;
use std::time::Instant;

/// What came through. `Debug` tells lengths, never bytes. `P` is payload: [`Bytes`], or a slice that is borrowed from the
/// input ([`Tunnel::poll_read_borrowed`]).
#[derive(Clone, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a byte stream has bytes and an end"
)]
pub enum Read<P = Bytes> {
    /// Bytes, never none.
    Bytes(P),
    /// Close 1000: the stream's orderly end. Behind it [`Tunnel::write`] is [`SendError::Closed`].
    End,
}

/// A [`Read`] whose bytes are a slice of the input.
pub type BorrowedRead<'a> = Read<&'a [u8]>;

impl<P> Read<P> {
    /// The same with `with` of the payload.
    pub fn map<Q>(self, with: impl FnOnce(P) -> Q) -> Read<Q> {
        match self {
            Self::Bytes(bytes) => Read::Bytes(with(bytes)),
            Self::End => Read::End,
        }
    }
}

impl<P: AsRef<[u8]>> fmt::Debug for Read<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f
                .debug_tuple("Bytes")
                .field(&Hidden(bytes.as_ref().len()))
                .finish(),
            Self::End => f.write_str("End"),
        }
    }
}

/// One end of a tunnel. Nothing is buffered: what of a message has come is handed on.
#[derive(Debug)]
pub struct Tunnel {
    conn: Connection,
}

impl Tunnel {
    /// Over a connection whose opening handshake is done; [`Config::stream`] is made for it. [`Config::whole`]
    /// means nothing here: a stream has no messages.
    ///
    /// # Errors
    /// A limit is out of its range.
    pub fn new(mut config: Config) -> Result<Self, ConfigError> {
        config.whole = false;
        Ok(Self {
            conn: Connection::new(config)?,
        })
    }

    /// The next bytes from the front of `input`, or `None` if more of it is needed. Pings are
    /// answered on the way.
    ///
    /// # Errors
    /// The peer broke the protocol, sent text, or closed with anything but 1000, or inside a
    /// message: the stream is cut, and this is no end of file.
    pub fn poll_read(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<Option<Read>, ConnectionError> {
        loop {
            match self.conn.poll_event(now, input)? {
                None => return Ok(None),
                Some(Event::Message {
                    kind: Kind::Text, ..
                }) => return Err(self.conn.refuse(DecodeErrorKind::MessageType)),
                Some(Event::Message { payload, .. }) if payload.is_empty() => {}
                Some(Event::Message { payload, .. }) => return Ok(Some(Read::Bytes(payload))),
                Some(Event::Ping(_) | Event::Pong(_)) => {}
                Some(Event::Closed(frame)) => {
                    self.closed(frame)?;
                    return Ok(Some(Read::End));
                }
            }
        }
    }

    /// The same, with the bytes as a slice of `input`, and how many bytes at the front of `input` are done with: see
    /// [`Connection::poll_borrowed`].
    ///
    /// # Errors
    /// Those of [`Tunnel::poll_read`].
    pub fn poll_read_borrowed<'a>(
        &mut self,
        now: Instant,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<BorrowedRead<'a>>), ConnectionError> {
        let mut taken: usize = 0;
        let payload = loop {
            let rest = input.get_mut(taken..).unwrap_or_default();
            let (n, seen) = self.conn.poll_part(now, rest)?;
            let begin = taken;
            taken = taken.saturating_add(n);
            match seen {
                None => return Ok((taken, None)),
                Some((
                    Seen::Message {
                        kind: Kind::Text, ..
                    },
                    _,
                )) => return Err(self.conn.refuse(DecodeErrorKind::MessageType)),
                Some((Seen::Message { .. }, payload)) if !payload.is_empty() => {
                    break begin.saturating_add(payload.start)..taken;
                }
                Some((Seen::Closed(frame), _)) => {
                    self.closed(frame)?;
                    return Ok((taken, Some(Read::End)));
                }
                Some(_) => {}
            }
        };
        let bytes = input.get(payload).unwrap_or_default();
        Ok((taken, Some(Read::Bytes(bytes))))
    }

    /// `Ok` if the peer's Close is the orderly end.
    fn closed(&mut self, frame: CloseFrame) -> Result<(), ConnectionError> {
        match self.conn.cut_by(&frame) {
            Some(error) => Err(error),
            None if frame.code == Some(CloseCode::NORMAL) => Ok(()),
            None => Err(self.conn.closed_abnormally(frame)),
        }
    }

    /// Queues at most `n` bytes of `from` as one message: many small writes become one.
    ///
    /// # Errors
    /// See [`SendError`]; `from` is untouched.
    pub fn write(&mut self, from: &mut impl Buf, n: usize) -> Result<(), SendError> {
        if n == 0 || !from.has_remaining() {
            return Ok(());
        }
        self.conn.send_from(from, n)
    }

    /// The same, but offered to `write` first if nothing waits: see [`Connection::send_through`].
    ///
    /// # Errors
    /// See [`SendError`]; `from` is untouched, and `write` was not called.
    pub fn write_through(
        &mut self,
        from: &mut impl Buf,
        n: usize,
        write: impl FnMut(&[IoSlice<'_>]) -> usize,
    ) -> Result<(), SendError> {
        if n == 0 || !from.has_remaining() {
            return Ok(());
        }
        self.conn.send_through(from, n, write)
    }

    /// Ends the stream in order: Close 1000 behind what waits. There is no half-close: the peer, on reading it,
    /// can write nothing more, and this end reads [`Read::End`] behind what the peer had queued, also if it had
    /// more to say. Finish only when all that is expected has come.
    ///
    /// # Errors
    /// There is no masking key.
    pub fn finish(&mut self) -> Result<(), SendError> {
        self.conn.close(&CloseFrame::new(CloseCode::NORMAL))
    }

    /// Ends it with another code.
    ///
    /// # Errors
    /// There is no masking key.
    pub fn abort(&mut self, frame: &CloseFrame) -> Result<(), SendError> {
        self.conn.close(frame)
    }

    /// The transport ended. `Ok` if the peer had said Close 1000.
    ///
    /// # Errors
    /// It had not: bytes may be missing.
    pub fn end_of_input(&mut self, input: &[u8]) -> Result<(), ConnectionError> {
        self.conn.end_of_input(input)
    }

    /// Which end this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.conn.role()
    }

    /// Bytes to be written.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        self.conn.outgoing()
    }

    /// Whether [`Tunnel::write`] takes something.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.conn.is_writable()
    }

    /// See [`Connection::is_done`].
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.conn.is_done()
    }
}
