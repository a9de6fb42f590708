//! Faults in the WebSocket messages that carry channels: their kind, base64, fragments and the end.

use super::super::{Act, Fault, Side, WebSocket, WsFrame};
use crate::case::Way::{self, V4, V4Base64};
use crate::probe::websocket::{BINARY, CLOSE, LAST, TEXT};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::time::Duration;

const BOTH: &[Way] = &[V4, V4Base64];
const BASE64: &[Way] = &[V4Base64];

const fn frames(
    id: &'static str,
    title: &'static str,
    breaks: &'static [&'static str],
    on: &'static [Way],
    act: fn(&mut WebSocket, Side, WsFrame),
) -> Fault {
    Fault::new(id, title, breaks, on, Act::WebSocket(act))
}

fn is_empty(f: &WsFrame) -> bool {
    f.is_data() && f.payload.is_empty()
}

pub(super) static FAULTS: &[Fault] = &[
    frames(
        "channel/empty-dies",
        "Ends the connection at an empty message",
        &["11.14"],
        BOTH,
        |w, side, f| {
            if side == Side::Client && is_empty(&f) {
                w.close();
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/empty-is-end",
        "Takes an empty message for the end",
        &["11.14"],
        BOTH,
        |w, side, f| {
            if side == Side::Client && is_empty(&f) {
                w.server(LAST | CLOSE, &1000u16.to_be_bytes());
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/never-closes",
        "Does not close when all ports are over",
        &["11.18"],
        BOTH,
        |w, side, f| {
            if side == Side::Server && f.opcode() == CLOSE {
                // And TCP stays open as well.
                w.pause(Duration::from_secs(80));
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/closes-without-close",
        "Ends without Close",
        &["11.18", "10.13"],
        BOTH,
        |w, side, f| {
            if side == Side::Server && f.opcode() == CLOSE {
                w.close();
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/fragments",
        "Sends fragments",
        &["11.16", "11.11"],
        BOTH,
        |w, side, f| {
            if side == Side::Server && f.is_data() && f.payload.len() > 1 {
                let (one, two) = f.payload.split_at(1);
                w.client(f.opcode(), one);
                w.client(LAST, two);
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/text-for-binary",
        "Binary channels in text messages",
        &["11.7", "11.10"],
        &[V4],
        |w, side, f| {
            if side == Side::Server && f.opcode() == BINARY {
                w.client(LAST | TEXT, &f.payload);
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/base64-binary",
        "Base64 in binary messages",
        &["11.10"],
        BASE64,
        |w, side, f| {
            if side == Side::Server && f.opcode() == TEXT {
                w.client(LAST | BINARY, &f.payload);
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/base64-no-padding",
        "Base64 without padding",
        &["11.10"],
        BASE64,
        |w, side, f| {
            if side == Side::Server && f.opcode() == TEXT {
                let text: Vec<u8> = f
                    .payload
                    .iter()
                    .copied()
                    .filter(|byte| *byte != b'=')
                    .collect();
                w.client(f.first, &text);
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/base64-url",
        "Base64 in the alphabet of URLs",
        &["11.10"],
        BASE64,
        |w, side, f| {
            if side == Side::Server && f.opcode() == TEXT {
                let text: Vec<u8> = f
                    .payload
                    .iter()
                    .map(|byte| match byte {
                        b'+' => b'-',
                        b'/' => b'_',
                        byte => *byte,
                    })
                    .collect();
                w.client(f.first, &text);
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/base64-lines",
        "Base64 in lines",
        &["11.10"],
        BASE64,
        |w, side, f| {
            if side == Side::Server && f.opcode() == TEXT && f.payload.len() > 77 {
                let lines: Vec<&[u8]> = f.payload.chunks(77).collect();
                w.client(f.first, &lines.join(&b'\n'));
            } else {
                w.pass();
            }
        },
    ),
    frames(
        "channel/base64-channel-byte",
        "The channel number as a byte in front of base64",
        &["11.10"],
        BASE64,
        |w, side, f| match f.payload.split_first() {
            Some((digit, text)) if side == Side::Server && f.opcode() == TEXT => {
                w.client(f.first, &[&[digit.wrapping_sub(b'0')][..], text].concat());
            }
            _ => w.pass(),
        },
    ),
    frames(
        "channel/bad-base64-taken",
        "Takes what is no base64 as it is",
        &["11.15"],
        BASE64,
        |w, side, f| {
            let text = f.payload.get(1..).unwrap_or_default();
            let bad = f.opcode() == TEXT && BASE64_STANDARD.decode(text).is_err();
            if side == Side::Client && bad {
                let taken = format!("0{}", BASE64_STANDARD.encode(text));
                w.server(LAST | TEXT, taken.as_bytes());
            } else {
                w.pass();
            }
        },
    ),
];
