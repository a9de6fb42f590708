//! Masking beside memcpy; messages beside fastwebsockets and tungstenite. All of them read from and
//! write to memory, through the same two types, and keep their connection from one round to the next when
//! they write.
//!
//! The peers' interfaces differ, so ours is there twice. Read: in parts, as they come, and as whole
//! messages, which is what the peers return. Written: from a `Bytes` that the application keeps a
//! handle of, as tungstenite takes it, and from a borrowed slice, as fastwebsockets does.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

use bytes::{Buf as _, Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastwebsockets::{Frame, OpCode, Payload, WebSocket};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wsstream::{Config, Connection, Event, Kind, Role, mask};

/// Bytes of payload per iteration.
const TOTAL: usize = 4 << 20;
const READ: usize = 64 << 10;
const SIZES: [usize; 3] = [1 << 10, 16 << 10, 1 << 20];

/// A socket made of memory: what is written is copied into one buffer, over and over.
struct Memory<'a> {
    input: &'a [u8],
    sink: Vec<u8>,
}

impl<'a> Memory<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            sink: Vec::with_capacity(2 * TOTAL),
        }
    }

    fn store(&mut self, bytes: &[u8]) {
        if self.sink.len() + bytes.len() > self.sink.capacity() {
            self.sink.clear();
        }
        self.sink.extend_from_slice(bytes);
    }
}

impl Read for Memory<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buf)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.store(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Memory<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (taken, rest) = self.input.split_at(self.input.len().min(buf.remaining()));
        if taken.is_empty() {
            return Poll::Pending;
        }
        buf.put_slice(taken);
        self.input = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.store(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        for buf in bufs {
            self.store(buf);
        }
        Poll::Ready(Ok(bufs.iter().map(|b| b.len()).sum()))
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

/// Polls once: memory is always ready, unless it is at its end.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn config(role: Role) -> Config {
    let mut config = Config::new(role);
    config.limits.outgoing = 16 << 20;
    config
}

fn write_out(conn: &mut Connection, memory: &mut Memory<'_>) {
    while conn.outgoing().has_remaining() {
        let outgoing = &*conn.outgoing();
        let mut slices = [io::IoSlice::new(&[]); 8];
        let filled = outgoing.chunks_vectored(&mut slices);
        let mut n = 0;
        for slice in &slices[..filled] {
            memory.store(slice);
            n += slice.len();
        }
        conn.outgoing().advance(n);
    }
}

/// `TOTAL` bytes read; `whole`: as whole messages.
fn read_all(bytes: &[u8], whole: bool) {
    let mut memory = Memory::new(bytes);
    let mut conn = Connection::new(config(Role::Server)).unwrap();
    let mut input = BytesMut::new();
    let mut parts = BytesMut::new();
    let (mut got, at) = (0, Instant::now());
    while got < TOTAL {
        input.reserve(READ);
        let read = now(tokio::io::AsyncReadExt::read_buf(&mut memory, &mut input));
        assert!(read.is_some());
        while let Some(event) = conn.poll_event(at, &mut input).unwrap() {
            let Event::Message {
                begins,
                payload,
                ends,
                ..
            } = event
            else {
                continue;
            };
            if !whole || (begins && ends) {
                got += black_box(payload).len();
            } else {
                parts.extend_from_slice(&payload);
                if ends {
                    got += black_box(parts.split()).len();
                }
            }
        }
    }
}

/// `TOTAL` bytes in messages of `size`, as `role` writes them.
fn wire(role: Role, size: usize) -> Vec<u8> {
    let mut conn = Connection::new(config(role)).unwrap();
    let payload = Bytes::from(vec![0x5A; size]);
    for _ in 0..TOTAL / size {
        conn.send(Kind::Binary, &mut payload.clone(), true).unwrap();
    }
    let n = conn.outgoing().remaining();
    conn.outgoing().copy_to_bytes(n).to_vec()
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask 64 KiB");
    group.throughput(Throughput::Bytes(READ as u64));
    let from = vec![0x5A; READ];
    let mut to = vec![0; READ];
    group.bench_function("memcpy", |b| {
        b.iter(|| black_box(&mut to[..]).copy_from_slice(black_box(&from)));
    });
    group.bench_function("copy and mask", |b| {
        b.iter(|| mask::copy([1, 2, 3, 4], 0, black_box(&from), black_box(&mut to)));
    });
    group.bench_function("mask in place", |b| {
        b.iter(|| mask::apply([1, 2, 3, 4], 0, black_box(&mut to)));
    });
    group.finish();
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode as a server");
    group.throughput(Throughput::Bytes(TOTAL as u64));
    for size in SIZES {
        let bytes = wire(Role::Client, size);
        for (name, whole) in [("wsstream", false), ("wsstream, whole", true)] {
            group.bench_with_input(BenchmarkId::new(name, size), &bytes, |b, bytes| {
                b.iter(|| read_all(bytes, whole));
            });
        }
        group.bench_with_input(
            BenchmarkId::new("fastwebsockets", size),
            &bytes,
            |b, bytes| {
                b.iter(|| {
                    let mut socket = WebSocket::after_handshake(
                        Memory::new(bytes),
                        fastwebsockets::Role::Server,
                    );
                    let mut got = 0;
                    while got < TOTAL {
                        got += black_box(now(socket.read_frame()).unwrap().unwrap().payload).len();
                    }
                });
            },
        );
        group.bench_with_input(BenchmarkId::new("tungstenite", size), &bytes, |b, bytes| {
            b.iter(|| {
                let mut socket = tungstenite::WebSocket::from_raw_socket(
                    Memory::new(bytes),
                    tungstenite::protocol::Role::Server,
                    None,
                );
                let mut got = 0;
                while got < TOTAL {
                    got += black_box(socket.read().unwrap().into_data()).len();
                }
            });
        });
    }
    group.finish();
}

fn encoding(c: &mut Criterion) {
    for (role, name) in [(Role::Client, "client"), (Role::Server, "server")] {
        let mut group = c.benchmark_group(format!("encode as a {name}"));
        group.throughput(Throughput::Bytes(TOTAL as u64));
        for size in SIZES {
            let payload = Bytes::from(vec![0x5A; size]);
            group.bench_with_input(
                BenchmarkId::new("wsstream", size),
                &payload,
                |b, payload| {
                    let mut memory = Memory::new(&[]);
                    let mut conn = Connection::new(config(role)).unwrap();
                    b.iter(|| {
                        for _ in 0..TOTAL / size {
                            conn.send(Kind::Binary, &mut payload.clone(), true).unwrap();
                            write_out(&mut conn, &mut memory);
                        }
                    });
                },
            );
            group.bench_with_input(
                BenchmarkId::new("wsstream, slice", size),
                &payload,
                |b, payload| {
                    let mut memory = Memory::new(&[]);
                    let mut conn = Connection::new(config(role)).unwrap();
                    b.iter(|| {
                        for _ in 0..TOTAL / size {
                            conn.send_from(&mut &payload[..], size).unwrap();
                            write_out(&mut conn, &mut memory);
                        }
                    });
                },
            );
            group.bench_with_input(
                BenchmarkId::new("fastwebsockets", size),
                &payload,
                |b, payload| {
                    let theirs = match role {
                        Role::Client => fastwebsockets::Role::Client,
                        Role::Server => fastwebsockets::Role::Server,
                    };
                    let mut socket = WebSocket::after_handshake(Memory::new(&[]), theirs);
                    b.iter(|| {
                        for _ in 0..TOTAL / size {
                            let payload = Payload::Borrowed(payload);
                            let frame = Frame::new(true, OpCode::Binary, None, payload);
                            now(socket.write_frame(frame)).unwrap().unwrap();
                        }
                    });
                },
            );
            group.bench_with_input(
                BenchmarkId::new("tungstenite", size),
                &payload,
                |b, payload| {
                    let theirs = match role {
                        Role::Client => tungstenite::protocol::Role::Client,
                        Role::Server => tungstenite::protocol::Role::Server,
                    };
                    let mut socket =
                        tungstenite::WebSocket::from_raw_socket(Memory::new(&[]), theirs, None);
                    b.iter(|| {
                        for _ in 0..TOTAL / size {
                            let message = tungstenite::Message::Binary(payload.clone());
                            socket.send(message).unwrap();
                        }
                    });
                },
            );
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = masking, decoding, encoding
}
criterion_main!(benches);
