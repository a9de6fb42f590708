//! What no other test looks at: ranges, counters, words, and the corners of consumption.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::{Bytes, BytesMut};
use common::{Peer, client, connection, data, drain, events, headers, id, server};
use spdy::{
    Config, Connection, ConnectionErrorKind, Data, Dialect, EncodeError, Event, FlowControl, Frame,
    GoAwayStatus, HeaderBlock, HeaderEncoding, Initiator, OpenError, Opening, Ping, Role,
    RstStatus, StreamError, SynReply,
};
use std::error::Error as _;
use std::time::{Duration, Instant};

#[test]
fn configurations_in_and_out_of_range() {
    type Set = fn(&mut Config);
    /// Without flow control, nothing but 31 bits bounds them.
    fn wide(config: &mut Config, stream: u32, session: u32) {
        config.flow_control = FlowControl::Off;
        (config.stream_window, config.session_window) = (stream, session);
    }
    let rows: &[(&str, Set, bool)] = &[
        ("data_payload", |c| c.data_payload = 0, false),
        ("data_payload", |c| c.data_payload = 1, true),
        ("data_payload", |c| c.data_payload = 0xff_ffff, true),
        ("data_payload", |c| c.data_payload = 0x100_0000, false),
        ("write_ahead", |c| c.write_ahead = 0, false),
        ("write_ahead", |c| c.write_ahead = 1, true),
        ("stream_window", |c| c.stream_window = 65_535, false),
        ("stream_window", |c| c.stream_window = 65_536, true),
        ("stream_window", |c| c.stream_window = 256 << 10, true),
        (
            "stream_window",
            |c| c.stream_window = (256 << 10) + 1,
            false,
        ),
        ("stream_window", |c| wide(c, 0x7fff_ffff, 65_536), true),
        ("stream_window", |c| wide(c, 0x8000_0000, 65_536), false),
        ("session_window", |c| c.session_window = 65_535, false),
        ("session_window", |c| c.session_window = 65_536, true),
        ("session_window", |c| c.session_window = 16 << 20, true),
        (
            "session_window",
            |c| c.session_window = (16 << 20) + 1,
            false,
        ),
        ("session_window", |c| wide(c, 65_536, 0x7fff_ffff), true),
        ("session_window", |c| wide(c, 65_536, 0x8000_0000), false),
        (
            "ping_interval",
            |c| c.ping_interval = Some(Duration::ZERO),
            false,
        ),
        ("dead_after", |c| c.dead_after = Some(Duration::ZERO), false),
        (
            "idle_timeout",
            |c| c.idle_timeout = Some(Duration::ZERO),
            false,
        ),
        (
            "idle_timeout",
            |c| c.idle_timeout = Some(Duration::from_nanos(1)),
            true,
        ),
        (
            "header_encoding",
            |c| c.header_encoding = HeaderEncoding::Deflate(0),
            false,
        ),
        (
            "header_encoding",
            |c| c.header_encoding = HeaderEncoding::Deflate(9),
            true,
        ),
        (
            "header_encoding",
            |c| c.header_encoding = HeaderEncoding::Deflate(10),
            false,
        ),
        (
            "first_stream_id",
            |c| c.first_stream_id = Some(id(2)),
            false,
        ),
        ("first_stream_id", |c| c.first_stream_id = Some(id(3)), true),
        ("header_pairs", |c| c.limits.header_pairs = 257, false),
    ];
    for (name, set, fine) in rows {
        let mut config = Config::strict(Role::Client);
        set(&mut config);
        match Connection::new(config, Instant::now()) {
            Ok(_) => assert!(fine, "{name}"),
            Err(e) => assert!(!fine && e.to_string().contains(name), "{name}: {e}"),
        }
    }
}

/// What each dialect's configuration says.
#[test]
fn defaults_of_the_dialects() {
    for role in [Role::Client, Role::Server] {
        let (kubernetes, strict) = (Config::kubernetes(role), Config::strict(role));
        assert_eq!(kubernetes.data_payload, 32 << 10);
        assert_eq!(strict.data_payload, 16 << 10);
        assert_eq!(strict.dialect, Dialect::Spdy31);
        assert_eq!(strict.flow_control, FlowControl::On);
        assert_eq!(strict.ping_interval, kubernetes.ping_interval);
    }
}

/// Unread bytes of a stream that has ended count until they are consumed, or thrown away.
#[test]
fn what_is_unread_counts_beyond_the_end() {
    let ended = |unread: usize| {
        let mut config = Config::kubernetes(Role::Server);
        config.limits.stream_receive = 1000;
        let (mut peer, mut conn) = (Peer::new(), connection(config));
        let syn = peer.syn(1);
        peer.feed(&mut conn, &syn);
        conn.reply(id(1), &HeaderBlock::new(), true).unwrap();
        let bytes = data(1, true, &vec![0; unread]);
        conn.recv(peer.now, &mut BytesMut::from(bytes.as_slice()))
            .unwrap();
        events(&mut conn);
        assert!(!conn.has_stream(id(1)));
        conn
    };
    let mut conn = ended(1000);
    assert!(!conn.is_full() && conn.stalled().next().is_none());
    conn.consumed(id(1), 999);
    assert_eq!(conn.stats().unconsumed, 1);
    assert_eq!(conn.stats().peer_streams, 1, "the ended one still counts");
    conn.consumed(id(1), 1);
    conn.consumed(id(1), 1);
    assert_eq!((conn.stats().unconsumed, conn.stats().peer_streams), (0, 0));

    let mut conn = ended(1500);
    assert!(conn.is_full());
    assert_eq!(conn.stalled().collect::<Vec<_>>(), [id(1)]);
    conn.consumed(id(1), 499);
    assert!(conn.is_full(), "1001 are left");
    conn.consumed(id(1), 1);
    assert!(!conn.is_full());

    // Reset: nobody will read it.
    for unread in [1000, 1500] {
        let mut conn = ended(unread);
        conn.reset(id(1), RstStatus::CANCEL);
        assert!(!conn.is_full() && conn.stats().unconsumed == 0);
    }
}

/// The same while the stream is there, up and down across the limit.
#[test]
fn a_stream_is_over_its_budget_once() {
    let mut config = Config::kubernetes(Role::Server);
    config.limits.stream_receive = 1000;
    let (mut peer, mut conn) = (Peer::new(), connection(config));
    for n in [1, 3] {
        let syn = peer.syn(n);
        peer.feed(&mut conn, &syn);
    }
    let feed = |conn: &mut Connection, stream: u32, n: usize| {
        let bytes = data(stream, false, &vec![0; n]);
        let mut input = BytesMut::from(bytes.as_slice());
        conn.recv(Instant::now(), &mut input).unwrap();
        events(conn);
        input.len()
    };
    for _ in 0..3 {
        assert_eq!(feed(&mut conn, 1, 1001), 0);
        assert!(conn.is_full());
        assert_eq!(feed(&mut conn, 3, 1), 9, "nothing is read");
        conn.consumed(id(1), 1);
        assert!(!conn.is_full());
        conn.consumed(id(1), 500);
        assert!(!conn.is_full());
        conn.consumed(id(1), 500);
    }
    assert_eq!(feed(&mut conn, 1, 1001), 0);
    conn.reset(id(1), RstStatus::CANCEL);
    assert!(!conn.is_full(), "its reset makes room");
    assert_eq!(feed(&mut conn, 3, 1000), 0);
    conn.reset(id(3), RstStatus::CANCEL);
    assert!(!conn.is_full());
    assert_eq!(conn.stats().unconsumed, 0);
}

/// Who is just within its budget makes no room while another is over.
#[test]
fn only_who_is_over_its_budget_makes_room() {
    type Act = fn(&mut Connection);
    let consume: Act = |conn| conn.consumed(id(1), 1);
    let reset: Act = |conn| conn.reset(id(1), RstStatus::CANCEL);
    for (act, ended) in [
        (consume, false),
        (consume, true),
        (reset, false),
        (reset, true),
    ] {
        let mut config = Config::kubernetes(Role::Server);
        config.limits.stream_receive = 1000;
        let (mut peer, mut conn) = (Peer::new(), connection(config));
        for n in [1, 3] {
            let syn = peer.syn(n);
            peer.feed(&mut conn, &syn);
            conn.reply(id(n), &HeaderBlock::new(), n == 1 && ended)
                .unwrap();
        }
        peer.feed(&mut conn, &data(1, ended, &[0; 1000]));
        assert_eq!(conn.has_stream(id(1)), !ended);
        assert!(!conn.is_full());
        peer.feed(&mut conn, &data(3, false, &[0; 1001]));
        assert!(conn.is_full());
        act(&mut conn);
        assert!(conn.is_full(), "the other is over");
        conn.consumed(id(3), 1);
        assert!(!conn.is_full());
    }
}

#[test]
fn the_counters_count() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(1);
    let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
    let mut wire = BytesMut::from(syn.as_slice());
    wire.extend_from_slice(&ping);
    wire.extend_from_slice(&data(1, false, b"12345"));
    conn.recv(peer.now, &mut wire).unwrap();
    let stats = conn.stats();
    let plain = u64::try_from(headers().encoded_len()).unwrap();
    assert_eq!((stats.header_bytes_inflated, plain), (plain, 40));
    assert_eq!(
        (stats.queued_replies, stats.queued_events, stats.unconsumed),
        (1, 2, 5)
    );
    assert_eq!(
        (
            stats.accepted,
            stats.unanswered_streams,
            stats.own_streams,
            stats.peer_streams
        ),
        (1, 1, 0, 1)
    );
    assert_eq!(
        (stats.frames_received, stats.bytes_received, stats.outgoing),
        (3, 5, 12)
    );
    conn.reply(id(1), &HeaderBlock::new(), false).unwrap();
    conn.send(id(1), &mut Bytes::from_static(b"123"), false)
        .unwrap();
    let stats = conn.stats();
    assert_eq!(
        (
            stats.unanswered_streams,
            stats.bytes_sent,
            stats.queued_to_send
        ),
        (0, 3, 0)
    );
    let mut client = client();
    client.open(&headers(), false).unwrap();
    assert_eq!((client.stats().own_streams, client.stats().opened), (1, 1));
}

/// Nothing can be done on a connection that has failed, and each call says so.
#[test]
fn after_a_failure_every_call_is_refused() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    let error = conn
        .recv(peer.now, &mut BytesMut::from(&b"\0\0\0\0\0\0\0\0"[..]))
        .unwrap_err();
    assert_eq!(error.initiator(), Initiator::Remote);
    let words = format!("DATA for stream 0 (frame at byte {})", syn.len());
    assert_eq!(error.to_string(), words);
    assert_eq!(error.source().unwrap().to_string(), words);
    let none = HeaderBlock::new();
    assert_eq!(conn.reply(id(1), &none, false), Err(StreamError::Failed));
    let mut payload = Bytes::from_static(b"x");
    assert_eq!(
        conn.send(id(1), &mut payload, false),
        Err(StreamError::Failed)
    );
    assert_eq!(conn.headers(id(1), &none, false), Err(StreamError::Failed));
    assert_eq!(conn.open(&none, false), Err(OpenError::Failed));
    assert_eq!(conn.ping(peer.now), None);
    assert_eq!(conn.handle_timeout(peer.now), Err(error));
}

#[test]
fn done_is_when_nothing_is_left() {
    let (mut peer, mut conn) = (Peer::new(), client());
    assert!(!conn.is_done(), "nobody has said goodbye");
    let stream = conn.open(&headers(), false).unwrap();
    conn.go_away(peer.now, GoAwayStatus::OK);
    assert_eq!(conn.ping(peer.now), None, "no PING behind a goodbye");
    drain(&mut conn);
    assert!(!conn.is_done(), "a stream is left");
    conn.reset(stream, RstStatus::CANCEL);
    assert!(!conn.is_done(), "its reset waits");
    drain(&mut conn);
    assert!(conn.is_done());
    // The peer's goodbye does as well.
    let mut conn = client();
    let goaway = [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    peer.feed(&mut conn, &goaway);
    assert!(conn.is_done());
    let ping = peer.frame(&Frame::Ping(Ping { id: 2 }));
    conn.recv(peer.now, &mut BytesMut::from(ping.as_slice()))
        .unwrap();
    assert!(!conn.is_done(), "an answer waits");
}

#[test]
fn openings_in_range() {
    let mut conn = client();
    for (associated, priority, fine) in [
        (0x7fff_ffff, 7, true),
        (0x8000_0000, 0, false),
        (0, 8, false),
    ] {
        let opening = Opening {
            associated,
            priority,
            ..Opening::default()
        };
        assert_eq!(
            conn.open_with(&headers(), opening).is_ok(),
            fine,
            "{opening:?}"
        );
    }
    let sent = Peer::new().sent(&mut conn);
    assert!(matches!(&sent[..], [Frame::SynStream(syn)] if syn.associated == 0x7fff_ffff));
}

/// A client's even id is tolerated; a server's own stream steps around it.
#[test]
fn an_even_id_of_the_client_is_in_nobodys_way() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(2);
    peer.feed(&mut conn, &syn);
    assert_eq!(conn.open(&headers(), false), Ok(id(4)));
    // And the other way round: taken is taken, and the reset that says so ends the stream for both.
    let mut conn = server();
    assert_eq!(conn.open(&headers(), false), Ok(id(2)));
    let mut peer = Peer::new();
    let syn = peer.syn(2);
    let (got, _) = peer.feed(&mut conn, &syn);
    assert!(matches!(&got[..], [Event::Reset { .. }]) && !conn.has_stream(id(2)));
}

/// Words for people, of each family.
#[test]
fn errors_say_what_is_wrong() {
    for (error, words) in [
        (StreamError::Closed(id(5)), "stream 5 is closed"),
        (
            StreamError::FinSent(id(5)),
            "stream 5: FIN was sent already",
        ),
        (
            StreamError::NotReplied(id(5)),
            "stream 5: SYN_REPLY must come before DATA",
        ),
        (StreamError::Failed, "the connection has failed"),
    ] {
        assert_eq!(error.to_string(), words);
    }
    for (error, words) in [
        (OpenError::GoingAway, "the connection is going away"),
        (OpenError::Failed, "the connection has failed"),
        (
            OpenError::IdsExhausted,
            "all stream ids of the connection are used",
        ),
        (OpenError::TooManyStreams(7), "7 streams are open already"),
        (
            OpenError::Encode(EncodeError::TooLong(9)),
            "payload of 9 bytes does not fit a frame",
        ),
    ] {
        assert_eq!(error.to_string(), words);
    }
    let mut config = Config::kubernetes(Role::Server);
    config.idle_timeout = Some(Duration::from_secs(7));
    let now = Instant::now();
    let mut conn = Connection::new(config, now).unwrap();
    let idle = conn
        .handle_timeout(now + Duration::from_secs(7))
        .unwrap_err();
    assert_eq!(idle.to_string(), "no frame either way for 7 s");
    assert_eq!(idle.initiator(), Initiator::Library);
    assert!(idle.source().is_none());
    assert!(matches!(idle.kind(), ConnectionErrorKind::Idle { .. }));
}

/// Streams that the server opens reach a strict client.
#[test]
fn streams_of_a_server() {
    let (mut a, mut b) = (
        connection(Config::strict(Role::Client)),
        connection(Config::strict(Role::Server)),
    );
    let now = Instant::now();
    let stream = b.open(&headers(), false).unwrap();
    b.send(stream, &mut Bytes::from_static(b"pushed"), true)
        .unwrap();
    a.recv(now, &mut drain(&mut b)).unwrap();
    let got = events(&mut a);
    assert!(
        matches!(
            &got[..],
            [
                Event::Settings { .. },
                Event::Opened { .. },
                Event::Data { fin: true, .. }
            ]
        ),
        "{got:?}"
    );
    a.reply(stream, &HeaderBlock::new(), true).unwrap();
    b.recv(now, &mut drain(&mut a)).unwrap();
    assert!(!a.has_stream(stream) && !b.has_stream(stream));
}

/// Counts go down with what they count.
#[test]
fn counts_of_streams_go_down_again() {
    let (mut peer, mut conn) = (Peer::new(), server());
    for n in [1, 3, 5] {
        let syn = peer.syn(n);
        peer.feed(&mut conn, &syn);
    }
    conn.reply(id(1), &HeaderBlock::new(), false).unwrap();
    let unanswered = |conn: &Connection| conn.stats().unanswered_streams;
    assert_eq!((unanswered(&conn), conn.stats().rapid_resets), (2, 0));
    for (n, left, rapid) in [(1, 2, 0), (3, 1, 1), (5, 0, 2)] {
        let reset = peer.reset(n);
        peer.feed(&mut conn, &reset);
        assert_eq!(unanswered(&conn), left, "{n}");
        assert_eq!(conn.stats().rapid_resets, rapid, "{n}");
    }
}

#[test]
fn where_a_frame_was_cut_or_broken() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let mut input = BytesMut::new();
    assert!(conn.is_between_frames(&input), "before the first");
    let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
    for byte in &ping {
        input.extend_from_slice(&[*byte]);
        assert!(!conn.is_between_frames(&input), "not looked at yet");
        conn.recv(peer.now, &mut input).unwrap();
        let whole = conn.stats().frames_received == 1;
        assert_eq!(conn.is_between_frames(&input), whole);
    }
    let zero = &b"\0\0\0\0\0\0\0\0"[..];
    let error = conn.recv(peer.now, &mut BytesMut::from(zero)).unwrap_err();
    match error.kind() {
        ConnectionErrorKind::Decode(e) => assert_eq!(e.offset(), 12),
        other => panic!("{other:?}"),
    }
}

/// Names that end the connection at a real receiver (PROTOCOL.md 1.3); `host` in SYN_STREAM only.
#[test]
fn forbidden_names() {
    for (name, in_reply) in [
        ("connection", true),
        ("keep-alive", true),
        ("proxy-connection", true),
        ("transfer-encoding", true),
        ("host", false),
        ("hosts", false),
    ] {
        let block: HeaderBlock = [(name, "v")].into_iter().collect();
        let (mut peer, mut conn) = (Peer::new(), server());
        let syn = peer.syn_with(1, block.clone());
        let result = conn.recv(peer.now, &mut BytesMut::from(syn.as_slice()));
        assert_eq!(result.is_err(), name != "hosts", "{name}");
        let (mut peer, mut conn) = (Peer::new(), client());
        let stream = conn.open(&headers(), false).unwrap();
        let reply = peer.frame(&Frame::SynReply(SynReply {
            id: stream,
            fin: false,
            headers: block,
        }));
        let result = conn.recv(peer.now, &mut BytesMut::from(reply.as_slice()));
        assert_eq!(result.is_err(), in_reply, "{name}");
    }
}

#[test]
fn a_block_is_empty_without_pairs() {
    assert!(HeaderBlock::new().is_empty());
    assert!(!headers().is_empty());
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn_with(1, HeaderBlock::new());
    let (got, _) = peer.feed(&mut conn, &syn);
    assert!(matches!(&got[..], [Event::Opened { headers, .. }] if headers.is_empty()));
}

/// Of DATA the length; of header blocks what they say.
#[test]
fn what_debug_output_shows() {
    let headers: HeaderBlock = [("port", "80")].into_iter().collect();
    let event = Event::Opened {
        id: id(1),
        headers,
        fin: false,
    };
    assert_eq!(
        format!("{event:?}"),
        r#"Opened(1, {"port": "80"}, fin: false)"#
    );
    let event = Event::Data {
        id: id(1),
        payload: Bytes::from_static(b"secret"),
        fin: true,
    };
    assert_eq!(format!("{event:?}"), "Data(1, 6 bytes, fin: true)");
    let frame = Data {
        id: id(1),
        payload: Bytes::from_static(b"secret"),
        remaining: 7,
        fin: true,
        flags: 4,
    };
    assert_eq!(
        format!("{frame:?}"),
        "Data { id: #1, payload: 6, remaining: 7, fin: true, flags: 4 }"
    );
}
