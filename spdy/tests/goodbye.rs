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
use spdy::{Config, Dialect, Frame, GoAwayStatus, HeaderBlock, Role, RstStatus};

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
