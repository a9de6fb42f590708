//! Faults of the session as a whole.

use super::super::{Act, Fault, Side, Spdy};
use super::{begin, both, client, is_fin, server};
use crate::case::SESSIONS;
use crate::probe::session::data;
use crate::probe::wire::Frame;
use std::time::Duration;

/// Sends the part of DATA that is below a limit, and holds the rest.
fn up_to(s: &mut Spdy, limit: u64, already: u64, frame: Frame) {
    let Frame::Data { id, flags, payload } = frame else {
        return;
    };
    let room = usize::try_from(limit.saturating_sub(already)).unwrap_or(usize::MAX);
    if payload.len() <= room {
        s.client(&data(id, flags, &payload));
        return;
    }
    let (now, later) = payload.split_at(room);
    if !now.is_empty() {
        s.data(id, now);
    }
    s.held.push(data(id, flags, later));
}

/// Whether both streams of an open pair are there.
fn open_pairs(s: &Spdy) -> usize {
    let open = s
        .streams
        .values()
        .filter(|k| k.kind == "data" && k.is_open());
    open.count()
}

pub(super) static FAULTS: &[Fault] = &[
    server(
        "session/ping-not-echoed",
        "Does not echo PING",
        &["5.2"],
        |s, f| {
            if !matches!(f, Frame::Ping(_)) {
                s.pass();
            }
        },
    ),
    server(
        "session/ping-other-id",
        "Echoes PING with the next id",
        &["5.2"],
        |s, f| match f {
            Frame::Ping(id) => s.client(&Frame::Ping(id.wrapping_add(2))),
            _ => s.pass(),
        },
    ),
    server(
        "session/ping-twice",
        "Echoes PING twice",
        &["5.2"],
        |s, f| {
            s.pass();
            if matches!(f, Frame::Ping(_)) {
                s.pass();
            }
        },
    ),
    server(
        "session/ping-31-bits",
        "Echoes the lower 31 bits of PING",
        &["5.2"],
        |s, f| match f {
            Frame::Ping(id) => s.client(&Frame::Ping(id & 0x7fff_ffff)),
            _ => s.pass(),
        },
    ),
    server(
        "session/ping-once",
        "Echoes the first PING only",
        &["5.2"],
        |s, f| {
            if !matches!(f, Frame::Ping(_)) || s.once() {
                s.pass();
            }
        },
    ),
    both(
        "session/even-ping-echoed",
        "Echoes PING of its own parity",
        &["5.3"],
        |s, side, f| {
            s.pass();
            if let Frame::Ping(id) = f
                && side == Side::Client
                && id % 2 == 0
                && id != 0
            {
                s.client(&f);
            }
        },
    ),
    both(
        "session/even-ping-dies",
        "Ends the session at PING of its own parity",
        &["5.3"],
        |s, side, f| match f {
            Frame::Ping(id) if side == Side::Client && id % 2 == 0 => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "session/large-ping-dies",
        "Ends the session at PING ids above 2^31",
        &["5.2"],
        |s, side, f| match f {
            Frame::Ping(id) if side == Side::Client && id > 1 << 31 => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "session/no-ping-beside-stream",
        "Echoes PING only while no stream is open",
        &["5.2"],
        |s, side, f| match f {
            Frame::Ping(_) if side == Side::Client && open_pairs(s) > 0 => {}
            _ => s.pass(),
        },
    ),
    server(
        "session/pings-too",
        "Pings of its own accord",
        &["5.1", "5.2"],
        |s, f| {
            s.pass();
            if matches!(f, Frame::SynReply { .. }) {
                s.n += 2;
                let id = s.n;
                s.client(&Frame::Ping(id));
            }
        },
    ),
    both(
        "session/settings-die",
        "Ends the session at SETTINGS",
        &["5.7"],
        |s, side, f| match f {
            Frame::Settings { .. } if side == Side::Client => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "session/settings-answered",
        "Answers SETTINGS with SETTINGS",
        &["5.7", "2.13"],
        |s, side, f| {
            s.pass();
            if let Frame::Settings { .. } = f
                && side == Side::Client
            {
                s.client(&f);
            }
        },
    ),
    both(
        "session/settings-window",
        "Obeys the window of SETTINGS",
        &["5.7", "5.9"],
        |s, side, f| match &f {
            Frame::Settings { entries, .. } if side == Side::Client => {
                if let Some((.., value)) = entries.iter().find(|(_, id, _)| *id == 7) {
                    (s.flag, s.n) = (true, *value);
                }
                s.pass();
            }
            Frame::Data { id, .. } if side == Side::Server && s.flag && s.is_data(*id) => {
                let (limit, already) = (u64::from(s.n), s.known(*id).down);
                up_to(s, limit, already, f);
            }
            _ => s.pass(),
        },
    ),
    both(
        "session/settings-streams",
        "Obeys the number of streams in SETTINGS",
        &["5.7"],
        |s, side, f| match &f {
            Frame::Settings { entries, .. }
                if side == Side::Client && entries.iter().any(|(_, id, _)| *id == 4) =>
            {
                s.flag = true;
                s.pass();
            }
            Frame::SynReply { id, .. } if side == Side::Server && s.flag => s.rst(*id, 3),
            _ => s.pass(),
        },
    ),
    both(
        "session/window-update-dies",
        "Ends the session at WINDOW_UPDATE",
        &["5.7"],
        |s, side, f| match f {
            Frame::WindowUpdate { .. } if side == Side::Client => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "session/window-update-0-dies",
        "Ends the session at WINDOW_UPDATE of the session",
        &["5.7"],
        |s, side, f| match f {
            Frame::WindowUpdate { id: 0, .. } if side == Side::Client => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "session/window-update-reset",
        "Resets a stream for WINDOW_UPDATE that it does not expect",
        &["5.7"],
        |s, side, f| match f {
            Frame::WindowUpdate { id, .. } if side == Side::Client && id != 0 => s.rst(id, 7),
            _ => s.pass(),
        },
    ),
    both(
        "session/window-of-stream",
        "Stops after 64 KiB on a stream and waits for WINDOW_UPDATE",
        &["5.9"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Server && s.is_data(id) => {
                let already = s.known(id).down;
                up_to(s, 65536, already, f);
            }
            _ => s.pass(),
        },
    ),
    both(
        "session/window-of-session",
        "Stops after 64 KiB on all streams and waits for WINDOW_UPDATE",
        &["5.9"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Server && s.is_data(id) => {
                let already = s.streams.values().map(|known| known.down).sum();
                up_to(s, 65536, already, f);
            }
            _ => s.pass(),
        },
    ),
    both(
        "session/64k-from-client",
        "Takes 64 KiB of a stream and no more",
        &["5.9"],
        |s, side, f| match &f {
            Frame::Data { id, payload, .. }
                if side == Side::Client && s.known(*id).up + payload.len() as u64 > 65536 => {}
            _ => s.pass(),
        },
    ),
    server(
        "session/goaway-other-id",
        "GOAWAY names another stream than the last",
        &["5.10"],
        |s, f| match f {
            Frame::Goaway { last, status } => s.client(&Frame::Goaway {
                last: last + 2,
                status,
            }),
            _ => s.pass(),
        },
    ),
    server(
        "session/goaway-missing",
        "Ends without GOAWAY",
        &["5.10"],
        |s, f| {
            if !matches!(f, Frame::Goaway { .. }) {
                s.pass();
            }
        },
    ),
    server(
        "session/goaway-early",
        "GOAWAY when a pair has ended",
        &["5.12"],
        |s, f| {
            s.pass();
            if let Frame::Data { id, .. } = f
                && is_fin(&f)
                && s.is_error(id)
            {
                let last = s.last();
                s.client(&Frame::Goaway { last, status: 0 });
            }
        },
    ),
    client(
        "session/goaway-ignored",
        "Goes on behind GOAWAY",
        &["5.11", "5.13", "8.29"],
        |s, f| {
            if !matches!(f, Frame::Goaway { .. }) {
                s.pass();
            }
        },
    ),
    Fault::new(
        "session/end-not-passed",
        "Keeps the connection when the session has ended",
        &["5.11", "3.17", "5.16"],
        SESSIONS,
        Act::HoldEnd(Side::Server),
    ),
    Fault::new(
        "session/client-end-ignored",
        "Keeps the pod's connections when the client is gone",
        &["8.29"],
        SESSIONS,
        Act::HoldEnd(Side::Client),
    ),
    begin(
        "session/one-second",
        "Ends every session after a second",
        &["6.24", "5.17", "5.18"],
        |s| {
            s.close_later(Duration::from_secs(1));
        },
    ),
    server(
        "session/ends-with-pair",
        "Ends the session when a pair has ended",
        &["5.12", "4.21"],
        |s, f| {
            s.pass();
            if let Frame::Data { id, .. } = f
                && is_fin(&f)
                && s.is_error(id)
            {
                s.close();
            }
        },
    ),
    both(
        "session/ends-with-reset",
        "Ends the session at RST_STREAM",
        &["4.17", "7.15", "4.19", "8.23", "8.24", "8.25", "9.11"],
        |s, side, f| match f {
            Frame::RstStream { .. } if side == Side::Client => s.close(),
            _ => s.pass(),
        },
    ),
    server(
        "session/ends-with-refused-stream",
        "Ends the session when it refuses a stream",
        &["7.7"],
        |s, f| {
            s.pass();
            if let Frame::RstStream { id, .. } = f
                && !s.known(id).replied
            {
                s.close();
            }
        },
    ),
    server(
        "session/ends-with-refused-port",
        "Ends the session when a port is refused",
        &["8.16"],
        |s, f| {
            s.pass();
            if let Frame::Data { id, payload, .. } = f
                && s.is_error(id)
                && !payload.is_empty()
            {
                s.close();
            }
        },
    ),
    server(
        "session/refused-port-rst",
        "Resets the connection (TCP) when a port is refused",
        &["8.16"],
        |s, f| match f {
            Frame::Data { id, payload, .. } if s.is_error(id) && !payload.is_empty() => s.reset(),
            _ => s.pass(),
        },
    ),
    client(
        "session/two-pairs",
        "Ends the session at the third pair",
        &["4.5", "7.11"],
        |s, f| {
            if let Frame::SynStream { .. } = f {
                s.n += 1;
                if s.n > 4 {
                    s.close();
                    return;
                }
            }
            s.pass();
        },
    ),
    client(
        "session/one-pair-at-once",
        "Refuses a pair beside another",
        &["7.11"],
        |s, f| match f {
            Frame::SynStream { id, .. } if open_pairs(s) > 0 && s.partner(id).is_none() => {
                s.rst(id, 3);
            }
            _ => s.pass(),
        },
    ),
    client(
        "session/20-streams",
        "Refuses streams beside 20 others",
        &["7.11"],
        |s, f| match f {
            Frame::SynStream { id, .. }
                if s.streams.values().filter(|known| known.is_open()).count() > 20 =>
            {
                s.rst(id, 3);
            }
            _ => s.pass(),
        },
    ),
    client(
        "session/100-frames",
        "Ends the session after 100 frames of the client",
        &["6.24", "8.1"],
        |s, _| {
            s.n += 1;
            if s.n > 100 {
                s.close();
            } else {
                s.pass();
            }
        },
    ),
    both(
        "session/ping-0-echoed",
        "Echoes PING 0",
        &["5.3"],
        |s, side, f| {
            s.pass();
            if side == Side::Client && matches!(f, Frame::Ping(0)) {
                s.client(&f);
            }
        },
    ),
];
