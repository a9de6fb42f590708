//! Faults in the WebSocket messages that carry channels: their kind, base64, fragments and the end.

use super::super::{Fault, Side, WebSocket, WsFrame};
use super::socket;
use super::websocket::{down, up};
use crate::case::Way::{self, V4, V4Base64};
use crate::probe::websocket::{BINARY, CLOSE, LAST, TEXT};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::time::Duration;

const BOTH: &[Way] = &[V4, V4Base64];
const BASE64: &[Way] = &[V4Base64];

fn is_empty(f: &WsFrame) -> bool {
    f.is_data() && f.payload.is_empty()
}

pub(super) static FAULTS: &[Fault] = &[
    socket(
        "channel/empty-dies",
        "Ends the connection at an empty message",
        &["11.14"],
        BOTH,
        |w, side, f| {
            up(w, side, is_empty(&f), WebSocket::close);
        },
    ),
    socket(
        "channel/empty-is-end",
        "Takes an empty message for the end",
        &["11.14"],
        BOTH,
        |w, side, f| {
            up(w, side, is_empty(&f), |w| {
                w.server(LAST | CLOSE, &1000u16.to_be_bytes());
            });
        },
    ),
    socket(
        "channel/never-closes",
        "Does not close when all ports are over",
        &["11.18"],
        BOTH,
        |w, side, f| {
            // And TCP stays open as well.
            down(w, side, &f, CLOSE, |w| w.pause(Duration::from_secs(80)));
        },
    ),
    socket(
        "channel/closes-without-close",
        "Ends without Close",
        &["11.18", "10.13"],
        BOTH,
        |w, side, f| {
            down(w, side, &f, CLOSE, WebSocket::close);
        },
    ),
    socket(
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
    socket(
        "channel/text-for-binary",
        "Binary channels in text messages",
        &["11.7", "11.10"],
        &[V4],
        |w, side, f| {
            down(w, side, &f, BINARY, |w| w.client(LAST | TEXT, &f.payload));
        },
    ),
    socket(
        "channel/base64-binary",
        "Base64 in binary messages",
        &["11.10"],
        BASE64,
        |w, side, f| {
            down(w, side, &f, TEXT, |w| w.client(LAST | BINARY, &f.payload));
        },
    ),
    socket(
        "channel/base64-no-padding",
        "Base64 without padding",
        &["11.10"],
        BASE64,
        |w, side, f| {
            down(w, side, &f, TEXT, |w| {
                let bytes = f.payload.iter().copied();
                let text: Vec<u8> = bytes.filter(|byte| *byte != b'=').collect();
                w.client(f.first, &text);
            });
        },
    ),
    socket(
        "channel/base64-url",
        "Base64 in the alphabet of URLs",
        &["11.10"],
        BASE64,
        |w, side, f| {
            down(w, side, &f, TEXT, |w| {
                let bytes = f.payload.iter();
                let text: Vec<u8> = bytes
                    .map(|byte| match byte {
                        b'+' => b'-',
                        b'/' => b'_',
                        byte => *byte,
                    })
                    .collect();
                w.client(f.first, &text);
            });
        },
    ),
    socket(
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
    socket(
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
    socket(
        "channel/bad-base64-taken",
        "Takes what is no base64 as it is",
        &["11.15"],
        BASE64,
        |w, side, f| {
            let text = f.payload.get(1..).unwrap_or_default();
            let bad = f.opcode() == TEXT && BASE64_STANDARD.decode(text).is_err();
            up(w, side, bad, |w| {
                let taken = format!("0{}", BASE64_STANDARD.encode(text));
                w.server(LAST | TEXT, taken.as_bytes());
            });
        },
    ),
];
