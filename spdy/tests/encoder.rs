//! What is not written, because a peer with our limits would refuse it (B2 to B4), costs nothing.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::{Bytes, BytesMut};
use common::{Peer, client, drain, events, headers, id, server};
use spdy::{
    Config, Connection, Data, Decoder, EncodeError, Encoder, Event, Frame, HeaderBlock,
    HeaderEncoding, Limits, OpenError, Role, Setting, Settings, SynReply, Unknown,
};
use std::time::Instant;

fn block(pairs: usize, name: usize, value: usize) -> HeaderBlock {
    (0..pairs)
        .map(|i| (format!("{i:a>name$}"), vec![b'v'; value]))
        .collect()
}

/// Bytes of a block of one pair beside its value, uncompressed and then stored as the first.
const PAIR: usize = 4 + 4 + 1 + 4;
const STORED: usize = 6 + 5 + 5;

/// At N it is opened and our own server takes it; at N + 1 it is an error, and the next is fine.
#[test]
fn what_is_opened_a_twin_takes() {
    type Error = fn(&EncodeError) -> bool;
    type Row = (usize, fn(usize) -> HeaderBlock, Error, &'static str);
    let rows: &[Row] = &[
        (
            64,
            |n| block(n, 4, 1),
            |e| {
                matches!(
                    e,
                    EncodeError::HeaderPairs {
                        count: 65,
                        limit: 64
                    }
                )
            },
            "header block of 65 pairs, more than the 64 allowed",
        ),
        (
            256,
            |n| block(1, n, 1),
            |e| matches!(e, EncodeError::HeaderField { field: "name", .. }),
            "header name of 257 bytes, more than the 256 allowed",
        ),
        (
            8192,
            |n| block(1, 1, n),
            |e| matches!(e, EncodeError::HeaderField { field: "value", .. }),
            "header value of 8193 bytes, more than the 8192 allowed",
        ),
        (
            (16 << 10) - STORED,
            |n| {
                let mut block = block(1, 1, 8192);
                block.push("b", vec![b'v'; n - 8192 - 2 * PAIR + 4]);
                block
            },
            |e| {
                matches!(
                    e,
                    EncodeError::HeaderBlockOnWire {
                        size: 16_385,
                        limit: 16_384
                    }
                )
            },
            "header block of up to 16385 bytes on the wire, more than the 16384 allowed",
        ),
    ];
    for (n, make, is, words) in rows {
        let (mut ours, mut theirs) = (client(), server());
        let stream = ours.open(&make(*n), false).unwrap();
        let (mut again, mut deaf) = (client(), server());
        let error = match again.open(&make(n + 1), false) {
            Err(OpenError::Encode(error)) => error,
            other => panic!("{words}: {other:?}"),
        };
        assert!(is(&error), "{error:?}");
        assert_eq!(error.to_string(), *words);
        assert!(drain(&mut again).is_empty());
        assert_eq!(again.open(&headers(), false), Ok(stream));
        for (from, to) in [(&mut ours, &mut theirs), (&mut again, &mut deaf)] {
            to.recv(Instant::now(), &mut drain(from)).unwrap();
            assert!(matches!(events(to)[..], [Event::Opened { .. }]));
        }
    }
}

/// How well it compresses shows only when the context has been used.
#[test]
fn what_might_be_too_long_is_not_compressed() {
    let mut config = Config::kubernetes(Role::Client);
    config.header_encoding = HeaderEncoding::Deflate(9);
    let mut conn = Connection::new(config, Instant::now()).unwrap();
    assert!(matches!(
        conn.open(&block(2, 1, 8000), false),
        Err(OpenError::Encode(EncodeError::HeaderBlockOnWire { .. }))
    ));
    let long = block(1, 1, 65_536);
    assert!(matches!(
        conn.open(&long, false),
        Err(OpenError::Encode(EncodeError::HeaderBlockTooLarge {
            limit: 65_536,
            ..
        }))
    ));
    conn.open(&block(2, 1, 7000), false).unwrap();
    let mut peer = Peer::new();
    assert_eq!(peer.sent(&mut conn).len(), 1);
}

/// An error of each kind, and then frames as before.
#[test]
fn an_error_keeps_the_context() {
    let mut limits = Limits::default();
    for budget in Limits::default().budgets() {
        assert!(limits.set(budget.name, 64 << 20));
    }
    for encoding in [HeaderEncoding::Stored, HeaderEncoding::Deflate(6)] {
        let mut encoder = Encoder::new(encoding, &limits);
        let (mut dst, mut decoder) = (BytesMut::new(), Decoder::new(Limits::default()));
        let reply = |headers| {
            Frame::SynReply(SynReply {
                id: id(1),
                fin: false,
                headers,
            })
        };
        let good = reply(headers());
        let entry = Setting {
            flags: 0,
            id: 1,
            value: 1,
        };
        let too_long = [
            reply(block(1, 1, 17 << 20)),
            Frame::Settings(Settings {
                clear: false,
                entries: vec![entry; 2 << 20],
            }),
            Frame::Unknown(Unknown {
                kind: 11,
                flags: 0,
                length: 1 << 24,
            }),
            Frame::Data(Data {
                id: id(1),
                payload: Bytes::from(vec![0; 1 << 24]),
                remaining: 0,
                fin: false,
                flags: 0,
            }),
        ];
        for bad in too_long {
            let error = encoder.encode(&bad, &mut dst).unwrap_err();
            assert!(matches!(error, EncodeError::TooLong(n) if n > 0xff_ffff));
            assert!(dst.is_empty());
            encoder.encode(&good, &mut dst).unwrap();
            assert_eq!(decoder.decode(&mut dst).unwrap().as_ref(), Some(&good));
        }
    }
}

/// The limit on the decompressed block, to the byte.
#[test]
fn a_block_of_just_the_size_is_written() {
    let headers = block(1, 4, 987);
    let size = headers.encoded_len();
    for (limit, fits) in [(size, true), (size - 1, false)] {
        let mut limits = Limits::default();
        limits.header_block_inflated = limit;
        let mut encoder = Encoder::new(HeaderEncoding::Stored, &limits);
        let reply = Frame::SynReply(SynReply {
            id: id(1),
            fin: false,
            headers: headers.clone(),
        });
        let result = encoder.encode(&reply, &mut BytesMut::new());
        let too_large = EncodeError::HeaderBlockTooLarge { size, limit };
        assert_eq!(result, if fits { Ok(()) } else { Err(too_large) });
    }
}
