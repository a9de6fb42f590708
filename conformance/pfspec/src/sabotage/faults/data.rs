//! Faults in the bytes of pairs, and in their ends.

use super::super::{Fault, Side, Spdy};
use super::{both, is_fin, server};
use crate::probe::session::{data, fin};
use crate::probe::wire::{FIN, Frame};
use std::time::Duration;

/// Payload of the server on data streams, changed.
fn down(s: &mut Spdy, frame: Frame, change: impl FnOnce(&mut Spdy, u32, &mut Vec<u8>)) {
    match frame {
        Frame::Data {
            id,
            flags,
            mut payload,
        } if s.is_data(id) && !payload.is_empty() => {
            change(s, id, &mut payload);
            if !payload.is_empty() || flags & FIN != 0 {
                s.client(&data(id, flags, &payload));
            }
        }
        _ => s.pass(),
    }
}

/// Payload of the client on data streams, changed.
fn up(s: &mut Spdy, side: Side, frame: Frame, change: impl FnOnce(&mut Spdy, u32, &mut Vec<u8>)) {
    match frame {
        Frame::Data {
            id,
            flags,
            mut payload,
        } if side == Side::Client && s.is_data(id) && !payload.is_empty() => {
            change(s, id, &mut payload);
            if !payload.is_empty() || flags & FIN != 0 {
                s.server(&data(id, flags, &payload));
            }
        }
        _ => s.pass(),
    }
}

pub(super) static FAULTS: &[Fault] = &[
    server(
        "data/corrupted",
        "Changes a bit of each DATA",
        &["8.1"],
        |s, f| {
            down(s, f, |_, _, payload| {
                if let Some(byte) = payload.first_mut() {
                    *byte ^= 1;
                }
            });
        },
    ),
    server(
        "data/corrupted-late",
        "Changes a byte behind the first 64 KiB",
        &["8.1"],
        |s, f| {
            down(s, f, |s, id, payload| {
                if s.known(id).down > 65536
                    && let Some(byte) = payload.last_mut()
                {
                    *byte ^= 0x80;
                }
            });
        },
    ),
    server(
        "data/byte-lost",
        "Loses the last byte of each DATA",
        &["8.1"],
        |s, f| {
            down(s, f, |_, _, payload| payload.truncate(payload.len() - 1));
        },
    ),
    server("data/doubled", "Sends DATA twice", &["8.1"], |s, f| {
        down(s, f, |_, _, payload| payload.extend(payload.clone()));
    }),
    server(
        "data/on-partner",
        "Sends DATA on the error stream",
        &["8.1", "8.7"],
        |s, f| match f {
            Frame::Data { id, payload, .. } if s.is_data(id) && !payload.is_empty() => {
                let partner = s.partner(id).unwrap_or(id);
                s.data(partner, &payload);
            }
            _ => s.pass(),
        },
    ),
    server(
        "data/on-other-pair",
        "Sends DATA on another pair that is open",
        &["8.1"],
        |s, f| match f {
            Frame::Data { id, payload, .. }
                if s.is_data(id) && !payload.is_empty() && s.stranger(id).is_some() =>
            {
                let stranger = s.stranger(id).unwrap_or(id);
                s.data(stranger, &payload);
            }
            _ => s.pass(),
        },
    ),
    server(
        "data/ends-at-64k",
        "Ends a stream after 64 KiB",
        &["8.1", "8.18"],
        |s, f| match &f {
            Frame::Data { id, payload, .. } if s.is_data(*id) => {
                let before = s.known(*id).down;
                let id = *id;
                if before >= 65536 {
                    return;
                }
                let room = usize::try_from(65536 - before).unwrap_or(0);
                if payload.len() < room {
                    s.pass();
                    return;
                }
                let now = payload.get(..room).unwrap_or_default();
                s.client(&data(id, FIN, now));
            }
            _ => s.pass(),
        },
    ),
    server(
        "data/stops-at-256k",
        "Sends nothing behind 256 KiB of a stream",
        &["8.1", "9.1"],
        |s, f| match &f {
            Frame::Data { id, payload, .. }
                if s.is_data(*id) && s.known(*id).down + payload.len() as u64 > 256 << 10 => {}
            _ => s.pass(),
        },
    ),
    server(
        "data/last-frame-held",
        "Sends DATA when the next comes, or the end",
        &["8.1"],
        |s, f| match &f {
            Frame::Data { id, .. } if s.is_data(*id) => {
                let id = *id;
                let held = std::mem::take(&mut s.held);
                for frame in held {
                    if frame.stream() == Some(id) {
                        s.client(&frame);
                    } else {
                        s.held.push(frame);
                    }
                }
                if is_fin(&f) {
                    s.pass();
                } else {
                    s.held.push(f);
                }
            }
            _ => s.pass(),
        },
    ),
    server(
        "data/last-bytes-lost",
        "Loses DATA right before FIN",
        &["8.1", "8.18"],
        |s, f| match &f {
            Frame::Data { id, .. } if s.is_data(*id) => {
                let id = *id;
                if s.known(id).client_fin && !is_fin(&f) {
                    return;
                }
                if is_fin(&f) {
                    s.fin(id);
                } else {
                    s.pass();
                }
            }
            _ => s.pass(),
        },
    ),
    server(
        "data/first-bytes-lost",
        "Loses the first DATA of a pod that speaks first",
        &["8.1"],
        |s, f| match &f {
            Frame::Data { id, payload, .. }
                if s.is_data(*id)
                    && !payload.is_empty()
                    && s.known(*id).up == 0
                    && s.known(*id).down == 0 => {}
            _ => s.pass(),
        },
    ),
    server(
        "data/slow",
        "Waits a second before each DATA",
        &["8.1"],
        |s, f| {
            if matches!(f, Frame::Data { .. }) {
                s.pause(Duration::from_secs(1));
            }
            s.pass();
        },
    ),
    server(
        "data/one-pair-at-a-time",
        "Holds DATA of a pair while an older one is open",
        &["9.8", "7.11"],
        |s, f| match &f {
            Frame::Data { id, .. } if s.is_data(*id) => {
                let older = s
                    .streams
                    .iter()
                    .any(|(other, k)| other < id && k.kind == "data" && k.is_open() && k.replied);
                if !older {
                    s.pass();
                } else if s.held.len() < 1000 {
                    s.held.push(f);
                }
            }
            _ => s.pass(),
        },
    ),
    both(
        "data/up-corrupted",
        "Changes a bit of what the client sends",
        &["8.1"],
        |s, side, f| {
            up(s, side, f, |_, _, payload| {
                if let Some(byte) = payload.last_mut() {
                    *byte ^= 4;
                }
            });
        },
    ),
    both(
        "data/up-byte-lost",
        "Loses the first byte of each DATA of the client",
        &["8.1"],
        |s, side, f| {
            up(s, side, f, |_, _, payload| *payload = payload.split_off(1));
        },
    ),
    both(
        "data/up-doubled",
        "Writes what the client sends twice",
        &["8.1"],
        |s, side, f| {
            up(s, side, f, |_, _, payload| payload.extend(payload.clone()));
        },
    ),
    both(
        "data/up-to-other-pair",
        "Writes what the client sends to another pair that is open",
        &["8.1"],
        |s, side, f| match f {
            Frame::Data { id, payload, .. }
                if side == Side::Client
                    && s.is_data(id)
                    && !payload.is_empty()
                    && s.stranger(id).is_some() =>
            {
                let stranger = s.stranger(id).unwrap_or(id);
                s.server(&data(stranger, 0, &payload));
            }
            _ => s.pass(),
        },
    ),
    both(
        "data/up-ends-at-64k",
        "Takes 64 KiB of the client and ends the pod's input",
        &["8.1"],
        |s, side, f| match &f {
            Frame::Data { id, payload, .. } if side == Side::Client && s.is_data(*id) => {
                let id = *id;
                let before = s.known(id).up;
                if before > 65536 {
                    return;
                }
                let whole = before + payload.len() as u64;
                if whole > 65536 {
                    s.server(&fin(id));
                } else {
                    s.pass();
                }
            }
            _ => s.pass(),
        },
    ),
    both(
        "data/fin-closes-pod",
        "Closes the pod's connection at the client's FIN; the answer is lost",
        &["8.20"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Client && is_fin(&f) && s.is_data(id) => {
                s.pass();
                s.fin(id);
                let error = s.partner(id).unwrap_or(id);
                s.fin(error);
            }
            Frame::Data { id, .. } if side == Side::Server => {
                let data = if s.is_data(id) {
                    Some(id)
                } else {
                    s.partner(id)
                };
                if !data.is_some_and(|data| s.known(data).client_fin) {
                    s.pass();
                }
            }
            _ => s.pass(),
        },
    ),
    both(
        "data/fin-resets",
        "Answers the client's FIN with RST_STREAM",
        &["8.20", "4.12"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Client && is_fin(&f) && s.is_data(id) => {
                s.pass();
                s.rst(id, 5);
            }
            Frame::Data { id, .. } if side == Side::Server && s.known(id).reset => {}
            _ => s.pass(),
        },
    ),
    both(
        "data/fin-not-passed",
        "Does not tell the pod of the client's FIN",
        &["8.21", "8.18"],
        |s, side, f| match f {
            Frame::Data { id, payload, .. }
                if side == Side::Client && s.is_data(id) && s.bytes().get(4) == Some(&1) =>
            {
                if !payload.is_empty() {
                    s.server(&data(id, 0, &payload));
                }
            }
            _ => s.pass(),
        },
    ),
    both(
        "data/error-fin-ends-pair",
        "Takes the client's FIN on the error stream for the end of the pair",
        &["8.5", "8.6"],
        |s, side, f| {
            if let Frame::Data { id, .. } = f
                && side == Side::Client
                && is_fin(&f)
                && s.is_error(id)
            {
                s.n = id;
            }
            s.pass();
            if let Frame::SynReply { id, .. } = f
                && side == Side::Server
                && s.is_data(id)
                && s.partner(id).is_some_and(|error| s.known(error).client_fin)
            {
                s.fin(id);
                let error = s.partner(id).unwrap_or(id);
                s.fin(error);
            }
        },
    ),
    both(
        "data/error-fin-answered",
        "Ends the error stream when the client has",
        &["8.6", "8.26"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Client && is_fin(&f) && s.is_error(id) => {
                s.pass();
                s.fin(id);
            }
            Frame::Data { id, .. }
                if side == Side::Server && s.is_error(id) && s.known(id).client_fin => {}
            _ => s.pass(),
        },
    ),
];
