//! Faults in what error streams say, and in how failures end.

use super::super::{Fault, Side, Spdy};
use super::{both, is_fin, server};
use crate::probe::session::data;
use crate::probe::wire::{FIN, Frame};

/// Texts on error streams, changed.
fn text(s: &mut Spdy, frame: Frame, change: impl FnOnce(&mut Vec<u8>)) {
    match frame {
        Frame::Data {
            id,
            flags,
            mut payload,
        } if s.is_error(id) && !payload.is_empty() => {
            change(&mut payload);
            if !payload.is_empty() || flags & FIN != 0 {
                s.client(&data(id, flags, &payload));
            }
        }
        _ => s.pass(),
    }
}

/// Bytes in front of the empty end by which an error stream tells success.
fn before_success(s: &mut Spdy, frame: &Frame, bytes: &[u8]) {
    if let Frame::Data { id, payload, .. } = frame
        && is_fin(frame)
        && payload.is_empty()
        && s.is_error(*id)
    {
        s.data(*id, bytes);
    }
    s.pass();
}

pub(super) static FAULTS: &[Fault] = &[
    server(
        "error/text-missing",
        "No text for a failure",
        &["8.10"],
        |s, f| text(s, f, Vec::clear),
    ),
    server(
        "error/text-cut",
        "The first 8 bytes of the text only",
        &["8.10", "8.12"],
        |s, f| {
            text(s, f, |text| text.truncate(8));
        },
    ),
    server(
        "error/text-empty",
        "A space as text",
        &["8.10", "8.12"],
        |s, f| {
            text(s, f, |text| *text = b" ".to_vec());
        },
    ),
    server(
        "error/text-without-port",
        "The text names no port",
        &["8.12"],
        |s, f| {
            text(s, f, |text| text.retain(|byte| !byte.is_ascii_digit()));
        },
    ),
    server(
        "error/text-other-port",
        "The text names another port",
        &["8.12"],
        |s, f| {
            text(s, f, |text| {
                for byte in text.iter_mut().filter(|byte| byte.is_ascii_digit()) {
                    *byte = b'1';
                }
            });
        },
    ),
    server(
        "error/text-not-utf8",
        "The text is no UTF-8",
        &["8.11"],
        |s, f| {
            text(s, f, |text| text.insert(0, 0xff));
        },
    ),
    server(
        "error/text-utf16",
        "The text is UTF-16",
        &["8.11"],
        |s, f| {
            text(s, f, |text| {
                *text = text.iter().flat_map(|byte| [*byte, 0]).collect();
            });
        },
    ),
    server(
        "error/text-json",
        "The text is a Status object",
        &["8.11"],
        |s, f| {
            text(s, f, |text| {
                let message = String::from_utf8_lossy(text).into_owned();
                let status =
                    serde_json::json!({"kind": "Status", "status": "Failure", "message": message});
                *text = status.to_string().into_bytes();
            });
        },
    ),
    server(
        "error/text-on-data",
        "The text is on the data stream",
        &["8.10"],
        |s, f| match f {
            Frame::Data { id, payload, .. } if s.is_error(id) && !payload.is_empty() => {
                let partner = s.partner(id).unwrap_or(id);
                s.data(partner, &payload);
            }
            _ => s.pass(),
        },
    ),
    server(
        "error/text-on-other-pair",
        "The text is on the error stream of another pair",
        &["8.10", "8.16"],
        |s, f| match f {
            Frame::Data { id, payload, .. } if s.is_error(id) && !payload.is_empty() => {
                let stranger = s.stranger(id).unwrap_or(id);
                s.data(stranger, &payload);
            }
            _ => s.pass(),
        },
    ),
    server(
        "error/text-behind-end",
        "The text comes behind the end of the error stream",
        &["8.10"],
        |s, f| match &f {
            Frame::Data { id, payload, .. } if s.is_error(*id) && !payload.is_empty() => {
                let (id, payload) = (*id, payload.clone());
                if is_fin(&f) {
                    s.fin(id);
                    s.data(id, &payload);
                } else {
                    s.held.push(f);
                }
            }
            Frame::Data { id, .. } | Frame::RstStream { id, .. }
                if s.is_error(*id) && s.known(*id).replied =>
            {
                s.pass();
                for frame in std::mem::take(&mut s.held) {
                    s.client(&frame);
                }
            }
            _ => s.pass(),
        },
    ),
    server(
        "error/text-for-success",
        "A text for success",
        &["8.7"],
        |s, f| before_success(s, &f, b"ok"),
    ),
    server(
        "error/space-for-success",
        "A byte for success",
        &["8.7"],
        |s, f| before_success(s, &f, b"\0"),
    ),
    server(
        "error/reset-for-success",
        "RST_STREAM on the error stream for success",
        &["8.7", "8.26"],
        |s, f| match &f {
            Frame::Data { id, payload, .. }
                if is_fin(&f) && payload.is_empty() && s.is_error(*id) =>
            {
                s.rst(*id, 5);
            }
            _ => s.pass(),
        },
    ),
    server(
        "error/failure-resets-others",
        "A refused port resets other pairs",
        &["8.16"],
        |s, f| {
            s.pass();
            if let Frame::Data { id, payload, .. } = f
                && s.is_error(id)
                && !payload.is_empty()
            {
                let partner = s.partner(id);
                let open: Vec<u32> = s
                    .streams
                    .iter()
                    .filter(|(other, known)| {
                        **other != id && Some(**other) != partner && known.is_open()
                    })
                    .map(|(id, _)| *id)
                    .collect();
                for id in open {
                    s.rst(id, 5);
                }
            }
        },
    ),
    server(
        "error/data-open-behind-failure",
        "Does not end the data stream of a refused port",
        &["8.10", "8.18"],
        |s, f| match &f {
            Frame::Data { id, .. } if is_fin(&f) && s.is_data(*id) && s.known(*id).down == 0 => {}
            Frame::RstStream { id, .. } if s.is_data(*id) && s.known(*id).replied => {}
            _ => s.pass(),
        },
    ),
    both(
        "error/reset-by-client-ends-pair",
        "RST_STREAM of the error stream ends the data",
        &["4.17", "8.1", "8.25"],
        |s, side, f| {
            s.pass();
            if let Frame::RstStream { id, .. } = f
                && side == Side::Client
                && s.is_error(id)
                && let Some(partner) = s.partner(id)
            {
                s.rst(partner, 5);
            }
        },
    ),
    server(
        "error/open-behind-reset",
        "Does not end the error stream after a reset by the client",
        &["8.25"],
        |s, f| match &f {
            Frame::Data { id, .. }
                if s.is_error(*id) && s.partner(*id).is_some_and(|data| s.known(data).reset) => {}
            _ => s.pass(),
        },
    ),
    server(
        "error/text-in-two-frames",
        "The text in two frames",
        &["8.11"],
        |s, f| match &f {
            Frame::Data { id, payload, .. } if s.is_error(*id) && payload.len() > 1 => {
                let (one, two) = payload.split_at(payload.len() / 2);
                let flags = if is_fin(&f) { FIN } else { 0 };
                let (id, one, two) = (*id, one.to_vec(), two.to_vec());
                s.data(id, &one);
                s.client(&data(id, flags, &two));
            }
            _ => s.pass(),
        },
    ),
];
