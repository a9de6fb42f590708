//! The connection from outside: what a peer may send, what happens, and with which code it ends.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    clippy::type_complexity,
    reason = "a test"
)]

use bytes::{Buf, Bytes, BytesMut};
use std::time::{Duration, Instant};
use wsstream::{
    CloseCode, CloseFrame, Config, Connection, ConnectionError, DecodeErrorKind, Event, Head, Kind,
    MaskKeys, Opcode, Role, SendError,
};

fn connection(role: Role) -> Connection {
    let mut config = Config::new(role);
    config.keys = MaskKeys::predictable(1);
    Connection::new(config).unwrap()
}

/// All that waits to be written.
fn drain(conn: &mut Connection) -> BytesMut {
    let n = conn.outgoing().remaining();
    BytesMut::from(&*conn.outgoing().copy_to_bytes(n))
}

/// A frame as a server writes it.
fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let head = Head {
        fin,
        opcode,
        mask: None,
        length: payload.len() as u64,
    };
    let (bytes, n) = head.encode();
    [&bytes[..n], payload].concat()
}

fn all(conn: &mut Connection, input: &[u8]) -> (Vec<Event>, Option<ConnectionError>) {
    let (mut input, mut events) = (BytesMut::from(input), Vec::new());
    loop {
        match conn.poll_event(Instant::now(), &mut input) {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error)),
        }
    }
}

fn part(kind: Kind, begins: bool, payload: &'static [u8], ends: bool) -> Event {
    let payload = Bytes::from_static(payload);
    Event::Message {
        kind,
        begins,
        payload,
        ends,
    }
}

fn kind(error: Option<ConnectionError>) -> DecodeErrorKind {
    match error {
        Some(ConnectionError::Protocol(error)) => error.kind().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fragments_with_control_frames_between_them() {
    let input = [
        frame(Opcode::Text, false, b"a"),
        frame(Opcode::Ping, true, b"1"),
        frame(Opcode::Continuation, false, b""),
        frame(Opcode::Pong, true, b"2"),
        frame(Opcode::Continuation, true, b"b"),
        frame(Opcode::Binary, true, b""),
        frame(Opcode::Binary, false, b"c"),
        frame(Opcode::Continuation, true, b""),
    ]
    .concat();
    let mut conn = connection(Role::Client);
    let (events, error) = all(&mut conn, &input);
    assert_eq!(error, None);
    assert_eq!(
        events,
        [
            part(Kind::Text, true, b"a", false),
            Event::Ping(Bytes::from_static(b"1")),
            Event::Pong(Bytes::from_static(b"2")),
            part(Kind::Text, false, b"b", true),
            part(Kind::Binary, true, b"", true),
            part(Kind::Binary, true, b"c", false),
            part(Kind::Binary, false, b"", true),
        ]
    );
    let mut server = connection(Role::Server);
    let (answers, error) = all(&mut server, &drain(&mut conn));
    assert_eq!(
        (answers, error),
        (vec![Event::Pong(Bytes::from_static(b"1"))], None)
    );
}

/// Each with what a sane peer sent before, which is not lost, and the code of the answer.
#[test]
fn breaches_end_the_connection_with_their_code() {
    let f = frame;
    let table: Vec<(Vec<u8>, u16)> = vec![
        (vec![0xC1, 0], 1002),
        (vec![0x83, 0], 1002),
        (vec![0x8B, 0], 1002),
        (f(Opcode::Ping, false, b""), 1002),
        (f(Opcode::Ping, true, &[0; 126]), 1002),
        (vec![0x82, 0x80, 0, 0, 0, 0], 1002),
        (vec![0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
        (vec![0x82, 126, 0, 1, 0], 1002),
        (f(Opcode::Continuation, true, b"x"), 1002),
        (
            [f(Opcode::Text, false, b"x"), f(Opcode::Text, true, b"y")].concat(),
            1002,
        ),
        (f(Opcode::Text, true, &[0xFF]), 1007),
        (f(Opcode::Text, true, &[0xE2, 0x82]), 1007),
        (f(Opcode::Text, false, &[0xF4, 0x90]), 1007),
        (f(Opcode::Close, true, &[3]), 1002),
        (f(Opcode::Close, true, &[3, 0xED]), 1002),
        (f(Opcode::Close, true, &[3, 0xE8, 0xFF]), 1007),
        (vec![0x82, 127, 0, 0, 0, 0, 0, 0x40, 0, 1], 1009),
        (f(Opcode::Ping, true, b"").repeat(101), 1008),
        (
            [
                f(Opcode::Binary, false, b""),
                f(Opcode::Continuation, false, b"").repeat(1024),
            ]
            .concat(),
            1009,
        ),
    ];
    for (bad, code) in table {
        let sane = f(Opcode::Binary, true, b"sane");
        let mut conn = connection(Role::Client);
        let (events, error) = all(&mut conn, &[sane.clone(), bad.clone()].concat());
        assert_eq!(
            events[0],
            part(Kind::Binary, true, b"sane", true),
            "{bad:02x?}"
        );
        let error = error.unwrap();
        let Some(found) = error.close_code() else {
            panic!("{error}");
        };
        assert_eq!(found.get(), code, "{bad:02x?}: {error}");
        // Told once, ever after, and nothing more is read or sent.
        let again = conn.poll_event(Instant::now(), &mut BytesMut::from(&sane[..]));
        assert_eq!(again, Err(error.clone()));
        assert!(conn.is_done());
        let sent = conn.send(Kind::Binary, &mut Bytes::from_static(b"x"), true);
        assert_eq!(sent, Err(SendError::Closed));
        let (answers, _) = all(&mut connection(Role::Server), &drain(&mut conn));
        let close = CloseFrame::new(found);
        assert_eq!(answers.last(), Some(&Event::Closed(close)), "{bad:02x?}");
        let ConnectionError::Protocol(error) = error else {
            panic!()
        };
        assert!(error.offset() >= sane.len() as u64, "{error}");
    }
}

#[test]
fn the_offset_is_that_of_the_frame() {
    let lead = frame(Opcode::Text, false, b"0123456789");
    let mut conn = connection(Role::Client);
    let (_, error) = all(&mut conn, &[lead.clone(), vec![0x83, 0]].concat());
    let Some(ConnectionError::Protocol(error)) = error else {
        panic!()
    };
    assert_eq!(error.offset(), lead.len() as u64);
    // Also when only the payload shows it, in a second piece.
    let mut conn = connection(Role::Client);
    let bad = frame(Opcode::Continuation, true, b"ok\xFF");
    let whole = [lead.clone(), bad].concat();
    let (first, second) = whole.split_at(lead.len() + 3);
    assert_eq!(all(&mut conn, first).1, None);
    let (_, error) = all(&mut conn, second);
    let Some(ConnectionError::Protocol(error)) = error else {
        panic!()
    };
    assert_eq!(error.offset(), lead.len() as u64);
}

/// Whole binary messages have a way of their own, which shows in nothing.
#[test]
fn whole_messages_are_judged_as_those_in_pieces() {
    let whole = |n: usize| frame(Opcode::Binary, true, &vec![7; n]);
    let begun = frame(Opcode::Binary, false, b"begun");
    let last = frame(Opcode::Continuation, true, b"");
    for end in [
        Vec::new(),
        whole(100),
        whole(101),
        [begun.clone(), whole(1)].concat(),
        [begun, last, whole(0)].concat(),
        frame(Opcode::Continuation, true, b""),
        vec![0xC2, 0],
        vec![0x82, 0x81],
        vec![0x82, 126, 0, 9],
    ] {
        let bytes = [whole(3), whole(100), whole(0), end].concat();
        let run = |step: usize| {
            let mut config = Config::new(Role::Client);
            config.limits.message = Some(100);
            let mut conn = Connection::new(config).unwrap();
            let mut input = BytesMut::new();
            let (mut messages, mut payload) = (0, Vec::new());
            for piece in bytes.chunks(step) {
                input.extend_from_slice(piece);
                while let Ok(Some(event)) = conn.poll_event(Instant::now(), &mut input) {
                    let Event::Message {
                        payload: part,
                        ends,
                        ..
                    } = event
                    else {
                        panic!()
                    };
                    messages += usize::from(ends);
                    payload.extend_from_slice(&part);
                }
            }
            let end = conn.end_of_input(&input);
            (messages, payload, end)
        };
        assert_eq!(run(bytes.len()), run(1), "{bytes:02x?}");
    }
}

#[test]
fn limits_at_n_and_n_plus_1() {
    let make = |set: &dyn Fn(&mut wsstream::Limits)| {
        let mut config = Config::new(Role::Client);
        set(&mut config.limits);
        Connection::new(config).unwrap()
    };
    // B17: bytes, over all frames; judged by the head, before the payload comes.
    let message = |n: usize| {
        [
            frame(Opcode::Binary, false, &vec![0; n - 4]),
            frame(Opcode::Continuation, true, &[0; 4]),
        ]
        .concat()
    };
    let mut conn = make(&|l| l.message = Some(100));
    assert_eq!(all(&mut conn, &message(100)).1, None);
    let long = message(101);
    let (_, error) = all(&mut conn, &long[..long.len() - 4]);
    assert_eq!(kind(error), DecodeErrorKind::MessageTooBig(100));
    // B17: frames.
    let frames = |n: usize| {
        let mut all = frame(Opcode::Binary, false, b"");
        all.extend(frame(Opcode::Continuation, false, b"").repeat(n - 2));
        all.extend(frame(Opcode::Continuation, true, b""));
        all
    };
    let mut conn = make(&|l| l.fragments = Some(5));
    assert_eq!(all(&mut conn, &frames(5)).1, None);
    let (_, error) = all(&mut conn, &frames(6));
    assert_eq!(kind(error), DecodeErrorKind::TooManyFragments(5));
    // B19: control frames, pongs among them.
    let mut conn = make(&|l| l.control = 3);
    let now = Instant::now();
    let mut ping = |at: u64, n: usize| {
        let bytes = [
            frame(Opcode::Ping, true, b""),
            frame(Opcode::Pong, true, b""),
        ]
        .concat();
        let mut input = BytesMut::from(&bytes[..bytes.len() / 2 * n]);
        let mut last = Ok(None);
        for _ in 0..n {
            last = conn.poll_event(now + Duration::from_secs(at), &mut input);
        }
        last.map(|_| ())
    };
    assert_eq!(ping(0, 2), Ok(()));
    assert_eq!(ping(0, 1), Ok(()));
    // A third of the time later there is room for one, not for all again.
    assert_eq!(ping(4, 1), Ok(()));
    assert_eq!(kind(ping(4, 1).err()), DecodeErrorKind::ControlFlood(3));
    // B19: pongs that wait; the latest ping is the one that is answered.
    let mut conn = make(&|l| l.pongs = 2);
    for payload in [b"1", b"2", b"3"] {
        assert_eq!(all(&mut conn, &frame(Opcode::Ping, true, payload)).1, None);
    }
    let (answers, _) = all(&mut connection(Role::Server), &drain(&mut conn));
    let pongs = [b"1", b"3"].map(|p| Event::Pong(Bytes::from_static(p)));
    assert_eq!(answers, pongs);
    // B15: what waits to be written.
    let mut conn = make(&|l| l.outgoing = 10);
    let mut payload = Bytes::from_static(b"1234");
    assert_eq!(conn.send(Kind::Binary, &mut payload, true), Ok(()));
    assert_eq!(conn.outgoing().len(), 10);
    let mut payload = Bytes::from_static(b"x");
    assert_eq!(
        conn.send(Kind::Binary, &mut payload, true),
        Err(SendError::Full)
    );
    assert!(!conn.is_writable() && payload.len() == 1);
    // Out of range.
    let table: [(fn(&mut wsstream::Limits), &str); 6] = [
        (|l| l.message = Some(0), "message"),
        (|l| l.message = Some((1 << 30) + 1), "message"),
        (|l| l.fragments = Some(0), "fragments"),
        (|l| l.control = 100_001, "control"),
        (|l| l.pongs = 0, "pongs"),
        (|l| l.outgoing = 0, "outgoing"),
    ];
    for (set, name) in table {
        let mut config = Config::new(Role::Client);
        set(&mut config.limits);
        assert_eq!(Connection::new(config).unwrap_err().name, name);
    }
}

#[test]
fn the_closing_handshake_from_both_ends() {
    for role in [Role::Client, Role::Server] {
        let other = if role == Role::Client {
            Role::Server
        } else {
            Role::Client
        };
        let (mut a, mut b) = (connection(role), connection(other));
        let close = CloseFrame::with_reason(CloseCode::GOING_AWAY, "bye");
        a.send(Kind::Binary, &mut Bytes::from_static(b"last"), true)
            .unwrap();
        a.close(&close).unwrap();
        a.close(&CloseFrame::new(CloseCode::INTERNAL)).unwrap();
        assert!(!a.is_done());
        let (events, _) = all(&mut b, &drain(&mut a));
        assert_eq!(
            events,
            [
                part(Kind::Binary, true, b"last", true),
                Event::Closed(close)
            ]
        );
        assert!(b.is_done());
        let sent = b.send(Kind::Binary, &mut Bytes::from_static(b"x"), true);
        assert_eq!(sent, Err(SendError::Closed));
        assert_eq!(b.end_of_input(b""), Ok(()));
        let (events, _) = all(&mut a, &drain(&mut b));
        assert_eq!(
            events,
            [Event::Closed(CloseFrame::new(CloseCode::GOING_AWAY))]
        );
        assert!(a.is_done() && a.end_of_input(b"").is_ok());
        // Behind a Close nothing is looked at.
        for behind in [vec![0xFF; 9], frame(Opcode::Binary, true, b"whole")] {
            let mut rest = BytesMut::from(&behind[..]);
            assert_eq!(a.poll_event(Instant::now(), &mut rest), Ok(None));
            assert!(rest.is_empty());
        }
    }
}

#[test]
fn data_on_its_way_is_returned_after_close_was_sent() {
    let mut conn = connection(Role::Client);
    conn.close(&CloseFrame::new(CloseCode::NORMAL)).unwrap();
    let (events, error) = all(&mut conn, &frame(Opcode::Binary, true, b"late"));
    assert_eq!(
        (events, error),
        (vec![part(Kind::Binary, true, b"late", true)], None)
    );
    // And a ping is not answered any more.
    let before = conn.outgoing().len();
    all(&mut conn, &frame(Opcode::Ping, true, b""));
    assert_eq!(conn.outgoing().len(), before);
}

#[test]
fn an_end_without_close_is_no_end() {
    let cases: [(Vec<u8>, ConnectionError); 4] = [
        (vec![], ConnectionError::Eof),
        (frame(Opcode::Binary, false, b"x"), ConnectionError::Cut),
        (
            frame(Opcode::Binary, true, b"xyz")[..4].to_vec(),
            ConnectionError::Cut,
        ),
        (vec![0x82], ConnectionError::Cut),
    ];
    for (input, expected) in cases {
        let mut conn = connection(Role::Client);
        let mut input = BytesMut::from(&input[..]);
        while conn
            .poll_event(Instant::now(), &mut input)
            .unwrap()
            .is_some()
        {}
        assert_eq!(conn.end_of_input(&input), Err(expected.clone()));
        assert_eq!(conn.poll_event(Instant::now(), &mut input), Err(expected));
    }
}

#[test]
fn messages_in_pieces_and_misuse() {
    let mut conn = connection(Role::Server);
    let mut piece = |kind, text: &'static str, ends| conn.send(kind, &mut text.into(), ends);
    assert_eq!(piece(Kind::Text, "a", false), Ok(()));
    assert_eq!(piece(Kind::Binary, "b", true), Err(SendError::OtherMessage));
    assert_eq!(piece(Kind::Text, "c", true), Ok(()));
    assert_eq!(piece(Kind::Binary, "d", true), Ok(()));
    let mut half = Bytes::from_static(&[0xE2]);
    assert_eq!(conn.send(Kind::Text, &mut half, true), Err(SendError::Utf8));
    assert_eq!(conn.send(Kind::Text, &mut half, false), Ok(()));
    let mut rest = Bytes::from_static(&[0x82, 0xAC]);
    assert_eq!(conn.send(Kind::Text, &mut rest, true), Ok(()));
    assert_eq!(
        conn.ping(Bytes::from_static(&[0; 126])),
        Err(SendError::LongControl)
    );
    let (events, error) = all(&mut connection(Role::Client), &drain(&mut conn));
    assert_eq!(error, None);
    assert_eq!(events.len(), 5);
    assert_eq!(events[1], part(Kind::Text, false, b"c", true));
}

#[test]
fn pings_overtake_data_but_not_a_frame_that_has_begun() {
    let mut conn = connection(Role::Server);
    // Smaller ones share a piece, and a ping goes before it or behind.
    let (first, second) = (Bytes::from(vec![1; 4096]), Bytes::from(vec![2; 4096]));
    for payload in [&first, &second] {
        conn.send(Kind::Binary, &mut payload.clone(), true).unwrap();
    }
    let mut wire = conn.outgoing().copy_to_bytes(3).to_vec();
    conn.ping(Bytes::from_static(b"p")).unwrap();
    conn.close(&CloseFrame::new(CloseCode::NORMAL)).unwrap();
    wire.extend(drain(&mut conn));
    let (events, _) = all(&mut connection(Role::Client), &wire);
    let whole = |payload| Event::Message {
        kind: Kind::Binary,
        begins: true,
        payload,
        ends: true,
    };
    assert_eq!(
        events,
        [
            whole(first),
            Event::Ping(Bytes::from_static(b"p")),
            whole(second),
            Event::Closed(CloseFrame::new(CloseCode::NORMAL)),
        ]
    );
}

/// A Close inside a message is answered, and is not the end of what was sent.
#[test]
fn a_close_inside_a_message_is_a_cut() {
    let close = CloseFrame::new(CloseCode::NORMAL);
    for behind in [frame(Opcode::Continuation, true, b"rest"), Vec::new()] {
        let mut conn = connection(Role::Client);
        let begun = frame(Opcode::Binary, false, b"half");
        let input = [begun, frame(Opcode::Close, true, &close.encode()), behind].concat();
        let (events, error) = all(&mut conn, &input);
        assert_eq!(events.last(), Some(&Event::Closed(close.clone())));
        assert_eq!(error, Some(ConnectionError::Cut));
        assert_eq!(conn.end_of_input(b""), Err(ConnectionError::Cut));
        assert_eq!(drain(&mut conn)[0], 0x88);
    }
}

/// However long nothing leaves, few pings wait.
#[test]
fn pings_that_wait_are_bounded() {
    let mut conn = connection(Role::Client);
    for _ in 0..16 {
        conn.ping(Bytes::from_static(b"?")).unwrap();
    }
    assert_eq!(conn.ping(Bytes::new()), Err(SendError::Full));
    conn.outgoing().advance(7);
    assert_eq!(conn.ping(Bytes::new()), Ok(()));
}

/// Never the bytes: a log that shows events is read by others than those who sent them.
#[test]
fn debug_tells_no_payload() {
    let mut conn = connection(Role::Client);
    let input = [
        frame(Opcode::Text, false, b"canary\xC3"),
        frame(Opcode::Ping, true, b"canary"),
        frame(Opcode::Pong, true, b"canary"),
    ];
    let (events, _) = all(&mut conn, &input.concat());
    let shown = format!("{events:?} {conn:?}");
    assert!(events.len() == 3 && shown.contains("7 bytes"), "{shown}");
    assert!(
        !shown.contains("canary") && !shown.contains("195"),
        "{shown}"
    );
}

/// A declared length costs nothing (T32), and payload comes as it comes.
#[test]
fn a_huge_frame_is_a_stream() {
    let mut conn = Connection::new(Config::stream(Role::Client)).unwrap();
    let mut input = BytesMut::from(
        &[
            0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2,
        ][..],
    );
    let event = conn.poll_event(Instant::now(), &mut input).unwrap();
    assert_eq!(event, Some(part(Kind::Binary, true, &[1, 2], false)));
    input.extend_from_slice(&[3]);
    let event = conn.poll_event(Instant::now(), &mut input).unwrap();
    assert_eq!(event, Some(part(Kind::Binary, false, &[3], false)));
    assert_eq!(conn.end_of_input(b""), Err(ConnectionError::Cut));
}
