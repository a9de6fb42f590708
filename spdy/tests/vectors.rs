//! Every frame that the real encoder produced (tests/testdata/README.md), whole and at every split.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test"
)]

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;
use spdy::{Decoder, Encoder, Frame, HeaderBlock, HeaderEncoding, Limits};

struct Vector {
    name: String,
    bytes: Vec<u8>,
    block: Option<Vec<u8>>,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

fn sequences() -> Vec<(String, Vec<Vector>)> {
    let json: Value = serde_json::from_str(include_str!("testdata/spdy_frames.json")).unwrap();
    json["sequences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sequence| {
            let frames = sequence["frames"]
                .as_array()
                .unwrap()
                .iter()
                .map(|frame| Vector {
                    name: frame["name"].as_str().unwrap().to_owned(),
                    bytes: unhex(frame["hex"].as_str().unwrap()),
                    block: frame["header_block_uncompressed_hex"].as_str().map(unhex),
                });
            (
                sequence["name"].as_str().unwrap().to_owned(),
                frames.collect(),
            )
        })
        .collect()
}

/// The uncompressed form, written independently of the crate.
fn plain(headers: &HeaderBlock) -> Vec<u8> {
    let word = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    let mut out = word(headers.len()).to_vec();
    for (name, value) in headers.iter() {
        for field in [name, value] {
            out.extend(word(field.len()));
            out.extend(field);
        }
    }
    out
}

fn headers_of(frame: &Frame) -> Option<&HeaderBlock> {
    match frame {
        Frame::SynStream(f) => Some(&f.headers),
        Frame::SynReply(f) => Some(&f.headers),
        Frame::Headers(f) => Some(&f.headers),
        _ => None,
    }
}

/// Joins pieces of one DATA frame.
fn push(frames: &mut Vec<Frame>, frame: Frame) {
    if let (Some(Frame::Data(last)), Frame::Data(next)) = (frames.last_mut(), &frame)
        && last.remaining > 0
    {
        last.payload = Bytes::from([last.payload.as_ref(), next.payload.as_ref()].concat());
        last.remaining = next.remaining;
        return;
    }
    frames.push(frame);
}

fn decode(pieces: &[&[u8]]) -> Vec<Frame> {
    let (mut decoder, mut input, mut frames) =
        (Decoder::new(Limits::default()), BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            push(&mut frames, frame);
        }
    }
    assert!(decoder.is_between_frames() && !input.has_remaining());
    frames
}

#[test]
fn every_frame_of_every_sequence() {
    let mut count = 0;
    for (sequence, vectors) in sequences() {
        let pieces: Vec<&[u8]> = vectors.iter().map(|v| v.bytes.as_slice()).collect();
        let frames = decode(&pieces);
        assert_eq!(frames.len(), vectors.len(), "{sequence}");
        for (frame, vector) in frames.iter().zip(&vectors) {
            count += 1;
            let kind = vector.name.split([' ', '(']).next().unwrap();
            let got = match frame {
                Frame::SynStream(_) => "SYN_STREAM",
                Frame::SynReply(_) => "SYN_REPLY",
                Frame::RstStream(_) => "RST_STREAM",
                Frame::Settings(_) => "SETTINGS",
                Frame::Ping(_) => "PING",
                Frame::GoAway(_) => "GOAWAY",
                Frame::Headers(_) => "HEADERS",
                Frame::WindowUpdate(_) => "WINDOW_UPDATE",
                Frame::Data(_) => "DATA",
                _ => "unknown",
            };
            assert_eq!(got, kind, "{sequence}: {}", vector.name);
            assert_eq!(
                headers_of(frame).map(plain),
                vector.block,
                "{sequence}: {}",
                vector.name
            );
            // Frames without a header block have one encoding only.
            if vector.block.is_none() {
                let mut out = BytesMut::new();
                let limits = Limits::default();
                Encoder::new(HeaderEncoding::Stored, &limits)
                    .encode(frame, &mut out)
                    .unwrap();
                assert_eq!(out, vector.bytes.as_slice(), "{sequence}: {}", vector.name);
            }
        }
    }
    assert_eq!(count, 31, "the file has 31 frames");
}

#[test]
fn every_split_changes_nothing() {
    for (sequence, vectors) in sequences() {
        let all: Vec<u8> = vectors.iter().flat_map(|v| v.bytes.clone()).collect();
        let whole = decode(&[&all]);
        for at in 0..=all.len() {
            assert_eq!(
                decode(&[&all[..at], &all[at..]]),
                whole,
                "{sequence} split at {at}"
            );
        }
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(decode(&bytes), whole, "{sequence} byte by byte");
    }
}

#[test]
fn our_encoding_decodes_to_the_same_frames() {
    for (sequence, vectors) in sequences() {
        let pieces: Vec<&[u8]> = vectors.iter().map(|v| v.bytes.as_slice()).collect();
        let frames = decode(&pieces);
        for encoding in [HeaderEncoding::Stored, HeaderEncoding::Deflate(6)] {
            let mut encoder = Encoder::new(encoding, &Limits::default());
            let mut wire = BytesMut::new();
            for frame in &frames {
                encoder.encode(frame, &mut wire).unwrap();
            }
            assert_eq!(decode(&[&wire]), frames, "{sequence} {encoding:?}");
        }
    }
}
