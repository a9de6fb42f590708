//! What one stream, or one peer, may not do to others: hold their credit or their room, or what it left
//! behind.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::{Buf, Bytes, BytesMut};
use common::{Peer, client, connection, data, drain, events, headers, id};
use spdy::{
    Config, Connection, ConnectionErrorKind, Dialect, Event, Frame, HeaderBlock, Role, RstStatus,
    Setting, Settings, StreamId, SynStream,
};
use std::collections::HashSet;
use std::time::Instant;

const WINDOW: usize = 64 << 10;

/// Two ends of the strict dialect; the server takes `session` bytes.
fn pair(session: u32) -> (Connection, Connection) {
    let mut config = Config::strict(Role::Server);
    config.session_window = session;
    config.limits.session_receive = usize::try_from(session).unwrap();
    (connection(Config::strict(Role::Client)), connection(config))
}

/// Moves what waits, both ways, until nothing does; consumes what streams not in `unread` get. How much
/// that was, and which streams of the first have room again.
fn pass(
    a: &mut Connection,
    b: &mut Connection,
    unread: &HashSet<StreamId>,
) -> (usize, Vec<StreamId>) {
    let (mut got, mut writable) = (0, Vec::new());
    loop {
        let (mut up, mut down) = (drain(a), drain(b));
        if up.is_empty() && down.is_empty() {
            return (got, writable);
        }
        b.recv(Instant::now(), &mut up).unwrap();
        for event in events(b) {
            match event {
                Event::Opened { id, .. } => b.reply(id, &HeaderBlock::new(), false).unwrap(),
                Event::Data { id, payload, .. } if !unread.contains(&id) => {
                    got += payload.len();
                    b.consumed(id, payload.len());
                }
                _ => {}
            }
        }
        a.recv(Instant::now(), &mut down).unwrap();
        for event in events(a) {
            if let Event::Writable { id } = event {
                writable.push(id);
            }
        }
    }
}

/// Sends until nothing more is taken.
fn fill(conn: &mut Connection, stream: StreamId, most: usize) -> usize {
    let mut payload = Bytes::from(vec![7; most]);
    while !payload.is_empty() && conn.send(stream, &mut payload, false).unwrap() > 0 {}
    most - payload.len()
}

/// More than half of the connection's window is held; the rest goes round.
#[test]
fn unread_streams_keep_no_more_than_they_hold() {
    for unread in [1, 8, 9, 15] {
        let (mut a, mut b) = pair(16 * 65_536);
        let none = HashSet::new();
        let idle: HashSet<_> = (0..unread)
            .map(|_| a.open(&headers(), false).unwrap())
            .collect();
        let stream = a.open(&headers(), false).unwrap();
        pass(&mut a, &mut b, &none);
        for id in &idle {
            assert_eq!(fill(&mut a, *id, WINDOW), WINDOW);
            pass(&mut a, &mut b, &idle);
        }
        let (mut sent, mut got) = (0, 0);
        for _ in 0..500 {
            sent += fill(&mut a, stream, 20_000);
            got += pass(&mut a, &mut b, &idle).0;
        }
        assert_eq!((sent, got), (10_000_000, 10_000_000), "beside {unread}");
    }
}

/// Streams that wait for credit queue more than half of what all may; one that does not is told of its room.
#[test]
fn streams_without_credit_keep_no_room_of_others() {
    let (mut a, mut b) = pair(16 << 20);
    let blocked: HashSet<_> = (0..40)
        .map(|_| a.open(&headers(), false).unwrap())
        .collect();
    let stream = a.open(&headers(), false).unwrap();
    pass(&mut a, &mut b, &HashSet::new());
    for id in &blocked {
        // The window, and what may wait of a stream.
        assert!(fill(&mut a, *id, 2 * WINDOW) > WINDOW);
        pass(&mut a, &mut b, &blocked);
    }
    let held = a.stats().queued_to_send;
    assert!(held > 2 << 20, "{held}");
    let mut got = 0;
    let mut may_send = true;
    for _ in 0..200 {
        if may_send {
            may_send = fill(&mut a, stream, 1 << 20) == 1 << 20;
        }
        let (n, writable) = pass(&mut a, &mut b, &blocked);
        got += n;
        may_send |= writable.contains(&stream);
    }
    assert!(got > 10 << 20, "{got}");
}

/// FINs of forgotten streams leave behind control frames: they are bounded too.
#[test]
fn fins_are_bounded() {
    let mut config = Config::kubernetes(Role::Server);
    (config.write_ahead, config.data_payload) = (1024, 1024);
    (config.limits.peer_streams, config.limits.own_streams) = (2_500, 100);
    config.limits.unanswered_streams = 2_500;
    let (mut conn, mut peer) = (connection(config), Peer::light());
    let mut next = 1;
    let mut streams = 0;
    for round in 0..1000 {
        if conn.is_blocked() {
            // What waits: DATA frames without payload, and answers.
            assert!(conn.outgoing().len() < 200_000);
            return;
        }
        let count = if round == 0 { 2_000 } else { 100 };
        for _ in 0..count {
            let mut syn = peer.syn(next);
            // FIN.
            syn[4] |= 1;
            conn.recv(peer.now, &mut BytesMut::from(&syn[..])).unwrap();
            for event in events(&mut conn) {
                let Event::Opened { id, .. } = event else {
                    continue;
                };
                conn.reply(id, &HeaderBlock::new(), false).unwrap();
                conn.send(id, &mut Bytes::new(), true).unwrap();
                streams += 1;
            }
            next += 2;
        }
        // As many bytes as the answers of a round.
        let mut left = 2_600;
        while left > 0 && conn.outgoing().has_remaining() {
            let n = conn.outgoing().chunk().len().min(left);
            conn.outgoing().advance(n);
            left -= n;
        }
    }
    panic!(
        "{streams} streams, and {} bytes wait",
        conn.outgoing().len()
    );
}

/// Streams that nobody can answer count as opened and reset (B8).
#[test]
fn one_way_streams_that_end_at_once_are_counted() {
    for late in [false, true] {
        let mut config = Config::kubernetes(Role::Server);
        config.limits.rapid_resets = 10;
        let (mut conn, mut peer) = (connection(config), Peer::new());
        let mut one = |n: u32| {
            let mut bytes = peer.frame(&Frame::SynStream(SynStream {
                id: id(2 * n + 1),
                associated: 0,
                priority: 0,
                slot: 0,
                fin: !late,
                unidirectional: true,
                headers: headers(),
            }));
            if late {
                bytes.extend(data(2 * n + 1, true, b"x"));
            }
            let received = conn.recv(Instant::now(), &mut BytesMut::from(&bytes[..]));
            events(&mut conn);
            received
        };
        for n in 0..10 {
            one(n).unwrap();
        }
        let error = one(10).unwrap_err();
        let kind = ConnectionErrorKind::RapidResets { limit: 10 };
        assert_eq!(error.kind(), &kind, "late: {late}");
    }
}

/// A server that opens a stream under the number of a live one ends it, for both sides alike.
#[test]
fn a_number_in_use_ends_the_stream() {
    let (mut conn, mut peer) = (client(), Peer::new());
    let stream = conn.open(&headers(), false).unwrap();
    peer.sent(&mut conn);
    let syn = peer.syn(stream.get());
    let (got, sent) = peer.feed(&mut conn, &syn);
    let status = RstStatus::PROTOCOL_ERROR;
    assert!(matches!(&got[..], [Event::Reset { id, status: s }] if *id == stream && *s == status));
    assert!(matches!(&sent[..], [Frame::RstStream(reset)] if reset.status == status));
    assert!(!conn.has_stream(stream));
}

#[test]
fn of_several_settings_the_first_counts() {
    let (mut conn, mut peer) = (
        connection(Config::strict(Role::Client)),
        Peer::of(Dialect::Spdy31),
    );
    let entry = |value| Setting {
        flags: 0,
        id: Setting::MAX_CONCURRENT_STREAMS,
        value,
    };
    let settings = peer.frame(&Frame::Settings(Settings {
        clear: false,
        entries: vec![entry(1), entry(0)],
    }));
    peer.feed(&mut conn, &settings);
    assert!(conn.open(&headers(), false).is_ok());
    assert!(conn.open(&headers(), false).is_err());
}

/// Behind the GOAWAY of a failed connection there is nothing.
#[test]
fn a_failed_connection_says_no_more() {
    let (mut conn, mut peer) = (
        connection(Config::strict(Role::Server)),
        Peer::of(Dialect::Spdy31),
    );
    let mut wire = BytesMut::from(&peer.syn(1)[..]);
    wire.extend_from_slice(&data(1, false, &vec![7; 60_000]));
    conn.recv(peer.now, &mut wire).unwrap();
    events(&mut conn);
    // An id that goes back.
    let syn = peer.syn(1);
    let mut again = BytesMut::from(&syn[..]);
    again[11] = 0;
    assert!(conn.recv(peer.now, &mut again).is_err());
    drain(&mut conn);
    assert!(conn.is_done());
    conn.consumed(id(1), 60_000);
    conn.reset(id(1), RstStatus::CANCEL);
    assert!(conn.is_done() && drain(&mut conn).is_empty());
}
