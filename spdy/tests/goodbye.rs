//! The end of a connection: GOAWAY either way, what crosses it, and when nothing is left.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::{Bytes, BytesMut};
use common::{Peer, connection, data, drain, headers, id, server};
use spdy::{
    Config, Connection, ConnectionErrorKind, Dialect, Frame, GoAwayStatus, HeaderBlock, Initiator,
    Ping, Role, RstStatus,
};
use std::time::Duration;

/// A stream whose SYN_STREAM crossed our GOAWAY, with DATA behind it (PROTOCOL.md 1.6: dropped).
#[test]
fn what_follows_a_syn_that_crossed_our_goaway_is_no_oddity() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    conn.reply(id(1), &HeaderBlock::new(), false).unwrap();
    conn.go_away(peer.now, GoAwayStatus::OK);
    drain(&mut conn);
    let syn = peer.syn(3);
    peer.feed(&mut conn, &syn);
    for _ in 0..400 {
        peer.feed(&mut conn, &data(3, false, &[0; 1000]));
    }
    for bytes in [data(3, true, b""), peer.reset(3)] {
        assert_eq!(peer.feed(&mut conn, &bytes), (vec![], vec![]));
    }
    assert_eq!(conn.stats().glitches, 0);
    peer.feed(&mut conn, &data(5, false, b"x"));
    assert_eq!(conn.stats().glitches, 4, "a stream that never was");
}

/// However many pieces it comes in.
#[test]
fn a_stray_frame_is_charged_once() {
    let frame = data(1, false, &vec![0; 60_000]);
    let mut peer = Peer::of(Dialect::Spdy31);
    let mut conn = connection(Config::strict(Role::Server));
    peer.sent(&mut conn);
    let resets = |peer: &mut Peer, conn: &mut _| {
        let mut sent = Vec::new();
        for piece in frame.chunks(100) {
            sent.extend(peer.feed(conn, piece).1);
        }
        sent.retain(|f| matches!(f, Frame::RstStream(_)));
        sent.len()
    };
    assert_eq!(resets(&mut peer, &mut conn), 1, "a stream that never was");
    conn.go_away(peer.now, GoAwayStatus::OK);
    drain(&mut conn);
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    assert_eq!(resets(&mut peer, &mut conn), 0, "one that crossed GOAWAY");

    let (peer, mut conn) = (Peer::new(), server());
    for piece in frame.chunks(100) {
        conn.recv(peer.now, &mut BytesMut::from(piece)).unwrap();
    }
    assert_eq!((conn.stats().glitches, conn.stats().ignored), (4, 1));
}

/// Also behind a reset that waits behind its stream's DATA; but not behind a caller who only waits
/// for room.
#[test]
fn goaway_is_behind_all_that_waits() {
    let mut config = Config::kubernetes(Role::Client);
    config.write_ahead = 1;
    config.limits.stream_send = 10;
    let (mut peer, mut conn) = (Peer::new(), connection(config));
    let [one, two] = [(); 2].map(|()| conn.open(&headers(), false).unwrap());
    for _ in 0..2 {
        conn.send(one, &mut Bytes::from_static(b"0123456789"), false)
            .unwrap();
    }
    conn.reset(one, RstStatus::CANCEL);
    let mut more = Bytes::from_static(b"more than there is room for");
    assert_eq!(conn.send(two, &mut more, false), Ok(10));
    assert_eq!(conn.send(two, &mut more, false), Ok(0));
    conn.go_away(peer.now, GoAwayStatus::OK);
    let sent = peer.sent(&mut conn);
    assert!(matches!(
        sent[2..],
        [
            Frame::Data(_),
            Frame::Data(_),
            Frame::RstStream(_),
            Frame::Data(_),
            Frame::GoAway(_),
        ]
    ));
}

/// Nobody writes: nothing waits, and nothing holds up reading or the end.
#[test]
fn without_output_nothing_waits() {
    for mut config in [
        Config::kubernetes(Role::Server),
        Config::strict(Role::Server),
    ] {
        config.limits.peer_streams = 1;
        config.limits.error_resets = 1024;
        config.write_ahead = 1;
        let (mut peer, mut conn) = (Peer::light(), connection(config));
        let syn = peer.syn(1);
        peer.feed(&mut conn, &syn);
        conn.reply(id(1), &HeaderBlock::new(), false).unwrap();
        let send = |conn: &mut Connection, fin| {
            let mut payload = Bytes::from(vec![0; 1000]);
            conn.send(id(1), &mut payload, fin)
        };
        for fin in [false, false, true] {
            send(&mut conn, fin).unwrap();
        }
        let end = data(1, true, b"end");
        conn.recv(peer.now, &mut BytesMut::from(end.as_slice()))
            .unwrap();
        conn.go_away(peer.now, GoAwayStatus::OK);
        assert!(conn.has_stream(id(1)) && conn.stats().queued_to_send > 0);
        conn.end_of_output();
        assert!(!conn.has_stream(id(1)), "both have ended");
        assert!(conn.is_done() && conn.stats().queued_to_send == 0);
    }
    // What comes later.
    for flow_control in [false, true] {
        let mut config = Config::kubernetes(Role::Server);
        if flow_control {
            config = Config::strict(Role::Server);
        }
        let (mut peer, mut conn) = (Peer::light(), connection(config));
        conn.end_of_output();
        let syn = peer.syn(1);
        peer.feed(&mut conn, &syn);
        conn.reply(id(1), &HeaderBlock::new(), false).unwrap();
        for _ in 0..200 {
            // More than any window or budget.
            let mut payload = Bytes::from(vec![0; 16 << 10]);
            assert_eq!(conn.send(id(1), &mut payload, false), Ok(16 << 10));
        }
        for n in 0..1000 {
            let again = peer.syn(1);
            let ended = conn.recv(peer.now, &mut BytesMut::from(again.as_slice()));
            assert_eq!(ended.is_err(), n >= 256, "B9");
        }
        assert_eq!((conn.stats().outgoing, conn.stats().queued_replies), (0, 0));
        assert!(!conn.is_blocked());
        conn.go_away(peer.now, GoAwayStatus::OK);
        assert!(conn.is_done());
    }
}

/// Streams that are open do not keep a connection that has failed.
#[test]
fn a_failed_connection_is_done_when_goaway_is_written() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    let zero = &b"\0\0\0\0\0\0\0\0"[..];
    conn.recv(peer.now, &mut BytesMut::from(zero)).unwrap_err();
    assert!(!conn.is_done(), "GOAWAY waits");
    drain(&mut conn);
    assert!(conn.is_done() && conn.poll_timeout().is_none());
}

/// GOAWAY because of oddities is the peer's doing, also if it does not end by itself (B30, B29).
#[test]
fn a_goodbye_because_of_oddities_names_them() {
    let ends = |oddities: usize, said_before: bool| {
        let (mut peer, mut conn) = (Peer::new(), server());
        let syn = peer.syn(1);
        peer.feed(&mut conn, &syn);
        if said_before {
            conn.go_away(peer.now, GoAwayStatus::OK);
        }
        let pong = peer.frame(&Frame::Ping(Ping { id: 2 }));
        peer.feed(&mut conn, &pong.repeat(oddities));
        conn.go_away(peer.now, GoAwayStatus::OK);
        assert!(conn.open(&headers(), false).is_err());
        let later = peer.now + Duration::from_secs(5);
        let error = conn.handle_timeout(later).unwrap_err();
        (error.kind().clone(), error.initiator(), error.status())
    };
    let limit = 750;
    let theirs = (
        ConnectionErrorKind::Glitches { limit },
        Initiator::Remote,
        GoAwayStatus::PROTOCOL_ERROR,
    );
    let after = Duration::from_secs(5);
    let ours = (
        ConnectionErrorKind::Drain { after },
        Initiator::Library,
        GoAwayStatus::OK,
    );
    assert_eq!(ends(751, false), theirs);
    assert_eq!(ends(751, true), ours);
    assert_eq!(ends(750, false), ours);
}
