//! Frames: decoding DATA in place, and the two header encodings.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

use bytes::{BufMut, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spdy::{Decoder, Encoder, Frame, HeaderBlock, HeaderEncoding, Limits, StreamId, SynStream};
use std::hint::black_box;

fn decode_data(c: &mut Criterion) {
    let mut wire = BytesMut::new();
    for _ in 0..64 {
        wire.put_u64(0x0000_0001_0000_4000);
        wire.put_bytes(7, 16 << 10);
    }
    let wire = wire.freeze();
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(wire.len() as u64));
    group.bench_function("64 DATA of 16 KiB", |b| {
        b.iter_batched_ref(
            || BytesMut::from(wire.as_ref()),
            |input| {
                let mut decoder = Decoder::new(Limits::default());
                while let Some(frame) = decoder.decode(input).unwrap() {
                    black_box(frame);
                }
            },
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn encode_headers(c: &mut Criterion) {
    let headers: HeaderBlock = [
        ("streamtype", "data"),
        ("port", "8080"),
        ("requestid", "12345"),
    ]
    .into_iter()
    .collect();
    let frame = Frame::SynStream(SynStream {
        id: StreamId::new(1).unwrap(),
        associated: 0,
        priority: 0,
        slot: 0,
        fin: false,
        unidirectional: false,
        headers,
    });
    let mut group = c.benchmark_group("SYN_STREAM");
    for (name, encoding) in [
        ("stored", HeaderEncoding::Stored),
        ("deflate 6", HeaderEncoding::Deflate(6)),
    ] {
        let mut encoder = Encoder::new(encoding, &Limits::default());
        let mut out = BytesMut::with_capacity(256);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                encoder.encode(black_box(&frame), &mut out).unwrap();
                black_box(&out);
            });
        });
    }
    group.finish();
}

criterion_group!(all, decode_data, encode_headers);
criterion_main!(all);
