//! Messages that go straight to a transport which takes some of them.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

use bytes::{Buf, Bytes, BytesMut};
use std::io::IoSlice;
use std::time::Instant;
use wsstream::{CloseCode, CloseFrame, Config, Connection, Event, Kind, MaskKeys, Role, SendError};

fn connection(role: Role) -> Connection {
    let mut config = Config::new(role);
    config.keys = MaskKeys::predictable(1);
    Connection::new(config).unwrap()
}

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// A transport that takes `room` bytes and then none.
struct Narrow {
    room: usize,
    wire: Vec<u8>,
    /// Slices of each write.
    calls: Vec<usize>,
}

impl Narrow {
    fn new(room: usize) -> Self {
        let (wire, calls) = (Vec::new(), Vec::new());
        Self { room, wire, calls }
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> usize {
        self.calls.push(slices.len());
        let before = self.wire.len();
        for slice in slices {
            let n = slice.len().min(self.room);
            self.room -= n;
            self.wire.extend_from_slice(&slice[..n]);
        }
        self.wire.len() - before
    }
}

/// All that waits, behind what was written.
fn rest(conn: &mut Connection, mut narrow: Narrow) -> Vec<u8> {
    let n = conn.outgoing().remaining();
    narrow
        .wire
        .extend_from_slice(&conn.outgoing().copy_to_bytes(n));
    narrow.wire
}

fn payload(n: usize) -> Vec<u8> {
    (0..=250).cycle().take(n).collect()
}

/// What the peer of `role` reads: messages in one piece, and control frames.
fn read(role: Role, wire: &[u8]) -> Vec<Event> {
    let mut peer = connection(other(role));
    let mut input = BytesMut::from(wire);
    let mut events = Vec::new();
    while let Some(event) = peer.poll_event(Instant::now(), &mut input).unwrap() {
        events.push(event);
    }
    assert!(input.is_empty() && peer.outgoing().len() < 200);
    events
}

fn message(payload: &[u8]) -> Event {
    Event::Message {
        kind: Kind::Binary,
        begins: true,
        payload: Bytes::copy_from_slice(payload),
        ends: true,
    }
}

/// Where to cut a message of `n` bytes: everywhere, or wherever something ends.
fn cuts(n: usize) -> Vec<usize> {
    if n < 10_000 {
        return (0..n + 20).collect();
    }
    let ends = [0, 64 << 10, 128 << 10, n];
    let near = |end: &usize| end.saturating_sub(20)..end + 20;
    let mut cuts: Vec<usize> = ends.iter().flat_map(near).collect();
    cuts.extend((0..n).step_by(7919));
    cuts
}

/// At every cut the message arrives, and what is sent behind it: a ping before it only if none of it has left,
/// another message and Close behind it.
#[test]
fn a_message_that_is_cut_anywhere() {
    let sizes = [
        (Role::Server, 1024),
        (Role::Server, 3000),
        (Role::Server, 70_000),
        (Role::Client, 3000),
        (Role::Client, 81_919),
        (Role::Client, 81_920),
        (Role::Client, 150_000),
    ];
    for (role, n) in sizes {
        let sent = payload(n);
        let whole = {
            let mut conn = connection(role);
            conn.send_from(&mut &sent[..], n).unwrap();
            rest(&mut conn, Narrow::new(0))
        };
        for cut in cuts(n) {
            let mut conn = connection(role);
            let mut narrow = Narrow::new(cut);
            let mut from = &sent[..];
            conn.send_through(&mut from, n, |slices| narrow.write(slices))
                .unwrap();
            assert!(from.is_empty(), "taken whole");
            assert_eq!(narrow.wire.len() + conn.outgoing().len(), whole.len());
            let begun = !narrow.wire.is_empty();
            let left = conn.outgoing().is_empty();
            conn.ping(Bytes::from_static(b"p")).unwrap();
            conn.send_from(&mut &b"next"[..], 4).unwrap();
            conn.close(&CloseFrame::new(CloseCode::NORMAL)).unwrap();
            let wire = rest(&mut conn, narrow);
            let ping = Event::Ping(Bytes::from_static(b"p"));
            let mut expected = vec![
                message(&sent),
                message(b"next"),
                Event::Closed(CloseFrame::new(CloseCode::NORMAL)),
            ];
            expected.insert(usize::from(begun || left), ping);
            assert!(read(role, &wire) == expected, "{role:?} {n} cut at {cut}");
            assert_eq!(wire.starts_with(&whole), begun || left, "other bytes");
        }
    }
}

/// A transport that takes a few bytes at a time, from first to last.
#[test]
fn a_message_that_trickles() {
    for (role, n) in [(Role::Server, 3000), (Role::Client, 90_000)] {
        for step in [1, 3, 5, 1021] {
            let sent = payload(n);
            let mut conn = connection(role);
            let mut narrow = Narrow::new(step);
            conn.send_through(&mut &sent[..], n, |slices| narrow.write(slices))
                .unwrap();
            while !conn.outgoing().is_empty() {
                let mut slices = [IoSlice::new(&[]); 8];
                let outgoing = conn.outgoing();
                let filled = outgoing.chunks_vectored(&mut slices);
                narrow.room = step;
                let taken = narrow.write(&slices[..filled]);
                outgoing.advance(taken);
            }
            assert!(read(role, &narrow.wire) == [message(&sent)], "{step}");
        }
    }
}

/// A server's payload is offered where it lies, and a `Bytes` that is not taken is queued where it lies.
#[test]
fn nothing_is_copied() {
    let mut conn = connection(Role::Server);
    let sent = Bytes::from(payload(5000));
    let mut seen = None;
    conn.send_through(&mut sent.clone(), 5000, |slices| {
        seen = Some((slices.len(), slices[0].len(), slices[1].as_ptr()));
        1004
    })
    .unwrap();
    assert_eq!(seen, Some((2, 4, sent.as_ptr())));
    assert_eq!(conn.outgoing().chunk().as_ptr(), sent[1000..].as_ptr());
    assert_eq!(conn.outgoing().len(), 4000);
}

#[test]
fn what_is_small_or_waits_behind_others_is_queued() {
    let sent = payload(200_000);
    for (role, n) in [
        (Role::Server, 1023),
        (Role::Client, 81_919),
        (Role::Server, 0),
    ] {
        let mut conn = connection(role);
        let write = |_: &[IoSlice<'_>]| panic!("{role:?} {n}");
        conn.send_through(&mut &sent[..], n, write).unwrap();
        assert!(read(role, &rest(&mut conn, Narrow::new(0))) == [message(&sent[..n])]);
    }
    // Pieces that are small or many.
    for pieces in [4, 17] {
        let mut conn = connection(Role::Server);
        let piece = 2000 * pieces / 17;
        let slices: Vec<Bytes> = sent.chunks(piece).map(Bytes::copy_from_slice).collect();
        let mut from = slices[..pieces].iter().rev().fold(
            Box::new(Bytes::new()) as Box<dyn Buf>,
            |rest, first| {
                assert!(first.len() == piece);
                Box::new(first.clone().chain(rest))
            },
        );
        let write = |_: &[IoSlice<'_>]| panic!("{pieces}");
        conn.send_through(&mut from, piece * pieces, write).unwrap();
        let wire = rest(&mut conn, Narrow::new(0));
        assert!(read(Role::Server, &wire) == [message(&sent[..piece * pieces])]);
    }
    for role in [Role::Server, Role::Client] {
        let mut conn = connection(role);
        conn.ping(Bytes::new()).unwrap();
        let write = |_: &[IoSlice<'_>]| panic!("a ping waits");
        conn.send_through(&mut &sent[..], sent.len(), write)
            .unwrap();
        let wire = rest(&mut conn, Narrow::new(0));
        assert!(read(role, &wire) == [Event::Ping(Bytes::new()), message(&sent)]);
    }
}

/// Two large pieces leave in one write, a client's message in pieces that fill TLS records.
#[test]
fn how_it_is_offered() {
    let sent = payload(200_000);
    let mut conn = connection(Role::Server);
    let mut narrow = Narrow::new(usize::MAX);
    let mut from = (&sent[..9000]).chain(&sent[9000..]);
    conn.send_through(&mut from, 20_000, |slices| narrow.write(slices))
        .unwrap();
    assert_eq!((narrow.calls.len(), narrow.calls[0]), (1, 3));
    assert_eq!(from.remaining(), 180_000);
    assert!(read(Role::Server, &narrow.wire) == [message(&sent[..20_000])]);

    let mut conn = connection(Role::Client);
    let (mut sizes, mut wire) = (Vec::new(), Vec::new());
    let write = |slices: &[IoSlice<'_>]| {
        sizes.push(slices[0].len());
        wire.extend_from_slice(&slices[0]);
        slices[0].len()
    };
    conn.send_through(&mut &sent[..], sent.len(), write)
        .unwrap();
    assert_eq!(sizes, [64 << 10, 64 << 10, 200_014 - (128 << 10)]);
    assert!(read(Role::Client, &wire) == [message(&sent)]);
}

#[test]
fn refusals_come_before_the_write() {
    let sent = payload(100_000);
    for role in [Role::Server, Role::Client] {
        let mut conn = connection(role);
        let mut from = &sent[..];
        let mut refused = |conn: &mut Connection, error: SendError| {
            let write = |_: &[IoSlice<'_>]| panic!("{error:?}");
            assert_eq!(
                conn.send_through(&mut from, 100_000, write),
                Err(error.clone())
            );
            assert_eq!(from.len(), 100_000);
        };
        conn.send(Kind::Text, &mut "begun".into(), false).unwrap();
        refused(&mut conn, SendError::OtherMessage);
        rest(&mut conn, Narrow::new(0));
        refused(&mut conn, SendError::OtherMessage);
        conn.close(&CloseFrame::default()).unwrap();
        rest(&mut conn, Narrow::new(0));
        refused(&mut conn, SendError::Closed);

        // As many as the limit and one message wait.
        let mut config = Config::new(role);
        config.limits.outgoing = 1000;
        let mut conn = Connection::new(config).unwrap();
        let write = |slices: &[IoSlice<'_>]| slices[0].len().saturating_sub(1);
        conn.send_through(&mut &sent[..], 100_000, write).unwrap();
        refused(&mut conn, SendError::Full);
    }
}

/// Who says more was taken than there was gets no panic.
#[test]
fn a_writer_that_lies() {
    for role in [Role::Server, Role::Client] {
        let mut conn = connection(role);
        let sent = payload(100_000);
        conn.send_through(&mut &sent[..], sent.len(), |_| usize::MAX)
            .unwrap();
        assert!(conn.outgoing().is_empty());
        conn.send_from(&mut &b"x"[..], 1).unwrap();
        assert!(read(role, &rest(&mut conn, Narrow::new(0))) == [message(b"x")]);
    }
}
