use crate::config::Dialect;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::frame::{
    Data, FIN, Frame, GoAway, HEAD, Headers, Kind, Ping, RstStream, Setting, Settings, SynReply,
    SynStream, UNIDIRECTIONAL, Unknown, VERSION, WindowUpdate,
};
use crate::header::{HeaderBlock, Inflater};
use crate::limits::Limits;
use crate::status::{GoAwayStatus, RstStatus};
use crate::stream_id::StreamId;
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of one direction to frames, incrementally: splitting the input anywhere changes nothing
/// but the number of [`Data`] pieces.
#[derive(Debug)]
pub struct Decoder {
    inflater: Inflater,
    dialect: Dialect,
    limits: Limits,
    state: State,
    /// Bytes consumed before the frame in progress.
    offset: u64,
    failed: Option<DecodeError>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    Control {
        kind: Kind,
        flags: u8,
        length: usize,
    },
    Data {
        id: StreamId,
        remaining: u32,
        flags: u8,
    },
    Skip {
        remaining: u32,
    },
}

impl Decoder {
    /// A fresh direction, by the rules of [`Dialect::Kubernetes`].
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_dialect(Dialect::Kubernetes, limits)
    }

    /// A fresh direction.
    #[must_use]
    pub fn with_dialect(dialect: Dialect, limits: Limits) -> Self {
        Self {
            inflater: Inflater::new(),
            dialect,
            limits,
            state: State::Head,
            offset: 0,
            failed: None,
        }
    }

    /// Bytes of header blocks inflated so far.
    pub(crate) fn inflated(&self) -> u64 {
        self.inflater.inflated()
    }

    /// Whether the bytes so far end between two frames. An end of stream anywhere else cut a
    /// frame.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Takes the next frame off `input`; `None` asks for more bytes. A control frame stays in
    /// `input` until it is whole, which its limit bounds; DATA is taken as it comes.
    ///
    /// # Errors
    /// Not a SPDY frame, or over a limit. Every further call gives the same error.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.step(input);
        result.map_err(|kind| {
            let error = DecodeError {
                kind,
                offset: self.offset,
            };
            self.failed = Some(error.clone());
            error
        })
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, DecodeErrorKind> {
        loop {
            match self.state {
                State::Head => {
                    if input.len() < HEAD {
                        return Ok(None);
                    }
                    let (first, second) = (input.get_u32(), input.get_u32());
                    if let Some(frame) = self.head(first, second)? {
                        self.begin_next(HEAD);
                        return Ok(Some(frame));
                    }
                }
                State::Control {
                    kind,
                    flags,
                    length,
                } => {
                    if input.len() < length {
                        return Ok(None);
                    }
                    let payload = input.split_to(length).freeze();
                    let frame = self.control(kind, flags, payload)?;
                    self.begin_next(HEAD.saturating_add(length));
                    return Ok(Some(frame));
                }
                State::Data {
                    id,
                    remaining,
                    flags,
                } => {
                    let n = u32::try_from(input.len())
                        .unwrap_or(u32::MAX)
                        .min(remaining);
                    if n == 0 && remaining > 0 {
                        return Ok(None);
                    }
                    let payload = input.split_to(usize::try_from(n).unwrap_or(0)).freeze();
                    let remaining = remaining.saturating_sub(n);
                    self.state = State::Data {
                        id,
                        remaining,
                        flags,
                    };
                    self.offset = self.offset.saturating_add(u64::from(n));
                    if remaining == 0 {
                        self.begin_next(0);
                    }
                    return Ok(Some(Frame::Data(Data {
                        id,
                        payload,
                        remaining,
                        fin: flags & FIN != 0,
                        flags: flags & !FIN,
                    })));
                }
                State::Skip { remaining } => {
                    let n = u32::try_from(input.len())
                        .unwrap_or(u32::MAX)
                        .min(remaining);
                    input.advance(usize::try_from(n).unwrap_or(0));
                    let remaining = remaining.saturating_sub(n);
                    self.offset = self.offset.saturating_add(u64::from(n));
                    self.state = State::Skip { remaining };
                    if remaining > 0 {
                        return Ok(None);
                    }
                    self.begin_next(0);
                }
            }
        }
    }

    fn begin_next(&mut self, consumed: usize) {
        self.offset = self
            .offset
            .saturating_add(u64::try_from(consumed).unwrap_or(u64::MAX));
        // An unknown frame was reported at its head: what follows it is still to be skipped.
        if !matches!(self.state, State::Skip { remaining } if remaining > 0) {
            self.state = State::Head;
        }
    }

    /// Looks at the eight bytes of a head; a frame only for types that are skipped.
    fn head(&mut self, first: u32, second: u32) -> Result<Option<Frame>, DecodeErrorKind> {
        let flags = u8::try_from(second >> 24).unwrap_or(0);
        let length = second & 0xff_ffff;
        if first & 0x8000_0000 == 0 {
            // Unknown DATA flags are kept and mean nothing, as at real peers.
            let id = StreamId::new(first).ok_or(DecodeErrorKind::StreamZero("DATA"))?;
            let limit = self.limits.data_frame;
            if usize::try_from(length).map_or(true, |n| n > limit) {
                return Err(DecodeErrorKind::FrameTooLarge {
                    frame: "DATA",
                    length,
                    limit,
                });
            }
            self.offset = self.offset.saturating_add(u64::try_from(HEAD).unwrap_or(0));
            self.state = State::Data {
                id,
                remaining: length,
                flags,
            };
            return Ok(None);
        }
        // Real readers ignore the version field (PROTOCOL.md 1.1).
        let version = u16::try_from((first >> 16) & 0x7fff).unwrap_or(0);
        if self.dialect == Dialect::Spdy31 && version != VERSION {
            return Err(DecodeErrorKind::Version(version));
        }
        let kind = u16::try_from(first & 0xffff).unwrap_or(0);
        let Some(kind) = Kind::from_u16(kind) else {
            if self.dialect == Dialect::Spdy31 {
                return Err(DecodeErrorKind::UnknownFrame(kind));
            }
            self.state = State::Skip { remaining: length };
            return Ok(Some(Frame::Unknown(Unknown {
                kind,
                flags,
                length,
            })));
        };
        let (frame, size) = (kind.name(), usize::try_from(length).unwrap_or(usize::MAX));
        let (fixed, has_block) = kind.layout();
        let limit = if has_block {
            self.limits.header_block.saturating_add(fixed)
        } else {
            self.limits.control_frame
        };
        if size > limit {
            return Err(DecodeErrorKind::FrameTooLarge {
                frame,
                length,
                limit,
            });
        }
        let fits = match kind {
            Kind::Settings => size >= fixed,
            _ if has_block => size >= fixed,
            _ => size == fixed,
        };
        if !fits {
            return Err(DecodeErrorKind::Length { frame, length });
        }
        let allowed = match kind {
            Kind::SynStream => FIN | UNIDIRECTIONAL,
            Kind::SynReply | Kind::Headers | Kind::Settings => FIN,
            Kind::RstStream | Kind::Ping | Kind::GoAway | Kind::WindowUpdate => 0,
        };
        if flags & !allowed != 0 {
            return Err(DecodeErrorKind::Flags { frame, flags });
        }
        self.state = State::Control {
            kind,
            flags,
            length: size,
        };
        Ok(None)
    }

    fn headers(&mut self, block: &[u8], syn: bool) -> Result<HeaderBlock, DecodeErrorKind> {
        self.inflater
            .block_of(block, syn, self.dialect, &self.limits)
    }

    /// A whole control payload, at least as long as its fixed part.
    fn control(
        &mut self,
        kind: Kind,
        flags: u8,
        mut payload: Bytes,
    ) -> Result<Frame, DecodeErrorKind> {
        let truncated = DecodeErrorKind::Length {
            frame: kind.name(),
            length: 0,
        };
        let word = |payload: &mut Bytes| payload.try_get_u32().map_err(|_| truncated.clone());
        let fin = flags & FIN != 0;
        Ok(match kind {
            Kind::SynStream => {
                let id = stream_id(word(&mut payload)?, kind)?;
                let associated = word(&mut payload)?;
                if associated > StreamId::MAX {
                    return Err(DecodeErrorKind::ReservedBit(kind.name()));
                }
                let (Ok(pri), Ok(slot)) = (payload.try_get_u8(), payload.try_get_u8()) else {
                    return Err(truncated);
                };
                let headers = self.headers(&payload, true)?;
                Frame::SynStream(SynStream {
                    id,
                    associated,
                    priority: pri >> 5,
                    slot,
                    fin,
                    unidirectional: flags & UNIDIRECTIONAL != 0,
                    headers,
                })
            }
            Kind::SynReply => {
                let id = stream_id(word(&mut payload)?, kind)?;
                let headers = self.headers(&payload, false)?;
                Frame::SynReply(SynReply { id, fin, headers })
            }
            Kind::Headers => {
                let id = stream_id(word(&mut payload)?, kind)?;
                let headers = self.headers(&payload, false)?;
                Frame::Headers(Headers { id, fin, headers })
            }
            Kind::RstStream => {
                let id = stream_id(word(&mut payload)?, kind)?;
                let status = word(&mut payload)?;
                if status == 0 {
                    return Err(DecodeErrorKind::ResetStatusZero);
                }
                Frame::RstStream(RstStream {
                    id,
                    status: RstStatus::from_u32(status),
                })
            }
            Kind::Settings => {
                let count = word(&mut payload)?;
                let fits = usize::try_from(count)
                    .ok()
                    .and_then(|n| n.checked_mul(8))
                    .is_some_and(|n| n == payload.len());
                if !fits {
                    let length = u32::try_from(payload.len().saturating_add(4)).unwrap_or(u32::MAX);
                    return Err(DecodeErrorKind::Length {
                        frame: kind.name(),
                        length,
                    });
                }
                let limit = self.limits.settings_entries;
                if usize::try_from(count).map_or(true, |n| n > limit) {
                    return Err(DecodeErrorKind::SettingsEntries { count, limit });
                }
                let mut entries = Vec::new();
                while payload.has_remaining() {
                    let (id, value) = (word(&mut payload)?, word(&mut payload)?);
                    let flags = u8::try_from(id >> 24).unwrap_or(0);
                    entries.push(Setting {
                        flags,
                        id: id & 0xff_ffff,
                        value,
                    });
                }
                Frame::Settings(Settings {
                    clear: flags & 1 != 0,
                    entries,
                })
            }
            Kind::Ping => match word(&mut payload)? {
                0 => return Err(DecodeErrorKind::PingZero),
                id => Frame::Ping(Ping { id }),
            },
            Kind::GoAway => {
                let last_good = reserved_clear(word(&mut payload)?, kind)?;
                Frame::GoAway(GoAway {
                    last_good,
                    status: GoAwayStatus::from_u32(word(&mut payload)?),
                })
            }
            Kind::WindowUpdate => {
                let id = reserved_clear(word(&mut payload)?, kind)?;
                let delta = reserved_clear(word(&mut payload)?, kind)?;
                Frame::WindowUpdate(WindowUpdate { id, delta })
            }
        })
    }
}

/// A number of 31 bits.
fn reserved_clear(word: u32, kind: Kind) -> Result<u32, DecodeErrorKind> {
    if word > StreamId::MAX {
        Err(DecodeErrorKind::ReservedBit(kind.name()))
    } else {
        Ok(word)
    }
}

fn stream_id(id: u32, kind: Kind) -> Result<StreamId, DecodeErrorKind> {
    StreamId::new(reserved_clear(id, kind)?).ok_or_else(|| DecodeErrorKind::StreamZero(kind.name()))
}
