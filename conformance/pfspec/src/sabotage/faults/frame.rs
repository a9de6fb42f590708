//! Faults in frames of SPDY.

use super::super::{Act, Fault, Side, Spdy};
use super::{begin, both, client, odd, server};
use crate::case::SESSIONS;
use crate::probe::session::data;
use crate::probe::wire::{self, FIN, Frame};

fn settings() -> Frame {
    Frame::Settings {
        flags: 0,
        entries: vec![(0, 7, 65536)],
    }
}

fn other(kind: u16) -> Frame {
    Frame::Other {
        kind,
        flags: 0,
        payload: vec![0; 4],
    }
}

/// Sends a frame that nobody asked for before the first SYN_REPLY.
fn before_reply(s: &mut Spdy, frame: &Frame, unasked: &Frame) {
    if matches!(frame, Frame::SynReply { .. }) && s.once() {
        s.client(unasked);
    }
    s.pass();
}

pub(super) static FAULTS: &[Fault] = &[
    server(
        "frame/version-2",
        "Control frames say version 2",
        &["2.1"],
        |s, f| {
            s.encoder.version = 2;
            s.client(&f);
        },
    ),
    server(
        "frame/ping-version-2",
        "PING says version 2",
        &["2.1"],
        |s, f| match f {
            Frame::Ping(id) => {
                let bytes = wire::control(2, wire::PING, 0, &id.to_be_bytes());
                s.client_bytes(&bytes);
            }
            _ => s.pass(),
        },
    ),
    server(
        "frame/data-flags",
        "DATA has a flag that is not defined",
        &["2.9", "2.10"],
        |s, f| match f {
            Frame::Data { id, flags, payload } => s.client(&data(id, flags | 2, &payload)),
            _ => s.pass(),
        },
    ),
    server(
        "frame/ping-flags",
        "PING has a flag",
        &["2.10"],
        |s, f| match f {
            Frame::Ping(id) => {
                let bytes = wire::control(3, wire::PING, 1, &id.to_be_bytes());
                s.client_bytes(&bytes);
            }
            _ => s.pass(),
        },
    ),
    server(
        "frame/rst-flags",
        "RST_STREAM has a flag",
        &["2.10"],
        |s, f| match f {
            Frame::RstStream { .. } => {
                let mut bytes = s.bytes();
                if let Some(flags) = bytes.get_mut(4) {
                    *flags = 1;
                }
                s.client_bytes(&bytes);
            }
            _ => s.pass(),
        },
    ),
    server(
        "frame/ping-long",
        "PING has 8 bytes",
        &["2.2"],
        |s, f| match f {
            Frame::Ping(id) => {
                let payload = [id.to_be_bytes(), [0; 4]].concat();
                s.client_bytes(&wire::control(3, wire::PING, 0, &payload));
            }
            _ => s.pass(),
        },
    ),
    server(
        "frame/rst-long",
        "RST_STREAM has 12 bytes",
        &["2.2"],
        |s, f| match f {
            Frame::RstStream { id, status } => {
                let payload = [id.to_be_bytes(), status.to_be_bytes(), [0; 4]].concat();
                s.client_bytes(&wire::control(3, wire::RST_STREAM, 0, &payload));
            }
            _ => s.pass(),
        },
    ),
    server(
        "frame/data-long",
        "DATA claims a byte more than it has",
        &["2.2"],
        |s, f| match f {
            Frame::Data { payload, .. } if !payload.is_empty() => {
                let mut bytes = s.bytes();
                bytes.pop();
                s.client_bytes(&bytes);
            }
            _ => s.pass(),
        },
    ),
    server(
        "frame/reply-top-bit",
        "The unused bit of SYN_REPLY is set",
        &["2.15"],
        |s, f| match f {
            Frame::SynReply { .. } => {
                let mut bytes = s.encoder.encode(&f);
                if let Some(byte) = bytes.get_mut(8) {
                    *byte |= 0x80;
                }
                s.client_bytes(&bytes);
            }
            _ => s.pass(),
        },
    ),
    server(
        "frame/rst-status-0",
        "RST_STREAM has status 0",
        &["2.12"],
        |s, f| match f {
            Frame::RstStream { id, .. } => s.rst(id, 0),
            _ => s.pass(),
        },
    ),
    server(
        "frame/data-on-stream-0",
        "DATA of a stream is sent on stream 0 as well",
        &["2.8"],
        |s, f| {
            if let Frame::Data { payload, .. } = &f
                && !payload.is_empty()
            {
                s.data(0, payload);
            }
            s.pass();
        },
    ),
    server(
        "frame/unasked-settings",
        "Sends SETTINGS before its first SYN_REPLY",
        &["2.13"],
        |s, f| {
            before_reply(s, &f, &settings());
        },
    ),
    server(
        "frame/unasked-type-5",
        "Sends NOOP before its first SYN_REPLY",
        &["2.13"],
        |s, f| {
            before_reply(s, &f, &other(5));
        },
    ),
    server(
        "frame/unasked-unknown",
        "Sends a frame of an undefined type",
        &["2.13"],
        |s, f| {
            before_reply(s, &f, &other(77));
        },
    ),
    server(
        "frame/unasked-headers",
        "Sends HEADERS behind SYN_REPLY",
        &["2.13"],
        |s, f| {
            s.pass();
            if let Frame::SynReply { id, .. } = f {
                s.client(&Frame::Headers {
                    id,
                    flags: 0,
                    headers: vec![("a".to_owned(), "b".to_owned())],
                });
            }
        },
    ),
    server(
        "frame/unasked-window-update",
        "Sends WINDOW_UPDATE for what it gets",
        &["2.13"],
        |s, f| {
            s.pass();
            if let Frame::Data { id, payload, .. } = f
                && !payload.is_empty()
            {
                let delta = u32::try_from(payload.len()).unwrap_or(1);
                s.client(&Frame::WindowUpdate { id, delta });
            }
        },
    ),
    begin(
        "frame/settings-first",
        "Sends SETTINGS at the start",
        &["5.1", "2.13"],
        |s| s.client(&settings()),
    ),
    begin(
        "frame/window-update-first",
        "Sends WINDOW_UPDATE of the session at the start",
        &["5.1", "2.13"],
        |s| {
            s.client(&Frame::WindowUpdate {
                id: 0,
                delta: 1 << 20,
            });
        },
    ),
    begin(
        "frame/ping-first",
        "Sends PING at the start",
        &["5.1", "5.2"],
        |s| s.client(&Frame::Ping(2)),
    ),
    client(
        "frame/cut-dies",
        "Ends the session at a frame that comes in pieces",
        &["2.4"],
        |s, _| {
            if s.cut {
                s.close();
            } else {
                s.pass();
            }
        },
    ),
    client(
        "frame/cut-lost",
        "Loses a frame that comes in pieces",
        &["2.4"],
        |s, _| {
            if !s.cut {
                s.pass();
            }
        },
    ),
    client(
        "frame/joined-lost",
        "Loses all frames but the first of a read",
        &["2.4", "7.12"],
        |s, _| {
            if !s.joined {
                s.pass();
            }
        },
    ),
    both(
        "frame/64k-dies",
        "Ends the session at DATA of 64 KiB",
        &["2.5"],
        |s, side, f| match f {
            Frame::Data { payload, .. } if side == Side::Client && payload.len() >= 65536 => {
                s.close();
            }
            _ => s.pass(),
        },
    ),
    both(
        "frame/32k-cut",
        "Takes the first 32 KiB of DATA only",
        &["2.5"],
        |s, side, f| match f {
            Frame::Data { id, flags, payload } if side == Side::Client && payload.len() > 32768 => {
                s.server(&data(id, flags, payload.get(..32768).unwrap_or_default()));
            }
            _ => s.pass(),
        },
    ),
    both(
        "frame/16-bit-length",
        "Takes lengths as 16 bits",
        &["2.5"],
        |s, side, f| match f {
            Frame::Data { id, flags, payload } if side == Side::Client && payload.len() > 65535 => {
                let length = payload.len() & 0xffff;
                s.server(&data(id, flags, payload.get(..length).unwrap_or_default()));
            }
            _ => s.pass(),
        },
    ),
    both(
        "frame/empty-data-is-end",
        "Takes empty DATA for the end",
        &["2.7"],
        |s, side, f| match f {
            Frame::Data { id, payload, .. } if side == Side::Client && payload.is_empty() => {
                s.server(&data(id, FIN, b""));
            }
            _ => s.pass(),
        },
    ),
    both(
        "frame/empty-data-dies",
        "Ends the session at empty DATA without FIN",
        &["2.7"],
        |s, side, f| match f {
            Frame::Data {
                flags: 0, payload, ..
            } if side == Side::Client && payload.is_empty() => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "frame/unknown-flags-die",
        "Ends the session at an undefined flag of DATA",
        &["2.9"],
        |s, side, f| match f {
            Frame::Data { flags, .. } if side == Side::Client && flags > 1 => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "frame/unknown-flags-end",
        "Takes any flag of DATA for FIN",
        &["2.9"],
        |s, side, f| match f {
            Frame::Data { id, flags, payload } if side == Side::Client && flags > 1 => {
                s.server(&data(id, FIN, &payload));
            }
            _ => s.pass(),
        },
    ),
    both(
        "frame/unknown-flags-lost",
        "Loses DATA with an undefined flag",
        &["2.9"],
        |s, side, f| match f {
            Frame::Data { flags, .. } if side == Side::Client && flags > 1 => {}
            _ => s.pass(),
        },
    ),
    both(
        "frame/unknown-status-dies",
        "Ends the session at a status that it does not know",
        &["2.12"],
        |s, side, f| match f {
            Frame::RstStream { status, .. } if side == Side::Client && status > 11 => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "frame/unknown-status-ignored",
        "Ignores RST_STREAM with a status that it does not know",
        &["2.12"],
        |s, side, f| match f {
            Frame::RstStream { status, .. } if side == Side::Client && status > 11 => {}
            _ => s.pass(),
        },
    ),
    odd(
        "frame/wrong-length-skipped",
        "Steps over frames of a wrong length",
        &["2.3"],
        |s, what| {
            let bytes = s.bytes();
            if what.contains("header") || !what.contains("bytes") {
                s.pass_bytes(&bytes);
            }
        },
    ),
    both(
        "frame/odd-length-cut",
        "Loses the last byte of DATA of an odd length",
        &["2.5"],
        |s, side, f| match f {
            Frame::Data { id, flags, payload }
                if side == Side::Client && payload.len() > 1 && payload.len() % 2 == 1 =>
            {
                let kept = payload.get(..payload.len() - 1).unwrap_or_default();
                s.server(&data(id, flags, kept));
            }
            _ => s.pass(),
        },
    ),
    both(
        "frame/single-bytes-lost",
        "Loses DATA of one byte",
        &["2.5", "6.22"],
        |s, side, f| match f {
            Frame::Data {
                flags: 0, payload, ..
            } if side == Side::Client && payload.len() == 1 => {}
            _ => s.pass(),
        },
    ),
    client(
        "frame/top-bit-unanswered",
        "Says nothing of SYN_STREAM with the unused bit set",
        &["2.15"],
        |s, f| {
            let set = s.bytes().get(8).is_some_and(|byte| byte & 0x80 != 0);
            if !(set && matches!(f, Frame::SynStream { .. })) {
                s.pass();
            }
        },
    ),
    both(
        "frame/spare-bits-die",
        "Ends the session at spare bits, or a slot, of SYN_STREAM",
        &["2.11"],
        |s, side, f| {
            let bytes = s.bytes();
            let spare = matches!(bytes.get(16..18), Some([a, b]) if a & 0x1f != 0 || *b != 0);
            if side == Side::Client && spare && matches!(f, Frame::SynStream { .. }) {
                s.close();
            } else {
                s.pass();
            }
        },
    ),
    Fault::new(
        "frame/cut-taken",
        "Takes a frame that the end of the connection has cut for a whole one",
        &["14.18"],
        SESSIONS,
        Act::TakeCut,
    ),
];
