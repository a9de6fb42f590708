//! SPDY in the middle, on the connection or in the tunnel.

use super::middle::{Layer, Wire};
use super::websocket::Frames;
use super::{Act, Side};
use crate::probe::session::{data, fin};
use crate::probe::websocket::{BINARY, CONTINUATION, LAST, frame as ws_frame};
use crate::probe::wire::{Decoder, Encoder, Frame};
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What is known of a stream.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "facts, each of its own")]
pub struct Known {
    /// `error`, `data` or what the client says.
    pub kind: String,
    /// As the client says it.
    pub port: String,
    /// As the client says it.
    pub request: String,
    /// Bytes of the server so far, without those of the frame in hand.
    pub down: u64,
    /// Bytes of the client so far, without those of the frame in hand.
    pub up: u64,
    /// The client has sent FIN.
    pub client_fin: bool,
    /// The server has sent FIN.
    pub server_fin: bool,
    /// The server has sent SYN_REPLY.
    pub replied: bool,
    /// Either has sent RST_STREAM.
    pub reset: bool,
    /// When the client opened it.
    pub since: Option<Instant>,
}

impl Known {
    /// Whether anything may still be sent on it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let over = self.client_fin && self.server_fin;
        !(over || self.reset)
    }
}

/// A session in the hands of a fault.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts, each of its own")]
pub struct Spdy {
    wire: Wire,
    tunnel: bool,
    /// What writes frames for the judge.
    pub encoder: Encoder,
    up: Encoder,
    /// Frames of this side are written anew, not passed as they came.
    anew: Side,
    current: (Side, Frame, Vec<u8>),
    /// The frame in hand came in several reads, or messages.
    pub cut: bool,
    /// The frame in hand came behind another in one read, or message.
    pub joined: bool,
    /// Streams that the client has opened.
    pub streams: BTreeMap<u32, Known>,
    /// A number for the fault.
    pub n: u32,
    /// A flag for the fault.
    pub flag: bool,
    /// Frames for the fault.
    pub held: Vec<Frame>,
}

fn has_headers(frame: &Frame) -> bool {
    matches!(
        frame,
        Frame::SynStream { .. } | Frame::SynReply { .. } | Frame::Headers { .. }
    )
}

impl Spdy {
    /// What the client has said of a stream.
    #[must_use]
    pub fn known(&self, id: u32) -> Known {
        self.streams.get(&id).cloned().unwrap_or_default()
    }

    /// Whether a stream is an error stream.
    #[must_use]
    pub fn is_error(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|s| s.kind == "error")
    }

    /// Whether a stream is a data stream.
    #[must_use]
    pub fn is_data(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|s| s.kind == "data")
    }

    /// The other stream of its pair; the latest of them if the request id was used again.
    #[must_use]
    pub fn partner(&self, id: u32) -> Option<u32> {
        let me = self.streams.get(&id)?;
        let mut others = self.streams.iter().rev();
        others
            .find(|(_, other)| other.request == me.request && other.kind != me.kind)
            .map(|(id, _)| *id)
    }

    /// A stream that is open and not of this stream's pair, the nearest before it.
    #[must_use]
    pub fn stranger(&self, id: u32) -> Option<u32> {
        let me = self.streams.get(&id)?;
        let mut others = self.streams.iter().rev();
        others
            .find(|(_, s)| s.request != me.request && s.kind == me.kind && !s.server_fin)
            .map(|(id, _)| *id)
    }

    /// The highest stream id of the client.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.streams.keys().next_back().copied().unwrap_or(0)
    }

    /// Whether this is the frame in hand for the first time that the fault counts.
    pub fn once(&mut self) -> bool {
        !std::mem::replace(&mut self.flag, true)
    }

    /// Passes the frame in hand.
    pub fn pass(&mut self) {
        let (from, frame, bytes) = self.current.clone();
        if from == self.anew && has_headers(&frame) {
            match from {
                Side::Client => self.server(&frame),
                Side::Server => self.client(&frame),
            }
        } else {
            self.send(from.other(), &bytes);
        }
    }

    /// The bytes of the frame in hand.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.current.2.clone()
    }

    /// Sends a frame to the judge.
    pub fn client(&mut self, frame: &Frame) {
        let bytes = self.encoder.encode(frame);
        self.client_bytes(&bytes);
    }

    /// Sends bytes to the judge.
    pub fn client_bytes(&mut self, bytes: &[u8]) {
        self.send(Side::Client, bytes);
    }

    /// Sends a frame to the judge after a time; what is behind does not wait.
    pub fn client_later(&mut self, time: Duration, frame: &Frame) {
        let bytes = self.encoder.encode(frame);
        let bytes = self.wrapped(Side::Client, &bytes);
        self.wire.send_later(Side::Client, time, bytes);
    }

    /// Sends a frame to the server.
    pub fn server(&mut self, frame: &Frame) {
        let bytes = self.up.encode(frame);
        self.send(Side::Server, &bytes);
    }

    /// Sends bytes to the server.
    pub fn pass_bytes(&mut self, bytes: &[u8]) {
        self.send(Side::Server, bytes);
    }

    /// Sends DATA to the judge.
    pub fn data(&mut self, id: u32, payload: &[u8]) {
        self.client(&data(id, 0, payload));
    }

    /// Sends an empty DATA with FIN to the judge.
    pub fn fin(&mut self, id: u32) {
        self.client(&fin(id));
    }

    /// Sends RST_STREAM to the judge.
    pub fn rst(&mut self, id: u32, status: u32) {
        self.client(&Frame::RstStream { id, status });
    }

    /// Everything for the judge waits behind what was sent.
    pub fn pause(&mut self, time: Duration) {
        self.wire.pause(Side::Client, time);
    }

    /// Ends the connection by FIN.
    pub fn close(&mut self) {
        self.wire.close();
    }

    /// Ends the connection by FIN after a time.
    pub fn close_later(&mut self, time: Duration) {
        self.wire.close_later(time);
    }

    /// Ends the connection by RST.
    pub fn reset(&mut self) {
        self.wire.reset();
    }

    fn wrapped(&self, to: Side, bytes: &[u8]) -> Vec<u8> {
        if self.tunnel {
            ws_frame(LAST | BINARY, to == Side::Server, bytes)
        } else {
            bytes.to_vec()
        }
    }

    fn send(&mut self, to: Side, bytes: &[u8]) {
        let bytes = self.wrapped(to, bytes);
        self.wire.send(to, bytes);
    }

    /// Learns from the frame in hand. `before` it is given to the fault, or behind.
    fn learn(&mut self, before: bool) {
        let (from, frame, _) = &self.current;
        let from = *from;
        if let (true, Side::Client, Frame::SynStream { id, headers, .. }) = (before, from, frame) {
            let value = |name: &str| {
                let mut headers = headers.iter();
                headers
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default()
            };
            let mut known = Known {
                kind: value("streamtype"),
                port: value("port"),
                request: value("requestid"),
                since: Some(Instant::now()),
                ..Known::default()
            };
            if known.request.is_empty() {
                // As servers pair streams without one.
                let key = if known.kind == "data" {
                    id.wrapping_sub(2)
                } else {
                    *id
                };
                known.request = format!("id {key}");
            }
            self.streams.entry(*id).or_insert(known);
        }
        if let (false, Frame::SynReply { id, .. }) = (before, frame)
            && let Some(known) = self.streams.get_mut(id)
        {
            known.replied = true;
        }
        if let (false, Frame::RstStream { id, .. }) = (before, frame)
            && let Some(known) = self.streams.get_mut(id)
        {
            known.reset = true;
        }
        if let (false, Frame::Data { id, flags, payload }) = (before, frame)
            && let Some(known) = self.streams.get_mut(id)
        {
            let (count, fin) = match from {
                Side::Client => (&mut known.up, &mut known.client_fin),
                Side::Server => (&mut known.down, &mut known.server_fin),
            };
            *count += payload.len() as u64;
            *fin |= flags & 1 != 0;
        }
    }
}

pub(super) struct SpdyLayer {
    act: Act,
    spdy: Spdy,
    decoders: [Decoder; 2],
    buffers: [BytesMut; 2],
    messages: [Frames; 2],
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Server)
}

impl SpdyLayer {
    pub(super) fn boxed(wire: Wire, act: Act, tunnel: bool) -> Box<dyn Layer> {
        let mut spdy = Spdy {
            wire,
            tunnel,
            encoder: Encoder::default(),
            up: Encoder::default(),
            anew: if matches!(act, Act::Client(_)) {
                Side::Client
            } else {
                Side::Server
            },
            current: (Side::Client, Frame::Ping(0), Vec::new()),
            cut: false,
            joined: false,
            streams: BTreeMap::new(),
            n: 0,
            flag: false,
            held: Vec::new(),
        };
        if let Act::Begin(begin) = act {
            begin(&mut spdy);
        }
        Box::new(Self {
            act,
            spdy,
            decoders: [Decoder::default(), Decoder::default()],
            buffers: [BytesMut::new(), BytesMut::new()],
            messages: [Frames::default(), Frames::default()],
        })
    }

    fn append(&mut self, from: Side, bytes: &[u8]) {
        if let Some(buffer) = self.buffers.get_mut(index(from)) {
            let waited = !buffer.is_empty();
            buffer.extend_from_slice(bytes);
            self.spdy(from, waited);
        }
    }

    /// Takes what there is of a side. `waited`: its first frame was not whole before.
    fn spdy(&mut self, from: Side, waited: bool) {
        self.spdy.cut = waited;
        self.spdy.joined = false;
        loop {
            let Some(buffer) = self.buffers.get_mut(index(from)) else {
                return;
            };
            let Some([_, _, _, _, _, a, b, c]) = buffer.first_chunk::<8>().copied() else {
                return;
            };
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            if buffer.len() < 8 + length {
                return;
            }
            let bytes = buffer.split_to(8 + length);
            let more = !buffer.is_empty();
            let Some(decoder) = self.decoders.get_mut(index(from)) else {
                return;
            };
            decoder.buffer.clear();
            decoder.buffer.extend_from_slice(&bytes);
            match decoder.frame() {
                Ok(Some((frame, _))) => self.frame(from, frame, bytes.to_vec()),
                Ok(None) => self.spdy.send(from.other(), &bytes),
                Err(what) => {
                    if let (Act::Odd(act), Side::Client) = (self.act, from) {
                        self.spdy.current = (from, Frame::Ping(0), bytes.to_vec());
                        act(&mut self.spdy, &what);
                    } else {
                        self.spdy.send(from.other(), &bytes);
                    }
                }
            }
            self.spdy.cut = false;
            self.spdy.joined = more;
        }
    }

    fn frame(&mut self, from: Side, frame: Frame, bytes: Vec<u8>) {
        let spdy = &mut self.spdy;
        spdy.current = (from, frame.clone(), bytes);
        spdy.learn(true);
        match (self.act, from) {
            (Act::Server(act), Side::Server) | (Act::Client(act), Side::Client) => act(spdy, frame),
            (Act::Both(act), side) => act(spdy, side, frame),
            _ => spdy.pass(),
        }
        spdy.learn(false);
    }
}

/// Puts what is missing at the end of a frame.
fn complete(frame: &mut Vec<u8>) {
    // What a header block ends with.
    const FLUSH: [u8; 4] = [0, 0, 0xff, 0xff];
    let Some([_, _, _, _, _, a, b, c]) = frame.first_chunk::<8>().copied() else {
        return;
    };
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
    let missing = (8 + length).saturating_sub(frame.len());
    if missing == FLUSH.len() {
        frame.extend(FLUSH);
    } else {
        frame.resize(frame.len() + missing, 0);
    }
}

impl Layer for SpdyLayer {
    fn feed(&mut self, from: Side, bytes: &[u8]) {
        let at = index(from);
        if !self.spdy.tunnel {
            self.append(from, bytes);
            return;
        }
        if let Some(frames) = self.messages.get_mut(at) {
            frames.buffer.extend_from_slice(bytes);
        }
        while let Some(frames) = self.messages.get_mut(at) {
            match frames.next() {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    let right = frame.first & 0x70 == 0 && frame.masked == (from == Side::Client);
                    if right && matches!(frame.opcode(), BINARY | CONTINUATION) {
                        self.append(from, &frame.payload);
                    } else {
                        self.spdy.wire.send(from.other(), frame.bytes);
                    }
                }
                Err(()) => {
                    let rest = frames.buffer.split().to_vec();
                    self.spdy.wire.send(from.other(), rest);
                    return;
                }
            }
        }
    }

    fn ended(&mut self, from: Side) {
        let at = index(from);
        if let Some(buffer) = self.buffers.get_mut(at) {
            let mut rest = buffer.split().to_vec();
            if matches!(self.act, Act::TakeCut) && from == Side::Client {
                complete(&mut rest);
            }
            if !rest.is_empty() {
                self.spdy.send(from.other(), &rest);
            }
        }
        if let Some(frames) = self.messages.get_mut(at) {
            let rest = frames.buffer.split().to_vec();
            self.spdy.wire.send(from.other(), rest);
        }
    }
}
