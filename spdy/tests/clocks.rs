//! What is life, and what is silence (B26, B27).
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::BytesMut;
use common::{Peer, data, drain, events, id};
use spdy::{Config, Connection, ConnectionErrorKind, Event, Frame, HeaderBlock, Ping, Role};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn server(set: impl Fn(&mut Config)) -> (Peer, Connection) {
    let peer = Peer::new();
    let mut config = Config::kubernetes(Role::Server);
    set(&mut config);
    let conn = Connection::new(config, peer.now).unwrap();
    (peer, conn)
}

/// After how many seconds it ends, asked every second.
fn ends(
    conn: &mut Connection,
    begun: Instant,
    mut each: impl FnMut(&mut Connection, Instant),
) -> u32 {
    (1..100)
        .find(|n| {
            let now = begun + *n * SECOND;
            each(conn, now);
            conn.handle_timeout(now).is_err()
        })
        .unwrap()
}

/// Part of a frame that waits for the rest: offered again, it is not news.
#[test]
fn what_was_left_of_the_input_is_no_life() {
    type Set = fn(&mut Config);
    let sets: [Set; 2] = [
        |c| c.dead_after = Some(30 * SECOND),
        |c| c.idle_timeout = Some(30 * SECOND),
    ];
    for set in sets {
        let (mut peer, mut conn) = server(set);
        let syn = peer.syn(1);
        let mut input = BytesMut::from(&syn[..20]);
        conn.recv(peer.now, &mut input).unwrap();
        assert_eq!(input.len(), 12);
        let offered = |conn: &mut Connection, now| conn.recv(now, &mut input).unwrap();
        assert_eq!(ends(&mut conn, peer.now, offered), 30);
        // One byte more is.
        let (mut peer, mut conn) = server(set);
        let syn = peer.syn(1);
        let mut input = BytesMut::from(&syn[..20]);
        conn.recv(peer.now, &mut input).unwrap();
        input.extend_from_slice(&syn[20..21]);
        conn.recv(peer.now + 10 * SECOND, &mut input).unwrap();
        assert_eq!(ends(&mut conn, peer.now + 10 * SECOND, |_, _| {}), 30);
    }
}

/// While we do not read, the peer cannot be heard; it has the whole time again afterwards.
#[test]
fn silence_does_not_count_while_reading_pauses() {
    let (mut peer, mut conn) = server(|c| c.dead_after = Some(30 * SECOND));
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    peer.feed(&mut conn, &data(1, false, &vec![0; 300_000]));
    assert!(conn.is_full() && conn.poll_timeout().is_none());
    conn.handle_timeout(peer.now + 31 * SECOND).unwrap();
    peer.now += 100 * SECOND;
    conn.consumed(id(1), 300_000);
    // The pause ended some time before this look.
    conn.handle_timeout(peer.now).unwrap();
    assert_eq!(conn.poll_timeout(), Some(peer.now + 30 * SECOND));
    assert_eq!(ends(&mut conn, peer.now, |_, _| {}), 30);

    // The same for answers that wait to leave, seen by the next read.
    let (mut peer, mut conn) = server(|c| {
        c.dead_after = Some(30 * SECOND);
        c.limits.queued_replies = 1;
    });
    let ping = peer.frame(&Frame::Ping(Ping { id: 1 }));
    let mut input = BytesMut::from(ping.as_slice());
    conn.recv(peer.now, &mut input).unwrap();
    assert!(conn.is_blocked() && conn.poll_timeout().is_none());
    drain(&mut conn);
    peer.now += 100 * SECOND;
    conn.recv(peer.now, &mut input).unwrap();
    assert_eq!(conn.poll_timeout(), Some(peer.now + 30 * SECOND));
    // Silence that begins after it counts.
    conn.recv(peer.now + SECOND, &mut input).unwrap();
    assert_eq!(ends(&mut conn, peer.now, |_, _| {}), 30);
    let error = conn.recv(peer.now, &mut input).unwrap_err();
    let after = 30 * SECOND;
    assert_eq!(error.kind(), &ConnectionErrorKind::Silent { after });
    assert!(events(&mut conn).is_empty());
    assert!(conn.reply(id(1), &HeaderBlock::new(), false).is_err());
}

#[test]
fn pings_of_ones_own() {
    let (mut peer, mut conn) = (Peer::new(), common::client());
    let ids: Vec<_> = (0..65).map(|_| conn.ping(peer.now)).collect();
    assert_eq!(ids[..3], [Some(1), Some(3), Some(5)]);
    assert_eq!(ids[64], None, "64 may wait");
    peer.sent(&mut conn);
    peer.now += Duration::from_millis(7);
    let answers: Vec<u8> = [3, 1]
        .into_iter()
        .flat_map(|id| peer.frame(&Frame::Ping(Ping { id })))
        .collect();
    let round_trip = Duration::from_millis(7);
    let (got, _) = peer.feed(&mut conn, &answers);
    assert_eq!(
        got,
        [
            Event::Pong { id: 3, round_trip },
            Event::Pong { id: 1, round_trip }
        ]
    );
}
