//! What the peer's frames do: messages out of them, answers to pings and to Close.

use super::Connection;
use crate::close::CloseFrame;
use crate::decode::{Part, Piece, Step};
use crate::error::{ConnectionError, DecodeErrorKind};
use crate::event::Kind;
use crate::frame::Opcode;
use crate::utf8::Utf8;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// As many control frames as [`crate::Limits::control`] says have this time together (B19).
const CONTROL_TIME: Duration = Duration::from_secs(10);

/// The message being received.
#[derive(Debug)]
pub(super) struct Incoming {
    kind: Kind,
    length: u64,
    frames: u32,
    utf8: Utf8,
}

/// What the peer did, but for the payload, which lies in the input.
#[derive(Debug)]
pub(crate) enum Seen {
    Message {
        kind: Kind,
        begins: bool,
        ends: bool,
    },
    Ping,
    Pong,
    Closed(CloseFrame),
}

impl Connection {
    /// The next frame or part of one in front of `input`, its payload unmasked where it lies, and what is to be told
    /// of it: nothing of an empty part that neither begins nor ends a message.
    pub(super) fn step(
        &mut self,
        now: Instant,
        input: &mut [u8],
    ) -> Result<Option<(Step, Option<Seen>)>, ConnectionError> {
        self.last = self.decoder.offset();
        let step = match self.decoder.step(input) {
            Ok(Some(step)) => step,
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.fail(error.into())),
        };
        let begin = step.taken.saturating_sub(step.payload);
        let payload = input.get(begin..step.taken).unwrap_or_default();
        let seen = match step.part {
            Part::Data(piece) => self.on_data(piece, payload).map(Ok),
            Part::Control(opcode) => self
                .on_control(now, opcode, payload)
                .map(|seen| seen.map(Some)),
        };
        match seen {
            Ok(Ok(seen)) => Ok(Some((step, seen))),
            Ok(Err(error)) => Err(self.fail(error)),
            Err(kind) => {
                let error = self.decoder.fail_at(self.last, kind);
                Err(self.fail(error.into()))
            }
        }
    }

    fn on_data(&mut self, piece: Piece, payload: &[u8]) -> Result<Option<Seen>, DecodeErrorKind> {
        let begins = piece.begins && piece.opcode != Opcode::Continuation;
        if piece.begins {
            let declared = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            self.begin_frame(piece.opcode, declared.saturating_add(piece.remaining))?;
        }
        let Some(message) = &mut self.message else {
            return Err(DecodeErrorKind::LoneContinuation);
        };
        if message.kind == Kind::Text && !message.utf8.push(payload) {
            return Err(DecodeErrorKind::Utf8);
        }
        let kind = message.kind;
        let ends = piece.fin && piece.remaining == 0;
        if ends {
            let complete = message.utf8.is_complete();
            self.message = None;
            if !complete {
                return Err(DecodeErrorKind::Utf8);
            }
        }
        if payload.is_empty() && !begins && !ends {
            return Ok(None);
        }
        Ok(Some(Seen::Message { kind, begins, ends }))
    }

    /// A frame of a message has begun: does it belong here, and is there room for all of it?
    fn begin_frame(&mut self, opcode: Opcode, declared: u64) -> Result<(), DecodeErrorKind> {
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => return Err(DecodeErrorKind::LoneContinuation),
            (Opcode::Continuation, Some(_)) => {}
            (_, Some(_)) => return Err(DecodeErrorKind::Interleaved),
            (opcode, None) => {
                self.message = Some(Incoming {
                    kind: if opcode == Opcode::Text {
                        Kind::Text
                    } else {
                        Kind::Binary
                    },
                    length: 0,
                    frames: 0,
                    utf8: Utf8::default(),
                });
            }
        }
        if let Some(message) = &mut self.message {
            message.length = message.length.saturating_add(declared);
            message.frames = message.frames.saturating_add(1);
            if let Some(limit) = self.limits.message.filter(|n| message.length > *n) {
                return Err(DecodeErrorKind::MessageTooBig(limit));
            }
            if let Some(limit) = self.limits.fragments.filter(|n| message.frames > *n) {
                return Err(DecodeErrorKind::TooManyFragments(limit));
            }
        }
        Ok(())
    }

    fn on_control(
        &mut self,
        now: Instant,
        opcode: Opcode,
        payload: &[u8],
    ) -> Result<Result<Seen, ConnectionError>, DecodeErrorKind> {
        if opcode == Opcode::Close {
            let frame = CloseFrame::parse(payload)?;
            self.close_received = true;
            if let Err(error) = self.answer_close(&frame) {
                self.give_up(ConnectionError::Entropy(error));
            }
            if self.message.is_some() {
                self.give_up(ConnectionError::Cut);
            }
            return Ok(Ok(Seen::Closed(frame)));
        }
        self.count_control(now)?;
        if opcode == Opcode::Pong {
            return Ok(Ok(Seen::Pong));
        }
        if !self.close_sent {
            let limit = usize::try_from(self.limits.pongs).unwrap_or(usize::MAX);
            if self.outgoing.pongs() >= limit {
                self.outgoing.drop_last_pong();
            }
            if let Err(error) = self.push(Opcode::Pong, Bytes::copy_from_slice(payload)) {
                return Ok(Err(ConnectionError::Entropy(error)));
            }
        }
        Ok(Ok(Seen::Ping))
    }

    fn count_control(&mut self, now: Instant) -> Result<(), DecodeErrorKind> {
        // Each takes its share of the time, one behind the other; as far ahead as all of it they may be.
        let share = CONTROL_TIME
            .checked_div(self.limits.control)
            .unwrap_or(CONTROL_TIME);
        let begins = self.control.map_or(now, |at| at.max(now));
        let ends = begins.checked_add(share).unwrap_or(begins);
        if ends.saturating_duration_since(now) > CONTROL_TIME {
            return Err(DecodeErrorKind::ControlFlood(self.limits.control));
        }
        self.control = Some(ends);
        Ok(())
    }
}
