//! What frames of a stream do, beyond the usual: ends without payload, HEADERS, what comes too late, and
//! when a sender hears of room.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::{Buf, Bytes, BytesMut};
use common::{Peer, client, connection, data, events, headers, id, server};
use spdy::{Config, Event, Frame, HeaderBlock, Headers, Role, SynReply, WindowUpdate};

/// As every deployed peer says it (PROTOCOL.md 1.5).
#[test]
fn an_empty_frame_with_fin_ends_a_direction() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    let (got, _) = peer.feed(&mut conn, &data(1, true, b""));
    assert!(
        matches!(&got[..], [Event::Data { id: stream, payload, fin: true }]
        if *stream == id(1) && payload.is_empty())
    );
    // With the other direction it is over.
    conn.reply(id(1), &HeaderBlock::new(), true).unwrap();
    assert!(!conn.has_stream(id(1)));
    let (got, _) = peer.feed(&mut conn, &data(1, true, b""));
    assert!(got.is_empty());
}

/// One frame is one, in however many pieces it comes.
#[test]
fn payload_behind_fin_is_ignored_once_a_frame() {
    for pieces in [1, 2, 5] {
        let (mut peer, mut conn) = (Peer::new(), server());
        let syn = peer.syn(1);
        peer.feed(&mut conn, &syn);
        peer.feed(&mut conn, &data(1, true, b""));
        let before = conn.stats().ignored;
        let frame = data(1, false, &[7; 100]);
        for piece in frame.chunks(frame.len().div_ceil(pieces)) {
            let (got, _) = peer.feed(&mut conn, piece);
            assert!(got.is_empty());
        }
        assert_eq!(conn.stats().ignored, before + 1, "in {pieces} pieces");
        assert_eq!(conn.stats().glitches, 0);
        assert_eq!(conn.stats().unconsumed, 0);
    }
}

fn more_headers(peer: &mut Peer, stream: u32, fin: bool) -> Vec<u8> {
    peer.frame(&Frame::Headers(Headers {
        id: id(stream),
        fin,
        headers: headers(),
    }))
}

#[test]
fn headers_of_an_open_stream_are_delivered() {
    let (mut peer, mut conn) = (Peer::new(), server());
    let syn = peer.syn(1);
    peer.feed(&mut conn, &syn);
    let frame = more_headers(&mut peer, 1, false);
    let (got, _) = peer.feed(&mut conn, &frame);
    assert!(
        matches!(&got[..], [Event::Headers { fin: false, headers: got, .. }] if *got == headers())
    );
    let frame = more_headers(&mut peer, 1, true);
    let (got, _) = peer.feed(&mut conn, &frame);
    assert!(matches!(&got[..], [Event::Headers { fin: true, .. }]));
    let frame = more_headers(&mut peer, 1, false);
    let (got, _) = peer.feed(&mut conn, &frame);
    assert!(got.is_empty(), "behind FIN");
}

/// The opener takes none before the answer.
#[test]
fn headers_before_the_answer_are_ignored() {
    let (mut peer, mut conn) = (Peer::new(), client());
    let own = conn.open(&headers(), false).unwrap();
    let frame = more_headers(&mut peer, own.get(), false);
    let (got, _) = peer.feed(&mut conn, &frame);
    assert!(got.is_empty());
    let reply = peer.frame(&Frame::SynReply(SynReply {
        id: own,
        fin: false,
        headers: HeaderBlock::new(),
    }));
    peer.feed(&mut conn, &reply);
    let frame = more_headers(&mut peer, own.get(), false);
    let (got, _) = peer.feed(&mut conn, &frame);
    assert!(matches!(&got[..], [Event::Headers { .. }]));
}

/// A caller that was told there is no room hears of it when half is free, not before (B15).
#[test]
fn room_is_told_at_half() {
    let mut config = Config::strict(Role::Client);
    config.limits.stream_send = 1000;
    let (mut peer, mut conn) = (Peer::new(), connection(config));
    let own = conn.open(&headers(), false).unwrap();
    let mut window = Bytes::from(vec![7; 64 << 10]);
    while !window.is_empty() {
        conn.send(own, &mut window, false).unwrap();
        let out = conn.outgoing();
        let n = out.remaining();
        out.advance(n);
    }
    // The window is used up: this waits.
    let mut more = Bytes::from(vec![7; 2000]);
    assert_eq!(conn.send(own, &mut more, false), Ok(1000));
    assert_eq!(conn.send(own, &mut more, false), Ok(0));
    let told = |conn: &mut spdy::Connection| {
        let out = conn.outgoing();
        let n = out.remaining();
        out.advance(n);
        events(conn)
            .iter()
            .any(|event| matches!(event, Event::Writable { .. }))
    };
    for (credit, room) in [(499, false), (1, true)] {
        for stream in [0, own.get()] {
            let update = peer.frame(&Frame::WindowUpdate(WindowUpdate {
                id: stream,
                delta: credit,
            }));
            let mut bytes = BytesMut::from(update.as_slice());
            conn.recv(peer.now, &mut bytes).unwrap();
        }
        assert_eq!(told(&mut conn), room, "after {credit} more");
    }
}
