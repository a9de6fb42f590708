//! Channels and tunnel from outside, with the bytes that PROTOCOL.md 4 and 5 measured.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    clippy::type_complexity,
    reason = "a test"
)]

use bytes::{Buf, Bytes, BytesMut};
use std::time::Instant;
use wsstream::{
    ChannelEvent, Channels, CloseCode, CloseFrame, Config, Connection, ConnectionError,
    DecodeErrorKind, Format, Head, Kind, MaskKeys, Opcode, PortChannels, PortEvent, PortsError,
    Read, Role, SendError, Tunnel,
};

use DecodeErrorKind as E;

fn config(role: Role) -> Config {
    let mut config = Config::new(role);
    config.keys = MaskKeys::predictable(1);
    config
}

fn take(outgoing: &mut wsstream::Outgoing) -> BytesMut {
    let n = outgoing.remaining();
    BytesMut::from(&*outgoing.copy_to_bytes(n))
}

fn server_frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let head = Head {
        fin,
        opcode,
        mask: None,
        length: payload.len() as u64,
    };
    let (bytes, n) = head.encode();
    [&bytes[..n], payload].concat()
}

fn poll(ports: &mut PortChannels, input: &[u8]) -> Result<Vec<PortEvent>, ConnectionError> {
    let (mut input, mut events) = (BytesMut::from(input), Vec::new());
    while let Some(event) = ports.poll_event(Instant::now(), &mut input)? {
        events.push(event);
    }
    Ok(events)
}

/// PROTOCOL.md 4.2: `82 03 00 50 00`, `82 03 01 50 00`, and in base64 `81 05 "0UAA="`.
#[test]
fn the_first_messages_of_a_server_are_those_measured() {
    let mut binary = PortChannels::new(config(Role::Server), Format::Binary, &[80]).unwrap();
    let wire = take(binary.outgoing());
    assert_eq!(&wire[..], b"\x82\x03\x00\x50\x00\x82\x03\x01\x50\x00");
    let mut base64 = PortChannels::new(config(Role::Server), Format::Base64, &[80]).unwrap();
    assert_eq!(&take(base64.outgoing())[..], b"\x81\x050UAA=\x81\x051UAA=");
}

#[test]
fn ports_there_and_back() {
    for format in [Format::Binary, Format::Base64] {
        let ports = [80, 65535, 80];
        let mut server = PortChannels::new(config(Role::Server), format, &ports).unwrap();
        let mut client = PortChannels::new(config(Role::Client), format, &ports).unwrap();
        server.send(1, &mut Bytes::from_static(b"data")).unwrap();
        server.send_error(2, "refused").unwrap();
        let events = poll(&mut client, &take(server.outgoing())).unwrap();
        assert_eq!(
            events,
            [
                PortEvent::Ready(0),
                PortEvent::Ready(1),
                PortEvent::Ready(2),
                PortEvent::Data(1, Bytes::from_static(b"data")),
                PortEvent::Error(2, Bytes::from_static(b"refused")),
            ]
        );
        let mut payload = Bytes::from_static(b"up");
        client.send(2, &mut payload).unwrap();
        assert!(payload.is_empty());
        client.close(&CloseFrame::default()).unwrap();
        let events = poll(&mut server, &take(client.outgoing())).unwrap();
        assert_eq!(
            events,
            [
                PortEvent::Data(2, Bytes::from_static(b"up")),
                PortEvent::Closed(CloseFrame::default())
            ]
        );
        assert_eq!(server.send(3, &mut Bytes::new()), Err(SendError::Port(3)));
        // Why a port failed is a server's to say, once.
        assert_eq!(server.send_error(2, "again"), Err(SendError::Port(2)));
        assert_eq!(client.send_error(0, "me too"), Err(SendError::Port(0)));
    }
}

#[test]
fn as_many_ports_as_channels_can_be_named() {
    let ports = |n: usize| vec![1u16; n];
    for (format, limit) in [(Format::Binary, 127), (Format::Base64, 40)] {
        let mut server = PortChannels::new(config(Role::Server), format, &ports(limit)).unwrap();
        let mut client = PortChannels::new(config(Role::Client), format, &ports(limit)).unwrap();
        server
            .send(limit - 1, &mut Bytes::from_static(b"last"))
            .unwrap();
        let events = poll(&mut client, &take(server.outgoing())).unwrap();
        assert_eq!(
            events.last(),
            Some(&PortEvent::Data(limit - 1, Bytes::from_static(b"last")))
        );
        for n in [0, limit + 1] {
            let found = PortChannels::new(config(Role::Client), format, &ports(n));
            assert_eq!(found.unwrap_err(), PortsError::Count(limit));
        }
    }
    let zero = PortChannels::new(config(Role::Client), Format::Binary, &[0]);
    assert_eq!(zero.unwrap_err(), PortsError::Zero);
}

#[test]
fn a_server_must_begin_with_the_ports() {
    let bin = |payload: &[u8]| server_frame(Opcode::Binary, true, payload);
    let text = |payload: &[u8]| server_frame(Opcode::Text, true, payload);
    let table: Vec<(Format, Vec<u8>, E, u16)> = vec![
        (
            Format::Binary,
            bin(b"\x00\x51\x00"),
            E::PortMismatch(80, 81),
            1002,
        ),
        (Format::Binary, bin(b"\x00\x50"), E::PortPrefix(1), 1002),
        (
            Format::Binary,
            bin(b"\x01\x50\x00x"),
            E::PortPrefix(3),
            1002,
        ),
        (
            Format::Binary,
            bin(b"\x02\x50\x00"),
            E::UnknownChannel(2),
            1002,
        ),
        (Format::Binary, text(b"0UAA="), E::MessageType, 1003),
        (Format::Base64, bin(b"\x00\x50\x00"), E::MessageType, 1003),
        (Format::Base64, text(b"0UAAB"), E::PortPrefix(3), 1002),
        (Format::Base64, text(b"0UA"), E::Base64, 1007),
        (Format::Base64, text(b"0U$A="), E::Base64, 1007),
        (Format::Base64, text(b"0UA=="), E::PortPrefix(1), 1002),
        (Format::Base64, text(b"/UAA="), E::Channel, 1002),
    ];
    for (format, input, kind, code) in table {
        let mut client = PortChannels::new(config(Role::Client), format, &[80]).unwrap();
        let error = poll(&mut client, &input).unwrap_err();
        assert_eq!(
            error.close_code().map(CloseCode::get),
            Some(code),
            "{kind:?}"
        );
        match error {
            ConnectionError::Protocol(error) => assert_eq!(*error.kind(), kind),
            other => panic!("{other}"),
        }
    }
    // An empty message is passed over, as by real servers and clients.
    let mut client = PortChannels::new(config(Role::Client), Format::Binary, &[80]).unwrap();
    let input = [
        bin(b""),
        bin(b"\x00\x50\x00"),
        bin(b"\x01\x50\x00"),
        bin(b"\x00"),
    ]
    .concat();
    assert_eq!(poll(&mut client, &input), Ok(vec![PortEvent::Ready(0)]));
}

/// A Close before the ports were named, or inside a message, is no end of a stream: of a pod's to the client, of
/// a client's to the pod.
#[test]
fn a_close_that_comes_too_early_is_an_error() {
    let frame = |opcode, fin, payload: &[u8]| server_frame(opcode, fin, payload);
    let close = frame(Opcode::Close, true, &1000u16.to_be_bytes());
    let half = frame(Opcode::Binary, false, b"\x00half");
    let prefixes = b"\x82\x03\x00\x50\x00\x82\x03\x01\x50\x00".to_vec();
    let ports = |input: &[&[u8]]| {
        let mut client = PortChannels::new(config(Role::Client), Format::Binary, &[80]).unwrap();
        poll(&mut client, &input.concat())
    };
    let early = ConnectionError::Closed(CloseFrame::new(CloseCode::NORMAL));
    assert_eq!(ports(&[&close]), Err(early.clone()));
    assert_eq!(ports(&[&prefixes[..5], &close]), Err(early));
    assert_eq!(
        ports(&[&prefixes, &half, &close]),
        Err(ConnectionError::Cut)
    );
    assert!(ports(&[&prefixes, &close]).is_ok());
    let mut client = Connection::new(config(Role::Client)).unwrap();
    client
        .send(Kind::Binary, &mut Bytes::from_static(b"\x00half"), false)
        .unwrap();
    client.close(&CloseFrame::new(CloseCode::NORMAL)).unwrap();
    let mut server = PortChannels::new(config(Role::Server), Format::Binary, &[80]).unwrap();
    let seen = poll(&mut server, &take(client.outgoing()));
    assert_eq!(seen, Err(ConnectionError::Cut));
    for (code, wanted) in [
        (1000, ConnectionError::Cut),
        (
            1011,
            ConnectionError::Closed(CloseFrame::new(CloseCode::INTERNAL)),
        ),
    ] {
        let close = frame(Opcode::Close, true, &u16::to_be_bytes(code));
        let mut tunnel = Tunnel::new(config(Role::Client)).unwrap();
        let mut input = BytesMut::from(&[&half[..], &close].concat()[..]);
        let mut next = || tunnel.poll_read(Instant::now(), &mut input);
        assert_eq!(
            next(),
            Ok(Some(Read::Bytes(Bytes::from_static(b"\x00half"))))
        );
        assert_eq!(next(), Err(wanted.clone()));
        assert_eq!(next(), Err(wanted));
    }
}

/// Whatever the limit: without its prefix a channel's first bytes would be taken for one.
#[test]
fn prefixes_do_not_count_against_the_limit() {
    let mut config = config(Role::Server);
    config.limits.outgoing = 5;
    let ports: Vec<u16> = (1..=127).collect();
    let mut server = PortChannels::new(config, Format::Binary, &ports).unwrap();
    assert_eq!(
        server.send(0, &mut Bytes::from_static(b"x")),
        Err(SendError::Full)
    );
    assert_eq!(take(server.outgoing()).len(), 127 * 10);
    assert_eq!(server.send(0, &mut Bytes::from_static(b"x")), Ok(()));
}

/// The frame that is wrong, however the bytes came.
#[test]
fn the_offset_of_what_a_subprotocol_refuses() {
    let good = server_frame(Opcode::Binary, true, b"sane");
    let bad = server_frame(Opcode::Text, true, b"text");
    let whole = [&good[..], &bad].concat();
    for cut in [1, 5, whole.len()] {
        let mut tunnel = Tunnel::new(config(Role::Client)).unwrap();
        let mut input = BytesMut::new();
        let error = whole.chunks(cut).find_map(|piece| {
            input.extend_from_slice(piece);
            while let Some(read) = tunnel.poll_read(Instant::now(), &mut input).transpose() {
                if let Err(error) = read {
                    return Some(error);
                }
            }
            None
        });
        let Some(ConnectionError::Protocol(error)) = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            (error.offset(), error.kind()),
            (6, &E::MessageType),
            "{cut}"
        );
    }
}

/// PROTOCOL.md 4.2: what a real server does with what it has no use for.
#[test]
fn a_server_passes_over_what_it_does_not_know() {
    let mut client = Channels::new(config(Role::Client), Format::Binary).unwrap();
    for (channel, payload) in [
        (1, "to an error channel"),
        (2, "beyond"),
        (255, "close?"),
        (0, ""),
        (0, "kept"),
    ] {
        client.send(channel, &mut payload.into()).unwrap();
    }
    let mut server = PortChannels::new(config(Role::Server), Format::Binary, &[80]).unwrap();
    let events = poll(&mut server, &take(client.outgoing()));
    assert_eq!(
        events,
        Ok(vec![PortEvent::Data(0, Bytes::from_static(b"kept"))])
    );
}

#[test]
fn exec_channels_with_the_close_signal() {
    let make = |role| {
        Channels::new(config(role), Format::Binary)
            .unwrap()
            .with_close_signal()
    };
    let (mut client, mut server) = (make(Role::Client), make(Role::Server));
    client
        .send(wsstream::exec::STDIN, &mut Bytes::from_static(b"ls\n"))
        .unwrap();
    client.close_channel(wsstream::exec::STDIN).unwrap();
    assert_eq!(
        client.send(255, &mut Bytes::new()),
        Err(SendError::Channel(255))
    );
    let mut input = take(client.outgoing());
    let mut next = || server.poll_event(Instant::now(), &mut input).unwrap();
    let data = ChannelEvent::Data {
        channel: 0,
        begins: true,
        payload: Bytes::from_static(b"ls\n"),
        ends: true,
    };
    assert_eq!(next(), Some(data));
    assert_eq!(next(), Some(ChannelEvent::ChannelClosed(0)));
    assert_eq!(next(), None);
    assert_eq!(client.close_channel(255), Err(SendError::Channel(255)));
    assert_eq!(client.close_channel(0), Err(SendError::Channel(0)));
    let late = client.send(0, &mut Bytes::from_static(b"late"));
    assert_eq!(late, Err(SendError::Channel(0)));
    for (bad, kind) in [
        (vec![&b"\xFF"[..]], E::CloseSignal),
        (vec![b"\xFF\x00\x01"], E::CloseSignal),
        (vec![b"\xFF\xFF"], E::CloseSignal),
        (vec![b"\xFF\x00", b"\xFF\x00"], E::CloseSignal),
        (
            vec![b"\xFF\x00", b"\x01fine", b"\x00more"],
            E::ChannelOver(0),
        ),
    ] {
        let mut client = make(Role::Client);
        let frames = bad
            .iter()
            .map(|one| server_frame(Opcode::Binary, true, one));
        let mut input = BytesMut::from(&frames.collect::<Vec<_>>().concat()[..]);
        let error = loop {
            match client.poll_event(Instant::now(), &mut input) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{bad:?} passes"),
                Err(ConnectionError::Protocol(error)) => break error,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(*error.kind(), kind, "{bad:?}");
    }
    // Without it 255 is a channel like others, and there is no signal.
    let mut plain = Channels::new(config(Role::Client), Format::Binary).unwrap();
    assert_eq!(plain.close_channel(0), Err(SendError::NoCloseSignal));
    assert_eq!(plain.send(255, &mut Bytes::new()), Ok(()));
    let mut base64 = Channels::new(config(Role::Client), Format::Base64).unwrap();
    assert_eq!(
        base64.send(80, &mut Bytes::new()),
        Err(SendError::Channel(80))
    );
}

fn read_all(tunnel: &mut Tunnel, input: &[u8]) -> (Vec<u8>, Result<bool, ConnectionError>) {
    let (mut input, mut bytes) = (BytesMut::from(input), Vec::new());
    loop {
        match tunnel.poll_read(Instant::now(), &mut input) {
            Ok(Some(Read::Bytes(more))) => {
                assert!(!more.is_empty());
                bytes.extend_from_slice(&more);
            }
            Ok(Some(Read::End)) => return (bytes, Ok(true)),
            Ok(None) => return (bytes, Ok(false)),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

/// PROTOCOL.md 5.3: `02 7e 2ee0 <12000 bytes>` and then `80 00`.
#[test]
fn the_shapes_of_a_real_gateway_are_one_stream() {
    let big = vec![7; 12_000];
    let f = server_frame;
    let input = [
        f(Opcode::Binary, false, &big),
        f(Opcode::Continuation, true, b""),
        f(Opcode::Binary, true, b""),
        f(Opcode::Ping, true, b"p"),
        f(Opcode::Binary, false, b"ab"),
        f(Opcode::Continuation, true, b"c"),
        f(Opcode::Close, true, &[3, 0xE8]),
    ]
    .concat();
    assert_eq!(input[..4], [0x02, 0x7E, 0x2E, 0xE0]);
    let mut tunnel = Tunnel::new(Config::stream(Role::Client)).unwrap();
    let (bytes, end) = read_all(&mut tunnel, &input);
    assert_eq!(bytes, [&big[..], b"abc"].concat());
    assert_eq!(end, Ok(true));
    assert_eq!(tunnel.end_of_input(b""), Ok(()));
    assert!(tunnel.is_done());
}

#[test]
fn nothing_but_close_1000_is_the_end() {
    let close = |payload: &[u8]| server_frame(Opcode::Close, true, payload);
    for (input, echo) in [
        (close(&[]), vec![0x88, 0x80]),
        (close(&[3, 0xF3]), vec![0x88, 0x82]),
        (close(&[3, 0xE9]), vec![0x88, 0x82]),
    ] {
        let mut tunnel = Tunnel::new(Config::stream(Role::Client)).unwrap();
        let (_, end) = read_all(&mut tunnel, &input);
        assert!(matches!(end, Err(ConnectionError::Closed(_))), "{end:?}");
        assert_eq!(take(tunnel.outgoing())[..2], echo[..]);
        assert!(tunnel.end_of_input(b"").is_err());
    }
    let mut tunnel = Tunnel::new(Config::stream(Role::Client)).unwrap();
    let (bytes, end) = read_all(
        &mut tunnel,
        &[
            server_frame(Opcode::Binary, true, b"x"),
            server_frame(Opcode::Text, true, b""),
        ]
        .concat(),
    );
    assert_eq!(bytes, b"x");
    let error = end.unwrap_err();
    assert_eq!(error.close_code(), Some(CloseCode::UNSUPPORTED));
    let mut tunnel = Tunnel::new(Config::stream(Role::Client)).unwrap();
    assert_eq!(tunnel.end_of_input(b""), Err(ConnectionError::Eof));
}

#[test]
fn many_small_writes_are_one_message() {
    let mut client = Tunnel::new(Config::stream(Role::Client)).unwrap();
    let mut pieces = (&b"ab"[..]).chain(&b"cd"[..]).chain(&b"efgh"[..]);
    client.write(&mut pieces, 6).unwrap();
    client.write(&mut pieces, 100).unwrap();
    client.write(&mut pieces, 100).unwrap();
    let wire = take(client.outgoing());
    assert_eq!(wire.len(), 6 + 6 + 6 + 2, "two messages, none for nothing");
    client.finish().unwrap();
    let mut server = Tunnel::new(Config::stream(Role::Server)).unwrap();
    let whole = [&wire[..], &take(client.outgoing())].concat();
    assert_eq!(
        read_all(&mut server, &whole),
        (b"abcdefgh".to_vec(), Ok(true))
    );
    assert_eq!(client.write(&mut &b"x"[..], 1), Err(SendError::Closed));
}
