//! The connection: messages out of frames, answers to pings, the closing handshake.

use crate::close::{CloseCode, CloseFrame};
use crate::config::{Config, Limits};
use crate::decode::{Decoder, Whole};
use crate::error::{ConfigError, ConnectionError, DecodeErrorKind, SendError};
use crate::event::{Event, Kind};
use crate::frame::{Head, MAX_CONTROL, Opcode, Role};
use crate::mask::{self, MaskKeys, NoEntropy};
use crate::outgoing::Outgoing;
use crate::utf8::Utf8;
use bytes::{Buf, Bytes, BytesMut};
use std::time::Instant;

mod borrowed;
mod receive;
mod through;
mod whole;

use receive::Incoming;
pub(crate) use receive::Seen;
use through::fill;
use whole::{Join, Joined};

/// One end of a WebSocket connection behind its opening handshake.
///
/// Bytes of the peer go into [`Connection::poll_event`], bytes for it come out of
/// [`Connection::outgoing`].
///
/// ```
/// use bytes::{Buf, Bytes, BytesMut};
/// use std::time::Instant;
/// use wsstream::{Config, Connection, Event, Kind, Role};
///
/// let now = Instant::now();
/// let mut client = Connection::new(Config::new(Role::Client))?;
/// let mut server = Connection::new(Config::new(Role::Server))?;
///
/// client.send(Kind::Binary, &mut Bytes::from_static(b"hello"), true)?;
/// let n = client.outgoing().remaining();
/// let mut wire = BytesMut::from(&*client.outgoing().copy_to_bytes(n));
/// let event = server.poll_event(now, &mut wire)?;
/// assert!(matches!(event, Some(Event::Message { payload, ends: true, .. }) if payload == "hello"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    role: Role,
    keys: MaskKeys,
    limits: Limits,
    decoder: Decoder,
    outgoing: Outgoing,
    message: Option<Incoming>,
    /// Where messages are put together, if they are told whole.
    joined: Option<Joined>,
    /// The message being sent in pieces.
    sending: Option<(Kind, Utf8)>,
    close_sent: bool,
    close_received: bool,
    failed: Option<ConnectionError>,
    /// Where the frame begins that was looked at last.
    last: u64,
    /// When the peer's control frames so far have had their time.
    control: Option<Instant>,
}

/// Payloads below this are copied also where they need not be: a piece more costs more.
const COPY_BELOW: usize = 2 << 10;

impl Connection {
    /// A connection whose opening handshake is done.
    ///
    /// # Errors
    /// A limit is out of its range.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.limits.check()?;
        if config.whole && config.limits.message.is_none() {
            return Err(Limits::UNLIMITED);
        }
        Ok(Self {
            role: config.role,
            keys: config.keys,
            limits: config.limits,
            decoder: Decoder::new(config.role).in_whole_frames(config.whole),
            joined: config.whole.then(Joined::default),
            outgoing: Outgoing::default(),
            message: None,
            sending: None,
            close_sent: false,
            close_received: false,
            failed: None,
            last: 0,
            control: None,
        })
    }

    /// What the peer did next, from the front of `input`. `None`: more bytes are needed. `now` is not to go
    /// back.
    ///
    /// # Errors
    /// The peer broke the protocol or a limit: the connection is over, a Close with the code
    /// that says so waits to be written, and this returns the same error ever after. Everything
    /// that came before has been returned before.
    #[inline]
    pub fn poll_event(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<Option<Event>, ConnectionError> {
        if let Some(whole) = self.whole(input) {
            // Not `split_to`: that would count a handle up and down.
            input.advance(whole.head);
            let mut payload = input.split_to(whole.payload);
            if let Some(key) = whole.mask {
                mask::apply(key, 0, &mut payload);
            }
            return Ok(Some(Event::Message {
                kind: Kind::Binary,
                begins: true,
                payload: payload.freeze(),
                ends: true,
            }));
        }
        self.poll_any(now, input)
    }

    fn poll_any(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<Option<Event>, ConnectionError> {
        if self.is_deaf()? {
            input.clear();
            return Ok(None);
        }
        loop {
            let Some((step, seen)) = self.step(now, input)? else {
                return Ok(None);
            };
            // Not `split_to`: that would count a handle up and down.
            input.advance(step.taken.saturating_sub(step.payload));
            let payload = input.split_to(step.payload);
            let Some(seen) = seen else {
                continue;
            };
            // A copy, so that who keeps it does not keep a whole read buffer.
            let copy = |payload: BytesMut| Bytes::copy_from_slice(&payload);
            return Ok(Some(match seen {
                Seen::Message { kind, begins, ends } => match self.join(&payload, ends) {
                    Join::Waits => continue,
                    Join::Part => Event::Message {
                        kind,
                        begins,
                        payload: payload.freeze(),
                        ends,
                    },
                    Join::Whole(joined) => Event::Message {
                        kind,
                        begins: true,
                        payload: joined.map_or_else(|| payload.freeze(), BytesMut::freeze),
                        ends: true,
                    },
                },
                Seen::Ping => Event::Ping(copy(payload)),
                Seen::Pong => Event::Pong(copy(payload)),
                Seen::Closed(frame) => Event::Closed(frame),
            }));
        }
    }

    /// A whole binary message in one frame, if it is in front of `input`: what most of a stream is, by a
    /// short way. Its mask is still on.
    #[inline]
    fn whole(&mut self, input: &[u8]) -> Option<Whole> {
        if self.message.is_some() || self.failed.is_some() || self.close_received {
            return None;
        }
        let begin = self.decoder.offset();
        let whole = self.decoder.whole(input, self.limits.message)?;
        self.last = begin;
        Some(whole)
    }

    /// Whether what comes is not looked at any more.
    fn is_deaf(&self) -> Result<bool, ConnectionError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => Ok(self.close_received),
        }
    }

    fn answer_close(&mut self, frame: &CloseFrame) -> Result<(), NoEntropy> {
        if self.close_sent {
            return Ok(());
        }
        let answer = frame.code.map_or_else(CloseFrame::default, CloseFrame::new);
        self.push_close(&answer)
    }

    /// Our Close goes behind what waits.
    fn push_close(&mut self, frame: &CloseFrame) -> Result<(), NoEntropy> {
        self.push(Opcode::Close, frame.encode())?;
        self.close_sent = true;
        Ok(())
    }

    /// The connection is over because of the peer; it is told why.
    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        self.message = None;
        self.give_up(error.clone());
        if let (Some(code), false) = (error.close_code(), self.close_sent) {
            // Without a key there is no Close; the connection ends all the same.
            if self.push_close(&CloseFrame::new(code)).is_err() {
                return error;
            }
        }
        error
    }

    /// No more is told than this; what of a message was kept for its end goes.
    fn give_up(&mut self, error: ConnectionError) {
        if let Some(joined) = &mut self.joined {
            *joined = Joined::default();
        }
        self.failed = Some(error);
    }

    /// Queues a control frame, masked if need be.
    fn push(&mut self, opcode: Opcode, payload: Bytes) -> Result<(), NoEntropy> {
        let key = self.key()?;
        let (head, payload) = Self::frame(key, opcode, true, payload);
        match opcode {
            Opcode::Close => self.outgoing.push_data(&head, None, payload),
            _ => self.outgoing.push_control(&head, payload, opcode),
        }
        Ok(())
    }

    fn head(mask: Option<[u8; 4]>, opcode: Opcode, fin: bool, length: usize) -> Head {
        Head {
            fin,
            opcode,
            mask,
            length: u64::try_from(length).unwrap_or(u64::MAX),
        }
    }

    /// A head for `payload`, and the payload as it goes out: masked in place if nobody else has
    /// it, else in a copy.
    fn frame(mask: Option<[u8; 4]>, opcode: Opcode, fin: bool, payload: Bytes) -> (Head, Bytes) {
        let head = Self::head(mask, opcode, fin, payload.len());
        let Some(key) = mask.filter(|_| !payload.is_empty()) else {
            return (head, payload);
        };
        let own = match payload.try_into_mut() {
            Ok(mut own) => {
                mask::apply(key, 0, &mut own);
                own
            }
            Err(shared) => {
                let mut own = BytesMut::zeroed(shared.len());
                mask::copy(key, 0, &shared, &mut own);
                own
            }
        };
        (head, own.freeze())
    }

    /// Queues a message, or the next piece of one, as one frame; `payload` is left empty. With
    /// `ends` the message is complete. A peer that does not reassemble (PROTOCOL.md 4.2) must get
    /// whole messages only.
    ///
    /// # Errors
    /// See [`SendError`]; `payload` is untouched.
    #[inline]
    pub fn send(&mut self, kind: Kind, payload: &mut Bytes, ends: bool) -> Result<(), SendError> {
        // What most of a stream is.
        if kind == Kind::Binary && ends && self.sending.is_none() && payload.len() < COPY_BELOW {
            self.send_from(&mut &payload[..], payload.len())?;
            *payload = Bytes::new();
            return Ok(());
        }
        self.send_any(kind, payload, ends)
    }

    fn send_any(&mut self, kind: Kind, payload: &mut Bytes, ends: bool) -> Result<(), SendError> {
        self.may_send()?;
        let (opcode, mut utf8) = match self.sending {
            None if kind == Kind::Text => (Opcode::Text, Utf8::default()),
            None => (Opcode::Binary, Utf8::default()),
            Some((begun, utf8)) if begun == kind => (Opcode::Continuation, utf8),
            Some(_) => return Err(SendError::OtherMessage),
        };
        if kind == Kind::Text && !(utf8.push(payload) && (!ends || utf8.is_complete())) {
            return Err(SendError::Utf8);
        }
        let key = self.key()?;
        // Not `then_some`: that would copy the state of a text also where there is none.
        if ends {
            self.sending = None;
        } else {
            self.sending = Some((kind, utf8));
        }
        if payload.len() < COPY_BELOW || (key.is_some() && !payload.is_unique()) {
            let bits = key.map(u32::from_be_bytes);
            let place = self.outgoing.copy(opcode, ends, bits, payload.len());
            fill(place, key, &mut &payload[..]);
            *payload = Bytes::new();
        } else if key.is_none() {
            let head = Self::head(None, opcode, ends, payload.len());
            self.outgoing
                .push_data(&head, None, std::mem::take(payload));
        } else {
            let payload = std::mem::take(payload);
            let (head, payload) = Self::frame(key, opcode, ends, payload);
            self.outgoing.push_data(&head, None, payload);
        }
        Ok(())
    }

    /// Queues one whole binary message of `prefix` and `payload`, without copying the payload
    /// where it need not be masked.
    pub(crate) fn send_prefixed(
        &mut self,
        prefix: u8,
        payload: &mut Bytes,
    ) -> Result<(), SendError> {
        if self.role == Role::Client {
            let n = payload.len().saturating_add(1);
            let prefix = [prefix];
            let mut both = prefix.as_slice().chain(&mut *payload);
            return self.send_from(&mut both, n);
        }
        self.may_send()?;
        if self.sending.is_some() {
            return Err(SendError::OtherMessage);
        }
        if payload.len() < COPY_BELOW {
            let n = payload.len().saturating_add(1);
            let prefix = [prefix];
            let mut both = prefix.as_slice().chain(&mut *payload);
            return self.send_from(&mut both, n);
        }
        let length = payload.len().saturating_add(1);
        let head = Self::head(None, Opcode::Binary, true, length);
        let payload = std::mem::take(payload);
        self.outgoing.push_data(&head, Some(prefix), payload);
        Ok(())
    }

    fn may_send(&self) -> Result<(), SendError> {
        if self.close_sent || self.failed.is_some() {
            return Err(SendError::Closed);
        }
        let waiting = u64::try_from(self.outgoing.len()).unwrap_or(u64::MAX);
        if waiting >= self.limits.outgoing {
            return Err(SendError::Full);
        }
        Ok(())
    }

    fn key(&mut self) -> Result<Option<[u8; 4]>, NoEntropy> {
        match self.role {
            Role::Server => Ok(None),
            Role::Client => self.keys.next_key().map(Some),
        }
    }

    /// Queues a ping, before data that waits.
    ///
    /// # Errors
    /// [`SendError::Full`] while [`Limits::pings`] of them wait, or see [`SendError`].
    pub fn ping(&mut self, payload: Bytes) -> Result<(), SendError> {
        if payload.len() > MAX_CONTROL {
            return Err(SendError::LongControl);
        }
        if self.close_sent || self.failed.is_some() {
            return Err(SendError::Closed);
        }
        let limit = usize::try_from(self.limits.pings).unwrap_or(usize::MAX);
        if self.outgoing.pings() >= limit {
            return Err(SendError::Full);
        }
        Ok(self.push(Opcode::Ping, payload)?)
    }

    /// Queues Close behind what waits; nothing can be sent after it. What the peer sends before
    /// its own Close is still returned. Again, it does nothing. In a message that is sent in
    /// pieces the peer sees that it was cut.
    ///
    /// # Errors
    /// There is no masking key.
    pub fn close(&mut self, frame: &CloseFrame) -> Result<(), SendError> {
        if self.close_sent || self.failed.is_some() {
            return Ok(());
        }
        Ok(self.push_close(frame)?)
    }

    /// The subprotocol finds the peer's last message wrong: ends the connection as if the framing
    /// were.
    pub(crate) fn refuse(&mut self, kind: DecodeErrorKind) -> ConnectionError {
        let error = self.decoder.fail_at(self.last, kind);
        self.fail(error.into())
    }

    /// Why the peer's Close is no end of what it sent, if it is none: it stands inside a message.
    /// A code that says more than "I go" says more.
    pub(crate) fn cut_by(&mut self, frame: &CloseFrame) -> Option<ConnectionError> {
        if self.failed != Some(ConnectionError::Cut) {
            return None;
        }
        let goes = matches!(
            frame.code,
            None | Some(CloseCode::NORMAL | CloseCode::GOING_AWAY)
        );
        if !goes {
            self.give_up(ConnectionError::Closed(frame.clone()));
        }
        self.failed.clone()
    }

    /// Another limit to what waits to be written; gives the old one.
    pub(crate) fn limit_outgoing(&mut self, bytes: u64) -> u64 {
        std::mem::replace(&mut self.limits.outgoing, bytes)
    }

    /// The peer's Close means that bytes are missing.
    pub(crate) fn closed_abnormally(&mut self, frame: CloseFrame) -> ConnectionError {
        let error = ConnectionError::Closed(frame);
        self.give_up(error.clone());
        error
    }

    /// The transport ended. `Ok` if the peer had said Close, and not inside a message.
    ///
    /// # Errors
    /// It had not: bytes may be missing. `input` is what was left of them.
    pub fn end_of_input(&mut self, input: &[u8]) -> Result<(), ConnectionError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.close_received {
            return Ok(());
        }
        let between =
            input.is_empty() && self.message.is_none() && self.decoder.is_between_frames();
        let error = if between {
            ConnectionError::Eof
        } else {
            ConnectionError::Cut
        };
        self.give_up(error.clone());
        Err(error)
    }

    /// Bytes to be written.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// Whether [`Connection::send`] would take something.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.may_send().is_ok()
    }

    /// Close went both ways, or the connection failed: once [`Connection::outgoing`] has left, the
    /// transport is to be closed, by the server first (RFC 6455 §7.1.1).
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.failed.is_some() || (self.close_sent && self.close_received)
    }

    /// Which end this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }
}
