//! Servers with a limit, or a habit, that what is usual runs into.

use super::super::{Act, Asked, Channels, Fault, Side};
use super::{client, server};
use crate::case::CHANNELS;
use crate::case::Way::{self, Http, Spdy, Tunnel, V4, V4Base64};
use crate::probe::session::data;
use crate::probe::wire::{FIN, Frame};

const ALL: &[Way] = &[Http, Spdy, Tunnel, V4, V4Base64];

const fn asked(
    id: &'static str,
    title: &'static str,
    breaks: &'static [&'static str],
    act: fn(&mut Asked),
) -> Fault {
    Fault::new(id, title, breaks, ALL, Act::Request(act))
}

/// Whether any of the fields is as `is` says.
fn any(headers: &[(String, String)], is: impl Fn(&str, &str) -> bool) -> bool {
    headers.iter().any(|(name, value)| is(name, value))
}

pub(super) static FAULTS: &[Fault] = &[
    asked(
        "usual/query-refused",
        "Refuses a SPDY upgrade with a query",
        &["6.2"],
        |a| {
            if a.head.upgrades_to("spdy") && a.head.first.contains('?') {
                a.refuse("400 Bad Request", "no query here\n");
            }
        },
    ),
    asked(
        "usual/head-of-2-kib",
        "Refuses heads of more than 2 KiB",
        &["14.8"],
        |a| {
            let fields = a.head.fields.iter();
            let length: usize = fields
                .map(|(name, value)| name.len() + value.len() + 4)
                .sum();
            if length > 2 << 10 {
                a.refuse("431 Request Header Fields Too Large", "too large\n");
            }
        },
    ),
    asked(
        "usual/stray-protocol-refused",
        "Refuses a tunnel that names its protocol in X-Stream-Protocol-Version as well",
        &["13.4"],
        |a| {
            if a.head.upgrades_to("websocket") && a.head.has("x-stream-protocol-version") {
                a.refuse("400 Bad Request", "one protocol is enough\n");
            }
        },
    ),
    client(
        "usual/48-pairs",
        "Refuses streams with more than 48 names",
        &["14.2"],
        |s, f| match f {
            Frame::SynStream { id, headers, .. } if headers.len() > 48 => s.rst(id, 1),
            _ => s.pass(),
        },
    ),
    client(
        "usual/value-of-4-kib",
        "Refuses streams with a value of more than 4 KiB",
        &["14.2"],
        |s, f| match f {
            Frame::SynStream { id, headers, .. } if any(&headers, |_, v| v.len() > 4 << 10) => {
                s.rst(id, 1);
            }
            _ => s.pass(),
        },
    ),
    client(
        "usual/one-connection-for-all",
        "Sends what comes for a later pair to the first pod's connection",
        &["8.2"],
        |s, f| match f {
            Frame::Data { id, flags, payload } if s.is_data(id) => {
                let first = s.streams.iter().find(|(_, known)| known.kind == "data");
                let first = first.map_or(id, |(id, _)| *id);
                s.server(&data(first, flags, &payload));
            }
            _ => s.pass(),
        },
    ),
    server(
        "usual/writes-of-4-kib",
        "Loses what is above 4 KiB in one write",
        &["6.22"],
        |s, f| match f {
            Frame::Data { id, flags, payload } if payload.len() > 4 << 10 => {
                let (kept, _) = payload.split_at(4 << 10);
                s.client(&data(id, flags, kept));
            }
            _ => s.pass(),
        },
    ),
    server(
        "usual/single-bytes-held",
        "Holds a single byte until more comes",
        &["6.22", "8.7"],
        |s, f| match f {
            Frame::Data { id, flags, payload } if payload.len() == 1 && flags & FIN == 0 => {
                s.held.push(data(id, 0, &payload));
            }
            Frame::Data { id, .. } => {
                for frame in std::mem::take(&mut s.held) {
                    if frame.stream() == Some(id) {
                        s.client(&frame);
                    } else {
                        s.held.push(frame);
                    }
                }
                s.pass();
            }
            _ => s.pass(),
        },
    ),
    Fault::new(
        "usual/channel-waits-for-client",
        "Dials when the client has sent something, not at the start",
        &["11.12"],
        CHANNELS,
        Act::Channels(|c: &mut Channels, side, channel, _| {
            if side == Side::Client {
                c.n = 1;
            }
            if side == Side::Client || c.n == 1 || c.is_first(channel) {
                c.pass();
            }
        }),
    ),
];
