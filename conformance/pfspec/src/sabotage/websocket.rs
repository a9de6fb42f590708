//! WebSocket frames in the middle.

use super::Side;
use super::middle::{Layer, Wire};
use crate::probe::websocket::frame;
use bytes::{Buf as _, BytesMut};
use std::time::Duration;

/// Longest frame that is read; what is behind a longer one passes.
const FRAME: usize = 64 << 20;

/// A frame as it came, right or wrong.
#[derive(Debug, Clone)]
pub struct WsFrame {
    /// FIN, RSV, opcode.
    pub first: u8,
    /// Has a mask.
    pub masked: bool,
    /// Without the mask.
    pub payload: Vec<u8>,
    /// As it came.
    pub bytes: Vec<u8>,
}

impl WsFrame {
    /// Its opcode.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.first & 15
    }

    /// Whether it is a part of a message.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.opcode() < 8
    }
}

/// Reads frames, whatever is in them.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) buffer: BytesMut,
}

impl Frames {
    /// The next whole frame. An error says that nothing can be read any more.
    pub(super) fn next(&mut self) -> Result<Option<WsFrame>, ()> {
        let (Some(&first), Some(&second)) = (self.buffer.first(), self.buffer.get(1)) else {
            return Ok(None);
        };
        let (mut head, length) = match second & 0x7f {
            126 => match self.buffer.get(2..4) {
                None => return Ok(None),
                Some(mut field) => (4, u64::from(field.get_u16())),
            },
            127 => match self.buffer.get(2..10) {
                None => return Ok(None),
                Some(mut field) => (10, field.get_u64()),
            },
            short => (2, u64::from(short)),
        };
        let masked = second & 0x80 != 0;
        let key = if masked {
            let Some(key) = self.buffer.get(head..head + 4) else {
                return Ok(None);
            };
            head += 4;
            key.to_vec()
        } else {
            vec![0; 4]
        };
        let length = usize::try_from(length).map_err(drop)?;
        if length > FRAME {
            return Err(());
        }
        if self.buffer.len() < head + length {
            return Ok(None);
        }
        let bytes = self.buffer.split_to(head + length).to_vec();
        let payload = bytes.get(head..).unwrap_or_default();
        let payload = payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        Ok(Some(WsFrame {
            first,
            masked,
            payload,
            bytes,
        }))
    }
}

/// A WebSocket in the hands of a fault.
#[derive(Debug)]
pub struct WebSocket {
    pub(super) wire: Wire,
    current: (Side, Vec<u8>),
    /// A number for the fault.
    pub n: u32,
    /// A flag for the fault.
    pub flag: bool,
    /// Bytes for the fault.
    pub held: Vec<u8>,
}

impl WebSocket {
    fn new(wire: Wire) -> Self {
        Self {
            wire,
            current: (Side::Client, Vec::new()),
            n: 0,
            flag: false,
            held: Vec::new(),
        }
    }

    /// Passes the frame in hand as it came.
    pub fn pass(&mut self) {
        let (from, bytes) = self.current.clone();
        self.wire.send(from.other(), bytes);
    }

    /// Sends a frame to the judge.
    pub fn client(&mut self, first: u8, payload: &[u8]) {
        self.client_bytes(frame(first, false, payload));
    }

    /// Sends bytes to the judge.
    pub fn client_bytes(&mut self, bytes: Vec<u8>) {
        self.wire.send(Side::Client, bytes);
    }

    /// Sends a frame to the server.
    pub fn server(&mut self, first: u8, payload: &[u8]) {
        self.wire.send(Side::Server, frame(first, true, payload));
    }

    /// Waits before what goes to the judge.
    pub fn pause(&mut self, time: Duration) {
        self.wire.pause(Side::Client, time);
    }

    /// Ends the connection by FIN.
    pub fn close(&mut self) {
        self.wire.close();
    }
}

pub(super) struct WebSocketLayer {
    act: fn(&mut WebSocket, Side, WsFrame),
    socket: WebSocket,
    client: Frames,
    server: Frames,
    blind: [bool; 2],
}

impl WebSocketLayer {
    pub(super) fn boxed(wire: Wire, act: fn(&mut WebSocket, Side, WsFrame)) -> Box<dyn Layer> {
        Box::new(Self {
            act,
            socket: WebSocket::new(wire),
            client: Frames::default(),
            server: Frames::default(),
            blind: [false; 2],
        })
    }
}

impl Layer for WebSocketLayer {
    fn feed(&mut self, from: Side, bytes: &[u8]) {
        let (frames, blind) = match (from, &mut self.blind) {
            (Side::Client, [blind, _]) => (&mut self.client, blind),
            (Side::Server, [_, blind]) => (&mut self.server, blind),
        };
        frames.buffer.extend_from_slice(bytes);
        while !*blind {
            match frames.next() {
                Ok(Some(frame)) => {
                    self.socket.current = (from, frame.bytes.clone());
                    (self.act)(&mut self.socket, from, frame);
                }
                Ok(None) => return,
                Err(()) => *blind = true,
            }
        }
        let rest = frames.buffer.split().to_vec();
        self.socket.wire.send(from.other(), rest);
    }

    fn ended(&mut self, from: Side) {
        let frames = match from {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let rest = frames.buffer.split().to_vec();
        self.socket.wire.send(from.other(), rest);
    }
}
