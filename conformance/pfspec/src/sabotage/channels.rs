//! Channel messages in the middle.

use super::Side;
use super::middle::{Layer, Wire};
use super::websocket::{Frames, WsFrame};
use crate::probe::websocket::{BINARY, LAST, TEXT, frame};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::collections::BTreeMap;
use std::time::Duration;

/// A channel connection in the hands of a fault.
#[derive(Debug)]
pub struct Channels {
    wire: Wire,
    current: (Side, Vec<u8>),
    /// Whether messages are base64.
    pub base64: bool,
    /// Messages of the server that came, by channel.
    pub messages: BTreeMap<u8, u32>,
    /// A number for the fault.
    pub n: u32,
}

impl Channels {
    /// Passes the message in hand as it came.
    pub fn pass(&mut self) {
        let (from, bytes) = self.current.clone();
        self.wire.send(from.other(), bytes);
    }

    fn message(&self, masked: bool, channel: u8, payload: &[u8]) -> Vec<u8> {
        if self.base64 {
            let mut text = vec![b'0'.wrapping_add(channel)];
            text.extend(BASE64_STANDARD.encode(payload).into_bytes());
            frame(LAST | TEXT, masked, &text)
        } else {
            frame(LAST | BINARY, masked, &[&[channel][..], payload].concat())
        }
    }

    /// Sends a message to the judge.
    pub fn client(&mut self, channel: u8, payload: &[u8]) {
        let message = self.message(false, channel, payload);
        self.wire.send(Side::Client, message);
    }

    /// Sends a frame to the judge.
    pub fn client_frame(&mut self, first: u8, payload: &[u8]) {
        self.wire.send(Side::Client, frame(first, false, payload));
    }

    /// Sends a message to the server.
    pub fn server(&mut self, channel: u8, payload: &[u8]) {
        let message = self.message(true, channel, payload);
        self.wire.send(Side::Server, message);
    }

    /// Whether the message in hand is the first of the server's on its channel.
    #[must_use]
    pub fn is_first(&self, channel: u8) -> bool {
        self.messages.get(&channel) == Some(&1)
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

pub(super) struct ChannelLayer {
    act: fn(&mut Channels, Side, u8, Vec<u8>),
    channels: Channels,
    client: Frames,
    server: Frames,
}

impl ChannelLayer {
    pub(super) fn boxed(wire: Wire, act: fn(&mut Channels, Side, u8, Vec<u8>)) -> Box<dyn Layer> {
        Box::new(Self {
            act,
            channels: Channels {
                wire,
                current: (Side::Client, Vec::new()),
                base64: false,
                messages: BTreeMap::new(),
                n: 0,
            },
            client: Frames::default(),
            server: Frames::default(),
        })
    }

    fn frame(&mut self, from: Side, frame: &WsFrame) {
        self.channels.current = (from, frame.bytes.clone());
        let message = match (frame.first, frame.payload.split_first()) {
            (first, Some((channel, payload))) if first == LAST | BINARY => {
                Some((*channel, payload.to_vec()))
            }
            (first, Some((digit, text))) if first == LAST | TEXT => {
                let decoded = BASE64_STANDARD.decode(text).ok();
                digit.checked_sub(b'0').zip(decoded)
            }
            _ => None,
        };
        let Some((channel, payload)) = message else {
            self.channels.pass();
            return;
        };
        if from == Side::Server {
            self.channels.base64 = frame.opcode() == TEXT;
            *self.channels.messages.entry(channel).or_default() += 1;
        }
        (self.act)(&mut self.channels, from, channel, payload);
    }
}

impl Layer for ChannelLayer {
    fn feed(&mut self, from: Side, bytes: &[u8]) {
        let frames = match from {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        frames.buffer.extend_from_slice(bytes);
        loop {
            let frames = match from {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            match frames.next() {
                Ok(Some(frame)) => self.frame(from, &frame),
                Ok(None) => return,
                Err(()) => {
                    // No frame can be found behind it.
                    self.ended(from);
                    return;
                }
            }
        }
    }

    fn ended(&mut self, from: Side) {
        let frames = match from {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let rest = frames.buffer.split().to_vec();
        self.channels.wire.send(from.other(), rest);
    }
}
