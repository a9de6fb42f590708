//! Every line of the budget table at N, which passes, and at N + 1, which has the stated reaction.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod common;

use bytes::{Bytes, BytesMut};
use common::{Peer, connection, data, events, id};
use spdy::{
    Config, Connection, ConnectionErrorKind, DecodeErrorKind, Dialect, Event, Frame, GoAway,
    GoAwayStatus, HeaderBlock, Headers, OpenError, Ping, Role, RstStatus, Setting, Settings,
    SynReply, WindowUpdate,
};
use std::time::{Duration, Instant};

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Fine,
    /// The connection ended; the word for it.
    Ended(&'static str),
    /// One stream was reset.
    Reset(RstStatus),
    /// Reading paused.
    Paused,
    /// The caller was refused, or has to wait.
    Refused,
    GoAway,
}

fn small(name: &str, n: usize, role: Role) -> Connection {
    let mut config = Config::kubernetes(role);
    // Wide enough that only the budget under test is met.
    for (other, value) in [
        ("control_frame", 16 << 10),
        ("header_block", 64 << 10),
        ("header_block_inflated", 256 << 10),
        ("header_pairs", 256),
        ("header_name", 1 << 10),
        ("header_value", 64 << 10),
        ("queued_replies", 1000),
        ("pings", 10_000),
        ("settings", 100),
        ("settings_entries", 1 << 10),
        ("empty_data", 10_000),
        ("headers_frames", 64),
        ("rapid_resets", 1000),
        ("error_resets", 1024),
        ("glitches", 100_000),
        ("glitches_fatal", 100_000),
        ("stream_receive", 4 << 20),
        ("session_receive", 256 << 20),
    ] {
        assert!(config.limits.set(other, value));
    }
    assert!(config.limits.set(name, n), "{name}");
    connection(config)
}

fn recv(peer: &mut Peer, conn: &mut Connection, bytes: &[u8]) -> Outcome {
    let mut input = BytesMut::from(bytes);
    match conn.recv(peer.now, &mut input) {
        Ok(()) if !input.is_empty() || conn.is_blocked() || conn.is_full() => Outcome::Paused,
        Ok(()) => {
            let resets = peer.sent(conn).into_iter().filter_map(|frame| match frame {
                Frame::RstStream(reset) => Some(Outcome::Reset(reset.status)),
                Frame::GoAway(_) => Some(Outcome::GoAway),
                _ => None,
            });
            resets.last().unwrap_or(Outcome::Fine)
        }
        Err(e) => {
            assert!(
                peer.sent(conn).iter().any(
                    |f| matches!(f, Frame::GoAway(g) if g.status == GoAwayStatus::PROTOCOL_ERROR)
                ),
                "GOAWAY says so: {e}"
            );
            Outcome::Ended(match e.kind() {
                ConnectionErrorKind::Decode(e) => match e.kind() {
                    DecodeErrorKind::FrameTooLarge { .. } => "frame",
                    DecodeErrorKind::HeaderBlockTooLarge { .. } => "block",
                    DecodeErrorKind::HeaderPairs { .. } => "pairs",
                    DecodeErrorKind::HeaderField { field, .. } => field,
                    DecodeErrorKind::SettingsEntries { .. } => "entries",
                    other => panic!("{other}"),
                },
                ConnectionErrorKind::RapidResets { .. } => "rapid resets",
                ConnectionErrorKind::TooManyErrors { .. } => "errors",
                ConnectionErrorKind::Flood { frame, .. } => frame,
                ConnectionErrorKind::Glitches { .. } => "glitches",
                other => panic!("{other:?}"),
            })
        }
    }
}

fn block(pairs: usize, name: usize, value: usize) -> HeaderBlock {
    (0..pairs)
        .map(|i| (format!("{i:a>name$}"), vec![b'v'; value]))
        .collect()
}

fn headers_frame(peer: &mut Peer, n: u32) -> Vec<u8> {
    peer.frame(&Frame::Headers(Headers {
        id: id(n),
        fin: false,
        headers: HeaderBlock::new(),
    }))
}

fn settings(peer: &mut Peer, entries: usize) -> Vec<u8> {
    let entry = Setting {
        flags: 0,
        id: 1,
        value: 0,
    };
    peer.frame(&Frame::Settings(Settings {
        clear: false,
        entries: vec![entry; entries],
    }))
}

/// Does `n` of it with the budget at `limit`.
fn probe(name: &str, limit: usize, n: usize) -> Outcome {
    let mut peer = Peer::new();
    let peer = &mut peer;
    let mut server = small(name, limit, Role::Server);
    let conn = &mut server;
    let open = |peer: &mut Peer, conn: &mut Connection, n: u32| {
        let syn = peer.syn(n);
        assert_eq!(recv(peer, conn, &syn), Outcome::Fine);
        events(conn);
        conn.reply(id(n), &HeaderBlock::new(), false).unwrap();
    };
    match name {
        "control_frame" => {
            // SETTINGS is the only one whose length is free: 4 + 8 x count.
            let frame = settings(peer, (n - 4) / 8);
            recv(peer, conn, &frame)
        }
        "header_block" => {
            // Stored blocks of one pair: the length is known to the byte.
            let mut wire = b"\x80\x03\0\x01".to_vec();
            let plain = n - 6 - 5 - 5;
            wire.extend(u32::try_from(n + 10).unwrap().to_be_bytes());
            wire.extend(b"\0\0\0\x01\0\0\0\0\0\0");
            wire.extend(b"\x78\xf9\xe3\xc6\xa7\xc2");
            wire.push(0);
            wire.extend(u16::try_from(plain).unwrap().to_le_bytes());
            wire.extend((!u16::try_from(plain).unwrap()).to_le_bytes());
            let value = plain - 4 - 4 - 1 - 4;
            wire.extend(b"\0\0\0\x01\0\0\0\x01a");
            wire.extend(u32::try_from(value).unwrap().to_be_bytes());
            wire.extend(vec![b'v'; value]);
            wire.extend(b"\0\0\0\xff\xff");
            recv(peer, conn, &wire)
        }
        "header_block_inflated" => {
            let pairs = block(1, 1, n - 4 - 8 - 1);
            let syn = peer.syn_with(1, pairs);
            recv(peer, conn, &syn)
        }
        "header_pairs" => {
            let syn = peer.syn_with(1, block(n, 4, 1));
            recv(peer, conn, &syn)
        }
        "header_name" => {
            let syn = peer.syn_with(1, block(1, n, 1));
            recv(peer, conn, &syn)
        }
        "header_value" => {
            let syn = peer.syn_with(1, block(1, 1, n));
            recv(peer, conn, &syn)
        }
        "data_frame" => {
            open(peer, conn, 1);
            // The head alone decides.
            let mut head = 1u32.to_be_bytes().to_vec();
            head.extend(u32::try_from(n).unwrap().to_be_bytes());
            recv(peer, conn, &head)
        }
        "peer_streams" | "unanswered_streams" => {
            let mut last = Outcome::Fine;
            for i in 0..n {
                let syn = peer.syn(2 * i as u32 + 1);
                last = recv(peer, conn, &syn);
                events(conn);
                if name == "peer_streams" && last == Outcome::Fine {
                    let n = id(2 * i as u32 + 1);
                    conn.reply(n, &HeaderBlock::new(), false).unwrap();
                }
            }
            last
        }
        "own_streams" => {
            let mut client = small(name, limit, Role::Client);
            let mut last = Outcome::Fine;
            for _ in 0..n {
                last = match client.open(&common::headers(), false) {
                    Ok(_) => Outcome::Fine,
                    Err(OpenError::TooManyStreams(open)) if open == limit => Outcome::Refused,
                    Err(e) => panic!("{e}"),
                };
            }
            last
        }
        "rapid_resets" => {
            let mut last = Outcome::Fine;
            for i in 0..n {
                let mut bytes = peer.syn(2 * i as u32 + 1);
                bytes.extend(peer.reset(2 * i as u32 + 1));
                last = recv(peer, conn, &bytes);
                events(conn);
            }
            last
        }
        "error_resets" => {
            open(peer, conn, 1);
            let mut last = Outcome::Fine;
            for _ in 0..n {
                let again = peer.syn(1);
                last = recv(peer, conn, &again);
            }
            // Within the budget, a reset is all that happens.
            if last == Outcome::Reset(RstStatus::PROTOCOL_ERROR) {
                Outcome::Fine
            } else {
                last
            }
        }
        "queued_replies" => {
            // At N nothing more is read: one answer less is fine.
            let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
            recv(peer, conn, &ping.repeat(n - 1))
        }
        "pings" => {
            let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
            let mut last = Outcome::Fine;
            for _ in 0..n {
                last = recv(peer, conn, &ping);
            }
            last
        }
        "settings" => {
            let frame = settings(peer, 1);
            recv(peer, conn, &frame.repeat(n))
        }
        "settings_entries" => {
            let frame = settings(peer, n);
            recv(peer, conn, &frame)
        }
        "empty_data" => {
            open(peer, conn, 1);
            recv(peer, conn, &data(1, false, b"").repeat(n))
        }
        "event_overhead" => {
            // Room for one event of one byte, if an event counts no more than `limit`.
            let mut config = Config::kubernetes(Role::Server);
            config.limits.event_overhead = n;
            config.limits.session_receive = limit + 1;
            let mut conn = connection(config);
            let syn = peer.syn(1);
            conn.recv(peer.now, &mut BytesMut::from(syn.as_slice()))
                .unwrap();
            events(&mut conn);
            let mut input = BytesMut::from(data(1, false, b"x").as_slice());
            conn.recv(peer.now, &mut input).unwrap();
            if conn.is_full() {
                Outcome::Paused
            } else {
                Outcome::Fine
            }
        }
        "headers_frames" => {
            open(peer, conn, 1);
            let frames: Vec<u8> = (0..n).flat_map(|_| headers_frame(peer, 1)).collect();
            recv(peer, conn, &frames)
        }
        "stream_receive" | "session_receive" => {
            if name == "session_receive" {
                assert!(limit <= 4 << 20, "of one stream");
            }
            open(peer, conn, 1);
            let mut last = Outcome::Fine;
            let mut left = n;
            while left > 0 {
                let piece = left.min(64 << 10);
                left -= piece;
                last = recv(peer, conn, &data(1, false, &vec![0; piece]));
                // Polled, but not consumed.
                events(conn);
                if conn.is_full() {
                    last = Outcome::Paused;
                } else if last == Outcome::Paused {
                    last = Outcome::Fine;
                }
            }
            if last == Outcome::Paused {
                let stalled: Vec<_> = conn.stalled().collect();
                assert_eq!(stalled.is_empty(), name == "session_receive");
                // Consuming one byte is enough.
                conn.consumed(id(1), 1);
                assert!(!conn.is_full());
            }
            last
        }
        "stream_send" | "session_send" => {
            let mut config = Config::kubernetes(Role::Client);
            config.limits.stream_send = 4 << 20;
            config.write_ahead = 1;
            config.data_payload = 0xff_ffff;
            assert!(config.limits.set(name, limit));
            let mut conn = connection(config);
            let stream = conn.open(&common::headers(), false).unwrap();
            // The first byte is framed at once; the rest waits.
            conn.send(stream, &mut Bytes::from_static(b"x"), false)
                .unwrap();
            let mut payload = Bytes::from(vec![0; n]);
            conn.send(stream, &mut payload, false).unwrap();
            assert_eq!(conn.stats().queued_to_send, n.min(limit));
            if payload.is_empty() {
                Outcome::Fine
            } else {
                assert_eq!(conn.send(stream, &mut payload, false), Ok(0));
                assert!(events(&mut conn).is_empty());
                common::drain(&mut conn);
                assert_eq!(events(&mut conn), [Event::Writable { id: stream }]);
                Outcome::Refused
            }
        }
        "drain_ms" => {
            let begun = Instant::now();
            open(peer, conn, 1);
            conn.go_away(begun, GoAwayStatus::OK);
            common::drain(conn);
            let over = Duration::from_millis(limit as u64);
            assert_eq!(conn.poll_timeout(), Some(begun + over));
            match conn.handle_timeout(begun + Duration::from_millis(n as u64 - 1)) {
                Ok(()) => Outcome::Fine,
                Err(e) => {
                    assert!(matches!(e.kind(), ConnectionErrorKind::Drain { .. }), "{e}");
                    Outcome::Ended("drain")
                }
            }
        }
        "glitches" | "glitches_fatal" => {
            // Answers to PINGs that nobody sent: a point each.
            let pong = peer.frame(&Frame::Ping(Ping { id: 2 }));
            recv(peer, conn, &pong.repeat(n))
        }
        other => panic!("{other} has no probe"),
    }
}

#[test]
fn at_n_and_at_n_plus_1() {
    let mut count = 0;
    for budget in spdy::Limits::default().budgets() {
        let name = budget.name;
        // The default where it is quick to reach, else something smaller.
        let n = match name {
            "control_frame" => 4 + 8 * 100,
            "data_frame" => 100_000,
            "peer_streams" | "own_streams" | "unanswered_streams" => 300,
            "session_receive" => 1 << 20,
            "session_send" => 128 << 10,
            "pings" => 99,
            _ => budget.default as usize,
        };
        let over = match name {
            "control_frame" | "header_block" | "data_frame" => Outcome::Ended("frame"),
            "header_block_inflated" => Outcome::Ended("block"),
            "header_pairs" => Outcome::Ended("pairs"),
            "header_name" => Outcome::Ended("name"),
            "header_value" => Outcome::Ended("value"),
            "peer_streams" | "unanswered_streams" => Outcome::Reset(RstStatus::REFUSED_STREAM),
            "own_streams" | "stream_send" | "session_send" => Outcome::Refused,
            "rapid_resets" => Outcome::Ended("rapid resets"),
            "error_resets" => Outcome::Ended("errors"),
            "queued_replies" | "event_overhead" | "stream_receive" | "session_receive" => {
                Outcome::Paused
            }
            "pings" => Outcome::Ended("PING"),
            "settings" => Outcome::Ended("SETTINGS"),
            "settings_entries" => Outcome::Ended("entries"),
            "empty_data" => Outcome::Ended("empty DATA"),
            "headers_frames" => Outcome::Reset(RstStatus::PROTOCOL_ERROR),
            "drain_ms" => Outcome::Ended("drain"),
            "glitches" => Outcome::GoAway,
            "glitches_fatal" => Outcome::Ended("glitches"),
            other => panic!("{other} has no reaction"),
        };
        // Where the next larger thing is not one byte larger.
        let step = if name == "control_frame" { 8 } else { 1 };
        assert_eq!(probe(name, n, n), Outcome::Fine, "{name} at {n}");
        assert_eq!(probe(name, n, n + step), over, "{name} at {n} and {step}");
        count += 1;
    }
    assert_eq!(count, 26, "lines of the table");
}

/// Rates are over 10 s: the same number again later is fine.
#[test]
fn rates_recover() {
    let mut peer = Peer::new();
    let mut conn = common::server();
    let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
    for _ in 0..3 {
        peer.feed(&mut conn, &ping.repeat(100));
        peer.now += Duration::from_secs(10);
    }
    assert_eq!(conn.stats().frames_received, 300);
    peer.feed(&mut conn, &ping.repeat(100));
    let one_more = conn.recv(peer.now, &mut BytesMut::from(ping.as_slice()));
    assert!(one_more.is_err());
    let again = conn.recv(peer.now, &mut BytesMut::new());
    assert_eq!(again, one_more, "an error stays");
}

/// What crosses on an honest wire is no oddity, whatever its number (B30).
#[test]
fn frames_for_streams_that_have_ended_are_no_glitch() {
    let mut peer = Peer::new();
    let mut conn = common::server();
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    conn.reset(id(1), RstStatus::CANCEL);
    peer.sent(&mut conn);
    for _ in 0..5000 {
        peer.feed(&mut conn, &data(1, false, b"x"));
    }
    let update = peer.frame(&Frame::WindowUpdate(WindowUpdate { id: 1, delta: 5 }));
    peer.feed(&mut conn, &update);
    let reset = peer.reset(1);
    peer.feed(&mut conn, &reset);
    assert_eq!(conn.stats().glitches, 0);
    // Frames for streams that never were are, and an answer to a stream of its own, which crosses nothing.
    peer.feed(&mut conn, &data(99, false, b"x"));
    assert_eq!(conn.stats().glitches, 4);
    let reply = peer.frame(&Frame::SynReply(SynReply {
        id: id(1),
        fin: false,
        headers: HeaderBlock::new(),
    }));
    peer.feed(&mut conn, &reply);
    assert_eq!(conn.stats().glitches, 8);
}

/// What no honest wire brings, and costs more than its length: each is charged.
#[test]
fn what_has_no_reason_is_charged() {
    type Make = fn(&mut Peer) -> Vec<u8>;
    let goodbye: Make = |peer| {
        let status = GoAwayStatus::OK;
        peer.frame(&Frame::GoAway(GoAway {
            last_good: 0,
            status,
        }))
    };
    let rows: [(&str, Dialect, Make, Make, usize); 4] = [
        (
            "HEADERS on a stream that has ended: Kubernetes sends none",
            Dialect::Kubernetes,
            |peer| [peer.syn(1), peer.reset(1)].concat(),
            |peer| headers_frame(peer, 1),
            4,
        ),
        (
            "the same where they may cross a reset",
            Dialect::Spdy31,
            |peer| [peer.syn(1), peer.reset(1)].concat(),
            |peer| headers_frame(peer, 1),
            1,
        ),
        (
            "SYN_STREAM behind its own GOAWAY",
            Dialect::Kubernetes,
            goodbye,
            |peer| peer.syn(1),
            4,
        ),
        ("GOAWAY again", Dialect::Kubernetes, goodbye, goodbye, 1),
    ];
    for (what, dialect, before, odd, points) in rows {
        let mut config = Config::kubernetes(Role::Server);
        config.dialect = dialect;
        config.limits.glitches = 100_000;
        let (mut peer, mut conn) = (Peer::of(dialect), connection(config));
        let before = before(&mut peer);
        recv(&mut peer, &mut conn, &before);
        events(&mut conn);
        assert_eq!(conn.stats().glitches, 0, "{what}");
        let odd: Vec<_> = (0..=1000 / points).map(|_| odd(&mut peer)).collect();
        for (n, bytes) in odd.iter().enumerate() {
            let outcome = recv(&mut peer, &mut conn, bytes);
            events(&mut conn);
            let last = n == 1000 / points;
            assert_eq!(outcome == Outcome::Ended("glitches"), last, "{what} {n}");
        }
    }
}

/// A client asks how far its bytes have come by five PINGs, as often as its bytes go.
#[test]
fn pings_behind_payload_are_no_flood() {
    let mut conn = small("pings", 100, Role::Server);
    let mut peer = Peer::new();
    let syn = peer.syn(1);
    assert_eq!(recv(&mut peer, &mut conn, &syn), Outcome::Fine);
    let mut asked = data(1, false, b"x");
    asked.extend(peer.frame(&Frame::Ping(Ping { id: 1 })).repeat(5));
    for _ in 0..1000 {
        assert_eq!(recv(&mut peer, &mut conn, &asked), Outcome::Fine);
        conn.consumed(id(1), 1);
    }
    let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
    // Five of the last round count.
    for _ in 0..95 {
        assert_eq!(recv(&mut peer, &mut conn, &ping), Outcome::Fine);
    }
    let last = recv(&mut peer, &mut conn, &ping);
    assert_eq!(last, Outcome::Ended("PING"));
}
