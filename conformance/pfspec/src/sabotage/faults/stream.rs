//! Faults in the life of streams.

use super::super::{Fault, Side, Spdy};
use super::{both, client, is_fin, server};
use crate::probe::session::{data, fin};
use crate::probe::wire::{FIN, Frame};
use std::time::Duration;

pub(super) fn reply(id: u32) -> Frame {
    Frame::SynReply {
        id,
        flags: 0,
        headers: Vec::new(),
    }
}

/// Sends what is held for a stream.
pub(super) fn release(s: &mut Spdy, id: u32) {
    let held = std::mem::take(&mut s.held);
    for frame in held {
        if frame.stream() == Some(id) {
            s.client(&frame);
        } else {
            s.held.push(frame);
        }
    }
}

pub(super) static FAULTS: &[Fault] = &[
    server(
        "stream/no-reply",
        "Never sends SYN_REPLY",
        &["4.7"],
        |s, f| {
            if !matches!(f, Frame::SynReply { .. }) {
                s.pass();
            }
        },
    ),
    server(
        "stream/no-reply-error",
        "No SYN_REPLY for error streams",
        &["4.7", "7.13"],
        |s, f| match f {
            Frame::SynReply { id, .. } if s.is_error(id) => {}
            _ => s.pass(),
        },
    ),
    server(
        "stream/no-reply-data",
        "No SYN_REPLY for data streams",
        &["4.7", "4.8", "7.13"],
        |s, f| match f {
            Frame::SynReply { id, .. } if s.is_data(id) => {}
            _ => s.pass(),
        },
    ),
    server("stream/reply-twice", "SYN_REPLY twice", &["4.7"], |s, f| {
        s.pass();
        if matches!(f, Frame::SynReply { .. }) {
            s.pass();
        }
    }),
    server(
        "stream/reply-other-id",
        "SYN_REPLY for the next stream",
        &["4.7"],
        |s, f| match f {
            Frame::SynReply { id, .. } => s.client(&reply(id + 2)),
            _ => s.pass(),
        },
    ),
    server(
        "stream/reply-late",
        "SYN_REPLY comes 8 seconds late",
        &["4.7"],
        |s, f| match f {
            Frame::SynReply { .. } => s.client_later(Duration::from_secs(8), &f),
            _ => s.pass(),
        },
    ),
    server(
        "stream/reply-behind-data",
        "SYN_REPLY comes behind the first DATA",
        &["4.8"],
        |s, f| match f {
            Frame::SynReply { id, .. } if s.is_data(id) => {
                // Whoever waits for the answer before sending anything gets it in time.
                s.client_later(Duration::from_millis(300), &f);
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/reply-waits-for-pair",
        "SYN_REPLY comes once the pair is complete",
        &["7.13"],
        |s, side, f| match f {
            Frame::SynReply { id, .. } if side == Side::Server => match s.partner(id) {
                None => s.held.push(f),
                Some(partner) => {
                    release(s, partner);
                    s.pass();
                }
            },
            Frame::SynStream { id, .. } if side == Side::Client => {
                s.pass();
                if let Some(partner) = s.partner(id) {
                    release(s, partner);
                }
            }
            _ => s.pass(),
        },
    ),
    server(
        "stream/reply-fin",
        "SYN_REPLY of a data stream ends it",
        &["4.12", "4.14"],
        |s, f| match f {
            Frame::SynReply { id, headers, .. } if s.is_data(id) => {
                s.client(&Frame::SynReply {
                    id,
                    flags: FIN,
                    headers,
                });
            }
            _ => s.pass(),
        },
    ),
    server(
        "stream/reply-and-reset",
        "RST_STREAM behind each SYN_REPLY",
        &["4.7"],
        |s, f| {
            s.pass();
            if let Frame::SynReply { id, .. } = f {
                s.rst(id, 5);
            }
        },
    ),
    server(
        "stream/refuses-all",
        "Refuses every stream",
        &["4.7"],
        |s, f| match f {
            Frame::SynReply { id, .. } => s.rst(id, 3),
            _ => s.pass(),
        },
    ),
    server(
        "stream/opens-one",
        "Opens a stream of its own",
        &["4.2"],
        |s, f| {
            if matches!(f, Frame::SynReply { .. }) && s.once() {
                s.client(&Frame::SynStream {
                    id: 2,
                    associated: 0,
                    flags: 0,
                    priority: 0,
                    headers: Vec::new(),
                });
            }
            s.pass();
        },
    ),
    client(
        "stream/id-0-ignored",
        "Ignores SYN_STREAM with id 0",
        &["4.3"],
        |s, f| match f {
            Frame::SynStream { id: 0, .. } => {}
            _ => s.pass(),
        },
    ),
    client(
        "stream/id-0-accepted",
        "Answers SYN_STREAM with id 0",
        &["4.3"],
        |s, f| match f {
            Frame::SynStream { id: 0, .. } => s.client(&reply(0)),
            _ => s.pass(),
        },
    ),
    client(
        "stream/repeated-id-accepted",
        "Answers a repeated or lower id with SYN_REPLY",
        &["4.4"],
        |s, f| match f {
            Frame::SynStream { id, .. } if id != 0 && id <= s.n => s.client(&reply(id)),
            Frame::SynStream { id, .. } => {
                s.n = id;
                s.pass();
            }
            _ => s.pass(),
        },
    ),
    client(
        "stream/repeated-id-ignored",
        "Says nothing of a repeated or lower id",
        &["4.4", "4.7"],
        |s, f| match f {
            Frame::SynStream { id, .. } if id != 0 && id <= s.n => {}
            Frame::SynStream { id, .. } => {
                s.n = id;
                s.pass();
            }
            _ => s.pass(),
        },
    ),
    client(
        "stream/gap-refused",
        "Refuses ids that leave a gap",
        &["4.5"],
        |s, f| match f {
            Frame::SynStream { id, .. } if id > s.n + 2 => s.rst(id, 1),
            Frame::SynStream { id, .. } => {
                s.n = s.n.max(id);
                s.pass();
            }
            _ => s.pass(),
        },
    ),
    client(
        "stream/gap-dies",
        "Ends the session at ids that leave a gap",
        &["4.5"],
        |s, f| match f {
            Frame::SynStream { id, .. } if id > s.n + 2 => s.close(),
            Frame::SynStream { id, .. } => {
                s.n = s.n.max(id);
                s.pass();
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/large-id-dies",
        "Ends the session at ids above 2^30",
        &["4.5"],
        |s, side, f| match f {
            Frame::SynStream { id, .. } if side == Side::Client && id > 1 << 30 => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "stream/early-data-lost",
        "Loses DATA that comes before it has answered",
        &["4.10", "7.12"],
        |s, side, f| match f {
            Frame::Data { id, flags: 0, .. }
                if side == Side::Client && s.streams.contains_key(&id) && !s.known(id).replied => {}
            _ => s.pass(),
        },
    ),
    both(
        "stream/unexpected-reply-dies",
        "Ends the session at SYN_REPLY",
        &["4.11"],
        |s, side, f| match f {
            Frame::SynReply { .. } if side == Side::Client => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "stream/unexpected-reply-reset",
        "Resets the stream of an unexpected SYN_REPLY",
        &["4.11"],
        |s, side, f| match f {
            Frame::SynReply { id, .. } if side == Side::Client => s.rst(id, 8),
            _ => s.pass(),
        },
    ),
    both(
        "stream/fin-ends-both",
        "FIN of the client ends the other direction too",
        &["4.12", "8.20"],
        |s, side, f| match f {
            Frame::Data { id, .. }
                if side == Side::Server && s.known(id).client_fin && s.is_data(id) => {}
            Frame::Data { id, .. } if side == Side::Client && is_fin(&f) && s.is_data(id) => {
                s.pass();
                s.fin(id);
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/fin-with-payload-lost",
        "Does not see FIN on DATA with payload",
        &["4.13"],
        |s, side, f| match f {
            Frame::Data { id, payload, .. }
                if side == Side::Client && s.bytes().get(4) == Some(&1) && !payload.is_empty() =>
            {
                s.server(&data(id, 0, &payload));
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/payload-with-fin-lost",
        "Loses the payload of DATA with FIN",
        &["4.13"],
        |s, side, f| match f {
            Frame::Data { id, payload, .. }
                if side == Side::Client && s.bytes().get(4) == Some(&1) && !payload.is_empty() =>
            {
                s.server(&fin(id));
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/empty-fin-lost",
        "Does not see FIN on empty DATA",
        &["4.13", "4.12"],
        |s, side, f| match f {
            Frame::Data { payload, .. }
                if side == Side::Client && s.bytes().get(4) == Some(&1) && payload.is_empty() => {}
            _ => s.pass(),
        },
    ),
    client(
        "stream/syn-fin-lost",
        "Does not see FIN on SYN_STREAM",
        &["4.14"],
        |s, f| match f {
            Frame::SynStream {
                id,
                associated,
                flags,
                priority,
                headers,
            } if flags & FIN != 0 => {
                s.server(&Frame::SynStream {
                    id,
                    associated,
                    flags: 0,
                    priority,
                    headers,
                });
            }
            _ => s.pass(),
        },
    ),
    client(
        "stream/syn-fin-refused",
        "Refuses SYN_STREAM with FIN",
        &["4.14"],
        |s, f| match f {
            Frame::SynStream { id, flags, .. } if flags & FIN != 0 => s.rst(id, 1),
            _ => s.pass(),
        },
    ),
    both(
        "stream/priority-dies",
        "Ends the session at a priority other than 0",
        &["2.11"],
        |s, side, f| match f {
            Frame::SynStream {
                priority,
                associated,
                ..
            } if side == Side::Client && (priority != 0 || associated != 0) => {
                s.close();
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/unknown-data-dies",
        "Ends the session at DATA on a stream that it does not know",
        &["4.15"],
        |s, side, f| match f {
            Frame::Data { id, .. }
                if side == Side::Client && id != 0 && !s.streams.contains_key(&id) =>
            {
                s.close();
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/unknown-data-reset",
        "Resets a stream that it does not know for its DATA",
        &["4.15", "4.16"],
        |s, side, f| match f {
            Frame::Data { id, .. }
                if side == Side::Client && id != 0 && !s.streams.contains_key(&id) =>
            {
                s.rst(id, 2);
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/late-data-dies",
        "Ends the session at DATA behind FIN",
        &["4.15"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Client && s.known(id).client_fin => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "stream/late-data-reset",
        "Answers DATA behind FIN with RST_STREAM",
        &["4.16"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Client && s.known(id).client_fin => {
                s.rst(id, 9);
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/data-behind-reset-dies",
        "Ends the session at DATA behind RST_STREAM",
        &["4.15"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Client && s.known(id).reset => s.close(),
            _ => s.pass(),
        },
    ),
];
