//! Where in which layer a byte of a connection lies: written from PROTOCOL.md and RFC 6455 alone, so
//! that it does not share the faults of the code under test.

use super::Coding;

/// The innermost layer that a byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    TlsHead,
    TlsRecord,
    Upgrade,
    WebSocketHead,
    Close,
    Channel,
    SpdyHead,
    HeaderBlock,
    Payload,
    /// FIN of the data stream.
    Fin,
    /// FIN of the error stream.
    ErrorFin,
    Reset,
    GoAway,
    /// PING, SETTINGS.
    Control,
    /// Between two of them, or before the first and behind the last.
    Boundary,
}

impl Layer {
    /// Those that a cut must fall into. The channel number is one byte, without an inside.
    pub const CUT: [Self; 11] = [
        Self::TlsHead,
        Self::TlsRecord,
        Self::Upgrade,
        Self::WebSocketHead,
        Self::Close,
        Self::SpdyHead,
        Self::HeaderBlock,
        Self::Payload,
        Self::Fin,
        Self::ErrorFin,
        Self::GoAway,
    ];
}

/// One direction of a connection, taken apart.
#[derive(Default)]
pub struct Wire {
    /// Layer of each byte, and whether something begins with it.
    marks: Vec<(Layer, bool)>,
    /// Bytes of the forwarded connection.
    pub payload: usize,
}

impl Wire {
    /// `encrypted`: only the records can be told.
    pub fn read(bytes: &[u8], coding: Coding, encrypted: bool, from_server: bool) -> Self {
        let mut wire = Self {
            marks: vec![(Layer::Boundary, false); bytes.len()],
            payload: 0,
        };
        if encrypted {
            wire.records(bytes);
            return wire;
        }
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let head = head.map_or(bytes.len(), |at| at + 4);
        wire.mark(0..head, Layer::Upgrade);
        match coding {
            Coding::Spdy => {
                let all: Vec<_> = (head..bytes.len()).collect();
                wire.spdy(bytes, &all, None);
            }
            Coding::Tunnel | Coding::Channels => wire.websocket(bytes, head, coding, from_server),
        }
        wire
    }

    fn mark(&mut self, range: std::ops::Range<usize>, layer: Layer) {
        for at in range.clone() {
            if let Some(mark) = self.marks.get_mut(at) {
                *mark = (layer, at == range.start);
            }
        }
    }

    fn records(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at + 5 <= bytes.len() {
            let length = usize::from(bytes[at + 3]) << 8 | usize::from(bytes[at + 4]);
            self.mark(at..at + 5, Layer::TlsHead);
            self.mark(at + 5..at + 5 + length, Layer::TlsRecord);
            at += 5 + length;
        }
        self.mark(at..bytes.len().max(at), Layer::TlsHead);
    }

    fn websocket(&mut self, bytes: &[u8], mut at: usize, coding: Coding, from_server: bool) {
        // Payload bytes by their places, and unmasked.
        let (mut inner, mut plain) = (Vec::new(), Vec::new());
        let mut announced = 0;
        while at < bytes.len() {
            let Some((head, length, mask)) = websocket_head(&bytes[at..]) else {
                self.mark(at..bytes.len(), Layer::WebSocketHead);
                break;
            };
            let body = at + head..(at + head + length).min(bytes.len());
            let opcode = bytes[at] & 15;
            self.mark(at..at + head, Layer::WebSocketHead);
            let unmasked = body
                .clone()
                .enumerate()
                .map(|(i, at)| bytes[at] ^ mask[i % 4]);
            if opcode == 8 {
                self.mark(at..body.end, Layer::Close);
            } else if opcode > 8 {
                self.mark(at..body.end, Layer::Control);
            } else if coding == Coding::Tunnel {
                plain.extend(unmasked);
                inner.extend(body);
            } else {
                let content: Vec<u8> = unmasked.collect();
                self.mark(body.start..(body.start + 1).min(body.end), Layer::Channel);
                self.mark(body.start + 1..body.end, Layer::Payload);
                if content.first() == Some(&0) {
                    // The first message of a server names the port.
                    if from_server && announced == 0 {
                        announced = 1;
                    } else {
                        self.payload += content.len() - 1;
                    }
                }
            }
            at += head + length;
        }
        if coding == Coding::Tunnel {
            self.spdy(bytes, &inner, Some(&plain));
        }
    }

    /// The frames in those bytes whose places are given.
    fn spdy(&mut self, bytes: &[u8], places: &[usize], plain: Option<&[u8]>) {
        let byte = |i: usize| plain.map_or_else(|| bytes[places[i]], |plain| plain[i]);
        let mut at = 0;
        while at < places.len() {
            let whole = at + 8 <= places.len();
            let control = byte(at) & 0x80 != 0;
            let (mut layer, mut body, mut length) = (Layer::SpdyHead, Layer::Payload, 0);
            if whole {
                length = (usize::from(byte(at + 5)) << 16)
                    | (usize::from(byte(at + 6)) << 8)
                    | usize::from(byte(at + 7));
                let stream = byte(at + 3);
                match (control, byte(at + 3)) {
                    (true, 1 | 2) => body = Layer::HeaderBlock,
                    (true, 3) => (layer, body) = (Layer::Reset, Layer::Reset),
                    (true, 7) => (layer, body) = (Layer::GoAway, Layer::GoAway),
                    (true, _) => (layer, body) = (Layer::Control, Layer::Control),
                    // The first pair's ids, and those with which it has a lane.
                    (false, 1 | 5) if length == 0 => layer = Layer::ErrorFin,
                    (false, _) if length == 0 => layer = Layer::Fin,
                    (false, _) => {}
                }
                if !control && matches!(stream, 3 | 15) {
                    self.payload += length.min(places.len() - at - 8);
                }
            }
            for i in at..(at + 8 + length).min(places.len()) {
                let of = if i < at + 8 { layer } else { body };
                let begins = i == at || i == at + 8 && of != layer;
                self.marks[places[i]] = (of, begins);
            }
            at += 8 + length;
        }
    }

    /// Where a connection is cut that is cut behind `at` bytes.
    pub fn layer(&self, at: usize) -> Layer {
        match self.marks.get(at) {
            Some((layer, false)) => *layer,
            _ => Layer::Boundary,
        }
    }

    /// Places to cut: around every boundary, in the middle of everything, and evenly spread.
    pub fn cuts(&self, evenly: usize) -> Vec<usize> {
        let total = self.marks.len();
        let mut edges: Vec<usize> = (0..total).filter(|at| self.marks[*at].1).collect();
        edges.push(total);
        let mut cuts: Vec<usize> = (0..=evenly).map(|i| total * i / evenly).collect();
        for pair in edges.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            cuts.extend([from, from + 1, from.midpoint(to), to - 1, to]);
        }
        cuts.retain(|at| *at <= total);
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }
}

/// Length of the head, length of the payload, mask.
fn websocket_head(bytes: &[u8]) -> Option<(usize, usize, [u8; 4])> {
    let short = *bytes.get(1)?;
    let (mut head, length) = match short & 127 {
        126 => (
            4,
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        ),
        127 => {
            let long: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
            (10, usize::try_from(u64::from_be_bytes(long)).ok()?)
        }
        short => (2, usize::from(short)),
    };
    let mut mask = [0; 4];
    if short & 0x80 != 0 {
        mask = bytes.get(head..head + 4)?.try_into().ok()?;
        head += 4;
    }
    Some((head, length, mask))
}
