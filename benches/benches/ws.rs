//! Masking beside memcpy; messages beside fastwebsockets and tungstenite. All of them read from and
//! write to memory, through the same two types, and keep their connection from one round to the next.
//!
//! The peers' interfaces differ, so ours is there more than once. Read: in parts, as they come, owned or borrowed from
//! the input, and as whole messages, which is what the peers return. Written: from a `Bytes` that the application keeps a
//! handle of, as tungstenite takes it, and from a borrowed slice, as fastwebsockets does.
//!
//! `PF_TURNS=N` takes all cases in turn instead, N times, and prints a table of ratios: on a shared machine
//! what is compared has to be close in time.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

use benches::stats::percentile;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput};
use fastwebsockets::{Frame, OpCode, Payload, WebSocket};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use wsstream::{Config, Connection, Event, Kind, Role, mask};

/// Bytes of payload per iteration.
const TOTAL: usize = 4 << 20;
const READ: usize = 64 << 10;
/// About what a socket's buffer is. It stays in a cache, which memory that others drive out of it does not.
const SINK: usize = 256 << 10;
const SIZES: [usize; 3] = [1 << 10, 16 << 10, 1 << 20];

/// A socket made of memory: what is read is `all`, over and over; what is written is copied into one buffer, round
/// and round.
struct Memory<'a> {
    all: &'a [u8],
    input: &'a [u8],
    sink: Vec<u8>,
    at: usize,
}

impl<'a> Memory<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self {
            all: input,
            input,
            sink: vec![0; SINK],
            at: 0,
        }
    }

    fn next(&mut self, n: usize) -> &[u8] {
        if self.input.is_empty() {
            self.input = self.all;
        }
        let (taken, rest) = self.input.split_at(self.input.len().min(n));
        self.input = rest;
        taken
    }

    fn store(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = bytes.len().min(SINK - self.at);
            let (now, rest) = bytes.split_at(n);
            self.sink[self.at..self.at + n].copy_from_slice(now);
            self.at = (self.at + n) % SINK;
            bytes = rest;
        }
    }

    fn write_slices(&mut self, bufs: &[io::IoSlice<'_>]) -> usize {
        for buf in bufs {
            self.store(buf);
        }
        bufs.iter().map(|b| b.len()).sum()
    }
}

impl Read for Memory<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let taken = self.next(buf.len());
        buf[..taken.len()].copy_from_slice(taken);
        Ok(taken.len())
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
        buf.put_slice(self.next(buf.remaining()));
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
        Poll::Ready(Ok(self.write_slices(bufs)))
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

/// Polls once: memory is always ready.
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

/// Messages in one piece.
fn whole() -> Connection {
    let mut config = config(Role::Server);
    config.whole = true;
    Connection::new(config).unwrap()
}

fn write_out(conn: &mut Connection, memory: &mut Memory<'_>) {
    let outgoing = conn.outgoing();
    // One by one: memory gains nothing from a vectored write.
    while outgoing.has_remaining() {
        let chunk = outgoing.chunk();
        let n = chunk.len();
        memory.store(chunk);
        outgoing.advance(n);
    }
}

/// Our reader of `bytes`, `TOTAL` of payload a call; `join`: parts are put together here.
fn reader(bytes: &'static [u8], mut conn: Connection, join: bool) -> impl FnMut() {
    let mut memory = Memory::new(bytes);
    let mut input = BytesMut::new();
    let mut parts = BytesMut::new();
    let at = Instant::now();
    move || {
        let mut got = 0;
        while got < TOTAL {
            let Some(event) = conn.poll_event(at, &mut input).unwrap() else {
                let room = conn.reserve(&mut input);
                let mut place = (&mut input).limit(room);
                let read = now(AsyncReadExt::read_buf(&mut memory, &mut place));
                assert!(read.is_some());
                continue;
            };
            let Event::Message {
                begins,
                payload,
                ends,
                ..
            } = event
            else {
                continue;
            };
            if !join || (begins && ends) {
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

/// The same for a consumer that only looks at payload.
fn borrowing_reader(bytes: &'static [u8], mut conn: Connection) -> impl FnMut() {
    let mut memory = Memory::new(bytes);
    let mut input = BytesMut::new();
    let at = Instant::now();
    move || {
        let mut got = 0;
        while got < TOTAL {
            let (taken, event) = conn.poll_borrowed(at, &mut input).unwrap();
            if let Some(Event::Message { payload, .. }) = &event {
                got += black_box(&payload[..]).len();
            }
            let waits = event.is_none();
            drop(event);
            input.advance(taken);
            if waits {
                let room = conn.reserve(&mut input);
                let mut place = (&mut input).limit(room);
                let read = now(AsyncReadExt::read_buf(&mut memory, &mut place));
                assert!(read.is_some());
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

/// What is measured: `run` once is `TOTAL` bytes of payload.
struct Case {
    name: &'static str,
    run: Box<dyn FnMut()>,
}

impl Case {
    fn new(name: &'static str, run: impl FnMut() + 'static) -> Self {
        let run = Box::new(run);
        Self { name, run }
    }
}

fn masking() -> Vec<Case> {
    let buffers = || (vec![0x5A; READ], vec![0; READ]);
    let rounds = TOTAL / READ;
    let (from, mut to) = buffers();
    let memcpy = move || {
        for _ in 0..rounds {
            black_box(&mut to[..]).copy_from_slice(black_box(&from));
        }
    };
    let (from, mut to) = buffers();
    let copy = move || {
        for _ in 0..rounds {
            mask::copy([1, 2, 3, 4], 0, black_box(&from), black_box(&mut to));
        }
    };
    let (_, mut to) = buffers();
    let apply = move || {
        for _ in 0..rounds {
            mask::apply([1, 2, 3, 4], 0, black_box(&mut to));
        }
    };
    vec![
        Case::new("copy and mask", copy),
        Case::new("mask in place", apply),
        Case::new(MEMCPY, memcpy),
    ]
}

/// What a decoder cannot leave out: the socket's copy and the mask.
fn read_bare(bytes: &[u8], size: usize) {
    let mut buffer = vec![0; READ];
    let mut at = bytes.len() - TOTAL;
    while at < bytes.len() {
        let n = READ.min(bytes.len() - at);
        buffer[..n].copy_from_slice(&bytes[at..at + n]);
        for message in buffer[..n].chunks_mut(size) {
            mask::apply([1, 2, 3, 4], 0, message);
        }
        black_box(&mut buffer);
        at += n;
    }
}

fn decoding(size: usize) -> Vec<Case> {
    let bytes: &[u8] = wire(Role::Client, size).leak();
    let parts = || Connection::new(config(Role::Server)).unwrap();
    let theirs = fastwebsockets::Role::Server;
    let mut socket = WebSocket::after_handshake(Memory::new(bytes), theirs);
    let fast = move || {
        let mut got = 0;
        while got < TOTAL {
            got += black_box(now(socket.read_frame()).unwrap().unwrap().payload).len();
        }
    };
    let theirs = tungstenite::protocol::Role::Server;
    let mut socket = tungstenite::WebSocket::from_raw_socket(Memory::new(bytes), theirs, None);
    let tungstenite = move || {
        let mut got = 0;
        while got < TOTAL {
            got += black_box(socket.read().unwrap().into_data()).len();
        }
    };
    vec![
        Case::new("wsstream", reader(bytes, parts(), false)),
        Case::new("wsstream, borrowed", borrowing_reader(bytes, parts())),
        Case::new("wsstream, joined", reader(bytes, parts(), true)),
        Case::new("wsstream, whole", reader(bytes, whole(), false)),
        Case::new(FAST, fast),
        Case::new(TUNGSTENITE, tungstenite),
        Case::new(BARE, move || read_bare(bytes, size)),
    ]
}

fn encoding(role: Role, size: usize) -> Vec<Case> {
    let payload = Bytes::from(vec![0x5A; size]);
    let times = TOTAL / size;
    let ours = || (Memory::new(&[]), Connection::new(config(role)).unwrap());
    let (mut memory, mut conn) = ours();
    let kept = payload.clone();
    let whole = move || {
        for _ in 0..times {
            conn.send(Kind::Binary, &mut kept.clone(), true).unwrap();
            write_out(&mut conn, &mut memory);
        }
    };
    let (mut memory, mut conn) = ours();
    let kept = payload.clone();
    let through = move || {
        for _ in 0..times {
            let mut payload = kept.clone();
            conn.send_through(&mut payload, size, |slices| memory.write_slices(slices))
                .unwrap();
            write_out(&mut conn, &mut memory);
        }
    };
    let (mut memory, mut conn) = ours();
    let kept = payload.clone();
    let slice_through = move || {
        for _ in 0..times {
            conn.send_through(&mut &kept[..], size, |slices| memory.write_slices(slices))
                .unwrap();
            write_out(&mut conn, &mut memory);
        }
    };
    let (mut memory, mut conn) = ours();
    let kept = payload.clone();
    let slice = move || {
        for _ in 0..times {
            conn.send_from(&mut &kept[..], size).unwrap();
            write_out(&mut conn, &mut memory);
        }
    };
    let theirs = match role {
        Role::Client => fastwebsockets::Role::Client,
        Role::Server => fastwebsockets::Role::Server,
    };
    let mut socket = WebSocket::after_handshake(Memory::new(&[]), theirs);
    let kept = payload.clone();
    let fast = move || {
        for _ in 0..times {
            let frame = Frame::new(true, OpCode::Binary, None, Payload::Borrowed(&kept));
            now(socket.write_frame(frame)).unwrap().unwrap();
        }
    };
    let theirs = match role {
        Role::Client => tungstenite::protocol::Role::Client,
        Role::Server => tungstenite::protocol::Role::Server,
    };
    let mut socket = tungstenite::WebSocket::from_raw_socket(Memory::new(&[]), theirs, None);
    let kept = payload.clone();
    let tungstenite = move || {
        for _ in 0..times {
            let message = tungstenite::Message::Binary(kept.clone());
            socket.send(message).unwrap();
        }
    };
    // What cannot be left out: the mask, the socket's copy.
    let mut memory = Memory::new(&[]);
    let mut masked = vec![0; size];
    let bare = move || {
        for _ in 0..times {
            let mut bytes = black_box(&payload[..]);
            if role == Role::Client {
                mask::copy([1, 2, 3, 4], 0, bytes, &mut masked);
                bytes = &masked;
            }
            memory.store(bytes);
        }
    };
    vec![
        Case::new("wsstream", whole),
        Case::new("wsstream, through", through),
        Case::new("wsstream, slice", slice),
        Case::new("wsstream, slice, through", slice_through),
        Case::new(FAST, fast),
        Case::new(TUNGSTENITE, tungstenite),
        Case::new(BARE, bare),
    ]
}

const FAST: &str = "fastwebsockets";
const TUNGSTENITE: &str = "tungstenite";
const BARE: &str = "bare loop";
const MEMCPY: &str = "memcpy";

type Cases = fn(usize) -> Vec<Case>;

const GROUPS: [(&str, Cases); 3] = [
    ("decode as a server", decoding),
    ("encode as a client", |size| encoding(Role::Client, size)),
    ("encode as a server", |size| encoding(Role::Server, size)),
];

/// Nanoseconds a message of each case, all in turn: the 5th percentile, which is what there is without
/// the machine's other work.
fn in_turn(cases: &mut [Case], turns: usize, size: usize) -> Vec<f64> {
    const ROUNDS: usize = 5;
    let mut times = vec![Vec::new(); cases.len()];
    // The first warms up.
    for turn in 0..=turns {
        for at in 0..cases.len() {
            // Each second one backwards.
            let at = if turn % 2 == 0 {
                at
            } else {
                cases.len() - 1 - at
            };
            for _ in 0..ROUNDS {
                let begin = Instant::now();
                (cases[at].run)();
                if turn > 0 {
                    times[at].push(begin.elapsed().as_nanos() as f64);
                }
            }
        }
    }
    let messages = (TOTAL / size) as f64;
    let fastest = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        percentile(&times, 5) / messages
    };
    times.into_iter().map(fastest).collect()
}

/// How many times as fast as its peers each case is.
fn turns(n: usize) {
    println!("| | bytes | | ns a message | / fastwebsockets | / tungstenite |");
    println!("|---|---|---|---|---|---|");
    for (group, cases) in GROUPS {
        for size in SIZES {
            let mut cases = cases(size);
            let times = in_turn(&mut cases, n, size);
            let of = |name| times[cases.iter().position(|c| c.name == name).unwrap()];
            for (case, time) in cases.iter().zip(&times) {
                let (fast, tungstenite) = (of(FAST) / time, of(TUNGSTENITE) / time);
                let name = case.name;
                println!(
                    "| {group} | {size} | {name} | {time:.1} | {fast:.2} | {tungstenite:.2} |"
                );
            }
        }
    }
    println!("\n| 64 KiB | ns | / memcpy |\n|---|---|---|");
    let mut cases = masking();
    let times = in_turn(&mut cases, n, READ);
    for (case, time) in cases.iter().zip(&times) {
        let memcpy = times[times.len() - 1];
        println!("| {} | {time:.0} | {:.2} |", case.name, memcpy / time);
    }
}

fn groups(c: &mut Criterion) {
    let mut add = |name: &str, size: usize, cases: Vec<Case>| {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(TOTAL as u64));
        for mut case in cases {
            group.bench_function(BenchmarkId::new(case.name, size), |b| b.iter(&mut case.run));
        }
        group.finish();
    };
    add("mask", READ, masking());
    for (name, cases) in GROUPS {
        for size in SIZES {
            add(name, size, cases(size));
        }
    }
}

fn main() {
    if let Some(n) = std::env::var("PF_TURNS").ok().and_then(|n| n.parse().ok()) {
        return turns(n);
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    groups(&mut criterion);
    criterion.final_summary();
}
