//! Frames and header blocks.

use super::{Input, require};
use crate::header::Deflater;
use crate::{
    Data, Decoder, Encoder, Frame, GoAway, GoAwayStatus, HeaderBlock, HeaderEncoding, Headers,
    Inflater, Limits, Ping, RstStatus, RstStream, Setting, Settings, StreamId, SynReply, SynStream,
    Unknown, WindowUpdate,
};
use bytes::{Bytes, BytesMut};

/// Frames until the end or the first error, DATA pieces joined.
fn decode_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<String>) {
    let mut decoder = Decoder::new(Limits::default());
    let (mut input, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => join(&mut frames, frame),
                Ok(None) => break,
                Err(e) => {
                    require(
                        decoder.decode(&mut input).is_err_and(|again| again == e),
                        "an error sticks",
                    );
                    return (frames, Some(e.to_string()));
                }
            }
            require(input.len() <= before, "a decoder never adds input");
        }
        let limits = Limits::default();
        require(
            input.len() <= limits.header_block.saturating_add(18),
            "waits for a bounded frame only",
        );
    }
    (frames, None)
}

fn join(frames: &mut Vec<Frame>, frame: Frame) {
    if let (Some(Frame::Data(last)), Frame::Data(next)) = (frames.last_mut(), &frame)
        && last.remaining > 0
    {
        last.payload = Bytes::from([last.payload.as_ref(), next.payload.as_ref()].concat());
        last.remaining = next.remaining;
    } else {
        frames.push(frame);
    }
}

/// Z1. The first byte chooses a cut; decoding in pieces equals decoding at once.
pub fn decode(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let whole = decode_pieces(std::iter::once(data));
    let cut = usize::from(*cut).saturating_add(1);
    require(
        decode_pieces(data.chunks(cut)) == whole,
        "chunking changes frames",
    );
}

fn stream_id(input: &mut Input<'_>) -> StreamId {
    let id = (input.word() & StreamId::MAX).max(1);
    StreamId::new(id).unwrap_or_else(|| unreachable!("1 to 2^31 - 1"))
}

/// A name and value that fit the limits; names repeat often.
fn header_block(input: &mut Input<'_>) -> HeaderBlock {
    let mut block = HeaderBlock::new();
    for _ in 0..input.below(6) {
        let name: String = input
            .bytes(usize::from(input.0.first().copied().unwrap_or(0) % 20))
            .iter()
            .map(|b| char::from(b'a'.saturating_add(b % 26)))
            .collect();
        let len = input.below(300);
        let value = if input.flag() {
            vec![input.byte(); len.saturating_mul(8)]
        } else {
            input.bytes(len).to_vec()
        };
        if !matches!(
            name.as_str(),
            "host" | "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding"
        ) {
            block.push(&name, value);
        }
    }
    block
}

fn frame(input: &mut Input<'_>) -> Frame {
    match input.byte() % 10 {
        0 => Frame::SynStream(SynStream {
            id: stream_id(input),
            associated: input.word() & StreamId::MAX,
            priority: input.byte() & 7,
            slot: input.byte(),
            fin: input.flag(),
            unidirectional: input.flag(),
            headers: header_block(input),
        }),
        1 => Frame::SynReply(SynReply {
            id: stream_id(input),
            fin: input.flag(),
            headers: header_block(input),
        }),
        2 => Frame::RstStream(RstStream {
            id: stream_id(input),
            status: RstStatus::from_u32(input.word().max(1)),
        }),
        3 => Frame::Settings(Settings {
            clear: input.flag(),
            entries: (0..input.below(65))
                .map(|_| Setting {
                    flags: input.byte(),
                    id: input.word() & 0xff_ffff,
                    value: input.word(),
                })
                .collect(),
        }),
        4 => Frame::Ping(Ping {
            id: input.word().max(1),
        }),
        5 => Frame::GoAway(GoAway {
            last_good: input.word() & StreamId::MAX,
            status: GoAwayStatus::from_u32(input.word()),
        }),
        6 => Frame::Headers(Headers {
            id: stream_id(input),
            fin: input.flag(),
            headers: header_block(input),
        }),
        7 => Frame::WindowUpdate(WindowUpdate {
            id: input.word() & StreamId::MAX,
            delta: input.word() & StreamId::MAX,
        }),
        8 => Frame::Unknown(Unknown {
            kind: 11u16.saturating_add(u16::from(input.byte())),
            flags: input.byte(),
            length: u32::from(input.byte()),
        }),
        _ => {
            let len = input.below(2000);
            Frame::Data(Data {
                id: stream_id(input),
                payload: Bytes::copy_from_slice(input.bytes(len)),
                remaining: 0,
                fin: input.flag(),
                flags: input.byte() & 0xfe,
            })
        }
    }
}

/// Z2. Frames by choice: what was encoded decodes to the same; what decodes and is canonical
/// encodes to the same bytes.
pub fn round_trip(data: &[u8]) {
    let mut input = Input(data);
    let encoding = match input.byte() % 10 {
        0 => HeaderEncoding::Stored,
        level => HeaderEncoding::Deflate(u32::from(level)),
    };
    let mut encoder = Encoder::new(encoding, &Limits::default());
    let (mut frames, mut wire) = (Vec::new(), BytesMut::new());
    while !input.is_empty() && frames.len() < 64 {
        let frame = frame(&mut input);
        if encoder.encode(&frame, &mut wire).is_ok() {
            frames.push(frame);
        }
    }
    let (decoded, error) = decode_pieces(std::iter::once(wire.as_ref()));
    require(error.is_none(), "what we write is SPDY");
    require(decoded == frames, "decode(encode(x)) is x");
    // The same encoder state gives the same bytes again, whatever the frames came from.
    let mut again = BytesMut::new();
    let mut encoder = Encoder::new(encoding, &Limits::default());
    for frame in &decoded {
        require(
            encoder.encode(frame, &mut again).is_ok(),
            "encodes once more",
        );
    }
    require(again == wire, "encode(decode(b)) is b");
}

/// Z3. Blocks, each behind two length bytes, on one context: bounded, an error sticks, and what
/// comes out is what an independent inflater makes of it. `oracle` is given each block in turn.
pub fn inflate(data: &[u8], mut oracle: impl FnMut(&[u8]) -> Option<Vec<u8>>) {
    let (mut inflater, limits) = (Inflater::new(), Limits::default());
    let mut input = Input(data);
    let mut failed = false;
    while !input.is_empty() {
        let len = usize::from(input.byte()) << 8 | usize::from(input.byte());
        let block = input.bytes(len);
        let inflated = inflater.inflated();
        let parsed = inflater.block(block, &limits);
        let made = inflater.inflated().saturating_sub(inflated);
        let most = limits.header_block_inflated.saturating_add(4096);
        require(
            made <= u64::try_from(most).unwrap_or(u64::MAX),
            "the cap is hit within 4 KiB",
        );
        match parsed {
            Ok(headers) => {
                require(!failed, "a context came back from an error");
                require(headers.len() <= limits.header_pairs, "too many pairs");
                require(
                    headers.encoded_len() <= limits.header_block_inflated,
                    "a block is over its limit",
                );
                if let Some(plain) = oracle(block) {
                    require(plain == headers.encoded(), "the oracle inflates otherwise");
                }
            }
            Err(_) => failed = true,
        }
    }
}

/// Z4. Header lists: what both encodings write, ours and an independent inflater read alike; the
/// length of the stored form tells nothing of the content.
pub fn encode_blocks(data: &[u8], mut oracle: impl FnMut(&[u8]) -> Option<Vec<u8>>) {
    let mut input = Input(data);
    let encoding = match input.byte() % 10 {
        0 => HeaderEncoding::Stored,
        level => HeaderEncoding::Deflate(u32::from(level)),
    };
    let (mut deflater, mut inflater) = (Deflater::new(encoding), Inflater::new());
    let limits = Limits::default();
    while !input.is_empty() {
        let block = header_block(&mut input);
        let mut wire = BytesMut::new();
        require(deflater.block(&block, &mut wire).is_ok(), "deflates");
        require(
            wire.ends_with(&[0, 0, 0xff, 0xff]),
            "ends in an empty stored block",
        );
        require(
            inflater.block(&wire, &limits).as_ref() == Ok(&block),
            "ours reads it",
        );
        if let Some(plain) = oracle(&wire) {
            require(plain == block.encoded(), "the oracle reads it");
        }
        let stored = |block: &HeaderBlock| {
            let mut wire = BytesMut::new();
            drop(Deflater::new(HeaderEncoding::Stored).block(block, &mut wire));
            wire.len()
        };
        let other: HeaderBlock = block
            .iter()
            .map(|(n, v)| (String::from_utf8_lossy(n).into_owned(), vec![b'x'; v.len()]))
            .collect();
        require(
            stored(&block) == stored(&other),
            "equal lengths, equal frames",
        );
    }
}
