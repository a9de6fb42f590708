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
    ChannelEvent, Channels, CloseCode, CloseFrame, Config, ConnectionError, DecodeErrorKind,
    Format, Head, MaskKeys, Opcode, PortChannels, PortEvent, PortsError, Read, Role, SendError,
    Tunnel,
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
        assert_eq!(
            server.send(3, &mut Bytes::new()),
            Err(SendError::Channel(255))
        );
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
        (Format::Binary, bin(b"\x02\x50\x00"), E::Channel, 1002),
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
    for bad in [&b"\xFF"[..], b"\xFF\x00\x01"] {
        let mut client = make(Role::Client);
        let mut input = BytesMut::from(&server_frame(Opcode::Binary, true, bad)[..]);
        assert!(
            client.poll_event(Instant::now(), &mut input).is_err(),
            "{bad:?}"
        );
    }
    // Without it 255 is a channel like others, and there is no signal.
    let mut plain = Channels::new(config(Role::Client), Format::Binary).unwrap();
    assert_eq!(plain.close_channel(0), Err(SendError::Channel(255)));
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
