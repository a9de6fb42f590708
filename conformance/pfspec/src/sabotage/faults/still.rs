//! Servers that stand still where they may go on or end the session: neither comes.

use super::super::{Act, Channels, Fault, Side, Spdy as Session, WebSocket};
use super::{both, odd};
use crate::case::Way::{self, Spdy, Tunnel, V4, V4Base64};
use crate::case::{CHANNELS, SESSIONS};
use crate::probe::wire::{FIN, Frame};
use std::time::Duration;

const SOCKETS: &[Way] = &[Tunnel, V4, V4Base64];
const SOCKETS_AND_SPDY: &[Way] = &[Spdy, Tunnel, V4, V4Base64];

/// Longer than any judge waits.
const FOREVER: Duration = Duration::from_secs(60);

/// Nothing reaches the judge any more if this is so.
fn still(s: &mut Session, stands: bool) {
    if stands {
        s.pause(FOREVER);
    }
    s.pass();
}

/// Flags of a control frame in hand.
fn flags(s: &Session) -> u8 {
    let bytes = s.bytes();
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => bytes.get(4).copied().unwrap_or(0),
        _ => 0,
    }
}

pub(super) static FAULTS: &[Fault] = &[
    odd(
        "still/at-unreadable",
        "Stands still at a frame that cannot be read",
        &[
            "2.2", "2.3", "3.7", "3.8", "3.9", "5.8", "14.19", "3.1", "3.14",
        ],
        |s, _| {
            s.pause(FOREVER);
            let bytes = s.bytes();
            s.pass_bytes(&bytes);
        },
    ),
    both(
        "still/at-flags",
        "Stands still at a control frame with a flag that is not defined",
        &["2.10"],
        |s, side, f| {
            let known = matches!(f, Frame::SynStream { .. } | Frame::SynReply { .. });
            let stands = side == Side::Client && !known && flags(s) != 0;
            still(s, stands);
        },
    ),
    both(
        "still/at-stream-0",
        "Stands still at DATA on stream 0",
        &["2.8"],
        |s, side, f| {
            let stands = side == Side::Client && matches!(f, Frame::Data { id: 0, .. });
            still(s, stands);
        },
    ),
    both(
        "still/at-status-0",
        "Stands still at RST_STREAM of status 0",
        &["2.12"],
        |s, side, f| {
            let stands = matches!(f, Frame::RstStream { status: 0, .. });
            still(s, side == Side::Client && stands);
        },
    ),
    both(
        "still/at-undefined-type",
        "Stands still at a control frame of an undefined type",
        &["2.14", "2.13", "2.1"],
        |s, side, f| {
            let stands = side == Side::Client && matches!(f, Frame::Other { .. });
            still(s, stands);
        },
    ),
    both(
        "still/at-settings",
        "Stands still at SETTINGS",
        &["5.7", "5.8", "2.13"],
        |s, side, f| {
            let stands = side == Side::Client && matches!(f, Frame::Settings { .. });
            still(s, stands);
        },
    ),
    both(
        "still/at-window-update",
        "Stands still at WINDOW_UPDATE",
        &["9.1", "2.13", "2.10"],
        |s, side, f| {
            let stands = side == Side::Client && matches!(f, Frame::WindowUpdate { .. });
            still(s, stands);
        },
    ),
    both(
        "still/at-goaway",
        "Stands still at GOAWAY",
        &["5.9", "5.10", "5.13", "5.11", "5.14"],
        |s, side, f| {
            let stands = side == Side::Client && matches!(f, Frame::Goaway { .. });
            still(s, stands);
        },
    ),
    both(
        "still/at-even-id",
        "Stands still at a stream with an even id",
        &["4.1", "4.3"],
        |s, side, f| {
            let stands = matches!(f, Frame::SynStream { id, .. } if id % 2 == 0);
            still(s, side == Side::Client && stands);
        },
    ),
    both(
        "still/at-unknown-stream",
        "Stands still at a frame for a stream that was never opened",
        &["4.16", "4.17", "4.19", "4.20"],
        |s, side, f| {
            let unknown = |id: u32| id != 0 && !s.streams.contains_key(&id);
            let stands = match f {
                Frame::Data { id, .. } | Frame::RstStream { id, .. } => unknown(id),
                Frame::Headers { id, .. } | Frame::SynReply { id, .. } => unknown(id),
                _ => false,
            };
            still(s, side == Side::Client && stands);
        },
    ),
    both(
        "still/at-reset",
        "Stands still at RST_STREAM",
        &[
            "4.18", "8.20", "8.21", "8.23", "4.17", "8.24", "8.25", "9.11",
        ],
        |s, side, f| {
            let stands = matches!(f, Frame::RstStream { status, .. } if status != 0);
            still(s, side == Side::Client && stands);
        },
    ),
    both(
        "still/at-fin",
        "Stands still at the client's FIN",
        &["4.13", "8.14", "8.15"],
        |s, side, f| {
            let stands = matches!(f, Frame::Data { flags, .. } if flags & FIN != 0);
            still(s, side == Side::Client && stands);
        },
    ),
    both(
        "still/both-ways",
        "Sends nothing more on a stream that has brought 64 KiB",
        &["9.3", "9.2"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Server && s.known(id).up > 64 << 10 => {}
            _ => s.pass(),
        },
    ),
    Fault::new(
        "still/channel-both-ways",
        "Sends nothing more once 64 KiB have come",
        &["9.3"],
        CHANNELS,
        Act::Channels(|c: &mut Channels, side, _, payload| {
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            if side == Side::Client {
                c.n = c.n.saturating_add(length);
            }
            if side == Side::Client || c.n < 64 << 10 {
                c.pass();
            }
        }),
    ),
    both(
        "still/data-behind-the-pods-end",
        "Stands still at DATA behind the end of the pod's side",
        &["8.19", "9.11", "8.18"],
        |s, side, f| {
            let stands = matches!(f, Frame::Data { id, .. } if s.known(id).server_fin);
            still(s, side == Side::Client && stands);
        },
    ),
    Fault::new(
        "still/at-the-clients-end",
        "Keeps the connection when the client has sent FIN on TCP",
        &["5.14", "5.16", "6.23", "14.18", "8.29", "9.12"],
        SESSIONS,
        Act::HoldEnd(Side::Client),
    ),
    Fault::new(
        "still/at-the-sockets-end",
        "Keeps a WebSocket whose client has sent FIN on TCP",
        &["10.14", "11.19", "13.18", "13.17"],
        SOCKETS,
        Act::HoldEnd(Side::Client),
    ),
    Fault::new(
        "still/at-ping-of-websocket",
        "Stands still at PING of WebSocket",
        &["10.12", "10.11"],
        SOCKETS,
        Act::WebSocket(|w: &mut WebSocket, side, f| {
            if side == Side::Client && f.opcode() == crate::probe::websocket::PING {
                w.pause(FOREVER);
            }
            w.pass();
        }),
    ),
    Fault::new(
        "still/while-its-writes-wait",
        "Reads nothing while what it writes waits",
        &["9.2", "9.3"],
        SOCKETS_AND_SPDY,
        Act::Lockstep,
    ),
];
