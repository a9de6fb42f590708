//! Frames beside memcpy and beside h2's codec, header blocks beside bare deflate, and the cost of a
//! stream among many. All read from and write to memory through the same two types, so that what
//! differs is the codec.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a benchmark"
)]

use bytes::{Buf, BufMut, Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Decompress, FlushDecompress};
use futures_util::Stream as _;
use h2::frame::Frame as H2Frame;
use spdy::{
    Config, Connection, DICTIONARY, Decoder, Deflater, HeaderBlock, HeaderEncoding, Inflater,
    Limits, Role,
};
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Bytes of a run.
const RUN: usize = 4 << 20;
/// Payloads of a frame.
const SIZES: [(usize, &str); 2] = [(1 << 10, "1 KiB"), (16 << 10, "16 KiB")];
static PAYLOAD: [u8; 16 << 10] = [7; 16 << 10];
/// Bytes read at a time.
const READ: usize = 64 << 10;

/// Memory to read from, and to write to.
struct Memory {
    from: Bytes,
    to: Vec<u8>,
}

impl Memory {
    fn new(from: Bytes) -> Self {
        Self {
            from,
            to: vec![0; 256 << 10],
        }
    }

    fn write(&mut self, from: &[u8]) -> usize {
        let n = from.len().min(self.to.len());
        self.to[..n].copy_from_slice(&from[..n]);
        black_box(&mut self.to);
        n
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = self.from.len().min(buf.remaining());
        buf.put_slice(&self.from[..n]);
        self.from.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.write(buf)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bufs.iter().map(|buf| self.write(buf)).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads once, as a driver does.
fn fill(memory: &mut Memory, input: &mut BytesMut, cx: &mut Context<'_>) -> usize {
    if input.capacity() - input.len() < READ / 4 {
        input.reserve(READ);
    }
    match pin!(memory.read_buf(input)).poll(cx) {
        Poll::Ready(Ok(n)) => n,
        _ => 0,
    }
}

fn spdy_wire(payload: usize) -> Bytes {
    let mut wire = BytesMut::new();
    while wire.len() < RUN {
        wire.put_u64(0x0000_0001_0000_0000 | payload as u64);
        wire.put_bytes(7, payload);
    }
    wire.freeze()
}

fn h2_wire(payload: usize) -> Bytes {
    let mut wire = BytesMut::new();
    while wire.len() < RUN {
        wire.put_uint(payload as u64, 3);
        wire.put_slice(&[0, 0, 0, 0, 0, 1]);
        wire.put_bytes(7, payload);
    }
    wire.freeze()
}

fn decode(c: &mut Criterion) {
    let mut cx = Context::from_waker(Waker::noop());
    for (payload, name) in SIZES {
        let mut group = c.benchmark_group(format!("decode DATA of {name}"));
        let (spdy, h2) = (spdy_wire(payload), h2_wire(payload));
        group.throughput(Throughput::Bytes(RUN as u64));
        group.bench_function("copy", |b| {
            b.iter(|| {
                let (mut memory, mut input) = (Memory::new(spdy.clone()), BytesMut::new());
                while fill(&mut memory, &mut input, &mut cx) > 0 {
                    input.clear();
                }
            });
        });
        group.bench_function("spdy", |b| {
            b.iter(|| {
                let (mut memory, mut input) = (Memory::new(spdy.clone()), BytesMut::new());
                let mut decoder = Decoder::new(Limits::default());
                while fill(&mut memory, &mut input, &mut cx) > 0 {
                    while let Some(frame) = decoder.decode(&mut input).unwrap() {
                        black_box(frame);
                    }
                }
            });
        });
        group.bench_function("h2", |b| {
            b.iter(|| {
                let mut codec = h2::Codec::<_, Bytes>::new(Memory::new(h2.clone()));
                let mut codec = Pin::new(&mut codec);
                while let Poll::Ready(Some(frame)) = codec.as_mut().poll_next(&mut cx) {
                    black_box(frame.unwrap());
                }
            });
        });
        group.finish();
    }
}

/// All that waits, in vectored writes.
fn flush(conn: &mut Connection, memory: &mut Memory, cx: &mut Context<'_>) {
    let out = conn.outgoing();
    while out.has_remaining() {
        let mut slices = [IoSlice::new(&[]); 64];
        let n = out.chunks_vectored(&mut slices);
        let Poll::Ready(Ok(n)) = Pin::new(&mut *memory).poll_write_vectored(cx, &slices[..n])
        else {
            return;
        };
        out.advance(n);
    }
}

fn encode(c: &mut Criterion) {
    let mut cx = Context::from_waker(Waker::noop());
    for (size, name) in SIZES {
        // Counts no references: that would cost both the same.
        let payload = Bytes::from_static(&PAYLOAD[..size]);
        let mut group = c.benchmark_group(format!("encode DATA of {name}"));
        group.throughput(Throughput::Bytes(RUN as u64));
        group.bench_function("copy", |b| {
            let mut memory = Memory::new(Bytes::new());
            b.iter(|| {
                for _ in 0..RUN / size {
                    memory.write(black_box(&payload));
                }
            });
        });
        // The whole connection, not only the codec.
        group.bench_function("spdy", |b| {
            let mut memory = Memory::new(Bytes::new());
            let mut conn = connection(Role::Client);
            let id = conn.open(&headers(), false).unwrap();
            b.iter(|| {
                for _ in 0..RUN / size / 8 {
                    for _ in 0..8 {
                        conn.send(id, &mut payload.clone(), false).unwrap();
                    }
                    flush(&mut conn, &mut memory, &mut cx);
                }
            });
        });
        group.bench_function("h2", |b| {
            let mut codec = h2::Codec::new(Memory::new(Bytes::new()));
            b.iter(|| {
                for _ in 0..RUN / size {
                    assert!(codec.poll_ready(&mut cx).is_ready());
                    let data = h2::frame::Data::new(1.into(), payload.clone());
                    codec.buffer(H2Frame::Data(data)).unwrap();
                    assert!(codec.flush(&mut cx).is_ready());
                }
            });
        });
        group.finish();
    }
}

fn connection(role: Role) -> Connection {
    let mut config = Config::kubernetes(role);
    config.limits.own_streams = 32 << 10;
    Connection::new(config, Instant::now()).unwrap()
}

fn headers() -> HeaderBlock {
    [
        ("streamtype", "data"),
        ("port", "8080"),
        ("requestid", "12345"),
    ]
    .into_iter()
    .collect()
}

fn header_blocks(c: &mut Criterion) {
    const BLOCKS: usize = 1000;
    let encodings = [
        ("stored", HeaderEncoding::Stored),
        ("deflate 6", HeaderEncoding::Deflate(6)),
    ];
    let mut group = c.benchmark_group("encode a header block");
    group.throughput(Throughput::Elements(BLOCKS as u64));
    let block = headers();
    for (name, encoding) in encodings {
        group.bench_function(name, |b| {
            let mut deflater = Deflater::new(encoding);
            let mut out = BytesMut::with_capacity(256);
            b.iter(|| {
                for _ in 0..BLOCKS {
                    out.clear();
                    deflater.block(black_box(&block), &mut out).unwrap();
                    black_box(&out);
                }
            });
        });
    }
    group.finish();

    for (name, encoding) in encodings {
        let mut deflater = Deflater::new(encoding);
        let wire: Vec<BytesMut> = (0..=BLOCKS)
            .map(|_| {
                let mut out = BytesMut::new();
                deflater.block(&block, &mut out).unwrap();
                out
            })
            .collect();
        let mut group = c.benchmark_group(format!("decode a header block, {name}"));
        group.throughput(Throughput::Elements(BLOCKS as u64));
        let limits = Limits::default();
        // Both have read the first block: their contexts, of some 50 KiB, are there.
        let (first, wire) = wire.split_first().unwrap();
        group.bench_function("spdy", |b| {
            b.iter_batched_ref(
                || {
                    let mut inflater = Inflater::new();
                    inflater.block(first, &limits).unwrap();
                    inflater
                },
                |inflater| {
                    for block in wire {
                        black_box(inflater.block(block, &limits).unwrap());
                    }
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function("bare inflate", |b| {
            b.iter_batched_ref(
                || {
                    let (mut zlib, mut out) = (Decompress::new(true), [0; 4096]);
                    let head = zlib.decompress(first, &mut out, FlushDecompress::Sync);
                    assert!(head.unwrap_err().needs_dictionary().is_some());
                    zlib.set_dictionary(DICTIONARY).unwrap();
                    let used = zlib.total_in() as usize;
                    zlib.decompress(&first[used..], &mut out, FlushDecompress::Sync)
                        .unwrap();
                    (zlib, out)
                },
                |(zlib, out)| {
                    for block in wire {
                        let status = zlib.decompress(block, out, FlushDecompress::Sync);
                        black_box(status.unwrap());
                        black_box(&mut *out);
                    }
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

/// Opens streams in one connection; the time of the last thousand of them.
fn open(c: &mut Criterion) {
    let block = headers();
    let mut group = c.benchmark_group("open a stream");
    group.throughput(Throughput::Elements(1000));
    let open = |conn: &mut Connection| {
        for _ in 0..1000 {
            black_box(conn.open(&block, false).unwrap());
        }
        let n = conn.outgoing().remaining();
        conn.outgoing().advance(n);
    };
    for (others, name) in [(0, "1,000"), (31, "32,000")] {
        group.bench_function(format!("up to {name}"), |b| {
            b.iter_batched_ref(
                || {
                    let mut conn = connection(Role::Client);
                    for _ in 0..others {
                        open(&mut conn);
                    }
                    conn
                },
                open,
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(all, decode, encode, header_blocks, open);
criterion_main!(all);
