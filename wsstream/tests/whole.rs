//! Messages told whole, received in place.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

use bytes::{Buf, Bytes, BytesMut};
use std::time::Instant;
use wsstream::{
    Config, Connection, ConnectionError, DecodeErrorKind, Event, Head, Kind, MaskKeys, Opcode,
    Role, mask,
};

fn config(role: Role) -> Config {
    let mut config = Config::new(role);
    config.keys = MaskKeys::predictable(1);
    config.whole = true;
    config
}

fn connection(role: Role) -> Connection {
    Connection::new(config(role)).unwrap()
}

/// A frame as the peer of `to` writes it.
fn frame(to: Role, opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let key = (to == Role::Server).then_some([9, 8, 7, 6]);
    let head = Head {
        fin,
        opcode,
        mask: key,
        length: payload.len() as u64,
    };
    let (bytes, n) = head.encode();
    let mut payload = payload.to_vec();
    mask::apply(key.unwrap_or_default(), 0, &mut payload);
    [&bytes[..n], &payload].concat()
}

fn message(kind: Kind, payload: &[u8]) -> Event {
    Event::Message {
        kind,
        begins: true,
        payload: Bytes::copy_from_slice(payload),
        ends: true,
    }
}

fn read<'a>(
    conn: &mut Connection,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Event>, Option<ConnectionError>) {
    let (mut input, mut events) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        conn.reserve(&mut input);
        input.extend_from_slice(piece);
        loop {
            match conn.poll_event(Instant::now(), &mut input) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

/// However the input is cut, messages are whole: in one frame, in several with control frames in between, empty
/// ones, and text that is cut inside a character.
#[test]
fn messages_are_whole_however_they_come() {
    let long: Vec<u8> = (0..=250).cycle().take(300).collect();
    for to in [Role::Server, Role::Client] {
        let wire = [
            frame(to, Opcode::Binary, true, &long),
            frame(to, Opcode::Binary, true, b""),
            frame(to, Opcode::Text, false, "a\u{e4}".as_bytes().split_at(2).0),
            frame(to, Opcode::Ping, true, b"p"),
            frame(to, Opcode::Continuation, false, b""),
            frame(to, Opcode::Continuation, true, b"\xA4b"),
            frame(to, Opcode::Binary, false, &long[..200]),
            frame(to, Opcode::Pong, true, b""),
            frame(to, Opcode::Continuation, true, b""),
            frame(to, Opcode::Text, false, b""),
            frame(to, Opcode::Continuation, true, b""),
            frame(to, Opcode::Binary, false, b""),
            frame(to, Opcode::Continuation, true, &long),
        ]
        .concat();
        let expected = [
            message(Kind::Binary, &long),
            message(Kind::Binary, b""),
            Event::Ping(Bytes::from_static(b"p")),
            message(Kind::Text, "a\u{e4}b".as_bytes()),
            Event::Pong(Bytes::new()),
            message(Kind::Binary, &long[..200]),
            message(Kind::Text, b""),
            message(Kind::Binary, &long),
        ];
        for size in 1..wire.len() {
            let (events, error) = read(&mut connection(to), wire.chunks(size));
            assert_eq!((&events[..], error), (&expected[..], None), "{size}");
        }
        for cut in 0..wire.len() {
            let (a, b) = wire.split_at(cut);
            let (events, error) = read(&mut connection(to), [a, b].into_iter());
            assert_eq!((&events[..], error), (&expected[..], None), "{cut}");
        }
    }
}

/// The limit counts all frames of a message, and its breach shows with the head: nothing waits for the payload.
#[test]
fn the_limit_at_n_and_n_plus_1() {
    for (length, fits) in [(1000, true), (1001, false)] {
        let mut config = config(Role::Client);
        config.limits.message = Some(1000);
        let mut conn = Connection::new(config).unwrap();
        let first = frame(Role::Client, Opcode::Binary, false, &[7; 600]);
        let last = frame(
            Role::Client,
            Opcode::Continuation,
            true,
            &vec![7; length - 600],
        );
        let (events, error) = read(&mut conn, [&first[..], &last[..4]].into_iter());
        assert!(events.is_empty());
        let kind = match error {
            None => None,
            Some(ConnectionError::Protocol(error)) => Some(error.kind().clone()),
            Some(error) => panic!("{error}"),
        };
        let expected = (!fits).then_some(DecodeErrorKind::MessageTooBig(1000));
        assert_eq!(kind, expected);
        if fits {
            let (events, error) = read(&mut conn, [&last[4..]].into_iter());
            let whole = message(Kind::Binary, &vec![7; length]);
            assert_eq!((&events[..], error), (&[whole][..], None));
        }
    }
    let mut config = config(Role::Client);
    config.limits.message = None;
    let error = Connection::new(config).unwrap_err();
    assert_eq!(error.name, "message");
}

/// A message of 1 MiB is received where it is handed out, and the next one in the same place. Room is never made for more
/// than has come and a read's.
#[test]
fn received_in_place() {
    const MIB: usize = 1 << 20;
    let wire = frame(Role::Server, Opcode::Binary, true, &vec![7; MIB]);
    let mut conn = connection(Role::Server);
    let mut input = BytesMut::new();
    let mut rest = wire.repeat(5).into_iter().collect::<Bytes>();
    let (mut places, mut behind_head) = (Vec::new(), true);
    while !rest.is_empty() {
        let before = input.len();
        let n = conn.reserve(&mut input).min(rest.len());
        let room = input.capacity();
        // The buffer doubles when it grows.
        let most = 2 * (before + (64 << 10));
        assert!(room <= most || !places.is_empty(), "{room} of {before}");
        assert!(n <= room - before && n > 0);
        input.extend_from_slice(&rest.split_to(n));
        let place = input.as_ptr();
        while let Some(event) = conn.poll_event(Instant::now(), &mut input).unwrap() {
            let Event::Message { payload, .. } = event else {
                panic!("{event:?}");
            };
            assert!(payload.iter().all(|b| *b == 7));
            behind_head &= (0..=14).any(|n| place.wrapping_add(n) == payload.as_ptr());
            places.push(payload.as_ptr());
        }
    }
    assert_eq!(places.len(), 5);
    assert!(behind_head, "moved when it was complete");
    let again = places[1..].iter().filter(|place| **place == places[1]);
    assert!(again.count() >= 3, "{places:?}");
}

/// A length alone makes no room.
#[test]
fn a_declared_length_allocates_nothing() {
    let mut config = config(Role::Client);
    config.limits.message = Some(1 << 30);
    let mut conn = Connection::new(config).unwrap();
    let head = [&[0x82, 127][..], &(1_u64 << 30).to_be_bytes()].concat();
    let mut input = BytesMut::from(&head[..]);
    assert_eq!(conn.poll_event(Instant::now(), &mut input), Ok(None));
    conn.reserve(&mut input);
    assert!(input.capacity() <= 128 << 10, "{}", input.capacity());
    input.extend_from_slice(&[7; 1000]);
    assert_eq!(conn.poll_event(Instant::now(), &mut input), Ok(None));
    assert_eq!(conn.end_of_input(&input), Err(ConnectionError::Cut));
}

#[test]
fn debug_tells_no_payload() {
    let mut conn = connection(Role::Client);
    let wire = frame(Role::Client, Opcode::Binary, false, b"secret");
    assert_eq!(read(&mut conn, [&wire[..]].into_iter()), (vec![], None));
    let shown = format!("{conn:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("115, 101"),
        "{shown}"
    );
    assert!(!conn.outgoing().has_remaining());
}

/// Nor do reads of a few bytes make more than four times the room that they need.
#[test]
fn trickled_bytes_make_little_room() {
    let mut config = config(Role::Client);
    config.limits.message = Some(64 << 20);
    let mut conn = Connection::new(config).unwrap();
    let head = [&[0x82, 127][..], &(64_u64 << 20).to_be_bytes()].concat();
    let mut input = BytesMut::from(&head[..]);
    while input.len() < 4 << 20 {
        assert_eq!(conn.poll_event(Instant::now(), &mut input), Ok(None));
        conn.reserve(&mut input);
        let most = 4 * input.len().max(64 << 10);
        assert!(
            input.capacity() <= most,
            "{} of {}",
            input.capacity(),
            input.len()
        );
        input.extend_from_slice(&[7; 1000]);
    }
}
