//! Messages told where they lie in the input.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

use bytes::{Buf as _, BytesMut};
use std::borrow::Cow;
use std::time::Instant;
use wsstream::{
    CloseCode, CloseFrame, Config, Connection, ConnectionError, DecodeErrorKind, Event, Head, Kind,
    Opcode, Read, Role, Tunnel, mask,
};

const KEY: [u8; 4] = [9, 8, 7, 6];

/// A frame as a client writes it.
fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let head = Head {
        fin,
        opcode,
        mask: Some(KEY),
        length: payload.len() as u64,
    };
    let (bytes, n) = head.encode();
    let mut payload = payload.to_vec();
    mask::apply(KEY, 0, &mut payload);
    [&bytes[..n], &payload].concat()
}

fn server(whole: bool) -> Connection {
    let mut config = Config::new(Role::Server);
    config.whole = whole;
    Connection::new(config).unwrap()
}

/// `kind`, `begins`, payload, `ends`.
type Part<'a> = (Kind, bool, Cow<'a, [u8]>, bool);

fn part(event: Option<Event<Cow<'_, [u8]>>>) -> Part<'_> {
    match event {
        Some(Event::Message {
            kind,
            begins,
            payload,
            ends,
        }) => (kind, begins, payload, ends),
        other => panic!("{other:?}"),
    }
}

/// Each payload is the last of the bytes that are done with, by address; a head alone takes nothing.
#[test]
fn payload_is_where_it_was_received() {
    let now = Instant::now();
    let plain: Vec<u8> = (0..=255).cycle().take(1000).collect();
    for whole in [false, true] {
        let mut conn = server(whole);
        let one = frame(Opcode::Binary, true, &plain);
        let mut input = [&one[..], &one[..], &one[..4]].concat();
        let mut at = 0;
        for _ in 0..2 {
            let begin = input[at..].as_ptr().addr();
            let (taken, event) = conn.poll_borrowed(now, &mut input[at..]).unwrap();
            assert_eq!(taken, one.len());
            let (kind, begins, payload, ends) = part(event);
            assert!((kind, begins, ends) == (Kind::Binary, true, true));
            assert_eq!(payload.as_ptr().addr(), begin + taken - plain.len());
            assert!(matches!(payload, Cow::Borrowed(bytes) if bytes == plain));
            at += taken;
        }
        let waits = conn.poll_borrowed(now, &mut input[at..]);
        assert_eq!(waits, Ok((0, None)));
        assert_eq!(conn.end_of_input(&input[at..]), Err(ConnectionError::Cut));
    }
}

#[test]
fn control_frames_between_fragments_and_a_text_cut_inside_a_character() {
    let now = Instant::now();
    let bytes = [
        frame(Opcode::Text, false, b"h\xC3"),
        frame(Opcode::Ping, true, b"a"),
        frame(Opcode::Continuation, false, b""),
        frame(Opcode::Pong, true, b""),
        frame(Opcode::Continuation, true, b"\xB6"),
        frame(Opcode::Close, true, &[3, 232, b'x']),
        b"not looked at".to_vec(),
    ]
    .concat();

    let (mut conn, mut input) = (server(false), BytesMut::from(&bytes[..]));
    let (n, event) = conn.poll_borrowed(now, &mut input).unwrap();
    assert_eq!(
        part(event),
        (Kind::Text, true, b"h\xC3".as_slice().into(), false)
    );
    input.advance(n);
    let (n, event) = conn.poll_borrowed(now, &mut input).unwrap();
    assert_eq!(event, Some(Event::Ping(b"a".as_slice().into())));
    input.advance(n);
    let waits = conn.outgoing().remaining();
    assert_eq!(conn.outgoing().copy_to_bytes(waits), &b"\x8A\x01a"[..]);
    // The empty part in front of it is passed over, and counted.
    let (n, event) = conn.poll_borrowed(now, &mut input).unwrap();
    let empty: &[u8] = &[];
    assert_eq!((n, event), (6 + 6, Some(Event::Pong(empty.into()))));
    input.advance(n);
    let (n, event) = conn.poll_borrowed(now, &mut input).unwrap();
    assert_eq!(
        part(event),
        (Kind::Text, false, b"\xB6".as_slice().into(), true)
    );
    input.advance(n);
    let (n, event) = conn.poll_borrowed(now, &mut input).unwrap();
    let close = CloseFrame::parse(&[3, 232, b'x']).unwrap();
    assert_eq!(event, Some(Event::Closed(close)));
    input.advance(n);
    assert_eq!(
        conn.poll_borrowed(now, &mut input),
        Ok((b"not looked at".len(), None))
    );

    // Told whole, it is put together, and is the only thing that is not borrowed.
    let (mut conn, mut input) = (server(true), BytesMut::from(&bytes[..]));
    let mut seen = Vec::new();
    loop {
        let (n, event) = conn.poll_borrowed(now, &mut input).unwrap();
        match event {
            None => break,
            Some(Event::Message {
                kind,
                begins,
                payload,
                ends,
            }) => {
                assert!((kind, begins, ends) == (Kind::Text, true, true));
                assert!(matches!(payload, Cow::Owned(text) if text == "hö".as_bytes()));
                seen.push("message");
            }
            Some(Event::Ping(_)) => seen.push("ping"),
            Some(Event::Pong(_)) => seen.push("pong"),
            Some(_) => seen.push("close"),
        }
        input.advance(n);
    }
    assert_eq!(seen, ["ping", "pong", "message", "close"]);
}

/// The error, where its frame begins, and that it stays.
#[test]
fn errors_are_those_of_the_other_call() {
    let now = Instant::now();
    let good = frame(Opcode::Binary, true, &[7; 300]);
    let text = frame(Opcode::Text, true, b"\xFF");
    let bad: [(&[u8], DecodeErrorKind); 3] = [
        (b"\xC2\x80", DecodeErrorKind::ReservedBits(4)),
        (&text, DecodeErrorKind::Utf8),
        (
            &frame(Opcode::Continuation, true, b"x"),
            DecodeErrorKind::LoneContinuation,
        ),
    ];
    for (bad, kind) in bad {
        let bytes = [&good[..], bad].concat();
        let mut conn = server(false);
        let mut input = BytesMut::from(&bytes[..]);
        conn.poll_event(now, &mut input).unwrap();
        let expected = conn.poll_event(now, &mut input).unwrap_err();
        let waits = conn.outgoing().remaining();
        let close = conn.outgoing().copy_to_bytes(waits);

        let mut conn = server(false);
        let mut input = bytes.clone();
        let (n, _) = conn.poll_borrowed(now, &mut input).unwrap();
        for _ in 0..2 {
            let error = conn.poll_borrowed(now, &mut input[n..]).unwrap_err();
            assert_eq!(error, expected);
            assert!(matches!(error, ConnectionError::Protocol(error)
                if *error.kind() == kind && error.offset() == good.len() as u64));
        }
        let waits = conn.outgoing().remaining();
        assert_eq!(conn.outgoing().copy_to_bytes(waits), close);
    }
    // A limit.
    let mut config = Config::new(Role::Server);
    config.limits.message = Some(299);
    let mut conn = Connection::new(config).unwrap();
    let error = conn.poll_borrowed(now, &mut good.clone()).unwrap_err();
    assert_eq!(error.close_code(), Some(CloseCode::TOO_BIG));
}

/// A message that comes in pieces may be read by both calls in turn.
#[test]
fn both_calls_in_turn() {
    let now = Instant::now();
    let plain: Vec<u8> = (0..=250).cycle().take(3000).collect();
    for whole in [false, true] {
        let mut conn = server(whole);
        let wire = [
            frame(Opcode::Binary, false, &plain[..1000]),
            frame(Opcode::Continuation, false, &plain[1000..1700]),
            frame(Opcode::Continuation, true, &plain[1700..]),
        ]
        .concat();
        let (mut input, mut came, mut ended) = (BytesMut::new(), Vec::new(), false);
        let mut borrows = false;
        for piece in wire.chunks(333) {
            input.extend_from_slice(piece);
            loop {
                borrows = !borrows;
                if borrows {
                    let (n, event) = conn.poll_borrowed(now, &mut input).unwrap();
                    let none = event.is_none();
                    if !none {
                        let (_, _, payload, ends) = part(event);
                        came.extend_from_slice(&payload);
                        ended |= ends;
                    }
                    input.advance(n);
                    if none {
                        break;
                    }
                } else {
                    match conn.poll_event(now, &mut input).unwrap() {
                        None => break,
                        Some(Event::Message { payload, ends, .. }) => {
                            came.extend_from_slice(&payload);
                            ended |= ends;
                        }
                        Some(other) => panic!("{other:?}"),
                    }
                }
            }
        }
        assert!(ended && came == plain);
    }
}

#[test]
fn a_tunnel() {
    let now = Instant::now();
    let mut tunnel = Tunnel::new(Config::stream(Role::Server)).unwrap();
    let mut input = [
        frame(Opcode::Binary, true, b""),
        frame(Opcode::Ping, true, b""),
        frame(Opcode::Binary, false, b"ab"),
        frame(Opcode::Continuation, true, b"c"),
        frame(Opcode::Close, true, &[3, 232]),
        b"x".to_vec(),
    ]
    .concat();
    let mut at = 0;
    let mut next = || {
        let (n, read) = tunnel.poll_read_borrowed(now, &mut input[at..]).unwrap();
        at += n;
        read.map(|read| read.map(<[u8]>::to_vec))
    };
    assert_eq!(next(), Some(Read::Bytes(b"ab".to_vec())));
    assert_eq!(next(), Some(Read::Bytes(b"c".to_vec())));
    assert_eq!(next(), Some(Read::End));
    assert_eq!(next(), None);
    assert_eq!(at, input.len());

    for bad in [
        frame(Opcode::Text, true, b"x"),
        frame(Opcode::Close, true, &[3, 233]),
    ] {
        let mut owned = Tunnel::new(Config::stream(Role::Server)).unwrap();
        let expected = owned.poll_read(now, &mut BytesMut::from(&bad[..]));
        let mut tunnel = Tunnel::new(Config::stream(Role::Server)).unwrap();
        let mut input = bad.clone();
        let error = tunnel.poll_read_borrowed(now, &mut input);
        assert_eq!(error.unwrap_err(), expected.unwrap_err());
    }
}
