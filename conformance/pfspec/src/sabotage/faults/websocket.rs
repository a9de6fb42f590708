//! Faults in WebSocket frames, below the tunnel and the channels.

use super::super::{Fault, Side, WebSocket, WsFrame};
use super::socket;
use crate::case::Way::{self, Http, Tunnel, V4, V4Base64};
use crate::probe::websocket::{
    BINARY, CLOSE, CONTINUATION, LAST, PING, PONG, TEXT, frame, frame_in_form,
};

const SOCKETS: &[Way] = &[Http, Tunnel, V4, V4Base64];

/// Frames of the server of an opcode.
pub(super) fn down(
    w: &mut WebSocket,
    side: Side,
    f: &WsFrame,
    opcode: u8,
    act: impl FnOnce(&mut WebSocket),
) {
    if side == Side::Server && f.opcode() == opcode {
        act(w);
    } else {
        w.pass();
    }
}

/// Frames of the client that are as `bad` says.
pub(super) fn up(w: &mut WebSocket, side: Side, bad: bool, act: impl FnOnce(&mut WebSocket)) {
    if side == Side::Client && bad {
        act(w);
    } else {
        w.pass();
    }
}

/// Frames of the server that carry data.
pub(super) fn data(w: &mut WebSocket, side: Side, f: &WsFrame, act: impl FnOnce(&mut WebSocket)) {
    if side == Side::Server && f.is_data() {
        act(w);
    } else {
        w.pass();
    }
}

/// The form in which the length was written.
fn form(f: &WsFrame) -> u8 {
    match f.bytes.get(1).map(|second| second & 0x7f) {
        Some(126) => 2,
        Some(127) => 8,
        _ => 1,
    }
}

pub(super) fn starts_message(f: &WsFrame) -> bool {
    matches!(f.opcode(), TEXT | BINARY)
}

pub(super) static FAULTS: &[Fault] = &[
    socket(
        "websocket/masked",
        "Frames of the server are masked",
        &["10.7"],
        SOCKETS,
        |w, side, f| {
            data(w, side, &f, |w| {
                w.client_bytes(frame(f.first, true, &f.payload));
            });
        },
    ),
    socket(
        "websocket/reserved-bit",
        "Frames of the server have a reserved bit",
        &["10.6", "14.13"],
        SOCKETS,
        |w, side, f| {
            data(w, side, &f, |w| w.client(f.first | 0x40, &f.payload));
        },
    ),
    socket(
        "websocket/unknown-opcode",
        "Frames of an undefined opcode",
        &["10.12", "14.13"],
        SOCKETS,
        |w, side, f| {
            data(w, side, &f, |w| {
                w.client(LAST | 3, b"");
                w.pass();
            });
        },
    ),
    socket(
        "websocket/new-message-in-fragments",
        "A new message within the fragments of another",
        &["14.13", "13.13"],
        SOCKETS,
        |w, side, f| {
            data(w, side, &f, |w| {
                w.client(f.opcode(), &f.payload);
                w.client(f.first, b"");
            });
        },
    ),
    socket(
        "websocket/ping-unanswered",
        "Does not answer PING",
        &["10.10"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, PONG, |_| {});
        },
    ),
    socket(
        "websocket/pong-empty",
        "PONG without the payload of PING",
        &["10.10"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, PONG, |w| w.client(LAST | PONG, b""));
        },
    ),
    socket(
        "websocket/pong-other",
        "PONG with another payload",
        &["10.10"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, PONG, |w| {
                let other: Vec<u8> = f.payload.iter().map(|byte| byte ^ 1).chain([1]).collect();
                w.client(LAST | PONG, &other);
            });
        },
    ),
    socket(
        "websocket/ping-for-pong",
        "Answers PING with PING",
        &["10.10"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, PONG, |w| w.client(LAST | PING, &f.payload));
        },
    ),
    socket(
        "websocket/pong-fragmented",
        "PONG in fragments",
        &["10.12"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, PONG, |w| {
                w.client(PONG, &f.payload);
                w.client(LAST | CONTINUATION, b"");
            });
        },
    ),
    socket(
        "websocket/pong-long",
        "PONG of more than 125 bytes",
        &["10.12"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, PONG, |w| w.client(LAST | PONG, &[b'x'; 200]));
        },
    ),
    socket(
        "websocket/ping-dies",
        "Ends the connection at PING",
        &["10.10"],
        SOCKETS,
        |w, side, f| {
            up(w, side, f.opcode() == PING, WebSocket::close);
        },
    ),
    socket(
        "websocket/pong-dies",
        "Ends the connection at PONG that it did not ask for",
        &["10.10"],
        SOCKETS,
        |w, side, f| {
            up(w, side, f.opcode() == PONG, WebSocket::close);
        },
    ),
    socket(
        "websocket/empty-ping-dies",
        "Ends the connection at PING without payload",
        &["10.10"],
        SOCKETS,
        |w, side, f| {
            up(
                w,
                side,
                f.opcode() == PING && f.payload.is_empty(),
                WebSocket::close,
            );
        },
    ),
    socket(
        "websocket/close-unanswered",
        "Does not answer Close, and closes",
        &["10.13"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, CLOSE, |_| {});
        },
    ),
    socket(
        "websocket/close-ignored",
        "Goes on behind Close",
        &["10.13", "13.17", "11.19"],
        SOCKETS,
        |w, side, f| {
            up(w, side, f.opcode() == CLOSE, |_| {});
        },
    ),
    socket(
        "websocket/close-other-code",
        "Close with code 1011",
        &["13.16", "10.13"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, CLOSE, |w| {
                w.client(LAST | CLOSE, &1011u16.to_be_bytes());
            });
        },
    ),
    socket(
        "websocket/close-illegal-code",
        "Close with code 1006",
        &["10.13"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, CLOSE, |w| {
                w.client(LAST | CLOSE, &1006u16.to_be_bytes());
            });
        },
    ),
    socket(
        "websocket/close-of-one-byte",
        "Close with a payload of a byte",
        &["10.13", "14.13"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, CLOSE, |w| w.client(LAST | CLOSE, b"x"));
        },
    ),
    socket(
        "websocket/data-behind-close",
        "Frames behind Close",
        &["10.15"],
        SOCKETS,
        |w, side, f| {
            down(w, side, &f, CLOSE, |w| {
                w.pass();
                w.client(LAST | BINARY, b"late");
            });
        },
    ),
    socket(
        "websocket/unmasked-accepted",
        "Accepts frames without a mask",
        &["10.8"],
        SOCKETS,
        |w, side, f| {
            up(w, side, !f.masked, |w| w.server(f.first, &f.payload));
        },
    ),
    socket(
        "websocket/reserved-accepted",
        "Accepts reserved bits",
        &["14.13"],
        SOCKETS,
        |w, side, f| {
            up(w, side, f.first & 0x70 != 0, |w| {
                w.server(f.first & 0x8f, &f.payload);
            });
        },
    ),
    socket(
        "websocket/opcodes-skipped",
        "Steps over undefined opcodes",
        &["14.13"],
        SOCKETS,
        |w, side, f| {
            up(w, side, matches!(f.opcode(), 3..=7 | 11..=15), |_| {});
        },
    ),
    socket(
        "websocket/long-control-accepted",
        "Accepts control frames that are long or in fragments",
        &["14.13", "10.12"],
        SOCKETS,
        |w, side, f| {
            let bad = f.opcode() >= 8 && (f.payload.len() > 125 || f.first & LAST == 0);
            up(w, side, bad, |w| {
                w.server(LAST | f.first, f.payload.get(..100).unwrap_or(&f.payload));
            });
        },
    ),
    socket(
        "websocket/stray-continuation-accepted",
        "Steps over a continuation of nothing",
        &["14.13"],
        SOCKETS,
        |w, side, f| {
            if side == Side::Client && f.is_data() {
                let within = w.flag;
                w.flag = f.first & LAST == 0;
                if f.opcode() == CONTINUATION && !within {
                    return;
                }
            }
            w.pass();
        },
    ),
    socket(
        "websocket/new-message-accepted",
        "Accepts a new message within fragments",
        &["14.13"],
        SOCKETS,
        |w, side, f| {
            if side == Side::Client && f.is_data() {
                let within = w.flag;
                w.flag = f.first & LAST == 0;
                if starts_message(&f) && within {
                    w.server(LAST | CONTINUATION, b"");
                }
            }
            w.pass();
        },
    ),
    socket(
        "websocket/long-form-dies",
        "Ends the connection at a length that is not in its shortest form",
        &["10.9"],
        SOCKETS,
        |w, side, f| {
            let shortest = if f.payload.len() < 126 {
                1
            } else if f.payload.len() < 65536 {
                2
            } else {
                8
            };
            up(w, side, form(&f) != shortest, WebSocket::close);
        },
    ),
    socket(
        "websocket/16-bit-length-dies",
        "Ends the connection at a length of 16 bits",
        &["10.9", "13.14"],
        SOCKETS,
        |w, side, f| {
            up(w, side, form(&f) == 2, WebSocket::close);
        },
    ),
    socket(
        "websocket/64-bit-length-dies",
        "Ends the connection at a length of 64 bits",
        &["10.9", "13.14"],
        SOCKETS,
        |w, side, f| {
            up(w, side, form(&f) == 8, WebSocket::close);
        },
    ),
    socket(
        "websocket/length-of-15-bits",
        "Takes lengths above 32767 for negative and closes",
        &["10.9", "13.14"],
        SOCKETS,
        |w, side, f| {
            up(w, side, f.payload.len() > 32767, WebSocket::close);
        },
    ),
    socket(
        "websocket/control-in-fragments-dies",
        "Ends the connection at a control frame between fragments",
        &["10.11"],
        SOCKETS,
        |w, side, f| {
            if side == Side::Client {
                if f.is_data() {
                    w.flag = f.first & LAST == 0;
                } else if w.flag {
                    w.close();
                    return;
                }
            }
            w.pass();
        },
    ),
    socket(
        "websocket/data-in-64-bit-form",
        "Writes every length in 8 bytes",
        &["10.9"],
        SOCKETS,
        |w, side, f| {
            data(w, side, &f, |w| {
                w.client_bytes(frame_in_form(f.first, false, 8, &f.payload));
            });
        },
    ),
    socket(
        "websocket/short-frame-cut",
        "Loses the last byte of a message of less than 126 bytes",
        &["10.9"],
        SOCKETS,
        |w, side, f| {
            let short = f.is_data() && form(&f) == 1 && f.payload.len() > 1;
            up(w, side, short, |w| {
                w.server(
                    f.first,
                    f.payload.get(..f.payload.len() - 1).unwrap_or_default(),
                );
            });
        },
    ),
];
