//! Faults in labels of streams, and in their refusal.

use super::super::{Fault, Spdy};
use super::stream::reply;
use super::{client, server};
use crate::probe::wire::{Frame, Pairs};

/// SYN_STREAM with other headers.
pub(super) fn relabel(s: &mut Spdy, frame: Frame, label: impl FnOnce(&mut Spdy, &mut Pairs)) {
    if let Frame::SynStream {
        id,
        associated,
        flags,
        priority,
        mut headers,
    } = frame
    {
        label(s, &mut headers);
        s.server(&Frame::SynStream {
            id,
            associated,
            flags,
            priority,
            headers,
        });
    } else {
        s.pass();
    }
}

pub(super) fn get(headers: &Pairs, name: &str) -> String {
    headers
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.clone())
        .unwrap_or_default()
}

pub(super) fn set(headers: &mut Pairs, name: &str, value: &str) {
    headers.retain(|(known, _)| known != name);
    headers.push((name.to_owned(), value.to_owned()));
}

/// Takes a port that is none for the echo's.
fn good_port(s: &mut Spdy, frame: Frame, bad: impl Fn(&str) -> bool) {
    relabel(s, frame, |_, headers| {
        if bad(&get(headers, "port")) {
            set(headers, "port", "7000");
        }
    });
}

pub(super) fn refuse(s: &mut Spdy, frame: &Frame, bad: impl Fn(&Pairs) -> bool) {
    match frame {
        Frame::SynStream { id, headers, .. } if bad(headers) => s.rst(*id, 5),
        _ => s.pass(),
    }
}

pub(super) static FAULTS: &[Fault] = &[
    client("pair/port-0", "Accepts port 0", &["7.4"], |s, f| {
        good_port(s, f, |port| port == "0");
    }),
    client(
        "pair/port-65536",
        "Accepts ports above 65535",
        &["7.4"],
        |s, f| {
            good_port(s, f, |port| {
                port.parse::<u64>().is_ok_and(|port| port > 65535)
            });
        },
    ),
    client(
        "pair/port-negative",
        "Accepts negative ports",
        &["7.4"],
        |s, f| {
            good_port(s, f, |port| port.starts_with('-'));
        },
    ),
    client(
        "pair/port-text",
        "Accepts names of ports",
        &["7.4"],
        |s, f| {
            good_port(s, f, |port| port.chars().any(|c| c.is_ascii_alphabetic()));
        },
    ),
    client(
        "pair/port-empty",
        "Accepts an empty port",
        &["7.4"],
        |s, f| good_port(s, f, str::is_empty),
    ),
    client(
        "pair/port-missing",
        "Accepts a stream without port",
        &["7.3", "7.4"],
        |s, f| {
            relabel(s, f, |_, headers| {
                if !headers.iter().any(|(name, _)| name == "port") {
                    set(headers, "port", "7000");
                }
            });
        },
    ),
    client(
        "pair/port-with-sign",
        "Accepts `+7000` and spaces around a port",
        &["7.5"],
        |s, f| {
            relabel(s, f, |_, headers| {
                let port = get(headers, "port");
                set(headers, "port", port.trim().trim_start_matches('+'));
            });
        },
    ),
    client(
        "pair/port-leading-zero-refused",
        "Refuses a port with a zero in front",
        &["7.5"],
        |s, f| {
            refuse(s, &f, |headers| get(headers, "port").starts_with('0'));
        },
    ),
    client(
        "pair/port-16-bit-signed",
        "Refuses ports above 32767",
        &["7.4", "6.28"],
        |s, f| {
            refuse(s, &f, |headers| {
                get(headers, "port")
                    .parse::<u16>()
                    .is_ok_and(|port| port > 32767)
            });
        },
    ),
    client(
        "pair/low-ports-refused",
        "Refuses ports below 1024",
        &["7.4", "6.28"],
        |s, f| {
            refuse(s, &f, |headers| {
                get(headers, "port")
                    .parse::<u16>()
                    .is_ok_and(|port| (1..1024).contains(&port))
            });
        },
    ),
    client(
        "pair/first-port-for-all",
        "Forwards all pairs to the first port",
        &["8.1", "7.3"],
        |s, f| {
            relabel(s, f, |s, headers| {
                let port = get(headers, "port");
                if s.once() {
                    s.n = port.parse().unwrap_or(7000);
                }
                if port.parse::<u16>().is_ok_and(|port| port > 0) {
                    set(headers, "port", &s.n.to_string());
                }
            });
        },
    ),
    client(
        "pair/unknown-type-accepted",
        "Accepts any streamtype",
        &["7.2"],
        |s, f| {
            relabel(s, f, |_, headers| {
                let kind = get(headers, "streamtype");
                if !kind.is_empty() && kind != "data" && kind != "error" {
                    set(headers, "streamtype", "data");
                }
            });
        },
    ),
    client(
        "pair/type-missing-accepted",
        "Takes a stream without type for a data stream",
        &["7.2"],
        |s, f| {
            relabel(s, f, |_, headers| {
                if get(headers, "streamtype").is_empty() {
                    set(headers, "streamtype", "data");
                }
            });
        },
    ),
    client(
        "pair/type-any-case",
        "Does not mind the case of streamtype",
        &["7.2"],
        |s, f| {
            relabel(s, f, |_, headers| {
                let kind = get(headers, "streamtype").to_ascii_lowercase();
                set(headers, "streamtype", &kind);
            });
        },
    ),
    server(
        "pair/refuses-with-text",
        "Accepts a bad stream and ends it",
        &["7.7"],
        |s, f| match f {
            Frame::RstStream { id, .. } if !s.known(id).replied => {
                s.client(&reply(id));
                s.data(id, b"bad stream");
                s.fin(id);
            }
            _ => s.pass(),
        },
    ),
    server(
        "pair/refuses-silently",
        "Says nothing of a stream that it does not accept",
        &["7.7", "4.7"],
        |s, f| match f {
            Frame::RstStream { id, .. } if !s.known(id).replied => {}
            _ => s.pass(),
        },
    ),
    server(
        "pair/refuses-behind-reply",
        "Answers a bad stream before it refuses it",
        &["7.7"],
        |s, f| match f {
            Frame::RstStream { id, .. } if !s.known(id).replied => {
                s.client(&reply(id));
                s.pass();
            }
            _ => s.pass(),
        },
    ),
    server(
        "pair/refusal-resets-others",
        "Resets other pairs when it refuses a stream",
        &["7.7"],
        |s, f| {
            s.pass();
            if let Frame::RstStream { id, .. } = f
                && !s.known(id).replied
            {
                let open: Vec<u32> = s
                    .streams
                    .iter()
                    .filter(|(_, k)| k.replied && k.is_open())
                    .map(|(id, _)| *id)
                    .collect();
                for id in open {
                    s.rst(id, 5);
                }
            }
        },
    ),
];
