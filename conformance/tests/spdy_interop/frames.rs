//! Frames as lines of JSON, the same for all peers, and the list of those that are tried.

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};
use spdy::{
    Data, Decoder, Dialect, Encoder, Frame, GoAway, GoAwayStatus, HeaderBlock, HeaderEncoding,
    Headers, Limits, Ping, RstStatus, RstStream, Setting, Settings, StreamId, SynReply, SynStream,
    WindowUpdate,
};

/// Both ways in which we write header blocks.
pub(crate) const ENCODINGS: [HeaderEncoding; 2] =
    [HeaderEncoding::Stored, HeaderEncoding::Deflate(6)];

/// One frame to be tried.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) frame: Frame,
}

fn id(n: u32) -> StreamId {
    StreamId::new(n).unwrap_or_else(|| unreachable!("a stream id"))
}

/// What every SYN_STREAM of the list says at least: one peer takes none without.
pub(crate) const REQUEST: [(&str, &str); 2] = [(":method", "POST"), (":path", "/")];

/// The list.
pub(crate) fn cases() -> Vec<Case> {
    let mut list = Vec::new();
    let mut add = |name: &str, frame| {
        let name = name.to_owned();
        list.push(Case { name, frame });
    };
    let block = |more: &[(&str, &str)]| {
        let mut block: HeaderBlock = REQUEST.into_iter().collect();
        for (name, value) in more {
            block.push(name, value);
        }
        block
    };
    let few = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<HeaderBlock>();
    let syn = |n, headers| SynStream {
        id: id(n),
        associated: 0,
        priority: 0,
        slot: 0,
        fin: false,
        unidirectional: false,
        headers,
    };

    add("syn", Frame::SynStream(syn(1, block(&[("port", "8080")]))));
    for priority in 1..8 {
        let frame = SynStream {
            priority,
            ..syn(1 + 2 * u32::from(priority), block(&[("port", "8080")]))
        };
        add(&format!("syn priority {priority}"), Frame::SynStream(frame));
    }
    let fin = SynStream {
        fin: true,
        ..syn(17, block(&[]))
    };
    add("syn fin", Frame::SynStream(fin.clone()));
    let unidirectional = SynStream {
        unidirectional: true,
        ..syn(19, block(&[]))
    };
    add("syn unidirectional", Frame::SynStream(unidirectional));
    let both = SynStream {
        id: id(21),
        unidirectional: true,
        ..fin
    };
    add("syn fin unidirectional", Frame::SynStream(both));
    let slot = SynStream {
        slot: 9,
        ..syn(23, block(&[]))
    };
    add("syn slot", Frame::SynStream(slot));
    let associated = SynStream {
        associated: 1,
        unidirectional: true,
        ..syn(2, block(&[(":status", "200"), ("pushed", "yes")]))
    };
    add("syn associated", Frame::SynStream(associated));
    let top = syn(StreamId::MAX, block(&[]));
    add("syn top id", Frame::SynStream(top));

    // Blocks that share the context, and every shape of them.
    for (n, name) in [(101, "again"), (103, "and again")] {
        let headers = block(&[("streamtype", "data"), ("port", "8080"), ("requestid", "0")]);
        add(&format!("block {name}"), Frame::SynStream(syn(n, headers)));
    }
    add(
        "block empty value",
        Frame::SynStream(syn(105, block(&[("empty", "")]))),
    );
    let several = block(&[("several", "one\0two\0three")]);
    add("block several values", Frame::SynStream(syn(107, several)));
    let value = "v".repeat(8 << 10);
    add(
        "block long value",
        Frame::SynStream(syn(109, block(&[("long", &value)]))),
    );
    // Nothing in it repeats, so no deflate makes it much shorter.
    let mut state = 1u64;
    let value: String = (0..2048)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            char::from(b"0123456789abcdef"[(state >> 60) as usize])
        })
        .collect();
    add(
        "block dense value",
        Frame::SynStream(syn(111, block(&[("dense", &value)]))),
    );
    let mut many = block(&[]);
    (2..64).for_each(|i| many.push(&format!("name-{i}"), format!("value {i}")));
    add("block 64 pairs", Frame::SynStream(syn(113, many)));
    add(
        "block not ascii",
        Frame::SynStream(syn(115, block(&[("place", "Zürich")]))),
    );

    let reply = |n, fin, headers| {
        Frame::SynReply(SynReply {
            id: id(n),
            fin,
            headers,
        })
    };
    let ok = few(&[(":status", "200"), (":version", "HTTP/1.1")]);
    add("reply", reply(1, false, ok.clone()));
    add("reply empty block", reply(3, false, HeaderBlock::new()));
    add(
        "reply empty block again",
        reply(5, false, HeaderBlock::new()),
    );
    add("reply fin", reply(7, true, ok));

    let more = |n, fin, headers| {
        Frame::Headers(Headers {
            id: id(n),
            fin,
            headers,
        })
    };
    add("headers", more(1, false, few(&[("x-more", "yes")])));
    add("headers fin", more(1, true, few(&[("x-more", "yes")])));

    for status in (1..=11).chain([99]) {
        let status = RstStatus::from_u32(status);
        let frame = Frame::RstStream(RstStream { id: id(1), status });
        add(&format!("reset {}", status.get()), frame);
    }
    let settings = |clear, entries: &[(u8, u32, u32)]| {
        let entries = entries.iter().map(|(flags, id, value)| Setting {
            flags: *flags,
            id: *id,
            value: *value,
        });
        let entries = entries.collect();
        Frame::Settings(Settings { clear, entries })
    };
    add("settings", settings(false, &[(0, 4, 100), (0, 7, 65_536)]));
    add(
        "settings persist",
        settings(false, &[(1, 4, 1000), (1, 7, 1 << 20)]),
    );
    add(
        "settings persisted",
        settings(false, &[(2, 4, 7), (0, 7, 1 << 20)]),
    );
    add("settings clear", settings(true, &[(0, 7, 65_536)]));
    add("settings none", settings(false, &[]));
    for n in [1, 2, 0x7fff_ffff] {
        add(&format!("ping {n}"), Frame::Ping(Ping { id: n }));
    }
    for (last_good, status) in [(0, 0), (7, 1), (StreamId::MAX, 2)] {
        let status = GoAwayStatus::from_u32(status);
        let frame = Frame::GoAway(GoAway { last_good, status });
        add(&format!("goaway {}", status.get()), frame);
    }
    for (id, delta) in [(0, 65_536), (1, 1), (3, 0x7fff_ffff)] {
        let frame = Frame::WindowUpdate(WindowUpdate { id, delta });
        add(&format!("window update {id}"), frame);
    }
    for (name, length, fin) in [
        ("data empty", 0usize, false),
        ("data empty fin", 0, true),
        ("data 1", 1, false),
        ("data 64 KiB", 64 << 10, false),
        ("data fin", 5, true),
    ] {
        let payload = (0..length).map(|i| u8::try_from(i % 251).unwrap_or(0));
        let data = Data {
            id: id(1),
            payload: payload.collect(),
            remaining: 0,
            fin,
            flags: 0,
        };
        add(name, Frame::Data(data));
    }
    list
}

/// The list without names that begin with a colon, which one peer has no words for.
pub(crate) fn cases_without_colons() -> Vec<Case> {
    let plain = |block: &HeaderBlock| {
        let name = |name| String::from_utf8_lossy(name).replacen(':', "x-", 1);
        block.iter().map(|(n, v)| (name(n), v)).collect()
    };
    let mut list = cases();
    for case in &mut list {
        match &mut case.frame {
            Frame::SynStream(f) => f.headers = plain(&f.headers),
            Frame::SynReply(f) => f.headers = plain(&f.headers),
            Frame::Headers(f) => f.headers = plain(&f.headers),
            _ => {}
        }
    }
    list
}

/// Frames to bytes.
pub(crate) fn encode<'a>(
    encoding: HeaderEncoding,
    frames: impl IntoIterator<Item = &'a Frame>,
) -> anyhow::Result<BytesMut> {
    let mut encoder = Encoder::new(encoding, &Limits::default());
    let mut bytes = BytesMut::new();
    for frame in frames {
        encoder.encode(frame, &mut bytes)?;
    }
    Ok(bytes)
}

/// Bytes to frames, `chunk` bytes at a time; pieces of DATA are put together.
pub(crate) fn decode(dialect: Dialect, bytes: &[u8], chunk: usize) -> anyhow::Result<Vec<Frame>> {
    decode_parts(dialect, &bytes.chunks(chunk).collect::<Vec<_>>())
}

/// The same, the bytes coming in these parts.
pub(crate) fn decode_parts(dialect: Dialect, parts: &[&[u8]]) -> anyhow::Result<Vec<Frame>> {
    let mut limits = Limits::default();
    // A peer adds some of its own to the 64 it is asked for.
    limits.header_pairs = 80;
    let mut decoder = Decoder::with_dialect(dialect, limits);
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    let mut begun: Option<(Data, Vec<u8>)> = None;
    for part in parts {
        input.extend_from_slice(part);
        while let Some(frame) = decoder.decode(&mut input)? {
            let Frame::Data(piece) = frame else {
                frames.push(frame);
                continue;
            };
            let (mut data, mut payload) =
                begun.take().unwrap_or_else(|| (piece.clone(), Vec::new()));
            payload.extend_from_slice(&piece.payload);
            if piece.remaining > 0 {
                begun = Some((data, payload));
                continue;
            }
            data.remaining = 0;
            data.payload = Bytes::from(payload);
            frames.push(Frame::Data(data));
        }
    }
    if !input.is_empty() || begun.is_some() || !decoder.is_between_frames() {
        bail!("the bytes end within a frame");
    }
    Ok(frames)
}

fn pairs(block: &HeaderBlock) -> Value {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let pairs = block.iter().map(|(n, v)| (text(n), Value::from(text(v))));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// A frame's line.
pub(crate) fn line(frame: &Frame) -> Value {
    match frame {
        Frame::SynStream(f) => json!({
            "type": "SYN_STREAM", "id": f.id.get(), "associated": f.associated, "priority": f.priority,
            "slot": f.slot, "fin": f.fin, "unidirectional": f.unidirectional, "headers": pairs(&f.headers),
        }),
        Frame::SynReply(f) => {
            json!({"type": "SYN_REPLY", "id": f.id.get(), "fin": f.fin, "headers": pairs(&f.headers)})
        }
        Frame::Headers(f) => {
            json!({"type": "HEADERS", "id": f.id.get(), "fin": f.fin, "headers": pairs(&f.headers)})
        }
        Frame::RstStream(f) => {
            json!({"type": "RST_STREAM", "id": f.id.get(), "status": f.status.get()})
        }
        Frame::Settings(f) => {
            let entries = f.entries.iter().map(|e| json!([e.flags, e.id, e.value]));
            json!({"type": "SETTINGS", "clear": f.clear, "entries": entries.collect::<Vec<_>>()})
        }
        Frame::Ping(f) => json!({"type": "PING", "id": f.id}),
        Frame::GoAway(f) => {
            json!({"type": "GOAWAY", "last": f.last_good, "status": f.status.get()})
        }
        Frame::WindowUpdate(f) => json!({"type": "WINDOW_UPDATE", "id": f.id, "delta": f.delta}),
        Frame::Data(f) => {
            json!({"type": "DATA", "id": f.id.get(), "fin": f.fin, "data": hex(&f.payload)})
        }
        other => json!({"error": format!("{other:?}")}),
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

/// Lines of JSON.
pub(crate) fn parse(output: &[u8]) -> anyhow::Result<Vec<Value>> {
    let lines = output.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    lines
        .map(|l| serde_json::from_slice(l).with_context(|| String::from_utf8_lossy(l).into_owned()))
        .collect()
}
