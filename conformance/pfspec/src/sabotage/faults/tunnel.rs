//! Faults in the messages of tunnels.

use super::super::{Fault, Side, WebSocket};
use super::socket;
use super::websocket::{data, down, starts_message, up};
use crate::case::Way::{self, Http, Tunnel};
use crate::probe::websocket::{BINARY, CLOSE, CONTINUATION, LAST, TEXT};
use std::time::Duration;

const TUNNEL: &[Way] = &[Http, Tunnel];

pub(super) static FAULTS: &[Fault] = &[
    socket(
        "tunnel/text",
        "Sends text messages",
        &["13.10"],
        TUNNEL,
        |w, side, f| {
            down(w, side, &f, BINARY, |w| {
                w.client((f.first & LAST) | TEXT, &f.payload);
            });
        },
    ),
    socket(
        "tunnel/text-accepted",
        "Accepts text messages",
        &["13.11"],
        TUNNEL,
        |w, side, f| {
            up(w, side, f.opcode() == TEXT, |w| {
                w.server((f.first & LAST) | BINARY, &f.payload);
            });
        },
    ),
    socket(
        "tunnel/text-skipped",
        "Steps over text messages",
        &["13.11"],
        TUNNEL,
        |w, side, f| {
            up(w, side, f.opcode() == TEXT, |_| {});
        },
    ),
    socket(
        "tunnel/empty-dies",
        "Ends the connection at an empty message",
        &["13.12"],
        TUNNEL,
        |w, side, f| {
            up(
                w,
                side,
                f.is_data() && f.payload.is_empty(),
                WebSocket::close,
            );
        },
    ),
    socket(
        "tunnel/empty-message-dies",
        "Ends the connection at an empty binary message in one frame",
        &["13.12"],
        TUNNEL,
        |w, side, f| {
            up(
                w,
                side,
                f.first == LAST | BINARY && f.payload.is_empty(),
                WebSocket::close,
            );
        },
    ),
    socket(
        "tunnel/fragments-lost",
        "Loses all fragments but the first",
        &["13.13"],
        TUNNEL,
        |w, side, f| {
            up(
                w,
                side,
                f.is_data() && (f.opcode() == CONTINUATION || f.first & LAST == 0),
                |w| {
                    if starts_message(&f) {
                        w.server(f.first | LAST, &f.payload);
                    }
                },
            );
        },
    ),
    socket(
        "tunnel/fragments-die",
        "Ends the connection at a fragment",
        &["13.13"],
        TUNNEL,
        |w, side, f| {
            up(
                w,
                side,
                f.is_data() && f.first & LAST == 0,
                WebSocket::close,
            );
        },
    ),
    socket(
        "tunnel/empty-last-fragment-dies",
        "Ends the connection at an empty last fragment",
        &["13.13"],
        TUNNEL,
        |w, side, f| {
            up(
                w,
                side,
                f.first == LAST && f.payload.is_empty(),
                WebSocket::close,
            );
        },
    ),
    socket(
        "tunnel/frame-per-message",
        "Takes a message for a frame of SPDY",
        &["13.12"],
        TUNNEL,
        |w, side, f| {
            let whole = f.payload.get(5..8).is_some_and(|field| {
                let length = field
                    .iter()
                    .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
                f.payload.len() == 8 + length
            });
            up(
                w,
                side,
                f.is_data() && !f.payload.is_empty() && !whole,
                WebSocket::close,
            );
        },
    ),
    socket(
        "tunnel/one-frame-per-message",
        "Reads the first frame of SPDY of a message only",
        &["13.12"],
        TUNNEL,
        |w, side, f| {
            let first = f.payload.get(5..8).map_or(usize::MAX, |field| {
                8 + field
                    .iter()
                    .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte))
            });
            up(w, side, f.is_data() && f.payload.len() > first, |w| {
                w.server(f.first, f.payload.get(..first).unwrap_or_default());
            });
        },
    ),
    socket(
        "tunnel/64k-message-dies",
        "Ends the connection at messages above 64 KiB",
        &["13.14"],
        TUNNEL,
        |w, side, f| {
            up(w, side, f.payload.len() > 65536, WebSocket::close);
        },
    ),
    socket(
        "tunnel/4k-message-cut",
        "Loses what is behind 4096 bytes of a message",
        &["13.14"],
        TUNNEL,
        |w, side, f| {
            up(w, side, f.payload.len() > 4096, |w| {
                w.server(f.first, f.payload.get(..4096).unwrap_or_default());
            });
        },
    ),
    socket(
        "tunnel/channel-byte",
        "A channel number in front of each message",
        &["13.10", "13.12"],
        TUNNEL,
        |w, side, f| {
            down(w, side, &f, BINARY, |w| {
                w.client(f.first, &[&[0][..], &f.payload].concat());
            });
        },
    ),
    socket(
        "tunnel/first-message-lost",
        "Loses the client's first message",
        &["13.12"],
        TUNNEL,
        |w, side, f| {
            let first =
                side == Side::Client && f.is_data() && !std::mem::replace(&mut w.flag, true);
            if !first {
                w.pass();
            }
        },
    ),
    socket(
        "tunnel/first-answer-lost",
        "Loses its own first message",
        &["13.9"],
        TUNNEL,
        |w, side, f| {
            let first =
                side == Side::Server && f.is_data() && !std::mem::replace(&mut w.flag, true);
            if !first {
                w.pass();
            }
        },
    ),
    socket(
        "tunnel/greeting",
        "An empty text message at the start",
        &["13.10"],
        TUNNEL,
        |w, side, f| {
            if side == Side::Client && f.is_data() && !std::mem::replace(&mut w.flag, true) {
                w.client(LAST | TEXT, b"");
            }
            w.pass();
        },
    ),
    socket(
        "tunnel/messages-joined",
        "Holds a message until the next comes",
        &["13.12", "8.1"],
        TUNNEL,
        |w, side, f| {
            data(w, side, &f, |w| {
                let before = std::mem::replace(&mut w.held, f.payload.clone());
                if !before.is_empty() {
                    w.client(LAST | BINARY, &before);
                }
            });
        },
    ),
    socket(
        "tunnel/never-closes",
        "Does not close the WebSocket when the session has ended",
        &["13.17", "5.11", "5.14", "5.16", "14.18"],
        TUNNEL,
        |w, side, f| {
            down(w, side, &f, CLOSE, |w| {
                // And TCP stays open as well.
                w.pause(Duration::from_secs(80));
                w.pass();
            });
        },
    ),
];
