//! The state machine, driven by bytes of a hand-written peer and by a second one of ours.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test"
)]

mod common;

use bytes::{Bytes, BytesMut};
use common::{Peer, client, headers, id, server};
use spdy::{
    Config, Connection, ConnectionErrorKind, Data, DecodeErrorKind, Decoder, Encoder, Event, Frame,
    GoAwayStatus, HeaderBlock, HeaderEncoding, Limits, OpenError, Ping, Role, RstStatus,
    StreamError, StreamId,
};
use std::time::{Duration, Instant};

#[test]
fn a_server_is_silent_first_and_answers_pings() {
    let (mut peer, mut conn) = (Peer::new(), server());
    assert!(conn.outgoing().is_empty());
    let ping = peer.frame(&Frame::Ping(Ping { id: 7 }));
    assert_eq!(peer.feed(&mut conn, &ping).1, [Frame::Ping(Ping { id: 7 })]);
    let own_parity = peer.frame(&Frame::Ping(Ping { id: 8 }));
    assert_eq!(peer.feed(&mut conn, &own_parity), (vec![], vec![]));
}

#[test]
fn half_close_in_both_orders_forgets_the_stream() {
    for server_first in [false, true] {
        let (mut peer, mut conn) = (Peer::new(), server());
        let syn = peer.syn(1);
        peer.feed(&mut conn, &syn);
        conn.reply(id(1), &HeaderBlock::new(), false).unwrap();
        let fin = |conn: &mut Connection| conn.send(id(1), &mut Bytes::new(), true).unwrap();
        if server_first {
            fin(&mut conn);
            assert_eq!(
                conn.send(id(1), &mut Bytes::new(), true),
                Err(StreamError::FinSent(id(1)))
            );
        }
        assert!(conn.has_stream(id(1)));
        let (got, _) = peer.feed(&mut conn, &[0, 0, 0, 1, 1, 0, 0, 2, b'h', b'i']);
        assert_eq!(
            got,
            [Event::Data {
                id: id(1),
                payload: Bytes::from_static(b"hi"),
                fin: true
            }]
        );
        if !server_first {
            assert!(conn.has_stream(id(1)));
            fin(&mut conn);
        }
        assert!(!conn.has_stream(id(1)));
        peer.sent(&mut conn);
        // DATA after FIN occurs on real wires and is dropped.
        assert_eq!(
            peer.feed(&mut conn, &[0, 0, 0, 1, 0, 0, 0, 1, b'x']),
            (vec![], vec![])
        );
    }
}

#[test]
fn data_needs_a_reply_first() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    let mut data = Bytes::from_static(b"x");
    assert_eq!(
        conn.send(id(1), &mut data, false),
        Err(StreamError::NotReplied(id(1)))
    );
    assert_eq!(data.len(), 1, "nothing is lost");
}

#[test]
fn repeated_and_descending_ids_are_reset_and_the_connection_lives() {
    let (mut peer, mut conn) = (Peer::new(), server());
    for n in [5, 3, 5] {
        let syn = peer.syn(n);
        peer.feed(&mut conn, &syn);
    }
    let syn = peer.syn(7);
    let (got, _) = peer.feed(&mut conn, &syn);
    assert!(
        matches!(got[..], [Event::Opened { .. }]),
        "context survived the refusals"
    );
    assert!(!conn.has_stream(id(5)), "its reset named a live stream");
    assert_eq!(conn.stats().error_resets, 2);
}

#[test]
fn streams_beyond_the_limit_are_refused_only() {
    let (mut peer, mut config) = (Peer::new(), Config::kubernetes(Role::Server));
    config.limits.peer_streams = 2;
    let mut conn = Connection::new(config, Instant::now()).unwrap();
    for n in [1, 3] {
        let syn = peer.syn(n);
        assert!(matches!(
            peer.feed(&mut conn, &syn).0[..],
            [Event::Opened { .. }]
        ));
    }
    let syn = peer.syn(5);
    let (got, sent) = peer.feed(&mut conn, &syn);
    assert!(got.is_empty());
    assert!(matches!(sent[..], [Frame::RstStream(f)] if f.status == RstStatus::REFUSED_STREAM));
    conn.reset(id(1), RstStatus::CANCEL);
    let syn = peer.syn(7);
    assert!(matches!(
        peer.feed(&mut conn, &syn).0[..],
        [Event::Opened { .. }]
    ));
}

#[test]
fn too_many_peer_errors_end_the_connection() {
    let (mut peer, mut config) = (Peer::new(), Config::kubernetes(Role::Server));
    config.limits.error_resets = 3;
    config.limits.queued_replies = 1000;
    let mut conn = Connection::new(config, Instant::now()).unwrap();
    for n in 0..5 {
        let syn = peer.syn(1);
        let result = conn.recv(peer.now, &mut BytesMut::from(syn.as_slice()));
        // The first is admitted, the next three reset, the fifth is one too many.
        assert_eq!(result.is_err(), n == 4, "{n}");
    }
    let sent = peer.sent(&mut conn);
    assert!(
        matches!(sent.last(), Some(Frame::GoAway(f)) if f.status == GoAwayStatus::PROTOCOL_ERROR)
    );
}

#[test]
fn streams_opened_only_to_be_reset_end_the_connection() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let limit = Limits::default().rapid_resets as u32;
    let mut churn = |n: u32, conn: &mut Connection| {
        let mut bytes = peer.syn(2 * n + 1);
        bytes.extend(peer.frame(&Frame::RstStream(spdy::RstStream {
            id: id(2 * n + 1),
            status: RstStatus::CANCEL,
        })));
        let result = conn.recv(peer.now, &mut BytesMut::from(bytes.as_slice()));
        peer.now += Duration::from_millis(10);
        result
    };
    for n in 0..limit {
        assert!(churn(n, &mut conn).is_ok(), "{n}");
    }
    assert!(churn(limit, &mut conn).is_err());
}

#[test]
fn resets_over_a_longer_time_are_fine() {
    let (mut peer, mut conn) = (Peer::new(), server());
    for n in 0..2 * Limits::default().rapid_resets as u32 {
        let syn = peer.syn(2 * n + 1);
        peer.feed(&mut conn, &syn);
        let status = RstStatus::CANCEL;
        let reset = peer.frame(&Frame::RstStream(spdy::RstStream {
            id: id(2 * n + 1),
            status,
        }));
        peer.feed(&mut conn, &reset);
        peer.now += Duration::from_millis(60);
    }
}

#[test]
fn debug_output_has_no_payload() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    let mut data = b"\0\0\0\x01\0\0\0\x07".to_vec();
    data.extend(b"hunter2");
    conn.recv(peer.now, &mut BytesMut::from(data.as_slice()))
        .unwrap();
    conn.reply(id(1), &HeaderBlock::new(), false).unwrap();
    conn.send(id(1), &mut Bytes::from_static(b"hunter2"), false)
        .unwrap();
    // Also what waits for the transport, and for credit.
    let mut config = Config::strict(Role::Client);
    config.write_ahead = 1;
    let mut waiting = Connection::new(config, peer.now).unwrap();
    let stream = waiting.open(&headers(), false).unwrap();
    for _ in 0..3 {
        let mut data = Bytes::from_static(b"hunter2");
        waiting.send(stream, &mut data, false).unwrap();
    }
    assert!(waiting.stats().queued_to_send > 0);
    let shown = format!("{conn:?} {:?} {waiting:?}", conn.poll_event());
    assert!(
        !shown.contains("hunter2") && !shown.contains("104, 117"),
        "{shown}"
    );
}

#[test]
fn a_ping_flood_stops_reading_until_answers_leave() {
    let (mut peer, mut config) = (Peer::new(), Config::kubernetes(Role::Server));
    let limit = config.limits.queued_replies;
    config.limits.pings = 1000;
    let mut conn = Connection::new(config, Instant::now()).unwrap();
    let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
    let mut flood = BytesMut::from(ping.repeat(limit + 10).as_slice());
    conn.recv(peer.now, &mut flood).unwrap();
    assert!(conn.is_blocked());
    assert_eq!(flood.len(), 10 * ping.len());
    assert_eq!(peer.sent(&mut conn).len(), limit);
    conn.recv(peer.now, &mut flood).unwrap();
    assert!(flood.is_empty() && !conn.is_blocked());
}

#[test]
fn goaway_is_last_and_nothing_opens_after_it() {
    let (mut peer, mut conn) = (Peer::new(), client());
    let stream = conn.open(&headers(), false).unwrap();
    conn.send(stream, &mut Bytes::from_static(b"queued"), false)
        .unwrap();
    conn.go_away(Instant::now(), GoAwayStatus::OK);
    conn.reset(stream, RstStatus::CANCEL);
    assert_eq!(conn.open(&headers(), false), Err(OpenError::GoingAway));
    let kinds: Vec<_> = peer.sent(&mut conn);
    assert!(matches!(
        kinds[..],
        [
            Frame::SynStream(_),
            Frame::Data(_),
            Frame::RstStream(_),
            Frame::GoAway(_),
        ]
    ));
    let goaway = [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let (got, _) = peer.feed(&mut conn, &goaway);
    assert_eq!(
        got,
        [Event::GoAway {
            last_good: 0,
            status: GoAwayStatus::OK
        }]
    );
}

#[test]
fn a_client_pings_one_at_a_time() {
    let mut peer = Peer::new();
    let mut conn = Connection::new(Config::kubernetes(Role::Client), peer.now).unwrap();
    let due = conn.poll_timeout().unwrap();
    assert_eq!(due - peer.now, Duration::from_secs(5));
    conn.handle_timeout(peer.now).unwrap();
    assert!(conn.outgoing().is_empty(), "not due yet");
    peer.now = due;
    conn.handle_timeout(due).unwrap();
    assert_eq!(peer.sent(&mut conn), [Frame::Ping(Ping { id: 1 })]);
    let due = conn.poll_timeout().unwrap();
    conn.handle_timeout(due).unwrap();
    assert!(conn.outgoing().is_empty(), "the first was not answered");
    let pong = peer.frame(&Frame::Ping(Ping { id: 1 }));
    assert!(matches!(
        peer.feed(&mut conn, &pong).0[..],
        [Event::Pong { .. }]
    ));
    let due = conn.poll_timeout().unwrap();
    conn.handle_timeout(due).unwrap();
    assert_eq!(peer.sent(&mut conn), [Frame::Ping(Ping { id: 3 })]);
}

#[test]
fn what_real_peers_ignore_is_ignored() {
    let (mut peer, mut conn) = (Peer::new(), server());
    for bytes in [
        &b"\x80\x03\0\x04\0\0\0\x0c\0\0\0\x01\0\0\0\x07\0\x01\0\0"[..], // SETTINGS
        b"\x80\x03\0\x09\0\0\0\x08\0\0\0\0\0\x01\0\0",                  // WINDOW_UPDATE, connection
        b"\0\0\0\x63\0\0\0\x01x",                                       // DATA, unknown stream
        b"\0\0\0\x63\x01\0\0\0",                                        // its FIN
        b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x63\0\0\0\x05", // RST_STREAM, unknown stream
        b"\x80\x03\0\x0a\0\0\0\x03abc",                  // CREDENTIAL: skipped
        b"\x80\x02\0\x06\0\0\0\x04\0\0\0\x02",           // another version, own parity
    ] {
        assert_eq!(peer.feed(&mut conn, bytes), (vec![], vec![]), "{bytes:x?}");
    }
    let syn = peer.syn(1);
    assert!(matches!(
        peer.feed(&mut conn, &syn).0[..],
        [Event::Opened { .. }]
    ));
}

/// Bytes that end the connection, and why. Each also byte by byte.
#[test]
fn malformed_frames() {
    use DecodeErrorKind as K;
    type Row = (&'static [u8], fn(&DecodeErrorKind) -> bool);
    let rows: &[Row] = &[
        (b"\0\0\0\0\0\0\0\x01x", |k| *k == K::StreamZero("DATA")),
        (b"\x80\x03\0\x01\0\0\0\x09\0\0\0\x01\0\0\0\0\0", |k| {
            matches!(
                k,
                K::Length {
                    frame: "SYN_STREAM",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x01\x04\0\0\x0a\0\0\0\x01\0\0\0\0\0\0", |k| {
            matches!(k, K::Flags { .. })
        }),
        (b"\x80\x03\0\x01\0\0\0\x0b\0\0\0\0\0\0\0\0\0\0\0", |k| {
            *k == K::StreamZero("SYN_STREAM")
        }),
        (b"\x80\x03\0\x01\0\0\0\x0b\x80\0\0\x01\0\0\0\0\0\0\0", |k| {
            *k == K::ReservedBit("SYN_STREAM")
        }),
        (b"\x80\x03\0\x01\0\0\0\x0b\0\0\0\x01\x80\0\0\0\0\0\0", |k| {
            *k == K::ReservedBit("SYN_STREAM")
        }),
        (b"\x80\x03\0\x01\0\0\0\x0a\0\0\0\x01\0\0\0\0\0\0", |k| {
            matches!(k, K::HeaderTruncated | K::Inflate(_))
        }),
        (
            b"\x80\x03\0\x01\0\0\0\x0e\0\0\0\x01\0\0\0\0\0\0\xff\xff\xff\xff",
            |k| matches!(k, K::Inflate(_)),
        ),
        (b"\x80\x03\0\x01\0\xff\xff\xff", |k| {
            matches!(
                k,
                K::FrameTooLarge {
                    frame: "SYN_STREAM",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x02\0\0\0\x03\0\0\0", |k| {
            matches!(
                k,
                K::Length {
                    frame: "SYN_REPLY",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x03\0\0\0\x07\0\0\0\x01\0\0\0", |k| {
            matches!(
                k,
                K::Length {
                    frame: "RST_STREAM",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x03\0\0\0\x09\0\0\0\x01\0\0\0\x05\0", |k| {
            matches!(
                k,
                K::Length {
                    frame: "RST_STREAM",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x03\x01\0\0\x08\0\0\0\x01\0\0\0\x05", |k| {
            matches!(k, K::Flags { .. })
        }),
        (b"\x80\x03\0\x03\0\0\0\x08\0\0\0\0\0\0\0\x05", |k| {
            *k == K::StreamZero("RST_STREAM")
        }),
        (b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x01\0\0\0\0", |k| {
            *k == K::ResetStatusZero
        }),
        (b"\x80\x03\0\x04\0\0\0\x03\0\0\0", |k| {
            matches!(
                k,
                K::Length {
                    frame: "SETTINGS",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x04\0\0\0\x04\xff\xff\xff\xff", |k| {
            matches!(
                k,
                K::Length {
                    frame: "SETTINGS",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x04\0\0\0\x08\0\0\0\x01\0\0\0\0", |k| {
            matches!(
                k,
                K::Length {
                    frame: "SETTINGS",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x04\0\0\x20\x00", |k| {
            matches!(
                k,
                K::FrameTooLarge {
                    frame: "SETTINGS",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x06\0\0\0\x04\0\0\0\0", |k| *k == K::PingZero),
        (b"\x80\x03\0\x06\0\0\0\x03\0\0\0", |k| {
            matches!(k, K::Length { frame: "PING", .. })
        }),
        (b"\x80\x03\0\x06\x01\0\0\x04\0\0\0\x01", |k| {
            matches!(k, K::Flags { .. })
        }),
        (b"\x80\x03\0\x07\0\0\0\x04\0\0\0\0", |k| {
            matches!(
                k,
                K::Length {
                    frame: "GOAWAY",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x07\0\0\0\x08\x80\0\0\0\0\0\0\0", |k| {
            *k == K::ReservedBit("GOAWAY")
        }),
        (b"\x80\x03\0\x08\0\0\0\x02\0\0", |k| {
            matches!(
                k,
                K::Length {
                    frame: "HEADERS",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x09\0\0\0\x09\0\0\0\x01\0\0\0\x05\0", |k| {
            matches!(
                k,
                K::Length {
                    frame: "WINDOW_UPDATE",
                    ..
                }
            )
        }),
        (b"\x80\x03\0\x09\0\0\0\x08\0\0\0\x01\x80\0\0\x05", |k| {
            *k == K::ReservedBit("WINDOW_UPDATE")
        }),
        (b"GET / HTTP/1.1\r\n\r\n", |_| true),
    ];
    for (bytes, expected) in rows {
        for step in [1, bytes.len()] {
            let (mut conn, mut input) = (server(), BytesMut::new());
            let mut result = Ok(());
            for piece in bytes.chunks(step) {
                input.extend_from_slice(piece);
                result = conn.recv(Instant::now(), &mut input);
            }
            // ASCII is a DATA frame with a large stream id; it is an end inside a frame.
            let Err(error) = result else {
                assert!(
                    bytes.starts_with(b"GET") && !conn.is_between_frames(&input),
                    "{bytes:x?}"
                );
                continue;
            };
            let ConnectionErrorKind::Decode(e) = error.kind() else {
                panic!("{error}")
            };
            assert!(expected(e.kind()), "{bytes:x?}: {e}");
            assert_eq!(e.offset(), 0);
            assert_eq!(
                conn.recv(Instant::now(), &mut BytesMut::new()),
                Err(error),
                "sticky"
            );
        }
    }
}

#[test]
fn a_huge_data_frame_is_never_buffered() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    let (got, _) = peer.feed(&mut conn, &[0, 0, 0, 1, 1, 0xff, 0xff, 0xff, b'a']);
    assert_eq!(
        got,
        [Event::Data {
            id: id(1),
            payload: Bytes::from_static(b"a"),
            fin: false
        }]
    );
    // Reset in the middle: the rest is dropped as it comes, and the next frame is found.
    conn.reset(id(1), RstStatus::CANCEL);
    let (got, _) = peer.feed(&mut conn, &vec![b'b'; 0xff_fffe]);
    assert!(got.is_empty());
    let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
    assert!(matches!(
        peer.feed(&mut conn, &ping).1[..],
        [.., Frame::Ping(_)]
    ));
}

#[test]
fn ids_run_out_cleanly() {
    // The decoder side: the last id works, and the one after cannot be written at all.
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(StreamId::MAX);
    assert!(matches!(
        peer.feed(&mut conn, &syn).0[..],
        [Event::Opened { .. }]
    ));
    assert!(StreamId::new(StreamId::MAX + 1).is_none());
}

#[test]
fn data_frame_round_trip_has_exact_length() {
    let mut out = BytesMut::new();
    let frame = Frame::Data(Data {
        id: id(1),
        payload: Bytes::from(vec![7; 100]),
        remaining: 0,
        fin: true,
        flags: 0,
    });
    Encoder::new(HeaderEncoding::Stored, &Limits::default())
        .encode(&frame, &mut out)
        .unwrap();
    assert_eq!(out.len(), 108);
    assert_eq!(
        Decoder::new(Limits::default()).decode(&mut out).unwrap(),
        Some(frame)
    );
}
