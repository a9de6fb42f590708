//! The strict dialect: windows, and errors as the draft says.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::{Bytes, BytesMut};
use common::{Peer, connection, data, drain, events, headers, id};
use spdy::{
    Config, Connection, ConnectionErrorKind, DecodeErrorKind, Dialect, Event, FlowControl, Frame,
    GoAwayStatus, HeaderBlock, Headers, OpenError, Opening, Ping, Role, RstStatus, Setting,
    Settings, StreamError, SynReply, WindowUpdate,
};
use std::time::{Duration, Instant};

fn strict(role: Role) -> (Peer, Connection) {
    let (mut peer, mut conn) = (Peer::of(Dialect::Spdy31), connection(Config::strict(role)));
    let first = peer.sent(&mut conn);
    assert!(
        matches!(&first[..], [Frame::Settings(s)]
            if s.entries.iter().any(|e| e.id == Setting::INITIAL_WINDOW_SIZE && e.value == 65_536)
            && s.entries.iter().any(|e| e.id == Setting::MAX_CONCURRENT_STREAMS && e.value == 2048)),
        "SETTINGS first: {first:?}"
    );
    (peer, conn)
}

/// A server with stream 1 answered.
fn with_stream() -> (Peer, Connection) {
    let (mut peer, mut conn) = strict(Role::Server);
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    conn.reply(id(1), &HeaderBlock::new(), false).unwrap();
    peer.sent(&mut conn);
    (peer, conn)
}

fn update(peer: &mut Peer, conn: &mut Connection, stream: u32, delta: u32) -> Vec<Frame> {
    let update = peer.frame(&Frame::WindowUpdate(WindowUpdate { id: stream, delta }));
    peer.feed(conn, &update).1
}

fn payload(frames: &[Frame]) -> usize {
    let lens = frames.iter().map(|f| match f {
        Frame::Data(data) => data.payload.len(),
        _ => 0,
    });
    lens.sum()
}

fn resets(frames: &[Frame]) -> Vec<(u32, RstStatus)> {
    let resets = frames.iter().filter_map(|f| match f {
        Frame::RstStream(reset) => Some((reset.id.get(), reset.status)),
        _ => None,
    });
    resets.collect()
}

fn error(conn: &mut Connection, bytes: &[u8]) -> ConnectionErrorKind {
    let result = conn.recv(Instant::now(), &mut BytesMut::from(bytes));
    result.unwrap_err().kind().clone()
}

#[test]
fn sending_stops_at_either_window_and_goes_on_with_credit() {
    let (mut peer, mut conn) = with_stream();
    let send = |conn: &mut Connection| {
        let mut all = Bytes::from(vec![7; 100_000]);
        let mut taken = 0;
        loop {
            match conn.send(id(1), &mut all, true).unwrap() {
                0 => return taken,
                n if all.is_empty() => return taken + n,
                n => taken += n,
            }
        }
    };
    // Some is framed within the window, as much again waits (B15).
    assert_eq!(send(&mut conn), 100_000);
    assert_eq!(payload(&peer.sent(&mut conn)), 65_536);
    assert_eq!(
        payload(&update(&mut peer, &mut conn, 1, 10_000)),
        0,
        "the connection's window is used up"
    );
    assert_eq!(payload(&update(&mut peer, &mut conn, 0, 30_000)), 10_000);
    let rest = update(&mut peer, &mut conn, 1, 100_000);
    assert_eq!(payload(&rest), 20_000);
    let last = update(&mut peer, &mut conn, 0, 100_000);
    assert_eq!(payload(&last), 100_000 - 65_536 - 30_000);
    assert!(matches!(last.last(), Some(Frame::Data(d)) if d.fin));
}

#[test]
fn settings_shift_windows_even_below_zero() {
    let (mut peer, mut conn) = with_stream();
    conn.send(id(1), &mut Bytes::from(vec![1; 10_000]), false)
        .unwrap();
    peer.sent(&mut conn);
    let initial = |peer: &mut Peer, value| {
        let entries = vec![Setting {
            flags: 0,
            id: Setting::INITIAL_WINDOW_SIZE,
            value,
        }];
        peer.frame(&Frame::Settings(Settings {
            clear: false,
            entries,
        }))
    };
    let smaller = initial(&mut peer, 5_000);
    let (got, _) = peer.feed(&mut conn, &smaller);
    assert!(matches!(got[..], [Event::Settings { .. }]));
    conn.send(id(1), &mut Bytes::from(vec![2; 1_000]), false)
        .unwrap();
    assert_eq!(payload(&peer.sent(&mut conn)), 0, "the window is -5,000");
    assert_eq!(payload(&update(&mut peer, &mut conn, 1, 5_000)), 0);
    assert_eq!(payload(&update(&mut peer, &mut conn, 1, 300)), 300);
    let larger = initial(&mut peer, 6_000);
    assert_eq!(payload(&peer.feed(&mut conn, &larger).1), 700);
    let too_large = initial(&mut peer, 0x8000_0000);
    assert_eq!(
        error(&mut conn, &too_large),
        ConnectionErrorKind::WindowOverflow
    );
}

#[test]
fn credit_returns_with_consumption_only() {
    let (mut peer, mut conn) = with_stream();
    let (got, sent) = peer.feed(&mut conn, &data(1, false, &vec![0; 40_000]));
    assert!(matches!(got[..], [Event::Data { .. }]));
    assert!(sent.is_empty(), "nothing was consumed");
    conn.consumed(id(1), 20_000);
    assert!(peer.sent(&mut conn).is_empty(), "not worth a frame");
    conn.consumed(id(1), 99_999);
    let credit = peer.sent(&mut conn);
    let of = |n| {
        Frame::WindowUpdate(WindowUpdate {
            id: n,
            delta: 40_000,
        })
    };
    assert_eq!(credit, [of(1), of(0)], "what came, not what was claimed");
}

#[test]
fn too_much_for_a_stream_resets_it_and_too_much_for_the_connection_ends_it() {
    let (mut peer, mut conn) = with_stream();
    // A stream of its own: the connection's window grows, the stream's does not.
    let (_, sent) = peer.feed(&mut conn, &data(1, false, &vec![0; 65_536]));
    assert!(sent.is_empty());
    assert_eq!(
        error(&mut conn, &data(1, false, b"x")),
        ConnectionErrorKind::WindowExceeded
    );
    let (mut peer, mut config) = (Peer::of(Dialect::Spdy31), Config::strict(Role::Server));
    config.session_window = 1 << 20;
    let mut conn = connection(config);
    let first = peer.sent(&mut conn);
    assert!(
        matches!(first[..], [Frame::Settings(_), Frame::WindowUpdate(WindowUpdate { id: 0, delta })]
        if delta == (1 << 20) - 65_536)
    );
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    let (_, sent) = peer.feed(&mut conn, &data(1, false, &vec![0; 65_537]));
    assert_eq!(resets(&sent), [(1, RstStatus::FLOW_CONTROL_ERROR)]);
}

#[test]
fn windows_above_31_bits_are_errors_of_their_scope() {
    let (mut peer, mut conn) = with_stream();
    let sent = update(&mut peer, &mut conn, 1, 0x7fff_ffff);
    assert_eq!(resets(&sent), [(1, RstStatus::FLOW_CONTROL_ERROR)]);
    let (mut peer, mut conn) = with_stream();
    let sent = update(&mut peer, &mut conn, 1, 0);
    assert_eq!(resets(&sent), [(1, RstStatus::PROTOCOL_ERROR)]);
    let over = peer.frame(&Frame::WindowUpdate(WindowUpdate {
        id: 0,
        delta: 0x7fff_ffff,
    }));
    assert_eq!(error(&mut conn, &over), ConnectionErrorKind::WindowOverflow);
}

#[test]
fn stream_errors_of_the_draft() {
    let reply = |peer: &mut Peer, n| {
        peer.frame(&Frame::SynReply(SynReply {
            id: id(n),
            fin: false,
            headers: HeaderBlock::new(),
        }))
    };
    let more = |peer: &mut Peer, n| {
        peer.frame(&Frame::Headers(Headers {
            id: id(n),
            fin: false,
            headers: headers(),
        }))
    };
    // For streams that never were.
    for make in [
        &(|_: &mut Peer| data(9, false, b"x")) as &dyn Fn(&mut Peer) -> Vec<u8>,
        &(|peer| more(peer, 9)),
        &(|peer| reply(peer, 2)),
    ] {
        let (mut peer, mut conn) = with_stream();
        let bytes = make(&mut peer);
        let (got, sent) = peer.feed(&mut conn, &bytes);
        assert!(got.is_empty());
        assert_eq!(
            resets(&sent)[..].first().map(|r| r.1),
            Some(RstStatus::INVALID_STREAM)
        );
        assert!(conn.has_stream(id(1)), "the other stream is unharmed");
    }
    // After FIN.
    let (mut peer, mut conn) = with_stream();
    peer.feed(&mut conn, &data(1, true, b"end"));
    let (got, sent) = peer.feed(&mut conn, &data(1, false, b"x"));
    assert_eq!(resets(&sent), [(1, RstStatus::STREAM_ALREADY_CLOSED)]);
    assert!(matches!(got[..], [Event::Reset { .. }]));
    // Before the answer, on a stream of ours; a second answer.
    let (mut peer, mut conn) = strict(Role::Client);
    let stream = conn.open(&headers(), false).unwrap();
    let (_, sent) = peer.feed(&mut conn, &data(1, false, b"x"));
    assert_eq!(resets(&sent), [(stream.get(), RstStatus::PROTOCOL_ERROR)]);
    let stream = conn.open(&headers(), false).unwrap();
    let first = reply(&mut peer, stream.get());
    peer.feed(&mut conn, &first);
    let second = reply(&mut peer, stream.get());
    let (_, sent) = peer.feed(&mut conn, &second);
    assert_eq!(resets(&sent), [(stream.get(), RstStatus::STREAM_IN_USE)]);
}

#[test]
fn frames_that_cross_a_reset_are_no_error() {
    let (mut peer, mut conn) = with_stream();
    conn.reset(id(1), RstStatus::CANCEL);
    peer.sent(&mut conn);
    let late = peer.frame(&Frame::Headers(Headers {
        id: id(1),
        fin: false,
        headers: headers(),
    }));
    for bytes in [data(1, false, b"late"), late, peer.reset(1)] {
        let (got, sent) = peer.feed(&mut conn, &bytes);
        assert!(got.is_empty() && sent.is_empty(), "{got:?} {sent:?}");
    }
    // Their credit is not lost.
    peer.feed(&mut conn, &data(1, false, &vec![0; 40_000]));
    let (_, sent) = peer.feed(&mut conn, &data(1, false, b""));
    assert!(sent.is_empty());
    let syn = peer.syn(3);
    peer.feed(&mut conn, &syn);
    let (_, sent) = peer.feed(&mut conn, &data(3, false, &vec![0; 25_000]));
    assert!(resets(&sent).is_empty());
}

#[test]
fn ids_out_of_order_or_parity_end_the_connection() {
    let (mut peer, mut conn) = with_stream();
    let again = peer.syn(1);
    let (_, sent) = peer.feed(&mut conn, &again);
    assert_eq!(resets(&sent), [(1, RstStatus::PROTOCOL_ERROR)]);
    let (five, three) = (peer.syn(5), peer.syn(3));
    peer.feed(&mut conn, &five);
    assert_eq!(
        error(&mut conn, &three),
        ConnectionErrorKind::StreamOrder { id: id(3), last: 5 }
    );
    let (mut peer, mut conn) = with_stream();
    let even = peer.syn(2);
    assert_eq!(
        error(&mut conn, &even),
        ConnectionErrorKind::StreamParity(id(2))
    );
}

#[test]
fn what_the_draft_forbids_is_not_read() {
    let kind = |bytes: &[u8]| {
        let (_, mut conn) = with_stream();
        match error(&mut conn, bytes) {
            ConnectionErrorKind::Decode(e) => e.kind().clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        kind(b"\x80\x02\0\x06\0\0\0\x04\0\0\0\x01"),
        DecodeErrorKind::Version(2)
    );
    assert_eq!(
        kind(b"\x80\x03\0\x05\0\0\0\0"),
        DecodeErrorKind::UnknownFrame(5)
    );
    assert_eq!(
        kind(b"\x80\x03\0\x0a\0\0\0\0"),
        DecodeErrorKind::UnknownFrame(10)
    );
    for (pairs, want) in [
        (vec![("", "v")], DecodeErrorKind::HeaderEmptyName),
        (
            vec![("a", "1"), ("b", "2"), ("a", "3")],
            DecodeErrorKind::HeaderRepeated,
        ),
        (vec![("a", "1\0")], DecodeErrorKind::HeaderEmptyValue),
        (vec![("a", "1\0\x002")], DecodeErrorKind::HeaderEmptyValue),
    ] {
        let mut peer = Peer::of(Dialect::Spdy31);
        let syn = peer.syn_with(3, pairs.into_iter().collect());
        let (_, mut conn) = strict(Role::Server);
        match error(&mut conn, &syn) {
            ConnectionErrorKind::Decode(e) => assert_eq!(e.kind(), &want),
            other => panic!("{other:?}"),
        }
    }
    // One empty value is legal, and several that are not.
    let mut peer = Peer::of(Dialect::Spdy31);
    let fine = peer.syn_with(1, [("a", ""), ("b", "1\x002")].into_iter().collect());
    let (_, mut conn) = strict(Role::Server);
    assert!(matches!(
        peer.feed(&mut conn, &fine).0[..],
        [Event::Opened { .. }]
    ));
}

#[test]
fn the_peers_limit_of_streams_is_kept() {
    let (mut peer, mut conn) = strict(Role::Client);
    let entries = vec![Setting {
        flags: 0,
        id: Setting::MAX_CONCURRENT_STREAMS,
        value: 2,
    }];
    let settings = peer.frame(&Frame::Settings(Settings {
        clear: false,
        entries,
    }));
    peer.feed(&mut conn, &settings);
    let first = conn.open(&headers(), false).unwrap();
    conn.open(&headers(), false).unwrap();
    assert_eq!(
        conn.open(&headers(), false),
        Err(OpenError::TooManyStreams(2))
    );
    conn.reset(first, RstStatus::CANCEL);
    assert!(conn.open(&headers(), false).is_ok());
}

#[test]
fn headers_and_one_way_streams() {
    let (mut peer, mut conn) = strict(Role::Server);
    let pushed = Opening {
        unidirectional: true,
        associated: 1,
        priority: 3,
        ..Opening::default()
    };
    let stream = conn.open_with(&headers(), pushed).unwrap();
    let sent = peer.sent(&mut conn);
    assert!(matches!(&sent[..], [Frame::SynStream(syn)]
        if syn.unidirectional && syn.associated == 1 && syn.priority == 3 && syn.id == id(2)));
    conn.headers(stream, &headers(), false).unwrap();
    conn.send(stream, &mut Bytes::from_static(b"x"), true)
        .unwrap();
    assert!(matches!(
        peer.sent(&mut conn)[..],
        [Frame::Headers(_), Frame::Data(_)]
    ));
    assert!(!conn.has_stream(stream), "nothing comes back on it");
    // FIN does not overtake what waits.
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    conn.reply(id(1), &HeaderBlock::new(), false).unwrap();
    conn.send(id(1), &mut Bytes::from_static(b"body"), false)
        .unwrap();
    conn.headers(id(1), &headers(), true).unwrap();
    let sent = peer.sent(&mut conn);
    assert!(
        matches!(&sent[..], [Frame::SynReply(_), Frame::Headers(h), Frame::Data(a), Frame::Data(b)]
        if !h.fin && !a.fin && b.fin),
        "{sent:?}"
    );
    assert_eq!(
        conn.headers(id(1), &headers(), false),
        Err(StreamError::FinSent(id(1)))
    );
    let bad = Opening {
        priority: 8,
        ..Opening::default()
    };
    assert_eq!(conn.open_with(&headers(), bad), Err(OpenError::BadOpening));
    // To Kubernetes none are sent: its receiver stops at them.
    let mut kubernetes = common::client();
    let stream = kubernetes.open(&headers(), false).unwrap();
    assert_eq!(
        kubernetes.headers(stream, &headers(), false),
        Err(StreamError::NotInDialect(stream))
    );
}

#[test]
fn goaway_leaves_at_once_and_streams_may_finish() {
    let (mut peer, mut conn) = with_stream();
    let now = Instant::now();
    conn.go_away(now, GoAwayStatus::OK);
    assert!(matches!(peer.sent(&mut conn)[..], [Frame::GoAway(g)] if g.last_good == 1));
    assert!(!conn.is_done());
    conn.send(id(1), &mut Bytes::from_static(b"rest"), true)
        .unwrap();
    peer.sent(&mut conn);
    let (got, _) = peer.feed(&mut conn, &data(1, true, b"end"));
    assert!(matches!(got[..], [Event::Data { fin: true, .. }]));
    assert!(conn.is_done());
    // No stream is admitted any more.
    let syn = peer.syn(3);
    assert_eq!(peer.feed(&mut conn, &syn), (vec![], vec![]));
}

/// The turn goes round by bytes, and the higher priority first.
#[test]
fn streams_take_turns_by_bytes() {
    let mut config = Config::kubernetes(Role::Client);
    config.write_ahead = 1;
    config.limits.stream_send = 4 << 20;
    let mut conn = connection(config);
    let low = Opening {
        priority: 7,
        ..Opening::default()
    };
    let background = conn.open_with(&headers(), low).unwrap();
    let streams = [(); 3].map(|()| conn.open(&headers(), false).unwrap());
    // The first byte of all is framed; everything else has to wait for its turn.
    conn.send(background, &mut Bytes::from_static(b"first"), false)
        .unwrap();
    let mut queue = |stream, piece: usize| {
        for _ in 0..(256 << 10) / piece {
            assert_eq!(
                conn.send(stream, &mut Bytes::from(vec![0; piece]), false),
                Ok(piece)
            );
        }
    };
    queue(background, 32 << 10);
    queue(streams[0], 32 << 10);
    queue(streams[1], 16 << 10);
    queue(streams[2], 512);
    let mut wire = drain(&mut conn);
    let mut decoder = spdy::Decoder::new(spdy::Limits::default());
    let mut order = Vec::new();
    while let Some(frame) = decoder.decode(&mut wire).unwrap() {
        if let Frame::Data(data) = frame {
            order.push((data.id, data.payload.len()));
        }
    }
    let mut sums = std::collections::HashMap::new();
    for (stream, n) in order.iter().skip(1) {
        let sum = sums.entry(*stream).or_insert(0usize);
        *sum += n;
        let of = |s: &spdy::StreamId| sums.get(s).copied().unwrap_or(0);
        let (most, least) = (
            streams.iter().map(of).max().unwrap(),
            streams.iter().map(of).min().unwrap(),
        );
        assert!(most - least <= 32 << 10, "{most} and {least}");
        if *stream == background {
            assert_eq!(least, 256 << 10, "the others come first");
        }
    }
    assert_eq!(sums.values().sum::<usize>(), 4 * (256 << 10));
}

#[test]
fn detection_waits_for_the_peer_to_show_itself() {
    let config = |role| {
        let mut config = Config::kubernetes(role);
        config.flow_control = FlowControl::Detect;
        config
    };
    // Nothing is announced, and nothing waits for credit.
    let (mut peer, mut conn) = (Peer::new(), connection(config(Role::Client)));
    assert!(drain(&mut conn).is_empty() && !conn.has_flow_control());
    let stream = conn.open(&headers(), false).unwrap();
    for _ in 0..10 {
        assert_eq!(
            conn.send(stream, &mut Bytes::from(vec![0; 20_000]), false),
            Ok(20_000)
        );
    }
    assert_eq!(payload(&peer.sent(&mut conn)), 200_000);
    let (_, sent) = peer.feed(&mut conn, &data(1, false, &vec![0; 100_000]));
    assert!(sent.is_empty(), "too much is no error without flow control");
    conn.consumed(stream, 100_000);
    assert!(peer.sent(&mut conn).is_empty());
    // It shows itself: what was sent counts, what was consumed is credited.
    let sent = update(&mut peer, &mut conn, 1, 100);
    assert!(conn.has_flow_control());
    let credit = |n| {
        Frame::WindowUpdate(WindowUpdate {
            id: n,
            delta: 100_000,
        })
    };
    assert!(
        matches!(&sent[..], [Frame::Settings(_), a, b] if *a == credit(0) && *b == credit(1)),
        "{sent:?}"
    );
    conn.send(stream, &mut Bytes::from(vec![0; 1000]), false)
        .unwrap();
    assert_eq!(payload(&peer.sent(&mut conn)), 0);
    update(&mut peer, &mut conn, 0, 200_000);
    assert_eq!(payload(&update(&mut peer, &mut conn, 1, 135_000)), 636);
}

#[test]
fn timers_end_what_is_dead_or_idle() {
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let mut config = Config::kubernetes(Role::Client);
    config.dead_after = Some(30 * second);
    let mut conn = Connection::new(config, now).unwrap();
    for n in 1..30 {
        conn.handle_timeout(now + n * second).unwrap();
    }
    let error = conn.handle_timeout(now + 30 * second).unwrap_err();
    assert_eq!(
        error.kind(),
        &ConnectionErrorKind::Silent { after: 30 * second }
    );
    assert!(conn.poll_timeout().is_none());

    let mut config = Config::kubernetes(Role::Server);
    config.idle_timeout = Some(10 * second);
    let mut conn = Connection::new(config, now).unwrap();
    let mut peer = Peer::new();
    assert_eq!(conn.poll_timeout(), Some(now + 10 * second));
    // A frame of the peer is life.
    let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
    conn.recv(now + 9 * second, &mut BytesMut::from(ping.as_slice()))
        .unwrap();
    assert_eq!(conn.poll_timeout(), Some(now + 19 * second));
    // So is one of ours, from the next look on.
    conn.handle_timeout(now + 19 * second).unwrap();
    assert_eq!(conn.poll_timeout(), Some(now + 29 * second));
    let error = conn.handle_timeout(now + 29 * second).unwrap_err();
    assert_eq!(
        error.kind(),
        &ConnectionErrorKind::Idle { after: 10 * second }
    );
    assert_eq!(error.status(), GoAwayStatus::OK);
    drain(&mut conn);
    assert!(conn.is_done());
}

#[test]
fn ids_run_out_and_nothing_is_lost() {
    let mut config = Config::kubernetes(Role::Client);
    config.first_stream_id = Some(id(0x7fff_fffb));
    let mut conn = connection(config.clone());
    for n in [0x7fff_fffb, 0x7fff_fffd, 0x7fff_ffff] {
        assert_eq!(conn.open(&headers(), false), Ok(id(n)));
    }
    assert_eq!(conn.open(&headers(), false), Err(OpenError::IdsExhausted));
    let last = id(0x7fff_ffff);
    assert_eq!(conn.send(last, &mut Bytes::from_static(b"x"), true), Ok(1));
    assert!(events(&mut conn).is_empty());
    config.first_stream_id = Some(id(2));
    assert!(
        Connection::new(config, Instant::now()).is_err(),
        "not a client's"
    );
}
