//! The copy loop: 16 KiB writes through client and node over one connection, plain and TLS, beside
//! two tokio copy loops with a connection per stream in the same run. Only the ratio counts.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

const WRITE: usize = 16 << 10;
const TOTAL: usize = 16 << 20;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Sends `TOTAL` bytes over `streams` connections at once and waits for the byte that says that
/// all has arrived.
async fn send(address: SocketAddr, streams: usize) {
    let piece = vec![7; WRITE];
    let tasks: Vec<_> = (0..streams)
        .map(|_| {
            let piece = piece.clone();
            tokio::spawn(async move {
                let mut socket = TcpStream::connect(address).await.unwrap();
                for _ in 0..TOTAL / WRITE / streams {
                    socket.write_all(&piece).await.unwrap();
                }
                socket.shutdown().await.unwrap();
                socket.read_u8().await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn copy(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy");
    group
        .throughput(Throughput::Bytes(TOTAL as u64))
        .sample_size(20);
    let tls = benches::Tls::new().unwrap();
    for (tls, crypt) in [(None, "plain"), (Some(&tls), "TLS")] {
        for streams in [1, 32] {
            for name in ["spdy", "relays"] {
                let runtime = runtime();
                let address = runtime.block_on(async {
                    let sink = benches::sink().await.unwrap();
                    match name {
                        "spdy" => benches::forward(sink, tls).await.unwrap(),
                        _ => benches::relays(sink, tls).await.unwrap(),
                    }
                });
                let id = BenchmarkId::new(format!("{crypt} {name}"), streams);
                group.bench_function(id, |b| {
                    b.to_async(&runtime).iter(|| send(address, streams));
                });
            }
        }
    }
    group.finish();
}

criterion_group!(all, copy);
criterion_main!(all);
