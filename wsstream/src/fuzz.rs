//! Bodies of the fuzz targets, also run by plain tests. Each panics when a property does not hold.

mod above;
mod tunnel;

pub use tunnel::tunnel;

use crate::{
    BorrowedEvent, ChannelEvent, Channels, CloseCode, CloseFrame, Config, Connection,
    ConnectionError, DecodeErrorKind, Decoder, Event, Field, Format, Frame, Head, Kind, MaskKeys,
    Offer, Opcode, Opening, PortChannels, PortEvent, Role, Rules, SendError, accept_key, mask,
};
use bytes::{Buf, Bytes, BytesMut};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Instant;

/// Choices out of a fuzzer's bytes; zeroes when they have run out.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn role(choice: bool) -> Role {
    if choice { Role::Server } else { Role::Client }
}

fn config(role: Role) -> Config {
    let mut config = Config::new(role);
    config.keys = MaskKeys::predictable(7);
    config.limits.message = Some(1 << 16);
    config.limits.control = 10_000;
    config
}

/// What a connection makes of bytes: parts joined, so that the way they were cut is not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "for tests")]
pub enum Seen {
    /// A whole message.
    Message(Kind, Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A Close.
    Close(CloseFrame),
}

/// Reads `pieces` as what the peer of `role` sends: whole messages and control frames in order,
/// the error if there was one, and what was begun and not finished.
///
/// # Panics
/// A property does not hold.
pub fn read<'a>(
    role: Role,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Option<ConnectionError>) {
    read_by(config(role), Call::Owned, pieces)
}

/// By which call a connection is read.
#[derive(Clone, Copy)]
enum Call {
    Owned,
    Borrowed,
    /// Both in turn.
    Either,
}

fn read_by<'a>(
    config: Config,
    call: Call,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Option<ConnectionError>) {
    let whole = config.whole;
    // A control frame, or a frame of a message that is told whole.
    let most = if whole { (1 << 16) + 14 } else { 139 };
    let Ok(mut conn) = Connection::new(config) else {
        unreachable!("limits within their ranges");
    };
    let (mut input, mut seen, mut message) = (BytesMut::new(), Vec::new(), Vec::new());
    let mut borrows = matches!(call, Call::Borrowed);
    let now = Instant::now();
    for piece in pieces {
        conn.reserve(&mut input);
        input.extend_from_slice(piece);
        loop {
            let event = if borrows {
                let event = conn.poll_borrowed(now, &mut input);
                let event = event.map(|(taken, event)| (taken, event.map(copied)));
                event.map(|(taken, event)| {
                    input.advance(taken);
                    event
                })
            } else {
                conn.poll_event(now, &mut input)
            };
            borrows ^= matches!(call, Call::Either);
            match event {
                Ok(None) => break,
                Ok(Some(Event::Message {
                    kind,
                    begins,
                    payload,
                    ends,
                })) => {
                    assert!(!begins || message.is_empty(), "a message inside another");
                    assert!(!whole || (begins && ends), "a part");
                    message.extend_from_slice(&payload);
                    assert!(message.len() <= 1 << 16, "over the limit");
                    if ends {
                        let whole = std::mem::take(&mut message);
                        assert!(kind == Kind::Binary || std::str::from_utf8(&whole).is_ok());
                        seen.push(Seen::Message(kind, whole));
                    }
                }
                Ok(Some(Event::Ping(payload))) => seen.push(Seen::Ping(payload.into())),
                Ok(Some(Event::Pong(payload))) => seen.push(Seen::Pong(payload.into())),
                Ok(Some(Event::Closed(frame))) => seen.push(Seen::Close(frame)),
                Err(error) => {
                    assert!(conn.is_done() && !conn.outgoing().is_empty(), "no Close");
                    return (seen, Some(error));
                }
            }
        }
        assert!(input.len() <= most, "more waits than may");
    }
    (seen, None)
}

fn copied(event: BorrowedEvent<'_>) -> Event {
    let copy = |payload: Cow<'_, [u8]>| Bytes::copy_from_slice(&payload);
    match event {
        Event::Message {
            kind,
            begins,
            payload,
            ends,
        } => Event::Message {
            kind,
            begins,
            payload: copy(payload),
            ends,
        },
        Event::Ping(payload) => Event::Ping(copy(payload)),
        Event::Pong(payload) => Event::Pong(copy(payload)),
        Event::Closed(frame) => Event::Closed(frame),
    }
}

/// Z7. Cutting the input changes nothing; unmasking twice gives back what was; a decoder takes
/// something or asks for more.
///
/// # Panics
/// A property does not hold.
pub fn decode(data: &[u8]) {
    let mut choices = Input(data);
    let (server, cut) = (
        choices.flag(),
        usize::from(choices.byte()).saturating_add(1),
    );
    let bytes = choices.0;
    let role = role(server);
    let whole = read(role, std::iter::once(bytes));
    assert_eq!(read(role, bytes.chunks(cut)), whole, "cut at {cut}");
    for call in [Call::Borrowed, Call::Either] {
        let read = read_by(config(role), call, bytes.chunks(cut));
        assert_eq!(read, whole, "borrowed, cut at {cut}");
    }
    for call in [Call::Owned, Call::Borrowed, Call::Either] {
        let mut in_place = config(role);
        in_place.whole = true;
        let (seen, error) = read_by(in_place, call, bytes.chunks(cut));
        assert_eq!(seen, whole.0, "in place, cut at {cut}");
        // That a text is none shows at the end of its frame.
        let late = error.is_none() && whole.1.as_ref().is_some_and(is_utf8);
        assert!(error == whole.1 || late, "{error:?}, not {:?}", whole.1);
    }
    above::decode(role, bytes, cut);

    let mut decoder = Decoder::new(role);
    let mut input = BytesMut::from(bytes);
    loop {
        let before = input.len();
        match decoder.decode(&mut input) {
            Ok(Some(Frame::Control { payload, .. })) => assert!(payload.len() <= 125),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
        assert!(input.len() < before, "a frame of nothing");
    }

    let key = [
        choices.byte(),
        choices.byte(),
        choices.byte(),
        choices.byte(),
    ];
    let offset = u64::from(choices.byte());
    let plain = choices.0;
    let mut twice = plain.to_vec();
    mask::apply(key, offset, &mut twice);
    let mut other = vec![0; plain.len()];
    mask::copy(key, offset, plain, &mut other);
    assert_eq!(twice, other, "copy is apply");
    mask::apply(key, offset, &mut twice);
    assert_eq!(twice, plain, "unmask(mask(x)) is x");
}

fn is_utf8(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Protocol(error) if error.kind == DecodeErrorKind::Utf8)
}

/// Z7, against another implementation: `theirs` reads the same bytes as the peer of `role` sends.
/// What both accept, both must understand alike, and what we accept they must too; `allowed` tells
/// which of our errors they need not share.
///
/// # Panics
/// They disagree.
pub fn differential(
    data: &[u8],
    theirs: impl Fn(Role, &[u8]) -> (Vec<Seen>, Option<String>),
    allowed: impl Fn(&ConnectionError) -> bool,
) {
    let mut choices = Input(data);
    let role = role(choices.flag());
    let bytes = if choices.flag() {
        choices.0.to_vec()
    } else {
        frames(&mut choices, role)
    };
    let (ours, our_error) = read(role, std::iter::once(&bytes[..]));
    let mut rest = bytes.clone();
    if our_error.is_some() {
        // They may need the whole frame to see what is wrong with it.
        rest.resize(bytes.len().saturating_add(160), 0xFF);
    }
    let (other, their_error) = theirs(role, &rest);
    if let Some(Seen::Close(frame)) = ours.last()
        && frame.code == Some(CloseCode::BAD_GATEWAY)
    {
        // In the registry since 2016, and refused by others.
        let before = ours.len().saturating_sub(1);
        assert_eq!(ours.get(..before), other.get(..before), "{bytes:02x?}");
        return;
    }
    let common = ours.len().min(other.len());
    assert_eq!(
        ours.get(..common),
        other.get(..common),
        "both understand, but not alike: {bytes:02x?}"
    );
    // Where we see an error they may wait for the rest of the frame, but not see anything else.
    let agree = match (&our_error, &their_error) {
        (Some(_), _) | (None, None) => ours.len() == other.len(),
        (None, Some(_)) => false,
    };
    assert!(
        agree || our_error.as_ref().is_some_and(allowed),
        "{ours:?} {our_error:?}, but {other:?} {their_error:?}: {bytes:02x?}"
    );
}

/// Mostly sound frames, as the peer of `role` would send them.
fn frames(choices: &mut Input<'_>, role: Role) -> Vec<u8> {
    let mut out = Vec::new();
    while !choices.0.is_empty() {
        let shape = choices.byte();
        let opcode = match shape & 7 {
            0 | 1 => Opcode::Continuation,
            2 => Opcode::Text,
            3 | 4 => Opcode::Binary,
            5 => Opcode::Ping,
            6 => Opcode::Pong,
            _ => Opcode::Close,
        };
        let length = usize::from(choices.byte());
        let payload = choices.bytes(if opcode.is_control() {
            length % 126
        } else {
            length
        });
        let masked = (role == Role::Server) != (shape & 0x40 != 0 && shape & 0x20 != 0);
        let key = masked.then_some([shape, 2, 3, 4]);
        let head = Head {
            fin: shape & 0x10 != 0 || opcode.is_control(),
            opcode,
            mask: key,
            length: u64::try_from(payload.len()).unwrap_or(0),
        };
        let (bytes, n) = head.encode();
        let at = out.len();
        out.extend_from_slice(bytes.get(..n).unwrap_or_default());
        if shape & 0xC0 == 0xC0
            && let Some(first) = out.get_mut(at)
        {
            *first ^= choices.byte();
        }
        let mut payload = payload.to_vec();
        mask::apply(key.unwrap_or_default(), 0, &mut payload);
        out.extend(payload);
    }
    out
}

/// Z8. Heads of both roles: what is accepted passes a checklist written another way.
///
/// # Panics
/// A property does not hold.
pub fn handshake(data: &[u8]) {
    let mut choices = Input(data);
    let (get, http11, status) = (choices.flag(), choices.flag(), choices.byte());
    let method = if get { "GET" } else { "POST" };
    let lines: Vec<(String, &[u8])> = choices
        .0
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|b| *b == b':')?;
            let (name, value) = line.split_at(colon);
            Some((
                String::from_utf8_lossy(name).into_owned(),
                value.get(1..)?.trim_ascii(),
            ))
        })
        .collect();
    let fields: Vec<Field<'_>> = lines.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    let values = |name: &str| -> Vec<String> {
        let lower = |(n, v): &(String, &[u8])| {
            (
                n.to_ascii_lowercase(),
                String::from_utf8_lossy(v).into_owned(),
            )
        };
        lines
            .iter()
            .map(lower)
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v)
            .collect()
    };
    for rules in [Rules::Strict, Rules::Deployed] {
        let Ok(offer) = Offer::read(method, http11, &fields, rules) else {
            continue;
        };
        assert!(get && http11);
        let says =
            |name: &str, token: &str| values(name).join(",").to_ascii_lowercase().contains(token);
        assert!(says("upgrade", "websocket") && says("connection", "upgrade"));
        assert_eq!(
            values("sec-websocket-version").first().map(String::as_str),
            Some("13")
        );
        let keys = values("sec-websocket-key");
        assert_eq!(
            keys.first().and_then(|key| accept_key(key)),
            Some(offer.accept.clone())
        );
        if rules == Rules::Strict {
            assert_eq!(keys.len(), 1);
            let host = values("host").first().map(|h| h.to_ascii_lowercase());
            for origin in values("origin") {
                let origin = origin.to_ascii_lowercase();
                let rest = origin
                    .strip_prefix("https://")
                    .or_else(|| origin.strip_prefix("http://"));
                assert_eq!(rest, host.as_deref());
            }
        }
        for protocol in &offer.protocols {
            assert!(!protocol.contains(',') && protocol.trim() == protocol && !protocol.is_empty());
            let selected = offer.accepted(Some(protocol)).unwrap_or_default();
            assert_eq!(selected.last().map(|(_, v)| v), Some(protocol));
        }
    }
    for offered in [&["v4.channel.k8s.io", "b"][..], &[]] {
        let Ok(opening) = Opening::with_key(*b"0123456789abcdef", offered) else {
            unreachable!("they are names");
        };
        let status = if status < 64 { u16::from(status) } else { 101 };
        if let Ok(selected) = opening.check(status, http11, &fields) {
            assert!(status == 101 && http11);
            let accept = accept_key("MDEyMzQ1Njc4OWFiY2RlZg==");
            assert_eq!(
                values("sec-websocket-accept"),
                accept.into_iter().collect::<Vec<_>>()
            );
            assert_eq!(selected.is_some(), !offered.is_empty());
            assert!(selected.is_none_or(|name| offered.contains(&name.as_str())));
        }
    }
}

/// Moves what waits from one end to the other, cut as the input says. `false`: nothing waited.
fn carry(from: &mut crate::Outgoing, to: &mut BytesMut, n: usize) -> bool {
    let n = n.min(from.remaining());
    to.extend_from_slice(&from.copy_to_bytes(n));
    n > 0
}

/// Z11. Messages on channels: no byte on another channel, none missing, whatever is in them; and
/// any bytes at all as input.
///
/// # Panics
/// A property does not hold.
pub fn channels(data: &[u8]) {
    let mut choices = Input(data);
    let format = if choices.flag() {
        Format::Base64
    } else {
        Format::Binary
    };
    let count = usize::from(choices.byte() % 128);
    let ports: Vec<u16> = (1..=u16::try_from(count).unwrap_or(1)).collect();
    let make = |role| PortChannels::new(config(role), format, &ports);
    let limit = if format == Format::Binary { 127 } else { 40 };
    let (Ok(mut client), Ok(mut server)) = (make(Role::Client), make(Role::Server)) else {
        assert!(count == 0 || count > limit);
        return;
    };
    assert!((1..=limit).contains(&count));
    let mut data_sent = vec![Vec::new(); count];
    let mut errors_sent = vec![Vec::new(); count];
    let mut up_sent = vec![Vec::new(); count];
    let mut told = BTreeSet::new();
    while choices.0.len() > 64 {
        let port = usize::from(choices.byte()).checked_rem(count).unwrap_or(0);
        let shape = choices.byte();
        let bytes = choices.bytes(usize::from(shape >> 2));
        let mut payload = Bytes::copy_from_slice(bytes);
        let (result, list) = match shape & 3 {
            0 => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let result = server.send_error(port, &text);
                if !told.insert(port) {
                    assert_eq!(result, Err(SendError::Port(port)), "once");
                    continue;
                }
                (
                    result,
                    errors_sent.get_mut(port).map(|l| l.extend(text.bytes())),
                )
            }
            1 => (
                client.send(port, &mut payload),
                up_sent.get_mut(port).map(|l| l.extend(bytes)),
            ),
            _ => (
                server.send(port, &mut payload),
                data_sent.get_mut(port).map(|l| l.extend(bytes)),
            ),
        };
        assert!(result.is_ok() && list.is_some(), "{result:?}");
    }
    let beyond = client.send(count, &mut Bytes::new());
    assert_eq!(beyond, Err(SendError::Port(count)));
    let cut = usize::from(choices.byte()).saturating_add(1);
    let mut data_came = vec![Vec::new(); count];
    let mut errors_came = vec![Vec::new(); count];
    let mut up_came = vec![Vec::new(); count];
    let mut ready = 0usize;
    let now = Instant::now();
    let mut wire = BytesMut::new();
    while carry(server.outgoing(), &mut wire, cut) {
        while let Some(event) = expect(client.poll_event(now, &mut wire)) {
            match event {
                PortEvent::Ready(_) => ready = ready.saturating_add(1),
                PortEvent::Data(port, bytes) => extend(&mut data_came, port, &bytes),
                PortEvent::Error(port, bytes) => extend(&mut errors_came, port, &bytes),
                PortEvent::Closed(_) => unreachable!("nobody closed"),
            }
        }
    }
    let mut wire = BytesMut::new();
    while carry(client.outgoing(), &mut wire, cut) {
        while let Some(event) = expect(server.poll_event(now, &mut wire)) {
            if let PortEvent::Data(port, bytes) = event {
                extend(&mut up_came, port, &bytes);
            }
        }
    }
    assert_eq!(
        (data_came, errors_came, up_came),
        (data_sent, errors_sent, up_sent)
    );
    assert_eq!(ready, count);

    // Noise, also behind sound messages: an error or not, no panic, and no byte on a channel
    // that there is not.
    let noise = choices.0;
    let head = Head {
        fin: true,
        opcode: if format == Format::Binary {
            Opcode::Binary
        } else {
            Opcode::Text
        },
        mask: None,
        length: u64::try_from(noise.len()).unwrap_or(0),
    };
    let (bytes, n) = head.encode();
    let mut wire = BytesMut::from(bytes.get(..n).unwrap_or_default());
    wire.extend_from_slice(noise);
    while let Ok(Some(event)) = client.poll_event(now, &mut wire) {
        if let PortEvent::Data(port, _) | PortEvent::Error(port, _) = event {
            assert!(port < count);
        }
    }
    exec(noise, format);
}

/// The exec layer with its signal takes any message.
fn exec(noise: &[u8], format: Format) {
    let (Ok(client), Ok(server)) = (
        Channels::new(config(Role::Client), format),
        Channels::new(config(Role::Server), format),
    ) else {
        unreachable!("limits within their ranges");
    };
    let (mut client, mut server) = (client.with_close_signal(), server.with_close_signal());
    let channel = noise.first().copied().unwrap_or(0);
    let mut payload = Bytes::copy_from_slice(noise);
    let sent = client.send(channel, &mut payload);
    assert_eq!(sent.is_ok(), payload.is_empty() || noise.is_empty());
    assert_eq!(client.close(&CloseFrame::new(CloseCode::NORMAL)), Ok(()));
    let mut wire = BytesMut::new();
    carry(client.outgoing(), &mut wire, usize::MAX);
    let mut came = Vec::new();
    while let Some(event) = expect(server.poll_event(Instant::now(), &mut wire)) {
        if let ChannelEvent::Data {
            channel: on,
            payload,
            ..
        } = event
        {
            assert_eq!(on, channel);
            came.extend_from_slice(&payload);
        }
    }
    assert_eq!(came, if sent.is_ok() { noise } else { &[] });
}

fn expect<T>(result: Result<T, ConnectionError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => unreachable!("{error}"),
    }
}

fn extend(lists: &mut [Vec<u8>], port: usize, bytes: &[u8]) {
    match lists.get_mut(port) {
        Some(list) => list.extend_from_slice(bytes),
        None => unreachable!("port {port}"),
    }
}
