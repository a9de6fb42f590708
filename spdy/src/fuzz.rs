//! Bodies of the fuzz targets, also replayed over the corpus by plain tests. Each panics when a
//! property does not hold.

use crate::{
    Config, Connection, Decoder, Event, Frame, HeaderBlock, Inflater, Limits, Role, RstStatus,
};
use bytes::{Buf, Bytes, BytesMut};
use std::time::Instant;

fn require(holds: bool, what: &str) {
    assert!(holds, "{what}");
}

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
                Err(e) => return (frames, Some(e.to_string())),
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

/// The first byte chooses a cut; decoding in pieces equals decoding at once.
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

/// Blocks, each behind a length byte, on one context: bounded, and an error sticks.
pub fn header_block(mut data: &[u8]) {
    let (mut inflater, limits) = (Inflater::new(), Limits::default());
    let mut failed = false;
    while let Some((len, rest)) = data.split_first() {
        let (block, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        data = rest;
        match inflater.block(block, &limits) {
            Ok(headers) => {
                require(!failed, "a context came back from an error");
                require(
                    headers.encoded_len() <= limits.header_block_inflated,
                    "a block is over its limit",
                );
                require(headers.len() <= limits.header_pairs, "too many pairs");
            }
            Err(_) => failed = true,
        }
    }
}

/// Operations and bytes of the peer on one connection: the first byte is the role, then each byte
/// chooses an operation.
pub fn connection(data: &[u8]) {
    let Some((role, mut data)) = data.split_first() else {
        return;
    };
    let role = if role & 1 == 0 {
        Role::Client
    } else {
        Role::Server
    };
    let now = Instant::now();
    let Ok(mut conn) = Connection::new(Config::kubernetes(role), now) else {
        return;
    };
    let mut input = BytesMut::new();
    let mut streams = Vec::new();
    let pick = |streams: &[crate::StreamId], n: u8| streams.get(usize::from(n)).copied();
    while let Some((op, rest)) = data.split_first() {
        data = rest;
        let mut next = |n: usize| {
            let (taken, rest) = data.split_at(n.min(data.len()));
            data = rest;
            taken
        };
        match op {
            0 => {
                if let Ok(id) = conn.open(&[("a", "b")].into_iter().collect(), false) {
                    streams.push(id);
                }
            }
            1 => {
                if let Some(id) = next(1).first().and_then(|n| pick(&streams, *n)) {
                    drop(conn.reply(id, &HeaderBlock::new(), false));
                }
            }
            2 => {
                if let Some(id) = next(1).first().and_then(|n| pick(&streams, *n)) {
                    drop(conn.send(id, &mut Bytes::from_static(b"data"), true));
                }
            }
            3 => {
                if let Some(id) = next(1).first().and_then(|n| pick(&streams, *n)) {
                    conn.reset(id, RstStatus::CANCEL);
                    require(!conn.has_stream(id), "a reset stream is forgotten");
                }
            }
            4 => {
                let n = conn.outgoing().remaining();
                conn.outgoing().advance(n);
                require(
                    conn.outgoing().is_empty() && !conn.is_blocked(),
                    "all was written",
                );
            }
            5 => conn.go_away(now, crate::GoAwayStatus::OK),
            n => {
                input.extend_from_slice(next(usize::from(*n)));
                let failed = conn.recv(now, &mut input).is_err();
                while let Some(event) = conn.poll_event() {
                    if let Event::Opened { id, .. } = event {
                        require(role == Role::Server, "a client admits no streams");
                        streams.push(id);
                    }
                }
                if failed {
                    require(conn.recv(now, &mut input).is_err(), "an error sticks");
                }
            }
        }
        require(
            conn.stream_count() <= streams.len(),
            "streams come from somewhere",
        );
    }
}
