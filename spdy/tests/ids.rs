//! Whose ids are whose, and answers to streams of one direction.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::Bytes;
use common::{Peer, client, connection, data, drain, events, headers, id, server};
use spdy::{Config, Event, Frame, HeaderBlock, Opening, Role, RstStatus};
use std::time::Instant;

/// A client's even id is tolerated (PROTOCOL.md 1.5), and no other stream gets it afterwards.
#[test]
fn an_id_is_never_used_again() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let gone = [peer.syn(2), peer.reset(2)].concat();
    peer.feed(&mut conn, &gone);
    peer.feed(&mut conn, &data(2, false, b"late"));
    assert_eq!(conn.stats().glitches, 0, "it was there");
    assert_eq!(conn.open(&headers(), false), Ok(id(4)));
    let syn = peer.syn(9);
    peer.feed(&mut conn, &syn);
    assert_eq!(
        conn.open(&headers(), false),
        Ok(id(6)),
        "odd ones are theirs"
    );
    peer.feed(&mut conn, &data(8, false, b"early"));
    assert_eq!(conn.stats().glitches, 4, "8 never was");
}

/// Also one of ours that has ended, of which something is unread.
#[test]
fn the_peer_cannot_take_an_id_of_ours() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let own = conn.open(&headers(), true).unwrap();
    peer.feed(&mut conn, &data(own.get(), true, &[0; 1000]));
    assert!(!conn.has_stream(own));
    let syn = peer.syn(own.get());
    let (got, sent) = peer.feed(&mut conn, &syn);
    assert!(got.is_empty());
    assert!(matches!(&sent[..], [.., Frame::RstStream(reset)]
        if reset.id == own && reset.status == RstStatus::REFUSED_STREAM));
    let late = [data(own.get(), false, &[0; 10]), peer.reset(own.get())].concat();
    peer.feed(&mut conn, &late);
    assert_eq!(conn.stats().unconsumed, 1000);
    conn.consumed(own, 1000);
    assert_eq!(conn.stats().unconsumed, 0);
}

/// A client refuses streams, and its own ids are not the server's to use up.
#[test]
fn a_refused_stream_takes_no_id_of_a_client() {
    let (mut peer, mut conn) = (Peer::new(), client());
    let syn = peer.syn(0x7fff_ffff);
    peer.feed(&mut conn, &syn);
    assert_eq!(conn.open(&headers(), false), Ok(id(1)));
}

/// The draft lets nobody answer on a one-way stream; real servers do, and ours may.
#[test]
fn an_answer_to_a_one_way_stream_is_one() {
    let (mut ours, mut theirs) = (client(), server());
    let now = Instant::now();
    let opening = Opening {
        unidirectional: true,
        ..Opening::default()
    };
    for fin in [false, true] {
        let stream = ours.open_with(&headers(), opening).unwrap();
        theirs.recv(now, &mut drain(&mut ours)).unwrap();
        events(&mut theirs);
        theirs.reply(stream, &HeaderBlock::new(), fin).unwrap();
        ours.recv(now, &mut drain(&mut theirs)).unwrap();
        assert!(matches!(events(&mut ours)[..], [Event::Replied { .. }]));
        assert!(ours.has_stream(stream), "it may still send");
        // It stays one-way.
        let mut peer = Peer::new();
        peer.feed(&mut ours, &data(stream.get(), false, b"x"));
        assert!(events(&mut ours).is_empty());
        ours.send(stream, &mut Bytes::new(), true).unwrap();
        assert!(!ours.has_stream(stream));
        drain(&mut ours);
        assert_eq!(ours.stats().glitches, 0);
    }
    let mut strict = connection(Config::strict(Role::Client));
    let stream = strict.open_with(&headers(), opening).unwrap();
    let mut peer = Peer::new();
    let reply = peer.frame(&Frame::SynReply(spdy::SynReply {
        id: stream,
        fin: false,
        headers: HeaderBlock::new(),
    }));
    let (got, _) = peer.feed(&mut strict, &reply);
    assert!(matches!(got[..], [Event::Reset { .. }]));
}

/// Peers that work on streams by the remainder of their ids are met by leaving some out.
#[test]
fn ids_may_be_left_out() {
    let (mut peer, mut conn) = (Peer::new(), client());
    assert_eq!(conn.next_id(), Some(id(1)));
    assert!(conn.skip_to(id(11)));
    assert_eq!(conn.open(&headers(), false), Ok(id(11)));
    assert!(!conn.skip_to(id(11)), "used");
    assert!(!conn.skip_to(id(14)), "the server's");
    assert_eq!(conn.next_id(), Some(id(13)));
    // Those left out count as streams that have ended.
    peer.feed(&mut conn, &data(5, false, b"x"));
    assert_eq!(conn.stats().glitches, 0);
    assert!(conn.skip_to(id(0x7fff_ffff)));
    assert_eq!(conn.open(&headers(), false), Ok(id(0x7fff_ffff)));
    assert_eq!(conn.next_id(), None);
}

/// The answer to such a PING tells that the DATA before it was taken, so it must not overtake it.
#[test]
fn a_ping_may_leave_behind_data() {
    let (mut peer, mut conn) = (Peer::new(), client());
    let own = conn.open(&headers(), false).unwrap();
    conn.send(own, &mut Bytes::from_static(b"x"), false)
        .unwrap();
    let now = Instant::now();
    assert_eq!(conn.ping_behind_data(now), Some(1));
    assert_eq!(conn.ping(now), Some(3));
    let kinds: Vec<_> = peer
        .sent(&mut conn)
        .into_iter()
        .map(|frame| match frame {
            Frame::SynStream(_) => 0,
            Frame::Data(_) => 1,
            Frame::Ping(ping) => ping.id + 100,
            _ => 2,
        })
        .collect();
    assert_eq!(kinds, [0, 103, 1, 101]);
}
