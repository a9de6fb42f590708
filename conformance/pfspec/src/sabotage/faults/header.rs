//! Faults in header blocks.

use super::super::{Fault, Side, Spdy};
use super::labels::relabel;
use super::{both, client, odd, server};
use crate::catalogue::header::BARRED;
use crate::probe::wire::{self, Deflater, Frame, Pairs};
use flate2::FlushCompress;
use std::time::Duration;

/// SYN_REPLY around any compressed block.
fn reply_around(s: &mut Spdy, frame: &Frame, block: impl FnOnce(&mut Spdy) -> Vec<u8>) {
    if let Frame::SynReply { id, flags, .. } = frame {
        let payload = [&id.to_be_bytes()[..], &block(s)].concat();
        s.client_bytes(&wire::control(3, wire::SYN_REPLY, *flags, &payload));
    } else {
        s.pass();
    }
}

/// SYN_REPLY around any block before compression.
fn reply_of(s: &mut Spdy, frame: &Frame, plain: &[u8]) {
    reply_around(s, frame, |s| s.encoder.deflater.deflate(plain));
}

fn reply_with(s: &mut Spdy, frame: &Frame, headers: &[(&str, &str)]) {
    reply_of(s, frame, &wire::block(headers));
}

/// SYN_STREAM of the client whose headers are not as the fault likes them.
fn refuse(s: &mut Spdy, frame: &Frame, bad: impl Fn(&Pairs) -> bool) {
    match frame {
        Frame::SynStream { id, headers, .. } if bad(headers) => s.rst(*id, 1),
        _ => s.pass(),
    }
}

fn die(s: &mut Spdy, side: Side, frame: &Frame, bad: impl Fn(&Pairs) -> bool) {
    match frame {
        Frame::SynStream { headers, .. } if side == Side::Client && bad(headers) => s.close(),
        _ => s.pass(),
    }
}

/// Ends the session at a zlib header that it does not like.
fn zlib(s: &mut Spdy, side: Side, frame: &Frame, bad: fn(u8, u8) -> bool) {
    if let (Side::Client, Frame::SynStream { .. }) = (side, frame)
        && s.once()
        && let Some([method, flags]) = s.bytes().get(18..20)
        && bad(*method, *flags)
    {
        s.close();
        return;
    }
    s.pass();
}

/// Ends the session if its first block begins with this type of deflate: 0 stored, 1 fixed codes, 2 dynamic codes.
fn deflate(s: &mut Spdy, side: Side, frame: &Frame, kind: u8) {
    if let (Side::Client, Frame::SynStream { .. }) = (side, frame)
        && s.once()
        // Behind the zlib header and the id of the dictionary.
        && let Some(first) = s.bytes().get(24)
        && first >> 1 & 3 == kind
    {
        s.close();
        return;
    }
    s.pass();
}

/// Steps over what cannot be read.
fn skip(s: &mut Spdy, what: &str, about: &[&str]) {
    if !about.iter().any(|about| what.contains(about)) {
        let bytes = s.bytes();
        s.pass_bytes(&bytes);
    }
}

fn known(name: &str) -> bool {
    ["streamtype", "port", "requestid"].contains(&name)
}

pub(super) static FAULTS: &[Fault] = &[
    server(
        "header/uncompressed",
        "Blocks are not compressed",
        &["3.9", "3.10"],
        |s, f| {
            reply_around(s, &f, |_| wire::block(&[]));
        },
    ),
    server(
        "header/no-dictionary",
        "Compresses without the dictionary",
        &["3.10"],
        |s, _| {
            if s.once() {
                s.encoder.deflater = Deflater::with_dictionary(None);
            }
            s.pass();
        },
    ),
    server(
        "header/other-dictionary",
        "Compresses with another dictionary",
        &["3.10"],
        |s, _| {
            if s.once() {
                s.encoder.deflater =
                    Deflater::with_dictionary(Some(b"optionsgetheadpostputdeletetrace"));
            }
            s.pass();
        },
    ),
    server(
        "header/fresh-context",
        "Begins a zlib stream for each block",
        &["3.9"],
        |s, f| {
            s.encoder.deflater = Deflater::new(6);
            s.client(&f);
        },
    ),
    server(
        "header/no-flush",
        "Leaves the mark of the flush off",
        &["3.11"],
        |s, f| {
            reply_around(s, &f, |s| {
                let mut block = s.encoder.deflater.deflate(&wire::block(&[]));
                block.truncate(block.len().saturating_sub(4));
                block
            });
        },
    ),
    server(
        "header/finished",
        "Ends the zlib stream with the first block",
        &["3.11"],
        |s, f| {
            reply_around(s, &f, |s| {
                let plain = wire::block(&[]);
                s.encoder
                    .deflater
                    .deflate_with(&plain, FlushCompress::Finish)
            });
        },
    ),
    server(
        "header/empty-block",
        "Blocks have no bytes",
        &["3.14", "2.2"],
        |s, f| {
            reply_around(s, &f, |_| Vec::new());
        },
    ),
    server(
        "header/count-too-large",
        "A block has fewer pairs than it says",
        &["3.1"],
        |s, f| {
            reply_of(s, &f, &1u32.to_be_bytes());
        },
    ),
    server(
        "header/surplus",
        "Bytes behind the last pair",
        &["3.1"],
        |s, f| {
            reply_of(s, &f, &[0; 8]);
        },
    ),
    server(
        "header/16-bit",
        "Counts and lengths have 16 bits",
        &["3.1"],
        |s, f| {
            reply_of(s, &f, &[0, 1, 0, 1, b'a', 0, 1, b'b']);
        },
    ),
    server(
        "header/upper-case",
        "Names in upper case",
        &["3.2"],
        |s, f| {
            reply_with(s, &f, &[("Status", "200")]);
        },
    ),
    server(
        "header/twice",
        "A name twice in a block",
        &["3.3"],
        |s, f| {
            reply_with(s, &f, &[("status", "200"), ("status", "200")]);
        },
    ),
    server(
        "header/empty-name",
        "A name of no letters",
        &["3.5"],
        |s, f| {
            reply_with(s, &f, &[("", "x")]);
        },
    ),
    server(
        "header/connection",
        "`connection` in SYN_REPLY",
        &["3.6"],
        |s, f| {
            reply_with(s, &f, &[("connection", "upgrade")]);
        },
    ),
    server(
        "header/reply-with-headers",
        "SYN_REPLY repeats the client's headers",
        &["4.9"],
        |s, f| {
            reply_with(s, &f, &[("streamtype", "data")]);
        },
    ),
    both(
        "header/empty-value-dies",
        "Ends the session at an empty value",
        &["3.5"],
        |s, side, f| {
            die(s, side, &f, |headers| {
                headers.iter().any(|(_, value)| value.is_empty())
            });
        },
    ),
    both(
        "header/unknown-dies",
        "Ends the session at a header that it does not know",
        &["3.8"],
        |s, side, f| {
            die(s, side, &f, |headers| {
                headers.iter().any(|(name, _)| !known(name))
            });
        },
    ),
    client(
        "header/unknown-refused",
        "Refuses a stream with a header that it does not know",
        &["3.8"],
        |s, f| {
            refuse(s, &f, |headers| {
                headers.iter().any(|(name, _)| !known(name))
            });
        },
    ),
    client(
        "header/order",
        "Wants the headers in one order",
        &["3.7"],
        |s, f| {
            refuse(s, &f, |headers| {
                let at = |name: &str| headers.iter().position(|(known, _)| known == name);
                let order = [at("streamtype"), at("port"), at("requestid")];
                order.iter().flatten().collect::<Vec<_>>() != {
                    let mut sorted: Vec<_> = order.iter().flatten().collect();
                    sorted.sort();
                    sorted
                }
            });
        },
    ),
    both(
        "header/large-dies",
        "Ends the session at a block above 4 KiB",
        &["3.16"],
        |s, side, f| {
            die(s, side, &f, |headers| {
                headers
                    .iter()
                    .map(|(name, value)| name.len() + value.len() + 8)
                    .sum::<usize>()
                    > 4096
            });
        },
    ),
    both(
        "header/many-die",
        "Ends the session at more than 16 pairs",
        &["3.16"],
        |s, side, f| {
            die(s, side, &f, |headers| headers.len() > 16);
        },
    ),
    both(
        "header/level-0-dies",
        "Ends the session at compression of level 0",
        &["3.12"],
        |s, side, f| {
            zlib(s, side, &f, |_, flags| flags >> 6 == 0);
        },
    ),
    both(
        "header/level-9-dies",
        "Ends the session at compression of level 9",
        &["3.12"],
        |s, side, f| {
            zlib(s, side, &f, |_, flags| flags >> 6 == 3);
        },
    ),
    both(
        "header/window-dies",
        "Ends the session at a window below 32 KiB",
        &["3.13"],
        |s, side, f| {
            zlib(s, side, &f, |method, _| method >> 4 < 7);
        },
    ),
    client(
        "header/last-value",
        "Takes the last of several values",
        &["3.4"],
        |s, f| {
            relabel(s, f, |_, headers| {
                for (_, value) in headers {
                    *value = value.rsplit('\0').next().unwrap_or_default().to_owned();
                }
            });
        },
    ),
    both(
        "header/zero-byte-dies",
        "Ends the session at several values",
        &["3.4"],
        |s, side, f| {
            die(s, side, &f, |headers| {
                headers.iter().any(|(_, value)| value.contains('\0'))
            });
        },
    ),
    both(
        "header/refused-not-inflated",
        "Does not inflate the block of a stream that it refuses",
        &["3.15"],
        |s, side, f| {
            match (&f, side) {
                (Frame::RstStream { id, .. }, Side::Server) if !s.known(*id).replied => {
                    s.flag = true;
                }
                (Frame::SynStream { .. }, Side::Client) if s.flag => {
                    s.close();
                    return;
                }
                _ => {}
            }
            s.pass();
        },
    ),
    odd(
        "header/unreadable-skipped",
        "Steps over blocks that it cannot read",
        &["3.17"],
        |s, what| {
            skip(s, what, &["header block"]);
        },
    ),
    odd(
        "header/bad-names-skipped",
        "Steps over blocks with a name that may not be",
        &["3.2", "3.3", "3.17"],
        |s, what| {
            skip(s, what, &["header name"]);
        },
    ),
    client(
        "header/forbidden-accepted",
        "Accepts `connection` and the like",
        &["3.6"],
        |s, f| match f {
            Frame::SynStream {
                id,
                associated,
                flags,
                priority,
                headers,
            } => {
                let headers = headers
                    .into_iter()
                    .filter(|(name, _)| !BARRED.contains(&name.as_str()))
                    .collect();
                s.server(&Frame::SynStream {
                    id,
                    associated,
                    flags,
                    priority,
                    headers,
                });
            }
            _ => s.pass(),
        },
    ),
    both(
        "header/headers-not-inflated",
        "Does not inflate the block of HEADERS for a stream that it does not know",
        &["3.15"],
        |s, side, f| match f {
            Frame::Headers { id, .. } if side == Side::Client && !s.streams.contains_key(&id) => {
                s.flag = true;
                s.pass();
            }
            Frame::SynStream { .. } if side == Side::Client && s.flag => s.close(),
            _ => s.pass(),
        },
    ),
    both(
        "header/repeated-not-inflated",
        "Does not inflate the block of a repeated id",
        &["3.15", "4.4"],
        |s, side, f| {
            if let (Frame::SynStream { id, .. }, Side::Client) = (&f, side) {
                if s.flag {
                    s.close();
                    return;
                }
                s.flag = *id <= s.n;
                s.n = s.n.max(*id);
            }
            s.pass();
        },
    ),
    both(
        "header/stored-dies",
        "Ends the session at a block that is stored",
        &["3.12"],
        |s, side, f| deflate(s, side, &f, 0),
    ),
    both(
        "header/fixed-codes-die",
        "Ends the session at a block of fixed codes",
        &["3.12"],
        |s, side, f| deflate(s, side, &f, 1),
    ),
    both(
        "header/dynamic-codes-die",
        "Ends the session at a block of dynamic codes",
        &["3.12"],
        |s, side, f| deflate(s, side, &f, 2),
    ),
    both(
        "header/stands-at-connection",
        "Stands still at `connection` and the like",
        &["3.6"],
        |s, side, f| {
            let barred = matches!(&f, Frame::SynStream { headers, .. }
                if headers.iter().any(|(name, _)| BARRED.contains(&name.as_str())));
            if side == Side::Client && barred {
                s.pause(Duration::from_secs(60));
            }
            s.pass();
        },
    ),
];
