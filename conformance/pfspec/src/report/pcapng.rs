//! A capture file of what went below (inside) TLS: each connection as a TCP connection to port 80, made up but for its
//! bytes and times, so that Wireshark follows it. Each case is a host of its own, named after it.

use crate::probe::log::{Chunk, Item, Layer, Side};
use crate::run::Report;
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes in one packet at most.
const SEGMENT: usize = 16 << 10;
const SERVER: [u8; 4] = [10, 0, 0, 1];
/// Where Wireshark expects HTTP.
pub const PORT: u16 = 80;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// The file.
#[must_use]
pub fn write(reports: &[&Report], started_unix: f64) -> Vec<u8> {
    let mut file = File(Vec::new());
    file.head();
    let mut names = vec![(SERVER, "server".to_owned())];
    for (index, report) in reports.iter().enumerate() {
        names.push((host(index), report.name().replace(['/', '@'], ".")));
    }
    file.names(&names);
    let started = Duration::try_from_secs_f64(started_unix).unwrap_or_default();
    for (index, report) in reports.iter().enumerate() {
        let comment = format!("{} {}", report.word.name(), report.name());
        file.case(host(index), started + report.began, report, &comment);
    }
    file.0
}

/// 10.1.0.0 and on.
fn host(index: usize) -> [u8; 4] {
    let [.., high, low] = index.to_be_bytes();
    [10, 1, high, low]
}

enum Event<'a> {
    Step(&'a Item),
    Bytes(&'a Chunk),
}

impl Event<'_> {
    fn at(&self) -> Duration {
        match self {
            Self::Step(item) => item.at,
            Self::Bytes(chunk) => chunk.at,
        }
    }
}

/// One made-up TCP connection: the next sequence numbers of both sides.
struct Flow {
    host: [u8; 4],
    port: u16,
    judge: u32,
    server: u32,
    judge_closed: bool,
    over: bool,
}

struct File(Vec<u8>);

impl File {
    fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let total = u32::try_from(padded + 12).unwrap_or(u32::MAX).to_le_bytes();
        self.0.extend(kind.to_le_bytes());
        self.0.extend(total);
        self.0.extend(body);
        self.0.resize(self.0.len() + padded - body.len(), 0);
        self.0.extend(total);
    }

    fn head(&mut self) {
        let mut body = Vec::new();
        body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        body.extend(1u16.to_le_bytes());
        body.extend(0u16.to_le_bytes());
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, 4, b"pfspec");
        option(&mut body, 0, b"");
        self.block(0x0a0d_0d0a, &body);
        // An interface: Ethernet, packets of any length, microseconds.
        let mut body = Vec::new();
        body.extend(1u16.to_le_bytes());
        body.extend(0u16.to_le_bytes());
        body.extend(0u32.to_le_bytes());
        option(&mut body, 3, b"inside TLS, without credentials");
        option(&mut body, 9, &[6]);
        option(&mut body, 0, b"");
        self.block(1, &body);
    }

    fn names(&mut self, names: &[([u8; 4], String)]) {
        let mut body = Vec::new();
        for (address, name) in names {
            let mut value = address.to_vec();
            value.extend(name.as_bytes());
            value.push(0);
            option(&mut body, 1, &value);
        }
        option(&mut body, 0, b"");
        self.block(4, &body);
    }

    fn case(&mut self, host: [u8; 4], began: Duration, report: &Report, comment: &str) {
        let mut by_connection: BTreeMap<usize, Vec<Event<'_>>> = BTreeMap::new();
        let steps = report.items.iter().filter(|i| i.layer == Layer::Transport);
        for item in steps {
            let events = by_connection.entry(item.connection).or_default();
            events.push(Event::Step(item));
        }
        for chunk in &report.chunks {
            let events = by_connection.entry(chunk.connection).or_default();
            events.push(Event::Bytes(chunk));
        }
        for (connection, mut events) in by_connection {
            events.sort_by_key(Event::at);
            let Some(first) = events.first().map(Event::at) else {
                continue;
            };
            let number = u16::try_from(connection).unwrap_or(u16::MAX);
            let mut flow = Flow {
                host,
                port: 49_152u16.saturating_add(number),
                judge: 0,
                server: 0,
                judge_closed: false,
                over: false,
            };
            let mut last = began + first;
            self.open(&mut flow, last, comment);
            for event in &events {
                last = began + event.at();
                match event {
                    Event::Step(item) => self.step(&mut flow, last, item),
                    Event::Bytes(chunk) => self.bytes(&mut flow, last, chunk),
                }
            }
            // The judge drops what it needs no more.
            if !flow.over && !flow.judge_closed {
                self.close(&mut flow, last, Side::Judge, FIN | ACK);
            }
        }
    }

    fn open(&mut self, flow: &mut Flow, at: Duration, comment: &str) {
        self.packet(flow, at, Side::Judge, SYN, &[], 0, comment);
        flow.judge = flow.judge.wrapping_add(1);
        self.packet(flow, at, Side::Server, SYN | ACK, &[], 0, "");
        flow.server = flow.server.wrapping_add(1);
        self.packet(flow, at, Side::Judge, ACK, &[], 0, "");
    }

    fn step(&mut self, flow: &mut Flow, at: Duration, item: &Item) {
        if flow.over {
            return;
        }
        match (item.side, item.text.as_str()) {
            (Side::Judge, "half-close") => {
                self.close(flow, at, Side::Judge, FIN | ACK);
                flow.judge_closed = true;
            }
            (Side::Judge, _) => {}
            (Side::Server, text) => {
                let flags = if text == "connection reset" { RST } else { FIN };
                self.close(flow, at, Side::Server, flags | ACK);
                if flags == FIN && !flow.judge_closed {
                    self.close(flow, at, Side::Judge, FIN | ACK);
                }
                flow.over = true;
            }
        }
    }

    fn close(&mut self, flow: &mut Flow, at: Duration, side: Side, flags: u8) {
        self.packet(flow, at, side, flags, &[], 0, "");
        let next = match side {
            Side::Judge => &mut flow.judge,
            Side::Server => &mut flow.server,
        };
        *next = next.wrapping_add(1);
    }

    fn bytes(&mut self, flow: &mut Flow, at: Duration, chunk: &Chunk) {
        for part in chunk.bytes.chunks(SEGMENT) {
            self.packet(flow, at, chunk.side, PSH | ACK, part, 0, "");
            advance(flow, chunk.side, part.len());
        }
        // What was not kept is a packet of which nothing was caught.
        let mut missing = chunk.length.saturating_sub(chunk.bytes.len());
        while missing > 0 {
            let part = missing.min(SEGMENT);
            self.packet(flow, at, chunk.side, PSH | ACK, &[], part, "");
            advance(flow, chunk.side, part);
            missing -= part;
        }
    }

    /// `more` bytes follow the payload that were not caught.
    #[expect(clippy::too_many_arguments, reason = "the fields of one packet")]
    fn packet(
        &mut self,
        flow: &Flow,
        at: Duration,
        side: Side,
        flags: u8,
        payload: &[u8],
        more: usize,
        comment: &str,
    ) {
        let (from, to, ports, seq, ack) = match side {
            Side::Judge => (
                flow.host,
                SERVER,
                [flow.port, PORT],
                flow.judge,
                flow.server,
            ),
            Side::Server => (
                SERVER,
                flow.host,
                [PORT, flow.port],
                flow.server,
                flow.judge,
            ),
        };
        let mut tcp = Vec::with_capacity(20 + payload.len());
        for port in ports {
            tcp.extend(port.to_be_bytes());
        }
        tcp.extend(seq.to_be_bytes());
        tcp.extend(if flags & ACK == 0 { 0 } else { ack }.to_be_bytes());
        tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(payload);
        let length = tcp.len();
        let mut pseudo = [&from[..], &to[..], &[0, 6]].concat();
        pseudo.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        pseudo.extend(&tcp);
        put(&mut tcp, 16, checksum(&pseudo));
        let mut ip = vec![0x45, 0];
        ip.extend(
            u16::try_from(20 + length + more)
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        );
        ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        ip.extend(from);
        ip.extend(to);
        let sum = checksum(&ip);
        put(&mut ip, 10, sum);
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        if side == Side::Server {
            frame.splice(..12, [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        }
        frame.extend(ip);
        frame.extend(tcp);
        let mut body = Vec::with_capacity(frame.len() + 40);
        let time = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        body.extend(0u32.to_le_bytes());
        body.extend(u32::try_from(time >> 32).unwrap_or(u32::MAX).to_le_bytes());
        body.extend(
            u32::try_from(time & 0xffff_ffff)
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        for length in [frame.len(), frame.len() + more] {
            body.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        body.extend(&frame);
        body.resize(body.len().next_multiple_of(4), 0);
        if !comment.is_empty() {
            option(&mut body, 1, comment.as_bytes());
            option(&mut body, 0, b"");
        }
        self.block(6, &body);
    }
}

fn advance(flow: &mut Flow, side: Side, by: usize) {
    let by = u32::try_from(by).unwrap_or(u32::MAX);
    match side {
        Side::Judge => flow.judge = flow.judge.wrapping_add(by),
        Side::Server => flow.server = flow.server.wrapping_add(by),
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// That of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let high = pair.first().copied().unwrap_or_default();
        let low = pair.get(1).copied().unwrap_or_default();
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn checksums() {
        // The example of RFC 1071, section 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(super::checksum(&bytes), !0xddf2);
    }

    #[test]
    fn blocks_are_whole() {
        let bytes = super::write(&[], 0.0);
        let mut rest = bytes.as_slice();
        let mut kinds = Vec::new();
        while let Some((head, _)) = rest.split_at_checked(8) {
            let word = |at: usize| {
                let word = head.get(at..at + 4).unwrap_or_default();
                u32::from_le_bytes(word.try_into().unwrap_or_default())
            };
            kinds.push(word(0));
            rest = rest.get(word(4) as usize..).unwrap_or_default();
        }
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 4]);
        assert_eq!(rest, [0u8; 0]);
    }
}
