//! What a peer that does not read, or a caller that does not write, can make a connection hold.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::{Buf, Bytes, BytesMut};
use common::{Peer, connection, data, events, headers, id};
use spdy::{
    Config, Connection, Dialect, Event, Frame, HeaderBlock, OpenError, Role, RstStatus,
    WindowUpdate,
};

/// B6 and B10 for the frames that wait.
const STREAMS: usize = 3;
const REPLIES: usize = 10;
const FRAMES: usize = REPLIES + 2 * STREAMS;

fn small(mut config: Config) -> Connection {
    config.limits.peer_streams = STREAMS;
    config.limits.own_streams = STREAMS;
    config.limits.queued_replies = REPLIES;
    config.limits.rapid_resets = 1000;
    connection(config)
}

fn server() -> Connection {
    small(Config::kubernetes(Role::Server))
}

/// Everything is read, or nothing: the transport takes nothing meanwhile.
fn read(conn: &mut Connection, bytes: &[u8]) -> bool {
    let mut input = BytesMut::from(bytes);
    let now = std::time::Instant::now();
    conn.recv(now, &mut input).unwrap();
    conn.outgoing();
    input.is_empty()
}

/// A stream that is opened, and answered in some way.
fn open(peer: &mut Peer, conn: &mut Connection, n: u32, answer: fn(&mut Connection, u32)) -> bool {
    let syn = peer.syn(n);
    let was_read = read(conn, &syn);
    for event in events(conn) {
        if let Event::Opened { .. } = event {
            answer(conn, n);
        }
    }
    was_read
}

#[test]
fn answers_to_streams_that_are_gone_stop_reading() {
    type Answer = fn(&mut Connection, u32);
    let answers: [Answer; 2] = [
        |conn, n| conn.reply(id(n), &HeaderBlock::new(), true).unwrap(),
        |conn, n| conn.reset(id(n), RstStatus::CANCEL),
    ];
    for answer in answers {
        let (mut peer, mut conn) = (Peer::light(), server());
        let mut n = 1;
        for waiting in 1..=FRAMES {
            assert!(!conn.is_blocked(), "{waiting}");
            assert!(open(&mut peer, &mut conn, n, answer));
            if conn.has_stream(id(n)) {
                assert!(read(&mut conn, &data(n, true, b"")) || conn.is_blocked());
                let reset = peer.reset(n);
                assert!(read(&mut conn, &reset) || conn.is_blocked());
            }
            events(&mut conn);
            assert_eq!(conn.stats().queued_answers, waiting);
            n += 2;
        }
        assert!(conn.is_blocked());
        assert!(!open(&mut peer, &mut conn, n, answer), "nothing is read");
        let first = conn.outgoing().remaining() / FRAMES;
        conn.outgoing().advance(first + 20);
        assert!(!conn.is_blocked(), "one has left");
    }
}

/// A peer with many streams may be slow to read their answers.
#[test]
fn a_thousand_honest_answers_do_not_stop_reading() {
    let mut conn = common::server();
    let mut peer = Peer::light();
    for n in 0..1000 {
        let reply: fn(&mut Connection, u32) =
            |conn, n| conn.reply(id(n), &HeaderBlock::new(), false).unwrap();
        assert!(open(&mut peer, &mut conn, 2 * n + 1, reply));
    }
    assert_eq!(conn.stats().queued_answers, 1000);
    assert!(!conn.is_blocked());
}

#[test]
fn credit_that_nobody_reads_stops_reading() {
    let mut peer = Peer::of(Dialect::Spdy31);
    let mut conn = small(Config::strict(Role::Server));
    let gone = [peer.syn(1), peer.reset(1)].concat();
    assert!(read(&mut conn, &gone));
    events(&mut conn);
    let frame = data(1, false, &vec![0; 32 << 10]);
    for _ in 0..FRAMES {
        assert!(read(&mut conn, &frame));
    }
    assert!(conn.is_blocked() && !read(&mut conn, &frame));
    assert_eq!(conn.stats().queued_answers, FRAMES);
    // Nobody writes any more: then nobody is waited for.
    conn.end_of_output();
    assert!(!conn.is_blocked());
}

/// The same of the caller's doing never stops reading: it stops opening.
#[test]
fn streams_opened_and_reset_while_nothing_is_written() {
    let mut conn = small(Config::kubernetes(Role::Client));
    for _ in 0..FRAMES / 2 {
        let stream = conn.open(&headers(), false).unwrap();
        conn.reset(stream, RstStatus::CANCEL);
    }
    let refused = conn.open(&headers(), false).unwrap_err();
    assert_eq!(refused, OpenError::Unwritten(FRAMES));
    assert_eq!(refused.to_string(), "16 control frames wait to be written");
    assert!(!conn.is_blocked());
    common::drain(&mut conn);
    assert!(conn.open(&headers(), false).is_ok());
}

/// Streams that are gone and whose last words wait behind DATA count beside their payload (B15).
#[test]
fn last_words_that_wait_are_bounded() {
    let mut config = Config::kubernetes(Role::Server);
    config.write_ahead = 1;
    config.limits.session_send = 10 * 257;
    let (mut peer, mut conn) = (Peer::light(), connection(config));
    let reply: fn(&mut Connection, u32) =
        |conn, n| conn.reply(id(n), &HeaderBlock::new(), false).unwrap();
    let mut taken = Vec::new();
    for n in 0..20 {
        assert!(open(&mut peer, &mut conn, 2 * n + 1, reply));
        let mut payload = Bytes::from_static(b"x");
        taken.push(conn.send(id(2 * n + 1), &mut payload, false).unwrap());
        conn.reset(id(2 * n + 1), RstStatus::CANCEL);
    }
    // The first is framed, ten wait; from then on a reset leaves at once.
    assert_eq!(taken.iter().sum::<usize>(), 11, "{taken:?}");
    assert_eq!(conn.stats().queued_to_send, 10);
    let sent = peer.sent(&mut conn);
    let count = |want: fn(&Frame) -> bool| sent.iter().filter(|f| want(f)).count();
    assert_eq!(count(|f| matches!(f, Frame::Data(_))), 11);
    assert_eq!(count(|f| matches!(f, Frame::RstStream(_))), 20);
    // Room again.
    assert!(open(&mut peer, &mut conn, 99, reply));
    for _ in 0..2 {
        let sent = conn.send(id(99), &mut Bytes::from(vec![0; 1000]), false);
        assert_eq!(sent, Ok(1000));
    }
}

/// A byte costs about a byte, and they leave together.
#[test]
fn single_bytes_are_held_and_sent_together() {
    let mut config = Config::kubernetes(Role::Client);
    config.write_ahead = 1;
    let (mut peer, mut conn) = (Peer::light(), connection(config));
    let stream = conn.open(&headers(), false).unwrap();
    for _ in 0..=10_000 {
        let sent = conn.send(stream, &mut Bytes::from_static(b"x"), false);
        assert_eq!(sent, Ok(1));
    }
    let lengths: Vec<_> = peer
        .sent(&mut conn)
        .iter()
        .filter_map(|f| match f {
            Frame::Data(data) => Some(data.payload.len()),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [1, 10_000]);
}

/// A header block in an event counts with its length (B12).
#[test]
fn header_blocks_that_nobody_polls_stop_reading() {
    let mut config = Config::kubernetes(Role::Server);
    let block: HeaderBlock = (0..7)
        .map(|i| (format!("a{i}"), vec![b'v'; 8192]))
        .collect();
    let each = 256 + block.encoded_len();
    config.limits.session_receive = 3 * each;
    let (mut peer, mut conn) = (Peer::new(), connection(config));
    for n in 0..4 {
        assert!(!conn.is_full(), "{n}");
        let syn = peer.syn_with(2 * n + 1, block.clone());
        assert!(read(&mut conn, &syn));
    }
    assert!(conn.is_full(), "more than three");
    assert!(conn.poll_event().is_some() && !conn.is_full());
    assert_eq!(events(&mut conn).len(), 3);
}

/// Many large blocks at once are work for many calls.
#[test]
fn one_call_inflates_no_more_than_its_share() {
    let (mut peer, mut conn) = (Peer::new(), common::server());
    let block: HeaderBlock = (0..7)
        .map(|i| (format!("a{i}"), vec![b'v'; 8192]))
        .collect();
    let each = block.encoded_len() as u64;
    let mut input = BytesMut::new();
    for n in 0..20 {
        input.extend_from_slice(&peer.syn_with(2 * n + 1, block.clone()));
    }
    let mut before = 0;
    let mut calls = 0;
    while !input.is_empty() {
        conn.recv(peer.now, &mut input).unwrap();
        let inflated = conn.stats().header_bytes_inflated;
        assert!(inflated - before <= (256 << 10) + each);
        before = inflated;
        calls += 1;
    }
    assert_eq!((calls, before), (4, 20 * each));
}

/// With as much framed as may be, the rest waits; below it, a whole frame is made.
#[test]
fn what_is_framed_ahead_ends_at_its_limit() {
    for (write_ahead, waits) in [(108, 1), (109, 0)] {
        let mut config = Config::kubernetes(Role::Client);
        config.write_ahead = write_ahead;
        let mut conn = connection(config);
        let stream = conn.open(&headers(), false).unwrap();
        common::drain(&mut conn);
        for mut payload in [Bytes::from(vec![0; 100]), Bytes::from_static(b"x")] {
            conn.send(stream, &mut payload, false).unwrap();
        }
        assert_eq!(conn.stats().queued_to_send, waits);
        assert_eq!(conn.outgoing().remaining(), 108 + (1 - waits) * 9);
        conn.outgoing().advance(1);
        assert_eq!(conn.outgoing().remaining(), 107 + 9);
    }
}

/// Nor does it overtake who waits for a turn; who waits for credit is in nobody's way.
#[test]
fn a_stream_with_nothing_waiting_waits_with_others() {
    let mut config = Config::kubernetes(Role::Client);
    config.write_ahead = 1;
    let (mut peer, mut conn) = (Peer::new(), connection(config));
    let [one, two] = [(); 2].map(|()| conn.open(&headers(), false).unwrap());
    peer.sent(&mut conn);
    for _ in 0..2 {
        let mut payload = Bytes::from(vec![0; 100]);
        conn.send(one, &mut payload, false).unwrap();
    }
    conn.outgoing().advance(8);
    conn.outgoing().advance(100);
    conn.send(two, &mut Bytes::from_static(b"x"), false)
        .unwrap();
    assert_eq!(conn.stats().queued_to_send, 101);
    let order: Vec<_> = (peer.sent(&mut conn).iter())
        .map(|f| match f {
            Frame::Data(data) => data.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [one, two]);

    let (mut peer, mut conn) = (
        Peer::of(Dialect::Spdy31),
        connection(Config::strict(Role::Client)),
    );
    let [one, two] = [(); 2].map(|()| conn.open(&headers(), false).unwrap());
    let (id, delta) = (0, 100);
    let update = peer.frame(&Frame::WindowUpdate(WindowUpdate { id, delta }));
    peer.feed(&mut conn, &update);
    let mut payload = Bytes::from(vec![0; (64 << 10) + 1]);
    while !payload.is_empty() {
        conn.send(one, &mut payload, false).unwrap();
    }
    peer.sent(&mut conn);
    assert_eq!(conn.stats().queued_to_send, 1, "no credit");
    conn.send(two, &mut Bytes::from_static(b"x"), false)
        .unwrap();
    assert_eq!(conn.stats().queued_to_send, 1);
    assert!(matches!(&peer.sent(&mut conn)[..], [Frame::Data(data)] if data.id == two));
}

/// When a turn ends with no more than half waiting of what may wait, there is room.
#[test]
fn who_waits_for_room_is_told_at_half() {
    let mut config = Config::kubernetes(Role::Client);
    config.write_ahead = 1;
    config.data_payload = 8000;
    config.limits.session_send = 32_000;
    let mut conn = connection(config);
    let stream = conn.open(&headers(), false).unwrap();
    common::drain(&mut conn);
    let mut payload = Bytes::from(vec![0; 60_000]);
    for taken in [8000, 8000, 8000, 8000, 8000, 0] {
        assert_eq!(conn.send(stream, &mut payload, false), Ok(taken));
    }
    // A turn is three of these frames.
    for (waits, told) in [(24_000, false), (16_000, false), (8000, true)] {
        conn.outgoing().advance(8008);
        conn.outgoing();
        assert_eq!(conn.stats().queued_to_send, waits);
        assert_eq!(events(&mut conn).len(), usize::from(told), "{waits}");
    }
}

/// A client takes no streams, and not any number of them (B9).
#[test]
fn unwanted_streams_end_the_connection() {
    let mut config = Config::kubernetes(Role::Client);
    config.limits.error_resets = 3;
    let (mut peer, mut conn) = (Peer::light(), connection(config));
    for n in 1..=4 {
        let syn = peer.syn(2 * n);
        let result = conn.recv(peer.now, &mut BytesMut::from(syn.as_slice()));
        assert_eq!(result.is_err(), n == 4, "{n}");
    }
}
