//! Faults in how streams end.

use super::super::{Fault, Side};
use super::stream::release;
use super::{both, is_fin, server};
use crate::probe::session::fin;
use crate::probe::wire::Frame;

pub(super) static FAULTS: &[Fault] = &[
    both(
        "stream/rst-answered",
        "Answers RST_STREAM with RST_STREAM",
        &["4.19"],
        |s, side, f| {
            s.pass();
            if let Frame::RstStream { id, .. } = f
                && side == Side::Client
            {
                s.rst(id, 5);
            }
        },
    ),
    both(
        "stream/unknown-rst-answered",
        "Answers RST_STREAM for a stream that it does not know",
        &["4.19"],
        |s, side, f| {
            s.pass();
            if let Frame::RstStream { id, .. } = f
                && side == Side::Client
                && !s.streams.contains_key(&id)
            {
                s.rst(id, 2);
            }
        },
    ),
    both(
        "stream/unknown-rst-dies",
        "Ends the session at RST_STREAM for a stream that it does not know",
        &["4.15", "4.17"],
        |s, side, f| match f {
            Frame::RstStream { id, .. } if side == Side::Client && !s.streams.contains_key(&id) => {
                s.close();
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/late-rst-dies",
        "Ends the session at RST_STREAM for a finished stream",
        &["4.15", "4.21"],
        |s, side, f| match f {
            Frame::RstStream { id, .. }
                if side == Side::Client
                    && s.streams.contains_key(&id)
                    && !s.known(id).is_open() =>
            {
                s.close();
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/rst-ignored",
        "Ignores RST_STREAM",
        &["4.17", "8.24"],
        |s, side, f| match f {
            Frame::RstStream { status, .. } if side == Side::Client && status != 0 => {}
            _ => s.pass(),
        },
    ),
    both(
        "stream/rst-data-ignored",
        "Ignores RST_STREAM of data streams",
        &["4.17", "8.24"],
        |s, side, f| match f {
            Frame::RstStream { id, .. } if side == Side::Client && s.is_data(id) => {}
            _ => s.pass(),
        },
    ),
    both(
        "stream/rst-as-fin",
        "Takes RST_STREAM for FIN",
        &["4.17"],
        |s, side, f| match f {
            Frame::RstStream { id, .. } if side == Side::Client && s.is_data(id) => {
                s.server(&fin(id));
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/rst-loses-data",
        "Loses what came before RST_STREAM",
        &["4.18"],
        |s, side, f| match f {
            Frame::Data { id, .. } if side == Side::Client && s.is_data(id) && !is_fin(&f) => {
                // What waits is passed when the next frame of another kind shows that no reset follows.
                for frame in std::mem::take(&mut s.held) {
                    s.server(&frame);
                }
                s.held.push(f);
            }
            Frame::RstStream { id, .. } if side == Side::Client => {
                s.held.retain(|frame| frame.stream() != Some(id));
                for frame in std::mem::take(&mut s.held) {
                    s.server(&frame);
                }
                s.pass();
            }
            _ if side == Side::Client => {
                for frame in std::mem::take(&mut s.held) {
                    s.server(&frame);
                }
                s.pass();
            }
            _ => s.pass(),
        },
    ),
    server(
        "stream/fin-missing-data",
        "Never ends the data stream",
        &["8.18", "4.12"],
        |s, f| match f {
            Frame::Data {
                id, ref payload, ..
            } if is_fin(&f) && s.is_data(id) => {
                if !payload.is_empty() {
                    s.data(id, payload);
                }
            }
            _ => s.pass(),
        },
    ),
    server(
        "stream/fin-missing-error",
        "Never ends the error stream",
        &["8.26"],
        |s, f| match f {
            Frame::Data {
                id, ref payload, ..
            } if is_fin(&f) && s.is_error(id) => {
                if !payload.is_empty() {
                    s.data(id, payload);
                }
            }
            Frame::RstStream { id, .. } if s.is_error(id) && s.known(id).replied => {}
            _ => s.pass(),
        },
    ),
    server(
        "stream/fin-twice",
        "FIN twice",
        &["4.12", "4.21"],
        |s, f| {
            s.pass();
            if let Frame::Data { id, .. } = f
                && is_fin(&f)
            {
                s.fin(id);
            }
        },
    ),
    server(
        "stream/fin-on-partner",
        "FIN on the other stream of the pair",
        &["4.12"],
        |s, f| match f {
            Frame::Data {
                id, ref payload, ..
            } if is_fin(&f) => {
                if !payload.is_empty() {
                    s.data(id, payload);
                }
                let partner = s.partner(id).unwrap_or(id);
                s.fin(partner);
            }
            _ => s.pass(),
        },
    ),
    server(
        "stream/data-behind-fin",
        "DATA behind FIN",
        &["4.12"],
        |s, f| {
            s.pass();
            if let Frame::Data { id, .. } = f
                && is_fin(&f)
                && s.is_data(id)
            {
                s.data(id, b"one more thing");
            }
        },
    ),
    server(
        "stream/fin-before-last-data",
        "FIN before the last DATA",
        &["4.12", "4.22"],
        |s, f| match &f {
            Frame::Data { id, payload, .. } if s.is_data(*id) => {
                let id = *id;
                if is_fin(&f) {
                    s.fin(id);
                    release(s, id);
                } else if !payload.is_empty() {
                    release(s, id);
                    // An echo would wait for ever, so it goes out after a time.
                    if s.known(id).client_fin {
                        s.held.push(f);
                    } else {
                        s.pass();
                    }
                }
            }
            _ => s.pass(),
        },
    ),
    server(
        "stream/rst-for-fin",
        "RST_STREAM instead of FIN on data streams",
        &["4.12", "8.18"],
        |s, f| match f {
            Frame::Data {
                id, ref payload, ..
            } if is_fin(&f) && s.is_data(id) => {
                if !payload.is_empty() {
                    s.data(id, payload);
                }
                s.rst(id, 5);
            }
            _ => s.pass(),
        },
    ),
    server(
        "stream/rst-missing",
        "Never sends RST_STREAM",
        &["4.7", "7.7"],
        |s, f| {
            if !matches!(f, Frame::RstStream { .. }) {
                s.pass();
            }
        },
    ),
    server(
        "stream/rst-twice",
        "RST_STREAM twice",
        &["4.7", "7.7"],
        |s, f| {
            s.pass();
            if matches!(f, Frame::RstStream { .. }) {
                s.pass();
            }
        },
    ),
    server(
        "stream/rst-on-other",
        "RST_STREAM for the stream before",
        &["7.7"],
        |s, f| match f {
            Frame::RstStream { id, status } if id > 2 => s.rst(id - 2, status),
            _ => s.pass(),
        },
    ),
    server(
        "stream/rst-on-all",
        "RST_STREAM for all streams at the reset of one",
        &["7.7", "8.16"],
        |s, f| match f {
            Frame::RstStream { .. } => {
                let open: Vec<u32> = s
                    .streams
                    .iter()
                    .filter(|(_, k)| k.is_open())
                    .map(|(id, _)| *id)
                    .collect();
                s.pass();
                for id in open {
                    s.rst(id, 5);
                }
            }
            _ => s.pass(),
        },
    ),
    server(
        "stream/data-swapped",
        "Two DATA frames change places",
        &["4.22", "8.1"],
        |s, f| match f {
            Frame::Data { id, flags: 0, .. } if s.is_data(id) => {
                if let Some(at) = s.held.iter().position(|frame| frame.stream() == Some(id)) {
                    s.pass();
                    let held = s.held.remove(at);
                    s.client(&held);
                } else if s.known(id).down >= 16384 {
                    s.held.push(f);
                } else {
                    s.pass();
                }
            }
            Frame::Data { id, .. } => {
                release(s, id);
                s.pass();
            }
            _ => s.pass(),
        },
    ),
    both(
        "stream/headers-die",
        "Ends the session at HEADERS",
        &["4.24"],
        |s, side, f| match f {
            Frame::Headers { .. } if side == Side::Client => s.close(),
            _ => s.pass(),
        },
    ),
];
