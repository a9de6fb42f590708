//! Faults in pairs of streams.

use super::super::{Fault, Side, Spdy};
use super::labels::{get, refuse, relabel, set};
use super::stream::release;
use super::{both, client, server};
use crate::probe::wire::{FIN, Frame};
use std::time::Duration;

/// The first stream of the same kind and request, if the pair is not complete.
fn original(s: &Spdy, id: u32) -> Option<u32> {
    let me = s.known(id);
    if s.partner(id).is_some() || me.request.is_empty() {
        return None;
    }
    let mut streams = s.streams.iter();
    streams
        .find(|(other, k)| **other != id && k.kind == me.kind && k.request == me.request)
        .map(|(id, _)| *id)
}

pub(super) static FAULTS: &[Fault] = &[
    client(
        "pair/by-order",
        "Pairs streams in the order of their arrival",
        &["7.11", "7.8"],
        |s, f| {
            relabel(s, f, |s, headers| {
                // The count of data streams is in the lower half, that of error streams in the upper.
                let index = if get(headers, "streamtype").as_str() == "error" {
                    s.n += 0x1_0000;
                    (s.n >> 16) - 1
                } else {
                    s.n += 1;
                    (s.n & 0xffff) - 1
                };
                set(headers, "requestid", &index.to_string());
            });
        },
    ),
    client(
        "pair/by-neighbour",
        "Pairs a data stream with the error stream two ids before",
        &["7.11", "7.9"],
        |s, f| {
            if let Frame::SynStream { id, .. } = f {
                relabel(s, f, |_, headers| {
                    let key = if get(headers, "streamtype") == "data" {
                        id.wrapping_sub(2)
                    } else {
                        id
                    };
                    set(headers, "requestid", &format!("by id {key}"));
                });
            } else {
                s.pass();
            }
        },
    ),
    client(
        "pair/data-first-refused",
        "Refuses a data stream before its error stream",
        &["7.11"],
        |s, f| match f {
            Frame::SynStream { id, .. } if s.is_data(id) && s.partner(id).is_none() => s.rst(id, 5),
            _ => s.pass(),
        },
    ),
    both(
        "pair/data-first-dies",
        "Ends the session at a data stream before its error stream",
        &["7.11"],
        |s, side, f| match f {
            Frame::SynStream { id, .. }
                if side == Side::Client && s.is_data(id) && s.partner(id).is_none() =>
            {
                s.close();
            }
            _ => s.pass(),
        },
    ),
    client(
        "pair/numeric-request-id",
        "Wants a number as request id",
        &["7.9"],
        |s, f| {
            refuse(s, &f, |headers| {
                get(headers, "requestid").parse::<u64>().is_err()
            });
        },
    ),
    client(
        "pair/request-id-as-number",
        "Compares request ids as numbers",
        &["7.9"],
        |s, f| {
            relabel(s, f, |_, headers| {
                let id: String = get(headers, "requestid")
                    .chars()
                    .filter(char::is_ascii_digit)
                    .collect();
                let number = id.parse::<u64>().unwrap_or(0);
                set(headers, "requestid", &number.to_string());
            });
        },
    ),
    client(
        "pair/short-request-id",
        "Compares the first 8 bytes of request ids",
        &["7.9"],
        |s, f| {
            relabel(s, f, |_, headers| {
                let id: String = get(headers, "requestid").chars().take(8).collect();
                set(headers, "requestid", &id);
            });
        },
    ),
    client(
        "pair/long-request-id-refused",
        "Refuses request ids above 64 bytes",
        &["7.9"],
        |s, f| {
            refuse(s, &f, |headers| get(headers, "requestid").len() > 64);
        },
    ),
    client(
        "pair/request-id-case",
        "Does not mind the case of request ids",
        &["7.9"],
        |s, f| {
            relabel(s, f, |_, headers| {
                let id = get(headers, "requestid").to_ascii_lowercase();
                set(headers, "requestid", &id);
            });
        },
    ),
    client(
        "pair/request-id-wanted",
        "Refuses streams without request id",
        &["7.17"],
        |s, f| {
            refuse(s, &f, |headers| get(headers, "requestid").is_empty());
        },
    ),
    client(
        "pair/no-request-id-never-pairs",
        "Takes streams without request id each for its own",
        &["7.17"],
        |s, f| match f {
            Frame::SynStream { id, .. } => relabel(s, f, |_, headers| {
                if get(headers, "requestid").is_empty() {
                    set(headers, "requestid", &format!("alone {id}"));
                }
            }),
            _ => s.pass(),
        },
    ),
    client(
        "pair/request-id-once",
        "Refuses a request id that was used before",
        &["7.18"],
        |s, f| match f {
            Frame::SynStream { id, .. } => {
                let me = s.known(id);
                let again = s.streams.iter().any(|(other, known)| {
                    *other != id
                        && known.kind == me.kind
                        && known.request == me.request
                        && !known.is_open()
                });
                if again {
                    s.rst(id, 5);
                } else {
                    s.pass();
                }
            }
            _ => s.pass(),
        },
    ),
    client(
        "pair/duplicate-replaces",
        "A second stream of the same type resets the first",
        &["7.19"],
        |s, f| match f {
            Frame::SynStream { id, .. } => {
                if let Some(first) = original(s, id) {
                    s.rst(first, 5);
                    s.server(&Frame::RstStream {
                        id: first,
                        status: 5,
                    });
                }
                s.pass();
            }
            _ => s.pass(),
        },
    ),
    client(
        "pair/duplicate-dies",
        "Ends the session at a second stream of the same type",
        &["7.19"],
        |s, f| match f {
            Frame::SynStream { id, .. } if original(s, id).is_some() => s.close(),
            _ => s.pass(),
        },
    ),
    client(
        "pair/duplicate-spoils",
        "A second stream of the same type spoils the pair",
        &["7.19"],
        |s, f| match f {
            Frame::SynStream { id, .. } if s.flag && s.n == id => s.rst(id, 5),
            Frame::SynStream { id, .. } => {
                if original(s, id).is_some() {
                    s.held.push(f);
                    return s.pass();
                }
                let me = s.known(id);
                if s.held.iter().any(|held| {
                    held.stream()
                        .is_some_and(|other| s.known(other).request == me.request)
                }) {
                    s.rst(id, 5);
                } else {
                    s.pass();
                }
            }
            _ => s.pass(),
        },
    ),
    client(
        "pair/timer-short",
        "Waits 400 ms for the second stream of a pair",
        &["7.20", "7.11"],
        |s, f| match f {
            Frame::SynStream { id, .. } => {
                let partner = s.partner(id).map(|partner| s.known(partner));
                let late = partner
                    .filter(super::super::spdy::Known::is_open)
                    .and_then(|known| known.since)
                    .is_some_and(|since| since.elapsed() > Duration::from_millis(400));
                if late {
                    s.rst(id, 5);
                } else {
                    s.pass();
                }
            }
            _ => s.pass(),
        },
    ),
    client(
        "pair/lone-stream-dies",
        "Ends the session half a second after a lone stream",
        &["7.20", "7.21"],
        |s, f| {
            if let Frame::SynStream { id, .. } = f
                && s.partner(id).is_none()
                && original(s, id).is_none()
            {
                s.n = id;
            }
            let since = s.known(s.n).since;
            let lone = s.n != 0 && s.partner(s.n).is_none();
            if lone && since.is_some_and(|since| since.elapsed() > Duration::from_millis(400)) {
                s.close();
            } else {
                s.pass();
            }
        },
    ),
    both(
        "pair/waits-for-error-fin",
        "Holds the pod's bytes until the client has half-closed the error stream",
        &["8.5"],
        |s, side, f| match &f {
            Frame::Data { id, .. } if side == Side::Server && s.is_data(*id) => {
                let waits = s
                    .partner(*id)
                    .is_some_and(|error| !s.known(error).client_fin);
                if waits {
                    s.held.push(f);
                } else {
                    s.pass();
                }
            }
            Frame::Data { id, flags, .. } if side == Side::Client && flags & FIN != 0 => {
                let partner = s.partner(*id);
                s.pass();
                if let Some(partner) = partner {
                    release(s, partner);
                }
            }
            _ => s.pass(),
        },
    ),
    server(
        "pair/data-dials-alone",
        "Dials for a data stream without its error stream",
        &["8.2", "7.17"],
        |s, f| {
            s.pass();
            if let Frame::SynReply { id, .. } = f
                && s.is_data(id)
                && s.partner(id).is_none()
            {
                s.data(id, b"early");
            }
        },
    ),
    client(
        "pair/request-id-of-open-pair",
        "Refuses the request id of a pair that is open",
        &["7.18"],
        |s, f| match f {
            Frame::SynStream { id, .. } => {
                let me = s.known(id);
                let open = s.streams.iter().any(|(other, known)| {
                    *other != id && known.kind == me.kind && known.request == me.request
                });
                if open {
                    s.rst(id, 5);
                } else {
                    s.pass();
                }
            }
            _ => s.pass(),
        },
    ),
    client(
        "pair/refusal-spoils-partner",
        "Refuses the partner of a stream that it has refused",
        &["7.7"],
        |s, f| match f {
            Frame::SynStream { id, .. } => {
                let me = s.known(id);
                let spoilt = s
                    .streams
                    .values()
                    .any(|known| known.reset && known.request == me.request);
                if spoilt {
                    s.rst(id, 5);
                } else {
                    s.pass();
                }
            }
            _ => s.pass(),
        },
    ),
];
